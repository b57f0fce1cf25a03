package limits

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/sluicemq/sluice/vfs"
)

// wal takes a request through these steps:
//
//  1. append: put the request at the end of the queue.
//  2. take: make a group of everything that has gathered.
//  3. write: one vectored write of the batches, directly from their frames, to the page cache.
//  4. sync: one fdatasync.
//  5. answer: one write for each connection. Then the frames are free, or belong to the uploader.
//
// The committer takes steps 2 to 5 in turn. In the overlapped form, the overlapper takes steps 2
// and 3 for the next group during steps 4 and 5 of the committer, if at least overlapBytes have
// gathered. Below that, one larger group is cheaper.
type wal struct {
	ring       *ring
	overlapped bool
	up         *uploader // nil if nothing is uploaded
	fail       func(error)
	running    sync.WaitGroup
	dirty      []*conn // belongs to the committer: connections with answers to send

	mu           sync.Mutex
	toCommitter  sync.Cond
	toOverlapper sync.Cond
	queue        []*pending
	queuedBytes  int64
	idle         [][]*pending // groups for reuse
	busy         bool         // the committer is syncing or answering
	writing      bool         // a group is being written; no other may be
	written      []*pending   // written by the overlapper, waiting for its sync
	broken       bool         // a write failed
	stopped      bool
}

// overlapBytes is how much must have gathered to be written during a sync.
const overlapBytes = 256 << 10

// pending is a request between its arrival and its answer.
type pending struct {
	conn   *conn
	frame  *frame // nil if there is nothing to make durable
	answer []byte
	vec    [][]byte
	bytes  int64
}

var pendings = sync.Pool{New: func() any { return new(pending) }}

func newPending(c *conn) *pending {
	p := pendings.Get().(*pending)
	p.conn = c
	return p
}

// done is called when the answer has been handed over and nobody needs the batches any more.
func (p *pending) done() {
	clear(p.vec)
	*p = pending{answer: p.answer[:0], vec: p.vec[:0]}
	pendings.Put(p)
}

func newWAL(cfg Config, overlapped bool, up *uploader, fail func(error)) (*wal, error) {
	path := filepath.Join(cfg.Dir, ringName)
	// It was left by a run that was killed, and holds nothing of value.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("limits: ring: %w", err)
	}
	r, err := newRing(path, cfg.RingBytes)
	if err != nil {
		return nil, err
	}
	w := &wal{ring: r, overlapped: overlapped, up: up, fail: fail}
	w.toCommitter.L, w.toOverlapper.L = &w.mu, &w.mu
	w.running.Go(w.commitLoop)
	if overlapped {
		w.running.Go(w.overlapLoop)
	}
	return w, nil
}

func (w *wal) append(p *pending) {
	p.conn.waiting.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = append(w.queue, p)
	w.queuedBytes += p.bytes
	if !w.busy {
		w.toCommitter.Signal()
	} else if w.mayOverlapLocked() {
		w.toOverlapper.Signal()
	}
}

func (w *wal) mayOverlapLocked() bool {
	return w.overlapped && w.busy && !w.writing && w.written == nil && !w.broken && w.queuedBytes >= overlapBytes
}

func (w *wal) commitLoop() {
	for {
		group := w.nextWritten()
		if group == nil {
			return
		}
		if err := w.sync(group); err != nil {
			w.breakDown(err)
			return
		}
		w.answer(group)
		w.mu.Lock()
		w.busy = false
		clear(group)
		w.idle = append(w.idle, group[:0])
		w.mu.Unlock()
	}
}

// nextWritten returns the next group that is written and not synced, or nil at the end.
func (w *wal) nextWritten() []*pending {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		switch {
		case w.broken:
			return nil
		case w.writing: // the overlapper is writing
		case w.written != nil:
			group := w.written
			w.written = nil
			w.beBusyLocked()
			return group
		case len(w.queue) > 0:
			group := w.takeLocked()
			if !w.writeLocked(group) {
				return nil
			}
			w.beBusyLocked()
			return group
		case w.stopped:
			return nil
		}
		w.toCommitter.Wait()
	}
}

func (w *wal) beBusyLocked() {
	w.busy = true
	if w.mayOverlapLocked() {
		w.toOverlapper.Signal()
	}
}

// groupBytesMax bounds a group, so that an answer does not have to wait for everybody else's data.
const groupBytesMax = 64 << 20

