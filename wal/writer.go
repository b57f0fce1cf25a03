package wal

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicemq/sluice/ident"
)

// One append's way through the writer:
//
//  1. queue: Queue computes checksums and puts the append at the end of the queue. The order of the
//     queue is the order in the log (E8).
//  2. take: takeLocked gives what has gathered in the queue a place in the stream. That is a group.
//  3. write: writeLocked writes the group with one WriteVec, into a segment that was filled and
//     synced before.
//  4. sync: commit calls Datasync once.
//  5. report: commit calls Durable. Once anything has failed, failRest calls Failed for all that is
//     left.
//
// The committer takes steps 2 to 5 in turn and sleeps when there is nothing to do. What gathers
// during its sync is the next group, without a timer. When more than overlapBytes gather while the
// committer syncs or reports, the overlapper takes steps 2 and 3 for the next group meanwhile.
// There is at most one such group, and syncs stay in order.
//
// A caller that has nothing else to do calls Queue and Commit instead of Append. If the log is idle
// and the group small, the caller's goroutine takes steps 2 to 5 and wakes nobody. It is marked
// busy meanwhile, and the committer waits for it as it would for its own sync.

// inlineBytes is the most that a caller of Commit syncs itself. The sync of a larger group takes
// longer than waking the committer.
const inlineBytes = 64 << 10

// overlapBytes is how much must gather before it is written during a sync. Below that, waiting
// makes one larger group of it and costs less CPU (BenchmarkAppend).
const overlapBytes = 256 << 10

// Writer appends to one incarnation. Its methods may be called concurrently.
type Writer struct {
	deps Deps
	inc  ident.Incarnation
	dir  string // the incarnation's folder
	segs *segments

	stats  counters
	meter  meter
	trimMu sync.Mutex // held around a trim's I/O; taken before mu

	fillNow   chan struct{} // capacity 1; a signal to look whether a spare is needed
	stopFill  chan struct{}
	committer sync.WaitGroup
	helpers   sync.WaitGroup // the overlapper and the filler
	closeOnce sync.Once
	closeErr  error

	mu           sync.Mutex
	toCommitter  sync.Cond
	toOverlapper sync.Cond
	// All fields below are guarded by mu.

	queue       []*Append
	queuedBytes int64
	current     *segment       // the segment that is being written
	place       ident.Position // the position of the next group, if it fits current
	previous    ident.Position // the end of the last group
	// ends has the end of the last group in each open segment but current, oldest first.
	ends    []ident.Position
	durable ident.Position // moved only by a sync that succeeded (I5, I7)
	busy    bool           // the committer or a caller of Commit is syncing or reporting
	writing bool           // a group is being written; no other may be
	written *Group         // written by the overlapper, waiting for its sync
	lost    []*Group       // groups that were unsynced, or written in part, when the log failed
	idle    []*Group       // groups for reuse
	spare   *segment       // the next segment, durable and empty
	free    []*segment     // trimmed segments, under temporary names
	noSpace bool           // the last try to prepare a spare met a full disk
	poison  error          // the first error; never reset
	stopped bool           // Close was called
}

// Append queues a for the next group and never waits for I/O. The writer owns a until Durable or
// Failed reports it. If Append returns an error, a was not queued: the error is ErrPoisoned,
// ErrClosed or ErrTooLarge.
func (w *Writer) Append(a *Append) error {
	err := w.Queue(a)
	if err == nil {
		w.Wake()
	}
	return err
}

// Queue appends without waking the writer. The caller must call Wake or Commit next: until then,
// nobody may be at work on the queue.
func (w *Writer) Queue(a *Append) error {
	a.bytes = 0
	for i := range a.Entries {
		e := &a.Entries[i]
		if e.CRC == 0 {
			// computed in the caller's goroutine, whose CPU cache holds the payload
			e.CRC = checksum(e.Payload)
		}
		a.bytes += EntryBytes + int64(len(e.Payload))
	}
	if a.bytes > w.MaxAppendBytes() {
		return fmt.Errorf("%w: %d bytes in %d entries, at most %d", ErrTooLarge, a.bytes, len(a.Entries), w.MaxAppendBytes())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.refusalLocked(); err != nil {
		return err
	}
	w.queue = append(w.queue, a)
	w.queuedBytes += a.bytes
	return nil
}

// Wake makes sure that somebody is at work on the queue.
func (w *Writer) Wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wakeLocked()
}

func (w *Writer) wakeLocked() {
	if w.busy {
		w.maybeOverlapLocked()
	} else {
		w.toCommitter.Signal()
	}
}

