package node

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sluicemq/sluice/broker"
	"github.com/sluicemq/sluice/broker/coordinator"
	"github.com/sluicemq/sluice/storage"
)

// Memory is given back once when the broker becomes idle, and not while it works.
func TestMemoryGoesBackWhenIdle(t *testing.T) {
	const mib = 1 << 20
	synctest.Test(t, func(t *testing.T) {
		looks := []struct {
			allocated, live, spare uint64
			released               int // number of releases by then
		}{
			{0, 10 * mib, 0, 0},
			{100 * mib, 10 * mib, 50 * mib, 0},  // the broker works
			{101 * mib, 10 * mib, 50 * mib, 1},  // idle
			{101 * mib, 10 * mib, 1 * mib, 1},   // read after the release
			{102 * mib, 10 * mib, 7 * mib, 1},   // not worth it
			{103 * mib, 100 * mib, 20 * mib, 1}, // not worth it either, compared with 100 MiB
			{104 * mib, 100 * mib, 25 * mib, 2},
			{104 * mib, 100 * mib, 0, 2},
		}
		released, at := 0, 0
		ctx, cancel := context.WithCancel(t.Context())
		w := &memoryWatch{
			read: func() heapFigures {
				l := looks[at]
				if released > l.released {
					t.Errorf("look %d: released %d times, want %d", at, released, l.released)
				}
				if at++; at == len(looks) {
					cancel()
				}
				return heapFigures{l.allocated, l.live, l.spare}
			},
			release: func() {
				if released++; looks[at-1].released != released {
					t.Errorf("look %d: released for the %dth time", at-1, released)
				}
			},
		}
		w.run(ctx)
		if released != 2 || at != len(looks) {
			t.Errorf("released %d times in %d looks, want 2 in %d", released, at, len(looks))
		}
	})
}

var ballast []byte

// The figures of the real heap: garbage is spare until it is given back.
func TestReadHeap(t *testing.T) {
	w := newMemoryWatch()
	w.release()
	before := w.read()
	ballast = make([]byte, 64<<20)
	runtime.GC()
	used := w.read()
	if grown := used.live - before.live; grown < 60<<20 || used.allocated-before.allocated < 64<<20 {
		t.Errorf("64 MiB more in use are read as %d, of %d allocated", grown, used.allocated-before.allocated)
	}
	ballast = nil
	runtime.GC()
	if garbage := w.read(); !garbage.returns(garbage) {
		t.Errorf("64 MiB of garbage are not worth returning: %+v", garbage)
	}
	w.release()
	if after := w.read(); after.returns(after) {
		t.Errorf("after they were returned: %+v", after)
	}
}

// TestMemoryCeilingIsDocumented: the ceiling is the formula of docs/operations.md, which also names
// the ceiling of a broker that sets nothing.
func TestMemoryCeilingIsDocumented(t *testing.T) {
	const kib, mib = 1 << 10, 1 << 20
	formula := func(request, fetch, groups, hot, cache, batches, connections, uploads int64) int64 {
		sum := request + fetch + 2*groups + 2*hot + cache*3/2 + 128*batches + 52*kib*connections + uploads*5/2 + (576+384+128+128)*mib
		return sum + sum/8
	}
	c := Config{
		Storage: storage.Config{HotBytes: 1 * mib, CacheBytes: 2 * mib, UnflushedBatchesMax: 3000, UploadParallel: 5, FlushBytes: 7 * mib},
		Broker:  broker.Config{MemoryBytesMax: 11 * mib, FetchMemoryBytesMax: 13 * mib, ConnectionsMax: 17, Groups: coordinator.Config{MemoryBytesMax: 19 * mib}},
	}
	if got, want := c.MemoryBytes(), formula(11*mib, 13*mib, 19*mib, 1*mib, 2*mib, 3000, 17, 5*7*mib); got != want {
		t.Errorf("the ceiling is %d, the formula gives %d", got, want)
	}
	page, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	if says := fmt.Sprintf("the ceiling is %d MiB", new(Config).MemoryBytes()/mib); !strings.Contains(string(page), says) {
		t.Errorf("docs/operations.md does not say that %s", says)
	}
}
