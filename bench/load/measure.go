package load

import (
	"context"
	"fmt"
	"math"
	"time"
)

// measurement takes a flow through its phases and keeps what it sees. One goroutine owns it.
type measurement struct {
	f     *flow
	r     *Result
	begin sample // the start of what counts
	end   sample
	last  sample // the end of the last period
	total histograms
	now   histograms // of this period

	counting bool
	control  *controller
	rate     float64 // the rate that is set now; 0 if there is none
	changed  int64   // when the rate was set
	rss      map[string]int64
}

// sample is every count at one moment.
type sample struct {
	counts
	usage usage
}

func newMeasurement(f *flow) *measurement {
	m := &measurement{f: f, rate: f.w.Rate, rss: make(map[string]int64)}
	m.r = &Result{Shape: f.w, Figures: make(map[string]float64), perProducer: max(1, f.w.Producers/f.w.Topics)}
	if f.w.FindMax {
		m.control, m.rate = newController(), controlRate
	}
	return m
}

func (m *measurement) sample() sample {
	return sample{m.f.counts(), sampleUsage(m.f.t.Processes)}
}

// phases sends, warms up, and counts.
func (m *measurement) phases(ctx context.Context) error {
	f := m.f
	m.last = m.sample()
	f.send()
	m.setRate(m.rate)
	if err := m.until(ctx, f.now()+int64(f.o.Warmup), nil); err != nil {
		return err
	}
	if f.w.BacklogBytes > 0 {
		if err := m.pileUp(ctx); err != nil {
			return err
		}
	}
	m.startCounting()
	if f.w.BacklogBytes > 0 {
		if err := m.drainBacklog(ctx); err != nil {
			return err
		}
	}
	err := m.until(ctx, f.now()+int64(f.o.Duration), nil)
	m.stopCounting()
	return err
}

func (m *measurement) setRate(rate float64) {
	m.rate, m.changed = rate, m.f.now()
	if rate > 0 {
		m.f.setRate(rate)
	}
}

func (m *measurement) startCounting() {
	m.period()
	m.r.Periods = nil
	m.begin = m.sample()
	m.f.recorder.beginAt(m.f.now())
	m.counting = true
	m.r.Begin = time.Now()
}

func (m *measurement) stopCounting() {
	m.end = m.sample()
	m.counting = false
	m.r.End = time.Now()
}

// until ticks until a given moment, or until done returns true.
func (m *measurement) until(ctx context.Context, end int64, done func(counts) bool) error {
	for {
		now := m.f.now()
		next := min(end, m.last.at+int64(m.f.o.Interval))
		if m.control != nil {
			next = min(next, m.changed+int64(controlEvery))
		}
		if done != nil {
			next = min(next, now+int64(50*time.Millisecond))
		}
		select {
		case <-time.After(time.Duration(next - now)):
		case <-ctx.Done():
			return ctx.Err()
		}
		now = m.f.now()
		if m.control != nil && now >= m.changed+int64(controlEvery) {
			m.steer()
		}
		if now >= m.last.at+int64(m.f.o.Interval) || now >= end {
			m.period()
		}
		if now >= end || done != nil && done(m.f.counts()) {
			return nil
		}
	}
}

// steer asks the controller for the next rate.
func (m *measurement) steer() {
	c := m.f.counts()
	period := time.Duration(m.f.now() - m.changed)
	m.setRate(max(1, m.control.next(m.rate, period, c.acknowledged, c.received/int64(m.f.w.Subscriptions))))
}

// gather takes what the recorders have.
func (m *measurement) gather() { m.f.recorder.take(&m.now, &m.total) }

// period ends a period and reports it.
func (m *measurement) period() {
	now := m.sample()
	seconds := float64(now.at-m.last.at) / 1e9
	if seconds < float64(m.f.o.Interval)/4/1e9 { // a phase ended right after a period
		return
	}
	m.gather()
	if !m.f.paced {
		m.now[ack] = m.now[publish] // a record is due when it is sent
	}
	p := Period{
		PublishRate: float64(now.acknowledged-m.last.acknowledged) / seconds,
		ErrorRate:   float64(now.errors-m.last.errors) / seconds,
		ConsumeRate: float64(now.received-m.last.received) / seconds,
		RSSBytes:    make(map[string]int64), latencies: m.now.summaries(),
	}
	if n := int64(m.f.w.Subscriptions); n > 0 {
		p.BacklogCount = max(0, n*now.acknowledged-now.received)
	}
	for _, q := range m.f.t.Processes {
		if n, ok := processRSS(q.PID); ok {
			p.RSSBytes[q.Name] = n
			if m.counting {
				m.rss[q.Name] = max(m.rss[q.Name], n)
			}
		}
	}
	m.r.Periods = append(m.r.Periods, p)
	m.f.o.Progress(m.line(&p, &now))
	m.now.reset()
	m.last = now
}

// line prints a period.
func (m *measurement) line(p *Period, now *sample) string {
	size := float64(m.f.w.RecordBytes) / mib
	s := fmt.Sprintf("%6.1fs %-7s", float64(now.at)/1e9, map[bool]string{true: "measure", false: "warm-up"}[m.counting])
	if m.f.w.Producers > 0 && len(m.f.producers) > 0 {
		s += fmt.Sprintf("  in %8.0f/s %7.1f MiB/s", p.PublishRate, p.PublishRate*size)
		if m.rate > 0 {
			s += fmt.Sprintf(" of %.0f/s", m.rate)
		}
		if h := m.now[publish]; h != nil && h.TotalCount() > 0 {
			s += fmt.Sprintf("  publish p50 %.2f p99 %.2f max %.1f ms", inMillis(h.ValueAtQuantile(50)), inMillis(h.ValueAtQuantile(99)), inMillis(h.Max()))
		}
	}
	if m.f.w.Subscriptions > 0 {
		s += fmt.Sprintf("  out %8.0f/s", p.ConsumeRate)
		if h := m.now[endToEnd]; h != nil && h.TotalCount() > 0 {
			s += fmt.Sprintf(" p99 %.2f ms", inMillis(h.ValueAtQuantile(99)))
		}
		s += fmt.Sprintf("  behind %d", p.BacklogCount)
	}
	for _, q := range m.f.t.Processes {
		if n, ok := p.RSSBytes[q.Name]; ok {
			s += fmt.Sprintf("  %s %d MiB", q.Name, n/mib)
		}
	}
	if now.errors > 0 {
		s += fmt.Sprintf("  ERRORS %d", now.errors)
	}
	return s
}

