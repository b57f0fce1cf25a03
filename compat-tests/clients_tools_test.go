package compat

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluicemq/sluice/compat-tests/harness"
)

// consoleTools are the console tools of Apache Kafka, by the names of their scripts.
var consoleTools = map[string]string{
	"kafka-topics":              "org.apache.kafka.tools.TopicCommand",
	"kafka-console-producer":    "org.apache.kafka.tools.ConsoleProducer",
	"kafka-console-consumer":    "org.apache.kafka.tools.consumer.ConsoleConsumer",
	"kafka-consumer-groups":     "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
	"kafka-groups":              "org.apache.kafka.tools.GroupsCommand",
	"kafka-configs":             "kafka.admin.ConfigCommand",
	"kafka-get-offsets":         "org.apache.kafka.tools.GetOffsetShell",
	"kafka-delete-records":      "org.apache.kafka.tools.DeleteRecordsCommand",
	"kafka-verifiable-producer": "org.apache.kafka.tools.VerifiableProducer",
	"kafka-verifiable-consumer": "org.apache.kafka.tools.VerifiableConsumer",
	"kafka-producer-perf-test":  "org.apache.kafka.tools.ProducerPerformance",
	"kafka-consumer-perf-test":  "org.apache.kafka.tools.ConsumerPerformance",
	"kafka-broker-api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
	"kafka-log-dirs":            "org.apache.kafka.tools.LogDirsCommand",
	"kafka-e2e-latency":         "org.apache.kafka.tools.EndToEndLatency",
	"kafka-leader-election":     "org.apache.kafka.tools.LeaderElectionCommand",
	"kafka-reassign-partitions": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
	"kafka-features":            "org.apache.kafka.tools.FeatureCommand",
	"kafka-transactions":        "org.apache.kafka.tools.TransactionsCommand",
	"kafka-metadata-quorum":     "org.apache.kafka.tools.MetadataQuorumCommand",
	"kafka-get-cluster-id":      "org.apache.kafka.tools.ClusterTool",
}

// startTool starts a console tool. It adds the broker's address unless the arguments name it.
func (l *lab) startTool(t *testing.T, name string, args ...string) *harness.Program {
	t.Helper()
	if !strings.Contains(strings.Join(args, " "), l.Addr) {
		args = append([]string{"--bootstrap-server", l.Addr}, args...)
	}
	return l.java.Start(t, consoleTools[name], args...)
}

// tool runs a console tool, requires that it succeeds, and returns what it printed.
func (l *lab) tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	return l.startTool(t, name, args...).Done(t, toolLimit)
}

// toolFails requires the tool to fail and to say why.
func (l *lab) toolFails(t *testing.T, why, name string, args ...string) {
	t.Helper()
	p := l.startTool(t, name, args...)
	if code := p.Wait(t, toolLimit); code == 0 {
		t.Errorf("%s: it succeeds\n%s", p.Name, p.Tail())
	}
	wantReason(t, p, why)
}

// toolRefuses is toolFails for kafka-consumer-groups, which says why and exits with 0.
func (l *lab) toolRefuses(t *testing.T, why, name string, args ...string) {
	t.Helper()
	p := l.startTool(t, name, args...)
	p.Wait(t, toolLimit)
	wantReason(t, p, why)
}

func wantReason(t *testing.T, p *harness.Program, why string) {
	t.Helper()
	if !strings.Contains(p.Text()+p.Errors(), why) {
		t.Errorf("%s: it does not say %q\n%s", p.Name, why, p.Tail())
	}
}

// wantSaid requires each of these patterns in an output.
func wantSaid(t *testing.T, out string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile(`(?m)` + p).MatchString(out) {
			t.Errorf("it does not say %q:\n%.4000s", p, out)
		}
	}
}

// clientTools tests the console tools of Apache Kafka, several at a time.
func clientTools(t *testing.T, l *lab) {
	for name, test := range map[string]func(*testing.T, *lab){
		"Topics": toolTopics, "Console": toolConsole, "Configs": toolConfigs, "Offsets": toolOffsets, "Verifiable": toolVerifiable,
		"Perf": toolPerf, "Cluster": toolCluster, "Resets": toolResets, "Groups": toolGroups, "Leaders": toolLeaders,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, l)
		})
	}
}

