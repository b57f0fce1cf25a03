package coordinator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicemq/sluice/broker/group"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage"
)

// TestPartitionOf: the hash is Java's, by its own definition: s[0]·31ⁿ⁻¹ + … over UTF-16 units.
func TestPartitionOf(t *testing.T) {
	for name, hash := range map[string]int32{
		// The hash of "polygenelubricants" is −2³¹, which without its sign is 0.
		"": 0, "a": 97, "abc": 96354, "polygenelubricants": 0, "é": 233, "😀": 1772899,
	} {
		if got := PartitionOf(name, 1<<31-1); got != hash {
			t.Errorf("%q: %d, want %d", name, got, hash)
		}
		if got := PartitionOf(name, 50); got != hash%50 {
			t.Errorf("%q: partition %d, want %d", name, got, hash%50)
		}
	}
}

// TestI13_CommitIsDurableBeforeItShows: neither the answer nor OffsetFetch runs ahead of the log.
func TestI13_CommitIsDurableBeforeItShows(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *rig) {
		r.mustCommit(0, 5)
		r.log.hold = true
		commit := later(func() error { return r.commit(0, 9) })
		r.wantWaiting(commit, "a commit that is not durable")
		r.wantCommitted(0, 5)
		r.log.release()
		if err, over := answered(commit); !over || err != nil {
			t.Errorf("a durable commit: over %v, %v", over, err)
		}
		r.wantCommitted(0, 9)
	})
}

// TestI13_SyncIsDurableBeforeItAnswers: no member gets an assignment that a restart could forget.
func TestI13_SyncIsDurableBeforeItAnswers(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *rig) {
		m := r.join("")
		r.log.hold = true
		sync := later(func() error { return r.sync(m, "work") })
		r.wantWaiting(sync, "an assignment that is not durable")
		r.log.release()
		if err, over := answered(sync); !over || err != nil {
			t.Errorf("a durable assignment: over %v, %v", over, err)
		}
	})
}

// TestWritesGather: the writes that come while an append is in flight become one batch, in the
// order in which they came.
func TestWritesGather(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *rig) {
		r.log.hold = true
		var commits []<-chan error
		for i := range 20 {
			commits = append(commits, later(func() error { return r.commit(int32(i%3), ident.Offset(i)) }))
			synctest.Wait()
		}
		r.log.release()
		for _, c := range commits {
			if err, over := answered(c); !over || err != nil {
				t.Errorf("over %v, %v", over, err)
			}
		}
		if n := r.log.appendCount(); n != 2 {
			t.Errorf("%d appends, want 2", n)
		}
		r.restart()
		for p, want := range []ident.Offset{18, 19, 17} {
			r.wantCommitted(int32(p), want)
		}
	})
}

// TestRefusedWrite: a write that is definitely refused leaves everything as it was, and the error
// tells the client to try again.
func TestRefusedWrite(t *testing.T) {
	for _, tc := range []struct{ err, want error }{
		{storage.ErrThrottled, ErrNotAvailable}, {storage.ErrStuck, ErrNotAvailable}, {storage.ErrUnknownPartition, ErrNotAvailable}, {storage.ErrNotReady, ErrNotAvailable},
		{storage.ErrWALFailed, ErrNotCoordinator}, {storage.ErrClosed, ErrNotCoordinator}, {storage.ErrNotLeader, ErrNotCoordinator},
		{storage.ErrTooLarge, storage.ErrTooLarge},
	} {
		inBubble(t, Config{}, func(t *testing.T, r *rig) {
			r.mustCommit(0, 5)
			r.log.refuse = func(int) error { return tc.err }
			if err := r.commit(0, 9); !errors.Is(err, tc.want) {
				t.Errorf("%v: answered %v", tc.err, err)
			}
			r.wantCommitted(0, 5)
			r.log.refuse = nil
			r.mustCommit(0, 10)
			r.wantCommitted(0, 10)
		})
	}
}

// member is a member of a group, as it knows itself.
type member struct {
	id         string
	generation int32
	leader     bool
}

// join makes the group's only member join, with the two steps of KIP-394.
func (r *rig) join(id string) member {
	r.t.Helper()
	for {
		a, err := r.Join(r.t.Context(), r.joinRequest(id), nil)
		switch {
		case err == nil && errors.Is(a.Err, group.ErrMemberIDRequired):
			id = a.MemberID
		case err != nil || a.Err != nil:
			r.t.Fatalf("join: %v, %v", err, a)
		default:
			return member{id: a.MemberID, generation: a.Generation, leader: a.Leader == a.MemberID}
		}
	}
}

