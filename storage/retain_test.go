package storage_test

import (
	"context"
	"maps"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/metadata/pb"
	"github.com/sluicemq/sluice/storage"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/fault"
	"github.com/sluicemq/sluice/storage/object"
)

// retain runs retention once and applies the log start that clients see to the model.
func (r *rig) retain(m *modelLog) {
	r.t.Helper()
	if err := r.engine().Retain(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	r.sees(m)
}

func (r *rig) sees(m *modelLog) {
	r.t.Helper()
	at, err := r.engine().ListOffset(context.Background(), m.tp, storage.TimestampEarliest, ident.NoEpoch, storage.ReadUncommitted)
	if err != nil {
		r.t.Fatal(err)
	}
	m.start = at.Offset
}

func ago(d time.Duration) int64 { return time.Now().Add(-d).UnixMilli() }

// retentionUnits puts one batch each into the manifest, the heads, and memory, in this order.
func retentionUnits(t *testing.T, r *rig, m *modelLog, ages ...time.Duration) {
	t.Helper()
	for i, age := range ages {
		ts := ago(age)
		if age == timeless {
			ts = -1
		}
		r.put(m, modelBatch{bytes: 100, times: []int64{ts, ts}})
		if i < len(ages)-2 {
			r.mustFlush()
		}
	}
	if h := r.head(m.tp); len(ages) > 7 && h.Manifest.Object == 0 {
		t.Fatalf("nothing in the manifest: %+v", h)
	}
}

func TestRetention(t *testing.T) {
	hour := map[string]string{catalog.ConfigRetentionMs: "3600000"}
	const old, young, future = 2 * time.Hour, time.Minute, -time.Hour
	cases := map[string]struct {
		configs map[string]string
		// ages are of one batch of two records each. All but the last two batches are in the
		// bucket.
		ages  []time.Duration
		start ident.Offset
	}{
		"nothing is old":            {hour, []time.Duration{young, young, young, young, young, young, young, young}, 0},
		"what is old goes":          {hour, []time.Duration{old, old, old, old, old, young, young, young}, 10},
		"in the manifest":           {hour, []time.Duration{old, old, young, old, young, young, young, young}, 4},
		"unflushed":                 {hour, []time.Duration{old, old, old, old, old, old, old, young}, 14},
		"the last one":              {hour, []time.Duration{old, old, old, old, old, old, old, old}, 16},
		"only unflushed":            {hour, []time.Duration{old, old}, 4},
		"the future holds back":     {hour, []time.Duration{old, old, future, old, old, old, old, old}, 4},
		"no timestamp holds back":   {hour, []time.Duration{old, timeless, old, old, old, old, old, old}, 2},
		"unlimited":                 {map[string]string{catalog.ConfigRetentionMs: "-1"}, []time.Duration{old, old, old, old}, 0},
		"compact only":              {map[string]string{catalog.ConfigRetentionMs: "3600000", catalog.ConfigCleanupPolicy: "compact"}, []time.Duration{old, old, old, old}, 0},
		"compact and delete":        {map[string]string{catalog.ConfigRetentionMs: "3600000", catalog.ConfigCleanupPolicy: "compact,delete"}, []time.Duration{old, old, old, young}, 6},
		"class object":              {map[string]string{catalog.ConfigRetentionMs: "3600000", catalog.ConfigDurability: "object"}, []time.Duration{old, old, old, young}, 6},
		"by size: all fits":         {bySize(8, nil), []time.Duration{old, old, old, old, old, old, old, old}, 0},
		"by size":                   {bySize(3, nil), []time.Duration{young, young, young, young, young, young, young, young}, 10},
		"by size, not below":        {map[string]string{catalog.ConfigRetentionBytes: strconv.Itoa(unitBytes*3 - 1), catalog.ConfigRetentionMs: "-1"}, []time.Duration{young, young, young, young, young, young}, 6},
		"by size, unflushed":        {bySize(1, nil), []time.Duration{young, young, young, young, young, young, young, young}, 14},
		"by size, nothing":          {bySize(0, nil), []time.Duration{young, young, young, young, young, young, young, young}, 16},
		"by size, whatever the age": {bySize(2, nil), []time.Duration{future, future, timeless, young}, 4},
		"by both":                   {bySize(4, hour), []time.Duration{old, young, young, old, young, young, young, young}, 8},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, 1, func(cfg *storage.Config) {
					cfg.FlushInterval, cfg.FlushBytes, cfg.RetentionInterval = time.Hour, 1<<20, 1000*time.Hour
				})
				m := r.newLog("a", c.configs)
				retentionUnits(t, r, m, c.ages...)
				if q := r.fetch(m.tp, 0, 1); q.Bytes != unitBytes {
					t.Fatalf("a unit has %d bytes", q.Bytes)
				}
				r.retain(m)
				if m.start != c.start {
					t.Fatalf("log start %d, want %d", m.start, c.start)
				}
				m.checkFetch(r, rand.New(rand.NewPCG(1, 1)))
				m.checkOffsets(r, rand.New(rand.NewPCG(1, 1)))
				r.retain(m)
				if m.start != c.start {
					t.Errorf("log start %d the second time, want %d", m.start, c.start)
				}
				r.crash()
				r.mustOpen()
				r.mustFlush()
				m.checkFetch(r, rand.New(rand.NewPCG(1, 1)))
			})
		})
	}
}

