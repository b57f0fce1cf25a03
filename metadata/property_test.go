package metadata

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata/pb"
)

// machine draws commands that are mostly right and sometimes wrong.
type machine struct {
	t     *rapid.T
	s     *State
	m     model
	now   int64
	index uint64
	log   []entry
	last  *pb.Command    // the last commit, to be repeated
	seen  map[string]int // things that must happen at least once
}

type entry struct {
	index uint64
	bytes []byte
}

func (x *machine) n(label string, low, high int) int {
	return rapid.IntRange(low, high).Draw(x.t, label)
}

// apply encodes a command, decodes and applies it, and logs it.
func (x *machine) apply(cmd *pb.Command) Result {
	x.index += uint64(x.n("skip", 1, 3)) // Raft's own entries take indexes, too
	x.now += int64(x.n("ms", 0, 20_000))
	cmd = proto.Clone(cmd).(*pb.Command)
	cmd.TimeMs = x.now - int64(x.n("skew", 0, 5000))
	if len(cmd.RequestId) == 0 {
		cmd.RequestId = []byte(fmt.Sprintf("request-%08d", x.index))
	}
	b, err := EncodeCommand(cmd)
	if err != nil {
		x.t.Fatal(err)
	}
	x.log = append(x.log, entry{x.index, b})
	res := applyBytes(x.t, x.s, x.log[len(x.log)-1])
	if err := x.s.Check(); err != nil {
		x.t.Fatalf("after %s: %v", CommandName(cmd), err)
	}
	return res
}

