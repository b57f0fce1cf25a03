package storage

import (
	"context"
	"fmt"
	"sync"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage/pstate"
	"github.com/sluicemq/sluice/wal"
)

// State records are what the WAL carries so that opening a partition needs no bucket (E13, E24):
// per partition a base, and perhaps one delta after the base. A delta says what changed since the
// bucket's newest base. It may be laid over any base record that is no older, because it sets
// values and never adds to them.

const (
	recordsPerAppendMax     = 256
	recordBytesPerAppendMax = 1 << 20

	producerBytesMax = 20 + 24*pstate.RecentMax // of one producer in a state block
	// recordReserve is the room in an append for the rest of a record, a thousand epochs.
	recordReserve = 16 << 10
)

// recorder writes state records into the log.
type recorder struct {
	*env
	*ownLog

	// mu is held while records are encoded and queued, so that both happen in one order. It is
	// taken before a partition's lock.
	mu sync.Mutex
}

// ownWrite is what storage itself writes into the WAL, beside the batches that producers send.
type ownWrite interface {
	durable()       // the WAL has it
	fail(err error) // the WAL has failed
}

// recordWrite is a handful of state records on their way into the WAL.
type recordWrite struct {
	incarnation ident.Incarnation
	wal         wal.Append
	parts       []*partition
	isBase      []bool
	bytes       int64      // payloads and entry headers
	done        chan error // buffered
}

// durable notes that the records now stand for their partitions. The WAL calls it.
func (w *recordWrite) durable() {
	for i, p := range w.parts {
		p.mu.Lock()
		p.recordsInFlight--
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
	default: // durable was called before
	}
}

// record writes a state record for every given partition whose committed end has moved, and waits
// until all records are durable.
func (r *recorder) record(ctx context.Context, parts []*partition) error {
	return r.writeRecords(ctx, parts, func(p *partition) bool { return p.flush.needRecord })
}

// carryRecords writes bases for the partitions that have a record below place, and records for
// those that have none since their committed end moved.
func (r *recorder) carryRecords(ctx context.Context, parts []*partition, place walPlace) error {
	return r.writeRecords(ctx, parts, func(p *partition) bool {
		old := func(at walPlace) bool { return at.incarnation != 0 && at.before(place) }
		if old(p.flush.baseAt) || old(p.flush.deltaAt) {
			p.flush.walBase = false // forces a base, which builds on no other record
			return true
		}
		// A record in flight does not count yet: what it reflects may lie in the part that is
		// trimmed now.
		return p.flush.needRecord || p.recordsInFlight > 0
	})
}

// writeRecords appends a record for each partition for which due, called under its lock, returns
// true, and waits until the records are durable.
func (r *recorder) writeRecords(ctx context.Context, parts []*partition, due func(*partition) bool) error {
	writes, err := r.appendRecords(parts, due)
	if err != nil {
		return fmt.Errorf("append state records: %w", err)
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

// appendRecords hands records to the WAL in the order in which it encodes them. A base written
// behind a delta that builds on it would hide the delta.
func (r *recorder) appendRecords(parts []*partition, due func(*partition) bool) (writes []*recordWrite, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	bytesMax := min(recordBytesPerAppendMax, r.appendBytesMax)
	w := r.newRecordWrite()
	for _, p := range parts {
		entry, isBase, ok := p.encodeRecord(due)
		if !ok {
			continue
		}
		if !w.fits(&entry, bytesMax) {
			if err := r.wal.Append(&w.wal); err != nil {
				return nil, err
			}
			writes, w = append(writes, w), r.newRecordWrite()
		}
		w.add(p, entry, isBase)
	}
	if len(w.parts) == 0 {
		return writes, nil
	}
	return append(writes, w), r.wal.Append(&w.wal)
}

func (r *recorder) newRecordWrite() *recordWrite {
	w := &recordWrite{incarnation: r.incarnation, done: make(chan error, 1)}
	w.wal.Owner = w
	return w
}

// fits reports whether another record may go into the same append.
func (w *recordWrite) fits(entry *wal.Entry, bytesMax int64) bool {
	return len(w.parts) == 0 || len(w.parts) < recordsPerAppendMax && w.bytes+int64(len(entry.Payload))+wal.EntryBytes <= bytesMax
}

func (w *recordWrite) add(p *partition, entry wal.Entry, isBase bool) {
	w.parts = append(w.parts, p)
	w.isBase = append(w.isBase, isBase)
	w.wal.Entries = append(w.wal.Entries, entry)
	w.bytes += int64(len(entry.Payload)) + wal.EntryBytes
}

// encodeRecord encodes the partition's record if it is due.
func (p *partition) encodeRecord(due func(*partition) bool) (entry wal.Entry, isBase, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status != leading || !due(p) {
		return entry, false, false
	}
	entry, isBase = p.recordLocked()
	return entry, isBase, true
}

// recordLocked encodes the partition's record, which counts as in flight from then on.
func (p *partition) recordLocked() (entry wal.Entry, isBase bool) {
	f := &p.flush
	state := &pstate.State{End: f.stateEnd, LogStart: p.logStart, Epochs: epochHistoryAt(p.epochs, p.committed), Producers: &f.producers}
	block, isBase := encodeState(state, !f.walBase, f.baseBytes)
	f.walBase = true
	f.needRecord = false
	p.recordsInFlight++
	return wal.Entry{
		Kind: wal.KindState, Partition: p.id, Epoch: p.leader.Epoch, Start: f.stateEnd, End: f.stateEnd, Payload: block,
	}, isBase
}
