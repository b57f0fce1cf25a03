package storage_test

import (
	"context"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/fault"
	"github.com/sluicemq/sluice/storage/object"
)

// Random logs, spread over memory, WAL, sealed tails, heads and manifests, are read at every offset
// and looked up in every way. They always answer as a slice of records would.
func TestReadsAgainstAModel(t *testing.T) {
	for i := range uint64(runs(4)) {
		inBubble(t, func(t *testing.T) { readsAgainstAModel(t, seed(t)+i) })
	}
}

// runs is how often a random test is repeated.
func runs(n int) int {
	if long() {
		return 50 * n
	}
	return n
}

func readsAgainstAModel(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	r := newRig(t, seed, func(c *storage.Config) {
		c.HotBytes = int64(random.IntN(4)) << 10
		c.CacheBytes = int64(1 + random.IntN(2)<<20) // every second cache keeps nothing
		c.RetentionInterval = 3 * time.Second
	})
	logs := []*modelLog{
		r.newLog("local", nil),
		r.newLog("object", classObject),
		r.newLog("append-time", map[string]string{catalog.ConfigTimestampType: "LogAppendTime"}),
	}
	t.Logf("model seed %d", seed)
	for range 120 {
		m := logs[random.IntN(len(logs))]
		switch n := random.IntN(20); {
		case n < 12:
			r.put(m, randomBatch(random, m == logs[2]))
		case n < 15:
			r.mustFlush()
		case n == 15:
			r.restart()
		case n == 16:
			r.crash()
			r.mustOpen()
		case n == 17:
			r.advanceLog(m, m.start+ident.Offset(random.Int64N(int64(m.end()-m.start)/3+1)))
		case n == 18:
			time.Sleep(time.Duration(random.IntN(5000)) * time.Millisecond)
		default:
			m.checkFetch(r, random)
		}
		m.checkOffsets(r, random)
		m.checkEpochs(r)
	}
	for _, m := range logs {
		m.checkFetch(r, random)
	}
	r.restart()
	r.mustFlush()
	for _, m := range logs {
		m.checkFetch(r, random)
		m.checkOffsets(r, random)
		m.checkEpochs(r)
	}
}

// Limits hold across partitions in the order of the request. The first partition that has anything
// gives at least one whole batch, and no partition is left empty whose next batch fits.
func TestFetchLimits(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(seed(t), 2))
		r := newRig(t, 1, func(c *storage.Config) { c.HotBytes = 6 << 10; c.CacheBytes = 1 })
		var logs []*modelLog
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			m := r.newLog(name, nil)
			for range 6 {
				r.fill(m, 3, 1+random.IntN(3), 20+random.IntN(300))
				if random.IntN(2) == 0 {
					r.mustFlush()
				}
			}
			logs = append(logs, m)
		}
		for range 400 {
			fetchLimits(t, r, logs, random, 3000)
		}
	})
}

// TestFetchLimitsAcrossBlocks is the same with batches that lie across blocks of the cache.
func TestFetchLimitsAcrossBlocks(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(seed(t), 3))
		r := newRig(t, 1, func(c *storage.Config) { c.HotBytes = 1; c.FlushBytes = 4 << 20; c.WALSegmentBytes = 4 << 20 })
		var logs []*modelLog
		for _, name := range []string{"a", "b", "c"} {
			m := r.newLog(name, nil)
			for range 5 {
				r.fill(m, 1, 300+random.IntN(600), 500)
			}
			logs = append(logs, m)
		}
		r.mustFlush()
		r.restart()
		split := 0
		for range 120 {
			split += fetchLimits(t, r, logs, random, 3<<20)
		}
		if split == 0 {
			t.Error("no batch was split")
		}
	})
}

