package object

import (
	"bytes"
	"errors"
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
)

var testPartition = ident.TopicPartition{Topic: testTopic, Index: 4}

func testRange(n int, start ident.Offset) catalog.Range {
	return catalog.Range{
		Object: ident.ObjectID(1000 + n), Writer: 7, ObjectBytes: 1 << 20, Start: start, End: start + 10, Incarnation: 6, Epoch: 3,
		Index: catalog.Extent{Position: int64(n), Bytes: 500}, Bytes: int64(100 + n), MaxTimestamp: int64(n) * 1000,
	}
}

func testRanges(from, count int) []catalog.Range {
	out := make([]catalog.Range, count)
	for i := range out {
		out[i] = testRange(from+i, ident.Offset(from+i)*10)
	}
	return out
}

// shelf is a small bucket and quorum: manifest objects and one pointer.
type shelf struct {
	objects map[ident.ObjectID][]byte
	head    catalog.Manifest
	lastID  ident.ObjectID
}

func (s *shelf) root(t rapid.TB) *Root {
	if s.head.Object == 0 {
		return nil
	}
	r, err := DecodeRoot(s.objects[s.head.Object], testPartition, s.head)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (s *shelf) leaf(t rapid.TB, ref *LeafRef) *Leaf {
	if ref == nil {
		return nil
	}
	l, err := DecodeLeaf(s.objects[ref.Object], testPartition, *ref)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// commit writes out a plan and moves the pointer. Objects that the plan drops are deleted.
func (s *shelf) commit(p *Plan) {
	var ids []ident.ObjectID
	for range p.Objects() {
		s.lastID++
		ids = append(ids, s.lastID)
	}
	objects, head := p.Encode(testCluster, 7, ids)
	for _, o := range objects {
		s.objects[o.Object] = o.Bytes
	}
	for _, id := range p.Dropped {
		delete(s.objects, id)
	}
	s.head = head
}

func (s *shelf) absorb(t rapid.TB, add []catalog.Range) {
	root := s.root(t)
	p, err := Absorb(testPartition, s.head, root, s.leaf(t, AbsorbNeeds(root, len(add))), add)
	if err != nil {
		t.Fatal(err)
	}
	s.commit(p)
}

// release returns the objects of all ranges that left the manifest.
func (s *shelf) release(t rapid.TB, logStart ident.Offset) []ident.ObjectID {
	var released []ident.ObjectID
	for s.head.Object != 0 {
		root := s.root(t)
		p := Release(testPartition, s.head, root, s.leaf(t, ReleaseNeeds(root)), logStart)
		if p == nil {
			break
		}
		released = append(released, p.Released...)
		s.commit(p)
	}
	return released
}

// all reads every live range.
func (s *shelf) all(t rapid.TB) []catalog.Range {
	root := s.root(t)
	if root == nil {
		return nil
	}
	var out []catalog.Range
	for i := range root.Leaves {
		out = append(out, root.Live(i, s.leaf(t, &root.Leaves[i]))...)
	}
	return append(out, root.Ranges...)
}

// E17, E30: a manifest is the list of its ranges, however it is cut into leaves. It names exactly
// the objects that are kept, and every range is released once.
func TestE17_E30_ManifestIsAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &shelf{objects: make(map[ident.ObjectID][]byte)}
		var model []catalog.Range
		made, end := 0, ident.Offset(0)
		actions := map[string]func(){
			"absorb": func() {
				if rapid.IntRange(0, 9).Draw(t, "gap") == 0 {
					end += 25 // the log start has passed the committed end
				}
				var add []catalog.Range
				for range rapid.SampledFrom([]int{1, 32, 32, 600}).Draw(t, "count") {
					add = append(add, testRange(made, end))
					made, end = made+1, end+10
				}
				s.absorb(t, add)
				model = append(model, add...)
			},
			"release": func() {
				logStart := ident.Offset(rapid.Int64Range(0, int64(end)).Draw(t, "log start"))
				if len(model) > 0 && rapid.Bool().Draw(t, "little") {
					logStart = model[0].Start + ident.Offset(rapid.Int64Range(0, 400).Draw(t, "above first"))
				}
				var want []ident.ObjectID
				for len(model) > 0 && model[0].End <= logStart {
					want, model = append(want, model[0].Object), model[1:]
				}
				if got := s.release(t, logStart); !slices.Equal(got, want) {
					t.Fatalf("released %v, want %v", got, want)
				}
			},
		}
		for _, name := range rapid.SliceOfN(rapid.SampledFrom([]string{"absorb", "absorb", "release"}), 1, 14).Draw(t, "actions") {
			actions[name]()
		}
		checkManifest(t, s, model)
	})
}

