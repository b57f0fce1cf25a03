package storage_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage"
	"github.com/sluicemq/sluice/storage/bucket/fault"
	"github.com/sluicemq/sluice/storage/pstate"
	"github.com/sluicemq/sluice/vfs/crashfs"
)

// TestE11_IdlePartitionKnowsItsProducers: all ranges of an idle partition are gone, and the WAL
// that held them is trimmed. After a restart, and after the loss of the disk, the partition still
// knows which producers wrote what.
func TestE11_IdlePartitionKnowsItsProducers(t *testing.T) {
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprintf("disk lost %v", lost), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, seed(t), byHand)
				idle, busy := r.mustCreate("idle", 1, nil)[0], r.mustCreate("busy", 1, nil)[0]
				for range 3 {
					r.mustSend(r.batch(idle, 2, 40, 5), r.batch(idle, 1, 40, 6))
					r.mustFlush()
				}
				r.advance(idle, r.head(idle).CommittedEnd)
				if h := r.head(idle); len(h.Ranges) != 0 {
					t.Fatalf("ranges are left: %v", h.Ranges)
				}
				r.roll(busy)
				r.snapshot()
				time.Sleep(3 * r.deleteDelay) // the state object outlives the ranges
				checkObjects(r)
				if lost {
					r.restore()
					r.mustOpen()
				} else {
					r.bucket.Away(fault.Refused) // a restart does not need the bucket
					r.restart()
				}
				r.check0(idle)
				r.resume()
				r.bucket.Away(fault.None)
				r.check()
			})
		})
	}
}

// check0 waits until a partition can be read.
func (r *rig) check0(tp ident.TopicPartition) {
	r.t.Helper()
	for range 100 {
		if r.observePartition(tp) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	r.t.Fatalf("%s cannot be read", tp)
}

// TestI11_PlacedAndCommittedShareNoProducer: a partition's placed and committed producer states
// begin as one at a start. A flush must not note in the placed state what is new in the committed
// one: the oldest of five batches would be forgotten.
func TestI11_PlacedAndCommittedShareNoProducer(t *testing.T) {
	for producers := range int64(3) {
		t.Run(fmt.Sprintf("%d before the restart", producers), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, seed(t), byHand)
				tp := r.mustCreate("t", 1, nil)[0]
				for id := range producers {
					r.mustSend(r.batch(tp, 1, 40, id))
				}
				r.mustFlush()
				r.restart()
				var batches []*sent
				for range pstate.RecentMax {
					for id := range int64(2) {
						b := r.batch(tp, 1, 40, id)
						r.mustSend(b)
						batches = append(batches, b)
					}
					r.mustFlush()
				}
				for _, b := range batches {
					base := b.base
					if r.mustSend(b); b.base != base {
						t.Errorf("sent again it has offset %d, not %d: %s", b.base, base, b)
					}
				}
				r.check()
			})
		})
	}
}

// TestE11_ExpiredUnflushedAndDiskLost: records expire before they were ever flushed, then the disk
// is lost. The bucket has no state up to the committed end, which has followed the log start. The
// partition opens all the same.
func TestE11_ExpiredUnflushedAndDiskLost(t *testing.T) {
	for _, flushedBefore := range []bool{false, true} {
		t.Run(fmt.Sprintf("flushed before %v", flushedBefore), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, seed(t), byHand)
				tp := r.mustCreate("t", 1, nil)[0]
				if flushedBefore {
					r.mustSend(r.plain(tp, 3))
					r.mustFlush()
				}
				r.mustSend(r.plain(tp, 4))
				r.advance(tp, r.head(tp).CommittedEnd+4)
				r.restore()
				r.mustOpen()
				r.check()
				r.mustSend(r.plain(tp, 1))
				r.mustFlush()
				r.restart()
				r.check()
			})
		})
	}
}

// TestE11_ManyProducersAreNotRewritten: a flush after one producer's batch writes that producer's
// state, not the state of all.
func TestE11_ManyProducersAreNotRewritten(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		tp := r.mustCreate("t", 1, nil)[0]
		const producers = 250
		for i := range producers {
			r.mustSend(r.batch(tp, 1, 20, int64(i)))
		}
		r.mustFlush()
		base := r.stateBytes(tp)
		if base < producers*40 {
			t.Fatalf("the base of %d producers has %d bytes", producers, base)
		}
		for range 3 {
			r.mustSend(r.batch(tp, 1, 20, 7))
			r.mustFlush()
			if n := r.stateBytes(tp); n > 512 {
				t.Errorf("a flush of one producer's batch wrote %d bytes of state", n)
			}
		}
		r.restore()
		r.mustOpen()
		r.check()
		r.resume()
	})
}

func (r *rig) stateBytes(tp ident.TopicPartition) int32 { return r.head(tp).State.Extent.Bytes }

// TestI11_DuplicateWaitsForItsOriginal: a repeated batch is answered no earlier than the original
// is durable, or, in class object, committed.
func TestI11_DuplicateWaitsForItsOriginal(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		tp := r.mustCreate("t", 1, nil)[0]
		r.mustSend(r.batch(tp, 1, 40, 1))
		release := make(chan struct{})
		r.holdsSyncs = true
		r.disk0().SetHook(func(c crashfs.Call) error {
			if c.Op == "datasync" {
				<-release
			}
			return nil
		})
		original := r.batch(tp, 1, 40, 1)
		duplicate := *original
		r.start(original)
		synctest.Wait()
		r.start(&duplicate)
		synctest.Wait()
		if r.history.outcome(original) != pending || r.history.outcome(&duplicate) != pending {
			t.Errorf("answered before the sync: original %v, duplicate %v", original.outcome, duplicate.outcome)
		}
		close(release)
		r.wait(original, &duplicate)
		if original.base != 1 || duplicate.base != 1 {
			t.Errorf("original at %d, duplicate at %d", original.base, duplicate.base)
		}
		r.check()
	})
}

// DescribeProducers returns every producer as it last wrote, until its id expires. The time after
// which ids expire changes while storage is open.
func TestProducersAreListed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		tp := r.mustCreate("t", 1, nil)[0]
		listed := func() string {
			t.Helper()
			producers, err := r.engine().Producers(tp)
			if err != nil {
				t.Fatal(err)
			}
			var out []string
			for _, p := range producers {
				out = append(out, fmt.Sprintf("%d/%d/%d %v", p.ID, p.Epoch, p.LastSequence, time.Since(p.Placed).Round(time.Minute)))
			}
			return fmt.Sprint(out)
		}
		if got := listed(); got != "[]" {
			t.Errorf("before anything was written: %s", got)
		}
		for range 3 {
			r.mustSend(r.batch(tp, 2, 40, 5), r.batch(tp, 1, 40, 6))
		}
		time.Sleep(time.Hour)
		if err := r.engine().Retain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := listed(); got != "[5/0/5 1h0m0s 6/0/2 1h0m0s]" {
			t.Errorf("after an hour: %s", got)
		}
		r.mustSend(r.batch(tp, 1, 40, 6))
		r.engine().Reconfigure(nil, 30*time.Minute)
		if err := r.engine().Retain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := listed(); got != "[6/0/3 0s]" {
			t.Errorf("when ids are kept for half an hour: %s", got)
		}
		if _, err := r.engine().Producers(ident.TopicPartition{Topic: tp.Topic, Index: 9}); !errors.Is(err, storage.ErrUnknownPartition) {
			t.Errorf("a partition that is none: %v", err)
		}
	})
}
