package metadata

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata/pb"
)

// E7: a writer pauses until its object has expired, resumes, and commits a fresh id in whose ranges
// the expired one is named.
func TestE7_CommitNeedsPrepared(t *testing.T) {
	f := newFixture(t)
	late, fresh := f.reserve(), f.reserve()
	f.now += 61_000
	f.ok(NewExpireObjects())
	f.wantObject(late, pb.ObjectState_UNREFERENCED, 0)
	v, r := f.commit(late, f.rng(0, late, 0, 10))
	if v[0] != catalog.Refused || r[0] != catalog.ReasonNotPrepared {
		t.Fatalf("expired bundle: verdict %d, %s", v[0], r[0])
	}
	f.wantEnds(0, 0, 0)
	_ = fresh
	a := f.flush(0, 0, 10, catalog.Committed)
	root, leaf := f.reserve(), f.reserve()
	f.now += 61_000
	f.ok(NewExpireObjects()) // expires both
	swap := f.swap(0, root, f.head(0).Ranges, leaf)
	f.refused(NewSwapManifest(swap), catalog.ErrNotPrepared)
	root = f.reserve()
	// The root is prepared, its leaf is not.
	f.refused(NewSwapManifest(f.swap(0, root, f.head(0).Ranges, leaf)), catalog.ErrNotPrepared)
	f.wantObject(root, pb.ObjectState_PREPARED, 0)
	f.wantObject(a, pb.ObjectState_LIVE, 1)
	other := f.ok(NewReserveObjects(f.inc, 1, time.UnixMilli(f.now+60_000))).FirstObject
	f.restart(100)
	if v, r := f.commit(other, f.rng(0, other, 10, 20)); v[0] != catalog.Refused || r[0] != catalog.ReasonNotPrepared {
		t.Fatalf("object prepared for an earlier incarnation: verdict %d, %s", v[0], r[0])
	}
}

// swap makes a manifest that absorbs ranges, with a root and leaves.
func (f *fixture) swap(i int32, root ident.ObjectID, absorbed []catalog.Range, leaves ...ident.ObjectID) catalog.ManifestSwap {
	h := f.head(i)
	m := catalog.Manifest{Version: h.Manifest.Version + 1, Object: root, Bytes: 100, Start: h.LogStart, End: h.Manifest.End, Writer: f.inc}
	if len(absorbed) > 0 {
		m.End = absorbed[len(absorbed)-1].End
	}
	s := catalog.ManifestSwap{
		Partition: f.part(i), Incarnation: f.inc, OldVersion: h.Manifest.Version, New: m, Absorbed: absorbed,
		NewObjects: append([]ident.ObjectID{root}, leaves...),
	}
	if h.Manifest.Object != 0 {
		s.Dropped = []ident.ObjectID{h.Manifest.Object}
	}
	return s
}

// E12: one of many partitions is deleted between plan and commit.
func TestE12_RangesAreJudgedOneByOne(t *testing.T) {
	f := newFixture(t)
	gone := ident.TopicID{15: 2}
	f.ok(NewCreateTopic(TopicSpec{ID: gone, Name: "gone", Partitions: 1}))
	id := f.reserve()
	dead := f.rng(0, id, 0, 10)
	dead.Partition = ident.TopicPartition{Topic: gone}
	stale := f.rng(1, id, 5, 9) // does not start at the committed end
	f.ok(NewDeleteTopic(gone))
	v, r := f.commit(id, dead, f.rng(0, id, 0, 10), stale)
	if !slices.Equal(v, []catalog.Verdict{catalog.Void, catalog.Committed, catalog.Refused}) || r[2] != catalog.ReasonNotNext {
		t.Fatalf("verdicts %v, reasons %v", v, r)
	}
	f.wantObject(id, pb.ObjectState_LIVE, 1)
	// The log start passes the committed end, which follows. A range below it is void.
	f.advance(0, 50)
	f.wantEnds(0, 50, 50)
	f.wantObject(id, pb.ObjectState_UNREFERENCED, 0)
	void := f.flush(0, 10, 50, catalog.Void)
	f.wantObject(void, pb.ObjectState_UNREFERENCED, 0)
	f.flush(0, 50, 60, catalog.Committed)
	if res := f.advance(0, 20); !res.Repeated {
		t.Fatal("log start went back")
	}
	f.wantEnds(0, 50, 60)
}

