package coordinator

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicemq/sluice/broker/group"
	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage"
)

// fakeLog is a log in memory. An append settles at once, or when the test or the clock allows it.
type fakeLog struct {
	mu       sync.Mutex
	parts    map[ident.TopicPartition]*fakePartition
	hold     bool // settle nothing until release is called
	held     []*storage.AppendRequest
	delay    func() time.Duration  // time before an append settles; nil for none
	refuse   func(bytes int) error // the error with which an append is refused
	readErr  error
	damaged  map[int32]error // by partition: the error of its reads
	readGate chan struct{}   // reads wait until it is closed
	deleting func() error    // DeleteRecords returns its error, perhaps after a while
	appends  int
	epoch    ident.Epoch // of the present leadership; other epochs are refused
	dead     bool        // a crash: nothing settles any more
}

type fakePartition struct {
	batches [][]byte
	start   ident.Offset
	end     ident.Offset
}

func newFakeLog() *fakeLog { return &fakeLog{parts: map[ident.TopicPartition]*fakePartition{}} }

func (l *fakeLog) partLocked(tp ident.TopicPartition) *fakePartition {
	p, ok := l.parts[tp]
	if !ok {
		p = &fakePartition{}
		l.parts[tp] = p
	}
	return p
}

func (l *fakeLog) Append(req *storage.AppendRequest) {
	l.mu.Lock()
	l.appends++
	var refusal error
	if req.CheckEpoch && req.Epoch != l.epoch {
		refusal = storage.ErrNotLeader
	} else if l.refuse != nil {
		refusal = l.refuse(len(req.Partitions[0].Batch))
	}
	switch {
	case refusal != nil:
		req.Partitions[0].Err = refusal
		l.mu.Unlock()
		req.Done(req)
	case l.hold:
		l.held = append(l.held, req)
		l.mu.Unlock()
	case l.delay != nil:
		wait := l.delay()
		l.mu.Unlock()
		time.AfterFunc(wait, func() { l.settle(req) })
	default:
		l.mu.Unlock()
		l.settle(req)
	}
}

// settle makes a batch durable and visible, and reports that.
func (l *fakeLog) settle(req *storage.AppendRequest) {
	l.mu.Lock()
	if l.dead {
		l.mu.Unlock()
		return
	}
	a := &req.Partitions[0]
	p := l.partLocked(a.Partition)
	protocol.SetPlace(a.Batch, int64(p.end), 0)
	a.BaseOffset = p.end
	p.end += ident.Offset(a.Header.RecordCount)
	p.batches = append(p.batches, a.Batch)
	l.mu.Unlock()
	req.Done(req)
}

// fence begins the next leadership. The appends that are held are lost.
func (l *fakeLog) fence() {
	l.mu.Lock()
	l.epoch++
	held := l.held
	l.held, l.hold = nil, false
	l.mu.Unlock()
	for _, r := range held {
		r.Partitions[0].Err = storage.ErrLeadershipLost
		r.Done(r)
	}
}

// release settles the appends that are held, and all later ones at once.
func (l *fakeLog) release() {
	l.mu.Lock()
	held := l.held
	l.held, l.hold = nil, false
	l.mu.Unlock()
	for _, r := range held {
		l.settle(r)
	}
}

func (l *fakeLog) Read(ctx context.Context, f *storage.Fetch) {
	l.mu.Lock()
	gate, err := l.readGate, l.readErr
	l.mu.Unlock()
	q := &f.Partitions[0]
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if bad := l.damaged[q.Partition.Index]; bad != nil {
		err = bad
	}
	if q.CurrentEpoch != l.epoch {
		err = storage.ErrUnknownEpoch
	}
	if q.Err = err; err != nil {
		return
	}
	p := l.partLocked(q.Partition)
	if q.Offset < p.start || q.Offset > p.end {
		q.Err = storage.ErrOffsetOutOfRange
		return
	}
	q.HighWatermark, q.LogStart = p.end, p.start
	for _, b := range p.batches {
		h, _ := protocol.ParseBatchHeader(b)
		// A longer log takes several reads.
		if ident.Offset(h.End()) > q.Offset && len(q.Batches) < 3 {
			q.Batches = append(q.Batches, b)
		}
	}
}

func (l *fakeLog) ListOffset(_ context.Context, tp ident.TopicPartition, timestamp int64, epoch ident.Epoch, _ storage.Isolation) (storage.OffsetAt, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if epoch != l.epoch {
		return storage.OffsetAt{}, storage.ErrUnknownEpoch
	}
	if timestamp != storage.TimestampEarliest {
		return storage.OffsetAt{}, fmt.Errorf("unexpected timestamp %d", timestamp)
	}
	return storage.OffsetAt{Offset: l.partLocked(tp).start}, l.readErr
}

func (l *fakeLog) DeleteRecords(ctx context.Context, tp ident.TopicPartition, before ident.Offset) (ident.Offset, error) {
	l.mu.Lock()
	deleting := l.deleting
	l.mu.Unlock()
	if deleting != nil {
		if err := deleting(); err != nil {
			return -1, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil || l.dead {
		return -1, context.Canceled
	}
	p := l.partLocked(tp)
	if before > p.end {
		return -1, storage.ErrOffsetOutOfRange
	}
	p.start = max(p.start, before)
	p.batches = slices.DeleteFunc(p.batches, func(b []byte) bool {
		h, _ := protocol.ParseBatchHeader(b)
		return ident.Offset(h.End()) <= p.start
	})
	return p.start, nil
}

// crashed returns the log that a new start finds after the broker has died: the appends that had
// settled.
func (l *fakeLog) crashed() *fakeLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = true
	next := newFakeLog()
	next.epoch = l.epoch
	for tp, p := range l.parts {
		next.parts[tp] = &fakePartition{batches: slices.Clone(p.batches), start: p.start, end: p.end}
	}
	return next
}

func (l *fakeLog) appendCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.appends
}

