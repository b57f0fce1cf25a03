package storage_test

import (
	"testing"
	"time"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage"
	"github.com/sluicemq/sluice/storage/bucket"
)

// With nothing in memory, a lookup by time costs two GETs of the object that has the record, and
// two more if a leaf of the manifest names that object, however many ranges there are.
func TestLookupByTimeCostsTwoReads(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1, func(c *storage.Config) {
			c.FlushInterval = time.Hour
			c.CacheBytes = 1 // keeps nothing, so every read is a GET
		})
		m := r.newLog("a", nil)
		const count = 600
		epoch := time.Now().UnixMilli()
		for i := range int64(count) {
			r.put(m, modelBatch{bytes: 12, times: []int64{epoch + i*1000, epoch + i*1000 + 500}})
			r.mustFlush()
		}
		if h := r.head(m.tp); h.Manifest.Object == 0 || len(h.Ranges) == 0 {
			t.Fatalf("head %+v", h)
		}
		for _, c := range []struct {
			name string
			ts   int64
			most int
		}{
			{"in a leaf", epoch + 1, 4}, {"deep in a leaf", epoch + 300_000, 4},
			{"in the root", epoch + (count-20)*1000, 3}, {"in the head", epoch + (count-1)*1000, 3},
			{"nowhere", epoch + count*1000, 1}, {"the newest", storage.TimestampMax, 3},
		} {
			r.restart()
			before := r.bucket.Calls(bucket.OpReadAt)
			got, err := r.engine().ListOffset(t.Context(), m.tp, c.ts, ident.NoEpoch, storage.ReadUncommitted)
			want := m.after(c.ts)
			if c.ts < 0 {
				want = m.newest()
			}
			if err != nil || got != want {
				t.Errorf("%s: %+v, %v, want %+v", c.name, got, err, want)
			}
			if n := r.bucket.Calls(bucket.OpReadAt) - before; n > c.most {
				t.Errorf("%s: %d GETs, want at most %d", c.name, n, c.most)
			}
		}
		if h := r.head(m.tp); h.Manifest.RangeCount == 0 {
			t.Fatal("no manifest")
		}
	})
	inBubble(t, func(t *testing.T) { // without a manifest
		r := newRig(t, 1, func(c *storage.Config) { c.CacheBytes = 1 })
		m := r.newLog("a", nil)
		r.fillFlushed(m, 3)
		r.restart()
		before := r.bucket.Calls(bucket.OpReadAt)
		for _, ts := range []int64{1, storage.TimestampMax} {
			if at, err := r.engine().ListOffset(t.Context(), m.tp, ts, ident.NoEpoch, 0); err != nil || at.Offset < 0 {
				t.Errorf("%+v, %v", at, err)
			}
		}
		// The second lookup finds the index in memory.
		if n := r.bucket.Calls(bucket.OpReadAt) - before; n > 3 {
			t.Errorf("%d GETs for two lookups", n)
		}
	})
}

// The newest record is searched for among the remaining records. Neither a batch in which the log
// start lies nor a range whose newest batch has expired hides it.
func TestNewestRecordAboveLogStart(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1, func(c *storage.Config) { c.FlushInterval = time.Hour })
		m := r.newLog("a", nil)
		for _, codec := range []int{protocol.CodecNone, protocol.CodecZstd} {
			r.put(m, modelBatch{codec: codec, times: []int64{9000, 100, 200}})
			r.put(m, modelBatch{codec: codec, times: []int64{150, 8000}})
		}
		r.put(m, modelBatch{times: []int64{120}})
		r.mustFlush() // makes one range
		check := func() {
			t.Helper()
			for _, ts := range []int64{0, 101, 151, 201, 8001, 9001, storage.TimestampMax} {
				want := m.after(ts)
				if ts < 0 {
					want = m.newest()
				}
				got, err := r.engine().ListOffset(t.Context(), m.tp, ts, ident.NoEpoch, 0)
				if err != nil || got != want {
					t.Errorf("log start %d, time %d: %+v, %v, want %+v", m.start, ts, got, err, want)
				}
			}
		}
		for start := range m.end() + 1 {
			r.advanceLog(m, start)
			check()
			if start%3 == 1 {
				r.restart()
				check()
			}
		}
	})
}
