package object

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares text with a file of testdata.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(file) != text {
		t.Errorf("%s has changed: the bytes on disk are a promise.\ngot:\n%s", name, text)
	}
}

// stored returns the bytes that a golden file shows.
func stored(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var b []byte
	for line := range strings.Lines(string(text)) {
		if line[0] == '#' {
			continue
		}
		field, err := hex.DecodeString(strings.Fields(line)[1])
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, field...)
	}
	return b
}

// dump prints bytes one field per line: position, hex, meaning.
type dump struct {
	out bytes.Buffer
	b   []byte
	at  int
}

func (d *dump) title(format string, args ...any) { fmt.Fprintf(&d.out, "# "+format+"\n", args...) }

// field takes n bytes in lines of at most 16.
func (d *dump) field(n int, format string, args ...any) []byte {
	value := d.b[d.at : d.at+n]
	for from := 0; from < n; from += 16 {
		to := min(from+16, n)
		meaning := fmt.Sprintf(format, args...)
		if from > 0 {
			meaning = "  …"
		}
		fmt.Fprintf(&d.out, "%04x-%04x %-32x %s\n", d.at+from, d.at+to, value[from:to], meaning)
	}
	d.at += n
	return value
}

// numbers takes little-endian numbers, given as "name:bytes".
func (d *dump) numbers(fields ...string) (last uint64) {
	for _, f := range fields {
		name, size, _ := strings.Cut(f, ":")
		n := int(size[0] - '0')
		var v [8]byte
		copy(v[:], d.b[d.at:d.at+n])
		last = le.Uint64(v[:])
		switch {
		case name == "crc32c" || strings.HasSuffix(name, "CRC") || strings.HasSuffix(name, "Hash"):
			d.field(n, "%s", name)
		case n == 8:
			d.field(n, "%s=%d", name, int64(last))
		default:
			d.field(n, "%s=%d", name, last)
		}
	}
	return last
}

func (d *dump) magic() { d.field(4, "magic %q", d.b[d.at:d.at+4]) }

func (d *dump) text() string {
	if d.at != len(d.b) {
		fmt.Fprintf(&d.out, "%d bytes more\n", len(d.b)-d.at)
	}
	return d.out.String()
}

func annotateBundle(object []byte, sections []Section) string {
	d := &dump{b: object}
	d.title("header")
	d.magic()
	d.numbers("version:2", "flags:2", "object:8", "writer:8", "generation:2", "clusterBytes:1", "zero:1")
	d.field(32, "clusterID %s", testCluster)
	d.numbers("crc32c:4")
	for _, s := range sections {
		for _, b := range s.Batches {
			d.title("batch [%d,%d) of %s-%d, as clients see it", b.Start, b.End, s.Name, s.Partition)
			d.field(len(b.Bytes), "batch")
		}
		if len(s.State) > 0 {
			d.title("state block of %s-%d", s.Name, s.Partition)
			d.field(len(s.State), "state")
		}
	}
	for _, s := range sections {
		d.section(&s)
	}
	d.title("footer")
	for range sections {
		d.numbers("blockPosition:8", "blockBytes:4", "partition:4")
		d.field(16, "topicID")
	}
	d.title("trailer")
	d.magic()
	d.numbers("version:2", "flags:2", "object:8", "indexPosition:8", "footerPosition:8", "objectBytes:8", "sectionCount:4", "footerCRC:4", "clusterHash:4", "crc32c:4")
	return d.text()
}

func (d *dump) section(s *Section) {
	d.title("section block of %s-%d", s.Name, s.Partition)
	d.magic()
	d.numbers("version:2", "flags:2", "bytes:4", "crc32c:4", "object:8", "position:8")
	d.field(16, "topicID %s", s.Topic)
	d.numbers("creation:8", "partition:4", "partitionCount:4", "replicationFactor:2")
	name := d.numbers("nameBytes:2")
	configs := d.numbers("configCount:4")
	d.numbers("logStart:8", "incarnation:8", "epoch:4")
	batches := d.numbers("batchCount:4")
	d.numbers("start:8", "end:8", "walEnd:8", "dataPosition:8", "dataBytes:8", "maxTimestamp:8", "statePosition:8", "stateBytes:4",
		"stateCRC:4", "stateEnd:8", "baseObject:8", "baseWriter:8", "basePosition:8", "baseBytes:4", "zero:4", "baseEnd:8", "baseObjectBytes:8")
	d.field(int(name), "name %s", s.Name)
	for range configs {
		key := d.numbers("config keyBytes:2")
		value := d.numbers("  valueBytes:2")
		d.field(int(key), "  key %s", d.b[d.at:d.at+int(key)])
		d.field(int(value), "  value %s", d.b[d.at:d.at+int(value)])
	}
	for range batches {
		d.numbers("batch start:8", "  end:8", "  position:8", "  bytes:4", "  crc32c:4", "  maxTimestamp:8")
	}
}

