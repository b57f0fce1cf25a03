package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage/pstate"
	"github.com/sluicemq/sluice/wal"
)

// recover opens in the following order. Dying between any two steps and starting again ends in the
// same state (I16).
//
//  1. scan: every sealed tail is read up to its end, then the last incarnation, which is cut where
//     it is torn and rewritten where it was never proven durable (E25).
//  2. register: the quorum seals the last incarnation at its end and gives a new one; the epochs of
//     all led partitions rise (E21). An incarnation that was never opened is dropped (E27).
//  3. create: the new incarnation's folder and first segments are made.
//  4. open: the quorum opens the incarnation. Only now may anything be placed (E27).
//  5. partitions: each partition opens over the tails, from its state record and every batch above
//     it (E24).
//
// A tail's folder is removed after the quorum has retired the tail. A folder that the quorum does
// not name and that is older than the current incarnation was retired by a run that died before
// removing the folder.
func (e *Engine) recover(ctx context.Context) error {
	scan := &scan{found: make(map[ident.TopicPartition]*found), now: e.deps.Now().UnixMilli()}
	current, end, err := e.scanAll(scan)
	if err != nil {
		return err
	}
	reg, err := e.deps.Catalog.Register(ctx, current, end)
	if err != nil {
		return fmt.Errorf("register a new incarnation after %s: %w", current, err)
	}
	if err := e.sameTails(reg.Tails); err != nil {
		return err
	}
	if err := e.createWAL(ctx, reg.Incarnation); err != nil {
		return err
	}
	return e.openPartitions(scan)
}

// scanAll reads what the disk holds and returns the last incarnation with its end. Both are 0 if
// none was opened.
func (e *Engine) scanAll(scan *scan) (ident.Incarnation, ident.Position, error) {
	current, opened, tails := e.deps.Catalog.Local()
	for _, t := range tails {
		src := &source{incarnation: t.Incarnation}
		sealed, err := wal.OpenSealed(e.walConfig(), e.walRecoverDeps(), t.Incarnation, t.End, scan.visit(src))
		if err != nil {
			return 0, 0, fmt.Errorf("sealed tail %s: %w", t.Incarnation, err)
		}
		e.addTail(src, sealed)
	}
	if err := e.removeRetired(current, opened); err != nil {
		return 0, 0, err
	}
	if !opened {
		return current, 0, nil
	}
	src := &source{incarnation: current}
	sealed, err := wal.Recover(e.walConfig(), e.walRecoverDeps(), current, scan.visit(src))
	if err != nil {
		return 0, 0, fmt.Errorf("last incarnation %s: %w", current, err)
	}
	e.addTail(src, sealed)
	return current, sealed.End(), nil
}

func (e *Engine) addTail(src *source, sealed *wal.Sealed) {
	src.sealed, src.read = sealed, sealed.ReadAt
	e.trimmer.tails = append(e.trimmer.tails, src)
	e.budget.tailBytes.Add(sealed.DiskBytes())
}

// removeRetired deletes the folders of incarnations that the quorum no longer names.
func (e *Engine) removeRetired(current ident.Incarnation, opened bool) error {
	names, err := e.deps.FS.List(e.cfg.WALDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list %s: %w", e.cfg.WALDir, err)
	}
	for _, name := range names {
		n, err := strconv.ParseUint(name, 16, 64)
		if err != nil || len(name) != 16 {
			continue // not a folder that this package made
		}
		inc := ident.Incarnation(n)
		switch {
		case slices.ContainsFunc(e.trimmer.tails, func(t *source) bool { return t.incarnation == inc }), inc == current && opened:
			continue
		case inc > current:
			return fmt.Errorf("%s holds the write-ahead log of incarnation %s, which the metadata does not know: the metadata is older than the log; restore meta/ of the same moment, or move the folder away if you accept its loss", e.cfg.WALDir, inc)
		}
		if err := e.deps.FS.RemoveAll(filepath.Join(e.cfg.WALDir, name)); err != nil {
			return fmt.Errorf("remove retired incarnation %s: %w", inc, err)
		}
	}
	return nil
}

