package storage

import (
	"sync"
	"sync/atomic"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/wal"
)

// This file is step 3 of the write path, replicate. It separates two positions:
//
//	persisted   this disk holds a group. Its batches have a position, may be flushed, and class
//	            local shows them.
//	replicated  every peer of the replica set holds the group too. Class replicated shows its
//	            batches.
//
// A persisted group waits here, with a reference, while the next groups are written and synced: its
// bytes can be sent again as long as it waits. A broker without peers has nothing to wait for. Its
// groups pass at once, and class replicated shows its batches when the bucket has them, as class
// object does.

// replication holds the groups that have not been replicated yet.
type replication struct {
	peers atomic.Int32 // number of peers in the replica set of this incarnation

	mu      sync.Mutex
	waiting []*wal.Group // in WAL order
}

// replicate takes a persisted group, and reports whether the group is replicated already. If it is
// not, the group waits for Engine.replicated.
func (e *Engine) replicate(g *wal.Group) bool {
	r := &e.replication
	if r.peers.Load() == 0 {
		return true
	}
	g.Retain()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = append(r.waiting, g)
	return false
}

// take removes and returns the groups that end at or below to. The caller releases them.
func (r *replication) take(to ident.Position) (groups []*wal.Group) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for n < len(r.waiting) && r.waiting[n].End() <= to {
		n++
	}
	groups, r.waiting = r.waiting[:n:n], r.waiting[n:]
	return groups
}

// replicated publishes the batches that waited for the peers, all of which hold the stream up to a
// position. It is called in the order of positions.
func (e *Engine) replicated(to ident.Position) {
	for _, g := range e.replication.take(to) {
		for _, a := range g.Appends() {
			placed, ok := a.Owner.(*placed)
			for i := 0; ok && i < len(a.Entries); i++ {
				acknowledge(e.publishReplicated(placed.parts[i].partition, a.Entries[i].End))
			}
		}
		g.Release()
	}
}

// publishReplicated is the step "publish" for one batch that all peers hold.
func (e *Engine) publishReplicated(p *partition, end ident.Offset) []ack {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status.ended() || e.replication.asks(p.class) != askPeers {
		return nil
	}
	return p.showLocked(nil, end)
}

// ask is what a class demands before a batch is shown and acknowledged.
type ask uint8

const (
	askDisk   ask = iota // persisted
	askPeers             // replicated
	askBucket            // committed
)

// asks returns what a class demands, given the peers that there are.
func (r *replication) asks(class catalog.Class) ask {
	switch {
	case class == catalog.ClassLocal:
		return askDisk
	case class == catalog.ClassReplicated && r.peers.Load() > 0:
		return askPeers
	}
	return askBucket
}
