package storage_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata/pb"
	"github.com/sluicemq/sluice/storage"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/fault"
	"github.com/sluicemq/sluice/storage/object"
	"github.com/sluicemq/sluice/vfs/crashfs"
)

// TestE7_ExpiredIDIsPlannedAgain: the quorum is away for so long that the id that a flush prepared
// has expired when the flush commits. The commit is refused and planned again under a new id, and
// nothing refers to the collected object.
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
				time.Sleep(3 * r.deleteDelay)
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

// TestE12_TopicDeletedDuringUpload: a topic is deleted, and a log start moves past a partition's
// batches, while the bundle that carries them is on its way. The other batches in the bundle are
// committed, and the void ones do not hold the WAL.
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

// TestE18_UrgentFlushTakesOnlyItsOwn: a producer of class object does not turn the traffic of other
// partitions into tiny bundles.
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

// TestE21_SealedTailsAreCommitted: the living incarnation commits the ranges of two dead ones,
// under the dead ones' own numbers.
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

// TestE23_LogStartInsideARangeInFlight: the log start moves into the middle of a batch that is
// being uploaded.
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

// TestE26_UnpersistedIsNotFlushed: batches that are written and not synced do not go to the bucket.
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

// TestE28_CommitWithUnknownOutcome: a commit is answered "unavailable" once or many times, whether
// it was applied or not. It is repeated under its number until its outcome is known.
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

// TestE28_CallerGivesUpOnACommit: a flush whose context ends while its commit is in doubt neither
// hangs nor keeps the next flush from committing.
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

// TestE28_UploadInDoubtIsAbandoned: an upload that ended in doubt may have arrived, or may arrive
// later. Its id is not used again, and the writer does not delete its object; the quorum expires
// it.
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
				time.Sleep(3 * r.deleteDelay)
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

// TestE28_ForeignObjectIsNotAdopted: an object with other bytes already has the key.
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

// Retention passes everything before the interval ends. Nothing is uploaded, and the log gets its
// room back all the same. One record that stays holds the log, so it is uploaded when the log is as
// long as what starts a flush.
func TestFlushesWhatIsLeft(t *testing.T) {
	expires := map[string]string{catalog.ConfigRetentionBytes: "6000"}
	for name, c := range map[string]struct {
		config map[string]string
		stays  bool // another record beside it stays
		none   bool // nothing is uploaded
	}{
		"expires":                          {expires, false, true},
		"expires, beside one that stays":   {expires, true, false},
		"class object":                     {classObject, false, false},
		"class object, beside one of disk": {classObject, true, false},
		"stays":                            {nil, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, 1, func(c *storage.Config) {
					c.FlushInterval, c.FlushBytes, c.RetentionInterval = 1000*time.Hour, 256<<10, 2*time.Second
				})
				m, other := r.newLog("a", c.config), r.newLog("b", nil)
				if c.stays {
					r.fill(other, 1, 1, 10)
				}
				for range 200 {
					r.fill(m, 10, 2, 500)
					time.Sleep(2 * time.Second)
				}
				synctest.Wait()
				if c.none && len(r.keys()) > 0 {
					t.Errorf("uploaded: %v", r.keys())
				}
				if c.stays && r.head(other.tp).CommittedEnd == 0 {
					t.Error("what stays was not uploaded")
				}
				if n := r.walBytes(); n > 16*int(r.cfg.WALSegmentBytes) {
					t.Errorf("the WAL has %d bytes on the disk, in segments of %d", n, r.cfg.WALSegmentBytes)
				}
				r.kill()
				r.mustOpen()
				r.sees(m)
				r.sees(other)
			})
		})
	}
}

