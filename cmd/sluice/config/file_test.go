package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// printEntries prints entries as lines "at: key=value".
func printEntries(entries []Entry) string {
	var out strings.Builder
	for _, e := range entries {
		out.WriteString(e.At + " " + e.Key + "=" + e.Value + "\n")
	}
	return out.String()
}

func TestParseFile(t *testing.T) {
	for _, c := range []struct{ name, file, text, want string }{
		{"nothing", "f.yaml", "", ""},
		{"comments", "f.yaml", "# nothing\n---\n", ""},
		{"flat", "f.yaml", "num.partitions: 3\nbroker.rack: \"a: b\"\n", "f.yaml:1 num.partitions=3\nf.yaml:2 broker.rack=a: b\n"},
		{"nested", "f.yml", "num: {partitions: 3}\nsluice:\n  wal:\n    budget.bytes: 1GiB\n    segment:\n      bytes: 64MiB\n  memory.only: true\n",
			"f.yml:1 num.partitions=3\nf.yml:4 sluice.wal.budget.bytes=1GiB\nf.yml:6 sluice.wal.segment.bytes=64MiB\nf.yml:7 sluice.memory.only=true\n"},
		{"list", "f.yaml", "listeners:\n  - A://h:1\n  - B://h:2\n", "f.yaml:2 listeners=A://h:1,B://h:2\n"},
		{"empty value", "f.yaml", `sluice.admin.listener: ""`, "f.yaml:1 sluice.admin.listener=\n"},
		{"as written", "f.yaml", "broker.rack: 0x10\nnode.id: 010\nx: yes\n", "f.yaml:1 broker.rack=0x10\nf.yaml:2 node.id=010\nf.yaml:3 x=yes\n"},
		{"json", "f.json", `{"num": {"partitions": 3}}`, "f.json:1 num.partitions=3\n"},
		{"byte order mark", "f.properties", "\ufeffa=1", "f.properties:1 a=1\n"},
		{"properties", "f.properties", "# c\n! c\n\na=1\nb : 2\nc 3\nd=\ne\n  f = x=y z  \r\ng.h-i_j=k\n",
			"f.properties:4 a=1\nf.properties:5 b=2\nf.properties:6 c=3\nf.properties:7 d=\nf.properties:8 e=\nf.properties:9 f=x=y z\nf.properties:10 g.h-i_j=k\n"},
		{"continued", "f.properties", "a=1,\\\n   2,\\\n  3\nb=c\\\\\nd=e\\\n", "f.properties:1 a=1,2,3\nf.properties:4 b=c\\\nf.properties:5 d=e\n"},
		{"escaped", "f.properties", `a\ b\==\u00e9\t1\:2` + "\n", "f.properties:1 a b==é\t1:2\n"},
		{"by content", "broker.conf", "# x\nnum.partitions = 3\n", "broker.conf:2 num.partitions=3\n"},
		{"by content", "config", "# x\nnum.partitions: 3\n", "config:2 num.partitions=3\n"},
	} {
		entries, err := ParseFile(c.file, []byte(c.text))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if d := cmp.Diff(c.want, printEntries(entries)); d != "" {
			t.Errorf("%s:\n%s", c.name, d)
		}
	}
}

