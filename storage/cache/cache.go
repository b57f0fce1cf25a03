package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/internal/unzeroed"
	"golang.org/x/sync/semaphore"
)

// BlockBytes is the size of a block. Blocks begin at its multiples. For a GET of 1 MiB a store
// takes about as long to the first byte as for a small one.
const BlockBytes = 1 << 20

// ReadsMax is how many blocks are read at once, whoever asks for them. Later ones wait, first come
// first served. A store that takes 100 ms for a block gives 640 MiB/s this way.
const ReadsMax = 64

// ErrClosed is the error of readers whose block was still being read when the cache closed.
var ErrClosed = errors.New("block cache is closed")

// ReadFunc fills all of p from position pos of the object under key, or fails.
type ReadFunc func(ctx context.Context, key string, p []byte, pos int64) error

// Object is what the cache has to know about an object.
type Object struct {
	ID    ident.ObjectID
	Key   string
	Bytes int64 // of the whole object
}

// Stats counts since the start.
type Stats struct {
	Hits, Misses  int64 // in blocks; a block that is being read counts as a hit
	Reads, Failed int64
	ReadBytes     int64
	Evicted       int64 // blocks
	Bytes         int64 // bytes that are kept now
}

// Cache is a block cache with a budget. What stays is decided by the policy in policy.go.
type Cache struct {
	read ReadFunc

	slots  *semaphore.Weighted // one slot for each read on its way
	ctx    context.Context     // context of the reads; ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup

	hits, misses, reads, failed, readBytes, evicted atomic.Int64

	mu      sync.Mutex // guards the fields below; never held during a read
	closed  bool
	kept    policy
	flights map[blockID]*flight
}

// flight is a block that is being read.
type flight struct {
	waiters int  // guarded by Cache.mu; when it reaches 0, the read is ended
	ahead   bool // guarded by Cache.mu; only read-ahead wants the block so far
	cancel  context.CancelFunc
	done    chan struct{} // closed when bytes and err are set
	bytes   []byte
	err     error
}