// sameTails checks that the quorum and the disk agree on what is sealed where (I6).
func (e *Engine) sameTails(tails []catalog.Tail) error {
	same := slices.EqualFunc(tails, e.trimmer.tails, func(t catalog.Tail, s *source) bool {
		return t.Incarnation == s.incarnation && t.End == s.sealed.End()
	})
	if !same {
		return fmt.Errorf("the quorum names %d sealed tails, the disk has %d with other ends: %v", len(tails), len(e.trimmer.tails), tails)
	}
	return nil
}

func (e *Engine) walConfig() wal.Config {
	return wal.Config{Dir: e.cfg.WALDir, SegmentBytes: e.cfg.WALSegmentBytes}
}

func (e *Engine) walRecoverDeps() wal.RecoverDeps { return wal.RecoverDeps{FS: e.deps.FS, Log: e.log} }

// createWAL makes the new incarnation writable: first on disk, then in the quorum.
func (e *Engine) createWAL(ctx context.Context, inc ident.Incarnation) error {
	// This is set before the WAL's goroutines start, since they name the incarnation when the WAL
	// fails.
	e.incarnation = inc
	w, err := wal.Create(e.walConfig(), wal.Deps{
		FS: e.deps.FS, Log: e.log, Durable: e.persisted, Failed: e.walFailed,
	}, inc)
	if err != nil {
		return fmt.Errorf("create incarnation %s: %w", inc, err)
	}
	e.wal = w
	e.appendBytesMax = w.MaxAppendBytes()
	e.producersMax = min(e.cfg.ProducersMax, int(e.appendBytesMax-recordReserve)/producerBytesMax)
	e.own = &source{incarnation: inc, read: w.ReadAt}
	if err := e.deps.Catalog.OpenIncarnation(ctx, inc); err != nil {
		return fmt.Errorf("open incarnation %s: %w", inc, err)
	}
	return nil
}

// scan gathers what the tails hold, by partition.
type scan struct {
	found map[ident.TopicPartition]*found
	now   int64 // in milliseconds: batches that do not say when they arrived count as arrived now
}

// found is what the tails hold of one partition, oldest batch first.
type found struct {
	base, delta     []byte // newest state record: a base, and the newest delta after the base
	baseAt, deltaAt walPlace
	baseEpoch       ident.Epoch // the epoch under which the base was written
	// batches are in offset order. There is a gap where a later incarnation was trimmed before
	// an earlier one.
	batches []batch
	carried []batch // written again because the partition was stuck, in the order of the log
}

// visit returns the callback for one incarnation's entries.
func (s *scan) visit(src *source) func(*wal.Entry) error {
	return func(entry *wal.Entry) error {
		f := s.found[entry.Partition]
		if f == nil {
			f = new(found)
			s.found[entry.Partition] = f
		}
		at := walPlace{src.incarnation, entry.Position}
		switch entry.Kind {
		case wal.KindState:
			return f.addRecord(entry, at)
		case wal.KindBatch:
			return f.addBatch(entry, src, s.now)
		case wal.KindCarried:
			return f.addCarried(entry, src, s.now)
		}
		return fmt.Errorf("unknown kind %d of entry at %d", entry.Kind, entry.Position)
	}
}

func (f *found) addRecord(entry *wal.Entry, at walPlace) error {
	kind, err := pstate.BlockKind(entry.Payload)
	if err != nil {
		return fmt.Errorf("state record of %s at %d: %w", entry.Partition, entry.Position, err)
	}
	if kind == pstate.KindBase {
		f.base, f.baseAt, f.baseEpoch = slices.Clone(entry.Payload), at, entry.Epoch
		f.delta, f.deltaAt = nil, walPlace{}
		return nil
	}
	f.delta, f.deltaAt = slices.Clone(entry.Payload), at
	return nil
}