func annotateManifest(object []byte) string {
	d := &dump{b: object}
	d.magic()
	d.numbers("formatVersion:2", "kind:1", "flags:1", "bytes:4", "crc32c:4", "object:8", "writer:8")
	d.field(16, "topicID %s", testTopic)
	d.numbers("partition:4", "clusterBytes:1", "zero:1", "zero:1", "zero:1")
	d.field(32, "clusterID %s", testCluster)
	d.numbers("version:8", "start:8", "end:8", "rangeCount:8", "dataBytes:8")
	leaves := d.numbers("leafCount:4")
	ranges := d.numbers("inlineCount:4")
	d.numbers("skip:4", "zero:4")
	for range leaves {
		d.numbers("leaf object:8", "  writer:8", "  start:8", "  end:8", "  dataBytes:8", "  maxTimestamp:8", "  bytes:4", "  crc32c:4", "  rangeCount:4", "  zero:4")
	}
	for range ranges {
		d.numbers("range object:8", "  writer:8", "  objectBytes:8", "  start:8", "  end:8", "  incarnation:8", "  epoch:4",
			"  indexBytes:4", "  indexPosition:8", "  bytes:8", "  maxTimestamp:8")
	}
	return d.text()
}

func TestGoldenBundle(t *testing.T) {
	_, object := build(t, testSections()...)
	golden(t, "bundle-v1.txt", annotateBundle(object, testSections()))
	if err := verifyWhole(stored(t, "bundle-v1.txt")); err != nil {
		t.Errorf("the stored bundle does not open: %v", err)
	}
}

func TestGoldenManifest(t *testing.T) {
	root, leaf, head, ref := sampleManifest(t)
	golden(t, "manifest-root-v1.txt", annotateManifest(root))
	golden(t, "manifest-leaf-v1.txt", annotateManifest(leaf))
	r, err := DecodeRoot(stored(t, "manifest-root-v1.txt"), testPartition, head)
	if err != nil || r.Skip != 1 || len(r.Leaves) != 1 || len(r.Ranges) != 2 || r.Start != 10 {
		t.Errorf("the stored root opens as %+v, %v", r, err)
	}
	if l, err := DecodeLeaf(stored(t, "manifest-leaf-v1.txt"), testPartition, ref); err != nil || len(l.Ranges) != 2 {
		t.Errorf("the stored leaf opens as %+v, %v", l, err)
	}
}

func TestInspect(t *testing.T) {
	_, bundle := build(t, testSections()...)
	root, leaf, _, _ := sampleManifest(t)
	for name, object := range map[string][]byte{"bundle": bundle, "root": root, "leaf": leaf} {
		for _, opts := range []InspectOptions{{Batches: true}, {JSON: true, Batches: true}} {
			var out strings.Builder
			reads := 0
			if err := Inspect(t.Context(), &out, readFrom(object, &reads), int64(len(object)), opts); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if opts.JSON && !json.Valid([]byte(out.String())) {
				t.Errorf("%s: not JSON: %s", name, out.String())
			}
			golden(t, fmt.Sprintf("inspect-%s-json=%t.txt", name, opts.JSON), out.String())
		}
		for i := range object { // every damage is reported
			bad := bytes.Clone(object)
			bad[i] ^= 0x20
			var out strings.Builder
			reads := 0
			err := Inspect(t.Context(), &out, readFrom(bad, &reads), int64(len(bad)), InspectOptions{})
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Errorf("%s with byte %d flipped: %v", name, i, err)
			}
		}
	}
}

// The index of a bundle fits its batches, but the batches themselves say something else. Only
// Inspect reads them.
func TestInspectLooksIntoBatches(t *testing.T) {
	for name, s := range map[string]func(*Section){
		"epoch": func(s *Section) { s.Epoch++ },
		"offset": func(s *Section) {
			s.Batches = []BatchRef{kafkaBatch(99, 5, 5, 0, "x")}
			s.Batches[0].Start, s.Batches[0].End = 100, 105
		},
		"content": func(s *Section) {
			b := s.Batches[0].Bytes
			b[len(b)-1] ^= 1
			s.Batches[0].CRC = checksum(b)
		},
	} {
		section := testSections()[0]
		s(&section)
		_, object := build(t, section)
		var out strings.Builder
		reads := 0
		err := Inspect(t.Context(), &out, readFrom(object, &reads), int64(len(object)), InspectOptions{})
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(out.String(), "DAMAGED orders-0 [100,") {
			t.Errorf("%s: %v\n%s", name, err, out.String())
		}
	}
}
