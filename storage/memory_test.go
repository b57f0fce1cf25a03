package storage_test

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage"
)

// The hot tail counts the frames that its batches keep from being freed, however small a part of
// them the batches are, and lets go of whole frames: of 200 frames of 16 KiB, as many as fit are
// alive afterwards.
func TestHotTailCountsFrames(t *testing.T) {
	const frameBytes, hotBytes = 16 << 10, 128 << 10
	for _, batches := range []int{1, 3} {
		inBubble(t, func(t *testing.T) {
			r := newRig(t, 1, func(c *storage.Config) { c.HotBytes = hotBytes })
			parts := r.mustCreate("a", int32(batches), nil)
			var frames []weak.Pointer[[frameBytes]byte]
			for range 200 {
				frames = append(frames, appendFrame(t, r, parts))
			}
			synctest.Wait() // a flush holds the batches that it stores
			runtime.GC()
			alive := 0
			for _, f := range frames {
				if f.Value() != nil {
					alive++
				}
			}
			if alive == 0 || alive > hotBytes/frameBytes {
				t.Errorf("%d batches a frame: %d frames are in memory, want at most %d of %d bytes", batches, alive, hotBytes/frameBytes, frameBytes)
			}
		})
	}
}

// appendFrame appends a small batch to each partition, all from one large frame.
func appendFrame(t *testing.T, r *rig, parts []ident.TopicPartition) weak.Pointer[[16 << 10]byte] {
	t.Helper()
	frame := new([16 << 10]byte)
	done := make(chan struct{})
	req := &storage.AppendRequest{PinnedBytes: len(frame), Done: func(*storage.AppendRequest) { close(done) }}
	used := 0
	for _, tp := range parts {
		b, err := protocol.BuildBatch(protocol.NoProducerSpec, []protocol.Record{{Timestamp: time.Now().UnixMilli(), Value: []byte("v")}})
		if err != nil {
			t.Fatal(err)
		}
		h, err := protocol.ParseBatchHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		n := copy(frame[used:], b)
		req.Partitions = append(req.Partitions, storage.PartitionAppend{Partition: tp, Batch: frame[used : used+n : used+n], Header: h})
		used += n
	}
	r.engine().Append(req)
	<-done
	for i := range req.Partitions {
		if err := req.Partitions[i].Err; err != nil {
			t.Fatal(err)
		}
	}
	return weak.Make(frame)
}

// An answer never holds more memory than there is room for. If the first batch does not fit, the
// read tells how much it needs, and with that much room the batch is read. Batches lie in memory,
// in the WAL and in objects, within blocks and across them.
func TestReadKeepsToItsRoom(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(seed(t), 4))
		r := newRig(t, 1, func(c *storage.Config) {
			c.HotBytes, c.CacheBytes, c.FlushBytes, c.WALSegmentBytes = 1<<20, 64<<20, 4<<20, 4<<20
		})
		var logs []*modelLog
		for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
			m := r.newLog(name, nil)
			for range 4 {
				r.fill(m, 1+random.IntN(3), 1+random.IntN(500), 1+random.IntN(1500))
			}
			logs = append(logs, m)
		}
		r.mustFlush()
		r.restart() // all batches are in the bucket
		for _, m := range logs[3:] {
			r.fill(m, 3, 100, 1+random.IntN(5000)) // in memory and in the WAL
		}
		needed := 0
		for range 300 {
			f := storage.Fetch{MaxBytes: 1 + random.IntN(8<<20), Room: 1 + random.IntN(8<<20)}
			if random.IntN(3) == 0 {
				f.Room = 1 + random.IntN(100<<10)
			}
			for _, i := range random.Perm(len(logs))[:1+random.IntN(len(logs))] {
				m := logs[i]
				f.Partitions = append(f.Partitions, storage.FetchPartition{Partition: m.tp, Offset: ident.Offset(random.Int64N(int64(m.end()))),
					MaxBytes: random.IntN(2 << 20), CurrentEpoch: ident.NoEpoch, Split: random.IntN(2) == 0})
			}
			if readInRoom(t, r, &f, logs) {
				needed++
				f.Room = f.Needs
				if readInRoom(t, r, &f, logs) {
					t.Fatalf("with the room that was asked for, %d, there is still none", f.Room)
				}
			}
		}
		if needed == 0 || needed > 250 {
			t.Errorf("%d of 300 reads had too little room for a batch: the test needs other numbers", needed)
		}
	})
}

// A read tells whether something that was asked for lies in the bucket only.
func TestReadTellsWhatIsBehind(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		a, b := r.newLog("a", nil), r.newLog("b", nil)
		r.fill(a, 2, 3, 40)
		r.fill(b, 2, 3, 40)
		r.mustFlush()
		r.restart()
		old := a.end() - 1
		r.fill(a, 2, 3, 40)
		r.fill(b, 2, 3, 40)
		f := storage.Fetch{MaxBytes: 1 << 20, Partitions: []storage.FetchPartition{
			{Partition: a.tp, MaxBytes: 1 << 20, CurrentEpoch: ident.NoEpoch}, {Partition: b.tp, Offset: b.end() - 1, MaxBytes: 1 << 20, CurrentEpoch: ident.NoEpoch}}}
		for _, at := range []struct {
			offset ident.Offset
			behind bool
		}{{0, true}, {old, true}, {old + 1, false}, {a.end(), false}, {0, true}} {
			f.Partitions[0].Offset = at.offset
			if r.engine().Read(t.Context(), &f); f.Behind != at.behind {
				t.Errorf("from %d: behind is %v", at.offset, f.Behind)
			}
		}
	})
}

// readInRoom reads and reports whether there was too little room for any batch.
func readInRoom(t *testing.T, r *rig, f *storage.Fetch, logs []*modelLog) (none bool) {
	t.Helper()
	r.engine().Read(t.Context(), f)
	held, bytes := 0, 0
	for i := range f.Partitions {
		q := &f.Partitions[i]
		m := logs[slices.IndexFunc(logs, func(m *modelLog) bool { return m.tp == q.Partition })]
		m.holds(t, q)
		held += q.Held
		bytes += q.Bytes
		if q.Held < q.Bytes {
			t.Fatalf("%d bytes hold %d of memory", q.Bytes, q.Held)
		}
	}
	if held > f.Room {
		t.Fatalf("%d bytes are held, room is for %d", held, f.Room)
	}
	if (bytes == 0) != (f.Needs > 0) {
		t.Fatalf("%d bytes came, %d are needed; every partition has some", bytes, f.Needs)
	}
	return bytes == 0
}

// A small batch does not keep the cache block around it: what is served of a block is copied.
func TestSmallColdBatchesLeaveTheirBlock(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1, func(c *storage.Config) { c.HotBytes, c.FlushBytes, c.WALSegmentBytes = 1, 4<<20, 4<<20 })
		small, large := r.newLog("small", nil), r.newLog("large", nil)
		r.fill(small, 1, 1, 100)
		r.fill(large, 1, 500, 1500)
		r.mustFlush()
		r.restart()
		q := r.fetch(small.tp, 0, 4<<20)
		if small.holds(t, q) != small.end() || q.Held != q.Bytes {
			t.Errorf("small: %d bytes hold %d", q.Bytes, q.Held)
		}
		q = r.fetch(large.tp, 0, 4<<20)
		if large.holds(t, q) != large.end() || q.Held <= q.Bytes {
			t.Errorf("large: %d bytes hold %d, want the whole of their block", q.Bytes, q.Held)
		}
	})
}
