package storage

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage/pstate"
	"github.com/sluicemq/sluice/wal"
)

// The write path has five steps:
//
//  1. place: Engine.Append locks the partitions in id order and holds the locks until the WAL has
//     queued the batches (E8). Each batch gets its offsets, the producer state changes, and the WAL
//     gets all batches in one call. Refusals are given in this step; after it there is only success
//     or an indefinite error.
//  2. persist: package wal makes one write and one fdatasync per group (I1), in the caller's
//     goroutine if the caller lends it.
//  3. replicate: Engine.persisted takes the groups over in WAL order. The batches of class
//     replicated in a group wait until every peer holds the group (replicate.go).
//  4. publish: the high watermark moves, and readers wake when all of the group is shown. Class
//     object waits for its commit instead (commit.go), and so does class replicated if there is no
//     peer.
//  5. acknowledge: AppendRequest.Done is called when every partition of the request is shown.
//
// A broker that dies between steps 1 and 2 loses batches that nobody was told of. One that dies
// between steps 2 and 5 keeps batches that may not have been acknowledged: the client retries, and
// the producer state, rebuilt from the same batches, finds the duplicate (I11).

// pendingAppend is the engine's part of an AppendRequest.
type pendingAppend struct {
	waiting atomic.Int32 // partitions without outcome, plus one while placing
}

// placed is what one append hands to the WAL. A request is one append, or several if it does not
// fit into one group.
type placed struct {
	wal   wal.Append
	parts []placedBatch // by entry
	bytes int64         // payloads and entry headers
	// pinned is the memory that the request's batches keep from being freed. It is 0 except in the
	// request's last append: the hot tail drops batches in the order of the WAL, so the memory is
	// free when the last batch is dropped.
	pinned int64
}

// placedBatch tells where an entry's batch lies.
type placedBatch struct {
	partition *partition
	number    int64 // the batch's number in its partition's batch log
}

// add makes room for an entry in the last append, or in a new one if the last has no room left. The
// limits are the WAL's for one group. left is how many entries may still come, this one included.
func add(appends []*placed, batch placedBatch, payload int, left int, bytesMax int64) ([]*placed, *wal.Entry) {
	n := len(appends)
	bytes := int64(payload) + wal.EntryBytes
	if n == 0 || len(appends[n-1].parts) >= entriesPerAppendMax || appends[n-1].bytes+bytes > bytesMax {
		room := min(left, entriesPerAppendMax)
		appends = append(appends, &placed{wal: wal.Append{Entries: make([]wal.Entry, 0, room)}, parts: make([]placedBatch, 0, room)})
		n++
	}
	a := appends[n-1]
	a.wal.Owner = a
	a.wal.Entries = append(a.wal.Entries, wal.Entry{})
	a.parts = append(a.parts, batch)
	a.bytes += bytes
	return appends, &a.wal.Entries[len(a.wal.Entries)-1]
}

// entriesPerAppendMax keeps an append within a group's 1,024 vectors.
const entriesPerAppendMax = 512

// settle takes one partition's outcome off the count and acknowledges at zero.
func (r *AppendRequest) settle() {
	if r.pending.waiting.Add(-1) == 0 {
		r.Done(r)
	}
}

// Append does the step "place" and begins the step "persist". See AppendRequest.
func (e *Engine) Append(req *AppendRequest) {
	req.pending.waiting.Store(1)
	if err := e.admit(req); err != nil {
		e.meter.refused(err)
		for i := range req.Partitions {
			req.Partitions[i].refuse(err)
		}
		req.settle()
		return
	}
	parts := e.resolve(req)
	locked := lockInOrder(req, parts)
	prefetch(locked)
	e.place(req, parts)
	for _, p := range locked {
		p.mu.Unlock()
	}
	e.persist(req.Lend)
	req.settle()
}

// persist gets the placed batches onto the disk. If the caller lends its goroutine and no other
// goroutine is writing, that goroutine writes them and does all steps that follow
// (docs/decisions/0013-who-syncs.md).
func (e *Engine) persist(lent bool) {
	if lent {
		e.wal.Commit()
	} else {
		e.wal.Wake()
	}
}

