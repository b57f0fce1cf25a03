package load

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	manyPerTopic   = 1000 // Kafka refuses to create 10,000 partitions at once
	manyPerRequest = 100
)

func manyWorkloads() []Workload {
	const help = "creates %d partitions (topics of 1,000), writes one record of 1 KiB to each in requests of 100 partitions, twice, and, where the broker can be started (--exec), does so again after a clean stop and after kill -9. Figures in µs per partition"
	return []Workload{
		raw("many-partitions-1k", 1000, fmt.Sprintf(help, 1000), runManyPartitions),
		raw("many-partitions-10k", 10_000, fmt.Sprintf(help, 10_000), runManyPartitions),
	}
}

// many is a number of topics with many partitions between them.
type many struct{ topics []rawTopic }

func (m *many) partitions() int { return len(m.topics) * manyPerTopic }

// createMany creates the given number of partitions and waits until each has a leader.
func createMany(ctx context.Context, t Target, o Options, partitions int) (*many, error) {
	m := new(many)
	seed, err := openRaw(ctx, t.Seeds)
	if err != nil {
		return nil, err
	}
	defer seed.close()
	o.say("creating %d partitions", partitions)
	for len(m.topics) < partitions/manyPerTopic {
		topic := rawTopic{rawName("many"), manyPerTopic}
		if _, err := seed.createTopics(topic); err != nil {
			return nil, err
		}
		m.topics = append(m.topics, topic)
	}
	return m, m.await(ctx, seed)
}

func (m *many) await(ctx context.Context, c *rawConn) error {
	for _, topic := range m.topics {
		if _, err := c.awaitLeaders(ctx, topic); err != nil {
			return err
		}
	}
	return nil
}

// drop deletes them all. If the broker has ended, they stay.
func (m *many) drop(ctx context.Context, t Target) {
	c, err := openRaw(ctx, t.Seeds)
	if err != nil {
		return
	}
	defer c.close()
	for _, topic := range m.topics {
		_, _ = c.deleteTopics(topic.name)
	}
}

// produceToAll writes a batch of one record to every partition and returns how long that took.
func (m *many) produceToAll(ctx context.Context, t Target) (time.Duration, error) {
	start := time.Now()
	for _, topic := range m.topics {
		p, err := openProducer(ctx, t, rawShape{topic, manyPerRequest, recordBytesDefault})
		if err != nil {
			return 0, err
		}
		for range manyPerTopic / manyPerRequest {
			if _, err = p.produce(ctx); err != nil {
				break
			}
		}
		p.c.close()
		if err != nil {
			return 0, err
		}
	}
	return time.Since(start), nil
}

func runManyPartitions(ctx context.Context, t Target, w Workload, o Options) (f figures, err error) {
	if t.Restart != nil {
		if _, err := t.begin(ctx); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, t.Restart.Stop(true)) }()
	}
	start := time.Now()
	m, err := createMany(ctx, t, o, o.scaled(w.Partitions, manyPerTopic))
	if err != nil {
		return nil, err
	}
	defer m.drop(ctx, t)
	f = figures{"partitions": float64(m.partitions())}
	f.perPartition(m, "create", time.Since(start))
	for _, what := range []string{"first_produce", "second_produce"} {
		took, err := m.produceToAll(ctx, t)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		f.perPartition(m, what, took)
	}
	if t.Restart == nil {
		return f, nil
	}
	if err := f.restart(ctx, t, o, m, "clean", false); err != nil {
		return nil, fmt.Errorf("after a clean stop: %w", err)
	}
	return f, f.restart(ctx, t, o, m, "killed", true)
}

func (f figures) perPartition(m *many, what string, took time.Duration) {
	f[what+"_us_per_partition"] = float64(took.Microseconds()) / float64(m.partitions())
	f[what+"_ms"] = millis(took)
}

// restart ends the broker and starts it. It measures the time to the first answer, to the first
// record, and until every partition has taken a record.
func (f figures) restart(ctx context.Context, t Target, o Options, m *many, kind string, kill bool) error {
	stop := time.Now()
	if err := t.Restart.Stop(kill); err != nil {
		return err
	}
	f.perPartition(m, kind+"_stop", time.Since(stop))
	b, err := t.begin(ctx)
	if err != nil {
		return err
	}
	if err := firstAck(ctx, t, m.topics[0]); err != nil {
		return err
	}
	ack := time.Since(b.at)
	if _, err := m.produceToAll(ctx, t); err != nil {
		return err
	}
	f[kind+"_first_answer_ms"] = millis(b.firstAnswer)
	f.perPartition(m, kind+"_first_ack", ack)
	f.perPartition(m, kind+"_restart_to_all", time.Since(b.at))
	o.say("%s restart: first answer %.0f ms, first ack %.0f ms, all %.0f ms", kind, millis(b.firstAnswer), millis(ack), millis(time.Since(b.at)))
	return nil
}
