package storage

import "github.com/sluicemq/sluice/ident"

// LogBytes returns how many bytes of batches a partition holds from its log start on: those in the
// bucket, as the quorum counts them, and those that are not there yet. Batches that the log start
// has passed count until their object, or their range in the manifest, is released.
func (e *Engine) LogBytes(tp ident.TopicPartition) (int64, error) {
	p, err := e.partitions.find(tp)
	if err != nil {
		return -1, err
	}
	// Read before the head: what is committed between the two reads stands in both.
	unflushed, committed, err := p.unflushedBytes()
	if err != nil {
		return -1, err
	}
	head, ok := e.deps.Catalog.Head(tp)
	if !ok {
		return -1, ErrUnknownPartition
	}
	bytes := unflushed + head.Manifest.DataBytes
	for i := range head.Ranges {
		if r := &head.Ranges[i]; r.Start < committed { // ranges above it have just left the WAL
			bytes += r.Bytes
		}
	}
	return bytes, nil
}

// unflushedBytes returns the size of the batches that are durable and not in the bucket, and the
// offset where they begin.
func (p *partition) unflushedBytes() (bytes int64, committed ident.Offset, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := p.log.search(p.committed); i < p.log.len(); i++ {
		b := p.log.at(i)
		if b.end > p.persisted {
			break
		}
		bytes += int64(b.size)
	}
	if p.status.ended() {
		err = p.servingLocked()
	}
	return bytes, p.committed, err
}
