package metadata

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata/pb"
)

// State is everything that the quorum knows. Only Apply and DecodeSnapshot write to it.
//
// Heads, catalog topics and the slices in them are never edited: a change puts a new one in their
// place. So Freeze is a copy of maps and pointers, and what accessors return does not change.
type State struct {
	clusterID  string // "" before Bootstrap
	generation ident.Generation
	directory  string // the UUID of the directory that created or restored the cluster
	now        int64  // FSM time in milliseconds; never goes back
	index      uint64 // the index of the last command that was applied
	restoring  bool   // between Restore and RestoreDone: nothing else is accepted

	nextIncarnation ident.Incarnation
	nextObject      ident.ObjectID
	nextProducer    ident.ProducerID
	nextCreation    uint64

	stored  StoredSnapshot
	brokers []*broker // by node id
	topics  map[ident.TopicID]*topic
	byName  *topicList // the same topics, sorted by name
	// released holds the heads of deleted topics whose manifests still name ranges (E30).
	released map[ident.TopicPartition]*catalog.Head
	objects  map[ident.ObjectID]object
	answers  []answer // to administrative commands, oldest first
	// brokerConfigs is what is set on a broker, by its node id, or on all of them
	// (catalog.AllBrokers). Its maps are replaced and never edited; none is empty.
	brokerConfigs map[int32]map[string]string
}

// broker is one node with the role broker.
type broker struct {
	node        int32
	directory   string            // UUID of the data directory, which identifies the disk
	incarnation ident.Incarnation // the current one
	opened      bool              // nothing is placed or committed before it is opened (E27)
	tails       []catalog.Tail    // sealed, oldest first; the current incarnation holds them (E21)
	last        lastCommit        // of the current incarnation (E28)
}

// lastCommit is how the last commit of an incarnation was judged.
type lastCommit struct {
	number  uint64
	bundles []bundleVerdicts
}

type bundleVerdicts struct {
	object   ident.ObjectID
	verdicts []catalog.Verdict
	reasons  []catalog.Reason
}

type topic struct {
	info  *catalog.Topic
	heads []*catalog.Head // by partition
}

// topicList is a list of topics that may be handed out. It is edited in place until then, and
// replaced after that. When it was replaced with every topic that was created, ten thousand of them
// took 3 s of a start (BenchmarkCreateTopics).
type topicList struct {
	topics []*catalog.Topic
	shared atomic.Bool
}

// editable returns the list by name. The caller may edit it.
func (s *State) editable() *topicList {
	if s.byName.shared.Load() {
		s.byName = &topicList{topics: slices.Clone(s.byName.topics)}
	}
	return s.byName
}

// object is what is known about an object from its reservation to its deletion.
type object struct {
	state   pb.ObjectState
	kind    int32 // objectKind…
	writer  ident.Incarnation
	bytes   int64
	expires int64  // prepared: FSM time in milliseconds
	count   int64  // live: number of ranges, state pointers and manifests that refer to it
	index   uint64 // unreferenced: the index of the command that dropped the last reference …
	since   int64  // … and its FSM time
}

// The kinds of objects, as far as the state machine knows them.
const (
	objectKindUnknown  = 0
	objectKindBundle   = KindBundle
	objectKindManifest = KindManifest
)

// The kinds of a DeadObject.
const (
	KindBundle   = 1
	KindManifest = 2
)

// answer is the answer to an administrative command, kept for a repetition.
type answer struct {
	request     string
	refusal     uint32
	topic       ident.TopicID
	incarnation ident.Incarnation
}

// answersMax bounds the memory of answers. A proposer repeats a command within seconds after an
// unknown outcome. A thousand later administrative commands take much longer.
const answersMax = 1024

// StoredSnapshot is a link of the chain in the bucket. The zero value means that there is none.
type StoredSnapshot struct {
	Number     uint64
	Index      uint64 // the snapshot contains all commands up to this one
	CRC        uint32 // of the link object; the next link repeats it
	Generation ident.Generation
}

// New returns the state before the first command.
func New() *State {
	return &State{
		byName:   &topicList{},
		topics:   map[ident.TopicID]*topic{},
		released: map[ident.TopicPartition]*catalog.Head{},
		objects:  map[ident.ObjectID]object{},

		brokerConfigs: map[int32]map[string]string{},
	}
}

