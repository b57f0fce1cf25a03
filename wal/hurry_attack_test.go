package wal_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/vfs"
	"github.com/sluicemq/sluice/vfs/crashfs"
	"github.com/sluicemq/sluice/wal"
)

// These tests attack segments that are only allocated, and several trimmed segments that wait for
// reuse.

// openedWriter creates an incarnation on a disk on which hook decides every call, and waits until
// the first spare is ready or refused.
func openedWriter(t *testing.T, hook func(crashfs.Call) error) *client {
	t.Helper()
	disk := newDisk(t, 1)
	disk.SetHook(hook)
	c := new(client)
	w, err := wal.Create(small, c.deps(disk), inc)
	must(t, err)
	c.w = w
	synctest.Wait()
	return c
}

// E29: on a file system that cannot allocate, all segments are filled.
func TestE29_DiskThatCannotAllocate(t *testing.T) {
	for _, refusal := range []error{syscall.EOPNOTSUPP, syscall.ENOSYS, errors.ErrUnsupported} {
		synctest.Test(t, func(t *testing.T) {
			c := openedWriter(t, func(call crashfs.Call) error {
				if call.Op == "allocate" {
					return refusal
				}
				return nil
			})
			for range 20 {
				c.append()
				synctest.Wait()
			}
			must(t, c.w.Close())
			c.check(t)
			if st := c.w.Stats(); st.Allocated != 0 || st.Fills < 4 || len(c.durable) != 20 {
				t.Errorf("%v: %d durable, %+v", refusal, len(c.durable), st)
			}
		})
	}
}

// E29: there is no room to allocate the next segment. A trimmed segment is reused at once: it needs
// no room, and nobody waits for the next retry.
func TestE29_TrimLiftsAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var full atomic.Bool
		c := openedWriter(t, func(call crashfs.Call) error {
			if full.Load() && call.Op == "allocate" {
				return vfs.ErrNoSpace
			}
			return nil
		})
		// The danger lies in segments after the first, made in a hurry.
		for c.w.Stats().Allocated == 0 {
			c.append()
			synctest.Wait()
		}
		full.Store(true)
		for c.w.Ready() == nil {
			if !c.append() {
				t.Fatal("the disk is full, and nobody notices")
			}
			synctest.Wait()
		}
		began := time.Now()
		c.append()
		synctest.Wait()
		if len(c.durable) == len(c.appended) {
			t.Error("a segment was made of no room")
		}
		must(t, c.w.Trim(c.w.Durable()))
		synctest.Wait()
		if len(c.durable) != len(c.appended) || c.w.Stats().Recycled == 0 {
			t.Errorf("%d of %d durable after the trim, %+v", len(c.durable), len(c.appended), c.w.Stats())
		}
		must(t, c.w.Ready())
		if time.Since(began) != 0 {
			t.Errorf("it took %v", time.Since(began))
		}
		must(t, c.w.Close())
		c.check(t)
	})
}

// However many segments are trimmed at once, few are kept; the others give their room back.
func TestTrimmedSegmentsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newDisk(t, 1)
		w, err := wal.Create(small, wal.Deps{FS: disk, Log: discard, Durable: func(*wal.Group) {}, Failed: func(error, []*wal.Append) {}}, inc)
		must(t, err)
		appended := 0
		write := func(count int) { // writes count segments
			for range count {
				entry := wal.Entry{Kind: wal.KindBatch, Start: ident.Offset(appended), End: ident.Offset(appended + 1), Payload: make([]byte, 20<<10)}
				must(t, w.Append(&wal.Append{Entries: []wal.Entry{entry}}))
				appended++
				synctest.Wait()
			}
		}
		write(30)
		must(t, w.Trim(w.Durable()))
		synctest.Wait()
		const kept, current, spare = 8, 1, 1
		if got := w.DiskBytes(); got > (kept+current+spare)*small.SegmentBytes {
			t.Errorf("%d bytes on disk after everything was trimmed", got)
		}
		names, err := disk.List("/data/wal/" + inc.String())
		must(t, err)
		if len(names) > kept+current+spare {
			t.Errorf("%d files are left: %v", len(names), names)
		}
		first := appended - 1 // the first append in the current segment
		write(12)             // over the kept segments, which hold groups of their former life
		if st := w.Stats(); st.Recycled != kept {
			t.Errorf("%d were used again", st.Recycled)
		}
		d := disk.Kill()
		_ = w.Close() // the writer is dead
		next := first
		s, err := wal.Recover(small, wal.RecoverDeps{FS: d, Log: discard}, inc, func(e *wal.Entry) error {
			if int(e.Start) != next {
				return fmt.Errorf("append %d after %d", e.Start, next-1)
			}
			next++
			return nil
		})
		must(t, err)
		must(t, s.Close())
		if next != appended {
			t.Errorf("recovered up to append %d of %d", next, appended)
		}
	})
}

