package group

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"github.com/sluicemq/sluice/ident"
)

// player makes random requests of a few clients, remembers their answers, and compares what the
// shard shows with the log.
type player struct {
	*rig
	rt    *rapid.T
	known map[string][]string // group → member ids that clients have heard of
	heard map[string]int32    // group/member → its generation
	// group/generation → one answer, with which the others are compared.
	joins map[string]*JoinAnswer
	asked map[Waiter]string // group of a waiter
	syncs map[Waiter]int32  // generation of a waiter's SyncGroup
	fresh int
}

var (
	groupNames = []string{"g", "h"}
	instances  = []string{"one", "two"}
	offered    = [][]string{{"range"}, {"range", "rr"}, {"rr", "range"}, {"sticky", "rr"}}
)

func (p *player) pick(names []string, label string) string {
	return rapid.SampledFrom(names).Draw(p.rt, label)
}

// member draws a member id that some client has heard of, or none, or a wrong one.
func (p *player) member(group string) string {
	return p.pick(append([]string{"", "nobody"}, p.known[group]...), "member")
}

func (p *player) instance() *string {
	if i := p.pick(append([]string{"", "", ""}, instances...), "instance"); i != "" {
		return &i
	}
	return nil
}

func (p *player) generation(group, member string) int32 {
	return p.heard[group+"/"+member] + rapid.SampledFrom([]int32{0, 0, 0, 0, 0, -1, 1}).Draw(p.rt, "off by")
}

// do makes a request and looks at the answers that come.
func (p *player) do(e Effects) {
	p.take(e)
	for _, w := range slices.Sorted(maps.Keys(p.answers)) {
		p.answered(w, p.answers[w])
		delete(p.answers, w)
	}
}

func (p *player) request(group, what string) Waiter {
	w := p.ask(what)
	p.asked[w] = group
	return w
}

// answered checks an answer against the log, and learns from it.
func (p *player) answered(w Waiter, b Body) {
	group := p.asked[w]
	switch a := b.(type) {
	case *JoinAnswer:
		if a.MemberID != "" && !slices.Contains(p.known[group], a.MemberID) {
			p.known[group] = append(p.known[group], a.MemberID)
		}
		if a.Err != nil {
			return
		}
		p.heard[group+"/"+a.MemberID] = a.Generation
		// One generation has one protocol.
		key := fmt.Sprintf("%s/%d", group, a.Generation)
		if first := p.joins[key]; first == nil {
			p.joins[key] = a
		} else if *first.Protocol != *a.Protocol || *first.ProtocolType != *a.ProtocolType {
			p.rt.Fatalf("generation %s has protocol %s and %s", key, *first.Protocol, *a.Protocol)
		}
	case *SyncAnswer:
		if a.Err == nil {
			p.checkAssigned(group, p.syncs[w], a)
		}
	}
}

// checkAssigned: an assignment that a client is told is in the newest record of the durable log
// (I13). One generation has one assignment.
func (p *player) checkAssigned(group string, generation int32, a *SyncAnswer) {
	for _, r := range slices.Backward(p.log) {
		var k kmsg.GroupMetadataKey
		if v, _ := version(r.Key); v != groupKeyVersion || k.ReadFrom(r.Key) != nil || k.Group != group {
			continue
		}
		g, err := parseGroupValue(r.Key, r.Value)
		if err != nil {
			p.rt.Fatalf("an assignment was told and the newest record is %s", showRecord(r))
		}
		if g.Generation != generation || *a.Protocol != orEmpty(g.Protocol) || !slices.ContainsFunc(g.Members, func(m kmsg.GroupMetadataValueMember) bool { return string(m.Assignment) == string(a.Assignment) }) {
			p.rt.Fatalf("an assignment was told that is not durable: %q; %s", a.Assignment, showRecord(r))
		}
		return
	}
	p.rt.Fatalf("an assignment was told and the log holds nothing of %s", group)
}

// fold is the simple model: the newest value of each key in the log.
func fold(log []Record) map[string]Record {
	newest := make(map[string]Record)
	for _, r := range log {
		if r.Value == nil {
			delete(newest, string(r.Key))
			continue
		}
		newest[string(r.Key)] = r
	}
	return newest
}

