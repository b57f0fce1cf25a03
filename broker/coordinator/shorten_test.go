package coordinator

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicemq/sluice/broker/group"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage"
)

// shortLog is a configuration under which a few hundred commits already make a long log.
var shortLog = Config{ShortenBytes: 8 * kib}

// write commits count rising offsets, beginning with from, one after another, to all three
// partitions.
func (r *rig) write(from, count int) {
	r.t.Helper()
	for i := range count {
		r.mustCommit(int32(i%3), ident.Offset(from+i))
	}
}

func (r *rig) logStart() ident.Offset {
	topic, _ := r.topics.TopicByName(OffsetsTopic)
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	return r.log.partLocked(ident.TopicPartition{Topic: topic.ID}).start
}

// TestI15_LongLogIsShortened: however much is written, the log stays small and holds the whole
// state.
func TestI15_LongLogIsShortened(t *testing.T) {
	inBubble(t, shortLog, func(t *testing.T, r *rig) {
		for i := range 20 {
			r.write(300*i, 300)
			synctest.Wait()
			if n := r.log.bytes(); n > 2*8*kib {
				t.Fatalf("after %d commits the log has %d bytes", 300*(i+1), n)
			}
		}
		if r.logStart() == 0 {
			t.Fatal("the log start never moved")
		}
		r.restart()
		for p := range int32(3) {
			r.wantCommitted(p, ident.Offset(6000-3+p))
		}
	})
}

// TestShortenInterval: a log far below ShortenBytes that holds much more than the live state is
// shortened after a while, and not before.
func TestShortenInterval(t *testing.T) {
	inBubble(t, Config{ShortenInterval: time.Hour}, func(t *testing.T, r *rig) {
		r.write(0, 600)
		synctest.Wait()
		if r.logStart() != 0 {
			t.Fatal("shortened at once")
		}
		time.Sleep(time.Hour)
		r.write(600, 3)
		synctest.Wait()
		if r.logStart() == 0 || r.log.bytes() > 8*kib {
			t.Fatalf("after an hour the log starts at %d and has %d bytes", r.logStart(), r.log.bytes())
		}
		start := r.logStart()
		time.Sleep(2 * time.Hour)
		r.write(603, 3) // not much more than the live state
		synctest.Wait()
		if r.logStart() != start {
			t.Fatal("shortened a short log")
		}
		r.restart()
		for p := range int32(3) {
			r.wantCommitted(p, ident.Offset(603+p))
		}
	})
}

// TestShortenOnLoad: a broker that restarts more often than ShortenInterval still keeps its logs
// short.
func TestShortenOnLoad(t *testing.T) {
	inBubble(t, Config{ShortenInterval: time.Hour}, func(t *testing.T, r *rig) {
		r.write(0, 600)
		r.restart()
		r.write(600, 3)
		synctest.Wait()
		if r.logStart() == 0 || r.log.bytes() > 8*kib {
			t.Fatalf("after a restart the log starts at %d and has %d bytes", r.logStart(), r.log.bytes())
		}
		start := r.logStart()
		r.write(603, 600)
		synctest.Wait()
		if r.logStart() != start {
			t.Fatal("shortened again within the hour")
		}
		for p := range int32(3) {
			r.wantCommitted(p, ident.Offset(1200+p))
		}
	})
}

// TestShortenNothing: where no state is left, the log start moves to the log's end.
func TestShortenNothing(t *testing.T) {
	inBubble(t, shortLog, func(t *testing.T, r *rig) {
		for i := range 100 {
			r.write(3*i, 3)
			if a, err := r.Delete(t.Context(), "g"); err != nil || a.Err != nil {
				t.Fatal(err, a)
			}
		}
		synctest.Wait()
		if n := r.log.bytes(); n > 2*8*kib {
			t.Errorf("%d bytes are left", n)
		}
		r.restart()
		r.wantCommitted(0, -1)
	})
}

// TestI16_DeadBeforeTheLogStartMoves: a log that holds the old state and then the new one replays
// to the same state, and the next life shortens it.
func TestI16_DeadBeforeTheLogStartMoves(t *testing.T) {
	inBubble(t, shortLog, func(t *testing.T, r *rig) {
		never := make(chan struct{})
		asked := make(chan struct{}, 1)
		r.log.deleting = func() error {
			asked <- struct{}{}
			<-never
			return errors.New("died meanwhile")
		}
		for i := 0; len(asked) == 0; i += 30 {
			r.write(i, 30)
			synctest.Wait()
		}
		r.mustCommit(0, 100_000)
		r.mustCommit(1, 100_001)
		next := r.log.crashed()
		closed := later(func() error { r.Close(); return nil })
		close(never)
		<-closed
		r.log = next
		if r.logStart() != 0 {
			t.Fatal("the log start has moved")
		}
		r.open()
		synctest.Wait()
		r.wantCommitted(0, 100_000)
		r.wantCommitted(1, 100_001)
		if r.logStart() == 0 {
			t.Error("the next life did not shorten the log")
		}
		r.restart()
		r.wantCommitted(0, 100_000)
		r.wantCommitted(1, 100_001)
	})
}

