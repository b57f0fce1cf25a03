package group

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicemq/sluice/ident"
)

// golden reads testdata/records.txt and returns the bytes by name, for example "write offset key".
func golden(t testing.TB) map[string][]byte {
	text, err := os.ReadFile("testdata/records.txt")
	if err != nil {
		t.Fatal(err)
	}
	sections := make(map[string][]byte)
	name := ""
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case line == "" || line[0] == '#':
		case !strings.Contains(line, "  "):
			name = line
			sections[name] = []byte{}
		default:
			fields := strings.SplitN(line, "  ", 3)
			b, err := hex.DecodeString(fields[1])
			if want := fmt.Sprintf("%04x", len(sections[name])); err != nil || fields[0] != want {
				t.Fatalf("line %d: position %s, want %s; %v", i+1, fields[0], want, err)
			}
			sections[name] = append(sections[name], b...)
		}
	}
	return sections
}

func goldenTopic() ident.TopicID {
	return ident.TopicID{0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x46, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}
}

// goldenGroup is the group of the golden records.
func goldenGroup() *group {
	g := newGroup(NewShard(DefaultConfig(), NewMemory(1<<40)), "payments")
	g.generation, g.protocolType, g.protocol, g.leader, g.since = 5, "consumer", "range", "c1-u1", 1700000000123
	instance := "i2"
	g.members = []*member{
		{id: "c1-u1", clientID: "c1", clientHost: "/127.0.0.1", session: 45 * time.Second, rebalance: 5 * time.Minute, protocols: []Protocol{{"range", []byte{0, 1, 2}}}},
		{id: "i2-u2", instance: &instance, clientID: "c2", clientHost: "/127.0.0.2", session: 10 * time.Second, rebalance: time.Minute, protocols: []Protocol{{"range", []byte{0, 1, 3}}}},
	}
	return g
}

// TestFormatIsKafkas compares what we write with what Apache Kafka writes.
func TestFormatIsKafkas(t *testing.T) {
	want := golden(t)
	check := func(name string, r Record) {
		t.Helper()
		if !bytes.Equal(r.Key, want["write "+name+" key"]) || !bytes.Equal(r.Value, want["write "+name+" value"]) {
			t.Errorf("%s:\nkey   %x\nwant  %x\nvalue %x\nwant  %x", name, r.Key, want["write "+name+" key"], r.Value, want["write "+name+" value"])
		}
	}
	p := PartitionName{"orders", 3}
	full := &offset{at: 123456789, epoch: 7, metadata: "note", commit: 1700000000123, expire: -1, topic: goldenTopic()}
	check("offset", offsetRecord("payments", p, full))
	check("offset-of-no-topic-id", offsetRecord("payments", p, &offset{at: 123456789, epoch: ident.NoEpoch, commit: 1700000000123, expire: -1}))
	expiring := *full
	expiring.expire = 1700000060123
	check("offset-with-expiry", offsetRecord("payments", p, &expiring))
	g := goldenGroup()
	check("group", g.metadataRecord(map[string][]byte{"c1-u1": {9, 8}}))
	g.generation, g.protocol, g.leader, g.members = 6, "", "", nil
	check("empty-group", g.metadataRecord(nil))
	if r := offsetRecord("payments", p, nil); r.Value != nil || !bytes.Equal(r.Key, want["write offset key"]) {
		t.Errorf("tombstone of an offset: %x %x", r.Key, r.Value)
	}
}

