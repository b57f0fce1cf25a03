package coordinator

import (
	"context"
	"sync"
	"time"

	"github.com/sluicemq/sluice/broker/group"
	"github.com/sluicemq/sluice/ident"
)

// A shard keeps its log short by itself; no cleaner is involved:
//
//  1. quiet: the shard takes no work until all writes have settled. Then the machine's state is the
//     state of the log. If the log does not settle soon, it is left alone for a while.
//  2. write: the live state goes into the queue, in batches of its own, ahead of everything that is
//     taken from now on. So it never undoes a later write.
//  3. move: when all of the live state is durable, the log start moves to its first offset.
//
// If the broker dies anywhere in between, the log holds the old state and then the new one, and a
// replay ends in the same state (I15, I16).

const (
	// liveFactor is how many times its live state a log may hold.
	liveFactor = 10
	// quietMax is how long a shard takes no work while its writes settle.
	quietMax = 500 * time.Millisecond
	// shortenFloor is a size up to which no log is too long.
	shortenFloor = 4 * kib
	// shortenPause is the time between a failed attempt and the next one.
	shortenPause = 30 * time.Second
)

type shortenStep int

const (
	growing  shortenStep = iota // nothing to do yet
	quieting                    // waiting for writes to settle
	writing                     // live state is being written
	moving                      // the log start is being moved
	resting                     // pausing after a failure
)

// shortening tells how far the shortening of the log has got.
type shortening struct {
	step  shortenStep
	first ident.Offset // first offset of the live state in the log; -1 while none of it is written
	left  int          // number of writes of live state that are not settled
	bytes int64        // number of bytes appended from first on
	moved chan error   // capacity 1: how moving the log start ended
	pause pause
	after shortenStep // the step that follows resting: growing, or writing to repeat the move
	last  time.Time   // when a shortening last began; before the first one, when the log was loaded
}

// pause is a timer that need not run.
type pause struct {
	timer *time.Timer
	C     <-chan time.Time
}

func (p *pause) start(d time.Duration) {
	p.stop()
	p.timer = time.NewTimer(d)
	p.C = p.timer.C
}

func (p *pause) stop() {
	if p.timer != nil {
		p.timer.Stop()
	}
	p.timer, p.C = nil, nil
}

func (h *shortening) quieting() bool { return h.step == quieting }

func (h *shortening) rest(after shortenStep) {
	h.step, h.after = resting, after
	h.pause.start(shortenPause)
}

// paused is called when the pause is over.
func (h *shortening) paused() {
	h.pause.stop()
	if h.step == quieting {
		h.rest(growing)
		return
	}
	h.step = h.after
}

// tooLong reports whether the log holds much more than the live state and is large, or has not been
// shortened for a while. The time counts because each flush puts the few bytes of new offsets into
// an object of its own, so that a small log can still take many objects.
func (s *shard) tooLong() bool {
	return s.holdsDead() && (s.appender.logBytes > s.cfg.ShortenBytes || time.Since(s.shorten.last) >= s.cfg.ShortenInterval)
}

// holdsDead reports whether most of the log is state that has been overwritten since.
func (s *shard) holdsDead() bool {
	return s.appender.logBytes > max(shortenFloor, liveFactor*int64(s.machine.Bytes()))
}

// maybeShorten takes the steps for which the loop has to wait for nothing else.
func (s *shard) maybeShorten(ctx context.Context, work *sync.WaitGroup) {
	h := &s.shorten
	if h.step == growing && s.tooLong() {
		h.step, h.last = quieting, time.Now()
		h.pause.start(quietMax)
	}
	if h.step == quieting && s.appender.idle() {
		h.pause.stop()
		s.writeLive()
	}
	if h.step == writing && h.left == 0 {
		h.step = moving
		to := h.first
		work.Go(func() {
			_, err := s.deps.Log.DeleteRecords(ctx, s.tp, to)
			h.moved <- err
		})
	}
}

// writeLive queues the live state. If there is none, the log start may move to the log's end.
func (s *shard) writeLive() {
	h := &s.shorten
	h.step, h.first, h.bytes = writing, -1, 0
	for _, w := range liveWrites(s.machine.Snapshot()) {
		s.appender.queue = append(s.appender.queue, w)
		h.left++
	}
	if h.left == 0 {
		h.first = s.appender.end
	}
}

// liveWrites divides records into writes of one batch each.
func liveWrites(records []group.Record) []write {
	var writes []write
	for len(records) > 0 {
		n, bytes := 1, recordBytes(&records[0])
		for n < len(records) && bytes+recordBytes(&records[n]) <= batchBytesMax {
			bytes += recordBytes(&records[n])
			n++
		}
		writes = append(writes, write{records: records[:n], bytes: batchBytesMax, live: true})
		records = records[n:]
	}
	return writes
}

// liveWritten is called when a batch of live state has settled. After a failure the rest of the
// live state is not written: the log is complete without it.
func (s *shard) liveWritten(o outcome) {
	h := &s.shorten
	if o.err != nil {
		s.appender.dropLive()
		h.left = 0
		h.rest(growing)
		return
	}
	if h.first < 0 {
		h.first = o.base
	}
	h.left--
}

// dropLive takes live state off the queue.
func (a *appender) dropLive() {
	kept := a.queue[:0:0]
	for _, w := range a.queue {
		if !w.live {
			kept = append(kept, w)
		}
	}
	a.queue = kept
}

// logStartMoved is called when the log start has moved, or could not be moved.
func (s *shard) logStartMoved(err error) {
	h := &s.shorten
	if err != nil {
		s.log.Warn("log of groups not shortened", "log_start", int64(h.first), "err", err)
		h.rest(writing) // the live state is written: only the move is left
		return
	}
	s.log.Info("log of groups shortened", "log_start", int64(h.first), "log_bytes_before", s.appender.logBytes, "log_bytes", h.bytes)
	s.appender.logBytes = h.bytes
	h.step = growing
}
