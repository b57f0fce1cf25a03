package cache

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicemq/sluice/ident"
)

// store serves objects from memory and holds reads back until the test lets them go.
type store struct {
	mu      sync.Mutex
	objects map[string][]byte
	reads   []int64 // positions, in order
	gate    chan error
	err     error
}

func newStore(sizes ...int) (*store, []Object) {
	s := &store{objects: make(map[string][]byte)}
	rng := rand.NewChaCha8([32]byte{1})
	var objects []Object
	for i, n := range sizes {
		b := make([]byte, n)
		rng.Read(b)
		key := string(rune('a' + i))
		s.objects[key] = b
		objects = append(objects, Object{ID: ident.ObjectID(i + 1), Key: key, Bytes: int64(n)})
	}
	return s, objects
}

func (s *store) read(ctx context.Context, key string, p []byte, pos int64) error {
	s.mu.Lock()
	s.reads = append(s.reads, pos)
	gate, err := s.gate, s.err
	s.mu.Unlock()
	if gate != nil {
		select {
		case err = <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err == nil && copy(p, s.objects[key][pos:]) != len(p) {
		return errors.New("short")
	}
	return err
}

func (s *store) want(t *testing.T, c *Cache, o Object, pos, n int64) {
	t.Helper()
	b, err := c.Get(t.Context(), o, pos, n)
	if err != nil || !bytes.Equal(b, s.objects[o.Key][pos:pos+n]) {
		t.Fatalf("Get(%s, %d, %d) = %d bytes, %v", o.Key, pos, n, len(b), err)
	}
}

func TestGet(t *testing.T) {
	s, objects := newStore(3*BlockBytes+100, 10)
	c := New(64<<20, s.read)
	defer c.Close()
	for _, r := range [][2]int64{
		{0, 1}, {0, BlockBytes}, {BlockBytes - 1, 2}, {5, 3 * BlockBytes}, {3 * BlockBytes, 100}, {3*BlockBytes + 99, 1},
		{0, 3*BlockBytes + 100}, {7, 0}, {3*BlockBytes + 100, 0},
	} {
		s.want(t, c, objects[0], r[0], r[1])
	}
	s.want(t, c, objects[1], 0, 10)
	if len(s.reads) != 5 {
		t.Errorf("%d reads for five blocks", len(s.reads))
	}
	if st := c.Stats(); st.Bytes != 3*BlockBytes+110 || st.Misses != 5 || st.ReadBytes != st.Bytes {
		t.Errorf("stats %+v", st)
	}
	for _, r := range [][2]int64{{-1, 1}, {0, -1}, {0, 11}, {10, 1}, {1 << 62, 1 << 62}} {
		if _, err := c.Get(t.Context(), objects[1], r[0], r[1]); err == nil {
			t.Errorf("Get(%d, %d) of 10 bytes succeeded", r[0], r[1])
		}
	}
}

func TestResultsCannotGrowIntoTheBlock(t *testing.T) {
	s, objects := newStore(100)
	c := New(1<<20, s.read)
	defer c.Close()
	b, _ := c.Get(t.Context(), objects[0], 0, 10)
	_ = append(b, 0xAA)
	s.want(t, c, objects[0], 0, 100)
}

func TestBudget(t *testing.T) {
	s, objects := newStore(4 * BlockBytes)
	c := New(2*BlockBytes, s.read)
	defer c.Close()
	// Block 0, the oldest, is evicted for block 2 and is read again.
	for _, pos := range []int64{0, 1, 1, 2, 1, 0} {
		s.want(t, c, objects[0], pos*BlockBytes, 1)
	}
	want := []int64{0, BlockBytes, 2 * BlockBytes, 0}
	if len(s.reads) != len(want) || s.reads[3] != 0 {
		t.Errorf("reads at %v, want %v", s.reads, want)
	}
	if st := c.Stats(); st.Bytes != 2*BlockBytes || st.Evicted != 2 {
		t.Errorf("stats %+v", st)
	}
}

func TestSmallerThanABlock(t *testing.T) {
	s, objects := newStore(BlockBytes)
	c := New(100, s.read)
	defer c.Close()
	s.want(t, c, objects[0], 0, BlockBytes)
	s.want(t, c, objects[0], 0, BlockBytes)
	if st := c.Stats(); st.Bytes != 0 || st.Reads != 2 {
		t.Errorf("stats %+v", st)
	}
}

func TestSingleFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, objects := newStore(2 * BlockBytes)
		s.gate = make(chan error)
		c := New(64<<20, s.read)
		defer c.Close()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { s.want(t, c, objects[0], 10, 2*BlockBytes-20) })
		}
		synctest.Wait()
		if len(s.reads) != 2 {
			t.Errorf("%d reads on their way for two blocks", len(s.reads))
		}
		s.gate <- nil
		s.gate <- nil
		wg.Wait()
		if len(s.reads) != 2 {
			t.Errorf("%d reads for two blocks", len(s.reads))
		}
	})
}