// E13, as far as the quorum is concerned: a second restart with the bucket away makes two sealed
// tails, and both are committed first, in order.
func TestE13_TwoSealedTails(t *testing.T) {
	f := newFixture(t)
	first := f.head(0).Leader
	f.restart(100)
	second := f.head(0).Leader
	r := f.restart(200)
	if want := []catalog.Tail{{Incarnation: first.Incarnation, End: 100}, {Incarnation: second.Incarnation, End: 200}}; !slices.Equal(r.Tails, want) {
		t.Fatalf("tails %v, want %v", r.Tails, want)
	}
	if want := []catalog.Leadership{first, second}; !slices.Equal(f.head(0).Past, want) {
		t.Fatalf("past %v, want %v", f.head(0).Past, want)
	}
	for i, l := range []catalog.Leadership{first, second} {
		id := f.reserve()
		c := f.rng(0, id, ident.Offset(i*10), ident.Offset(i*10+10))
		c.Range.Incarnation, c.Range.Epoch, c.WALEnd = l.Incarnation, l.Epoch, 90
		if v, why := f.commit(id, c); v[0] != catalog.Committed {
			t.Fatalf("tail %d: verdict %d, %s", i, v[0], why[0])
		}
	}
	f.flush(0, 20, 30, catalog.Committed)
	f.ok(NewRetireTail(f.inc, first.Incarnation))
	f.ok(NewRetireTail(f.inc, second.Incarnation))
	f.ok(NewRetireTail(f.inc, second.Incarnation)) // again
	b, _ := f.s.Broker(1)
	if len(b.Tails) != 0 || len(f.head(0).Past) != 0 || len(f.head(1).Past) != 0 {
		t.Fatalf("tails %v, past %v %v", b.Tails, f.head(0).Past, f.head(1).Past)
	}
}

// E17: a head is full, a bundle's part is too large, a command is too large.
func TestE17_Caps(t *testing.T) {
	f := newFixture(t)
	for i := range catalog.RangesPerHeadMax {
		f.flush(0, ident.Offset(i), ident.Offset(i+1), catalog.Committed)
	}
	id := f.reserve()
	v, r := f.commit(id, f.rng(0, id, catalog.RangesPerHeadMax, catalog.RangesPerHeadMax+1), f.rng(1, id, 0, 1))
	if v[0] != catalog.Refused || r[0] != catalog.ReasonHeadFull || v[1] != catalog.Committed {
		t.Fatalf("full head: verdicts %v, reasons %v", v, r)
	}
	root := f.reserve()
	f.ok(NewSwapManifest(f.swap(0, root, f.head(0).Ranges[:31])))
	f.flush(0, catalog.RangesPerHeadMax, catalog.RangesPerHeadMax+1, catalog.Committed)

	bundle := catalog.CommitBundle{Object: 1}
	for size := 0; size <= catalog.CommitPartBytesMax; {
		c := f.rng(0, 1, 0, 1)
		size += CommitRangeBytes(c)
		bundle.Ranges = append(bundle.Ranges, c)
	}
	if n := CommitPartBytes(bundle); n <= catalog.CommitPartBytesMax || n > catalog.CommitPartBytesMax+400 {
		t.Fatalf("part of %d bytes: CommitRangeBytes does not add up to it", n)
	}
	_, err := EncodeCommand(NewCommitFlush(catalog.Commit{Incarnation: f.inc, Number: 1, Bundles: []catalog.CommitBundle{bundle}}))
	if !errors.Is(err, ErrTooLarge) {
		t.Fatalf("bundle with a part over its cap: %v", err)
	}
	bundle.Ranges = bundle.Ranges[:len(bundle.Ranges)-10]
	if _, err = EncodeCommand(NewCommitFlush(catalog.Commit{Bundles: []catalog.CommitBundle{bundle}})); err != nil {
		t.Fatalf("bundle with a part under its cap: %v", err)
	}
	_, err = EncodeCommand(NewCommitFlush(catalog.Commit{Bundles: []catalog.CommitBundle{bundle, bundle, bundle}}))
	if !errors.Is(err, ErrTooLarge) {
		t.Fatalf("command over its cap: %v", err)
	}
}

