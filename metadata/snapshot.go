package metadata

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata/pb"
)

// EncodeSnapshot returns the whole state as bytes. Equal states have equal bytes (I15).
func (s *State) EncodeSnapshot() ([]byte, error) {
	p := s.snapshot()
	b, err := appendFrame(snapshotMagic, snapshotVersionOf(p), p)
	if err != nil {
		return nil, fmt.Errorf("metadata: encode snapshot at index %d: %w", s.index, err)
	}
	return b, nil
}

// snapshotVersionOf returns the lowest version that can express the snapshot. The version depends
// on the state alone, as every byte does (I15).
func snapshotVersionOf(p *pb.Snapshot) uint16 {
	switch {
	case slices.ContainsFunc(p.Topics, hasOwnClass):
		return 3
	case len(p.BrokerConfigs) > 0:
		return 2
	}
	return 1
}

// hasOwnClass reports whether a leadership of the topic has another class than the topic's configs
// say.
func hasOwnClass(t *pb.Topic) bool {
	own := func(l *pb.Leadership) bool { return l.GetClass() != pb.Class_CLASS_AS_CONFIGURED }
	return slices.ContainsFunc(t.Heads, func(h *pb.Head) bool {
		return own(h.Leader) || slices.ContainsFunc(h.Past, own)
	})
}

// Hash returns a digest of the state, with which voters can be compared at one index.
func (s *State) Hash() ([32]byte, error) {
	b, err := s.EncodeSnapshot()
	if err != nil {
		return [32]byte{}, err
	}
	return sha256.Sum256(b), nil
}

// DecodeSnapshot reads what EncodeSnapshot returned, and checks that commands can have led to this
// state.
func DecodeSnapshot(b []byte) (*State, error) {
	body, err := openFrame(b, snapshotMagic, snapshotVersion)
	if err != nil {
		return nil, fmt.Errorf("metadata: decode snapshot: %w", err)
	}
	p := new(pb.Snapshot)
	if err := proto.Unmarshal(body, p); err != nil {
		return nil, fmt.Errorf("metadata: decode snapshot: %w: %v", ErrCorrupt, err)
	}
	if len(p.ProtoReflect().GetUnknown()) > 0 {
		return nil, fmt.Errorf("metadata: decode snapshot: %w", ErrUnknownCommand)
	}
	s, err := stateFrom(p)
	if err == nil {
		err = s.Check()
	}
	if err != nil {
		return nil, fmt.Errorf("metadata: decode snapshot at index %d: %w", p.Index, err)
	}
	return s, nil
}

func (s *State) snapshot() *pb.Snapshot {
	p := &pb.Snapshot{
		ClusterId: s.clusterID, Generation: uint32(s.generation), Directory: s.directory,
		TimeMs: s.now, Index: s.index, Restoring: s.restoring,
		NextIncarnation: uint64(s.nextIncarnation), NextObject: uint64(s.nextObject),
		NextProducer: int64(s.nextProducer), NextCreation: s.nextCreation,
		Stored:  storedTo(s.stored),
		Brokers: convertAll(s.brokers, brokerTo),
		Answers: convertAll(s.answers, answerTo),
	}
	for _, info := range s.byName.topics {
		p.Topics = append(p.Topics, topicTo(s.topics[info.ID]))
	}
	for _, tp := range slices.SortedFunc(maps.Keys(s.released), ident.TopicPartition.Compare) {
		h := headTo(s.released[tp], catalog.ClassUnset)
		h.Partition = partitionTo(tp)
		p.Released = append(p.Released, h)
	}
	for _, id := range sortedKeys(s.objects) {
		p.Objects = append(p.Objects, objectTo(id, s.objects[id]))
	}
	for _, node := range sortedKeys(s.brokerConfigs) {
		p.BrokerConfigs = append(p.BrokerConfigs, &pb.BrokerConfigs{Broker: node, Configs: configsTo(s.brokerConfigs[node])})
	}
	return p
}

func brokerTo(b *broker) *pb.Broker {
	p := &pb.Broker{Node: b.node, Directory: b.directory, Incarnation: uint64(b.incarnation), Opened: b.opened}
	for _, t := range b.tails {
		p.Tails = append(p.Tails, &pb.Tail{Incarnation: uint64(t.Incarnation), End: int64(t.End)})
	}
	if b.last.number > 0 {
		p.Last = &pb.LastCommit{Number: b.last.number, Bundles: convertAll(b.last.bundles, verdictsTo)}
	}
	return p
}

func verdictsTo(v bundleVerdicts) *pb.BundleVerdicts {
	p := &pb.BundleVerdicts{Object: uint64(v.object)}
	for i := range v.verdicts {
		p.Verdicts = append(p.Verdicts, byte(v.verdicts[i]))
		p.Reasons = append(p.Reasons, byte(v.reasons[i]))
	}
	return p
}

func answerTo(a answer) *pb.Answer {
	p := &pb.Answer{RequestId: []byte(a.request), Refusal: a.refusal, Incarnation: uint64(a.incarnation)}
	if a.topic != (ident.TopicID{}) {
		p.Topic = a.topic[:]
	}
	return p
}

