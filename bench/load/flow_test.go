package load

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// brief is how long these tests measure.
var brief = Options{Warmup: 100 * time.Millisecond, Duration: 300 * time.Millisecond, Interval: 100 * time.Millisecond}

// small shrinks a workload to the size of a test.
func small(t *testing.T, name string, change func(*Workload)) Workload {
	t.Helper()
	w, ok := Named(name)
	if !ok {
		t.Fatal("no workload " + name)
	}
	w.Partitions = min(w.Partitions, 4)
	if w.Rate > 0 {
		w.Rate = 2000
	}
	if change != nil {
		change(&w)
	}
	return w
}

func topicCount(t *testing.T, b *rawBroker) int {
	t.Helper()
	a, err := newAdmin([]string{b.addr})
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	topics, err := a.kadm.ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return len(topics)
}

func TestWorkloadsOnABroker(t *testing.T) {
	b := startRawBroker(t)
	for _, c := range []struct {
		name   string
		change func(*Workload)
		wants  []string // figures that must be above zero
	}{
		{"omb-latency", nil, []string{"publish_p99_ms", "ack_p50_ms", "end_to_end_p99_ms", "consume_mib_per_second", "target_records_per_second", "wire_mib_per_second"}},
		{"omb-latency", func(w *Workload) { w.Direct, w.Codec = true, "snappy" }, []string{"end_to_end_p99_ms"}},
		{"omb-latency", func(w *Workload) { w.Spread, w.Partitions = true, 7 }, []string{"publish_p99_ms", "end_to_end_p99_ms"}},
		{"omb-throughput", func(w *Workload) { w.Subscriptions, w.Producers = 0, 1 }, []string{"publish_p50_ms", "cpu_s_per_gib.broker", "cpu_cores.client", "rss_mib.broker"}},
		{"omb-fanout-3", func(w *Workload) { w.Topics, w.Producers, w.Direct = 3, 3, true }, []string{"end_to_end_p50_ms", "consume_records_per_second"}},
		{"omb-max", func(w *Workload) { w.Direct = true }, []string{"publish_p50_ms"}},
		{"omb-backlog", func(w *Workload) { w.Direct, w.BacklogBytes = true, 200*kib }, []string{"drain_seconds", "drain_mib_per_second", "backlog_mib"}},
		{"small-batch", func(w *Workload) { w.Direct = true }, []string{"cpu_us_per_request.broker", "produce_requests_per_second"}},
		{"fetch-hot", func(w *Workload) { w.FillBytes = mib }, []string{"mib_per_second", "passes"}},
		{"fetch-cold", func(w *Workload) { w.FillBytes, w.Consumers = mib, 2 }, []string{"mib_per_second", "passes"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := brief
			var mu sync.Mutex
			var lines []string
			o.Progress = func(line string) {
				mu.Lock()
				defer mu.Unlock()
				lines = append(lines, line)
			}
			r, err := Run(t.Context(), b.target(), small(t, c.name, c.change), o)
			if err != nil {
				t.Fatal(err)
			}
			// The machine may be busy.
			if err := r.Verdict(); err != nil && !errors.Is(err, ErrNotSustained) {
				t.Error(err)
			}
			positive(t, r, append(c.wants, "records_per_second", "mib_per_second", "seconds")...)
			if len(lines) == 0 {
				t.Error("no progress was told")
			}
			if _, err := json.Marshal(r); err != nil {
				t.Error(err)
			}
		})
	}
	if n := topicCount(t, b); n != 0 {
		t.Errorf("%d topics are left", n)
	}
}

// TestFetchFindsPlantedFaults writes records into a workload's topic that no producer would write
// like that.
func TestFetchFindsPlantedFaults(t *testing.T) {
	b := startRawBroker(t)
	for name, c := range map[string]struct {
		plant func(r *kgo.Record) []byte // makes a value from the last record's
		want  string
	}{
		"nothing":   {nil, ""},
		"duplicate": {func(r *kgo.Record) []byte { return r.Value }, "duplicates"},
		"lost": {func(r *kgo.Record) []byte {
			e := peek(r.Value)
			setPlace(r.Value, e.partition, e.sequence+2)
			return r.Value
		}, "lost"},
		"damaged": {func(r *kgo.Record) []byte { r.Value[len(r.Value)-1] ^= 1; return r.Value }, "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			w := small(t, "fetch-cold", func(w *Workload) {
				w.Partitions, w.FillBytes, w.Producers, w.TopicPrefix, w.Keep = 1, 64*kib, 1, "planted-"+name, true
			})
			r, err := Run(t.Context(), b.target(), w, brief)
			if err == nil {
				err = r.Verdict()
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.plant != nil {
				plant(t, b, w.TopicPrefix+"-0", c.plant)
			}
			w.Reuse = true
			if r, err = Run(t.Context(), b.target(), w, brief); err != nil {
				t.Fatal(err)
			}
			for _, f := range []string{"lost", "duplicates", "reordered", "damaged"} {
				want := 0.0
				if f == c.want {
					want = 1
				}
				if r.Figures[f] != want {
					t.Errorf("%s: %v, want %v", f, r.Figures[f], want)
				}
			}
			if err := r.Verdict(); (c.want != "") != errors.Is(err, ErrUntrue) {
				t.Errorf("verdict %v", err)
			}
		})
	}
}

