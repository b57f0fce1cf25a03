package node

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"
)

// BenchmarkOpen starts a node on a directory that has been used, and reports how long each part
// takes. The disk is that of the test's temporary folder, so most of the time is fsyncs: 12 of Raft
// and 7 of the write-ahead log.
func BenchmarkOpen(b *testing.B) {
	bucket, dir := fileBucket(b), b.TempDir()
	r := start(b, dir, bucket)
	r.create("t", 10, nil)
	r.produce("t", 0, values("a", 1000)...)
	r.kill()
	cfg := testConfig(dir)
	cfg.Storage.WALSegmentBytes = 64 << 20
	cfg.Storage.WALBudgetBytes = 1 << 30
	steps := []struct {
		name string
		step func(*Node, context.Context) error
		sum  time.Duration
	}{
		{name: "identity", step: (*Node).identify}, {name: "metadata", step: (*Node).openMetadata}, {name: "storage", step: (*Node).openStorage},
	}
	for b.Loop() {
		n := newNode(b.Context(), cfg, Deps{Bucket: bucket, Listeners: []Listener{{Listener: listen(b)}}, Log: slog.New(slog.DiscardHandler)})
		for i := range steps {
			began := time.Now()
			if err := steps[i].step(n, b.Context()); err != nil {
				b.Fatal(err)
			}
			steps[i].sum += time.Since(began)
		}
		b.StopTimer()
		n.cancel()
		if err := errors.Join(n.engine.Close(), n.raft.Close(), n.lock.Close()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	for _, s := range steps {
		b.ReportMetric(float64(s.sum.Microseconds())/1000/float64(b.N), s.name+"-ms/op")
	}
}
