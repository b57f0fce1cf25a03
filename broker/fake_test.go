package broker

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage"
)

// memoryLog is a Log in memory. It knows enough for clients, and tests can stop it at gates.
type memoryLog struct {
	mu       sync.Mutex
	parts    map[ident.TopicPartition]*memoryPartition
	watchers map[int]chan<- struct{}
	nextID   int
	topics   *memoryTopics
	leaders  *memoryTopics // what the log knows of leaders: topics, unless a test sets others

	hold      bool                     // place requests, but do not settle them
	stuck     chan struct{}            // if not nil, a lent request waits for it
	held      []*storage.AppendRequest // in order of arrival
	arrived   chan struct{}            // if not nil, gets one signal per Append
	fail      error                    // if not nil, every partition is refused with it
	readErr   error
	producers map[ident.TopicPartition][]storage.Producer
	deleteErr error
	reads     int
	watched   []int // the number of partitions of each Watch
	throttle  time.Duration
	offsetFn  func(timestamp int64) (storage.OffsetAt, error)
}

type memoryPartition struct {
	batches [][]byte
	end     ident.Offset
	start   ident.Offset
}

func newMemoryLog(t *memoryTopics) *memoryLog {
	return &memoryLog{parts: map[ident.TopicPartition]*memoryPartition{}, watchers: map[int]chan<- struct{}{}, topics: t, leaders: t}
}

func (l *memoryLog) partLocked(tp ident.TopicPartition) *memoryPartition {
	p, ok := l.parts[tp]
	if !ok {
		p = &memoryPartition{}
		l.parts[tp] = p
	}
	return p
}

func (l *memoryLog) Append(req *storage.AppendRequest) {
	l.mu.Lock()
	if l.hold {
		l.held = append(l.held, req)
		arrived := l.arrived
		l.mu.Unlock()
		if arrived != nil {
			arrived <- struct{}{}
		}
		return
	}
	if stuck := l.stuck; stuck != nil && req.Lend {
		l.mu.Unlock()
		<-stuck // like a sync on a disk that hangs
		l.mu.Lock()
	}
	l.settleLocked(req)
	l.mu.Unlock()
	req.Done(req)
}

func (l *memoryLog) Producers(tp ident.TopicPartition) ([]storage.Producer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.producers[tp], l.readErr
}

func (l *memoryLog) setStuck(c chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stuck = c
}

func (l *memoryLog) Throttle(int64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.throttle
}

func (l *memoryLog) throttleFor(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.throttle = d
}

func (l *memoryLog) settleLocked(req *storage.AppendRequest) {
	for i := range req.Partitions {
		a := &req.Partitions[i]
		if a.Err = l.fail; a.Err != nil {
			continue
		}
		if _, ok := l.topics.TopicByID(a.Partition.Topic); !ok {
			a.Err = storage.ErrUnknownPartition
			continue
		}
		if a.Err = l.leaders.notLed(a.Partition); a.Err != nil {
			continue
		}
		p := l.partLocked(a.Partition)
		protocol.SetPlace(a.Batch, int64(p.end), 0)
		a.BaseOffset, a.LogStart = p.end, p.start
		p.end += ident.Offset(a.Header.RecordCount)
		p.batches = append(p.batches, a.Batch)
	}
	l.signalLocked()
}

func (l *memoryLog) signalLocked() {
	for _, c := range l.watchers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// release settles the oldest n held requests.
func (l *memoryLog) release(n int) {
	l.mu.Lock()
	reqs := l.held[:n]
	l.held = l.held[n:]
	for _, r := range reqs {
		l.settleLocked(r)
	}
	l.mu.Unlock()
	for _, r := range reqs {
		r.Done(r)
	}
}

func (l *memoryLog) Watch(parts []ident.TopicPartition, c chan<- struct{}) func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watched = append(l.watched, len(parts))
	id := l.nextID
	l.nextID++
	l.watchers[id] = c
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.watchers, id)
	}
}

