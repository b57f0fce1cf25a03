package wal_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/sluicemq/sluice/vfs"
	"github.com/sluicemq/sluice/vfs/crashfs"
	"github.com/sluicemq/sluice/wal"
)

// A trim poisons the log while a caller of Commit is in its write or its sync. Everything that was
// accepted is then reported as failed, without another append or Close.
func TestPoisonedDuringInlineCommit(t *testing.T) {
	for _, op := range []string{"datasync", "write"} {
		t.Run(op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := newDisk(t, 1)
				c := new(client)
				w, err := wal.Create(small, c.deps(disk), inc)
				must(t, err)
				c.w = w
				for range 10 { // fills some segments
					c.append()
					synctest.Wait()
				}
				hold := make(chan struct{})
				var held atomic.Bool
				disk.SetHook(func(call crashfs.Call) error {
					switch call.Op {
					case op:
						if (call.Op == "datasync" || call.Pos > 0) && held.CompareAndSwap(false, true) {
							<-hold
						}
					case "rename", "remove":
						return errors.New("bad disk")
					}
					return nil
				})
				c.queue()
				var work sync.WaitGroup
				work.Go(w.Commit)
				synctest.Wait() // the call hangs
				if err := w.Trim(w.Durable()); err == nil || !errors.Is(w.Ready(), wal.ErrPoisoned) {
					t.Fatalf("not poisoned: %v", err)
				}
				synctest.Wait()
				close(hold)
				work.Wait()
				synctest.Wait()
				c.mu.Lock()
				if c.failure == nil || len(c.failed) != 1 {
					t.Errorf("poisoned, and nobody is told: %d of %d neither durable nor failed", len(c.appended)-len(c.durable)-len(c.failed), len(c.appended))
				}
				c.mu.Unlock()
				_ = w.Close()
				c.check(t)
			})
		})
	}
}

// Close is called while an inline write hangs and the log is poisoned. Close returns.
func TestCloseDuringInlineWriteOfAPoisonedLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newDisk(t, 1)
		c := new(client)
		w, err := wal.Create(small, c.deps(disk), inc)
		must(t, err)
		c.w = w
		for range 10 {
			c.append()
			synctest.Wait()
		}
		hold := make(chan struct{})
		var held atomic.Bool
		disk.SetHook(func(call crashfs.Call) error {
			switch call.Op {
			case "write":
				if (call.Op == "datasync" || call.Pos > 0) && held.CompareAndSwap(false, true) {
					<-hold
				}
			case "rename", "remove":
				return errors.New("bad disk")
			}
			return nil
		})
		c.queue()
		var work sync.WaitGroup
		work.Go(w.Commit)
		synctest.Wait()
		_ = w.Trim(w.Durable())
		work.Go(func() { _ = w.Close() })
		synctest.Wait()
		close(hold)
		work.Wait()
		c.check(t)
	})
}

// E29: there is no room for the next segment. Commit does not wait for room. A trim lets the
// committer go on, and Commit after it.
func TestE29_InlineOnAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var full atomic.Bool
		c := openedWriter(t, func(call crashfs.Call) error {
			if full.Load() && (call.Op == "allocate" || call.Op == "create") {
				return vfs.ErrNoSpace
			}
			return nil
		})
		for c.w.Stats().Allocated == 0 {
			c.append()
			synctest.Wait()
		}
		full.Store(true)
		for before := -1; before != c.durableCount(); synctest.Wait() {
			before = c.durableCount()
			c.queue()
			c.w.Commit()
		}
		waiting := len(c.appended) - c.durableCount()
		if waiting == 0 {
			t.Fatal("a segment was made of no room")
		}
		c.queue()
		c.w.Commit() // behind the appends that wait
		if got := len(c.appended) - c.durableCount(); got != waiting+1 {
			t.Errorf("%d wait, want %d", got, waiting+1)
		}
		must(t, c.w.Trim(c.w.Durable()))
		synctest.Wait()
		if n := c.durableCount(); n != len(c.appended) {
			t.Errorf("%d of %d durable after the trim", n, len(c.appended))
		}
		inline := c.w.Stats().Inline
		c.queue()
		c.w.Commit()
		if c.w.Stats().Inline == inline {
			synctest.Wait() // the log has rolled again
		}
		if n := c.durableCount(); n != len(c.appended) {
			t.Errorf("%d of %d durable at the end", n, len(c.appended))
		}
		must(t, c.w.Close())
		c.check(t)
	})
}

// Close waits for a caller of Commit that is in its write or its sync, and until that caller has
// reported. What has gathered meanwhile is drained, and the log is sealed behind it (I6).
func TestI6_CloseDuringInlineCommit(t *testing.T) {
	for _, op := range []string{"datasync", "write"} {
		synctest.Test(t, func(t *testing.T) {
			disk := newDisk(t, 1)
			c := new(client)
			w, err := wal.Create(small, c.deps(disk), inc)
			must(t, err)
			c.w = w
			synctest.Wait()
			hold := make(chan struct{})
			var held atomic.Bool
			disk.SetHook(func(call crashfs.Call) error {
				if call.Op == op && held.CompareAndSwap(false, true) {
					<-hold
				}
				return nil
			})
			c.queue()
			var work sync.WaitGroup
			work.Go(w.Commit)
			synctest.Wait()
			c.append()
			c.queue() // the Commit for this append comes after Close began
			closed := make(chan error, 1)
			go func() { closed <- w.Close() }()
			synctest.Wait()
			if c.queue() {
				t.Error("taken after Close began")
			}
			w.Commit()
			select {
			case err := <-closed:
				t.Fatalf("closed before the sync has ended: %v", err)
			default:
			}
			close(hold)
			work.Wait()
			must(t, <-closed)
			if n := c.durableCount(); n != 3 {
				t.Errorf("%d of 3 durable", n)
			}
			c.check(t)
			checkDisk(t, c, disk.Crash(), true)
		})
	}
}
