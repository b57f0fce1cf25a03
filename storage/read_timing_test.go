package storage_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage"
)

// timingRig has the budgets that a broker has.
func timingRig(b *testing.B, change ...func(*storage.Config)) *rig {
	return newRig(b, 1, append([]func(*storage.Config){func(c *storage.Config) {
		// Segments are small because the rig's disk copies files that grow, and that is not what is
		// measured.
		*c = storage.Config{WALDir: c.WALDir, FlushInterval: time.Hour, WALSegmentBytes: 2 << 20}
	}}, change...)...)
}

// fillMany appends one batch per partition in one request.
func fillMany(b *testing.B, r *rig, ids []ident.TopicPartition, value []byte) {
	b.Helper()
	req := &storage.AppendRequest{}
	for _, id := range ids {
		batch, err := protocol.BuildBatch(protocol.NoProducerSpec, []protocol.Record{{Timestamp: 1, Value: value}})
		if err != nil {
			b.Fatal(err)
		}
		h, err := protocol.ParseBatchHeader(batch)
		if err != nil {
			b.Fatal(err)
		}
		req.Partitions = append(req.Partitions, storage.PartitionAppend{Partition: id, Batch: batch, Header: h})
	}
	done := make(chan struct{})
	req.Done = func(*storage.AppendRequest) { close(done) }
	r.engine().Append(req)
	<-done
	for i := range req.Partitions {
		if err := req.Partitions[i].Err; err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReadHot measures a fetch of a consumer that follows many partitions.
func BenchmarkReadHot(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("partitions=%d", n), func(b *testing.B) {
			r := timingRig(b)
			ids := r.mustCreate("a", int32(n), nil)
			fillMany(b, r, ids, make([]byte, 1000))
			f := storage.Fetch{MaxBytes: 50 << 20}
			for _, id := range ids {
				f.Partitions = append(f.Partitions, storage.FetchPartition{Partition: id, MaxBytes: 1 << 20, CurrentEpoch: ident.NoEpoch})
			}
			b.ReportAllocs()
			for b.Loop() {
				r.engine().Read(context.Background(), &f)
				if f.Partitions[n-1].Bytes == 0 {
					b.Fatal("nothing")
				}
			}
		})
	}
}

// BenchmarkReadCold measures a consumer that reads a bundle of 16 MiB from the bucket, a mebibyte
// at a time.
func BenchmarkReadCold(b *testing.B) {
	for _, size := range []int{1000, 100_000} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			r := timingRig(b, func(c *storage.Config) { c.HotBytes = 1 })
			id := r.mustCreate("a", 1, nil)
			end := ident.Offset((16<<20 - 100_000) / (size + 80))
			for range end {
				fillMany(b, r, id, make([]byte, size))
			}
			r.mustFlush()
			r.restart()
			b.ReportAllocs()
			b.SetBytes(int64(end) * int64(size))
			for b.Loop() {
				for o := ident.Offset(0); o < end; {
					q := r.fetch(id[0], o, 1<<20)
					if q.Err != nil || q.Bytes == 0 {
						b.Fatal(q.Err, o)
					}
					o += ident.Offset(len(q.Batches))
				}
			}
		})
	}
}

// BenchmarkReadColdManifest is the same with 700 ranges that a manifest names.
func BenchmarkReadColdManifest(b *testing.B) {
	r := timingRig(b, func(c *storage.Config) { c.HotBytes = 1 })
	id := r.mustCreate("a", 1, nil)
	const end = 700
	for range end {
		fillMany(b, r, id, make([]byte, 100))
		r.mustFlush()
	}
	r.restart()
	b.ReportAllocs()
	for b.Loop() {
		for o := range ident.Offset(end) {
			if q := r.fetch(id[0], o, 1<<20); q.Bytes == 0 {
				b.Fatal(q.Err, o)
			}
		}
	}
}

// BenchmarkPublishGroup measures one request of 1,000 batches: place, one group, publish,
// acknowledge, on a disk in memory.
func BenchmarkPublishGroup(b *testing.B) {
	for _, n := range []int{1, 500} {
		b.Run(fmt.Sprintf("partitions=%d", n), func(b *testing.B) {
			r := timingRig(b, func(c *storage.Config) { c.HotBytes = 64 << 20; c.WALBudgetBytes = 1 << 40 })
			ids := r.mustCreate("a", int32(n), nil)
			var all []ident.TopicPartition
			for len(all) < 1000 {
				all = append(all, ids...)
			}
			b.ReportAllocs()
			for b.Loop() {
				fillMany(b, r, all, make([]byte, 100))
				if r.engine().Unflushed() > 32<<20 {
					r.mustFlush()
				}
			}
		})
	}
}
