package compat

import "testing"

// BenchmarkUnderSiege is the load of TestMemoryCeiling in full size, and tells how long a member
// and a client with metadata wait meanwhile.
func BenchmarkUnderSiege(b *testing.B) {
	for b.Loop() {
		size := siegeOf(true)
		s := newSiege(b, size)
		s.run(b, size)
		_, p99, longest := s.heartbeats.quantiles()
		b.ReportMetric(float64(p99.Microseconds())/1000, "heartbeat-p99-ms")
		b.ReportMetric(float64(longest.Microseconds())/1000, "heartbeat-max-ms")
		_, p99, longest = s.metadata.quantiles()
		b.ReportMetric(float64(p99.Microseconds())/1000, "metadata-p99-ms")
		b.ReportMetric(float64(longest.Microseconds())/1000, "metadata-max-ms")
		b.ReportMetric(float64(s.peakMemory(b)>>20), "peak-MiB")
		b.ReportMetric(float64(s.ceiling(b)>>20), "ceiling-MiB")
	}
}
