package wal_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/vfs"
	"github.com/sluicemq/sluice/vfs/crashfs"
	"github.com/sluicemq/sluice/wal"
)

// storyCalls counts the calls of the undisturbed story.
func storyCalls(t *testing.T) int {
	n := 0
	synctest.Test(t, func(t *testing.T) {
		disk := newDisk(t, 1)
		c := new(client)
		must(t, c.story(disk))
		n = len(disk.Calls())
	})
	return n
}

// checkDisk recovers what a story left and checks I7: everything that was reported durable is
// there, or was trimmed; what is there is a contiguous run of the appends; and a second recovery
// finds the same.
func checkDisk(t *testing.T, c *client, disk *crashfs.FS, created bool) (f found) {
	t.Helper()
	f, err := recoverAll(t, disk)
	if errors.Is(err, wal.ErrMissing) && !created {
		return f
	}
	if err != nil {
		t.Errorf("recover: %v", err)
		return f
	}
	checkFound(t, c, &f)
	// Recover again (I16, I6): as is, and after a power cut that comes right after the first
	// recovery.
	for _, d := range []func() *crashfs.FS{disk.Kill, disk.Crash} {
		again := d()
		if g, err := recoverAll(t, again); err != nil || !f.equal(&g) {
			t.Errorf("recovered again: %+v, %v; first %+v", g, err, f)
		}
		if h, err := openSealed(t, again, f.end); err != nil || !f.equal(&h) {
			t.Errorf("opened sealed: %+v, %v; first %+v", h, err, f)
		}
	}
	return f
}

func checkFound(t *testing.T, c *client, f *found) {
	t.Helper()
	switch trimmed := c.trimPoint(); {
	case f.next > len(c.appended):
		t.Errorf("recovered append %d, which was never made", f.next-1)
	case f.next < len(c.durable) && (f.next >= 0 || len(c.durable) > 0):
		t.Errorf("recovered up to append %d, but %d were reported durable", f.next, len(c.durable))
	case f.first > 0 && c.appended[f.first-1].Entries[0].Position >= trimmed:
		t.Errorf("recovered from append %d on, but only what lies below %d was trimmed", f.first, trimmed)
	}
}

// The process is killed, or the power is cut, at each call of the story (I7, I16).
func TestI7I16_CrashAtEveryCall(t *testing.T) {
	calls := storyCalls(t)
	for n := 1; n <= calls; n++ {
		for seed := range uint64(3) {
			synctest.Test(t, func(t *testing.T) {
				disk := newDisk(t, seed)
				c := new(client)
				disk.KillAt(n)
				_ = c.story(disk) // fails at the call that killed the process
				if c.w != nil {
					c.check(t)
				}
				after := disk.Crash
				if seed == 0 {
					after = disk.Kill
				}
				checkDisk(t, c, after(), c.w != nil)
			})
			if t.Failed() {
				t.Fatalf("killed at call %d, seed %d", n, seed)
			}
		}
	}
}

// Each call of the story fails once. The log stays poisoned, and what was reported is there after
// the process ended and after a power cut. A full disk while a spare is made costs nothing.
func TestFailAtEveryCall(t *testing.T) {
	calls := storyCalls(t)
	for n := 3; n <= calls; n++ {
		for _, failure := range []error{crashfs.EIO, vfs.ErrNoSpace} {
			for seed := range uint64(2) {
				synctest.Test(t, func(t *testing.T) {
					disk := newDisk(t, seed)
					c := new(client)
					disk.FailAt(n, failure)
					err := c.story(disk)
					if c.w != nil {
						c.check(t)
					}
					if c.failure == nil && err == nil && len(c.durable) != len(c.appended) {
						t.Errorf("no error, but %d of %d durable", len(c.durable), len(c.appended))
					}
					after := disk.Crash
					if seed == 0 {
						after = disk.Kill
					}
					checkDisk(t, c, after(), c.w != nil)
				})
				if t.Failed() {
					t.Fatalf("%v at call %d, seed %d", failure, n, seed)
				}
			}
		}
	}
}