// TestI13_CommitsDuringShortening: writing the live state does not undo what is committed
// meanwhile.
func TestI13_CommitsDuringShortening(t *testing.T) {
	inBubble(t, shortLog, func(t *testing.T, r *rig) {
		r.log.delay = func() time.Duration { return 10 * time.Millisecond }
		for i := 0; r.logStart() == 0; i++ {
			var wg sync.WaitGroup
			for p := range int32(3) {
				wg.Go(func() { r.mustCommit(p, ident.Offset(10*i)+ident.Offset(p)) })
			}
			wg.Wait()
			// While the shortening goes on.
			next := later(func() error { return r.commit(0, ident.Offset(10*i+5)) })
			time.Sleep(3 * time.Millisecond)
			r.mustCommit(1, ident.Offset(10*i+6))
			if err := <-next; err != nil {
				t.Fatal(err)
			}
			r.log.mu.Lock()
			r.log.delay = func() time.Duration { return time.Duration(i%20) * time.Millisecond }
			r.log.mu.Unlock()
		}
		want := []ident.Offset{r.committed(0), r.committed(1), r.committed(2)}
		if want[1]-want[0] != 1 || want[1]-want[2] != 4 {
			t.Errorf("shown: %v", want)
		}
		r.restart()
		for p, offset := range want {
			r.wantCommitted(int32(p), offset)
		}
	})
}

// TestLogStartIsMovedAgain: a quorum that does not answer is asked again after a rest. The live
// state is not written once more for that.
func TestLogStartIsMovedAgain(t *testing.T) {
	inBubble(t, shortLog, func(t *testing.T, r *rig) {
		failures := 0
		r.log.deleting = func() error {
			r.log.mu.Lock()
			defer r.log.mu.Unlock()
			if failures++; failures > 3 {
				return nil
			}
			return errors.New("no quorum")
		}
		for i := 0; ; i += 30 {
			r.write(i, 30)
			synctest.Wait()
			r.log.mu.Lock()
			asked := failures
			r.log.mu.Unlock()
			if asked > 0 {
				break
			}
		}
		before := r.log.appendCount()
		time.Sleep(3*shortenPause + time.Second)
		if r.logStart() == 0 {
			t.Error("the log start was not moved in the end")
		}
		if n := r.log.appendCount() - before; n != 0 {
			t.Errorf("%d appends for moving the log start again", n)
		}
	})
}

// TestLiveStateRefused: while the live state cannot be written, everything else goes on, and the
// write is tried again.
func TestLiveStateRefused(t *testing.T) {
	inBubble(t, shortLog, func(t *testing.T, r *rig) {
		big := strings.Repeat("x", 4000)
		topic, _ := r.topics.TopicByName("orders")
		appends := 0
		r.log.refuse = func(int) error { // every second append
			if appends++; appends%2 == 0 {
				return storage.ErrThrottled
			}
			return nil
		}
		acked := ident.Offset(-1)
		for i := range 200 {
			a, err := r.Commit(t.Context(), group.CommitRequest{Group: "g", Generation: -1, Retention: -1, Partitions: []group.CommitPartition{
				{Topic: "orders", TopicID: topic.ID, Offset: ident.Offset(i), LeaderEpoch: -1, Metadata: big},
			}})
			if err != nil {
				t.Fatal(err)
			}
			if a.Err == nil {
				acked = ident.Offset(i)
			} else if !errors.Is(a.Err, ErrNotAvailable) {
				t.Fatal(a.Err)
			}
			r.wantCommitted(0, acked)
			time.Sleep(time.Second)
		}
		if r.logStart() == 0 {
			t.Error("the log was never shortened")
		}
		r.restart()
		r.wantCommitted(0, acked)
	})
}

// TestUnsettledLogIsNotWaitedFor: a log that takes minutes to settle does not stop the shard just
// because the log is long.
func TestUnsettledLogIsNotWaitedFor(t *testing.T) {
	inBubble(t, shortLog, func(t *testing.T, r *rig) {
		r.write(0, 58) // a bit less than what is too long
		if n := r.log.bytes(); n > 8*kib || n < 6*kib {
			t.Fatalf("%d bytes", n)
		}
		r.log.delay = func() time.Duration { return time.Minute }
		var waits []<-chan error
		// The appends are: one commit, then thirty, which make the log too long, then more of them.
		for i := range 90 {
			waits = append(waits, later(func() error { return r.commit(int32(i%3), ident.Offset(100+i)) }))
			began := time.Now()
			r.committed(0)
			if took := time.Since(began); took > quietMax {
				t.Fatalf("a fetch took %v", took)
			}
			time.Sleep(2 * time.Second)
		}
		time.Sleep(5 * time.Minute)
		for _, w := range waits {
			if err, over := answered(w); !over || err != nil {
				t.Fatalf("over %v, %v", over, err)
			}
		}
		r.log.delay = nil
		time.Sleep(2 * shortenPause)
		if r.logStart() == 0 {
			t.Error("not even then was the log shortened")
		}
	})
}

