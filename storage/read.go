package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
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

// An offset is looked for in this order: hot tail → WAL file, own or sealed → block cache → object.

// replansMax bounds how often a read follows data that moved while it was read: from the WAL to the
// bucket, or from one object to another.
const replansMax = 5

const (
	// bucketWait bounds how long a request waits for the bucket, however many partitions it asks
	// for. It is well below the 30 s after which clients give a request up, and well above what a
	// store takes for a block.
	bucketWait = 5 * time.Second
	// coldParallel is how many partitions of one request are read from the bucket at once.
	coldParallel = 16
	// behindRoomMin is the least room for a partition that is read beside others, since a batch of
	// 1 MiB lies in two blocks.
	behindRoomMin = 2 * cache.BlockBytes
)

// quota bounds how much may be read of a partition.
type quota struct {
	bytes int  // of batches
	first bool // the first batch may exceed bytes
	room  int  // how much memory the batches may keep from being freed; no batch may exceed it
}

// unbounded is the room of a read whose memory is not counted.
const unbounded = math.MaxInt

// Read fills a fetch with what can be read now. The limits hold across its partitions in their
// order. The first partition that has anything may exceed them by one batch, but may not exceed
// Fetch.Room. Partitions that need the bucket are read first, all at once; then the answers are put
// together in order.
func (e *Engine) Read(ctx context.Context, f *Fetch) {
	ctx, cancel := context.WithTimeout(ctx, bucketWait)
	defer cancel()
	parts := e.resolveFetch(f)
	left, room, empty := f.MaxBytes, f.Room, true
	if room == 0 {
		room = unbounded
	}
	done, held := e.readBehind(ctx, f, parts, room)
	room -= held
	f.Needs = 0
	for i := range f.Partitions {
		q := &f.Partitions[i]
		limit := min(q.MaxBytes, left)
		switch {
		case parts[i] == nil:
			q.refuse(e.partitions.absent(q.Partition))
		case done != nil && done[i] && q.needs == 0:
			room += q.Held
			q.cut(limit, empty)
		case !empty && limit <= 0:
			parts[i].position(q)
		default:
			e.readPartition(ctx, parts[i], q, quota{bytes: limit, first: empty, room: room})
		}
		if empty && f.Needs == 0 {
			f.Needs = q.needs
		}
		if q.Bytes > 0 {
			empty = false
			left -= q.Bytes
			room -= q.Held
		}
		if n := len(q.cold); n > 0 {
			e.cold.goAhead(q.Partition, q.Offset, q.cold[n-1].end)
		}
	}
	if !empty {
		f.Needs = 0
	}
	e.meter.read(f)
}

// resolveFetch finds the partitions of a request; a partition that is not open here is nil.
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

// readBehind reads several partitions of a request from the bucket at once, so that the request
// takes one GET's time instead of one per partition. It returns which partitions it read and how
// much memory their batches hold. Together the partitions may return more than the limits allow,
// but no more than the room. Half of the room is left to the partitions that are read from memory.
func (e *Engine) readBehind(ctx context.Context, f *Fetch, parts []*partition, room int) (done []bool, held int) {
	var behind []int
	for i := range f.Partitions {
		if parts[i].isBehind(&f.Partitions[i]) {
			behind = append(behind, i)
		}
	}
	f.Behind = len(behind) > 0
	if len(behind) < len(f.Partitions) {
		room /= 2
	}
	atOnce := min(len(behind), room/behindRoomMin)
	if atOnce < 2 {
		return nil, 0 // they are read one after another, in order
	}
	each := quota{bytes: max(f.MaxBytes/len(behind), cache.BlockBytes), first: true, room: room / atOnce}
	done = make([]bool, len(f.Partitions))
	var wg sync.WaitGroup
	var got atomic.Int64
	slots := make(chan struct{}, coldParallel)
	for _, i := range behind[:atOnce] {
		slots <- struct{}{}
		if got.Load() >= int64(f.MaxBytes) {
			break // no room is left for the partitions after this one
		}
		done[i] = true
		wg.Go(func() {
			defer func() { <-slots }()
			q, its := &f.Partitions[i], each
			its.bytes = min(q.MaxBytes, each.bytes)
			e.readPartition(ctx, parts[i], q, its)
			got.Add(int64(q.Bytes))
		})
	}
	wg.Wait()
	for _, i := range behind {
		if done[i] {
			held += f.Partitions[i].Held
		}
	}
	return done, held
}

// isBehind reports whether what is asked for lies in the bucket only.
func (p *partition) isBehind(q *FetchPartition) bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return q.Offset >= p.logStart && q.Offset < p.memoryStartLocked() && q.Offset < p.hw
}

// memoryStartLocked returns where the batch log begins; everything below lies in the bucket.
func (p *partition) memoryStartLocked() ident.Offset {
	if p.log.len() == 0 {
		return p.end
	}
	return p.log.at(0).start
}

// cut keeps as many batches as the limit allows. It keeps the first one even above the limit if at
// least one is due.
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
	q.Held = size
}

