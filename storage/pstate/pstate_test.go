package pstate

import (
	"errors"
	"math"
	"reflect"
	"testing"
	"unsafe"

	"github.com/sluicemq/sluice/ident"
)

func batchOf(id ident.ProducerID, epoch int16, first int32, start ident.Offset, count int64) Batch {
	return Batch{Producer: id, Epoch: epoch, FirstSequence: first, Start: start, End: start + ident.Offset(count), Placed: 1000, AppendTime: -1}
}

// step is a batch and what Check must say about it. A batch that is neither refused nor a duplicate
// is applied.
type step struct {
	b    Batch
	want error
	dup  ident.Offset // start of the original, or -1
}

func play(t *testing.T, steps []step) *Table {
	t.Helper()
	table := NewTable()
	for i, s := range steps {
		dup, err := table.Check(s.b)
		if !errors.Is(err, s.want) {
			t.Fatalf("step %d: Check = %v, want %v", i, err, s.want)
		}
		if got := s.dup >= 0; (dup != nil) != got {
			t.Fatalf("step %d: duplicate %v, want %v", i, dup, got)
		}
		if dup != nil && (dup.Start != s.dup || dup.End != s.dup+s.b.End-s.b.Start) {
			t.Fatalf("step %d: original [%d,%d), want it at %d", i, dup.Start, dup.End, s.dup)
		}
		if err == nil && dup == nil {
			table.Apply(s.b)
		}
	}
	return table
}

// I11: a (producer, epoch, sequence) is accepted once. A duplicate gets the answer of the original.
func TestI11_Sequences(t *testing.T) {
	ok := func(b Batch) step { return step{b, nil, -1} }
	for name, steps := range map[string][]step{
		"in order": {ok(batchOf(7, 0, 0, 0, 3)), ok(batchOf(7, 0, 3, 3, 1)), ok(batchOf(7, 0, 4, 4, 2))},
		"gap, repeat, then in order": {
			ok(batchOf(7, 0, 0, 0, 3)),
			{batchOf(7, 0, 4, 3, 1), ErrOutOfOrder, -1},
			ok(batchOf(7, 0, 3, 3, 1)), ok(batchOf(7, 0, 4, 4, 1)),
		},
		"five are remembered, the sixth is not": {
			ok(batchOf(7, 0, 0, 0, 1)), ok(batchOf(7, 0, 1, 1, 1)), ok(batchOf(7, 0, 2, 2, 1)),
			ok(batchOf(7, 0, 3, 3, 1)), ok(batchOf(7, 0, 4, 4, 1)), ok(batchOf(7, 0, 5, 5, 1)),
			{batchOf(7, 0, 5, 9, 1), nil, 5}, {batchOf(7, 0, 1, 9, 1), nil, 1},
			{batchOf(7, 0, 0, 9, 1), ErrOutOfOrder, -1},
		},
		"part of a batch is no duplicate": {
			ok(batchOf(7, 0, 0, 0, 4)),
			{batchOf(7, 0, 0, 4, 2), ErrOutOfOrder, -1}, {batchOf(7, 0, 2, 4, 2), ErrOutOfOrder, -1},
			{batchOf(7, 0, 0, 4, 4), nil, 0},
		},
		"wraps": {
			ok(batchOf(7, 0, math.MaxInt32-1, 0, 2)),
			{batchOf(7, 0, math.MinInt32, 2, 1), ErrOutOfOrder, -1},
			ok(batchOf(7, 0, 0, 2, 1)),
			{batchOf(7, 0, math.MaxInt32-1, 3, 2), nil, 0},
		},
		"wraps inside a batch": {
			ok(batchOf(7, 0, math.MaxInt32, 0, 3)),
			{batchOf(7, 0, math.MaxInt32, 3, 3), nil, 0},
			ok(batchOf(7, 0, 2, 3, 1)),
		},
		"unknown producer begins anywhere": {ok(batchOf(7, 3, 77, 0, 1)), ok(batchOf(7, 3, 78, 1, 1))},
		"no producer, no state":            {ok(batchOf(-1, -1, -1, 0, 1)), ok(batchOf(-1, -1, -1, 1, 1))},
		"producers apart":                  {ok(batchOf(7, 0, 0, 0, 1)), ok(batchOf(8, 0, 0, 1, 1)), {batchOf(8, 0, 0, 2, 1), nil, 1}},
	} {
		t.Run(name, func(t *testing.T) { play(t, steps) })
	}
}

// Every batch of an idempotent producer is checked. That allocates nothing unless the batch is a
// duplicate.
func TestCheckAllocatesNothing(t *testing.T) {
	table := NewTable()
	next := int32(0)
	for ; next < RecentMax; next++ {
		table.Apply(batchOf(7, 0, next, ident.Offset(next), 1))
	}
	n := testing.AllocsPerRun(100, func() {
		b := batchOf(7, 0, next, ident.Offset(next), 1)
		if dup, err := table.Check(b); dup != nil || err != nil {
			t.Fatalf("sequence %d: %v, %v", next, dup, err)
		}
		table.Apply(b)
		next++
	})
	if n != 0 {
		t.Errorf("%v allocations a batch", n)
	}
}