// TestLiveStateOfManyBatches: after a batch was refused, the rest of the live state is not written
// until the whole is tried again.
func TestLiveStateOfManyBatches(t *testing.T) {
	inBubble(t, Config{ShortenBytes: kib}, func(t *testing.T, r *rig) {
		const partitions = 700 // 4 KiB each: three batches of live state
		topic, _ := r.topics.TopicByName("orders")
		commit := func(offset, from, to int) {
			req := group.CommitRequest{Group: "g", Generation: -1, Retention: -1}
			for p := from; p < to; p++ {
				req.Partitions = append(req.Partitions, group.CommitPartition{
					Topic: "orders", TopicID: topic.ID, Partition: int32(p), Offset: ident.Offset(offset), LeaderEpoch: -1, Metadata: strings.Repeat("x", 4000),
				})
			}
			if a, err := r.Commit(t.Context(), req); err != nil || a.Err != nil {
				t.Fatal(err, a)
			}
		}
		// A whole batch of live state has this much; commits are smaller.
		const liveBytesMin = 900 * kib
		tried := 0
		r.log.refuse = func(bytes int) error {
			if bytes >= liveBytesMin {
				if tried++; tried == 1 {
					return storage.ErrThrottled
				}
			}
			return nil
		}
		for i := range 12 {
			for p := 0; p < partitions; p += 100 {
				commit(i, p, p+100)
			}
			synctest.Wait()
		}
		if tried != 1 {
			t.Fatalf("%d batches of live state were tried, want the first alone", tried)
		}
		commit(12, 0, 1)
		time.Sleep(shortenPause + time.Second)
		if r.logStart() == 0 || tried < 3 {
			t.Errorf("log start %d after %d tries", r.logStart(), tried)
		}
		r.restart()
		r.wantCommitted(0, 12)
		r.wantCommitted(partitions-1, 11)
	})
}

// TestI13_RandomLives: each client commits rising offsets to its own partition of its own group.
// Appends take time and are sometimes refused, the log is shortened all the while, moving its start
// sometimes fails, and the broker dies again and again. An offset that was acknowledged is never
// lost, and an offset that is shown was sent (I2).
func TestI13_RandomLives(t *testing.T) {
	seeds := uint64(20)
	if os.Getenv("SLUICE_LONG") == "1" {
		seeds = 1000
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inBubble(t, Config{ShortenBytes: 2 * kib}, func(t *testing.T, r *rig) { randomLives(t, r, seeded(t, seed)) })
		})
	}
}

func randomLives(t *testing.T, r *rig, random *rand.Rand) {
	const clients, lives = 4, 6
	acked, sent := make([]ident.Offset, clients), make([]ident.Offset, clients)
	var mu sync.Mutex // guards random
	roll := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(n)
	}
	moves := 0
	for range lives {
		r.log.delay = func() time.Duration { return time.Duration(roll(20)) * time.Millisecond }
		r.log.refuse = func(int) error {
			if roll(30) == 0 {
				return storage.ErrThrottled
			}
			return nil
		}
		r.log.deleting = func() error {
			if roll(3) == 0 {
				return errors.New("no quorum")
			}
			time.Sleep(time.Duration(roll(100)) * time.Millisecond)
			return nil
		}
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for i := range clients {
			wg.Go(func() { r.commitUntil(stop, i, &sent[i], &acked[i], roll) })
		}
		time.Sleep(time.Duration(roll(4_000)) * time.Millisecond)
		next := r.log.crashed()
		close(stop)
		r.Close()
		wg.Wait()
		r.log = next
		r.open()
		synctest.Wait()
		if r.logStart() > 0 {
			moves++
		}
		for i := range clients {
			if got := r.ofClient(i); got < acked[i] || got > sent[i] {
				t.Fatalf("client %d: offset %d is shown; acknowledged %d, sent %d", i, got, acked[i], sent[i])
			} else {
				acked[i] = got // it has been shown: it must not go back either
			}
		}
	}
	if moves == 0 {
		t.Error("no log was ever shortened")
	}
}

// commitUntil commits rising offsets until stop. It notes what it sent and what was acknowledged.
func (r *rig) commitUntil(stop <-chan struct{}, client int, sent, acked *ident.Offset, roll func(int) int) {
	topic, _ := r.topics.TopicByName("orders")
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(roll(50)) * time.Millisecond):
		}
		*sent++
		a, err := r.Commit(r.t.Context(), group.CommitRequest{
			Group: fmt.Sprint("g", client), Generation: -1, Retention: -1,
			Partitions: []group.CommitPartition{{Topic: "orders", TopicID: topic.ID, Offset: *sent, LeaderEpoch: -1}},
		})
		if err == nil && a.Err == nil && a.Partitions[0] == nil {
			*acked = *sent
		}
	}
}

func (r *rig) ofClient(client int) ident.Offset {
	offsets, err := r.Fetch(r.t.Context(), fmt.Sprint("g", client), []group.PartitionName{{Topic: "orders"}})
	if err != nil {
		r.t.Fatal(err)
	}
	return max(0, offsets[0].Offset)
}
