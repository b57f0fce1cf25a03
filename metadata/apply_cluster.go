package metadata

import (
	"cmp"
	"slices"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata/pb"
)

// This file has the commands about the cluster, its brokers, their incarnations and their sealed
// tails.

func (s *State) applyBootstrap(c *pb.Bootstrap) Result {
	if s.clusterID != "" {
		if s.clusterID != c.ClusterId || s.directory != c.Directory {
			return Result{Err: catalog.ErrConflict}
		}
		return Result{Repeated: true}
	}
	if c.ClusterId == "" || c.Directory == "" {
		return Result{Err: ErrInvalidCommand}
	}
	s.clusterID, s.directory = c.ClusterId, c.Directory
	s.beginGeneration(0)
	s.nextCreation = 1
	return Result{}
}

// beginGeneration starts the counters of a generation, so that no id of an earlier generation is
// given out again (E22).
func (s *State) beginGeneration(g ident.Generation) {
	s.generation = g
	s.nextIncarnation = g.FirstIncarnation() + 1
	s.nextObject = g.FirstObject() + 1
	s.nextProducer = g.FirstProducer()
}

// applyRegister seals the broker's previous incarnation and begins the next one, with all that
// follows from it, in one command (E21).
func (s *State) applyRegister(c *pb.RegisterIncarnation) Result {
	previous := ident.Incarnation(c.Previous)
	b := s.broker(c.Broker)
	switch {
	case c.Broker < 0 || c.Directory == "" || c.PreviousEnd < 0:
		return Result{Err: ErrInvalidCommand}
	case b != nil && b.directory != c.Directory:
		return Result{Err: catalog.ErrFenced} // the node id belongs to another disk
	case b == nil && previous != 0, b != nil && b.incarnation != previous:
		return Result{Err: catalog.ErrConflict}
	case s.nextIncarnation.Generation() != s.generation:
		return Result{Err: ErrExhausted}
	}
	if b == nil {
		b = s.addBroker(c.Broker, c.Directory)
	}
	sealed := catalog.Tail{}
	if b.opened { // an unopened incarnation holds nothing and is dropped (E27)
		sealed = catalog.Tail{Incarnation: previous, End: ident.Position(c.PreviousEnd)} // I6
		b.tails = append(slices.Clip(b.tails), sealed)
	}
	b.incarnation, b.opened, b.last = s.nextIncarnation, false, lastCommit{}
	s.nextIncarnation++
	res := Result{Registration: catalog.Registration{Incarnation: b.incarnation, Tails: b.tails}}
	s.raiseLed(b, sealed, &res)
	return res
}

func (s *State) addBroker(node int32, directory string) *broker {
	b := &broker{node: node, directory: directory}
	i, _ := slices.BinarySearchFunc(s.brokers, node, func(b *broker, n int32) int { return cmp.Compare(b.node, n) })
	s.brokers = slices.Insert(s.brokers, i, b)
	return b
}

// raiseLed gives every partition that b leads its new incarnation and the next epoch. The old
// leadership goes to Head.Past if the sealed tail may hold batches that were written under it.
func (s *State) raiseLed(b *broker, sealed catalog.Tail, res *Result) {
	var changed []*topic
	for _, info := range s.byName.topics {
		t := s.topics[info.ID]
		n := 0
		for i, h := range t.heads {
			if h.Leader.Broker != b.node {
				continue
			}
			next := *h
			if h.Leader.Incarnation == sealed.Incarnation && sealed.End > 0 {
				next.Past = append(slices.Clip(h.Past), h.Leader)
			}
			// I4
			next.Leader.Incarnation = b.incarnation
			next.Leader.Epoch++
			t.heads[i] = &next
			n++
		}
		if n > 0 {
			changed = append(changed, t)
		}
	}
	s.republish(changed)
	for _, t := range changed {
		res.Changes = append(res.Changes, Change{Kind: LeadersChanged, Topic: t.info})
	}
}

func (s *State) applyOpen(c *pb.OpenIncarnation) Result {
	b := s.current(ident.Incarnation(c.Incarnation))
	if b == nil {
		return Result{Err: catalog.ErrFenced}
	}
	repeated := b.opened
	b.opened = true
	return Result{Repeated: repeated}
}

// applyRetireTail forgets a tail. The caller says that everything in it is committed or void.
func (s *State) applyRetireTail(c *pb.RetireTail) Result {
	b := s.committer(ident.Incarnation(c.Incarnation)) // I4
	if b == nil {
		return Result{Err: catalog.ErrFenced}
	}
	tail := ident.Incarnation(c.Tail)
	i := slices.IndexFunc(b.tails, func(t catalog.Tail) bool { return t.Incarnation == tail })
	if i < 0 {
		return Result{Repeated: true}
	}
	b.tails = slices.Delete(slices.Clone(b.tails), i, i+1)
	for _, info := range s.byName.topics {
		t := s.topics[info.ID]
		for p, h := range t.heads {
			t.heads[p] = withoutPast(h, func(l catalog.Leadership) bool { return l.Incarnation == tail })
		}
	}
	return Result{}
}

// withoutPast returns h, or a copy of it without the past leaderships for which drop returns true.
func withoutPast(h *catalog.Head, drop func(catalog.Leadership) bool) *catalog.Head {
	if !slices.ContainsFunc(h.Past, drop) {
		return h
	}
	next := *h
	next.Past = slices.DeleteFunc(slices.Clone(h.Past), drop)
	return &next
}

// tail finds a sealed tail that the broker's current incarnation holds.
func (b *broker) tail(inc ident.Incarnation) (catalog.Tail, bool) {
	for _, t := range b.tails {
		if t.Incarnation == inc {
			return t, true
		}
	}
	return catalog.Tail{}, false
}