// fetchLimits reads with limits of up to bytesMax in all, and half of that for a partition. It
// returns how many more slices than batches came.
func fetchLimits(t *testing.T, r *rig, logs []*modelLog, random *rand.Rand, bytesMax int) (split int) {
	f := storage.Fetch{MaxBytes: random.IntN(bytesMax)}
	var asked []*modelLog
	for _, i := range random.Perm(len(logs))[:1+random.IntN(len(logs))] {
		m := logs[i]
		asked = append(asked, m)
		f.Partitions = append(f.Partitions, storage.FetchPartition{
			Partition: m.tp, Offset: ident.Offset(random.Int64N(int64(m.end()) + 1)), MaxBytes: random.IntN(bytesMax / 2), CurrentEpoch: ident.NoEpoch,
			Split: random.IntN(2) == 0,
		})
	}
	r.engine().Read(t.Context(), &f)
	left, empty := f.MaxBytes, true
	for i := range f.Partitions {
		q, m := &f.Partitions[i], asked[i]
		slices := len(q.Batches)
		end := m.holds(t, q)
		split += slices - len(q.Batches)
		limit := min(q.MaxBytes, left)
		switch {
		case q.Offset == m.end():
			if end != q.Offset {
				t.Fatalf("data at the end of %s", m.tp)
			}
		case empty && end == q.Offset:
			t.Fatalf("the first partition with data gives none: %s at %d", m.tp, q.Offset)
		case q.Bytes > max(limit, 0) && (!empty || len(q.Batches) > 1):
			t.Fatalf("partition %d of %d: %d bytes in %d batches, limit %d", i, len(asked), q.Bytes, len(q.Batches), limit)
		case !empty && end == q.Offset:
			if one := r.fetch(m.tp, q.Offset, 0); one.Bytes <= limit {
				t.Fatalf("partition %d: nothing, though %d bytes fit into %d", i, one.Bytes, limit)
			}
		}
		if q.Bytes > 0 {
			empty = false
			left -= q.Bytes
		}
	}
	return split
}

func TestFetchErrors(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1)
		m := r.newLog("a", nil)
		r.restart()
		r.fill(m, 1, 1, 10)
		leader := r.head(m.tp).Leader
		for _, c := range []struct {
			epoch ident.Epoch
			want  error
		}{{leader.Epoch, nil}, {ident.NoEpoch, nil}, {leader.Epoch - 1, storage.ErrFencedLeaderEpoch}, {leader.Epoch + 1, storage.ErrUnknownEpoch}} {
			f := storage.Fetch{MaxBytes: 100, Partitions: []storage.FetchPartition{{Partition: m.tp, MaxBytes: 100, CurrentEpoch: c.epoch}}}
			r.engine().Read(t.Context(), &f)
			q := &f.Partitions[0]
			if !errors.Is(q.Err, c.want) || c.want != nil && (q.HighWatermark != -1 || q.Current.Epoch != leader.Epoch) {
				t.Errorf("fetch with epoch %d: %+v", c.epoch, q)
			}
			if _, err := r.engine().ListOffset(t.Context(), m.tp, storage.TimestampLatest, c.epoch, storage.ReadCommitted); !errors.Is(err, c.want) {
				t.Errorf("ListOffsets with epoch %d: %v", c.epoch, err)
			}
			if _, _, err := r.engine().EpochEnd(m.tp, 0, c.epoch); !errors.Is(err, c.want) {
				t.Errorf("epoch end with epoch %d: %v", c.epoch, err)
			}
		}
		other := m.tp
		other.Index = 7
		if q := r.fetch(other, 0, 100); !errors.Is(q.Err, storage.ErrUnknownPartition) || q.HighWatermark != -1 {
			t.Errorf("unknown partition: %+v", q)
		}
	})
}

