package load

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// rawTotalBytes is the size of a request of the parts workloads, whatever the number of its
// partitions.
const rawTotalBytes = 100 << 10

// rawWorkloads are the workloads of one connection and one goroutine, and those about idling,
// starting and large numbers.
func rawWorkloads() []Workload {
	ws := []Workload{
		raw("sync-1", 16, "one record of 1 KiB per request, 16 partitions in turn, the next when the last is acknowledged: the floor of latency", runSync1),
		parts("parts-request-1", 1, 1),
		parts("parts-request-100", 100, 100),
		parts("parts-request-1000", 1000, 1000),
		parts("parts-used-1000", 1000, 1),
	}
	ws = append(ws, idleWorkloads()...)
	ws = append(ws, startWorkloads()...)
	ws = append(ws, metaWorkloads()...)
	return append(ws, manyWorkloads()...)
}

// raw makes a row of the table from a function that returns figures.
func raw(name string, partitions int, help string, run figuresFunc) Workload {
	return Workload{
		Name: name, Help: help, Partitions: partitions, RecordBytes: recordBytesDefault,
		run: func(ctx context.Context, t Target, w Workload, o Options) (*Result, error) {
			begin := time.Now()
			f, err := run(ctx, t, w, o)
			return &Result{Shape: w, Begin: begin, End: time.Now(), Figures: f}, err
		},
	}
}

type figures map[string]float64

type figuresFunc func(ctx context.Context, t Target, w Workload, o Options) (figures, error)

func parts(name string, partitions, perRequest int) Workload {
	help := fmt.Sprintf("requests of 100 KiB to %d of a topic's %d partitions, one at a time, ten and ten in turn with requests of the same bytes to one partition: p50_ratio compares the two", perRequest, partitions)
	return raw(name, partitions, help, func(ctx context.Context, t Target, w Workload, o Options) (figures, error) {
		return runParts(ctx, t, w, o, perRequest)
	})
}

// runSync1 measures requests of one record.
func runSync1(ctx context.Context, t Target, w Workload, o Options) (figures, error) {
	batch := w.RecordBytes + 61 + 12 // batch header, and record header of a value of this size
	l, err := openRawLoad(ctx, t, rawShape{rawTopic{rawName("sync-1"), w.Partitions}, 1, batch})
	if err != nil {
		return nil, err
	}
	defer l.close()
	f, err := l.run(ctx, t, o, w.RecordBytes)
	if err != nil {
		return nil, err
	}
	f["mib_per_second"] = f["requests_per_second"] * float64(w.RecordBytes) / mib
	f["records_per_second"] = f["requests_per_second"]
	f.times("ack", l.took[0])
	// A request that is sent when the last is answered has no other intended time.
	f.times("publish", l.took[0])
	return f, l.judge(f)
}

// runParts measures requests of several partitions beside requests of one partition, in one run.
func runParts(ctx context.Context, t Target, w Workload, o Options, perRequest int) (figures, error) {
	if w.Partitions < perRequest || w.Partitions%perRequest != 0 {
		return nil, fmt.Errorf("%w: %d partitions cannot be written to in requests of %d", ErrWorkload, w.Partitions, perRequest)
	}
	many := rawShape{rawTopic{rawName(w.Name), w.Partitions}, perRequest, rawTotalBytes / perRequest}
	one := rawShape{rawTopic{rawName(w.Name + "-one"), 1}, 1, rawTotalBytes}
	l, err := openRawLoad(ctx, t, many, one)
	if err != nil {
		return nil, err
	}
	defer l.close()
	f, err := l.run(ctx, t, o, rawTotalBytes)
	if err != nil {
		return nil, err
	}
	f.times("ack", l.took[0])
	f.times("one_partition_ack", l.took[1])
	f["p50_ratio"] = f["ack_p50_ms"] / f["one_partition_ack_p50_ms"]
	return f, l.judge(f)
}

// rawLoad is one connection whose producers take turns.
type rawLoad struct {
	c         *rawConn
	producers []*rawProducer
	took      [][]time.Duration // per producer, during the time that counts
	counted   time.Duration
}

