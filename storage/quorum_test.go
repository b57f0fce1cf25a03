package storage_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/metadata/pb"
)

// fate is what happens to one command on its way.
type fate int

const (
	carried     fate = iota
	answerLost       // the command is applied, but the proposer is told ErrUnavailable
	commandLost      // the command is not applied, and the proposer is told ErrUnavailable
	killBefore       // the process dies before the command is applied
	killAfter        // the process dies when the command is applied
)

// quorum is a metadata quorum that never fails of itself and forgets nothing: the real state
// machine, which gets each command as bytes. It outlives the processes of a rig.
type quorum struct {
	t testing.TB

	order sync.Mutex // held until storage has been told, so that commands go one at a time

	mu    sync.RWMutex // guards the fields below
	state *metadata.State
	index uint64
	count int // commands that were proposed
	names []string
	fate  func(n int, cmd *pb.Command) fate // nil if all commands are applied
	alter func(cmd *pb.Command)             // changes a command on its way; may be nil
	watch func(cmd *pb.Command)             // sees every command that is applied
}

func newQuorum(t testing.TB) *quorum { return &quorum{t: t, state: metadata.New()} }

// decide sets the func that decides the fate of commands from now on; nil applies them all.
func (q *quorum) decide(f func(n int, cmd *pb.Command) fate) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.fate = f
}

// change sets the func that changes commands on their way from now on; nil changes none.
func (q *quorum) change(alter func(*pb.Command)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.alter = alter
}

// watching sets the func that sees every command from now on; it may be nil.
func (q *quorum) watching(watch func(*pb.Command)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.watch = watch
}

// commands returns how many commands were proposed so far.
func (q *quorum) commands() int {
	q.mu.RLock()
	defer q.mu.RUnlock()
	return q.count
}

func (q *quorum) next(cmd *pb.Command) fate {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.count++
	if q.watch != nil {
		q.watch(cmd)
	}
	if q.alter != nil {
		q.alter(cmd)
	}
	q.names = append(q.names, metadata.CommandName(cmd))
	if q.fate == nil {
		return carried
	}
	return q.fate(q.count, cmd)
}

// apply applies a command as every node would: from its bytes.
func (q *quorum) apply(cmd *pb.Command) metadata.Result {
	q.mu.Lock()
	defer q.mu.Unlock()
	b, err := metadata.EncodeCommand(cmd)
	if err != nil {
		q.t.Errorf("encode %s: %v", metadata.CommandName(cmd), err)
		return metadata.Result{Err: err}
	}
	decoded, err := metadata.DecodeCommand(b)
	if err != nil {
		q.t.Errorf("decode %s: %v", metadata.CommandName(cmd), err)
		return metadata.Result{Err: err}
	}
	q.index++
	res, err := q.state.Apply(q.index, decoded)
	if err != nil {
		q.t.Errorf("apply: %v", err)
		return metadata.Result{Err: err}
	}
	if err := q.state.Check(); err != nil {
		q.t.Errorf("state after %s: %v", metadata.CommandName(cmd), err)
	}
	return res
}

// view calls f with the state.
func (q *quorum) view(f func(*metadata.State)) {
	q.mu.RLock()
	defer q.mu.RUnlock()
	f(q.state)
}

// garbage lists what could be deleted at once.
func (q *quorum) garbage() (ids []string) {
	q.view(func(s *metadata.State) {
		for _, o := range s.Deletable(time.Now(), 0, 100) {
			ids = append(ids, o.ID.String())
		}
	})
	return ids
}

// session is the quorum as one process reaches it.
type session struct {
	quorum  *quorum
	process *process
}

// Propose implements node.Quorum.
func (s *session) Propose(ctx context.Context, cmd *pb.Command) (metadata.Result, error) {
	name := metadata.CommandName(cmd)
	if err := ctx.Err(); err != nil {
		return metadata.Result{}, fmt.Errorf("propose %s: %w: %w", name, catalog.ErrUnavailable, err)
	}
	if cmd.TimeMs == 0 {
		cmd.TimeMs = time.Now().UnixMilli()
	}
	s.quorum.order.Lock()
	defer s.quorum.order.Unlock()
	dead := fmt.Errorf("propose %s: %w: the process is dead", name, catalog.ErrUnavailable)
	if s.process.dead() {
		return metadata.Result{}, dead
	}
	fate := s.quorum.next(cmd)
	switch fate {
	case commandLost:
		return metadata.Result{}, fmt.Errorf("propose %s: %w: lost on the way", name, catalog.ErrUnavailable)
	case killBefore:
		s.process.die()
		return metadata.Result{}, dead
	}
	res := s.quorum.apply(cmd)
	if fate == killAfter {
		s.process.die()
		return metadata.Result{}, dead
	}
	s.process.applied(res.Changes)
	if fate == answerLost {
		return metadata.Result{}, fmt.Errorf("propose %s: %w: the answer was lost", name, catalog.ErrUnavailable)
	}
	return res, nil
}

// Barrier implements node.Quorum. Committed commands are always applied already.
func (s *session) Barrier(ctx context.Context) error { return ctx.Err() }

// View implements node.Quorum.
func (s *session) View(f func(*metadata.State)) {
	s.quorum.view(f)
	if f := s.process.rig.onView; f != nil {
		f(s.process)
	}
}
