package storage_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/metadata/pb"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/fault"
	"github.com/sluicemq/sluice/storage/object"
	"github.com/sluicemq/sluice/storage/pstate"
	"github.com/sluicemq/sluice/vfs/crashfs"
	"github.com/sluicemq/sluice/wal"
)

// Each test plays the interleaving that its rule is about.

// byHand keeps timers out: nothing is flushed unless the test says so.
func byHand(c *storage.Config) { c.FlushInterval, c.FlushBytes = 24*time.Hour, 1<<20 }

// losing loses commands of one kind as long as it returns true.
func losing(name string, f fate, as func() bool) func(int, *pb.Command) fate {
	return func(_ int, cmd *pb.Command) fate {
		if metadata.CommandName(cmd) == name && as() {
			return f
		}
		return carried
	}
}

// once is true the first time.
func once() func() bool {
	done := false
	return func() bool {
		first := !done
		done = true
		return first
	}
}

// TestE7_ExpiredIDIsPlannedAgain: the quorum is away for so long that what a flush prepared has
// expired when it commits. It is refused, planned again under a new id, and nothing names what is collected.
func TestE7_ExpiredIDIsPlannedAgain(t *testing.T) {
	for _, command := range []string{"CommitFlush", "SwapManifest"} {
		t.Run(command, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, seed(t))
				tp := r.mustCreate("t", 2, classObject)
				back := time.Now().Add(3 * time.Hour)
				r.quorum.decide(losing(command, commandLost, func() bool { return time.Now().Before(back) }))
				for range 6 {
					s := r.plain(tp[0], 2)
					r.start(s, r.plain(tp[1], 1))
					time.Sleep(5 * time.Second)
				}
				time.Sleep(3*time.Hour + time.Minute)
				r.quorum.decide(nil)
				r.mustSend(r.plain(tp[0], 1))
				r.mustFlush()
				r.snapshot()
				time.Sleep(3 * r.cfg.DeleteDelay)
				checkObjects(r)
				if len(r.quorum.garbage()) > 0 {
					t.Errorf("not collected: %v", r.quorum.garbage())
				}
				r.restart()
				r.check()
			})
		})
	}
}

// TestE8_GapStopsTheStart: offset 1 is in the WAL without offset 0. That is damage, and no batch is skipped over.
func TestE8_GapStopsTheStart(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t))
		tp := r.mustCreate("t", 1, nil)[0]
		r.stop()
		r.writeIncarnation(tp, 0, 2)
		if err := r.open(); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("started over a gap: %v", err)
		}
	})
}

// TestE8_GapAtTheCommittedEndStopsTheStart: the same, where the gap lies between the bucket and the WAL.
func TestE8_GapAtTheCommittedEndStopsTheStart(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t))
		tp := r.mustCreate("t", 1, nil)[0]
		r.stop()
		r.writeIncarnation(tp, 3)
		if err := r.open(); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("started over a gap: %v", err)
		}
	})
}

// writeIncarnation makes the next incarnation by hand, with batches of one record at the given offsets.
func (r *rig) writeIncarnation(tp ident.TopicPartition, offsets ...ident.Offset) {
	r.t.Helper()
	var current ident.Incarnation
	r.quorum.view(func(s *metadata.State) {
		b, _ := s.Broker(nodeID)
		current = b.Incarnation
	})
	sealed, err := wal.Recover(r.walConfig(), wal.RecoverDeps{FS: r.disk, Log: logger()}, current, func(*wal.Entry) error { return nil })
	if err != nil {
		r.t.Fatal(err)
	}
	next := r.quorum.apply(metadata.NewRegisterIncarnation(nodeID, directory, current, sealed.End())).Registration.Incarnation
	w, err := wal.Create(r.walConfig(), wal.Deps{FS: r.disk, Log: logger(), Durable: func([]*wal.Append) {}, Failed: func(err error, _ []*wal.Append) { r.t.Error(err) }}, next)
	if err != nil {
		r.t.Fatal(err)
	}
	r.quorum.apply(metadata.NewOpenIncarnation(next))
	epoch := r.head(tp).Leader.Epoch
	for _, o := range offsets {
		in := r.encode(r.plain(tp, 1))
		protocol.SetPlace(in.Batch, int64(o), int32(epoch))
		err := w.Append(&wal.Append{Entries: []wal.Entry{{Kind: wal.KindBatch, Partition: tp, Epoch: epoch, Start: o, End: o + 1, Payload: in.Batch}}})
		if err != nil {
			r.t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), sealed.Close()); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) walConfig() wal.Config {
	return wal.Config{Dir: r.cfg.WALDir, SegmentBytes: r.cfg.WALSegmentBytes}
}

