package metadata

import (
	"cmp"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata/pb"
)

// FoundSection is one partition's section of a bundle that was found in the bucket, as its own
// header describes it (E1, E26).
type FoundSection struct {
	Topic             ident.TopicID
	Name              string
	Creation          uint64
	PartitionCount    int32
	ReplicationFactor int16
	Configs           map[string]string
	Partition         int32
	LogStart          ident.Offset
	Range             catalog.Range
	State, Base       catalog.StateRef
}

// FoundObject is an object that was found in the bucket, whatever is in it.
type FoundObject struct {
	ID       ident.ObjectID
	Writer   ident.Incarnation
	Bytes    int64
	Manifest bool // a manifest; otherwise a bundle
}

// Restorer is the directory that restores, by its UUID, and the node id that leads every partition
// from then on.
type Restorer struct {
	Directory string
	Broker    int32
}

// RestorePlan is what a restore will do. Commands are to be proposed in this order to a quorum that
// starts from the snapshot. The rest says what becomes of the sections and objects that were found.
type RestorePlan struct {
	Commands []*pb.Command
	Placed   []FoundSection // as they were cut
	LeftOut  []LeftOut      // their data does not come back
	Unused   []FoundObject  // they become garbage
}

// LeftOut is a section whose data does not come back, and the reason.
type LeftOut struct {
	Section FoundSection
	Reason  string
}

// Unsettled reports that the state cannot say what became of an object: the object was prepared
// when the state was written, or its id was issued later. A restore looks only at unsettled
// objects.
func (s *State) Unsettled(id ident.ObjectID) bool {
	if o, ok := s.objects[id]; ok {
		return o.state == pb.ObjectState_PREPARED
	}
	return id >= s.nextObject
}

// PlanRestore decides which of the found sections are put back. snapshot is the newest of the
// chain; found and objects are everything that the bucket holds beyond it. PlanRestore is pure: the
// same input gives the same plan, and it does not change snapshot.
func PlanRestore(snapshot *State, by Restorer, objects []FoundObject, found []FoundSection) RestorePlan {
	p := planner{s: snapshot, by: by, exists: map[ident.ObjectID]bool{}, used: map[ident.ObjectID]bool{}}
	for _, o := range objects {
		p.exists[o.ID] = true
	}
	found = slices.Clone(found)
	slices.SortFunc(found, compareFound)
	topics := p.chooseTopics(found)
	for part := range chunks(found, samePartition) {
		if topics[part[0].Topic] {
			p.placePartition(part)
		}
	}
	p.collectUnused(objects)
	p.makeCommands(found)
	return p.plan
}

type planner struct {
	s      *State
	by     Restorer
	exists map[ident.ObjectID]bool // objects that were found in the bucket
	used   map[ident.ObjectID]bool // objects to which a placed section refers
	plan   RestorePlan
}

// compareFound orders sections by the creation of their topic, then by partition, then in the order
// of the partition's log.
func compareFound(a, b FoundSection) int {
	return cmp.Or(
		cmp.Compare(a.Creation, b.Creation),
		slices.Compare(a.Topic[:], b.Topic[:]),
		cmp.Compare(a.Partition, b.Partition),
		cmp.Compare(a.Range.Epoch, b.Range.Epoch),
		cmp.Compare(a.Range.Start, b.Range.Start),
		cmp.Compare(b.Range.End, a.Range.End),
		cmp.Compare(a.Range.Object, b.Range.Object),
		cmp.Compare(a.Range.Index.Position, b.Range.Index.Position),
	)
}

func samePartition(a, b FoundSection) bool { return a.Topic == b.Topic && a.Partition == b.Partition }
func sameTopic(a, b FoundSection) bool     { return a.Topic == b.Topic }

// chunks yields runs of equal elements.
func chunks[T any](list []T, same func(a, b T) bool) func(yield func([]T) bool) {
	return func(yield func([]T) bool) {
		for start := 0; start < len(list); {
			end := start + 1
			for end < len(list) && same(list[start], list[end]) {
				end++
			}
			if !yield(list[start:end:end]) {
				return
			}
			start = end
		}
	}
}

// chooseTopics decides which topics come back. A topic that the snapshot does not know although it
// was created before the snapshot was deleted. Of two topics with one name, the later creation wins
// (E26).
func (p *planner) chooseTopics(found []FoundSection) map[ident.TopicID]bool {
	winners := map[string]*FoundSection{}
	for run := range chunks(found, sameTopic) {
		f := newest(run)
		live, taken := p.s.TopicByName(f.Name)
		_, known := p.s.topics[f.Topic]
		switch {
		case known: // the snapshot knows the topic, so the name is the topic's own
		case f.Creation < p.s.nextCreation, taken && live.Creation > f.Creation:
			continue
		}
		if w := winners[f.Name]; w == nil || w.Creation < f.Creation {
			winners[f.Name] = f
		}
	}
	chosen := map[ident.TopicID]bool{}
	for _, name := range sortedKeys(winners) {
		w := winners[name]
		chosen[w.Topic] = true
		p.makeTopic(w)
	}
	for run := range chunks(found, sameTopic) {
		if !chosen[run[0].Topic] {
			p.leaveOut(run, "the topic was deleted, or its name belongs to a later topic")
		}
	}
	return chosen
}