func (f *found) addBatch(entry *wal.Entry, src *source, now int64) error {
	b, err := batchOf(entry, src, now)
	if err != nil {
		return err
	}
	f.cutBefore(entry, src)
	if n := len(f.batches); n > 0 && f.batches[n-1].end != b.start {
		if last := &f.batches[n-1]; last.source == src && last.under == b.under || last.end > b.start {
			// The batches of a partition lie in the WAL without a gap (E8).
			return fmt.Errorf("%w: %s has batches up to %d, then from %d on", ErrCorrupt, entry.Partition, last.end, b.start)
		}
	}
	f.batches = append(f.batches, b)
	return nil
}

// addCarried keeps a carried batch for merge.
func (f *found) addCarried(entry *wal.Entry, src *source, now int64) error {
	b, err := batchOf(entry, src, now)
	b.carried = true
	f.carried = append(f.carried, b)
	return err
}

// batchOf returns the batch that an entry of a log holds.
func batchOf(entry *wal.Entry, src *source, now int64) (batch, error) {
	h, err := protocol.ParseBatchHeader(entry.Payload)
	if err != nil {
		return batch{}, fmt.Errorf("batch of %s at %d: %w", entry.Partition, entry.Position, err)
	}
	arrived := entry.Arrived
	// An earlier release wrote the entry. The batch counts as arrived now: later than it was, never
	// earlier.
	if arrived == 0 {
		arrived = now
	}
	return batch{
		start: entry.Start, end: entry.End, maxTimestamp: newestTime(&h, entry.Payload, arrived), arrived: arrivedAt(arrived),
		producer: ident.ProducerID(h.ProducerID), pepoch: h.ProducerEpoch, sequence: h.BaseSequence,
		source: src, position: entry.Position, crc: entry.CRC, size: int32(len(entry.Payload)),
		epoch: ident.Epoch(h.LeaderEpoch), under: entry.Epoch, appendTime: h.Attributes.LogAppendTime(),
	}, nil
}

// merge makes one log of the placed and the carried batches, after dropVoid has dropped those that
// the quorum would not take. A carried batch counts only where its original is gone, and the oldest
// of several copies counts: an original goes only when every batch carried with it is durable.
// Behind a copy, however, only batches that were carried with the copy or later count, even where
// an original is there. If batches were carried out of two tails, half of them are copies and half
// originals once the older tail has gone, and the quorum wants the epochs under which batches lie
// in the log to rise with the offsets.
//
// The batches below a gap were committed. Either their segments, or those of the batches behind
// them, were trimmed and the broker died before it let go of the rest; or another broker led the
// partition in between. openPartition refuses if the log begins above the committed end (I8, I9).
func (f *found) merge() error {
	all := f.batches
	if len(f.carried) > 0 {
		all = append(all, f.carried...)
		slices.SortStableFunc(all, func(a, b batch) int { return cmp.Compare(a.start, b.start) })
	}
	merged := all[:0]
	for _, b := range all {
		n := len(merged)
		switch {
		case n == 0 || merged[n-1].end == b.start:
			merged = append(merged, b)
		case merged[n-1].end < b.start:
			merged = append(merged[:0], b)
		case b.carried && b.start == merged[n-1].start && b.end == merged[n-1].end:
			if n > 1 && merged[n-1].under < merged[n-2].under && merged[n-1].under < b.under {
				merged[n-1] = b
			}
		case b.carried && b.end <= merged[n-1].end:
		default:
			return fmt.Errorf("%w: batches [%d,%d) and [%d,%d) overlap", ErrCorrupt, merged[n-1].start, merged[n-1].end, b.start, b.end)
		}
	}
	f.batches, f.carried = merged, nil
	return nil
}

