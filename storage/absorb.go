package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/object"
)

// manifestWriter replaces the manifests of partitions (E17, E30): surplus ranges of heads go into a
// manifest, and ranges that the log start has passed come out. It has no state: each change begins
// with a head and ends in a compare-and-set on that head, so that two changes at once do no harm.
type manifestWriter struct {
	*env
	cold *coldReader
	ids  *objectIDs
}

// absorb writes the next version of a manifest, with all of the head's ranges but the newest few,
// and swaps it in.
func (m *manifestWriter) absorb(ctx context.Context, h *catalog.Head) error {
	take := h.Ranges[:len(h.Ranges)-m.cfg.ManifestAt/4]
	root, err := m.cold.manifestRoot(ctx, h)
	if err != nil {
		return err
	}
	last, err := m.cold.manifestLeaf(ctx, h.Partition, object.AbsorbNeeds(root, len(take)))
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
	err = m.deps.Catalog.SwapManifest(ctx, catalog.ManifestSwap{
		Partition: h.Partition, Incarnation: m.incarnation, OldVersion: h.Manifest.Version,
		New: next, Absorbed: take, NewObjects: ids, Dropped: plan.Dropped,
	})
	if err == nil {
		m.cold.decoded.forget(plan.Dropped)
	}
	return ignoreLostRace(err)
}

// release takes the ranges that the log start has passed out of the manifest, a step at a time
// (E30).
func (m *manifestWriter) release(ctx context.Context, h *catalog.Head) error {
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
		err = m.deps.Catalog.ReleaseRanges(ctx, catalog.RangeRelease{
			Partition: h.Partition, Incarnation: m.incarnation, OldVersion: h.Manifest.Version,
			New: next, Released: plan.Released, NewObjects: ids, Dropped: plan.Dropped,
		})
		if err != nil {
			return ignoreLostRace(err)
		}
		m.cold.decoded.forget(plan.Dropped)
		h.Manifest = next
	}
	return nil
}

// oldest reads the parts of a manifest that a release needs: the root and, if it is needed, the
// oldest leaf.
func (m *manifestWriter) oldest(ctx context.Context, h *catalog.Head) (*object.Root, *object.Leaf, error) {
	root, err := m.cold.manifestRoot(ctx, h)
	if err != nil {
		return nil, nil, err
	}
	first, err := m.cold.manifestLeaf(ctx, h.Partition, object.ReleaseNeeds(root))
	return root, first, err
}

// giveUp lets go of a damaged manifest that the log start has passed as a whole, so that the
// partition can go on. Nobody can read any more which objects the manifest refers to, so they stay
// in the bucket and stay counted. The manifest of a deleted topic is left alone, since it blocks
// nothing and the topic may be brought back.
func (m *manifestWriter) giveUp(ctx context.Context, h *catalog.Head, damage error) error {
	if _, ok := m.deps.Catalog.Head(h.Partition); !ok {
		return damage
	}
	err := m.deps.Catalog.ReleaseRanges(ctx, catalog.RangeRelease{
		Partition: h.Partition, Incarnation: m.incarnation, OldVersion: h.Manifest.Version,
		New: catalog.Manifest{Version: h.Manifest.Version + 1}, Dropped: []ident.ObjectID{h.Manifest.Object},
	})
	if err != nil {
		return ignoreLostRace(err)
	}
	m.log.Warn("a damaged manifest is given up: the objects that only it names stay in the bucket", "partition", h.Partition,
		"manifest", h.Manifest.Object, "ranges", h.Manifest.RangeCount, "bytes", h.Manifest.DataBytes, "err", damage)
	h.Manifest = catalog.Manifest{Version: h.Manifest.Version + 1}
	return nil
}

// ignoreLostRace returns nil if another change won the compare-and-set: the change is planned again
// on the next turn, and the objects written for it expire (E7).
func ignoreLostRace(err error) error {
	if errors.Is(err, catalog.ErrConflict) || errors.Is(err, catalog.ErrTopicNotFound) {
		return nil
	}
	return err
}

// write puts a plan's objects into the bucket under fresh ids, the root last.
func (m *manifestWriter) write(ctx context.Context, plan *object.Plan) (catalog.Manifest, []ident.ObjectID, error) {
	ids := make([]ident.ObjectID, plan.Objects())
	for i := range ids {
		id, err := m.ids.next(ctx)
		if err != nil {
			return catalog.Manifest{}, nil, err
		}
		ids[i] = id
	}
	encoded, next := plan.Encode(m.deps.Catalog.ClusterID(), m.incarnation, ids)
	for i := range encoded {
		key := m.cold.objectKey(encoded[i].Object, m.incarnation, object.KindManifest)
		body := bucket.Body{Parts: [][]byte{encoded[i].Bytes}, CRC32C: encoded[i].CRC}
		if err := m.deps.Bucket.Create(ctx, key, body); err != nil {
			// The ids are abandoned, whatever happened (E28).
			return catalog.Manifest{}, nil, fmt.Errorf("create manifest: %w", err)
		}
	}
	if plan.Root != nil {
		if err := m.cold.rememberManifest(plan.Root.Partition, next, encoded[len(encoded)-1].Bytes); err != nil {
			return catalog.Manifest{}, nil, err
		}
	}
	return next, ids, nil
}
