package storage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/cache"
	"github.com/sluicemq/sluice/storage/object"
)

// absorbParallel is how many manifests are written at once.
const absorbParallel = 16

// manifests reads and replaces the objects that hold the ranges which heads do not (E17).
type manifests struct{ e *Engine }

// root reads the root that a head points at; nil if it has none. It is read-only.
func (m *manifests) root(ctx context.Context, h *catalog.Head) (*object.Root, error) {
	if h.Manifest.Object == 0 {
		return nil, nil
	}
	o := m.object(h.Manifest.Object, h.Manifest.Writer, h.Manifest.Bytes)
	root, err := decoded(ctx, m.e, o, catalog.Extent{Bytes: h.Manifest.Bytes}, func(b []byte) (*object.Root, error) {
		return object.DecodeRoot(b, h.Partition, h.Manifest)
	})
	if err != nil {
		return nil, fmt.Errorf("manifest %s of %s: %w", h.Manifest.Object, h.Partition, err)
	}
	return root, nil
}

// leaf reads a leaf; nil for nil. It is read-only.
func (m *manifests) leaf(ctx context.Context, tp ident.TopicPartition, ref *object.LeafRef) (*object.Leaf, error) {
	if ref == nil {
		return nil, nil
	}
	o := m.object(ref.Object, ref.Writer, ref.Bytes)
	leaf, err := decoded(ctx, m.e, o, catalog.Extent{Bytes: ref.Bytes}, func(b []byte) (*object.Leaf, error) {
		return object.DecodeLeaf(b, tp, *ref)
	})
	if err != nil {
		return nil, fmt.Errorf("manifest leaf %s of %s: %w", ref.Object, tp, err)
	}
	return leaf, nil
}

func (m *manifests) object(id ident.ObjectID, writer ident.Incarnation, bytes int32) cache.Object {
	return cache.Object{ID: id, Key: m.e.objectKey(id, writer, object.KindManifest), Bytes: int64(bytes)}
}

