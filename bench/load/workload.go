package load

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"
)

// Workload is a load on a cluster. Those of [Workloads] are named and defined as in OpenMessaging
// Benchmark if it has them. Take one and change its fields to make another.
type Workload struct {
	Name, Help string

	// Topics. The run creates them, and deletes them at its end.
	Topics      int
	Partitions  int // of each topic
	Replication int // 0 is the cluster's default
	TopicPrefix string
	// RetentionBytes is per partition, so that long runs fit a disk. 0 is the cluster's default.
	RetentionBytes int64
	TopicConfigs   map[string]string
	// Reuse reads the records in existing topics named TopicPrefix-0….
	Reuse bool
	Keep  bool // do not delete the topics

	// The fields about producing. Producers is the number of clients, with a connection each. If
	// there are several topics, each producer writes all of them unless OwnTopic is set.
	Producers int
	OwnTopic  bool    // producer i writes topic i mod Topics only
	Rate      float64 // records/s of all producers together; 0 for as fast as possible
	// FindMax looks for the highest Rate with which publishing and consuming keep up, as OMB does.
	FindMax     bool
	RecordBytes int // of a value, at least EnvelopeBytes
	// RandomRatio is the part of a value's bytes that is random; the rest is zeros. It matters
	// with compression.
	RandomRatio float64
	Codec       string // none, lz4, zstd, snappy, gzip
	Linger      time.Duration
	BatchBytes  int32
	Spread      bool   // each record goes to the next partition, as with keys
	InFlight    int    // unanswered produce requests per connection; 0 is kgo's default
	Acks        string // all, leader or none; the latter two are not idempotent
	Idempotent  bool

	// The fields about consuming.
	Subscriptions int // each reads everything
	Consumers     int // clients per subscription; with OwnTopic, per topic and subscription
	// Partitions are assigned by hand; otherwise a subscription is a consumer group.
	Direct bool

	// The fields about phases.
	Warmup, Duration time.Duration // Options override them; 0 is 10 s and 20 s
	// How much the last subscription lets pile up before it drains that.
	BacklogBytes int64
	FillBytes    int64 // written before the reading of the fetch workloads

	// Nil to produce and consume.
	run func(context.Context, Target, Workload, Options) (*Result, error)
}

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// ombTopic is OpenMessaging Benchmark's "1-topic-100-partitions-1kb-4p-4c" with its Kafka driver:
// acks=all, linger 1 ms, no key, payloads half random. Idempotence is Kafka's default since 3.0.
var ombTopic = Workload{
	Topics: 1, Partitions: 100, Producers: 4, RecordBytes: kib, RandomRatio: 0.5, Codec: "none",
	Linger: time.Millisecond, BatchBytes: mib, Acks: "all", Idempotent: true, Subscriptions: 1, Consumers: 4,
}

func derive(name, help string, change func(*Workload)) Workload {
	w := ombTopic
	w.Name, w.Help = name, help
	change(&w)
	return w
}

