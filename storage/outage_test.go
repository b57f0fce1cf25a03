package storage_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/storage"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/fault"
	"github.com/sluicemq/sluice/vfs"
	"github.com/sluicemq/sluice/vfs/crashfs"
)

// These tests play what docs/operations.md says about a bucket that is down and about a full disk.

// TestI1_BucketAwayUntilTheBudgetIsUsed: producers are slowed, then refused with an error that they
// may retry. Reads and restarts go on, and when the bucket is back everything drains.
func TestI1_BucketAwayUntilTheBudgetIsUsed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), func(c *storage.Config) { c.WALBudgetBytes = 2 << 20 })
		tps := r.mustCreate("t", 2, nil)
		r.bucket.Away(fault.Refused)
		var slowed, hard bool
		full := r.batch(tps[0], 1, 10, 1) // kept to be refused
		for i := 0; ; i++ {
			s := r.batch(tps[i%2], 1, 16<<10, -1)
			r.send(s)
			if s.outcome == refused {
				if !errors.Is(s.err, storage.ErrThrottled) {
					t.Fatalf("refused with %v", s.err)
				}
				break
			}
			throttle := r.engine().Throttle(16 << 10)
			slowed = slowed || throttle > 0 && throttle < 200*time.Millisecond
			hard = hard || throttle >= time.Second
			if i > 1000 {
				t.Fatal("never refused")
			}
		}
		if !slowed || !hard {
			t.Errorf("slowed %v, slowed hard %v before the refusal", slowed, hard)
		}
		r.send(full)
		r.check()
		time.Sleep(10 * time.Minute)
		if !r.alive() {
			t.Fatal("an outage ended the process")
		}
		r.check()
		r.restart()
		r.check()
		again := r.plain(tps[0], 1)
		r.send(again)
		if again.outcome == acked {
			t.Error("a restart made room")
		}
		r.bucket.Away(fault.None)
		time.Sleep(time.Minute)
		if d := r.engine().Throttle(16 << 10); d != 0 {
			t.Errorf("still throttled by %v a minute after the bucket is back", d)
		}
		if n := r.engine().Unflushed(); n != 0 {
			t.Errorf("%d bytes are still not flushed", n)
		}
		r.mustSend(r.plain(tps[0], 1), full)
		r.check()
		r.restart()
		r.check()
	})
}

// TestI1_FullDisk: no new segment can be made. Producers get back-pressure with a definite refusal,
// nothing is lost, and the broker goes on when there is room.
func TestI1_FullDisk(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		tp := r.mustCreate("t", 1, nil)[0]
		r.mustSend(r.plain(tp, 1))
		var isFull atomic.Bool
		isFull.Store(true)
		r.disk0().SetHook(func(c crashfs.Call) error {
			segment := strings.Contains(c.Name, ".tmp") || c.Op == "create"
			if isFull.Load() && segment && (c.Op == "create" || c.Op == "write" || c.Op == "sync") {
				return vfs.ErrNoSpace
			}
			return nil
		})
		var last *sent
		for range 100 {
			last = r.batch(tp, 1, 8<<10, 1)
			r.start(last)
			time.Sleep(time.Second)
			if r.history.outcome(last) == refused {
				break
			}
		}
		if r.history.outcome(last) != refused || !errors.Is(last.err, storage.ErrThrottled) {
			t.Fatalf("outcome %v, %v", last.outcome, last.err)
		}
		r.check()
		if !r.alive() {
			t.Fatal("a full disk ended the process")
		}
		isFull.Store(false)
		deadline := time.Now().Add(10 * time.Minute)
		for last.outcome == refused && time.Now().Before(deadline) {
			time.Sleep(time.Second)
			r.send(last)
		}
		if last.outcome != acked {
			t.Fatalf("room again, and still: %v", last.err)
		}
		r.check()
		r.mustFlush()
		r.crash()
		r.mustOpen()
		r.check()
		r.resume()
	})
}