func (l *memoryLog) Read(_ context.Context, f *storage.Fetch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	left, any := f.MaxBytes, false
	room := f.Room
	f.Needs = 0
	for i := range f.Partitions {
		p := &f.Partitions[i]
		p.LetGo()
		if p.Err = l.readErr; p.Err != nil {
			continue
		}
		if _, ok := l.topics.TopicByID(p.Partition.Topic); !ok {
			p.Err = storage.ErrUnknownPartition
			continue
		}
		if p.Err = l.leaders.notLed(p.Partition); p.Err != nil {
			continue
		}
		m := l.partLocked(p.Partition)
		if p.Offset < m.start || p.Offset > m.end {
			p.Err = storage.ErrOffsetOutOfRange
			continue
		}
		p.HighWatermark, p.LastStable, p.LogStart = m.end, m.end, m.start
		for _, b := range m.batches {
			h, _ := protocol.ParseBatchHeader(b)
			if ident.Offset(h.End()) <= p.Offset {
				continue
			}
			if any && (len(b) > left || p.Bytes+len(b) > p.MaxBytes) {
				break
			}
			if f.Room > 0 && len(b) > room {
				if !any && f.Needs == 0 {
					f.Needs = len(b)
				}
				break
			}
			p.Batches, p.Bytes, p.Held = append(p.Batches, b), p.Bytes+len(b), p.Held+len(b)
			left, room, any = left-len(b), room-len(b), true
		}
	}
}

func (l *memoryLog) ListOffset(_ context.Context, tp ident.TopicPartition, timestamp int64, epoch ident.Epoch, _ storage.Isolation) (storage.OffsetAt, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.leaders.notLed(tp); err != nil {
		return storage.OffsetAt{}, err
	}
	if l.offsetFn != nil {
		return l.offsetFn(timestamp)
	}
	if epoch > 0 {
		return storage.OffsetAt{}, storage.ErrUnknownEpoch
	}
	p := l.partLocked(tp)
	switch timestamp {
	case storage.TimestampLatest:
		return storage.OffsetAt{Offset: p.end, Timestamp: -1}, nil
	case storage.TimestampEarliest:
		return storage.OffsetAt{Offset: p.start, Timestamp: -1}, nil
	}
	for _, b := range p.batches {
		for r, err := range protocol.Records(b) {
			if err != nil {
				return storage.OffsetAt{}, err
			}
			if timestamp >= 0 && r.Timestamp >= timestamp {
				return storage.OffsetAt{Offset: ident.Offset(r.Offset), Timestamp: r.Timestamp}, nil
			}
		}
	}
	return storage.OffsetAt{Offset: -1, Timestamp: -1, Epoch: ident.NoEpoch}, nil
}

// DeleteRecords moves the start. A batch that begins below the start can still be read.
func (l *memoryLog) DeleteRecords(_ context.Context, tp ident.TopicPartition, before ident.Offset) (ident.Offset, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.leaders.notLed(tp); err != nil {
		return -1, err
	}
	if l.deleteErr != nil {
		return -1, l.deleteErr
	}
	p := l.partLocked(tp)
	if before == storage.HighWatermark {
		before = p.end
	}
	if before < 0 || before > p.end {
		return -1, storage.ErrOffsetOutOfRange
	}
	p.start = max(p.start, before)
	return p.start, nil
}

func (l *memoryLog) EpochEnd(tp ident.TopicPartition, epoch, current ident.Epoch) (ident.Epoch, ident.Offset, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.leaders.notLed(tp); err != nil {
		return ident.NoEpoch, -1, err
	}
	switch {
	case current > 0:
		return ident.NoEpoch, -1, storage.ErrUnknownEpoch
	case epoch < 0:
		return ident.NoEpoch, -1, nil
	}
	return 0, l.partLocked(tp).end, nil
}

func (l *memoryLog) failDeletes(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deleteErr = err
}

// LogBytes counts the batches above the start.
func (l *memoryLog) LogBytes(tp ident.TopicPartition) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.leaders.notLed(tp); err != nil {
		return -1, err
	}
	p, ok := l.parts[tp]
	if !ok {
		return 0, nil
	}
	var bytes int64
	for _, b := range p.batches {
		if h, _ := protocol.ParseBatchHeader(b); ident.Offset(h.End()) > p.start {
			bytes += int64(len(b))
		}
	}
	return bytes, nil
}

// memoryTopics is a Topics in memory. Node 1 leads every partition, unless a test calls lead.
type memoryTopics struct {
	mu       sync.Mutex
	byName   map[string]*catalog.Topic
	creation uint64
	producer int64
	fail     error
	nodes    []Node

	brokers       map[int32]map[string]string // the configs that are set on brokers
	reconfiguring sync.Mutex                  // calls of reconfigure must not overlap
	reconfigure   func()
	beforeSet     func() // if not nil, called before a configuration is compared and set
}

