package node

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/sluicemq/sluice/storage/bucket"
)

// gate lets nothing be written to or deleted from a bucket before it is known
// that the prefix is this cluster's and that no other directory has taken it over (E22).
type gate struct {
	bucket.Bucket
	open atomic.Bool
}

func (g *gate) closed(what, key string) error {
	if g.open.Load() {
		return nil
	}
	return fmt.Errorf("%s %s: %w: not checked yet whether the prefix is this cluster's", what, key, bucket.ErrUnavailable)
}

// Create refuses until the gate is open; nothing was stored then.
func (g *gate) Create(ctx context.Context, key string, body bucket.Body) error {
	if err := g.closed("create", key); err != nil {
		return err
	}
	return g.Bucket.Create(ctx, key, body)
}

// Delete refuses until the gate is open.
func (g *gate) Delete(ctx context.Context, key string) error {
	if err := g.closed("delete", key); err != nil {
		return err
	}
	return g.Bucket.Delete(ctx, key)
}
