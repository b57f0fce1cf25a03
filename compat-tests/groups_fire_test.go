package compat

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/compat-tests/harness"
	"github.com/sluicemq/sluice/compat-tests/history"
)

// Groups under fire: ten members of mixed clients in three groups read one topic. Meanwhile the
// broker is killed in the middle of rebalances and commits, and members are killed, paused and cut
// off. A tap before each member records what was said, and the history is judged at the end.

const (
	fireTopic      = "fire"
	firePartitions = 6
	// fireSession is the session timeout of clients that are configured here. The Python drivers
	// have six seconds.
	fireSession = 2 * time.Second
	// fireLimit is how long groups may take to settle once nothing fails any more, and to commit
	// after a restart.
	fireLimit = 60 * time.Second
)

// I1, I13, I15, I16: an acknowledged commit is there after kill -9 at any moment, no record is
// skipped, no partition has two owners, and groups settle.
func TestGroupsUnderFire(t *testing.T) {
	env := budgets()
	env["SLUICE_GROUP_MIN_SESSION_TIMEOUT_MS"] = "1000"
	b := harness.Sluice(t, harness.Config{Dir: t.TempDir(), Bucket: "file://" + t.TempDir(), Env: env})
	rounds := 10
	if harness.Long() {
		rounds = 120
	}
	underFire(t, b, rounds)
}

// The same against Apache Kafka: an anomaly here comes from the test or from a client.
func TestGroupsUnderFire_Oracle(t *testing.T) {
	longOnly(t)
	b := harness.Kafka(t, harness.Config{Dir: t.TempDir(), Properties: map[string]string{
		"group.initial.rebalance.delay.ms": "0", "group.min.session.timeout.ms": "1000", "offsets.topic.num.partitions": "3",
	}})
	underFire(t, b, 5)
}

func underFire(t *testing.T, b *harness.Broker, rounds int) {
	b.Start()
	mustCreate(t, b.Addr, fireTopic, firePartitions)
	f := newFire(t, b, harness.Seed(t))
	for round := range rounds {
		t.Logf("%v: round %d of %d: %d commits, %d records", f.h.Now().Round(time.Millisecond), round+1, rounds, f.h.Committed(), f.produced.Load())
		f.round()
		if round%20 == 19 && round+1 < rounds {
			f.calm()
		}
	}
	f.calm()
	f.stop()
	f.settle()
	f.killBroker() // nothing is under way, so everything that was committed is there
	f.settle()
	f.verdict()
}

// fire is a running test.
type fire struct {
	t       *testing.T
	b       *harness.Broker
	h       *history.Groups
	wire    *harness.Wire
	auditor *harness.GroupAuditor
	rng     *rand.Rand
	members []*fireMember

	work     sync.WaitGroup
	stop     context.CancelFunc // of producers
	produced atomic.Int64

	kills, memberKills, pauses, cuts, left, returned int
	upon                                             map[string]int // kills that hit their moment
}

func newFire(t *testing.T, b *harness.Broker, seed uint64) *fire {
	h := history.NewGroups()
	f := &fire{t: t, b: b, h: h, wire: harness.NewWire(h), rng: rand.New(rand.NewPCG(seed, 0)), upon: make(map[string]int)}
	f.members = fireMembers(f)
	var groups []string
	for _, m := range f.members {
		if !slices.Contains(groups, m.group) {
			groups = append(groups, m.group)
		}
	}
	f.auditor = &harness.GroupAuditor{Addr: b.Addr, H: h, Groups: groups, Topic: fireTopic, Count: firePartitions}
	ctx, cancel := context.WithCancel(t.Context())
	producing, stop := context.WithCancel(ctx)
	f.stop = stop
	t.Cleanup(func() { // a test that failed half-way leaves nothing running
		cancel()
		for _, m := range f.members {
			m.kill()
		}
		f.work.Wait()
	})
	for i := range 2 {
		f.work.Go(func() { f.produce(producing, rand.New(rand.NewPCG(seed, uint64(1+i)))) })
	}
	f.work.Go(func() { f.auditor.Follow(ctx) })
	for _, m := range f.members {
		m.begin()
	}
	return f
}