const killedChild = "SLUICE_WAL_KILLED_CHILD"

// I7, on real files: a process that writes in a hurry is killed while its segments are allocated,
// half written and empty. Everything that it reported is there, and a repeated recovery ends the
// same (I16).
func TestI7_KilledOverAllocatedSegments(t *testing.T) {
	cfg := wal.Config{Dir: t.TempDir(), SegmentBytes: 256 << 10}
	if dir := os.Getenv(killedChild); dir != "" {
		cfg.Dir = dir
		// The bubble's clock stands still, so the log is in a hurry.
		synctest.Test(t, func(*testing.T) { writeUntilKilled(cfg) })
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestI7_KilledOverAllocatedSegments$")
	child.Env = append(os.Environ(), killedChild+"="+cfg.Dir)
	out, err := child.StdoutPipe()
	must(t, err)
	must(t, child.Start())
	acked, allocated := 0, 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		n, a, ok := strings.Cut(lines.Text(), " ")
		if !ok {
			continue // printed by the test binary itself
		}
		acked, err = strconv.Atoi(n)
		must(t, err)
		allocated, err = strconv.Atoi(a)
		must(t, err)
		if allocated >= 6 {
			// What the child prints until it dies is read too, since it was reported.
			must(t, child.Process.Kill())
		}
	}
	_ = child.Wait() // killed
	if allocated < 6 {
		t.Fatalf("the danger was not there: %d segments allocated, %d appends reported", allocated, acked)
	}
	var ends [2]ident.Position
	for i := range ends {
		next := 0
		s, err := wal.Recover(cfg, wal.RecoverDeps{FS: vfs.OS(), Log: discard}, inc, func(e *wal.Entry) error {
			if int(e.Start) != next || len(e.Payload) != killedBytes || e.Payload[0] != byte(next) || e.Payload[killedBytes-1] != byte(next) {
				return fmt.Errorf("append %d follows %d, or is not what was appended", e.Start, next-1)
			}
			next++
			return nil
		})
		must(t, err)
		ends[i] = s.End()
		must(t, s.Close())
		if next < acked {
			t.Errorf("%d appends were reported durable, %d are there", acked, next)
		}
	}
	if ends[0] != ends[1] {
		t.Errorf("I6: the end was %d and is %d", ends[0], ends[1])
	}
}

const killedBytes = 40_000

// writeUntilKilled appends, and prints after each append how many are durable and how many segments
// were only allocated.
func writeUntilKilled(cfg wal.Config) {
	var w *wal.Writer
	created := make(chan struct{})
	reported := 0
	durable := make(chan struct{}, 64)
	var err error
	w, err = wal.Create(cfg, wal.Deps{FS: vfs.OS(), Log: discard, Failed: func(err error, _ []*wal.Append) { panic(err) },
		Durable: func(g *wal.Group) {
			<-created
			reported += len(g.Appends())
			fmt.Println(reported, w.Stats().Allocated)
			for range g.Appends() {
				durable <- struct{}{}
			}
		}}, inc)
	if err != nil {
		panic(err)
	}
	close(created)
	for id := 0; ; id++ {
		payload := make([]byte, killedBytes)
		for i := range payload {
			payload[i] = byte(id)
		}
		entry := wal.Entry{Kind: wal.KindBatch, Start: ident.Offset(id), End: ident.Offset(id + 1), Payload: payload}
		if err := w.Append(&wal.Append{Entries: []wal.Entry{entry}}); err != nil {
			panic(err)
		}
		if id >= 32 { // 32 appends are in flight
			<-durable
		}
	}
}
