package storage

import (
	"sync"

	"github.com/sluicemq/sluice/ident"
)

// batchOverhead is about what a batch takes in the batch log and in the queue below, besides its
// bytes. Without it small batches would hold several times the budget.
const batchOverhead = 192

// hotTail keeps the newest durable batches in memory, up to a number of bytes, for readers that
// follow the log's end. The bytes are the WAL's own. A batch that falls out of the hot tail is read
// from the WAL file until it is in the bucket. The hot tail counts the memory that batches keep
// from being freed, which is the whole frame that they came in. A frame is counted with the last
// batch of its request, and is freed when that batch leaves.
type hotTail struct {
	bytesMax int64

	mu    sync.Mutex
	bytes int64
	queue []hotBatch // oldest first
	head  int

	spare []hotBatch // what group returns; only Engine.persisted uses it
}

type hotBatch struct {
	p      *partition
	number int64 // number of the batch in its batch log
	size   int64 // bytes that are free once this batch and all before it are dropped
}

// group returns an empty list to gather batches for add.
func (h *hotTail) group() []hotBatch { return h.spare[:0] }

// add notes batches that have just become durable, and takes the list back.
func (h *hotTail) add(group []hotBatch) {
	h.mu.Lock()
	for _, b := range group {
		h.bytes += b.size
	}
	h.queue = append(h.queue, group...)
	h.mu.Unlock()
	clear(group)
	h.spare = group[:0]
}

// take removes the oldest batches until the rest fits.
func (h *hotTail) take() []hotBatch {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.bytes <= h.bytesMax {
		return nil
	}
	from := h.head
	for h.bytes > h.bytesMax && h.head < len(h.queue) {
		h.bytes -= h.queue[h.head].size
		h.head++
	}
	out := append([]hotBatch(nil), h.queue[from:h.head]...)
	clear(h.queue[from:h.head])
	if h.head > 1024 && h.head > len(h.queue)/2 {
		n := copy(h.queue, h.queue[h.head:])
		clear(h.queue[n:])
		h.queue, h.head = h.queue[:n], 0
	}
	return out
}

// evict drops the bytes of the batches that no longer fit. The caller holds no locks.
func (h *hotTail) evict() {
	for _, old := range h.take() {
		old.p.forgetNumber(old.number)
	}
}

// forget drops the bytes of the batch that ends at end.
func (p *partition) forget(end ident.Offset) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := p.log.search(end - 1); i < p.log.len() && p.log.at(i).end == end {
		p.forgetLocked(i)
	}
}

// forgetNumber drops the bytes of a batch. Eviction passes the number because a search among the
// batches that wait for the bucket without their bytes would fetch a dozen cold cache lines for
// each.
func (p *partition) forgetNumber(number int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// If the batch is not in the log, its topic was deleted.
	if i := number - p.log.first; i >= 0 && i < int64(p.log.len()) {
		p.forgetLocked(int(i))
	}
}

// forgetLocked drops a batch's bytes, and the batch itself once it is in the bucket.
func (p *partition) forgetLocked(i int) {
	p.log.at(i).bytes = nil
	p.log.dropFront(func(b *batch) bool { return b.end <= p.committed && b.bytes == nil })
}