// produce writes until ctx ends, and then sends what is left.
func (f *fire) produce(ctx context.Context, rng *rand.Rand) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(f.b.Addr), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic(fireTopic),
		kgo.UnknownTopicRetries(-1), kgo.AlwaysRetryEOF(), kgo.MetadataMinAge(100*time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }))
	if err != nil {
		f.t.Error(err)
		return
	}
	defer cl.Close()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		for range 1 + rng.IntN(3) {
			r := &kgo.Record{Partition: rng.Int32N(firePartitions), Value: fmt.Appendf(nil, "%0*d", 20+rng.IntN(100), rng.Uint32())}
			cl.Produce(context.WithoutCancel(ctx), r, func(_ *kgo.Record, err error) {
				if err != nil {
					f.t.Errorf("a producer that may retry was told of an error: %v", err)
				}
				f.produced.Add(1)
			})
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), fireLimit)
	defer cancel()
	if err := cl.Flush(drain); err != nil {
		f.t.Errorf("%d records did not get through: %v", cl.BufferedProduceRecords(), err)
	}
}

// fireMoments are the requests during which the broker is killed.
var fireMoments = []kmsg.Key{kmsg.JoinGroup, kmsg.SyncGroup, kmsg.OffsetCommit, kmsg.OffsetCommit, kmsg.OffsetFetch, kmsg.Heartbeat, kmsg.LeaveGroup}

// fireMomentLimit is how long to wait for such a request, since no member may have a reason to send
// it.
const fireMomentLimit = 2500 * time.Millisecond

// round hurts members, and kills the broker at a moment of its choice.
func (f *fire) round() {
	f.revive(false)
	for range f.rng.IntN(4) {
		f.hurt(f.members[f.rng.IntN(len(f.members))])
	}
	after(time.Duration(f.rng.IntN(1000)) * time.Millisecond)
	key := fireMoments[f.rng.IntN(len(fireMoments))]
	moment := f.wire.Next(key)
	if key == kmsg.JoinGroup || key == kmsg.SyncGroup || key == kmsg.LeaveGroup {
		f.provoke()
	}
	select {
	case <-moment:
		f.upon[key.Name()]++
	case <-time.After(fireMomentLimit):
	}
	after(time.Duration(f.rng.IntN(4000)) * time.Microsecond)
	f.killBroker()
	f.progress()
}

// provoke starts a rebalance at once: a member leaves the group, and comes back as another.
func (f *fire) provoke() {
	for _, i := range f.rng.Perm(len(f.members)) {
		m := f.members[i]
		if m.leaves && m.life != nil && m.wakes.IsZero() {
			m.life.kill() // its tap stays open, so its LeaveGroup reaches the broker
			m.begin()
			f.left++
			return
		}
	}
}

// hurt does one thing to a healthy member.
func (f *fire) hurt(m *fireMember) {
	if m.life == nil || !m.wakes.IsZero() {
		return
	}
	switch n := f.rng.IntN(10); {
	case n < 4 && (!m.heavy || f.rng.IntN(4) == 0):
		m.kill()
		f.memberKills++
		if f.rng.IntN(2) == 0 { // at once, while the session of the dead one still exists
			m.begin()
		}
	case n < 8:
		m.life.pause()
		m.wakes = time.Now().Add(time.Duration(f.rng.IntN(7000)) * time.Millisecond)
		f.pauses++
	default:
		m.tap.Cut()
		f.cuts++
	}
}

// revive wakes members that have slept long enough, or all of them, and starts dead ones.
func (f *fire) revive(all bool) {
	for _, m := range f.members {
		if !m.wakes.IsZero() && (all || time.Now().After(m.wakes)) {
			m.life.resume()
			m.wakes = time.Time{}
		}
		if m.life != nil && m.wakes.IsZero() && m.life.ended() {
			f.t.Logf("%s has ended by itself: %s", m.name, m.life.words())
			f.returned++
			m.kill()
		}
		if m.life == nil {
			m.begin()
		}
	}
}

// killBroker kills the broker and starts it again. One start in four is killed, too.
func (f *fire) killBroker() {
	f.t.Logf("%v: kill", f.h.Now())
	f.b.Kill()
	f.kills++
	for f.rng.IntN(4) == 0 {
		if err := f.b.Launch(); err != nil {
			f.t.Fatal(err)
		}
		after(time.Duration(f.rng.IntN(300)) * time.Millisecond)
		f.b.Kill()
		f.kills++
	}
	f.b.Start()
}

// progress waits until somebody has committed again.
func (f *fire) progress() {
	before := f.h.Committed()
	err := harness.Until(fireLimit, func() error {
		if f.h.Committed() == before {
			return fmt.Errorf("nobody has committed for %v", fireLimit)
		}
		return nil
	})
	if err != nil {
		f.fail(err)
	}
}