func (r *rig) joinRequest(id string) *group.JoinRequest {
	return &group.JoinRequest{
		Group: "g", MemberID: id, ClientID: "c", ClientHost: "/h", SessionTimeout: 10 * time.Second, RebalanceTimeout: time.Minute,
		ProtocolType: "consumer", Protocols: []group.Protocol{{Name: "range"}}, RequireKnownMember: true,
	}
}

func (r *rig) sync(m member, assignment string) error {
	a, err := r.Sync(r.t.Context(), &group.SyncRequest{Group: "g", MemberID: m.id, Generation: m.generation, Assignments: map[string][]byte{m.id: []byte(assignment)}}, nil)
	switch {
	case err != nil:
		return err
	case a.Err == nil && string(a.Assignment) != assignment:
		return fmt.Errorf("assignment %q, want %q", a.Assignment, assignment)
	}
	return a.Err
}

func (r *rig) beat(m member) error {
	return r.Heartbeat(r.t.Context(), group.HeartbeatRequest{Group: "g", MemberID: m.id, Generation: m.generation})
}

// TestRestartKeepsTheGroup: after a kill the member goes on as if nothing had happened, without a
// rebalance storm. Its whole session timeout starts anew.
func TestRestartKeepsTheGroup(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *rig) {
		m := r.join("")
		if err := r.sync(m, "work"); err != nil {
			t.Fatal(err)
		}
		if err := r.commitAs(m, 1, 7); err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Second)
		r.restart()
		time.Sleep(9 * time.Second)
		if err := r.beat(m); err != nil {
			t.Errorf("heartbeat after the restart: %v", err)
		}
		r.wantCommitted(1, 7)
		d, err := r.Describe(t.Context(), "g")
		if err != nil || d.State != group.Stable || len(d.Members) != 1 || string(d.Members[0].Assignment) != "work" || d.Members[0].ClientHost != "/h" {
			t.Errorf("after the restart: %+v %v", d, err)
		}
		time.Sleep(11 * time.Second)
		if err := r.beat(m); !errors.Is(err, group.ErrUnknownMember) {
			t.Errorf("a member that was silent for its session: %v", err)
		}
	})
}

// TestLoadInProgress: a broker that is elected is not yet ready. Every request is told so until the
// whole log has been read, also when the bucket is away.
func TestLoadInProgress(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *rig) {
		for i := range 10 {
			r.mustCommit(0, ident.Offset(i))
		}
		next := r.log.crashed()
		r.Close()
		r.log = next
		r.log.readGate = make(chan struct{})
		r.open()
		ctx := t.Context()
		refusals := func() map[string]error {
			synctest.Wait()
			_, join := r.Join(ctx, r.joinRequest(""), nil)
			_, sync := r.Sync(ctx, &group.SyncRequest{Group: "g"}, nil)
			_, leave := r.Leave(ctx, group.LeaveRequest{Group: "g"})
			_, fetch := r.Fetch(ctx, "g", nil)
			_, all := r.FetchAll(ctx, "g")
			_, describe := r.Describe(ctx, "g")
			_, list := r.List(ctx)
			_, del := r.Delete(ctx, "g")
			_, offsets := r.DeleteOffsets(ctx, group.DeleteOffsetsRequest{Group: "g"})
			return map[string]error{
				"join": join, "sync": sync, "leave": leave, "fetch": fetch, "all": all, "describe": describe, "list": list, "delete": del,
				"offsets": offsets, "commit": r.commit(0, 99), "heartbeat": r.beat(member{}),
			}
		}
		for what, err := range refusals() {
			if !errors.Is(err, ErrLoading) {
				t.Errorf("%s while loading: %v", what, err)
			}
		}
		if groups := r.Groups(ctx); len(groups) != 0 {
			t.Errorf("groups that are not loaded: %v", groups)
		}
		r.log.mu.Lock()
		r.log.readErr = storage.ErrUnavailable
		r.log.mu.Unlock()
		close(r.log.readGate)
		time.Sleep(time.Minute)
		for what, err := range refusals() {
			if !errors.Is(err, ErrLoading) {
				t.Errorf("%s while the bucket is away: %v", what, err)
			}
		}
		r.log.mu.Lock()
		r.log.readErr = nil
		r.log.mu.Unlock()
		time.Sleep(2 * loadRetryLast)
		r.wantCommitted(0, 9)
		if groups := r.Groups(ctx); len(groups) != 1 || groups[0].Group != "g" || len(groups[0].Offsets) != 1 || groups[0].Offsets[0].Offset != 9 {
			t.Errorf("groups: %+v", groups)
		}
	})
}

