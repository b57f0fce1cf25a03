package limits

import (
	"errors"
	"math/bits"
	"sync"
	"sync/atomic"
)

// frame is the memory of one request. Code that needs the bytes after the request is handled holds
// a reference.
type frame struct {
	b     []byte
	refs  atomic.Int32
	pool  *frames
	class int
}

func (f *frame) retain() { f.refs.Add(1) }

func (f *frame) release() {
	if f.refs.Add(-1) == 0 {
		f.pool.put(f)
	}
}

const (
	smallestClass = 12 // 4 KiB
	largestClass  = 27 // 128 MiB, above frameBytesMax
)

// frames hands out frames and takes them back. The frame that was used last is used first, since
// what was just written to the disk is still in the processor's cache. frames is also the
// back-pressure: readers wait while too much memory is in use.
type frames struct {
	max   int64
	exact bool // frames are kept for good: they are no larger than necessary, and are not counted

	mu     sync.Mutex
	room   sync.Cond
	out    int64 // bytes of the frames in use
	free   [largestClass + 1][]*frame
	closed bool
}

func newFrames(bytesMax int64, exact bool) *frames {
	p := &frames{max: bytesMax, exact: exact}
	p.room.L = &p.mu
	return p
}

var errStopped = errors.New("limits: stopped")

// get returns n bytes with one reference. Their content is undefined.
func (p *frames) get(n int) (*frame, error) {
	if p.exact {
		f := &frame{b: make([]byte, n), pool: p}
		f.refs.Store(1)
		return f, nil
	}
	class := max(smallestClass, bits.Len(uint(n-1)))
	f, err := p.take(class)
	if err != nil {
		return nil, err
	}
	if f == nil {
		f = &frame{b: make([]byte, 1<<class), pool: p, class: class}
	}
	f.b = f.b[:n]
	f.refs.Store(1)
	return f, nil
}

// take returns a used frame, or nil if a new one must be made.
func (p *frames) take(class int) (*frame, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.out > 0 && p.out+1<<class > p.max && !p.closed {
		p.room.Wait()
	}
	if p.closed {
		return nil, errStopped
	}
	p.out += 1 << class
	free := p.free[class]
	if len(free) == 0 {
		return nil, nil
	}
	p.free[class] = free[:len(free)-1]
	return free[len(free)-1], nil
}

func (p *frames) put(f *frame) {
	if p.exact {
		return // the garbage collector takes it
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	f.b = f.b[:cap(f.b)]
	p.free[f.class] = append(p.free[f.class], f)
	p.out -= 1 << f.class
	p.room.Broadcast()
}

// close ends all waiting.
func (p *frames) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.room.Broadcast()
}
