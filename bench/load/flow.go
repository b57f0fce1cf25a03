package load

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// flow is a run of producers and consumers.
//
//  1. topics: create them and wait for leaders.
//  2. readers: start the subscriptions and wait until every partition is assigned.
//  3. load: start the producers and warm up. The part that counts begins and ends with a sample of
//     every count (measure.go).
//  4. end: stop sending, wait for every acknowledgement, then until everything was read.
//  5. truth: sum up what the checkers saw; delete the topics.
type flow struct {
	t       Target
	w       Workload
	o       Options
	run     uint32
	start   time.Time // the start of the run's clock
	prefix  string
	names   []string          // topics
	numbers map[string]uint32 // the number of a topic's partition 0
	pool    [][]byte
	paced   bool

	recorder      recorder
	admin         *admin
	producers     []*producer
	subscriptions []*subscription
	pace          atomic.Pointer[pace]
	stopping      atomic.Bool
	sending       sync.WaitGroup
	reading       sync.WaitGroup
	stopReading   context.CancelFunc
	topicsMade    bool
}

// Bounds on waiting.
const (
	assignWithin = 2 * time.Minute
	flushWithin  = time.Minute
	drainStall   = 15 * time.Second // without any record
)

func runFlow(ctx context.Context, t Target, w Workload, o Options) (r *Result, err error) {
	f := newFlow(t, w, o)
	defer closing(&err, f.close)
	if err := f.open(ctx); err != nil {
		return nil, err
	}
	m := newMeasurement(f)
	if err := m.phases(ctx); err != nil {
		return nil, err
	}
	if err := f.finish(ctx, m); err != nil {
		return nil, err
	}
	return m.result(), nil
}

func newFlow(t Target, w Workload, o Options) *flow {
	f := &flow{t: t, w: w, o: o, run: rand.Uint32() | 1, start: time.Now(), prefix: w.TopicPrefix, numbers: make(map[string]uint32)}
	if f.prefix == "" {
		f.prefix = fmt.Sprintf("bench-%s-%08x", w.Name, f.run)
	}
	for i := range w.Topics {
		name := fmt.Sprintf("%s-%d", f.prefix, i)
		f.names = append(f.names, name)
		f.numbers[name] = uint32(i * w.Partitions)
	}
	f.pool = newPool(w.RecordBytes-EnvelopeBytes, w.RandomRatio, uint64(f.run))
	f.paced = w.Rate > 0 || w.FindMax
	f.recorder.beginAt(math.MaxInt64)
	return f
}

// now is the run's clock: ns since its start.
func (f *flow) now() int64 { return int64(time.Since(f.start)) }

// wall returns the wall-clock time of a moment of the run.
func (f *flow) wall(ns int64) time.Time { return f.start.Add(time.Duration(ns)) }

// sleepUntil waits for a moment of the run.
func (f *flow) sleepUntil(ns int64) {
	if d := ns - f.now(); d > 0 {
		sleep(time.Duration(d))
	}
}

// open makes topics, consumers and producers. The consumers read from then on.
func (f *flow) open(ctx context.Context) error {
	var err error
	if f.admin, err = newAdmin(f.t.Seeds); err != nil {
		return err
	}
	if err := f.makeTopics(ctx); err != nil {
		return err
	}
	for i := range f.w.Producers {
		p, err := newProducer(f, i)
		if err != nil {
			return fmt.Errorf("producer: %w", err)
		}
		f.producers = append(f.producers, p)
		if err := p.client.Ping(ctx); err != nil { // connecting is not a part of what is measured
			return fmt.Errorf("producer: %w", err)
		}
	}
	return f.openSubscriptions(ctx)
}

func (f *flow) makeTopics(ctx context.Context) error {
	if err := f.admin.create(ctx, &f.w, f.names); err != nil {
		return err
	}
	f.topicsMade = !f.w.Reuse
	return nil
}

func (f *flow) openSubscriptions(ctx context.Context) error {
	reading, stop := context.WithCancel(context.Background())
	f.stopReading = stop
	for i := range f.w.Subscriptions {
		s, err := newSubscription(f, i)
		f.subscriptions = append(f.subscriptions, s)
		if err != nil {
			return fmt.Errorf("consumer: %w", err)
		}
		for _, c := range s.consumers {
			f.reading.Go(func() { c.run(reading) })
		}
	}
	assigning, cancel := context.WithTimeout(ctx, assignWithin)
	defer cancel()
	for _, s := range f.subscriptions {
		if err := s.ready(assigning); err != nil {
			return err
		}
	}
	return nil
}

// pacerRecords is how many records a second one pacer can send.
const pacerRecords = 400_000