func newMemoryTopics(nodes ...Node) *memoryTopics {
	return &memoryTopics{byName: map[string]*catalog.Topic{}, nodes: nodes, producer: 1000, reconfigure: func() {}}
}

func (m *memoryTopics) ClusterID() string { return "AAAAAAAAAAAAAAAAAAAAAA" }

func (m *memoryTopics) TopicByName(name string) (*catalog.Topic, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.byName[name]
	return t, ok
}

func (m *memoryTopics) TopicByID(id ident.TopicID) (*catalog.Topic, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.byIDLocked(id)
}

func (m *memoryTopics) byIDLocked(id ident.TopicID) (*catalog.Topic, bool) {
	for _, t := range m.byName {
		if t.ID == id {
			return t, true
		}
	}
	return nil, false
}

func (m *memoryTopics) AllTopics() []*catalog.Topic {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := slices.Collect(maps.Values(m.byName))
	slices.SortFunc(all, func(a, b *catalog.Topic) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func (m *memoryTopics) CreateTopic(_ context.Context, spec TopicSpec) (*catalog.Topic, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return nil, m.fail
	}
	if _, ok := m.byName[spec.Name]; ok {
		return nil, catalog.ErrTopicExists
	}
	m.creation++
	t := &catalog.Topic{Name: spec.Name, Creation: m.creation, ReplicationFactor: spec.ReplicationFactor, Configs: spec.Configs}
	copy(t.ID[:], fmt.Sprintf("topic-%010d", m.creation))
	for range spec.Partitions {
		t.Partitions = append(t.Partitions, catalog.Leadership{Broker: 1, Incarnation: 1})
	}
	m.byName[spec.Name] = t
	return t, nil
}

// changeLocked puts a changed copy of a topic in its place.
func (m *memoryTopics) changeLocked(id ident.TopicID, change func(*catalog.Topic)) error {
	t, ok := m.byIDLocked(id)
	if !ok {
		return catalog.ErrTopicNotFound
	}
	next := *t
	next.Partitions = slices.Clone(t.Partitions)
	change(&next)
	m.byName[t.Name] = &next
	return nil
}

func (m *memoryTopics) DeleteTopic(_ context.Context, id ident.TopicID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.byIDLocked(id)
	if !ok {
		return catalog.ErrTopicNotFound
	}
	delete(m.byName, t.Name)
	return m.fail
}

func (m *memoryTopics) CreatePartitions(_ context.Context, id ident.TopicID, count int32) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changeLocked(id, func(t *catalog.Topic) {
		for len(t.Partitions) < int(count) {
			t.Partitions = append(t.Partitions, catalog.Leadership{Broker: 1, Incarnation: 1})
		}
	})
}

func (m *memoryTopics) SetConfigs(_ context.Context, id ident.TopicID, previous, configs map[string]string) error {
	if m.beforeSet != nil {
		m.beforeSet()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if t, ok := m.byIDLocked(id); ok && !maps.Equal(t.Configs, previous) {
		return catalog.ErrConflict
	}
	return m.changeLocked(id, func(t *catalog.Topic) { t.Configs = configs })
}

func (m *memoryTopics) BrokerConfigs(id int32) map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.brokers[id]
}

func (m *memoryTopics) SetBrokerConfigs(_ context.Context, id int32, previous, configs map[string]string) error {
	if m.beforeSet != nil {
		m.beforeSet()
	}
	m.reconfiguring.Lock()
	defer m.reconfiguring.Unlock()
	m.mu.Lock()
	if !maps.Equal(m.brokers[id], previous) {
		m.mu.Unlock()
		return catalog.ErrConflict
	}
	if m.brokers == nil {
		m.brokers = map[int32]map[string]string{}
	}
	m.brokers[id] = configs
	m.mu.Unlock()
	m.reconfigure()
	return nil
}

func (m *memoryTopics) AllocateProducerID(context.Context) (ident.ProducerID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.producer++
	return ident.ProducerID(m.producer), m.fail
}

func (m *memoryTopics) Brokers() []Node {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nodes
}

