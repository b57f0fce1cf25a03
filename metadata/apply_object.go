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

// Objects from reservation to deletion, and producer ids:
//
//	reserved → prepared → live(count) → unreferenced → gone
//	                └──── expired ─────────↗
//
// There is no way back: what is unreferenced is never referenced again, since
// a commit wants it prepared and a state pointer wants it live (E7, I10).

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

// makeLive turns a prepared object into a live one with one reference, the caller's.
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

// unref takes one reference away; without any the object is unreferenced by this command.
func (s *State) unref(id ident.ObjectID) {
	o := s.objects[id]
	if o.state != pb.ObjectState_LIVE || o.count < 1 {
		panic(fmt.Sprintf("BUG: object %s loses a reference, is %s with %d", id, o.state, o.count))
	}
	o.count--
	s.objects[id] = o
	// While a restore puts ranges back, one object's sections come and go; what
	// has no reference in the end is garbage from RestoreDone on.
	if o.count == 0 && !s.restoring {
		s.unreference(id)
	}
}

// unreference marks garbage from this command on (I10).
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

// applyExpire turns what was prepared and never committed into garbage. Its
// writer cannot know whether its upload arrived, so only this decides.
func (s *State) applyExpire() Result {
	for id, o := range s.objects { // order does not matter: each is judged alone
		if o.state == pb.ObjectState_PREPARED && o.expires <= s.now {
			s.unreference(id)
		}
	}
	return Result{}
}

// DeadObject is an object that nothing refers to and nothing can any more.
type DeadObject struct {
	ID     ident.ObjectID
	Writer ident.Incarnation // of the object: stands in its key
	Kind   int32             // 0 not known (never committed), KindBundle, KindManifest
	Bytes  int64             // 0 if not known
}

// deletable says I10: nothing refers to it, nothing can, and a stored
// snapshot says so, so that restore will not look for it (E22).
func (s *State) deletable(o object) bool {
	return o.state == pb.ObjectState_UNREFERENCED && s.stored.Index >= o.index
}

// Deletable lists garbage that may be deleted at now, at most limit, in order
// of id: unreferenced for delay, which must be longer than any reader keeps a plan.
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

// LiveCount returns the references to an object, 0 if it is not live.
func (s *State) LiveCount(id ident.ObjectID) int64 { return s.objects[id].count }

// Prepared reports whether an object is prepared for writer.
func (s *State) Prepared(id ident.ObjectID, writer ident.Incarnation) bool {
	return s.prepared(id, writer)
}

// applyConfirmDeleted forgets objects that were deleted from the bucket. What
// must not have been deleted is kept, so that a wrong call shows.
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

// applySnapshotStored keeps the chain dense: only the next link is taken (E22).
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
