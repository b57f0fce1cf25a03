package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/vfs"
	"github.com/sluicemq/sluice/vfs/crashfs"
	"github.com/sluicemq/sluice/wal"
)

const inc = ident.Incarnation(0x0001_0000_0000_0007)

var (
	discard = slog.New(slog.DiscardHandler)
	small   = wal.Config{Dir: "/data/wal", SegmentBytes: 32 << 10}
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newDisk(t testing.TB, seed uint64) *crashfs.FS {
	t.Helper()
	d := crashfs.New(seed)
	must(t, d.MkdirAll("/data"))
	must(t, d.SyncDir("/"))
	return d
}

// client makes numbered appends and notes what becomes of them.
type client struct {
	w *wal.Writer

	mu       sync.Mutex
	appended []*wal.Append // in WAL order
	durable  []int
	failed   []int
	failure  error
	broken   []string // promises that the writer broke
}

func (c *client) deps(disk vfs.FS) wal.Deps {
	return wal.Deps{FS: disk, Log: discard, Durable: c.onDurable, Failed: c.onFailed}
}

func (c *client) onDurable(g *wal.Group) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range g.Appends() {
		id := a.Owner.(int)
		if c.failure != nil {
			c.broken = append(c.broken, fmt.Sprintf("%d reported durable after the failure", id))
		}
		if n := len(c.durable); id != n {
			c.broken = append(c.broken, fmt.Sprintf("%d reported durable after %d appends", id, n))
		}
		c.durable = append(c.durable, id)
	}
}

func (c *client) onFailed(err error, appends []*wal.Append) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure != nil {
		c.broken = append(c.broken, "Failed was called twice")
	}
	c.failure = err
	for _, a := range appends {
		c.failed = append(c.failed, a.Owner.(int))
	}
}

// bigID is the number of an append that is large enough to be written during a sync.
const bigID = 22

// entries makes the one to three entries of append id, some small enough to be copied, some large
// enough to be referenced.
func entries(id int) []wal.Entry {
	if list, ok := made.Load(id); ok {
		return slices.Clone(list.([]wal.Entry))
	}
	list := makeEntries(id)
	made.Store(id, list)
	return slices.Clone(list)
}

var made sync.Map // payloads never change, so they can be shared

func makeEntries(id int) []wal.Entry {
	if id == bigID {
		return []wal.Entry{{Kind: wal.KindBatch, Start: bigID, End: bigID + 1, Payload: bytes.Repeat([]byte("big"), 100_000)}}
	}
	rng := rand.New(rand.NewPCG(uint64(id), 9))
	list := make([]wal.Entry, 1+id%3)
	for i := range list {
		size := []int{61, 300, 5000, 9000}[rng.IntN(4)]
		p := make([]byte, size)
		for j := range p {
			p[j] = byte(rng.Uint32())
		}
		list[i] = wal.Entry{
			Kind: wal.Kind(1 + i%2), Partition: ident.TopicPartition{Topic: ident.TopicID{byte(i + 1)}, Index: int32(i)},
			Epoch: 3, Start: ident.Offset(id), End: ident.Offset(id + 1), Payload: p,
		}
	}
	return list
}

// append queues the next append. It returns false if the writer refused it.
func (c *client) append() bool {
	c.mu.Lock()
	a := &wal.Append{Entries: entries(len(c.appended)), Owner: len(c.appended)}
	c.appended = append(c.appended, a)
	c.mu.Unlock()
	if err := c.w.Append(a); err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.appended = c.appended[:len(c.appended)-1]
		return false
	}
	return true
}

// check verifies what a writer promises whatever happens. The writer must be closed.
func (c *client) check(t *testing.T) {
	t.Helper()
	for _, s := range c.broken {
		t.Errorf("broken promise: %s", s)
	}
	if got := len(c.durable) + len(c.failed); got != len(c.appended) {
		t.Errorf("%d appends taken, %d reported durable and %d failed", len(c.appended), len(c.durable), len(c.failed))
	}
	for i, id := range c.failed {
		if id != len(c.durable)+i {
			t.Errorf("failed %v after %d durable ones: not the rest in order", c.failed, len(c.durable))
			break
		}
	}
}

// found is what a reader of an incarnation saw.
type found struct {
	first, next int // ids of appends [first, next)
	end         ident.Position
	positions   []ident.Position
}

// collector returns a visitor that checks entries against what was appended.
func collector(t *testing.T, f *found) func(*wal.Entry) error {
	f.first, f.next = -1, -1
	part := 0
	return func(e *wal.Entry) error {
		id := int(e.Start)
		if f.first < 0 {
			f.first, f.next = id, id
		}
		want := entries(id)[part]
		if id != f.next || e.Kind != want.Kind || e.Partition != want.Partition || e.Epoch != want.Epoch || e.End != want.End || !bytes.Equal(e.Payload, want.Payload) {
			t.Errorf("entry %d of append %d (after %d) is not what was appended", part, id, f.next)
		}
		f.positions = append(f.positions, e.Position)
		if part++; part == len(entries(id)) {
			part, f.next = 0, id+1
		}
		return nil
	}
}

func recoverAll(t *testing.T, disk vfs.FS) (found, error) {
	t.Helper()
	var f found
	s, err := wal.Recover(small, wal.RecoverDeps{FS: disk, Log: discard}, inc, collector(t, &f))
	if err != nil {
		return f, err
	}
	f.end = s.End()
	must(t, s.Close())
	return f, nil
}

