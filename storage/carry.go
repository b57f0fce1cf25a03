package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/wal"
)

// The batches of a stuck partition are carried forward: they are appended to the current log once
// more, unchanged, so that the segments and tails behind them can go (I9). A partition is carried
// as a whole, in these steps:
//
//  1. begin: copy which of its batches are persisted and uncommitted. No pass plans them meanwhile.
//  2. write: append each of them under its offsets, as a carried batch, and wait until all are
//     durable.
//  3. switch: under the partition's lock, move all batches to their new places at once.
//  4. trim: trim as usual (trim.go). Nothing of the partition lies in what goes.
//
// Dying between two of these steps leaves batches in the log twice. A start takes the original
// where it is there, and the carried copy where it is not (found.merge): an original goes in step 4
// only, when all copies are durable. The next trim carries again what was carried in vain.
//
// A carried batch is committed under the incarnation and epoch under which it was carried
// (batch.under), because those of its original may belong to a retired tail. That is why all
// batches switch at once: once the quorum has committed a range of a later epoch, it takes none of
// an earlier one. The leader epoch that clients see stays in the batch.

// carryBytesMax bounds how many bytes of batches are in memory at once to be carried.
const carryBytesMax = 1 << 20

// carryWrite is a run of carried batches on its way into the WAL.
type carryWrite struct {
	wal  wal.Append
	done chan error // buffered
}

// durable tells carryBatches that the run is durable. The WAL calls it.
func (w *carryWrite) durable() { w.done <- nil }

func (w *carryWrite) fail(err error) {
	select {
	case w.done <- err:
	default: // durable was called before
	}
}

// carryStuck carries the stuck partitions that alone keep the log from being trimmed, once they
// hold back twice as many bytes as they hold, so that each byte of other partitions costs at most
// one carried byte. What exceeds an eighth of the budget is carried more often than that, since the
// log would fill up.
func (t *trimmer) carryStuck(ctx context.Context, parts []*partition, published ident.Position) error {
	var stuck, others []*partition
	bytes := int64(0)
	tailCounts := make(map[*source]int64)
	for _, p := range parts {
		if held, ok := p.carryable(tailCounts); ok {
			stuck = append(stuck, p)
			bytes += held
		} else {
			others = append(others, p)
		}
	}
	if len(stuck) == 0 {
		return nil
	}
	rest := t.lowestUncommitted(others, published)
	slack := max(min(bytes, t.cfg.WALBudgetBytes/8), 2*t.cfg.WALSegmentBytes)
	due := int64(rest-t.lowestUncommitted(stuck, rest)) >= bytes+slack
	if oldest := t.oldestTail(); oldest != nil {
		due = due || tailCounts[oldest] > 0 && tailCounts[oldest] == oldest.uncommitted.Load()
	}
	if !due {
		return nil
	}
	var errs []error
	for _, p := range stuck {
		if err := t.carryBatches(ctx, p); err != nil {
			errs = append(errs, fmt.Errorf("carry the batches of %s forward: %w", p.id, err))
		}
	}
	return errors.Join(errs...)
}

// carryable returns how many bytes a stuck partition holds, and counts its batches by the tail in
// which they lie. If one of its batches cannot be read, the partition cannot be carried, and holds
// back the log until its log start passes that batch.
func (p *partition) carryable(tailCounts map[*source]int64) (bytes int64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stuck || p.status.ended() || p.flush.busy || p.flush.trouble.lost != nil {
		return 0, false
	}
	for i := p.log.search(p.committed); i < p.log.len() && p.log.at(i).end <= p.persisted; i++ {
		b := p.log.at(i)
		bytes += int64(b.size) + wal.EntryBytes
		if b.source.sealed != nil {
			tailCounts[b.source]++
		}
	}
	return bytes, true
}

// notStuck leaves out the partitions that are stuck.
func notStuck(parts []*partition) []*partition {
	return slices.DeleteFunc(slices.Clone(parts), (*partition).isStuck)
}

// carryBatches takes a partition through all steps except the trim.
func (t *trimmer) carryBatches(ctx context.Context, p *partition) error {
	batches, first, epoch := p.beginCarry()
	if len(batches) == 0 {
		return nil
	}
	defer release([]*partition{p})
	places := make([]ident.Position, 0, len(batches))
	for len(places) < len(batches) {
		w, err := t.carrySome(p, batches[len(places):], epoch)
		if err != nil {
			return err
		}
		select {
		case err := <-w.done:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		for i := range w.wal.Entries {
			places = append(places, w.wal.Entries[i].Position)
		}
	}
	bytes := t.switchTo(p, places, first, epoch)
	t.meter.carried.Add(float64(bytes))
	return nil
}

// beginCarry marks the partition busy. It returns the batches to carry, the number of the first,
// and the leader epoch under which they are carried. It returns no batches if another pass has the
// partition.
func (p *partition) beginCarry() (batches []batch, first int64, epoch ident.Epoch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status != leading || !p.stuck || p.flush.busy {
		return nil, 0, 0
	}
	from := p.log.search(p.committed)
	to := from
	for to < p.log.len() && p.log.at(to).end <= p.persisted {
		to++
	}
	if from == to {
		return nil, 0, 0
	}
	p.flush.busy = true
	return p.log.copy(from, to), p.log.first + int64(from), p.leader.Epoch
}

// carrySome appends as many batches as may be in memory at once.
func (t *trimmer) carrySome(p *partition, batches []batch, epoch ident.Epoch) (*carryWrite, error) {
	w := &carryWrite{done: make(chan error, 1)}
	w.wal.Owner = w
	size := int64(0)
	for i := range batches {
		b := &batches[i]
		size += int64(b.size) + wal.EntryBytes
		if i > 0 && (i == entriesPerAppendMax || size > min(carryBytesMax, t.appendBytesMax)) {
			break
		}
		payload, err := b.load()
		if err != nil {
			return nil, err
		}
		w.wal.Entries = append(w.wal.Entries, wal.Entry{
			Kind: wal.KindCarried, Partition: p.id, Epoch: epoch, Start: b.start, End: b.end, Arrived: int64(b.arrived) * 1000, Payload: payload, CRC: b.crc,
		})
	}
	return w, t.wal.Append(&w.wal)
}

// switchTo moves the partition's batches to the places to which they were carried, all at once.
// Batches that the log start has passed meanwhile are void and stay where they were. switchTo
// returns how many bytes it moved.
func (t *trimmer) switchTo(p *partition, places []ident.Position, first int64, epoch ident.Epoch) (bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status != leading || p.leader.Epoch != epoch {
		return 0
	}
	for i, at := range places {
		n := first + int64(i) - p.log.first
		if n < 0 || p.log.at(int(n)).end <= p.committed {
			continue
		}
		b := p.log.at(int(n))
		if b.source.sealed != nil {
			b.source.uncommitted.Add(-1)
		}
		b.source, b.position, b.under, b.carried = t.own, at, epoch, true
		bytes += int64(b.size)
	}
	return bytes
}
