package metadata

import (
	"slices"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata/pb"
)

// This file has the commit of bundles. Idempotence is checked before continuity: a repeated commit
// answers as the first one did, even though its ranges no longer start at the committed end (E28).
// Then every range is judged on its own: one range that is gone or wrong does not affect its
// neighbours (E12).

func (s *State) applyCommit(c *pb.CommitFlush) Result {
	b := s.committer(ident.Incarnation(c.Incarnation)) // I4, E21, E27
	if b == nil {
		return Result{Err: catalog.ErrFenced}
	}
	if c.Number == b.last.number && c.Number != 0 {
		return b.last.repeat(c)
	}
	if c.Number != b.last.number+1 || len(c.Bundles) == 0 {
		return Result{Err: catalog.ErrConflict}
	}
	last := lastCommit{number: c.Number}
	var res Result
	for _, bundle := range c.Bundles {
		last.bundles = append(last.bundles, s.commitBundle(b, bundle, &res))
	}
	b.last = last
	res.Commit = last.result()
	return res
}

// repeat answers the last commit again. Each object id is used once, so comparing ids is enough to
// compare contents.
func (l *lastCommit) repeat(c *pb.CommitFlush) Result {
	same := slices.EqualFunc(l.bundles, c.Bundles, func(v bundleVerdicts, b *pb.CommitBundle) bool {
		return v.object == ident.ObjectID(b.Object) && len(v.verdicts) == len(b.Ranges)
	})
	if !same {
		return Result{Err: catalog.ErrConflict}
	}
	return Result{Commit: l.result(), Repeated: true}
}

func (l *lastCommit) result() catalog.CommitResult {
	var r catalog.CommitResult
	for _, v := range l.bundles {
		r.Verdicts = append(r.Verdicts, v.verdicts)
		r.Reasons = append(r.Reasons, v.reasons)
	}
	return r
}

// commitBundle judges a bundle's ranges, and makes the bundle live if anything refers to it.
func (s *State) commitBundle(b *broker, c *pb.CommitBundle, res *Result) bundleVerdicts {
	id := ident.ObjectID(c.Object)
	v := bundleVerdicts{
		object:   id,
		verdicts: make([]catalog.Verdict, len(c.Ranges)),
		reasons:  make([]catalog.Reason, len(c.Ranges)),
	}
	// E7: the object has expired, was collected, belongs to another writer, or was never reserved
	if !s.prepared(id, b.incarnation) {
		for i := range v.reasons {
			v.reasons[i] = catalog.ReasonNotPrepared
		}
		return v
	}
	// This reference is held until the ranges have theirs, so that the count does not reach zero on
	// the way.
	s.makeLive(id, objectKindBundle, c.Bytes)
	for i, raw := range c.Ranges {
		v.verdicts[i], v.reasons[i] = s.commitRange(b, id, raw, res)
	}
	s.unref(id) // if no range was committed, the bundle is garbage from now on
	return v
}

// commitRange judges one range. If the range is committed, it becomes part of its partition.
func (s *State) commitRange(b *broker, bundle ident.ObjectID, raw *pb.CommitRange, res *Result) (catalog.Verdict, catalog.Reason) {
	c, ok := commitRangeFrom(raw)
	if !ok || c.Range.Object != bundle || c.Range.Writer != b.incarnation || c.Range.Start < 0 || c.Range.Start > c.Range.End {
		return catalog.Refused, catalog.ReasonMalformed
	}
	t, h := s.head(c.Partition)
	switch {
	case t == nil:
		return catalog.Void, 0 // the topic was deleted since, so nobody needs the range (E12)
	case h == nil:
		return catalog.Refused, catalog.ReasonMalformed
	case c.Range.Start < c.Range.End && c.Range.End <= h.LogStart:
		return catalog.Void, 0 // the log start has passed the range since (E12)
	}
	if reason := mayCommit(b, h, &c); reason != 0 {
		return catalog.Refused, reason
	}
	if reason := s.stateUsable(bundle, &c); reason != 0 {
		return catalog.Refused, reason
	}
	if c.Range.Start == c.Range.End {
		return s.commitState(t, h, &c, res)
	}
	return s.commitData(t, h, &c, res)
}