// TestE24_RecordsFitTheirAppend: with small segments and many producers, state records go in
// several appends, and a partition takes no more producers than its record can hold. The WAL is
// still trimmed.
func TestE24_RecordsFitTheirAppend(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		tps, busy := r.mustCreate("t", 3, nil), r.mustCreate("busy", 1, nil)[0]
		refusals := 0
		for i := range 450 {
			for range 6 {
				var batches []*sent
				for _, tp := range tps {
					batches = append(batches, r.batch(tp, 1, 8, int64(i)))
				}
				r.send(batches...)
				if batches[0].outcome == refused {
					if !errors.Is(batches[0].err, storage.ErrTooManyProducers) {
						t.Fatal(batches[0].err)
					}
					refusals++
					for _, s := range batches {
						r.history.drop(s)
					}
					break
				}
			}
		}
		if refusals == 0 || refusals > 300 {
			t.Errorf("%d of 450 producers were refused", refusals)
		}
		r.roll(busy)
		r.bucket.Away(fault.Refused)
		r.restart()
		for _, s := range r.history.newest() {
			base := s.base
			if r.mustSend(s); s.base != base {
				t.Fatalf("I11: repeated at %d, original at %d", s.base, base)
			}
		}
	})
}

// TestE28_FlushPlansRefusedRangesAgain: the id of an upload in flight expires. One call of Flush
// still ends with everything committed.
func TestE28_FlushPlansRefusedRangesAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		tp := r.mustCreate("t", 1, nil)[0]
		r.mustSend(r.batch(tp, 1, 40, 1))
		first := once()
		r.onCreate = func(string) {
			if first() {
				cmd := metadata.NewExpireObjects()
				cmd.TimeMs = time.Now().Add(storage.ObjectExpiry + time.Minute).UnixMilli()
				_, _ = r.admin(cmd)
			}
		}
		r.mustFlush()
		if h := r.head(tp); h.CommittedEnd != 1 || h.Ranges[0].Object == ident.ObjectID(1) {
			t.Errorf("head %+v", h)
		}
		r.check()
		r.restart()
		r.check()
		r.resume()
	})
}

// TestI2_DamageIsNotServed: one bit of a batch has changed, in the WAL's file or on the way from
// the bucket. The batch is reported as damaged, or read again, and never handed to a client
// (docs/lessons.md).
func TestI2_DamageIsNotServed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand, func(c *storage.Config) { c.HotBytes = 1 })
		tp := r.mustCreate("t", 1, nil)[0]
		for range 4 {
			r.mustSend(r.batch(tp, 1, 2000, -1))
		}
		name := r.cfg.WALDir + "/" + r.engine().Incarnation().String() + "/"
		files, err := r.disk0().List(name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := r.disk0().Open(name + files[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte{'!'}, 4096+1000); err != nil { // in the first group's batch
			t.Fatal(err)
		}
		first := storage.Fetch{MaxBytes: 1 << 20, Partitions: []storage.FetchPartition{{Partition: tp, MaxBytes: 1 << 20, CurrentEpoch: ident.NoEpoch}}}
		r.engine().Read(t.Context(), &first)
		if got := first.Partitions[0].Err; !errors.Is(got, storage.ErrCorrupt) {
			t.Errorf("a damaged batch in the WAL: %v", got)
		}
	})
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		tp := r.mustCreate("t", 1, nil)[0]
		for range 4 {
			r.mustSend(r.batch(tp, 1, 2000, -1))
			r.mustFlush()
		}
		r.restart()
		r.bucket.Chance(bucket.OpReadAt, fault.Flip, 0.5)
		for range 30 {
			r.observe()
		}
		r.bucket.Heal()
		r.check()
	})
}

// TestI1_BatchChangedInMemory: a batch whose bytes change in memory after it was acknowledged does
// not get into the bucket in that state. It is taken from the WAL, for the bucket and for readers.
func TestI1_BatchChangedInMemory(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		tps := r.mustCreate("t", 2, nil)
		r.mustSend(r.plain(tps[0], 1), r.plain(tps[1], 1))
		damaged := r.plain(tps[0], 3)
		req := &storage.AppendRequest{Partitions: []storage.PartitionAppend{r.encode(damaged)}}
		damaged.outcome, damaged.done = pending, make(chan struct{})
		p := r.process
		req.Done = func(req *storage.AppendRequest) { r.history.answered(p, []*sent{damaged}, req) }
		p.engine.Append(req)
		<-damaged.done
		r.mustSend(r.plain(tps[0], 1))
		req.Partitions[0].Batch[len(req.Partitions[0].Batch)-1] ^= 1
		r.mustFlush()
		r.check()
		r.restart()
		r.check()
	})
}