// TestOneBadPartition: partitions that cannot be read make only their own groups wait, however many
// they are.
func TestOneBadPartition(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *rig) {
		r.topics.delete(OffsetsTopic)
		r.topics.create(OffsetsTopic, 3*loadParallel, 1)
		r.log.damaged = map[int32]error{}
		own := PartitionOf("g", 3*loadParallel)
		for i := range int32(3 * loadParallel) {
			if i != own {
				r.log.damaged[i] = storage.ErrCorrupt
			}
		}
		if _, err := r.Find(t.Context(), "g"); err != nil { // Find opens the topic
			t.Fatal(err)
		}
		time.Sleep(loadRetryLast)
		r.mustCommit(0, 5)
		if groups := r.Groups(t.Context()); len(groups) != 1 {
			t.Errorf("groups: %+v", groups)
		}
		if _, err := r.List(t.Context()); !errors.Is(err, ErrLoading) {
			t.Errorf("list: %v", err)
		}
	})
}

// TestWaiterGivesUp: a caller that leaves ends its wait. The group goes on without the member when
// its time is over.
func TestWaiterGivesUp(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *rig) {
		m := r.join("")
		if err := r.sync(m, "work"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		second := r.pendingMember()
		wait := later(func() error {
			_, err := r.Join(ctx, r.joinRequest(second), nil)
			return err
		})
		r.wantWaiting(wait, "a join while another member has not joined again")
		cancel()
		if err, over := answered(wait); !over || !errors.Is(err, context.Canceled) {
			t.Errorf("a join whose caller left: over %v, %v", over, err)
		}
		if err := r.beat(m); !errors.Is(err, group.ErrRebalanceInProgress) {
			t.Errorf("heartbeat: %v", err)
		}
		again := r.join(m.id)
		if again.generation != m.generation+1 {
			t.Errorf("generation %d, want %d", again.generation, m.generation+1)
		}
	})
}

// pendingMember asks for a member id and does not join with it yet.
func (r *rig) pendingMember() string {
	r.t.Helper()
	a, err := r.Join(r.t.Context(), r.joinRequest(""), nil)
	if err != nil || !errors.Is(a.Err, group.ErrMemberIDRequired) {
		r.t.Fatalf("join: %v %+v", err, a)
	}
	return a.MemberID
}

