package storage_test

import (
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"strings"
	"sync"
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

// alterRanges calls change with every range of tp in a commit, before the quorum judges the range.
func (r *rig) alterRanges(tp ident.TopicPartition, change func(*pb.CommitRange)) {
	r.quorum.change(func(cmd *pb.Command) {
		for _, b := range cmd.GetCommitFlush().GetBundles() {
			for _, c := range b.Ranges {
				if ident.TopicID(c.Partition.Topic) == tp.Topic && c.Partition.Index == tp.Index {
					change(c)
				}
			}
		}
	})
}

// damageRoot spoils the root of a partition's manifest in the bucket and drops the cached copies.
// It returns a func that puts the object back.
func (r *rig) damageRoot(tp ident.TopicPartition) (repair func()) {
	r.t.Helper()
	synctest.Wait() // no flush is about to write the next root
	m := r.head(tp).Manifest
	if m.Object == 0 {
		r.t.Fatal("no manifest yet")
	}
	key := object.Key(clusterID, m.Object, m.Writer, object.KindManifest)
	good := make([]byte, m.Bytes)
	if err := r.objects.ReadAt(r.t.Context(), key, good, 0); err != nil {
		r.t.Fatal(err)
	}
	put := func(b []byte) {
		if err := errors.Join(r.objects.Delete(r.t.Context(), key), r.objects.Create(r.t.Context(), key, bucket.Body{Parts: [][]byte{b}, CRC32C: crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))})); err != nil {
			r.t.Fatal(err)
		}
	}
	bad := append([]byte(nil), good...)
	bad[len(bad)/2] ^= 1
	put(bad)
	r.restart()
	if now := r.head(tp).Manifest; now != m {
		r.t.Fatalf("the manifest has changed: %+v", now)
	}
	return func() { put(good) }
}

// refusals are ways in which every commit of a partition is refused. Each returns a func that ends
// the refusals.
var refusals = map[string]func(r *rig, tp ident.TopicPartition) (repair func()){
	catalog.ReasonHeadFull.String(): func(r *rig, tp ident.TopicPartition) func() { return r.damageRoot(tp) },
	catalog.ReasonFenced.String():   altered(func(c *pb.CommitRange) { c.Range.Epoch += 7 }),
	catalog.ReasonNotNext.String():  altered(func(c *pb.CommitRange) { c.Range.Start++ }),
	catalog.ReasonState.String(): altered(func(c *pb.CommitRange) {
		if c.State == nil {
			c.State = &pb.StateRef{}
		}
		c.State.Object = 1 << 40
	}),
	catalog.ReasonMalformed.String(): altered(func(c *pb.CommitRange) { c.Range.Start = c.Range.End + 1 }),
	catalog.ReasonBeyondTail.String(): func(r *rig, tp ident.TopicPartition) func() {
		r.bucket.Away(fault.Refused) // otherwise a flush that has begun may take the batch
		r.mustSend(r.batch(tp, 1, 300, 1))
		r.alterRanges(tp, func(c *pb.CommitRange) { c.WalEnd = 1 << 40 })
		r.restart()
		r.bucket.Heal()
		return func() { r.quorum.change(nil) }
	},
}

func altered(change func(*pb.CommitRange)) func(*rig, ident.TopicPartition) func() {
	return func(r *rig, tp ident.TopicPartition) func() {
		r.alterRanges(tp, change)
		return func() { r.quorum.change(nil) }
	}
}

// stuckRig has a partition that is to become stuck, and twenty healthy ones beside it.
type stuckRig struct {
	*rig
	bad      ident.TopicPartition
	healthy  []ident.TopicPartition
	next     *sent // the bad partition's next batch, sent again until it is taken
	produced int   // number of batches sent to the healthy partitions
}

func newStuckRig(t *testing.T, configs map[string]string) *stuckRig {
	r := &stuckRig{rig: newRig(t, seed(t))}
	r.bad = r.mustCreate("bad", 1, configs)[0]
	r.healthy = r.mustCreate("healthy", 20, nil)
	for range 10 { // so many flushes that there is a manifest
		r.second(t)
	}
	return r
}

// second does what clients do in a second. The healthy partitions notice nothing.
func (r *stuckRig) second(t *testing.T) {
	t.Helper()
	var batches []*sent
	for i, tp := range r.healthy {
		batches = append(batches, r.batch(tp, 1, 1000, int64(i)))
	}
	r.mustSend(batches...)
	r.produced += len(batches)
	s := r.next
	if s == nil {
		s = r.batch(r.bad, 1, 300, 1)
	}
	r.start(s)
	time.Sleep(time.Second)
	switch r.history.outcome(s) {
	case acked:
		r.next = nil
	case refused:
		r.next = s
		if !errors.Is(s.err, storage.ErrStuck) {
			t.Fatalf("refused: %v", s.err)
		}
	}
	if d := r.engine().Throttle(1 << 20); d != 0 {
		t.Fatalf("producers are throttled by %v", d)
	}
}