// cutCold is cut for answers in which a batch may be several slices.
func (q *FetchPartition) cutCold(limit int, atLeastOne bool) {
	n, slices, size := 0, 0, 0
	for n < len(q.cold) && (size+q.cold[n].bytes <= limit || atLeastOne && n == 0) {
		size += q.cold[n].bytes
		slices += q.cold[n].slices
		n++
	}
	q.Batches, q.cold, q.Bytes = q.Batches[:slices], q.cold[:n], size
	if n == 0 {
		q.Held = 0
	}
}

// position fills in the watermarks without reading.
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
	q.LetGo()
	q.fromWAL, q.needs = 0, 0
	q.Current = Leader{Broker: -1, Epoch: ident.NoEpoch}
}

// positionLocked checks the request against the partition and fills in the partition's watermarks.
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

// readPartition reads one partition. It plans the read again when data moves meanwhile.
func (e *Engine) readPartition(ctx context.Context, p *partition, q *FetchPartition, may quota) {
	for attempt := 1; ; attempt++ {
		err := e.readOnce(ctx, p, q, may)
		if err == nil {
			return
		}
		if attempt < replansMax && movedOn(err) {
			continue
		}
		q.LetGo()
		q.Err = readError(err)
		if errors.Is(q.Err, ErrCorrupt) {
			e.log.Error("damaged data is not served", "partition", q.Partition, "offset", q.Offset, "err", err)
		}
		return
	}
}

// movedOn reports whether a batch has left the WAL since the read was planned, and so is in the
// bucket now.
func movedOn(err error) bool {
	return errors.Is(err, wal.ErrTrimmed) || errors.Is(err, wal.ErrClosed)
}

// readError turns a failed read into an error that a consumer may be given.
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

// readOnce plans under the partition's lock and reads without it.
func (e *Engine) readOnce(ctx context.Context, p *partition, q *FetchPartition, may quota) error {
	q.begin()
	p.mu.Lock()
	if !p.positionLocked(q) {
		p.mu.Unlock()
		return nil
	}
	if q.Offset < p.memoryStartLocked() {
		end := p.readEndLocked(q.Isolation)
		p.mu.Unlock()
		return e.cold.readCold(ctx, q, end, may)
	}
	behind := p.pickLocked(q, may)
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

// evictedBatch is a batch that is in a file of the WAL and no longer in memory, with its place in
// FetchPartition.Batches.
type evictedBatch struct {
	at    int
	batch batch
}

// pickLocked picks the batches to serve: whole ones, from the one that holds the offset, below the
// end that the reader may see. It returns the picked batches whose bytes have to be read from the
// WAL.
func (p *partition) pickLocked(q *FetchPartition, may quota) (evicted []evictedBatch) {
	end, from := p.readEndLocked(q.Isolation), p.log.search(q.Offset)
	for i := from; i < p.log.len(); i++ {
		b := p.log.at(i)
		if b.end > end {
			break // I5
		}
		if q.Bytes+int(b.size) > may.bytes && (!may.first || i > from) {
			break
		}
		if q.Bytes+int(b.size) > may.room {
			if i == from {
				q.needs = int(b.size)
			}
			break
		}
		if i == from {
			q.Batches = make([][]byte, 0, min(p.log.len()-from, max(may.bytes, 0)/int(b.size)+1, pickedMax))
		}
		if b.bytes == nil {
			evicted = append(evicted, evictedBatch{len(q.Batches), *b})
		}
		q.Batches = append(q.Batches, b.bytes)
		q.Bytes += int(b.size)
	}
	q.Held = q.Bytes
	return evicted
}

// pickedMax is for how many batches room is made at once: one mebibyte of the smallest batches.
const pickedMax = 8192

// Watch signals c, without blocking, whenever one of the partitions moves. Each id is named once.
// The returned func ends the watch.
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

// EpochEnd answers OffsetForLeaderEpoch (KIP-320) with the largest epoch at or below the requested
// one and that epoch's end offset, or with NoEpoch and -1 if there is none.
func (e *Engine) EpochEnd(tp ident.TopicPartition, epoch, current ident.Epoch) (ident.Epoch, ident.Offset, error) {
	p, err := e.partitions.find(tp)
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

// Producer is what a partition remembers of an idempotent producer.
type Producer struct {
	ID           ident.ProducerID
	Epoch        int16
	LastSequence int32
	Placed       time.Time // when its newest batch was placed
}

// Producers returns the producers that a partition remembers, by rising id.
func (e *Engine) Producers(tp ident.TopicPartition) ([]Producer, error) {
	p, err := e.partitions.find(tp)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.servingLocked(); err != nil {
		return nil, err
	}
	var out []Producer
	for id, last := range p.producers.Newest() {
		out = append(out, Producer{ID: id, Epoch: last.Epoch, LastSequence: last.Sequence, Placed: time.UnixMilli(last.Placed)})
	}
	slices.SortFunc(out, func(a, b Producer) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}