// A long poll wakes when something is shown, when the log start moves and when the topic is
// deleted: not before, and not after it has left.
func TestWatch(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1)
		local, inBucket := r.newLog("local", nil), r.newLog("object", classObject)
		both := []ident.TopicPartition{local.tp, inBucket.tp}
		moved := make(chan struct{}, 1)
		stop := r.engine().Watch(both, moved)
		woken := func(what string, want bool) {
			t.Helper()
			synctest.Wait()
			select {
			case <-moved:
				if !want {
					t.Errorf("woken by %s", what)
				}
			default:
				if want {
					t.Errorf("not woken by %s", what)
				}
			}
		}
		woken("nothing", false)
		r.fill(local, 1, 1, 10)
		woken("a batch", true)
		r.bucket.Away(fault.Refused)
		waiting := r.batch(inBucket.tp, 1, 40, -1)
		r.start(waiting)
		woken("a batch that waits for its commit (I5)", false)
		if q := r.fetch(inBucket.tp, 0, 100); q.Err != nil || q.HighWatermark != 0 || len(q.Batches) > 0 {
			t.Errorf("I5: before the commit: %+v", q)
		}
		r.bucket.Away(fault.None)
		if !r.wait(waiting) {
			t.Fatal("never committed")
		}
		woken("a commit", true)
		r.advance(local.tp, 1)
		woken("a log start", true)
		r.deleteTopic(inBucket.tp.Topic)
		woken("a deletion", true)
		if q := r.fetch(inBucket.tp, 0, 100); !errors.Is(q.Err, storage.ErrUnknownPartition) {
			t.Errorf("a deleted topic: %+v", q)
		}
		stop()
		r.fill(local, 1, 1, 10)
		woken("what it does not watch any more", false)
	})
}

// A watcher of several partitions is woken once by a group that shows something in each of them,
// and then finds all of it.
func TestWatchIsWokenOncePerGroup(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1)
		a, b := r.newLog("a", nil), r.newLog("b", nil)
		// A long poll's channel has room for one, and would not show how often it is woken.
		moved := make(chan struct{}, 4)
		defer r.engine().Watch([]ident.TopicPartition{a.tp, b.tp}, moved)()
		for round := range ident.Offset(3) {
			batches := []*sent{r.batch(a.tp, 1, 40, -1), r.batch(b.tp, 1, 40, -1)}
			r.start(batches...)
			if !r.wait(batches...) {
				t.Fatal("not acknowledged")
			}
			synctest.Wait()
			if n := len(moved); n != 1 {
				t.Fatalf("round %d: woken %d times", round, n)
			}
			<-moved
			for _, m := range []*modelLog{a, b} {
				if q := r.fetch(m.tp, round, 100); q.Err != nil || q.HighWatermark != round+1 || len(q.Batches) != 1 {
					t.Errorf("round %d: %+v", round, q)
				}
			}
		}
	})
}

// I5: a batch that is durable and not shown yet is neither read nor found, even though its
// neighbour in memory is.
func TestI5_NothingAboveTheHighWatermark(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1)
		m := r.newLog("a", classObject)
		r.fill(m, 2, 2, 40)
		time.Sleep(time.Second)
		r.bucket.Away(fault.Refused)
		waiting := r.batch(m.tp, 3, 40, -1)
		r.start(waiting)
		synctest.Wait()
		check := func() {
			t.Helper()
			for o := range m.end() {
				if m.holds(t, r.fetch(m.tp, o, 10_000)) > m.end() {
					t.Errorf("I5: read above the high watermark from %d", o)
				}
			}
			if q := r.fetch(m.tp, m.end()+1, 100); q.Err != nil || len(q.Batches) > 0 {
				t.Errorf("between high watermark and end: %+v", q)
			}
			for ts, want := range map[int64]ident.Offset{storage.TimestampLatest: 4, storage.TimestampMax: 0, time.Now().UnixMilli(): -1} {
				if at, err := r.engine().ListOffset(t.Context(), m.tp, ts, ident.NoEpoch, 0); err != nil || at.Offset != want {
					t.Errorf("I5: ListOffsets at %d: %+v, %v, want %d", ts, at, err, want)
				}
			}
		}
		check()
		r.bucket.Away(fault.None)
		if !r.wait(waiting) || waiting.outcome != acked {
			t.Fatalf("never committed: %v", waiting.err)
		}
	})
	index := []object.IndexEntry{{Start: 0, End: 2, Bytes: 10}, {Start: 2, End: 4, Bytes: 10}, {Start: 4, End: 6, Bytes: 10}}
	if picked := storage.PickEntries(index, 4, 1000, true); len(picked) != 2 {
		t.Errorf("I5: picked %v below 4", picked)
	}
}

