package storage

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/wal"
)

// none is ListOffsets' answer when nothing matches.
var none = OffsetAt{Offset: -1, Timestamp: -1, Epoch: ident.NoEpoch}

// ErrUnsupportedTimestamp refuses a special timestamp that ListOffsets does not know; code 35.
var ErrUnsupportedTimestamp = errors.New("unsupported special timestamp")

// ListOffset answers ListOffsets for one partition. See the Timestamp constants for special
// timestamps. Zero and above are milliseconds, and the answer is the first record at or after that
// time. A lookup by time reads one object twice, once more where the log start lies inside a batch,
// and the manifest twice if the record is in a range of the manifest.
func (e *Engine) ListOffset(ctx context.Context, tp ident.TopicPartition, timestamp int64, current ident.Epoch, isolation Isolation) (OffsetAt, error) {
	p, err := e.partitions.find(tp)
	if err != nil {
		return none, err
	}
	p.mu.Lock()
	if err := p.checkEpochLocked(current); err != nil {
		p.mu.Unlock()
		return none, err
	}
	start, end := p.logStart, p.readEndLocked(isolation)
	latest := OffsetAt{Offset: end, Timestamp: -1, Epoch: p.leader.Epoch}
	earliest := OffsetAt{Offset: start, Timestamp: -1, Epoch: p.epochAtLocked(start)}
	p.mu.Unlock()
	switch {
	case timestamp == TimestampLatest:
		return latest, nil
	case timestamp == TimestampEarliest, timestamp == TimestampEarliestLocal:
		return earliest, nil
	case timestamp == TimestampLatestTiered, timestamp == TimestampEarliestUpload:
		return none, nil
	case timestamp != TimestampMax && timestamp < 0:
		return none, ErrUnsupportedTimestamp
	case start >= end:
		return none, nil
	}
	return e.search(ctx, &openLookup{lookup{tp, start, end}, p}, timestamp)
}

// search looks through records. It starts again when data moves while it is read.
func (e *Engine) search(ctx context.Context, l *openLookup, timestamp int64) (OffsetAt, error) {
	ctx, cancel := context.WithTimeout(ctx, bucketWait)
	defer cancel()
	for attempt := 1; ; attempt++ {
		var at OffsetAt
		var err error
		if timestamp == TimestampMax {
			at, err = e.newest(ctx, l)
		} else {
			at, err = e.firstAfter(ctx, l, timestamp)
		}
		if err == nil {
			return at, nil
		}
		if !movedOn(err) || attempt == replansMax {
			return none, readError(err)
		}
	}
}

// epochAtLocked returns the leader epoch under which offset was or will be written.
func (p *partition) epochAtLocked(offset ident.Offset) ident.Epoch {
	for i := len(p.epochs) - 1; i >= 0; i-- {
		if p.epochs[i].Start <= offset {
			return p.epochs[i].Epoch
		}
	}
	return p.leader.Epoch
}

// lookup is one search among a partition's records [start, end).
type lookup struct {
	id         ident.TopicPartition
	start, end ident.Offset
}

// openLookup is a lookup that also goes through the batches of an open partition in memory and WAL.
type openLookup struct {
	lookup
	p *partition
}

// firstAfter finds the first record whose timestamp is at least ts. It looks first in the bucket
// for the offsets that are only there, then in the WAL and memory. Leaves, ranges and batches are
// judged by their largest timestamps; only the batch that matches is read.
func (e *Engine) firstAfter(ctx context.Context, l *openLookup, ts int64) (at OffsetAt, err error) {
	match := func(t int64) bool { return t >= ts }
	for from := l.start; from < l.end; {
		b, memory := l.batchAfter(from, match)
		if from < memory {
			err := e.cold.replanning(ctx, l.id, func(h *catalog.Head) (err error) {
				at, err = e.cold.firstInBucket(ctx, h, &l.lookup, from, memory, ts)
				return err
			})
			if err != nil || at.Offset >= 0 {
				return at, err
			}
			from = memory
			continue // more batches may have left the memory by now
		}
		if b == nil {
			return none, nil
		}
		if at, err = l.record(b, match); err != nil || at.Offset >= 0 {
			return at, err
		}
		from = b.end // the match lies below the log start
	}
	return none, nil
}

// batchAfter returns a copy of the first batch in the WAL or memory that ends after from and
// matches, and the offset where memory begins. It returns no batch if from lies below that offset,
// since the search has to go on in the bucket then.
func (l *openLookup) batchAfter(from ident.Offset, match func(int64) bool) (b *batch, memory ident.Offset) {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	memory = l.p.memoryStartLocked()
	if from < memory {
		return nil, min(memory, l.end)
	}
	log := &l.p.log
	for i := log.search(from); i < log.len() && log.at(i).end <= l.end; i++ {
		if match(log.at(i).maxTimestamp) {
			b := *log.at(i)
			return &b, memory
		}
	}
	return nil, memory
}

// bound is what is known about something before it is opened: no record in it is newer than newest,
// and none lies below from.
type bound struct {
	newest int64
	from   ident.Offset
}

