package metadata

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
)

// shelf is a bucket in memory. With lose set, the next Create succeeds and reports a failure.
type shelf struct {
	objects map[string][]byte
	lose    bool
}

var errTimeout = errors.New("timeout")

func newShelf() *shelf { return &shelf{objects: map[string][]byte{}} }

func (b *shelf) Create(_ context.Context, key string, body []byte) (bool, error) {
	if _, taken := b.objects[key]; taken {
		return false, nil
	}
	b.objects[key] = bytes.Clone(body)
	if b.lose {
		b.lose = false
		return false, errTimeout
	}
	return true, nil
}

func (b *shelf) ReadAll(_ context.Context, key string, _ int64) ([]byte, bool, error) {
	body, ok := b.objects[key]
	return bytes.Clone(body), ok, nil
}

func (b *shelf) List(_ context.Context, prefix string) ([]string, error) {
	return slices.DeleteFunc(sortedKeys(b.objects), func(k string) bool { return !strings.HasPrefix(k, prefix) }), nil
}

// store stores a link and tells the quorum about it.
func (f *fixture) store(b *shelf, directory string) StoredSnapshot {
	f.t.Helper()
	n, err := StoreSnapshot(f.t.Context(), b, f.s.Freeze(), directory)
	if err != nil {
		f.t.Fatal(err)
	}
	f.ok(NewSnapshotStored(n))
	return n
}

func TestE22_ChainIsDenseAndLinked(t *testing.T) {
	f, b := newFixture(t), newShelf()
	first, second := f.store(b, dirA), f.store(b, dirA)
	if first.Number != 1 || second.Number != 2 {
		t.Fatalf("links %+v, %+v", first, second)
	}
	l, err := ReadLink(t.Context(), b, 2)
	if err != nil || l.PreviousCRC != first.CRC || l.Directory != dirA || l.Stored() != second {
		t.Fatalf("link 2: %+v (%v)", l, err)
	}
	s, err := l.State()
	if err != nil || s.Stored() != second || s.Index() != second.Index {
		t.Fatalf("state of link 2 stored as %+v (%v)", s.Stored(), err)
	}
	if n, ok := NewestSnapshot([]string{"snap/0000000000000009", "snap/x", "snap/0000000000000010", "other"}); !ok || n != 10 {
		t.Fatalf("newest %d %v", n, ok)
	}
	if err := CheckChain(t.Context(), b, f.s, dirA); err != nil {
		t.Fatal(err)
	}
	if err := CheckChain(t.Context(), newShelf(), f.s, dirA); !errors.Is(err, ErrBrokenChain) {
		t.Fatalf("empty bucket under a quorum that stored: %v", err)
	}
}

// The answer of a PUT is lost and the quorum is not told. The next attempt adopts the link.
func TestE22_OwnLinkIsAdopted(t *testing.T) {
	f, b := newFixture(t), newShelf()
	f.store(b, dirA)
	b.lose = true
	if _, err := StoreSnapshot(t.Context(), b, f.s.Freeze(), dirA); !errors.Is(err, errTimeout) {
		t.Fatalf("lost answer: %v", err)
	}
	at := f.s.Index()
	f.ok(NewAllocateProducerIds())
	if err := CheckChain(t.Context(), b, f.s, dirA); err != nil {
		t.Fatalf("own link ahead of the quorum: %v", err)
	}
	n := f.store(b, dirA)
	if n.Number != 2 || n.Index != at {
		t.Fatalf("adopted %+v, want link 2 at index %d", n, at)
	}
}