func inMillis(micros int64) float64 { return float64(micros) / microsPerMilli }

// result computes the figures once everything is over.
func (m *measurement) result() *Result {
	f, r := m.f, m.r
	f.stopConsumers()
	r.latencies = m.total
	if !f.paced {
		r.latencies[ack] = r.latencies[publish] // a record is due when it is sent
	}
	seconds := float64(m.end.at-m.begin.at) / 1e9
	records := float64(m.end.acknowledged - m.begin.acknowledged)
	received := float64(m.end.received - m.begin.received)
	size := float64(f.w.RecordBytes) / mib
	fig := r.Figures
	fig["seconds"] = seconds
	fig["records_per_second"] = records / seconds
	fig["mib_per_second"] = records / seconds * size
	fig["wire_mib_per_second"] = float64(m.end.produced-m.begin.produced) / seconds / mib
	requests := float64(m.end.requests - m.begin.requests)
	fig["produce_requests_per_second"] = requests / seconds
	if f.w.Subscriptions > 0 {
		fig["consume_records_per_second"] = received / seconds
		fig["consume_mib_per_second"] = received / seconds * size
	}
	for i := range measureCount {
		latencyFigures(measureNames[i], r.latencies[i], fig)
	}
	m.end.usage.figures(&m.begin.usage, seconds, records*size/1024, requests, fig)
	for name, n := range m.rss {
		fig["rss_mib."+name] = float64(n) / mib
	}
	if m.control != nil {
		fig["max_sustained_records_per_second"], fig["max_sustained_mib_per_second"] = m.control.best, m.control.best*size
	}
	m.truth()
	m.sustained(records/seconds, received/seconds)
	return r
}

// truth sums up errors and faults.
func (m *measurement) truth() {
	f, fig := m.f, m.r.Figures
	sum := f.faults()
	fig["errors"] = float64(f.counts().errors)
	fig["lost"], fig["duplicates"], fig["reordered"], fig["damaged"] = float64(sum.Lost), float64(sum.Duplicates), float64(sum.Reordered), float64(sum.Damaged)
	for _, p := range f.producers {
		p.mu.Lock()
		m.r.because(p.reason)
		p.mu.Unlock()
	}
	for _, s := range f.subscriptions {
		s.mu.Lock()
		m.r.because(s.reason)
		s.mu.Unlock()
	}
}

// sustainedShare is the smallest share of a rate that must be reached.
const sustainedShare = 0.99

// sustained says whether the requested rate was reached.
func (m *measurement) sustained(publishRate, consumeRate float64) {
	f, r := m.f, m.r
	if f.w.Rate > 0 && !f.w.FindMax {
		r.Figures["target_records_per_second"] = f.w.Rate
		if publishRate < sustainedShare*f.w.Rate {
			r.NotReached = fmt.Sprintf("%.0f records/s of %.0f", publishRate, f.w.Rate)
		}
	}
	if n := float64(f.w.Subscriptions); n > 0 {
		behind := n*float64(m.end.acknowledged) - float64(m.end.received)
		r.Figures["backlog_records"] = max(0, behind)
		if f.w.Rate > 0 && !f.w.FindMax && f.w.BacklogBytes == 0 && consumeRate < sustainedShare*n*publishRate && behind > controlBacklog*n {
			r.NotReached = fmt.Sprintf("consumers fell behind: %.0f records/s read, %.0f came", consumeRate, n*publishRate)
		}
	}
	r.Figures["sustained"] = 1
	if r.NotReached != "" {
		r.Figures["sustained"] = 0
	}
}

// pileUp keeps the last subscription from reading until enough records wait for it.
func (m *measurement) pileUp(ctx context.Context) error {
	s := m.lastSubscription()
	s.paused.close()
	want := m.f.w.BacklogBytes / int64(m.f.w.RecordBytes)
	return m.until(ctx, math.MaxInt64, func(c counts) bool { return c.acknowledged-s.received.Load() >= want })
}

// drainBacklog lets the last subscription read until few records wait, and reports how fast that
// was.
func (m *measurement) drainBacklog(ctx context.Context) error {
	s := m.lastSubscription()
	begin, before := m.f.now(), s.received.Load()
	waited := m.begin.acknowledged - before
	s.paused.open()
	err := m.until(ctx, math.MaxInt64, func(c counts) bool { return c.acknowledged-s.received.Load() <= controlBacklog })
	seconds := float64(max(1, m.f.now()-begin)) / 1e9
	size := float64(m.f.w.RecordBytes) / mib
	fig := m.r.Figures
	fig["backlog_mib"] = float64(waited) * size
	fig["drain_seconds"] = seconds
	fig["drain_mib_per_second"] = float64(s.received.Load()-before) * size / seconds
	latencyFigures("drain_publish", m.total[publish], fig)
	latencyFigures("drain_end_to_end", m.total[endToEnd], fig)
	return err
}

func (m *measurement) lastSubscription() *subscription {
	return m.f.subscriptions[len(m.f.subscriptions)-1]
}
