package limits

import (
	"fmt"
	"net"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/protocol"
)

// log is what Fetch keeps of a partition, by reference to the frames in which it came.
type log struct {
	mu      sync.Mutex
	batches []stored // in order, without a gap
	bytes   int64
	waiters []chan struct{} // for long polls, each of capacity 1
}

type stored struct {
	base, end int64
	b         []byte
}

// append gives the batches offsets, keeps them, and wakes waiting long polls.
func (p *partition) append(s *server, records []byte, count int64) (base int64) {
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	base = p.next.Load()
	next := base
	for b := records; len(b) > 0; {
		n := batchBytes(b)
		protocol.SetPlace(b, next, 0)
		end := next + offsets(b)
		p.log.batches = append(p.log.batches, stored{next, end, b[:n:n]})
		b, next = b[n:], end
	}
	p.log.bytes += int64(len(records))
	p.next.Store(base + count)
	s.kept.Add(int64(len(records)))
	for s.kept.Load() > s.cfg.MemoryBytes && len(p.log.batches) > 1 {
		gone := int64(len(p.log.batches[0].b))
		p.log.batches[0] = stored{}
		p.log.batches = p.log.batches[1:]
		p.log.bytes -= gone
		s.kept.Add(-gone)
	}
	for _, w := range p.log.waiters {
		signal(w)
	}
	return base
}

func signal(w chan struct{}) {
	select {
	case w <- struct{}{}:
	default:
	}
}

// ends returns the first offset that is kept and the offset after the last one.
func (p *partition) ends() (start, next int64) {
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	return p.endsLocked()
}

func (p *partition) endsLocked() (start, next int64) {
	next = p.next.Load()
	if len(p.log.batches) > 0 {
		return p.log.batches[0].base, next
	}
	return next, next
}

// drop forgets all batches and returns their bytes.
func (p *partition) drop() (bytes int64) {
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	bytes = p.log.bytes
	p.log.batches, p.log.bytes = nil, 0
	return bytes
}

// read collects whole batches from an offset on, up to bytesMax bytes, or one batch of any size if
// atLeastOne is set.
func (p *partition) read(offset int64, bytesMax int, atLeastOne bool, into *protocol.FetchedPartition) {
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	start, next := p.endsLocked()
	into.HighWatermark, into.LastStable, into.LogStart = next, next, start
	if offset < start || offset > next {
		into.Code = 1 // OFFSET_OUT_OF_RANGE
		return
	}
	first := sort.Search(len(p.log.batches), func(i int) bool { return p.log.batches[i].end > offset })
	for _, b := range p.log.batches[first:] {
		if into.Bytes+len(b.b) > bytesMax && (into.Bytes > 0 || !atLeastOne) {
			return
		}
		into.Batches = append(into.Batches, b.b)
		into.Bytes += len(b.b)
	}
}

func (p *partition) watch(w chan struct{}) {
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	p.log.waiters = append(p.log.waiters, w)
}

func (p *partition) unwatch(w chan struct{}) {
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	if i := slices.Index(p.log.waiters, w); i >= 0 {
		p.log.waiters = slices.Delete(p.log.waiters, i, i+1)
	}
}

// fetched is what one attempt at a Fetch request gave.
type fetched struct {
	partitions []protocol.FetchedPartition // of all topics, one after another
	bytes      int
	failed     bool // an error that ends the wait
}

// fetch answers versions 4 to 12, without sessions, when min_bytes are there or after max_wait. The
// other kinds keep nothing, and answer with nothing when the time is over.
func (c *conn) fetch(h header, body []byte) error {
	q := kmsg.NewPtrFetchRequest()
	q.Version = h.version
	if err := q.ReadFrom(body); err != nil {
		return fmt.Errorf("%w: fetch version %d: %w", errMalformed, h.version, err)
	}
	got := c.collect(q)
	if !got.enough(q) && q.MaxWaitMillis > 0 {
		if err := c.flush(); err != nil {
			return err
		}
		got = c.await(q)
	}
	resp := protocol.NewFetchResponse(h.version, int32(h.correlation), 0, len(q.Topics))
	next := got.partitions
	for _, t := range q.Topics {
		resp.Topic(t.Topic, t.TopicID, len(t.Partitions))
		for i := range t.Partitions {
			resp.Partition(&next[i])
		}
		next = next[len(t.Partitions):]
		resp.EndTopic()
	}
	buffers, _ := resp.Buffers(nil)
	return c.sendFetched(buffers, got.bytes)
}

// sendFetched writes the records by reference, with one writev.
func (c *conn) sendFetched(buffers net.Buffers, bytes int) error {
	if bytes == 0 {
		c.reply(slices.Concat(buffers...))
		return nil
	}
	if err := c.flush(); err != nil {
		return err
	}
	_, err := buffers.WriteTo(c.tcp)
	return err
}

func (f *fetched) enough(q *kmsg.FetchRequest) bool {
	return f.failed || f.bytes >= int(q.MinBytes)
}

func (c *conn) collect(q *kmsg.FetchRequest) (got fetched) {
	count := 0
	for i := range q.Topics {
		count += len(q.Topics[i].Partitions)
	}
	got.partitions = make([]protocol.FetchedPartition, 0, count)
	for i := range q.Topics {
		t := &q.Topics[i]
		found := c.srv.topics.find([]byte(t.Topic))
		for j := range t.Partitions {
			p := &t.Partitions[j]
			into := protocol.FetchedPartition{Index: p.Partition, Committed: q.IsolationLevel == 1, Leader: protocol.NewLeader{Broker: -1}}
			if found == nil || p.Partition < 0 || int(p.Partition) >= len(found.partitions) {
				into.Code = codeUnknown
			} else if c.srv.kind == Fetch {
				room := min(int(p.PartitionMaxBytes), int(q.MaxBytes)-got.bytes)
				found.partitions[p.Partition].read(p.FetchOffset, room, got.bytes == 0, &into)
			}
			got.bytes += into.Bytes
			got.failed = got.failed || into.Code != 0
			got.partitions = append(got.partitions, into)
		}
	}
	return got
}

// await is one wait for the whole request. Any of its partitions ends it.
func (c *conn) await(q *kmsg.FetchRequest) fetched {
	if c.wake == nil {
		c.wake = make(chan struct{}, 1)
	}
	for _, p := range c.asked(q) {
		p.watch(c.wake)
		defer p.unwatch(c.wake)
	}
	over := time.NewTimer(time.Duration(q.MaxWaitMillis) * time.Millisecond)
	defer over.Stop()
	for {
		got := c.collect(q)
		if got.enough(q) {
			return got
		}
		select {
		case <-c.wake:
		case <-over.C:
			return c.collect(q)
		case <-c.srv.ended:
			return got
		}
	}
}

// asked returns the request's partitions that exist.
func (c *conn) asked(q *kmsg.FetchRequest) (all []*partition) {
	for _, t := range q.Topics {
		found := c.srv.topics.find([]byte(t.Topic))
		for _, p := range t.Partitions {
			if found != nil && p.Partition >= 0 && int(p.Partition) < len(found.partitions) {
				all = append(all, found.partitions[p.Partition])
			}
		}
	}
	return all
}