// timeless is the age of a batch without timestamps.
const timeless = time.Duration(math.MinInt64)

// unitBytes is the size of each batch that retentionUnits puts.
const unitBytes = 61 + 2*(100+9)

func bySize(units int, more map[string]string) map[string]string {
	c := map[string]string{catalog.ConfigRetentionBytes: strconv.Itoa(unitBytes * units), catalog.ConfigRetentionMs: "-1"}
	maps.Copy(c, more)
	return c
}

// Ranges that DeleteRecords has passed and that are not released yet hold nothing back, whatever
// their time.
func TestRetentionBehindPassedRanges(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1)
		m := r.newLog("a", map[string]string{catalog.ConfigRetentionMs: "3600000"})
		for i := range 9 {
			ts := ago(2 * time.Hour)
			if i < 2 {
				ts = ago(-10 * time.Hour)
			}
			r.put(m, modelBatch{bytes: 100, times: []int64{ts, ts}})
			r.mustFlush()
		}
		r.advanceLog(m, 4)
		r.retain(m)
		if m.start != 18 {
			t.Errorf("log start %d, want 18", m.start)
		}
	})
}

// references returns the objects to which the quorum's heads lead. It reads every manifest, so that
// its account is independent.
func (r *rig) references() map[ident.ObjectID]bool {
	r.t.Helper()
	live := map[ident.ObjectID]bool{}
	var heads []catalog.Head
	r.quorum.view(func(s *metadata.State) {
		for _, t := range s.Topics() {
			heads = append(heads, s.Heads(t.ID)...)
		}
		heads = append(heads, s.Released(1000)...)
	})
	for _, h := range heads {
		for _, g := range h.Ranges {
			live[g.Object] = true
		}
		live[h.State.Object], live[h.Base.Object] = true, true
		r.manifestReferences(&h, live)
	}
	delete(live, 0)
	return live
}

func (r *rig) manifestReferences(h *catalog.Head, live map[ident.ObjectID]bool) {
	r.t.Helper()
	m := h.Manifest
	if m.Object == 0 {
		return
	}
	live[m.Object] = true
	root, err := object.DecodeRoot(r.object(object.Key(clusterID, m.Object, m.Writer, object.KindManifest)), h.Partition, m)
	if err != nil {
		r.t.Fatal(err)
	}
	ranges := root.Ranges
	for i := range root.Leaves {
		l := &root.Leaves[i]
		live[l.Object] = true
		leaf, err := object.DecodeLeaf(r.object(object.Key(clusterID, l.Object, l.Writer, object.KindManifest)), h.Partition, *l)
		if err != nil {
			r.t.Fatal(err)
		}
		ranges = append(ranges, root.Live(i, leaf)...)
	}
	for _, g := range ranges {
		live[g.Object] = true
	}
}

// accounted checks that everything referenced is in the bucket (I10).
func (r *rig) accounted() {
	r.t.Helper()
	there := map[ident.ObjectID]bool{}
	for _, key := range r.keys() {
		if p, err := object.ParseKey(key); err == nil {
			there[p.Object] = true
		}
	}
	for id := range r.references() {
		if !there[id] {
			r.t.Errorf("I10: object %s is referenced and gone", id)
		}
	}
}