// TestE8_ConcurrentRequests: requests that name the same partitions in different orders neither wait for
// each other for ever nor get into the WAL in another order than into the partitions.
func TestE8_ConcurrentRequests(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t))
		tps := r.mustCreate("t", 4, nil)
		var clients sync.WaitGroup
		for c := range 4 {
			clients.Go(func() {
				for i := range 25 {
					var batches []*sent
					for k := range tps {
						batches = append(batches, r.batch(tps[(c+i+k*(1+2*(c%2)))%4], 1, 30, int64(c)))
					}
					r.start(batches...)
					if i%5 == 4 && !r.wait(batches...) {
						t.Error("no answer")
					}
				}
			})
		}
		clients.Wait()
		synctest.Wait()
		r.check()
		r.crash()
		r.mustOpen()
		r.check()
		r.resume()
		r.mustFlush()
		r.restart()
		r.check()
	})
}

// roll rolls and trims WAL segments by writing to other partitions.
func (r *rig) roll(tp ident.TopicPartition) {
	r.t.Helper()
	for range 6 {
		for range 8 {
			r.mustSend(r.batch(tp, 1, 8<<10, -1))
		}
		r.mustFlush()
	}
	r.checkTrimmed()
}

// checkTrimmed makes sure that the danger was there: the first segments of the own WAL are gone.
func (r *rig) checkTrimmed() {
	r.t.Helper()
	names, err := r.disk0().List(fmt.Sprintf("%s/%s", r.cfg.WALDir, r.engine().Incarnation()))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, "0000000000000000") {
			r.t.Fatalf("the first segment was not trimmed: %v", names)
		}
	}
}

func (r *rig) disk0() *crashfs.FS { return r.process.disk }

// TestE11_IdlePartitionKnowsItsProducers: all ranges of an idle partition are gone, the WAL that held them is
// trimmed: after a restart, and after the loss of the disk, it still knows who wrote what.
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
				time.Sleep(3 * r.cfg.DeleteDelay) // the state object outlives the ranges
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

// TestI11_PlacedAndCommittedShareNoProducer: what a partition knows as placed and as committed begin as one at a
// start. A flush must not note in the first what is new in the second: the oldest of five batches would be forgotten.
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

// TestE11_ExpiredUnflushedAndDiskLost: records expired before they were ever flushed, then the disk is lost: the
// bucket has no state up to the committed end, which has followed the log start. The partition opens all the same.
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

// TestE11_ManyProducersAreNotRewritten: a flush after one producer's batch carries that producer, not all.
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

// TestE12_TopicDeletedDuringUpload: a topic goes, and a log start passes, while the bundle that carries them is
// on its way. The others in it are committed, what is void does not hold the WAL.
func TestE12_TopicDeletedDuringUpload(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		doomed, kept := r.mustCreate("doomed", 2, nil), r.mustCreate("kept", 2, nil)
		r.mustSend(r.plain(doomed[0], 2), r.plain(doomed[1], 2), r.batch(kept[0], 2, 40, 1), r.plain(kept[1], 3))
		first := once()
		r.onCreate = func(string) {
			if first() {
				r.deleteTopic(doomed[0].Topic)
				r.advance(kept[1], 3)
			}
		}
		r.mustFlush()
		if h := r.head(kept[0]); h.CommittedEnd != 2 {
			t.Errorf("committed up to %d, want 2", h.CommittedEnd)
		}
		if n := r.engine().Unflushed(); n != 0 {
			t.Errorf("%d bytes count as unflushed", n)
		}
		r.roll(kept[0])
		r.check()
		r.restart()
		r.check()
		r.resume()
	})
}

