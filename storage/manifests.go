package storage

import (
	"context"
	"fmt"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage/cache"
	"github.com/sluicemq/sluice/storage/object"
)

// This file reads manifests: the objects that hold the ranges which heads do not (E17). absorb.go
// replaces them.

// manifestRoot reads the root that a head points at, or returns nil if it has none. The root is
// read-only.
func (c *coldReader) manifestRoot(ctx context.Context, h *catalog.Head) (*object.Root, error) {
	if h.Manifest.Object == 0 {
		return nil, nil
	}
	o := c.manifestObject(h.Manifest.Object, h.Manifest.Writer, h.Manifest.Bytes)
	root, err := decoded(ctx, c, o, catalog.Extent{Bytes: h.Manifest.Bytes}, func(b []byte) (*object.Root, error) {
		return object.DecodeRoot(b, h.Partition, h.Manifest)
	})
	if err != nil {
		return nil, fmt.Errorf("manifest %s of %s: %w", h.Manifest.Object, h.Partition, err)
	}
	return root, nil
}

// manifestLeaf reads a leaf, or returns nil for a nil reference. The leaf is read-only.
func (c *coldReader) manifestLeaf(ctx context.Context, tp ident.TopicPartition, ref *object.LeafRef) (*object.Leaf, error) {
	if ref == nil {
		return nil, nil
	}
	o := c.manifestObject(ref.Object, ref.Writer, ref.Bytes)
	leaf, err := decoded(ctx, c, o, catalog.Extent{Bytes: ref.Bytes}, func(b []byte) (*object.Leaf, error) {
		return object.DecodeLeaf(b, tp, *ref)
	})
	if err != nil {
		return nil, fmt.Errorf("manifest leaf %s of %s: %w", ref.Object, tp, err)
	}
	return leaf, nil
}

func (c *coldReader) manifestObject(id ident.ObjectID, writer ident.Incarnation, bytes int32) cache.Object {
	return cache.Object{ID: id, Key: c.objectKey(id, writer, object.KindManifest), Bytes: int64(bytes)}
}

// findInManifest returns the range in the manifest that holds offset.
func (c *coldReader) findInManifest(ctx context.Context, h *catalog.Head, offset ident.Offset) (*catalog.Range, error) {
	root, err := c.manifestRoot(ctx, h)
	if err != nil {
		return nil, err
	}
	ranges := root.Ranges
	if i := root.LeafAt(offset); i >= 0 {
		leaf, err := c.manifestLeaf(ctx, h.Partition, &root.Leaves[i])
		if err != nil {
			return nil, err
		}
		ranges = root.Live(i, leaf)
	}
	i := object.FindRange(ranges, offset)
	if i == len(ranges) || ranges[i].Start > offset {
		return nil, fmt.Errorf("%w: manifest %s of %s covers [%d,%d) and names no range for offset %d", ErrCorrupt, h.Manifest.Object, h.Partition, h.Manifest.Start, h.Manifest.End, offset)
	}
	return &ranges[i], nil
}

// afterInManifest returns the first range in the manifest that ends after from and may hold a
// record of at least the given time, or nil if there is none. It does not read leaves without such
// a range.
func (c *coldReader) afterInManifest(ctx context.Context, h *catalog.Head, from ident.Offset, timestamp int64) (*catalog.Range, error) {
	root, err := c.manifestRoot(ctx, h)
	if err != nil {
		return nil, err
	}
	for i := root.LeafAt(from); i >= 0 && i < len(root.Leaves); i++ {
		if !object.MayReach(root.Leaves[i].MaxTimestamp, timestamp) {
			continue
		}
		leaf, err := c.manifestLeaf(ctx, h.Partition, &root.Leaves[i])
		if err != nil {
			return nil, err
		}
		if r := rangeAfter(root.Live(i, leaf), from, timestamp); r != nil {
			return r, nil
		}
	}
	return rangeAfter(root.Ranges, from, timestamp), nil
}

// rangeAfter returns the first of the ranges that ends after from and may hold a record of at least
// the given time, or nil if there is none.
func rangeAfter(ranges []catalog.Range, from ident.Offset, timestamp int64) *catalog.Range {
	ranges = ranges[object.FindRange(ranges, from):]
	if i := object.FindRangeTime(ranges, timestamp); i < len(ranges) {
		return &ranges[i]
	}
	return nil
}

// eachInManifest calls visit with the ranges of the manifest, oldest first, until visit returns
// false.
func (c *coldReader) eachInManifest(ctx context.Context, h *catalog.Head, visit func(*catalog.Range) bool) error {
	root, err := c.manifestRoot(ctx, h)
	if err != nil {
		return err
	}
	for i := range root.Leaves {
		leaf, err := c.manifestLeaf(ctx, h.Partition, &root.Leaves[i])
		if err != nil {
			return err
		}
		live := root.Live(i, leaf)
		for j := range live {
			if !visit(&live[j]) {
				return nil
			}
		}
	}
	for i := range root.Ranges {
		if !visit(&root.Ranges[i]) {
			return nil
		}
	}
	return nil
}

// rememberManifest caches a root that was just stored, as a reader of it would, so that the next
// absorb begins with it and needs no request. A root that cannot be decoded must not be swapped in.
func (c *coldReader) rememberManifest(tp ident.TopicPartition, at catalog.Manifest, encoded []byte) error {
	root, err := object.DecodeRoot(encoded, tp, at)
	if err != nil {
		return fmt.Errorf("manifest %s of %s, just written: %w", at.Object, tp, err)
	}
	c.decoded.add(&decodedItem{key: decodedKey{object: at.Object}, bytes: int64(at.Bytes), value: root})
	return nil
}