// Apply changes the state by one command. The Result is the answer, and is the same on every node.
// An error means that this node must stop, since half of the command may be applied.
func (s *State) Apply(index uint64, cmd *pb.Command) (Result, error) {
	if index <= s.index {
		return Result{}, fmt.Errorf("metadata: apply %s at index %d, which is not after %d: %w", CommandName(cmd), index, s.index, ErrCorrupt)
	}
	if err := refuseUnknown(cmd); err != nil {
		return Result{}, fmt.Errorf("metadata: apply index %d: %w", index, err)
	}
	s.index = index
	s.now = max(s.now, cmd.GetTimeMs())
	if res, ok := s.repeated(cmd); ok {
		return res, nil
	}
	res, err := s.dispatch(cmd)
	if err != nil {
		return Result{}, fmt.Errorf("metadata: apply %s at index %d: %w", CommandName(cmd), index, err)
	}
	s.remember(cmd, &res)
	return res, nil
}

// dispatch has a row for each kind of command.
func (s *State) dispatch(cmd *pb.Command) (Result, error) {
	if err := s.admit(cmd); err != nil {
		return Result{Err: err}, nil
	}
	switch k := cmd.Kind.(type) {
	case *pb.Command_Bootstrap:
		return s.applyBootstrap(k.Bootstrap), nil
	case *pb.Command_RegisterIncarnation:
		return s.applyRegister(k.RegisterIncarnation), nil
	case *pb.Command_OpenIncarnation:
		return s.applyOpen(k.OpenIncarnation), nil
	case *pb.Command_RetireTail:
		return s.applyRetireTail(k.RetireTail), nil
	case *pb.Command_CreateTopic:
		return s.applyCreateTopic(k.CreateTopic), nil
	case *pb.Command_DeleteTopic:
		return s.applyDeleteTopic(k.DeleteTopic), nil
	case *pb.Command_CreatePartitions:
		return s.applyCreatePartitions(k.CreatePartitions), nil
	case *pb.Command_SetConfigs:
		return s.applySetConfigs(k.SetConfigs), nil
	case *pb.Command_SetBrokerConfigs:
		return s.applySetBrokerConfigs(k.SetBrokerConfigs), nil
	case *pb.Command_AllocateProducerIds:
		return s.applyAllocateProducers(), nil
	case *pb.Command_ReserveObjects:
		return s.applyReserve(k.ReserveObjects), nil
	case *pb.Command_CommitFlush:
		return s.applyCommit(k.CommitFlush), nil
	case *pb.Command_SwapManifest:
		return s.applySwap(k.SwapManifest), nil
	case *pb.Command_ReleaseRanges:
		return s.applyRelease(k.ReleaseRanges), nil
	case *pb.Command_ExpireObjects:
		return s.applyExpire(), nil
	case *pb.Command_AdvanceLogStart:
		return s.applyAdvanceLogStart(k.AdvanceLogStart), nil
	case *pb.Command_SnapshotStored:
		return s.applySnapshotStored(k.SnapshotStored), nil
	case *pb.Command_ConfirmDeleted:
		return s.applyConfirmDeleted(k.ConfirmDeleted), nil
	case *pb.Command_Restore:
		return s.applyRestore(k.Restore), nil
	case *pb.Command_RestoreSections:
		return s.applyRestoreSections(k.RestoreSections), nil
	case *pb.Command_RestoreDone:
		return s.applyRestoreDone(k.RestoreDone), nil
	}
	return Result{}, ErrUnknownCommand
}

// admit refuses what has no meaning yet: anything before Bootstrap, and anything except the
// restore's own commands until a restore is done.
func (s *State) admit(cmd *pb.Command) error {
	switch cmd.Kind.(type) {
	case *pb.Command_Bootstrap:
		return nil
	case *pb.Command_RestoreSections, *pb.Command_RestoreDone:
		if !s.restoring {
			return catalog.ErrConflict
		}
		return nil
	}
	if s.clusterID == "" {
		return fmt.Errorf("%w: cluster is not bootstrapped", ErrInvalidCommand)
	}
	if s.restoring {
		return ErrRestoring
	}
	return nil
}

// ClusterID returns the cluster's id, "" before Bootstrap.
func (s *State) ClusterID() string { return s.clusterID }

// Generation counts the restores of the cluster.
func (s *State) Generation() ident.Generation { return s.generation }

// Directory returns the UUID of the directory that made or last restored the cluster.
func (s *State) Directory() string { return s.directory }

// Now returns FSM time.
func (s *State) Now() time.Time { return time.UnixMilli(s.now) }

// Index returns the index of the last command applied.
func (s *State) Index() uint64 { return s.index }

// Restoring reports that a restore has begun and is not finished. Nothing may be served then.
func (s *State) Restoring() bool { return s.restoring }

// Stored returns the newest link of the snapshot chain that the quorum knows.
func (s *State) Stored() StoredSnapshot { return s.stored }

// Topics returns all topics, sorted by name. The list is read-only.
func (s *State) Topics() []*catalog.Topic {
	s.byName.shared.Store(true)
	return s.byName.topics
}

