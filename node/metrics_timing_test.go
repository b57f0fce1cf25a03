package node

import (
	"fmt"
	"io"
	"net/http"
	"testing"
)

// BenchmarkScrape measures what /metrics costs with 10,000 partitions: only their sums, and each of
// them.
func BenchmarkScrape(b *testing.B) {
	r, url := startAdmin(b, b.TempDir(), fileBucket(b))
	for i := range 10 {
		r.create(fmt.Sprintf("t%d", i), 1000, nil)
	}
	r.produce("t0", 0, "a")
	for _, what := range []string{"", "?partitions=all"} {
		b.Run("10000"+what, func(b *testing.B) {
			bytes := int64(0)
			for b.Loop() {
				resp, err := http.Get(url + "/metrics" + what)
				if err != nil {
					b.Fatal(err)
				}
				if bytes, err = io.Copy(io.Discard, resp.Body); err != nil {
					b.Fatal(err)
				}
				resp.Body.Close()
			}
			b.ReportMetric(float64(bytes), "page-bytes")
		})
	}
}
