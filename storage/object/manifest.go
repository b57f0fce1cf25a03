package object

import (
	"fmt"
	"slices"
	"sort"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
)

// inlineMax is how many ranges a root holds itself. Every swap writes the root anew, so this bounds
// what a swap costs (40 KiB and the references to leaves). When the root spills its ranges, they
// are merged into the last leaf, so a leaf is written at most eight times.
const inlineMax = 512

// LeafAt returns the leaf that holds an offset, or -1 if the offset is among the root's own ranges
// or nowhere.
func (r *Root) LeafAt(offset ident.Offset) int {
	i := sort.Search(len(r.Leaves), func(i int) bool { return r.Leaves[i].End > offset })
	if i == len(r.Leaves) {
		return -1
	}
	return i
}

// LeafAtTime returns the first leaf that may hold a record of at least the given time
// (milliseconds), or -1 if only the root's own ranges can.
func (r *Root) LeafAtTime(timestamp int64) int {
	return slices.IndexFunc(r.Leaves, func(l LeafRef) bool { return MayReach(l.MaxTimestamp, timestamp) })
}

// Live returns the ranges of the i-th leaf that are not released.
func (r *Root) Live(i int, l *Leaf) []catalog.Range {
	if i == 0 {
		return l.Ranges[r.Skip:]
	}
	return l.Ranges
}

// FindRange returns the first range that ends after offset, or len(ranges) if there is none.
func FindRange(ranges []catalog.Range, offset ident.Offset) int {
	return sort.Search(len(ranges), func(i int) bool { return ranges[i].End > offset })
}

// FindRangeTime returns the first range that may hold a record of at least the given time
// (milliseconds), or len(ranges) if there is none.
func FindRangeTime(ranges []catalog.Range, timestamp int64) int {
	for i := range ranges {
		if MayReach(ranges[i].MaxTimestamp, timestamp) {
			return i
		}
	}
	return len(ranges)
}

// Plan is the next version of a manifest before its objects have ids. It shares nothing with the
// previous version except immutable leaves.
type Plan struct {
	Root     *Root            // nil if no range is left
	Dropped  []ident.ObjectID // the old root, and leaves that the new version does not name
	Released []ident.ObjectID // one entry per range that leaves the manifest

	leaf    *Leaf // a leaf to be written before the root; nil if there is none
	version uint64
}

// Objects returns how many object ids Encode needs.
func (p *Plan) Objects() int {
	n := 0
	if p.leaf != nil {
		n++
	}
	if p.Root != nil {
		n++
	}
	return n
}

// Encoded is an object of a manifest, to be created under Key(…, KindManifest).
type Encoded struct {
	Object ident.ObjectID
	Bytes  []byte
	CRC    uint32
}

// Encode gives the plan's objects their ids and lays them out, in the order in which they are to be
// written. It returns them with the pointer to commit.
func (p *Plan) Encode(clusterID string, writer ident.Incarnation, ids []ident.ObjectID) ([]Encoded, catalog.Manifest) {
	if len(ids) != p.Objects() || !validClusterID(clusterID) {
		panic(fmt.Sprintf("BUG: manifest of cluster %q with %d ids, wants %d", clusterID, len(ids), p.Objects()))
	}
	if p.Root == nil {
		return nil, catalog.Manifest{Version: p.version}
	}
	var out []Encoded
	if p.leaf != nil {
		p.leaf.ClusterID, p.leaf.Writer, p.leaf.Object = clusterID, writer, ids[0]
		b := p.leaf.encode()
		out = append(out, Encoded{ids[0], b, checksum(b)})
		last := &p.Root.Leaves[len(p.Root.Leaves)-1]
		last.Object, last.Writer, last.Bytes, last.CRC = ids[0], writer, int32(len(b)), checksum(b)
		ids = ids[1:]
	}
	r := p.Root
	r.ClusterID, r.Writer, r.Object = clusterID, writer, ids[0]
	b := r.encode()
	out = append(out, Encoded{ids[0], b, checksum(b)})
	return out, catalog.Manifest{
		Version: r.Version, Object: r.Object, Bytes: int32(len(b)), CRC: checksum(b), Start: r.Start, End: r.End,
		RangeCount: r.RangeCount, DataBytes: r.DataBytes, Writer: writer,
	}
}

// next begins the version that follows old. root is the root of old, or nil if old has no object.
func next(tp ident.TopicPartition, old catalog.Manifest, root *Root) *Plan {
	p := &Plan{version: old.Version + 1, Root: &Root{Version: old.Version + 1}}
	if (root == nil) != (old.Object == 0) || root != nil && (root.Object != old.Object || root.Version != old.Version || root.Partition != tp) {
		panic(fmt.Sprintf("BUG: manifest %+v of %s planned on another root", old, tp))
	}
	if root == nil {
		p.Root.Partition = tp
		return p
	}
	p.Root.ManifestHeader = root.ManifestHeader
	p.Root.Leaves, p.Root.Skip, p.Root.Ranges = slices.Clone(root.Leaves), root.Skip, slices.Clone(root.Ranges)
	p.Dropped = []ident.ObjectID{root.Object}
	return p
}

// AbsorbNeeds returns the leaf whose content Absorb needs to take in count more ranges, or nil if
// it needs none.
func AbsorbNeeds(root *Root, count int) *LeafRef {
	if root == nil || len(root.Leaves) == 0 || len(root.Ranges)+count <= inlineMax {
		return nil
	}
	last := &root.Leaves[len(root.Leaves)-1]
	if int(last.RangeCount)+len(root.Ranges)+count > LeafRangesMax {
		return nil
	}
	return last
}

