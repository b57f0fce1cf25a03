package storage

import (
	"container/list"
	"context"
	"fmt"
	"sync"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage/cache"
	"github.com/sluicemq/sluice/storage/object"
)

// indexBytesMax bounds what decoded batch indexes hold in memory, by their size in the object.
const indexBytesMax = 32 << 20

// indexCache keeps decoded section indexes, the least recently used go first. An
// object never changes and its id is never reused (I3), so entries never go stale (trap 42).
type indexCache struct {
	e *Engine

	mu    sync.Mutex
	bytes int64
	items map[indexKey]*list.Element
	order list.List // of *indexItem, newest first
}

type indexKey struct {
	object   ident.ObjectID
	position int64
}

type indexItem struct {
	key     indexKey
	bytes   int64
	section *object.SectionInfo
}

func newIndexCache(e *Engine) *indexCache {
	return &indexCache{e: e, items: make(map[indexKey]*list.Element)}
}

// get returns the decoded section of a range.
func (c *indexCache) get(ctx context.Context, r *catalog.Range) (*object.SectionInfo, error) {
	key := indexKey{r.Object, r.Index.Position}
	if s := c.lookup(key); s != nil {
		return s, nil
	}
	b, err := c.e.readObject(ctx, c.e.rangeObject(r), r.Index.Position, int64(r.Index.Bytes))
	if err != nil {
		return nil, fmt.Errorf("index of [%d,%d) in object %s: %w", r.Start, r.End, r.Object, err)
	}
	s, err := object.DecodeSection(b, r.Index)
	if err != nil {
		return nil, fmt.Errorf("object %s: %w", r.Object, err)
	}
	if s.Object != r.Object {
		return nil, fmt.Errorf("%w: object %s says that it is %s", ErrCorrupt, r.Object, s.Object)
	}
	c.add(&indexItem{key: key, bytes: int64(r.Index.Bytes), section: s})
	return s, nil
}

func (c *indexCache) lookup(key indexKey) *object.SectionInfo {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.items[key]
	if el == nil {
		return nil
	}
	c.order.MoveToFront(el)
	return el.Value.(*indexItem).section
}

func (c *indexCache) add(item *indexItem) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.items[item.key] != nil {
		return // another reader was faster
	}
	c.items[item.key] = c.order.PushFront(item)
	c.bytes += item.bytes
	for c.bytes > indexBytesMax && c.order.Len() > 1 {
		last := c.order.Back()
		old := c.order.Remove(last).(*indexItem)
		delete(c.items, old.key)
		c.bytes -= old.bytes
	}
}

// objectKey names an object of this cluster in the bucket.
func (e *Engine) objectKey(id ident.ObjectID, writer ident.Incarnation, kind object.Kind) string {
	return object.Key(e.deps.Catalog.ClusterID(), id, writer, kind)
}

// rangeObject is what the cache has to know of a range's object.
func (e *Engine) rangeObject(r *catalog.Range) cache.Object {
	return cache.Object{ID: r.Object, Key: e.objectKey(r.Object, r.Writer, object.KindBundle), Bytes: r.ObjectBytes}
}

// readObject reads a run of an object through the block cache. The bytes are read-only.
func (e *Engine) readObject(ctx context.Context, o cache.Object, pos, n int64) ([]byte, error) {
	return e.cache.Get(ctx, o, pos, n)
}
