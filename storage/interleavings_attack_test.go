package storage_test

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/storage"
	"github.com/sluicemq/sluice/storage/bucket/fault"
)

// These are interleavings with which a review attacked the write path and the deletion of records.

// For batches from 32 KiB on, the checksums in the WAL and in the bundle are computed from
// checksums already known. Over a kill, a power cut, the bucket and the loss of the disk, the
// batches are what was sent.
func TestI2_LargeBatchesOverEveryWay(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		tp := r.mustCreate("t", 1, nil)[0]
		for i := range 24 { // a few bytes below the size, at it, and above
			r.mustSend(r.batch(tp, 1, 32<<10-84+i, int64(i%3)-1))
		}
		r.mustSend(r.batch(tp, 1, 50_000, 1))
		r.mustSend(r.batch(tp, 4, 10_000, 1))
		for _, again := range []func(){r.restart, func() { r.crash(); r.mustOpen() }, r.mustFlush, r.restart} {
			again()
			r.check()
		}
		r.mustSend(r.batch(tp, 1, 40_000, 1))
		r.mustFlush()
		r.restore()
		r.mustOpen()
		r.check()
		r.resume()
	})
}

// A request has more partitions than fit one append of the WAL, in an order of its own, over topics
// that grow meanwhile, with partitions that do not exist. Every partition gets exactly one outcome,
// and a start finds what was acknowledged (E8).
func TestE8_WideRequestsWhileTopicsGrow(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), func(c *storage.Config) { c.WALSegmentBytes, c.FlushBytes = 256<<10, 1<<20 })
		const partitions, steps = 560, 3
		topic := r.mustCreate("t", 4, nil)[0].Topic
		gone := r.mustCreate("gone", 2, nil)
		var clients sync.WaitGroup
		clients.Go(func() {
			for i := range steps {
				if i == steps/2 {
					r.deleteTopic(gone[0].Topic)
				}
				if _, err := r.admin(metadata.NewCreatePartitions(topic, int32(4+(i+1)*(partitions-4)/steps))); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Millisecond)
			}
		})
		for c := range 2 {
			clients.Go(func() {
				random := rand.New(rand.NewPCG(seed(t), uint64(c)))
				for range steps {
					var batches []*sent
					for _, i := range random.Perm(partitions) {
						batches = append(batches, r.plain(ident.TopicPartition{Topic: topic, Index: int32(i)}, 1))
						if i < 2 {
							batches = append(batches, r.plain(gone[i], 1))
						}
					}
					r.send(batches...)
					for _, s := range batches {
						if s.outcome != acked && !errors.Is(s.err, storage.ErrUnknownPartition) && !errors.Is(s.err, storage.ErrNotReady) {
							t.Errorf("%v: %s", s.err, s)
						}
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
	})
}

// More producers wait for one partition than its preallocated room holds, some of them for a
// duplicate's original, while nothing is durable. Then the topic is deleted or the WAL fails, and
// each producer is answered once.
func TestI11_ManyWaitingAnswers(t *testing.T) {
	for _, end := range []string{"durable", "deleted", "closed"} {
		t.Run(end, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, seed(t), byHand)
				tp := r.mustCreate("t", 1, classObject)[0]
				r.bucket.Away(fault.Refused) // nothing is shown
				var answered atomic.Int32
				count := int32(0)
				for range 3 {
					for range 4 {
						s := r.batch(tp, 1, 40, 1)
						for range 2 { // and its duplicate
							count++
							req := &storage.AppendRequest{
								Partitions: []storage.PartitionAppend{r.encode(s)}, Done: func(*storage.AppendRequest) { answered.Add(1) },
							}
							r.engine().Append(req)
						}
					}
					time.Sleep(time.Second)
				}
				if n := answered.Load(); n != 0 {
					t.Fatalf("%d were answered before anything could be", n)
				}
				switch end {
				case "durable":
					r.bucket.Away(fault.None)
					time.Sleep(time.Minute)
				case "deleted":
					r.deleteTopic(tp.Topic)
				case "closed":
					r.stop()
				}
				synctest.Wait()
				if n := answered.Load(); n != count {
					t.Errorf("%d answers to %d requests", n, count)
				}
			})
		})
	}
}