// TestCloseAnswersEverybody: each waiting caller is told to look for another coordinator, and
// nothing goes on running.
func TestCloseAnswersEverybody(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *rig) {
		m := r.join("")
		if err := r.sync(m, "work"); err != nil {
			t.Fatal(err)
		}
		second := r.pendingMember()
		var joinErr error
		join := later(func() error {
			a, err := r.Join(t.Context(), r.joinRequest(second), nil)
			if err == nil {
				joinErr = a.Err
			}
			return err
		})
		r.log.hold = true
		commit := later(func() error { return r.commitAs(m, 0, 5) })
		r.wantWaiting(join, "join")
		r.wantWaiting(commit, "commit")
		r.Close()
		r.Close()
		if err, over := answered(join); !over || err != nil || !errors.Is(joinErr, ErrNotCoordinator) {
			t.Errorf("join: over %v, %v, %v", over, err, joinErr)
		}
		if err, over := answered(commit); !over || !errors.Is(err, ErrNotCoordinator) {
			t.Errorf("commit: over %v, %v", over, err)
		}
		if err := r.commit(0, 6); !errors.Is(err, ErrNotCoordinator) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// TestOtherLifeOfTheTopics: offsets go away with their topic, and groups with __consumer_offsets.
func TestOtherLifeOfTheTopics(t *testing.T) {
	inBubble(t, Config{CheckInterval: time.Minute}, func(t *testing.T, r *rig) {
		r.mustCommit(0, 5)
		r.topics.delete("orders")
		r.wantCommitted(0, -1)
		r.topics.create("orders", 3, 1)
		r.wantCommitted(0, -1) // the old life's offset must not show
		before := r.log.appendCount()
		time.Sleep(time.Minute + time.Second)
		if r.log.appendCount() == before {
			t.Error("no tombstone was written for an offset whose topic is gone")
		}
		r.mustCommit(0, 6)
		r.restart()
		r.wantCommitted(0, 6)

		r.topics.delete(OffsetsTopic)
		r.topics.create(OffsetsTopic, 1, 1)
		if _, err := r.Find(t.Context(), "g"); err != nil { // the first request opens the new life
			t.Fatal(err)
		}
		synctest.Wait()
		r.wantCommitted(0, -1)
		r.mustCommit(0, 7)

		r.topics.delete(OffsetsTopic)
		if _, err := r.Fetch(t.Context(), "g", nil); !errors.Is(err, ErrNotCoordinator) {
			t.Errorf("without __consumer_offsets: %v", err)
		}
		if groups, err := r.List(t.Context()); err != nil || len(groups) != 0 {
			t.Errorf("without __consumer_offsets: %v %v", groups, err)
		}
		if _, err := r.Find(t.Context(), "g"); err != nil {
			t.Fatal(err)
		}
		r.wantCommitted(0, -1)
		r.mustCommit(0, 1)
	})
}

// TestI4_OnlyLedPartitions: this broker does not answer for a group whose partition another broker
// leads.
func TestI4_OnlyLedPartitions(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *rig) {
		r.topics.delete(OffsetsTopic)
		r.topics.create(OffsetsTopic, 1, 2)
		if id, err := r.Find(t.Context(), "g"); err != nil || id != 2 {
			t.Errorf("coordinator %d, %v", id, err)
		}
		if err := r.commit(0, 5); !errors.Is(err, ErrNotCoordinator) {
			t.Errorf("commit: %v", err)
		}
		if groups, err := r.List(t.Context()); err != nil || len(groups) != 0 {
			t.Errorf("list: %v %v", groups, err)
		}
	})
	// The partition moves while this broker holds its groups.
	inBubble(t, Config{}, func(t *testing.T, r *rig) {
		r.mustCommit(0, 5)
		r.topics.lead(OffsetsTopic, 2)
		if err := r.commit(0, 6); !errors.Is(err, ErrNotCoordinator) {
			t.Errorf("commit: %v", err)
		}
		if _, err := r.Fetch(t.Context(), "g", nil); !errors.Is(err, ErrNotCoordinator) {
			t.Errorf("fetch: %v", err)
		}
	})
}

// TestI4_ShardFollowsItsPartition: when another broker takes the lead of the partition, every
// waiting caller is told at once to look for the coordinator, and what was in flight does not show.
// When the lead comes back, the groups are loaded again.
func TestI4_ShardFollowsItsPartition(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *rig) {
		r.mustCommit(0, 5)
		r.log.hold = true
		waiting := later(func() error { return r.commit(0, 6) })
		r.wantWaiting(waiting, "a commit in flight")
		old := r.current.shards[0]
		r.topics.lead(OffsetsTopic, 2)
		r.log.fence()
		r.Follow() // no request makes the coordinator notice
		if err, over := answered(waiting); !over || !errors.Is(err, ErrNotCoordinator) {
			t.Errorf("a commit in flight: answered %v, %v", over, err)
		}
		select {
		case <-old.ended:
		default:
			t.Error("the shard goes on")
		}

		second := &rig{Coordinator: r.openAs(2), t: t, log: r.log, topics: r.topics}
		defer second.Close()
		synctest.Wait()
		second.wantCommitted(0, 5)
		second.mustCommit(0, 9)

		r.topics.lead(OffsetsTopic, 1)
		r.log.fence()
		r.log.readGate = make(chan struct{})
		r.Follow()
		synctest.Wait()
		if err := r.commit(0, 10); !errors.Is(err, ErrLoading) {
			t.Errorf("a commit before the groups are loaded: %v", err)
		}
		close(r.log.readGate)
		synctest.Wait()
		r.wantCommitted(0, 9)
		r.mustCommit(0, 10)
		if err := second.commit(0, 11); !errors.Is(err, ErrNotCoordinator) {
			t.Errorf("a commit at the broker that led before: %v", err)
		}

		// Away and back: the first coordinator hears of both at once.
		for _, broker := range []int32{2, 1} {
			r.topics.lead(OffsetsTopic, broker)
			r.log.fence()
			if broker == 2 {
				second.Follow()
				synctest.Wait()
				second.mustCommit(0, 12)
			}
		}
		r.Follow()
		synctest.Wait()
		r.wantCommitted(0, 12)
	})
}