// cold makes a rig with a log that is in the bucket only, in several ranges and a manifest, and a
// small log in memory.
func cold(t *testing.T, change ...func(*storage.Config)) (r *rig, m, hot *modelLog) {
	r = newRig(t, 1, append(change, func(c *storage.Config) { c.CacheBytes = 1 })...)
	m = r.newLog("cold", nil)
	r.fillFlushed(m, 7)
	r.restart()
	r.mustFlush()
	hot = r.newLog("hot", nil)
	r.fill(hot, 2, 1, 20)
	if h := r.head(m.tp); h.Manifest.Object == 0 || len(h.Ranges) == 0 {
		t.Fatalf("head %+v", h)
	}
	return r, m, hot
}

// damaged checks that an answer under faults is right, or has one of the wanted errors.
func damaged(t *testing.T, m *modelLog, q *storage.FetchPartition, want ...error) {
	t.Helper()
	if q.Err == nil {
		if m.holds(t, q) == q.Offset {
			t.Fatalf("nothing at %d, and no error", q.Offset)
		}
		return
	}
	if !slices.ContainsFunc(want, func(err error) bool { return errors.Is(q.Err, err) }) || len(q.Batches) > 0 || q.Bytes > 0 {
		t.Fatalf("fetch at %d: %v with %d batches, want one of %v", q.Offset, q.Err, len(q.Batches), want)
	}
}

func TestFaultsOfTheBucketWhileReading(t *testing.T) {
	for _, c := range []struct {
		fault fault.Fault
		want  error
	}{
		{fault.Refused, storage.ErrUnavailable}, {fault.Busy, storage.ErrUnavailable}, {fault.Reset, storage.ErrUnavailable},
		{fault.Denied, storage.ErrUnavailable}, {fault.Broken, storage.ErrUnavailable}, {fault.Hang, storage.ErrUnavailable},
		{fault.Truncate, storage.ErrCorrupt}, {fault.Missing, storage.ErrCorrupt}, // E16
	} {
		inBubble(t, func(t *testing.T) {
			r, m, hot := cold(t)
			r.bucket.Chance(bucket.OpReadAt, c.fault, 1)
			for o := m.start; o < m.end(); o++ {
				began := time.Now()
				q := r.fetch(m.tp, o, 1000)
				if !errors.Is(q.Err, c.want) || len(q.Batches) > 0 {
					t.Fatalf("fault %d, fetch at %d: %v", c.fault, o, q.Err)
				}
				for _, ts := range []int64{0, storage.TimestampMax} {
					if _, err := r.engine().ListOffset(t.Context(), m.tp, ts, ident.NoEpoch, 0); !errors.Is(err, c.want) {
						t.Fatalf("fault %d, lookup by time: %v", c.fault, err)
					}
				}
				if took := time.Since(began); took > 15*time.Second {
					t.Errorf("fault %d: three answers after %v", c.fault, took)
				}
			}
			began := time.Now()
			hot.holds(t, r.fetch(hot.tp, 0, 1000)) // reads from memory go on
			r.fill(hot, 1, 1, 20)
			for _, ts := range []int64{storage.TimestampLatest, storage.TimestampEarliest} {
				if _, err := r.engine().ListOffset(t.Context(), m.tp, ts, ident.NoEpoch, 0); err != nil {
					t.Error(err)
				}
			}
			if took := time.Since(began); took > 0 {
				t.Errorf("fault %d: the tail waited %v for the bucket", c.fault, took)
			}
			r.bucket.Heal()
			m.checkFetch(r, rand.New(rand.NewPCG(1, 1)))
		})
	}
}

// While the bucket hangs, one request over many partitions is answered in bounded time, the
// partitions in memory included (docs/lessons.md).
func TestOneRequestWhileTheBucketHangs(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1, func(c *storage.Config) { c.HotBytes = 1 })
		var logs []*modelLog
		for _, id := range r.mustCreate("many", 60, nil) {
			logs = append(logs, &modelLog{tp: id})
		}
		for _, m := range logs[:59] {
			r.fill(m, 1, 1, 20)
		}
		r.mustFlush()
		r.restart()
		r.fill(logs[59], 1, 1, 20)
		r.bucket.Away(fault.Hang)
		f := storage.Fetch{MaxBytes: 1 << 20}
		for _, m := range logs {
			f.Partitions = append(f.Partitions, storage.FetchPartition{Partition: m.tp, MaxBytes: 1 << 20, CurrentEpoch: ident.NoEpoch})
		}
		began := time.Now()
		r.engine().Read(t.Context(), &f)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("answered after %v", took)
		}
		for i := range 59 {
			if q := &f.Partitions[i]; !errors.Is(q.Err, storage.ErrUnavailable) {
				t.Fatalf("partition %d: %v", i, q.Err)
			}
		}
		logs[59].holds(t, &f.Partitions[59])
		if f.Partitions[59].Bytes == 0 {
			t.Error("the tail gave nothing")
		}
	})
}

