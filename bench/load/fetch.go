package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// reading is the part of the fetch workloads after the records were written: every reader reads its
// partitions from start to end, again and again if the workload says so, and checks each record.
type reading struct {
	f       *flow
	again   bool
	readers []*reader
	records atomic.Int64
	wire    wireCounter
	last    readCounts // the counts of the last period
}

// reader is one client and its partitions. Its goroutine owns it. Others read it when that
// goroutine has ended.
type reader struct {
	g      *reading
	client *kgo.Client
	check  *checker
	spans  map[string]map[int32]span
	want   int64 // records of a pass
	left   int   // partitions whose end this pass has not reached
	faults faults
	passes int
	err    error
}

// span is the range of offsets that can be read from a partition.
type span struct{ start, end int64 }

// readCounts are totals at one moment.
type readCounts struct {
	at, records, wire int64
	usage             usage
}

// runFetch writes FillBytes, unless the topics exist, and reads them.
func runFetch(ctx context.Context, t Target, w Workload, o Options) (r *Result, err error) {
	again := w.Name != "fetch-cold"
	w.Subscriptions, w.Direct = 0, true
	f := newFlow(t, w, o)
	defer closing(&err, f.close)
	if f.admin, err = newAdmin(t.Seeds); err != nil {
		return nil, err
	}
	if err := f.makeTopics(ctx); err != nil {
		return nil, err
	}
	if !w.Reuse {
		if err := f.fill(ctx); err != nil {
			return nil, fmt.Errorf("fill: %w", err)
		}
	}
	g := &reading{f: f, again: again}
	if err := g.open(ctx); err != nil {
		return nil, err
	}
	return g.measure(ctx)
}

// fill produces FillBytes as fast as possible.
func (f *flow) fill(ctx context.Context) error {
	want := f.w.FillBytes / int64(f.w.RecordBytes)
	for i := range f.w.Producers {
		p, err := newProducer(f, i)
		if err != nil {
			return err
		}
		f.producers = append(f.producers, p)
		p.quota = max(1, (want+int64(i))/int64(f.w.Producers))
	}
	f.paced = false
	f.send()
	for last := int64(-1); f.counts().acknowledged < want && f.counts().errors == 0; {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
		if c := f.counts(); c.at-last >= int64(f.o.Interval) {
			last = c.at
			f.o.Progress(fmt.Sprintf("%6.1fs fill     %d of %d MiB", float64(c.at)/1e9, c.acknowledged*int64(f.w.RecordBytes)/mib, f.w.FillBytes/mib))
		}
	}
	f.stop()
	for _, p := range f.producers {
		if err := p.client.Flush(ctx); err != nil {
			return err
		}
		if p.reason != nil {
			return p.reason
		}
	}
	return nil
}

// open finds out what there is to read and makes the readers.
func (g *reading) open(ctx context.Context) error {
	f := g.f
	starts, err := f.admin.kadm.ListStartOffsets(ctx, f.names...)
	if err != nil {
		return fmt.Errorf("list start offsets: %w", err)
	}
	ends, err := f.admin.kadm.ListEndOffsets(ctx, f.names...)
	if err != nil {
		return fmt.Errorf("list end offsets: %w", err)
	}
	if err := errors.Join(starts.Error(), ends.Error()); err != nil {
		return fmt.Errorf("list offsets: %w", err)
	}
	there := int64(0)
	for n := range f.w.Consumers {
		r := &reader{g: g, check: newChecker(0, len(f.names)*f.w.Partitions), spans: make(map[string]map[int32]span)}
		for topic, ps := range share(f.names, f.w.Partitions, n, f.w.Consumers) {
			r.spans[topic] = make(map[int32]span)
			for p := range ps {
				start, _ := starts.Lookup(topic, p)
				end, _ := ends.Lookup(topic, p)
				if start.Offset < end.Offset {
					r.spans[topic][p] = span{start.Offset, end.Offset}
					r.want += end.Offset - start.Offset
				}
			}
		}
		if r.want > 0 {
			g.readers = append(g.readers, r)
		}
		there += r.want
	}
	if there == 0 {
		return errNoData
	}
	return nil
}

// connect makes the client. It asks for an immediate answer at the end of a partition, so that
// nobody waits between two passes.
func (r *reader) connect() error {
	offsets := make(map[string]map[int32]kgo.Offset)
	for topic, spans := range r.spans {
		offsets[topic] = make(map[int32]kgo.Offset)
		for p, s := range spans {
			offsets[topic][p] = kgo.NewOffset().At(s.start)
		}
	}
	var err error
	r.client, err = kgo.NewClient(kgo.SeedBrokers(r.g.f.t.Seeds...), kgo.ClientID("bench"), kgo.WithHooks(&r.g.wire), kgo.ConsumePartitions(offsets),
		kgo.FetchMaxPartitionBytes(fetchBytes), kgo.FetchMaxBytes(50*mib), kgo.FetchMaxWait(10*time.Millisecond))
	return err
}

// run reads pass after pass until the context ends.
func (r *reader) run(ctx context.Context) {
	for {
		r.err = r.pass(ctx)
		if r.err != nil || !r.g.again || ctx.Err() != nil {
			return
		}
		again := make(map[string]map[int32]kgo.EpochOffset)
		for topic, spans := range r.spans {
			again[topic] = make(map[int32]kgo.EpochOffset)
			for p, s := range spans {
				again[topic][p] = kgo.EpochOffset{Epoch: -1, Offset: s.start}
			}
		}
		r.client.SetOffsets(again)
	}
}

