package storage_test

import (
	"testing"
	"time"

	"github.com/sluicemq/sluice/storage"
)

// Producers are slowed early, evenly and by how many bytes they send. Small requests go on until
// the budget is nearly used; at the end all producers are slowed.
func TestThrottle_EarlyAndByBytes(t *testing.T) {
	const mib = 1 << 20
	atLeast := func(waiting, bytes int64, least, most time.Duration) {
		t.Helper()
		if d := storage.ThrottleOf(storage.Config{}, waiting*mib, bytes); d < least || d > most {
			t.Errorf("%d MiB wait: %d bytes are held back for %v, want %v to %v", waiting, bytes, d, least, most)
		}
	}
	const request = 5 * mib
	atLeast(0, request, 0, 0)
	atLeast(128, request, 0, 0) // one flush, and as much again that gathers meanwhile
	atLeast(160, request, 10*time.Millisecond, 20*time.Millisecond)
	atLeast(256, request, 60*time.Millisecond, 60*time.Millisecond) // 83 MiB/s a connection
	atLeast(256, 4<<10, 0, 50*time.Microsecond)
	atLeast(2048, request, 200*time.Millisecond, 250*time.Millisecond)
	atLeast(2048, 4<<10, 0, 250*time.Microsecond)
	atLeast(3300, 4<<10, 50*time.Millisecond, 100*time.Millisecond) // 80 % of the budget
	atLeast(3600, 1, time.Second, time.Second)

	before := time.Duration(0)
	for waiting := int64(0); waiting < 4096; waiting += 16 {
		d := storage.ThrottleOf(storage.Config{}, waiting*mib, request)
		if d < before {
			t.Errorf("held back for %v with %d MiB waiting, and for %v with less", d, waiting, before)
		}
		if step := d - before; step > 10*time.Millisecond && d < time.Second {
			t.Errorf("a wall at %d MiB: %v after %v", waiting, d, before)
		}
		before = d
	}
	// A small budget starts its flush at an eighth, so the bytes of one flush slow nobody.
	small := storage.Config{WALBudgetBytes: 32 * mib, WALSegmentBytes: 4 * mib, FlushBytes: 4 * mib}
	if d := storage.ThrottleOf(small, 8*mib, mib); d != 0 {
		t.Errorf("a quarter of a small budget holds back for %v", d)
	}
}