// Many partitions that are only in the bucket take one GET's time together, not one each.
func TestColdPartitionsAreReadAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1, func(c *storage.Config) { c.HotBytes = 1; c.CacheBytes = 1 })
		f := storage.Fetch{MaxBytes: 1 << 20}
		var logs []*modelLog
		for _, id := range r.mustCreate("many", 16, nil) {
			m := &modelLog{tp: id}
			logs = append(logs, m)
			r.fillFlushed(m, 1)
			f.Partitions = append(f.Partitions, storage.FetchPartition{Partition: id, MaxBytes: 1 << 20, CurrentEpoch: ident.NoEpoch})
		}
		r.bucket.SetSlow(100 * time.Millisecond)
		r.bucket.Chance(bucket.OpReadAt, fault.Slow, 1)
		began := time.Now()
		r.engine().Read(t.Context(), &f)
		// The read takes one GET for the index, then one for the batches.
		if took := time.Since(began); took > 300*time.Millisecond {
			t.Errorf("16 partitions took %v", took)
		}
		for i, m := range logs {
			if m.holds(t, &f.Partitions[i]) != m.end() {
				t.Errorf("partition %d: nothing", i)
			}
		}
	})
}

// A damaged answer of the bucket is read once more. The data is served, and the damaged block is
// dropped.
func TestDamageOnTheWayIsReadOnceMore(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		for n := range 8 { // reads: root, section, batches
			r, m, _ := cold(t, func(c *storage.Config) { c.CacheBytes = 1 << 20 })
			for range n {
				r.bucket.Script(bucket.OpReadAt, fault.None)
			}
			r.bucket.Script(bucket.OpReadAt, fault.Flip)
			for o := m.start; o < m.end(); o++ {
				if q := r.fetch(m.tp, o, 1); q.Err != nil {
					t.Fatalf("read %d flipped, fetch at %d: %v", n, o, q.Err)
				} else {
					m.holds(t, q)
				}
			}
			r.stop()
		}
	})
}

// Every byte of every object is changed, one at a time. Each read gives the right data, or an error
// that says damage.
func TestDamageIsNeverServed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r, m, _ := cold(t)
		step, corrupt := 101, 0
		if long() {
			step = 5
		}
		for n, key := range r.keys() {
			good := r.object(key)
			for at := n % step; at < len(good); at += step { // another byte of each object
				bad := slices.Clone(good)
				bad[at] ^= 1 << (at % 8)
				r.replace(key, bad)
				corrupt += readAllDamaged(t, r, m)
			}
			for _, size := range []int{0, 1, len(good) / 2, len(good) - 1} {
				r.replace(key, good[:size])
				corrupt += readAllDamaged(t, r, m)
			}
			r.replace(key, good)
		}
		if corrupt == 0 {
			t.Error("no damage was found")
		}
		r.restart()
		m.checkFetch(r, rand.New(rand.NewPCG(1, 1)))
	})
}

// readAllDamaged starts a new process, so that nothing decoded is in memory, and reads everything.
func readAllDamaged(t *testing.T, r *rig, m *modelLog) (corrupt int) {
	t.Helper()
	r.restart()
	m2 := *m
	for o := m.start; o < m.end(); o++ {
		q := r.fetch(m.tp, o, 100)
		damaged(t, &m2, q, storage.ErrCorrupt)
		if q.Err != nil {
			corrupt++
		}
	}
	return corrupt
}

