package load

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	idleCount       = 10_000 // number of connections and of partitions
	idleWatch       = 120 * time.Second
	idleSettle      = 30 * time.Second // at most
	idleSettleStep  = time.Second
	idleSettleSteps = 5     // this many steps in a row
	idleSettlePart  = 0.005 // must change by less than this

	// idleRest is how long written partitions are left alone before their memory counts. A broker
	// may upload its data 10 s later, and must have been idle for a while before it gives back the
	// memory that the upload took.
	idleRest = 25 * time.Second
)

func idleWorkloads() []Workload {
	idle := raw("idle", 0, "nothing: CPU, context switches and memory of the named processes over 120 s", runIdle)
	idle.Duration = idleWatch
	return []Workload{
		idle,
		raw("idle-connections", 16, "10,000 connections, each of which asked ApiVersions and Metadata of a topic of 16 partitions and then says nothing: memory per connection, CPU while they idle. The broker must allow as many from one address (Sluice: max.connections.per.ip)", runIdleConnections),
		raw("idle-partitions", 1000, "10 topics of 1,000 partitions: memory per partition after creating them, and again after one batch of one 1 KiB record was written to each", runIdlePartitions),
	}
}

func runIdle(ctx context.Context, t Target, _ Workload, o Options) (figures, error) {
	if err := t.needProcesses(); err != nil {
		return nil, err
	}
	// Lets the broker finish what a start has left to do.
	if err := wait(ctx, o.Warmup); err != nil {
		return nil, err
	}
	f := make(figures)
	return f, watchIdle(ctx, t, f, o.Duration)
}

// scaled returns a count at the given scale, in whole steps.
func (o Options) scaled(n, step int) int {
	return max(1, int(float64(n)*o.Scale)/step) * step
}

func (o Options) say(format string, args ...any) { o.Progress(fmt.Sprintf(format, args...)) }

func (t Target) needProcesses() error {
	if len(t.Processes) == 0 {
		return errors.New("this workload measures processes on this machine: name them (--pid broker=PID)")
	}
	return nil
}

// watchIdle adds what the processes do while no client asks them anything. Without time to watch it
// adds no rates.
func watchIdle(ctx context.Context, t Target, f figures, d time.Duration) error {
	before, err := sampleProcesses(t.Processes)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := wait(ctx, d); err != nil {
		return err
	}
	after, err := sampleProcesses(t.Processes)
	if err != nil {
		return err
	}
	seconds := time.Since(start).Seconds()
	for i, p := range t.Processes {
		f["rss_mib."+p.Name] = after[i].rssBytes / mib
		if d == 0 {
			continue
		}
		f["idle_cpu_percent."+p.Name] = 100 * (after[i].cpuSeconds - before[i].cpuSeconds) / seconds
		f["idle_switches_per_second."+p.Name] = (after[i].switches - before[i].switches) / seconds
	}
	return nil
}

// runIdleConnections measures memory before and after connections are opened that stay open.
func runIdleConnections(ctx context.Context, t Target, w Workload, o Options) (figures, error) {
	if err := t.needProcesses(); err != nil {
		return nil, err
	}
	topic := rawTopic{rawName(w.Name), w.Partitions}
	admin, err := openTopics(ctx, t, topic)
	if err != nil {
		return nil, err
	}
	defer admin.close()
	defer func() { _, _ = admin.deleteTopics(topic.name) }()
	before, err := settled(ctx, t, o)
	if err != nil {
		return nil, err
	}
	n := o.scaled(idleCount, 1)
	o.say("opening %d connections", n)
	start := time.Now()
	conns, err := openIdle(ctx, t, topic, n)
	defer closeAll(conns)
	if err != nil {
		return nil, err
	}
	f := figures{"connections": float64(n), "connections_per_second": float64(n) / time.Since(start).Seconds()}
	if err := f.slopes(ctx, t, o, before, "connection", n); err != nil {
		return nil, err
	}
	if err := watchIdle(ctx, t, f, o.Duration); err != nil {
		return nil, err
	}
	for _, c := range conns {
		if err := c.askVersions(); err != nil {
			return f, fmt.Errorf("one of %d idle connections: %w", n, err)
		}
	}
	return f, nil
}