// Commit is Wake for a caller that can wait for a sync. If nobody else is at work and little is
// queued, Commit itself writes and syncs the queue and calls Durable before it returns. The caller
// must hold no lock that Durable takes.
func (w *Writer) Commit() {
	if g := w.takeInline(); g != nil {
		w.stats.inline.Add(1)
		w.commit(g)
	}
}

// takeInline returns a group that it has written and that its caller must commit. It returns nil if
// the committer is to do that, or already does.
func (w *Writer) takeInline() *Group {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy || w.writing || w.written != nil || w.poison != nil || w.stopped || w.queuedBytes > inlineBytes {
		w.wakeLocked()
		return nil
	}
	g := w.takeLocked()
	if g == nil {
		w.wakeLocked() // somebody else has taken the queue, or there is no room
		return nil
	}
	if !w.writeLocked(g) {
		return nil
	}
	w.beBusyLocked()
	return g
}

// MaxAppendBytes returns the most that one Append may hold: its payloads, and EntryBytes for each
// of them.
func (w *Writer) MaxAppendBytes() int64 {
	return w.segs.segmentBytes - firstGroup - blockBytes - headerBytes
}

// Ready tells whether an append that is placed now can be expected to be written. It returns
// ErrNoSpace while the disk is full and less than a quarter of a segment is left, and otherwise
// ErrPoisoned, ErrClosed or nil.
func (w *Writer) Ready() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.refusalLocked(); err != nil {
		return err
	}
	if w.noSpace && w.spare == nil && w.roomLocked()-w.queuedBytes < w.segs.segmentBytes/4 {
		return ErrNoSpace
	}
	return nil
}

func (w *Writer) refusalLocked() error {
	switch {
	case w.poison != nil:
		return fmt.Errorf("%w: %w", ErrPoisoned, w.poison)
	case w.stopped:
		return ErrClosed
	}
	return nil
}

// roomLocked returns how many bytes a group may take in the current segment, whose last block is
// kept for a seal.
func (w *Writer) roomLocked() int64 {
	return w.current.capacity - blockBytes - int64(w.place-w.segs.base(w.current))
}

func (w *Writer) maybeOverlapLocked() {
	if w.mayOverlapLocked() {
		w.toOverlapper.Signal()
	}
}

func (w *Writer) mayOverlapLocked() bool {
	return w.busy && !w.writing && w.written == nil && w.poison == nil && w.queuedBytes >= overlapBytes
}

// commitLoop runs in the committer's goroutine.
func (w *Writer) commitLoop() {
	for {
		g := w.nextWritten()
		if g == nil {
			w.failRest()
			return
		}
		w.commit(g)
	}
}

// nextWritten returns the next group that is written but not synced. Unless the overlapper has
// written it, nextWritten does. It returns nil when the log is poisoned, or closed and drained.
func (w *Writer) nextWritten() *Group {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		switch {
		// The overlapper, or a caller of Commit, is at work: wait for the outcome.
		case w.writing || w.busy:
		case w.poison != nil:
			return nil
		case w.written != nil:
			g := w.written
			w.written = nil
			w.beBusyLocked()
			return g
		case len(w.queue) > 0:
			if g := w.takeLocked(); g != nil {
				if !w.writeLocked(g) {
					return nil
				}
				w.beBusyLocked()
				return g
			}
			if w.stopped && w.noSpace {
				return nil
			}
		case w.stopped:
			return nil
		}
		w.toCommitter.Wait()
	}
}

func (w *Writer) beBusyLocked() {
	w.busy = true
	w.maybeOverlapLocked()
}

// takeLocked makes a group of the appends at the head of the queue and gives it its place. It
// returns nil if the queue is empty, or has to wait for the next segment.
func (w *Writer) takeLocked() *Group {
	if len(w.queue) == 0 || !w.makeRoomLocked(padded(headerBytes+w.queue[0].bytes)) {
		return nil
	}
	g := w.newGroupLocked()
	room := w.roomLocked()
	n := 0
	for n < len(w.queue) && padded(g.bytes+w.queue[n].bytes) <= room {
		g.add(w.queue[n])
		n++
	}
	w.queuedBytes -= g.bytes - headerBytes
	rest := copy(w.queue, w.queue[n:])
	clear(w.queue[rest:])
	w.queue = w.queue[:rest]
	w.placeLocked(g)
	return g
}

// newGroupLocked returns an empty group. The writer holds its only reference.
func (w *Writer) newGroupLocked() (g *Group) {
	if n := len(w.idle); n > 0 {
		g = w.idle[n-1]
		w.idle = w.idle[:n-1]
	} else {
		g = &Group{writer: w}
		g.reset()
	}
	g.refs.Store(1)
	return g
}

// recycle keeps a group without references, to be used again.
func (w *Writer) recycle(g *Group) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.recycleLocked(g)
}

