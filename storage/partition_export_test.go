package storage

import (
	"testing"
	"unsafe"
)

// TestPartitionLayout: the fields that place and publish touch stand in four cache lines of 64
// bytes, and 10,000 partitions take no more memory than they must.
func TestPartitionLayout(t *testing.T) {
	var p partition
	const hot, line = 4 * 64, 64
	for name, end := range map[string]uintptr{
		"end":            unsafe.Offsetof(p.end) + unsafe.Sizeof(p.end),
		"acks":           unsafe.Offsetof(p.acks) + unsafe.Sizeof(p.acks),
		"unflushed":      unsafe.Offsetof(p.unflushed) + unsafe.Sizeof(p.unflushed),
		"published.next": unsafe.Offsetof(p.published) + unsafe.Sizeof(p.published.next),
		"watchers":       unsafe.Offsetof(p.watchers) + unsafe.Sizeof(p.watchers),
		// Place and publish touch only and more; floor is for flushes.
		"producers": unsafe.Offsetof(p.producers) + 2*unsafe.Sizeof(uintptr(0)),
	} {
		if end > hot {
			t.Errorf("%s ends at byte %d of a partition, above %d", name, end, hot)
		}
	}
	if n := unsafe.Sizeof(p); n > 448 || n%line != 0 {
		t.Errorf("a partition takes %d bytes", n)
	}
	if n := unsafe.Sizeof(batch{}); n > 104 {
		t.Errorf("a batch takes %d bytes", n)
	}
}