func topicTo(t *topic) *pb.Topic {
	configured := catalog.ClassOf(t.info.Configs)
	return &pb.Topic{
		Id: t.info.ID[:], Name: t.info.Name, Creation: t.info.Creation,
		ReplicationFactor: int32(t.info.ReplicationFactor), Configs: configsTo(t.info.Configs),
		Heads: convertAll(t.heads, func(h *catalog.Head) *pb.Head { return headTo(h, configured) }),
	}
}

func headTo(h *catalog.Head, configured catalog.Class) *pb.Head {
	return &pb.Head{
		Leader: leadershipTo(h.Leader, configured), LogStart: int64(h.LogStart), CommittedEnd: int64(h.CommittedEnd),
		State: stateRefTo(h.State), Base: stateRefTo(h.Base), Manifest: manifestTo(h.Manifest),
		Ranges: convertAll(h.Ranges, rangeTo),
		Past:   convertAll(h.Past, func(l catalog.Leadership) *pb.Leadership { return leadershipTo(l, configured) }),
	}
}

func objectTo(id ident.ObjectID, o object) *pb.Object {
	return &pb.Object{
		Id: uint64(id), Writer: uint64(o.writer), Bytes: o.bytes, State: o.state, Count: o.count,
		ExpiresMs: o.expires, Index: o.index, TimeMs: o.since, Kind: o.kind,
	}
}

func stateFrom(p *pb.Snapshot) (*State, error) {
	s := New()
	s.clusterID, s.generation, s.directory = p.ClusterId, ident.Generation(p.Generation), p.Directory
	s.now, s.index, s.restoring = p.TimeMs, p.Index, p.Restoring
	s.nextIncarnation, s.nextObject = ident.Incarnation(p.NextIncarnation), ident.ObjectID(p.NextObject)
	s.nextProducer, s.nextCreation = ident.ProducerID(p.NextProducer), p.NextCreation
	s.stored = storedFrom(p.Stored)
	s.brokers = convertAll(p.Brokers, brokerFrom)
	s.answers = convertAll(p.Answers, answerFrom)
	for _, t := range p.Topics {
		if err := s.loadTopic(t); err != nil {
			return nil, err
		}
	}
	for _, h := range p.Released {
		tp, ok := partitionFrom(h.Partition)
		if !ok {
			return nil, fmt.Errorf("%w: released head without a partition", ErrCorrupt)
		}
		s.released[tp] = headFrom(tp, h, catalog.ClassUnset)
	}
	for _, o := range p.Objects {
		s.objects[ident.ObjectID(o.Id)] = object{
			state: o.State, kind: o.Kind, writer: ident.Incarnation(o.Writer), bytes: o.Bytes,
			expires: o.ExpiresMs, count: o.Count, index: o.Index, since: o.TimeMs,
		}
	}
	for _, c := range p.BrokerConfigs {
		s.brokerConfigs[c.Broker] = configsFrom(c.Configs)
	}
	if len(s.brokerConfigs) != len(p.BrokerConfigs) || len(s.topics) != len(p.Topics) || len(s.objects) != len(p.Objects) || len(s.released) != len(p.Released) {
		return nil, fmt.Errorf("%w: an id occurs twice", ErrCorrupt)
	}
	return s, nil
}

func brokerFrom(p *pb.Broker) *broker {
	b := &broker{node: p.Node, directory: p.Directory, incarnation: ident.Incarnation(p.Incarnation), opened: p.Opened}
	b.tails = convertAll(p.Tails, func(t *pb.Tail) catalog.Tail {
		return catalog.Tail{Incarnation: ident.Incarnation(t.Incarnation), End: ident.Position(t.End)}
	})
	b.last = lastCommit{number: p.GetLast().GetNumber(), bundles: convertAll(p.GetLast().GetBundles(), verdictsFrom)}
	return b
}

func verdictsFrom(p *pb.BundleVerdicts) bundleVerdicts {
	v := bundleVerdicts{
		object:   ident.ObjectID(p.Object),
		verdicts: make([]catalog.Verdict, len(p.Verdicts)),
		reasons:  make([]catalog.Reason, len(p.Verdicts)),
	}
	for i, b := range p.Verdicts {
		v.verdicts[i] = catalog.Verdict(b)
	}
	for i, b := range p.Reasons[:min(len(p.Reasons), len(p.Verdicts))] {
		v.reasons[i] = catalog.Reason(b)
	}
	return v
}

func answerFrom(p *pb.Answer) answer {
	id, _ := topicID(p.Topic)
	return answer{request: string(p.RequestId), refusal: p.Refusal, topic: id, incarnation: ident.Incarnation(p.Incarnation)}
}