// TestI9_OneBadPartitionHurtsOne: for each reason for which a commit can be refused, all commits of
// one partition are refused, and twenty partitions beside it notice nothing. The partition is
// reported with the reason, and none of its batches is uploaded. What it holds stays readable over
// kills and power cuts while the log is trimmed many times over, and the partition goes on when the
// reason is gone.
func TestI9_OneBadPartitionHurtsOne(t *testing.T) {
	for reason, refuse := range refusals {
		t.Run(strings.ReplaceAll(reason, " ", "-"), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newStuckRig(t, nil)
				repair := refuse(r.rig, r.bad)
				for n := 0; len(r.engine().Stuck()) == 0; n++ {
					r.second(t)
					if n == 120 {
						t.Fatal("two minutes, and the partition is not stuck")
					}
				}
				stuck := r.engine().Stuck()
				if len(stuck) != 1 || stuck[0].Topic != "bad" || stuck[0].Reason != reason || stuck[0].Remedy == "" {
					t.Fatalf("stuck: %+v", stuck)
				}
				unflushed, counted := stuck[0].UnflushedBytes, 0
				if unflushed == 0 {
					t.Fatal("it holds nothing: the test needs another course")
				}
				r.quorum.watching(func(cmd *pb.Command) {
					for _, b := range cmd.GetCommitFlush().GetBundles() {
						for _, c := range b.Ranges {
							if ident.TopicID(c.Partition.Topic) == r.bad.Topic {
								counted++
							}
						}
					}
				})
				// A batch beyond its tail's end no longer lies there once it has been carried into
				// the current log.
				heals := reason == catalog.ReasonBeyondTail.String()
				for range 150 { // eight times what slows producers when it waits for the bucket
					r.second(t)
				}
				if counted > 0 && !heals {
					t.Errorf("%d of its ranges were uploaded again", counted)
				}
				if n := r.walBytes(); n > 1<<20 {
					t.Errorf("the log has %d bytes: it is not trimmed", n)
				}
				for _, tp := range r.healthy {
					if h := r.head(tp); h.CommittedEnd < ident.Offset(r.produced/len(r.healthy)-5) {
						t.Errorf("%s is committed up to %d", tp, h.CommittedEnd)
					}
				}
				if s := r.engine().Stuck(); !heals && (len(s) != 1 || s[0].UnflushedBytes != unflushed) {
					t.Errorf("after minutes: %+v, held %d before", s, unflushed)
				}
				for n := range 4 {
					r.end(n%2 == 1)
					r.mustOpen()
					for range 35 {
						r.second(t)
					}
				}
				if n := r.walBytes(); n > 1<<20 {
					t.Errorf("after restarts the log has %d bytes: it is not trimmed", n)
				}
				repair()
				time.Sleep(3 * time.Minute)
				if reason != catalog.ReasonHeadFull.String() && len(r.engine().Stuck()) > 0 {
					r.restart() // the way out that the report names
					time.Sleep(time.Minute)
				}
				if s := r.engine().Stuck(); len(s) > 0 {
					t.Fatalf("still stuck: %+v", s)
				}
				r.resume()
				r.mustSend(r.plain(r.bad, 1))
				r.mustFlush()
				r.check()
				r.restart()
				r.check()
				if n := r.engine().Unflushed(); n != 0 {
					t.Errorf("%d bytes are not in the bucket", n)
				}
			})
		})
	}
}