// A cluster is restored elsewhere, and then the old directory is revived.
func TestE22_RevivedDirectoryStops(t *testing.T) {
	old, b := newFixture(t), newShelf()
	old.store(b, dirA)
	l, found, err := ReadNewest(t.Context(), b)
	if err != nil || !found {
		t.Fatal(err)
	}
	s, err := l.State()
	if err != nil {
		t.Fatal(err)
	}
	restored := &fixture{t: t, s: s, index: s.Index(), now: old.now, topic: old.topic}
	for _, cmd := range PlanRestore(s, Restorer{Directory: dirB, Broker: 1}, nil, nil).Commands {
		restored.ok(cmd)
	}
	n := restored.store(b, dirB)
	if n.Number != 2 || n.Generation != 1 {
		t.Fatalf("restore's link %+v", n)
	}
	if _, err := StoreSnapshot(t.Context(), b, old.s.Freeze(), dirA); !errors.Is(err, ErrForeignLink) {
		t.Fatalf("the revived directory stores: %v", err)
	}
	if err := CheckChain(t.Context(), b, old.s, dirA); !errors.Is(err, ErrForeignLink) {
		t.Fatalf("the revived directory checks: %v", err)
	}
	restored.store(b, dirB)
	if err := CheckChain(t.Context(), b, old.s, dirA); !errors.Is(err, ErrForeignLink) {
		t.Fatalf("the revived directory checks two links behind: %v", err)
	}
	// No id, epoch or producer id is given twice.
	was := old.ok(NewAllocateProducerIds()).Producers
	now := restored.ok(NewAllocateProducerIds()).Producers
	if now.First < was.First+1000 || now.First>>40 != 1 {
		t.Fatalf("producer ids %d after %d", now.First, was.First)
	}
	before := old.head(0).Leader
	restored.inc = 0
	r := restored.ok(NewRegisterIncarnation(1, dirB, 0, 0)).Registration
	if r.Incarnation.Generation() != 1 || len(r.Tails) != 0 {
		t.Fatalf("registration %+v", r)
	}
	if e := restored.head(0).Leader.Epoch; e < before.Epoch+RestoreEpochStep {
		t.Fatalf("epoch %d after %d", e, before.Epoch)
	}
	restored.ok(NewOpenIncarnation(r.Incarnation))
	if id := restored.ok(NewReserveObjects(r.Incarnation, 1, time.UnixMilli(0))).FirstObject; id.Generation() != 1 {
		t.Fatalf("object id %s", id)
	}
}

func TestE27_ClaimPrefix(t *testing.T) {
	b := newShelf()
	ours := ClusterFile{ClusterID: "c", Directory: dirA}
	for range 2 { // the second round continues an interrupted start
		if err := ClaimPrefix(t.Context(), b, ours); err != nil {
			t.Fatal(err)
		}
	}
	for _, other := range []ClusterFile{{ClusterID: "c", Directory: dirB}, {ClusterID: "d", Directory: dirA}} {
		if err := ClaimPrefix(t.Context(), b, other); !errors.Is(err, ErrWrongCluster) {
			t.Fatalf("%+v: %v", other, err)
		}
	}
	b.objects[ClusterKey] = []byte(`{"clusterId":"c","formatVersion":2,"directory":"x"}`)
	if _, _, err := ReadClusterFile(t.Context(), b); !errors.Is(err, ErrUnknownCommand) {
		t.Fatalf("newer layout: %v", err)
	}
}

func TestLinkDamageIsRefused(t *testing.T) {
	f, b := newFixture(t), newShelf()
	f.store(b, dirA)
	good := b.objects[LinkKey(1)]
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if _, err := DecodeLink(bad); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("byte %d flipped: %v", i, err)
		}
		if _, err := DecodeLink(good[:i]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
}

// found is a section of partition 0 in an unsettled object.
func (f *fixture) found(object ident.ObjectID, epoch ident.Epoch, logStart, start, end ident.Offset) FoundSection {
	return FoundSection{
		Topic: f.topic, Name: "t", Creation: 1, PartitionCount: 2, LogStart: logStart,
		Range: catalog.Range{Object: object, Start: start, End: end, Epoch: epoch, Incarnation: 1, Writer: 1, ObjectBytes: 7},
		State: catalog.StateRef{Object: object, End: end, Writer: 1},
	}
}

// restoreFound restores a fixture's state together with what was found, and returns it.
func restoreFound(f *fixture, found ...FoundSection) (*fixture, RestorePlan) {
	f.t.Helper()
	var objects []FoundObject
	for _, s := range found {
		objects = append(objects, FoundObject{ID: s.Range.Object, Writer: 1, Bytes: 7})
	}
	plan := PlanRestore(f.s, Restorer{Directory: dirB, Broker: 1}, objects, found)
	r := &fixture{t: f.t, s: f.s.Freeze(), index: f.index, now: f.now, topic: f.topic}
	for _, cmd := range plan.Commands {
		r.ok(cmd)
	}
	return r, plan
}