// Recovery itself is killed, or fails, at each call, after a story that ended anywhere (I16).
func TestI16_CrashInRecovery(t *testing.T) {
	calls, step := storyCalls(t), 19
	if os.Getenv("SLUICE_LONG") != "" {
		step = 1
	}
	for n := 5; n <= calls; n += step {
		for seed := range uint64(2) {
			recoveryCrashes(t, n, seed)
			if t.Failed() {
				t.Fatalf("story killed at call %d, seed %d", n, seed)
			}
		}
	}
}

func recoveryCrashes(t *testing.T, n int, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		disk := newDisk(t, seed)
		c := new(client)
		disk.KillAt(n)
		_ = c.story(disk)
		if c.w == nil {
			return
		}
		after := disk.Crash
		if seed == 0 {
			after = disk.Kill
		}
		for m := 1; ; m++ {
			d := after() // the same wreck each time, since the seed is the same
			if m%2 == 0 {
				d.FailAt(m/2, crashfs.EIO)
			} else {
				d.KillAt((m + 1) / 2)
			}
			_, err := recoverAll(t, d)
			if errors.Is(err, wal.ErrCorrupt) {
				t.Errorf("recovery disturbed at step %d: %v", m, err)
			}
			if err == nil && m%2 == 1 {
				return // this recovery took fewer calls
			}
			checkDisk(t, c, d.Crash(), true)
			if t.Failed() {
				t.Errorf("recovery disturbed at step %d", m)
				return
			}
		}
	})
}

// failedSync makes a disk with three groups of which the last one, or the last two, are not synced,
// because the sync of the group before failed.
func failedSync(t *testing.T, c *client) *crashfs.FS {
	disk := newDisk(t, 5)
	w, err := wal.Create(small, c.deps(disk), inc)
	must(t, err)
	c.w = w
	synctest.Wait()
	c.append()
	synctest.Wait()
	syncs := 0
	disk.SetHook(func(call crashfs.Call) error {
		if call.Op == "datasync" {
			if syncs++; syncs == 2 {
				return crashfs.EIO
			}
		}
		return nil
	})
	c.append()
	synctest.Wait()
	c.append()
	synctest.Wait()
	if err := w.Close(); !errors.Is(err, wal.ErrPoisoned) {
		t.Fatalf("close after a failed sync: %v", err)
	}
	return disk
}

// After a failed sync the group looks clean in the page cache and is not on the disk. A restarted
// process sees it. Recovery must make it durable before its end counts, or a power cut takes it
// back.
func TestE25_FailedSyncMerelyLooksClean(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := new(client)
		disk := failedSync(t, c).Kill()
		c.check(t)
		if len(c.durable) != 2 || len(c.failed) != 1 {
			t.Fatalf("durable %v, failed %v", c.durable, c.failed)
		}
		f, err := recoverAll(t, disk)
		must(t, err)
		if f.next != 3 {
			t.Fatalf("recovered up to %d: the page cache holds 3", f.next)
		}
		g, err := recoverAll(t, disk.Crash())
		if err != nil || !f.equal(&g) {
			t.Fatalf("after a power cut %+v, %v; the end that recovery fixed was %+v", g, err, f)
		}
	})
}

// flip changes one byte of a file as bit rot does.
func flip(t *testing.T, disk *crashfs.FS, name string, at int64) {
	t.Helper()
	f, err := disk.Open(name)
	must(t, err)
	p := make([]byte, 1)
	_, err = f.ReadAt(p, at)
	must(t, err)
	p[0] ^= 0x10
	_, err = f.WriteAt(p, at)
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
}

// Damage in any field of any group but the last stops the start. Damage in the last group cannot be
// told from a torn write, unless a clean close has sealed the log. No damaged group is ever skipped
// (docs/lessons.md).
func TestE25_DamageBelowDurableStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newDisk(t, 1)
		c := new(client)
		w, err := wal.Create(wal.Config{Dir: small.Dir, SegmentBytes: 256 << 10}, c.deps(disk), inc)
		must(t, err)
		c.w = w
		var starts []ident.Position
		for range 5 {
			starts = append(starts, max(w.Durable(), 4096))
			c.append()
			synctest.Wait()
		}
		name := "/data/wal/" + inc.String() + "/0000000000000000.seg"
		crashed := disk.Kill()
		_ = w.Close() // the writer is dead
		for i, start := range starts {
			for _, at := range []int64{0, 4, 8, 16, 24, 32, 40, 44, 60, 64, 64 + 16, 64 + 40, 64 + 44, 64 + 48, 64 + 3*56 + 50} {
				d := crashed.Kill()
				flip(t, d, name, int64(start)+at)
				f, err := recoverAll(t, d)
				// Group i+1 and later groups name group i as durable: each was durable before the
				// next was written.
				if i < len(starts)-1 && !errors.Is(err, wal.ErrCorrupt) {
					t.Errorf("group %d, byte %d flipped: %v, recovered %+v", i, at, err, f)
				}
				if i == len(starts)-1 && (err != nil || f.next != i) {
					t.Errorf("last group, byte %d flipped: %v, recovered %+v", at, err, f)
				}
			}
		}
	})
}

func TestE25_DamageAfterCleanCloseStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newDisk(t, 1)
		c := new(client)
		w, err := wal.Create(small, c.deps(disk), inc)
		must(t, err)
		c.w = w
		c.append()
		must(t, w.Close())
		flip(t, disk, "/data/wal/"+inc.String()+"/0000000000000000.seg", 4096+100)
		if f, err := recoverAll(t, disk); !errors.Is(err, wal.ErrCorrupt) {
			t.Fatalf("recovered %+v, %v", f, err)
		}
	})
}

// When writing and syncing overlap, a power cut may tear group n and keep group n+1. Both are cut,
// since neither was acknowledged, and that is not damage.
func TestE25_OverlapTearsOneAndKeepsTheNext(t *testing.T) {
	tornFirst := 0
	for seed := range uint64(24) {
		synctest.Test(t, func(t *testing.T) {
			cfg := wal.Config{Dir: small.Dir, SegmentBytes: 640 << 10}
			disk := newDisk(t, seed)
			c := new(client)
			w, err := wal.Create(cfg, c.deps(disk), inc)
			must(t, err)
			c.w = w
			synctest.Wait()
			for range bigID - 1 {
				c.append()
				synctest.Wait()
			}
			hold := make(chan struct{})
			disk.SetHook(func(call crashfs.Call) error {
				if call.Op == "datasync" {
					<-hold
					return crashfs.ErrDead
				}
				return nil
			})
			c.append()
			synctest.Wait() // the sync of the first append hangs
			c.append()      // enough to be written meanwhile
			synctest.Wait()
			if got := w.Stats().Overlapped; got != 1 {
				t.Fatalf("%d groups written during the sync, want 1", got)
			}
			cut := disk.Crash()
			survived := headSurvived(t, cut, c.appended[bigID].Entries[0].Position)
			close(hold)
			_ = w.Close()
			c.check(t)
			if f := checkDisk(t, c, cut, true); f.next == bigID-1 && survived {
				tornFirst++
			}
		})
	}
	if tornFirst == 0 {
		t.Fatal("in no seed was group n torn and n+1 kept: the danger never happened")
	}
}

// headSurvived tells whether the head of a group of one entry is on the disk, given the entry's
// position.
func headSurvived(t *testing.T, disk *crashfs.FS, pos ident.Position) bool {
	f, err := disk.OpenRead("/data/wal/" + inc.String() + "/0000000000000000.seg")
	must(t, err)
	p := make([]byte, 64)
	_, err = f.ReadAt(p, int64(pos)-wal.EntryBytes-64)
	return err == nil && string(p[:4]) == "SLWG" && binary.LittleEndian.Uint64(p[16:]) == uint64(pos)-wal.EntryBytes-64
}

// A crash between RegisterIncarnation and mkdir leaves no folder: that is an error of its own, as
// is a folder without a segment.
func TestE27_MissingFolderIsNotEmpty(t *testing.T) {
	disk := newDisk(t, 1)
	if _, err := recoverAll(t, disk); !errors.Is(err, wal.ErrMissing) {
		t.Fatalf("no folder: %v", err)
	}
	must(t, disk.MkdirAll("/data/wal/"+inc.String()))
	if _, err := recoverAll(t, disk); !errors.Is(err, wal.ErrMissing) {
		t.Fatalf("empty folder: %v", err)
	}
	if _, err := openSealed(t, disk, 4096); !errors.Is(err, wal.ErrMissing) {
		t.Fatalf("sealed: %v", err)
	}
}

