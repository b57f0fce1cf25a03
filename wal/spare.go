package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/sluicemq/sluice/vfs"
)

const (
	// firstSegmentBytes is the capacity of an incarnation's first segment. The first
	// acknowledgement waits until that segment is filled, which takes 20 ms for 8 MiB and 130 ms
	// for 64 MiB on the machine of the benchmarks. The second segment is filled meanwhile.
	firstSegmentBytes = 8 << 20
	fillBytes         = 1 << 20 // the size of one write while filling
	// fillSyncBytes is how much is filled between two syncs. These syncs hold up those of groups:
	// the p99 of a 64 KiB append while a segment is filled was 4 ms with 8 MiB, and is 1 ms with 1
	// MiB.
	fillSyncBytes = 1 << 20
	// freeMax is how many trimmed segments are kept for reuse: one flush frees several at once.
	freeMax    = 8
	spareRetry = time.Second
	// From hurryBytesPerSecond of new segments on, segments are only allocated and no longer filled
	// with zeros. Filling writes every byte twice: at the maximum throughput that took 57 % of the
	// broker's CPU time, and as much of the disk's (docs/decisions/0011-unfilled-segments.md).
	hurryBytesPerSecond = 64 << 20
)

// fillLoop keeps the next segment ready. A full disk is back-pressure: fillLoop tries again after
// each Trim and each second. Any other error poisons the log (E29).
func (w *Writer) fillLoop() {
	retry := time.NewTimer(0)
	defer retry.Stop()
	var last time.Time // when the last preparation ended
	for {
		if w.needsSpare() {
			hurry := float64(w.segs.segmentBytes) > time.Since(last).Seconds()*hurryBytesPerSecond
			seg, err := w.prepare(w.nextIndex(), w.segs.segmentBytes, hurry)
			w.spareDone(seg, err)
			last = time.Now()
			if err != nil {
				retry.Reset(spareRetry)
			}
		}
		select {
		case <-w.stopFill:
			return
		case <-w.fillNow:
		case <-retry.C:
		}
	}
}

func (w *Writer) needsSpare() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.spare == nil && w.poison == nil
}

func (w *Writer) nextIndex() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.current.index + 1
}

// spareDone hands the outcome of a preparation to the committer.
func (w *Writer) spareDone(seg *segment, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	full := errors.Is(err, vfs.ErrNoSpace)
	switch {
	case errors.Is(err, errStopped):
		return
	case err == nil:
		w.spare = seg
	case !full:
		w.poisonLocked(fmt.Errorf("prepare the next segment: %w", err))
	case !w.noSpace && !w.stopped: // logged once; the last try, during Close, is not logged
		w.deps.Log.Warn("no space for the next write-ahead log segment: free space on the disk of this folder", "folder", w.dir, "incarnation", w.inc.String(), "error", err)
	}
	w.noSpace = full
	w.toCommitter.Signal()
	w.toOverlapper.Signal()
}

var errStopped = errors.New("stopped")

// prepare makes a new segment durable under its final name. It takes a trimmed file, or creates one
// under a temporary name and fills it (in a hurry, only allocates it) and syncs it. Then it renames
// the file and syncs the folder (E29).
func (w *Writer) prepare(index uint64, capacity int64, hurry bool) (*segment, error) {
	h := segmentHeader{incarnation: w.inc, index: index, segmentBytes: w.segs.segmentBytes, capacity: capacity}
	path := filepath.Join(w.dir, segmentName(index))
	if seg := w.takeFree(); seg != nil {
		return w.finish(seg, &h, path)
	}
	temporary := path + temporarySuffix
	file, err := w.deps.FS.Create(temporary)
	if err != nil {
		return nil, err
	}
	seg := &segment{file: file, path: temporary, capacity: capacity}
	if err := w.reserve(seg, hurry); err != nil {
		return nil, errors.Join(err, w.discard(seg))
	}
	return w.finish(seg, &h, path)
}

// reserve gives a new file its size and its blocks on disk.
func (w *Writer) reserve(seg *segment, hurry bool) error {
	if !hurry {
		return w.fill(seg)
	}
	switch err := seg.file.Allocate(seg.capacity); {
	case errors.Is(err, errors.ErrUnsupported):
		return w.fill(seg)
	case err != nil:
		return err
	}
	w.stats.allocated.Add(1)
	return nil
}

// discard removes a file that did not become a segment.
func (w *Writer) discard(seg *segment) error {
	err := w.deps.FS.Remove(seg.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, seg.file.Close())
}

// fill writes zeros. Later writes then change neither the file's size nor its allocation, and
// cannot meet a full disk.
func (w *Writer) fill(seg *segment) error {
	zeros := make([]byte, min(fillBytes, seg.capacity))
	for at := int64(0); at < seg.capacity; {
		select {
		case <-w.stopFill:
			return errStopped
		default:
		}
		n := min(int64(len(zeros)), seg.capacity-at)
		if _, err := seg.file.WriteAt(zeros[:n], at); err != nil {
			return err
		}
		if at += n; at%fillSyncBytes == 0 && at < seg.capacity {
			w.stats.segmentSyncs.Add(1)
			if err := seg.file.Datasync(); err != nil {
				return err
			}
		}
	}
	w.stats.fills.Add(1)
	return nil
}

// finish gives a filled or trimmed file its header and its final name. A trimmed file still holds
// the groups of its former life; their positions give them away (isGroupAt).
func (w *Writer) finish(seg *segment, h *segmentHeader, path string) (*segment, error) {
	err := func() error {
		if _, err := seg.file.WriteAt(h.encode(), 0); err != nil {
			return err
		}
		w.stats.segmentSyncs.Add(1)
		if err := seg.file.Sync(); err != nil {
			return err
		}
		if err := w.deps.FS.Rename(seg.path, path); err != nil {
			return err
		}
		seg.path = path
		return w.syncDir(w.dir)
	}()
	if err != nil {
		return nil, errors.Join(err, w.discard(seg))
	}
	seg.index, seg.capacity = h.index, h.capacity
	return seg, nil
}

func (w *Writer) syncDir(dir string) error {
	w.stats.dirSyncs.Add(1)
	return w.deps.FS.SyncDir(dir)
}

func (w *Writer) takeFree() *segment {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.free)
	if n == 0 {
		return nil
	}
	seg := w.free[n-1]
	w.free = w.free[:n-1]
	w.stats.recycled.Add(1)
	return seg
}
