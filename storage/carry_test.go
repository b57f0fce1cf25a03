package storage_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicemq/sluice/metadata/pb"
	"github.com/sluicemq/sluice/storage"
	"github.com/sluicemq/sluice/storage/bucket/fault"
	"github.com/sluicemq/sluice/vfs/crashfs"
)

// TestI9_KilledBetweenTwoTails: the batches of a stuck partition lie in two sealed tails and are
// carried out of both. The process dies when the first tail is retired and the second is not. The
// copies of the first tail's batches and the originals in the second tail lie under different
// epochs. All of them are committed as soon as the partition may go on.
func TestI9_KilledBetweenTwoTails(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		bad := r.mustCreate("bad", 1, nil)[0]
		r.alterRanges(bad, func(c *pb.CommitRange) { c.Range.Epoch += 7 })
		for range 2 {
			r.mustSend(r.batch(bad, 2, 40, 5), r.batch(bad, 1, 40, 5))
			r.restart()
		}
		retired := 0
		r.quorum.decide(func(_ int, cmd *pb.Command) fate {
			if cmd.GetRetireTail() == nil {
				return carried
			}
			if retired++; retired == 2 {
				return killBefore
			}
			return carried
		})
		r.flush()
		if retired != 2 || r.tails() != 1 {
			t.Fatalf("%d tails were to be retired, %d are left: the test needs another course", retired, r.tails())
		}
		r.quorum.decide(nil)
		r.quorum.change(nil)
		r.restart()
		r.check()
		r.mustFlush()
		if h := r.head(bad); h.CommittedEnd != 6 {
			t.Errorf("committed up to %d, want 6", h.CommittedEnd)
		}
		r.check()
		r.restart()
		r.check()
		r.resume()
	})
}

// TestE12_LogStartMovesWhilePlanning: a log start moves after the head is read and before the
// batches above it are planned. Nothing is wrong with the partition, and the flush goes on.
func TestE12_LogStartMovesWhilePlanning(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		tp := r.mustCreate("t", 1, nil)[0]
		r.mustSend(r.batch(tp, 2, 40, 1))
		r.mustSend(r.batch(tp, 2, 40, 1))
		r.onView = func(*process) {
			r.onView = nil
			r.advance(tp, 2)
		}
		r.mustFlush()
		if h := r.head(tp); r.onView != nil || h.LogStart != 2 || h.CommittedEnd != 4 {
			t.Errorf("the log starts at %d and is committed up to %d, want 2 and 4", h.LogStart, h.CommittedEnd)
		}
		r.check()
	})
}

// TestUnreadableBatchOfClassObject: the disk does not read a batch of one partition of class
// object, and reports no damage. Producers of another such partition do not wait for it.
func TestUnreadableBatchOfClassObject(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		bad, good := r.mustCreate("bad", 1, classObject)[0], r.mustCreate("good", 1, classObject)[0]
		r.bucket.Away(fault.Refused)
		r.start(r.batch(bad, 1, 40, 1))
		synctest.Wait()
		r.restart()
		r.disk0().SetHook(func(c crashfs.Call) error {
			if c.Op == "read" {
				return crashfs.EIO
			}
			return nil
		})
		r.bucket.Away(fault.None)
		time.Sleep(10 * time.Second)
		for range 3 {
			began := time.Now()
			s := r.plain(good, 1)
			r.start(s)
			time.Sleep(10 * time.Second)
			if r.history.outcome(s) != acked {
				t.Fatalf("after %v a partition beside is not acknowledged: %v", time.Since(began), r.history.outcome(s))
			}
		}
		r.disk0().SetHook(nil)
		time.Sleep(2 * time.Minute)
		if n := r.engine().Unflushed(); n != 0 {
			t.Errorf("%d bytes are not in the bucket", n)
		}
		r.check()
	})
}

// TestWayOutOfDamageInTheLog: a batch in the log is damaged, of class local and of class object.
// The partition is reported with a way out that works and that frees the log. Another partition
// goes on.
func TestWayOutOfDamageInTheLog(t *testing.T) {
	for name, configs := range map[string]map[string]string{"local": nil, "object": classObject} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, seed(t), byHand, func(c *storage.Config) { c.HotBytes = 1 })
				bad, good := r.mustCreate("bad", 1, configs)[0], r.mustCreate("good", 1, configs)[0]
				r.bucket.Away(fault.Refused)
				damaged, intact := r.batch(bad, 1, 2000, 1), r.batch(bad, 1, 2000, 1)
				r.start(damaged)
				synctest.Wait()
				r.start(intact)
				synctest.Wait()
				r.restart()
				tail := r.cfg.WALDir + "/" + (r.engine().Incarnation() - 1).String() + "/"
				files, err := r.disk0().List(tail)
				if err != nil {
					t.Fatal(err)
				}
				f, err := r.disk0().Open(tail + files[0])
				if err != nil {
					t.Fatal(err)
				}
				// This position lies in the first group's batch.
				if _, err := f.WriteAt([]byte{'!'}, 4096+1000); err != nil {
					t.Fatal(err)
				}
				r.bucket.Away(fault.None)
				r.flush()
				time.Sleep(10 * time.Second)
				r.mustSend(r.batch(good, 1, 2000, 1))
				r.flush()
				stuck := r.engine().Stuck()
				if h := r.head(good); len(stuck) != 1 || stuck[0].Topic != "bad" || h.CommittedEnd != 1 {
					t.Fatalf("stuck: %+v; the partition beside is committed up to %d", stuck, h.CommittedEnd)
				}
				if configs == nil {
					if !strings.Contains(stuck[0].Remedy, "below offset 1 ") {
						t.Errorf("remedy: %s", stuck[0].Remedy)
					}
					r.history.advancing(bad, 1)
					if _, err := r.engine().DeleteRecords(t.Context(), bad, 1); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Second)
				} else {
					if strings.Contains(stuck[0].Remedy, "below offset") || !strings.Contains(stuck[0].Remedy, "delete its topic") {
						t.Errorf("remedy: %s", stuck[0].Remedy)
					}
					r.deleteTopic(bad.Topic)
				}
				r.mustFlush()
				if s := r.engine().Stuck(); len(s) > 0 || r.tails() > 0 {
					t.Errorf("%d tails are left; still stuck: %+v", r.tails(), s)
				}
				r.check()
				r.restart()
				r.check()
			})
		})
	}
}