func (i *PartitionAppend) refuse(err error) {
	i.Err, i.BaseOffset, i.AppendTime, i.LogStart = err, -1, -1, -1
}

// admit refuses a request before anything is placed if the WAL is full, failed or closed.
func (e *Engine) admit(req *AppendRequest) error {
	if err := e.refusing(); err != nil {
		return err
	}
	size := int64(0)
	for i := range req.Partitions {
		size += int64(len(req.Partitions[i].Batch))
	}
	if e.budget.refuses(size) {
		return fmt.Errorf("%w: the write-ahead log's budget is used up", ErrThrottled)
	}
	switch err := e.wal.Ready(); {
	case errors.Is(err, wal.ErrNoSpace):
		return fmt.Errorf("%w: %w", ErrThrottled, err)
	case errors.Is(err, wal.ErrClosed):
		return ErrClosed
	case err != nil:
		return fmt.Errorf("%w: %w", ErrWALFailed, err)
	}
	return nil
}

// resolve finds the partitions of a request. A partition that is not open here is nil, and its item
// says why.
func (e *Engine) resolve(req *AppendRequest) []*partition {
	parts, all := make([]*partition, len(req.Partitions)), true
	e.partitions.mu.RLock()
	lookup := requestLookup{of: &e.partitions}
	for i := range req.Partitions {
		parts[i] = lookup.get(req.Partitions[i].Partition)
		all = all && parts[i] != nil
	}
	e.partitions.mu.RUnlock()
	if !all {
		for i := range parts {
			if parts[i] == nil {
				req.Partitions[i].Err = e.partitions.absent(req.Partitions[i].Partition)
			}
		}
	}
	return parts
}

// lockInOrder locks each partition once, in id order (E8).
func lockInOrder(req *AppendRequest, parts []*partition) []*partition {
	locked := parts
	if !inOrder(req, parts) {
		locked = slices.DeleteFunc(slices.Clone(parts), func(p *partition) bool { return p == nil })
		slices.SortFunc(locked, func(a, b *partition) int { return a.id.Compare(b.id) })
		locked = slices.Compact(locked)
	}
	for _, p := range locked {
		p.mu.Lock()
	}
	return locked
}

// prefetch touches the cache lines that place will write, so that their misses overlap: −17 % of
// place for 100 partitions.
func prefetch(locked []*partition) {
	if len(locked) < 8 {
		return
	}
	var sum int64
	for _, p := range locked {
		sum += int64(len(p.acks)) + p.unflushed + int64(len(p.watchers)) + p.log.nextLine()
	}
	runtime.KeepAlive(sum)
}

// inOrder reports whether the partitions can be locked in the given order. It compares ids in the
// request instead of dereferencing partitions, which would miss the cache once per partition.
func inOrder(req *AppendRequest, parts []*partition) bool {
	for i, p := range parts {
		if p == nil || i > 0 && req.Partitions[i-1].Partition.Compare(req.Partitions[i].Partition) >= 0 {
			return false
		}
	}
	return true
}

// place gives offsets and hands all batches to the WAL in one call. The caller has locked the
// partitions.
func (e *Engine) place(req *AppendRequest, parts []*partition) {
	var appends []*placed
	size, count := int64(0), 0
	now := e.deps.Now().UnixMilli()
	for i, p := range parts {
		item := &req.Partitions[i]
		if p == nil {
			item.refuse(item.Err)
			continue
		}
		b, err := p.placeLocked(e, req, i, now)
		if err != nil {
			item.refuse(err)
			continue
		}
		if b == nil {
			continue // a duplicate
		}
		size += int64(b.size)
		count++
		var entry *wal.Entry
		appends, entry = add(appends, placedBatch{p, p.log.end() - 1}, len(b.bytes), len(parts)-i, e.appendBytesMax)
		entry.Kind, entry.Partition, entry.Epoch = wal.KindBatch, item.Partition, b.epoch
		entry.Start, entry.End, entry.Payload = b.start, b.end, b.bytes
		entry.CRC, entry.Arrived = protocol.WholeCRC(b.bytes), now
	}
	e.budget.placed(size, count)
	if n := len(appends); n > 0 {
		appends[n-1].pinned = max(size, int64(req.PinnedBytes))
	}
	for _, a := range appends {
		if err := e.wal.Queue(&a.wal); err != nil {
			e.failLocked(req, parts, err)
			return
		}
	}
}

