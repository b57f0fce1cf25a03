package node

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/mem"
	"github.com/sluicemq/sluice/storage/object"
)

// script does random things to a cluster, and remembers what it sent and what it was given.
type script struct {
	*rig
	random *rand.Rand
	topics []string
	sent   map[ident.TopicPartition]map[ident.Offset]string
	number int // of the last value

	producer    ident.ProducerID  // the highest that was given
	incarnation ident.Incarnation // the last one
}

func newScript(r *rig, seed uint64) *script {
	s := &script{rig: r, random: rand.New(rand.NewPCG(seed, 1)), sent: make(map[ident.TopicPartition]map[ident.Offset]string)}
	s.create()
	return s
}

const scriptPartitions = 2

func (s *script) create() {
	name := fmt.Sprintf("topic%d", len(s.topics))
	s.rig.create(name, scriptPartitions, map[string]string{"retention.ms": "-1"})
	s.topics = append(s.topics, name)
}

func (s *script) produce(topic string, partition int32, count int) {
	t, _ := s.cat.TopicByName(topic)
	tp := ident.TopicPartition{Topic: t.ID, Index: partition}
	if s.sent[tp] == nil {
		s.sent[tp] = make(map[ident.Offset]string)
	}
	values := make([]string, count)
	for i := range values {
		s.number++
		values[i] = fmt.Sprintf("%s-%d value %d", topic, partition, s.number)
	}
	first := ident.Offset(s.rig.produce(topic, partition, values...))
	for i, v := range values {
		s.sent[tp][first+ident.Offset(i)] = v
	}
}

// advance moves a log start to any offset that a reader can see.
func (s *script) advance(topic string, partition int32) {
	s.t.Helper()
	h := s.head(topic, partition)
	hw := ident.Offset(0)
	for o := range s.sent[h.Partition] {
		hw = max(hw, o+1)
	}
	if hw <= h.LogStart {
		return
	}
	to := h.LogStart + 1 + ident.Offset(s.random.Int64N(int64(hw-h.LogStart)))
	if err := s.cat.AdvanceLogStart(within(s.t), s.engine.Incarnation(), h.Partition, to); err != nil {
		s.t.Fatal(err)
	}
}

func (s *script) step() {
	topic, partition := s.topics[s.random.IntN(len(s.topics))], int32(s.random.IntN(scriptPartitions))
	switch n := s.random.IntN(20); {
	case n < 9:
		s.produce(topic, partition, 1+s.random.IntN(30))
	case n < 13:
		s.flush()
	case n < 15:
		s.snapshot()
	case n < 17:
		s.advance(topic, partition)
	case n < 18 && len(s.topics) < 4:
		s.create()
	case n < 19:
		id, err := s.cat.AllocateProducerID(within(s.t))
		if err != nil {
			s.t.Fatal(err)
		}
		s.producer = max(s.producer, id)
	default:
		s.restart()
	}
}

// restart kills the node and continues in the next incarnation, over a sealed tail.
func (s *script) restart() {
	s.kill()
	s.rig = start(s.t, s.dir, s.bucket)
}

// E1, E22: the disk is lost after a clean stop, or after a kill, in the middle of anything. All
// committed data at or above the true log start is back. Every record that came back was sent,
// under its offset. The log start lies between the snapshot's and the true one. No object id,
// incarnation, producer id or epoch is given twice.
func TestE1_E22_RestoreAfterLossOfTheDisk(t *testing.T) {
	seeds := 4
	if os.Getenv("SLUICE_LONG") != "" {
		seeds = 200
	}
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			var b bucket.Bucket = mem.New()
			if seed < 2 {
				b = fileBucket(t)
			}
			s := newScript(start(t, filepath.Join(t.TempDir(), "first"), b), uint64(seed))
			for range 30 {
				s.step()
			}
			s.lose(seed%2 == 0)
			for range 10 { // the restored cluster is as good as the first one
				s.step()
			}
			s.lose(seed%3 == 0)
		})
	}
}

