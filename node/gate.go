package node

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/sluicemq/sluice/storage/bucket"
)

// gate lets nothing be read from, written to or deleted from a bucket before it is known that the
// prefix belongs to this cluster and that no other directory has taken it over (E22). That includes
// reads, since in another cluster's bucket each object to which this directory refers would look
// damaged. Reads wait for the bucket's first answer to the check, so that a healthy start refuses
// none.
type gate struct {
	bucket.Bucket
	open     atomic.Bool // the check has passed
	shut     atomic.Bool // for good: the check has failed
	once     sync.Once
	answered chan struct{} // closed when the check has ended for the first time, however
}

func newGate(b bucket.Bucket) *gate { return &gate{Bucket: b, answered: make(chan struct{})} }

// checked ends the wait of reads.
func (g *gate) checked() { g.once.Do(func() { close(g.answered) }) }

// errBarred is the error that a node's own writers get once the bucket belongs to another
// directory. The process ends because of it.
var errBarred = errors.New("the bucket belongs to another directory by now")

// bar shuts the gate for good.
func (g *gate) bar() { g.shut.Store(true) }

// barred returns errBarred once the gate is shut for good.
func (g *gate) barred() error {
	if g.shut.Load() {
		return errBarred
	}
	return nil
}

func (g *gate) closed(what, key string) error {
	err := g.barred()
	switch {
	case err == nil && g.open.Load():
		return nil
	case err == nil:
		err = errors.New("not checked yet whether the prefix is this cluster's")
	}
	return fmt.Errorf("%s %s: %w: %w", what, key, bucket.ErrUnavailable, err)
}

// closedToRead waits for the first answer, or for the end of ctx.
func (g *gate) closedToRead(ctx context.Context, what, key string) error {
	select {
	case <-g.answered:
	case <-ctx.Done():
	}
	return g.closed(what, key)
}

// Create refuses until the gate is open; nothing was stored then.
func (g *gate) Create(ctx context.Context, key string, body bucket.Body) error {
	if err := g.closed("create", key); err != nil {
		return err
	}
	return g.Bucket.Create(ctx, key, body)
}

// ReadAt refuses until the gate is open.
func (g *gate) ReadAt(ctx context.Context, key string, p []byte, pos int64) error {
	if err := g.closedToRead(ctx, "read", key); err != nil {
		return err
	}
	return g.Bucket.ReadAt(ctx, key, p, pos)
}

// Stat refuses until the gate is open.
func (g *gate) Stat(ctx context.Context, key string) (bucket.Info, error) {
	if err := g.closedToRead(ctx, "stat", key); err != nil {
		return bucket.Info{}, err
	}
	return g.Bucket.Stat(ctx, key)
}

// List refuses until the gate is open.
func (g *gate) List(ctx context.Context, prefix, after string) iter.Seq2[bucket.Info, error] {
	if err := g.closedToRead(ctx, "list", prefix); err != nil {
		return func(yield func(bucket.Info, error) bool) { yield(bucket.Info{}, err) }
	}
	return g.Bucket.List(ctx, prefix, after)
}

// Delete refuses until the gate is open.
func (g *gate) Delete(ctx context.Context, key string) error {
	if err := g.closed("delete", key); err != nil {
		return err
	}
	return g.Bucket.Delete(ctx, key)
}
