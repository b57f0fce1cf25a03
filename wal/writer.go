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
//  1. Append      computes checksums and puts it at the queue's end: queue order is WAL order (E8).
//  2. take        gives what has gathered a place in the stream: a group.
//  3. write       one WriteVec, into a segment that was filled and synced before.
//  4. sync        one Datasync.
//  5. report      Durable, or, once anything has failed, Failed for all that is left.
//
// The committer does 2 to 5 in turn and sleeps when there is nothing to do: whatever
// gathers during its sync is the next group, without a timer. When more than
// overlapBytes has gathered while it syncs or reports, the overlapper does 2 and 3 of the next group
// meanwhile. There is at most one such group, and syncs stay in order.
//
// Who has nothing else to do may Queue and Commit instead: when the log is idle and the group is small, the
// caller does 2 to 5 itself, and nobody is woken. It is busy then like the committer, which waits for it.

// inlineBytes is the most that a caller of Commit syncs itself: a larger group's sync takes longer than a wake-up.
const inlineBytes = 64 << 10

// overlapBytes is how much must have gathered to be written during a sync. Below, waiting
// makes one larger group of it and costs less CPU (BenchmarkAppend).
const overlapBytes = 256 << 10

// Writer appends to one incarnation. Its methods may be called concurrently.
type Writer struct {
	deps Deps
	inc  ident.Incarnation
	dir  string // of the incarnation
	segs *segments

	stats  counters
	meter  meter
	trimMu sync.Mutex // held around a trim's I/O, before mu

	fillNow   chan struct{} // capacity 1: look whether a spare is needed
	stopFill  chan struct{}
	committer sync.WaitGroup
	helpers   sync.WaitGroup // overlapper and filler
	closeOnce sync.Once
	closeErr  error

	mu           sync.Mutex
	toCommitter  sync.Cond
	toOverlapper sync.Cond
	// All below is guarded by mu.

	queue       []*Append
	queuedBytes int64
	current     *segment         // being written
	place       ident.Position   // where the next group goes, if it fits current
	previous    ident.Position   // end of the last group
	ends        []ident.Position // of the last group of each open segment but current, oldest first
	durable     ident.Position   // I5, I7: only ever moved by a sync that succeeded
	busy        bool             // somebody syncs or reports: the committer, or a caller of Commit
	writing     bool             // somebody writes a group; nobody else may
	written     *group           // by the overlapper, waiting for its sync
	lost        []*group         // written in part or unsynced when the log failed
	idle        []*group         // to be used again
	spare       *segment         // the next segment, durable and empty
	free        []*segment       // trimmed, under temporary names
	noSpace     bool             // the last try to prepare a spare met a full disk
	poison      error            // the first error; final
	stopped     bool             // Close was called
}

// Append queues a for the next group and never waits for I/O. It takes a over until a is
// reported by Durable or Failed. An error means that it was not queued: ErrPoisoned, ErrClosed, ErrTooLarge.
func (w *Writer) Append(a *Append) error {
	err := w.Queue(a)
	if err == nil {
		w.Wake()
	}
	return err
}

