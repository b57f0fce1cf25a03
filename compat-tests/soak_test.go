package compat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/compat-tests/harness"
)

const (
	soakTopic      = "soak"
	soakGroup      = "soak-readers"
	soakPartitions = 12
	soakEvery      = 10 * time.Second // between two samples
	soakMembers    = 4
	soakProducers  = 2
	soakRate       = 20 // records that a producer sends at once, every soakBurst
	soakBurst      = 100 * time.Millisecond
	soakValue      = 1000 // in bytes
	soakRestarts   = 6    // every other one with kill -9
	soakWarmUp     = 0.15 // part of the time, until retention has something to delete
	soakStop       = 30 * time.Second
)

// TestSoak lets mixed clients produce, consume in a group that keeps rebalancing, and create and
// delete topics, and restarts the broker, for SLUICE_SOAK (10 m). Meanwhile everything that could
// grow is measured every ten seconds. At the end no record of the producers was refused, the group
// has read everything, and nothing has grown: after a warm-up, the last third of the time is
// compared with the first.
func TestSoak(t *testing.T) {
	if !harness.Long() {
		t.Skip("takes minutes: SLUICE_LONG=1, and SLUICE_SOAK=30m for how long")
	}
	lasts := 10 * time.Minute
	if v := os.Getenv("SLUICE_SOAK"); v != "" {
		var err error
		if lasts, err = time.ParseDuration(v); err != nil {
			t.Fatalf("SLUICE_SOAK: %v", err)
		}
	}
	s := newSoak(t)
	s.b.Start()
	mustCreate(t, s.b.Addr, soakTopic, soakPartitions, "retention.ms", "30000")
	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	var work sync.WaitGroup
	for i := range soakProducers {
		work.Go(func() { s.produce(ctx, i) })
	}
	for i := range soakMembers {
		work.Go(func() { s.consume(ctx, i) })
	}
	work.Go(func() { s.kcatLoop(ctx) })
	work.Go(func() { s.topicLoop(ctx) })
	s.watch(ctx, lasts)
	work.Wait()
	s.settle()
	s.report()
}

// soak is one run.
type soak struct {
	t       testing.TB
	b       *harness.Broker
	objects string
	kcat    string

	acked, read, assigned, lives, kcats atomic.Int64

	mu       sync.Mutex
	failures []error // the first few
	samples  []soakSample
}

// soakSample is what was measured at one moment.
type soakSample struct {
	at        time.Duration
	restarted bool // since the previous sample
	values    [len(soakColumns)]float64
}

// soakColumns are what is measured. The mean of the last third may exceed that of the first by a
// quarter and slack.
var soakColumns = [...]struct {
	name  string
	slack float64
}{
	{"rss_mb", 10}, {"heap_mb", 8}, {"goroutines", 20}, {"files", 10}, {"connections", 10}, {"wal_mb", 16}, {"meta_mb", 8},
	{"live", 30}, {"objects", 30}, {"bucket_mb", 10}, {"unflushed_mb", 8}, {"lag_s", 10},
}

func newSoak(t testing.TB) *soak {
	s := &soak{t: t, objects: t.TempDir(), kcat: harness.Tool(t, "kcat")}
	s.b = harness.Sluice(t, harness.Config{Dir: t.TempDir(), Bucket: "file://" + s.objects, Env: map[string]string{
		"SLUICE_ADMIN_LISTENER": "127.0.0.1:0", "SLUICE_FLUSH_INTERVAL": "5s", "SLUICE_WAL_SEGMENT_BYTES": "8388608", "SLUICE_HOT_BYTES": "16777216",
		"SLUICE_CACHE_BYTES": "16777216", "SLUICE_RETENTION_CHECK_INTERVAL": "5s", "SLUICE_DELETE_DELAY": "5s", "SLUICE_SNAPSHOT_INTERVAL": "10s",
	}})
	return s
}

// fail notes something that must not happen.
func (s *soak) fail(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.failures) < 10 {
		s.failures = append(s.failures, fmt.Errorf(format, args...))
	}
}

// pauses yields in the given interval until ctx ends.
func pauses(ctx context.Context, every time.Duration) func(yield func() bool) {
	return func(yield func() bool) {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				if !yield() {
					return
				}
			}
		}
	}
}

// produce sends until ctx ends. An idempotent client with its own retries loses nothing.
func (s *soak) produce(ctx context.Context, seed int) {
	rng := rand.New(rand.NewPCG(uint64(seed), 1))
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.b.Addr), kgo.DefaultProduceTopic(soakTopic), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		s.fail("producer: %v", err)
		return
	}
	defer cl.Close()
	for range pauses(ctx, soakBurst) {
		for range soakRate {
			value := make([]byte, soakValue)
			for i := range value {
				value[i] = byte(rng.Uint32())
			}
			cl.Produce(context.WithoutCancel(ctx), &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
				if err != nil {
					s.fail("a record was refused: %v", err)
					return
				}
				s.acked.Add(1)
			})
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), soakStop)
	defer cancel()
	if err := cl.Flush(last); err != nil {
		s.fail("the last records: %v", err)
	}
}

