package metadata

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
)

// part is one field of a format. Its bytes end at end.
type part struct {
	end  int
	what string
}

// annotate prints bytes field by field: position, hex, meaning.
func annotate(b []byte, parts []part) string {
	var out strings.Builder
	start := 0
	for _, p := range parts {
		fmt.Fprintf(&out, "%04d-%04d %x  %s\n", start, p.end, b[start:p.end], p.what)
		start = p.end
	}
	return out.String()
}

var frameParts = []part{{4, "magic"}, {6, "version"}, {8, "flags"}, {12, "bytes"}, {16, "crc32c"}}

// golden compares with a file that past releases may have written. SLUICE_GOLDEN=1 writes the file
// anew, which is right only for a new version.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := "testdata/" + name + ".golden"
	if os.Getenv("SLUICE_GOLDEN") != "" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Fatalf("%s changed on disk:\n%s\nwant\n%s", name, got, want)
	}
}

func TestGoldenFormats(t *testing.T) {
	f := newFixture(t)
	id := f.reserve()
	c := f.rng(0, id, 0, 10)
	c.State = catalog.StateRef{Object: id, End: 10, Extent: catalog.Extent{Position: 500, Bytes: 60}, Writer: f.inc, ObjectBytes: 1000}
	c.WALEnd = 4096
	cmd := NewCommitFlush(catalog.Commit{Incarnation: f.inc, Number: 1, Bundles: []catalog.CommitBundle{{Object: id, Bytes: 1000, Ranges: []catalog.CommitRange{c}}}})
	cmd.TimeMs, cmd.RequestId = 1_700_000_000_000, []byte("0123456789abcdef")
	b, err := EncodeCommand(cmd)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "command", annotate(b, append(frameParts, part{len(b), "pb.Command CommitFlush"})))
	f.ok(cmd)
	s, index := encode(t, f.s), f.s.Index()
	golden(t, "snapshot", annotate(s, append(frameParts, part{len(s), "pb.Snapshot"})))
	set := NewSetBrokerConfigs(catalog.AllBrokers, nil, map[string]string{"log.retention.ms": "5", "message.max.bytes": "9"})
	set.TimeMs, set.RequestId = 1_700_000_000_000, []byte("0123456789abcdef")
	if b, err = EncodeCommand(set); err != nil {
		t.Fatal(err)
	}
	golden(t, "command-v2", annotate(b, append(frameParts, part{len(b), "pb.Command SetBrokerConfigs"})))
	f.ok(set)
	s2 := encode(t, f.s)
	golden(t, "snapshot-v2", annotate(s2, append(frameParts, part{len(s2), "pb.Snapshot"})))
	link, err := EncodeLink(&Link{Number: 2, Index: index, Generation: ident.Generation(1), Directory: dirA, PreviousCRC: 0xdeadbeef, Snapshot: s})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "link", annotate(link, []part{
		{4, "magic"}, {6, "version"}, {8, "flags"}, {16, "number"}, {24, "index"}, {26, "generation"}, {28, "directoryBytes"},
		{32, "previousCRC"}, {36, "snapshotBytes"}, {36 + len(dirA), "directory"}, {len(link) - 4, "snapshot"}, {len(link), "crc32c"},
	}))
}