// placeLocked admits one batch, gives it its offsets and notes that the request waits for it. The
// batch returned is the newest in the log and valid until the partition is unlocked. It is nil for
// a duplicate, which waits for its original.
func (p *partition) placeLocked(e *Engine, req *AppendRequest, item int, now int64) (*batch, error) {
	in := &req.Partitions[item]
	if err := p.admitLocked(e, req, in); err != nil {
		return nil, err
	}
	in.LogStart, in.AppendTime = p.logStart, -1
	b := batch{
		start: p.end, end: p.end + ident.Offset(in.Header.LastOffsetDelta) + 1,
		producer: ident.ProducerID(in.Header.ProducerID), pepoch: in.Header.ProducerEpoch, sequence: in.Header.BaseSequence,
		epoch: p.leader.Epoch, under: p.leader.Epoch, bytes: in.Batch, size: int32(len(in.Batch)), source: e.own,
		maxTimestamp: in.Header.MaxTimestamp, arrived: arrivedAt(now), appendTime: in.Header.Attributes.LogAppendTime(),
	}
	if b.maxTimestamp < 0 { // the broker has found that its records have no time
		b.maxTimestamp = now
	}
	if b.producer != ident.NoProducer {
		dup, err := p.producers.Check(b.state())
		if err != nil {
			return nil, producerError(err)
		}
		if dup != nil {
			in.BaseOffset, in.AppendTime = dup.Start, dup.AppendTime
			p.waitLocked(req, item, dup.End) // I11: no earlier than the original
			return nil, nil
		}
		p.producers.Apply(b.state())
	}
	if b.appendTime {
		in.AppendTime = b.maxTimestamp
	}
	in.BaseOffset = b.start
	protocol.SetPlace(in.Batch, int64(b.start), int32(b.epoch))
	p.noteEpochLocked(b.epoch, b.start)
	p.log.push(b)
	p.unflushed += int64(b.size)
	p.end = b.end // I2: an offset is given once
	p.waitLocked(req, item, b.end)
	return p.log.at(p.log.len() - 1), nil
}

// admitLocked refuses a batch that this partition cannot take now.
func (p *partition) admitLocked(e *Engine, req *AppendRequest, in *PartitionAppend) error {
	switch {
	case p.status != leading:
		return p.servingLocked()
	case req.CheckEpoch && req.Epoch != p.leader.Epoch: // I4
		return &NotLeaderError{p.id, p.leader}
	case e.failed.Load() != nil:
		return ErrWALFailed
	case p.stuck:
		return fmt.Errorf("%w: %s", ErrStuck, p.flush.trouble.reason)
	case in.Header.Attributes.Transactional():
		return ErrInvalidTxnState
	case int64(len(in.Batch))+wal.EntryBytes > e.appendBytesMax:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(in.Batch), e.appendBytesMax-wal.EntryBytes)
	}
	if in.Header.ProducerID >= 0 && p.producers.Len() >= e.producersMax &&
		!p.producers.Has(ident.ProducerID(in.Header.ProducerID)) {
		if p.producers.Expire(e.retainer.producersUntil(e.deps.Now())) == 0 {
			return fmt.Errorf("%w: %d on %s", ErrTooManyProducers, p.producers.Len(), p.id)
		}
	}
	return nil
}

// waitLocked notes that the request's answer for item waits until end is shown.
func (p *partition) waitLocked(req *AppendRequest, item int, end ident.Offset) {
	if end <= p.hw {
		return
	}
	req.pending.waiting.Add(1)
	at := len(p.acks)
	p.acks = append(p.acks, ack{end: end, req: req, item: item})
	for at > 0 && p.acks[at-1].end > end { // a duplicate of a batch that is still in flight
		p.acks[at-1], p.acks[at] = p.acks[at], p.acks[at-1]
		at--
	}
}

