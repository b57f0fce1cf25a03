package storage_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/fault"
)

// These are interleavings that a review found, each of which once lost something.

// TestE11_LogStartFasterThanTheAnswerOfACommit: a base is committed, and before the flush learns
// the outcome, the log start passes the batches of another producer above the base. The next delta
// must not build on that base, which lacks that producer.
func TestE11_LogStartFasterThanTheAnswerOfACommit(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		tp := r.mustCreate("t", 1, nil)[0]
		r.mustSend(r.batch(tp, 10, 40, 1))
		first := once()
		r.onCreate = func(string) {
			if first() {
				r.mustSend(r.batch(tp, 10, 40, 2)) // persisted, not in this flush
			}
		}
		r.quorum.decide(losing("CommitFlush", answerLost, once()))
		flushed := make(chan struct{})
		go func() {
			defer close(flushed)
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			_ = r.engine().Flush(ctx)
		}()
		time.Sleep(10 * time.Millisecond) // the first pause before the commit is repeated is longer
		if h := r.head(tp); h.CommittedEnd != 10 {
			t.Fatalf("committed up to %d: the commit was to be done and its answer lost", h.CommittedEnd)
		}
		r.advance(tp, 20)
		<-flushed
		r.mustSend(r.batch(tp, 1, 40, 1))
		r.mustFlush()
		r.restore() // the partition opens from the bucket's state
		r.mustOpen()
		time.Sleep(time.Minute)
		r.resume() // each producer repeats what it sent last
		r.check()
	})
}

// TestE12_DeletedTopicWhoseTailIsGone: with the bucket down, a flush is planned over a sealed tail.
// A topic in the tail is deleted, and the tail goes. The rest of the flush gets to the bucket.
func TestE12_DeletedTopicWhoseTailIsGone(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), func(c *storage.Config) { c.FlushBytes = 1 << 20 })
		doomed, kept := r.mustCreate("doomed", 1, classObject)[0], r.mustCreate("kept", 1, classObject)[0]
		r.bucket.Away(fault.Refused)
		r.start(r.batch(doomed, 1, 40, 1))
		time.Sleep(time.Second)
		r.restart()
		r.start(r.batch(kept, 1, 40, 1))
		time.Sleep(time.Second)
		r.restart()
		time.Sleep(10 * time.Second) // one flush of both is on its way
		r.deleteTopic(doomed.Topic)
		time.Sleep(10 * time.Second)
		if n := r.tails(); n != 1 {
			t.Fatalf("%d tails: the danger was not there", n)
		}
		r.bucket.Away(fault.None)
		r.resume()
		r.check()
		r.mustFlush()
	})
}

// TestE17_UnreadableManifestKeepsNothingElse: one partition's manifest is missing from the bucket.
// Until its head is full, the partition is flushed like the others, and the WAL is trimmed.
func TestE17_UnreadableManifestKeepsNothingElse(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		tp, busy := r.mustCreate("t", 1, nil)[0], r.mustCreate("busy", 1, nil)[0]
		for range r.cfg.ManifestAt {
			r.mustSend(r.batch(tp, 1, 40, 1))
			r.mustFlush()
		}
		manifest := r.head(tp).Manifest.Object
		for _, key := range r.keys() {
			if manifest != 0 && keyHolds(key, manifest) {
				if err := r.objects.Delete(t.Context(), key); err != nil {
					t.Fatal(err)
				}
			}
		}
		r.restart() // the process that wrote the manifest has it in memory
		for range r.cfg.ManifestAt {
			r.mustSend(r.batch(tp, 1, 40, 1))
			r.mustFlush()
		}
		if h := r.head(tp); h.Manifest.Object != manifest || manifest == 0 {
			t.Fatalf("the danger was not there: %+v", h.Manifest)
		}
		r.roll(busy)
	})
}

