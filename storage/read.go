package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/cache"
	"github.com/sluicemq/sluice/storage/object"
	"github.com/sluicemq/sluice/storage/pstate"
	"github.com/sluicemq/sluice/wal"
)

// Where an offset is: hot tail → WAL file, own or sealed → block cache → object.

// replansMax bounds how often a read follows data that moved under it: from the
// WAL to the bucket, or from one object to another.
const replansMax = 5

const (
	// bucketWait bounds what a request waits for the bucket, however many partitions it asks for: well below the
	// 30 s after which clients give a request up, well above what a store takes for a block.
	bucketWait = 5 * time.Second
	// coldParallel is how many partitions of one request are read from the bucket at once.
	coldParallel = 16
)

// Read fills a fetch with what can be read now: the limits hold across its partitions in
// their order, and the first one that has anything may exceed them by one batch. What has to
// come from the bucket is read first, at once; then all is put together in order.
func (e *Engine) Read(ctx context.Context, f *Fetch) {
	ctx, cancel := context.WithTimeout(ctx, bucketWait)
	defer cancel()
	parts := e.resolveFetch(f)
	done := e.readBehind(ctx, f, parts)
	left, empty := f.MaxBytes, true
	for i := range f.Partitions {
		q := &f.Partitions[i]
		limit := min(q.MaxBytes, left)
		switch {
		case parts[i] == nil:
			q.refuse(e.absent(q.Partition))
		case done != nil && done[i]:
			q.cut(limit, empty)
		case !empty && limit <= 0:
			parts[i].position(q)
		default:
			e.readPartition(ctx, parts[i], q, limit, empty)
		}
		if q.Bytes > 0 {
			empty = false
			left -= q.Bytes
		}
		if n := len(q.cold); n > 0 {
			e.goAhead(q.Partition, q.Offset, q.cold[n-1].end)
		}
	}
	e.meter.read(f)
}

// resolveFetch finds the partitions of a request; nil where there is none.
func (e *Engine) resolveFetch(f *Fetch) []*partition {
	parts := make([]*partition, len(f.Partitions))
	e.partitions.mu.RLock()
	defer e.partitions.mu.RUnlock()
	lookup := requestLookup{of: &e.partitions}
	for i := range f.Partitions {
		parts[i] = lookup.get(f.Partitions[i].Partition)
	}
	return parts
}

// readBehind reads several partitions of a request from the bucket at once, so that a request takes one
// GET's time and not one per partition. It says which ones it read; they may hold more than the
// limits allow together: at most a block each, of coldParallel ones.
func (e *Engine) readBehind(ctx context.Context, f *Fetch, parts []*partition) (done []bool) {
	var behind []int
	for i := range f.Partitions {
		if parts[i].isBehind(&f.Partitions[i]) {
			behind = append(behind, i)
		}
	}
	if len(behind) < 2 {
		return nil
	}
	share := max(f.MaxBytes/len(behind), cache.BlockBytes)
	done = make([]bool, len(f.Partitions))
	var wg sync.WaitGroup
	var got atomic.Int64
	slots := make(chan struct{}, coldParallel)
	for _, i := range behind {
		slots <- struct{}{}
		if got.Load() >= int64(f.MaxBytes) {
			break // nothing is left for those behind
		}
		done[i] = true
		wg.Go(func() {
			defer func() { <-slots }()
			q := &f.Partitions[i]
			e.readPartition(ctx, parts[i], q, min(q.MaxBytes, share), true)
			got.Add(int64(q.Bytes))
		})
	}
	wg.Wait()
	return done
}

// isBehind reports that what is asked for lies in the bucket only.
func (p *partition) isBehind(q *FetchPartition) bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return q.Offset >= p.logStart && q.Offset < p.memoryStartLocked() && q.Offset < p.hw
}

// memoryStartLocked is where the batch log begins; what lies below is in the bucket.
func (p *partition) memoryStartLocked() ident.Offset {
	if p.log.len() == 0 {
		return p.end
	}
	return p.log.at(0).start
}