// cutBefore drops what an earlier life of the partition placed above the point where a later life
// began, if another broker led the partition in between. The later life began at the committed end,
// so everything above that was void. A life that a restart began continues behind the one before,
// with the next epoch, and drops nothing.
func (f *found) cutBefore(entry *wal.Entry, src *source) {
	// A placed batch lies behind all batches that its partition has carried before in the same
	// life.
	f.carried = slices.DeleteFunc(f.carried, func(b batch) bool { return b.end > entry.Start })
	n := len(f.batches)
	if n == 0 {
		return
	}
	last := &f.batches[n-1]
	if between := last.source == src && entry.Epoch > last.under || entry.Epoch > last.under+1; !between {
		return
	}
	for n > 0 && f.batches[n-1].end > entry.Start {
		n--
	}
	f.batches = f.batches[:n]
}

// isStale reports whether another life of the partition began in the same incarnation after the
// newest state record, or after the oldest batch if there is no record. Then another broker led the
// partition in between, and the record and the batches behind it do not reflect what that broker
// wrote.
func (f *found) isStale(head *catalog.Head) bool {
	incarnation, epoch := f.baseAt.incarnation, f.baseEpoch
	if f.base == nil && len(f.batches) > 0 {
		incarnation, epoch = f.batches[0].source.incarnation, f.batches[0].under
	}
	return slices.ContainsFunc(head.Past, func(l catalog.Leadership) bool {
		return l.Incarnation == incarnation && l.Epoch > epoch
	})
}

// dropVoid drops the uncommitted batches that the quorum would not take (E21), because their
// leadership ended before they were committed.
func (f *found) dropVoid(head *catalog.Head) (dropped int) {
	n := len(f.batches)
	void := func(b batch) bool {
		return b.end > head.CommittedEnd && !slices.ContainsFunc(head.Past, func(l catalog.Leadership) bool {
			return l.Incarnation == b.source.incarnation && l.Epoch == b.under
		})
	}
	f.batches, f.carried = slices.DeleteFunc(f.batches, void), slices.DeleteFunc(f.carried, void)
	return n - len(f.batches)
}

// openPartitions opens all partitions that this broker leads according to the quorum.
func (e *Engine) openPartitions(scan *scan) error {
	for _, t := range e.deps.Catalog.Topics() {
		facts := newFacts(t, e.topicDefaults)
		for i, l := range t.Partitions {
			id := ident.TopicPartition{Topic: t.ID, Index: int32(i)}
			held := scan.found[id]
			if held == nil {
				held = new(found)
			}
			if err := e.lead(facts, id, l, held); err != nil {
				return fmt.Errorf("topic %s partition %d: %w", t.Name, i, err)
			}
		}
	}
	return nil
}

// openPartition sets a partition up from its head and from what the tails hold of it.
func (e *Engine) openPartition(p *partition, head *catalog.Head, f *found) error {
	p.leader, p.class = leaderOf(head.Leader), head.Leader.Class
	p.logStart, p.committed = head.LogStart, head.CommittedEnd
	p.end = head.CommittedEnd
	if n := f.dropVoid(head); n > 0 {
		e.log.Warn("batches of a leadership that has ended are not opened", "partition", p.id, "batches", n)
	}
	if err := f.merge(); err != nil {
		return err
	}
	if n := len(f.batches); n > 0 {
		p.end = max(p.end, f.batches[n-1].end)
	}
	for i := range f.batches {
		b := f.batches[i]
		if b.end <= p.committed {
			continue
		}
		if p.log.len() == 0 && b.start > p.committed {
			// The next range must begin at the committed end (I8).
			return fmt.Errorf("%w: committed up to %d, but the write-ahead log starts at %d", ErrCorrupt, p.committed, b.start)
		}
		p.log.push(b)
		p.unflushed += int64(b.size)
		e.budget.count(&b)
	}
	p.persisted, p.hw = p.end, p.end
	if p.class != catalog.ClassLocal {
		p.hw = p.committed
	}
	p.flush.baseAt, p.flush.deltaAt = f.baseAt, f.deltaAt
	if f.base == nil && !joins(0, p.committed, f.batches) || f.isStale(head) {
		e.loadLater(p, head, f)
		return nil
	}
	state, err := pstate.Decode(f.base, f.delta, e.deps.Now().UnixMilli())
	if err != nil {
		return fmt.Errorf("state record: %w", err)
	}
	return e.applyState(p, state, f.batches)
}