// E26: sections that were found after the snapshot, case by case. 100 is the committed end; next is
// an id that the snapshot had not issued.
func TestE1_E26_RestoreCutsByEpochAndOffset(t *testing.T) {
	f := newFixture(t)
	f.flush(0, 0, 100, catalog.Committed)
	next := f.s.nextObject
	settled := f.head(0).Ranges[0].Object
	for _, c := range []struct {
		name          string
		found         []FoundSection
		logStart, end ident.Offset
		leftOut       int
	}{
		{"nothing", nil, 0, 100, 0},
		{"goes on", []FoundSection{f.found(next, 1, 0, 100, 120), f.found(next+1, 1, 0, 120, 130)}, 0, 130, 0},
		{"out of order", []FoundSection{f.found(next+1, 1, 0, 120, 130), f.found(next, 1, 0, 100, 120)}, 0, 130, 0},
		{"gap", []FoundSection{f.found(next, 1, 0, 101, 120)}, 0, 100, 1},
		{"gap below its log start", []FoundSection{f.found(next, 1, 110, 105, 120)}, 110, 120, 0},
		{"gap at its log start", []FoundSection{f.found(next, 1, 110, 110, 120)}, 110, 120, 0},
		{"gap just above its log start", []FoundSection{f.found(next, 1, 109, 110, 120)}, 109, 109, 1},
		{"log start moved only", []FoundSection{f.found(next, 1, 40, 90, 100)}, 40, 100, 0},
		{"higher epoch begins inside", []FoundSection{f.found(next, 1, 0, 100, 150), f.found(next+1, 2, 0, 120, 130)}, 0, 130, 1},
		{"lower epoch after a higher", []FoundSection{f.found(next, 2, 0, 100, 120), f.found(next+1, 1, 0, 120, 140)}, 0, 120, 1},
		{"an abandoned upload and its second try", []FoundSection{f.found(next, 1, 0, 100, 110), f.found(next+1, 1, 0, 100, 130)}, 0, 130, 0},
		{"overlap", []FoundSection{f.found(next, 1, 0, 100, 120), f.found(next+1, 1, 0, 110, 130)}, 0, 130, 0},
		{"settled by the snapshot", []FoundSection{f.found(settled, 1, 0, 100, 120)}, 0, 100, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, plan := restoreFound(f, c.found...)
			r.wantEnds(0, c.logStart, c.end)
			if len(plan.LeftOut) != c.leftOut {
				t.Fatalf("left out %+v, want %d", plan.LeftOut, c.leftOut)
			}
			if h := r.head(0); h.State.End > h.CommittedEnd {
				t.Fatalf("state up to %d of %d", h.State.End, h.CommittedEnd)
			}
			if n := r.s.ObjectCounts().Prepared; n != 0 || r.s.Restoring() {
				t.Fatalf("%d prepared, restoring %v", n, r.s.Restoring())
			}
			for _, o := range plan.Unused {
				if o.ID >= next && r.s.objects[o.ID].count != 0 {
					t.Fatalf("unused object %s is live", o.ID)
				}
			}
		})
	}
}

