package metadata

import (
	"slices"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata/pb"
)

// Manifests: what a head absorbs into one, and what is released from one.
// Both are a compare-and-set on its version, both judge everything before they
// change anything, and both answer their repetition with success (E30).

// manifestChange is what both commands have in common.
type manifestChange struct {
	next    catalog.Manifest
	added   []ident.ObjectID // become live: each must be prepared (E7)
	dropped []ident.ObjectID // lose one reference each time they are named
}

func (s *State) applySwap(c *pb.SwapManifest) Result {
	tp, ok := partitionFrom(c.Partition)
	t, h := s.head(tp)
	next := manifestFrom(c.Manifest)
	inc := ident.Incarnation(c.Incarnation)
	switch {
	case s.committer(inc) == nil: // I4
		return Result{Err: catalog.ErrFenced}
	case !ok || next.Object == 0 || next.Version != c.OldVersion+1:
		return Result{Err: ErrInvalidCommand}
	case h == nil:
		return Result{Err: catalog.ErrTopicNotFound}
	case h.Manifest == next:
		return Result{Repeated: true}
	case h.Manifest.Version != c.OldVersion || !absorbs(h, c.Absorbed, next):
		return Result{Err: catalog.ErrConflict}
	}
	m := manifestChange{next, objectsFrom(c.NewObjects), objectsFrom(c.Dropped)}
	if err := s.checkManifest(h.Manifest, m, inc); err != nil {
		return Result{Err: err}
	}
	s.changeManifest(m)
	head := *h
	head.Manifest = next
	head.Ranges = slices.Clone(h.Ranges[len(c.Absorbed):]) // their references go with them into the manifest
	var res Result
	s.putHead(t, &head, &res)
	return res
}

// absorbs says whether the manifest takes over exactly the head's first
// ranges and ends where they do (I8).
func absorbs(h *catalog.Head, absorbed []*pb.Range, next catalog.Manifest) bool {
	if len(absorbed) > len(h.Ranges) {
		return false
	}
	for i, a := range absorbed {
		if rangeFrom(a) != h.Ranges[i] {
			return false
		}
	}
	if len(absorbed) > 0 {
		return next.End == h.Ranges[len(absorbed)-1].End
	}
	return next.End == h.Manifest.End && h.Manifest.Object != 0
}

// checkManifest judges the objects of a change of manifest.
func (s *State) checkManifest(old catalog.Manifest, m manifestChange, writer ident.Incarnation) error {
	seen := map[ident.ObjectID]bool{}
	for _, id := range m.added {
		if seen[id] || !s.prepared(id, writer) { // E7
			return catalog.ErrNotPrepared
		}
		seen[id] = true
	}
	if m.next.Object != 0 && m.next.Object != old.Object && !seen[m.next.Object] {
		return catalog.ErrNotPrepared
	}
	if m.next.Object != 0 && m.next.Object != old.Object && m.next.Writer != writer {
		return ErrInvalidCommand
	}
	if old.Object != 0 && old.Object != m.next.Object && !slices.Contains(m.dropped, old.Object) {
		return ErrInvalidCommand // it would be counted for ever
	}
	losses := map[ident.ObjectID]int64{}
	for _, id := range m.dropped {
		losses[id]++
		if !s.live(id) || s.objects[id].count < losses[id] {
			return catalog.ErrConflict
		}
	}
	return nil
}

func (s *State) changeManifest(m manifestChange) {
	for _, id := range m.added {
		s.makeLive(id, objectKindManifest, 0)
	}
	for _, id := range m.dropped {
		s.unref(id)
	}
}

func (s *State) applyRelease(c *pb.ReleaseRanges) Result {
	tp, ok := partitionFrom(c.Partition)
	t, h := s.head(tp)
	if h == nil {
		h = s.released[tp]
	}
	next := manifestFrom(c.Manifest)
	inc := ident.Incarnation(c.Incarnation)
	switch {
	case s.committer(inc) == nil: // I4
		return Result{Err: catalog.ErrFenced}
	case !ok || next.Version != c.OldVersion+1:
		return Result{Err: ErrInvalidCommand}
	case h == nil:
		// A deleted topic's pointer goes with its last range: done before, or never there.
		return Result{Repeated: true}
	case h.Manifest == next:
		return Result{Repeated: true}
	case h.Manifest.Version != c.OldVersion || !releases(h, next):
		return Result{Err: catalog.ErrConflict}
	}
	dropped := append(objectsFrom(c.Released), objectsFrom(c.Dropped)...)
	m := manifestChange{next, objectsFrom(c.NewObjects), dropped}
	if err := s.checkManifest(h.Manifest, m, inc); err != nil {
		return Result{Err: err}
	}
	s.changeManifest(m)
	head := *h
	head.Manifest = next
	var res Result
	switch {
	case t != nil:
		s.putHead(t, &head, &res)
	case next.Object == 0:
		delete(s.released, tp) // E30
	default:
		s.released[tp] = &head
	}
	return res
}

// releases says whether only what lies below the log start is let go; of a
// deleted topic that is everything.
func releases(h *catalog.Head, next catalog.Manifest) bool {
	if h.Manifest.Object == 0 {
		return false
	}
	if next.Object == 0 {
		return h.Manifest.End <= h.LogStart
	}
	return next.End == h.Manifest.End && next.Start <= h.LogStart
}