// settled lets everything expire and be collected, and checks that the bucket then holds the
// referenced objects and nothing else.
func (r *rig) settled() {
	r.t.Helper()
	r.accounted()
	for range 3 { // prepared ids expire; a deleted topic's manifests are released step by step
		time.Sleep(storage.ObjectExpiry + time.Minute)
		if err := r.collectGarbage(context.Background()); err != nil {
			r.t.Fatal(err)
		}
		r.snapshot()
		time.Sleep(2 * r.deleteDelay)
		if err := r.collectGarbage(context.Background()); err != nil {
			r.t.Fatal(err)
		}
	}
	live := r.references()
	for _, key := range r.keys() {
		if p, err := object.ParseKey(key); err != nil || !live[p.Object] {
			r.t.Errorf("E30: nothing refers to %s, and it stays (%v)", key, err)
		}
	}
	r.accounted()
	r.quorum.view(func(s *metadata.State) {
		if c := s.ObjectCounts(); c.Live != len(live) || c.Unreferenced != 0 {
			r.t.Errorf("E30: the quorum counts %+v, referenced are %d", c, len(live))
		}
	})
}

// E22: an object goes when nothing refers to it, a stored snapshot says so, and the delay is over;
// never before.
func TestE22_DeletionWaits(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1)
		m := r.newLog("a", nil)
		r.fillFlushed(m, 2)
		// The very first range's object holds the base of the partition's state.
		first := r.head(m.tp).Ranges[1].Object
		r.fillFlushed(m, 1)
		r.snapshot() // the snapshot still names it
		stays := func(when string) {
			t.Helper()
			if err := r.collectGarbage(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !r.hasObject(first) {
				t.Fatalf("deleted %s", when)
			}
		}
		stays("while it is referenced")
		r.advanceLog(m, 2)
		if h := r.head(m.tp); h.State.Object == first || h.Base.Object == first {
			t.Fatal("the object still holds the partition's state: the test needs another")
		}
		stays("before a snapshot was stored")
		time.Sleep(10 * r.deleteDelay)
		stays("before a snapshot was stored, however late")
		r.restart()
		stays("after a restart, before a snapshot was stored")
		r.fillFlushed(m, 1)
		r.snapshot()
		second := r.head(m.tp).Ranges[0].Object
		if err := r.collectGarbage(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.advanceLog(m, 3)
		if r.hasObject(first) {
			t.Error("not deleted, though snapshot and delay have passed")
		}
		r.snapshot()
		time.Sleep(r.deleteDelay / 2)
		if !r.hasObject(second) {
			t.Error("deleted before the delay")
		}
		r.settled()
	})
}

// A delete that fails is tried again at the next turn, and holds up no other delete. A delete whose
// answer is lost is no failure.
func TestDeletesFail(t *testing.T) {
	for _, f := range []fault.Fault{fault.Busy, fault.Refused, fault.Denied, fault.Lost, fault.Hang} {
		inBubble(t, func(t *testing.T) {
			r := newClosedRig(t, 1, func(c *storage.Config) { c.FlushInterval = time.Hour })
			r.deleteDelay = time.Hour
			r.mustOpen()
			m := r.newLog("a", nil)
			// This keeps the delay from ending together with one of the engine's own turns.
			time.Sleep(10 * time.Minute)
			r.fillFlushed(m, 12)
			r.advanceLog(m, 11)
			r.retain(m)
			before := len(r.keys())
			r.snapshot()
			time.Sleep(59 * time.Minute)
			r.bucket.Script(bucket.OpDelete, fault.None, fault.None, f)
			time.Sleep(2 * time.Minute)
			if err := r.collectGarbage(t.Context()); err == nil {
				t.Errorf("fault %d: no error, %d deletes", f, r.bucket.Calls(bucket.OpDelete))
			}
			if n := len(r.keys()); n > before-5 {
				t.Errorf("fault %d: %d objects of %d left after a turn", f, n, before)
			}
			r.bucket.Heal()
			r.settled()
		})
	}
}

