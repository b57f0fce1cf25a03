package coordinator

import (
	"context"
	"sync"
	"time"

	"github.com/sluicemq/sluice/broker/group"
	"github.com/sluicemq/sluice/ident"
)

// How a shard's log is kept short, without anything that cleans it:
//
//  1. quiet    no work is taken until all writes are settled: then the machine's state is
//              the log's. A log that does not settle is left alone for a while.
//  2. write    the live state goes into the queue, in batches of its own, before anything
//              that is taken from now on: it never undoes a later write.
//  3. move     when all of it is durable, the log start moves to its first offset.
//
// Dying anywhere between leaves old and new state in the log, in that order: replay ends the same (I15, I16).

const (
	// liveFactor is how many times the live state a log may hold.
	liveFactor = 10
	// quietMax is how long a shard takes no work while its writes settle.
	quietMax = 500 * time.Millisecond
	// shortenFloor is what no log is too long for.
	shortenFloor = 4 * kib
	// shortenPause lies between a failed attempt and the next.
	shortenPause = 30 * time.Second
)

type shortenStep int

const (
	growing  shortenStep = iota // nothing to do yet
	quieting                    // waiting for writes to settle
	writing                     // live state is being written
	moving                      // the log start is being moved
	resting                     // after a failure
)

// shortening is how far the log's shortening is.
type shortening struct {
	step  shortenStep
	first ident.Offset // of the live state in the log; -1: none of it is written yet
	left  int          // writes of live state that are not settled
	bytes int64        // appended since first, first included
	moved chan error   // capacity 1: how moving ended
	pause pause
	after shortenStep // what follows the rest: growing, or writing to move once more
	last  time.Time   // when the log last began to be shortened; before that, when it was loaded
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

// tooLong reports that the log holds much more than lives, and is large or has been so for a while: each
// flush puts the few bytes of new offsets into an object of its own, and it is their number that counts then.
func (s *shard) tooLong() bool {
	return s.holdsDead() && (s.appender.logBytes > s.cfg.ShortenBytes || time.Since(s.shorten.last) >= s.cfg.ShortenInterval)
}

// holdsDead reports that most of the log is state that was written anew since.
func (s *shard) holdsDead() bool {
	return s.appender.logBytes > max(shortenFloor, liveFactor*int64(s.machine.Bytes()))
}

// maybeShorten takes the steps that wait for nothing but the loop.
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

// writeLive queues the live state. If there is none, the log may go up to its end.
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

// liveWrites cuts records into writes of one batch each.
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

// liveWritten is called when a batch of live state has settled. After a
// failure the rest is not written: the log is whole without it.
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

// logStartMoved is called when the log start has moved, or could not be.
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
