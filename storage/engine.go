package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage/pstate"
	"github.com/sluicemq/sluice/wal"
)

// Engine holds the partitions that this broker leads. It has the path of a produce itself
// (append.go, replicate.go), and the lives of partitions (life.go). The rest belongs to the owners
// that it joins.
type Engine struct {
	*env
	*ownLog

	partitions partitions
	leadTurn   sync.Mutex   // one leadership is applied at a time; taken before partitions.mu
	awaited    atomic.Int64 // see Awaited

	// producersMax is Config.ProducersMax, or less where a partition's state record would not fit
	// one append.
	producersMax int
	hot          hotTail
	replication  replication
	woken        wakers // watchers of the group that is being published
	failed       atomic.Pointer[error]

	budget    budget
	cold      *coldReader
	manifests *manifestWriter
	records   *recorder
	trimmer   *trimmer
	flusher   *flusher
	retainer  *retainer

	// configMu is held from the choice of configuration and defaults until every partition of the
	// topics has the facts that follow from them, so that no partition is left with earlier ones.
	configMu      sync.Mutex
	topicDefaults *catalog.TopicDefaults // guarded by configMu

	cancel context.CancelFunc // ends ctx
	work   sync.WaitGroup
}

// Open recovers what this broker's disk holds, takes a new incarnation from the
// quorum and opens every partition over its sealed tails (E13, E21): it needs the
// quorum and the disk, never the bucket. The order of steps is in recover.go.
func Open(ctx context.Context, cfg Config, deps Deps) (*Engine, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	e := newEngine(ctx, cfg, deps)
	if err := e.recover(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("storage: open: %w", err), e.Close())
	}
	e.work.Go(e.flusher.flushLoop)
	e.work.Go(e.flusher.urgentLoop)
	e.work.Go(e.flusher.rechecking)
	e.work.Go(e.retainer.retaining)
	return e, nil
}

// newEngine makes the owners and gives each the others that it works with.
func newEngine(ctx context.Context, cfg Config, deps Deps) *Engine {
	shared := &env{cfg: cfg, deps: deps, log: deps.Log, meter: newMeter(), openedAt: deps.Now()}
	e := &Engine{env: shared, ownLog: new(ownLog), topicDefaults: cfg.TopicDefaults}
	e.ctx, e.cancel = context.WithCancel(context.WithoutCancel(ctx))
	e.partitions.env = shared
	e.budget.open(&cfg)
	e.hot.bytesMax = cfg.HotBytes
	objects := &objectIDs{env: shared, turn: newTurn()}
	e.cold = newColdReader(shared)
	e.manifests = &manifestWriter{shared, e.cold, objects}
	e.records = &recorder{env: shared, ownLog: e.ownLog}
	e.trimmer = &trimmer{
		env: shared, ownLog: e.ownLog, partitions: &e.partitions, budget: &e.budget, records: e.records, turn: newTurn(),
	}
	e.flusher = &flusher{
		env: shared, partitions: &e.partitions, budget: &e.budget, replication: &e.replication,
		objects: objects, manifests: e.manifests, records: e.records, trimmer: e.trimmer,
		fail: e.fail, topicDeleted: e.TopicDeleted,
		enough: make(chan struct{}, 1), urgent: urgentSet{wake: make(chan struct{}, 1)},
		recheckNow: make(chan struct{}, 1), commitTurn: newTurn(),
	}
	e.retainer = &retainer{
		env: shared, partitions: &e.partitions, cold: e.cold, manifests: e.manifests, trimmer: e.trimmer,
	}
	e.retainer.producerExpiry.Store(int64(cfg.ProducerExpiry))
	return e
}

// Close stops background work and the WAL. Producers that still wait for an answer get
// ErrWALFailed. Batches that are not in the bucket stay in the WAL for the next start; to leave
// none there, call Flush first.
func (e *Engine) Close() error {
	e.cancel()
	e.work.Wait()
	var errs []error
	if e.wal != nil {
		errs = append(errs, e.wal.Close())
	}
	// A batch that waits for its commit waits in vain: the next incarnation will commit it.
	e.failAllAcks()
	return errors.Join(append(errs, e.trimmer.closeTails(), e.cold.close())...)
}

// Incarnation returns the incarnation under which this engine writes.
func (e *Engine) Incarnation() ident.Incarnation { return e.incarnation }

// WALStats returns the WAL's counters.
func (e *Engine) WALStats() wal.Stats { return e.wal.Stats() }

// refusing returns why nothing at all may be placed, or nil.
func (e *Engine) refusing() error {
	if e.failed.Load() != nil {
		return ErrWALFailed
	}
	if e.ctx.Err() != nil {
		return ErrClosed
	}
	return nil
}

