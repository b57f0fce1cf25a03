package config

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sluicemq/sluice/broker"
)

var update = flag.Bool("update", false, "write docs/configuration.md anew")

const page = "../../../docs/configuration.md"

const head = `# Configuration

This page is written from the table of keys (` + "`go test ./cmd/sluice/config -update`" + `), and a test holds it to it.

` + "`sluice serve`" + ` reads each key from the first of these that has it:

1. ` + "`--set KEY=VALUE`" + `
2. a variable: ` + "`SLUICE_FLUSH_INTERVAL`" + ` is ` + "`sluice.flush.interval`" + `, ` + "`SLUICE_NUM_PARTITIONS`" + ` is ` + "`num.partitions`" + `; then
   ` + "`KAFKA_NUM_PARTITIONS`" + `, as container images of Kafka have it (` + "`__`" + ` stands for ` + "`_`, `___` for `-`" + `)
3. ` + "`--config FILE`" + `: YAML, flat or nested, or a Kafka ` + "`server.properties`" + `
4. its default, which is Kafka's for Kafka's keys, but for those marked *

Keys marked † also change while brokers run, on one broker or on all, by any Kafka client; see [below](#while-brokers-run).

` + "`sluice dev`" + ` is the same with a few keys set; ` + "`sluice dev --print-config`" + ` prints them as a file.

` + "```yaml" + `
node.id: 1
listeners: PLAINTEXT://0.0.0.0:9092
advertised.listeners: PLAINTEXT://kafka.example:9092
log.dirs: /var/lib/sluice
sluice:
  bucket: s3://my-bucket/sluice?region=eu-central-1
  flush.interval: 5s
` + "```" + `

Every problem is told at once, with its place: unknown keys (with the one that was probably meant), values that do not fit, keys that
stand twice. Sizes take ` + "`KiB`, `MiB`, `GiB`" + `; durations are like ` + "`500ms`, `10s`, `5m`" + `. Kafka's keys are plain numbers, with the unit in the name.
A ` + "`KAFKA_…`" + ` variable that names no key is logged and left alone, as it may be somebody else's; one that is almost a key is a problem.

Clients are told the address of the listener that they came by, as ` + "`advertised.listeners`" + ` has it. A listener at ` + "`0.0.0.0`, `::`" + ` or no
address at all needs its entry there. ` + "`broker.id` and `log.dir`" + ` are older names of ` + "`node.id` and `log.dirs`" + `.
`

const running = `
## While brokers run

The keys marked † are set, and taken away again, with Kafka's AlterConfigs and IncrementalAlterConfigs, on one broker by its id or on all:

` + "```sh" + `
kafka-configs.sh --bootstrap-server 127.0.0.1:9092 --alter --entity-type brokers --entity-default --add-config log.retention.ms=3600000
kafka-configs.sh --bootstrap-server 127.0.0.1:9092 --alter --entity-type brokers --entity-name 1 --add-config max.connections=500
kafka-configs.sh --bootstrap-server 127.0.0.1:9092 --alter --entity-type brokers --entity-name 1 --delete-config max.connections
` + "```" + `

They are in force when the answer is there, and after every restart; they are part of the metadata, not of a file. What is set on a broker counts before
what is set on all, and that before file, variables and flags, also where those say it in hours or minutes. DescribeConfigs (` + "`kafka-configs.sh --describe --all`" + `)
shows each source. Retention follows with its next turn (` + "`log.retention.check.interval.ms`" + `). A lower limit of connections counts for new ones; those that
are open stay. A limit above ` + "`max.connections`" + ` of the start may need more file descriptors than the start asked for.
`

// differ lists Kafka's keys that have another default here.
var differ = []string{"listeners", "log.dirs", "max.connections", "max.connections.per.ip", "node.id", "process.roles"}

func document() string {
	var out strings.Builder
	out.WriteString(head)
	table := func(title, intro string, rows func(k *Key) bool) {
		fmt.Fprintf(&out, "\n## %s\n\n%s| key | type | default | what it does |\n|---|---|---|---|\n", title, intro)
		for i := range keys {
			if k := &keys[i]; rows(k) {
				name := "`" + k.Name + "`"
				if slices.Contains(differ, k.Name) {
					name += " *"
				}
				if broker.ChangesWhileRunning(k.Name) {
					name += " †"
				}
				fmt.Fprintf(&out, "| %s | %s | %s | %s |\n", name, k.Type, shownDefault(k), strings.ReplaceAll(k.Doc, "|", `\|`))
			}
		}
	}
	ours := func(k *Key) bool { return strings.HasPrefix(k.Name, "sluice.") }
	table("Sluice's own keys", "", ours)
	table("Kafka's keys that act", "", func(k *Key) bool { return k.Meaning == Acts && !ours(k) && !k.topic })
	table("Defaults of topics", "What a topic has that does not set the key itself.\n\n", func(k *Key) bool { return k.topic })
	out.WriteString(running)
	names := func(m Meaning, doc string) string {
		var list []string
		for i := range keys {
			if k := &keys[i]; k.Meaning == m && k.Doc == doc {
				list = append(list, "`"+k.Name+"`")
			}
		}
		return strings.Join(list, ", ")
	}
	fmt.Fprintf(&out, "\n## Keys that end the start\n\n%s. These keys, and all others that begin with `ssl.`, `sasl.`, `delegation.token.` or are such a key of one listener\n"+
		"(`listener.name.…`), end the start when they are set to anything but Kafka's default; a listener whose protocol is not PLAINTEXT does, too.\n\n%s\n",
		notThere, names(NotServed, notThere))
	fmt.Fprint(&out, "\n## Keys without meaning here\n\nAccepted, shown by DescribeConfigs, and named in one line of the log when they are set.\n\n| keys | why they change nothing |\n|---|---|\n")
	for _, why := range []string{oneQuorum, noReplicas, ownFiles, ownTuning, ownMetrics, noCleaner, classicOnly, noTransactions, noQuotas, remote, gone} {
		fmt.Fprintf(&out, "| %s | %s |\n", names(Kept, why), why)
	}
	return out.String()
}

func shownDefault(k *Key) string {
	switch {
	case k.Unset:
		return "–"
	case k.Default == "":
		return "(empty)"
	}
	return "`" + k.Default + "`"
}

func TestDocumentIsTrue(t *testing.T) {
	want := document()
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the table of keys says: go test ./cmd/sluice/config -update", page)
	}
	for i := range keys {
		if !strings.Contains(want, "`"+keys[i].Name+"`") {
			t.Errorf("the page does not name %s", keys[i].Name)
		}
	}
}