func (w *Writer) recycleLocked(g *Group) {
	g.reset()
	w.idle = append(w.idle, g)
}

// placeLocked gives g the next place in the stream.
func (w *Writer) placeLocked(g *Group) {
	g.segment, g.position, g.previous, g.durable = w.current, w.place, w.previous, w.durable // E25
	w.place, w.previous = g.end(), g.end()
}

// makeRoomLocked moves on to the spare segment if size does not fit the current one. It returns
// false if there is no spare yet.
func (w *Writer) makeRoomLocked(size int64) bool {
	if size <= w.roomLocked() {
		return true
	}
	if w.spare == nil {
		return false // the filler is preparing it
	}
	w.ends = append(w.ends, w.previous)
	w.current, w.spare = w.spare, nil
	w.segs.add(w.current)
	w.place = w.segs.base(w.current) + firstGroup
	w.signalFill()
	return true
}

func (w *Writer) signalFill() {
	select {
	case w.fillNow <- struct{}{}:
	default:
	}
}

// writeLocked writes g and lets go of the mutex meanwhile. It returns false if the log is poisoned,
// by this write or by something else.
func (w *Writer) writeLocked(g *Group) bool {
	w.writing = true
	w.mu.Unlock()
	err := w.write(g)
	w.mu.Lock()
	w.writing = false
	if err != nil {
		w.poisonLocked(err)
	}
	if w.poison != nil {
		w.lost = append(w.lost, g)
		w.toCommitter.Signal() // the committer may have waited for this write
		return false
	}
	return true
}

func (w *Writer) write(g *Group) error {
	g.build(w.inc, flagArrival)
	n, calls, err := g.segment.file.WriteVec(g.vec, int64(g.position-w.segs.base(g.segment)))
	w.stats.groups.Add(1)
	w.stats.groupWrites.Add(int64(calls))
	w.stats.groupBytes.Add(n)
	w.stats.entries.Add(int64(g.entries))
	if err == nil && n != padded(g.bytes) {
		err = fmt.Errorf("%d of %d bytes written", n, padded(g.bytes))
	}
	if err != nil {
		return fmt.Errorf("write group at %d to %s: %w", g.position, g.segment.path, err)
	}
	return nil
}

// commit makes a written group durable and reports it, unless anything has failed.
func (w *Writer) commit(g *Group) {
	w.stats.groupSyncs.Add(1)
	began := time.Now()
	err := g.segment.file.Datasync()
	w.meter.observe(g, time.Since(began))
	w.mu.Lock()
	if err != nil {
		// Never sync again: a second sync may succeed although the first has lost pages
		// (docs/lessons.md).
		w.poisonLocked(fmt.Errorf("sync group at %d in %s: %w", g.position, g.segment.path, err))
	}
	if w.poison != nil {
		w.lost = append(w.lost, g)
		w.restLocked()
		w.mu.Unlock()
		return
	}
	w.durable = g.end() // I7
	w.mu.Unlock()
	w.deps.Durable(g) // I1: the sync above covers the group
	w.mu.Lock()
	if g.refs.Add(-1) == 0 { // otherwise Durable has retained it
		w.recycleLocked(g)
	}
	w.restLocked()
	w.mu.Unlock()
}

// restLocked ends what beBusyLocked began. After a caller of Commit, the committer may have work to
// do.
func (w *Writer) restLocked() {
	w.busy = false
	if len(w.queue) > 0 || w.written != nil || w.poison != nil || w.stopped {
		w.toCommitter.Signal()
	}
}

// overlapLoop runs in the overlapper's goroutine.
func (w *Writer) overlapLoop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for !w.stopped && w.poison == nil {
		if w.mayOverlapLocked() {
			if g := w.takeLocked(); g != nil {
				w.stats.overlapped.Add(1)
				if w.writeLocked(g) {
					w.written = g
				}
				w.toCommitter.Signal()
				continue
			}
		}
		w.toOverlapper.Wait()
	}
}

// poisonLocked keeps the first error. After it nothing is reported durable.
func (w *Writer) poisonLocked(err error) {
	if w.poison != nil {
		return
	}
	w.poison = err
	w.deps.Log.Error("write-ahead log failed: this incarnation takes and acknowledges no more", "incarnation", w.inc.String(), "error", err)
	w.toCommitter.Signal()
	w.toOverlapper.Signal()
}