// E26: topics that were created, deleted and created again since the snapshot.
func TestE26_TheLaterCreationWins(t *testing.T) {
	f := newFixture(t)
	gone := ident.TopicID{15: 7}
	f.ok(NewCreateTopic(TopicSpec{ID: gone, Name: "gone", Partitions: 1}))
	f.ok(NewDeleteTopic(gone))
	f.flush(0, 0, 10, catalog.Committed)
	next := f.s.nextObject
	mk := func(object ident.ObjectID, id byte, name string, creation uint64, start, end ident.Offset) FoundSection {
		s := f.found(object, 0, 0, start, end)
		s.Topic, s.Name, s.Creation, s.PartitionCount = ident.TopicID{15: id}, name, creation, 3
		s.Configs = map[string]string{"retention.ms": "7"}
		return s
	}
	r, plan := restoreFound(f,
		mk(next, 7, "gone", 2, 0, 10), // deleted before the snapshot
		mk(next+1, 20, "u", 3, 0, 10), // created since the snapshot, then created again
		mk(next+2, 21, "u", 4, 0, 5),  //
		mk(next+3, 22, "t", 5, 0, 8),  // has the name of a topic that the snapshot has
		// Created since the snapshot, but nothing of it can be placed.
		mk(next+4, 23, "v", 6, 50, 60),
		f.found(next+5, 1, 0, 10, 20), // of the topic that lost its name
	)
	var names []string
	for _, info := range r.s.Topics() {
		names = append(names, info.Name+" "+info.ID.String())
	}
	want := []string{"t " + ident.TopicID{15: 22}.String(), "u " + ident.TopicID{15: 21}.String(), "v " + ident.TopicID{15: 23}.String()}
	if !slices.Equal(names, want) {
		t.Fatalf("topics %v, want %v", names, want)
	}
	u, _ := r.s.TopicByName("u")
	if len(u.Partitions) != 3 || u.Configs["retention.ms"] != "7" || u.Creation != 4 {
		t.Fatalf("topic %+v", u)
	}
	if len(plan.LeftOut) != 4 {
		t.Fatalf("left out %+v", plan.LeftOut)
	}
	r.ok(NewRegisterIncarnation(1, dirB, 0, 0))
	if c := r.ok(NewCreateTopic(TopicSpec{ID: ident.TopicID{15: 30}, Name: "w", Partitions: 1})).Topic.Creation; c != 7 {
		t.Fatalf("creation %d after 6", c)
	}
}

func TestRestoreServesOnlyWhenDone(t *testing.T) {
	f := newFixture(t)
	plan := PlanRestore(f.s, Restorer{Directory: dirB, Broker: 1}, nil, nil)
	f.ok(plan.Commands[0])
	f.refused(NewRegisterIncarnation(1, dirB, 0, 0), ErrRestoring)
	f.refused(NewCreateTopic(TopicSpec{ID: ident.TopicID{1}, Name: "x", Partitions: 1}), ErrRestoring)
	for _, cmd := range plan.Commands[1:] {
		f.ok(cmd)
	}
	f.refused(plan.Commands[len(plan.Commands)-1], catalog.ErrConflict)
	f.ok(NewRegisterIncarnation(1, dirB, 0, 0))
}

func FuzzDecodeCommand(f *testing.F) {
	b, err := EncodeCommand(NewCreateTopic(TopicSpec{ID: ident.TopicID{1}, Name: "t", Partitions: 1}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > frameBytes { // past the checksum, or nothing else would be tried
			copy(b, commandMagic)
			copy(b[4:], []byte{commandVersion, 0, 0, 0, byte(len(b) - frameBytes), byte((len(b) - frameBytes) >> 8), byte((len(b) - frameBytes) >> 16), 0})
			setCRC(b)
		}
		cmd, err := DecodeCommand(b)
		if err != nil {
			return
		}
		x := newFixture(t)
		if _, err := x.s.Apply(x.index+1, cmd); err == nil {
			if err := x.s.Check(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzDecodeSnapshot(f *testing.F) {
	x := newFixture(f)
	x.flush(0, 0, 10, catalog.Committed)
	f.Add(encode(f, x.s))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > frameBytes {
			copy(b, snapshotMagic)
			copy(b[4:], []byte{snapshotVersion, 0, 0, 0, byte(len(b) - frameBytes), byte((len(b) - frameBytes) >> 8), byte((len(b) - frameBytes) >> 16), 0})
			setCRC(b)
		}
		s, err := DecodeSnapshot(b)
		if err != nil {
			return
		}
		again, err := DecodeSnapshot(encode(t, s))
		if err != nil || hashOf(t, again) != hashOf(t, s) {
			t.Fatalf("a snapshot that was read is not read again: %v", err)
		}
	})
}

func FuzzDecodeLink(f *testing.F) {
	b, err := EncodeLink(&Link{Number: 1, Directory: dirA, Snapshot: encode(f, newFixture(f).s)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := DecodeLink(b)
		if err != nil {
			return
		}
		if again, err := EncodeLink(l); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("encode of decode differs: %v", err)
		}
	})
}
