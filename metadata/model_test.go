package metadata

import (
	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
)

// model knows what every commit, move and release should have done, in the simplest terms: the ends
// of each partition, and every reference to an object by its reason.
type model struct {
	ends      map[ident.TopicPartition][2]ident.Offset
	manifests map[ident.TopicPartition]*modelManifest // of live and of deleted topics
}

type modelManifest struct {
	version uint64
	roots   []ident.ObjectID
	ranges  []catalog.Range
}

// compare compares the state with the model: the ends, and every object's count with everything
// that refers to it, including manifests (I10).
func (x *machine) compare() {
	refs := map[ident.ObjectID]int64{}
	partitions := 0
	for _, info := range x.s.Topics() {
		for _, h := range x.s.Heads(info.ID) {
			partitions++
			if ends := x.m.ends[h.Partition]; ends != [2]ident.Offset{h.LogStart, h.CommittedEnd} {
				x.t.Fatalf("%s is [%d,%d), the model says %v", h.Partition, h.LogStart, h.CommittedEnd, ends)
			}
			for _, r := range h.Ranges {
				refs[r.Object]++
			}
			refs[h.State.Object]++
			refs[h.Base.Object]++
		}
	}
	if partitions != len(x.m.ends) {
		x.t.Fatalf("%d partitions, the model has %d", partitions, len(x.m.ends))
	}
	for _, m := range x.m.manifests {
		for _, id := range m.roots {
			refs[id]++
		}
		for _, r := range m.ranges {
			refs[r.Object]++
		}
	}
	delete(refs, 0)
	for id, o := range x.s.objects {
		if o.count != refs[id] {
			x.t.Fatalf("object %s has %d references, the model finds %d", id, o.count, refs[id])
		}
		delete(refs, id)
	}
	if len(refs) != 0 {
		x.t.Fatalf("referenced objects that the state does not know: %v", refs)
	}
}
