package storage_test

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluicemq/sluice/storage"
)

// TestPack_EvenSizes: bundles hold the sections in order, none is empty, their number is what the
// bytes ask for, and none exceeds its share by more than half a section on either side.
func TestPack_EvenSizes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const bundleBytes = 1000
		sizes := rapid.SliceOfN(rapid.Int64Range(1, bundleBytes), 1, 200).Draw(t, "sizes")
		bundles := storage.PackedSizes(sizes, bundleBytes)
		total := sum(sizes)
		if most := max(1, (total+bundleBytes/2)/bundleBytes); int64(len(bundles)) > most {
			t.Fatalf("%d bundles of %d bytes, want at most %d", len(bundles), total, most)
		}
		for _, b := range bundles {
			if len(b) == 0 || sum(b) > 5*bundleBytes/2 {
				t.Fatalf("a bundle of %d sections with %d bytes", len(b), sum(b))
			}
		}
		if got := slices.Concat(bundles...); !slices.Equal(got, sizes) {
			t.Fatalf("packed %v of %v", got, sizes)
		}
	})
	many := storage.PackedSizes(slices.Repeat([]int64{1}, 2*storage.SectionsPerBundleMax+1), 1<<20)
	if len(many) != 3 || len(many[0]) != storage.SectionsPerBundleMax || len(many[2]) != 1 {
		t.Errorf("many small sections went into %d bundles", len(many))
	}
}

func sum(sizes []int64) (total int64) {
	for _, s := range sizes {
		total += s
	}
	return total
}

// TestE17_RequestsPerGiB: with 16 partitions at 100 MiB/s and the default sizes, all scaled to a
// thousandth, an upload costs at most 80 requests per GiB, bundles and manifests together.
func TestE17_RequestsPerGiB(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const gib, batchBytes = 1 << 20, 512
		r := newRig(t, seed(t), func(c *storage.Config) {
			c.FlushInterval, c.FlushBytes, c.HotBytes, c.WALBudgetBytes, c.ManifestAt = 10*time.Second, 16<<10, 256<<10, 4<<20, 24
		})
		tps := r.mustCreate("t", 16, nil)
		var bundles, manifests atomic.Int64
		r.onCreate = func(key string) {
			switch {
			case strings.HasSuffix(key, ".bundle"):
				bundles.Add(1)
			case strings.HasSuffix(key, ".manifest"):
				manifests.Add(1)
			}
		}
		const gibs = 4
		for bytes := 0; bytes < gibs*gib; {
			for _, tp := range tps {
				r.start(r.batch(tp, 1, batchBytes-70, -1)) // the header takes the rest
				bytes += batchBytes
			}
			time.Sleep(80 * time.Millisecond)
		}
		b, m := bundles.Load()/gibs, manifests.Load()/gibs
		t.Logf("per GiB: %d bundles, %d manifests", b, m)
		if b+m > 80 || b == 0 || m == 0 {
			t.Errorf("per GiB %d bundles and %d manifests, want some of each and at most 80", b, m)
		}
	})
}
