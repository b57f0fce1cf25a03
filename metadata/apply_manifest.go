package metadata

import (
	"slices"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata/pb"
)

// This file has the commands about manifests: one moves ranges from a head into a manifest, the
// other takes ranges out of a manifest. Both are a compare-and-set on the manifest's version, check
// everything before they change anything, and answer their repetition with success (E30).

// manifestChange is what both commands have in common.
type manifestChange struct {
	next    catalog.Manifest
	added   []ident.ObjectID // objects that become live; each must be prepared (E7)
	dropped []ident.ObjectID // objects that lose one reference each time they are named
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
	// The references of the absorbed ranges move with them into the manifest.
	head.Ranges = slices.Clone(h.Ranges[len(c.Absorbed):])
	var res Result
	s.putHead(t, &head, &res)
	return res
}

// absorbs says whether the manifest takes over exactly the head's first ranges and ends where they
// end (I8).
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

// checkManifest checks the objects that a change of manifest adds and drops.
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
		return ErrInvalidCommand // the object would be counted for ever
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
		// A deleted topic's manifest is dropped with its last range. So this command was applied
		// before, or the manifest never existed.
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

// releases says whether the change drops only ranges below the log start. For a deleted topic every
// range may be dropped.
func releases(h *catalog.Head, next catalog.Manifest) bool {
	if h.Manifest.Object == 0 {
		return false
	}
	if next.Object == 0 {
		return h.Manifest.End <= h.LogStart
	}
	return next.End == h.Manifest.End && next.Start <= h.LogStart
}
