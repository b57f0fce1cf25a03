package storage_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage"
	"github.com/sluicemq/sluice/storage/bucket/fault"
)

var classReplicated = map[string]string{catalog.ConfigDurability: "replicated"}

// TestI5_EachClassShowsAtItsPosition: of one group, class local shows the persisted batches, class
// replicated those that every peer holds, and class object the committed ones. Several groups wait
// for the peers while the next are written, and are shown in their order.
func TestI5_EachClassShowsAtItsPosition(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		local, replicated := r.mustCreate("local", 1, nil)[0], r.mustCreate("replicated", 1, classReplicated)[0]
		object := r.mustCreate("object", 1, classObject)[0]
		r.engine().SetPeers(1)
		r.bucket.Away(fault.Refused)
		r.holdsSyncs = true // no sender waits for more than its answer
		const groups = 3
		var ends []ident.Position
		var all [groups][]*sent
		for i := range all {
			all[i] = []*sent{r.plain(local, 1), r.plain(object, 1), r.plain(replicated, 1)}
			for _, s := range all[i] {
				r.start(s)
			}
			synctest.Wait()
			ends = append(ends, r.engine().Persisted())
		}
		moved := make(chan struct{}, 1)
		defer r.engine().Watch([]ident.TopicPartition{replicated}, moved)()
		check := func(when string, atPeers int, committed bool) {
			t.Helper()
			synctest.Wait()
			for i := range all {
				for j, shown := range []bool{true, committed, i < atPeers} {
					if got := r.history.outcome(all[i][j]) == acked; got != shown {
						t.Errorf("%s: group %d, %s: acknowledged: %v", when, i, []string{"local", "object", "replicated"}[j], got)
					}
				}
			}
			if q := r.fetch(replicated, 0, 1000); !committed && int(q.HighWatermark) != atPeers {
				t.Errorf("%s: class replicated shows up to %d, peers hold %d", when, q.HighWatermark, atPeers)
			}
		}
		check("persisted", 0, false)
		r.engine().Replicated(ends[0])
		check("the first at the peers", 1, false)
		select {
		case <-moved:
		default:
			t.Error("a fetch that waits is not woken")
		}
		r.engine().Replicated(ends[2] - 1) // not all of the third group
		check("the second at the peers", 2, false)
		r.engine().Replicated(ends[2])
		check("all at the peers", 3, false)
		r.bucket.Heal()
		r.mustFlush()
		check("committed", 3, true)
		r.check()
	})
}

// TestE26_PersistedIsFlushedBeforeItIsReplicated: batches that this disk holds may go to the
// bucket, and batches that are committed there are shown, even though no peer has answered yet.
func TestE26_PersistedIsFlushedBeforeItIsReplicated(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		tp := r.mustCreate("t", 1, classReplicated)[0]
		r.engine().SetPeers(1)
		r.holdsSyncs = true
		s := r.plain(tp, 3)
		r.start(s)
		synctest.Wait()
		if r.history.outcome(s) != pending {
			t.Fatalf("acknowledged before any peer has it: %v", s.err)
		}
		r.mustFlush()
		synctest.Wait()
		if h := r.head(tp); h.CommittedEnd != 3 || r.history.outcome(s) != acked {
			t.Errorf("committed up to %d, %v", h.CommittedEnd, s.err)
		}
		r.engine().Replicated(r.engine().Persisted()) // late, and changes nothing
		r.check()
	})
}

// TestI4_FencedWhileGroupsWaitForPeers: batches that wait for the peers when the leadership moves
// are answered with an indefinite error, and never shown.
func TestI4_FencedWhileGroupsWaitForPeers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t), byHand)
		tp := r.mustCreate("t", 1, classReplicated)[0]
		r.engine().SetPeers(1)
		r.holdsSyncs = true
		s := r.plain(tp, 3)
		r.start(s)
		synctest.Wait()
		r.moveAway(tp)
		synctest.Wait()
		if !errors.Is(s.err, storage.ErrLeadershipLost) {
			t.Errorf("answered with %v", s.err)
		}
		r.engine().Replicated(r.engine().Persisted())
		q := r.fetch(tp, 0, 1000)
		wantNotLeader(t, "fetch", q.Err, storage.Leader{Broker: 2, Epoch: r.head(tp).Leader.Epoch})
	})
}

// TestClassReplicatedWithoutPeers: with no peer to replicate to, an acknowledgement means that the
// batch is in the bucket.
func TestClassReplicatedWithoutPeers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t))
		tp := r.mustCreate("t", 1, classReplicated)[0]
		r.bucket.Away(fault.Refused)
		s := r.plain(tp, 1)
		r.start(s)
		synctest.Wait()
		if r.history.outcome(s) != pending {
			t.Errorf("acknowledged while the bucket is away: %v", s.err)
		}
		r.bucket.Heal()
		r.wait(s)
		if r.history.outcome(s) != acked || r.head(tp).CommittedEnd != 1 {
			t.Errorf("committed up to %d: %v", r.head(tp).CommittedEnd, s.err)
		}
	})
}