// A missing segment in the middle is damage, and so is a foreign segment.
func TestMissingSegmentIsDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newDisk(t, 1)
		c := new(client)
		must(t, c.story(disk))
		dir := "/data/wal/" + inc.String()
		names, err := disk.List(dir)
		must(t, err)
		if len(names) < 4 {
			t.Fatalf("only %v", names)
		}
		gone := disk.Kill()
		must(t, gone.Remove(dir+"/"+names[1]))
		if _, err := recoverAll(t, gone); !errors.Is(err, wal.ErrCorrupt) {
			t.Fatalf("segment removed: %v", err)
		}
		swapped := disk.Kill()
		must(t, swapped.Rename(dir+"/"+names[0], dir+"/"+names[1]))
		if _, err := recoverAll(t, swapped); !errors.Is(err, wal.ErrCorrupt) {
			t.Fatalf("segment under another's name: %v", err)
		}
	})
}

// Create refuses a used folder, and takes over one that an interrupted Create left.
func TestE27_CreateTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newDisk(t, 1)
		c := new(client)
		w, err := wal.Create(small, c.deps(disk), inc)
		must(t, err)
		synctest.Wait()
		unused := disk.Crash()
		_ = w.Close() // the writer is dead
		w2, err := wal.Create(small, new(client).deps(unused), inc)
		must(t, err)
		c.w = w2
		c.append()
		synctest.Wait()
		must(t, w2.Close())
		if _, err := wal.Create(small, c.deps(unused), inc); !errors.Is(err, fs.ErrExist) {
			t.Fatal("an incarnation was opened for writing twice")
		}
	})
}

// E29: the process is killed while a segment is filled. The temporary file is neither taken for a
// segment nor left behind.
func TestE29_KilledWhileFilling(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			disk := newDisk(t, seed)
			disk.SetHook(func(call crashfs.Call) error {
				if call.Op == "write" && call.Name == fmt.Sprintf("/data/wal/%s/%016x.seg.tmp", inc, 1) {
					return crashfs.ErrDead
				}
				return nil
			})
			c := new(client)
			w, err := wal.Create(small, c.deps(disk), inc)
			must(t, err)
			synctest.Wait()
			if !disk.Dead() {
				t.Fatal("not killed")
			}
			_ = w.Close()
			d := disk.Crash()
			f, err := recoverAll(t, d)
			must(t, err)
			if f.end != 0 {
				t.Fatalf("end %d", f.end)
			}
			names, err := d.List("/data/wal/" + inc.String())
			must(t, err)
			if len(names) != 1 {
				t.Fatalf("left behind: %v", names)
			}
		})
	}
}

// E29: a full disk while a spare is made is back-pressure. Appends wait, Ready says so, and a Trim
// or time brings the log back; nothing fails.
func TestE29_NoSpaceIsBackPressure(t *testing.T) {
	for _, how := range []string{"time", "close"} {
		synctest.Test(t, func(t *testing.T) {
			disk := newDisk(t, 1)
			var full atomic.Bool
			full.Store(true)
			disk.SetHook(func(call crashfs.Call) error {
				if full.Load() && call.Op == "create" && call.Name != fmt.Sprintf("/data/wal/%s/%016x.seg.tmp", inc, 0) {
					return vfs.ErrNoSpace
				}
				return nil
			})
			c := new(client)
			var told bytes.Buffer // slog's handler locks
			deps := c.deps(disk)
			deps.Log = slog.New(slog.NewTextHandler(&told, nil))
			w, err := wal.Create(small, deps, inc)
			must(t, err)
			c.w = w
			synctest.Wait()
			must(t, w.Ready())
			for range 10 {
				c.append()
			}
			synctest.Wait()
			if err := w.Ready(); !errors.Is(err, wal.ErrNoSpace) {
				t.Fatalf("ready: %v", err)
			}
			if n := len(c.durable); n == 0 || n == 10 || c.failure != nil {
				t.Fatalf("%d durable, failure %v", n, c.failure)
			}
			if how == "time" {
				full.Store(false)
				<-time.After(5 * time.Second) // on the bubble's clock
				synctest.Wait()
				if len(c.durable) != 10 {
					t.Fatalf("%d durable after there was room again", len(c.durable))
				}
				must(t, w.Ready())
			}
			must(t, w.Close())
			c.check(t)
			if how == "close" && !errors.Is(c.failure, wal.ErrNoSpace) {
				t.Fatalf("failure %v", c.failure)
			}
			if text := told.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "folder=/data/wal/") {
				t.Fatalf("wanted once, with its folder, was told\n%s", text)
			}
			f, err := recoverAll(t, disk)
			must(t, err)
			if f.next != len(c.durable) {
				t.Fatalf("recovered up to %d of %d", f.next, len(c.durable))
			}
		})
	}
}