// E17: heads stay short, the manifest takes the rest, and everything stays readable, also when the
// manifest gets leaves.
func TestE17_ManifestsGrow(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1, func(c *storage.Config) { c.FlushInterval = time.Hour })
		m := r.newLog("a", nil)
		count := 700 // more than a root holds itself
		for range count {
			r.fill(m, 1, 1, 12)
			r.mustFlush()
			if n := len(r.head(m.tp).Ranges); n > catalog.RangesPerHeadMax {
				t.Fatalf("head has %d ranges", n)
			}
		}
		h := r.head(m.tp)
		root, err := object.DecodeRoot(r.object(object.Key(clusterID, h.Manifest.Object, h.Manifest.Writer, object.KindManifest)), m.tp, h.Manifest)
		if err != nil || len(root.Leaves) == 0 || int(h.Manifest.RangeCount)+len(h.Ranges) != count {
			t.Fatalf("%d leaves, %d ranges and %d in the head of %d, %v", len(root.Leaves), h.Manifest.RangeCount, len(h.Ranges), count, err)
		}
		r.restart()
		random := rand.New(rand.NewPCG(1, 1))
		for range 100 {
			o := ident.Offset(random.IntN(count))
			if m.holds(t, r.fetch(m.tp, o, 1)) != o+1 {
				t.Fatalf("nothing at %d", o)
			}
		}
		m.checkOffsets(r, random)
		r.advanceLog(m, 300)
		r.retain(m)
		r.advanceLog(m, 690)
		r.retain(m)
		m.checkFetch(r, random)
		if n := r.head(m.tp).Manifest.RangeCount; n > 20 {
			t.Errorf("%d ranges in the manifest of [690,700)", n)
		}
		r.settled()
	})
}

// E17: while manifests cannot be written, flushing goes on for every other partition, and for this
// one as soon as they can be written.
func TestE17_FullHeads(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1)
		m, other := r.newLog("a", nil), r.newLog("b", nil)
		r.fillFlushed(m, 3)
		r.quorum.decide(func(_ int, cmd *pb.Command) fate {
			if _, swap := cmd.Kind.(*pb.Command_SwapManifest); swap {
				return commandLost
			}
			return carried
		})
		for i := range 40 {
			r.fill(m, 1, 1, 20)
			if i%10 == 0 {
				r.fill(other, 1, 1, 20)
			}
			time.Sleep(2 * r.cfg.FlushInterval)
		}
		time.Sleep(time.Minute)
		if n := len(r.head(m.tp).Ranges); n > catalog.RangesPerHeadMax {
			t.Errorf("head has %d ranges", n)
		}
		if h := r.head(other.tp); h.CommittedEnd != other.end() {
			t.Errorf("the neighbour is committed up to %d of %d", h.CommittedEnd, other.end())
		}
		m.checkFetch(r, rand.New(rand.NewPCG(1, 1)))
		r.quorum.decide(nil)
		time.Sleep(time.Minute)
		r.mustFlush()
		if h := r.head(m.tp); h.CommittedEnd != m.end() || len(h.Ranges) > r.cfg.ManifestAt {
			t.Errorf("committed up to %d of %d, %d ranges in the head", h.CommittedEnd, m.end(), len(h.Ranges))
		}
		m.checkFetch(r, rand.New(rand.NewPCG(1, 1)))
		r.settled()
	})
}

// E30, E17: a release wins the race for the manifest's version while a swap is on its way. The swap
// is planned again, and nothing is lost or counted twice.
func TestE30_LostSwap(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1, func(c *storage.Config) { c.FlushInterval = time.Hour; c.RetentionInterval = 1000 * time.Hour })
		m := r.newLog("a", nil)
		r.fillFlushed(m, 4)
		before := r.head(m.tp).Manifest
		if before.Object == 0 {
			t.Fatal("no manifest")
		}
		r.fillFlushed(m, 2)
		r.fill(m, 1, 1, 40)
		r.bucket.SetSlow(5 * time.Second)
		r.bucket.Script(bucket.OpCreate, fault.None, fault.Slow) // the bundle, then the new root
		flushed := make(chan bool)
		go func() { flushed <- r.flush() }()
		synctest.Wait()
		if n := len(r.head(m.tp).Ranges); n != 4 {
			t.Fatalf("%d ranges in the head: the swap is not on its way", n)
		}
		r.advanceLog(m, 2)
		r.retain(m)
		if v := r.head(m.tp).Manifest.Version; v != before.Version+1 {
			t.Fatalf("manifest version %d: nothing was released", v)
		}
		if !<-flushed {
			t.Error("the flush failed")
		}
		r.fillFlushed(m, 3)
		m.checkFetch(r, rand.New(rand.NewPCG(1, 1)))
		r.settled()
	})
}

