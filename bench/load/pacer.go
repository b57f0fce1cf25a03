package load

import (
	"math"
	"sync/atomic"
)

// pace is a rate and the time from which it counts.
type pace struct {
	begin    int64   // ns since the run's start
	interval float64 // ns between two records of one producer
}

// due returns how many records producer i of n should have sent by now. The producers take turns
// within an interval.
func (p *pace) due(i, n int, now int64) int64 {
	ahead := float64(now-p.begin) - p.interval*float64(i)/float64(n)
	if ahead < 0 {
		return 0
	}
	return int64(ahead/p.interval) + 1
}

// intended returns when record k of producer i of n is due. It is counted from the beginning each
// time, so it cannot drift.
func (p *pace) intended(i, n int, k int64) int64 {
	return p.begin + int64(p.interval*(float64(i)/float64(n)+float64(k)))
}

// pacer sends the records that are due for some producers. It waits for none of them: if a producer
// has all its records in flight, the records that it owes stay due from when they were due.
type pacer struct {
	f         *flow
	producers []*producer
	pace      *atomic.Pointer[pace]
	current   *pace
}

// tick is the shortest wait. Records of the same tick are sent together, so that the client takes
// less CPU from the broker. It is far below what a linger of 1 ms adds.
const tick = 100_000 // ns

func (p *pacer) run() {
	for !p.f.stopping.Load() {
		if now := p.pace.Load(); now != p.current {
			p.current = now
			for _, pr := range p.producers {
				pr.count = 0
			}
		}
		now := p.f.now()
		next := int64(math.MaxInt64)
		for _, pr := range p.producers {
			next = min(next, p.sendDue(pr, now))
		}
		p.f.sleepUntil(min(max(next, now+tick), now+10*1e6))
	}
}

// sendDue sends what a producer owes, and returns when it will owe the next record.
func (p *pacer) sendDue(pr *producer, now int64) int64 {
	n := len(p.f.producers)
	for due := p.current.due(pr.number, n, now); pr.count < due; pr.count++ {
		r := pr.take(false)
		if r == nil {
			break
		}
		pr.send(r, p.current.intended(pr.number, n, pr.count), p.f.now())
	}
	return p.current.intended(pr.number, n, pr.count)
}

// unpaced sends as fast as acknowledgements give records back, until the end or until its quota is
// used.
func (p *producer) unpaced() {
	for ; !p.f.stopping.Load() && (p.quota == 0 || p.count < p.quota); p.count++ {
		if r := p.take(true); r != nil {
			now := p.f.now()
			p.send(r, now, now)
		}
	}
}