// TestI9_KilledAtEveryCallOfACarry: a stuck partition holds batches in a sealed tail and in the
// current log. The process dies at each call of the disk, and before and after each command to the
// quorum, while the batches are carried and their old places are trimmed. The batches that the next
// start finds are carried again, and committed in the end.
func TestI9_KilledAtEveryCallOfACarry(t *testing.T) {
	prepare := func(t *testing.T) (*rig, ident.TopicPartition) {
		r := newRig(t, seed(t), byHand)
		bad, busy := r.mustCreate("bad", 1, nil)[0], r.mustCreate("busy", 1, nil)[0]
		r.mustSend(r.batch(bad, 3, 40, 5))
		r.mustFlush()
		r.alterRanges(bad, func(c *pb.CommitRange) { c.Range.Epoch += 7 })
		for range 3 {
			r.mustSend(r.batch(bad, 2, 40, 5))
		}
		r.restart()
		for range 3 {
			r.mustSend(r.batch(bad, 1, 3000, 5), r.batch(busy, 1, 8<<10, 6))
		}
		for range 30 {
			r.mustSend(r.batch(busy, 1, 8<<10, 6))
		}
		return r, bad
	}
	after := func(r *rig, bad ident.TopicPartition, cut bool) {
		r.quorum.decide(nil)
		for range 2 {
			r.end(cut)
			r.mustOpen()
			r.check()
			if epoch, end, err := r.engine().EpochEnd(bad, 0, ident.NoEpoch); epoch != 0 || end != 9 || err != nil {
				r.t.Errorf("leader epoch 0 ends at %d (epoch %d, %v), want 9: carrying changed what clients see of epochs", end, epoch, err)
			}
			r.flush() // the flush is refused, and the batches are carried once more
		}
		r.check()
		r.quorum.change(nil)
		r.restart()
		r.check()
		r.resume()
		r.mustFlush()
		r.check()
		if h := r.head(bad); h.CommittedEnd < 12 {
			r.t.Errorf("committed up to %d, want at least 12", h.CommittedEnd)
		}
		if n := r.tails(); n > 0 {
			r.t.Errorf("%d tails are left", n)
		}
	}
	calls, commands := 0, 0
	inBubble(t, func(t *testing.T) {
		r, bad := prepare(t)
		from, command := len(r.disk0().Calls()), r.quorum.commands()
		r.flush()
		calls, commands = len(r.disk0().Calls())-from, r.quorum.commands()-command
		if n := r.engine().CarriedBatches(); r.tails() > 0 || n != 6 {
			t.Fatalf("%d tails are left, %d batches were carried, want 6", r.tails(), n)
		}
		after(r, bad, true)
	})
	for n := 1; n <= calls; n++ {
		t.Run(fmt.Sprintf("call%d", n), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r, bad := prepare(t)
				r.disk0().KillAt(len(r.disk0().Calls()) + n)
				r.flush()
				after(r, bad, n%2 == 0)
			})
		})
	}
	for n := 1; n <= commands; n++ {
		for _, f := range []fate{killBefore, killAfter} {
			t.Run(fmt.Sprintf("command%d-%d", n, f), func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					r, bad := prepare(t)
					at := r.quorum.commands() + n
					r.quorum.decide(func(n int, _ *pb.Command) fate {
						if n == at {
							return f
						}
						return carried
					})
					r.flush()
					after(r, bad, n%2 == 0)
				})
			})
		}
	}
}

// TestI9_PlacedWhileCarried: a batch that was placed before its partition became stuck is synced in
// front of the carried batches. It lies behind them in offsets and before them in the log, and the
// log is trimmed only below it.
func TestI9_PlacedWhileCarried(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		bad, busy := r.mustCreate("bad", 1, nil)[0], r.mustCreate("busy", 1, classObject)[0]
		r.alterRanges(bad, func(c *pb.CommitRange) { c.Range.Epoch += 7 })
		r.mustSend(r.batch(bad, 2, 40, 5))
		r.mustSend(r.batch(bad, 2, 40, 5))
		for range 40 {
			r.mustSend(r.batch(busy, 1, 8<<10, 6))
		}
		synctest.Wait()
		release := make(chan struct{})
		r.holdsSyncs = true
		r.disk0().SetHook(func(c crashfs.Call) error {
			if c.Op == "datasync" {
				<-release
			}
			return nil
		})
		var late []*sent // enough batches to cross the border of a segment
		for range 12 {
			late = append(late, r.batch(bad, 1, 8<<10, 5))
			r.start(late[len(late)-1])
		}
		flushed := make(chan bool)
		go func() { flushed <- r.flush() }()
		time.Sleep(time.Second) // the flush has come to the carry, which waits for its sync
		if len(r.engine().Stuck()) != 1 || r.history.outcome(late[0]) != pending {
			t.Fatal("the partition is not carried while a batch of it waits for its sync: the test needs another course")
		}
		close(release)
		<-flushed
		r.holdsSyncs = false
		if n := r.engine().CarriedBatches(); n != 2 || !r.wait(late...) {
			t.Fatalf("%d batches were carried, want 2", n)
		}
		r.check()
		for range 3 { // fewer than make carrying again worth while
			r.mustSend(r.batch(busy, 1, 8<<10, 6))
		}
		r.flush()
		r.check()
		for range 30 {
			r.mustSend(r.batch(busy, 1, 8<<10, 6))
		}
		r.check()
		r.restart()
		r.check()
		r.quorum.change(nil)
		r.resume()
		r.mustFlush()
		r.check()
	})
}

