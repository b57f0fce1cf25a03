package fault

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/sluicemq/sluice/storage/bucket"
)

// Fault is what happens to one call.
type Fault int

// What can go wrong. If a fault has no meaning for an operation (Truncate for a Create), the call
// is carried out.
const (
	None     Fault = iota
	Busy           // 503 and nothing done; Create is ErrUnknown, since a 503 does not prove that
	Refused        // connection refused and nothing done: ErrUnavailable
	Reset          // connection reset after sending and nothing done; Create is ErrUnknown
	Hang           // nothing done and no answer until the context ends
	Denied         // 403, nothing done
	Lost           // done, but the answer is lost; Create is ErrUnknown, and the object exists
	Delayed        // like Lost, but a Create takes effect only with Release
	Slow           // done, after the time of SetSlow
	Broken         // the body of a read or listing breaks off in the middle: ErrUnavailable
	Truncate       // a read finds the object shorter than it was: ErrShort
	Flip           // a read succeeds with one bit changed
	Missing        // a read or Stat returns ErrNotFound although the object exists
)

// The errors that stand for a cause. They are wrapped together with one of bucket's.
var (
	ErrBusy    = errors.New("fault: 503 SlowDown")
	ErrRefused = errors.New("fault: connection refused")
	ErrReset   = errors.New("fault: connection reset by peer")
	ErrLost    = errors.New("fault: timeout waiting for the answer")
	ErrBroken  = errors.New("fault: unexpected end of body")
)

// Bucket is the inner bucket as seen through the plan.
type Bucket struct {
	inner bucket.Bucket

	mu      sync.Mutex
	random  *rand.Rand
	scripts [bucket.OpCount][]Fault       // the faults of the next calls
	at      [bucket.OpCount]map[int]Fault // by the number of the call, from 1
	chances [bucket.OpCount][]chance
	away    Fault
	slow    time.Duration
	calls   [bucket.OpCount]int
	delayed []create
}

type chance struct {
	fault       Fault
	probability float64
}

// create is an upload that the store has received and not carried out yet.
type create struct {
	key  string
	body bucket.Body
}

// New returns a bucket in which nothing goes wrong yet. seed decides what Chance and Flip do.
func New(inner bucket.Bucket, seed uint64) *Bucket {
	b := &Bucket{inner: inner, random: rand.New(rand.NewPCG(seed, 0)), slow: time.Second}
	for op := range b.at {
		b.at[op] = map[int]Fault{}
	}
	return b
}

// Script gives faults to the next calls of op, in turn. Calls after them go well. Script appends to
// what an earlier Script left.
func (b *Bucket) Script(op bucket.Op, faults ...Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.scripts[op] = append(b.scripts[op], faults...)
}

// FailAt gives a fault to the n-th call of op, counted from 1 since New.
func (b *Bucket) FailAt(op bucket.Op, n int, f Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at[op][n] = f
}

// Chance gives a fault to each call of op with the given probability, from now on. Several chances
// are tried in the order in which they were set.
func (b *Bucket) Chance(op bucket.Op, f Fault, probability float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.chances[op] = append(b.chances[op], chance{f, probability})
}

// Away gives one fault to every call of every kind, until Away(None). Outages look like Refused,
// Hang and Busy. Calls that hang do so until their contexts end.
func (b *Bucket) Away(f Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.away = f
}

// SetSlow sets how long Slow takes. At first it is one second.
func (b *Bucket) SetSlow(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.slow = d
}

// Heal ends all plans. Delayed creates stay delayed.
func (b *Bucket) Heal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.away = None
	for op := range b.scripts {
		b.scripts[op], b.chances[op] = nil, nil
		clear(b.at[op])
	}
}

// Calls returns the number of calls of op so far, including those that failed.
func (b *Bucket) Calls(op bucket.Op) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls[op]
}

// Delayed lists the keys that Release would create.
func (b *Bucket) Delayed() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var keys []string
	for _, c := range b.delayed {
		keys = append(keys, c.key)
	}
	return keys
}