// consume is a place in the group: members come, stay for a while, and leave. One of them is a
// static member.
func (s *soak) consume(ctx context.Context, place int) {
	rng := rand.New(rand.NewPCG(uint64(place), 2))
	for ctx.Err() == nil {
		life, cancel := context.WithTimeout(ctx, 5*time.Second+time.Duration(rng.Int64N(int64(30*time.Second))))
		s.live(life, place)
		cancel()
	}
}

func (s *soak) live(ctx context.Context, place int) {
	opts := []kgo.Opt{
		kgo.SeedBrokers(s.b.Addr), kgo.ConsumerGroup(soakGroup), kgo.ConsumeTopics(soakTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(500 * time.Millisecond), kgo.SessionTimeout(10 * time.Second), kgo.RebalanceTimeout(10 * time.Second), kgo.AutoCommitInterval(time.Second),
		kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) { s.assigned.Add(1) }),
	}
	if place == 0 {
		opts = append(opts, kgo.InstanceID("the static one"))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		s.fail("member: %v", err)
		return
	}
	defer cl.Close()
	for ctx.Err() == nil {
		s.read.Add(int64(cl.PollFetches(ctx).NumRecords()))
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = cl.CommitUncommittedOffsets(last) // the broker may be down just now
}

// kcatLoop runs kcat as a producer and as a member of a group. While the broker is down kcat may
// fail.
func (s *soak) kcatLoop(ctx context.Context) {
	lines := []byte(strings.Repeat("from kcat\n", 200))
	for range pauses(ctx, 3*time.Second) {
		s.runKcat(ctx, lines, "-P", "-t", soakTopic)
		s.runKcat(ctx, nil, "-G", "soak-kcat", "-c", "100", soakTopic)
	}
}

func (s *soak) runKcat(ctx context.Context, input []byte, args ...string) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.kcat, append([]string{"-q", "-b", s.b.Addr}, args...)...)
	cmd.Stdin, cmd.Stdout = bytes.NewReader(input), io.Discard
	if cmd.Run() == nil {
		s.kcats.Add(1)
	}
}

// topicLoop creates topics, writes to them and deletes them.
func (s *soak) topicLoop(ctx context.Context) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.b.Addr), kgo.RecordDeliveryTimeout(5*time.Second), kgo.RetryTimeout(5*time.Second))
	if err != nil {
		s.fail("topics: %v", err)
		return
	}
	defer cl.Close()
	n := 0
	for range pauses(ctx, 2*time.Second) {
		n++
		if err := s.topicLife(ctx, cl, fmt.Sprintf("soak-%d", n)); err == nil {
			s.lives.Add(1)
		}
	}
}

// topicLife fails while the broker is down. Then a topic may stay.
func (s *soak) topicLife(ctx context.Context, cl *kgo.Client, name string) error {
	if err := harness.CreateTopic(s.b.Addr, name, 3); err != nil {
		return err
	}
	var records []*kgo.Record
	for i := range 30 {
		records = append(records, &kgo.Record{Topic: name, Value: fmt.Appendf(nil, "%s %d", name, i)})
	}
	err := cl.ProduceSync(ctx, records...).FirstErr()
	cl.PurgeTopicsFromClient(name)
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version, req.TimeoutMillis = 3, 5000
	req.TopicNames = []string{name}
	_, deleted := harness.Ask[*kmsg.DeleteTopicsResponse](s.b.Addr, req)
	return errors.Join(err, deleted)
}

// watch takes samples, and restarts the broker now and then.
func (s *soak) watch(ctx context.Context, lasts time.Duration) {
	began, restarts, restarted := time.Now(), 0, false
	for range pauses(ctx, soakEvery) {
		s.sample(time.Since(began), restarted)
		restarted = false
		if time.Since(began) > time.Duration(restarts+1)*lasts/(soakRestarts+1) && restarts < soakRestarts {
			if restarts++; restarts%2 == 0 {
				s.b.Kill()
			} else {
				s.b.Stop(soakStop)
			}
			s.b.Start()
			restarted = true
		}
	}
}