// E21: after a restart the ranges of the sealed tail are neither current nor of the leader.
func TestE21_I6_SealedTailIsCommittedByItsHolder(t *testing.T) {
	f := newFixture(t)
	old := f.head(0).Leader
	zombie := f.inc
	id0 := f.reserve()
	f.restart(100)
	if h := f.head(0); h.Leader.Epoch != old.Epoch+1 || h.Leader.Incarnation != f.inc {
		t.Fatalf("leader %+v after %+v", h.Leader, old)
	}
	// I4
	f.refused(NewCommitFlush(catalog.Commit{Incarnation: zombie, Number: 1, Bundles: []catalog.CommitBundle{{Object: id0}}}), catalog.ErrFenced)
	try := func(inc ident.Incarnation, epoch ident.Epoch, walEnd ident.Position, want catalog.Reason) {
		t.Helper()
		id := f.reserve()
		start := f.head(0).CommittedEnd
		c := f.rng(0, id, start, start+10)
		c.Range.Incarnation, c.Range.Epoch, c.WALEnd = inc, epoch, walEnd
		if _, r := f.commit(id, c); r[0] != want {
			t.Fatalf("(%s, %d) up to %d: %s, want %s", inc, epoch, walEnd, r[0], want)
		}
	}
	// The new epoch in the old incarnation.
	try(old.Incarnation, old.Epoch+1, 100, catalog.ReasonFenced)
	try(f.inc, old.Epoch, 100, catalog.ReasonFenced)               // and the other way round
	try(old.Incarnation, old.Epoch, 101, catalog.ReasonBeyondTail) // I6
	try(old.Incarnation, old.Epoch, 100, catalog.NotRefused)
	try(old.Incarnation, old.Epoch, 100, catalog.NotRefused)
	f.ok(NewRetireTail(f.inc, old.Incarnation))
	try(old.Incarnation, old.Epoch, 100, catalog.ReasonFenced)
	f.refused(NewRegisterIncarnation(1, dirA, old.Incarnation, 5), catalog.ErrConflict)
	// Another disk uses the same node id.
	f.refused(NewRegisterIncarnation(1, dirB, f.inc, 5), catalog.ErrFenced)
}

// Nobody commits the partition of another broker, even with its (incarnation, epoch).
func TestI4_OnlyTheLeaderCommits(t *testing.T) {
	f := newFixture(t)
	other := f.ok(NewRegisterIncarnation(2, dirB, 0, 0)).Registration.Incarnation
	f.ok(NewOpenIncarnation(other))
	id := f.ok(NewReserveObjects(other, 1, time.UnixMilli(f.now+1000))).FirstObject
	c := f.rng(0, id, 0, 10)
	c.Range.Writer = other
	res := f.ok(NewCommitFlush(catalog.Commit{Incarnation: other, Number: 1, Bundles: []catalog.CommitBundle{{Object: id, Ranges: []catalog.CommitRange{c}}}}))
	if res.Commit.Reasons[0][0] != catalog.ReasonFenced {
		t.Fatalf("reason %s", res.Commit.Reasons[0][0])
	}
	f.refused(NewAdvanceLogStart(other, f.part(0), 5), catalog.ErrFenced)
}

// E22: an object that was committed after the stored snapshot expires. To delete it before another
// snapshot is stored would leave a hole for a restore.
func TestE22_I10_DeletionWaitsForAStoredSnapshot(t *testing.T) {
	f := newFixture(t)
	f.stored()
	id := f.flush(0, 0, 10, catalog.Committed)
	f.advance(0, 10)
	at := time.UnixMilli(f.now)
	if dead := f.s.Deletable(at.Add(time.Hour), time.Minute, 10); len(dead) != 0 {
		t.Fatalf("deletable without a snapshot: %v", dead)
	}
	f.refused(NewConfirmDeleted([]ident.ObjectID{id}), catalog.ErrConflict) // I10
	f.stored()
	if dead := f.s.Deletable(at.Add(59*time.Second), time.Minute, 10); len(dead) != 0 {
		t.Fatalf("deletable before the delay: %v", dead)
	}
	dead := f.s.Deletable(at.Add(time.Minute), time.Minute, 10)
	if len(dead) != 1 || dead[0] != (DeadObject{ID: id, Writer: f.inc, Kind: objectKindBundle, Bytes: 1000}) {
		t.Fatalf("deletable %+v", dead)
	}
	f.ok(NewConfirmDeleted([]ident.ObjectID{id}))
	f.ok(NewConfirmDeleted([]ident.ObjectID{id})) // again
	if len(f.s.Deletable(at.Add(time.Hour), 0, 10)) != 0 {
		t.Fatal("still deletable after confirmation")
	}
	n := f.s.Stored()
	// The chain is dense.
	f.refused(NewSnapshotStored(StoredSnapshot{Number: n.Number + 2, Index: f.s.Index()}), catalog.ErrConflict)
	f.refused(NewSnapshotStored(StoredSnapshot{Number: n.Number + 1, Index: f.s.Index() + 10}), catalog.ErrConflict)
	f.ok(NewSnapshotStored(n)) // again
}

