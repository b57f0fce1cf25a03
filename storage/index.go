package storage

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sort"
	"sync"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/cache"
	"github.com/sluicemq/sluice/storage/object"
)

// decodedBytesMax bounds what decoded batch indexes and manifests hold in memory, by their size in
// the object.
const decodedBytesMax = 32 << 20

// decodedCache keeps decoded section indexes, manifest roots and leaves, and drops the least
// recently used first. An object never changes and its id is never reused (I3), so entries never go
// stale.
type decodedCache struct {
	mu    sync.Mutex
	bytes int64
	items map[decodedKey]*list.Element
	order list.List // of *decodedItem, newest first
}

type decodedKey struct {
	object   ident.ObjectID
	position int64
}

type decodedItem struct {
	key   decodedKey
	bytes int64
	value any // *object.SectionInfo, *object.Root or *object.Leaf; read-only
}

func newDecodedCache() *decodedCache {
	return &decodedCache{items: make(map[decodedKey]*list.Element)}
}

// section returns the decoded section of a range.
func (c *coldReader) section(ctx context.Context, tp ident.TopicPartition, r *catalog.Range) (*object.SectionInfo, error) {
	s, err := decoded(ctx, c, c.rangeObject(r), r.Index, func(b []byte) (*object.SectionInfo, error) {
		s, err := object.DecodeSection(b, r.Index)
		if err != nil {
			return nil, err
		}
		if s.Object != r.Object || s.Topic != tp.Topic || s.Partition != tp.Index {
			return nil, fmt.Errorf("it holds a section of object %s, topic %s, partition %d", s.Object, s.Topic, s.Partition)
		}
		return s, nil
	})
	if err != nil {
		return nil, fmt.Errorf("index of [%d,%d) of %s: %w", r.Start, r.End, tp, err)
	}
	if s.Start > r.Start || s.End < r.End {
		return nil, fmt.Errorf("%w: object %s holds [%d,%d) of %s where it should hold [%d,%d)", ErrCorrupt, r.Object, s.Start, s.End, tp, r.Start, r.End)
	}
	return cutSection(s, r.End), nil
}

// cutSection leaves out the batches behind a range's end, which restore has cut off where a later
// leader took over (E26).
func cutSection(s *object.SectionInfo, end ident.Offset) *object.SectionInfo {
	if s.End == end {
		return s
	}
	cut := *s
	cut.Index = s.Index[:sort.Search(len(s.Index), func(i int) bool { return s.Index[i].End > end })]
	cut.End = end
	return &cut
}

// decoded returns what decode makes of a run of an object. It comes from memory if it was asked for
// before or has just been written (rememberManifest).
func decoded[T any](ctx context.Context, c *coldReader, o cache.Object, at catalog.Extent, decode func([]byte) (*T, error)) (*T, error) {
	key := decodedKey{o.ID, at.Position}
	if v, ok := c.decoded.lookup(key).(*T); ok {
		return v, nil
	}
	var v *T
	err := c.readVerified(ctx, o, at.Position, int64(at.Bytes), func(b []byte) (err error) {
		v, err = decode(b)
		return err
	})
	if err != nil {
		return nil, err
	}
	c.decoded.add(&decodedItem{key: key, bytes: int64(at.Bytes), value: v})
	return v, nil
}

func (c *decodedCache) lookup(key decodedKey) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.items[key]
	if el == nil {
		return nil
	}
	c.order.MoveToFront(el)
	return el.Value.(*decodedItem).value
}

func (c *decodedCache) add(item *decodedItem) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.items[item.key] != nil {
		return // another reader was faster
	}
	c.items[item.key] = c.order.PushFront(item)
	c.bytes += item.bytes
	for c.bytes > decodedBytesMax && c.order.Len() > 1 {
		c.removeLocked(c.order.Back())
	}
}

// forget drops manifests that a newer version has replaced. Each change of a manifest makes a new
// version, and the old ones would fill the cache.
func (c *decodedCache) forget(manifests []ident.ObjectID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range manifests {
		if el := c.items[decodedKey{object: id}]; el != nil {
			c.removeLocked(el)
		}
	}
}

func (c *decodedCache) removeLocked(el *list.Element) {
	item := c.order.Remove(el).(*decodedItem)
	delete(c.items, item.key)
	c.bytes -= item.bytes
}

// objectKey names an object of this cluster in the bucket.
func (c *coldReader) objectKey(id ident.ObjectID, writer ident.Incarnation, kind object.Kind) string {
	return object.Key(c.catalog.ClusterID(), id, writer, kind)
}

// rangeObject returns what the cache has to know about a range's object.
func (c *coldReader) rangeObject(r *catalog.Range) cache.Object {
	return cache.Object{ID: r.Object, Key: c.objectKey(r.Object, r.Writer, object.KindBundle), Bytes: r.ObjectBytes}
}

// readVerified reads a run of an object through the block cache and has check verify it. If the
// check fails, the run is dropped from the cache and read once more, since the block may have been
// damaged on its way here. A second failure is damage.
func (c *coldReader) readVerified(ctx context.Context, o cache.Object, pos, n int64, check func([]byte) error) error {
	return c.verified(o, func() error {
		b, err := c.blocks.Get(ctx, o, pos, n)
		if err != nil {
			return err
		}
		return misfit(check(b))
	})
}

// verified runs read, and runs it once more if the bytes that it read do not match their checksums
// (misfitError).
func (c *coldReader) verified(o cache.Object, read func() error) error {
	for again := false; ; again = true {
		err := read()
		var bad *misfitError
		switch {
		case errors.Is(err, bucket.ErrNotFound):
			return &missingError{o.ID, err}
		case !errors.As(err, &bad):
			return err
		}
		c.blocks.Forget(o.ID)
		if again {
			return fmt.Errorf("%w: object %s: %w", ErrCorrupt, o.ID, bad.err)
		}
		c.log.Warn("damaged block: reading it once more", "object", o.ID, "err", bad.err)
	}
}

// misfitError says that the bytes that were read are not those that were stored.
type misfitError struct{ err error }

func (e *misfitError) Error() string { return e.err.Error() }
func (e *misfitError) Unwrap() error { return e.err }

// misfit marks an error of a check; nil stays nil.
func misfit(err error) error {
	if err == nil {
		return nil
	}
	return &misfitError{err}
}

// missingError says which object was not in the bucket.
type missingError struct {
	object ident.ObjectID
	err    error
}

func (e *missingError) Error() string { return e.err.Error() }
func (e *missingError) Unwrap() error { return e.err }