// fail ends the test. What was seen so far explains why.
func (f *fire) fail(err error) {
	f.t.Helper()
	f.verdict()
	f.t.Fatal(err)
}

// calm ends the faults and waits until every group has all its members and each partition has one
// owner.
func (f *fire) calm() {
	f.revive(true)
	f.await("assigned", f.auditor.Assigned)
}

// settle waits until everything that was written is committed, too.
func (f *fire) settle() { f.await("settled", f.auditor.Settled) }

func (f *fire) await(what string, ask func(group string, members int) error) {
	start := time.Now()
	sizes := make(map[string]int)
	for _, m := range f.members {
		sizes[m.group]++
	}
	for _, g := range f.auditor.Groups {
		err := harness.Until(fireLimit, func() error {
			f.revive(true)
			return ask(g, sizes[g])
		})
		if err != nil {
			f.story(g)
			f.fail(fmt.Errorf("not %s after %v: %w", what, fireLimit, err))
		}
	}
	f.t.Logf("%s in %v", what, time.Since(start).Round(time.Millisecond))
}

// story shows what a group's members said.
func (f *fire) story(group string) {
	for _, m := range f.members {
		if m.group == group && m.life != nil {
			f.t.Logf("%s, life %d: %s", m.name, m.lives, m.life.words())
		}
	}
}

// How much is shown of a partition around its first anomaly.
const (
	storyBefore = 2 * time.Second
	storyAfter  = time.Second
)

func (f *fire) verdict() {
	counts := f.h.Counts()
	told := make(map[history.Slot]bool)
	for _, a := range f.h.Check() {
		f.t.Errorf("anomaly: %s", a)
		if a.Slot.Partition.Topic != "" && !told[a.Slot] {
			told[a.Slot] = true
			f.t.Logf("%s:\n%s", a.Slot, strings.Join(f.h.Story(a.Slot, a.At-storyBefore, a.At+storyAfter), "\n"))
		}
	}
	f.t.Logf("broker killed %d times, upon %v; members killed %d, paused %d, cut off %d, left %d, ended by themselves %d; %d records; %+v",
		f.kills, f.upon, f.memberKills, f.pauses, f.cuts, f.left, f.returned, f.produced.Load(), counts)
	if counts.Committed < 100 || counts.Answers < 100 || counts.Generations < 10 {
		f.t.Error("too little happened: the test shows nothing")
	}
}

// fireMember is a member's place in a group. Each life of it has a tap and a client of its own.
type fireMember struct {
	*fire
	name, group string
	heavy       bool // takes seconds to start, so it is rarely killed
	leaves      bool // says that it leaves when its life ends, if its tap is open
	start       func(m *fireMember, addr string) fireLife

	tap   *harness.Tap
	life  fireLife
	lives int
	wakes time.Time // when a pause ends
}

// fireLife is a running client.
type fireLife interface {
	pause()
	resume()
	kill()
	ended() bool
	words() string
}

func (m *fireMember) begin() {
	m.lives++
	m.tap = harness.NewTap(m.t, m.wire, m.b.Addr, m.group)
	m.life = m.start(m, m.tap.Addr)
}

// kill closes the connections first, so that a client inside the test cannot say that it leaves
// either.
func (m *fireMember) kill() {
	if m.life == nil {
		return
	}
	if _, own := m.life.(ownProcess); own {
		m.life.kill()
		m.tap.Close()
	} else {
		m.tap.Close()
		m.life.kill()
	}
	m.life, m.wakes = nil, time.Time{}
}

// fireMembers are two groups with the range assignor and a cooperative one. Their members are
// processes of Java, Python and librdkafka, franz-go clients, and raw members, one of which is
// static.
func fireMembers(f *fire) []*fireMember {
	confluent := func(assignor string) func(*fireMember, string) fireLife {
		return pythonMember("confluent.py", "assignor="+assignor)
	}
	list := []*fireMember{
		{name: "raw static", group: "fire-range", start: rawMember("one")},
		{name: "kcat", group: "fire-range", start: kcatMember},
		{name: "confluent", group: "fire-range", start: confluent("range")},
		{name: "kgo", group: "fire-range", start: franzMember(kgo.RangeBalancer()), leaves: true},
		{name: "kgo 1", group: "fire-coop", start: franzMember(kgo.CooperativeStickyBalancer()), leaves: true},
		{name: "kgo 2", group: "fire-coop", start: franzMember(kgo.CooperativeStickyBalancer()), leaves: true},
		{name: "confluent", group: "fire-coop", start: confluent("cooperative-sticky")},
		{name: "java", group: "fire-mixed", start: javaMember, heavy: true},
		{name: "aiokafka", group: "fire-mixed", start: pythonMember("aio.py", "assignor=range")},
		{name: "raw", group: "fire-mixed", start: rawMember("")},
	}
	for _, m := range list {
		m.fire = f
		m.name = m.group + "/" + m.name
	}
	return list
}