// bytes returns the size of the logs of all partitions.
func (l *fakeLog) bytes() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.parts {
		for _, b := range p.batches {
			n += len(b)
		}
	}
	return n
}

// fakeTopics holds the topics that exist.
type fakeTopics struct {
	mu       sync.Mutex
	byName   map[string]*catalog.Topic
	creation byte
}

func newFakeTopics() *fakeTopics { return &fakeTopics{byName: map[string]*catalog.Topic{}} }

func (f *fakeTopics) TopicByName(name string) (*catalog.Topic, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, ok := f.byName[name]
	return t, ok
}

func (f *fakeTopics) create(name string, partitions int32, broker int32) ident.TopicID {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.creation++
	t := &catalog.Topic{Name: name, ID: ident.TopicID{f.creation}}
	for range partitions {
		t.Partitions = append(t.Partitions, catalog.Leadership{Broker: broker})
	}
	f.byName[name] = t
	return t.ID
}

// lead gives all partitions of a topic another leader.
func (f *fakeTopics) lead(name string, broker int32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := *f.byName[name]
	next.Partitions = make([]catalog.Leadership, len(next.Partitions))
	for i := range next.Partitions {
		next.Partitions[i] = catalog.Leadership{Broker: broker, Epoch: f.byName[name].Partitions[i].Epoch + 1}
	}
	f.byName[name] = &next
}

func (f *fakeTopics) delete(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.byName, name)
}

// rig is a coordinator over the fakes, in a bubble of virtual time.
type rig struct {
	*Coordinator
	t      *testing.T
	cfg    Config
	log    *fakeLog
	topics *fakeTopics
}

// inBubble runs a test with one coordinator. The topic __consumer_offsets has one partition,
// "orders" has three.
func inBubble(t *testing.T, cfg Config, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg.Partitions, cfg.InitialRebalanceDelay = 1, -1
		r := &rig{t: t, cfg: cfg, log: newFakeLog(), topics: newFakeTopics()}
		r.topics.create("orders", 3, 1)
		r.open()
		if _, err := r.Find(t.Context(), "g"); err != nil {
			t.Fatal(err)
		}
		defer func() { r.Close() }() // a test may have replaced the coordinator
		f(t, r)
	})
}

func (r *rig) open() { r.Coordinator = r.openAs(1) }

// openAs starts the coordinator of a broker.
func (r *rig) openAs(node int32) *Coordinator {
	return Open(context.Background(), r.cfg, Deps{
		Log: r.log, Topics: r.topics, NodeID: node, Logger: slog.New(slog.DiscardHandler), Brokers: func() int { return 1 },
		CreateTopic: func(_ context.Context, name string, partitions int32, _ int16, _ map[string]string) error {
			if _, ok := r.topics.TopicByName(name); ok {
				return catalog.ErrTopicExists
			}
			r.topics.create(name, partitions, 1)
			return nil
		},
	})
}

// restart ends the coordinator as a kill does, and starts another one over the log that is left.
func (r *rig) restart() {
	next := r.log.crashed()
	r.Close()
	r.log = next
	r.open()
	synctest.Wait()
}

// commit commits an offset as a consumer that is in no group generation.
func (r *rig) commit(partition int32, offset ident.Offset) error {
	return r.commitAs(member{generation: -1}, partition, offset)
}

func (r *rig) commitAs(m member, partition int32, offset ident.Offset) error {
	t, _ := r.topics.TopicByName("orders")
	a, err := r.Commit(r.t.Context(), group.CommitRequest{Group: "g", MemberID: m.id, Generation: m.generation, Retention: -1, Partitions: []group.CommitPartition{
		{Topic: "orders", TopicID: t.ID, Partition: partition, Offset: offset, LeaderEpoch: ident.NoEpoch},
	}})
	switch {
	case err != nil:
		return err
	case a.Err != nil:
		return a.Err
	}
	return a.Partitions[0]
}

func (r *rig) mustCommit(partition int32, offset ident.Offset) {
	r.t.Helper()
	if err := r.commit(partition, offset); err != nil {
		r.t.Fatalf("commit of %d: %v", offset, err)
	}
}

// committed returns the offset that OffsetFetch shows.
func (r *rig) committed(partition int32) ident.Offset {
	r.t.Helper()
	offsets, err := r.Fetch(r.t.Context(), "g", []group.PartitionName{{Topic: "orders", Partition: partition}})
	if err != nil {
		r.t.Fatalf("fetch: %v", err)
	}
	return offsets[0].Offset
}

func (r *rig) wantCommitted(partition int32, want ident.Offset) {
	r.t.Helper()
	if got := r.committed(partition); got != want {
		r.t.Errorf("partition %d: offset %d is shown, want %d", partition, got, want)
	}
}

// later runs f concurrently with the test. The channel it returns yields f's error.
func later(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

// answered reports whether a wait is over, and with which error.
func answered(c <-chan error) (error, bool) {
	synctest.Wait()
	select {
	case err := <-c:
		return err, true
	default:
		return nil, false
	}
}

func (r *rig) wantWaiting(c <-chan error, what string) {
	r.t.Helper()
	if err, over := answered(c); over {
		r.t.Fatalf("%s was answered already: %v", what, err)
	}
}

func seeded(t *testing.T, seed uint64) *rand.Rand {
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}