// TestReadsAllVersions replays records that each version of Kafka wrote.
func TestReadsAllVersions(t *testing.T) {
	b := golden(t)
	for _, c := range []struct{ name, want string }{
		{"offset-value-v0", `offset g t-1 = 42 metadata="m" at=123ms`},
		{"offset-value-v1", `offset g t-1 = 42 metadata="m" at=123ms expires=1m0.123s`},
		{"offset-value-v2", `offset g t-1 = 42 metadata="m" at=123ms`},
		{"offset-value-v3", `offset g t-1 = 42 epoch=7 metadata="m" at=123ms`},
		{"offset-value-v4", `offset g t-1 = 42 epoch=7 metadata="m" topic=00 at=123ms`},
		{"group-value-v0", `since=none [c1-u1 instance="" session=45s rebalance=45s "\x00\x01\x02" → "\t\b"] [i2-u2 instance="" session=10s rebalance=10s "\x00\x01\x03" → ""]`},
		{"group-value-v1", `since=none [c1-u1 instance="" session=45s rebalance=5m0s "\x00\x01\x02" → "\t\b"] [i2-u2 instance="" session=10s rebalance=1m0s "\x00\x01\x03" → ""]`},
		{"group-value-v2", `since=123ms [c1-u1 instance="" session=45s rebalance=5m0s "\x00\x01\x02" → "\t\b"] [i2-u2 instance="" session=10s rebalance=1m0s "\x00\x01\x03" → ""]`},
		{"group-value-v4", `since=123ms [c1-u1 instance="" session=45s rebalance=5m0s "\x00\x01\x02" → "\t\b"] [i2-u2 instance="i2" session=10s rebalance=1m0s "\x00\x01\x03" → ""]`},
	} {
		if strings.HasPrefix(c.name, "group") {
			c.want = `group payments type="consumer" generation=5 protocol="range" leader="c1-u1" ` + c.want
		}
		s := load(t, DefaultConfig(), []Record{{Key: b["read "+c.name+" key"], Value: b["read "+c.name+" value"]}})
		if got := strings.TrimSpace(durable(s)); got != c.want {
			t.Errorf("%s: %s\nwant %s", c.name, got, c.want)
		}
		s.Loaded(start)
		if again := load(t, DefaultConfig(), s.Snapshot()); durable(again) != durable(s) {
			t.Errorf("%s: its snapshot replays to %s", c.name, durable(again))
		}
	}
	old := Record{Key: slices.Concat([]byte{0, 0}, b["read offset-value-v2 key"][2:]), Value: b["read offset-value-v2 value"]}
	if s := load(t, DefaultConfig(), []Record{old}); !strings.Contains(durable(s), "t-1 = 42") {
		t.Errorf("key version 0: %s", durable(s))
	}
	s := load(t, DefaultConfig(), []Record{{Key: b["read consumer-group-of-kip-848 key"], Value: b["read consumer-group-of-kip-848 value"]}, old})
	if s.Skipped() != 1 || !strings.Contains(durable(s), "t-1 = 42") {
		t.Errorf("a record of another kind: %d skipped, %s", s.Skipped(), durable(s))
	}
}

// TestReplayRefusesWhatItCannotRead: damage and newer versions are reported, not skipped.
func TestReplayRefusesWhatItCannotRead(t *testing.T) {
	b := golden(t)
	offsetKey, groupKey := b["write offset key"], b["write group key"]
	change := func(b []byte, at int, to byte) []byte { c := bytes.Clone(b); c[at] = to; return c }
	for name, r := range map[string]Record{
		"no key":             {Value: []byte{1}},
		"a key of one byte":  {Key: []byte{0}},
		"a cut offset key":   {Key: offsetKey[:9], Value: b["write offset value"]},
		"a cut group key":    {Key: groupKey[:5]},
		"a newer offset":     {Key: offsetKey, Value: change(b["write offset value"], 1, 5)},
		"a newer group":      {Key: groupKey, Value: change(b["write group value"], 1, 5)},
		"an empty offset":    {Key: offsetKey, Value: []byte{}},
		"a cut offset":       {Key: offsetKey, Value: b["write offset value"][:12]},
		"a cut group":        {Key: groupKey, Value: b["write group value"][:60]},
		"a negative version": {Key: groupKey, Value: change(b["write group value"], 0, 0x80)},
		"too many members":   {Key: groupKey, Value: change(b["write empty-group value"], 28, 0x7f)},
	} {
		var damage *RecordError
		if err := NewShard(DefaultConfig(), NewMemory(1<<40)).Replay(r); !errors.As(err, &damage) || !bytes.Equal(damage.Key, r.Key) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzReplay: no record makes Replay panic, or makes a group that cannot be served.
func FuzzReplay(f *testing.F) {
	b := golden(f)
	for name := range b {
		if key, ok := strings.CutSuffix(name, " key"); ok {
			f.Add(b[name], b[key+" value"])
		}
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		s := NewShard(DefaultConfig(), NewMemory(1<<40))
		if s.Replay(Record{Key: key, Value: value}) != nil {
			return
		}
		s.Loaded(start)
		for _, l := range s.List() {
			s.Describe(l.Group)
		}
		snapshot := s.Snapshot()
		again := load(t, DefaultConfig(), snapshot)
		if durable(again) != durable(s) || again.Bytes() != s.Bytes() {
			t.Errorf("replayed\n%s\nits snapshot gives\n%s", durable(s), durable(again))
		}
		s.Tick(start.Add(time.Hour))
	})
}