// New returns a cache that keeps up to bytesMax bytes.
func New(bytesMax int64, read ReadFunc) *Cache {
	c := &Cache{
		read: read, slots: semaphore.NewWeighted(ReadsMax), kept: newPolicy(bytesMax), flights: make(map[blockID]*flight),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Close ends the reads that are under way and waits for them. Get returns ErrClosed afterwards.
func (c *Cache) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.work.Wait()
	return nil
}

// Get returns n bytes of an object from pos on. They are read-only and may be shared with other
// readers. A run inside one block is not copied.
func (c *Cache) Get(ctx context.Context, o Object, pos, n int64) ([]byte, error) {
	pieces, err := c.Pieces(ctx, o, pos, n)
	if err != nil || len(pieces) == 0 {
		return nil, err
	}
	if len(pieces) == 1 {
		return pieces[0], nil
	}
	return slices.Concat(pieces...), nil
}

// Pieces is Get without a copy. The bytes come in order, cut where one block ends and the next
// begins.
func (c *Cache) Pieces(ctx context.Context, o Object, pos, n int64) ([][]byte, error) {
	return c.pieces(ctx, o, pos, n, false)
}

// Ahead brings n bytes of an object from pos on into the cache, for a reader that will ask for
// them.
func (c *Cache) Ahead(ctx context.Context, o Object, pos, n int64) error {
	_, err := c.pieces(ctx, o, pos, n, true)
	return err
}

func (c *Cache) pieces(ctx context.Context, o Object, pos, n int64, ahead bool) ([][]byte, error) {
	if pos < 0 || n < 0 || pos > o.Bytes-n {
		return nil, fmt.Errorf("read [%d,+%d) of object %s: it has %d bytes", pos, n, o.ID, o.Bytes)
	}
	if n == 0 {
		return nil, nil
	}
	first, last := pos/BlockBytes, (pos+n-1)/BlockBytes
	waits := make([]wait, 0, last-first+1)
	defer func() {
		for _, w := range waits {
			c.leave(w)
		}
	}()
	for number := first; number <= last; number++ { // all reads start before any is waited for
		w, err := c.join(o, number, ahead)
		if err != nil {
			return nil, err
		}
		waits = append(waits, w)
	}
	pieces := make([][]byte, len(waits))
	for i := range waits {
		b, err := waits[i].get(ctx)
		if err != nil {
			return nil, err
		}
		begin := (first + int64(i)) * BlockBytes
		from, to := max(0, pos-begin), min(int64(len(b)), pos+n-begin)
		pieces[i] = b[from:to:to]
	}
	return pieces, nil
}

// wait is one reader's claim on one block: the bytes, or a flight.
type wait struct {
	id     blockID
	bytes  []byte
	flight *flight
}

func (w *wait) get(ctx context.Context) ([]byte, error) {
	if w.flight == nil {
		return w.bytes, nil
	}
	select {
	case <-w.flight.done:
		return w.flight.bytes, w.flight.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// join finds a block in the cache, joins its flight, or starts one. Each join is followed by one
// leave.
func (c *Cache) join(o Object, number int64, ahead bool) (wait, error) {
	id := blockID{o.ID, number}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return wait{}, ErrClosed
	}
	if b := c.kept.blocks[id]; b != nil {
		c.hits.Add(1)
		if !ahead {
			c.kept.use(b)
		}
		return wait{id: id, bytes: b.bytes}, nil
	}
	f := c.flights[id]
	if f == nil {
		c.misses.Add(1)
		f = c.startLocked(o, id)
		f.ahead = ahead
	} else {
		c.hits.Add(1)
	}
	f.ahead = f.ahead && ahead
	f.waiters++
	return wait{id: id, flight: f}, nil
}

// startLocked begins to read a block. The read belongs to everybody who waits for it. So it uses
// the cache's context, and ends early only when nobody waits any more.
func (c *Cache) startLocked(o Object, id blockID) *flight {
	ctx, cancel := context.WithCancel(c.ctx)
	f := &flight{cancel: cancel, done: make(chan struct{})}
	c.flights[id] = f
	c.work.Go(func() { c.fly(ctx, o, id, f) })
	return f
}

func (c *Cache) fly(ctx context.Context, o Object, id blockID, f *flight) {
	defer f.cancel()
	pos := id.number * BlockBytes
	var b []byte
	err := c.slots.Acquire(ctx, 1)
	if err == nil {
		b = unzeroed.Make(int(min(BlockBytes, o.Bytes-pos)))
		c.reads.Add(1)
		err = c.read(ctx, o.Key, b, pos)
		c.slots.Release(1)
	}
	if err != nil {
		c.failed.Add(1)
		if c.ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", ErrClosed, err)
		}
		f.err = fmt.Errorf("read block %d of object %s: %w", id.number, o.ID, err)
	} else {
		c.readBytes.Add(int64(len(b)))
		f.bytes = b
	}
	c.land(id, f)
	close(f.done)
}

// land takes a flight off the list and keeps its block.
func (c *Cache) land(id blockID, f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flights[id] != f {
		// Every reader has left, or the object was forgotten: the block may be read again by now.
		return
	}
	delete(c.flights, id)
	if f.err == nil {
		c.evicted.Add(int64(c.kept.add(&block{id: id, bytes: f.bytes, ahead: f.ahead})))
	}
}

// leave ends a reader's claim. When the last reader leaves a flight that has not landed, the read
// is ended.
func (c *Cache) leave(w wait) {
	if w.flight == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	w.flight.waiters--
	if w.flight.waiters == 0 && c.flights[w.id] == w.flight {
		// A later reader starts anew and does not join a read that is being ended.
		delete(c.flights, w.id)
		w.flight.cancel()
	}
}

// Forget drops an object's blocks, because their checksums did not match, so that the next reader
// asks the bucket again, or because the object was deleted.
func (c *Cache) Forget(object ident.ObjectID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, b := range c.kept.blocks {
		if id.object == object {
			c.kept.remove(b)
		}
	}
	for id := range c.flights {
		if id.object == object {
			delete(c.flights, id) // its waiters get the block, nobody else does
		}
	}
}

// Stats returns the counters.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	bytes := c.kept.bytes()
	c.mu.Unlock()
	return Stats{
		Hits: c.hits.Load(), Misses: c.misses.Load(), Reads: c.reads.Load(), Failed: c.failed.Load(),
		ReadBytes: c.readBytes.Load(), Evicted: c.evicted.Load(), Bytes: bytes,
	}
}
