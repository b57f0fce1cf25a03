package storage_test

import (
	"errors"
	"fmt"
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
	"github.com/sluicemq/sluice/vfs/crashfs"
	"github.com/sluicemq/sluice/wal"
)

// Each of these tests plays the interleaving that its rule is about.

// byHand keeps timers out of the test: nothing is flushed unless the test flushes it.
func byHand(c *storage.Config) { c.FlushInterval, c.FlushBytes = 24*time.Hour, 1<<20 }

// losing gives the commands of one kind the fate f whenever as returns true.
func losing(name string, f fate, as func() bool) func(int, *pb.Command) fate {
	return func(_ int, cmd *pb.Command) fate {
		if metadata.CommandName(cmd) == name && as() {
			return f
		}
		return carried
	}
}

// once returns a func that returns true the first time only.
func once() func() bool {
	done := false
	return func() bool {
		first := !done
		done = true
		return first
	}
}

// TestE8_GapStopsTheStart: offset 1 is in the WAL without offset 0. That is damage, and no batch is
// skipped.
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

// TestE8_GapAtTheCommittedEndStopsTheStart is the same with the gap between the bucket and the WAL.
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

// writeIncarnation makes the next incarnation by hand, with batches of one record at the given
// offsets.
func (r *rig) writeIncarnation(tp ident.TopicPartition, offsets ...ident.Offset) {
	r.t.Helper()
	var entries []wal.Entry
	for _, o := range offsets {
		entries = append(entries, r.walEntry(r.plain(tp, 1), o))
	}
	r.writeEntries(entries...)
}

// walEntry is a batch at an offset as an earlier release wrote it, without its time of arrival.
func (r *rig) walEntry(s *sent, start ident.Offset) wal.Entry {
	r.t.Helper()
	return wal.Entry{
		Kind: wal.KindBatch, Partition: s.tp, Start: start, End: start + ident.Offset(len(s.values)), Payload: r.encode(s).Batch,
	}
}

// writeEntries makes the next incarnation by hand, with the given entries.
func (r *rig) writeEntries(entries ...wal.Entry) {
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
	w, err := wal.Create(r.walConfig(), wal.Deps{FS: r.disk, Log: logger(), Durable: func(*wal.Group) {}, Failed: func(err error, _ []*wal.Append) { r.t.Error(err) }}, next)
	if err != nil {
		r.t.Fatal(err)
	}
	r.quorum.apply(metadata.NewOpenIncarnation(next))
	for _, entry := range entries {
		entry.Epoch = r.head(entry.Partition).Leader.Epoch
		if entry.Kind == wal.KindBatch {
			protocol.SetPlace(entry.Payload, int64(entry.Start), int32(entry.Epoch))
		}
		if err := w.Append(&wal.Append{Entries: []wal.Entry{entry}}); err != nil {
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

// TestE8_ConcurrentRequests: requests that name the same partitions in different orders do not wait
// for each other for ever, and do not get into the WAL in another order than into the partitions.
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

// TestE13_BucketAway: with the bucket down the broker dies and starts twice. Reads of the tail and
// produce work within a second of each start. When the bucket is back, everything is committed in
// order and the tails go.
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
					time.Sleep(3 * time.Second) // long enough for flushes to be tried
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

// TestE17_HeadsStaySmall: many ranges go into the manifest, also after the bucket has taken no
// manifest for a while.
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

// TestE23_LogStartInsideABatchSurvivesRestart: the log start moves into the middle of a batch
// before any flush, and a restart follows.
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

// TestE25_KilledThenPowerCut: what a second life has read from the page cache of the first is
// shown, and so must outlive a power cut.
func TestE25_KilledThenPowerCut(t *testing.T) {
	seed := seed(t)
	for i := range uint64(8) {
		inBubble(t, func(t *testing.T) {
			r := newRig(t, seed+i, byHand)
			tp := r.mustCreate("t", 1, nil)[0]
			r.mustSend(r.batch(tp, 1, 40, 1))
			synced := false
			r.disk0().SetHook(func(c crashfs.Call) error {
				if c.Op == "datasync" { // written, and never synced
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
			r.check() // the batches are shown from here on
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

// TestE27_DeathWhileOpening: the incarnation is registered, and then its folder is never made, or
// the quorum is never told that it opened.
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