// TestE12_VoidIsFollowed: log starts move and topics are deleted while their bundle is on its way,
// and storage is not told. The verdict makes storage look at the head: nothing is planned again,
// the log is free, and readers see where the log starts.
func TestE12_VoidIsFollowed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		passed, gone, kept := r.mustCreate("passed", 1, nil)[0], r.mustCreate("gone", 1, nil)[0], r.mustCreate("kept", 1, nil)[0]
		r.mustSend(r.batch(passed, 4, 40, 1), r.batch(gone, 4, 40, 1), r.batch(kept, 4, 40, 1))
		uploads := 0
		r.onCreate = func(string) {
			if uploads++; uploads == 1 {
				r.process.deaf.Store(true)
				r.advance(passed, 4)
				r.deleteTopic(gone.Topic)
				r.process.deaf.Store(false)
			}
		}
		r.mustFlush()
		if uploads != 1 {
			t.Errorf("%d uploads", uploads)
		}
		if n := r.engine().Unflushed(); n != 0 {
			t.Errorf("%d bytes count as unflushed", n)
		}
		first, err := r.engine().ListOffset(t.Context(), passed, storage.TimestampEarliest, ident.NoEpoch, storage.ReadUncommitted)
		if err != nil || first.Offset != 4 {
			t.Errorf("the log starts at %d, %v; want 4", first.Offset, err)
		}
		if _, err := r.engine().ListOffset(t.Context(), gone, storage.TimestampEarliest, ident.NoEpoch, storage.ReadUncommitted); !errors.Is(err, storage.ErrUnknownPartition) {
			t.Errorf("of the topic that went: %v", err)
		}
		r.check()
		r.restart()
		r.check()
	})
}

// TestStuckUntilRecordsAreDeleted: the manifest is damaged for good. Once the records below the
// reported offset are deleted, the partition goes on at once, with a manifest that can be read
// again, also after a restart. Objects that only the damaged manifest named stay.
func TestStuckUntilRecordsAreDeleted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStuckRig(t, nil)
		r.damageRoot(r.bad)
		end := r.head(r.bad).Manifest.End
		for n := 0; len(r.engine().Stuck()) == 0; n++ {
			if r.second(t); n == 120 {
				t.Fatal("two minutes, and the partition is not stuck")
			}
		}
		if remedy := r.engine().Stuck()[0].Remedy; !strings.Contains(remedy, fmt.Sprintf("below offset %d ", end)) {
			t.Errorf("remedy: %s; the manifest ends at %d", remedy, end)
		}
		r.history.advancing(r.bad, end)
		if _, err := r.engine().DeleteRecords(t.Context(), r.bad, end); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if s := r.engine().Stuck(); len(s) > 0 {
			t.Fatalf("still stuck: %+v", s)
		}
		// So many flushes that the head is full again unless the manifest takes its ranges.
		for range 40 {
			r.second(t)
		}
		r.next = nil
		r.mustFlush()
		if h := r.head(r.bad); h.Manifest.Object == 0 || h.Manifest.Start != end {
			t.Errorf("manifest %+v, want one from %d on", h.Manifest, end)
		}
		r.check()
		r.restart()
		r.check()
		r.mustSend(r.plain(r.bad, 1))
	})
}

// TestStuckClassObject: a partition of class object is stuck. Another one goes on at once as usual,
// and none of its producers waits for the refused one.
func TestStuckClassObject(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		bad, good := r.mustCreate("bad", 1, classObject)[0], r.mustCreate("good", 1, classObject)[0]
		r.mustSend(r.plain(bad, 1), r.plain(good, 1))
		r.alterRanges(bad, func(c *pb.CommitRange) { c.Range.Epoch += 7 })
		waits := r.batch(bad, 1, 40, 1)
		r.start(waits)
		for range 20 {
			began := time.Now()
			r.mustSend(r.plain(good, 1))
			if d := time.Since(began); d > time.Second {
				t.Fatalf("acknowledged after %v", d)
			}
			time.Sleep(time.Second)
		}
		if s := r.engine().Stuck(); len(s) != 1 || r.history.outcome(waits) != pending {
			t.Errorf("stuck: %+v", s)
		}
		late := r.plain(bad, 1)
		if r.send(late); !errors.Is(late.err, storage.ErrStuck) {
			t.Errorf("outcome %v, %v", late.outcome, late.err)
		}
		r.quorum.change(nil)
		r.restart()
		r.check()
		r.mustSend(late, waits)
		r.check()
	})
}