// lose ends the node, removes its disk, restores and compares.
func (s *script) lose(clean bool) {
	t := s.t
	t.Helper()
	s.incarnation = s.engine.Incarnation()
	truth := s.raft.Freeze()
	if clean {
		s.end()
		truth = s.raft.Freeze() // what the last flush has committed
	} else {
		s.kill()
	}
	objectsBefore := newestObject(t, s.bucket)
	rmdir(t, s.dir)
	if _, err := openRig(t, filepath.Join(t.TempDir(), "fresh"), s.bucket); !errors.Is(err, ErrForeignPrefix) || !strings.Contains(err.Error(), "sluice restore") {
		t.Fatalf("an empty directory on a used prefix: %v, want a refusal that names sluice restore", err)
	}
	snapshot, found, err := metadata.ReadNewest(t.Context(), objects{s.bucket})
	if err != nil {
		t.Fatal(err)
	}
	floor := metadata.New()
	if found {
		if floor, err = snapshot.State(); err != nil {
			t.Fatal(err)
		}
	}
	dir, report := restore(t, s.bucket)
	if len(report.LeftOut)+len(report.Objects.Damaged)+len(report.Objects.Foreign) > 0 {
		t.Errorf("something was left out: %+v", report)
	}
	s.rig = start(t, dir, s.bucket)
	s.compare(truth, floor)
	s.idsAreNew(objectsBefore)
	s.epochsAreRaised(truth, floor)
}

