package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/vfs"
)

// Create makes a new incarnation. Its folder and its first segment are durable when Create returns
// (E27). An incarnation is never written twice, so Create fails if the folder exists and holds
// groups.
func Create(cfg Config, deps Deps, inc ident.Incarnation) (*Writer, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	w := &Writer{
		deps: deps, inc: inc, dir: incarnationDir(cfg.Dir, inc),
		segs:    &segments{segmentBytes: cfg.SegmentBytes},
		fillNow: make(chan struct{}, 1), stopFill: make(chan struct{}),
		meter: newMeter(),
	}
	w.toCommitter.L, w.toOverlapper.L = &w.mu, &w.mu
	if err := w.create(cfg); err != nil {
		return nil, fmt.Errorf("create write-ahead log %s: %w", inc, err)
	}
	w.committer.Go(w.commitLoop)
	w.helpers.Go(w.overlapLoop)
	w.helpers.Go(w.fillLoop)
	return w, nil
}

func (w *Writer) create(cfg Config) error {
	if err := removeUnused(w.deps.FS, w.dir); err != nil {
		return err
	}
	if err := w.deps.FS.MkdirAll(w.dir); err != nil {
		return err
	}
	for _, dir := range []string{filepath.Dir(cfg.Dir), cfg.Dir} {
		if err := w.syncDir(dir); err != nil {
			return err
		}
	}
	seg, err := w.prepare(0, min(cfg.SegmentBytes, firstSegmentBytes), false)
	if err != nil {
		return err
	}
	w.current = seg
	w.place = firstGroup
	w.segs.add(seg)
	return nil
}

// removeUnused clears what an interrupted Create of the same incarnation left behind.
func removeUnused(disk vfs.FS, dir string) error {
	names, err := disk.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		if !strings.HasSuffix(name, temporarySuffix) {
			if err := mustBeEmpty(disk, path); err != nil {
				return err
			}
		}
		if err := disk.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

// mustBeEmpty refuses a file in which anything was ever written behind the segment header.
func mustBeEmpty(disk vfs.FS, path string) error {
	f, err := disk.OpenRead(path)
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err == nil && size > firstGroup {
		p := make([]byte, len(groupMagicWord))
		_, err = f.ReadAt(p, firstGroup)
		if err == nil && string(p) != "\x00\x00\x00\x00" {
			err = fmt.Errorf("%s holds groups: %w", path, fs.ErrExist)
		}
	}
	return errors.Join(err, f.Close())
}