func toolTopics(t *testing.T, l *lab) {
	const topic = "tool-topics"
	topics := func(args ...string) string { t.Helper(); return l.tool(t, "kafka-topics", args...) }
	wantSaid(t, topics("--create", "--topic", topic, "--partitions", "3", "--config", "retention.ms=3600000"), `^Created topic tool-topics\.$`)
	topics("--create", "--topic", topic, "--if-not-exists")
	l.toolFails(t, "already exists", "kafka-topics", "--create", "--topic", topic)
	l.toolFails(t, "replication factor", "kafka-topics", "--create", "--topic", topic+"-0", "--replication-factor", "0")
	describe := func(want string) {
		t.Helper()
		var out string
		if err := harness.Until(clientLimit, func() error {
			if out = topics("--describe", "--topic", topic); !strings.Contains(out, want) {
				return fmt.Errorf("no %q in\n%s", want, out)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		wantSaid(t, out, `Topic: tool-topics\s+TopicId: \S{22}\s`, `ReplicationFactor: 1\s+Configs: .*retention\.ms=3600000`, `Partition: 2\s+Leader: 1\s+Replicas: 1\s+Isr: 1`)
	}
	describe("PartitionCount: 3")
	topics("--alter", "--topic", topic, "--partitions", "4")
	describe("PartitionCount: 4")
	if !slices.Contains(strings.Fields(topics("--list")), topic) {
		t.Error("--list leaves it out")
	}
	if out := topics("--describe", "--under-replicated-partitions") + topics("--describe", "--unavailable-partitions"); out != "" {
		t.Errorf("replicas are missing: %s", out)
	}
	topics("--delete", "--topic", topic)
	l.toolFails(t, "does not exist", "kafka-topics", "--delete", "--topic", topic)
}

func toolConsole(t *testing.T, l *lab) {
	const topic = "tool-console"
	mustCreate(t, l.Addr, topic, 2)
	for i, codec := range codecs {
		p := l.startTool(t, "kafka-console-producer", "--topic", topic, "--compression-codec", codec, "--reader-property", "parse.key=true",
			"--reader-property", "parse.headers=true", "--reader-property", "key.separator=|")
		p.Send(t, fmt.Sprintf("codec:%s\tk%d|%s one", codec, i, codec))
		p.Send(t, fmt.Sprintf("codec:%s\tk%d|%s two", codec, i, codec))
		p.Done(t, toolLimit)
	}
	out := l.tool(t, "kafka-console-consumer", "--topic", topic, "--from-beginning", "--max-messages", "10", "--group", topic,
		"--formatter-property", "print.key=true", "--formatter-property", "print.headers=true", "--formatter-property", "print.partition=true")
	for i, codec := range codecs {
		for _, word := range []string{"one", "two"} {
			wantSaid(t, out, fmt.Sprintf(`^Partition:[01]\tcodec:%s\tk%d\t%s %s$`, codec, i, codec, word))
		}
	}
	// What the group has committed is not read again.
	p := l.startTool(t, "kafka-console-producer", "--topic", topic, "--sync")
	p.Send(t, "late")
	p.Done(t, toolLimit)
	if out := l.tool(t, "kafka-console-consumer", "--topic", topic, "--max-messages", "1", "--group", topic); out != "late\n" {
		t.Errorf("the group goes on with %q", out)
	}
	first := l.tool(t, "kafka-console-consumer", "--topic", topic, "--partition", "0", "--offset", "earliest", "--max-messages", "1")
	again := l.tool(t, "kafka-console-consumer", "--topic", topic, "--partition", "0", "--offset", "0", "--max-messages", "1")
	if first != again || first == "" {
		t.Errorf("the first of partition 0: %q by name, %q by number", first, again)
	}
}

func toolConfigs(t *testing.T, l *lab) {
	const topic = "tool-configs"
	mustCreate(t, l.Addr, topic, 1)
	configs := func(args ...string) string { t.Helper(); return l.tool(t, "kafka-configs", args...) }
	of := []string{"--entity-type", "topics", "--entity-name", topic}
	configs(append(of, "--alter", "--add-config", "retention.ms=3600000,cleanup.policy=[delete,compact]")...)
	wantSaid(t, configs(append(of, "--describe")...), `retention\.ms=3600000 sensitive=false synonyms=\{DYNAMIC_TOPIC_CONFIG:retention\.ms=3600000`, `cleanup\.policy=delete,compact`)
	all := configs(append(of, "--describe", "--all")...)
	wantSaid(t, all, `^  max\.message\.bytes=1048588 sensitive=false synonyms=\{DEFAULT_CONFIG:message\.max\.bytes=1048588\}`, `^  compression\.type=producer `, `^  min\.insync\.replicas=1 `)
	configs(append(of, "--alter", "--delete-config", "retention.ms,cleanup.policy")...)
	if out := configs(append(of, "--describe")...); strings.Contains(out, "retention.ms") {
		t.Errorf("a deleted key is still set: %s", out)
	}
	l.toolFails(t, "InvalidConfigurationException", "kafka-configs", append(of, "--alter", "--add-config", "retention.ms=long")...)
	l.toolFails(t, "no.such.key", "kafka-configs", append(of, "--alter", "--add-config", "no.such.key=1")...)
	broker := configs("--entity-type", "brokers", "--entity-name", "1", "--describe", "--all")
	wantSaid(t, broker, `^  node\.id=1 `, `^  num\.partitions=1 `, `^  message\.max\.bytes=1048588 `, `^  advertised\.listeners=PLAINTEXT://127\.0\.0\.1:\d+ `, `^  log\.retention\.hours=168 `)
	wantSaid(t, configs("--entity-type", "brokers", "--entity-default", "--describe"), `Default configs for brokers in the cluster are`)

	// While brokers run: keys that no other test of these clients depends on.
	one, every := []string{"--entity-type", "brokers", "--entity-name", "1"}, []string{"--entity-type", "brokers", "--entity-default"}
	configs(append(every, "--alter", "--add-config", "log.retention.bytes=5000000000,max.connections=9000")...)
	configs(append(one, "--alter", "--add-config", "log.retention.bytes=6000000000")...)
	const lowest, middle = `DYNAMIC_BROKER_CONFIG:log.retention.bytes=6000000000`, `DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.bytes=5000000000`
	wantSaid(t, configs(append(one, "--describe")...), `log\.retention\.bytes=6000000000 sensitive=false synonyms=\{`+lowest+`, `+middle+`, DEFAULT_CONFIG:log\.retention\.bytes=-1\}`)
	wantSaid(t, configs(append(one, "--describe", "--all")...), `^  max\.connections=9000 sensitive=false synonyms=\{DYNAMIC_DEFAULT_BROKER_CONFIG:max\.connections=9000, DEFAULT_CONFIG:max\.connections=\d+\}`)
	wantSaid(t, configs(append(every, "--describe")...), `log\.retention\.bytes=5000000000`, `max\.connections=9000`)
	wantSaid(t, configs(append(of, "--describe", "--all")...), `^  retention\.bytes=6000000000 sensitive=false synonyms=\{`+lowest)
	l.toolFails(t, "Cannot update these configs dynamically", "kafka-configs", append(one, "--alter", "--add-config", "num.partitions=7")...)
	l.toolFails(t, "message.max.bytes", "kafka-configs", append(every, "--alter", "--add-config", "message.max.bytes=many")...)
	configs(append(one, "--alter", "--delete-config", "log.retention.bytes")...)
	configs(append(every, "--alter", "--delete-config", "log.retention.bytes,max.connections")...)
	if out := configs(append(every, "--describe")...) + configs(append(one, "--describe")...); strings.Contains(out, "retention") || strings.Contains(out, "max.connections") {
		t.Errorf("a deleted key is still set: %s", out)
	}
}

// toolOffsets tests kafka-get-offsets with every kind of time, before and after
// kafka-delete-records, and kafka-log-dirs.
func toolOffsets(t *testing.T, l *lab) {
	const topic = "tool-offsets"
	mustCreate(t, l.Addr, topic, 2)
	start := time.Now().Add(-time.Hour).UnixMilli()
	seedTopic(t, l, topic, 2, 20, start)
	at := func(when, want string) {
		t.Helper()
		if out := l.tool(t, "kafka-get-offsets", "--topic", topic, "--time", when); out != want {
			t.Errorf("offsets at %s are\n%swant\n%s", when, out, want)
		}
	}
	at("-1", "tool-offsets:0:20\ntool-offsets:1:20\n")
	at("latest", "tool-offsets:0:20\ntool-offsets:1:20\n")
	at("-2", "tool-offsets:0:0\ntool-offsets:1:0\n")
	at("-3", "tool-offsets:0:19\ntool-offsets:1:19\n")
	at(fmt.Sprint(start+5000), "tool-offsets:0:5\ntool-offsets:1:5\n")
	at(fmt.Sprint(start+4001), "tool-offsets:0:5\ntool-offsets:1:5\n")

	file := filepath.Join(t.TempDir(), "delete.json")
	plan := `{"version":1,"partitions":[{"topic":"tool-offsets","partition":0,"offset":7},{"topic":"tool-offsets","partition":1,"offset":-1}]}`
	if err := os.WriteFile(file, []byte(plan), 0o644); err != nil {
		t.Fatal(err)
	}
	wantSaid(t, l.tool(t, "kafka-delete-records", "--offset-json-file", file), `partition: tool-offsets-0\s+low_watermark: 7`, `partition: tool-offsets-1\s+low_watermark: 20`)
	at("earliest", "tool-offsets:0:7\ntool-offsets:1:20\n")
	at("-1", "tool-offsets:0:20\ntool-offsets:1:20\n")
	out := l.tool(t, "kafka-console-consumer", "--topic", topic, "--partition", "0", "--offset", "earliest", "--max-messages", "1", "--formatter-property", "print.offset=true")
	wantSaid(t, out, `^Offset:7\s`)

	dirs := l.tool(t, "kafka-log-dirs", "--describe", "--topic-list", topic)
	_, text, _ := strings.Cut(dirs, "{")
	var told struct {
		Brokers []struct {
			LogDirs []struct {
				Partitions []struct {
					Partition string
					Size      int64
				}
			}
		}
	}
	if err := json.Unmarshal([]byte("{"+text), &told); err != nil {
		t.Fatalf("%v\n%s", err, dirs)
	}
	if len(told.Brokers) != 1 || len(told.Brokers[0].LogDirs) != 1 || len(told.Brokers[0].LogDirs[0].Partitions) != 2 {
		t.Errorf("log directories: %s", dirs)
	}
}

// seedTopic writes the given number of records, a second apart, to each partition.
func seedTopic(t *testing.T, l *lab, topic string, partitions int32, each int, start int64) {
	t.Helper()
	_, cl := l.kadm(t)
	var records []*kgo.Record
	for p := range partitions {
		for i := range each {
			records = append(records, &kgo.Record{Topic: topic, Partition: p, Value: fmt.Appendf(nil, "v%d", i), Timestamp: time.UnixMilli(start + int64(i)*1000)})
		}
	}
	if err := cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// toolVerifiable: what the verifiable producer says it has sent, the verifiable consumer says it
// has read and committed.
func toolVerifiable(t *testing.T, l *lab) {
	const topic = "tool-verifiable"
	mustCreate(t, l.Addr, topic, 3)
	verifiable := func(name string, args ...string) string {
		t.Helper()
		return harness.ExecJava(t, consoleTools[name], append([]string{"--bootstrap-server", l.Addr}, args...)...).Done(t, toolLimit)
	}
	sent := verifiable("kafka-verifiable-producer", "--topic", topic, "--max-messages", "500", "--acks", "-1", "--value-prefix", "7")
	if got := strings.Count(sent, `"name":"producer_send_success"`); got != 500 {
		t.Errorf("%d records are told of as sent, want 500", got)
	}
	wantSaid(t, sent, `"sent":500,"acked":500`)
	read := verifiable("kafka-verifiable-consumer", "--topic", topic, "--group-id", topic, "--max-messages", "500", "--reset-policy", "earliest", "--verbose")
	if got := strings.Count(read, `"name":"record_data"`); got != 500 {
		t.Errorf("%d records are told of as read, want 500", got)
	}
	wantSaid(t, read, `"name":"partitions_assigned"`, `"name":"offsets_committed".*"success":true`, `"name":"shutdown_complete"`)
	for _, line := range strings.Split(read, "\n") {
		if strings.Contains(line, `"offsets_committed"`) && !strings.Contains(line, `"success":true`) {
			t.Errorf("a commit failed: %s", line)
		}
	}
}

func toolPerf(t *testing.T, l *lab) {
	const topic = "tool-perf"
	mustCreate(t, l.Addr, topic, 3)
	out := l.tool(t, "kafka-producer-perf-test", "--topic", topic, "--num-records", "20000", "--record-size", "200", "--throughput", "-1",
		"--producer-props", "bootstrap.servers="+l.Addr, "acks=all", "compression.type=lz4")
	wantSaid(t, out, `^20000 records sent, .*99\.9th\.$`)
	out = l.tool(t, "kafka-consumer-perf-test", "--topic", topic, "--num-records", "20000", "--timeout", "20000", "--hide-header")
	wantSaid(t, out, `, 20000, `)
	out = l.tool(t, "kafka-e2e-latency", "--bootstrap-server", l.Addr, "--topic", topic, "--num-records", "100", "--producer-acks", "all", "--record-size", "100")
	wantSaid(t, out, `Avg latency: `, `Percentiles: 50th = `)
}

// toolCluster tests the tools that look at the cluster.
func toolCluster(t *testing.T, l *lab) {
	out := l.tool(t, "kafka-broker-api-versions")
	wantSaid(t, out, `^127\.0\.0\.1:\d+ \(id: 1 rack: null isFenced: false\) -> \($`, `Produce\(0\): 0 to 1[0-9] \[usable: `, `JoinGroup\(11\): [0-9]+ to 9 \[usable: 9\]`)
	wantSaid(t, l.tool(t, "kafka-get-cluster-id", "cluster-id", "--bootstrap-server", l.Addr), `^Cluster ID: \S{22}$`)
}

// toolLeaders holds what one broker answers to the tools that move leaders, and that tell of the
// quorum, of features and of producers.
func toolLeaders(t *testing.T, l *lab) {
	const topic = "tool-leaders"
	mustCreate(t, l.Addr, topic, 2)
	seedTopic(t, l, topic, 2, 3, time.Now().UnixMilli())
	file := func(name, text string) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	wantSaid(t, l.tool(t, "kafka-leader-election", "--election-type", "preferred", "--topic", topic, "--partition", "0"),
		`Valid replica already elected for partitions? tool-leaders-0`)
	l.tool(t, "kafka-leader-election", "--election-type", "preferred", "--all-topic-partitions")
	l.toolFails(t, "tool-nowhere", "kafka-leader-election", "--election-type", "unclean", "--topic", "tool-nowhere", "--partition", "0")

	reassign := func(args ...string) string { t.Helper(); return l.tool(t, "kafka-reassign-partitions", args...) }
	wantSaid(t, reassign("--list"), `No partition reassignments found\.`)
	move := file("topics.json", `{"version":1,"topics":[{"topic":"tool-leaders"}]}`)
	wantSaid(t, reassign("--generate", "--topics-to-move-json-file", move, "--broker-list", "1"), `Proposed partition reassignment configuration`)
	plan := file("plan.json", `{"version":1,"partitions":[{"topic":"tool-leaders","partition":0,"replicas":[1]},{"topic":"tool-leaders","partition":1,"replicas":[1]}]}`)
	wantSaid(t, reassign("--execute", "--reassignment-json-file", plan), `Successfully started partition reassignments? for tool-leaders-0,tool-leaders-1`)
	wantSaid(t, reassign("--verify", "--reassignment-json-file", plan, "--preserve-throttles"), `Reassignment of partition tool-leaders-0 is completed\.`)
	l.toolFails(t, "Unknown broker id 7", "kafka-reassign-partitions", "--execute", "--reassignment-json-file",
		file("away.json", `{"version":1,"partitions":[{"topic":"tool-leaders","partition":0,"replicas":[7]}]}`))

	wantSaid(t, l.tool(t, "kafka-metadata-quorum", "describe", "--status"), `^LeaderId:\s+1$`, `^CurrentVoters:.*"id": 1`)
	wantSaid(t, l.tool(t, "kafka-metadata-quorum", "describe", "--replication"), `^1\s.*\sLeader\s*$`)
	wantSaid(t, l.tool(t, "kafka-features", "describe"), `metadata\.version\s.*FinalizedVersionLevel: \S+`)
	l.toolFails(t, "no.such", "kafka-features", "upgrade", "--feature", "no.such=1")

	wantSaid(t, l.tool(t, "kafka-transactions", "describe-producers", "--topic", topic, "--partition", "0"), `^ProducerId\s+ProducerEpoch`, `^\d+\s+0\s+-1\s+\d+\s`)
	wantSaid(t, l.tool(t, "kafka-transactions", "find-hanging", "--topic", topic), `^Topic\s+Partition\s+ProducerId`)
}