// cut keeps as many batches as the limit allows, the first one anyhow if at least one is due.
func (q *FetchPartition) cut(limit int, atLeastOne bool) {
	if q.Bytes <= limit {
		return
	}
	if q.cold != nil {
		q.cutCold(limit, atLeastOne)
		return
	}
	n, size := 0, 0
	for n < len(q.Batches) && (size+len(q.Batches[n]) <= limit || atLeastOne && n == 0) {
		size += len(q.Batches[n])
		n++
	}
	q.Batches, q.Bytes = q.Batches[:n], size
}

// cutCold is cut where a batch may be several slices.
func (q *FetchPartition) cutCold(limit int, atLeastOne bool) {
	n, slices, size := 0, 0, 0
	for n < len(q.cold) && (size+q.cold[n].bytes <= limit || atLeastOne && n == 0) {
		size += q.cold[n].bytes
		slices += q.cold[n].slices
		n++
	}
	q.Batches, q.cold, q.Bytes = q.Batches[:slices], q.cold[:n], size
}

// position fills in watermarks without reading.
func (p *partition) position(q *FetchPartition) {
	q.begin()
	p.mu.Lock()
	p.positionLocked(q)
	p.mu.Unlock()
}

// refuse answers with an error, which may name the leader.
func (q *FetchPartition) refuse(err error) {
	q.begin()
	q.Err, q.Current = err, leaderIn(err)
}

// begin empties the answer.
func (q *FetchPartition) begin() {
	q.Err, q.HighWatermark, q.LastStable, q.LogStart = nil, -1, -1, -1
	q.Batches, q.Bytes, q.fromWAL, q.cold = nil, 0, 0, nil
	q.Current = Leader{Broker: -1, Epoch: ident.NoEpoch}
}

// positionLocked checks the request against the partition and fills in its watermarks.
// It reports whether there may be something to read.
func (p *partition) positionLocked(q *FetchPartition) bool {
	if err := p.checkEpochLocked(q.CurrentEpoch); err != nil {
		q.Err = err
		q.Current = Leader{Broker: p.leader.Broker, Epoch: p.leader.Epoch}
		return false
	}
	if q.Offset < p.logStart || q.Offset > p.end {
		q.Err = ErrOffsetOutOfRange // p.end is this leader's own: certain
		return false
	}
	q.HighWatermark, q.LastStable, q.LogStart = p.hw, p.hw, p.logStart
	return q.Offset < p.readEndLocked(q.Isolation)
}

// checkEpochLocked compares a request's leader epoch with the partition's; NoEpoch passes.
func (p *partition) checkEpochLocked(epoch ident.Epoch) error {
	switch {
	case p.status != leading:
		return p.servingLocked()
	case epoch == ident.NoEpoch, epoch == p.leader.Epoch:
		return nil
	case epoch < p.leader.Epoch:
		return ErrFencedLeaderEpoch
	}
	return ErrUnknownEpoch
}

// readPartition reads one partition; what moves while it is read is planned anew.
func (e *Engine) readPartition(ctx context.Context, p *partition, q *FetchPartition, limit int, atLeastOne bool) {
	for attempt := 1; ; attempt++ {
		err := e.readOnce(ctx, p, q, limit, atLeastOne)
		if err == nil {
			return
		}
		if attempt < replansMax && movedOn(err) {
			continue
		}
		q.Batches, q.Bytes, q.cold = nil, 0, nil
		q.Err = readError(err)
		if errors.Is(q.Err, ErrCorrupt) {
			e.log.Error("damaged data is not served", "partition", q.Partition, "offset", q.Offset, "err", err)
		}
		return
	}
}

// movedOn reports that a batch has left the WAL since the read was planned: it is in the bucket now.
func movedOn(err error) bool {
	return errors.Is(err, wal.ErrTrimmed) || errors.Is(err, wal.ErrClosed)
}