// Queue is Append for who calls Wake or Commit after it, without fail: until then nobody may be at work.
func (w *Writer) Queue(a *Append) error {
	a.bytes = 0
	for i := range a.Entries {
		e := &a.Entries[i]
		if e.CRC == 0 {
			e.CRC = checksum(e.Payload) // in the caller's goroutine: the payload is in its cache
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

// Commit is Wake for who can wait for a sync: if nobody else is at work and little is queued, it commits the queue
// before it returns, and calls Durable. No lock may be held that Durable takes.
func (w *Writer) Commit() {
	if g := w.takeInline(); g != nil {
		w.stats.inline.Add(1)
		w.commit(g)
	}
}

// takeInline returns a group that its caller has written and is to commit; nil if that is not for it to do.
func (w *Writer) takeInline() *group {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy || w.writing || w.written != nil || w.poison != nil || w.stopped || w.queuedBytes > inlineBytes {
		w.wakeLocked()
		return nil
	}
	g := w.takeLocked()
	if g == nil {
		w.wakeLocked() // somebody else has taken it, or there is no room
		return nil
	}
	if !w.writeLocked(g) {
		return nil
	}
	w.beBusyLocked()
	return g
}

// MaxAppendBytes returns the most that one Append may hold: its payloads and EntryBytes for each.
func (w *Writer) MaxAppendBytes() int64 {
	return w.segs.segmentBytes - firstGroup - blockBytes - headerBytes
}

// Ready tells whether an append that is placed now can be expected to be
// written: ErrNoSpace while the disk is full and less than a quarter of a segment is left, ErrPoisoned, ErrClosed.
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

// roomLocked returns what a group may take in the current segment, whose last block is kept for a seal.
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

// commitLoop is the committer.
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

// nextWritten returns the next group that is written and not synced, writing it itself unless the
// overlapper has; nil when the log is poisoned, or closed and drained.
func (w *Writer) nextWritten() *group {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		switch {
		case w.writing || w.busy: // the overlapper's or an inline group: its outcome decides
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

// takeLocked makes a group of the appends at the queue's head and gives it its place. It
// returns nil if there is none, or if it has to wait for the next segment.
func (w *Writer) takeLocked() *group {
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

func (w *Writer) newGroupLocked() *group {
	if n := len(w.idle); n > 0 {
		g := w.idle[n-1]
		w.idle = w.idle[:n-1]
		return g
	}
	g := new(group)
	g.reset()
	return g
}

// placeLocked gives g the next place in the stream.
func (w *Writer) placeLocked(g *group) {
	g.segment, g.position, g.previous, g.durable = w.current, w.place, w.previous, w.durable // E25
	w.place, w.previous = g.end(), g.end()
}

// makeRoomLocked rolls to the spare segment if size does not fit the current one; false: there is no spare yet.
func (w *Writer) makeRoomLocked(size int64) bool {
	if size <= w.roomLocked() {
		return true
	}
	if w.spare == nil {
		return false // the filler is at it
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

// writeLocked writes g with the mutex released; false: it failed, and the log is poisoned.
func (w *Writer) writeLocked(g *group) bool {
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
		w.toCommitter.Signal() // it may have waited for this write
		return false
	}
	return true
}

func (w *Writer) write(g *group) error {
	g.build(w.inc, 0)
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
func (w *Writer) commit(g *group) {
	w.stats.groupSyncs.Add(1)
	began := time.Now()
	err := g.segment.file.Datasync()
	w.meter.observe(g, time.Since(began))
	w.mu.Lock()
	if err != nil {
		w.poisonLocked(fmt.Errorf("sync group at %d in %s: %w", g.position, g.segment.path, err)) // never again: trap 19
	}
	if w.poison != nil {
		w.lost = append(w.lost, g)
		w.restLocked()
		w.mu.Unlock()
		return
	}
	w.durable = g.end() // I7
	w.mu.Unlock()
	w.deps.Durable(g.appends) // I1: the sync above covers them
	w.mu.Lock()
	g.reset()
	w.idle = append(w.idle, g)
	w.restLocked()
	w.mu.Unlock()
}

// restLocked ends what beBusyLocked began. If it was a caller of Commit, the committer may have work now.
func (w *Writer) restLocked() {
	w.busy = false
	if len(w.queue) > 0 || w.written != nil || w.poison != nil || w.stopped {
		w.toCommitter.Signal()
	}
}

// overlapLoop is the overlapper.
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

// poisonLocked keeps the first error. From here on nothing is reported durable.
func (w *Writer) poisonLocked(err error) {
	if w.poison != nil {
		return
	}
	w.poison = err
	w.deps.Log.Error("write-ahead log failed: this incarnation takes and acknowledges no more", "incarnation", w.inc.String(), "error", err)
	w.toCommitter.Signal()
	w.toOverlapper.Signal()
}

// failRest hands over everything that was taken and never reported.
func (w *Writer) failRest() {
	w.mu.Lock()
	if w.written != nil {
		w.lost = append(w.lost, w.written)
		w.written = nil
	}
	// WAL order: of two lost groups the earlier place first, then the queue.
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

// ReadAt fills p with the payload at pos and verifies it: crc is its entry's. Damage is a
// *CorruptError, a segment that is gone ErrTrimmed.
func (w *Writer) ReadAt(p []byte, pos ident.Position, crc uint32) error {
	return w.segs.readAt(p, pos, crc)
}

// Durable returns the end of what is durable: a group's end, or 0.
func (w *Writer) Durable() ident.Position {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.durable
}

// Incarnation returns the incarnation that is written.
func (w *Writer) Incarnation() ident.Incarnation { return w.inc }

// DiskBytes returns what the incarnation's files take, spare and trimmed ones included.
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

// Close drains: everything that was appended is reported durable, or failed. Then it seals what
// is durable, so that the next start need not prove it again. It may be called twice.
func (w *Writer) Close() error {
	w.closeOnce.Do(func() { w.closeErr = w.close() })
	return w.closeErr
}

func (w *Writer) close() error {
	w.mu.Lock()
	w.stopped = true
	w.noSpace = false // one more try
	w.signalFill()
	w.toCommitter.Signal()
	w.toOverlapper.Signal()
	w.mu.Unlock()
	w.committer.Wait()
	close(w.stopFill)
	w.helpers.Wait()
	w.trimMu.Lock() // a trim at work finishes
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

// seal ends the incarnation with an empty group that names everything as durable. All goroutines have ended.
func (w *Writer) seal() error {
	if w.poison != nil {
		return fmt.Errorf("%w: %w", ErrPoisoned, w.poison)
	}
	g := new(group)
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
	GroupBytes  int64 // with headers and padding
	Entries     int64
	Overlapped  int64 // groups written while the one before was synced
	Inline      int64 // groups that a caller of Commit committed

	Fills        int64 // segments filled with zeros
	Allocated    int64 // segments made in a hurry, without
	Recycled     int64 // trimmed segments used again
	SegmentSyncs int64 // of segments before they hold groups
	DirSyncs     int64
}

// counters is Stats while it is counted.
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