// TestE13_BucketAway: with the bucket away the broker dies and starts twice; tail reads and produce work within a second of each
// start. When it is back, all is committed in order and the tails go.
func TestE13_BucketAway(t *testing.T) {
	for name, f := range map[string]fault.Fault{"refusing": fault.Refused, "hanging": fault.Hang, "busy": fault.Busy} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, seed(t))
				tps, urgent := r.mustCreate("t", 3, nil), r.mustCreate("o", 1, classObject)[0]
				r.mustSend(r.batch(tps[0], 1, 40, 1), r.plain(tps[1], 1), r.batch(urgent, 1, 40, 1))
				r.mustFlush()
				r.bucket.Away(f)
				late := []*sent{r.batch(urgent, 1, 40, 1)}
				r.start(late...)
				for range 2 {
					for i := range 3 {
						r.mustSend(r.batch(tps[0], 2, 40, 1), r.batch(tps[i], 1, 2000, 2))
					}
					time.Sleep(3 * time.Second) // flushes are tried
					r.kill()
					began := time.Now()
					r.mustOpen()
					r.mustSend(r.batch(tps[0], 1, 40, 1), r.plain(tps[2], 1))
					r.checkTail(tps[0])
					if d := time.Since(began); d > time.Second {
						t.Errorf("fetch and produce took %v from the start", d)
					}
				}
				if n := r.tails(); n < 2 {
					t.Errorf("%d sealed tails", n)
				}
				r.bucket.Away(fault.None)
				time.Sleep(time.Minute)
				if n := r.tails(); n != 0 {
					t.Errorf("%d sealed tails a minute after the bucket is back", n)
				}
				if n := r.engine().Unflushed(); n != 0 {
					t.Errorf("%d bytes are not flushed a minute after the bucket is back", n)
				}
				r.check()
				r.resume()
				r.restart()
				r.check()
			})
		})
	}
}

// checkTail reads a partition's newest batches.
func (r *rig) checkTail(tp ident.TopicPartition) {
	r.t.Helper()
	end, err := r.engine().ListOffset(r.t.Context(), tp, storage.TimestampLatest, ident.NoEpoch, storage.ReadUncommitted)
	if err != nil {
		r.t.Fatal(err)
	}
	f := storage.Fetch{MaxBytes: 1 << 20, Partitions: []storage.FetchPartition{{Partition: tp, Offset: end.Offset - 3, MaxBytes: 1 << 20, CurrentEpoch: ident.NoEpoch}}}
	r.engine().Read(r.t.Context(), &f)
	if q := &f.Partitions[0]; q.Err != nil || q.Bytes == 0 {
		r.t.Errorf("tail of %s: %d bytes, %v", tp, q.Bytes, q.Err)
	}
}

// TestE17_HeadsStaySmall: many ranges go into the manifest, also where the bucket takes none for a while.
func TestE17_HeadsStaySmall(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t))
		tp := r.mustCreate("t", 1, classObject)[0]
		var refuse atomic.Bool
		r.onCreate = func(key string) {
			if refuse.Load() && strings.HasSuffix(key, "manifest") {
				r.bucket.Script(bucket.OpCreate, fault.Refused)
			}
		}
		for i := range 60 {
			refuse.Store(i > 15 && i < 50)
			s := r.batch(tp, 1, 40, 1)
			r.start(s)
			if !refuse.Load() && !r.wait(s) {
				t.Fatal("no answer")
			}
			time.Sleep(200 * time.Millisecond)
			if h := r.head(tp); len(h.Ranges) > catalog.RangesPerHeadMax {
				t.Fatalf("%d ranges in a head", len(h.Ranges))
			}
		}
		r.mustFlush()
		time.Sleep(time.Minute)
		h := r.head(tp)
		if h.Manifest.RangeCount == 0 || len(h.Ranges) >= r.cfg.ManifestAt {
			t.Errorf("manifest %+v, %d ranges in the head", h.Manifest, len(h.Ranges))
		}
		r.check()
		r.restart()
		r.check()
		r.resume()
	})
}

// TestE18_UrgentFlushTakesOnlyItsOwn: a producer of class object does not turn its neighbours' traffic into tiny bundles.
func TestE18_UrgentFlushTakesOnlyItsOwn(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		local, urgent := r.mustCreate("local", 2, nil), r.mustCreate("urgent", 1, classObject)[0]
		for range 5 {
			r.mustSend(r.plain(local[0], 1), r.plain(local[1], 1))
			r.mustSend(r.plain(urgent, 1))
		}
		if h := r.head(urgent); h.CommittedEnd != 5 {
			t.Errorf("class object: committed up to %d, want 5", h.CommittedEnd)
		}
		for _, tp := range local {
			if h := r.head(tp); h.CommittedEnd != 0 {
				t.Errorf("class local: committed up to %d by another's flush", h.CommittedEnd)
			}
		}
		r.check()
	})
}

