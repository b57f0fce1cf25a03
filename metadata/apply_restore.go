package metadata

import (
	"slices"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata/pb"
)

// This file has the commands of a restore, which makes a snapshot of a lost cluster the first state
// of a new generation (E1, E22, E26). Restore takes away the old brokers' rights. RestoreSections
// puts back what was flushed after the snapshot. RestoreDone raises all epochs and lets the cluster
// serve. PlanRestore makes these commands.

// RestoreEpochStep is how far a restore raises leader epochs above every epoch that was seen.
// Leaderships that began after the snapshot and left no trace stay below the new epochs.
const RestoreEpochStep = 10_000

// applyRestore begins a restore. The old brokers' disks are lost: nobody may commit from them any
// more, and their tails are gone.
func (s *State) applyRestore(c *pb.Restore) Result {
	if c.Directory == "" || c.Broker < 0 {
		return Result{Err: ErrInvalidCommand}
	}
	if uint64(c.Generation) != uint64(s.generation)+1 || c.Generation > 1<<15-1 {
		return Result{Err: catalog.ErrConflict}
	}
	s.restoring = true
	s.directory = c.Directory
	s.brokers = nil
	s.answers = nil
	s.beginGeneration(ident.Generation(c.Generation))
	for _, info := range s.byName.topics {
		t := s.topics[info.ID]
		for i, h := range t.heads {
			next := *h
			next.Leader = catalog.Leadership{Broker: c.Broker, Epoch: h.Leader.Epoch, Class: h.Leader.Class}
			next.Past = nil
			t.heads[i] = &next
		}
	}
	s.republish(s.allTopics())
	return Result{}
}

func (s *State) allTopics() []*topic {
	all := make([]*topic, len(s.byName.topics))
	for i, info := range s.byName.topics {
		all[i] = s.topics[info.ID]
	}
	return all
}

// applyRestoreSections puts sections back, in the order in which the plan cut them. If one does not
// fit, the command is refused: the plan was made for another state.
func (s *State) applyRestoreSections(c *pb.RestoreSections) Result {
	var res Result
	for _, raw := range c.Sections {
		f, ok := foundFrom(raw)
		if !ok {
			return Result{Err: ErrInvalidCommand}
		}
		if err := s.restoreSection(&f, c.Broker, &res); err != nil {
			return Result{Err: err}
		}
	}
	for _, u := range c.Unused {
		s.adoptUnused(u)
	}
	return res
}

// restoreSection appends one section to its partition, and creates the topic first if there is
// none.
func (s *State) restoreSection(f *FoundSection, broker int32, res *Result) error {
	t := s.restoredTopic(f, broker)
	if int(f.Partition) >= len(t.heads) || f.Partition < 0 {
		return ErrInvalidCommand
	}
	s.moveLogStart(t, t.heads[f.Partition], f.LogStart)
	h := t.heads[f.Partition]
	if f.Range.Start != h.CommittedEnd || f.Range.Start > f.Range.End {
		return catalog.ErrConflict
	}
	next := *h
	c := catalog.CommitRange{Range: f.Range, State: f.State, Base: f.Base}
	if f.Range.Start < f.Range.End {
		s.adopt(f.Range.Object, f.Range.Writer, f.Range.ObjectBytes)
		next.Ranges = append(append([]catalog.Range{}, h.Ranges...), f.Range)
		next.CommittedEnd = f.Range.End
	}
	if f.State.Object != 0 {
		s.adoptState(f.State)
		s.adoptState(f.Base)
		s.unrefState(next.State)
		s.unrefState(next.Base)
		next.State, next.Base = c.State, c.Base
	}
	s.putHead(t, &next, res)
	return nil
}

// restoredTopic finds or creates the topic of a section, and grows it to the section's partition
// count. New partitions are led by a broker without an incarnation, until its RegisterIncarnation.
func (s *State) restoredTopic(f *FoundSection, broker int32) *topic {
	t := s.topics[f.Topic]
	if t == nil {
		if old, ok := s.TopicByName(f.Name); ok {
			s.dropTopic(s.topics[old.ID]) // the later creation wins (E26)
		}
		t = s.addTopic(&catalog.Topic{
			ID: f.Topic, Name: f.Name, Creation: f.Creation,
			ReplicationFactor: f.ReplicationFactor, Configs: f.Configs,
		})
	}
	if count := int(min(f.PartitionCount, partitionsMax)); count > len(t.heads) {
		leaders := slices.Repeat([]catalog.Leadership{{Broker: broker}}, count-len(t.heads))
		s.addPartitions(t, leaders)
	}
	return t
}

// adopt takes one reference to an object of the lost cluster. The first reference makes the object
// live.
func (s *State) adopt(id ident.ObjectID, writer ident.Incarnation, bytes int64) {
	o, ok := s.objects[id]
	if ok && o.state == pb.ObjectState_LIVE {
		s.ref(id)
		return
	}
	if ok && o.state == pb.ObjectState_UNREFERENCED {
		// Cannot happen: the plan leaves settled objects out.
		panic("BUG: restore refers to object " + id.String() + ", which was garbage")
	}
	s.objects[id] = object{state: pb.ObjectState_LIVE, kind: objectKindBundle, writer: writer, bytes: bytes, count: 1}
}

func (s *State) adoptState(r catalog.StateRef) {
	if r.Object != 0 {
		s.adopt(r.Object, r.Writer, r.ObjectBytes)
	}
}

// adoptUnused turns an object that was found and that nothing uses into garbage (E26).
func (s *State) adoptUnused(u *pb.FoundObject) {
	id := ident.ObjectID(u.Object)
	if o, ok := s.objects[id]; ok && o.state != pb.ObjectState_PREPARED {
		return // the snapshot settled it, or a section uses it after all
	}
	s.objects[id] = object{kind: u.Kind, writer: ident.Incarnation(u.Writer), bytes: u.Bytes}
	s.unreference(id)
}

// applyRestoreDone raises every leader epoch, expires objects that are still prepared, and lets the
// cluster serve.
func (s *State) applyRestoreDone(c *pb.RestoreDone) Result {
	epoch := ident.Epoch(c.EpochSeen)
	for _, t := range s.allTopics() {
		for _, h := range t.heads {
			epoch = max(epoch, h.Leader.Epoch)
		}
	}
	if epoch > 1<<31-1-2*RestoreEpochStep {
		return Result{Err: ErrExhausted}
	}
	for _, t := range s.allTopics() {
		for i, h := range t.heads {
			next := *h
			next.Leader.Epoch = epoch + RestoreEpochStep // E22
			t.heads[i] = &next
		}
	}
	for id, o := range s.objects {
		if o.state == pb.ObjectState_PREPARED {
			s.unreference(id) // the object's writer is gone (E26)
		}
		if o.state == pb.ObjectState_LIVE && o.count == 0 {
			s.unreference(id) // see unref
		}
	}
	s.nextCreation = max(s.nextCreation, c.CreationSeen+1)
	s.restoring = false
	s.republish(s.allTopics())
	return Result{}
}
