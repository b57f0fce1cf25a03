package wal_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/sluicemq/sluice/vfs/crashfs"
	"github.com/sluicemq/sluice/wal"
)

// queue is append without the wake-up. The order of the queue is the order of the numbers,
// whichever goroutine queues.
func (c *client) queue() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := len(c.appended)
	a := &wal.Append{Entries: entries(id), Owner: id}
	if c.w.Queue(a) != nil {
		return false
	}
	c.appended = append(c.appended, a)
	return true
}

func (c *client) durableCount() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.durable)
}

// Commit does the work itself while nobody else is at work, and leaves large groups to the
// committer.
func TestCommitInline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newDisk(t, 1)
		c := new(client)
		w, err := wal.Create(small, c.deps(disk), inc)
		must(t, err)
		c.w = w
		synctest.Wait()
		for i := range bigID {
			c.queue()
			if i%3 == 0 {
				c.queue() // both appends land in one group
			}
			// When a segment is full, the work becomes the committer's.
			for before := len(c.appended); c.durableCount() < before; synctest.Wait() {
				w.Commit()
			}
		}
		if st := w.Stats(); st.Inline < bigID/2 || st.GroupSyncs != st.Groups {
			t.Errorf("%+v", st)
		}
		w.Commit() // nothing to do
		must(t, w.Close())
		w.Commit() // still nothing to do
		c.check(t)
		checkDisk(t, c, disk.Crash(), true)
	})
}

func TestCommitLeavesMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newDisk(t, 1)
		c := new(client)
		w, err := wal.Create(wal.Config{Dir: small.Dir, SegmentBytes: 1 << 20}, c.deps(disk), inc)
		must(t, err)
		c.w = w
		for range bigID + 1 {
			c.queue()
		}
		w.Commit()
		if st := w.Stats(); st.Inline != 0 {
			t.Errorf("%+v", st)
		}
		synctest.Wait()
		if n := c.durableCount(); n != bigID+1 {
			t.Errorf("%d durable", n)
		}
		must(t, w.Close())
		c.check(t)
	})
}

// While a caller of Commit syncs, the appends of others gather. If they are many, the overlapper
// writes them meanwhile. They are committed afterwards.
func TestAppendsDuringInlineCommit(t *testing.T) {
	for _, held := range []struct {
		op   string
		more int
	}{{"datasync", 1}, {"datasync", bigID}, {"write", 1}, {"write", bigID}} {
		synctest.Test(t, func(t *testing.T) {
			disk := newDisk(t, 1)
			c := new(client)
			w, err := wal.Create(wal.Config{Dir: small.Dir, SegmentBytes: 1 << 20}, c.deps(disk), inc)
			must(t, err)
			c.w = w
			synctest.Wait()
			hold := make(chan struct{})
			var once sync.Once
			disk.SetHook(func(call crashfs.Call) error {
				if call.Op == held.op {
					once.Do(func() { <-hold })
				}
				return nil
			})
			c.queue()
			var work sync.WaitGroup
			work.Go(w.Commit)
			synctest.Wait() // the call hangs
			for range held.more {
				c.append()
			}
			c.queue()
			w.Commit() // returns, since somebody is at work
			synctest.Wait()
			if n := c.durableCount(); n != 0 {
				t.Errorf("%d durable before the first is", n)
			}
			close(hold)
			work.Wait()
			synctest.Wait()
			if n := c.durableCount(); n != held.more+2 {
				t.Errorf("%d of %d durable", n, held.more+2)
			}
			if st := w.Stats(); st.Inline != 1 {
				t.Errorf("%+v", st)
			}
			must(t, w.Close())
			c.check(t)
			checkDisk(t, c, disk.Crash(), true)
		})
	}
}

// TestI1_InlineKilledAtEveryCall: three goroutines append, and one of them commits itself. At each
// storage call the process dies or the call fails. What was reported durable is there, and all the
// rest is reported as failed, once (I1, I7).
func TestI1_InlineKilledAtEveryCall(t *testing.T) {
	for _, how := range []string{"kill", "fail"} {
		t.Run(how, func(t *testing.T) {
			for n := 1; ; n++ {
				if inlineStory(t, how, n) || t.Failed() {
					return
				}
			}
		})
	}
}

// inlineStory reports whether the story ended before call n.
func inlineStory(t *testing.T, how string, n int) (whole bool) {
	synctest.Test(t, func(t *testing.T) {
		disk := newDisk(t, uint64(n))
		var calls atomic.Int64
		if how == "kill" {
			disk.KillAt(n)
		} else {
			disk.SetHook(func(call crashfs.Call) error {
				if calls.Add(1) == int64(n) {
					return errors.New("bad disk")
				}
				return nil
			})
		}
		c := new(client)
		w, err := wal.Create(small, c.deps(disk), inc)
		if err == nil {
			c.w = w
			c.threeWriters()
			_ = w.Close()
			c.check(t)
		}
		whole = !disk.Dead() && calls.Load() < int64(n)
		checkDisk(t, c, disk.Crash(), err == nil)
	})
	return whole
}

func (c *client) threeWriters() {
	var work sync.WaitGroup
	for i := range 3 {
		work.Go(func() {
			for range 6 {
				if !c.queue() {
					return
				}
				if i == 0 {
					c.w.Wake()
				} else {
					c.w.Commit()
				}
			}
		})
		synctest.Wait()
	}
	work.Wait()
}
