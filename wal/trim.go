package wal

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/vfs"
)

// Trim frees the segments whose groups all end at or below the given position, which must be
// durable; the segment being written stays. They go oldest first, each with its own folder
// sync, so that what a crash leaves has no gap (a gap is damage). Readers at work finish.
//
// Any error but a full disk poisons: the folder may not be what we think it is.
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

// nextTrim takes the oldest segment out of readers' sight if it lies below; nil if it does not.
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

// drop keeps the file for another life or removes it.
func (w *Writer) drop(seg *segment, keep bool) error {
	if !keep {
		err := w.deps.FS.Remove(seg.path)
		if err == nil {
			err = w.syncDir(w.dir)
		}
		return errors.Join(err, w.segs.closeDropped(seg))
	}
	// The name must be durably gone before the header changes: else a crash shows a segment under another's name.
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