// TestE17_AbsorbReadsNothing: the process that wrote a manifest continues it without reading it
// again. After a restart the manifest is read once.
func TestE17_AbsorbReadsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		tp := r.mustCreate("t", 1, nil)[0]
		reads := func() int {
			before, version := r.bucket.Calls(bucket.OpReadAt), r.head(tp).Manifest.Version
			for r.head(tp).Manifest.Version < version+3 {
				r.mustSend(r.batch(tp, 1, 40, 1))
				r.mustFlush()
			}
			return r.bucket.Calls(bucket.OpReadAt) - before
		}
		if n := reads(); n != 0 {
			t.Errorf("%d reads of manifests that were just written, want none", n)
		}
		r.restart()
		if n := reads(); n != 1 {
			t.Errorf("%d reads after a restart, want one", n)
		}
		r.check()
	})
}

// A manifest that a newer version has replaced is not kept decoded, whether ranges were added or
// removed: a partition makes a version every few seconds of its life.
func TestE17_ReplacedManifestsAreForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		m := r.newLog("t", nil)
		released := 0
		for r.head(m.tp).Manifest.Version < 12 {
			r.fillFlushed(m, 1)
			if end := m.end(); end > 8 && r.head(m.tp).Manifest.RangeCount > 1 {
				before := r.head(m.tp).Manifest.RangeCount
				r.advanceLog(m, end-4)
				r.retain(m)
				if r.head(m.tp).Manifest.RangeCount < before {
					released++
				}
			}
		}
		if n := r.engine().Decoded(); n > 1 || released == 0 {
			t.Errorf("%d manifests are kept after version %d and %d releases, want the newest", n, r.head(m.tp).Manifest.Version, released)
		}
		r.settled()
	})
}

// TestE18_UrgentAfterARestart: batches that waited for their commit when the broker died are
// committed at once after the next start, not with the next flush of everything, because their
// producers repeat them and wait.
func TestE18_UrgentAfterARestart(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		tp := r.mustCreate("t", 1, classObject)[0]
		r.bucket.Away(fault.Refused)
		r.start(r.batch(tp, 2, 40, 1))
		time.Sleep(time.Second) // long enough for the batch to be durable
		r.kill()
		r.bucket.Away(fault.None)
		r.mustOpen()
		began := time.Now()
		r.resume()
		if d := time.Since(began); d > time.Second {
			t.Errorf("the repeated batch was answered after %v", d)
		}
		r.check()
	})
}

// TestClosedWhileARequestIsPlaced: a request that was admitted just before the end is answered, and
// does not make a clean end look like a failure.
func TestClosedWhileARequestIsPlaced(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		tp := r.mustCreate("t", 1, nil)[0]
		p := r.process
		r.stop()
		answered := make(chan struct{})
		req := &storage.AppendRequest{
			Partitions: []storage.PartitionAppend{r.encode(r.plain(tp, 1))},
			Done:       func(*storage.AppendRequest) { close(answered) },
		}
		p.engine.PlaceAdmitted(req)
		<-answered
		if err := req.Partitions[0].Err; !errors.Is(err, storage.ErrWALFailed) {
			t.Errorf("answered with %v", err)
		}
		if err := p.fatal.Load(); err != nil {
			t.Errorf("a clean end was fatal: %v", *err)
		}
	})
}

// TestE26_CutRange: restore cuts a section where a later leader took over. The batches behind the
// cut are neither served nor searched.
func TestE26_CutRange(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		tp := r.mustCreate("t", 1, nil)[0]
		r.mustSend(r.batch(tp, 3, 40, 1))
		r.mustSend(r.batch(tp, 3, 40, 1))
		r.mustFlush()
		whole := r.head(tp).Ranges[0]
		for end, batches := range map[ident.Offset]int{6: 2, 3: 1, 6 + 1: -1} {
			cut := whole
			cut.End = end
			s, err := r.engine().Section(t.Context(), tp, &cut)
			switch {
			case batches < 0:
				if !errors.Is(err, storage.ErrCorrupt) {
					t.Errorf("a range that ends behind its section: %v", err)
				}
			case err != nil:
				t.Errorf("range [0,%d): %v", end, err)
			case len(s.Index) != batches || s.End != end:
				t.Errorf("range [0,%d): %d batches up to %d, want %d", end, len(s.Index), s.End, batches)
			}
		}
	})
}