// openIdle opens connections that have done what every client does first. The caller must close the
// returned connections, also after an error.
func openIdle(ctx context.Context, t Target, topic rawTopic, n int) ([]*rawConn, error) {
	conns := make([]*rawConn, 0, n)
	for i := range n {
		c, err := openRaw(ctx, t.Seeds)
		if err != nil {
			return conns, fmt.Errorf("connection %d (does the broker allow so many from one address?): %w", i+1, err)
		}
		conns = append(conns, c)
		if _, err := c.metadata(topic.name); err != nil {
			return conns, fmt.Errorf("connection %d: %w", i+1, err)
		}
		c.out, c.buf, c.in, c.versions = nil, nil, nil, nil // our own side is to stay small as well
	}
	return conns, nil
}

func closeAll(conns []*rawConn) {
	for _, c := range conns {
		c.close()
	}
}

// runIdlePartitions measures memory before and after partitions are created, and after each
// partition was written to.
func runIdlePartitions(ctx context.Context, t Target, w Workload, o Options) (figures, error) {
	if err := t.needProcesses(); err != nil {
		return nil, err
	}
	before, err := settled(ctx, t, o)
	if err != nil {
		return nil, err
	}
	m, err := createMany(ctx, t, o, o.scaled(idleCount, manyPerTopic))
	if err != nil {
		return nil, err
	}
	defer m.drop(ctx, t)
	f := figures{"partitions": float64(m.partitions())}
	if err := f.slopes(ctx, t, o, before, "partition_never_written", m.partitions()); err != nil {
		return nil, err
	}
	if _, err := m.produceToAll(ctx, t); err != nil {
		return nil, err
	}
	if err := wait(ctx, time.Duration(o.Scale*float64(idleRest))); err != nil {
		return nil, err
	}
	if err := f.slopes(ctx, t, o, before, "partition_written_once", m.partitions()); err != nil {
		return nil, err
	}
	return f, watchIdle(ctx, t, f, o.Duration)
}

// slopes adds the memory per item that was added since before, once the memory has settled.
func (f figures) slopes(ctx context.Context, t Target, o Options, before []processSample, what string, n int) error {
	after, err := settled(ctx, t, o)
	if err != nil {
		return err
	}
	for i, p := range t.Processes {
		f["rss_kib_per_"+what+"."+p.Name] = (after[i].rssBytes - before[i].rssBytes) / kib / float64(n)
		f["rss_mib_at_"+what+"."+p.Name] = after[i].rssBytes / mib
	}
	return nil
}

// settled samples the processes when their memory has not changed for a while. What a burst has
// used goes back to the kernel little by little.
func settled(ctx context.Context, t Target, o Options) ([]processSample, error) {
	deadline := time.Now().Add(time.Duration(o.Scale * float64(idleSettle)))
	last, err := sampleProcesses(t.Processes)
	for steady := 0; err == nil && steady < idleSettleSteps && time.Now().Before(deadline); {
		if err := wait(ctx, min(idleSettleStep, time.Until(deadline))); err != nil {
			return nil, err
		}
		var now []processSample
		if now, err = sampleProcesses(t.Processes); err != nil {
			break
		}
		if steady++; moved(last, now) {
			steady, last = 0, now
		}
	}
	if err != nil {
		return nil, err
	}
	return sampleProcesses(t.Processes)
}

func moved(last, now []processSample) bool {
	for i := range last {
		if d := now[i].rssBytes - last[i].rssBytes; d > idleSettlePart*last[i].rssBytes || -d > idleSettlePart*last[i].rssBytes {
			return true
		}
	}
	return false
}

// processSample is what /proc says about a process.
type processSample struct{ cpuSeconds, rssBytes, switches float64 }

func sampleProcesses(ps []Process) ([]processSample, error) {
	samples := make([]processSample, len(ps))
	for i, p := range ps {
		cpu, there := processCPU(p.PID)
		rss, ok := processRSS(p.PID)
		if !there || !ok {
			return nil, fmt.Errorf("process %s (%d) is gone", p.Name, p.PID)
		}
		samples[i] = processSample{cpu, float64(rss), switches(p.PID)}
	}
	return samples, nil
}

// switches returns how often the live threads of a process have gone to sleep.
func switches(pid int) (sum float64) {
	files, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "status"))
	for _, name := range files {
		b, _ := os.ReadFile(name) // a thread may have ended
		_, rest, _ := strings.Cut(string(b), "\nvoluntary_ctxt_switches:")
		line, _, _ := strings.Cut(rest, "\n")
		n, _ := strconv.ParseFloat(strings.TrimSpace(line), 64)
		sum += n
	}
	return sum
}
