package compat

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluicemq/sluice/compat-tests/harness"
)

const (
	groupPartitions = 6
	burstEach       = 20 // records per partition and burst
)

// clientGroups plays the same story with groups of every library and every assignor, and with one
// group of all libraries together, side by side:
//
//	one member → the others join → kill -9 of the broker amid records → a member goes,
//	or is killed → a member with a name comes back under it → all leave
//
// After each chapter every record has been read and committed. Without a fault, no record is read
// twice, and no member loses its partitions when the broker restarts.
func clientGroups(t *testing.T, l *lab) {
	groups := groupsOf(t, l)
	// The members of all groups act at once. Then each group is looked at.
	chapter := func(name string, act, look func(t *testing.T, g *clientGroup)) {
		t.Run(name, func(t *testing.T) {
			for _, g := range groups {
				act(t, g)
			}
			for _, g := range groups {
				t.Run(g.name, func(t *testing.T) { look(t, g) })
			}
		})
	}
	working := func(t *testing.T, g *clientGroup) {
		g.settle(t)
		g.burst(t)
		g.caughtUp(t)
	}
	chapter("FirstMember", func(t *testing.T, g *clientGroup) { g.join(0) }, working)
	chapter("Join", func(t *testing.T, g *clientGroup) {
		for i := 1; i < len(g.members); i++ {
			g.join(i)
		}
	}, working)
	if l.kill != nil {
		restartUnder(t, l, groups, chapter)
	}
	chapter("Leave", func(t *testing.T, g *clientGroup) { g.leave(len(g.members) - 1) }, working)
	chapter("Return", func(t *testing.T, g *clientGroup) {
		if g.static {
			g.join(len(g.members) - 1)
		}
	}, func(t *testing.T, g *clientGroup) {
		if g.static {
			g.comeBack(t)
		}
	})
	chapter("End", func(t *testing.T, g *clientGroup) { g.leaveAll() }, func(t *testing.T, g *clientGroup) { g.verify(t) })
}

// clientGroup is a group, its members, and the records that were written for it.
type clientGroup struct {
	*lab
	name    string
	t       *testing.T // of all chapters, since members outlive a chapter
	members []*clientMember
	static  bool
	gone    []*harness.Program // members of the past
	orderly []*harness.Program // members of the past that were not killed

	adm *kadm.Client
	cl  *kgo.Client
	end int64 // records written to each partition

	// Records in this range may be read twice, since the broker was killed at about that time.
	unsureFrom, unsureTo int64
}

// clientMember is a member's place in the group. Its program is nil while nobody has the place.
type clientMember struct {
	stock
	assignor string
	instance string
	program  *harness.Program
}

// groupsOf returns two members for each library and assignor, one group of all libraries, and for
// each library a group whose members have names (static membership).
func groupsOf(t *testing.T, l *lab) []*clientGroup {
	adm, cl := l.kadm(t)
	var groups []*clientGroup
	add := func(name string, members ...*clientMember) *clientGroup {
		g := &clientGroup{lab: l, name: name, t: t, members: members, adm: adm, cl: cl}
		mustCreate(t, l.Addr, g.topic(), groupPartitions)
		groups = append(groups, g)
		return g
	}
	var all []*clientMember
	for _, s := range l.stocks {
		all = append(all, &clientMember{stock: s, assignor: "range"})
		for _, a := range s.assignors {
			add(s.name+"-"+a, &clientMember{stock: s, assignor: a}, &clientMember{stock: s, assignor: a})
		}
		g := add(s.name+"-static", &clientMember{stock: s, assignor: "range", instance: "one"}, &clientMember{stock: s, assignor: "range", instance: "two"})
		g.static = true
	}
	add("mixed", all...)
	return groups
}

func (g *clientGroup) topic() string { return "group-" + g.name }

// join starts the member at i.
func (g *clientGroup) join(i int) {
	m := g.members[i]
	args := []string{"bootstrap=" + g.Addr, "topic=" + g.topic(), "group=" + g.topic(), "assignor=" + m.assignor}
	if m.instance != "" {
		args = append(args, "instance="+m.instance)
	}
	m.program = m.start(g.t, "member", args...)
}

// assigned returns the partitions in the member's last message about them.
func assigned(p *harness.Program) ([]int32, error) {
	lines := slices.DeleteFunc(p.Lines(), func(s string) bool { return !strings.HasPrefix(s, "assigned ") })
	if len(lines) == 0 {
		return nil, fmt.Errorf("%s has not been assigned anything", p.Name)
	}
	var parts []int32
	for word := range strings.SplitSeq(strings.TrimPrefix(lines[len(lines)-1], "assigned "), ",") {
		if n, err := strconv.Atoi(word); err == nil {
			parts = append(parts, int32(n))
		}
	}
	return parts, nil
}

