package mem

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/sluicemq/sluice/storage/bucket"
)

// Bucket keeps objects in a map.
type Bucket struct {
	mu      sync.RWMutex
	objects map[string][]byte
}

// New returns an empty bucket.
func New() *Bucket { return &Bucket{objects: map[string][]byte{}} }

// Create implements bucket.Bucket.
func (b *Bucket) Create(ctx context.Context, key string, body bucket.Body) error {
	if err := b.create(ctx, key, body); err != nil {
		return fmt.Errorf("mem: create %s: %w", key, err)
	}
	return nil
}

func (b *Bucket) create(ctx context.Context, key string, body bucket.Body) error {
	if err := check(ctx, key); err != nil {
		return err
	}
	if err := body.Verify(); err != nil {
		return err
	}
	object := slices.Concat(body.Parts...)
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, taken := b.objects[key]; taken { // I3
		return bucket.ErrExists
	}
	b.objects[key] = object
	return nil
}

// ReadAt implements bucket.Bucket.
func (b *Bucket) ReadAt(ctx context.Context, key string, p []byte, pos int64) error {
	if err := b.readAt(ctx, key, p, pos); err != nil {
		return fmt.Errorf("mem: read %d bytes at %d of %s: %w", len(p), pos, key, err)
	}
	return nil
}

func (b *Bucket) readAt(ctx context.Context, key string, p []byte, pos int64) error {
	if err := check(ctx, key); err != nil {
		return err
	}
	if pos < 0 {
		return fmt.Errorf("%w: negative position", bucket.ErrDenied)
	}
	if len(p) == 0 {
		return nil
	}
	object, err := b.object(key)
	if err != nil {
		return err
	}
	if pos > int64(len(object)) || int64(len(object))-pos < int64(len(p)) {
		return fmt.Errorf("%w: it has %d bytes", bucket.ErrShort, len(object))
	}
	copy(p, object[pos:])
	return nil
}

func (b *Bucket) object(key string) ([]byte, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	object, ok := b.objects[key]
	if !ok {
		return nil, bucket.ErrNotFound
	}
	return object, nil
}

// Stat implements bucket.Bucket.
func (b *Bucket) Stat(ctx context.Context, key string) (bucket.Info, error) {
	err := check(ctx, key)
	if err == nil {
		var object []byte
		if object, err = b.object(key); err == nil {
			return bucket.Info{Key: key, Bytes: int64(len(object))}, nil
		}
	}
	return bucket.Info{}, fmt.Errorf("mem: stat %s: %w", key, err)
}

// List implements bucket.Bucket. It shows the bucket as it was when the listing began.
func (b *Bucket) List(ctx context.Context, prefix, after string) iter.Seq2[bucket.Info, error] {
	return func(yield func(bucket.Info, error) bool) {
		err := bucket.ValidatePrefix(prefix)
		if err != nil {
			yield(bucket.Info{}, fmt.Errorf("mem: list %s: %w", prefix, err))
			return
		}
		for _, info := range b.snapshot(prefix, after) {
			if err := bucket.ContextError(ctx); err != nil {
				yield(bucket.Info{}, fmt.Errorf("mem: list %s: %w", prefix, err))
				return
			}
			if !yield(info, nil) {
				return
			}
		}
	}
}

func (b *Bucket) snapshot(prefix, after string) []bucket.Info {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var infos []bucket.Info
	for _, key := range slices.Sorted(maps.Keys(b.objects)) {
		if strings.HasPrefix(key, prefix) && key > after {
			infos = append(infos, bucket.Info{Key: key, Bytes: int64(len(b.objects[key]))})
		}
	}
	return infos
}

// Delete implements bucket.Bucket.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	if err := check(ctx, key); err != nil {
		return fmt.Errorf("mem: delete %s: %w", key, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.objects, key)
	return nil
}

// Close implements bucket.Bucket. The objects stay until the bucket is garbage.
func (b *Bucket) Close() error { return nil }

func check(ctx context.Context, key string) error {
	if err := bucket.ContextError(ctx); err != nil {
		return err
	}
	return bucket.ValidateKey(key)
}