// applyState takes over a partition's producers and epochs: first those of the state, then those of
// every batch above it (E24).
func (e *Engine) applyState(p *partition, state *pstate.State, batches []batch) error {
	if !joins(state.End, p.committed, batches) {
		return fmt.Errorf("%w: the state record reflects %d, the bucket holds up to %d, and the write-ahead log does not join them", ErrCorrupt, state.End, p.committed)
	}
	p.epochs, p.flush.producers, p.flush.stateEnd = state.Epochs, *state.Producers, state.End
	if n := len(p.epochs); n > 0 {
		p.noted = p.epochs[n-1].Epoch
	}
	for i := range batches {
		if b := &batches[i]; b.end > state.End && b.end <= p.committed {
			p.flush.producers.Apply(b.state())
			p.flush.stateEnd = b.end
		}
	}
	p.producers = *p.flush.producers.Clone()
	for i := range batches {
		b := &batches[i]
		if b.end <= state.End {
			continue
		}
		p.noteEpochLocked(b.epoch, b.start)
		if b.end > p.committed {
			p.producers.Apply(b.state())
		}
	}
	p.noteEpochLocked(p.leader.Epoch, p.end)
	p.epochs = pstate.TrimEpochs(p.epochs, p.logStart)
	p.flush.needRecord = p.committed > 0
	p.status = leading
	if p.class != catalog.ClassLocal && p.committed < p.persisted {
		e.flusher.wakeUrgent(p)
	}
	return nil
}

// joins reports whether batches hold everything between the end of a state and the committed end.
func joins(stateEnd, committed ident.Offset, batches []batch) bool {
	above := slices.IndexFunc(batches, func(b batch) bool { return b.end > stateEnd })
	return stateEnd >= committed || above >= 0 && batches[above].start <= stateEnd && batches[len(batches)-1].end >= committed
}

// loadLater opens a partition whose state is only in the bucket: after a restore (E24), or where
// another broker led it before. Until the state is loaded, the partition answers with a retriable
// error, never as if it were empty. The state is written into the WAL before the first batch of
// this life, so that the next start finds it there and needs no bucket (E13).
func (e *Engine) loadLater(p *partition, head *catalog.Head, f *found) {
	p.status = opening
	e.awaited.Add(1)
	settled := sync.OnceFunc(e.loaded)
	e.work.Go(func() {
		defer settled()
		var state *pstate.State
		err := e.retry(e.ctx, "load partition state", func(ctx context.Context) (err error) {
			if state, err = e.cold.loadState(ctx, head); err != nil && errors.Is(readError(err), ErrCorrupt) {
				// A damaged state is retried like any failure, but the partition is no longer
				// awaited.
				settled()
			}
			return err
		})
		if err != nil {
			return // the engine is closing
		}
		e.records.mu.Lock()
		defer e.records.mu.Unlock()
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.status != opening {
			return
		}
		if err := e.applyState(p, state, f.batches); err != nil {
			e.log.Error("partition stays closed", "partition", p.id, "err", err)
			return
		}
		w := e.records.newRecordWrite()
		entry, isBase := p.recordLocked()
		w.add(p, entry, isBase)
		if err := e.wal.Append(&w.wal); err != nil {
			e.log.Warn("the state of a partition is not in the write-ahead log", "partition", p.id, "err", err)
		}
		p.wakeLocked()
	})
}

// loaded notes that one partition is no longer awaited.
func (e *Engine) loaded() {
	if e.awaited.Add(-1) == 0 && e.ctx.Err() == nil {
		e.log.Info("what a restore left in the bucket is loaded", "took", e.deps.Now().Sub(e.openedAt).Round(time.Millisecond))
	}
}

// Awaited counts the partitions that answer nothing yet and will soon, because their state is being
// read from the bucket, as after a restore. A partition whose state is damaged is not counted.
func (e *Engine) Awaited() int { return int(e.awaited.Load()) }