// E23: DeleteRecords to 120 while [100,150) is in flight.
func TestE23_I8_LogStartInsideARangeInFlight(t *testing.T) {
	f := newFixture(t)
	f.flush(0, 0, 100, catalog.Committed)
	id := f.reserve()
	inFlight := f.rng(0, id, 100, 150)
	f.advance(0, 120)
	f.wantEnds(0, 120, 120)
	if v, r := f.commit(id, inFlight); v[0] != catalog.Committed {
		t.Fatalf("verdict %d, %s", v[0], r[0])
	}
	f.wantEnds(0, 120, 150)
	if got := f.head(0).Ranges; len(got) != 1 || got[0].Start != 120 || got[0].End != 150 {
		t.Fatalf("ranges %+v", got)
	}
	// Now the end is that of a commit, so the rule does not apply twice.
	f.flush(0, 110, 150, catalog.Refused)
	f.flush(0, 149, 160, catalog.Refused)
	f.flush(0, 151, 160, catalog.Refused)
	f.flush(0, 150, 160, catalog.Committed)
}

// E27: a crash between RegisterIncarnation and OpenIncarnation.
func TestE27_UnopenedIncarnation(t *testing.T) {
	f := newFixture(t)
	f.flush(0, 0, 10, catalog.Committed)
	opened := f.head(0).Leader
	r1 := f.ok(NewRegisterIncarnation(1, dirA, f.inc, 77)).Registration
	for _, cmd := range []*pb.Command{
		NewReserveObjects(r1.Incarnation, 1, time.UnixMilli(f.now)),
		NewCommitFlush(catalog.Commit{Incarnation: r1.Incarnation, Number: 1, Bundles: []catalog.CommitBundle{{}}}),
		NewAdvanceLogStart(r1.Incarnation, f.part(0), 5),
		NewRetireTail(r1.Incarnation, opened.Incarnation),
	} {
		f.refused(cmd, catalog.ErrFenced)
	}
	r2 := f.ok(NewRegisterIncarnation(1, dirA, r1.Incarnation, 0)).Registration
	if want := []catalog.Tail{{Incarnation: opened.Incarnation, End: 77}}; !slices.Equal(r2.Tails, want) {
		t.Fatalf("tails %v, want %v: an unopened incarnation leaves none", r2.Tails, want)
	}
	if past := f.head(0).Past; !slices.Equal(past, []catalog.Leadership{opened}) {
		t.Fatalf("past %v, want %v", past, opened)
	}
	f.refused(NewOpenIncarnation(r1.Incarnation), catalog.ErrFenced)
	f.ok(NewOpenIncarnation(r2.Incarnation))
	f.ok(NewOpenIncarnation(r2.Incarnation)) // again
}

// E28: a commit is repeated after its answer was lost (docs/lessons.md).
func TestE28_RepeatedCommitAnswersAsTheFirst(t *testing.T) {
	f := newFixture(t)
	id := f.reserve()
	c := catalog.Commit{Incarnation: f.inc, Number: 1, Bundles: []catalog.CommitBundle{
		{Object: id, Bytes: 9, Ranges: []catalog.CommitRange{f.rng(0, id, 0, 10), f.rng(1, id, 3, 4)}},
	}}
	first := f.ok(NewCommitFlush(c))
	before := f.head(0)
	again := f.ok(NewCommitFlush(c))
	if !again.Repeated || !slices.Equal(first.Commit.Verdicts[0], again.Commit.Verdicts[0]) || !slices.Equal(first.Commit.Reasons[0], again.Commit.Reasons[0]) {
		t.Fatalf("answered %+v, first %+v", again.Commit, first.Commit)
	}
	if h := f.head(0); h.CommittedEnd != before.CommittedEnd || len(h.Ranges) != 1 {
		t.Fatalf("applied twice: %+v", h)
	}
	f.wantObject(id, pb.ObjectState_LIVE, 1)
	other := c
	other.Bundles = []catalog.CommitBundle{{Object: f.reserve(), Ranges: c.Bundles[0].Ranges}}
	f.refused(NewCommitFlush(other), catalog.ErrConflict) // another commit has this number
	other.Number = 3
	f.refused(NewCommitFlush(other), catalog.ErrConflict) // one commit may be in flight
	other.Number = 0
	f.refused(NewCommitFlush(other), catalog.ErrConflict)
	// The answer survives a snapshot.
	s, err := DecodeSnapshot(encode(t, f.s))
	if err != nil {
		t.Fatal(err)
	}
	f.s = s
	if res := f.ok(NewCommitFlush(c)); !res.Repeated || !slices.Equal(first.Commit.Verdicts[0], res.Commit.Verdicts[0]) {
		t.Fatalf("after a snapshot: %+v", res.Commit)
	}
}