// pass reads everything once. If the context ends a pass, missing records are not counted.
func (r *reader) pass(ctx context.Context) error {
	r.left = 0
	for _, spans := range r.spans {
		r.left += len(spans)
	}
	r.check = newChecker(0, len(r.check.partitions))
	for r.left > 0 && ctx.Err() == nil {
		fetches := r.client.PollFetches(ctx)
		var err error
		fetches.EachError(func(topic string, p int32, e error) {
			err = errors.Join(err, fmt.Errorf("read %s/%d: %w", topic, p, e))
		})
		if err != nil && ctx.Err() == nil {
			return err
		}
		fetches.EachPartition(r.take)
	}
	r.passed(r.left == 0)
	return nil
}

// take checks what was read of one partition.
func (r *reader) take(p kgo.FetchTopicPartition) {
	if len(p.Records) == 0 {
		return
	}
	number := r.g.f.numbers[p.Topic] + uint32(p.Partition)
	check := &r.check.partitions[number]
	check.mu.Lock()
	for _, rec := range p.Records {
		check.observeLocked(0, number, rec.Value)
	}
	check.mu.Unlock()
	r.g.records.Add(int64(len(p.Records)))
	if p.Records[len(p.Records)-1].Offset >= r.spans[p.Topic][p.Partition].end-1 {
		r.left--
	}
}

// passed adds up the counts of a pass.
func (r *reader) passed(whole bool) {
	sum := r.check.gaps()
	if whole {
		r.passes++
		sum.Lost = max(sum.Lost, r.want-sum.Received-sum.Damaged-sum.Duplicates)
	}
	r.faults.add(sum)
}

// measure reads, and counts after the warm-up.
func (g *reading) measure(ctx context.Context) (*Result, error) {
	reading, stop := context.WithCancel(ctx)
	defer stop()
	var readers sync.WaitGroup
	for _, r := range g.readers {
		if err := r.connect(); err != nil {
			return nil, err
		}
		defer r.client.Close()
	}
	r := &Result{Shape: g.f.w, Figures: make(map[string]float64), perProducer: max(1, g.f.w.Producers/g.f.w.Topics)}
	over := make(chan struct{})
	g.last = g.counts()
	begin := g.last // a single pass counts from before its first request
	r.Begin = time.Now()
	for _, one := range g.readers {
		readers.Go(func() { one.run(reading) })
	}
	go func() { readers.Wait(); close(over) }()
	if g.again {
		g.until(ctx, over, g.f.o.Warmup, "warm-up")
		begin, r.Begin = g.counts(), time.Now()
		g.until(ctx, over, g.f.o.Duration, "measure")
	} else {
		g.until(ctx, over, coldWithin, "measure")
	}
	end := g.counts()
	r.End = time.Now()
	stop()
	<-over
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return r, g.figures(r, &begin, &end)
}

// coldWithin bounds a single pass.
const coldWithin = time.Hour

func (g *reading) counts() readCounts {
	return readCounts{g.f.now(), g.records.Load(), g.wire.fetched.Load(), sampleUsage(g.f.t.Processes)}
}

// until reports the progress at each interval, for a given time or until the readers are done.
func (g *reading) until(ctx context.Context, over <-chan struct{}, d time.Duration, phase string) {
	end := time.After(d)
	tick := time.NewTicker(g.f.o.Interval)
	defer tick.Stop()
	defer g.tell(phase)
	for {
		select {
		case <-tick.C:
			g.tell(phase)
		case <-end:
			return
		case <-over:
			return
		case <-ctx.Done():
			return
		}
	}
}

// tell prints a line of progress.
func (g *reading) tell(phase string) {
	now := g.counts()
	rate := float64(now.records-g.last.records) / float64(now.at-g.last.at) * 1e9
	g.f.o.Progress(fmt.Sprintf("%6.1fs %s  out %8.0f/s %7.1f MiB/s", float64(now.at)/1e9, phase, rate, rate*float64(g.f.w.RecordBytes)/mib))
	g.last = now
}

func (g *reading) figures(r *Result, begin, end *readCounts) error {
	var sum faults
	passes := 0
	for _, one := range g.readers {
		if one.err != nil {
			return one.err
		}
		sum.add(one.faults)
		passes += one.passes
	}
	seconds := float64(end.at-begin.at) / 1e9
	records := float64(end.records - begin.records)
	size := float64(g.f.w.RecordBytes) / mib
	fig := r.Figures
	fig["seconds"], fig["passes"] = seconds, float64(passes)/float64(len(g.readers))
	fig["records_per_second"] = records / seconds
	fig["mib_per_second"] = records * size / seconds
	fig["wire_mib_per_second"] = float64(end.wire-begin.wire) / seconds / mib
	fig["errors"], fig["lost"], fig["duplicates"] = 0, float64(sum.Lost), float64(sum.Duplicates)
	fig["reordered"], fig["damaged"] = float64(sum.Reordered), float64(sum.Damaged)
	end.usage.figures(&begin.usage, seconds, records*size/1024, 0, fig)
	for _, q := range g.f.t.Processes {
		if n, ok := processRSS(q.PID); ok {
			fig["rss_mib."+q.Name] = float64(n) / mib
		}
	}
	return nil
}
