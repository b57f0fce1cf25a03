package history

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

// Partition names one partition. A topic's name is used for one topic only in a history.
type Partition struct {
	Topic string
	Index int32
}

func (p Partition) String() string { return fmt.Sprintf("%s-%d", p.Topic, p.Index) }

// ID names a value. It is unique in a history; each client counts up in the order of its sends.
type ID struct {
	Client, Counter uint64
}

func (id ID) String() string { return fmt.Sprintf("%d/%d", id.Client, id.Counter) }

// Outcome is what a client knows about a send.
type Outcome uint8

// The outcomes of a send.
const (
	// Indefinite means a timeout, a lost connection or acks=0: the record may be in the log, or get
	// there later.
	Indefinite Outcome = iota
	OK
	Fail // refused before anything was written
)

// Send is one record on its way to a partition.
type Send struct {
	ID         ID
	Partition  Partition
	Hash       uint64 // of key and value
	Idempotent bool   // the producer promises one copy, in order
	Acks       int16

	Outcome Outcome
	Code    int16 // Kafka's error code of a refusal
	Offset  int64 // of the record, if OK; -1 if the answer did not say
	// Repeats are the offsets in later answers to the same batch.
	Repeats []int64

	Invoke   time.Duration
	Complete time.Duration // of OK and Fail
}

// Record is one record of a batch.
type Record struct {
	Offset int64
	ID     ID
	Hash   uint64
}

// Batch is one batch as it was shown to a reader.
type Batch struct {
	Partition        Partition
	Sweep            int // number of the complete read to which it belongs; 0 if none
	Invoke, Complete time.Duration

	Base, Last    int64 // offsets, both included
	LeaderEpoch   int32
	ProducerID    int64
	ProducerEpoch int16
	BaseSequence  int32
	Control       bool
	CRCOK         bool
	Records       []Record
}

// Bounds is what one answer said about a partition; -1 is what it did not say.
type Bounds struct {
	Partition        Partition
	Invoke, Complete time.Duration

	HighWatermark, LastStable, LogStart int64
	LeaderEpoch                         int32
}

// Sweep is one complete read of [Start, End), the log start and high watermark at its beginning.
type Sweep struct {
	Partition        Partition
	Number           int
	Invoke, Complete time.Duration
	Start, End       int64
}

// Restore says that the partition was rebuilt from the bucket. Acknowledged records below Floor
// were committed in the bucket and must be back. The log went on at Survived.
type Restore struct {
	Partition Partition
	// At separates the two brokers: the old one answered nothing after it, the new one nothing
	// before.
	At              time.Duration
	Floor, Survived int64
}

// History is what was done and seen in one run.
type History struct {
	start time.Time

	mu       sync.Mutex
	numbered int // number of sweeps that were numbered
	clients  uint64
	sends    []*Send
	batches  []Batch
	bounds   []Bounds
	sweeps   []Sweep
	restores []Restore
}

// New starts a history and its clock.
func New() *History { return &History{start: time.Now()} }

// Now returns the time on the history's clock.
func (h *History) Now() time.Duration { return time.Since(h.start) }

// Began records a send before its request is sent. Its outcome is Indefinite until Ended.
func (h *History) Began(s Send) *Send {
	s.Outcome, s.Offset, s.Complete = Indefinite, -1, math.MaxInt64
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sends = append(h.sends, &s)
	return &s
}

// Ended records the outcome of a send. A further OK counts as a repetition.
func (h *History) Ended(s *Send, outcome Outcome, code int16, offset int64) {
	now := h.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.Outcome == OK {
		if outcome == OK {
			s.Repeats = append(s.Repeats, offset)
		}
		return
	}
	s.Outcome, s.Code, s.Offset = outcome, code, offset
	if outcome != Indefinite {
		s.Complete = now
	}
}

// Saw records a batch.
func (h *History) Saw(b Batch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.batches = append(h.batches, b)
}

// Told records bounds.
func (h *History) Told(b Bounds) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bounds = append(h.bounds, b)
}

// Client returns the number for a new client.
func (h *History) Client() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clients++
	return h.clients
}

// SweepNumber returns the number for a new complete read.
func (h *History) SweepNumber() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.numbered++
	return h.numbered
}

// Swept records that a complete read ended.
func (h *History) Swept(s Sweep) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sweeps = append(h.sweeps, s)
}

// Restored records a restore.
func (h *History) Restored(r Restore) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.restores = append(h.restores, r)
}

// Counts are totals of a history, for people.
type Counts struct {
	Sends, Acked, Refused, Indefinite int
	Batches, Records, Bounds, Sweeps  int
}

// Counts returns totals of what was recorded so far.
func (h *History) Counts() Counts {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := Counts{Sends: len(h.sends), Batches: len(h.batches), Bounds: len(h.bounds), Sweeps: len(h.sweeps)}
	for _, s := range h.sends {
		switch s.Outcome {
		case OK:
			c.Acked++
		case Fail:
			c.Refused++
		default:
			c.Indefinite++
		}
	}
	for _, b := range h.batches {
		c.Records += len(b.Records)
	}
	return c
}

// Acked returns, by partition, one past the highest offset that an answer named.
func (h *History) Acked() map[Partition]int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	end := make(map[Partition]int64)
	for _, s := range h.sends {
		if s.Outcome == OK {
			end[s.Partition] = max(end[s.Partition], s.Offset+1)
		}
	}
	return end
}

// Partitions lists every partition that the history mentions, in order.
func (h *History) Partitions() []Partition {
	h.mu.Lock()
	defer h.mu.Unlock()
	set := make(map[Partition]bool)
	for _, s := range h.sends {
		set[s.Partition] = true
	}
	for _, b := range h.batches {
		set[b.Partition] = true
	}
	for _, b := range h.bounds {
		set[b.Partition] = true
	}
	list := make([]Partition, 0, len(set))
	for p := range set {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b Partition) int {
		if a.Topic != b.Topic {
			if a.Topic < b.Topic {
				return -1
			}
			return 1
		}
		return int(a.Index) - int(b.Index)
	})
	return list
}
