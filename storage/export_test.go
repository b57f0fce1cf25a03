package storage

import (
	"container/list"
	"context"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
)

// FindRange finds the range that holds an offset as readers do. It calls between after each plan.
func (e *Engine) FindRange(ctx context.Context, tp ident.TopicPartition, offset ident.Offset, between func()) (r *catalog.Range, err error) {
	err = e.cold.replanning(ctx, tp, func(h *catalog.Head) (err error) {
		between()
		e.cold.decoded.mu.Lock()
		e.cold.decoded.order.Init()
		e.cold.decoded.items = map[decodedKey]*list.Element{}
		e.cold.decoded.mu.Unlock()
		r, err = e.cold.findRange(ctx, h, offset)
		return err
	})
	return r, err
}

// Decoded counts the indexes and manifests that are kept decoded.
func (e *Engine) Decoded() int {
	e.cold.decoded.mu.Lock()
	defer e.cold.decoded.mu.Unlock()
	if len(e.cold.decoded.items) != e.cold.decoded.order.Len() {
		panic("items and their order differ")
	}
	return len(e.cold.decoded.items)
}

// PickEntries picks the entries of an index that a cold read serves.
var PickEntries = pickEntries

// IndexedBatches counts the batches that the partitions have in memory.
func (e *Engine) IndexedBatches() (n int) {
	for _, p := range e.partitions.all() {
		p.mu.Lock()
		n += p.log.len()
		p.mu.Unlock()
	}
	return n
}

// ForgetTimes changes a partition's batches in memory to what earlier releases made of a header
// that claims no time. A flush writes them into the bucket like that.
func (e *Engine) ForgetTimes(tp ident.TopicPartition) {
	p := e.partitions.get(tp)
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.log.len() {
		p.log.at(i).maxTimestamp = -1
	}
}

// HoldTrim keeps every trim waiting until the returned func is called.
func (e *Engine) HoldTrim() func() {
	_ = e.trimmer.turn.take(e.ctx)
	return e.trimmer.turn.give
}

// SetPeers makes a replica set of n peers, which hold the stream up to the position given to
// Replicated.
func (e *Engine) SetPeers(n int) { e.replication.peers.Store(int32(n)) }

// Replicated tells the engine that every peer holds the stream up to a position.
func (e *Engine) Replicated(to ident.Position) { e.replicated(to) }

// Persisted returns the end of what this disk holds.
func (e *Engine) Persisted() ident.Position { return e.wal.Durable() }

// CarriedBatches counts the batches that lie where they were carried to.
func (e *Engine) CarriedBatches() (n int) {
	for _, p := range e.partitions.all() {
		p.mu.Lock()
		for i := range p.log.len() {
			if p.log.at(i).carried && p.log.at(i).source == e.own {
				n++
			}
		}
		p.mu.Unlock()
	}
	return n
}
