package node

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/broker/coordinator"
	"github.com/sluicemq/sluice/ident"
)

// groupRig is a node that dies and comes back at another address, and members that find it wherever
// it is.
type groupRig struct {
	*rig
	place atomic.Pointer[place]
}

// place is where the node is, as soon as it is there. Members wait for that, since stock clients
// take a refused connection as a reason to join anew: they wait less for one than a start may take
// on a busy machine.
type place struct {
	there chan struct{}
	addr  string
}

func (p *place) found(r *rig) {
	p.addr = r.deps.Listeners[0].Addr().String()
	close(p.there)
}

func startGroups(t *testing.T, change ...func(*Config)) *groupRig {
	g := &groupRig{rig: start(t, t.TempDir(), fileBucket(t), append(change, noDelay)...)}
	p := &place{there: make(chan struct{})}
	p.found(g.rig)
	g.place.Store(p)
	return g
}

// noDelay lets the first member of a group begin at once.
func noDelay(c *Config) { c.Broker.Groups.InitialRebalanceDelay = -1 }

// restart kills the node and starts it again over the same folder.
func (g *groupRig) restart(change ...func(*Config)) {
	next := &place{there: make(chan struct{})}
	g.place.Store(next)
	g.kill()
	g.rig = serve(g.t, g.dir, g.bucket, append(change, noDelay)...)
	next.found(g.rig)
}

// member is a member of group "g" that consumes "orders" and commits what it has seen.
type member struct {
	client *kgo.Client

	mu        sync.Mutex
	seen      map[string]int
	committed map[int32]int64 // acknowledged
	changed   chan struct{}
}

func (g *groupRig) join() *member {
	g.t.Helper()
	m := &member{seen: map[string]int{}, committed: map[int32]int64{}, changed: make(chan struct{}, 1)}
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		p := g.place.Load()
		select {
		case <-p.there:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		var d net.Dialer
		return d.DialContext(ctx, network, p.addr)
	}
	var err error
	m.client, err = kgo.NewClient(kgo.SeedBrokers(g.place.Load().addr), kgo.Dialer(dial), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("orders"),
		kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.HeartbeatInterval(100*time.Millisecond),
		kgo.SessionTimeout(20*time.Second), kgo.FetchMaxWait(100*time.Millisecond), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		g.t.Fatal(err)
	}
	done := make(chan struct{})
	g.t.Cleanup(func() { m.client.CloseAllowingRebalance(); <-done })
	go func() {
		defer close(done)
		m.consume()
	}()
	return m
}

func (m *member) consume() {
	for {
		fetches := m.client.PollFetches(context.Background())
		if fetches.IsClientClosed() {
			return
		}
		err := m.client.CommitRecords(context.Background(), fetches.Records()...)
		m.mu.Lock()
		fetches.EachRecord(func(r *kgo.Record) {
			m.seen[string(r.Value)]++
			if err == nil {
				m.committed[r.Partition] = max(m.committed[r.Partition], r.Offset+1)
			}
		})
		m.mu.Unlock()
		select {
		case m.changed <- struct{}{}:
		default:
		}
	}
}

// await waits until the member has seen and committed that many records, each once.
func (m *member) await(t *testing.T, n int) {
	t.Helper()
	over := time.After(patience)
	for {
		m.mu.Lock()
		seen, committed := len(m.seen), int64(0)
		for _, c := range m.committed {
			committed += c
		}
		m.mu.Unlock()
		if seen == n && committed == int64(n) {
			return
		}
		select {
		case <-m.changed:
		case <-over:
			t.Fatalf("%d records seen, %d committed, want %d", seen, committed, n)
		}
	}
}

// TestGroupOverRestarts: the broker is killed and started again while a member consumes. The member
// goes on in the same generation, under the same id, with what it has committed. Nothing is seen
// twice and nothing is left out.
func TestGroupOverRestarts(t *testing.T) {
	g := startGroups(t)
	g.create("orders", 3, nil)
	m := g.join()
	total := 0
	var generation int32
	var id string
	for life := range 4 {
		for p := range int32(3) {
			g.produce("orders", p, values(fmt.Sprint(life, "-", p, "-"), 20)...)
		}
		total += 60
		m.await(t, total)
		nowID, now := m.client.GroupMetadata()
		if life > 0 && (now != generation || nowID != id) {
			t.Errorf("life %d: member %s in generation %d, was %s in %d", life, nowID, now, id, generation)
		}
		id, generation = nowID, now
		g.restart()
	}
	groups := g.broker.Groups(within(t))
	if len(groups) > 1 || len(groups) == 1 && groups[0].Members != 1 {
		t.Errorf("groups: %+v", groups)
	}
	for v, times := range m.seen {
		if times != 1 {
			t.Errorf("%s was seen %d times", v, times)
		}
	}
}

// TestGroupLogIsShortened: with the real quorum and write-ahead log, the log of a busy group keeps
// to its bound, also across kills, and what was acknowledged stays.
func TestGroupLogIsShortened(t *testing.T) {
	short := func(c *Config) { c.Broker.Groups.ShortenBytes = 8 << 10 }
	g := startGroups(t, short)
	id := g.create("orders", 1, nil).ID
	partition := coordinator.PartitionOf("g", 50)
	offset := int64(0)
	for life := range 3 {
		if find, err := kmsg.NewPtrFindCoordinatorRequest().RequestWith(within(t), g.client); err != nil || find.ErrorCode != 0 {
			t.Fatal(err, find)
		}
		for range 400 {
			offset++
			g.commit("g", id, offset)
		}
		if life > 0 {
			continue // killed in the middle of something
		}
		g.flush()
		for start := ident.Offset(0); start == 0; start = g.head(coordinator.OffsetsTopic, partition).LogStart {
			offset++
			g.commit("g", id, offset)
		}
		g.restart(short)
	}
	g.restart(short)
	fetch := kmsg.NewPtrOffsetFetchRequest()
	fetch.Group = "g"
	fetch.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "orders", Partitions: []int32{0}}}
	for over := time.Now().Add(patience); time.Now().Before(over); {
		resp, err := fetch.RequestWith(within(t), g.client)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Groups != nil && resp.Groups[0].ErrorCode == 14 || resp.ErrorCode == 14 {
			continue // the group is still loading
		}
		got := int64(-1)
		if resp.Groups != nil {
			got = resp.Groups[0].Topics[0].Partitions[0].Offset
		}
		if got != offset {
			t.Fatalf("offset %d, want %d", got, offset)
		}
		return
	}
	t.Fatal("the groups were not loaded")
}

// commit commits an offset of orders-0 as a simple consumer, and tries again while the group is
// being loaded.
func (g *groupRig) commit(name string, topic ident.TopicID, offset int64) {
	g.t.Helper()
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation = name, -1
	rp := kmsg.NewOffsetCommitRequestTopicPartition()
	rp.Offset = offset
	req.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "orders", TopicID: topic, Partitions: []kmsg.OffsetCommitRequestTopicPartition{rp}}}
	for {
		resp, err := req.RequestWith(within(g.t), g.client)
		if err != nil {
			g.t.Fatal(err)
		}
		if code := resp.Topics[0].Partitions[0].ErrorCode; code == 0 {
			return
		} else if code != 14 {
			g.t.Fatalf("commit of %d: %d", offset, code)
		}
	}
}