// A flush that is not worth it forgets nothing: it comes when the bytes that have gathered, with
// those that were left, are enough to start one.
func TestFlushCountsWhatIsLeft(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1, func(c *storage.Config) {
			c.FlushInterval, c.FlushBytes, c.RetentionInterval = 1000*time.Hour, 256<<10, 2*time.Second
		})
		expires, stays := r.newLog("a", map[string]string{catalog.ConfigRetentionBytes: "6000"}), r.newLog("b", nil)
		add := func(m *modelLog, n int) {
			for range n {
				r.fill(m, 1, 1, 10_000) // 12 KiB of the log
				// The signal for a flush is handled before the next one comes.
				synctest.Wait()
			}
			time.Sleep(5 * time.Second)
		}
		wants := func(flushed bool, when string) {
			t.Helper()
			if got := r.head(stays.tp).CommittedEnd > 0; got != flushed {
				t.Fatalf("%s: flushed: %v, want %v", when, got, flushed)
			}
		}
		add(expires, 21)
		add(stays, 6)
		wants(false, "270 KB came, 7 batches are left: 84 KiB")
		add(stays, 8)
		wants(false, "84 KiB and 80 KB")
		add(stays, 13)
		wants(true, "84 KiB and 210 KB")
		r.kill()
		r.mustOpen()
		r.sees(expires)
		r.sees(stays)
	})
}

// Groups that arrive while a flush is being decided signal it once more. That signal does not start
// a second flush of half the size.
func TestFlushSignalledTwice(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1, func(c *storage.Config) { c.FlushInterval, c.FlushBytes = 1000*time.Hour, 256<<10 })
		m := r.newLog("a", nil)
		r.bucket.SetSlow(5 * time.Second)
		r.bucket.Chance(bucket.OpCreate, fault.Slow, 1)
		trims := r.engine().HoldTrim()
		r.fill(m, 265, 1, 1000)
		synctest.Wait()
		r.fill(m, 1, 1, 1000)
		synctest.Wait()
		trims()
		synctest.Wait()
		r.fill(m, 150, 1, 1000) // while the first flush uploads
		time.Sleep(time.Minute)
		if end := r.head(m.tp).CommittedEnd; end != 266 {
			t.Errorf("uploaded up to %d, want 266", end)
		}
	})
}

// A log that the last life left fills the budget as well. Traffic that needs no flush itself starts
// one.
func TestFlushesTailBesideClassObject(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1, func(c *storage.Config) {
			c.FlushInterval, c.FlushBytes, c.WALBudgetBytes = 1000*time.Hour, 10<<20, 2<<20
		})
		disk, urgent := r.newLog("disk", nil), r.newLog("object", classObject)
		r.fill(disk, 98, 1, 12_000)
		r.cfg.FlushBytes = 64 << 10
		r.restart()
		if r.tails() == 0 || r.engine().Throttle(16<<10) == 0 {
			t.Fatal("the last life's log is not near the budget: the test needs another")
		}
		for range 100 {
			r.fill(urgent, 1, 1, 7_900)
			time.Sleep(2 * time.Second)
		}
		if n := r.tails(); n > 0 || r.engine().Throttle(16<<10) > 0 {
			t.Errorf("%d tails are left, throttled by %v", n, r.engine().Throttle(16<<10))
		}
	})
}

// TestPlanKeepsNoBytes: a pass may plan more than the hot tail holds. The planned batches stay in
// memory only as far as the hot tail has them, until a bundle is built. Otherwise the hot tail
// could not let go of anything while a pass runs.
func TestPlanKeepsNoBytes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), func(c *storage.Config) { c.HotBytes, c.FlushInterval, c.FlushBytes = 64<<10, time.Hour, 256<<10 })
		tps := r.mustCreate("t", 2, nil)
		for i := range 16 {
			r.mustSend(r.batch(tps[i%2], 1, 10<<10, -1))
		}
		held, planned, fetched := r.engine().HeldByPlan()
		if held != 0 {
			t.Errorf("a plan of %d bytes keeps %d in memory", planned, held)
		}
		if planned < 160<<10 || fetched == 0 || fetched > 64<<10 {
			t.Errorf("%d bytes planned, %d of them taken from the hot tail; want 160 KiB and what is in it, 64 KiB at most", planned, fetched)
		}
		r.mustFlush()
		r.check()
	})
}