// object returns the bytes that the bucket really holds under a key.
func (r *rig) object(key string) []byte {
	r.t.Helper()
	info, err := r.objects.Stat(context.Background(), key)
	if err != nil {
		r.t.Fatal(err)
	}
	b := make([]byte, info.Bytes)
	if err := r.objects.ReadAt(context.Background(), key, b, 0); err != nil {
		r.t.Fatal(err)
	}
	return b
}

func (r *rig) replace(key string, b []byte) {
	r.t.Helper()
	ctx := context.Background()
	if err := errors.Join(r.objects.Delete(ctx, key), r.objects.Create(ctx, key, bucket.Body{Parts: [][]byte{b}, CRC32C: crc32.Checksum(b, protocol.Castagnoli)})); err != nil {
		r.t.Fatal(err)
	}
}

// E16: while a reader's GET is on its way, the object that it planned to read is rightly deleted.
// The read is planned again: what moved is found where it is now, and what expired is not damage. A
// missing object that the new plan names again is damage.
func TestE16_PlannedAnew(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r, m, _ := cold(t)
		r.deleteDelay = 500 * time.Millisecond // shorter than a read
		r.restart()
		old := r.head(m.tp).Manifest
		plans := 0
		found, err := r.engine().FindRange(t.Context(), m.tp, 0, func() {
			if plans++; plans > 1 {
				return
			}
			r.fillFlushed(m, 4)
			r.snapshot()
			time.Sleep(2 * r.deleteDelay)
			if err := r.collectGarbage(t.Context()); err != nil {
				t.Fatal(err)
			}
			if r.head(m.tp).Manifest.Object == old.Object || r.hasObject(old.Object) {
				t.Fatal("the old root was not replaced and deleted")
			}
		})
		if err != nil || found == nil || found.Start != 0 || plans != 2 {
			t.Errorf("found %+v, %v after %d plans", found, err, plans)
		}
	})
	inBubble(t, func(t *testing.T) {
		r, m, _ := cold(t)
		r.deleteDelay = 500 * time.Millisecond // shorter than a read
		r.restart()
		last := r.head(m.tp).Ranges[0]
		slowReads(r, 3*time.Second)
		answer := make(chan *storage.FetchPartition)
		go func() { answer <- r.fetch(m.tp, last.Start, 100) }()
		synctest.Wait()
		r.advanceLog(m, last.End)
		r.fillFlushed(m, 2) // the partition's state moves on as well
		r.snapshot()
		time.Sleep(2 * r.deleteDelay)
		if err := r.collectGarbage(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r.hasObject(last.Object) {
			t.Fatal("the object was not deleted")
		}
		if q := <-answer; q.Err != nil || len(q.Batches) > 0 {
			t.Errorf("what expired meanwhile: %+v", q)
		}
		if q := r.fetch(m.tp, last.Start, 100); !errors.Is(q.Err, storage.ErrOffsetOutOfRange) {
			t.Errorf("and then: %+v", q)
		}
	})
	inBubble(t, func(t *testing.T) {
		r, m, _ := cold(t)
		r.deleteDelay = 500 * time.Millisecond // shorter than a read
		r.restart()
		r.bucket.Script(bucket.OpReadAt, fault.Missing)
		if q := r.fetch(m.tp, 0, 100); m.holds(t, q) == 0 {
			t.Errorf("there after the barrier: %+v", q)
		}
		r.restart()
		r.bucket.Script(bucket.OpReadAt, fault.Missing, fault.Missing)
		if q := r.fetch(m.tp, 0, 100); !errors.Is(q.Err, storage.ErrCorrupt) {
			t.Errorf("the same object named again: %+v", q)
		}
	})
}

func slowReads(r *rig, d time.Duration) {
	r.bucket.SetSlow(d)
	r.bucket.Script(bucket.OpReadAt, fault.Slow)
}

func (r *rig) hasObject(id ident.ObjectID) bool {
	return slices.ContainsFunc(r.keys(), func(key string) bool { return keyHolds(key, id) })
}

func keyHolds(key string, id ident.ObjectID) bool {
	parts, err := object.ParseKey(key)
	return err == nil && parts.Object == id
}
