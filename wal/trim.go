package wal

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/vfs"
)

// Trim frees the segments whose groups all end at or below the given position, which must be
// durable. The segment that is being written always stays. The oldest goes first and each removal
// is synced on its own, so that a crash leaves no gap: a gap counts as damage. Reads that have
// begun can finish.
//
// An error while a segment is removed or renamed poisons the log, since the folder may then not
// hold what we think it holds. A full disk does not: the segment is removed instead of kept.
func (w *Writer) Trim(below ident.Position) error {
	w.trimMu.Lock()
	defer w.trimMu.Unlock()
	for {
		seg, idle, err := w.nextTrim(below)
		if err != nil || seg == nil {
			return err
		}
		if err := w.drop(seg, idle); err != nil {
			err = fmt.Errorf("trim %s: %w", seg.path, err)
			w.mu.Lock()
			defer w.mu.Unlock()
			w.poisonLocked(err)
			return err
		}
		w.signalFill()
	}
}

// nextTrim removes the oldest segment from the list of readable ones if it lies below the given
// position. Otherwise it returns nil.
func (w *Writer) nextTrim(below ident.Position) (seg *segment, idle bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.refusalLocked(); err != nil {
		return nil, false, err
	}
	if below > w.durable {
		return nil, false, fmt.Errorf("trim below %d: only %d is durable", below, w.durable)
	}
	first := w.segs.first()
	if first == w.current || w.ends[0] > below {
		return nil, false, nil
	}
	w.ends = w.ends[1:]
	seg, idle = w.segs.dropFirst()
	return seg, idle && len(w.free) < freeMax && seg.capacity == w.segs.segmentBytes, nil
}

// drop removes the segment's file, or keeps it for reuse under a temporary name.
func (w *Writer) drop(seg *segment, keep bool) error {
	if !keep {
		err := w.deps.FS.Remove(seg.path)
		if err == nil {
			err = w.syncDir(w.dir)
		}
		return errors.Join(err, w.segs.closeDropped(seg))
	}
	// The old name must be durably gone before the header changes. Otherwise a crash could show the
	// new segment under the old one's name.
	temporary := filepath.Join(w.dir, "free-"+segmentName(seg.index)+temporarySuffix)
	err := w.deps.FS.Rename(seg.path, temporary)
	if errors.Is(err, vfs.ErrNoSpace) {
		return w.drop(seg, false)
	}
	if err != nil {
		return errors.Join(err, seg.file.Close())
	}
	seg.path = temporary
	if err := w.syncDir(w.dir); err != nil {
		return errors.Join(err, seg.file.Close())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.free = append(w.free, seg)
	return nil
}