// E30: every command is repeated once because its answer was lost, and every command is lost once.
// Nothing is counted twice.
func TestE30_Repeated(t *testing.T) {
	for _, f := range []fate{answerLost, commandLost} {
		inBubble(t, func(t *testing.T) {
			r := newRig(t, 1, func(c *storage.Config) { c.RetentionInterval = 1000 * time.Hour })
			gone, m := r.newLog("gone", nil), r.newLog("a", nil)
			flip := false
			r.quorum.decide(func(int, *pb.Command) fate {
				if flip = !flip; flip {
					return f
				}
				return carried
			})
			for range 12 {
				r.fill(m, 1, 1, 40)
				r.fill(gone, 1, 1, 40)
				for !r.flush() {
				}
			}
			r.advanceLog(m, 5)
			for r.engine().Retain(t.Context()) != nil {
			}
			r.accounted()
			r.deleteTopic(gone.tp.Topic)
			for r.collectGarbage(t.Context()) != nil {
			}
			r.accounted()
			r.quorum.decide(nil)
			m.checkFetch(r, rand.New(rand.NewPCG(1, 1)))
			r.settled()
		})
	}
}

// E30, E17, I16: the process is killed before and after every command and refused every write, in a
// life with manifests, retention and a deleted topic. The log is whole after each, and in the end
// the bucket holds the referenced objects and nothing else.
func TestE30_KilledAnywhere(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		total := manifestLife(t, nil)
		for _, f := range []fate{killBefore, killAfter} {
			for at := 1; at <= total; at++ {
				manifestLife(t, func(n int, _ *pb.Command) fate {
					if n == at {
						return f
					}
					return carried
				})
				if t.Failed() {
					t.Fatalf("fate %d of command %d of %d", f, at, total)
				}
			}
		}
	})
}

// manifestLife returns how many commands the life took.
func manifestLife(t *testing.T, decide func(int, *pb.Command) fate) int {
	r := newRig(t, 1, func(c *storage.Config) { c.FlushInterval = time.Hour; c.RetentionInterval = 1000 * time.Hour })
	defer r.stop()
	m, gone := r.newLog("a", nil), r.newLog("gone", nil)
	start := r.quorum.commands()
	if decide != nil {
		r.quorum.decide(func(n int, cmd *pb.Command) fate { return decide(n-start, cmd) })
	}
	do := func(step func()) {
		step()
		if !r.alive() {
			r.restart()
			step()
		}
	}
	for i := range 9 {
		if !deleted(r, gone) {
			r.fill(gone, 1, 1, 20)
		}
		r.fill(m, 1, 1, 20)
		do(func() { r.flush() })
		switch i {
		case 5:
			do(func() { r.advance(m.tp, 3) })
			do(func() { _ = r.engine().Retain(context.Background()) })
		case 6:
			do(func() {
				if !deleted(r, gone) {
					r.deleteTopic(gone.tp.Topic)
				}
			})
			do(func() { _ = r.collectGarbage(context.Background()) })
		}
	}
	commands := r.quorum.commands() - start
	r.quorum.decide(nil)
	r.sees(m)
	r.mustFlush()
	m.checkFetch(r, rand.New(rand.NewPCG(1, 1)))
	r.settled()
	return commands
}

func deleted(r *rig, m *modelLog) (gone bool) {
	r.quorum.view(func(s *metadata.State) { _, there := s.Topic(m.tp.Topic); gone = !there })
	return gone
}

// A topic gets more records all the time and keeps few: objects, ranges, index and WAL stay flat.
func TestSoakStaysFlat(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newClosedRig(t, 1, func(c *storage.Config) {
			c.RetentionInterval = 2 * time.Second
			c.HotBytes = 2 << 10
		})
		r.deleteDelay = 5 * time.Second
		r.mustOpen()
		m := r.newLog("a", map[string]string{catalog.ConfigRetentionBytes: "6000"})
		class := r.newLog("b", map[string]string{catalog.ConfigRetentionBytes: "3000", catalog.ConfigDurability: "object"})
		cycles := 400
		if long() {
			cycles = 20_000
		}
		var early, late soakSize
		for i := range cycles {
			r.fill(m, 3, 2, 150)
			r.fill(class, 1, 1, 200)
			time.Sleep(700 * time.Millisecond)
			if i%10 == 0 {
				r.snapshot()
			}
			switch size := r.soakSize(m, class); {
			case i < cycles/4:
			case i < cycles/2:
				early.most(size)
			default:
				late.most(size)
			}
		}
		t.Logf("most in the second quarter: %+v", early)
		t.Logf("most in the second half:    %+v", late)
		if early.objects == 0 || late.objects > early.objects+early.objects/4 || late.ranges > catalog.RangesPerHeadMax || late.known > early.known+early.known/4 ||
			late.index > early.index+early.index/4 || late.walBytes > early.walBytes+int(r.cfg.WALSegmentBytes) || late.manifest > early.manifest+early.manifest/4 {
			t.Error("it grows")
		}
		synctest.Wait() // lets retention finish
		r.sees(m)
		m.checkFetch(r, rand.New(rand.NewPCG(1, 1)))
		if kept := int(m.end()-m.start) * 150; kept > 12_000 {
			t.Errorf("%d bytes kept of 6000", kept)
		}
	})
}