// failRest calls Failed with every append that was accepted and never reported.
func (w *Writer) failRest() {
	w.mu.Lock()
	if w.written != nil {
		w.lost = append(w.lost, w.written)
		w.written = nil
	}
	// The appends are handed over in WAL order: the lost groups by position (there are at most
	// two), then the queue.
	var appends []*Append
	if len(w.lost) == 2 && w.lost[0].position > w.lost[1].position {
		w.lost[0], w.lost[1] = w.lost[1], w.lost[0]
	}
	for _, g := range w.lost {
		appends = append(appends, g.appends...)
	}
	appends = append(appends, w.queue...)
	w.queue, w.lost, w.queuedBytes = nil, nil, 0
	err := w.refusalLocked()
	if w.poison == nil && w.noSpace {
		err = ErrNoSpace
	}
	w.mu.Unlock()
	if len(appends) > 0 || errors.Is(err, ErrPoisoned) {
		w.deps.Failed(err, appends)
	}
}

// ReadAt fills p with the payload at pos and verifies it against crc, the checksum of its entry.
// Damage is a *CorruptError; a segment that was trimmed is ErrTrimmed.
func (w *Writer) ReadAt(p []byte, pos ident.Position, crc uint32) error {
	return w.segs.readAt(p, pos, crc)
}

// Durable returns the end of the last durable group, or 0.
func (w *Writer) Durable() ident.Position {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.durable
}

// Incarnation returns the number of the incarnation.
func (w *Writer) Incarnation() ident.Incarnation { return w.inc }

// DiskBytes returns the size of the incarnation's files, including spare and trimmed ones.
func (w *Writer) DiskBytes() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.segs.diskBytes()
	if w.spare != nil {
		n += w.spare.capacity
	}
	for _, seg := range w.free {
		n += seg.capacity
	}
	return n
}

// Close drains the queue: every append is reported, as durable or as failed. Then Close writes a
// seal, which says that everything below it is durable, so that the next start need not make it
// durable again. Close may be called twice.
func (w *Writer) Close() error {
	w.closeOnce.Do(func() { w.closeErr = w.close() })
	return w.closeErr
}

func (w *Writer) close() error {
	w.mu.Lock()
	w.stopped = true
	w.noSpace = false // makes the filler try once more
	w.signalFill()
	w.toCommitter.Signal()
	w.toOverlapper.Signal()
	w.mu.Unlock()
	w.committer.Wait()
	close(w.stopFill)
	w.helpers.Wait()
	w.trimMu.Lock() // waits for a running trim
	defer w.trimMu.Unlock()
	err := w.seal()
	if w.spare != nil {
		err = errors.Join(err, w.spare.file.Close())
	}
	for _, seg := range w.free {
		err = errors.Join(err, seg.file.Close())
	}
	if err := errors.Join(err, w.segs.close()); err != nil {
		return fmt.Errorf("close write-ahead log %s: %w", w.inc, err)
	}
	return nil
}

// seal ends the incarnation with an empty group that names everything before it as durable. All
// goroutines have ended.
func (w *Writer) seal() error {
	if w.poison != nil {
		return fmt.Errorf("%w: %w", ErrPoisoned, w.poison)
	}
	g := new(Group)
	g.reset()
	w.placeLocked(g)
	g.build(w.inc, flagSeal)
	if _, _, err := g.segment.file.WriteVec(g.vec, int64(g.position-w.segs.base(g.segment))); err != nil {
		return err
	}
	return g.segment.file.Datasync()
}

// Stats are counts since the writer was created.
type Stats struct {
	Groups      int64
	GroupWrites int64 // write calls for groups: one each, unless the platform needs more
	GroupSyncs  int64
	GroupBytes  int64 // including headers and padding
	Entries     int64
	Overlapped  int64 // groups that were written while the one before was synced
	Inline      int64 // groups that a caller of Commit committed

	Fills        int64 // segments that were filled with zeros
	Allocated    int64 // segments that were allocated in a hurry, not filled
	Recycled     int64 // trimmed segments that were reused
	SegmentSyncs int64 // syncs of segments before they hold groups
	DirSyncs     int64
}

// counters are the Stats while they are being counted.
type counters struct {
	groups, groupWrites, groupSyncs, groupBytes, entries, overlapped, inline atomic.Int64
	fills, allocated, recycled, segmentSyncs, dirSyncs                       atomic.Int64
}

// Stats returns the counts so far.
func (w *Writer) Stats() Stats {
	c := &w.stats
	return Stats{
		Groups: c.groups.Load(), GroupWrites: c.groupWrites.Load(), GroupSyncs: c.groupSyncs.Load(),
		GroupBytes: c.groupBytes.Load(), Entries: c.entries.Load(), Overlapped: c.overlapped.Load(), Inline: c.inline.Load(),
		Fills: c.fills.Load(), Allocated: c.allocated.Load(), Recycled: c.recycled.Load(), SegmentSyncs: c.segmentSyncs.Load(), DirSyncs: c.dirSyncs.Load(),
	}
}
