package storage_test

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/storage"
)

// setConfigs changes the configs of a live topic, as AlterConfigs does.
func (r *rig) setConfigs(m *modelLog, configs map[string]string) {
	r.t.Helper()
	var now map[string]string
	r.quorum.view(func(s *metadata.State) {
		if info, ok := s.Topic(m.tp.Topic); ok {
			now = info.Configs
		}
	})
	if _, err := r.admin(metadata.NewSetConfigs(m.tp.Topic, now, configs)); err != nil {
		r.t.Fatalf("set configs: %v", err)
	}
}

// The broker's retention applies to topics that do not set their own, also after a start with
// another configuration.
func TestRetentionByTheBrokersDefaults(t *testing.T) {
	defaults := func(set map[string]string) *catalog.TopicDefaults {
		d, err := catalog.ParseTopicDefaults(set)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1, byHand, func(c *storage.Config) {
			c.TopicDefaults = defaults(map[string]string{"log.retention.hours": "1", "log.segment.bytes": "1048576"})
		})
		plain, own, unlimited := r.newLog("plain", nil), r.newLog("own", map[string]string{catalog.ConfigRetentionMs: strconv.Itoa(10 * 3_600_000)}),
			r.newLog("unlimited", map[string]string{catalog.ConfigRetentionMs: "-1"})
		logs := []*modelLog{plain, own, unlimited}
		starts := func(when string, want ...ident.Offset) {
			t.Helper()
			for i, m := range logs {
				if r.retain(m); m.start != want[i] {
					t.Errorf("%s: log start of %s is %d, want %d", when, m.tp, m.start, want[i])
				}
			}
		}
		for _, m := range logs {
			for _, age := range []time.Duration{20 * time.Hour, 5 * time.Hour, time.Minute} {
				ts := ago(age)
				r.put(m, modelBatch{bytes: 40, times: []int64{ts}})
			}
		}
		starts("one hour", 2, 1, 0)
		r.kill()
		r.cfg.TopicDefaults = defaults(map[string]string{"log.retention.ms": "1000"})
		r.mustOpen()
		time.Sleep(time.Minute)
		starts("one second", 3, 1, 0)
		r.kill()
		r.cfg.TopicDefaults = nil
		r.mustOpen()
		r.fill(plain, 1, 1, 40)
		time.Sleep(6 * 24 * time.Hour)
		starts("Kafka's seven days", 3, 3, 0)
		time.Sleep(2 * 24 * time.Hour)
		starts("Kafka's seven days, later", 4, 3, 0)
	})
}

// A change of a live topic's retention applies from the next turn on, and so does its reversal.
func TestRetentionChangesOnALiveTopic(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1, byHand)
		m := r.newLog("a", nil)
		for i := range 6 {
			ts := ago(time.Duration(6-i) * time.Hour)
			r.put(m, modelBatch{bytes: 40, times: []int64{ts}})
			if i < 4 {
				r.mustFlush()
			}
		}
		for _, c := range []struct {
			configs map[string]string
			start   ident.Offset
		}{
			// The topic is only compacted, so everything stays.
			{map[string]string{catalog.ConfigCleanupPolicy: "compact", catalog.ConfigRetentionMs: "1"}, 0},
			{map[string]string{catalog.ConfigCleanupPolicy: "", catalog.ConfigRetentionMs: "1"}, 0},
			{map[string]string{catalog.ConfigRetentionMs: strconv.Itoa(9 * 3_600_000 / 2)}, 2},
			{map[string]string{catalog.ConfigRetentionBytes: "1"}, 5},
			{nil, 5},
			{map[string]string{catalog.ConfigCleanupPolicy: "compact,delete", catalog.ConfigRetentionMs: "1"}, 6},
		} {
			r.setConfigs(m, c.configs)
			r.retain(m)
			if m.start != c.start {
				t.Errorf("%v: log start %d, want %d", c.configs, m.start, c.start)
			}
			m.checkFetch(r, rand.New(rand.NewPCG(1, 1)))
		}
	})
}

// TestLogBytes: the size is that of the batches, wherever they lie, and it falls when the log start
// moves.
func TestLogBytes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1, byHand)
		m := r.newLog("a", nil)
		size := func(when string, want int64) {
			t.Helper()
			if got, err := r.engine().LogBytes(m.tp); err != nil || got != want {
				t.Errorf("%s: %d bytes, %v, want %d", when, got, err, want)
			}
		}
		size("empty", 0)
		r.fill(m, 1, 5, 40)
		one := int64(r.fetch(m.tp, 0, 1).Bytes)
		size("in the WAL", one)
		for i := range 9 {
			r.fill(m, 1, 5, 40)
			if i%2 == 0 {
				r.mustFlush()
			}
			size("growing", one*int64(i+2))
		}
		if h := r.head(m.tp); h.Manifest.Object == 0 || len(h.Ranges) == 0 {
			t.Fatalf("not everywhere: %+v", h)
		}
		r.fill(m, 1, 5, 40)
		size("in manifest, head and WAL", 11*one)
		r.restart()
		size("after a start", 11*one)
		r.deleteRecords(m, 30)
		r.retain(m) // releases the manifest's ranges
		size("half deleted", 5*one)
		r.deleteRecords(m, storage.HighWatermark)
		r.retain(m)
		size("all deleted", 0)
		r.mustFlush()
		size("all deleted and flushed", 0)
		r.deleteTopic(m.tp.Topic)
		if n, err := r.engine().LogBytes(m.tp); err == nil || n != -1 {
			t.Errorf("a topic that is gone has %d bytes, %v", n, err)
		}
	})
}