// Release carries out the delayed creates, in order. A key that was taken meanwhile stays as it is
// (I3). Other errors are returned, joined.
func (b *Bucket) Release(ctx context.Context) error {
	b.mu.Lock()
	delayed := b.delayed
	b.delayed = nil
	b.mu.Unlock()
	var errs []error
	for _, c := range delayed {
		if err := b.inner.Create(ctx, c.key, c.body); err != nil && !errors.Is(err, bucket.ErrExists) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// next counts a call and decides its fault: by Away, otherwise by number, by script, or by chance.
func (b *Bucket) next(op bucket.Op) Fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls[op]++
	if b.away != None {
		return b.away
	}
	if f, ok := b.at[op][b.calls[op]]; ok {
		return f
	}
	if script := b.scripts[op]; len(script) > 0 {
		b.scripts[op] = script[1:]
		return script[0]
	}
	for _, c := range b.chances[op] {
		if b.random.Float64() < c.probability {
			return c.fault
		}
	}
	return None
}

// before returns the error of faults that keep a call from the inner bucket, or nil to let the call
// through.
func (b *Bucket) before(ctx context.Context, op bucket.Op, f Fault) error {
	inDoubt := bucket.ErrUnavailable
	if op == bucket.OpCreate {
		inDoubt = bucket.ErrUnknown
	}
	switch f {
	case Busy:
		return fmt.Errorf("%w: %w", inDoubt, ErrBusy)
	case Refused:
		return fmt.Errorf("%w: %w", bucket.ErrUnavailable, ErrRefused)
	case Reset:
		return fmt.Errorf("%w: %w", inDoubt, ErrReset)
	case Denied:
		return fmt.Errorf("%w: fault: 403", bucket.ErrDenied)
	case Hang:
		<-ctx.Done()
		return fmt.Errorf("%w: %w", inDoubt, context.Cause(ctx))
	case Slow:
		if !b.wait(ctx) {
			return fmt.Errorf("%w: %w", inDoubt, context.Cause(ctx))
		}
	}
	return nil
}

func (b *Bucket) wait(ctx context.Context) bool {
	b.mu.Lock()
	d := b.slow
	b.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Create implements bucket.Bucket.
func (b *Bucket) Create(ctx context.Context, key string, body bucket.Body) error {
	if err := b.create(ctx, key, body); err != nil {
		return fmt.Errorf("create %s: %w", key, err)
	}
	return nil
}

func (b *Bucket) create(ctx context.Context, key string, body bucket.Body) error {
	f := b.next(bucket.OpCreate)
	if err := b.before(ctx, bucket.OpCreate, f); err != nil {
		return err
	}
	if f == Delayed {
		b.delay(key, body)
		return fmt.Errorf("%w: %w", bucket.ErrUnknown, ErrLost)
	}
	err := b.inner.Create(ctx, key, body)
	if f == Lost { // whatever it was
		return fmt.Errorf("%w: %w", bucket.ErrUnknown, ErrLost)
	}
	return err
}

// delay keeps a copy, since the parts belong to the caller when Create returns.
func (b *Bucket) delay(key string, body bucket.Body) {
	copied := bucket.Body{CRC32C: body.CRC32C, PartCRCs: slices.Clone(body.PartCRCs)}
	for _, part := range body.Parts {
		copied.Parts = append(copied.Parts, slices.Clone(part))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.delayed = append(b.delayed, create{key, copied})
}

// ReadAt implements bucket.Bucket.
func (b *Bucket) ReadAt(ctx context.Context, key string, p []byte, pos int64) error {
	if err := b.readAt(ctx, key, p, pos); err != nil {
		return fmt.Errorf("read %d bytes at %d of %s: %w", len(p), pos, key, err)
	}
	return nil
}

func (b *Bucket) readAt(ctx context.Context, key string, p []byte, pos int64) error {
	f := b.next(bucket.OpReadAt)
	if err := b.before(ctx, bucket.OpReadAt, f); err != nil {
		return err
	}
	if f == Missing {
		return bucket.ErrNotFound
	}
	if err := b.inner.ReadAt(ctx, key, p, pos); err != nil {
		return err
	}
	switch f {
	case Lost, Delayed, Broken:
		b.garble(p)
		return fmt.Errorf("%w: %w", bucket.ErrUnavailable, ErrBroken)
	case Truncate:
		b.garble(p)
		return fmt.Errorf("%w: fault: cut off", bucket.ErrShort)
	case Flip:
		b.flip(p)
	}
	return nil
}

// garble overwrites the second half, as a read that broke off may have done.
func (b *Bucket) garble(p []byte) {
	for i := len(p) / 2; i < len(p); i++ {
		p[i] = 0xDB
	}
}

func (b *Bucket) flip(p []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(p) > 0 {
		p[b.random.IntN(len(p))] ^= 1 << b.random.IntN(8)
	}
}

// Stat implements bucket.Bucket.
func (b *Bucket) Stat(ctx context.Context, key string) (bucket.Info, error) {
	f := b.next(bucket.OpStat)
	err := b.before(ctx, bucket.OpStat, f)
	var info bucket.Info
	switch {
	case err != nil:
	case f == Missing:
		err = bucket.ErrNotFound
	case f == Lost, f == Delayed:
		err = fmt.Errorf("%w: %w", bucket.ErrUnavailable, ErrLost)
	default:
		info, err = b.inner.Stat(ctx, key)
	}
	if err != nil {
		return bucket.Info{}, fmt.Errorf("stat %s: %w", key, err)
	}
	return info, nil
}

// List implements bucket.Bucket. Broken and Lost end it after half of the objects.
func (b *Bucket) List(ctx context.Context, prefix, after string) iter.Seq2[bucket.Info, error] {
	return func(yield func(bucket.Info, error) bool) {
		f := b.next(bucket.OpList)
		if err := b.before(ctx, bucket.OpList, f); err != nil {
			yield(bucket.Info{}, fmt.Errorf("list %s: %w", prefix, err))
			return
		}
		if f == Broken || f == Lost || f == Delayed {
			b.listHalf(ctx, prefix, after, yield)
			return
		}
		for info, err := range b.inner.List(ctx, prefix, after) {
			if !yield(info, err) {
				return
			}
		}
	}
}

func (b *Bucket) listHalf(ctx context.Context, prefix, after string, yield func(bucket.Info, error) bool) {
	var infos []bucket.Info
	for info, err := range b.inner.List(ctx, prefix, after) {
		if err != nil {
			yield(info, err)
			return
		}
		infos = append(infos, info)
	}
	for _, info := range infos[:(len(infos)+1)/2] {
		if !yield(info, nil) {
			return
		}
	}
	yield(bucket.Info{}, fmt.Errorf("list %s: %w: %w", prefix, bucket.ErrUnavailable, ErrBroken))
}

// Delete implements bucket.Bucket.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	f := b.next(bucket.OpDelete)
	err := b.before(ctx, bucket.OpDelete, f)
	if err == nil {
		err = b.inner.Delete(ctx, key)
	}
	if err == nil && (f == Lost || f == Delayed) {
		err = fmt.Errorf("%w: %w", bucket.ErrUnavailable, ErrLost)
	}
	if err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	return nil
}

// Close closes the inner bucket.
func (b *Bucket) Close() error { return b.inner.Close() }