// If the reader that started a read goes away, the others still get the block. When the last one
// goes, the read is ended.
func TestCancelledWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, objects := newStore(100)
		s.gate = make(chan error)
		c := New(64<<20, s.read)
		defer c.Close()
		first, leaveFirst := context.WithCancel(t.Context())
		second, leaveSecond := context.WithTimeout(t.Context(), time.Minute)
		defer leaveSecond()
		errs := make(chan error, 2)
		get := func(ctx context.Context) {
			_, err := c.Get(ctx, objects[0], 0, 1)
			errs <- err
		}
		go get(first)
		synctest.Wait()
		go get(second)
		synctest.Wait()
		leaveFirst()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("first: %v", err)
		}
		s.gate <- nil
		if err := <-errs; err != nil || len(s.reads) != 1 {
			t.Errorf("second: %v after %d reads", err, len(s.reads))
		}
		c.Forget(objects[0].ID)

		third, leaveThird := context.WithCancel(t.Context())
		go get(third)
		synctest.Wait()
		leaveThird()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("third: %v", err)
		}
		synctest.Wait() // the read has ended although nobody opened the gate
		if st := c.Stats(); st.Failed != 1 || len(c.flights) != 0 {
			t.Errorf("an abandoned read goes on: %+v", st)
		}
		go get(t.Context())
		synctest.Wait()
		s.gate <- nil
		if err := <-errs; err != nil || len(s.reads) != 3 {
			t.Errorf("after an abandoned read: %v, %d reads", err, len(s.reads))
		}
	})
}

// A reader that comes after the last waiter left does not join the read that is being ended, even
// if the store notices the end late. A reader that leaves a read that is off the list does not
// disturb a later one.
func TestAbandonedReadIsNotBoarded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, objects := newStore(100)
		// One per read, in order; a read at a gate ignores its context.
		gates := make(chan chan error, 4)
		c := New(64<<20, func(ctx context.Context, _ string, p []byte, pos int64) error {
			gate := make(chan error)
			gates <- gate
			if err := <-gate; err != nil {
				return err
			}
			return s.read(ctx, "a", p, pos)
		})
		defer c.Close()
		errs := make(chan error, 3)
		get := func(ctx context.Context) {
			_, err := c.Get(ctx, objects[0], 0, 1)
			errs <- err
		}
		first, leaveFirst := context.WithCancel(t.Context())
		go get(first)
		synctest.Wait()
		leaveFirst()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("first: %v", err)
		}
		second, leaveSecond := context.WithCancel(t.Context())
		go get(second)
		synctest.Wait()
		if len(gates) != 2 {
			t.Fatalf("%d reads: the second reader boarded an abandoned one", len(gates))
		}
		c.Forget(objects[0].ID) // takes the second read off the list
		go get(t.Context())
		synctest.Wait()
		leaveSecond()
		<-errs
		go get(t.Context())
		synctest.Wait()
		if len(gates) != 3 {
			t.Errorf("%d reads: leaving the second took the third off the board", len(gates))
		}
		(<-gates) <- errors.New("ended late")
		(<-gates) <- nil
		(<-gates) <- nil
		for range 2 {
			if err := <-errs; err != nil {
				t.Errorf("third and fourth: %v", err)
			}
		}
	})
}

