package storage_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/metadata/pb"
	"github.com/sluicemq/sluice/storage"
	"github.com/sluicemq/sluice/storage/bucket/fault"
	"github.com/sluicemq/sluice/vfs/crashfs"
)

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

// checkTrimmed makes sure that the test met the danger: the first segments of the own WAL are gone.
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

// TestE24_KilledBetweenCommitAndRecord: only the quorum knows of the commit, and the bucket is
// down. The next start needs nothing but the disk.
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

// TestE24_KilledAtEveryCallOfATrim: the process dies between record and trim, and within the trim.
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

// TestI9_KilledBetweenRetentionAndTrim: the log start passes batches that were never uploaded, and
// their segments go. The process dies before and after each command to the quorum and each call of
// the disk in between. The old state record of an idle partition lies in the segments that go, and
// its new record in those that stay.
func TestI9_KilledBetweenRetentionAndTrim(t *testing.T) {
	type death struct {
		call    int // of the disk
		command int // to the quorum
		fate    fate
	}
	life := func(t *testing.T, at death) (calls, commands int) {
		r := newRig(t, 1, func(c *storage.Config) {
			c.FlushInterval, c.FlushBytes, c.RetentionInterval = 1000*time.Hour, 1<<30, time.Minute
		})
		idle, m := r.newLog("idle", nil), r.newLog("busy", map[string]string{catalog.ConfigRetentionBytes: "6000"})
		r.fill(idle, 1, 1, 40)
		r.mustFlush()
		r.fill(m, 40, 1, 8<<10)
		r.fill(idle, 1, 1, 40) // stays, and so do the segments from here on
		r.fill(m, 20, 1, 8<<10)
		synctest.Wait() // waits until the next segment is prepared
		call, command, size := len(r.disk0().Calls()), r.quorum.commands(), r.walBytes()
		if at.call > 0 {
			r.disk0().KillAt(call + at.call)
		}
		r.quorum.decide(func(n int, _ *pb.Command) fate {
			if at.command > 0 && n == command+at.command {
				return at.fate
			}
			return carried
		})
		time.Sleep(r.cfg.RetentionInterval + time.Second)
		synctest.Wait()
		calls, commands = len(r.disk0().Calls())-call, r.quorum.commands()-command
		if at == (death{}) && r.walBytes() >= size {
			t.Error("nothing was trimmed: the test needs another log")
		}
		r.quorum.decide(nil)
		r.end((at.call+at.command)%2 == 0)
		r.mustOpen()
		r.sees(m)
		r.sees(idle)
		r.fill(m, 3, 1, 40)
		r.fill(idle, 3, 1, 40)
		m.checkFetch(r, rand.New(rand.NewPCG(1, 1)))
		idle.checkFetch(r, rand.New(rand.NewPCG(1, 1)))
		return calls, commands
	}
	calls, commands := 0, 0
	inBubble(t, func(t *testing.T) { calls, commands = life(t, death{}) })
	if calls == 0 || commands == 0 {
		t.Fatalf("%d calls, %d commands", calls, commands)
	}
	for n := 1; n <= calls; n++ {
		t.Run(fmt.Sprintf("call%d", n), func(t *testing.T) {
			inBubble(t, func(t *testing.T) { life(t, death{call: n}) })
		})
	}
	for n := 1; n <= commands; n++ {
		for _, f := range []fate{killBefore, killAfter} {
			t.Run(fmt.Sprintf("command%d_%d", n, f), func(t *testing.T) {
				inBubble(t, func(t *testing.T) { life(t, death{command: n, fate: f}) })
			})
		}
	}
}

// TestE24_KilledBetweenTrimAndRetirement: the own log is trimmed, and the process dies before it
// lets go of a sealed tail that holds the same partition. The next start finds the tail, then a
// gap, then the batches after the trim. All batches in the gap are committed. A deleted topic may
// have such a gap too.
func TestE24_KilledBetweenTrimAndRetirement(t *testing.T) {
	for _, deleted := range []bool{false, true} {
		t.Run(fmt.Sprintf("deleted=%t", deleted), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, seed(t), byHand)
				tp := r.mustCreate("t", 1, nil)[0]
				r.mustSend(r.batch(tp, 3, 40, 1))
				r.restart() // the batches so far are in a sealed tail now
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

// TestE24_RecordIsCarriedForward: an idle partition's record lies in segments that go, again and
// again.
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

// TestE12_VoidInASealedTail: a topic is deleted, and a log start moves past batches, both of which
// lie in a sealed tail. The tail is not kept for them.
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

// TestE24_RecordLeavesARetiredTail: an idle partition's record lies in a sealed tail; the tail goes
// with the next flush.
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

// Batches that expire before they were ever flushed give their segments back without a flush.
func TestExpiredUnflushedIsTrimmed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1, func(c *storage.Config) {
			c.FlushInterval, c.FlushBytes, c.RetentionInterval = 1000*time.Hour, 1<<30, 2*time.Second
		})
		m := r.newLog("a", map[string]string{catalog.ConfigRetentionBytes: "6000"})
		for range 100 {
			r.fill(m, 10, 2, 500)
			time.Sleep(2 * time.Second)
		}
		synctest.Wait()
		if n := r.walBytes(); n > 4*int(r.cfg.WALSegmentBytes) {
			t.Errorf("the WAL has %d bytes on the disk, in segments of %d", n, r.cfg.WALSegmentBytes)
		}
		r.kill()
		r.mustOpen()
		r.sees(m)
	})
}

// walBytes returns the bytes that the WAL has on the disk.
func (r *rig) walBytes() (sum int) {
	incarnations, err := r.disk.List(r.cfg.WALDir)
	for _, inc := range incarnations {
		dir := filepath.Join(r.cfg.WALDir, inc)
		files, _ := r.disk.List(dir)
		for _, f := range files {
			if info, err := r.disk.Stat(filepath.Join(dir, f)); err == nil {
				sum += int(info.Size())
			}
		}
	}
	if err != nil || sum == 0 {
		r.t.Fatalf("the WAL has %d bytes on the disk: %v", sum, err)
	}
	return sum
}