// Topic returns the topic with this id.
func (s *State) Topic(id ident.TopicID) (*catalog.Topic, bool) {
	t, ok := s.topics[id]
	if !ok {
		return nil, false
	}
	return t.info, true
}

// TopicByName returns the topic with this name.
func (s *State) TopicByName(name string) (*catalog.Topic, bool) {
	i, ok := s.searchName(name)
	if !ok {
		return nil, false
	}
	return s.byName.topics[i], true
}

// Head returns a partition's head. Its slices are read-only.
func (s *State) Head(tp ident.TopicPartition) (catalog.Head, bool) {
	_, h := s.head(tp)
	if h == nil {
		return catalog.Head{}, false
	}
	return *h, true
}

// Heads returns the heads of all partitions of a topic. They are read-only.
func (s *State) Heads(id ident.TopicID) []catalog.Head {
	t := s.topics[id]
	if t == nil {
		return nil
	}
	heads := make([]catalog.Head, len(t.heads))
	for i, h := range t.heads {
		heads[i] = *h
	}
	return heads
}

// Released lists partitions of deleted topics whose manifests still name ranges that wait for
// ReleaseRanges (E30), in order, at most limit of them.
func (s *State) Released(limit int) []catalog.Head {
	keys := slices.SortedFunc(maps.Keys(s.released), ident.TopicPartition.Compare)
	heads := make([]catalog.Head, 0, min(limit, len(keys)))
	for _, tp := range keys[:min(limit, len(keys))] {
		heads = append(heads, *s.released[tp])
	}
	return heads
}

// Broker is what the quorum knows about a broker.
type Broker struct {
	Node        int32
	Directory   string            // the UUID of its data directory
	Incarnation ident.Incarnation // the current one
	Opened      bool
	Tails       []catalog.Tail // oldest first; read-only
	// The number of the current incarnation's last commit; 0 if there is none.
	LastCommit uint64
}

// Broker returns the broker with this node id.
func (s *State) Broker(node int32) (Broker, bool) {
	b := s.broker(node)
	if b == nil {
		return Broker{}, false
	}
	return b.view(), true
}

// Brokers returns all brokers, by node id.
func (s *State) Brokers() []Broker {
	all := make([]Broker, len(s.brokers))
	for i, b := range s.brokers {
		all[i] = b.view()
	}
	return all
}

// NextCreation returns the creation number of the next topic.
func (s *State) NextCreation() uint64 { return s.nextCreation }

// BrokerConfigs returns what was set on a broker, or on catalog.AllBrokers, while brokers run. The
// map is read-only.
func (s *State) BrokerConfigs(node int32) map[string]string { return s.brokerConfigs[node] }

func (b *broker) view() Broker {
	return Broker{b.node, b.directory, b.incarnation, b.opened, b.tails, b.last.number}
}

func (s *State) broker(node int32) *broker {
	i, ok := slices.BinarySearchFunc(s.brokers, node, func(b *broker, n int32) int { return cmp.Compare(b.node, n) })
	if !ok {
		return nil
	}
	return s.brokers[i]
}

// current returns the broker whose current incarnation is inc.
func (s *State) current(inc ident.Incarnation) *broker {
	for _, b := range s.brokers {
		if b.incarnation == inc && inc != 0 {
			return b
		}
	}
	return nil
}

// committer returns the broker that may commit as inc, if inc is current and opened (I4, E27).
func (s *State) committer(inc ident.Incarnation) *broker {
	if b := s.current(inc); b != nil && b.opened {
		return b
	}
	return nil
}

func (s *State) head(tp ident.TopicPartition) (*topic, *catalog.Head) {
	t := s.topics[tp.Topic]
	if t == nil || tp.Index < 0 || int(tp.Index) >= len(t.heads) {
		return t, nil
	}
	return t, t.heads[tp.Index]
}

func (s *State) searchName(name string) (int, bool) {
	return slices.BinarySearchFunc(s.byName.topics, name, func(t *catalog.Topic, n string) int { return cmp.Compare(t.Name, n) })
}

// Freeze returns a copy that later commands do not change, so that a snapshot can be encoded beside
// them. It costs a few bytes per partition and object. Heads and topics are shared.
func (s *State) Freeze() *State {
	s.byName.shared.Store(true)
	f := *s
	f.brokers = make([]*broker, len(s.brokers))
	for i, b := range s.brokers {
		c := *b
		f.brokers[i] = &c
	}
	f.topics = make(map[ident.TopicID]*topic, len(s.topics))
	for id, t := range s.topics {
		f.topics[id] = &topic{info: t.info, heads: slices.Clone(t.heads)}
	}
	f.released = maps.Clone(s.released)
	f.objects = maps.Clone(s.objects)
	f.answers = slices.Clone(s.answers)
	f.brokerConfigs = maps.Clone(s.brokerConfigs)
	return &f
}