// newest returns the topic as its last flush describes it, with the highest partition count of all
// sections.
func newest(run []FoundSection) *FoundSection {
	f := slices.MaxFunc(run, func(a, b FoundSection) int { return cmp.Compare(a.Range.Object, b.Range.Object) })
	for _, g := range run {
		f.PartitionCount = max(f.PartitionCount, g.PartitionCount, g.Partition+1)
	}
	return &f
}

// makeTopic places a section without data. It creates or grows the topic even if none of the
// topic's data can be placed.
func (p *planner) makeTopic(f *FoundSection) {
	maker := *f
	maker.Partition, maker.LogStart, maker.Range = 0, 0, catalog.Range{}
	maker.State, maker.Base = catalog.StateRef{}, catalog.StateRef{}
	if _, h := p.s.head(ident.TopicPartition{Topic: f.Topic}); h != nil {
		maker.Range.Start, maker.Range.End = h.CommittedEnd, h.CommittedEnd
	}
	p.plan.Placed = append(p.plan.Placed, maker)
}

// placePartition appends to one partition the sections that continue it from its committed end. At
// each step it takes the section of the highest epoch that continues there. A gap is legal only
// below a log start that some section names, since log starts never ran ahead of the quorum's.
func (p *planner) placePartition(part []FoundSection) {
	tp := ident.TopicPartition{Topic: part[0].Topic, Index: part[0].Partition}
	at, epoch := p.begin(tp, part)
	for {
		i := next(part, at, epoch, p.s)
		if i < 0 {
			break
		}
		f := part[i]
		f.Range.Start = at
		if end := cutAt(part, f); end < f.Range.End {
			f.Range.End = end
			// The state reflects what was cut off.
			f.State, f.Base = catalog.StateRef{}, catalog.StateRef{}
		}
		p.place(f)
		at, epoch = f.Range.End, f.Range.Epoch
	}
	p.placeState(part, at, epoch)
	for _, f := range part {
		if f.Range.End > at && p.s.Unsettled(f.Range.Object) {
			p.leaveOut([]FoundSection{f}, "a gap lies before it, or a later leader took over")
		}
	}
}

// begin moves the log start to where the sections say it was. It returns the offset where the
// partition continues, and the epoch below which no section can follow.
func (p *planner) begin(tp ident.TopicPartition, part []FoundSection) (ident.Offset, ident.Epoch) {
	var at, logStart ident.Offset
	epoch := ident.NoEpoch
	if _, h := p.s.head(tp); h != nil {
		at, logStart = h.CommittedEnd, h.LogStart
		if n := len(h.Ranges); n > 0 {
			epoch = h.Ranges[n-1].Epoch
		}
	}
	for _, f := range part {
		if p.s.Unsettled(f.Range.Object) {
			logStart = max(logStart, f.LogStart)
		}
	}
	mover := part[0]
	mover.LogStart = logStart
	at = max(at, logStart)
	mover.Range = catalog.Range{Start: at, End: at}
	mover.State, mover.Base = catalog.StateRef{}, catalog.StateRef{}
	p.plan.Placed = append(p.plan.Placed, mover)
	return at, epoch
}

// next finds the section that continues at an offset: the one of the highest epoch, and of those
// the longest.
func next(part []FoundSection, at ident.Offset, epoch ident.Epoch, s *State) int {
	best := -1
	for i, f := range part {
		if f.Range.Start > at || f.Range.End <= at || f.Range.Epoch < epoch || !s.Unsettled(f.Range.Object) {
			continue
		}
		if best < 0 || f.Range.Epoch > part[best].Range.Epoch ||
			f.Range.Epoch == part[best].Range.Epoch && f.Range.End > part[best].Range.End {
			best = i
		}
	}
	return best
}

// cutAt returns where a higher epoch begins inside the section, or the section's end if none does
// (E26).
func cutAt(part []FoundSection, f FoundSection) ident.Offset {
	end := f.Range.End
	for _, g := range part {
		if g.Range.Epoch > f.Range.Epoch && g.Range.Start > f.Range.Start && g.Range.Start < end {
			end = g.Range.Start
		}
	}
	return end
}

// placeState places the newest section that holds only state and stands at the partition's end, if
// there is one.
func (p *planner) placeState(part []FoundSection, at ident.Offset, epoch ident.Epoch) {
	best := -1
	for i, f := range part {
		if f.Range.Start != at || f.Range.End != at || f.Range.Epoch < epoch || f.State.Object == 0 || !p.s.Unsettled(f.Range.Object) {
			continue
		}
		if best < 0 || f.Range.Epoch > part[best].Range.Epoch || f.Range.Epoch == part[best].Range.Epoch && f.Range.Object > part[best].Range.Object {
			best = i
		}
	}
	if best >= 0 {
		p.place(part[best])
	}
}

