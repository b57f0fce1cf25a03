package node

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/broker/coordinator"
	"github.com/sluicemq/sluice/broker/group"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage"
)

var update = flag.Bool("update", false, "rewrite docs/metrics.md")

// series holds the values of a page of /metrics, by the text in front of them.
type series map[string]float64

func scrape(t testing.TB, url string) series {
	t.Helper()
	code, body := get(t, url)
	if code != 200 {
		t.Fatalf("%s: %d %.300s", url, code, body)
	}
	out := series{}
	for line := range strings.Lines(body) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if i := strings.LastIndex(line, "} "); i >= 0 {
			name, value, ok = line[:i+1], strings.TrimSpace(line[i+2:]), true
		}
		if strings.HasPrefix(line, "#") || !ok {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("%s: %q", url, line)
		}
		out[name] = v
	}
	return out
}

// TestMetricsUnderLoad: producers, consumers and flushes go on while everything is scraped. The
// bytes that are not yet in the bucket are those of the partitions; after a flush there are none.
func TestMetricsUnderLoad(t *testing.T) {
	r, url := startAdmin(t, t.TempDir(), fileBucket(t), func(c *Config) { c.Storage.FlushBytes = 1 << 20 })
	r.create("t", 3, nil)
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for p := range int32(3) {
		load.Go(func() {
			for ctx.Err() == nil {
				if err := r.client.ProduceSync(ctx, &kgo.Record{Topic: "t", Partition: p, Value: []byte("some bytes")}).FirstErr(); err != nil && ctx.Err() == nil {
					t.Errorf("produce: %v", err)
				}
			}
		})
	}
	load.Go(func() {
		for ctx.Err() == nil {
			if err := r.engine.Flush(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("flush: %v", err)
			}
		}
	})
	for range 8 {
		scrape(t, url+"/metrics")
		scrape(t, url+"/metrics?partitions=all")
		state(t, url+"/readyz")
	}
	stop()
	load.Wait()
	r.flush()
	r.produce("t", 0, "the last")
	got := scrape(t, url+"/metrics")
	sum := 0.0
	for p := range 3 {
		sum += got[fmt.Sprintf(`sluice_partition_unflushed_bytes{partition="%d",topic="t"}`, p)]
	}
	if got["sluice_unflushed_bytes"] != sum || sum == 0 || int64(sum) != r.engine.Unflushed() {
		t.Errorf("not in the bucket: %v, of partitions %v, by the engine %d", got["sluice_unflushed_bytes"], sum, r.engine.Unflushed())
	}
	r.flush()
	got = scrape(t, url+"/metrics")
	for _, name := range []string{"sluice_unflushed_bytes", "sluice_flush_lag_seconds", "sluice_unflushed_batches"} {
		if v, ok := got[name]; !ok || v != 0 {
			t.Errorf("%s is %v (%t) after a flush", name, v, ok)
		}
	}
	end, committed := got[`sluice_partition_high_watermark_offset{partition="0",topic="t"}`], got[`sluice_partition_committed_end_offset{partition="0",topic="t"}`]
	if end == 0 || committed != end {
		t.Errorf("committed up to %v of %v after a flush", committed, end)
	}
	if got[`sluice_requests_total{api="Produce"}`] < end || got[`sluice_bucket_requests_total{op="create",result="ok"}`] == 0 {
		t.Errorf("%v Produce requests for %v records, %v creates", got[`sluice_requests_total{api="Produce"}`], end, got[`sluice_bucket_requests_total{op="create",result="ok"}`])
	}
}

