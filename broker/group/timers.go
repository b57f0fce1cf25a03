package group

import (
	"container/heap"
	"time"
)

// timer is something that a shard does at a given time. The zero value with fire set is not
// running.
type timer struct {
	at   time.Time
	seq  uint64 // breaks ties: the timer that was set first fires first
	slot int    // place in the heap plus one; 0 if not running
	fire func(now time.Time)
}

// timers holds every timer of a shard, the earliest first.
type timers struct {
	queue timerHeap
	seq   uint64
}

// set starts t, or moves it.
func (ts *timers) set(t *timer, at time.Time) {
	ts.seq++
	t.at, t.seq = at, ts.seq
	if t.slot > 0 {
		heap.Fix(&ts.queue, t.slot-1)
		return
	}
	heap.Push(&ts.queue, t)
}

// stop stops t.
func (ts *timers) stop(t *timer) {
	if t.slot > 0 {
		heap.Remove(&ts.queue, t.slot-1)
	}
}

// due returns the earliest timer that is due at now and was set no later than seq. A timer that
// sets itself again for now waits for the next Tick.
func (ts *timers) due(now time.Time, seq uint64) *timer {
	if len(ts.queue) == 0 {
		return nil
	}
	t := ts.queue[0]
	if t.at.After(now) || t.seq > seq {
		return nil
	}
	heap.Pop(&ts.queue)
	return t
}

// timerHeap is the heap behind timers.
type timerHeap []*timer

func (h timerHeap) Len() int { return len(h) }

func (h timerHeap) Less(i, j int) bool {
	if !h[i].at.Equal(h[j].at) {
		return h[i].at.Before(h[j].at)
	}
	return h[i].seq < h[j].seq
}

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].slot, h[j].slot = i+1, j+1
}

func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	*h = append(*h, t)
	t.slot = len(*h)
}

func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.slot = 0
	return t
}