// settle waits until each partition has exactly one member, and no member is without a partition.
func (g *clientGroup) settle(t *testing.T) {
	t.Helper()
	g.await(t, func() error {
		var all []int32
		for _, m := range g.members {
			if m.program == nil {
				continue
			}
			parts, err := assigned(m.program)
			if err != nil {
				return err
			}
			if len(parts) == 0 {
				return fmt.Errorf("%s has no partition", m.program.Name)
			}
			all = append(all, parts...)
		}
		if slices.Sort(all); !slices.Equal(all, []int32{0, 1, 2, 3, 4, 5}) {
			return fmt.Errorf("assigned are %v", all)
		}
		return nil
	})
}

// await asks until there is no error. If there is one at the end, it shows the members' output.
func (g *clientGroup) await(t *testing.T, ask func() error) {
	t.Helper()
	if err := harness.Until(clientLimit, ask); err != nil {
		for _, m := range g.members {
			if m.program != nil {
				t.Log(m.program.Tail())
			}
		}
		t.Fatal(err)
	}
}

// send writes records to each partition. wait returns when all are acknowledged.
func (g *clientGroup) send(t *testing.T) (wait func() error) {
	var records []*kgo.Record
	for i := range int64(burstEach) {
		for p := range int32(groupPartitions) {
			records = append(records, &kgo.Record{Topic: g.topic(), Partition: p, Value: fmt.Appendf(nil, "%d", g.end+i)})
		}
	}
	g.end += burstEach
	ctx, cancel := context.WithTimeout(t.Context(), clientLimit)
	done := make(chan error, 1)
	go func() {
		defer cancel()
		done <- g.cl.ProduceSync(ctx, records...).FirstErr()
	}()
	return func() error { return <-done }
}

func (g *clientGroup) burst(t *testing.T) {
	t.Helper()
	if err := g.send(t)(); err != nil {
		t.Fatal(err)
	}
}

// caughtUp waits until everything that was written has been read and committed.
func (g *clientGroup) caughtUp(t *testing.T) {
	t.Helper()
	g.await(t, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), clientLimit)
		defer cancel()
		offsets, err := g.adm.FetchOffsets(ctx, g.topic())
		if err != nil {
			return err
		}
		for p := range int32(groupPartitions) {
			if o, _ := offsets.Lookup(g.topic(), p); o.At != g.end {
				return fmt.Errorf("group %s: partition %d is committed up to %d, want %d", g.topic(), p, o.At, g.end)
			}
		}
		return nil
	})
}

// quickly is how soon a broker must be back for members to keep their partitions. It is well below
// the session timeout.
const quickly = 3 * time.Second

// restartUnder kills the broker while every group has records under way.
func restartUnder(t *testing.T, l *lab, groups []*clientGroup, chapter func(string, func(*testing.T, *clientGroup), func(*testing.T, *clientGroup))) {
	kept := commitAlone(t, groups)
	before := make(map[*clientGroup]int)
	waits := make(map[*clientGroup]func() error)
	for _, g := range groups {
		before[g] = g.assignments()
		g.unsureFrom, g.unsureTo = g.end, g.end+2*burstEach
		waits[g] = g.send(t)
	}
	start := time.Now()
	l.kill()
	l.Start()
	away := time.Since(start)
	t.Logf("the broker was away for %v", away)
	wantKept(t, l, kept)
	chapter("Restart", func(t *testing.T, g *clientGroup) {
		if err := waits[g](); err != nil {
			t.Errorf("group %s: %v", g.name, err)
		}
	}, func(t *testing.T, g *clientGroup) {
		g.settle(t)
		g.burst(t)
		g.caughtUp(t)
		if got := g.assignments() - before[g]; got != 0 && away < quickly && !g.forgetful(t) {
			t.Errorf("members were assigned partitions %d times over the restart, want none: the group rebalanced", got)
			g.story(t)
		}
	})
}

// commitAlone commits offsets for groups without members, which nobody commits again after the
// kill.
func commitAlone(t *testing.T, groups []*clientGroup) map[string]kadm.Offsets {
	t.Helper()
	kept := make(map[string]kadm.Offsets)
	for i, g := range groups {
		offsets := make(kadm.Offsets)
		for p := range int32(groupPartitions) {
			offsets.AddOffset(g.topic(), p, int64(i)*10+int64(p)+1, -1)
		}
		if err := g.adm.CommitAllOffsets(t.Context(), "alone-"+g.name, offsets); err != nil {
			t.Fatal(err)
		}
		kept["alone-"+g.name] = offsets
	}
	return kept
}

