package load

import (
	"context"
	"fmt"
	"time"
)

const (
	metaSingles    = 200 // topics that are created, then deleted, one by one
	metaBatch      = 100 // topics in one request
	metaBatches    = 10
	metaBatchParts = 1
)

func metaWorkloads() []Workload {
	return []Workload{raw("meta-ops", 1, "creates and deletes topics one by one and 100 per request, and asks for Metadata while 10,000 partitions exist: of one topic of 16 partitions, and of everything", runMetaOps)}
}

func runMetaOps(ctx context.Context, t Target, _ Workload, o Options) (figures, error) {
	c, err := openRaw(ctx, t.Seeds)
	if err != nil {
		return nil, err
	}
	defer c.close()
	f := make(figures)
	if err := metaTopics(f, c, "create_topic", "delete_topic", o.scaled(metaSingles, 1), 1); err != nil {
		return nil, err
	}
	if err := metaTopics(f, c, "create_100_topics", "delete_100_topics", o.scaled(metaBatches, 1), metaBatch); err != nil {
		return nil, err
	}
	return f, metaAnswers(ctx, t, o, f)
}

// metaTopics creates topics in count requests of perRequest topics each, and deletes them in the
// same way.
func metaTopics(f figures, c *rawConn, create, drop string, count, perRequest int) error {
	var names [][]string
	var created, deleted []time.Duration
	for range count {
		topics := make([]rawTopic, perRequest)
		batch := make([]string, perRequest)
		for i := range topics {
			topics[i] = rawTopic{fmt.Sprintf("%s-%d", rawName("meta"), i), metaBatchParts}
			batch[i] = topics[i].name
		}
		took, err := c.createTopics(topics...)
		if err != nil {
			return err
		}
		names, created = append(names, batch), append(created, took)
	}
	for _, batch := range names {
		took, err := c.deleteTopics(batch...)
		if err != nil {
			return err
		}
		deleted = append(deleted, took)
	}
	f.operations(create, created, perRequest)
	f.operations(drop, deleted, perRequest)
	return nil
}

// operations adds how long requests took and how many topics a second that makes.
func (f figures) operations(what string, took []time.Duration, perRequest int) {
	var sum time.Duration
	for _, d := range took {
		sum += d
	}
	f[what+"_topics_per_second"] = float64(len(took)*perRequest) / sum.Seconds()
	f.times(what, took)
}

// metaAnswers measures Metadata when there are many partitions.
func metaAnswers(ctx context.Context, t Target, o Options, f figures) error {
	m, err := createMany(ctx, t, o, o.scaled(idleCount, manyPerTopic))
	if err != nil {
		return err
	}
	defer m.drop(ctx, t)
	small := rawTopic{rawName("meta-small"), 16}
	c, err := openTopics(ctx, t, small)
	if err != nil {
		return err
	}
	defer c.close()
	defer func() { _, _ = c.deleteTopics(small.name) }()
	if err := f.metadata(c, "metadata_one_topic", o.Duration/2, small.name); err != nil {
		return err
	}
	f["partitions"] = float64(m.partitions())
	return f.metadata(c, "metadata_all", o.Duration/2)
}

// metadata asks again and again for the named topics, or for all.
func (f figures) metadata(c *rawConn, what string, d time.Duration, names ...string) error {
	var took []time.Duration
	for start := time.Now(); len(took) == 0 || time.Since(start) < d; {
		at := time.Now()
		resp, err := c.metadata(names...)
		if err != nil {
			return err
		}
		took = append(took, time.Since(at))
		for i := range resp.Topics {
			if code := resp.Topics[i].ErrorCode; code != 0 {
				return answered("Metadata", code)
			}
		}
	}
	f[what+"_answer_kib"] = float64(len(c.in)) / kib
	f.times(what, took)
	return nil
}
