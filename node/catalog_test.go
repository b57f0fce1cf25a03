package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/broker"
	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/metadata/pb"
	"github.com/sluicemq/sluice/storage"
	"github.com/sluicemq/sluice/storage/bucket/mem"
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

// TestAppliedHereBeforeItAnswers: a change that the catalog has answered is applied on this node:
// the next lookup shows it, and storage acts on it. Handlers rely on that: whatever a client was
// told holds for its next request.
func TestAppliedHereBeforeItAnswers(t *testing.T) {
	r := serve(t, filepath.Join(t.TempDir(), "n"), mem.New())
	ctx := within(t)
	for i := range 50 {
		name := fmt.Sprintf("t-%d", i)
		made := r.create(name, 1, nil)
		if now, ok := r.cat.TopicByName(name); !ok || now.ID != made.ID {
			t.Fatalf("created, and the catalog shows %v", now)
		}
		first, second := ident.TopicPartition{Topic: made.ID}, ident.TopicPartition{Topic: made.ID, Index: 1}
		if _, err := r.engine.LogBytes(first); err != nil {
			t.Fatalf("created, and storage says: %v", err)
		}
		if err := r.cat.CreatePartitions(ctx, made.ID, 2); err != nil {
			t.Fatal(err)
		}
		if _, err := r.engine.LogBytes(second); err != nil {
			t.Fatalf("grown, and storage says: %v", err)
		}
		set := map[string]string{"retention.ms": fmt.Sprint(i + 1)}
		if err := r.cat.SetConfigs(ctx, made.ID, made.Configs, set); err != nil {
			t.Fatal(err)
		}
		if now, _ := r.cat.TopicByID(made.ID); now.Configs["retention.ms"] != set["retention.ms"] {
			t.Fatalf("set, and the catalog shows %v", now.Configs)
		}
		before := r.cat.BrokerConfigs(1)
		if err := r.cat.SetBrokerConfigs(ctx, 1, before, map[string]string{"max.connections": fmt.Sprint(1000 + i)}); err != nil {
			t.Fatal(err)
		}
		if got := r.shown(kmsg.ConfigResourceTypeBroker, "1", "max.connections"); got != fmt.Sprintf("%d/2", 1000+i) {
			t.Fatalf("set, and the broker shows %s", got)
		}
		if err := r.cat.DeleteTopic(ctx, made.ID); err != nil {
			t.Fatal(err)
		}
		if _, ok := r.cat.TopicByID(made.ID); ok {
			t.Fatal("deleted, and the catalog shows it")
		}
		if _, err := r.engine.LogBytes(first); !errors.Is(err, storage.ErrUnknownPartition) {
			t.Fatalf("deleted, and storage says: %v", err)
		}
	}
}