// TestE21_SealedTailsAreCommitted: ranges of two dead incarnations are committed by the living one, under their own names.
func TestE21_SealedTailsAreCommitted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand, func(c *storage.Config) { c.ManifestAt = 20 })
		tp := r.mustCreate("t", 1, nil)[0]
		var want []ident.Incarnation
		for range 3 {
			r.mustSend(r.batch(tp, 1, 40, 1))
			want = append(want, r.engine().Incarnation())
			r.restart()
		}
		r.mustSend(r.batch(tp, 1, 40, 1))
		want = append(want, r.engine().Incarnation())
		r.mustFlush()
		var got []ident.Incarnation
		for _, g := range r.head(tp).Ranges {
			got = append(got, g.Incarnation)
			if g.Writer != r.engine().Incarnation() {
				t.Errorf("range of %s was written by %s", g.Incarnation, g.Writer)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("ranges of incarnations %v, want %v", got, want)
		}
		if n := r.tails(); n != 0 {
			t.Errorf("%d tails are left", n)
		}
		r.check()
		r.restart()
		r.check()
		r.resume()
	})
}

// TestE23_LogStartInsideARangeInFlight: the log start moves into the middle of a batch that is being uploaded.
func TestE23_LogStartInsideARangeInFlight(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		tp := r.mustCreate("t", 1, nil)[0]
		r.mustSend(r.batch(tp, 10, 40, 1))
		r.mustSend(r.batch(tp, 10, 40, 1))
		first := once()
		r.onCreate = func(string) {
			if first() {
				r.advance(tp, 13)
			}
		}
		r.mustFlush()
		h := r.head(tp)
		if h.CommittedEnd != 20 || h.LogStart != 13 || len(h.Ranges) != 1 || h.Ranges[0].Start != 13 {
			t.Errorf("head %+v", h)
		}
		r.check()
		r.roll(r.mustCreate("busy", 1, nil)[0])
		r.restart()
		r.check()
		r.resume()
	})
}

// TestE23_LogStartInsideABatchSurvivesRestart: the same before any flush, with a start between.
func TestE23_LogStartInsideABatchSurvivesRestart(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		tp := r.mustCreate("t", 1, nil)[0]
		r.mustSend(r.batch(tp, 10, 40, 1))
		r.advance(tp, 4)
		r.mustSend(r.batch(tp, 10, 40, 1))
		r.restart()
		r.check()
		r.advance(tp, 12)
		r.mustFlush()
		r.check()
		r.restart()
		r.check()
		r.resume()
	})
}

// TestE24_KilledBetweenCommitAndRecord: the commit is known to the quorum and to nobody else; the bucket is away. The next
// start needs nothing but the disk.
func TestE24_KilledBetweenCommitAndRecord(t *testing.T) {
	for _, before := range []int{0, 1} {
		t.Run(fmt.Sprintf("after %d flushes", before), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, seed(t), byHand)
				tps := r.mustCreate("t", 2, nil)
				for range before {
					r.mustSend(r.batch(tps[0], 2, 40, 1), r.batch(tps[1], 1, 40, 2))
					r.mustFlush()
				}
				r.mustSend(r.batch(tps[0], 2, 40, 1), r.batch(tps[1], 1, 40, 2))
				r.quorum.decide(losing("CommitFlush", killAfter, once()))
				if r.flush() {
					t.Fatal("the process was to die in its flush")
				}
				r.kill()
				r.bucket.Away(fault.Refused)
				r.mustOpen()
				began := time.Now()
				r.resume()
				if d := time.Since(began); d > time.Second {
					t.Errorf("produce took %v from the start", d)
				}
				r.bucket.Away(fault.None)
				r.mustFlush()
				r.check()
				r.restart()
				r.check()
				r.resume()
			})
		})
	}
}

