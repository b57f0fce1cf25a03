package cache

import (
	"container/list"
	"math/rand/v2"
	"testing"

	"github.com/sluicemq/sluice/ident"
)

// trace plays reads of whole blocks on a policy and counts hits by kind of reader.
type trace struct {
	p          policy
	hits, asks map[string]int
}

func newTrace(blocksMax int64) *trace {
	return &trace{p: newPolicy(blocksMax * BlockBytes), hits: map[string]int{}, asks: map[string]int{}}
}

func (tr *trace) read(who string, id blockID) {
	tr.asks[who]++
	if b := tr.p.blocks[id]; b != nil {
		tr.hits[who]++
		tr.p.use(b)
		return
	}
	tr.p.add(&block{id: id, bytes: make([]byte, BlockBytes)})
}

func (tr *trace) share(who string) float64 { return float64(tr.hits[who]) / float64(tr.asks[who]) }

func shared(n int64) blockID   { return blockID{1, n} }
func replayed(n int64) blockID { return blockID{2, n} }

// replayBesideReaders plays readers that share 100 blocks, while a replay reads 4,000 other blocks
// once, each in three requests, as a consumer does whose fetches are smaller than a block.
func replayBesideReaders(read func(who string, id blockID)) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		read("warm-up", shared(rng.Int64N(100)))
	}
	for n := range int64(4000) {
		for range 3 {
			read("replay", replayed(n))
		}
		read("readers", shared(rng.Int64N(100)))
	}
}

func TestReplayEvictsNobody(t *testing.T) {
	tr := newTrace(256)
	replayBesideReaders(tr.read)
	if got := tr.share("readers"); got < 0.99 {
		t.Errorf("readers of 100 shared blocks hit %.3f of the time beside a replay, want 0.99", got)
	}
	if got, want := tr.share("replay"), 2.0/3; got < want-0.01 {
		t.Errorf("the replay hit %.3f of the time, want %.3f: a block stays while its reader is at it", got, want)
	}
}

// This is the policy that was replaced, for comparison: every block of the replay pushes out a
// shared one.
func TestReplayUnderLeastRecentlyUsed(t *testing.T) {
	const blocksMax = 110
	old := lru{at: map[blockID]*list.Element{}, max: blocksMax}
	hits, asks := 0, 0
	replayBesideReaders(func(who string, id blockID) {
		hit := old.read(id)
		if who == "readers" {
			asks++
			if hit {
				hits++
			}
		}
	})
	tr := newTrace(blocksMax)
	replayBesideReaders(tr.read)
	was, is := float64(hits)/float64(asks), tr.share("readers")
	t.Logf("hits of readers beside a replay, 100 shared blocks in a cache of %d: %.2f, least recently used %.2f", blocksMax, is, was)
	if is < was+0.2 {
		t.Errorf("hits %.2f, least recently used %.2f", is, was)
	}
}

type lru struct {
	at   map[blockID]*list.Element
	list list.List
	max  int
}

func (l *lru) read(id blockID) bool {
	if el := l.at[id]; el != nil {
		l.list.MoveToFront(el)
		return true
	}
	l.at[id] = l.list.PushFront(id)
	if l.list.Len() > l.max {
		delete(l.at, l.list.Remove(l.list.Back()).(blockID))
	}
	return false
}

// A block that was read ahead stays until it is read, although the main queue is full of used
// blocks.
func TestReadAheadIsKeptUntilRead(t *testing.T) {
	const blocksMax = 64
	tr := newTrace(blocksMax)
	for round := int64(0); round < 6; round++ {
		for n := range int64(blocksMax) {
			tr.read("readers", shared(n))
		}
	}
	const window = blocksMax / 2
	for n := range int64(window) {
		tr.p.add(&block{id: replayed(n), bytes: make([]byte, BlockBytes), ahead: true})
	}
	for n := range int64(40 * window) { // a window ahead of the reader, all the time
		tr.read("replay", replayed(n))
		tr.p.add(&block{id: replayed(n + window), bytes: make([]byte, BlockBytes), ahead: true})
	}
	if got := tr.share("replay"); got != 1 {
		t.Errorf("the replay found %.3f of what was read ahead of it", got)
	}
	main := 0
	for n := range int64(blocksMax) {
		if tr.p.blocks[shared(n)] != nil {
			main++
		}
	}
	if main < blocksMax*3/10 {
		t.Errorf("%d of the shared blocks are left", main)
	}
}

// A block that was read ahead for a reader that never comes is evicted in the end.
func TestReadAheadOfNobodyLeaves(t *testing.T) {
	tr := newTrace(16)
	for n := range int64(8) {
		tr.p.add(&block{id: shared(n), bytes: make([]byte, BlockBytes), ahead: true})
	}
	for n := range int64(100) {
		tr.read("replay", replayed(n))
	}
	if tr.p.ahead != 0 || tr.p.small.list.Len() != 16 {
		t.Errorf("%d bytes read ahead are left, %d blocks in the small queue", tr.p.ahead, tr.p.small.list.Len())
	}
}

// A block that comes back soon after it left is one that several readers want.
func TestGhostsComeBackToStay(t *testing.T) {
	tr := newTrace(16)
	tr.read("reader", shared(0))
	for n := range int64(20) {
		tr.read("replay", replayed(n))
	}
	tr.read("reader", shared(0))
	for n := range int64(200) {
		tr.read("replay", replayed(100+n))
	}
	if tr.p.blocks[shared(0)] == nil {
		t.Error("the block that came back has gone again for a replay")
	}
}

// Under random use the books balance after every step, and the budget holds.
func TestPolicyBooks(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	p := newPolicy(20 * BlockBytes)
	for range 50_000 {
		id := blockID{ident.ObjectID(rng.IntN(3)), int64(rng.IntN(60))}
		b := p.blocks[id]
		switch {
		case b == nil:
			p.add(&block{id: id, bytes: make([]byte, 1+rng.IntN(BlockBytes)), ahead: rng.IntN(3) == 0})
		case rng.IntN(10) == 0:
			p.remove(b)
		default:
			p.use(b)
		}
		checkBooks(t, &p)
	}
}

func checkBooks(t *testing.T, p *policy) {
	t.Helper()
	var bytes, ahead int64
	count := 0
	for _, q := range []*queue{&p.small, &p.main} {
		var sum int64
		for el := q.list.Front(); el != nil; el = el.Next() {
			b := el.Value.(*block)
			if b.in != q || p.blocks[b.id] != b || p.ghosts.at[b.id] != nil {
				t.Fatalf("block %v is not where it says, or is a ghost too", b.id)
			}
			sum += int64(len(b.bytes))
			if b.ahead {
				ahead += int64(len(b.bytes))
			}
			count++
		}
		if sum != q.bytes {
			t.Fatalf("a queue of %d bytes says %d", sum, q.bytes)
		}
		bytes += sum
	}
	if bytes > p.bytesMax || ahead != p.ahead || count != len(p.blocks) || p.ghosts.list.Len() > p.ghosts.countMax {
		t.Fatalf("%d bytes of %d, %d ahead (says %d), %d blocks (%d named), %d ghosts",
			bytes, p.bytesMax, ahead, p.ahead, count, len(p.blocks), p.ghosts.list.Len())
	}
}