// TestOutageMakesNothingStuck: the bucket is down for an hour while a head is full. Nothing is
// refused, and everything goes on when the bucket is back.
func TestOutageMakesNothingStuck(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStuckRig(t, nil)
		m := r.head(r.bad).Manifest
		root := object.Key(clusterID, m.Object, m.Writer, object.KindManifest)
		r.restart()
		away := func(key string) error {
			if key == root {
				return bucket.ErrUnavailable
			}
			return nil
		}
		r.onRead.Store(&away)
		for len(r.head(r.bad).Ranges) < catalog.RangesPerHeadMax {
			r.second(t)
		}
		r.bucket.Away(fault.Refused)
		s := r.plain(r.bad, 1)
		r.mustSend(s)
		time.Sleep(time.Hour)
		if s := r.engine().Stuck(); len(s) > 0 {
			t.Errorf("stuck: %+v", s)
		}
		r.mustSend(r.plain(r.bad, 1))
		r.bucket.Away(fault.None)
		r.onRead.Store(nil)
		time.Sleep(2 * time.Minute)
		if n := r.engine().Unflushed(); n != 0 {
			t.Errorf("%d bytes are not in the bucket", n)
		}
		r.check()
	})
}

// TestStuckIsLogged: a partition that becomes stuck is named in the log, with the reason and the
// way out, even when another is stuck already. From then on all stuck partitions take one line a
// minute.
func TestStuckIsLogged(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var lines logLines
		r := newClosedRig(t, seed(t), byHand)
		r.log = slog.New(slog.NewTextHandler(&lines, nil))
		r.mustOpen()
		tps := r.mustCreate("t", 2, nil)
		for _, tp := range tps {
			r.alterRanges(tp, func(c *pb.CommitRange) { c.Range.Epoch += 7 })
			r.mustSend(r.plain(tp, 1))
			if r.flush() {
				t.Fatal("nothing was refused")
			}
			want := fmt.Sprintf("partition=%d reason=fenced", tp.Index)
			if n := lines.count("partition is stuck", want, "remedy="); n != 1 {
				t.Errorf("%d lines with %s", n, want)
			}
			time.Sleep(90 * time.Second)
		}
		before := lines.count("partitions are stuck")
		time.Sleep(10 * time.Minute)
		if n := lines.count("partitions are stuck", "count=2") - before; n < 9 || n > 11 {
			t.Errorf("%d reminders in ten minutes", n)
		}
		if n := lines.count("partition is stuck"); n != 2 {
			t.Errorf("%d lines of single partitions, want 2", n)
		}
	})
}

// logLines gathers the lines that are logged.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(p))
	return len(p), nil
}

// count returns how many lines hold all of the parts.
func (l *logLines) count(parts ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		all := true
		for _, part := range parts {
			all = all && strings.Contains(line, part)
		}
		if all {
			n++
		}
	}
	return n
}

// TestStuckOnDamageInTheLog: a batch in the log does not match its checksum. Only its partition is
// stuck, and is reported with the offset below which records have to be deleted. After that the
// batches behind it go to the bucket.
func TestStuckOnDamageInTheLog(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand, func(c *storage.Config) { c.HotBytes = 1 })
		bad, good := r.mustCreate("bad", 1, nil)[0], r.mustCreate("good", 1, nil)[0]
		for range 4 {
			r.mustSend(r.batch(bad, 1, 2000, -1))
		}
		dir := r.cfg.WALDir + "/" + r.engine().Incarnation().String() + "/"
		files, err := r.disk0().List(dir)
		if err != nil {
			t.Fatal(err)
		}
		f, err := r.disk0().Open(dir + files[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte{'!'}, 4096+1000); err != nil { // in the first group's batch
			t.Fatal(err)
		}
		r.mustSend(r.batch(good, 1, 2000, -1))
		if r.flush() {
			t.Error("a damaged batch was flushed")
		}
		stuck := r.engine().Stuck()
		if len(stuck) != 1 || stuck[0].Topic != "bad" || !strings.HasPrefix(stuck[0].Reason, "unreadable") || !strings.Contains(stuck[0].Remedy, "below offset 1 ") {
			t.Fatalf("stuck: %+v", stuck)
		}
		if h := r.head(good); h.CommittedEnd != 1 {
			t.Errorf("the other partition is committed up to %d, want 1", h.CommittedEnd)
		}
		r.history.advancing(bad, 1)
		if _, err := r.engine().DeleteRecords(t.Context(), bad, 1); err != nil {
			t.Fatal(err)
		}
		r.mustFlush()
		if h := r.head(bad); h.CommittedEnd != 4 {
			t.Errorf("committed up to %d, want 4", h.CommittedEnd)
		}
		r.mustSend(r.plain(bad, 1))
		r.check()
	})
}
