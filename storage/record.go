package storage

import (
	"context"
	"fmt"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage/pstate"
	"github.com/sluicemq/sluice/wal"
)

// State records are what the WAL carries so that opening a partition needs no
// bucket (E13, E24): per partition a base, and perhaps one delta after it. A delta
// says what changed since the bucket's newest base; it may be laid over any base
// record that is no older, because it sets values and never adds to them.

const (
	recordsPerAppendMax     = 256
	recordBytesPerAppendMax = 1 << 20
)

// recordWrite is a handful of state records on their way into the WAL.
type recordWrite struct {
	incarnation ident.Incarnation
	wal         wal.Append
	parts       []*partition
	isBase      []bool
	done        chan error // buffered
}

// durable is called by the WAL: the records now stand for their partitions.
func (w *recordWrite) durable() {
	for i, p := range w.parts {
		p.mu.Lock()
		p.flush.recordsInFlight--
		at := walPlace{w.incarnation, w.wal.Entries[i].Position}
		if w.isBase[i] {
			p.flush.baseAt, p.flush.deltaAt = at, walPlace{}
		} else {
			p.flush.deltaAt = at
		}
		p.mu.Unlock()
	}
	w.done <- nil
}

func (w *recordWrite) fail(err error) {
	select {
	case w.done <- err:
	default: // it was durable before
	}
}

// record writes a state record for every given partition whose committed end has moved, and waits until all are durable.
func (e *Engine) record(ctx context.Context, parts []*partition) error {
	return e.writeRecords(ctx, parts, func(p *partition) bool { return p.flush.needRecord })
}

// carry writes bases for partitions that have a record below place, or none that is newer than their committed end.
func (e *Engine) carry(ctx context.Context, parts []*partition, place walPlace) error {
	return e.writeRecords(ctx, parts, func(p *partition) bool {
		old := func(at walPlace) bool { return at.incarnation != 0 && at.before(place) }
		if old(p.flush.baseAt) || old(p.flush.deltaAt) {
			p.flush.walBase = false // a base stands alone
			return true
		}
		// One in flight does not count yet: what it reflects may lie in what is trimmed now.
		return p.flush.needRecord || p.flush.recordsInFlight > 0
	})
}

// writeRecords appends a record for each partition that due says, under its lock.
func (e *Engine) writeRecords(ctx context.Context, parts []*partition, due func(*partition) bool) error {
	var writes []*recordWrite
	w := e.newRecordWrite()
	bytes := 0
	send := func() error {
		if len(w.parts) == 0 {
			return nil
		}
		if err := e.wal.Append(&w.wal); err != nil {
			return fmt.Errorf("append state records: %w", err)
		}
		writes = append(writes, w)
		w, bytes = e.newRecordWrite(), 0
		return nil
	}
	for _, p := range parts {
		bytes += e.addRecord(w, p, due)
		if len(w.parts) >= recordsPerAppendMax || bytes >= recordBytesPerAppendMax {
			if err := send(); err != nil {
				return err
			}
		}
	}
	if err := send(); err != nil {
		return err
	}
	for _, w := range writes {
		select {
		case err := <-w.done:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (e *Engine) newRecordWrite() *recordWrite {
	w := &recordWrite{incarnation: e.incarnation, done: make(chan error, 1)}
	w.wal.Owner = w
	return w
}

// addRecord encodes one partition's record if it is due and returns its size.
func (e *Engine) addRecord(w *recordWrite, p *partition, due func(*partition) bool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status != serving || !due(p) {
		return 0
	}
	f := &p.flush
	state := &pstate.State{End: f.stateEnd, LogStart: p.logStart, Epochs: epochHistoryAt(p.epochs, p.committed), Producers: f.producers}
	block, isBase := encodeState(state, !f.walBase, f.baseBytes)
	f.walBase = true
	f.needRecord = false
	f.recordsInFlight++
	w.parts = append(w.parts, p)
	w.isBase = append(w.isBase, isBase)
	w.wal.Entries = append(w.wal.Entries, wal.Entry{
		Kind: wal.KindState, Partition: p.id, Epoch: p.leader.Epoch, Start: f.stateEnd, End: f.stateEnd, Payload: block,
	})
	return len(block)
}