// Absorb plans the version that takes in more ranges, which begin at or after the end of the old
// version. root is nil if old has no object. last is the content of the leaf that AbsorbNeeds
// returned. The error is ErrTooLarge if these are more ranges, at once or in all, than a manifest
// may have.
func Absorb(tp ident.TopicPartition, old catalog.Manifest, root *Root, last *Leaf, add []catalog.Range) (*Plan, error) {
	need := AbsorbNeeds(root, len(add))
	if (need == nil) != (last == nil) || need != nil && last.Object != need.Object {
		panic(fmt.Sprintf("BUG: absorb into manifest of %s without the leaf that it needs", tp))
	}
	p := next(tp, old, root)
	r := p.Root
	for i := range add {
		if g := &add[i]; g.Start < r.End || g.End <= g.Start {
			// I8
			panic(fmt.Sprintf("BUG: range [%d,%d) absorbed into manifest of %s that ends at %d", g.Start, g.End, tp, r.End))
		}
		if r.RangeCount == 0 {
			r.Start = add[i].Start
		}
		r.End = add[i].End
		r.RangeCount++
		r.DataBytes += add[i].Bytes
	}
	r.Ranges = append(r.Ranges, add...)
	if len(r.Ranges) > LeafRangesMax {
		return nil, fmt.Errorf("%w: %d ranges at once in manifest of %s", ErrTooLarge, len(add), tp)
	}
	if len(r.Ranges) > inlineMax {
		p.spill(last)
	}
	if len(r.Leaves) > LeavesMax {
		return nil, fmt.Errorf("%w: manifest of %s has %d leaves", ErrTooLarge, tp, LeavesMax)
	}
	return p, nil
}

// spill moves the root's own ranges into a leaf: a new leaf, or last, whose own ranges come first.
func (p *Plan) spill(last *Leaf) {
	r := p.Root
	ranges := r.Ranges
	if last != nil {
		n := len(r.Leaves) - 1
		ranges = append(slices.Clone(r.Live(n, last)), ranges...)
		if n == 0 {
			r.Skip = 0 // the new leaf begins with the live ranges
		}
		p.Dropped = append(p.Dropped, last.Object)
		r.Leaves = r.Leaves[:n]
	}
	p.leaf = &Leaf{Ranges: ranges, ManifestHeader: ManifestHeader{
		Partition: r.Partition, Start: ranges[0].Start, End: r.End, RangeCount: int64(len(ranges)),
	}}
	newest := ranges[0].MaxTimestamp
	for i := range ranges {
		p.leaf.DataBytes += ranges[i].Bytes
		newest = newer(newest, ranges[i].MaxTimestamp)
	}
	r.Leaves = append(r.Leaves, LeafRef{
		Start: p.leaf.Start, End: p.leaf.End, DataBytes: p.leaf.DataBytes, MaxTimestamp: newest, RangeCount: int32(len(ranges)),
	})
	r.Ranges = nil
}

// ReleaseNeeds returns the leaf whose content Release needs, or nil if it needs none.
func ReleaseNeeds(root *Root) *LeafRef {
	if len(root.Leaves) == 0 {
		return nil
	}
	return &root.Leaves[0]
}

// Release plans the version without the ranges that lie wholly below the log start. It releases
// ranges of the first leaf only, or of the root itself once there is no leaf, so that a plan names
// at most LeafRangesMax objects. The caller repeats Release until it returns nil, when there is
// nothing to release. The leaf is not written anew: the root says how many of its ranges are
// released.
func Release(tp ident.TopicPartition, old catalog.Manifest, root *Root, first *Leaf, logStart ident.Offset) *Plan {
	need := ReleaseNeeds(root)
	if (need == nil) != (first == nil) || need != nil && first.Object != need.Object {
		panic(fmt.Sprintf("BUG: release from manifest of %s without its first leaf", tp))
	}
	p := next(tp, old, root)
	r := p.Root
	live := r.Ranges
	if first != nil {
		live = r.Live(0, first)
	}
	n := sort.Search(len(live), func(i int) bool { return live[i].End > logStart })
	if n == 0 {
		return nil
	}
	for i := range live[:n] {
		p.Released = append(p.Released, live[i].Object)
		r.DataBytes -= live[i].Bytes
	}
	r.RangeCount -= int64(n)
	switch {
	case r.RangeCount == 0:
		p.dropAll()
		return p
	case first == nil:
		r.Ranges = r.Ranges[n:]
	case n == len(live):
		p.Dropped = append(p.Dropped, first.Object)
		r.Leaves, r.Skip = r.Leaves[1:], 0
	default:
		r.Skip += int32(n)
	}
	r.Start = r.firstStart(live[n:])
	return p
}

// dropAll leaves nothing of the manifest.
func (p *Plan) dropAll() {
	for i := range p.Root.Leaves {
		p.Dropped = append(p.Dropped, p.Root.Leaves[i].Object)
	}
	p.Root = nil
}

// firstStart returns where the first live range starts. left holds the live ranges of the first
// leaf, or of the root.
func (r *Root) firstStart(left []catalog.Range) ident.Offset {
	switch {
	case len(left) > 0:
		return left[0].Start
	case len(r.Leaves) > 0:
		return r.Leaves[0].Start
	}
	return r.Ranges[0].Start
}
