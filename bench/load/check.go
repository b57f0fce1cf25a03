package load

import (
	"slices"
	"sync"
)

// checker says what a subscription got wrong. Sequences have no gaps per producer and partition. So
// each record is the next one, or shows that some are missing, or was missing until now, or came
// before.
type checker struct {
	run        uint32
	partitions []partitionCheck // indexed by topic × partitions + partition
}

// partitionCheck is one partition as one subscription reads it. A rebalance may move it to another
// consumer.
type partitionCheck struct {
	mu      sync.Mutex
	streams map[uint64]*stream // by run and producer
	// The stream of the previous record, which mostly is that of the next one too.
	last    *stream
	lastKey uint64
	faults  faults
}

// stream is what one producer wrote to the partition.
type stream struct {
	next    int64
	missing []gap // below next, in order
}

// gap is sequences from, from+1 … to-1.
type gap struct{ from, to int64 }

// faults are counts of records.
type faults struct {
	Received   int64 // valid records, each once
	Lost       int64
	Duplicates int64
	Reordered  int64
	Damaged    int64 // with a wrong checksum, or in a partition to which they were not sent
	Foreign    int64 // of another run
}

func (f *faults) add(o faults) {
	f.Received += o.Received
	f.Lost += o.Lost
	f.Duplicates += o.Duplicates
	f.Reordered += o.Reordered
	f.Damaged += o.Damaged
	f.Foreign += o.Foreign
}

// newChecker checks records of this run. If run is 0 it checks records of any run, and the first
// record of a stream is taken as its beginning.
func newChecker(run uint32, partitions int) *checker {
	return &checker{run: run, partitions: make([]partitionCheck, partitions)}
}

// observeLocked takes the next record of a partition and returns its envelope. It returns false if
// the record is not to be counted.
func (p *partitionCheck) observeLocked(run, partition uint32, value []byte) (envelope, bool) {
	e, ok := open(value)
	switch {
	case !ok || e.partition != partition:
		p.faults.Damaged++
		return e, false
	case run != 0 && e.run != run:
		p.faults.Foreign++
		return e, false
	}
	key := uint64(e.run)<<32 | uint64(e.producer)
	if p.last == nil || key != p.lastKey {
		p.last, p.lastKey = p.streamLocked(key, run, e.sequence), key
	}
	return e, p.last.observe(e.sequence, &p.faults)
}

func (p *partitionCheck) streamLocked(key uint64, run uint32, first int64) *stream {
	if s := p.streams[key]; s != nil {
		return s
	}
	if p.streams == nil {
		p.streams = make(map[uint64]*stream)
	}
	s := new(stream)
	if run == 0 {
		s.next = first
	}
	p.streams[key] = s
	return s
}

// observe counts a sequence. It returns false if the sequence came before.
func (s *stream) observe(sequence int64, f *faults) bool {
	switch {
	case sequence == s.next:
		s.next++
	case sequence > s.next:
		s.missing = append(s.missing, gap{s.next, sequence})
		s.next = sequence + 1
	case s.fill(sequence):
		f.Reordered++
	default:
		f.Duplicates++
		return false
	}
	f.Received++
	return true
}

// fill removes a sequence from the missing ones.
func (s *stream) fill(sequence int64) bool {
	i, _ := slices.BinarySearchFunc(s.missing, sequence, func(g gap, n int64) int {
		if g.to <= n {
			return -1
		}
		return 1
	})
	if i == len(s.missing) || s.missing[i].from > sequence {
		return false
	}
	g := s.missing[i]
	var rest []gap
	if g.from < sequence {
		rest = append(rest, gap{g.from, sequence})
	}
	if sequence+1 < g.to {
		rest = append(rest, gap{sequence + 1, g.to})
	}
	s.missing = slices.Replace(s.missing, i, i+1, rest...)
	return true
}

// missingBelow counts the sequences 0 to end-1 that were not seen, without those in except.
func (s *stream) missingBelow(end int64, except map[int64]bool) int64 {
	var lost int64
	for _, g := range append(slices.Clip(s.missing), gap{s.next, max(end, s.next)}) {
		lost += g.to - g.from
		for n := range except {
			if g.from <= n && n < g.to {
				lost--
			}
		}
	}
	return lost
}

// written is what a producer sent to a partition.
type written struct {
	end    int64          // sequences 0 to end-1
	failed map[int64]bool // sequences without an acknowledgement: they may be there or not
}

// total sums up a finished subscription. sent returns what producers wrote to each partition.
func (c *checker) total(sent func(producer, partition int) written, producers int) faults {
	var sum faults
	for i := range c.partitions {
		p := &c.partitions[i]
		p.mu.Lock()
		f := p.faults
		for n := range producers {
			s := p.streams[uint64(c.run)<<32|uint64(n)]
			if s == nil {
				s = new(stream)
			}
			w := sent(n, i)
			f.Lost += s.missingBelow(w.end, w.failed)
		}
		p.mu.Unlock()
		sum.add(f)
	}
	return sum
}

// gaps sums up a subscription that read records of an earlier run. Records that are missing between
// others count as lost.
func (c *checker) gaps() faults {
	var sum faults
	for i := range c.partitions {
		p := &c.partitions[i]
		p.mu.Lock()
		f := p.faults
		for _, s := range p.streams {
			f.Lost += s.missingBelow(0, nil)
		}
		p.mu.Unlock()
		sum.add(f)
	}
	return sum
}
