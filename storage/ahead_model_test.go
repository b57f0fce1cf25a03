package storage

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/sluicemq/sluice/ident"
)

// Readers read in any pattern and any order. The windows together never exceed the budget by more
// than one read-ahead overshoots, and the counts agree with the known readers.
func TestReadAheadBooks(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 1))
		now := time.Unix(0, 0)
		a := newReadAhead(20<<20, func() time.Time { return now })
		next := make([]ident.Offset, 10)
		type flight struct {
			s        *stream
			from     ident.Offset
			reserved int64
		}
		var flights []flight
		for range 2000 {
			now = now.Add(time.Duration(random.IntN(500)) * time.Millisecond)
			switch i := random.IntN(len(next)); {
			case random.IntN(20) == 0:
				next[i] = ident.Offset(random.IntN(1000))
			case len(flights) > 0 && random.IntN(2) == 0:
				f := flights[0]
				flights = flights[1:]
				a.landed(f.s, f.reserved, randomRuns(random, f.from, f.reserved))
			default:
				to := next[i] + 1 + ident.Offset(random.IntN(3))
				if s, from, bytes := a.advance(ident.TopicPartition{Index: int32(i % 3)}, next[i], to); s != nil {
					if bytes < aheadBytesMin || from < to {
						t.Fatalf("seed %d: %d bytes from %d for a reader at %d", seed, bytes, from, to)
					}
					flights = append(flights, flight{s, from, bytes})
				}
				next[i] = to
			}
			a.check(t, seed)
		}
		for _, f := range flights {
			a.landed(f.s, f.reserved, nil)
		}
		a.close()
	}
}

func randomRuns(random *rand.Rand, from ident.Offset, bytes int64) (runs []aheadRun) {
	for bytes > 0 && random.IntN(5) > 0 {
		from += ident.Offset(1 + random.IntN(3))
		run := aheadRun{end: from, cost: 1 + random.Int64N(1<<20)}
		runs, bytes = append(runs, run), bytes-run.cost
	}
	return runs
}

func (a *readAhead) check(t *testing.T, seed uint64) {
	t.Helper()
	sum := int64(0)
	for key, el := range a.streams {
		s := el.Value.(*stream)
		if s.key != key || s.gone || s.window > aheadBytesMax || s.ahead > aheadBytesMax+1<<20 {
			t.Fatalf("seed %d: %+v under %v", seed, s, key)
		}
		sum += s.ahead
	}
	if sum != a.bytes || a.bytes < 0 || a.bytes > a.bytesMax+int64(len(a.streams))<<20 || len(a.streams) != a.order.Len() {
		t.Fatalf("seed %d: %d bytes on the books, %d of %d readers", seed, a.bytes, sum, len(a.streams))
	}
}

// A reader that has stopped gives its share to other readers.
func TestReadAheadShareOfTheIdle(t *testing.T) {
	now := time.Unix(0, 0)
	a := newReadAhead(1<<20, func() time.Time { return now })
	read := func(partition int32) *stream {
		id := ident.TopicPartition{Index: partition}
		a.advance(id, 0, 1)
		s, from, bytes := a.advance(id, 1, 2)
		if s != nil {
			a.landed(s, bytes, []aheadRun{{end: from + 10, cost: bytes}})
		}
		return s
	}
	if read(1) == nil {
		t.Fatal("nothing for the first")
	}
	if read(2) != nil {
		t.Fatal("there is no room for a second")
	}
	now = now.Add(streamIdle + time.Second)
	if read(3) == nil {
		t.Fatal("the first has stopped, and nothing for the third")
	}
}