func encode(t testing.TB, s *State) []byte {
	t.Helper()
	b, err := s.EncodeSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// E30: log start and releases are repeated; a topic with a manifest is deleted.
func TestE30_NothingIsCountedDownTwice(t *testing.T) {
	f := newFixture(t)
	id := f.reserve()
	f.commit(id, f.rng(0, id, 0, 10), f.rng(1, id, 0, 10))
	f.wantObject(id, pb.ObjectState_LIVE, 2)
	f.advance(0, 10)
	if res := f.advance(0, 10); !res.Repeated {
		t.Fatal("not told as a repetition")
	}
	f.wantObject(id, pb.ObjectState_LIVE, 1)

	root := f.reserve()
	swap := f.swap(1, root, f.head(1).Ranges)
	f.ok(NewSwapManifest(swap))
	f.ok(NewSwapManifest(swap)) // again
	f.wantObject(id, pb.ObjectState_LIVE, 1)
	f.wantObject(root, pb.ObjectState_LIVE, 1)
	f.advance(1, 10)
	f.wantObject(id, pb.ObjectState_LIVE, 1) // the manifest still names the object
	release := catalog.RangeRelease{
		Partition: f.part(1), Incarnation: f.inc, OldVersion: 1, New: catalog.Manifest{Version: 2},
		Released: []ident.ObjectID{id}, Dropped: []ident.ObjectID{root},
	}
	stale := release
	stale.OldVersion, stale.New.Version = 7, 8
	f.refused(NewReleaseRanges(stale), catalog.ErrConflict)
	f.ok(NewReleaseRanges(release))
	f.wantObject(id, pb.ObjectState_UNREFERENCED, 0)
	f.wantObject(root, pb.ObjectState_UNREFERENCED, 0)
	f.ok(NewReleaseRanges(release)) // again
	if m := f.head(1).Manifest; m != (catalog.Manifest{Version: 2}) {
		t.Fatalf("manifest %+v", m)
	}
}

func TestE30_ReleaseNeverPassesLogStart(t *testing.T) {
	f := newFixture(t)
	id := f.flush(0, 0, 10, catalog.Committed)
	root := f.reserve()
	f.ok(NewSwapManifest(f.swap(0, root, f.head(0).Ranges)))
	f.advance(0, 9)
	f.refused(NewReleaseRanges(catalog.RangeRelease{
		Partition: f.part(0), Incarnation: f.inc, OldVersion: 1, New: catalog.Manifest{Version: 2},
		Released: []ident.ObjectID{id}, Dropped: []ident.ObjectID{root},
	}), catalog.ErrConflict)
	f.wantObject(id, pb.ObjectState_LIVE, 1)
}

func TestE30_DeletedTopicKeepsItsManifestUntilReleased(t *testing.T) {
	f := newFixture(t)
	a := f.flush(0, 0, 10, catalog.Committed)
	root := f.reserve()
	f.ok(NewSwapManifest(f.swap(0, root, f.head(0).Ranges)))
	b := f.flush(0, 10, 20, catalog.Committed)
	f.ok(NewDeleteTopic(f.topic))
	f.wantObject(b, pb.ObjectState_UNREFERENCED, 0)
	f.wantObject(a, pb.ObjectState_LIVE, 1)
	f.wantObject(root, pb.ObjectState_LIVE, 1)
	released := f.s.Released(10)
	if len(released) != 1 || released[0].Partition != f.part(0) || released[0].Manifest.Object != root {
		t.Fatalf("released %+v", released)
	}
	// The name is free at once, under a later creation number.
	again := f.ok(NewCreateTopic(TopicSpec{ID: ident.TopicID{15: 9}, Name: "t", Partitions: 1})).Topic
	if again.Creation != 2 {
		t.Fatalf("creation %d, want 2", again.Creation)
	}
	release := catalog.RangeRelease{
		Partition: f.part(0), Incarnation: f.inc, OldVersion: 1, New: catalog.Manifest{Version: 2},
		Released: []ident.ObjectID{a}, Dropped: []ident.ObjectID{root},
	}
	f.ok(NewReleaseRanges(release))
	f.ok(NewReleaseRanges(release)) // again
	if left := f.s.Released(10); len(left) != 0 {
		t.Fatalf("still there: %+v", left)
	}
	f.wantObject(a, pb.ObjectState_UNREFERENCED, 0)
	f.wantObject(root, pb.ObjectState_UNREFERENCED, 0)
}

// E11: state pointers count as references and outlive the ranges, and a base must be live.
func TestE11_StateOutlivesRanges(t *testing.T) {
	f := newFixture(t)
	base := f.reserve()
	c := f.rng(0, base, 0, 10)
	c.State = catalog.StateRef{Object: base, End: 10, Writer: f.inc}
	f.commit(base, c)
	f.wantObject(base, pb.ObjectState_LIVE, 2)
	delta := f.reserve()
	c = f.rng(0, delta, 10, 20)
	c.State, c.Base = catalog.StateRef{Object: delta, End: 20, Writer: f.inc}, f.head(0).State
	f.commit(delta, c)
	f.advance(0, 20)
	f.wantObject(base, pb.ObjectState_LIVE, 1)
	f.wantObject(delta, pb.ObjectState_LIVE, 1)
	// A section that holds only state is at the committed end and drops both references.
	only := f.reserve()
	c = f.rng(0, only, 20, 20)
	c.State = catalog.StateRef{Object: only, End: 20, Writer: f.inc}
	if v, r := f.commit(only, c); v[0] != catalog.Committed {
		t.Fatalf("state only: %s", r[0])
	}
	f.wantObject(base, pb.ObjectState_UNREFERENCED, 0)
	f.wantObject(delta, pb.ObjectState_UNREFERENCED, 0)
	f.wantObject(only, pb.ObjectState_LIVE, 1)
	bad := f.reserve()
	c = f.rng(0, bad, 20, 30)
	c.State, c.Base = catalog.StateRef{Object: bad, End: 30}, catalog.StateRef{Object: base, End: 10}
	if _, r := f.commit(bad, c); r[0] != catalog.ReasonState {
		t.Fatalf("a delta on garbage: %s", r[0])
	}
	f.wantObject(only, pb.ObjectState_LIVE, 1)
}

// A CreateTopic whose answer was lost is repeated. The answer is not that the topic exists.
func TestRepeatedAdministrativeCommand(t *testing.T) {
	f := newFixture(t)
	create := NewCreateTopic(TopicSpec{ID: ident.TopicID{15: 3}, Name: "u", Partitions: 3})
	create.RequestId = []byte("0123456789abcdef")
	first := f.ok(create)
	again := f.ok(create)
	if !again.Repeated || again.Topic != first.Topic || len(again.Changes) != 0 {
		t.Fatalf("answered %+v", again)
	}
	f.refused(NewCreateTopic(TopicSpec{ID: ident.TopicID{15: 4}, Name: "u", Partitions: 3}), catalog.ErrTopicExists)
	exists := NewCreateTopic(TopicSpec{ID: ident.TopicID{15: 5}, Name: "t", Partitions: 3})
	exists.RequestId = []byte("fedcba9876543210")
	f.refused(exists, catalog.ErrTopicExists)
	f.ok(NewDeleteTopic(f.topic))
	f.refused(exists, catalog.ErrTopicExists) // as the first time
	register := NewRegisterIncarnation(1, dirA, f.inc, 5)
	register.RequestId = []byte("register-register")
	r1 := f.ok(register).Registration
	r2 := f.ok(register).Registration
	if r1.Incarnation != r2.Incarnation || !slices.Equal(r1.Tails, r2.Tails) {
		t.Fatalf("registered %+v, then %+v", r1, r2)
	}
	for i := range answersMax + 10 {
		cmd := NewSetConfigs(ident.TopicID{15: 3}, nil, nil)
		cmd.RequestId = []byte{byte(i), byte(i >> 8)}
		f.apply(cmd)
	}
	if n := len(f.s.answers); n != answersMax {
		t.Fatalf("%d answers are kept, want %d", n, answersMax)
	}
}

func TestTopicsPartitionsConfigs(t *testing.T) {
	f := newFixture(t)
	f.refused(NewCreateTopic(TopicSpec{ID: ident.TopicID{15: 3}, Name: "u"}), catalog.ErrInvalidPartitions)
	f.refused(NewCreateTopic(TopicSpec{ID: f.topic, Name: "u", Partitions: 1}), ErrInvalidCommand)
	f.refused(NewCreatePartitions(f.topic, 2), catalog.ErrInvalidPartitions)
	f.refused(NewDeleteTopic(ident.TopicID{15: 99}), catalog.ErrTopicNotFound)
	before, _ := f.s.TopicByName("t")
	grown := f.ok(NewCreatePartitions(f.topic, 5))
	if len(grown.Topic.Partitions) != 5 || len(before.Partitions) != 2 {
		t.Fatalf("grown to %d, the old value has %d", len(grown.Topic.Partitions), len(before.Partitions))
	}
	if c := grown.Changes; len(c) != 1 || c[0].Kind != PartitionsAdded || c[0].Partition != f.part(2) {
		t.Fatalf("changes %+v", c)
	}
	set := f.ok(NewSetConfigs(f.topic, nil, map[string]string{"retention.ms": "5"}))
	if set.Topic.Configs["retention.ms"] != "5" || len(before.Configs) != 0 {
		t.Fatalf("configs %v, before %v", set.Topic.Configs, before.Configs)
	}
	if now, _ := f.s.Topic(f.topic); now != set.Topic || f.s.Topics()[0] != now {
		t.Fatal("the lists do not show the same topic")
	}
	for _, name := range []string{"b", "a", "z", "c"} {
		f.ok(NewCreateTopic(TopicSpec{ID: ident.TopicID{0: name[0]}, Name: name, Partitions: 1}))
	}
	f.ok(NewDeleteTopic(ident.TopicID{0: 'b'}))
	var names []string
	for _, info := range f.s.Topics() {
		names = append(names, info.Name)
	}
	if !slices.Equal(names, []string{"a", "c", "t", "z"}) {
		t.Fatalf("names %v", names)
	}
}

func TestI3_IdsAreNeverGivenTwice(t *testing.T) {
	f := newFixture(t)
	a, b := f.ok(NewAllocateProducerIds()).Producers, f.ok(NewAllocateProducerIds()).Producers
	if a.Count != 1000 || b.First != a.First+1000 {
		t.Fatalf("blocks %+v, %+v", a, b)
	}
	o := f.ok(NewReserveObjects(f.inc, 10, time.UnixMilli(f.now))).FirstObject
	if n := f.reserve(); n != o+10 {
		t.Fatalf("object %s after %s", n, o)
	}
}

func TestFSMTimeNeverGoesBack(t *testing.T) {
	f := newFixture(t)
	f.now += 5000
	f.ok(NewExpireObjects())
	at := f.s.Now()
	f.now -= 3000
	f.ok(NewExpireObjects())
	if !f.s.Now().Equal(at) {
		t.Fatalf("time went from %v to %v", at, f.s.Now())
	}
}

func TestUnknownCommandStops(t *testing.T) {
	b, err := EncodeCommand(NewExpireObjects())
	if err != nil {
		t.Fatal(err)
	}
	newer := slices.Clone(b)
	newer[4] = commandVersion + 1
	setCRC(newer)
	if _, err := DecodeCommand(newer); !errors.Is(err, ErrUnknownCommand) {
		t.Fatalf("newer version: %v", err)
	}
	kind := slices.Concat(b[:frameBytes], []byte{0xfa, 0x07, 0x00}) // field 127, empty
	kind[8] = 3
	setCRC(kind)
	if _, err := DecodeCommand(kind); !errors.Is(err, ErrUnknownCommand) {
		t.Fatalf("unknown kind: %v", err)
	}
	for i := range b {
		for bit := range 8 {
			bad := bytes.Clone(b)
			bad[i] ^= 1 << bit
			if _, err := DecodeCommand(bad); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("bit %d of byte %d flipped: %v", bit, i, err)
			}
		}
	}
	s := New()
	if _, err := s.Apply(1, &pb.Command{}); !errors.Is(err, ErrUnknownCommand) {
		t.Fatalf("applied nothing: %v", err)
	}
	f := newFixture(t)
	if _, err := f.s.Apply(f.index, NewExpireObjects()); err == nil {
		t.Fatal("an index was applied twice")
	}
}