func (w *wal) takeLocked() []*pending {
	var group []*pending
	if n := len(w.idle); n > 0 {
		group, w.idle = w.idle[n-1], w.idle[:n-1]
	}
	n, bytes := 0, int64(0)
	for n < len(w.queue) && (n == 0 || bytes+w.queue[n].bytes <= min(groupBytesMax, w.ring.size)) {
		bytes += w.queue[n].bytes
		n++
	}
	group = append(group, w.queue[:n]...)
	rest := copy(w.queue, w.queue[n:])
	clear(w.queue[rest:])
	w.queue = w.queue[:rest]
	w.queuedBytes -= bytes
	return group
}

// writeLocked writes with the mutex released. It returns false if the write failed.
func (w *wal) writeLocked(group []*pending) bool {
	w.writing = true
	w.mu.Unlock()
	err := w.ring.write(group)
	w.mu.Lock()
	w.writing = false
	if err != nil {
		w.breakLocked(err)
	}
	return err == nil
}

func (w *wal) overlapLoop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for !w.stopped && !w.broken {
		if !w.mayOverlapLocked() {
			w.toOverlapper.Wait()
			continue
		}
		if group := w.takeLocked(); w.writeLocked(group) {
			w.written = group
		}
		w.toCommitter.Signal()
	}
}

// sync makes the group durable. A group without batches needs no sync.
func (w *wal) sync(group []*pending) error {
	for _, p := range group {
		if p.bytes > 0 {
			return w.ring.sync()
		}
	}
	return nil
}

// answer sends the answers to the group's requests, and passes their frames on.
func (w *wal) answer(group []*pending) {
	for _, p := range group {
		if p.conn.addLate(p.answer) {
			w.dirty = append(w.dirty, p.conn)
		}
	}
	for _, c := range w.dirty {
		c.sendLate()
	}
	clear(w.dirty)
	w.dirty = w.dirty[:0]
	for _, p := range group {
		switch {
		case p.frame == nil:
		case w.up != nil:
			w.up.add(p)
		default:
			p.frame.release()
		}
		p.done()
	}
}

func (w *wal) breakDown(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.breakLocked(err)
}

// breakLocked ends the WAL. Nothing is answered after that.
func (w *wal) breakLocked(err error) {
	w.broken = true
	w.toCommitter.Signal()
	w.toOverlapper.Signal()
	w.fail(err)
}

// close finishes what is queued. No connection may append any more.
func (w *wal) close() error {
	w.mu.Lock()
	w.stopped = true
	w.toCommitter.Signal()
	w.toOverlapper.Signal()
	w.mu.Unlock()
	w.running.Wait()
	var err error
	if w.up != nil {
		err = w.up.close()
	}
	return errors.Join(err, w.ring.file.Close())
}

// ring is one file that was filled with zeros before. Its blocks are allocated and written, so that
// a sync does not have to wait for the file system's journal. Groups follow each other, and start
// again at the front when one does not fit.
type ring struct {
	file vfs.File
	size int64
	pos  int64
	vec  [][]byte
}

const ringName = "limits.ring"

func newRing(path string, size int64) (*ring, error) {
	f, err := vfs.OS().Create(path)
	if err != nil {
		return nil, fmt.Errorf("limits: ring: %w", err)
	}
	zeros := make([]byte, 1<<20)
	for pos := int64(0); pos < size && err == nil; pos += int64(len(zeros)) {
		_, err = f.WriteAt(zeros[:min(int64(len(zeros)), size-pos)], pos)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("limits: fill ring %s: %w", path, err), f.Close())
	}
	return &ring{file: f, size: size}, nil
}

// write is one pwritev, or several if there are more than a thousand batches.
func (r *ring) write(group []*pending) error {
	size := int64(0)
	r.vec = r.vec[:0]
	for _, p := range group {
		r.vec = append(r.vec, p.vec...)
		size += p.bytes
	}
	if size == 0 {
		return nil
	}
	if size > r.size {
		return fmt.Errorf("limits: a request of %d bytes does not fit the ring of %d", size, r.size)
	}
	if r.pos+size > r.size {
		r.pos = 0
	}
	n, _, err := r.file.WriteVec(r.vec, r.pos)
	r.pos += n
	clear(r.vec)
	if err == nil && n != size {
		err = fmt.Errorf("limits: %d of %d bytes written to the ring", n, size)
	}
	return err
}

func (r *ring) sync() error { return r.file.Datasync() }