// before orders bounds by what is opened first: the newest, and of equals the first.
func (b bound) before(other bound) bool {
	return b.newest > other.newest || b.newest == other.newest && b.from < other.from
}

// boundless comes before every bound.
var boundless = bound{newest: math.MaxInt64, from: -1}

// candidate is a leaf, range, batch or record that may hold the newest record.
type candidate struct {
	bound
	// open is nil if the candidate is a record with exactly this bound.
	open func(context.Context) ([]candidate, error)
	at   OffsetAt
}

// boundOf makes a bound of a largest time. An unknown time may be any time.
func boundOf(maxTimestamp int64, from ident.Offset) bound {
	if maxTimestamp < 0 {
		maxTimestamp = math.MaxInt64
	}
	return bound{maxTimestamp, from}
}

// newest finds the first record with the largest timestamp. It opens the candidate with the largest
// bound, a manifest leaf into ranges, a range into batches, a batch into its record, until that
// candidate is a record. So a bound that no record reaches costs one read, and hides nothing.
func (e *Engine) newest(ctx context.Context, l *openLookup) (at OffsetAt, err error) {
	inMemory, memory, err := l.newestInMemory()
	if err != nil {
		return none, err
	}
	err = e.cold.replanning(ctx, l.id, func(h *catalog.Head) error {
		var all []candidate
		if l.start < memory {
			if all, err = e.cold.candidates(ctx, h, &l.lookup, memory); err != nil {
				return err
			}
		}
		at, err = openBest(ctx, append(all, inMemory...))
		return err
	})
	return at, err
}

func openBest(ctx context.Context, all []candidate) (OffsetAt, error) {
	for len(all) > 0 {
		best := 0
		for i := range all {
			if all[i].before(all[best].bound) {
				best = i
			}
		}
		if all[best].open == nil {
			return all[best].at, nil
		}
		opened, err := all[best].open(ctx)
		if err != nil {
			return none, err
		}
		all = slices.Replace(all, best, best+1, opened...)
	}
	return none, nil
}

// newestInMemory returns the candidates in WAL and memory, and the offset where those begin.
func (l *openLookup) newestInMemory() (all []candidate, memory ident.Offset, err error) {
	l.p.mu.Lock()
	memory = min(l.p.memoryStartLocked(), l.end)
	l.p.mu.Unlock()
	all, err = newestAfter(boundless, func(last bound) (bound, readRecord, error) {
		at, b, err := l.nextInMemory(last, memory)
		if b == nil {
			return at, nil, err
		}
		return at, func(context.Context) (OffsetAt, error) { return l.record(b, nil) }, nil
	})
	return all, memory, err
}

// nextInMemory returns a copy of the batch that comes after last, or nil if there is none.
func (l *openLookup) nextInMemory(last bound, memory ident.Offset) (at bound, b *batch, err error) {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	if now := l.p.memoryStartLocked(); now > memory && memory < l.end {
		return at, nil, fmt.Errorf("batches of %s up to %d left the memory: %w", l.id, now, wal.ErrTrimmed)
	}
	log, best := &l.p.log, -1
	for i := log.search(l.start); i < log.len() && log.at(i).end <= l.end; i++ {
		if b := boundOf(log.at(i).maxTimestamp, log.at(i).start); last.before(b) && (best < 0 || b.before(at)) {
			best, at = i, b
		}
	}
	if best < 0 {
		return at, nil, nil
	}
	found := *log.at(best) // copied, since the log may change once it is unlocked
	return at, &found, nil
}

// readRecord returns the newest record of one batch, and the first of equals. It returns none if no
// record has a time.
type readRecord func(context.Context) (OffsetAt, error)

// newestAfter makes one candidate of the batches that remain after last, or none if no batch
// remains. next finds the first of them by its bound; its read is nil if there is none. The
// candidate opens into that batch's newest record and a candidate for the batches after it, so a
// bound that the batch's records do not reach hides no other batch.
func newestAfter(last bound, next func(last bound) (at bound, read readRecord, err error)) ([]candidate, error) {
	b, read, err := next(last)
	if err != nil || read == nil {
		return nil, err
	}
	return []candidate{{bound: b, open: func(ctx context.Context) (all []candidate, err error) {
		at, err := read(ctx)
		if err != nil {
			return nil, err
		}
		var record []candidate
		if at.Offset >= 0 {
			record = []candidate{{bound: bound{at.Timestamp, at.Offset}, at: at}}
			if at.Timestamp == b.newest {
				return record, nil // no remaining batch is as new and lies before it
			}
		}
		all, err = newestAfter(b, next)
		return append(all, record...), err
	}}}, nil
}

// foundBatch is a batch with its header read.
type foundBatch struct {
	header protocol.BatchHeader
	bytes  []byte
}

func parseFound(bytes []byte) (*foundBatch, error) {
	h, err := protocol.ParseBatchHeader(bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return &foundBatch{h, bytes}, nil
}

// record reads a batch from memory or WAL and looks for a record in it.
func (l *openLookup) record(b *batch, match func(int64) bool) (OffsetAt, error) {
	bytes, err := b.load()
	if err != nil {
		return none, err
	}
	return l.recordIn(bytes, match)
}
