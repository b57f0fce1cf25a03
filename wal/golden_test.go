package wal_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/vfs"
	"github.com/sluicemq/sluice/vfs/crashfs"
	"github.com/sluicemq/sluice/wal"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		must(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got); go test -update if it is meant:\n%s", path, diff)
	}
}

// writeSample writes the two groups that the golden file of today's writer shows, and closes.
func writeSample(t *testing.T, disk vfs.FS) {
	w, err := wal.Create(wal.Config{Dir: "/data/wal", SegmentBytes: 20 << 10}, new(client).deps(disk), inc)
	must(t, err)
	topic := ident.TopicID{0xa0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	add := func(id int, list ...wal.Entry) {
		must(t, w.Append(&wal.Append{Entries: list, Owner: id}))
		synctest.Wait()
	}
	add(0, wal.Entry{Kind: wal.KindBatch, Partition: ident.TopicPartition{Topic: topic, Index: 7}, Epoch: 2, Start: 100, End: 103, Arrived: 1700000000000, Payload: []byte("three records")},
		wal.Entry{Kind: wal.KindState, Partition: ident.TopicPartition{Topic: topic, Index: 8}, Epoch: 1, Start: 0, End: 42, Payload: []byte("state")})
	add(1, wal.Entry{Kind: wal.KindBatch, Partition: ident.TopicPartition{Topic: topic, Index: 7}, Epoch: 2, Start: 103, End: 104, Arrived: 1700000000500, Payload: []byte("one")})
	must(t, w.Close())
}

// field is one field of a format and what it means.
type field struct {
	bytes int
	name  string
}

var segmentFields = []field{{4, "magic"}, {2, "version"}, {2, "flags"}, {8, "incarnation"}, {8, "index"}, {8, "segmentBytes"}, {8, "capacity"}, {20, "zero"}, {4, "crc32c of bytes 0 to 59"}}

var groupFields = []field{{4, "magic"}, {2, "version"}, {2, "flags"}, {8, "incarnation"}, {8, "position"}, {8, "previous"}, {8, "durable"}, {4, "length"}, {4, "entryCount"}, {12, "zero"}, {4, "crc32c of header and table"}}

var entryFields = []field{{16, "topic"}, {4, "partition"}, {4, "epoch"}, {8, "start"}, {8, "end"}, {4, "length"}, {4, "crc32c of the payload"}, {1, "kind"}, {1, "zero"}, {6, "arrival"}}

// annotator prints bytes as "position hex  meaning".
type annotator struct {
	strings.Builder
	p  []byte
	at int
}

func (a *annotator) take(n int, name string) {
	p := a.p[a.at : a.at+n]
	if len(p) > 64 && bytes.Count(p, []byte{0}) == len(p) {
		fmt.Fprintf(a, "%06x-%06x zero x %d  %s\n", a.at, a.at+n, n, name)
	} else {
		fmt.Fprintf(a, "%06x-%06x %x  %s\n", a.at, a.at+n, p, name)
	}
	a.at += n
}

func (a *annotator) fields(title string, list []field) {
	fmt.Fprintf(a, "# %s\n", title)
	for _, f := range list {
		a.take(f.bytes, f.name)
	}
}

func (a *annotator) pad(name string) { a.take((4096-a.at%4096)%4096, name) }

func annotate(p []byte, groups [][]int) string {
	a := &annotator{p: p}
	a.fields("segment header", segmentFields)
	a.pad("padding")
	for i, payloads := range groups {
		a.fields(fmt.Sprintf("group %d", i), groupFields)
		for j := range payloads {
			a.fields(fmt.Sprintf("group %d, entry %d", i, j), entryFields)
		}
		for j, n := range payloads {
			a.take(n, fmt.Sprintf("payload %d", j))
		}
		a.pad("padding")
	}
	a.take(len(p)-a.at, "filled, not used")
	return a.String()
}

// fromAnnotated gives the bytes back.
func fromAnnotated(t *testing.T, text string) []byte {
	t.Helper()
	var p []byte
	for l := range strings.Lines(text) {
		parts := strings.Fields(l)
		if parts[0] == "#" {
			continue
		}
		if parts[1] == "zero" {
			var n int
			_, err := fmt.Sscan(parts[3], &n)
			must(t, err)
			p = append(p, make([]byte, n)...)
			continue
		}
		b, err := hex.DecodeString(parts[1])
		must(t, err)
		p = append(p, b...)
	}
	return p
}

const sampleSegment = "/data/wal/0001000000000007/0000000000000000.seg"

func TestGoldenSegment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newDisk(t, 1)
		writeSample(t, disk)
		f, err := disk.OpenRead(sampleSegment)
		must(t, err)
		size, err := f.Size()
		must(t, err)
		p := make([]byte, size)
		_, err = f.ReadAt(p, 0)
		must(t, err)
		golden(t, "segment_v1_arrival.txt", annotate(p, [][]int{{13, 5}, {3}, {}}))
	})
}

