package raft

import (
	"slices"
	"testing"
	"time"

	"github.com/sluicemq/sluice/metadata"
)

// BenchmarkStart measures from Open to leadership with everything applied, in an existing
// directory. The goal is less than 100 ms.
func BenchmarkStart(b *testing.B) {
	dir := b.TempDir()
	n := openNode(b, dir, testDeps(b))
	begin(b, n)
	for i := range 100 {
		do(b, n, metadata.NewCreateTopic(topicSpec(i, 3)))
	}
	n.Close()
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		n := openNode(b, dir, testDeps(b))
		took = append(took, time.Since(start))
		n.Close()
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-median")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "ms-max")
}

// BenchmarkStartEmpty measures the same for an empty directory, without Bootstrap.
func BenchmarkStartEmpty(b *testing.B) {
	for b.Loop() {
		openNode(b, b.TempDir(), testDeps(b)).Close()
	}
}

// BenchmarkPropose measures one command after another: one fsynced entry each.
func BenchmarkPropose(b *testing.B) {
	n := openNode(b, b.TempDir(), testDeps(b))
	begin(b, n)
	for b.Loop() {
		do(b, n, metadata.NewAllocateProducerIds())
	}
}
