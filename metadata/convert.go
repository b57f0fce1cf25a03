package metadata

import (
	"cmp"
	"maps"
	"slices"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata/pb"
)

// These functions convert between the values of package catalog and the wire. Getters of a nil
// message return zero values, so an absent pointer reads as "none".

func topicID(b []byte) (ident.TopicID, bool) {
	var id ident.TopicID
	if len(b) != len(id) {
		return id, false
	}
	copy(id[:], b)
	return id, true
}

func partitionFrom(p *pb.Partition) (ident.TopicPartition, bool) {
	id, ok := topicID(p.GetTopic())
	return ident.TopicPartition{Topic: id, Index: p.GetIndex()}, ok
}

func partitionTo(tp ident.TopicPartition) *pb.Partition {
	return &pb.Partition{Topic: tp.Topic[:], Index: tp.Index}
}

func configsFrom(list []*pb.Config) map[string]string {
	m := make(map[string]string, len(list))
	for _, c := range list {
		m[c.Key] = c.Value
	}
	return m
}

func configsTo(m map[string]string) []*pb.Config {
	list := make([]*pb.Config, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		list = append(list, &pb.Config{Key: k, Value: m[k]})
	}
	return list
}

func rangeFrom(r *pb.Range) catalog.Range {
	return catalog.Range{
		Object: ident.ObjectID(r.GetObject()), Start: ident.Offset(r.GetStart()), End: ident.Offset(r.GetEnd()),
		Incarnation: ident.Incarnation(r.GetIncarnation()), Epoch: ident.Epoch(r.GetEpoch()),
		Index: catalog.Extent{Position: r.GetIndexPosition(), Bytes: r.GetIndexBytes()},
		Bytes: r.GetBytes(), MaxTimestamp: r.GetMaxTimestamp(),
		Writer: ident.Incarnation(r.GetWriter()), ObjectBytes: r.GetObjectBytes(),
	}
}

func rangeTo(r catalog.Range) *pb.Range {
	return &pb.Range{
		Object: uint64(r.Object), Start: int64(r.Start), End: int64(r.End),
		Incarnation: uint64(r.Incarnation), Epoch: int32(r.Epoch),
		IndexPosition: r.Index.Position, IndexBytes: r.Index.Bytes,
		Bytes: r.Bytes, MaxTimestamp: r.MaxTimestamp,
		Writer: uint64(r.Writer), ObjectBytes: r.ObjectBytes,
	}
}

func stateRefFrom(r *pb.StateRef) catalog.StateRef {
	return catalog.StateRef{
		Object: ident.ObjectID(r.GetObject()), End: ident.Offset(r.GetEnd()),
		Extent: catalog.Extent{Position: r.GetPosition(), Bytes: r.GetBytes()},
		Writer: ident.Incarnation(r.GetWriter()), ObjectBytes: r.GetObjectBytes(),
	}
}

func stateRefTo(r catalog.StateRef) *pb.StateRef {
	if r == (catalog.StateRef{}) {
		return nil
	}
	return &pb.StateRef{
		Object: uint64(r.Object), Position: r.Extent.Position, Bytes: r.Extent.Bytes,
		End: int64(r.End), Writer: uint64(r.Writer), ObjectBytes: r.ObjectBytes,
	}
}

func manifestFrom(m *pb.Manifest) catalog.Manifest {
	return catalog.Manifest{
		Version: m.GetVersion(), Object: ident.ObjectID(m.GetObject()), Bytes: m.GetBytes(), CRC: m.GetCrc(),
		Start: ident.Offset(m.GetStart()), End: ident.Offset(m.GetEnd()),
		RangeCount: m.GetRangeCount(), DataBytes: m.GetDataBytes(), Writer: ident.Incarnation(m.GetWriter()),
	}
}

func manifestTo(m catalog.Manifest) *pb.Manifest {
	if m == (catalog.Manifest{}) {
		return nil
	}
	return &pb.Manifest{
		Version: m.Version, Object: uint64(m.Object), Bytes: m.Bytes, Crc: m.CRC,
		Start: int64(m.Start), End: int64(m.End),
		RangeCount: m.RangeCount, DataBytes: m.DataBytes, Writer: uint64(m.Writer),
	}
}

// leadershipFrom reads a leadership. Its class is written down only where it is not the configured
// one, so that builds which know no classes read what has none of another kind.
func leadershipFrom(l *pb.Leadership, configured catalog.Class) catalog.Leadership {
	out := catalog.Leadership{
		Broker: l.GetBroker(), Incarnation: ident.Incarnation(l.GetIncarnation()),
		Epoch: ident.Epoch(l.GetEpoch()), Class: configured,
	}
	if class := l.GetClass(); class != pb.Class_CLASS_AS_CONFIGURED {
		out.Class = catalog.Class(class)
	}
	return out
}

func leadershipTo(l catalog.Leadership, configured catalog.Class) *pb.Leadership {
	out := &pb.Leadership{Broker: l.Broker, Incarnation: uint64(l.Incarnation), Epoch: int32(l.Epoch)}
	if l.Class != configured {
		out.Class = pb.Class(l.Class)
	}
	return out
}

func commitRangeFrom(c *pb.CommitRange) (catalog.CommitRange, bool) {
	tp, ok := partitionFrom(c.GetPartition())
	return catalog.CommitRange{
		Partition: tp, Range: rangeFrom(c.GetRange()), WALEnd: ident.Position(c.GetWalEnd()),
		State: stateRefFrom(c.GetState()), Base: stateRefFrom(c.GetBase()),
	}, ok
}

func commitRangeTo(c catalog.CommitRange) *pb.CommitRange {
	return &pb.CommitRange{
		Partition: partitionTo(c.Partition), Range: rangeTo(c.Range), WalEnd: int64(c.WALEnd),
		State: stateRefTo(c.State), Base: stateRefTo(c.Base),
	}
}

func storedFrom(p *pb.StoredSnapshot) StoredSnapshot {
	return StoredSnapshot{Number: p.GetNumber(), Index: p.GetIndex(), CRC: p.GetCrc(), Generation: ident.Generation(p.GetGeneration())}
}

func storedTo(s StoredSnapshot) *pb.StoredSnapshot {
	if s == (StoredSnapshot{}) {
		return nil
	}
	return &pb.StoredSnapshot{Number: s.Number, Index: s.Index, Crc: s.CRC, Generation: uint32(s.Generation)}
}

func objectsFrom(list []uint64) []ident.ObjectID {
	return convertAll(list, func(v uint64) ident.ObjectID { return ident.ObjectID(v) })
}

func objectsTo(list []ident.ObjectID) []uint64 {
	return convertAll(list, func(v ident.ObjectID) uint64 { return uint64(v) })
}

func convertAll[A, B any](list []A, f func(A) B) []B {
	if len(list) == 0 {
		return nil
	}
	out := make([]B, len(list))
	for i, v := range list {
		out[i] = f(v)
	}
	return out
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
