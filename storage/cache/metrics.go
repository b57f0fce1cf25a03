package cache

import "github.com/prometheus/client_golang/prometheus"

// Metrics returns the collectors that Prometheus may register.
func (c *Cache) Metrics() []prometheus.Collector {
	counter := func(name, help string, count func() int64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(count()) })
	}
	return []prometheus.Collector{
		counter("sluice_cache_hits_total", "Blocks of objects that were in memory or already on their way.", c.hits.Load),
		counter("sluice_cache_misses_total", "Blocks of objects that had to be asked of the object store.", c.misses.Load),
		counter("sluice_cache_read_bytes_total", "Bytes that the block cache has read from the object store.", c.readBytes.Load),
		counter("sluice_cache_read_failures_total", "Blocks that the object store did not give.", c.failed.Load),
		counter("sluice_cache_evictions_total", "Blocks that made room for others.", c.evicted.Load),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "sluice_cache_bytes", Help: "Bytes of objects kept in memory.",
		}, func() float64 { return float64(c.Stats().Bytes) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "sluice_cache_limit_bytes", Help: "Bytes of objects that may be kept in memory.",
		}, func() float64 { return float64(c.kept.bytesMax) }),
	}
}