func openSealed(t *testing.T, disk vfs.FS, end ident.Position) (found, error) {
	t.Helper()
	var f found
	s, err := wal.OpenSealed(small, wal.RecoverDeps{FS: disk, Log: discard}, inc, end, collector(t, &f))
	if err != nil {
		return f, err
	}
	f.end = s.End()
	must(t, s.Close())
	return f, nil
}

func (f *found) equal(g *found) bool {
	return f.first == g.first && f.next == g.next && f.end == g.end && slices.Equal(f.positions, g.positions)
}

// story is the workload of the fault tests: bursts that roll over several segments, trims, a close.
func (c *client) story(disk vfs.FS) error {
	w, err := wal.Create(small, c.deps(disk), inc)
	if err != nil {
		return err
	}
	c.w = w
	for i := range 9 {
		for range 1 + i%3 {
			c.append()
		}
		synctest.Wait()
		if i%4 == 3 {
			_ = w.Trim(c.trimPoint()) // refused after a failure; check knows of it
		}
	}
	for range 3 {
		c.append() // Close drains these
	}
	return w.Close()
}

// trimPoint keeps the newest half of what is durable.
func (c *client) trimPoint() ident.Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.durable) == 0 {
		return 0
	}
	return c.appended[c.durable[len(c.durable)/2]].Entries[0].Position
}

func TestWriteAndReadBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newDisk(t, 1)
		c := new(client)
		must(t, c.story(disk))
		c.check(t)
		if len(c.failed) != 0 || len(c.durable) < 20 {
			t.Fatalf("%d durable, %d failed", len(c.durable), len(c.failed))
		}
		f, err := recoverAll(t, disk)
		must(t, err)
		if f.first == 0 || f.next != len(c.appended) {
			t.Fatalf("recovered [%d,%d) of %d: want a trimmed start and the whole rest", f.first, f.next, len(c.appended))
		}
		g, err := openSealed(t, disk, f.end)
		must(t, err)
		if !f.equal(&g) {
			t.Fatalf("opened sealed: %+v, recovered %+v", g, f)
		}
	})
}

func TestReadAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newDisk(t, 1)
		c := new(client)
		w, err := wal.Create(small, c.deps(disk), inc)
		must(t, err)
		c.w = w
		for range 20 {
			c.append()
		}
		synctest.Wait()
		for _, a := range c.appended {
			for _, e := range a.Entries {
				p := make([]byte, len(e.Payload))
				must(t, w.ReadAt(p, e.Position, e.CRC))
				if !bytes.Equal(p, e.Payload) {
					t.Fatal("read back other bytes")
				}
				var damage *wal.CorruptError
				if err := w.ReadAt(p, e.Position, e.CRC+1); !errors.As(err, &damage) || damage.Position != e.Position {
					t.Fatalf("wrong checksum: %v", err)
				}
			}
		}
		must(t, w.Trim(w.Durable()))
		e := c.appended[0].Entries[0]
		if err := w.ReadAt(make([]byte, len(e.Payload)), e.Position, e.CRC); !errors.Is(err, wal.ErrTrimmed) {
			t.Fatalf("read of a trimmed position: %v", err)
		}
		must(t, w.Close())
		if err := w.Append(c.appended[0]); !errors.Is(err, wal.ErrClosed) {
			t.Fatalf("append after close: %v", err)
		}
		must(t, w.Close())
	})
}

// The same story on real files: write, close, recover, open sealed, remove.
func TestOnRealFiles(t *testing.T) {
	cfg := wal.Config{Dir: t.TempDir(), SegmentBytes: 1 << 20}
	done := make(chan struct{}, 1)
	w, err := wal.Create(cfg, wal.Deps{FS: vfs.OS(), Log: discard, Failed: func(err error, _ []*wal.Append) { t.Error(err) },
		Durable: func(*wal.Group) { done <- struct{}{} }}, inc)
	must(t, err)
	for id := range 150 {
		must(t, w.Append(&wal.Append{Entries: entries(id), Owner: id}))
		<-done
	}
	if st := w.Stats(); st.Groups != 150 || st.GroupWrites != 150 || st.GroupSyncs != 150 {
		t.Fatalf("not one write and one sync per group: %+v", st)
	}
	if err := w.Append(&wal.Append{Entries: []wal.Entry{{Payload: make([]byte, w.MaxAppendBytes()-wal.EntryBytes+1)}}}); !errors.Is(err, wal.ErrTooLarge) {
		t.Fatalf("append beyond the limit: %v", err)
	}
	must(t, w.Append(&wal.Append{Entries: []wal.Entry{{Kind: wal.KindBatch, Payload: make([]byte, w.MaxAppendBytes()-wal.EntryBytes)}}}))
	<-done
	must(t, w.Close())
	n := 0
	visit := func(e *wal.Entry) error { n++; return nil }
	s, err := wal.Recover(cfg, wal.RecoverDeps{FS: vfs.OS(), Log: discard}, inc, visit)
	must(t, err)
	must(t, s.Close())
	s, err = wal.OpenSealed(cfg, wal.RecoverDeps{FS: vfs.OS(), Log: discard}, inc, s.End(), visit)
	must(t, err)
	if n != 2*300 || s.DiskBytes() == 0 {
		t.Fatalf("%d entries, %d bytes", n, s.DiskBytes())
	}
	must(t, s.Remove())
	if _, err := wal.Recover(cfg, wal.RecoverDeps{FS: vfs.OS(), Log: discard}, inc, visit); !errors.Is(err, wal.ErrMissing) {
		t.Fatalf("after Remove: %v", err)
	}
}
