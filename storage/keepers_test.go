package storage_test

import (
	"testing"
	"time"

	"github.com/sluicemq/sluice/storage"
)

// A group that commits all the time keeps a few bytes for long. Those bytes must not keep the
// expiring records of other topics in the bucket beside them.
func TestWhatNeverExpiresHasBundlesOfItsOwn(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1, func(c *storage.Config) {
			c.FlushInterval = time.Hour
			c.FlushBytes = 1 << 20
			c.WALSegmentBytes = 1 << 20
		})
		hour := r.newLog("hour", map[string]string{"retention.ms": "3600000"})
		kept := []*modelLog{
			r.newLog("offsets", map[string]string{"cleanup.policy": "compact"}), r.newLog("forever", map[string]string{"retention.ms": "-1"}),
		}
		for range 8 {
			r.fill(hour, 1, 1, 50_000)
			for _, m := range kept {
				r.fill(m, 1, 1, 50)
			}
			r.mustFlush()
		}
		if bytes := r.bucketBytes(); bytes < 8*50_000 {
			t.Fatalf("%d bytes in the bucket before anything expires", bytes)
		}
		time.Sleep(2 * time.Hour)
		r.retain(hour)
		if hour.start != 8 {
			t.Fatalf("log start %d after retention, want 8", hour.start)
		}
		r.settled()
		// The bound allows two objects that hold the partition's state, which outlives retention
		// (E11), and the small ones.
		if bytes := r.bucketBytes(); bytes > 3*50_000 {
			t.Errorf("%d bytes stay in the bucket for %d records of 50 bytes", bytes, 2*8)
		}
		for _, m := range kept {
			r.sees(m)
			if m.start != 0 {
				t.Errorf("log start of what never expires is %d", m.start)
			}
		}
	})
}

// bucketBytes adds up what the bucket really holds.
func (r *rig) bucketBytes() (sum int64) {
	for info, err := range r.objects.List(r.t.Context(), "", "") {
		if err != nil {
			r.t.Fatal(err)
		}
		sum += info.Bytes
	}
	return sum
}