// find returns the range in the manifest that holds offset.
func (m *manifests) find(ctx context.Context, h *catalog.Head, offset ident.Offset) (*catalog.Range, error) {
	root, err := m.root(ctx, h)
	if err != nil {
		return nil, err
	}
	ranges := root.Ranges
	if i := root.LeafAt(offset); i >= 0 {
		leaf, err := m.leaf(ctx, h.Partition, &root.Leaves[i])
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

// after returns the first range in the manifest that ends after from and may hold a record of at least
// the given time; nil if there is none. Leaves without one are not read.
func (m *manifests) after(ctx context.Context, h *catalog.Head, from ident.Offset, timestamp int64) (*catalog.Range, error) {
	root, err := m.root(ctx, h)
	if err != nil {
		return nil, err
	}
	for i := root.LeafAt(from); i >= 0 && i < len(root.Leaves); i++ {
		if !object.MayReach(root.Leaves[i].MaxTimestamp, timestamp) {
			continue
		}
		leaf, err := m.leaf(ctx, h.Partition, &root.Leaves[i])
		if err != nil {
			return nil, err
		}
		if r := rangeAfter(root.Live(i, leaf), from, timestamp); r != nil {
			return r, nil
		}
	}
	return rangeAfter(root.Ranges, from, timestamp), nil
}

// rangeAfter returns the first range that ends after from and may hold a record of at least the given time; nil if none.
func rangeAfter(ranges []catalog.Range, from ident.Offset, timestamp int64) *catalog.Range {
	ranges = ranges[object.FindRange(ranges, from):]
	if i := object.FindRangeTime(ranges, timestamp); i < len(ranges) {
		return &ranges[i]
	}
	return nil
}

// each calls visit with the ranges of the manifest, oldest first, until it returns false.
func (m *manifests) each(ctx context.Context, h *catalog.Head, visit func(*catalog.Range) bool) error {
	root, err := m.root(ctx, h)
	if err != nil {
		return err
	}
	for i := range root.Leaves {
		leaf, err := m.leaf(ctx, h.Partition, &root.Leaves[i])
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

// absorb moves the oldest ranges of full heads into their manifests. What the bucket does
// not take now is tried again after the next flush. A head that stays full stops flushing of its
// partition, nothing else (E17): those that had no room in this pass are crowded. It reports whether one of them has room now.
func (e *Engine) absorb(ctx context.Context, chosen, crowded []*partition) (room bool) {
	var wg sync.WaitGroup
	var made atomic.Bool
	slots := make(chan struct{}, absorbParallel)
	try := func(p *partition, do func(*catalog.Head) error, failed func(*catalog.Head, error)) {
		head, ok := e.deps.Catalog.Head(p.id)
		if !ok || len(head.Ranges) < e.cfg.ManifestAt {
			return
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := do(&head); err != nil && ctx.Err() == nil {
				failed(&head, err)
			}
		})
	}
	for _, p := range chosen {
		try(p, func(h *catalog.Head) error { return e.manifests.absorb(ctx, h) }, func(_ *catalog.Head, err error) {
			e.log.Warn("ranges stay in the quorum until the next flush", "partition", p.id, "err", err)
		})
	}
	for _, p := range crowded {
		try(p, func(h *catalog.Head) error {
			err := e.makeRoom(ctx, h)
			if err == nil {
				made.Store(true)
				e.clearTrouble(p)
			}
			return err
		}, func(h *catalog.Head, err error) {
			e.note(p, trouble{reason: headFull, err: err, at: h.CommittedEnd, head: *h}, certain(err))
		})
	}
	wg.Wait()
	return made.Load()
}

// absorb writes the next version of a manifest, with all of the head's ranges but the newest few, and swaps it in.
func (m *manifests) absorb(ctx context.Context, h *catalog.Head) error {
	take := h.Ranges[:len(h.Ranges)-m.e.cfg.ManifestAt/4]
	root, err := m.root(ctx, h)
	if err != nil {
		return err
	}
	last, err := m.leaf(ctx, h.Partition, object.AbsorbNeeds(root, len(take)))
	if err != nil {
		return err
	}
	plan, err := object.Absorb(h.Partition, h.Manifest, root, last, take)
	if err != nil {
		return err
	}
	next, ids, err := m.write(ctx, plan)
	if err != nil {
		return err
	}
	err = m.e.deps.Catalog.SwapManifest(ctx, catalog.ManifestSwap{
		Partition: h.Partition, Incarnation: m.e.incarnation, OldVersion: h.Manifest.Version,
		New: next, Absorbed: take, NewObjects: ids, Dropped: plan.Dropped,
	})
	if err == nil {
		m.e.decoded.forget(plan.Dropped)
	}
	return ignoreLostRace(err)
}

// release takes what log start has passed out of the manifest, a step at a time (E30).
func (m *manifests) release(ctx context.Context, h *catalog.Head) error {
	for h.Manifest.Object != 0 {
		root, first, err := m.oldest(ctx, h)
		if certain(err) && h.Manifest.End <= h.LogStart {
			return m.giveUp(ctx, h, err)
		}
		if err != nil {
			return err
		}
		plan := object.Release(h.Partition, h.Manifest, root, first, h.LogStart)
		if plan == nil {
			return nil
		}
		next, ids, err := m.write(ctx, plan)
		if err != nil {
			return err
		}
		err = m.e.deps.Catalog.ReleaseRanges(ctx, catalog.RangeRelease{
			Partition: h.Partition, Incarnation: m.e.incarnation, OldVersion: h.Manifest.Version,
			New: next, Released: plan.Released, NewObjects: ids, Dropped: plan.Dropped,
		})
		if err != nil {
			return ignoreLostRace(err)
		}
		m.e.decoded.forget(plan.Dropped)
		h.Manifest = next
	}
	return nil
}

// oldest reads what a release needs of a manifest.
func (m *manifests) oldest(ctx context.Context, h *catalog.Head) (*object.Root, *object.Leaf, error) {
	root, err := m.root(ctx, h)
	if err != nil {
		return nil, nil, err
	}
	first, err := m.leaf(ctx, h.Partition, object.ReleaseNeeds(root))
	return root, first, err
}

// giveUp lets go of a damaged manifest that the log start has passed wholly, so that the partition can go on. Which objects
// it refers to cannot be read any more: they stay counted, and in the bucket. The manifest of a deleted
// topic hinders nobody, and waits in case somebody brings it back.
func (m *manifests) giveUp(ctx context.Context, h *catalog.Head, damage error) error {
	if _, ok := m.e.deps.Catalog.Head(h.Partition); !ok {
		return damage
	}
	err := m.e.deps.Catalog.ReleaseRanges(ctx, catalog.RangeRelease{
		Partition: h.Partition, Incarnation: m.e.incarnation, OldVersion: h.Manifest.Version,
		New: catalog.Manifest{Version: h.Manifest.Version + 1}, Dropped: []ident.ObjectID{h.Manifest.Object},
	})
	if err != nil {
		return ignoreLostRace(err)
	}
	m.e.log.Warn("a damaged manifest is given up: the objects that only it names stay in the bucket", "partition", h.Partition,
		"manifest", h.Manifest.Object, "ranges", h.Manifest.RangeCount, "bytes", h.Manifest.DataBytes, "err", damage)
	h.Manifest = catalog.Manifest{Version: h.Manifest.Version + 1}
	return nil
}

// ignoreLostRace makes nothing of a compare-and-set that another change has won: it is planned
// anew at the next turn, and the objects written for it expire (E7).
func ignoreLostRace(err error) error {
	if errors.Is(err, catalog.ErrConflict) || errors.Is(err, catalog.ErrTopicNotFound) {
		return nil
	}
	return err
}

// write puts a plan's objects into the bucket under fresh ids; the root is the last.
func (m *manifests) write(ctx context.Context, plan *object.Plan) (catalog.Manifest, []ident.ObjectID, error) {
	ids := make([]ident.ObjectID, plan.Objects())
	for i := range ids {
		id, err := m.e.objects.next(ctx)
		if err != nil {
			return catalog.Manifest{}, nil, err
		}
		ids[i] = id
	}
	encoded, next := plan.Encode(m.e.deps.Catalog.ClusterID(), m.e.incarnation, ids)
	for i := range encoded {
		key := m.e.objectKey(encoded[i].Object, m.e.incarnation, object.KindManifest)
		body := bucket.Body{Parts: [][]byte{encoded[i].Bytes}, CRC32C: encoded[i].CRC}
		if err := m.e.deps.Bucket.Create(ctx, key, body); err != nil {
			return catalog.Manifest{}, nil, fmt.Errorf("create manifest: %w", err) // ids abandoned, whatever happened (E28)
		}
	}
	if plan.Root != nil {
		if err := m.remember(plan.Root.Partition, next, encoded[len(encoded)-1].Bytes); err != nil {
			return catalog.Manifest{}, nil, err
		}
	}
	return next, ids, nil
}

// remember keeps a root that was just stored, as a reader of it would: the next absorb begins with it, without a request. What
// cannot be decoded is not swapped in.
func (m *manifests) remember(tp ident.TopicPartition, at catalog.Manifest, encoded []byte) error {
	root, err := object.DecodeRoot(encoded, tp, at)
	if err != nil {
		return fmt.Errorf("manifest %s of %s, just written: %w", at.Object, tp, err)
	}
	m.e.decoded.add(&decodedItem{key: decodedKey{object: at.Object}, bytes: int64(at.Bytes), value: root})
	return nil
}