func setCRC(frame []byte) {
	c := frameCRC(frame)
	for i := range 4 {
		frame[12+i] = byte(c >> (8 * i))
	}
}

// What Topics and Freeze have handed out does not change, though the list is edited in place until
// then.
func TestHandedOutTopicsStay(t *testing.T) {
	f := newFixture(t)
	names := func(topics []*catalog.Topic) (all string) {
		for _, topic := range topics {
			all += fmt.Sprint(topic.Name, topic.Configs, len(topic.Partitions), " ")
		}
		return all
	}
	create := func(n byte, name string) {
		f.ok(NewCreateTopic(TopicSpec{ID: ident.TopicID{9, n}, Name: name, Partitions: 1}))
	}
	change := func(n byte) { // one change of each kind, before and after what exists
		create(n, fmt.Sprint("a", n))
		create(n+1, fmt.Sprint("z", n))
		now, _ := f.s.Topic(ident.TopicID{9, 2})
		f.ok(NewSetConfigs(now.ID, now.Configs, map[string]string{"retention.ms": fmt.Sprint(n)}))
		f.ok(NewCreatePartitions(ident.TopicID{9, 3}, int32(n)))
		f.ok(NewDeleteTopic(ident.TopicID{9, n}))
	}
	for n, name := range []string{"b", "c", "d", "e"} {
		create(byte(n+1), name)
	}
	topics := f.s.Topics()
	before := names(topics)
	change(10)
	if got := names(topics); got != before {
		t.Errorf("the list that was handed out changed from %s to %s", before, got)
	}
	before = names(f.s.byName.topics)
	frozen := f.s.Freeze()
	change(20)
	if got := names(frozen.byName.topics); got != before {
		t.Errorf("the frozen list changed from %s to %s", before, got)
	}
	if got := names(f.s.Topics()); got == before {
		t.Errorf("nothing changed: %s", got)
	}
}