// ownProcess is a client in a process of its own.
type ownProcess struct {
	t *testing.T
	p *harness.Program
}

func (o ownProcess) pause()        { o.p.Pause(o.t) }
func (o ownProcess) resume()       { o.p.Resume(o.t) }
func (o ownProcess) kill()         { o.p.Kill() }
func (o ownProcess) ended() bool   { return o.p.Ended() }
func (o ownProcess) words() string { return o.p.Tail() }

func pythonMember(script string, words ...string) func(*fireMember, string) fireLife {
	return func(m *fireMember, addr string) fireLife {
		args := append([]string{"member", "bootstrap=" + addr, "topic=" + fireTopic, "group=" + m.group}, words...)
		return ownProcess{m.t, harness.Python(m.t, filepath.Join("testdata", "clients", script), args...)}
	}
}

// kcatMember commits by itself, and does not give up while the broker is away.
func kcatMember(m *fireMember, addr string) fireLife {
	args := []string{"-b", addr, "-G", m.group, "-E", "-u", "-f", "%p %o\n"}
	for _, x := range []string{
		"session.timeout.ms=2000", "heartbeat.interval.ms=200", "partition.assignment.strategy=range", "auto.offset.reset=earliest",
		"auto.commit.interval.ms=100", "topic.metadata.refresh.interval.ms=2000", "reconnect.backoff.max.ms=500",
	} {
		args = append(args, "-X", x)
	}
	return ownProcess{m.t, harness.Exec(m.t, m.name, exec.Command(harness.Tool(m.t, "kcat"), append(args, fireTopic)...))}
}

func javaMember(m *fireMember, addr string) fireLife {
	args := []string{"--bootstrap-server", addr, "--topic", fireTopic, "--group", m.group}
	for _, x := range []string{"session.timeout.ms=4000", "heartbeat.interval.ms=300", "auto.offset.reset=earliest", "auto.commit.interval.ms=200", "reconnect.backoff.max.ms=500"} {
		args = append(args, "--command-property", x)
	}
	return ownProcess{m.t, harness.ExecJava(m.t, "org.apache.kafka.tools.consumer.ConsoleConsumer", args...)}
}

// goLife is a client inside the test. Its tap pauses and kills it.
type goLife struct {
	tap  *harness.Tap
	stop context.CancelFunc
}

func (l goLife) pause()        { l.tap.Freeze() }
func (l goLife) resume()       { l.tap.Thaw() }
func (l goLife) kill()         { l.stop() }
func (l goLife) ended() bool   { return false }
func (l goLife) words() string { return "inside of the test" }

func rawMember(instance string) func(*fireMember, string) fireLife {
	return func(m *fireMember, addr string) fireLife {
		ctx, cancel := context.WithCancel(m.t.Context())
		r := &harness.RawMember{
			Addr: addr, Group: m.group, Topic: fireTopic, Count: firePartitions, Instance: instance, Session: fireSession,
			Rand: rand.New(rand.NewPCG(m.rng.Uint64(), 0)),
		}
		m.work.Go(func() { r.Run(ctx) })
		return goLife{m.tap, cancel}
	}
}

func franzMember(balancer kgo.GroupBalancer) func(*fireMember, string) fireLife {
	return func(m *fireMember, addr string) fireLife {
		ctx, cancel := context.WithCancel(m.t.Context())
		cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumerGroup(m.group), kgo.ConsumeTopics(fireTopic), kgo.Balancers(balancer),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(fireSession), kgo.HeartbeatInterval(200*time.Millisecond),
			kgo.AutoCommitInterval(100*time.Millisecond), kgo.BlockRebalanceOnPoll(), kgo.RebalanceTimeout(10*time.Second), kgo.AlwaysRetryEOF(),
			kgo.MetadataMinAge(100*time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
			kgo.RetryTimeout(5*time.Second))
		if err != nil {
			m.t.Error(err)
			return goLife{m.tap, cancel}
		}
		m.work.Go(func() {
			for ctx.Err() == nil {
				cl.PollFetches(ctx)
				cl.AllowRebalance()
			}
			cl.CloseAllowingRebalance()
		})
		return goLife{m.tap, cancel}
	}
}
