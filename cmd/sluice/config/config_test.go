package config

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// from resolves the text of one file, which must have no problem.
func from(t *testing.T, name, text string) *Config {
	t.Helper()
	entries, err := ParseFile(name, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	c, err := Resolve(entries)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func flags(t *testing.T, assignments ...string) []Entry {
	t.Helper()
	entries, err := FromFlags(assignments)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// problemsOf returns what is wrong with assignments.
func problemsOf(t *testing.T, assignments ...string) Problems {
	t.Helper()
	_, err := Resolve(flags(t, assignments...))
	if err == nil {
		return nil
	}
	var p Problems
	if !errors.As(err, &p) {
		t.Fatalf("%T: %v", err, err)
	}
	return p
}

// Each layer overrides the one before it: default, file, KAFKA_, SLUICE_, flag.
func TestPrecedence(t *testing.T) {
	file, err := ParseFile("f.yaml", []byte("num.partitions: 2\nbroker.rack: file\n"))
	if err != nil {
		t.Fatal(err)
	}
	all := []string{"KAFKA_NUM_PARTITIONS=3", "KAFKA_BROKER_RACK=kafka", "SLUICE_NUM_PARTITIONS=4", "PATH=/bin"}
	for _, c := range []struct {
		name           string
		file           []Entry
		environ, flags []string
		want, at       string
	}{
		{"default", nil, nil, nil, "1", "default"},
		{"file", file, nil, nil, "2", "f.yaml:1"},
		{"kafka's variable", file, all[:1], nil, "3", "KAFKA_NUM_PARTITIONS"},
		{"our variable", file, all, nil, "4", "SLUICE_NUM_PARTITIONS"},
		{"flag", file, all, []string{"num.partitions=5", "num.partitions=6"}, "6", "--set"},
	} {
		environ := FromEnvironment(c.environ)
		got, err := Resolve(c.file, environ[0], environ[1], flags(t, c.flags...))
		if err != nil {
			t.Fatal(err)
		}
		if v, at := got.Value("num.partitions"), got.At("num.partitions"); v != c.want || at != c.at {
			t.Errorf("%s: %s from %s, want %s from %s", c.name, v, at, c.want, c.at)
		}
	}
}

func TestEnvironment(t *testing.T) {
	for _, c := range []struct{ variable, key, value string }{
		{"KAFKA_LOG_RETENTION_HOURS=5", "log.retention.hours", "5"},
		{"KAFKA_LISTENER_NAME_MY__OWN___ONE_MAX_CONNECTIONS=5", "listener.name.my_own-one.max.connections", "5"},
		{"SLUICE_LOG_RETENTION_HOURS=5", "log.retention.hours", "5"},
		{"SLUICE_FLUSH_INTERVAL=250ms", "sluice.flush.interval", "250ms"},
		{"SLUICE_WAL_BUDGET_BYTES=8GiB", "sluice.wal.budget.bytes", "8GiB"},
		{"SLUICE_CONNECTIONS_MAX=7", "max.connections", "7"},
		{"SLUICE_CONNECTIONS_PER_IP_MAX=7", "max.connections.per.ip", "7"},
		{"SLUICE_RETENTION_CHECK_INTERVAL=300ms", "log.retention.check.interval.ms", "300"},
		{"SLUICE_RETENTION_CHECK_INTERVAL=1s", "log.retention.check.interval.ms", "1000"},
		{"KAFKA_BROKER_ID=4", "node.id", "4"},
		{"KAFKA_BROKER_RACK=a=b", "broker.rack", "a=b"},
	} {
		environ := FromEnvironment([]string{c.variable})
		got, err := Resolve(environ[0], environ[1])
		if err != nil {
			t.Errorf("%s: %v", c.variable, err)
		} else if v := got.Value(c.key); v != c.value {
			t.Errorf("%s: %s is %q, want %q", c.variable, c.key, v, c.value)
		}
	}
}

// A variable that begins with KAFKA_ may belong to somebody else. One that is almost a key is a
// typing error, and so is any unknown SLUICE_ variable.
func TestUnknownVariables(t *testing.T) {
	for _, c := range []struct{ variable, problem, foreign string }{
		{"KAFKA_HEAP_OPTS=-Xmx1G", "", ""},
		{"KAFKA_BOOTSTRAP_SERVERS=a:1", "", "KAFKA_BOOTSTRAP_SERVERS"},
		{"KAFKA_NUM_PARTITION=3", "KAFKA_NUM_PARTITION: num.partition: unknown key; did you mean num.partitions?", ""},
		{"KAFKA_SASL_ENABLED_MECHANISMS=PLAIN", "KAFKA_SASL_ENABLED_MECHANISMS: sasl.enabled.mechanisms: \"PLAIN\": TLS, SASL and authorization are not served yet", ""},
		{"SLUICE_FLUSH_INTERVALL=1s", "SLUICE_FLUSH_INTERVALL: sluice.flush.intervall: unknown key; did you mean sluice.flush.interval?", ""},
		{"SLUICE_XYZZY=1", "SLUICE_XYZZY: sluice.xyzzy: unknown key", ""},
		{"SLUICE_BROKERS=a:1", "", ""},
		{"SLUICE_SERVICE_HOST=10.0.0.1", "", ""}, // exists beside a Kubernetes service
		{"SLUICE_PORT=tcp://10.0.0.1:9092", "", ""},
		{"KAFKA_PORT_9092_TCP_ADDR=10.0.0.1", "", ""},
		{"SLUICE_KAFKA_SERVICE_PORT_CLIENTS=9092", "", ""},
	} {
		environ := FromEnvironment([]string{c.variable})
		got, err := Resolve(environ[0], environ[1])
		if err == nil {
			if c.problem != "" {
				t.Errorf("%s: no problem", c.variable)
			} else if f := strings.Join(got.Foreign(), ","); f != c.foreign {
				t.Errorf("%s: foreign %q, want %q", c.variable, f, c.foreign)
			}
			continue
		}
		if c.problem == "" || !strings.HasPrefix(err.Error(), c.problem) {
			t.Errorf("%s: %v\nwant %s", c.variable, err, c.problem)
		}
	}
}

// All problems are reported at once, each with its place.
func TestAllProblemsAtOnce(t *testing.T) {
	entries, err := ParseFile("broker.properties", []byte(`num.partitions=many
auto.create.topics.enable=perhaps
nim.io.threads=4
ssl.keystore.password=hunter2
log.retention.ms=soon
listeners=PLAINTEXT://0.0.0.0:9092
sluice.wal.budget.bytes=1MiB
`))
	if err != nil {
		t.Fatal(err)
	}
	_, err = Resolve(entries, flags(t, "flush.intervall=1s"))
	want := `broker.properties:1: num.partitions: "many": want a whole number from 1 to 2147483647
broker.properties:2: auto.create.topics.enable: "perhaps": want true or false
broker.properties:3: nim.io.threads: unknown key; did you mean num.io.threads?
broker.properties:4: ssl.keystore.password: (hidden): TLS, SASL and authorization are not served yet, and a key that asks for them is not ignored: remove it to serve in plain text
broker.properties:5: log.retention.ms: "soon": want a whole number from -1 to 9223372036854775807
--set: flush.intervall: unknown key; did you mean sluice.flush.interval?
broker.properties:7: sluice.wal.budget.bytes: it must hold at least two files of sluice.wal.segment.bytes, which is 64MiB
broker.properties:6: listeners: clients are told to connect to 0.0.0.0:9092, which is no address of anybody: set advertised.listeners=PLAINTEXT://HOST:9092, where HOST is the name or address by which they reach this machine`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if _, ok := errors.AsType[Problems](err); !ok {
		t.Errorf("the error is a %T", err)
	}
}

func TestValues(t *testing.T) {
	for _, c := range []struct{ set, problem string }{
		{"node.id=-1", "want a whole number from 0 to 2147483647"},
		{"node.id=2147483648", "want a whole number from 0 to 2147483647"},
		{"node.id= 7 ", ""},
		{"default.replication.factor=99999", "want a whole number from 1 to 32767"},
		{"sluice.flush.interval=10", "want a duration above zero, such as 500ms or 10s"},
		{"sluice.flush.interval=-1s", "want a duration above zero"},
		{"sluice.flush.bytes=16MiB", ""},
		{"sluice.flush.bytes=16MB", "want a number above zero, such as 1048576 or 64MiB"},
		{"sluice.flush.bytes=1", "want at least 1KiB"},
		{"sluice.flush.bytes=9999999999GiB", "want a number above zero"},
		{"sluice.wal.segment.bytes=8GiB", "want at most 1GiB"},
		{"sluice.admin.listener=", ""},
		{"sluice.admin.listener=9644", "want HOST:PORT"},
		{"sluice.admin.listener=127.0.0.1:99999", "want HOST:PORT"},
		{"log.dirs=/a,/b", "want one folder"},
		{"log.dirs=", "want a folder"},
		{"process.roles=controller", "want broker,controller"},
		{"process.roles=controller, broker", ""},
		{"process.roles=broker", ""},
		{"log.cleanup.policy=shred", "want a list of compact, delete"},
		{"log.cleanup.policy=compact,delete", ""},
		{"compression.type=brotli", "want one of"},
		{"num.io.threads=x", "want a whole number"},
		{"log.cleaner.io.buffer.load.factor=x", "want a number"},
		{"group.min.session.timeout.ms=1800001", "it exceeds group.max.session.timeout.ms, which is 1800000"},
		{"sluice.fetch.memory.bytes=5MiB", "it must hold one request of socket.request.max.bytes, which is 104857600"},
		{"sluice.request.memory.bytes=1MiB", "it must hold one request of socket.request.max.bytes, which is 104857600"},
		{"log.cleaner.max.compaction.lag.ms=5", ""},
	} {
		got := problemsOf(t, c.set)
		switch {
		case c.problem == "" && got != nil, c.problem != "" && (len(got) != 1 || !strings.Contains(got[0].Reason, c.problem)):
			t.Errorf("%s: %v, want %q", c.set, got, c.problem)
		}
	}
	if p := problemsOf(t, "log.cleaner.min.compaction.lag.ms=9", "log.cleaner.max.compaction.lag.ms=5"); len(p) != 1 {
		t.Errorf("lags that contradict each other: %v", p)
	}
	for _, set := range [][]string{{"sluice.memory.only=true", "sluice.bucket=file:///x"}, {"sluice.memory.only=true", "log.dirs=/x"}} {
		if p := problemsOf(t, set...); len(p) != 1 {
			t.Errorf("%q: %v", set, p)
		}
	}
}

// A key that asks for security ends the start, under every name that it has. Repeating the default
// does not.
func TestNotServed(t *testing.T) {
	for _, set := range []string{
		"ssl.keystore.location=/k", "ssl.client.auth=required", "ssl.made.up=1", "sasl.enabled.mechanisms=PLAIN", "sasl.jaas.config=x",
		"authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users=User:admin",
		"allow.everyone.if.no.acl.found=true", "security.inter.broker.protocol=SASL_SSL", "principal.builder.class=x",
		"listener.name.client.ssl.keystore.location=/k", "listener.name.client.scram-sha-256.sasl.jaas.config=x",
		"connections.max.reauth.ms=1", "delegation.token.secret.key=x", "config.providers=file", "create.topic.policy.class.name=x",
		"listeners=SSL://127.0.0.1:9092", "listeners=SASL_PLAINTEXT://127.0.0.1:9092", "listener.security.protocol.map=PLAINTEXT:SSL",
	} {
		if p := problemsOf(t, set); len(p) != 1 || !strings.Contains(p[0].Reason, "not served yet") {
			t.Errorf("%s: %v", set, p)
		}
	}
	for _, set := range []string{
		"ssl.client.auth=none", "sasl.enabled.mechanisms=GSSAPI", "authorizer.class.name=", "security.inter.broker.protocol=PLAINTEXT",
		"ssl.enabled.protocols=TLSv1.2, TLSv1.3", "allow.everyone.if.no.acl.found=false", "ssl.keystore.location=",
	} {
		if p := problemsOf(t, set); p != nil {
			t.Errorf("%s: %v", set, p)
		}
	}
}

// A secret is never shown again, wherever it was set.
func TestSecretsStayHidden(t *testing.T) {
	const secret = "hunter2"
	for _, key := range []string{"ssl.key.password", "sasl.jaas.config", "sasl.oauthbearer.client.credentials.client.secret", "listener.name.x.plain.sasl.jaas.config", "ssl.made.up.password"} {
		if p := problemsOf(t, key+"="+secret); p == nil || strings.Contains(p.Error(), secret) {
			t.Errorf("%s: %v", key, p)
		}
	}
	text, err := from(t, "f.properties", "password.encoder.secret="+secret).YAML()
	if err != nil || strings.Contains(text, secret) {
		t.Errorf("printed: %s, %v", text, err)
	}
}

func TestAliases(t *testing.T) {
	c := from(t, "f.properties", "broker.id=3\nlog.dir=/x\n")
	if c.Int("node.id") != 3 || c.Value("log.dirs") != "/x" {
		t.Errorf("node.id %s, log.dirs %s", c.Value("node.id"), c.Value("log.dirs"))
	}
	if _, err := Resolve(flags(t, "broker.id=3", "node.id=3")); err != nil {
		t.Errorf("two names, one value: %v", err)
	}
	for _, set := range [][]string{{"broker.id=3", "node.id=4"}, {"log.retention.check.interval.ms=5", "sluice.retention.check.interval=7s"}} {
		if p := problemsOf(t, set...); len(p) != 1 || !strings.Contains(p[0].Reason, "keep one") {
			t.Errorf("%q: %v", set, p)
		}
	}
	if p := problemsOf(t, "sluice.retention.check.interval=7"); len(p) != 1 || !strings.Contains(p[0].Reason, "want a duration") {
		t.Errorf("the alias has its own form: %v", p)
	}
}

func TestTopicDefaults(t *testing.T) {
	c := from(t, "f.properties", "log.retention.hours=1\nmessage.max.bytes=2000\nlog.message.timestamp.type=LogAppendTime\n")
	d, err := c.TopicDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if e := d.Effective(nil); e.RetentionMs != time.Hour.Milliseconds() || e.MaxMessageBytes != 2000 || !e.LogAppendTime {
		t.Errorf("%+v", e)
	}
}

// A configuration that was written for one Kafka broker works as it is.
func TestKafkasServerProperties(t *testing.T) {
	text, err := os.ReadFile("testdata/server.properties")
	if err != nil {
		t.Fatal(err)
	}
	c := from(t, "server.properties", string(text))
	l, problems := c.Listeners()
	if len(problems) > 0 || len(l) != 1 || l[0] != (Listener{Name: "PLAINTEXT", Port: 9092, AdvertisedHost: "localhost", AdvertisedPort: 9092}) {
		t.Errorf("listeners %+v, %v", l, problems)
	}
	got := strings.Join(c.Meaningless(), " ")
	if want := "controller.quorum.bootstrap.servers inter.broker.listener.name num.io.threads share.coordinator.state.topic.min.isr " +
		"share.coordinator.state.topic.replication.factor transaction.state.log.min.isr transaction.state.log.replication.factor"; got != want {
		t.Errorf("without meaning: %s", got)
	}
}

func TestFlags(t *testing.T) {
	for _, a := range []string{"", "num.partitions", "=3", " =3"} {
		if _, err := FromFlags([]string{a}); err == nil || !strings.Contains(err.Error(), "want KEY=VALUE") {
			t.Errorf("%q: %v", a, err)
		}
	}
}

// The table itself: it is sorted, every name occurs once, every default is valid for its key, and
// every key is described.
func TestKeys(t *testing.T) {
	seen := map[string]bool{}
	for i := range keys {
		k := &keys[i]
		if i > 0 && keys[i-1].Name >= k.Name {
			t.Errorf("%s stands after %s", k.Name, keys[i-1].Name)
		}
		for _, name := range append(slices.Clone(k.aliases), k.Name) {
			if seen[name] {
				t.Errorf("%s stands twice", name)
			}
			seen[name] = true
		}
		if v, err := k.canonical(k.Default); !k.Unset && (err != nil || v != k.Default) {
			t.Errorf("%s: default %q reads as %q, %v", k.Name, k.Default, v, err)
		}
		if k.Unset && k.Default != "" || k.Doc == "" || k.Meaning == 0 || k.Type.String() == "" {
			t.Errorf("%+v is not whole", k)
		}
	}
	c, err := Resolve(flags(t, "log.message.format.version=3.0"))
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	for _, e := range c.All() {
		shown = append(shown, e.Key.Name)
	}
	for name, want := range map[string]bool{"num.io.threads": true, "super.users": false, "log.message.format.version": true, "inter.broker.protocol.version": false} {
		if slices.Contains(shown, name) != want {
			t.Errorf("%s is shown: %v", name, !want)
		}
	}
}