// Of two changes to the same configuration, the second is refused. That holds also if its answer
// was lost and it is sent again.
func TestConfigsAreComparedAndSet(t *testing.T) {
	f := newFixture(t)
	set := func(previous, configs map[string]string) map[string]func() *pb.Command {
		return map[string]func() *pb.Command{
			"topic":       func() *pb.Command { return NewSetConfigs(f.topic, previous, configs) },
			"broker":      func() *pb.Command { return NewSetBrokerConfigs(7, previous, configs) },
			"all brokers": func() *pb.Command { return NewSetBrokerConfigs(catalog.AllBrokers, previous, configs) },
		}
	}
	one, two, both := map[string]string{"a": "1"}, map[string]string{"b": "2"}, map[string]string{"a": "1", "b": "2"}
	for name, command := range set(nil, one) {
		res := f.ok(command())
		if len(res.Changes) != 1 {
			t.Errorf("%s: changes %+v", name, res.Changes)
		}
		if res := f.ok(command()); len(res.Changes) != 0 {
			t.Errorf("%s: the same again changes %+v", name, res.Changes)
		}
	}
	for _, command := range set(nil, two) {
		cmd := command()
		cmd.RequestId = []byte(CommandName(cmd) + cmd.String())
		f.refused(cmd, catalog.ErrConflict)
		if res := f.apply(cmd); !res.Repeated || !errors.Is(res.Err, catalog.ErrConflict) {
			t.Errorf("sent again it is answered %+v", res)
		}
	}
	for _, command := range set(one, both) {
		f.ok(command())
	}
	info, _ := f.s.Topic(f.topic)
	for name, got := range map[string]map[string]string{"topic": info.Configs, "broker": f.s.BrokerConfigs(7), "all brokers": f.s.BrokerConfigs(catalog.AllBrokers)} {
		if !maps.Equal(got, both) {
			t.Errorf("%s: %v is set, want %v", name, got, both)
		}
	}
	if got := f.s.BrokerConfigs(8); len(got) != 0 {
		t.Errorf("another broker has %v", got)
	}
	f.refused(NewSetBrokerConfigs(-2, nil, one), ErrInvalidCommand)
	frozen, before := f.s.Freeze(), f.s.BrokerConfigs(7)
	f.ok(NewSetBrokerConfigs(7, both, nil))
	if len(f.s.BrokerConfigs(7)) != 0 || len(frozen.BrokerConfigs(7)) != 2 || len(before) != 2 {
		t.Errorf("taken away: %v is set, the frozen state has %v, who looked before %v", f.s.BrokerConfigs(7), frozen.BrokerConfigs(7), before)
	}
}