func (s *script) compare(truth, floor *metadata.State) {
	t := s.t
	t.Helper()
	s.topics = s.topics[:0]
	for _, topic := range s.cat.Topics() {
		s.topics = append(s.topics, topic.Name)
	}
	for _, topic := range truth.Topics() {
		for _, was := range truth.Heads(topic.ID) {
			tp := was.Partition
			h, ok := s.cat.Head(tp)
			if !ok {
				if was.CommittedEnd > was.LogStart {
					t.Errorf("%s of %s had committed data and did not come back", tp, topic.Name)
				}
				delete(s.sent, tp)
				continue
			}
			low, _ := floor.Head(tp)
			if h.LogStart < low.LogStart || h.LogStart > was.LogStart {
				t.Errorf("%s: log start %d, not between the snapshot's %d and the true %d", tp, h.LogStart, low.LogStart, was.LogStart)
			}
			if h.CommittedEnd < was.CommittedEnd && was.CommittedEnd > was.LogStart {
				t.Errorf("%s: ends at %d, committed was up to %d", tp, h.CommittedEnd, was.CommittedEnd)
			}
			s.compareRecords(topic.Name, &h)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

// compareRecords reads what came back of a partition, and forgets what did not.
func (s *script) compareRecords(topic string, h *catalog.Head) {
	s.t.Helper()
	for i, rec := range s.consume(topic, h.Partition.Index, h.LogStart, h.CommittedEnd) {
		offset := h.LogStart + ident.Offset(i)
		if want := s.sent[h.Partition][offset]; string(rec.Value) != want {
			s.t.Errorf("%s-%d offset %d came back as %q, sent was %q", topic, h.Partition.Index, offset, rec.Value, want)
		}
	}
	for o := range s.sent[h.Partition] {
		if o >= h.CommittedEnd {
			delete(s.sent[h.Partition], o)
		}
	}
}

// idsAreNew requires every id that the restored cluster gives to be above all that were given
// before.
func (s *script) idsAreNew(newest ident.ObjectID) {
	t := s.t
	t.Helper()
	if inc := s.engine.Incarnation(); inc <= s.incarnation {
		t.Errorf("incarnation %s after a restore, %s before", inc, s.incarnation)
	}
	id, err := s.cat.AllocateProducerID(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if id <= s.producer {
		t.Errorf("producer id %d after a restore, %d before", id, s.producer)
	}
	s.producer = id
	for _, topic := range s.cat.Topics() {
		s.produce(topic.Name, 0, 1)
	}
	before := keys(t, s.bucket)
	s.flush()
	for _, key := range keys(t, s.bucket) {
		if p, err := object.ParseKey(key); err == nil && !slices.Contains(before, key) && p.Object <= newest {
			t.Errorf("object %s after a restore, %s before", p.Object, newest)
		}
	}
}

// epochsAreRaised requires every leader epoch to be above the true one before the restore, and far
// above what the restore could see of it.
func (s *script) epochsAreRaised(truth, floor *metadata.State) {
	s.t.Helper()
	for _, topic := range s.cat.Topics() {
		for i := range topic.Partitions {
			h := s.head(topic.Name, int32(i))
			was, _ := truth.Head(h.Partition)
			seen, _ := floor.Head(h.Partition)
			if h.Leader.Epoch <= was.Leader.Epoch || h.Leader.Epoch < seen.Leader.Epoch+metadata.RestoreEpochStep {
				s.t.Errorf("%s: epoch %d after a restore, %d before, %d in the snapshot", h.Partition, h.Leader.Epoch, was.Leader.Epoch, seen.Leader.Epoch)
			}
		}
	}
}

func newestObject(t testing.TB, b bucket.Bucket) (newest ident.ObjectID) {
	for _, key := range keys(t, b) {
		if p, err := object.ParseKey(key); err == nil {
			newest = max(newest, p.Object)
		}
	}
	return newest
}

// E1: a cluster that never stored a snapshot comes back from its bundles alone.
func TestE1_RestoreWithoutSnapshot(t *testing.T) {
	b := mem.New()
	s := newScript(start(t, filepath.Join(t.TempDir(), "first"), b), 7)
	s.produce("topic0", 0, 20)
	s.produce("topic0", 1, 5)
	s.flush()
	truth := s.raft.Freeze()
	s.kill()
	rmdir(t, s.dir)
	dir, report := restore(t, b)
	if report.Snapshot.Number != 0 || report.Link != 1 || report.Offsets != 25 || report.Generation != 1 {
		t.Errorf("report %+v", report)
	}
	s.rig = start(t, dir, b)
	s.compare(truth, metadata.New())
}

// E1: a restore needs an empty directory. The error says what is in it.
func TestE1_RestoreWantsAnEmptyDirectory(t *testing.T) {
	b, dir := mem.New(), t.TempDir()
	r := start(t, dir, b)
	r.end()
	before := len(keys(t, b))
	if _, err := tryRestore(t, dir, b); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("restore into the old directory: %v", err)
	}
	if _, err := tryRestore(t, t.TempDir(), mem.New()); !errors.Is(err, ErrNoCluster) {
		t.Errorf("restore from an empty bucket: %v", err)
	}
	if n := len(keys(t, b)); n != before {
		t.Errorf("a refused restore has changed the bucket: %d keys, %d before", n, before)
	}
}

// E12, E24: the log start has passed everything that was committed, so the state in the bucket ends
// below it. The partition opens after a restore nevertheless: what its producers did in between is
// below the log start.
func TestE12_RestoreBelowLogStart(t *testing.T) {
	b := mem.New()
	s := newScript(start(t, filepath.Join(t.TempDir(), "first"), b), 3)
	s.produce("topic0", 0, 10)
	s.flush()
	s.produce("topic0", 0, 10) // never flushed
	s.produce("topic0", 1, 20) // nothing of this one is ever flushed
	for partition := range int32(2) {
		h := s.head("topic0", partition)
		if err := s.cat.AdvanceLogStart(within(t), s.engine.Incarnation(), h.Partition, 20); err != nil {
			t.Fatal(err)
		}
	}
	s.snapshot()
	s.kill()
	dir, _ := restore(t, b)
	r := start(t, dir, b)
	for partition := range int32(2) {
		if at := r.produce("topic0", partition, "after"); at != 20 {
			t.Errorf("the next record of partition %d got offset %d, want 20", partition, at)
		}
		if got := r.consume("topic0", partition, 20, 21); string(got[0].Value) != "after" {
			t.Errorf("partition %d: offset 20 is %q", partition, got[0].Value)
		}
	}
}