// rawTurn is how many requests of one shape follow each other. They are enough that all but the
// first follow one of their own kind, and few enough that a disturbance of the machine affects all
// shapes alike.
const rawTurn = 10

// openRawLoad creates the shapes' topics and connects to their leader.
func openRawLoad(ctx context.Context, t Target, shapes ...rawShape) (*rawLoad, error) {
	var topics []rawTopic
	for _, s := range shapes {
		topics = append(topics, s.rawTopic)
	}
	c, err := openTopics(ctx, t, topics...)
	if err != nil {
		return nil, err
	}
	l := &rawLoad{c: c, took: make([][]time.Duration, len(shapes))}
	for i, s := range shapes {
		p, err := newRawProducer(ctx, c, s)
		if err != nil {
			l.close()
			return nil, err
		}
		l.producers = append(l.producers, p)
		l.took[i] = make([]time.Duration, 0, 1<<20)
	}
	return l, nil
}

// openTopics creates topics, waits for their leaders, and returns a connection to the broker that
// leads them.
func openTopics(ctx context.Context, t Target, topics ...rawTopic) (*rawConn, error) {
	seed, err := openRaw(ctx, t.Seeds)
	if err != nil {
		return nil, err
	}
	defer seed.close()
	if _, err := seed.createTopics(topics...); err != nil {
		return nil, err
	}
	var leader string
	for _, topic := range topics {
		if leader, err = seed.awaitLeaders(ctx, topic); err != nil {
			return nil, err
		}
	}
	return openRaw(ctx, []string{leader})
}

// rawName is the name of a topic that no earlier run has left behind.
func rawName(what string) string {
	return fmt.Sprintf("bench-%s-%x", what, time.Now().UnixNano())
}

func (l *rawLoad) close() {
	for _, p := range l.producers {
		_, _ = l.c.deleteTopics(p.shape.name) // a broker that is gone keeps its topics
	}
	l.c.close()
}

// run produces for the warm-up (at least until every partition has been written to) and then for
// the duration. Every request has the given number of bytes.
func (l *rawLoad) run(ctx context.Context, t Target, o Options, requestBytes int) (figures, error) {
	warm := time.Now().Add(o.Warmup)
	for time.Now().Before(warm) || slices.ContainsFunc(l.producers, (*rawProducer).inFirstRound) {
		if err := l.turns(ctx, false); err != nil {
			return nil, err
		}
	}
	before, start := sampleUsage(t.Processes), time.Now()
	for l.counted < o.Duration {
		if err := l.turns(ctx, true); err != nil {
			return nil, err
		}
		l.counted = time.Since(start)
	}
	after := sampleUsage(t.Processes)
	requests := 0
	for _, took := range l.took {
		requests += len(took)
	}
	f := figures{"requests_per_second": float64(requests) / l.counted.Seconds()}
	after.figures(&before, l.counted.Seconds(), float64(requests*requestBytes)/gib, float64(requests), f)
	return f, nil
}

// turns lets each producer send its requests.
func (l *rawLoad) turns(ctx context.Context, count bool) error {
	for i, p := range l.producers {
		for range rawTurn {
			took, err := p.produce(ctx)
			if err != nil {
				return errors.Join(err, ctx.Err())
			}
			if count {
				l.took[i] = append(l.took[i], took)
			}
		}
	}
	return nil
}

// judge adds what became of all acknowledged records.
func (l *rawLoad) judge(f figures) error {
	f["errors"] = 0 // the first error ends the run
	for _, p := range l.producers {
		lost, duplicates, err := p.verify()
		if err != nil {
			return err
		}
		f["lost"] += float64(lost)
		f["duplicates"] += float64(duplicates)
	}
	return nil
}

// times adds a distribution in milliseconds. It sorts its argument.
func (f figures) times(what string, took []time.Duration) {
	slices.Sort(took)
	for _, q := range quantiles {
		f[what+"_"+q.name+"_ms"] = millis(quantile(took, q.q/100))
	}
}

// quantile returns the smallest value that at least this part of the sorted values does not exceed,
// or 0 if there are no values.
func quantile(sorted []time.Duration, part float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	at := int(math.Ceil(part * float64(len(sorted))))
	return sorted[min(max(at, 1), len(sorted))-1]
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