// readError sorts a failed read into what a consumer may be told.
func readError(err error) error {
	switch {
	case errors.Is(err, ErrCorrupt), errors.Is(err, ErrUnknownPartition):
		return err
	case errors.Is(err, bucket.ErrNotFound), errors.Is(err, bucket.ErrShort), errors.Is(err, wal.ErrCorrupt),
		errors.Is(err, object.ErrCorrupt), errors.Is(err, pstate.ErrCorrupt):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// readOnce plans under the lock and reads without it.
func (e *Engine) readOnce(ctx context.Context, p *partition, q *FetchPartition, limit int, atLeastOne bool) error {
	q.begin()
	p.mu.Lock()
	if !p.positionLocked(q) {
		p.mu.Unlock()
		return nil
	}
	if q.Offset < p.memoryStartLocked() {
		end := p.readEndLocked(q.Isolation)
		p.mu.Unlock()
		return e.readCold(ctx, q, end, limit, atLeastOne)
	}
	behind := p.pickLocked(q, limit, atLeastOne)
	p.mu.Unlock()
	for i := range behind {
		bytes, err := behind[i].batch.load()
		if err != nil {
			return err
		}
		q.Batches[behind[i].at] = bytes
		q.fromWAL += len(bytes)
	}
	return nil
}

// behindBatch is a batch that is not in memory any more, and its place in FetchPartition.Batches.
type behindBatch struct {
	at    int
	batch batch
}

// pickLocked picks the batches to serve: whole ones, from the one that holds the offset, below the end that the
// reader may see. It returns those whose bytes have to be read.
func (p *partition) pickLocked(q *FetchPartition, limit int, atLeastOne bool) (behind []behindBatch) {
	end, from := p.readEndLocked(q.Isolation), p.log.search(q.Offset)
	for i := from; i < p.log.len(); i++ {
		b := p.log.at(i)
		if b.end > end {
			break // I5
		}
		if q.Bytes+int(b.size) > limit && (!atLeastOne || i > from) {
			break
		}
		if i == from {
			q.Batches = make([][]byte, 0, min(p.log.len()-from, max(limit, 0)/int(b.size)+1, pickedMax))
		}
		if b.bytes == nil {
			behind = append(behind, behindBatch{len(q.Batches), *b})
		}
		q.Batches = append(q.Batches, b.bytes)
		q.Bytes += int(b.size)
	}
	return behind
}

// pickedMax is for how many batches room is made at once: a mebibyte of the smallest.
const pickedMax = 8192

// Watch has c signalled (without blocking) whenever one of the partitions moves. The returned func ends it.
func (e *Engine) Watch(ids []ident.TopicPartition, c chan<- struct{}) (stop func()) {
	w := &watcher{c: c}
	watched := make([]*partition, 0, len(ids))
	for _, id := range ids {
		if p := e.partitions.get(id); p != nil {
			p.mu.Lock()
			p.watchers = append(p.watchers, w)
			p.mu.Unlock()
			watched = append(watched, p)
		}
	}
	return func() {
		for _, p := range watched {
			p.mu.Lock()
			if i := slices.Index(p.watchers, w); i >= 0 {
				p.watchers = slices.Delete(p.watchers, i, i+1)
			}
			p.mu.Unlock()
		}
	}
}

// EpochEnd answers OffsetForLeaderEpoch (KIP-320): the largest epoch at or below
// the one asked for and its end offset; NoEpoch and -1 if there is none.
func (e *Engine) EpochEnd(tp ident.TopicPartition, epoch, current ident.Epoch) (ident.Epoch, ident.Offset, error) {
	p, err := e.find(tp)
	if err != nil {
		return ident.NoEpoch, -1, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.checkEpochLocked(current); err != nil {
		return ident.NoEpoch, -1, err
	}
	found, end := pstate.EndOffsetFor(p.epochs, epoch, p.hw)
	return found, end, nil
}