// plant writes another record behind the last one of partition 0.
func plant(t *testing.T, b *rawBroker, topic string, change func(*kgo.Record) []byte) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.addr), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtEnd().Relative(-1)}}))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), rawTestPatience)
	defer cancel()
	records := cl.PollFetches(ctx).Records()
	if len(records) == 0 {
		t.Fatal("nothing to change")
	}
	value := change(records[len(records)-1])
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: value}).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// A workload whose consumers lose acknowledged records reports that. Here records are deleted while
// a subscription is paused.
func TestFlowFindsLoss(t *testing.T) {
	b := startRawBroker(t)
	w := small(t, "omb-backlog", func(w *Workload) {
		w.Partitions, w.Producers, w.Consumers, w.Direct, w.BacklogBytes, w.TopicPrefix = 1, 1, 1, true, gib, "deleted"
	})
	f := newFlow(b.target(), w, brief.withDefaults(&w))
	defer func() {
		if err := f.close(); err != nil {
			t.Error(err)
		}
	}()
	w.Subscriptions = 0 // consumers come later, when a part of the records is gone
	f.w = w
	if err := f.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.producers[0].acks = newAckTimes(1)
	for range 100 {
		f.producers[0].send(f.producers[0].take(true), f.now(), f.now())
	}
	if err := f.producers[0].client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	gone := kadm.Offsets{}
	gone.Add(kadm.Offset{Topic: "deleted-0", Partition: 0, At: 40})
	if _, err := f.admin.kadm.DeleteRecords(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	f.w.Subscriptions = 1
	s, err := newSubscription(f, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.subscriptions, f.stopReading = []*subscription{s}, func() {}
	for s.received.Load() < 60 && t.Context().Err() == nil {
		s.consumers[0].client.PollFetches(t.Context()).EachPartition(func(p kgo.FetchTopicPartition) { s.consumers[0].take(&p, f.now()) })
	}
	f.stopConsumers()
	if got, want := f.faults(), (faults{Received: 60, Lost: 40}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestRunSaysWhatCannotWork(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Workload)
		says   string
	}{
		"record too small": {func(w *Workload) { w.RecordBytes = 10 }, "at least 48"},
		"codec":            {func(w *Workload) { w.Codec = "rar" }, `codec "rar"`},
		"acks":             {func(w *Workload) { w.Acks = "leader" }, "idempotent"},
		"two at once":      {func(w *Workload) { w.Partitions, w.Producers = 0, 0 }, "partitions 0: want one at least; producers 0"},
		"backlog":          {func(w *Workload) { w.BacklogBytes = 1 }, "two subscriptions"},
	} {
		w, _ := Named("omb-latency")
		c.change(&w)
		_, err := Run(t.Context(), Target{}, w, brief)
		if !errors.Is(err, ErrWorkload) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

func TestVerdictNamesTheWorst(t *testing.T) {
	r := &Result{NotReached: "half of it", Reasons: []string{"broken pipe"}, Figures: map[string]float64{"errors": 2, "lost": 1}}
	for _, want := range []error{ErrUntrue, ErrFailed, ErrNotSustained, nil} {
		if got := r.Verdict(); !errors.Is(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		switch want {
		case ErrUntrue:
			r.Figures["lost"] = 0
		case ErrFailed:
			r.Figures["errors"] = 0
		case ErrNotSustained:
			r.NotReached = ""
		}
	}
}

func TestWorkloadsHaveNamesAndScale(t *testing.T) {
	var names []string
	for _, w := range Workloads() {
		if w.Help == "" || slices.Contains(names, w.Name) {
			t.Errorf("%q: %q", w.Name, w.Help)
		}
		names = append(names, w.Name)
		if w.run == nil {
			if err := w.validate(); err != nil {
				t.Errorf("%s: %v", w.Name, err)
			}
		}
	}
	w, _ := Named("omb-backlog")
	if s := scaled(w, Options{Scale: 0.5}); s.Rate != 100_000 || s.BacklogBytes != 256*gib {
		t.Errorf("half of it is %v records/s, %d bytes", s.Rate, s.BacklogBytes)
	}
	w, _ = Named("omb-fanout-10")
	if s := scaled(w, Options{Scale: 0.05}); s.Rate != 7500 || s.Topics != 5 || s.Producers != 5 || s.Consumers != 1 {
		t.Errorf("a twentieth is %v records/s in %d topics of %d producers", s.Rate, s.Topics, s.Producers)
	}
}