// A bucket that deletes slowly, or not at all, does not hold up the log: retention moves on, and
// segments come back.
func TestRetentionBesideHungDeletes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newClosedRig(t, 1, func(c *storage.Config) {
			c.FlushInterval, c.FlushBytes, c.RetentionInterval = 1000*time.Hour, 1<<30, 2*time.Second
		})
		r.deleteDelay = time.Second
		r.mustOpen()
		m := r.newLog("a", map[string]string{catalog.ConfigRetentionBytes: "6000"})
		r.fillFlushed(m, 12)
		r.advanceLog(m, 11)
		r.retain(m)
		r.snapshot()
		r.bucket.Chance(bucket.OpDelete, fault.Hang, 1)
		time.Sleep(time.Minute)
		if r.bucket.Calls(bucket.OpDelete) == 0 {
			t.Fatal("nothing is being deleted")
		}
		before := r.head(m.tp).LogStart
		for range 100 {
			r.fill(m, 10, 2, 500)
			time.Sleep(2 * time.Second)
		}
		synctest.Wait()
		if now := r.head(m.tp).LogStart; now < before+1900 {
			t.Errorf("log start went from %d to %d while 2,000 records came", before, now)
		}
		if n := r.walBytes(); n > 6*int(r.cfg.WALSegmentBytes) {
			t.Errorf("the WAL has %d bytes on the disk, in segments of %d", n, r.cfg.WALSegmentBytes)
		}
		r.bucket.Heal()
		r.kill()
		r.mustOpen()
		r.sees(m)
		r.settled()
	})
}

// E30: a topic that is deleted while there is more to delete than one step takes is released at the
// next step, not when everything is done.
func TestE30_DeletedTopicBesideManyDeletes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1, func(c *storage.Config) { c.FlushInterval = 1000 * time.Hour })
		m, doomed := r.newLog("a", nil), r.newLog("doomed", nil)
		r.fillFlushed(doomed, 12)
		r.fillFlushed(m, 700)
		r.advanceLog(m, 699)
		r.retain(m)
		r.snapshot()
		r.bucket.SetSlow(5 * time.Second)
		r.bucket.Chance(bucket.OpDelete, fault.Slow, 1)
		before := r.bucket.Calls(bucket.OpDelete)
		deletes := func() int { return r.bucket.Calls(bucket.OpDelete) - before }
		for deletes() < 100 { // until a step over everything is on its way
			time.Sleep(time.Second)
		}
		r.deleteTopic(doomed.tp.Topic)
		released := func() (n int) {
			r.quorum.view(func(s *metadata.State) { n = len(s.Released(10)) })
			return n
		}
		if released() == 0 {
			t.Fatal("the topic had no manifest: the test needs another")
		}
		time.Sleep(250 * time.Second)
		if n := deletes(); n <= 256 || n >= 690 {
			t.Fatalf("%d deletes: want some of the second step", n)
		}
		if released() > 0 {
			t.Error("the deleted topic still names its objects while others are deleted")
		}
		r.bucket.Heal()
		r.settled()
	})
}

// soakSize holds the sizes that must not grow with what was ever produced.
type soakSize struct{ objects, ranges, index, walBytes, manifest, known int }

func (s *soakSize) most(o soakSize) {
	s.objects, s.ranges, s.index = max(s.objects, o.objects), max(s.ranges, o.ranges), max(s.index, o.index)
	s.walBytes, s.manifest, s.known = max(s.walBytes, o.walBytes), max(s.manifest, o.manifest), max(s.known, o.known)
}

func (r *rig) soakSize(logs ...*modelLog) soakSize {
	s := soakSize{objects: len(r.keys()), index: r.engine().IndexedBatches(), walBytes: r.walBytes()}
	for _, m := range logs {
		h := r.head(m.tp)
		s.ranges = max(s.ranges, len(h.Ranges))
		s.manifest = max(s.manifest, int(h.Manifest.RangeCount))
	}
	r.quorum.view(func(st *metadata.State) {
		c := st.ObjectCounts()
		s.known = c.Live + c.Unreferenced // prepared ids expire after an hour
	})
	return s
}
