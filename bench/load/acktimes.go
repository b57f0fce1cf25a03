package load

import "sync/atomic"

// ackTimes bring together when a record was acknowledged and when it was received, whichever
// happens first. It is a ring per partition of one producer, in which both sides look at the place
// of the record's sequence. It is lock-free: the client's goroutine sees the acknowledgement, a
// consumer's goroutine the receipt.
type ackTimes struct {
	perPartition int64 // a power of two
	ring         []atomic.Int64
}

// A place holds the lap of the ring, which side was here first, and when: 15 bits, 1 bit, 47 bits
// (39 hours in ns).
const (
	placeReceived = 1 << 47
	placeTime     = placeReceived - 1
	placeLap      = 48
)

const (
	ackTimesPerProducer  = 1 << 20 // 8 MiB
	ackTimesPerPartition = 128     // at least
)

func newAckTimes(partitions int) *ackTimes {
	n := int64(ackTimesPerPartition)
	for n*2*int64(partitions) <= ackTimesPerProducer {
		n *= 2
	}
	return &ackTimes{n, make([]atomic.Int64, n*int64(partitions))}
}

func (a *ackTimes) place(partition uint32, sequence int64) (*atomic.Int64, int64) {
	lap := (sequence/a.perPartition)&(1<<15-1) + 1 // 0 is a place that was never used
	return &a.ring[int64(partition)*a.perPartition+sequence&(a.perPartition-1)], lap & (1<<15 - 1) << placeLap
}

// acked notes an acknowledgement. It returns true if the record was received before.
func (a *ackTimes) acked(partition uint32, sequence, now int64) bool {
	p, lap := a.place(partition, sequence)
	old := p.Swap(lap | now&placeTime)
	return old>>placeLap == lap>>placeLap && old&placeReceived != 0
}

// received notes a receipt. If the acknowledgement is known, it returns how much earlier that was.
// If the place belongs to a later record by now, since the reader is far behind, the answer counts
// from the time when the record was due. That makes the figure worse, never better.
func (a *ackTimes) received(partition uint32, sequence, now, intended int64) (ns int64, known bool) {
	p, lap := a.place(partition, sequence)
	for {
		old := p.Load()
		switch oldLap := old >> placeLap; {
		case oldLap == lap>>placeLap && old&placeReceived == 0 && old != 0:
			return now - old&placeTime, true
		case oldLap > lap>>placeLap:
			return now - intended, true
		}
		if p.CompareAndSwap(old, lap|placeReceived|now&placeTime) {
			return 0, false // the acknowledgement will find the receipt
		}
	}
}
