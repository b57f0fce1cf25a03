package cache

import (
	"container/list"

	"github.com/sluicemq/sluice/ident"
)

// policy decides which blocks stay, so that a replay, which reads each block once, does not push
// out the blocks that many readers share. It is S3-FIFO (Yang et al., SOSP 2023): new blocks pass
// through a small queue; a block that is used again there moves to the main queue; a block that
// comes back soon after it left the small queue goes to the main queue at once.
//
// Two rules are added for log readers (docs/decisions/0018-block-cache-policy.md):
//
//   - One reader, or several that advance side by side, use a block in several requests. These are
//     one use: another one counts only after readers have asked for many other blocks.
//   - A block that was read ahead is not evicted in favor of blocks that were read already, and its
//     first reader is its first use. Read-ahead keeps such blocks below half of the budget.
//
// policy is a plain value without locks, clock or I/O; Cache.mu guards it.
type policy struct {
	bytesMax int64
	blocks   map[blockID]*block

	small, main queue
	ahead       int64 // bytes in small that were read ahead and not used yet
	asked       int64 // bytes of blocks that were ever asked for: a clock
	ghosts      ghosts
}

const (
	smallShare  = 10 // the small queue's share of the budget is one in so many
	oneUseShare = 8  // uses are one while less than this share of the budget was asked for
	usesMax     = 3  // more uses than these are not counted
	usesToStay  = 2  // uses beside the first that move a block to the main queue
)

type blockID struct {
	object ident.ObjectID
	number int64
}

type block struct {
	id    blockID
	bytes []byte

	in     *queue
	at     *list.Element
	uses   int   // counted uses since the block entered its queue
	usedAt int64 // policy.asked at the last counted use
	ahead  bool  // read ahead and not used yet
	spared bool  // was passed over once because it was not used yet
}

// queue holds blocks, the newest in front.
type queue struct {
	list  list.List
	bytes int64
}

func (q *queue) push(b *block) {
	b.in, b.at = q, q.list.PushFront(b)
	q.bytes += int64(len(b.bytes))
}

func (q *queue) take(b *block) {
	q.list.Remove(b.at)
	q.bytes -= int64(len(b.bytes))
}

func (q *queue) oldest() *block { return q.list.Back().Value.(*block) }

func newPolicy(bytesMax int64) policy {
	return policy{
		bytesMax: bytesMax, blocks: make(map[blockID]*block),
		ghosts: ghosts{countMax: int(max(16, bytesMax/BlockBytes)), at: make(map[blockID]*list.Element)},
	}
}

func (p *policy) bytes() int64 { return p.small.bytes + p.main.bytes }

// use notes that a reader got the block.
func (p *policy) use(b *block) {
	p.asked += int64(len(b.bytes))
	switch {
	case b.ahead:
		b.ahead, b.usedAt = false, p.asked
		p.ahead -= int64(len(b.bytes))
	case p.asked-b.usedAt > p.bytesMax/oneUseShare:
		b.uses, b.usedAt = min(b.uses+1, usesMax), p.asked
	}
}

// add takes in a block that was read, and returns how many others were evicted for it. A block
// larger than the budget is not kept.
func (p *policy) add(b *block) (evicted int) {
	size := int64(len(b.bytes))
	if size > p.bytesMax {
		return 0
	}
	p.asked += size
	b.usedAt = p.asked
	p.blocks[b.id] = b
	if p.ghosts.remove(b.id) {
		b.ahead = false
		p.main.push(b)
	} else {
		p.small.push(b)
		if b.ahead {
			p.ahead += size
		}
	}
	for p.bytes() > p.bytesMax {
		evicted += p.evict()
	}
	return evicted
}

// evict makes one step towards a smaller cache and returns how many blocks were evicted. Each step
// drops a block, or takes one use off a block, or moves a block to the main queue or (once) to the
// front. So the steps come to an end.
func (p *policy) evict() int {
	if p.main.list.Len() == 0 || p.small.bytes-p.ahead > p.bytesMax/smallShare {
		return p.evictSmall()
	}
	b := p.main.oldest()
	p.main.take(b)
	if b.uses > 0 {
		b.uses--
		p.main.push(b)
		return 0
	}
	delete(p.blocks, b.id)
	return 1
}

func (p *policy) evictSmall() int {
	b := p.small.oldest()
	switch {
	case b.uses >= usesToStay:
		p.small.take(b)
		b.uses = 0
		p.main.push(b)
		return 0
	case b.ahead && !b.spared:
		p.small.take(b)
		b.spared = true
		p.small.push(b)
		return 0
	}
	p.remove(b)
	if !b.ahead {
		p.ghosts.add(b.id)
	}
	return 1
}

// remove drops a block.
func (p *policy) remove(b *block) {
	b.in.take(b)
	if b.ahead {
		p.ahead -= int64(len(b.bytes))
	}
	delete(p.blocks, b.id)
}

// ghosts remembers the ids of blocks that left the small queue, as many as the cache holds blocks.
type ghosts struct {
	countMax int
	at       map[blockID]*list.Element
	list     list.List // of blockID, the newest in front
}

func (g *ghosts) add(id blockID) {
	g.at[id] = g.list.PushFront(id)
	if g.list.Len() > g.countMax {
		delete(g.at, g.list.Remove(g.list.Back()).(blockID))
	}
}

// remove forgets an id and reports whether it was there.
func (g *ghosts) remove(id blockID) bool {
	el := g.at[id]
	if el == nil {
		return false
	}
	g.list.Remove(el)
	delete(g.at, id)
	return true
}
