// This file has the loop of one shard. Whatever a client learns of a group is durable before:
//
//  1. load: the shard replays the partition's log from its start to its end (load.go). Until then
//     it answers every request with ErrLoading.
//  2. take: the machine handles a request, or the passing of time. It returns records to write, and
//     answers that depend on no write.
//  3. append: all writes that have gathered become one batch (append.go). One append is in flight
//     at a time. Were there two and the first refused, the second would describe a state that is
//     not in the log.
//  4. written: the batch is durable and visible, or refused. The loop tells the machine, which
//     shows the new state and gives the answers that waited for it (I2, I13).
//
// Only the loop touches the machine. Only the loop reads the clock; the code below gets the time
// from it.

package coordinator

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicemq/sluice/broker/group"
	"github.com/sluicemq/sluice/ident"
)

// shard is the groups of one partition of __consumer_offsets, under one leadership.
type shard struct {
	cfg  Config
	deps Deps
	tp   ident.TopicPartition
	// The epoch of the leadership: under another one the shard reads and writes nothing (I4).
	epoch ident.Epoch
	close context.CancelFunc
	log   *slog.Logger
	slots chan struct{} // a shard holds one while it loads
	// memory counts what the machine holds.
	memory *group.Memory

	work   chan func()   // the loop runs these, in order
	loaded chan struct{} // closed when the loop begins to take work
	ended  chan struct{} // closed when the loop takes no more work
	stuck  atomic.Bool   // loading has failed for a reason that may last

	// All fields below belong to the loop.
	machine    *group.Shard
	waiting    map[group.Waiter]chan<- group.Body
	lastWaiter group.Waiter
	appender   appender
	shorten    shortening
	deadline   *time.Timer // fires at machine.Deadline
}

func newShard(c *Coordinator, tp ident.TopicPartition, epoch ident.Epoch) *shard {
	s := &shard{
		cfg: c.cfg, deps: c.deps, tp: tp, epoch: epoch, log: c.deps.Logger.With("partition", tp.Index), slots: c.slots, memory: c.memory,
		work: make(chan func()), loaded: make(chan struct{}), ended: make(chan struct{}),
		waiting: map[group.Waiter]chan<- group.Body{}, machine: group.NewShard(c.cfg.machine(), c.memory),
	}
	s.appender.settled = make(chan outcome, 1)
	s.shorten.moved = make(chan error, 1)
	return s
}

// run serves the shard until ctx ends.
func (s *shard) run(ctx context.Context) {
	defer close(s.ended)
	defer func() { s.machine.Drop() }() // loading replaces the machine
	if err := s.load(ctx); err != nil {
		return // only the end of ctx makes load fail
	}
	s.deadline = time.NewTimer(0)
	defer s.deadline.Stop()
	check := time.NewTicker(s.cfg.CheckInterval)
	defer check.Stop()
	var moving sync.WaitGroup
	defer moving.Wait()
	if !s.holdsDead() {
		s.shorten.last = time.Now()
	} // otherwise the age of the dead state is unknown, and the log is shortened at once
	close(s.loaded)
	for ctx.Err() == nil {
		s.maybeShorten(ctx, &moving)
		s.maybeAppend()
		work, due := s.work, s.armDeadline()
		if s.shorten.quieting() {
			work, due = nil, nil
		}
		select {
		case do := <-work:
			do()
		case <-due:
			s.take(s.machine.Tick(time.Now()))
		case o := <-s.appender.settled:
			s.written(o)
		case <-check.C:
			s.take(s.machine.Expire(time.Now(), s.topics))
		case err := <-s.shorten.moved:
			s.logStartMoved(err)
		case <-s.shorten.pause.C:
			s.shorten.paused()
		case <-ctx.Done():
		}
	}
	s.take(s.machine.Stop(ErrNotCoordinator))
}

// armDeadline sets the timer to the time at which the machine next has something to do.
func (s *shard) armDeadline() <-chan time.Time {
	at := s.machine.Deadline()
	if at.IsZero() {
		s.deadline.Stop()
		return nil
	}
	s.deadline.Reset(time.Until(at))
	return s.deadline.C
}

// take queues the writes of the machine and delivers its answers.
func (s *shard) take(e group.Effects) {
	s.appender.add(e.Writes)
	for _, a := range e.Answers {
		s.waiting[a.Waiter] <- a.Body // the channel has room: each waiter gets one answer
		delete(s.waiting, a.Waiter)
	}
}

// topics tells the machine which life of a topic is the present one.
func (s *shard) topics(name string) (ident.TopicID, bool) {
	t, ok := s.deps.Topics.TopicByName(name)
	if !ok {
		return ident.TopicID{}, false
	}
	return t.ID, true
}

// post hands work to the loop. If it returns nil, the loop runs the work.
func (s *shard) post(ctx context.Context, do func()) error {
	select {
	case <-s.loaded:
	case <-s.ended:
		return ErrNotCoordinator
	default:
		return ErrLoading
	}
	select {
	case s.work <- do:
		return nil
	case <-s.ended:
		return ErrNotCoordinator
	case <-ctx.Done():
		return ctx.Err()
	}
}

// view lets f look at the machine.
func (s *shard) view(ctx context.Context, f func(*group.Shard)) error {
	done := make(chan struct{})
	if err := s.post(ctx, func() { f(s.machine); close(done) }); err != nil {
		return err
	}
	<-done
	return nil
}

// ask gives the machine a request and waits for its one answer. A caller that gives up loses the
// answer; the request still takes effect. If taken is set, ask calls it as soon as the machine has
// the request: the machine counts what it keeps.
func (s *shard) ask(ctx context.Context, taken func(), f func(*group.Shard, time.Time, group.Waiter) group.Effects) (group.Body, error) {
	answer, ran := make(chan group.Body, 1), make(chan struct{})
	err := s.post(ctx, func() {
		s.lastWaiter++
		s.waiting[s.lastWaiter] = answer
		s.take(f(s.machine, time.Now(), s.lastWaiter))
		close(ran)
	})
	if err != nil {
		return nil, err
	}
	<-ran
	if taken != nil {
		taken()
	}
	select {
	case body := <-answer:
		return body, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
