package load

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	startRounds     = 5
	startWALBytes   = 256 << 20
	startPartitions = 16
)

func startWorkloads() []Workload {
	return []Workload{
		raw("cold-start", startPartitions, "starts the broker five times after a clean stop and five times after kill -9 with little in its log: from exec to the first answer (ApiVersions) and to the first acknowledged record. Wants --exec, with the broker not running; the first start (an empty folder) is told apart",
			func(ctx context.Context, t Target, w Workload, o Options) (figures, error) {
				return runColdStart(ctx, t, w, o, 0)
			}),
		raw("cold-start-wal", startPartitions, "the same with 256 MiB written before each kill -9. How much of it the broker has to read again is its own affair: hold its flush back (SLUICE_FLUSH_INTERVAL=1h SLUICE_FLUSH_BYTES=4GiB) to have it all in the log, which then has 256 MiB at the first of the five and 1.25 GiB at the last. Wants --exec",
			func(ctx context.Context, t Target, w Workload, o Options) (figures, error) {
				return runColdStart(ctx, t, w, o, startWALBytes)
			}),
	}
}

// starts collects how long the starts of one kind took.
type starts struct{ answer, ack, stop []time.Duration }

// runColdStart starts the broker again and again. fill is how many bytes are written before each
// kill.
func runColdStart(ctx context.Context, t Target, w Workload, o Options, fill int) (f figures, err error) {
	first, err := t.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.Restart.Stop(true)) }()
	f = figures{"first_start_answer_ms": millis(first.firstAnswer)}
	topic := rawTopic{rawName(w.Name), w.Partitions}
	c, err := openTopics(ctx, t, topic)
	if err != nil {
		return nil, err
	}
	c.close()
	f["first_start_ack_ms"] = millis(time.Since(first.at)) // with the creation of the topic
	var clean, killed starts
	if fill == 0 {
		if err := clean.repeat(ctx, t, o, topic, 0, false); err != nil {
			return nil, fmt.Errorf("after a clean stop: %w", err)
		}
		f.starts("clean", clean)
	}
	if err := killed.repeat(ctx, t, o, topic, fill, true); err != nil {
		return nil, fmt.Errorf("after kill -9: %w", err)
	}
	f.starts("killed", killed)
	return f, nil
}

// repeat ends and starts the broker several times.
func (s *starts) repeat(ctx context.Context, t Target, o Options, topic rawTopic, fill int, kill bool) error {
	for i := range startRounds {
		if err := fillTopic(ctx, t, topic, fill); err != nil {
			return err
		}
		stop := time.Now()
		if err := t.Restart.Stop(kill); err != nil {
			return err
		}
		s.stop = append(s.stop, time.Since(stop))
		b, err := t.begin(ctx)
		if err != nil {
			return err
		}
		if err := firstAck(ctx, t, topic); err != nil {
			return err
		}
		s.answer = append(s.answer, b.firstAnswer)
		s.ack = append(s.ack, time.Since(b.at))
		o.say("start %d: first answer %.0f ms, first ack %.0f ms", i+1, millis(b.firstAnswer), millis(s.ack[i]))
	}
	return nil
}

// firstAck tries until a record is acknowledged, as a client does that is told to try again.
func firstAck(ctx context.Context, t Target, topic rawTopic) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		err := ackOne(ctx, t, topic)
		if err == nil {
			return nil
		}
		if ended := wait(ctx, startPoll); ended != nil {
			return errors.Join(ended, err)
		}
	}
}

func ackOne(ctx context.Context, t Target, topic rawTopic) error {
	p, err := openProducer(ctx, t, rawShape{topic, 1, recordBytesDefault})
	if err != nil {
		return err
	}
	defer p.c.close()
	_, err = p.produce(ctx)
	return err
}

// openProducer connects to the leader of an existing topic.
func openProducer(ctx context.Context, t Target, s rawShape) (*rawProducer, error) {
	seed, err := openRaw(ctx, t.Seeds)
	if err != nil {
		return nil, err
	}
	leader, err := seed.awaitLeaders(ctx, s.rawTopic)
	seed.close()
	if err != nil {
		return nil, err
	}
	c, err := openRaw(ctx, []string{leader})
	if err != nil {
		return nil, err
	}
	p, err := newRawProducer(ctx, c, s)
	if err != nil {
		c.close()
		return nil, err
	}
	return p, nil
}

// fillTopic writes the given number of bytes, in requests to all partitions.
func fillTopic(ctx context.Context, t Target, topic rawTopic, bytes int) error {
	if bytes == 0 {
		return nil
	}
	p, err := openProducer(ctx, t, rawShape{topic, topic.partitions, rawTotalBytes})
	if err != nil {
		return err
	}
	defer p.c.close()
	for sent := 0; sent < bytes; sent += len(p.c.out) {
		if _, err := p.produce(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (f figures) starts(kind string, s starts) {
	f.spread(kind+"_first_answer_ms", s.answer)
	f.spread(kind+"_first_ack_ms", s.ack)
	f.spread(kind+"_stop_ms", s.stop)
}

// spread adds the median under the name itself, and the smallest and the largest beside it.
func (f figures) spread(name string, d []time.Duration) {
	sorted := slices.Sorted(slices.Values(d))
	f[name] = millis(quantile(sorted, .5))
	f[name+"_min"] = millis(quantile(sorted, 0))
	f[name+"_max"] = millis(quantile(sorted, 1))
}
