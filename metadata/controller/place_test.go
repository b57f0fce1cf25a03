package controller

import (
	"fmt"
	"slices"
	"testing"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/metadata/pb"
)

// cluster is a state machine with brokers. Each command goes through its encoding.
type cluster struct {
	t     *testing.T
	s     *metadata.State
	index uint64
}

func (c *cluster) apply(cmd *pb.Command) metadata.Result {
	c.t.Helper()
	cmd.TimeMs = 1
	cmd.RequestId = fmt.Appendf(nil, "%016d", c.index)
	b, err := metadata.EncodeCommand(cmd)
	if err != nil {
		c.t.Fatal(err)
	}
	decoded, err := metadata.DecodeCommand(b)
	if err != nil {
		c.t.Fatal(err)
	}
	c.index++
	res, err := c.s.Apply(c.index, decoded)
	if err != nil {
		c.t.Fatal(err)
	}
	return res
}

func newCluster(t *testing.T, brokers ...int32) *cluster {
	c := &cluster{t: t, s: metadata.New()}
	c.apply(metadata.NewBootstrap("cluster", "directory"))
	for _, node := range brokers {
		if res := c.apply(metadata.NewRegisterIncarnation(node, fmt.Sprint("directory-", node), 0, 0)); res.Err != nil {
			t.Fatal(res.Err)
		}
	}
	return c
}

func leadersOf(t *catalog.Topic) (nodes []int32) {
	for _, l := range t.Partitions {
		nodes = append(nodes, l.Broker)
	}
	return nodes
}

// Each topic begins at another broker. For added partitions the turn goes on where it ended.
func TestPlacement(t *testing.T) {
	c := newCluster(t, 1, 4, 7)
	for i, want := range [][]int32{{4, 7, 1, 4}, {7, 1, 4, 7}, {1, 4, 7, 1}} {
		id := ident.TopicID{0: byte(i + 1)}
		res := c.apply(metadata.NewCreateTopic(metadata.TopicSpec{
			ID: id, Name: fmt.Sprint("t", i), Partitions: 4, Leaders: PlaceTopic(c.s, 4),
		}))
		if res.Err != nil || !slices.Equal(leadersOf(res.Topic), want) {
			t.Fatalf("topic %d is led by %v (%v), want %v", i, leadersOf(res.Topic), res.Err, want)
		}
		grown := c.apply(metadata.NewCreatePartitions(id, 6, PlacePartitions(c.s, res.Topic.Creation, 4, 6)...))
		more := []int32{want[1], want[2]}
		if grown.Err != nil || !slices.Equal(leadersOf(grown.Topic)[4:], more) {
			t.Fatalf("topic %d grows by partitions led by %v (%v), want %v", i, leadersOf(grown.Topic)[4:], grown.Err, more)
		}
	}
	if got := PlaceTopic(newCluster(t).s, 3); got != nil {
		t.Errorf("placement without a broker: %v", got)
	}
}

// The state machine checks a placement against the brokers and partitions that exist.
func TestPlacementIsJudged(t *testing.T) {
	c := newCluster(t, 1, 2)
	create := func(name string, leaders ...int32) error {
		return c.apply(metadata.NewCreateTopic(metadata.TopicSpec{
			ID: ident.TopicID{0: name[0]}, Name: name, Partitions: 2, Leaders: leaders,
		})).Err
	}
	for _, tc := range []struct {
		name    string
		leaders []int32
		want    error
	}{
		{"a", []int32{2, 2}, nil},
		{"b", []int32{2, 3}, metadata.ErrNoBroker},
		{"c", []int32{1}, catalog.ErrConflict},
		{"d", []int32{1, 2, 1}, catalog.ErrConflict},
		{"e", nil, nil}, // like the commands of earlier releases
	} {
		if err := create(tc.name, tc.leaders...); err != tc.want {
			t.Errorf("leaders %v: %v, want %v", tc.leaders, err, tc.want)
		}
	}
	stale := PlacePartitions(c.s, 1, 2, 5)
	if err := c.apply(metadata.NewCreatePartitions(ident.TopicID{0: 'a'}, 3, 1)).Err; err != nil {
		t.Fatal(err)
	}
	if err := c.apply(metadata.NewCreatePartitions(ident.TopicID{0: 'a'}, 5, stale...)).Err; err != catalog.ErrConflict {
		t.Errorf("a placement made before the topic grew: %v, want a conflict", err)
	}
	if topic, _ := c.s.TopicByName("b"); topic != nil {
		t.Error("a refused topic exists")
	}
}