func applyBytes(t *rapid.T, s *State, e entry) Result {
	cmd, err := DecodeCommand(e.bytes)
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.Apply(e.index, cmd)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// incarnation is mostly the current incarnation of broker 1.
func (x *machine) incarnation() ident.Incarnation {
	if x.n("which", 0, 9) > 0 {
		if b, ok := x.s.Broker(1); ok {
			return b.Incarnation
		}
	}
	return ident.Incarnation(x.n("incarnation", 0, 9))
}

func (x *machine) pickTopic() *catalog.Topic {
	all := x.s.Topics()
	if len(all) == 0 {
		return &catalog.Topic{ID: ident.TopicID{99}, Name: "none", Partitions: make([]catalog.Leadership, 1)}
	}
	return all[x.n("topic", 0, len(all)-1)]
}

func (x *machine) partition() ident.TopicPartition {
	info := x.pickTopic()
	return ident.TopicPartition{Topic: info.ID, Index: int32(x.n("partition", 0, len(info.Partitions)-1))}
}

func (x *machine) preparedObjects(inc ident.Incarnation) []ident.ObjectID {
	var ids []ident.ObjectID
	for _, id := range sortedKeys(x.s.objects) {
		if x.s.Prepared(id, inc) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (x *machine) step() {
	kinds := []func(){
		x.register, x.open, x.retire, x.create, x.delete, x.grow, x.configure, x.commit, x.commit, x.commit, x.commit,
		x.repeatCommit, x.reserve, x.reserve, x.swap, x.swap, x.release, x.release, x.advance, x.advance, x.housekeeping, x.restore, x.repeatAdministrative,
	}
	kinds[x.n("kind", 0, len(kinds)-1)]()
}

func (x *machine) register() {
	b, _ := x.s.Broker(1)
	prev := b.Incarnation
	if x.n("stale", 0, 4) == 0 {
		prev++
	}
	cmd := NewRegisterIncarnation(1, dirA, prev, ident.Position(x.n("end", 0, 100)))
	if res := x.apply(cmd); res.Err == nil && x.n("crash", 0, 3) > 0 {
		x.open()
	}
}

func (x *machine) open() { x.apply(NewOpenIncarnation(x.incarnation())) }

func (x *machine) retire() {
	tail := ident.Incarnation(x.n("tail", 0, 5))
	if b, ok := x.s.Broker(1); ok && len(b.Tails) > 0 {
		tail = b.Tails[0].Incarnation
	}
	x.apply(NewRetireTail(x.incarnation(), tail))
}

// repeatAdministrative sends an earlier request again, as after an unknown outcome.
func (x *machine) repeatAdministrative() {
	if len(x.s.answers) == 0 {
		return
	}
	id := x.s.answers[x.n("answer", 0, len(x.s.answers)-1)].request
	for _, e := range x.log {
		cmd, _ := DecodeCommand(e.bytes)
		if string(cmd.RequestId) == id && remembered(cmd) {
			if res := x.apply(cmd); !res.Repeated || len(res.Changes) > 0 {
				x.t.Fatalf("%s sent again was answered %+v", CommandName(cmd), res)
			}
			return
		}
	}
	x.t.Fatal("an answer without its request")
}

func (x *machine) create() {
	i := byte(x.n("name", 0, 3))
	spec := TopicSpec{ID: ident.TopicID{byte(x.index), byte(x.index >> 8), i}, Name: "t" + string('a'+rune(i)), Partitions: int32(x.n("partitions", 0, 3))}
	res := x.apply(NewCreateTopic(spec))
	if res.Err == nil && !res.Repeated {
		x.modelPartitions(spec.ID, int(spec.Partitions))
	}
}

func (x *machine) modelPartitions(id ident.TopicID, count int) {
	for i := range count {
		tp := ident.TopicPartition{Topic: id, Index: int32(i)}
		if _, ok := x.m.ends[tp]; !ok {
			x.m.ends[tp] = [2]ident.Offset{}
			x.m.manifests[tp] = &modelManifest{}
		}
	}
}

func (x *machine) delete() {
	if x.n("really", 0, 2) > 0 {
		return
	}
	info := x.pickTopic()
	res := x.apply(NewDeleteTopic(info.ID))
	if res.Err != nil || res.Repeated {
		return
	}
	x.forget(info)
}

func (x *machine) forget(info *catalog.Topic) {
	for i := range info.Partitions {
		tp := ident.TopicPartition{Topic: info.ID, Index: int32(i)}
		delete(x.m.ends, tp)
		if m := x.m.manifests[tp]; len(m.roots) == 0 {
			delete(x.m.manifests, tp)
		}
	}
}

func (x *machine) grow() {
	info := x.pickTopic()
	count := int32(x.n("count", 1, 5))
	if res := x.apply(NewCreatePartitions(info.ID, count)); res.Err == nil && !res.Repeated {
		x.modelPartitions(info.ID, int(count))
	}
}

func (x *machine) configure() {
	configs := map[string]string{"k": fmt.Sprint(x.n("value", 0, 2)), "j": "1"}
	if x.n("empty", 0, 3) == 0 {
		configs = nil
	}
	info, broker := x.pickTopic(), int32(x.n("broker", -1, 1))
	topicNow, brokerNow := info.Configs, x.s.BrokerConfigs(broker)
	if x.n("stale", 0, 4) == 0 {
		topicNow, brokerNow = map[string]string{"k": "stale"}, map[string]string{"k": "stale"}
	}
	cmd, now := NewSetConfigs(info.ID, topicNow, configs), info.Configs
	if x.n("of a broker", 0, 1) == 0 {
		cmd, now = NewSetBrokerConfigs(broker, brokerNow, configs), x.s.BrokerConfigs(broker)
	}
	if res := x.apply(cmd); errors.Is(res.Err, catalog.ErrConflict) {
		x.seen["conflict of "+CommandName(cmd)]++
	} else if res.Err == nil && !maps.Equal(now, configs) != (len(res.Changes) == 1) {
		x.t.Fatalf("%v after %v changes %+v", cmd, now, res.Changes)
	}
}

func (x *machine) reserve() {
	x.apply(NewReserveObjects(x.incarnation(), x.n("count", 1, 4), time.UnixMilli(x.now+int64(x.n("ttl", 0, 200_000)))))
}

// commit draws up to two bundles with ranges near the committed end, under a current or past
// leadership.
func (x *machine) commit() {
	inc := x.incarnation()
	b, _ := x.s.Broker(1)
	free := x.preparedObjects(inc)
	c := catalog.Commit{Incarnation: inc, Number: b.LastCommit + 1}
	if x.n("number", 0, 9) == 0 {
		c.Number++
	}
	for range x.n("bundles", 1, 2) {
		id := ident.ObjectID(x.n("object", 1, 50))
		if len(free) > 0 && x.n("prepared", 0, 9) > 0 {
			id, free = free[0], free[1:]
		}
		bundle := catalog.CommitBundle{Object: id, Bytes: 100}
		for range x.n("ranges", 0, 4) {
			bundle.Ranges = append(bundle.Ranges, x.commitRange(id, inc))
		}
		c.Bundles = append(c.Bundles, bundle)
	}
	cmd := NewCommitFlush(c)
	res := x.apply(cmd)
	x.judge(c, res)
	if res.Err == nil {
		x.last = cmd
	}
}

func (x *machine) commitRange(id ident.ObjectID, writer ident.Incarnation) catalog.CommitRange {
	tp := x.partition()
	h, _ := x.s.Head(tp)
	under := h.Leader
	if len(h.Past) > 0 && x.n("past", 0, 1) == 0 {
		under = h.Past[x.n("pastIndex", 0, len(h.Past)-1)]
	}
	start := h.CommittedEnd
	if x.n("off", 0, 4) == 0 {
		start = max(0, start+ident.Offset(x.n("delta", -8, 3)))
	}
	c := catalog.CommitRange{Partition: tp, WALEnd: ident.Position(x.n("walEnd", 0, 110)), Range: catalog.Range{
		Object: id, Start: start, End: start + ident.Offset(x.n("length", 0, 10)), Writer: writer,
		Incarnation: under.Incarnation, Epoch: under.Epoch, Bytes: 10, MaxTimestamp: -1,
	}}
	switch x.n("state", 0, 5) {
	case 0, 1:
		c.State = catalog.StateRef{Object: id, End: c.Range.End}
	case 2:
		c.State, c.Base = catalog.StateRef{Object: id, End: c.Range.End}, h.State
	case 3:
		c.State, c.Base = catalog.StateRef{Object: id, End: c.Range.End}, catalog.StateRef{Object: ident.ObjectID(x.n("base", 1, 50))}
	}
	return c
}

func (x *machine) repeatCommit() {
	if x.last != nil {
		if res := x.apply(x.last); res.Err == nil && !res.Repeated {
			x.t.Fatal("a commit was applied twice")
		}
	}
}

// judge moves the model's ends according to the verdicts and checks that each verdict fits them.
func (x *machine) judge(c catalog.Commit, res Result) {
	if res.Err != nil {
		return
	}
	for i, b := range c.Bundles {
		for j, r := range b.Ranges {
			ends, known := x.m.ends[r.Partition]
			x.seen[fmt.Sprint("verdict ", res.Commit.Verdicts[i][j], " ", res.Commit.Reasons[i][j])]++
			switch res.Commit.Verdicts[i][j] {
			case catalog.Committed:
				x.judgeCommitted(r, ends, known)
			case catalog.Void:
				if known && r.Range.End > ends[0] {
					x.t.Fatalf("%s [%d,%d) void with log start %d", r.Partition, r.Range.Start, r.Range.End, ends[0])
				}
			}
		}
	}
}

func (x *machine) judgeCommitted(r catalog.CommitRange, ends [2]ident.Offset, known bool) {
	within := r.Range.Start == ends[1] || ends[0] == ends[1] && r.Range.Start < ends[1] && r.Range.End > ends[1]
	if !known || !within {
		x.t.Fatalf("%s [%d,%d) committed at [%d,%d)", r.Partition, r.Range.Start, r.Range.End, ends[0], ends[1])
	}
	x.m.ends[r.Partition] = [2]ident.Offset{ends[0], r.Range.End}
}

func (x *machine) swap() {
	tp := x.partition()
	h, _ := x.s.Head(tp)
	inc := x.incarnation()
	x.reserve()
	free := x.preparedObjects(inc)
	if len(free) == 0 || len(h.Ranges) == 0 && h.Manifest.Object == 0 {
		return
	}
	n := x.n("absorbed", 0, len(h.Ranges))
	mm := x.m.manifests[tp]
	s := catalog.ManifestSwap{Partition: tp, Incarnation: inc, OldVersion: h.Manifest.Version,
		Absorbed: h.Ranges[:n], NewObjects: free[:1], Dropped: slices.Clone(mm.roots)}
	s.New = catalog.Manifest{Version: h.Manifest.Version + 1, Object: free[0], Start: h.LogStart, End: h.Manifest.End, Writer: inc}
	if n > 0 {
		s.New.End = h.Ranges[n-1].End
	}
	if x.n("stale", 0, 5) == 0 {
		s.OldVersion, s.New.Version = s.OldVersion+1, s.New.Version+1
	}
	cmd := NewSwapManifest(s)
	if res := x.apply(cmd); res.Err != nil {
		return
	}
	x.seen["swap"]++
	mm.version, mm.roots = s.New.Version, s.NewObjects
	mm.ranges = append(mm.ranges, s.Absorbed...)
	if res := x.apply(cmd); !res.Repeated {
		x.t.Fatalf("swap applied twice: %+v", res)
	}
}

// partitionWithManifest returns one of the partitions that have a manifest, if there is one.
func (x *machine) partitionWithManifest() ident.TopicPartition {
	var with []ident.TopicPartition
	for _, info := range x.s.Topics() {
		for _, h := range x.s.Heads(info.ID) {
			if h.Manifest.Object != 0 {
				with = append(with, h.Partition)
			}
		}
	}
	if len(with) == 0 {
		return x.partition()
	}
	return with[x.n("with", 0, len(with)-1)]
}

// release takes ranges below the log start out of a manifest, or all ranges if the topic was
// deleted.
func (x *machine) release() {
	tp := x.partitionWithManifest()
	h, live := x.s.Head(tp)
	if gone := x.s.Released(1); len(gone) > 0 && x.n("gone", 0, 1) == 0 {
		h, live = gone[0], false
		tp = h.Partition
	}
	mm := x.m.manifests[tp]
	if h.Manifest.Object == 0 || mm == nil {
		return
	}
	keep := slices.DeleteFunc(slices.Clone(mm.ranges), func(r catalog.Range) bool { return !live || r.End <= h.LogStart })
	r := catalog.RangeRelease{Partition: tp, Incarnation: x.incarnation(), OldVersion: h.Manifest.Version, Dropped: mm.roots}
	for _, old := range mm.ranges[:len(mm.ranges)-len(keep)] {
		r.Released = append(r.Released, old.Object)
	}
	r.New = catalog.Manifest{Version: h.Manifest.Version + 1}
	if len(keep) > 0 {
		free := x.preparedObjects(r.Incarnation)
		if len(free) == 0 {
			return
		}
		r.NewObjects = free[:1]
		r.New = catalog.Manifest{Version: r.New.Version, Object: free[0], Start: h.LogStart, End: h.Manifest.End, Writer: r.Incarnation}
	}
	cmd := NewReleaseRanges(r)
	if res := x.apply(cmd); res.Err != nil {
		return
	}
	x.seen["release"]++
	if !live {
		x.seen["release of a deleted topic"]++
	}
	mm.version, mm.roots, mm.ranges = r.New.Version, r.NewObjects, keep
	if !live && len(keep) == 0 {
		delete(x.m.manifests, tp)
	}
	if res := x.apply(cmd); !res.Repeated {
		x.t.Fatalf("release applied twice: %+v", res)
	}
}

func (x *machine) advance() {
	tp := x.partition()
	ends, known := x.m.ends[tp]
	start := max(0, ends[0]+ident.Offset(x.n("by", -3, 15)))
	res := x.apply(NewAdvanceLogStart(x.incarnation(), tp, start))
	if res.Err == nil && known {
		x.m.ends[tp] = [2]ident.Offset{max(ends[0], start), max(ends[1], start)}
	}
}

func (x *machine) housekeeping() {
	switch x.n("housekeeping", 0, 3) {
	case 0:
		x.apply(NewExpireObjects())
	case 1:
		x.apply(NewSnapshotStored(StoredSnapshot{Number: x.s.stored.Number + 1, Index: x.s.index, Generation: x.s.generation}))
	case 2:
		var ids []ident.ObjectID
		for _, d := range x.s.Deletable(x.s.Now(), time.Second, 5) {
			ids = append(ids, d.ID)
		}
		x.apply(NewConfirmDeleted(ids))
	case 3:
		x.apply(NewAllocateProducerIds())
	}
}

// restore plays a restore of the current state, with sections that continue it.
func (x *machine) restore() {
	if x.n("disaster", 0, 4) > 0 || x.s.generation > 3 {
		return
	}
	var objects []FoundObject
	var found []FoundSection
	for range x.n("objects", 0, 4) {
		id := x.s.nextObject + ident.ObjectID(len(objects))
		objects = append(objects, FoundObject{ID: id, Writer: 1, Bytes: 5})
		for range x.n("sections", 0, 3) {
			found = append(found, x.section(id))
		}
	}
	before := hashOf(x.t, x.s)
	plan := PlanRestore(x.s, Restorer{Directory: "restored", Broker: 1}, objects, found)
	if hashOf(x.t, x.s) != before {
		x.t.Fatal("planning changed the state")
	}
	for _, f := range plan.Placed {
		if f.Range.Object != 0 {
			x.seen["restored range"]++
		}
	}
	for _, cmd := range plan.Commands {
		if res := x.apply(cmd); res.Err != nil {
			x.t.Fatalf("%s of the plan: %v", CommandName(cmd), res.Err)
		}
	}
	x.afterRestore()
}

func (x *machine) section(id ident.ObjectID) FoundSection {
	info := x.pickTopic()
	p := int32(x.n("partition", 0, len(info.Partitions)))
	f := FoundSection{Topic: info.ID, Name: info.Name, Creation: info.Creation, Partition: p, PartitionCount: max(p+1, int32(len(info.Partitions)))}
	if x.n("later", 0, 3) == 0 || info.ID == (ident.TopicID{99}) {
		f.Creation = x.s.nextCreation + uint64(x.n("creation", 0, 1))
		f.Topic = ident.TopicID{200, byte(f.Creation), byte(f.Creation >> 8)}
	}
	h, _ := x.s.Head(ident.TopicPartition{Topic: f.Topic, Index: p})
	start := max(0, h.CommittedEnd+ident.Offset(x.n("delta", -5, 15)))
	f.LogStart = h.LogStart + ident.Offset(x.n("logStart", 0, 9))
	f.Range = catalog.Range{Object: id, Start: start, End: start + ident.Offset(x.n("length", 0, 10)), Writer: 1,
		Epoch: h.Leader.Epoch + ident.Epoch(x.n("epoch", 0, 2)), Incarnation: 1}
	if x.n("state", 0, 1) == 0 {
		f.State = catalog.StateRef{Object: id, End: f.Range.End, Writer: 1}
	}
	return f
}

// afterRestore takes over the ends from the state, since the plan has tests of its own. References
// must still add up.
func (x *machine) afterRestore() {
	x.m.ends = map[ident.TopicPartition][2]ident.Offset{}
	for _, info := range x.s.Topics() {
		for _, h := range x.s.Heads(info.ID) {
			x.m.ends[h.Partition] = [2]ident.Offset{h.LogStart, h.CommittedEnd}
			if x.m.manifests[h.Partition] == nil {
				x.m.manifests[h.Partition] = &modelManifest{}
			}
		}
	}
	for _, tp := range slices.Collect(maps.Keys(x.m.manifests)) {
		if _, live := x.m.ends[tp]; !live && len(x.m.manifests[tp].roots) == 0 {
			delete(x.m.manifests, tp)
		}
	}
	x.last = nil
	x.register()
}

// I15: apply(log) = load(snapshot) + apply(rest), for every kind of command. The state also agrees
// with the model all the way (I8, I10).
func TestI15_SnapshotAndRestEqualTheWholeLog(t *testing.T) {
	seen := map[string]int{}
	for range 5 { // until everything that the property is about has happened
		checkI15(t, seen)
		if len(missing(seen)) == 0 {
			return
		}
	}
	t.Errorf("never happened, so that the property says nothing about it: %q", missing(seen))
}

func checkI15(t *testing.T, seen map[string]int) {
	rapid.Check(t, func(t *rapid.T) {
		x := &machine{t: t, s: New(), now: 1_000_000, seen: seen, m: model{
			ends: map[ident.TopicPartition][2]ident.Offset{}, manifests: map[ident.TopicPartition]*modelManifest{},
		}}
		x.apply(NewBootstrap("cluster", dirA))
		x.apply(NewRegisterIncarnation(1, dirA, 0, 0))
		x.apply(NewOpenIncarnation(1))
		x.create()
		for range 80 {
			x.step()
			x.compare()
		}
		want := hashOf(t, x.s)
		at := rapid.IntRange(0, len(x.log)).Draw(t, "snapshot")
		s := New()
		for i, e := range x.log {
			if i == at {
				s = reload(t, s)
			}
			applyBytes(t, s, e)
			cmd, _ := DecodeCommand(e.bytes)
			seen[CommandName(cmd)]++
		}
		if hashOf(t, s) != want || hashOf(t, reload(t, x.s)) != want {
			t.Fatalf("snapshot after %d of %d commands gives another state", at, len(x.log))
		}
	})
}

// missing lists what a run of the property must have met at least once and has not.
func missing(seen map[string]int) []string {
	wanted := []string{
		"verdict 1 not refused", "verdict 2 not refused", "verdict 0 fenced", "verdict 0 beyond the sealed end",
		"verdict 0 not at the committed end", "verdict 0 object not prepared", "verdict 0 state object not live",
		"swap", "release", "release of a deleted topic", "restored range", "conflict of SetConfigs", "conflict of SetBrokerConfigs",
	}
	kinds := (&pb.Command{}).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range kinds.Len() {
		wanted = append(wanted, string(kinds.Get(i).Message().Name()))
	}
	return slices.DeleteFunc(wanted, func(what string) bool { return seen[what] > 0 })
}

func reload(t *rapid.T, s *State) *State {
	b, err := s.EncodeSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := DecodeSnapshot(b)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}
