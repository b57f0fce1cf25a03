package storage

import (
	"container/list"
	"context"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
)

// FindRange finds the range that holds an offset as readers do; between is called after each plan.
func (e *Engine) FindRange(ctx context.Context, tp ident.TopicPartition, offset ident.Offset, between func()) (r *catalog.Range, err error) {
	err = e.replanning(ctx, tp, func(h *catalog.Head) (err error) {
		between()
		e.decoded.mu.Lock()
		e.decoded.order.Init()
		e.decoded.items = map[decodedKey]*list.Element{}
		e.decoded.mu.Unlock()
		r, err = e.findRange(ctx, h, offset)
		return err
	})
	return r, err
}

// PickEntries is what a cold read serves of an index.
var PickEntries = pickEntries

// IndexedBatches counts the batches that the partitions have in memory.
func (e *Engine) IndexedBatches() (n int) {
	for _, p := range e.all() {
		p.mu.Lock()
		n += p.log.len()
		p.mu.Unlock()
	}
	return n
}