func checkManifest(t *rapid.T, s *shelf, model []catalog.Range) {
	if got := s.all(t); !slices.Equal(got, model) {
		t.Fatalf("manifest lists %d ranges, want %d", len(got), len(model))
	}
	root := s.root(t)
	if root == nil {
		if len(s.objects) != 0 {
			t.Fatalf("%d objects left of an empty manifest", len(s.objects))
		}
		return
	}
	named := map[ident.ObjectID]bool{root.Object: true}
	for _, l := range root.Leaves {
		named[l.Object] = true
	}
	if !slices.Equal(slices.Sorted(maps.Keys(named)), slices.Sorted(maps.Keys(s.objects))) {
		t.Fatalf("manifest names %v, kept are %v", named, slices.Sorted(maps.Keys(s.objects)))
	}
	var data int64
	for _, r := range model {
		data += r.Bytes
	}
	if s.head.RangeCount != int64(len(model)) || s.head.DataBytes != data || s.head.Start != model[0].Start || s.head.End != model[len(model)-1].End {
		t.Fatalf("head %+v of %d ranges, %d bytes", s.head, len(model), data)
	}
	checkLookups(t, s, root, model)
}

// checkLookups compares a few lookups by offset and by time with a linear search.
func checkLookups(t *rapid.T, s *shelf, root *Root, model []catalog.Range) {
	want := &model[rapid.IntRange(0, len(model)-1).Draw(t, "which")]
	find := func(leaf int, find func([]catalog.Range) int) catalog.Range {
		ranges := root.Ranges
		if leaf >= 0 {
			ranges = root.Live(leaf, s.leaf(t, &root.Leaves[leaf]))
		}
		return ranges[find(ranges)]
	}
	offset := want.Start + 9
	if got := find(root.LeafAt(offset), func(r []catalog.Range) int { return FindRange(r, offset) }); got != *want {
		t.Fatalf("offset %d is in %+v, want %+v", offset, got, want)
	}
	ts := want.MaxTimestamp // times rise in this test
	if got := find(root.LeafAtTime(ts), func(r []catalog.Range) int { return FindRangeTime(r, ts) }); got != *want {
		t.Fatalf("time %d is in %+v, want %+v", ts, got, want)
	}
}

func TestManifestGrowsInLeaves(t *testing.T) {
	s := &shelf{objects: make(map[ident.ObjectID][]byte)}
	const swaps = 400 // of 32 ranges each, about an hour of flushes
	written, largest := 0, 0
	for i := range swaps {
		s.absorb(t, testRanges(i*32, 32))
		written += len(s.objects[s.head.Object])
		largest = max(largest, len(s.objects[s.head.Object]))
	}
	root := s.root(t)
	if len(root.Leaves) != 4 || s.head.RangeCount != swaps*32 || s.head.Version != swaps {
		t.Errorf("%d leaves, head %+v", len(root.Leaves), s.head)
	}
	for _, l := range root.Leaves[:3] {
		if l.RangeCount < LeafRangesMax-inlineMax-32 {
			t.Errorf("leaf of %d ranges: leaves shall be filled", l.RangeCount)
		}
	}
	if largest > 48<<10 {
		t.Errorf("largest root is %d bytes", largest)
	}
	t.Logf("%d ranges: root %d bytes at most, %d on average", swaps*32, largest, written/swaps)
}