// send starts the producers.
func (f *flow) send() {
	if !f.paced {
		for _, p := range f.producers {
			f.sending.Go(p.unpaced)
		}
		return
	}
	f.setRate(max(f.w.Rate, 1))
	pacers := 1
	if n := int(f.w.Rate/pacerRecords) + 1; n > 1 || f.w.FindMax {
		pacers = min(max(n, 2), len(f.producers), runtime.GOMAXPROCS(0))
	}
	for i := range pacers {
		p := &pacer{f: f, pace: &f.pace}
		for n, pr := range f.producers {
			if n%pacers == i {
				p.producers = append(p.producers, pr)
			}
		}
		f.sending.Go(p.run)
	}
}

// setRate makes all records due anew, from now on.
func (f *flow) setRate(perSecond float64) {
	f.pace.Store(&pace{begin: f.now(), interval: 1e9 * float64(len(f.producers)) / perSecond})
}

// stop ends the sending. Records in flight stay in flight.
func (f *flow) stop() {
	f.stopping.Store(true)
	for _, p := range f.producers {
		p.stop()
	}
	f.sending.Wait()
}

// finish waits for every acknowledgement, and then until everything was read.
func (f *flow) finish(ctx context.Context, m *measurement) error {
	f.stop()
	flush, cancel := context.WithTimeout(ctx, flushWithin)
	defer cancel()
	for _, p := range f.producers {
		if err := p.client.Flush(flush); err != nil {
			// Each record gets an error, which is counted.
			_ = p.client.AbortBufferedRecords(context.WithoutCancel(ctx))
		}
	}
	for _, s := range f.subscriptions {
		s.paused.open()
	}
	err := f.drained(ctx, m)
	m.gather()
	return err
}

// drained waits until every subscription has read what was acknowledged, or until no more records
// come.
func (f *flow) drained(ctx context.Context, m *measurement) error {
	want := f.counts().acknowledged
	last, since := int64(-1), time.Now()
	for {
		behind, read := int64(0), int64(0)
		for _, s := range f.subscriptions {
			n := s.received.Load()
			read += n
			behind += max(0, want-n)
		}
		if read != last {
			last, since = read, time.Now()
		}
		if behind == 0 || time.Since(since) > drainStall {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
		m.gather()
	}
}

// counts are totals over all clients.
type counts struct {
	at                             int64 // ns of the run
	acknowledged, received, errors int64
	produced, fetched, requests    int64 // bytes on the wire, and requests
}

func (f *flow) counts() counts {
	c := counts{at: f.now()}
	for _, p := range f.producers {
		c.acknowledged += p.acknowledged.Load()
		c.errors += p.errors.Load()
		c.produced += p.wire.produced.Load()
		c.requests += p.wire.requests.Load()
	}
	for _, s := range f.subscriptions {
		c.received += s.received.Load()
		c.errors += s.errors.Load()
		for _, r := range s.consumers {
			c.fetched += r.wire.fetched.Load()
		}
	}
	return c
}

// faults sums up what all subscriptions saw. Nothing may be sent or read any more.
func (f *flow) faults() faults {
	var sum faults
	for _, s := range f.subscriptions {
		sum.add(s.checker.total(func(producer, partition int) written { return f.producers[producer].written(partition) }, len(f.producers)))
	}
	return sum
}

// stopConsumers ends the reading and leaves the groups.
func (f *flow) stopConsumers() {
	if f.stopReading == nil {
		return
	}
	f.stopReading()
	f.reading.Wait()
	for _, s := range f.subscriptions {
		for _, c := range s.consumers {
			c.client.CloseAllowingRebalance()
		}
	}
	f.stopReading = nil
}

func (f *flow) groups() []string {
	var groups []string
	if f.w.Direct {
		return nil
	}
	for i := range f.w.Subscriptions {
		if !f.w.OwnTopic {
			groups = append(groups, fmt.Sprintf("%s-%d", f.prefix, i))
			continue
		}
		for t := range f.names {
			groups = append(groups, fmt.Sprintf("%s-%d-%d", f.prefix, i, t))
		}
	}
	return groups
}

// close ends everything, whatever its state is.
func (f *flow) close() error {
	f.stop()
	f.stopConsumers()
	for _, p := range f.producers {
		p.client.Close()
	}
	if f.admin == nil {
		return nil
	}
	defer f.admin.close()
	if !f.topicsMade || f.w.Keep {
		return nil
	}
	return f.admin.remove(f.names, f.groups())
}

// errNoData means that a reading found nothing.
var errNoData = errors.New("there are no records to read")