// wantKept requires that an acknowledged commit is there after the kill.
func wantKept(t *testing.T, l *lab, kept map[string]kadm.Offsets) {
	t.Helper()
	adm, _ := l.kadm(t)
	for group, offsets := range kept {
		fetched, err := adm.FetchOffsets(t.Context(), group)
		if err != nil {
			t.Errorf("group %s: %v", group, err)
			continue
		}
		offsets.Each(func(o kadm.Offset) {
			if got, ok := fetched.Lookup(o.Topic, o.Partition); !ok || got.At != o.At {
				t.Errorf("group %s: after the kill, %s/%d is committed at %d, want %d", group, o.Topic, o.Partition, got.At, o.At)
			}
		})
	}
}

// forgetful reports that a Java client has forgotten its metadata. Since 4.0 it does so when no
// broker answers. It then takes the topic for empty until the next answer, and joins again if it
// leads the group. With one broker any restart causes that.
func (g *clientGroup) forgetful(t *testing.T) bool {
	for _, m := range g.members {
		if m.program != nil && strings.Contains(m.program.Errors(), "Rebootstrapping") {
			t.Logf("a rebalance of the client's own: %s", m.program.Name)
			return true
		}
	}
	return false
}

// story shows what the members said about the group.
func (g *clientGroup) story(t *testing.T) {
	for _, m := range g.members {
		if m.program == nil {
			continue
		}
		told := slices.DeleteFunc(m.program.Lines(), func(s string) bool { return strings.HasPrefix(s, "record ") })
		t.Logf("%s:\n%s\n%s", m.program.Name, strings.Join(told, "\n"), m.program.Errors())
	}
}

// assignments counts how often members were told about their partitions.
func (g *clientGroup) assignments() int {
	count := 0
	for _, m := range g.members {
		if m.program != nil {
			count += strings.Count("\n"+m.program.Text(), "\nassigned ")
		}
	}
	return count
}

// leave ends a member. A process without a name is killed, so that its session must expire.
func (g *clientGroup) leave(i int) {
	m := g.members[i]
	if m.own && !g.static {
		m.program.Kill()
	} else {
		m.program.End()
		g.orderly = append(g.orderly, m.program)
	}
	g.gone = append(g.gone, m.program)
	m.program = nil
}

func (g *clientGroup) leaveAll() {
	for i, m := range g.members {
		if m.program != nil {
			m.program.End()
			g.orderly, g.gone = append(g.orderly, m.program), append(g.gone, m.program)
			g.members[i].program = nil
		}
	}
}

// comeBack lets a member with a name go and come back. The other member notices nothing.
func (g *clientGroup) comeBack(t *testing.T) {
	last := len(g.members) - 1
	g.settle(t)
	before := g.members[0].program.Text()
	parts, err := assigned(g.members[last].program)
	if err != nil {
		t.Fatal(err)
	}
	left := g.members[last].program
	g.leave(last)
	left.Done(t, clientLimit)
	g.join(last)
	g.settle(t)
	g.burst(t)
	g.caughtUp(t)
	now := g.members[0].program.Text()
	if got := strings.Count(now, "assigned ") - strings.Count(before, "assigned "); got != 0 {
		t.Errorf("the other member was assigned partitions %d times, want none", got)
	}
	if again, err := assigned(g.members[last].program); err != nil || !slices.Equal(again, parts) {
		t.Errorf("it comes back to %v, %v, want %v", again, err, parts)
	}
}

// verify requires that every record was read, and read once where nothing failed.
func (g *clientGroup) verify(t *testing.T) {
	t.Helper()
	type place struct {
		partition int32
		offset    int64
	}
	for _, p := range g.orderly {
		p.Done(t, clientLimit)
	}
	times := make(map[place]int)
	for _, p := range g.gone {
		for _, r := range recordsIn(t, p.Lines()) {
			times[place{r.partition, r.offset}]++
		}
	}
	twice := 0
	for p := range int32(groupPartitions) {
		for o := range g.end {
			n := times[place{p, o}]
			if n == 0 {
				t.Errorf("partition %d: the record at %d was never read", p, o)
			}
			if n > 1 && g.unsureFrom <= o && o < g.unsureTo {
				twice++
			} else if n > 1 {
				t.Errorf("partition %d: the record at %d was read %d times", p, o, n)
			}
		}
	}
	if twice > 0 {
		t.Logf("%d of %d records about the kill were read again", twice, (g.unsureTo-g.unsureFrom)*groupPartitions)
	}
	if t.Failed() {
		for _, p := range g.gone {
			t.Log(p.Tail())
		}
	}
}