// TestI4_ShardOfAnOldLeadershipWritesNothing: another leadership has begun, on this very broker,
// and the log knows it before the shard does. What the shard would write makes no sense after the
// writes of others.
func TestI4_ShardOfAnOldLeadershipWritesNothing(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *rig) {
		r.mustCommit(0, 5)
		before := r.log.bytes()
		r.log.fence()
		if err := r.commit(0, 6); !errors.Is(err, ErrNotCoordinator) {
			t.Errorf("commit: %v", err)
		}
		if n := r.log.bytes(); n != before {
			t.Errorf("%d bytes were written under a leadership that has ended", n-before)
		}
		r.wantCommitted(0, 5)
	})
}

// TestFindTogether: many clients that come first at the same time create one topic.
func TestFindTogether(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *rig) {
		r.topics.delete(OffsetsTopic)
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if id, err := r.Find(t.Context(), "g"); err != nil || id != 1 {
					t.Errorf("coordinator %d, %v", id, err)
				}
			})
		}
		wg.Wait()
		r.mustCommit(0, 5)
	})
}

// TestMemoryIsOfAllShards: the groups of all partitions share one bound. A shard that is given up
// gives its part back.
func TestMemoryIsOfAllShards(t *testing.T) {
	inBubble(t, Config{MemoryBytesMax: mib}, func(t *testing.T, r *rig) {
		r.topics.delete(OffsetsTopic)
		r.topics.create(OffsetsTopic, 2, 1)
		r.Follow()
		synctest.Wait()
		join := func(name string, bytes int) error {
			req := r.joinRequest("")
			req.Group, req.Protocols, req.RequireKnownMember = name, []group.Protocol{{Name: "range", Metadata: make([]byte, bytes)}}, false
			a, err := r.Join(t.Context(), req, nil)
			if err != nil {
				t.Fatalf("join: %v", err)
			}
			if req.Protocols != nil {
				t.Error("the request still holds what the group has taken")
			}
			return a.Err
		}
		first, other := "a", "b"
		if PartitionOf(first, 2) == PartitionOf(other, 2) {
			t.Fatal("want groups of two partitions")
		}
		if err := join(first, 400_000); err != nil {
			t.Fatal(err)
		}
		if err := join(other, 400_000); !errors.Is(err, group.ErrNoMemory) {
			t.Errorf("a group of another partition, beyond the bound: %v", err)
		}
		if used := r.MemoryUsed(); used < 400_000 || used > mib/2 {
			t.Errorf("a member of 400,000 bytes counts %d", used)
		}
		r.topics.lead(OffsetsTopic, 2)
		r.Follow()
		synctest.Wait()
		if used := r.MemoryUsed(); used != 0 {
			t.Errorf("the partitions are led elsewhere, and %d bytes still count", used)
		}
	})
}

// TestRequestIsTakenOnce: the caller of a join is told once that the group has the request, and not
// while the shard takes no work.
func TestRequestIsTakenOnce(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, r *rig) {
		first := r.join("")
		s := r.current.shards[0]
		release := make(chan struct{})
		go func() { _ = s.post(t.Context(), func() { <-release }) }()
		synctest.Wait()
		taken := 0
		done := later(func() error {
			req := r.joinRequest("")
			req.RequireKnownMember = false
			_, err := r.Join(t.Context(), req, func() { taken++ })
			return err
		})
		r.wantWaiting(done, "a join of a busy shard")
		if taken != 0 {
			t.Error("taken before the shard had it")
		}
		close(release)
		r.wantWaiting(done, "a join of a group that rebalances")
		if taken != 1 {
			t.Errorf("taken %d times while it waits for the other members", taken)
		}
		r.join(first.id)
		if err, over := answered(done); !over || err != nil {
			t.Errorf("over %v, %v", over, err)
		}
	})
}