// Workloads returns all workloads that have a name, in the order in which to read about them.
func Workloads() []Workload {
	ws := []Workload{
		derive("omb-latency", "200,000 records/s of 1 KiB into 100 partitions and out again, linger 1 ms: how long does a record take?",
			func(w *Workload) { w.Rate, w.BatchBytes = 200_000, 128*kib }),
		derive("omb-throughput", "the same with batches up to 1 MiB and no rate: how much goes through?",
			func(*Workload) {}),
		derive("omb-max", "looks for the highest rate that producers and consumers keep up with, as OMB's rate controller does: from 10,000/s, changed every 3 s",
			func(w *Workload) { w.FindMax, w.Warmup, w.Duration = true, time.Minute, time.Minute }),
	}
	for _, n := range []struct {
		name       string
		partitions int
	}{{"100", 100}, {"1k", 1000}, {"10k", 10_000}} {
		ws = append(ws, derive("omb-parts-"+n.name, fmt.Sprintf("200,000 records/s of 1 KiB over %d partitions of one topic", n.partitions),
			func(w *Workload) { w.Rate, w.Partitions = 200_000, n.partitions }))
	}
	for _, n := range []int{1, 3, 10} {
		ws = append(ws, derive(fmt.Sprintf("omb-fanout-%d", n), fmt.Sprintf("150,000 records/s over 100 topics with a producer each, read by %d groups", n),
			func(w *Workload) {
				w.Rate, w.Topics, w.Partitions, w.Producers, w.OwnTopic = 150_000, 100, 1, 100, true
				w.Subscriptions, w.Consumers = n, 1
			}))
	}
	ws = append(ws,
		derive("omb-backlog", "200,000 records/s; a group stands still until 512 GiB wait for it (see --scale) and then catches up beside a group that is always there",
			func(w *Workload) { w.Rate, w.Subscriptions, w.BacklogBytes = 200_000, 2, 512*gib }),
		derive("small-batch", "20,000 records/s of 100 B sent at once, linger 0: what does a request cost?",
			func(w *Workload) { w.Rate, w.Partitions, w.RecordBytes, w.Linger, w.Consumers = 20_000, 16, 100, 0, 1 }),
		derive("fetch-hot", "writes 1.5 GiB, then reads it again and again: fetching from memory",
			func(w *Workload) {
				w.Partitions, w.Consumers, w.Direct, w.FillBytes, w.Warmup, w.run = 16, 1, true, 3*gib/2, 5*time.Second, runFetch
			}),
		derive("fetch-cold", "reads everything once from the start; with --reuse what is there already (restart the broker and drop the caches before)",
			func(w *Workload) {
				w.Partitions, w.Consumers, w.Direct, w.FillBytes, w.Warmup, w.run = 16, 1, true, 4*gib, -1, runFetch
			}),
	)
	return append(ws, rawWorkloads()...)
}

// Named finds a workload.
func Named(name string) (Workload, bool) {
	ws := Workloads()
	i := slices.IndexFunc(ws, func(w Workload) bool { return w.Name == name })
	if i < 0 {
		return Workload{}, false
	}
	return ws[i], true
}

// scaled fits a workload to a smaller machine. If every topic has its own clients, there are fewer
// topics, each with the same rate as at full scale.
func scaled(w Workload, o Options) Workload {
	if o.Scale == 0 || o.Scale == 1 {
		return w
	}
	w.Rate *= o.Scale
	if w.OwnTopic {
		topics := w.Topics
		w.Topics = max(1, int(math.Round(float64(topics)*o.Scale)))
		w.Producers = max(1, w.Producers*w.Topics/topics)
	}
	w.BacklogBytes = int64(float64(w.BacklogBytes) * o.Scale)
	w.FillBytes = int64(float64(w.FillBytes) * o.Scale)
	return w
}

// validate reports every value that cannot work.
func (w *Workload) validate() error {
	if w.run != nil && w.Topics == 0 {
		return nil // such a workload interprets the fields itself
	}
	var problems []string
	check := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	check(w.Topics > 0, "topics %d: want one at least", w.Topics)
	check(w.Partitions > 0, "partitions %d: want one at least", w.Partitions)
	check(w.Producers > 0, "producers %d: want one at least", w.Producers)
	check(w.RecordBytes >= EnvelopeBytes, "record bytes %d: want at least %d, which the check of each record needs", w.RecordBytes, EnvelopeBytes)
	check(w.RandomRatio >= 0 && w.RandomRatio <= 1, "random ratio %v: want 0 to 1", w.RandomRatio)
	check(w.Rate >= 0, "rate %v: want 0 (as fast as it goes) or above", w.Rate)
	check(codecs[w.Codec] != nil, "codec %q: want none, gzip, snappy, lz4 or zstd", w.Codec)
	check(acks[w.Acks] != nil, "acks %q: want all, leader or none", w.Acks)
	check(w.Acks == "all" || !w.Idempotent, "acks %s: idempotent producing wants all", w.Acks)
	check(w.Subscriptions >= 0 && w.Consumers >= 0, "subscriptions %d, consumers %d: want 0 or above", w.Subscriptions, w.Consumers)
	check(w.BacklogBytes == 0 || w.Subscriptions > 1, "backlog: want two subscriptions, one that stands still and one that is always there")
	check(!w.FindMax || w.Subscriptions > 0, "looking for the maximum: want a subscription")
	check(!w.Reuse || w.TopicPrefix != "", "reuse: want the topics' prefix")
	if len(problems) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrWorkload, joined(problems))
}