// fail ends this incarnation. Nothing is acknowledged after it.
func (e *Engine) fail(err error) {
	if !e.failed.CompareAndSwap(nil, &err) {
		return
	}
	e.log.Error("storage failed; this incarnation takes no more writes", "incarnation", e.incarnation, "err", err)
	e.deps.Fatal(err)
}

// walFailed answers the appends that will never be known to be durable. The WAL calls it.
func (e *Engine) walFailed(err error, appends []*wal.Append) {
	e.fail(fmt.Errorf("write-ahead log: %w", err))
	for _, a := range appends {
		if w, ok := a.Owner.(ownWrite); ok {
			w.fail(err)
		}
	}
	e.failAllAcks()
}

// failAllAcks answers every waiting producer with an indefinite error.
func (e *Engine) failAllAcks() {
	for _, p := range e.partitions.all() {
		p.failAcks(ErrWALFailed)
	}
}

// failAcks answers every producer that waits for the partition with an indefinite error.
func (p *partition) failAcks(err error) {
	p.mu.Lock()
	acks := p.acks
	p.acks = nil
	p.mu.Unlock()
	for _, a := range acks {
		a.req.Partitions[a.item].refuse(err)
		a.req.settle()
	}
}

// failLocked undoes nothing: the WAL refused the batches, so this incarnation is over, and the
// placed batches are never shown.
func (e *Engine) failLocked(req *AppendRequest, parts []*partition, err error) {
	if !errors.Is(err, wal.ErrClosed) { // a clean end is no failure
		e.fail(fmt.Errorf("write-ahead log: append: %w", err))
	}
	for _, p := range parts {
		if p == nil {
			continue
		}
		kept := p.acks[:0]
		for _, a := range p.acks {
			if a.req != req {
				kept = append(kept, a)
				continue
			}
			req.Partitions[a.item].refuse(ErrWALFailed)
			req.settle()
		}
		p.acks = kept
	}
}

// Reconfigure puts new defaults into use for topics that set nothing (nil means Kafka's defaults),
// and sets how long idle producer ids are remembered (0 means the default).
func (e *Engine) Reconfigure(defaults *catalog.TopicDefaults, producerExpiry time.Duration) {
	e.configMu.Lock()
	defer e.configMu.Unlock()
	e.topicDefaults = defaults
	e.retainer.producerExpiry.Store(int64(cmp.Or(producerExpiry, producerExpiryDefault)))
	made := map[ident.TopicID]*topicFacts{}
	for _, p := range e.partitions.all() {
		facts := made[p.id.Topic]
		if facts == nil {
			facts = newFacts(p.facts.Load().topic, defaults)
			made[p.id.Topic] = facts
		}
		p.facts.Store(facts)
	}
}

// forgetUncommittedLocked removes the batches of a partition whose life has ended from the counts.
func (e *Engine) forgetUncommittedLocked(p *partition) {
	for i := p.log.search(p.committed); i < p.log.len(); i++ {
		e.budget.uncount(p.log.at(i))
	}
	p.log, p.unflushed = batchLog{}, 0
}

// LogStartMoved notes a log start that the quorum has moved, and the committed end, which follows
// it (E12).
func (e *Engine) LogStartMoved(tp ident.TopicPartition, start, committed ident.Offset) {
	p := e.partitions.get(tp)
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status.ended() {
		return
	}
	p.moveLogStartLocked(start)
	p.advanceCommittedLocked(committed, e.budget.uncount)
	p.wakeLocked()
	if p.flush.trouble != nil {
		signal(e.flusher.recheckNow)
	}
}

// moveLogStartLocked moves the log start and reports whether it had not moved there before.
func (p *partition) moveLogStartLocked(start ident.Offset) bool {
	if start <= p.logStart {
		return false
	}
	p.logStart = start
	p.epochs = pstate.TrimEpochs(p.epochs, start)
	return true
}

func newPartition(id ident.TopicPartition, facts *topicFacts) *partition {
	p := &partition{id: id, noted: ident.NoEpoch, producers: *pstate.NewTable()}
	p.acks = p.acksSpace[:0]
	p.flush.producers = *pstate.NewTable()
	p.facts.Store(facts)
	return p
}

func leaderOf(l catalog.Leadership) Leader { return Leader{Broker: l.Broker, Epoch: l.Epoch} }

// newFacts reads a topic's configs. They were validated before they were stored.
func newFacts(t *catalog.Topic, defaults *catalog.TopicDefaults) *topicFacts {
	return &topicFacts{topic: t, config: defaults.Effective(t.Configs)}
}
