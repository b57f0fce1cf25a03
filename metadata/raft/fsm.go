package raft

import (
	"errors"
	"fmt"
	"io"

	hraft "github.com/hashicorp/raft"

	"github.com/sluicemq/sluice/metadata"
)

// fsm is the node as Raft's state machine. Its methods are called from one goroutine.
type fsm Node

// Apply implements raft.FSM. It returns a metadata.Result, or an error if this node has stopped.
// Nothing is applied after the first error.
func (f *fsm) Apply(l *hraft.Log) any {
	n := (*Node)(f)
	cmd, err := metadata.DecodeCommand(l.Data)
	if err != nil {
		return n.halt(fmt.Errorf("raft: entry %d: %w", l.Index, err))
	}
	n.mu.Lock()
	if n.halted != nil {
		n.mu.Unlock()
		return n.halted
	}
	res, err := n.state.Apply(l.Index, cmd)
	due := n.countLocked(len(l.Data))
	n.mu.Unlock()
	if err != nil {
		return n.halt(err)
	}
	if due {
		n.signalSnapshot()
	}
	if n.serving.Load() && n.deps.OnApply != nil {
		n.deps.OnApply(l.Index, cmd, res)
	}
	return res
}

func (n *Node) halt(err error) error {
	n.stop(err)
	return err
}

// countLocked counts the entries and bytes that the next start would have to replay without another
// snapshot. It reports whether a snapshot is due.
func (n *Node) countLocked(bytes int) bool {
	n.pendingEntries++
	n.pendingBytes += bytes
	return n.pendingEntries >= snapshotEntries || n.pendingBytes >= snapshotBytes
}

func (n *Node) signalSnapshot() {
	select {
	case n.due <- struct{}{}:
	default: // a snapshot is due already
	}
}

// Snapshot implements raft.FSM. It copies only pointers, so that Apply does not wait for the
// encoding.
func (f *fsm) Snapshot() (hraft.FSMSnapshot, error) {
	n := (*Node)(f)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.halted != nil {
		return nil, n.halted
	}
	n.pendingEntries, n.pendingBytes = 0, 0
	return &frozen{n.state.Freeze()}, nil
}

// Restore implements raft.FSM. It replaces the whole state.
func (f *fsm) Restore(r io.ReadCloser) error {
	n := (*Node)(f)
	b, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("raft: read snapshot: %w", err)
	}
	s, err := metadata.DecodeSnapshot(b)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.state = s
	n.pendingEntries, n.pendingBytes = 0, 0
	return nil
}

type frozen struct{ state *metadata.State }

// Persist implements raft.FSMSnapshot. It may run beside further commands.
func (f *frozen) Persist(sink hraft.SnapshotSink) error {
	b, err := f.state.EncodeSnapshot()
	if err == nil {
		_, err = sink.Write(b)
	}
	if err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (f *frozen) Release() {}