// check checks what must hold after every step.
func (p *player) check(rt *rapid.T) {
	// The shard shows what the log says, no more and no less (I13).
	model := fold(p.log)
	shown := 0
	for _, name := range groupNames {
		for _, f := range p.shard.FetchAll(name, nil) {
			shown++
			r := model[string(offsetRecord(name, PartitionName{f.Topic, f.Partition}, nil).Key)]
			o, err := parseOffsetValue(r.Key, r.Value)
			if err != nil || o.at != f.Offset || o.metadata != f.Metadata || o.epoch != f.LeaderEpoch {
				rt.Fatalf("%s shows %+v, the log says %s", name, f, showRecord(r))
			}
		}
	}
	offsets := 0
	for _, r := range model {
		if v, _ := version(r.Key); v == offsetKeyVersion {
			offsets++
		}
	}
	if shown != offsets {
		rt.Fatalf("%d offsets are shown, the log holds %d", shown, offsets)
	}
	// Replaying the log gives the same state (I15).
	again := load(rt, p.cfg, p.log)
	if durable(again) != durable(p.shard) || again.Bytes() != p.shard.Bytes() {
		rt.Fatalf("live state (%d bytes)\n%s\nreplayed (%d bytes)\n%s", p.shard.Bytes(), durable(p.shard), again.Bytes(), durable(again))
	}
	if p.shard.InFlight() != len(p.writes) {
		rt.Fatalf("%d writes are in flight, the shard says %d", len(p.writes), p.shard.InFlight())
	}
	for _, g := range p.shard.groups {
		checkGroup(rt, g)
	}
	// A shard counts exactly what it holds: nothing is forgotten, and nothing counts twice.
	if size := sizeOf(p.shard); p.shard.size != size || p.shard.memory.Used() != int64(size) {
		rt.Fatalf("the shard holds %d bytes, counts %d, and its memory %d", size, p.shard.size, p.shard.memory.Used())
	}
	// A group that was forgotten begins again at generation 1.
	listed := p.shard.List()
	for _, name := range groupNames {
		if !slices.ContainsFunc(listed, func(l Listing) bool { return l.Group == name }) {
			maps.DeleteFunc(p.joins, func(key string, _ *JoinAnswer) bool { return strings.HasPrefix(key, name+"/") })
		}
	}
}

// sizeOf adds up the bytes that a shard holds.
func sizeOf(s *Shard) (size int) {
	for _, g := range s.groups {
		size += groupOverhead + len(g.id) + len(g.stored)
		for _, m := range g.members {
			size += m.size()
		}
		for _, pending := range g.pending {
			size += pendingOverhead + len(pending.id)
		}
		for _, sl := range g.offsets {
			size += sl.partition.size() + sl.committed.size()
		}
	}
	for _, w := range s.inFlight {
		for _, c := range w.changes {
			size += c.offset.size()
		}
	}
	return size
}

// checkGroup checks what must always hold for a group's counts and indexes.
func checkGroup(rt *rapid.T, g *group) {
	joining, owing := 0, 0
	supported := make(map[string]int)
	for _, m := range g.members {
		if m.join.on {
			joining++
		}
		if m.owes {
			owing++
		}
		for _, pr := range m.protocols {
			supported[pr.Name]++
		}
		if g.byID[m.id] != m || m.instance != nil && g.static[*m.instance] != m {
			rt.Fatalf("%s: member %s is not where it should be", g.id, m.id)
		}
		if m.expiry.slot == 0 && !m.join.on && !m.sync.on {
			rt.Fatalf("%s: nothing ends the session of %s", g.id, m.id)
		}
		if m.sync.on && g.state != CompletingRebalance {
			rt.Fatalf("%s: %s waits for an assignment in %s", g.id, m.id, g.state)
		}
		if m.join.on && g.state != PreparingRebalance && g.inFlight == 0 {
			rt.Fatalf("%s: %s waits for a generation in %s", g.id, m.id, g.state)
		}
	}
	switch {
	case joining != g.joining, owing != g.owing, len(g.byID) != len(g.members), !maps.Equal(supported, g.supported):
		rt.Fatalf("%s: counts: joining %d/%d owing %d/%d members %d/%d supported %v/%v", g.id, joining, g.joining, owing, g.owing, len(g.byID), len(g.members), supported, g.supported)
	case len(g.members) > 0 && g.byID[g.leader] == nil:
		rt.Fatalf("%s: leader %q is no member", g.id, g.leader)
	case (g.state == Stable || g.state == CompletingRebalance || g.state == Empty) && (g.state == Empty) != (len(g.members) == 0):
		rt.Fatalf("%s: %s with %d members", g.id, g.state, len(g.members))
	case g.state == PreparingRebalance && g.joinTimer.slot == 0:
		rt.Fatalf("%s: nothing ends the join phase", g.id)
	case g.state == CompletingRebalance && g.owing > 0 && g.syncTimer.slot == 0:
		rt.Fatalf("%s: nothing ends the sync phase", g.id)
	}
}

