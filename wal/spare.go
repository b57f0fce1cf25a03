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
	// firstSegmentBytes is the capacity of an incarnation's first segment: filling 64 MiB takes
	// 130 ms here, 8 MiB 20 ms, and the first acknowledgement waits for it. The next segment is filled meanwhile.
	firstSegmentBytes = 8 << 20
	fillBytes         = 1 << 20 // one write while filling
	fillSyncBytes     = 1 << 20 // one sync while filling: it holds up groups' syncs (p99 of a 64 KiB append while filling: 8 MiB 4 ms, 1 MiB 1 ms)
	freeMax           = 8       // trimmed segments kept to be used again: flushing frees several at once
	spareRetry        = time.Second
	// hurryBytesPerSecond is from which rate of new segments on they are not filled. Filling writes everything twice,
	// the disk's share and the processor's: at the maximum throughput it was 57 % of the broker's CPU time
	// (docs/decisions/0011-unfilled-segments.md).
	hurryBytesPerSecond = 64 << 20
)

// fillLoop keeps the next segment ready. A full disk is back-pressure: it
// tries again after each Trim and each second; any other error poisons (E29).
func (w *Writer) fillLoop() {
	retry := time.NewTimer(0)
	defer retry.Stop()
	var last time.Time // when a spare was ready
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

// spareDone shows the outcome of a preparation to the committer.
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
	case !w.noSpace && !w.stopped: // once; Close's one more try is no news
		w.deps.Log.Warn("no space for the next write-ahead log segment: free space on the disk of this folder", "folder", w.dir, "incarnation", w.inc.String(), "error", err)
	}
	w.noSpace = full
	w.toCommitter.Signal()
	w.toOverlapper.Signal()
}

var errStopped = errors.New("stopped")

// prepare makes a segment durable under its name: filled (in a hurry: only allocated) and synced under a
// temporary one or taken from the trimmed ones, then renamed, then the folder is synced (E29).
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
	if err := w.makeRoom(seg, hurry); err != nil {
		return nil, errors.Join(err, w.discard(seg))
	}
	return w.finish(seg, &h, path)
}

// makeRoom gives a new file its size and its blocks.
func (w *Writer) makeRoom(seg *segment, hurry bool) error {
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

// discard removes what did not become a segment.
func (w *Writer) discard(seg *segment) error {
	err := w.deps.FS.Remove(seg.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, seg.file.Close())
}

// fill writes zeros, so that later writes change neither the size nor the allocation and cannot meet a full disk.
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

// finish gives a filled or trimmed file its header and its name. Groups of its former life
// stay in it; their position gives them away (trap 8).
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