// place puts a section into the plan. If the base of its state is gone, the state is of no use and
// is left out.
func (p *planner) place(f FoundSection) {
	if !p.available(f.State.Object) || !p.available(f.Base.Object) {
		f.State, f.Base = catalog.StateRef{}, catalog.StateRef{}
	}
	for _, id := range []ident.ObjectID{f.Range.Object, f.State.Object, f.Base.Object} {
		p.used[id] = true
	}
	if f.Range.Start == f.Range.End {
		f.Range.Object = 0
	}
	p.plan.Placed = append(p.plan.Placed, f)
}

// available reports whether a section may refer to an object: the reference is empty, or the object
// is live, or it was found and is unsettled.
func (p *planner) available(id ident.ObjectID) bool {
	return id == 0 || p.s.live(id) || p.exists[id] && p.s.Unsettled(id)
}

// leaveOut reports sections whose data the snapshot does not have.
func (p *planner) leaveOut(list []FoundSection, reason string) {
	for _, f := range list {
		if f.Range.Start < f.Range.End && p.s.Unsettled(f.Range.Object) {
			p.plan.LeftOut = append(p.plan.LeftOut, LeftOut{f, reason})
		}
	}
}

func (p *planner) collectUnused(objects []FoundObject) {
	for _, o := range objects {
		if p.s.Unsettled(o.ID) && !p.used[o.ID] {
			p.plan.Unused = append(p.plan.Unused, o)
		}
	}
	slices.SortFunc(p.plan.Unused, func(a, b FoundObject) int { return cmp.Compare(a.ID, b.ID) })
}

// restorePartBytes is how many bytes of a command are filled with sections before the next command
// begins.
const restorePartBytes = CommandBytesMax / 2

func (p *planner) makeCommands(found []FoundSection) {
	done := &pb.RestoreDone{}
	for _, f := range found {
		done.EpochSeen = max(done.EpochSeen, int32(f.Range.Epoch))
		done.CreationSeen = max(done.CreationSeen, f.Creation)
	}
	p.plan.Commands = append(p.plan.Commands, &pb.Command{Kind: &pb.Command_Restore{Restore: &pb.Restore{
		Directory: p.by.Directory, Broker: p.by.Broker, Generation: uint32(p.s.generation) + 1,
	}}})
	part, size := &pb.RestoreSections{Broker: p.by.Broker}, 0
	flush := func(more int) {
		if size+more > restorePartBytes && size > 0 {
			p.plan.Commands = append(p.plan.Commands, &pb.Command{Kind: &pb.Command_RestoreSections{RestoreSections: part}})
			part, size = &pb.RestoreSections{Broker: p.by.Broker}, 0
		}
	}
	for _, f := range p.plan.Placed {
		m := foundTo(f)
		flush(proto.Size(m))
		part.Sections, size = append(part.Sections, m), size+proto.Size(m)
	}
	for _, o := range p.plan.Unused {
		m := foundObjectTo(o)
		flush(proto.Size(m))
		part.Unused, size = append(part.Unused, m), size+proto.Size(m)
	}
	flush(restorePartBytes)
	p.plan.Commands = append(p.plan.Commands, &pb.Command{Kind: &pb.Command_RestoreDone{RestoreDone: done}})
}

func foundObjectTo(o FoundObject) *pb.FoundObject {
	kind := int32(objectKindBundle)
	if o.Manifest {
		kind = objectKindManifest
	}
	return &pb.FoundObject{Object: uint64(o.ID), Writer: uint64(o.Writer), Bytes: o.Bytes, Kind: kind}
}

func foundTo(f FoundSection) *pb.FoundSection {
	return &pb.FoundSection{
		Topic: f.Topic[:], Name: f.Name, Creation: f.Creation, PartitionCount: f.PartitionCount,
		ReplicationFactor: int32(f.ReplicationFactor), Configs: configsTo(f.Configs), Partition: f.Partition,
		LogStart: int64(f.LogStart), Range: rangeTo(f.Range), State: stateRefTo(f.State), Base: stateRefTo(f.Base),
	}
}

func foundFrom(p *pb.FoundSection) (FoundSection, bool) {
	id, ok := topicID(p.GetTopic())
	return FoundSection{
		Topic: id, Name: p.GetName(), Creation: p.GetCreation(), PartitionCount: p.GetPartitionCount(),
		ReplicationFactor: int16(p.GetReplicationFactor()), Configs: maps.Clone(configsFrom(p.GetConfigs())), Partition: p.GetPartition(),
		LogStart: ident.Offset(p.GetLogStart()), Range: rangeFrom(p.GetRange()), State: stateRefFrom(p.GetState()), Base: stateRefFrom(p.GetBase()),
	}, ok && p.GetName() != ""
}