// TestE24_KilledAtEveryCallOfATrim: between record and trim, and within the trim.
func TestE24_KilledAtEveryCallOfATrim(t *testing.T) {
	prepare := func(t *testing.T) *rig {
		r := newRig(t, seed(t), byHand)
		idle, busy := r.mustCreate("idle", 1, nil)[0], r.mustCreate("busy", 1, nil)[0]
		r.mustSend(r.batch(idle, 1, 40, 5))
		r.mustFlush()
		for range 10 {
			r.mustSend(r.batch(busy, 1, 8<<10, 6))
		}
		return r
	}
	from, to := 0, 0
	inBubble(t, func(t *testing.T) {
		r := prepare(t)
		from = len(r.disk0().Calls())
		r.mustFlush()
		to = len(r.disk0().Calls())
		r.checkTrimmed()
	})
	for n := from + 1; n <= to; n++ {
		t.Run(fmt.Sprintf("call%d", n-from), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := prepare(t)
				r.disk0().KillAt(n)
				r.flush()
				r.end(n%2 == 0)
				r.bucket.Away(fault.Refused)
				r.mustOpen()
				r.resume()
				r.bucket.Away(fault.None)
				r.check()
			})
		})
	}
}

// TestE24_KilledBetweenTrimAndRetirement: the own log is trimmed, and the process dies before it lets go of a sealed tail
// that holds the same partition. The next start finds the tail, then a gap, then what followed the trim: all in the gap
// is committed. Of a deleted topic there may be such a gap too.
func TestE24_KilledBetweenTrimAndRetirement(t *testing.T) {
	for _, deleted := range []bool{false, true} {
		t.Run(fmt.Sprintf("deleted=%t", deleted), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, seed(t), byHand)
				tp := r.mustCreate("t", 1, nil)[0]
				r.mustSend(r.batch(tp, 3, 40, 1))
				r.restart() // those are in a sealed tail now
				for range 20 {
					r.mustSend(r.batch(tp, 1, 8<<10, 1))
				}
				r.quorum.decide(losing("RetireTail", killBefore, once()))
				own := r.engine().Incarnation()
				if r.flush() {
					t.Fatal("the process was to die when it lets go of the tail")
				}
				r.kill()
				names, err := r.disk.List(fmt.Sprintf("%s/%s", r.cfg.WALDir, own))
				if err != nil || len(names) == 0 || strings.HasPrefix(names[0], "0000000000000000") {
					t.Fatalf("the first segment was not trimmed: %v, %v", names, err)
				}
				if deleted {
					if res := r.quorum.apply(metadata.NewDeleteTopic(tp.Topic)); res.Err != nil {
						t.Fatal(res.Err)
					}
					r.mustOpen()
					return
				}
				r.bucket.Away(fault.Refused)
				r.mustOpen()
				r.resume()
				r.bucket.Away(fault.None)
				r.mustFlush()
				r.check()
			})
		})
	}
}

// TestE24_RecordIsCarriedForward: an idle partition's record lies in segments that go, again and again.
func TestE24_RecordIsCarriedForward(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		idle, busy := r.mustCreate("idle", 1, nil)[0], r.mustCreate("busy", 1, nil)[0]
		r.mustSend(r.batch(idle, 1, 40, 5))
		r.mustFlush()
		for range 3 {
			r.roll(busy)
			r.bucket.Away(fault.Refused)
			r.restart()
			end := r.head(idle).CommittedEnd
			again := r.history.newest()[0]
			r.mustSend(again)
			if got := r.head(idle).CommittedEnd; got != end {
				t.Errorf("the idle partition's end went from %d to %d", end, got)
			}
			r.bucket.Away(fault.None)
		}
		r.check()
	})
}

// TestE25_KilledThenPowerCut: what a second life has read from the page cache of the first is shown, and so must outlive a power cut.
func TestE25_KilledThenPowerCut(t *testing.T) {
	seed := seed(t)
	for i := range uint64(8) {
		inBubble(t, func(t *testing.T) {
			r := newRig(t, seed+i, byHand)
			tp := r.mustCreate("t", 1, nil)[0]
			r.mustSend(r.batch(tp, 1, 40, 1))
			synced := false
			r.disk0().SetHook(func(c crashfs.Call) error {
				if c.Op == "datasync" { // written, never synced
					synced = true
					return crashfs.ErrDead
				}
				return nil
			})
			r.start(r.batch(tp, 3, 3000, 1))
			synctest.Wait()
			if !synced {
				t.Fatal("no sync")
			}
			r.kill()
			r.mustOpen()
			r.check() // shown from here on
			if got := r.history.partitions[tp].high; got != 4 {
				t.Errorf("high watermark %d: the written group was not found", got)
			}
			r.crash()
			r.mustOpen()
			r.check()
			r.resume()
		})
	}
}

