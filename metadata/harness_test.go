package metadata

import (
	"errors"
	"testing"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata/pb"
)

// fixture sends commands to a state as they travel: encoded and decoded.
type fixture struct {
	t     testing.TB
	s     *State
	index uint64
	now   int64
	inc   ident.Incarnation // the current incarnation, which is opened
	topic ident.TopicID
}

const (
	dirA = "directory-a"
	dirB = "directory-b"
)

// newFixture has a cluster, broker 1 with an opened incarnation, and topic "t" with two partitions.
func newFixture(t testing.TB) *fixture {
	f := &fixture{t: t, s: New(), now: 1_000_000, topic: ident.TopicID{15: 1}}
	f.ok(NewBootstrap("cluster", dirA))
	f.restart(0)
	f.ok(NewCreateTopic(TopicSpec{ID: f.topic, Name: "t", Partitions: 2, ReplicationFactor: 1}))
	return f
}

// apply applies a command at the next index and checks the state after it.
func (f *fixture) apply(cmd *pb.Command) Result {
	f.t.Helper()
	f.index++
	if cmd.TimeMs == 0 {
		cmd.TimeMs = f.now
	}
	b, err := EncodeCommand(cmd)
	if err != nil {
		f.t.Fatal(err)
	}
	decoded, err := DecodeCommand(b)
	if err != nil {
		f.t.Fatal(err)
	}
	res, err := f.s.Apply(f.index, decoded)
	if err = errors.Join(err, f.s.Check()); err != nil {
		f.t.Fatalf("after %s: %v", CommandName(cmd), err)
	}
	return res
}

func (f *fixture) ok(cmd *pb.Command) Result {
	f.t.Helper()
	res := f.apply(cmd)
	if res.Err != nil {
		f.t.Fatalf("%s: %v", CommandName(cmd), res.Err)
	}
	return res
}

func (f *fixture) refused(cmd *pb.Command, want error) {
	f.t.Helper()
	if res := f.apply(cmd); !errors.Is(res.Err, want) {
		f.t.Fatalf("%s: %v, want %v", CommandName(cmd), res.Err, want)
	}
}

// restart registers and opens the next incarnation. The previous one ended at end.
func (f *fixture) restart(end ident.Position) catalog.Registration {
	f.t.Helper()
	r := f.ok(NewRegisterIncarnation(1, dirA, f.inc, end)).Registration
	f.inc = r.Incarnation
	f.ok(NewOpenIncarnation(f.inc))
	return r
}

func (f *fixture) part(i int32) ident.TopicPartition {
	return ident.TopicPartition{Topic: f.topic, Index: i}
}

func (f *fixture) head(i int32) catalog.Head {
	f.t.Helper()
	h, ok := f.s.Head(f.part(i))
	if !ok {
		f.t.Fatalf("no head of partition %d", i)
	}
	return h
}

// reserve prepares one object id.
func (f *fixture) reserve() ident.ObjectID {
	f.t.Helper()
	return f.ok(NewReserveObjects(f.inc, 1, time.UnixMilli(f.now+60_000))).FirstObject
}

// rng is a range of partition i under its current leadership.
func (f *fixture) rng(i int32, object ident.ObjectID, start, end ident.Offset) catalog.CommitRange {
	f.t.Helper()
	l := f.head(i).Leader
	return catalog.CommitRange{Partition: f.part(i), Range: catalog.Range{
		Object: object, Start: start, End: end, Incarnation: l.Incarnation, Epoch: l.Epoch,
		Bytes: int64(end-start) * 10, MaxTimestamp: -1, Writer: f.inc, ObjectBytes: 1000,
	}}
}

// commit commits one bundle and returns the verdicts.
func (f *fixture) commit(object ident.ObjectID, ranges ...catalog.CommitRange) ([]catalog.Verdict, []catalog.Reason) {
	f.t.Helper()
	b, _ := f.s.Broker(1)
	res := f.ok(NewCommitFlush(catalog.Commit{
		Incarnation: f.inc, Number: b.LastCommit + 1,
		Bundles: []catalog.CommitBundle{{Object: object, Bytes: 1000, Ranges: ranges}},
	}))
	return res.Commit.Verdicts[0], res.Commit.Reasons[0]
}

// flush commits [start,end) of partition i in a new bundle and expects the given verdict.
func (f *fixture) flush(i int32, start, end ident.Offset, want catalog.Verdict) ident.ObjectID {
	f.t.Helper()
	id := f.reserve()
	v, r := f.commit(id, f.rng(i, id, start, end))
	if v[0] != want {
		f.t.Fatalf("flush [%d,%d) of partition %d: verdict %d (%s), want %d", start, end, i, v[0], r[0], want)
	}
	return id
}

func (f *fixture) advance(i int32, start ident.Offset) Result {
	f.t.Helper()
	return f.ok(NewAdvanceLogStart(f.inc, f.part(i), start))
}

// wantObject checks an object's state and references.
func (f *fixture) wantObject(id ident.ObjectID, state pb.ObjectState, count int64) {
	f.t.Helper()
	if o := f.s.objects[id]; o.state != state || o.count != count {
		f.t.Fatalf("object %s is %s with %d references, want %s with %d", id, o.state, o.count, state, count)
	}
}

func (f *fixture) wantEnds(i int32, logStart, committedEnd ident.Offset) {
	f.t.Helper()
	if h := f.head(i); h.LogStart != logStart || h.CommittedEnd != committedEnd {
		f.t.Fatalf("partition %d is [%d,%d), want [%d,%d)", i, h.LogStart, h.CommittedEnd, logStart, committedEnd)
	}
}

// stored tells the quorum that a snapshot of the current state is stored.
func (f *fixture) stored() {
	f.t.Helper()
	f.ok(NewSnapshotStored(StoredSnapshot{Number: f.s.stored.Number + 1, Index: f.s.index, CRC: uint32(f.index), Generation: f.s.generation}))
}

func hashOf(t interface {
	Helper()
	Fatal(...any)
}, s *State) [32]byte {
	t.Helper()
	h, err := s.Hash()
	if err != nil {
		t.Fatal(err)
	}
	return h
}
