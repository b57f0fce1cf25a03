package metadata

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata/pb"
)

// bigState has 10,000 partitions in 10 topics, with 16 ranges each.
func bigState(b *testing.B) *fixture {
	f := newFixture(b)
	for i := range 10 {
		f.ok(NewCreateTopic(TopicSpec{ID: ident.TopicID{7, byte(i)}, Name: "big" + string('a'+rune(i)), Partitions: 1000}))
	}
	for r := range 16 {
		for i := range 10 {
			f.flushTopic(ident.TopicID{7, byte(i)}, ident.Offset(r*100))
		}
	}
	return f
}

// flushTopic commits 100 records of each partition of a topic, in one bundle.
func (f *fixture) flushTopic(id ident.TopicID, start ident.Offset) {
	object := f.reserve()
	var ranges []catalog.CommitRange
	for _, h := range f.s.Heads(id) {
		ranges = append(ranges, catalog.CommitRange{
			Partition: h.Partition,
			Range: catalog.Range{Object: object, Start: start, End: start + 100, Incarnation: h.Leader.Incarnation,
				Epoch: h.Leader.Epoch, Bytes: 1600, MaxTimestamp: 1_700_000_000_000, Writer: f.inc, ObjectBytes: 16 << 20,
				Index: catalog.Extent{Position: 1 << 20, Bytes: 200}},
			State: catalog.StateRef{Object: object, End: start + 100, Extent: catalog.Extent{Position: 1 << 21, Bytes: 300}, Writer: f.inc, ObjectBytes: 16 << 20},
		})
	}
	f.commit(object, ranges...)
}

// BenchmarkFreeze measures how long a snapshot makes Apply wait: 10,000 partitions.
func BenchmarkFreeze(b *testing.B) {
	f := bigState(b)
	for b.Loop() {
		f.s.Freeze()
	}
}

// BenchmarkEncodeSnapshot measures what runs beside Apply: 10,000 partitions × 16 ranges.
func BenchmarkEncodeSnapshot(b *testing.B) {
	f := bigState(b)
	var n int
	for b.Loop() {
		n = len(encode(b, f.s))
	}
	b.ReportMetric(float64(n)/(1<<20), "MiB")
}

// BenchmarkDecodeSnapshot measures what a start pays.
func BenchmarkDecodeSnapshot(b *testing.B) {
	f := bigState(b)
	snapshot := encode(b, f.s)
	for b.Loop() {
		if _, err := DecodeSnapshot(snapshot); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCommit1000 applies a commit of 1,000 ranges to heads that have about 16 ranges.
func BenchmarkCommit1000(b *testing.B) {
	f := bigState(b)
	frozen := f.s
	object := f.reserve()
	var ranges []catalog.CommitRange
	for _, h := range f.s.Heads(ident.TopicID{7, 1}) {
		c := catalog.CommitRange{Partition: h.Partition, Range: h.Ranges[15], State: h.State}
		c.Range.Object, c.Range.Start, c.Range.End = object, 1600, 1700
		c.State.Object, c.State.End = object, 1700
		ranges = append(ranges, c)
	}
	broker, _ := f.s.Broker(1)
	bundle := catalog.CommitBundle{Object: object, Ranges: ranges}
	cmd := NewCommitFlush(catalog.Commit{Incarnation: f.inc, Number: broker.LastCommit + 1, Bundles: []catalog.CommitBundle{bundle}})
	b.ReportMetric(float64(CommitPartBytes(bundle))/1000, "bytes/range")
	var applying time.Duration
	for b.Loop() {
		s := frozen.Freeze()
		start := time.Now()
		res, err := s.Apply(f.index+1, cmd)
		applying += time.Since(start)
		if err != nil || res.Commit.Verdicts[0][0] != catalog.Committed {
			b.Fatal(err, res.Commit.Reasons)
		}
	}
	b.ReportMetric(float64(applying.Microseconds())/float64(b.N)/1000, "ms-apply")
}

// BenchmarkCreateTopics measures what 10,000 topics cost the state machine, when they are created
// and at each start that replays their creation.
func BenchmarkCreateTopics(b *testing.B) {
	for b.Loop() {
		f := newFixture(b)
		for i := range uint64(10_000) {
			spec := TopicSpec{ID: ident.TopicID{7, byte(i), byte(i >> 8)}, Name: fmt.Sprint("topic-", i), Partitions: 1}
			if res, err := f.s.Apply(f.s.Index()+1, withID(NewCreateTopic(spec), i)); err != nil || res.Err != nil {
				b.Fatal(err, res.Err)
			}
		}
	}
}

// withID gives a command an id, so that its answer is remembered.
func withID(cmd *pb.Command, i uint64) *pb.Command {
	cmd.RequestId = binary.LittleEndian.AppendUint64(nil, i)
	return cmd
}