// TestE26_UnpersistedIsNotFlushed: what is written and not synced does not go to the bucket.
func TestE26_UnpersistedIsNotFlushed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		tp := r.mustCreate("t", 1, nil)[0]
		r.mustSend(r.plain(tp, 1))
		release := make(chan struct{})
		r.holdsSyncs = true
		r.disk0().SetHook(func(c crashfs.Call) error {
			if c.Op == "datasync" {
				<-release
			}
			return nil
		})
		late := r.plain(tp, 1)
		r.start(late)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_ = r.engine().Flush(ctx) // its state record waits for the sync as well
		if h := r.head(tp); h.CommittedEnd > 1 {
			t.Errorf("committed up to %d, durable is 1", h.CommittedEnd)
		}
		r.observe()
		if high := r.history.partitions[tp].high; high != 1 {
			t.Errorf("I5: high watermark %d, durable is 1", high)
		}
		if r.history.outcome(late) != pending {
			t.Error("I1: acknowledged before its sync")
		}
		close(release)
		r.wait(late)
		r.check()
	})
}

// TestE27_DeathWhileOpening: the incarnation is registered, and then its folder is never made, or its opening never told.
func TestE27_DeathWhileOpening(t *testing.T) {
	for _, command := range []string{"RegisterIncarnation", "OpenIncarnation"} {
		for _, f := range []fate{killBefore, killAfter, answerLost, commandLost} {
			t.Run(fmt.Sprintf("%s/%d", command, f), func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					r := newRig(t, seed(t), byHand)
					tp := r.mustCreate("t", 1, nil)[0]
					r.mustSend(r.batch(tp, 2, 40, 1))
					r.kill()
					for range 3 {
						r.quorum.decide(losing(command, f, once()))
						if r.open() == nil {
							t.Fatal("the start was to fail")
						}
					}
					r.quorum.decide(nil)
					r.mustOpen()
					r.check()
					r.resume()
					r.mustFlush()
					if n := r.tails(); n != 0 {
						t.Errorf("%d tails are left", n)
					}
					r.restart()
					r.check()
				})
			})
		}
	}
}

// TestE28_CommitWithUnknownOutcome: told "unavailable" once or many times, applied or not, a commit is repeated
// under its number until its outcome is known.
func TestE28_CommitWithUnknownOutcome(t *testing.T) {
	for _, f := range []fate{answerLost, commandLost} {
		t.Run(fmt.Sprint(f), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, seed(t), byHand)
				tp := r.mustCreate("t", 1, classObject)[0]
				numbers := map[uint64]uint64{} // by object
				for range 4 {
					left := 3
					r.quorum.decide(func(_ int, cmd *pb.Command) fate {
						c := cmd.GetCommitFlush()
						if c == nil {
							return carried
						}
						if n, ok := numbers[c.Bundles[0].Object]; ok && n != c.Number {
							t.Errorf("a commit was repeated under number %d, first under %d", c.Number, n)
						}
						numbers[c.Bundles[0].Object] = c.Number
						if left--; left >= 0 {
							return f
						}
						return carried
					})
					r.mustSend(r.batch(tp, 1, 40, 1))
				}
				if got := len(r.keys()); got > 4+1 { // one each, and a manifest
					t.Errorf("%d objects for four batches: a commit was planned again", got)
				}
				r.check()
			})
		})
	}
}

// TestE28_CallerGivesUpOnACommit: a flush whose context ends while its commit is in doubt neither hangs nor keeps the next from committing.
func TestE28_CallerGivesUpOnACommit(t *testing.T) {
	for _, f := range []fate{answerLost, commandLost} {
		t.Run(fmt.Sprint(f), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, seed(t), byHand)
				tp := r.mustCreate("t", 1, nil)[0]
				r.mustSend(r.batch(tp, 1, 40, 1))
				r.quorum.decide(losing("CommitFlush", f, func() bool { return true }))
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				began := time.Now()
				if err := r.engine().Flush(ctx); err == nil {
					t.Error("flushed without a quorum")
				}
				if d := time.Since(began); d > 11*time.Second {
					t.Errorf("the flush went on for %v after its context", d-10*time.Second)
				}
				r.quorum.decide(nil)
				r.mustSend(r.batch(tp, 1, 40, 1))
				deadline := time.Now().Add(10 * time.Minute)
				for r.engine().Unflushed() > 0 && time.Now().Before(deadline) {
					r.flush()
				}
				if h := r.head(tp); h.CommittedEnd != 2 {
					t.Errorf("committed up to %d, want 2", h.CommittedEnd)
				}
				r.check()
				r.restart()
				r.check()
				r.resume()
			})
		})
	}
}