// TestMetricsAreBounded: above the bound, partitions show only in sums, unless a request asks for
// them.
func TestMetricsAreBounded(t *testing.T) {
	r, url := startAdmin(t, t.TempDir(), fileBucket(t), func(c *Config) { c.MetricsPartitionsMax = 3 })
	r.create("few", 3, nil)
	const one = `sluice_partition_log_start_offset{partition="0",topic="few"}`
	if got := scrape(t, url+"/metrics"); got["sluice_partition_metrics_shown"] != 1 {
		t.Error("three partitions are not shown")
	}
	r.create("more", 1, nil)
	got := scrape(t, url+"/metrics")
	if _, shown := got[one]; shown || got["sluice_partition_metrics_shown"] != 0 || got["sluice_partitions"] != 4 {
		t.Errorf("four partitions: shown %t, %v", shown, got["sluice_partitions"])
	}
	got = scrape(t, url+"/metrics?partitions=all")
	if _, shown := got[one]; !shown || got["sluice_partition_metrics_shown"] != 1 {
		t.Error("all were asked for and are not shown")
	}
	got = scrape(t, url+"/metrics?partitions=none")
	if _, shown := got["sluice_partition_metrics_shown"]; shown {
		t.Error("none were asked for")
	}
}

// TestGroupLag: the lag of a group as a client sees it: the number of records that it has not
// committed, and how long these have waited.
func TestGroupLag(t *testing.T) {
	r, url := startAdmin(t, t.TempDir(), fileBucket(t))
	r.create("t", 1, nil)
	r.produce("t", 0, values("a", 5)...)
	c, err := kgo.NewClient(kgo.SeedBrokers(r.deps.Listeners[0].Addr().String()), kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("t"), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx := within(t)
	for n := 0; n < 5; {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		n += f.NumRecords()
	}
	if err := c.CommitRecords(ctx, &kgo.Record{Topic: "t", Partition: 0, Offset: 1}); err != nil {
		t.Fatal(err)
	}
	got := scrape(t, url+"/metrics")
	for name, want := range map[string]float64{
		`sluice_group_lag_records{group="readers",partition="0",topic="t"}`: 3, `sluice_group_sum_lag_records{group="readers"}`: 3,
		`sluice_group_members{group="readers"}`: 1, `sluice_groups{state="Stable"}`: 1, "sluice_group_metrics_shown": 1,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if s := got[`sluice_group_lag_seconds{group="readers",partition="0",topic="t"}`]; s <= 0 || s > patience.Seconds() || got[`sluice_group_max_lag_seconds{group="readers"}`] < s {
		t.Errorf("lag of %v s, at most %v s", s, got[`sluice_group_max_lag_seconds{group="readers"}`])
	}
}

// TestGroupsCollector: the collector copes with groups whose names are not UTF-8, with topics that
// are gone, and with too many groups.
func TestGroupsCollector(t *testing.T) {
	status := func(name string, partitions int) coordinator.Status {
		s := coordinator.Status{Group: name}
		for p := range partitions {
			s.Offsets = append(s.Offsets, group.FetchedOffset{Topic: "t", Partition: int32(p), Offset: 7})
		}
		return s
	}
	all := []coordinator.Status{status("a\xff", 2), status("b", 1)}
	g := &groupsCollector{
		groups: func() []coordinator.Status { return all }, seriesMax: 3,
		lag: func(_ string, p int32, o ident.Offset) (int64, time.Duration, bool) {
			return int64(o), time.Duration(p+1) * time.Second, p == 0
		},
	}
	collect := func() (n int, text string) {
		t.Helper()
		reg := prometheus.NewPedanticRegistry()
		reg.MustRegister(g)
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			n += len(f.GetMetric())
			text += f.String()
		}
		return n, text
	}
	// One series is of state and one of shown. Each group has three sums, and two series for the
	// one partition that exists here.
	if n, text := collect(); n != 2+2*5 || !strings.Contains(text, "a\uFFFD") {
		t.Errorf("%d series of two groups: %s", n, text)
	}
	all = append(all, status("c", 1))
	if n, _ := collect(); n != 2+3*3 {
		t.Errorf("%d series of three groups with four offsets, bound 3", n)
	}
	all = append(all, status("d", 0))
	if n, _ := collect(); n != 2 {
		t.Errorf("%d series of four groups, bound 3", n)
	}
}

// TestFlushWatch: a line per minute is logged while the bucket is behind or has not answered yet,
// and one line when it has caught up; there are no other lines.
func TestFlushWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogs()
		var mu sync.Mutex
		var now storage.Totals
		open := true
		w := &flushWatch{
			totals: func() storage.Totals { mu.Lock(); defer mu.Unlock(); return now },
			isOpen: func() bool { mu.Lock(); defer mu.Unlock(); return open },
			behind: flushBehind, log: slog.New(l),
		}
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		work.Go(func() { w.run(ctx) })
		lines := func(totals storage.Totals, isOpen bool) string {
			mu.Lock()
			now, open = totals, isOpen
			mu.Unlock()
			before := l.String()
			time.Sleep(flushWatchInterval)
			synctest.Wait()
			return strings.TrimPrefix(l.String(), before)
		}
		for i, step := range []struct {
			totals storage.Totals
			open   bool
			want   string
		}{
			{storage.Totals{}, true, ""},
			{storage.Totals{UnflushedBytes: 5, UnflushedAge: 9 * time.Second}, true, ""},
			{storage.Totals{UnflushedBytes: 5, UnflushedAge: 9 * time.Second}, false, "bytes=5"},
			{storage.Totals{UnflushedBytes: 50, UnflushedAge: 2 * time.Minute}, true, "bytes=50"},
			{storage.Totals{UnflushedBytes: 60, UnflushedAge: 3 * time.Minute}, true, "oldest=3m0s"},
			{storage.Totals{UnflushedBytes: 1, UnflushedAge: time.Second}, true, "caught up"},
			{storage.Totals{}, true, ""},
			{storage.Totals{}, false, ""},
		} {
			got := lines(step.totals, step.open)
			if (step.want == "") != (got == "") || !strings.Contains(got, step.want) || strings.Count(got, "\n") > 1 {
				t.Errorf("step %d: %q, want one line with %q", i, got, step.want)
			}
		}
		cancel()
		work.Wait()
	})
}