// The lower half of I9: a crash anywhere in a trim of many segments leaves no gap, which would be
// damage.
func TestTrimLeavesNoGap(t *testing.T) {
	for n := 1; ; n++ {
		done := false
		for seed := range uint64(8) {
			synctest.Test(t, func(t *testing.T) {
				disk := newDisk(t, seed)
				c := new(client)
				w, err := wal.Create(small, c.deps(disk), inc)
				must(t, err)
				c.w = w
				for w.DiskBytes() < 7*small.SegmentBytes {
					c.append()
					synctest.Wait()
				}
				disk.KillAt(len(disk.Calls()) + n)
				done = w.Trim(w.Durable()) == nil
				cut := disk.Crash()
				_ = w.Close()
				f, err := recoverAll(t, cut)
				if err != nil || f.next != len(c.appended) {
					t.Fatalf("killed at call %d of the trim, seed %d: recovered %+v, %v", n, seed, f, err)
				}
			})
		}
		if done || t.Failed() {
			return
		}
	}
}

// A group that vanished from the end of a segment is noticed, although the next segment's groups
// are good.
func TestE25_MissingLastGroupOfASegment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newDisk(t, 1)
		c := new(client)
		must(t, c.story(disk))
		f, err := recoverAll(t, disk.Kill())
		must(t, err)
		last := ident.Position(0) // the last group's position in the first segment that exists
		for _, pos := range f.positions {
			if int64(pos)/small.SegmentBytes == int64(f.positions[0])/small.SegmentBytes {
				last = pos
			}
		}
		disk = newDisk(t, 1) // The first disk was killed. The story is the same each time.
		must(t, new(client).story(disk))
		name := fmt.Sprintf("/data/wal/%s/%016x.seg", inc, int64(last)/small.SegmentBytes)
		file, err := disk.Open(name)
		must(t, err)
		start := int64(last)%small.SegmentBytes - wal.EntryBytes - 64
		_, err = file.WriteAt(make([]byte, small.SegmentBytes-start/4096*4096), start/4096*4096)
		must(t, err)
		if g, err := recoverAll(t, disk); !errors.Is(err, wal.ErrCorrupt) {
			t.Fatalf("recovered %+v, %v", g, err)
		}
	})
}

// The write of the next group fails while a sync is under way, and then that sync succeeds. Still
// nothing is reported durable, since the first error ends the log.
func TestPoisonHoldsForTheSyncUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newDisk(t, 1)
		c := new(client)
		w, err := wal.Create(wal.Config{Dir: small.Dir, SegmentBytes: 640 << 10}, c.deps(disk), inc)
		must(t, err)
		c.w = w
		synctest.Wait()
		for range bigID - 1 {
			c.append()
			synctest.Wait()
		}
		hold := make(chan struct{})
		disk.SetHook(func(call crashfs.Call) error {
			switch {
			case call.Op == "datasync":
				<-hold
			case call.Op == "write" && call.Len > 256<<10:
				return crashfs.EIO
			}
			return nil
		})
		c.append()
		synctest.Wait()
		c.append() // append bigID-1 hangs in its sync; this one, bigID, is large
		synctest.Wait()
		if err := w.Append(&wal.Append{Owner: -1}); !errors.Is(err, wal.ErrPoisoned) {
			t.Fatalf("append after a failed write: %v", err)
		}
		close(hold)
		synctest.Wait()
		if len(c.durable) != bigID-1 || len(c.failed) != 2 || !errors.Is(c.failure, crashfs.EIO) {
			t.Fatalf("%d durable, failed %v with %v", len(c.durable), c.failed, c.failure)
		}
		_ = w.Close()
		c.check(t)
	})
}