func (s *soak) sample(at time.Duration, restarted bool) {
	m, err := s.metrics()
	if err != nil {
		s.fail("metrics after %v: %v", at, err)
		return
	}
	const mb = 1 << 20
	walBytes, _ := size(filepath.Join(s.b.Dir, "wal"))
	metaBytes, _ := size(filepath.Join(s.b.Dir, "meta"))
	bucketBytes, objects := size(s.objects)
	s.samples = append(s.samples, soakSample{at, restarted, [...]float64{
		m["process_resident_memory_bytes"] / mb, m["go_memstats_heap_inuse_bytes"] / mb, m["go_goroutines"], m["process_open_fds"],
		m[`sluice_connections{listener="PLAINTEXT"}`], walBytes / mb, metaBytes / mb,
		m[`sluice_objects{state="live"}`], objects, bucketBytes / mb,
		m["sluice_unflushed_bytes"] / mb, m[`sluice_group_max_lag_seconds{group="`+soakGroup+`"}`],
	}})
}

// size adds up the files below a folder. Files may come and go meanwhile.
func size(dir string) (bytes, files float64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			bytes += float64(info.Size())
			files++
		}
		return nil
	})
	return bytes, files
}

// metrics reads the broker's page of metrics. The admin address is in the line that the broker
// prints at its start.
func (s *soak) metrics() (map[string]float64, error) {
	_, after, ok := strings.Cut(s.b.Process().Output(), " admin=")
	if !ok {
		return nil, errors.New("the start does not name the admin address")
	}
	address, _, _ := strings.Cut(after, "\n")
	client := http.Client{Timeout: 10 * time.Second}
	resp, err := client.Get("http://" + strings.TrimSpace(address) + "/metrics")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d, %w", resp.StatusCode, err)
	}
	values := map[string]float64{}
	for line := range strings.Lines(string(page)) {
		if i := strings.LastIndexByte(line, ' '); i > 0 && line[0] != '#' {
			values[line[:i]], _ = strconv.ParseFloat(strings.TrimSpace(line[i+1:]), 64)
		}
	}
	return values, nil
}

// settle lets the group read to the end, and the broker upload what is not in the bucket.
func (s *soak) settle() {
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	var work sync.WaitGroup
	work.Go(func() { s.live(ctx, 1) })
	err := harness.Until(time.Minute, func() error {
		m, err := s.metrics()
		if err != nil {
			return err
		}
		lag, known := m[`sluice_group_sum_lag_records{group="`+soakGroup+`"}`]
		if !known || lag > 0 || m["sluice_unflushed_bytes"] > 1<<20 {
			return fmt.Errorf("lag of %v records (%t), %v bytes not in the bucket", lag, known, m["sluice_unflushed_bytes"])
		}
		return nil
	})
	cancel()
	work.Wait()
	if err != nil {
		s.fail("after the end: %v", err)
	}
}

// report prints the samples and compares the thirds.
func (s *soak) report() {
	var b strings.Builder
	fmt.Fprintf(&b, "acknowledged %d, read %d, assignments %d, topics made and deleted %d, kcats %d\n%8s", s.acked.Load(), s.read.Load(), s.assigned.Load(), s.lives.Load(), s.kcats.Load(), "time")
	for _, c := range soakColumns {
		fmt.Fprintf(&b, " %12s", c.name)
	}
	warm := s.samples[int(float64(len(s.samples))*soakWarmUp):]
	for i, x := range s.samples {
		if step := max(1, len(s.samples)/60); i%step > 0 && !x.restarted {
			continue
		}
		fmt.Fprintf(&b, "\n%8s", x.at.Round(time.Second))
		for _, v := range x.values {
			fmt.Fprintf(&b, " %12.1f", v)
		}
		if x.restarted {
			b.WriteString("  restarted")
		}
	}
	third := len(warm) / 3
	if third == 0 {
		s.t.Fatal("too short to compare anything")
	}
	for _, part := range []struct {
		name    string
		samples []soakSample
	}{{"first", warm[:third]}, {"last", warm[len(warm)-third:]}} {
		fmt.Fprintf(&b, "\n%8s", part.name)
		for _, v := range means(part.samples) {
			fmt.Fprintf(&b, " %12.1f", v)
		}
	}
	s.t.Log("\n" + b.String())
	first, last := means(warm[:third]), means(warm[len(warm)-third:])
	for i, c := range soakColumns {
		if last[i] > 1.25*first[i]+c.slack {
			s.t.Errorf("%s grew from %.1f to %.1f", c.name, first[i], last[i])
		}
	}
	if s.acked.Load() == 0 || s.read.Load() < s.acked.Load()/2 || s.lives.Load() == 0 || s.kcats.Load() == 0 {
		s.t.Error("the clients did not do their work")
	}
	for _, err := range s.failures {
		s.t.Error(err)
	}
}

func means(samples []soakSample) (sum [len(soakColumns)]float64) {
	for i := range samples {
		for j, v := range samples[i].values {
			sum[j] += v / float64(len(samples))
		}
	}
	return sum
}