// mayCommit says whether the committer may add to the head under the range's (incarnation, epoch).
// It may if it leads the partition under them, or if it holds the sealed tail whose incarnation led
// the partition under them and the range lies within that tail (E4, E21, I4).
func mayCommit(b *broker, h *catalog.Head, c *catalog.CommitRange) catalog.Reason {
	under := func(l catalog.Leadership) bool {
		return l.Incarnation == c.Range.Incarnation && l.Epoch == c.Range.Epoch
	}
	if under(h.Leader) && h.Leader.Broker == b.node && h.Leader.Incarnation == b.incarnation {
		return 0
	}
	tail, held := b.tail(c.Range.Incarnation)
	past := slices.ContainsFunc(h.Past, under)
	switch {
	case !held || !past:
		return catalog.ReasonFenced
	case c.WALEnd > tail.End || c.WALEnd < 0: // I6
		return catalog.ReasonBeyondTail
	}
	return 0
}

// stateUsable says whether the new state pointers name live objects: the bundle itself, or an
// object that is live already (E11).
func (s *State) stateUsable(bundle ident.ObjectID, c *catalog.CommitRange) catalog.Reason {
	if c.State.Object == 0 {
		if c.Base.Object != 0 {
			return catalog.ReasonState
		}
		return 0
	}
	if c.State.Object != bundle && !s.live(c.State.Object) || c.Base.Object != 0 && !s.live(c.Base.Object) {
		return catalog.ReasonState
	}
	if c.State.End > c.Range.End {
		return catalog.ReasonState // the state would reflect batches that are not committed
	}
	return 0
}

// commitState takes new state pointers for a partition without new ranges; all of its ranges may be
// gone (E11).
func (s *State) commitState(t *topic, h *catalog.Head, c *catalog.CommitRange, res *Result) (catalog.Verdict, catalog.Reason) {
	if c.Range.Start != h.CommittedEnd || c.State.Object == 0 {
		return catalog.Refused, catalog.ReasonNotNext
	}
	next := *h
	s.replaceState(&next, c)
	s.putHead(t, &next, res)
	return catalog.Committed, 0
}

// commitData appends a range to the head.
func (s *State) commitData(t *topic, h *catalog.Head, c *catalog.CommitRange, res *Result) (catalog.Verdict, catalog.Reason) {
	start, ok := continues(h, c.Range)
	switch {
	case !ok:
		return catalog.Refused, catalog.ReasonNotNext
	case len(h.Ranges) >= catalog.RangesPerHeadMax:
		return catalog.Refused, catalog.ReasonHeadFull
	}
	r := c.Range
	r.Start = start
	next := *h
	next.Ranges = append(slices.Clip(h.Ranges), r) // clipped, so that h keeps its own slice
	next.CommittedEnd = r.End
	s.ref(r.Object)
	s.replaceState(&next, c)
	// No range under a lower epoch can follow, since all offsets of lower epochs lie below this
	// range.
	s.putHead(t, withoutPast(&next, func(l catalog.Leadership) bool { return l.Epoch < r.Epoch }), res)
	return catalog.Committed, 0
}

// continues returns where the range continues from the committed end (I8). If the log start has
// moved that end into the range, only the rest of the range continues it (E23).
func continues(h *catalog.Head, r catalog.Range) (ident.Offset, bool) {
	if r.Start == h.CommittedEnd {
		return r.Start, true
	}
	if h.CommittedEnd == h.LogStart && r.Start < h.CommittedEnd && h.CommittedEnd < r.End {
		return h.LogStart, true
	}
	return 0, false
}

// replaceState swaps state pointers. New references are taken before old ones are dropped.
func (s *State) replaceState(next *catalog.Head, c *catalog.CommitRange) {
	if c.State.Object == 0 {
		return // nothing new: the old state stays true for what lies below its end
	}
	s.refState(c.State)
	s.refState(c.Base)
	s.unrefState(next.State)
	s.unrefState(next.Base)
	next.State, next.Base = c.State, c.Base
}

func (s *State) putHead(t *topic, h *catalog.Head, res *Result) {
	t.heads[h.Partition.Index] = h
	res.Changes = append(res.Changes, Change{Kind: HeadChanged, Topic: t.info, Partition: h.Partition})
}
