package node

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sluicemq/sluice/broker"
	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/metadata/pb"
)

// doubtful is a quorum that applies every command, and says for the first few that the outcome is
// unknown.
type doubtful struct {
	state *metadata.State
	index uint64
	doubt int
}

func (d *doubtful) Propose(_ context.Context, cmd *pb.Command) (metadata.Result, error) {
	d.index++
	res, err := d.state.Apply(d.index, cmd)
	if err == nil && d.doubt > 0 {
		d.doubt--
		return metadata.Result{}, catalog.ErrUnavailable
	}
	return res, err
}

func (d *doubtful) Barrier(context.Context) error   { return nil }
func (d *doubtful) View(show func(*metadata.State)) { show(d.state) }
func (d *doubtful) must(t *testing.T, cmd *pb.Command) {
	t.Helper()
	if res, err := d.Propose(t.Context(), cmd); err != nil || res.Err != nil {
		t.Fatal(err, res.Err)
	}
}

// An administrative command whose outcome was unknown gets the answer of its first application.
func TestI13_RepeatedCommandAnswersAsItsFirst(t *testing.T) {
	q := &doubtful{state: metadata.New()}
	q.must(t, metadata.NewBootstrap("AAAAAAAAAAAAAAAAAAAAAA", "dir"))
	q.must(t, metadata.NewRegisterIncarnation(1, "dir", 0, 0))
	c := NewCatalog(q, broker.Node{ID: 1}, "dir", time.Now)

	q.doubt = 2
	created, err := c.CreateTopic(t.Context(), broker.TopicSpec{Name: "t", Partitions: 1, ReplicationFactor: 1})
	if err != nil || created == nil {
		t.Fatalf("create after two unknown outcomes: %v, %v", created, err)
	}
	if got, ok := c.TopicByName("t"); !ok || got.ID != created.ID {
		t.Fatalf("the topic is %v, the answer said %v", got, created)
	}
	if _, err := c.CreateTopic(t.Context(), broker.TopicSpec{Name: "t", Partitions: 1, ReplicationFactor: 1}); !errors.Is(err, catalog.ErrTopicExists) {
		t.Fatalf("another request for the same name: %v", err)
	}
	q.doubt = 1
	if err := c.DeleteTopic(t.Context(), created.ID); err != nil {
		t.Fatalf("delete after an unknown outcome: %v", err)
	}
	if _, ok := c.TopicByName("t"); ok {
		t.Fatal("the topic is still there")
	}
}