// Most partitions have one producer, and hold it twice: as placed and as committed.
func TestOneProducerIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(producer{}); n > 144 {
		t.Errorf("a producer takes %d bytes", n)
	}
	n := testing.AllocsPerRun(100, func() {
		var table Table
		table.Apply(batchOf(7, 0, 0, 0, 1))
	})
	if n > 1 {
		t.Errorf("%v allocations for one producer", n)
	}
}

// I12: a stale producer epoch never succeeds after a newer one.
func TestI12_Epochs(t *testing.T) {
	ok := func(b Batch) step { return step{b, nil, -1} }
	table := play(t, []step{
		ok(batchOf(7, 1, 0, 0, 2)),
		{batchOf(7, 0, 2, 2, 1), ErrStaleEpoch, -1},
		{batchOf(7, 2, 2, 2, 1), ErrOutOfOrder, -1}, // a new epoch begins at 0
		ok(batchOf(7, 2, 0, 2, 2)),                  // raised by the client itself (KIP-360)
		{batchOf(7, 1, 0, 4, 2), ErrStaleEpoch, -1}, // not even as a duplicate
		{batchOf(7, 2, 0, 4, 2), nil, 2},
		ok(batchOf(7, 2, 2, 4, 1)),
	})
	before := table.Clone()
	table.Apply(batchOf(7, 1, 9, 5, 1))
	if !reflect.DeepEqual(table, before) {
		t.Error("a batch of an older epoch changed the table")
	}
}

func TestExpire(t *testing.T) {
	table := NewTable()
	for i, ts := range []int64{100, 200, 300} {
		b := batchOf(ident.ProducerID(i), 0, 0, ident.Offset(i), 1)
		b.Placed = ts
		table.Apply(b)
	}
	late := batchOf(0, 0, 1, 3, 1)
	late.Placed = 50 // a producer's time does not go back
	table.Apply(late)
	bump := batchOf(1, 1, 0, 4, 1)
	bump.Placed = 60 // nor with a new epoch
	table.Apply(bump)
	if n := table.Expire(200); n != 1 || table.Len() != 2 || table.Has(0) || !table.Has(1) {
		t.Errorf("Expire(200) = %d, %d left", n, table.Len())
	}
	if dup, err := table.Check(batchOf(0, 0, 9, 4, 1)); dup != nil || err != nil {
		t.Errorf("an expired producer is unknown: %v %v", dup, err)
	}
}

func TestLastSequence(t *testing.T) {
	for _, c := range [][3]int32{{0, 0, 0}, {5, 3, 8}, {math.MaxInt32, 0, math.MaxInt32}, {math.MaxInt32, 1, 0}, {math.MaxInt32 - 1, math.MaxInt32, math.MaxInt32 - 2}} {
		if got := LastSequence(c[0], c[1]); got != c[2] {
			t.Errorf("LastSequence(%d, %d) = %d, want %d", c[0], c[1], got, c[2])
		}
	}
}

func TestEndOffsetFor(t *testing.T) {
	history := []EpochStart{{2, 10}, {3, 20}, {6, 20}, {8, 50}}
	for _, c := range []struct {
		asked, epoch ident.Epoch
		end          ident.Offset
	}{
		{-1, -1, -1}, {0, 0, 10}, {1, 1, 10}, {2, 2, 20}, {3, 3, 20}, {4, 3, 20}, {5, 3, 20}, {6, 6, 50}, {7, 6, 50}, {8, 8, 90}, {9, -1, -1},
	} {
		if epoch, end := EndOffsetFor(history, c.asked, 90); epoch != c.epoch || end != c.end {
			t.Errorf("EndOffsetFor(%d) = %d, %d, want %d, %d", c.asked, epoch, end, c.epoch, c.end)
		}
	}
	if epoch, end := EndOffsetFor(nil, 0, 90); epoch != -1 || end != -1 {
		t.Errorf("without history: %d, %d", epoch, end)
	}
}

func TestTrimEpochs(t *testing.T) {
	history := []EpochStart{{0, 0}, {1, 10}, {2, 10}, {3, 30}}
	for _, c := range []struct {
		start ident.Offset
		want  []EpochStart
	}{
		{0, history}, {5, []EpochStart{{0, 5}, {1, 10}, {2, 10}, {3, 30}}}, {10, []EpochStart{{2, 10}, {3, 30}}},
		{29, []EpochStart{{2, 29}, {3, 30}}}, {30, []EpochStart{{3, 30}}}, {99, []EpochStart{{3, 99}}},
	} {
		if got := TrimEpochs(history, c.start); !reflect.DeepEqual(got, c.want) {
			t.Errorf("TrimEpochs(%d) = %v, want %v", c.start, got, c.want)
		}
	}
	if got := TrimEpochs(nil, 5); len(got) != 0 {
		t.Errorf("TrimEpochs(nil) = %v", got)
	}
}
