package load

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// topicsWithin bounds the creation of a workload's topics, even with ten thousand partitions.
const topicsWithin = 2 * time.Minute

// admin makes and deletes topics.
type admin struct {
	client *kgo.Client
	kadm   *kadm.Client
}

func newAdmin(seeds []string) (*admin, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.ClientID("bench"), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		return nil, err
	}
	a := &admin{cl, kadm.NewClient(cl)}
	a.kadm.SetTimeoutMillis(int32(topicsWithin.Milliseconds()))
	return a, nil
}

func (a *admin) close() { a.client.Close() }

// create makes topics and waits until every partition has a leader.
func (a *admin) create(ctx context.Context, w *Workload, names []string) error {
	ctx, cancel := context.WithTimeout(ctx, topicsWithin)
	defer cancel()
	if !w.Reuse {
		replication := int16(-1)
		if w.Replication > 0 {
			replication = int16(w.Replication)
		}
		rs, err := a.kadm.CreateTopics(ctx, int32(w.Partitions), replication, topicConfigs(w), names...)
		if err != nil {
			return fmt.Errorf("create topics: %w", err)
		}
		for _, r := range rs.Sorted() {
			if r.Err != nil {
				return fmt.Errorf("create topic %s: %w %s", r.Topic, r.Err, r.ErrMessage)
			}
		}
	}
	return a.led(ctx, w, names)
}

func topicConfigs(w *Workload) map[string]*string {
	configs := make(map[string]*string)
	for k, v := range w.TopicConfigs {
		configs[k] = &v
	}
	if w.RetentionBytes > 0 {
		configs["retention.bytes"] = new(strconv.FormatInt(w.RetentionBytes, 10))
	}
	return configs
}

// led waits for leaders.
func (a *admin) led(ctx context.Context, w *Workload, names []string) error {
	for {
		d, err := a.kadm.ListTopics(ctx, names...)
		if err != nil {
			return fmt.Errorf("list topics: %w", err)
		}
		missing := ""
		for _, name := range names {
			t := d[name]
			if t.Err != nil && !kerr.IsRetriable(t.Err) {
				return fmt.Errorf("topic %s: %w", name, t.Err)
			}
			if t.Err != nil || len(t.Partitions) < w.Partitions || slices.ContainsFunc(slices.Collect(maps.Values(t.Partitions)), leaderless) {
				missing = name
			}
		}
		if missing == "" {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("topic %s: not every partition has a leader: %w", missing, ctx.Err())
		}
	}
}

func leaderless(p kadm.PartitionDetail) bool { return p.Err != nil || p.Leader < 0 }

// remove deletes topics and groups.
func (a *admin) remove(topics, groups []string) error {
	// Topics are removed after an interrupt as well.
	ctx, cancel := context.WithTimeout(context.Background(), topicsWithin)
	defer cancel()
	if len(groups) > 0 {
		// A member may still be leaving. The groups hold nothing.
		_, _ = a.kadm.DeleteGroups(ctx, groups...)
	}
	rs, err := a.kadm.DeleteTopics(ctx, topics...)
	if err != nil {
		return fmt.Errorf("delete topics: %w", err)
	}
	for _, r := range rs.Sorted() {
		if r.Err != nil {
			return fmt.Errorf("delete topic %s: %w", r.Topic, r.Err)
		}
	}
	return nil
}