func TestParseFileProblems(t *testing.T) {
	for _, c := range []struct{ file, text, want string }{
		{"f.yaml", "a: 1\n b: 2\n", "f.yaml: file: line 2: mapping values are not allowed in this context (YAML, or name it .properties)"},
		{"f.yaml", "a:\nb: ~\n", "f.yaml:1: a: it has no value; write \"\" for an empty one\nf.yaml:2: b: it has no value; write \"\" for an empty one"},
		{"f.yaml", "- a\n", "f.yaml:1: file: want KEY: VALUE lines, not a list"},
		{"f.yaml", "just words\n", "f.yaml:1: file: it has no value; write \"\" for an empty one"},
		{"f.yaml", "a: &x 1\nb: *x\n", "f.yaml:2: b: references (*name) are not supported; write the value"},
		{"f.yaml", "a: {<<: {b: 1}}\n", "f.yaml:1: a: want a key here, such as num.partitions"},
		{"f.yaml", "a: [[1]]\n", "f.yaml:1: a: want a list of plain values"},
		{"f.yaml", "a: 1\n---\nb: 2\n", "f.yaml: file: it holds more than one YAML document"},
		{"f.properties", "=1\na=\\u12\n", "f.properties:1: file: want KEY=VALUE\nf.properties:2: a: \\u wants four hexadecimal digits"},
		{"f.properties", "a=\xff", "f.properties: file: it is not text in UTF-8: is it a configuration?"},
		{"f.yaml", strings.Repeat("#", fileBytesMax+1), "f.yaml: file: it has 1048577 bytes, at most 1048576 are read: is it a configuration?"},
	} {
		_, err := ParseFile(c.file, []byte(c.text))
		if err == nil || err.Error() != c.want {
			t.Errorf("%.30q: %v\nwant %s", c.text, err, c.want)
		}
	}
	for _, text := range []string{"a: 1\na: 2\n", "num.partitions: 1\nnum: {partitions: 2}\n"} {
		entries, err := ParseFile("f.yaml", []byte(text))
		if err == nil {
			_, err = Resolve(entries)
		}
		if err == nil || !strings.Contains(err.Error(), "twice") && !strings.Contains(err.Error(), "already defined") && !strings.Contains(err.Error(), "unknown key") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if p := problemsOf(t); p != nil {
		t.Error(p)
	}
	entries, _ := ParseFile("f.properties", []byte("num.partitions=1\n\nnum.partitions=2\n"))
	if _, err := Resolve(entries); err == nil || err.Error() != `f.properties:3: num.partitions: it stands twice: f.properties:1 says "1"` {
		t.Errorf("a key twice: %v", err)
	}
}

// What is printed can be read back, and says the same.
func TestYAMLIsTakenBack(t *testing.T) {
	c, err := Resolve(flags(t, "node.id=7", "listeners=A://127.0.0.1:1,B://[::1]:2", "listener.security.protocol.map=A:PLAINTEXT, B:PLAINTEXT",
		"broker.rack=yes", "sluice.bucket=s3://b/p?region=x&endpoint=http://h:1", "sluice.flush.interval=250ms", "sluice.flush.bytes=1MiB",
		"sluice.admin.listener=", "auto.create.topics.enable=FALSE", "log.cleaner.min.cleanable.ratio=0.25", "num.io.threads=12", "log.retention.hours=-1",
		"listener.name.x.max.connections=\t# odd: \"value\" 'here'"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := c.YAML()
	if err != nil {
		t.Fatal(err)
	}
	again := from(t, "printed.yaml", text)
	if d := cmp.Diff(values(c), values(again)); d != "" {
		t.Errorf("%s\n%s", d, text)
	}
}

func values(c *Config) map[string]string {
	m := map[string]string{}
	for _, name := range c.Said() {
		m[name] = c.Value(name)
	}
	return m
}

// No file makes ParseFile panic, and an accepted file is printed as one that says the same.
func FuzzParseFile(f *testing.F) {
	f.Add(true, "num.partitions: 3\nsluice: {flush.interval: 1s}\nlisteners: [PLAINTEXT://127.0.0.1:0]\n")
	f.Add(false, "num.partitions=3\nlog.dirs=a\\\n b\nlistener.name.x.y=\\u0041 #\n")
	f.Fuzz(func(t *testing.T, asYAML bool, text string) {
		name := "f.properties"
		if asYAML {
			name = "f.yaml"
		}
		entries, err := ParseFile(name, []byte(text))
		if err != nil {
			return
		}
		c, err := Resolve(entries)
		if err != nil {
			return
		}
		printed, err := c.YAML()
		if err != nil {
			t.Skip() // bytes that YAML cannot write
		}
		again, err := ParseFile("g.yaml", []byte(printed))
		if err != nil {
			t.Fatalf("%v\n%s", err, printed)
		}
		c2, err := Resolve(again)
		if err != nil {
			t.Fatalf("%v\n%s", err, printed)
		}
		for _, name := range c.Said() {
			if k, _ := find(name); !k.Secret() && c.Value(name) != c2.Value(name) {
				t.Errorf("%s: %q became %q\n%s", name, c.Value(name), c2.Value(name), printed)
			}
		}
	})
}