func TestManifestIsBounded(t *testing.T) {
	root := &Root{Version: 1, ManifestHeader: ManifestHeader{Object: 1, Partition: testPartition}}
	root.Leaves = make([]LeafRef, LeavesMax)
	root.Leaves[LeavesMax-1].RangeCount = LeafRangesMax
	if _, err := Absorb(testPartition, catalog.Manifest{Version: 1, Object: 1}, root, nil, testRanges(0, inlineMax+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("one leaf too many: %v", err)
	}
	if _, err := Absorb(testPartition, catalog.Manifest{}, nil, nil, testRanges(0, LeafRangesMax+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too many ranges at once: %v", err)
	}
	full := &Root{Leaves: make([]LeafRef, LeavesMax), Ranges: make([]catalog.Range, LeafRangesMax)}
	if b := full.encode(); len(b) != ManifestBytesMax || len(b) > 1<<20 {
		t.Errorf("full root has %d bytes", len(b))
	}
}

// sampleManifest is a root with a leaf, a released range and two ranges of its own.
func sampleManifest(t testing.TB) (root, leaf []byte, head catalog.Manifest, ref LeafRef) {
	p, err := Absorb(testPartition, catalog.Manifest{}, nil, nil, testRanges(0, 2))
	if err != nil {
		t.Fatal(err)
	}
	p.spill(nil)
	old, head := p.Encode(testCluster, 7, []ident.ObjectID{11, 12})
	r, err := DecodeRoot(old[1].Bytes, testPartition, head)
	if err != nil {
		t.Fatal(err)
	}
	p, err = Absorb(testPartition, head, r, nil, testRanges(2, 2))
	if err != nil {
		t.Fatal(err)
	}
	objects, head := p.Encode(testCluster, 7, []ident.ObjectID{13})
	if r, err = DecodeRoot(objects[0].Bytes, testPartition, head); err != nil {
		t.Fatal(err)
	}
	l, err := DecodeLeaf(old[0].Bytes, testPartition, r.Leaves[0])
	if err != nil {
		t.Fatal(err)
	}
	p = Release(testPartition, head, r, l, 15)
	objects, head = p.Encode(testCluster, 8, []ident.ObjectID{14})
	return objects[0].Bytes, old[0].Bytes, head, r.Leaves[0]
}

func TestDamagedManifestIsRefused(t *testing.T) {
	root, leaf, head, ref := sampleManifest(t)
	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i := range root {
		bad := bytes.Clone(root)
		bad[i] ^= 0x04
		_, err := DecodeRoot(bad, testPartition, head)
		refused("root against its head", err)
		_, err = decodeRoot(bad) // as Inspect reads it, without a head
		refused("root by itself", err)
		_, err = decodeRoot(root[:i])
		refused("root cut", err)
	}
	for i := range leaf {
		bad := bytes.Clone(leaf)
		bad[i] ^= 0x04
		_, err := DecodeLeaf(bad, testPartition, ref)
		refused("leaf against its root", err)
		_, err = decodeLeaf(bad)
		refused("leaf by itself", err)
	}
	for i := range reflect.TypeFor[catalog.Manifest]().NumField() {
		other := head
		if name := reflect.TypeFor[catalog.Manifest]().Field(i).Name; name == "Writer" {
			continue // the field only serves the key
		}
		f := reflect.ValueOf(&other).Elem().Field(i)
		if f.CanInt() {
			f.SetInt(f.Int() + 1)
		} else {
			f.SetUint(f.Uint() + 1)
		}
		_, err := DecodeRoot(root, testPartition, other)
		refused("another head", err)
	}
	_, err := DecodeRoot(root, ident.TopicPartition{Topic: testTopic}, head)
	refused("root of another partition", err)
	_, err = DecodeLeaf(leaf, ident.TopicPartition{Topic: testTopic}, ref)
	refused("leaf of another partition", err)
}

func FuzzDecodeManifest(f *testing.F) {
	root, leaf, _, _ := sampleManifest(f)
	f.Add(root)
	f.Add(leaf)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= 16 { // checksums are fixed up, so that the content is tested too
			closeManifest(b)
		}
		if r, err := decodeRoot(b); err == nil {
			checkRising(t, r.Ranges)
			if r.RangeCount < 1 || r.Start > r.End {
				t.Errorf("root %+v", r.ManifestHeader)
			}
			if len(r.Leaves) > 0 {
				r.Live(0, &Leaf{Ranges: make([]catalog.Range, r.Leaves[0].RangeCount)})
			}
		}
		if l, err := decodeLeaf(b); err == nil {
			checkRising(t, l.Ranges)
		}
	})
}

func checkRising(t *testing.T, ranges []catalog.Range) {
	for i := range ranges {
		if ranges[i].End <= ranges[i].Start || i > 0 && ranges[i].Start < ranges[i-1].End {
			t.Errorf("range %d: %+v", i, ranges[i])
		}
	}
}

// I8: a range that begins before the manifest's end is not absorbed a second time.
func TestI8_OverlapIsABug(t *testing.T) {
	for name, add := range map[string][]catalog.Range{
		"again":    testRanges(1, 1),
		"falling":  {testRange(5, 50), testRange(4, 40)},
		"empty":    {{Start: 50, End: 50}},
		"touching": {testRange(2, 20), {Start: 29, End: 40}},
	} {
		s := &shelf{objects: make(map[ident.ObjectID][]byte)}
		s.absorb(t, testRanges(0, 2))
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: absorbed", name)
				}
			}()
			s.absorb(t, add)
		}()
	}
}
