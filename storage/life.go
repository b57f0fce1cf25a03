package storage

import (
	"errors"
	"fmt"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
)

// The life of a partition on this broker has these stages:
//
//	opening   led here; its state is still in the bucket: answers are retriable (E24).
//	leading   led here and served.
//	fenced    another leadership began: this life takes, shows and commits nothing more (I4). It
//	          stays to answer that it is not the leader, and to name who is.
//	gone      the topic was deleted.
//
// A life goes through them in this order and never back. It belongs to one leadership. When the
// quorum gives the partition to this broker again, with a higher epoch, another life opens from
// what the quorum and the bucket hold. Only Engine.lead begins and ends a life; a start, a new
// topic and a change of leadership all go through it.
type status uint8

const (
	opening status = iota
	leading
	fenced
	gone
)

// ended reports whether this life of the partition is over, so that nothing it was given will be
// completed.
func (s status) ended() bool { return s >= fenced }

// NotLeaderError is ErrNotLeader with the leader's name.
type NotLeaderError struct {
	Partition ident.TopicPartition
	Leader    Leader
}

func (e *NotLeaderError) Error() string {
	return fmt.Sprintf("%v: %s is led by broker %d with epoch %d", ErrNotLeader, e.Partition, e.Leader.Broker, e.Leader.Epoch)
}

// Is makes NotLeaderError an ErrNotLeader.
func (e *NotLeaderError) Is(target error) bool { return target == ErrNotLeader }

// leaderIn returns the leader that err names. Broker is -1 if err names none.
func leaderIn(err error) Leader {
	var elsewhere *NotLeaderError
	if errors.As(err, &elsewhere) {
		return elsewhere.Leader
	}
	return Leader{Broker: -1, Epoch: ident.NoEpoch}
}

// servingLocked returns why the partition is not served here, or nil.
func (p *partition) servingLocked() error {
	switch p.status {
	case leading:
		return nil
	case opening:
		return ErrNotReady
	case fenced:
		return &NotLeaderError{p.id, p.leader}
	}
	return ErrUnknownPartition
}

// isLed reports whether this life of the partition has not ended.
func (p *partition) isLed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.status.ended()
}

// TopicChanged takes over what the quorum says about a topic: its configs, and the leader of each
// of its partitions. The quorum calls it in the order of its own log; calling it again with an
// older topic changes nothing.
func (e *Engine) TopicChanged(t *catalog.Topic) {
	e.configMu.Lock()
	defer e.configMu.Unlock()
	facts := newFacts(t, e.topicDefaults)
	for i, l := range t.Partitions {
		id := ident.TopicPartition{Topic: t.ID, Index: int32(i)}
		if err := e.lead(facts, id, l, new(found)); err != nil {
			e.log.Error("partition stays closed", "topic", t.Name, "partition", i, "err", err)
		}
	}
}

// TopicDeleted ends the lives of a topic's partitions: waiting producers and readers are answered,
// and its batches become void.
func (e *Engine) TopicDeleted(id ident.TopicID) {
	e.leadTurn.Lock()
	defer e.leadTurn.Unlock()
	for _, p := range e.partitions.removeTopic(id) {
		e.end(p, gone, p.leaderNow(), ErrUnknownPartition)
	}
}

// lead applies a leadership that the quorum has decided. It ignores an epoch that is not above the
// one applied last. held is what the sealed tails hold of the partition; they are read at a start
// only.
func (e *Engine) lead(facts *topicFacts, id ident.TopicPartition, l catalog.Leadership, held *found) error {
	e.leadTurn.Lock()
	defer e.leadTurn.Unlock()
	if p := e.partitions.get(id); p != nil {
		p.facts.Store(facts)
		if l.Epoch <= p.leaderNow().Epoch { // I4
			return nil
		}
		e.end(p, fenced, leaderOf(l), ErrLeadershipLost)
	}
	if l.Incarnation != e.incarnation {
		return nil // led elsewhere
	}
	head, ok := e.deps.Catalog.Head(id)
	if !ok || head.Leader.Epoch != l.Epoch {
		return nil // the quorum has decided more since, and storage is about to be told
	}
	p := newPartition(id, facts)
	if err := e.openPartition(p, &head, held); err != nil {
		return err
	}
	e.partitions.put(p) // only now, because the WAL may already fail and look for waiting producers
	return nil
}

func (p *partition) leaderNow() Leader {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leader
}

// end ends this life of a partition. Batches that were placed and are not shown may be durable, so
// their producers are answered with why, which must be indefinite unless nobody can read the
// batches any more. Later requests are refused before anything is placed.
//
// Nothing more is committed from this life, since the quorum takes ranges only under the leadership
// that it names (E21). So what is uncommitted is void, for the WAL too (I9). A leadership moves
// only when everything acknowledged under it is committed, or is held by the broker that commits
// it. Anything else would be a loss, and is logged.
func (e *Engine) end(p *partition, to status, leader Leader, why error) {
	p.mu.Lock()
	from, lost := p.status, p.hw-p.committed
	p.status, p.leader = to, leader
	e.forgetUncommittedLocked(p)
	p.wakeLocked()
	p.mu.Unlock()
	if from == leading && to == fenced && lost > 0 {
		e.log.Error("a partition's leadership moved before all that was acknowledged under it was in the bucket",
			"partition", p.id, "records", int64(lost), "leader", leader.Broker, "epoch", leader.Epoch)
	}
	p.failAcks(why)
}