// noteEpochLocked keeps the history of leader epochs: an epoch under which nothing was written
// leaves no trace.
func (p *partition) noteEpochLocked(epoch ident.Epoch, start ident.Offset) {
	if epoch == p.noted {
		return // saves reading the history, which would miss the cache
	}
	if n := len(p.epochs); n == 0 || p.epochs[n-1].Epoch < epoch {
		p.epochs = append(p.epochs, pstate.EpochStart{Epoch: epoch, Start: start})
		p.noted = epoch
	}
}

// persisted takes a group that is on this disk through its remaining steps: "replicate", and then
// "publish" and "acknowledge" for the batches whose class shows them now. The WAL calls it once per
// group, in WAL order.
func (e *Engine) persisted(g *wal.Group) {
	everywhere := e.replicate(g)
	size, count := int64(0), 0
	now := e.deps.Now().Sub(e.openedAt)
	var freed []ack // one buffer for the whole group
	hot := e.hot.group()
	e.woken.group++
	for _, a := range g.Appends() {
		placed, ok := a.Owner.(*placed)
		if !ok {
			a.Owner.(ownWrite).durable()
			continue
		}
		count += len(a.Entries)
		for i := range a.Entries {
			size += int64(len(a.Entries[i].Payload))
			freed = e.publish(freed[:0], placed.parts[i], &a.Entries[i], everywhere, now)
			hot = append(hot, hotBatch{placed.parts[i].partition, placed.parts[i].number, batchOverhead})
			acknowledge(freed)
			e.trimmer.persistedTo.Store(int64(a.Entries[i].Position) + int64(len(a.Entries[i].Payload)))
		}
		hot[len(hot)-1].size += placed.pinned
	}
	e.woken.signal()
	e.hot.add(hot)
	e.meter.persisted(count, size)
	e.budget.persisted(size, g.End())
	e.flusher.persisted(size)
	e.hot.evict()
}

// publish notes where a batch lies on this disk, and shows the batch if its class asks for no more.
// everywhere says that the peers have the batch too. publish appends the answers that it frees to
// freed.
func (e *Engine) publish(freed []ack, placed placedBatch, entry *wal.Entry, everywhere bool, now time.Duration) []ack {
	p := placed.partition
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status.ended() {
		return freed
	}
	b := p.log.numbered(placed.number)
	if b.start != entry.Start || p.persisted != entry.Start {
		// E8 promises that the WAL has the batches of a partition in the order of their offsets.
		panic(fmt.Sprintf("BUG: %s: WAL order is not offset order: durable [%d,%d) after %d", p.id, entry.Start, entry.End, p.persisted))
	}
	b.position, b.crc = entry.Position, entry.CRC
	p.persisted = entry.End
	p.published.note(entry.Start, now, p.logStart)
	switch e.replication.asks(p.class) {
	case askBucket:
		e.flusher.wakeUrgent(p)
		return freed
	case askPeers:
		if !everywhere {
			return freed
		}
	}
	e.woken.gather(p.watchers)
	return p.moveLocked(freed, p.persisted)
}

// wakers are the watchers that wait for the batches of a group. They are woken once, when all of
// the group is shown: a consumer of many partitions that woke for the first one would fetch the
// others one by one. Only Engine.persisted uses wakers, in one goroutine at a time.
type wakers struct {
	group    uint64 // number of the group that is being shown
	gathered []*watcher
}

func (w *wakers) gather(watchers []*watcher) {
	for _, one := range watchers {
		if one.group != w.group {
			one.group = w.group
			w.gathered = append(w.gathered, one)
		}
	}
}

func (w *wakers) signal() {
	for _, one := range w.gathered {
		signal(one.c)
	}
	clear(w.gathered)
	w.gathered = w.gathered[:0]
}

// acknowledge answers producers whose batches are shown (I1: durable by their class's rule).
func acknowledge(acks []ack) {
	for _, a := range acks {
		a.req.settle()
	}
}

// producerError turns a refusal of the producer state into one of the errors that the broker knows.
func producerError(err error) error {
	if errors.Is(err, pstate.ErrStaleEpoch) {
		return fmt.Errorf("%w: %w", ErrStaleProducer, err)
	}
	return fmt.Errorf("%w: %w", ErrOutOfOrder, err)
}