func (p *player) join(rt *rapid.T) {
	group := p.pick(groupNames, "group")
	p.fresh++
	r := JoinRequest{
		Group: group, MemberID: p.member(group), FreshID: fmt.Sprint(p.fresh), InstanceID: p.instance(), ClientID: "c", ClientHost: "/h",
		SessionTimeout:     time.Duration(rapid.IntRange(6, 30).Draw(rt, "session")) * time.Second,
		RebalanceTimeout:   time.Duration(rapid.IntRange(0, 60).Draw(rt, "rebalance")) * time.Second,
		ProtocolType:       p.pick([]string{"consumer", "consumer", "consumer", "connect"}, "type"),
		RequireKnownMember: rapid.Bool().Draw(rt, "v4"), CanSkipAssignment: rapid.Bool().Draw(rt, "v9"),
	}
	for _, name := range rapid.SampledFrom(offered).Draw(rt, "protocols") {
		r.Protocols = append(r.Protocols, Protocol{name, subscribe(p.pick([]string{"t", "t", "u"}, "topic"))})
	}
	r.Waiter = p.request(group, "join")
	p.do(p.shard.Join(p.now, r))
}

func (p *player) sync(rt *rapid.T) {
	group := p.pick(groupNames, "group")
	member := p.member(group)
	r := SyncRequest{Group: group, MemberID: member, Generation: p.generation(group, member), Assignments: make(map[string][]byte)}
	p.fresh++
	for _, m := range p.known[group] {
		r.Assignments[m] = fmt.Appendf(nil, "%s in %d", m, p.fresh)
	}
	r.Waiter = p.request(group, "sync")
	p.syncs[r.Waiter] = r.Generation
	p.do(p.shard.Sync(p.now, r))
}

// everyone lets all clients of a group do what good clients do, join and then sync, so that groups
// become stable.
func (p *player) everyone(*rapid.T) {
	group := p.pick(groupNames, "group")
	for _, d := range p.shard.Describe(group).Members {
		r := JoinRequest{
			Group: group, MemberID: d.MemberID, InstanceID: d.InstanceID, ClientID: "c", ClientHost: "/h", SessionTimeout: 20 * time.Second, RebalanceTimeout: 30 * time.Second,
			ProtocolType: "consumer", Protocols: []Protocol{{"range", subscribe("t")}, {"rr", subscribe("t")}},
		}
		r.Waiter = p.request(group, "join")
		p.do(p.shard.Join(p.now, r))
	}
	p.letTimePass(0)
	members := p.shard.Describe(group).Members
	r := SyncRequest{Group: group, Assignments: make(map[string][]byte)}
	p.fresh++
	for _, d := range members {
		r.Assignments[d.MemberID] = fmt.Appendf(nil, "%s in %d", d.MemberID, p.fresh)
	}
	for _, d := range members {
		r.MemberID, r.InstanceID, r.Generation = d.MemberID, d.InstanceID, p.heard[group+"/"+d.MemberID]
		r.Waiter = p.request(group, "sync")
		p.syncs[r.Waiter] = r.Generation
		p.do(p.shard.Sync(p.now, r))
	}
}

func (p *player) leave(rt *rapid.T) {
	group := p.pick(groupNames, "group")
	r := LeaveRequest{Group: group, Waiter: p.request(group, "leave")}
	for range rapid.IntRange(1, 2).Draw(rt, "leaving") {
		r.Members = append(r.Members, LeaveMember{MemberID: p.member(group), InstanceID: p.instance()})
	}
	p.do(p.shard.Leave(p.now, r))
}

func (p *player) partitions(rt *rapid.T) []PartitionName {
	return rapid.SliceOfNDistinct(rapid.SampledFrom([]PartitionName{{"t", 0}, {"t", 1}, {"u", 0}}), 1, 3, rapid.ID).Draw(rt, "partitions")
}

func (p *player) commit(rt *rapid.T) {
	group := p.pick(groupNames, "group")
	member := p.member(group)
	r := CommitRequest{Group: group, MemberID: member, Generation: p.generation(group, member), Retention: -1, KnowsNoGroup: rapid.Bool().Draw(rt, "v9")}
	if member == "" {
		r.Generation = -1
	}
	if rapid.IntRange(0, 4).Draw(rt, "retention") == 0 {
		r.Retention = time.Minute
	}
	for _, name := range p.partitions(rt) {
		p.fresh++
		r.Partitions = append(r.Partitions, CommitPartition{Topic: name.Topic, Partition: name.Partition, TopicID: ident.TopicID{1}, Offset: ident.Offset(p.fresh), LeaderEpoch: 3, Metadata: fmt.Sprint(p.fresh)})
	}
	r.Waiter = p.request(group, "commit")
	p.do(p.shard.Commit(p.now, r))
}

