package metadata

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata/pb"
)

// TestClassStandsInTheLeadership: a partition's class is its topic's when it is made, and goes with
// the leadership from incarnation to incarnation, over snapshots, and over a restore.
func TestClassStandsInTheLeadership(t *testing.T) {
	f := newFixture(t)
	want := map[ident.TopicID]catalog.Class{f.topic: catalog.ClassLocal}
	for i, class := range []catalog.Class{catalog.ClassLocal, catalog.ClassReplicated, catalog.ClassObject} {
		id := ident.TopicID{15: byte(10 + i)}
		f.ok(NewCreateTopic(TopicSpec{
			ID: id, Name: class.String(), Partitions: 1, Configs: map[string]string{catalog.ConfigDurability: class.String()},
		}))
		want[id] = class
	}
	check := func(when string, s *State) {
		t.Helper()
		for id, class := range want {
			topic, _ := s.Topic(id)
			h, _ := s.Head(ident.TopicPartition{Topic: id, Index: int32(len(topic.Partitions) - 1)})
			if h.Leader.Class != class || topic.Partitions[0].Class != class {
				t.Errorf("%s: %s has class %s in its head and %s in its topic", when, topic.Name, h.Leader.Class, topic.Partitions[0].Class)
			}
			for _, l := range h.Past {
				if l.Class != class {
					t.Errorf("%s: %s had class %s", when, topic.Name, l.Class)
				}
			}
		}
	}
	check("created", f.s)
	f.restart(4096)
	f.ok(NewCreatePartitions(f.topic, 4))
	check("a new incarnation", f.s)
	b := encode(t, f.s)
	if b[4] != 1 {
		t.Errorf("classes that the configs tell raised the snapshot to version %d", b[4])
	}
	check("a snapshot as earlier releases wrote it", mustDecode(t, b))
	for _, cmd := range PlanRestore(f.s, Restorer{Directory: dirB, Broker: 1}, nil, nil).Commands {
		f.ok(cmd)
	}
	check("restored", f.s)
}

// TestClassThatDiffersFromTheConfigs: a class in force that the configs do not tell is written
// down, in a version that older builds refuse.
func TestClassThatDiffersFromTheConfigs(t *testing.T) {
	f := newFixture(t)
	p := f.s.snapshot()
	p.Topics[0].Heads[1].Leader.Class = pb.Class_CLASS_OBJECT
	s, err := stateFrom(proto.Clone(p).(*pb.Snapshot))
	if err != nil {
		t.Fatal(err)
	}
	b := encode(t, s)
	if b[4] != 3 {
		t.Errorf("snapshot version %d", b[4])
	}
	again := mustDecode(t, b)
	for i, want := range []catalog.Class{catalog.ClassLocal, catalog.ClassObject} {
		if h, _ := again.Head(f.part(int32(i))); h.Leader.Class != want {
			t.Errorf("partition %d: class %s, want %s", i, h.Leader.Class, want)
		}
	}
	p.Topics[0].Heads[1].Leader.Class = 9
	if s, err = stateFrom(p); err == nil {
		err = s.Check()
	}
	if err == nil {
		t.Error("an unknown class is taken")
	}
}

func mustDecode(t *testing.T, b []byte) *State {
	t.Helper()
	s, err := DecodeSnapshot(b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