// TestE28_UploadInDoubtIsAbandoned: an upload that ended in doubt may have arrived, or arrives later. Its id is not
// used again, its object not deleted by the writer; the quorum expires it.
func TestE28_UploadInDoubtIsAbandoned(t *testing.T) {
	for _, f := range []fault.Fault{fault.Lost, fault.Delayed, fault.Reset} {
		t.Run(fmt.Sprint(f), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, seed(t), byHand)
				tp := r.mustCreate("t", 1, nil)[0]
				r.mustSend(r.batch(tp, 1, 40, 1))
				r.bucket.Script(bucket.OpCreate, f)
				r.mustFlush()
				doubtful := keyOf(1, r.engine().Incarnation())
				if r.head(tp).Ranges[0].Object == 1 {
					t.Error("the id of an upload in doubt was used again")
				}
				if n := r.bucket.Calls(bucket.OpDelete); n != 0 {
					t.Errorf("%d deletes by the writer", n)
				}
				if err := r.bucket.Release(t.Context()); err != nil {
					t.Fatal(err)
				}
				if f != fault.Reset && !slices.Contains(r.keys(), doubtful) {
					t.Errorf("the object in doubt is gone: %v", r.keys())
				}
				time.Sleep(storage.ObjectExpiry + time.Minute)
				r.snapshot()
				time.Sleep(3 * r.cfg.DeleteDelay)
				if slices.Contains(r.keys(), doubtful) {
					t.Errorf("the object in doubt was never collected: %v", r.keys())
				}
				r.check()
				r.restart()
				r.check()
			})
		})
	}
}

// TestE28_ForeignObjectIsNotAdopted: the key is taken by other bytes.
func TestE28_ForeignObjectIsNotAdopted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		tp := r.mustCreate("t", 1, nil)[0]
		r.mustSend(r.plain(tp, 1))
		for id := range ident.ObjectID(2) {
			if err := r.objects.Create(t.Context(), keyOf(id+1, r.engine().Incarnation()), bucket.NewBody([]byte("foreign"))); err != nil {
				t.Fatal(err)
			}
		}
		r.mustFlush()
		if got := r.head(tp).Ranges[0].Object; got != 3 {
			t.Errorf("committed under object %s", got)
		}
		r.restart()
		r.check()
	})
}

// keyOf names a bundle in the bucket.
func keyOf(id ident.ObjectID, writer ident.Incarnation) string {
	return object.Key(clusterID, id, writer, object.KindBundle)
}

// TestI11_DuplicateWaitsForItsOriginal: a repeated batch is answered no earlier than the original is durable, or, of class object, committed.
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

// TestE12_VoidInASealedTail: a topic goes, and a log start passes, whose batches lie in a sealed tail. The tail is not kept for them.
func TestE12_VoidInASealedTail(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		doomed, kept := r.mustCreate("doomed", 1, nil)[0], r.mustCreate("kept", 2, nil)
		r.mustSend(r.plain(doomed, 2), r.batch(kept[0], 2, 40, 1), r.plain(kept[1], 3))
		r.restart()
		r.deleteTopic(doomed.Topic)
		r.advance(kept[1], 3)
		r.mustFlush()
		if n := r.tails(); n != 0 {
			t.Errorf("%d sealed tails are kept for what is void", n)
		}
		r.check()
		r.restart()
		r.check()
		r.resume()
	})
}

// TestE24_RecordLeavesARetiredTail: an idle partition's record lies in a sealed tail; the tail goes with the next flush.
func TestE24_RecordLeavesARetiredTail(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		idle, busy := r.mustCreate("idle", 1, nil)[0], r.mustCreate("busy", 1, nil)[0]
		r.mustSend(r.batch(idle, 1, 40, 5))
		r.mustFlush()
		for range 3 {
			r.restart()
			r.mustSend(r.plain(busy, 1))
			r.mustFlush()
			if n := r.tails(); n != 0 {
				t.Fatalf("%d tails are left", n)
			}
		}
		r.bucket.Away(fault.Refused)
		r.restart()
		r.resume()
		r.bucket.Away(fault.None)
		r.check()
	})
}