func TestErrorsAreNotKept(t *testing.T) {
	s, objects := newStore(100)
	broken := errors.New("broken")
	s.err = broken
	c := New(64<<20, s.read)
	defer c.Close()
	if _, err := c.Get(t.Context(), objects[0], 0, 1); !errors.Is(err, broken) {
		t.Errorf("Get = %v", err)
	}
	s.err = nil
	s.want(t, c, objects[0], 0, 100)
}

func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, objects := newStore(100, 100)
		c := New(64<<20, s.read)
		defer c.Close()
		s.want(t, c, objects[0], 0, 1)
		s.want(t, c, objects[1], 0, 1)
		c.Forget(objects[0].ID)
		s.want(t, c, objects[1], 0, 1)
		s.gate = make(chan error)
		var wg sync.WaitGroup
		wg.Go(func() { s.want(t, c, objects[0], 0, 1) })
		synctest.Wait()
		c.Forget(objects[0].ID) // a block that is being read is not kept
		s.gate <- nil
		wg.Wait()
		if st := c.Stats(); st.Reads != 3 || st.Bytes != 100 {
			t.Errorf("stats %+v", st)
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, objects := newStore(100)
		s.gate = make(chan error) // never opens
		c := New(64<<20, s.read)
		errs := make(chan error)
		go func() {
			_, err := c.Get(t.Context(), objects[0], 0, 1)
			errs <- err
		}()
		synctest.Wait()
		go c.Close()
		if err := <-errs; !errors.Is(err, ErrClosed) {
			t.Errorf("a read on its way: %v", err)
		}
		c.Close()
		if _, err := c.Get(t.Context(), objects[0], 0, 1); !errors.Is(err, ErrClosed) {
			t.Errorf("a closed cache: %v", err)
		}
	})
}

// Readers that come, leave and forget at the same time get the right bytes, and the books balance.
// This is a test for -race.
func TestConcurrent(t *testing.T) {
	s, objects := newStore(3*BlockBytes+7, 2*BlockBytes, 99)
	c := New(3*BlockBytes, s.read)
	var wg sync.WaitGroup
	for seed := range uint64(8) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 0))
			for range 25 {
				o := objects[rng.IntN(len(objects))]
				pos := rng.Int64N(o.Bytes)
				n := rng.Int64N(o.Bytes - pos)
				ctx, cancel := context.WithCancel(t.Context())
				if rng.IntN(3) == 0 {
					go cancel()
				}
				b, err := c.Get(ctx, o, pos, n)
				if err == nil && !bytes.Equal(b, s.objects[o.Key][pos:pos+n]) {
					t.Errorf("wrong bytes at %d of %s", pos, o.Key)
				} else if err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				if rng.IntN(10) == 0 {
					c.Forget(o.ID)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	c.Close()
	var kept int64
	for _, b := range c.kept.blocks {
		kept += int64(len(b.bytes))
	}
	queued := c.kept.small.list.Len() + c.kept.main.list.Len()
	if st := c.Stats(); kept != st.Bytes || st.Bytes > 3*BlockBytes || len(c.flights) != 0 || len(c.kept.blocks) != queued {
		t.Errorf("kept %d, %d flights, stats %+v", kept, len(c.flights), st)
	}
}

// However many blocks are asked for at once, no more than ReadsMax are read at once, and all come.
func TestReadsAtOnceAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, objects := newStore(3 * ReadsMax * BlockBytes / 2)
		s.gate = make(chan error)
		c := New(1<<30, s.read)
		got := make(chan error)
		go func() {
			_, err := c.Pieces(t.Context(), objects[0], 0, objects[0].Bytes)
			got <- err
		}()
		synctest.Wait()
		if n := len(s.reads); n != ReadsMax {
			t.Fatalf("%d blocks are read at once, want %d", n, ReadsMax)
		}
		for range 3 * ReadsMax / 2 {
			s.gate <- nil
		}
		if err := <-got; err != nil || len(s.reads) != 3*ReadsMax/2 {
			t.Errorf("%d blocks were read: %v", len(s.reads), err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}