// letTimePass calls Tick as the owner would, and looks at the answers.
func (p *player) letTimePass(d time.Duration) {
	end := p.now.Add(d)
	for next := p.shard.Deadline(); !next.IsZero() && !next.After(end); next = p.shard.Deadline() {
		if next.After(p.now) {
			p.now = next
		}
		p.do(p.shard.Tick(p.now))
	}
	p.now = end
}

func (p *player) settleOne(err error) {
	w := p.writes[0]
	p.writes = p.writes[1:]
	if err == nil {
		p.log = append(p.log, w.Records...)
	}
	p.do(p.shard.Written(p.now, w.Token, err))
}

func (p *player) actions() map[string]func(*rapid.T) {
	written := func(err error) func(*rapid.T) {
		return func(rt *rapid.T) {
			if len(p.writes) == 0 {
				rt.Skip("nothing is in flight")
			}
			p.settleOne(err)
		}
	}
	return map[string]func(*rapid.T){
		"":         p.check,
		"join":     p.join,
		"rejoin":   p.join,
		"sync":     p.sync,
		"resync":   p.sync,
		"everyone": p.everyone, "everyone too": p.everyone,
		"leave":   p.leave,
		"commit":  p.commit,
		"written": written(nil), "written too": written(nil), "refused": written(errRefused),
		"heartbeat": func(rt *rapid.T) {
			group := p.pick(groupNames, "group")
			member := p.member(group)
			p.shard.Heartbeat(p.now, HeartbeatRequest{Group: group, MemberID: member, Generation: p.generation(group, member)})
		},
		"time passes": func(rt *rapid.T) {
			p.letTimePass(time.Duration(rapid.IntRange(0, 20).Draw(rt, "seconds")) * time.Second)
		},
		"delete offsets": func(rt *rapid.T) {
			group := p.pick(groupNames, "group")
			p.do(p.shard.DeleteOffsets(p.now, DeleteOffsetsRequest{Group: group, Waiter: p.request(group, "delete-offsets"), Partitions: p.partitions(rt)}))
		},
		"delete": func(rt *rapid.T) {
			group := p.pick(groupNames, "group")
			p.do(p.shard.Delete(p.now, DeleteRequest{Group: group, Waiter: p.request(group, "delete")}))
		},
		"expire": func(rt *rapid.T) {
			topics := Topics(func(topic string) (ident.TopicID, bool) { return ident.TopicID{1}, topic == "t" })
			if rapid.Bool().Draw(rt, "all topics") {
				topics = nil
			}
			p.do(p.shard.Expire(p.now, topics))
		},
		"shorten": func(rt *rapid.T) {
			if len(p.writes) > 0 {
				rt.Skip("writes are in flight")
			}
			p.shorten()
		},
		"restart": func(rt *rapid.T) {
			// A part of what was on its way may have reached the log.
			for range rapid.IntRange(0, len(p.writes)).Draw(rt, "written") {
				p.log = append(p.log, p.writes[0].Records...)
				p.writes = p.writes[1:]
			}
			clear(p.joins)
			p.restart()
		},
	}
}

// TestGroups_RandomRequests plays random conversations. After every step, what is shown is what the
// log says (I13), and replaying the log gives the same state (I15). In the end everybody has had
// one answer, and the groups come to rest.
func TestGroups_RandomRequests(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		cfg := DefaultConfig()
		cfg.MaxSize = 4
		cfg.OffsetsRetention = 10 * time.Minute
		cfg.InitialRebalanceDelay = time.Duration(rapid.IntRange(0, 3).Draw(rt, "delay")) * time.Second
		p := &player{rig: newRig(rt, cfg), rt: rt, known: make(map[string][]string), heard: make(map[string]int32), joins: make(map[string]*JoinAnswer), asked: make(map[Waiter]string), syncs: make(map[Waiter]int32)}
		p.auto = false
		rt.Repeat(p.actions())
		for range 3 { // the last sessions end, and what they cause is written
			for len(p.writes) > 0 {
				p.settleOne(nil)
			}
			p.letTimePass(time.Hour)
		}
		p.check(rt)
		if len(p.waiting) > 0 {
			rt.Fatalf("these had no answer: %v", p.waiting)
		}
		for _, l := range p.shard.List() {
			if l.State != Empty {
				rt.Fatalf("%s is %s an hour after the last request", l.Group, l.State)
			}
		}
		p.do(p.shard.Expire(p.now.Add(time.Hour), nil))
		for len(p.writes) > 0 {
			p.settleOne(nil)
		}
		if n := len(p.shard.groups); n > 0 || p.shard.Bytes() != 0 || len(p.shard.Snapshot()) > 0 || len(p.shard.timers.queue) > 0 {
			rt.Fatalf("after all has expired %d groups, %d bytes, %d timers are left", n, p.shard.Bytes(), len(p.shard.timers.queue))
		}
	})
}