// loadTopic adds a topic of a snapshot. A snapshot lists its topics by name.
func (s *State) loadTopic(p *pb.Topic) error {
	id, ok := topicID(p.Id)
	if n := len(s.byName.topics); !ok || n > 0 && s.byName.topics[n-1].Name >= p.Name {
		return fmt.Errorf("%w: topic %q out of order", ErrCorrupt, p.Name)
	}
	t := &topic{info: &catalog.Topic{
		ID: id, Name: p.Name, Creation: p.Creation,
		ReplicationFactor: int16(p.ReplicationFactor), Configs: configsFrom(p.Configs),
		Partitions: make([]catalog.Leadership, len(p.Heads)),
	}}
	for i, h := range p.Heads {
		head := headFrom(ident.TopicPartition{Topic: id, Index: int32(i)}, h, catalog.ClassOf(t.info.Configs))
		t.heads = append(t.heads, head)
		t.info.Partitions[i] = head.Leader
	}
	s.topics[id] = t
	s.byName.topics = append(s.byName.topics, t.info)
	return nil
}

func headFrom(tp ident.TopicPartition, p *pb.Head, configured catalog.Class) *catalog.Head {
	return &catalog.Head{
		Partition: tp, Leader: leadershipFrom(p.Leader, configured),
		LogStart: ident.Offset(p.LogStart), CommittedEnd: ident.Offset(p.CommittedEnd),
		State: stateRefFrom(p.State), Base: stateRefFrom(p.Base), Manifest: manifestFrom(p.Manifest),
		Ranges: convertAll(p.Ranges, rangeFrom),
		Past:   convertAll(p.Past, func(l *pb.Leadership) catalog.Leadership { return leadershipFrom(l, configured) }),
	}
}

// Check verifies what every command preserves: ranges are contiguous and end at the committed end
// (I8), lists are sorted, and no object has fewer references than the heads show (I10). References
// in manifests are not visible here.
func (s *State) Check() error {
	seen := map[ident.ObjectID]int64{}
	for _, info := range s.byName.topics {
		t := s.topics[info.ID]
		if t == nil || t.info != info || len(info.Partitions) != len(t.heads) {
			return fmt.Errorf("%w: topic %q is not what its id names", ErrCorrupt, info.Name)
		}
		for _, h := range t.heads {
			if err := checkHead(h); err != nil {
				return err
			}
			countRefs(h, seen)
		}
	}
	for _, h := range s.released {
		countRefs(h, seen)
	}
	return s.checkTables(seen)
}

func checkHead(h *catalog.Head) error {
	if c := h.Leader.Class; c < catalog.ClassLocal || c > catalog.ClassObject {
		return fmt.Errorf("%w: partition %s: class %d", ErrCorrupt, h.Partition, c)
	}
	if h.LogStart < 0 || h.CommittedEnd < h.LogStart {
		return fmt.Errorf("%w: partition %s: log start %d, committed end %d", ErrCorrupt, h.Partition, h.LogStart, h.CommittedEnd)
	}
	for i, r := range h.Ranges {
		end := h.CommittedEnd
		if i+1 < len(h.Ranges) {
			end = h.Ranges[i+1].Start
		}
		if r.Start >= r.End || r.End != end { // I8
			return fmt.Errorf("%w: partition %s: range [%d,%d) of object %s is not followed by %d", ErrCorrupt, h.Partition, r.Start, r.End, r.Object, end)
		}
	}
	return nil
}

func countRefs(h *catalog.Head, seen map[ident.ObjectID]int64) {
	for _, r := range h.Ranges {
		seen[r.Object]++
	}
	for _, id := range []ident.ObjectID{h.State.Object, h.Base.Object, h.Manifest.Object} {
		if id != 0 {
			seen[id]++
		}
	}
}

func (s *State) checkTables(refs map[ident.ObjectID]int64) error {
	for _, id := range sortedKeys(refs) {
		if o := s.objects[id]; o.state != pb.ObjectState_LIVE || o.count < refs[id] {
			return fmt.Errorf("%w: object %s is %s with %d references, heads show %d", ErrCorrupt, id, o.state, o.count, refs[id])
		}
	}
	for _, id := range sortedKeys(s.objects) {
		o := s.objects[id]
		if o.state < pb.ObjectState_PREPARED || o.state > pb.ObjectState_UNREFERENCED || (o.state == pb.ObjectState_LIVE) != (o.count > 0) && !s.restoring {
			return fmt.Errorf("%w: object %s is %s with %d references", ErrCorrupt, id, o.state, o.count)
		}
	}
	if !slices.IsSortedFunc(s.brokers, func(a, b *broker) int { return cmp.Compare(a.node, b.node) }) {
		return fmt.Errorf("%w: brokers out of order", ErrCorrupt)
	}
	for node, configs := range s.brokerConfigs {
		if node < catalog.AllBrokers || len(configs) == 0 {
			return fmt.Errorf("%w: %d keys are set on broker %d", ErrCorrupt, len(configs), node)
		}
	}
	for _, a := range s.answers {
		if _, ok := refusalOf(a.refusal); !ok {
			return fmt.Errorf("%w: answer with unknown refusal %d", ErrCorrupt, a.refusal)
		}
	}
	return nil
}