// create makes a topic. It fails the test if it cannot.
func (m *memoryTopics) create(t testing.TB, name string, partitions int32, configs map[string]string) *catalog.Topic {
	t.Helper()
	topic, err := m.CreateTopic(context.Background(), TopicSpec{Name: name, Partitions: partitions, ReplicationFactor: 1, Configs: configs})
	if err != nil {
		t.Fatal(err)
	}
	return topic
}

// notLed returns the log's error for a partition that node 1 does not lead, or nil.
func (m *memoryTopics) notLed(tp ident.TopicPartition) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t, ok := m.byIDLocked(tp.Topic); ok && hasPartition(t, tp.Index) && t.Partitions[tp.Index].Broker != 1 {
		l := t.Partitions[tp.Index]
		return &storage.NotLeaderError{Partition: tp, Leader: storage.Leader{Broker: l.Broker, Epoch: l.Epoch}}
	}
	return nil
}

// lead gives a partition another leader.
func (m *memoryTopics) lead(t testing.TB, name string, index int32, l catalog.Leadership) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.changeLocked(m.byName[name].ID, func(t *catalog.Topic) { t.Partitions[index] = l }); err != nil {
		t.Fatal(err)
	}
}

// harness is a broker that serves one listener, with the fakes behind it.
type harness struct {
	*Broker
	log    *memoryLog
	topics *memoryTopics
	addr   string
	stop   func() error // ends Serve and returns its error; may be called twice
}

// pipeListener accepts in-memory pipes, for tests with virtual time.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (l *pipeListener) dial() net.Conn {
	ours, theirs := net.Pipe()
	l.conns <- theirs
	c := &bufferedConn{Conn: ours, out: make(chan []byte, 1000), closed: make(chan struct{})}
	go c.send()
	return c
}

// bufferedConn takes writes at once, as a socket does. A pipe alone would block until they are
// read.
type bufferedConn struct {
	net.Conn
	out    chan []byte
	closed chan struct{}
	once   sync.Once
}

func (c *bufferedConn) Write(b []byte) (int, error) {
	c.out <- slices.Clone(b)
	return len(b), nil
}

func (c *bufferedConn) send() {
	for {
		select {
		case b := <-c.out:
			if _, err := c.Conn.Write(b); err != nil {
				return
			}
		case <-c.closed:
			return
		}
	}
}

func (c *bufferedConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func startTCP(t testing.TB, cfg Config) *harness {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return start(t, cfg, l, nil)
}

func start(t testing.TB, cfg Config, l net.Listener, authorize func(Need, string) bool) *harness {
	t.Helper()
	cfg.NodeID = 1
	node := Node{ID: 1, Host: "127.0.0.1", Port: 9092}
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		node.Port = int32(a.Port)
	}
	topics := newMemoryTopics(node)
	log := newMemoryLog(topics)
	b, err := New(cfg, Deps{Log: log, Topics: topics, Logger: slog.New(slog.DiscardHandler), Authorize: authorize,
		Quorum: func() QuorumState {
			return QuorumState{Leader: 1, Epoch: 4, HighWatermark: 77, Voters: []QuorumVoter{{Broker: 1, End: 78, CaughtUp: time.UnixMilli(5000)}}}
		}})
	if err != nil {
		t.Fatal(err)
	}
	topics.reconfigure = func() { b.Reconfigure() }
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	var serveErr error
	go func() {
		defer close(served)
		serveErr = b.Serve(ctx, Listener{Listener: l})
	}()
	h := &harness{Broker: b, log: log, topics: topics, addr: l.Addr().String()}
	h.stop = func() error {
		cancel()
		<-served
		return serveErr
	}
	t.Cleanup(func() {
		if err := h.stop(); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return h
}

// testRecord returns a record with the current time, which every topic takes.
func testRecord(value string) protocol.Record {
	return protocol.Record{Timestamp: time.Now().UnixMilli(), Value: []byte(value)}
}

func testBatch(t testing.TB, spec protocol.BatchSpec, values ...string) []byte {
	t.Helper()
	records := make([]protocol.Record, len(values))
	for i, v := range values {
		records[i] = testRecord(v)
	}
	b, err := protocol.BuildBatch(spec, records)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func partitionOf(h *harness, topic string) ident.TopicPartition {
	t, _ := h.topics.TopicByName(topic)
	return ident.TopicPartition{Topic: t.ID}
}