// A command that a build of version 1 wrote applies as it did then, without a comparison. A command
// that such a build can read still has version 1.
func TestVersion1StaysReadable(t *testing.T) {
	f := newFixture(t)
	old := &pb.Command{Kind: &pb.Command_SetConfigs{SetConfigs: &pb.SetConfigs{Topic: f.topic[:], Configs: configsTo(map[string]string{"a": "1"})}}}
	f.ok(NewSetConfigs(f.topic, nil, map[string]string{"b": "2"}))
	f.ok(old)
	if info, _ := f.s.Topic(f.topic); !maps.Equal(info.Configs, map[string]string{"a": "1"}) {
		t.Errorf("%v is set", info.Configs)
	}
	version := func(b []byte, err error) byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b[4]
	}
	if v := version(EncodeCommand(old)); v != 1 {
		t.Errorf("a command that version 1 has says %d", v)
	}
	if v := version(f.s.EncodeSnapshot()); v != 1 {
		t.Errorf("a snapshot that version 1 has says %d", v)
	}
	for _, cmd := range []*pb.Command{NewSetConfigs(f.topic, nil, nil), NewSetBrokerConfigs(1, nil, map[string]string{"a": "1"})} {
		if v := version(EncodeCommand(cmd)); v != 2 {
			t.Errorf("%s says version %d, which builds read that do not know it", CommandName(cmd), v)
		}
		f.apply(cmd)
	}
	if v := version(f.s.EncodeSnapshot()); v != 2 {
		t.Errorf("a snapshot with brokers' configurations says version %d", v)
	}
}