// Logs that earlier releases wrote keep opening, whatever the writer does today. The first releases
// noted no time of arrival.
func TestOpensVersion1(t *testing.T) {
	for _, c := range []struct {
		file, inspected string
		arrived         []int64
	}{
		{"segment_v1.txt", "inspect", []int64{0, 0, 0}},
		{"segment_v1_arrival.txt", "inspect_arrival", []int64{1700000000000, 0, 1700000000500}},
	} {
		t.Run(c.file, func(t *testing.T) {
			disk := newDisk(t, 1)
			putSegment(t, disk, c.file)
			var out bytes.Buffer
			must(t, wal.Inspect(&out, disk, filepath.Dir(sampleSegment), wal.InspectOptions{Entries: true}))
			golden(t, c.inspected+".txt", out.String())
			out.Reset()
			must(t, wal.Inspect(&out, disk, filepath.Dir(sampleSegment), wal.InspectOptions{Entries: true, JSON: true}))
			golden(t, c.inspected+".json", out.String())
			var arrived []int64
			s, err := wal.Recover(small, wal.RecoverDeps{FS: disk, Log: discard}, inc, func(e *wal.Entry) error {
				arrived = append(arrived, e.Arrived)
				return nil
			})
			must(t, err)
			if !slices.Equal(arrived, c.arrived) || s.End() != 12288 {
				t.Fatalf("entries arrived %v, want %v; end %d", arrived, c.arrived, s.End())
			}
		})
	}
}

// putSegment writes the segment that a golden file shows.
func putSegment(t *testing.T, disk vfs.FS, name string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	must(t, err)
	must(t, disk.MkdirAll(filepath.Dir(sampleSegment)))
	f, err := disk.Create(sampleSegment)
	must(t, err)
	_, err = f.WriteAt(fromAnnotated(t, string(text)), 0)
	must(t, err)
}

// TestGoldenCalls prints every storage call of a few steps, to show what a group, a roll, a trim, a
// close and a recovery cost. The filler works beside the committer, so its calls are indented and
// come after.
func TestGoldenCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newDisk(t, 1)
		var out strings.Builder
		seen := len(disk.Calls())
		step := func(name string) {
			synctest.Wait()
			calls := disk.Calls()[seen:]
			seen += len(calls)
			printCalls(&out, name, calls, strings.HasPrefix(name, "recovery"))
		}
		c := new(client)
		w, err := wal.Create(small, c.deps(disk), inc)
		must(t, err)
		c.w = w
		step("create")
		c.append()
		step("append")
		for range 3 {
			c.append()
		}
		step("three appends in a row")
		for w.DiskBytes() < 4*small.SegmentBytes {
			c.append()
			synctest.Wait()
		}
		seen = len(disk.Calls())
		must(t, w.Trim(w.Durable()))
		step("trim of two segments: one file is used again")
		for w.Stats().Recycled == 0 {
			seen = len(disk.Calls())
			c.append()
			synctest.Wait()
		}
		step("append that rolls; the next segment is a trimmed one")
		crashed := disk.Kill()
		_ = w.Close()
		disk, seen = crashed, 0
		_, err = recoverAll(t, disk)
		must(t, err)
		step("recovery after a kill")
		_, err = recoverAll(t, disk)
		must(t, err)
		step("recovery again: sealed")
		golden(t, "calls.txt", out.String())
	})
}

func printCalls(out *strings.Builder, name string, calls []crashfs.Call, inOrder bool) {
	fmt.Fprintf(out, "# %s\n", name)
	var beside []string
	for i := range calls {
		text := strings.ReplaceAll(calls[i].String(), "/data/wal/"+inc.String(), "…")
		if op := calls[i].Op; !inOrder && (strings.Contains(text, ".tmp") || op == "syncdir" || op == "sync") {
			beside = append(beside, text)
			continue
		}
		fmt.Fprintf(out, "%s\n", text)
	}
	for _, text := range beside {
		fmt.Fprintf(out, "  %s\n", text)
	}
}
