package wal_test

import (
	"bytes"
	"testing"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/vfs/crashfs"
	"github.com/sluicemq/sluice/wal"
)

// oneSegment is a config whose first segment holds everything that a test writes.
var oneSegment = wal.Config{Dir: "/data/wal", SegmentBytes: 4 << 20}

// TestGroupsAreKeptWhileTheyAreRetained: several groups wait for their peers while the next ones
// are written. Each keeps the bytes that stand in the file, and is used again only after its last
// release.
func TestGroupsAreKeptWhileTheyAreRetained(t *testing.T) {
	disk := newDisk(t, 1)
	var kept []*wal.Group
	keep := true
	reused := map[*wal.Group]bool{}
	done := make(chan struct{})
	w, err := wal.Create(oneSegment, wal.Deps{
		FS: disk, Log: discard, Failed: func(err error, _ []*wal.Append) { t.Error(err) },
		Durable: func(g *wal.Group) {
			if keep {
				g.Retain()
				kept = append(kept, g)
			} else {
				reused[g] = true
			}
			done <- struct{}{}
		},
	}, 1)
	must(t, err)
	write := func(id int) {
		must(t, w.Append(&wal.Append{Entries: entries(id), Owner: id}))
		<-done
	}
	const count = 6
	for id := range count {
		write(id)
	}
	keep = false
	for id := range 10 {
		write(count + id)
	}
	for i, g := range kept {
		if reused[g] {
			t.Fatalf("group %d was used again while it was retained", i)
		}
		if len(g.Appends()) != 1 || g.Appends()[0].Owner != i {
			t.Fatalf("group %d has other appends", i)
		}
		sent := bytes.Join(g.Bytes(), nil)
		if ident.Position(len(sent)) != g.End()-g.Position() {
			t.Fatalf("group %d has %d bytes for [%d,%d)", i, len(sent), g.Position(), g.End())
		}
		for _, e := range g.Appends()[0].Entries {
			if at := e.Position - g.Position(); !bytes.Equal(sent[at:int(at)+len(e.Payload)], e.Payload) {
				t.Fatalf("group %d: its bytes at %d are not those of its entry", i, at)
			}
		}
		if onDisk := stream(t, disk, g.Position(), len(sent)); !bytes.Equal(sent, onDisk) {
			t.Fatalf("group %d: its bytes are not those on the disk", i)
		}
	}
	for _, g := range kept {
		g.Release()
	}
	write(100)
	if last := kept[count-1]; !reused[last] {
		t.Error("the group that was released last is not used again")
	}
	must(t, w.Close())
}

// stream reads from the first segment of incarnation 1.
func stream(t *testing.T, disk *crashfs.FS, pos ident.Position, n int) []byte {
	t.Helper()
	dir := oneSegment.Dir + "/" + ident.Incarnation(1).String()
	names, err := disk.List(dir)
	must(t, err)
	f, err := disk.OpenRead(dir + "/" + names[0])
	must(t, err)
	defer func() { must(t, f.Close()) }()
	b := make([]byte, n)
	_, err = f.ReadAt(b, int64(pos))
	must(t, err)
	return b
}
