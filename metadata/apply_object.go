package metadata

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata/pb"
)

// This file has the states of an object from its reservation to its deletion, and producer ids:
//
//	reserved → prepared → live(count) → unreferenced → gone
//	                └──── expired ─────────↗
//
// There is no way back. An unreferenced object is never referenced again, since a commit requires a
// prepared object and a state pointer a live one (E7, I10).

// reserveMax bounds a block of object ids.
const reserveMax = 4096

func (s *State) applyReserve(c *pb.ReserveObjects) Result {
	inc := ident.Incarnation(c.Incarnation)
	switch {
	case s.committer(inc) == nil:
		return Result{Err: catalog.ErrFenced}
	case c.Count < 1 || c.Count > reserveMax:
		return Result{Err: ErrInvalidCommand}
	}
	first := s.nextObject
	next := first + ident.ObjectID(c.Count)
	if next.Generation() != s.generation {
		return Result{Err: ErrExhausted}
	}
	for id := first; id < next; id++ {
		s.objects[id] = object{state: pb.ObjectState_PREPARED, writer: inc, expires: c.ExpiresMs}
	}
	s.nextObject = next // I3
	return Result{FirstObject: first}
}

// prepared reports whether writer may make the object live now (E7).
func (s *State) prepared(id ident.ObjectID, writer ident.Incarnation) bool {
	o, ok := s.objects[id]
	return ok && o.state == pb.ObjectState_PREPARED && o.writer == writer
}

func (s *State) live(id ident.ObjectID) bool { return s.objects[id].state == pb.ObjectState_LIVE }

// makeLive turns a prepared object into a live one with one reference, which belongs to the caller.
func (s *State) makeLive(id ident.ObjectID, kind int32, bytes int64) {
	o := s.objects[id]
	if o.state != pb.ObjectState_PREPARED {
		panic(fmt.Sprintf("BUG: object %s made live from %s", id, o.state))
	}
	s.objects[id] = object{state: pb.ObjectState_LIVE, kind: kind, writer: o.writer, bytes: bytes, count: 1}
}

func (s *State) ref(id ident.ObjectID) {
	o := s.objects[id]
	if o.state != pb.ObjectState_LIVE {
		panic(fmt.Sprintf("BUG: reference to object %s, which is %s", id, o.state))
	}
	o.count++
	s.objects[id] = o
}

// unref drops one reference. If none is left, the object is unreferenced as of this command.
func (s *State) unref(id ident.ObjectID) {
	o := s.objects[id]
	if o.state != pb.ObjectState_LIVE || o.count < 1 {
		panic(fmt.Sprintf("BUG: object %s loses a reference, is %s with %d", id, o.state, o.count))
	}
	o.count--
	s.objects[id] = o
	// While a restore puts ranges back, the references to an object come and go. What has no
	// reference in the end becomes garbage with RestoreDone.
	if o.count == 0 && !s.restoring {
		s.unreference(id)
	}
}

// unreference marks an object as garbage as of this command (I10).
func (s *State) unreference(id ident.ObjectID) {
	o := s.objects[id]
	s.objects[id] = object{state: pb.ObjectState_UNREFERENCED, kind: o.kind, writer: o.writer, bytes: o.bytes, index: s.index, since: s.now}
}

func (s *State) refState(r catalog.StateRef) {
	if r.Object != 0 {
		s.ref(r.Object)
	}
}

func (s *State) unrefState(r catalog.StateRef) {
	if r.Object != 0 {
		s.unref(r.Object)
	}
}

// applyExpire turns objects that were prepared and never committed into garbage. Their writer
// cannot know whether the upload arrived, so only this command decides.
func (s *State) applyExpire() Result {
	for id, o := range s.objects { // the order does not matter, since each object is judged alone
		if o.state == pb.ObjectState_PREPARED && o.expires <= s.now {
			s.unreference(id)
		}
	}
	return Result{}
}

// DeadObject is an object to which nothing refers and nothing can refer any more.
type DeadObject struct {
	ID     ident.ObjectID
	Writer ident.Incarnation // the writer of the object, which is part of its key
	Kind   int32             // KindBundle, KindManifest, or 0 if not known (never committed)
	Bytes  int64             // 0 if not known
}

// deletable says that the object may be deleted (I10): nothing refers to it or can refer to it, and
// a stored snapshot knows that, so that a restore will not look for it (E22).
func (s *State) deletable(o object) bool {
	return o.state == pb.ObjectState_UNREFERENCED && s.stored.Index >= o.index
}

// Deletable lists garbage that may be deleted at now, in order of id, at most limit objects. The
// objects were unreferenced for at least delay, which must be longer than any reader keeps a plan.
func (s *State) Deletable(now time.Time, delay time.Duration, limit int) []DeadObject {
	var ids []ident.ObjectID
	for id, o := range s.objects {
		if s.deletable(o) && now.UnixMilli()-o.since >= delay.Milliseconds() {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	ids = ids[:min(limit, len(ids))]
	dead := make([]DeadObject, len(ids))
	for i, id := range ids {
		o := s.objects[id]
		dead[i] = DeadObject{ID: id, Writer: o.writer, Kind: o.kind, Bytes: o.bytes}
	}
	return dead
}

// ObjectCounts says how many objects are in each state.
type ObjectCounts struct{ Prepared, Live, Unreferenced int }

// ObjectCounts counts the objects that the quorum knows.
func (s *State) ObjectCounts() ObjectCounts {
	var c ObjectCounts
	for o := range maps.Values(s.objects) {
		switch o.state {
		case pb.ObjectState_PREPARED:
			c.Prepared++
		case pb.ObjectState_LIVE:
			c.Live++
		case pb.ObjectState_UNREFERENCED:
			c.Unreferenced++
		}
	}
	return c
}

// LiveCount returns the number of references to an object, or 0 if the object is not live.
func (s *State) LiveCount(id ident.ObjectID) int64 { return s.objects[id].count }

// Prepared reports whether an object is prepared for writer.
func (s *State) Prepared(id ident.ObjectID, writer ident.Incarnation) bool {
	return s.prepared(id, writer)
}

// applyConfirmDeleted forgets objects that were deleted from the bucket. It refuses objects that
// must not be deleted, so that a wrong call shows.
func (s *State) applyConfirmDeleted(c *pb.ConfirmDeleted) Result {
	for _, raw := range c.Objects {
		id := ident.ObjectID(raw)
		o, ok := s.objects[id]
		if ok && !s.deletable(o) {
			return Result{Err: catalog.ErrConflict}
		}
	}
	for _, raw := range c.Objects {
		delete(s.objects, ident.ObjectID(raw))
	}
	return Result{}
}

// applySnapshotStored keeps the chain dense: it accepts only the next link (E22).
func (s *State) applySnapshotStored(c *pb.SnapshotStored) Result {
	n := storedFrom(c.Snapshot)
	switch {
	case n == s.stored && n.Number > 0:
		return Result{Repeated: true}
	case n.Generation != s.generation || n.Number != s.stored.Number+1 || n.Index < s.stored.Index || n.Index > s.index:
		return Result{Err: catalog.ErrConflict}
	}
	s.stored = n
	return Result{}
}

func (s *State) applyAllocateProducers() Result {
	next := s.nextProducer + ProducerBlockCount
	if next > (s.generation + 1).FirstProducer() {
		return Result{Err: ErrExhausted}
	}
	block := ProducerBlock{First: s.nextProducer, Count: ProducerBlockCount}
	s.nextProducer = next
	return Result{Producers: block}
}