// TestMetricsAreDocumented: docs/metrics.md lists all metrics; -update writes it. The test must
// have seen every declared metric, so that none is dead.
func TestMetricsAreDocumented(t *testing.T) {
	r, _ := startAdmin(t, t.TempDir(), fileBucket(t))
	r.create("t", 1, nil)
	r.produce("t", 0, "a")
	c, err := kgo.NewClient(kgo.SeedBrokers(r.deps.Listeners[0].Addr().String()), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if f := c.PollFetches(within(t)); f.Err() != nil || c.CommitUncommittedOffsets(within(t)) != nil {
		t.Fatal(f.Err())
	}
	// It causes an error, for sluice_request_errors_total.
	unknown := kmsg.NewPtrDeleteTopicsRequest()
	unknown.TopicNames = []string{"nobody"}
	if _, err := c.Request(within(t), unknown); err != nil {
		t.Fatal(err)
	}
	r.flush()
	detail := r.admin.details.Load().bounded.(*prometheus.Registry)
	families := map[string]*dto.MetricFamily{}
	for _, reg := range []*prometheus.Registry{r.admin.registry, detail} {
		if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
			t.Errorf("lint: %v, %v", problems, err)
		}
		got, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range got {
			families[f.GetName()] = f
		}
	}
	page, err := metricsPage(families, r.admin.registry, detail)
	if err != nil {
		t.Fatal(err)
	}
	const name = "../docs/metrics.md"
	if *update {
		if err := os.WriteFile(name, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(name); err != nil || string(want) != page {
		t.Errorf("docs/metrics.md is not what the registry says (%v); go test ./node -run MetricsAreDocumented -update writes it", err)
	}
}

var descPattern = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", help: ("(?:[^"\\]|\\.)*"), (?:unit: "[^"]*", )?constLabels: \{([^}]*)\}, variableLabels: \{([^}]*)\}\}$`)

const metricsHead = `# Metrics, health, profiles

A broker answers over HTTP on its admin address, 127.0.0.1:9644 unless told otherwise (docs/configuration.md):

| path | answer |
|---|---|
| ` + "`" + `/healthz` + "`" + ` | 200 while the process can do its work; 503 with the reason once it has to be restarted: the disk failed under the write-ahead log, the metadata is damaged, the bucket is another's |
| ` + "`" + `/readyz` + "`" + ` | 200 while clients may be sent here; 503 with the reason while the log is recovered or what clients ask for is still being loaded ([operations](operations.md#ready)), and from the stop signal on. A bucket that is away is no reason where the write-ahead log serves |
| ` + "`" + `/metrics` + "`" + ` | Prometheus' text format. Series of single partitions and groups as long as there are at most 2,000 of a kind; ` + "`" + `?partitions=all` + "`" + ` shows all of them, ` + "`" + `?partitions=none` + "`" + ` none |
| ` + "`" + `/stuck` + "`" + ` | JSON: the partitions of which nothing can go to the bucket, with the reason and the way out ([operations](operations.md)) |
| ` + "`" + `/debug/pprof/` + "`" + ` | Go's profiles |

There is no authentication: keep the address on the loopback interface or in a network that you trust.

**What to watch.** ` + "`" + `sluice_unflushed_bytes` + "`" + ` is what is on this disk only, ` + "`" + `sluice_flush_lag_seconds` + "`" + ` how old the oldest of it is:
both fall to about nothing with every flush, unless the bucket is away or too slow. The log says the same once a minute while
the lag is above one minute, and at the stop. ` + "`" + `sluice_wal_budget_used_bytes` + "`" + ` against its limit says how long producers can go on without
the bucket: they are slowed at 70 % and refused at 95 %. ` + "`" + `sluice_partitions_stuck` + "`" + ` above 0 calls for a person: ` + "`" + `/stuck` + "`" + ` and ` + "`" + `sluice stuck` + "`" + `
name the partitions and the way out. ` + "`" + `sluice_wal_sync_seconds` + "`" + ` is the floor of every produce latency.
` + "`" + `sluice_group_max_lag_seconds` + "`" + ` is what consumers are behind. ` + "`" + `sluice_wal_failed` + "`" + ` above 0 and any
` + "`" + `sluice_request_errors_total{code="UNKNOWN_SERVER_ERROR"}` + "`" + ` call for a person.

Beside these, the metrics of Go's runtime (` + "`" + `go_…` + "`" + `) and of the process (` + "`" + `process_…` + "`" + `) are there.

| name | type | labels | meaning |
|---|---|---|---|
`

// metricsPage makes docs/metrics.md from the declarations in the registries.
func metricsPage(families map[string]*dto.MetricFamily, registries ...*prometheus.Registry) (string, error) {
	rows := map[string]string{}
	for _, reg := range registries {
		descs := make(chan *prometheus.Desc)
		go func() {
			reg.Describe(descs)
			close(descs)
		}()
		for d := range descs {
			m := descPattern.FindStringSubmatch(d.String())
			if m == nil {
				return "", fmt.Errorf("cannot read %s", d)
			}
			name := m[1]
			if !strings.HasPrefix(name, "sluice_") {
				continue
			}
			f := families[name]
			if f == nil {
				return "", fmt.Errorf("%s is declared and was not seen", name)
			}
			help, err := strconv.Unquote(m[2])
			if err != nil {
				return "", errors.Join(err, fmt.Errorf("help of %s", name))
			}
			var labels []string
			for _, l := range f.GetMetric()[0].GetLabel() {
				labels = append(labels, "`"+l.GetName()+"`")
			}
			rows[name] = fmt.Sprintf("| `%s` | %s | %s | %s |\n", name, strings.ToLower(f.GetType().String()), strings.Join(labels, ", "), strings.ReplaceAll(help, "|", `\|`))
		}
	}
	names := make([]string, 0, len(rows))
	for name := range rows {
		names = append(names, name)
	}
	slices.Sort(names)
	var page strings.Builder
	page.WriteString(metricsHead)
	for _, name := range names {
		page.WriteString(rows[name])
	}
	return page.String(), nil
}