// TestI1_I7_DeleteRecordsBesideEverything: log starts move to wherever the high watermark stands at
// that moment, while producers, flushes, retention and trims are at work, and the broker dies in
// the middle, by a kill or a power cut, again and again. No start finds a log that ends below its
// log start, nothing above the log start is lost, and nothing below it comes back.
func TestI1_I7_DeleteRecordsBesideEverything(t *testing.T) {
	first, count := seed(t), uint64(4)
	if long() {
		count = 400
	}
	for s := first; s < first+count; s++ {
		t.Run(fmt.Sprint("seed", s), func(t *testing.T) {
			inBubble(t, func(t *testing.T) { deleteBesideEverything(t, s) })
		})
	}
}

func deleteBesideEverything(t *testing.T, seed uint64) {
	r := newRig(t, seed, func(c *storage.Config) {
		c.FlushInterval = 40 * time.Millisecond
	})
	r.onCreate = func(key string) { time.Sleep(time.Duration(crc32.ChecksumIEEE([]byte(key))%30) * time.Millisecond) }
	var tps []ident.TopicPartition
	for i, configs := range []map[string]string{nil, classObject, {catalog.ConfigRetentionBytes: "2000"}, nil} {
		tps = append(tps, r.mustCreate(fmt.Sprint("t", i), 1, configs)...)
	}
	r.history.advancing(tps[2], 1<<40) // retention moves it too
	random := rand.New(rand.NewPCG(seed, 5))
	for range 5 {
		life(t, r, tps, random.Uint64())
		if random.IntN(2) == 0 {
			r.kill()
		} else {
			r.crash()
		}
		r.mustOpen()
		r.check()
		for _, tp := range tps {
			h := r.head(tp)
			if q := r.fetch(tp, h.LogStart, 1); q.Err != nil || q.HighWatermark < h.LogStart {
				t.Fatalf("I7: %s starts at %d and ends at %d: %v", tp, h.LogStart, q.HighWatermark, q.Err)
			}
		}
		r.resume()
	}
	r.mustFlush()
	r.restore()
	r.mustOpen()
	r.check()
	r.resume()
}

// life runs everything for a while, then leaves the process dead in the middle of it.
func life(t *testing.T, r *rig, tps []ident.TopicPartition, seed uint64) {
	p := r.process
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	for i, tp := range tps {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		work.Go(func() {
			for producer := int64(0); ctx.Err() == nil; producer = (producer + 1) % 3 {
				if r.history.inFlight(tp, producer) < 4 {
					r.start(r.batch(tp, 1+random.IntN(5), 20+random.IntN(900), producer))
				}
				time.Sleep(time.Duration(random.IntN(8)) * time.Millisecond)
			}
		})
		work.Go(func() { deleteHere(ctx, t, r, p, tp, rand.New(rand.NewPCG(seed, 100+uint64(i)))) })
	}
	work.Go(func() {
		for ctx.Err() == nil {
			time.Sleep(100 * time.Millisecond)
			_ = p.engine.Retain(ctx) // fails when the process is dead
		}
	})
	r.disk0().KillAt(len(r.disk0().Calls()) + 200 + int(seed%600))
	for range 400 {
		if time.Sleep(5 * time.Millisecond); p.dead() {
			break
		}
	}
	p.die()
	cancel()
	work.Wait()
}

// deleteHere moves one partition's log start, sometimes to the high watermark, sometimes to
// somewhere below it.
func deleteHere(ctx context.Context, t *testing.T, r *rig, p *process, tp ident.TopicPartition, random *rand.Rand) {
	start := ident.Offset(0)
	for ctx.Err() == nil {
		time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond)
		high, err := p.engine.ListOffset(ctx, tp, storage.TimestampLatest, ident.NoEpoch, storage.ReadUncommitted)
		if err != nil || high.Offset <= start || p.dead() {
			continue
		}
		to := start + 1 + ident.Offset(random.Int64N(int64(high.Offset-start)))
		if random.IntN(2) == 0 {
			to = high.Offset
		}
		r.history.advancing(tp, to)
		got, err := p.engine.DeleteRecords(ctx, tp, to)
		if err == nil && got < to {
			t.Errorf("%s: deleted below %d, the log start is %d", tp, to, got)
		}
		if err == nil {
			start = got
		}
	}
}
