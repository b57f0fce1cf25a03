package storage

import "fmt"

// CheckUnflushed compares the counts of batches that are not in the bucket with what the batch logs
// hold.
func (e *Engine) CheckUnflushed() error {
	for _, p := range e.partitions.all() {
		if err := p.checkUnflushed(); err != nil {
			return err
		}
	}
	return nil
}

func (p *partition) checkUnflushed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	held := int64(0)
	for i := p.log.search(p.committed); i < p.log.len(); i++ {
		held += int64(p.log.at(i).size)
	}
	if held != p.unflushed {
		return fmt.Errorf("%s counts %d bytes that are not in the bucket, and holds %d", p.id, p.unflushed, held)
	}
	return nil
}
