package group

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluicemq/sluice/ident"
)

// crowd is a rig with a small Memory.
type crowd struct{ *rig }

func newCrowd(t *testing.T, bytes int64) *crowd {
	cfg := DefaultConfig()
	cfg.InitialRebalanceDelay = 0
	c := &crowd{newRig(t, cfg)}
	c.shard = NewShard(cfg, NewMemory(bytes))
	return c
}

// join joins a group with that many bytes of metadata.
func (c *crowd) join(group, member string, bytes int) *JoinAnswer {
	w := c.ask("join")
	c.take(c.shard.Join(c.now, JoinRequest{Waiter: w, Group: group, MemberID: member, FreshID: fmt.Sprint(w), ClientID: "c",
		SessionTimeout: time.Minute, RebalanceTimeout: time.Minute, ProtocolType: "consumer", Protocols: []Protocol{{"range", make([]byte, bytes)}}}))
	c.pass(0)
	a, _ := c.answers[w].(*JoinAnswer)
	return a
}

func (c *crowd) sync(group, member string, generation int32, bytes int) *SyncAnswer {
	w := c.ask("sync")
	c.take(c.shard.Sync(c.now, SyncRequest{Waiter: w, Group: group, MemberID: member, Generation: generation, Assignments: map[string][]byte{member: make([]byte, bytes)}}))
	a, _ := c.answers[w].(*SyncAnswer)
	return a
}

func (c *crowd) commit(group, member string, generation int32, partition int32, metadata int) error {
	w := c.ask("commit")
	c.take(c.shard.Commit(c.now, CommitRequest{Waiter: w, Group: group, MemberID: member, Generation: generation, Retention: -1,
		Partitions: []CommitPartition{{Topic: "t", Partition: partition, LeaderEpoch: ident.NoEpoch, Metadata: strings.Repeat("x", metadata)}}}))
	return c.answers[w].(*CommitAnswer).Err
}

// Groups take memory up to a bound. At the bound newcomers are told to try again, and members go
// on: they join again, are assigned, commit and send heartbeats.
func TestMemoryOfGroupsIsBounded(t *testing.T) {
	const bound = 256 << 10
	c := newCrowd(t, bound)
	first := c.join("g0", "", 10_000)
	if a := c.sync("g0", first.MemberID, first.Generation, 1000); a == nil || a.Err != nil {
		t.Fatalf("sync: %+v", a)
	}
	if err := c.commit("g0", first.MemberID, first.Generation, 0, 100); err != nil {
		t.Fatal(err)
	}
	joined := 1
	for ; joined < 100; joined++ {
		a := c.join(fmt.Sprint("g", joined), "", 10_000)
		if a.Err != nil {
			if !errors.Is(a.Err, ErrNoMemory) || a.Generation != -1 {
				t.Fatalf("refused: %+v", a)
			}
			break
		}
	}
	if used := c.shard.memory.Used(); used > bound || used < bound/2 || joined < 10 {
		t.Fatalf("%d members took %d bytes of %d", joined, used, bound)
	}
	for partition := int32(0); ; partition++ {
		if err := c.commit("simple", "", -1, partition, 4000); err != nil {
			if !errors.Is(err, ErrNoMemory) {
				t.Fatal(err)
			}
			break
		}
		if partition > 1000 {
			t.Fatal("offsets have no bound")
		}
	}
	if err := c.commit("simple", "", -1, 0, 4000); err != nil {
		t.Errorf("a partition that is committed is committed again: %v", err)
	}
	if err := c.commit("other", "", -1, 0, 4000); !errors.Is(err, ErrNoMemory) || c.shard.groups["other"] != nil {
		t.Errorf("a commit that was refused: %v, and left %v", err, c.shard.groups["other"])
	}

	// The member of the first group goes on, unlike newcomers.
	if err := c.shard.Heartbeat(c.now, HeartbeatRequest{Group: "g0", MemberID: first.MemberID, Generation: first.Generation}); err != nil {
		t.Errorf("heartbeat: %v", err)
	}
	if err := c.commit("g0", first.MemberID, first.Generation, 0, 100); err != nil {
		t.Errorf("commit: %v", err)
	}
	again := c.join("g0", first.MemberID, 10_000)
	if again == nil || again.Err != nil {
		t.Fatalf("join again: %+v", again)
	}
	if a := c.sync("g0", again.MemberID, again.Generation, 1000); a == nil || a.Err != nil {
		t.Errorf("sync again: %+v", a)
	}
	if err := c.commit("g0", again.MemberID, again.Generation, 1, 100); err != nil {
		t.Errorf("commit of one more partition: %v", err)
	}
	// The member may not grow for ever either. It keeps what it had.
	if a := c.join("g0", again.MemberID, bound); !errors.Is(a.Err, ErrNoMemory) || a.MemberID != again.MemberID {
		t.Errorf("join with too much: %+v", a)
	}
	last := c.join("g0", again.MemberID, 10_000)
	if a := c.sync("g0", last.MemberID, last.Generation, bound); a.Err != ErrRebalanceInProgress {
		t.Errorf("sync with too much: %+v", a)
	}
	if a := c.sync("g0", last.MemberID, last.Generation, 1000); a == nil || a.Err != nil {
		t.Errorf("sync after that: %+v", a)
	}
	if used := c.shard.memory.Used(); used > bound {
		t.Errorf("groups take %d bytes of %d", used, bound)
	}

	// Sessions that end make room.
	c.pass(10 * time.Minute)
	if a := c.join("new", "", 10_000); a.Err != nil {
		t.Errorf("when the members are gone: %v", a.Err)
	}
	c.shard.Drop()
	if used := c.shard.memory.Used(); used != 0 {
		t.Errorf("a shard that was given up still takes %d bytes", used)
	}
}

// A log with more groups than there is memory for is loaded, and no member is lost.
func TestLoadingIsNotRefused(t *testing.T) {
	c := newCrowd(t, 1<<20)
	a := c.join("g", "", 100_000)
	c.sync("g", a.MemberID, a.Generation, 1000)
	s := NewShard(c.cfg, NewMemory(1000))
	for _, r := range c.log {
		if err := s.Replay(r); err != nil {
			t.Fatal(err)
		}
	}
	s.Loaded(c.now)
	if err := s.Heartbeat(c.now, HeartbeatRequest{Group: "g", MemberID: a.MemberID, Generation: a.Generation}); err != nil {
		t.Errorf("heartbeat: %v", err)
	}
	if s.memory.Used() < 200_000 {
		t.Errorf("the groups count %d bytes", s.memory.Used())
	}
}
