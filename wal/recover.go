package wal

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/vfs"
)

// Recovery of an incarnation takes these steps. A recovery that dies anywhere and starts again ends
// the same (I16).
//
//  1. Finish (finishRewrites): an earlier recovery may have left durable rewrite files. They are
//     put back first, as in step 5.
//  2. Scan (scanAll): read every group from the first segment on, up to the first group that is not
//     good.
//  3. Judge (judge): if any group behind that place names a durable position above it, the place is
//     damaged, and recovery refuses to go on. Otherwise it is what a crash left, and the log ends
//     before it (E25, I7).
//  4. Rewrite (rewrite, copyOut): the groups above the highest durable position that is named were
//     perhaps never synced, or look clean in the page cache after a failed sync. They are copied,
//     with a seal behind them, into a rewrite file of their own, which is written, synced and
//     renamed, and its folder is synced. They are not rewritten in place at once, because the last
//     group was perhaps acknowledged and a power cut in the middle could tear the only copy.
//  5. Put back (finishRewrites, putBack): the bytes of the rewrite file are written over the
//     segment's and synced. Then the rewrite file is removed, and after it the segments behind the
//     seal (removeBehind).
//
// The seal fixes the end (I6). A later recovery finds the seal and changes nothing.

// Sealed is an incarnation that takes no more appends. Its methods may be called concurrently.
type Sealed struct {
	inc  ident.Incarnation
	dir  string
	disk vfs.FS
	segs *segments
	end  ident.Position
}

// Recover reads a closed or crashed incarnation, fixes its end and makes everything below the end
// durable. It calls visit for every entry in WAL order; the entry's payload is valid during the
// call. A torn tail is cut and logged. Damage is a *CorruptError, an absent incarnation ErrMissing.
func Recover(cfg Config, deps RecoverDeps, inc ident.Incarnation, visit func(*Entry) error) (*Sealed, error) {
	sealed, err := recoverIncarnation(cfg, deps, inc, visit)
	if err != nil {
		return nil, fmt.Errorf("recover write-ahead log %s: %w", inc, err)
	}
	return sealed, nil
}

func recoverIncarnation(cfg Config, deps RecoverDeps, inc ident.Incarnation, visit func(*Entry) error) (*Sealed, error) {
	s, err := openScanner(cfg, deps, inc, deps.FS.Open)
	if err != nil {
		return nil, err
	}
	if err := s.recover(visit); err != nil {
		return nil, errors.Join(err, s.segs.close())
	}
	return s.sealed(), nil
}

func (s *scanner) sealed() *Sealed {
	return &Sealed{inc: s.inc, dir: s.dir, disk: s.deps.FS, segs: s.segs, end: s.end}
}

func (s *scanner) recover(visit func(*Entry) error) error {
	if err := s.finishRewrites(); err != nil {
		return err
	}
	torn, err := s.scanAll(visit)
	if err != nil {
		return err
	}
	if !s.seal {
		if err := s.judge(torn); err != nil {
			return err
		}
		if err := s.rewrite(); err != nil {
			return fmt.Errorf("rewrite what was never proven durable: %w", err)
		}
	}
	return s.removeBehind()
}

// scanAll reads groups until the seal, or until the first group that is not good. It returns what
// is wrong with that group.
func (s *scanner) scanAll(visit func(*Entry) error) (*CorruptError, error) {
	for !s.seal {
		err := s.next(visit)
		var torn *CorruptError
		switch {
		case err == nil:
		case !isVisit(err) && errors.As(err, &torn):
			return torn, nil
		default:
			return nil, err
		}
	}
	return nil, nil
}

// judge decides whether the place where the scan stopped is damage or a torn tail.
func (s *scanner) judge(torn *CorruptError) error {
	beyond, err := s.durableBeyond()
	if err != nil {
		return err
	}
	if beyond > s.end {
		// E25
		return fmt.Errorf("%w; but everything below %d was durable: not a torn tail; restore the files from a copy", torn, beyond)
	}
	if torn.What != "blank" {
		s.deps.Log.Warn("write-ahead log ends in a torn group, which was never acknowledged: cut",
			"incarnation", s.inc.String(), "end", int64(s.end), "durable", int64(s.durable), "found", torn.Error())
	}
	return nil
}

// rewrite makes [durable, end) and a seal durable, segment by segment.
func (s *scanner) rewrite() error {
	sealAt := after(s.end, s.segs.segmentBytes)
	for from := s.rewriteFrom(); ; {
		seg, next := s.segmentOf(from), s.segs.base(s.segmentOf(from))+ident.Position(s.segs.segmentBytes)
		if seg == s.segmentOf(sealAt) {
			if err := s.copyOut(seg, from, sealAt, s.encodeSeal()); err != nil {
				return err
			}
			return s.finishRewrites()
		}
		if err := s.copyOut(seg, from, seg.end, nil); err != nil {
			return err
		}
		from = next + firstGroup
	}
}

// rewriteFrom returns the position of the first group that is not proven durable, or the seal's
// position if there is none.
func (s *scanner) rewriteFrom() ident.Position {
	first := s.segs.base(s.segs.list[0])
	return after(min(max(s.durable, first), s.end), s.segs.segmentBytes)
}

func (s *scanner) encodeSeal() []byte {
	g := new(Group)
	g.reset()
	g.position, g.previous, g.durable = after(s.end, s.segs.segmentBytes), s.end, s.end
	g.build(s.inc, flagSeal)
	return slices.Concat(g.vec...)
}

// copyOut writes [from, to) of a segment, and the seal, into a rewrite file that is named by its
// position. It makes that file durable before the next one is made: if the seal outlived groups
// before it, those groups would count as damaged.
func (s *scanner) copyOut(seg *segment, from, to ident.Position, seal []byte) error {
	if from >= to && len(seal) == 0 {
		return nil
	}
	path := filepath.Join(s.dir, fmt.Sprintf("%016x%s", uint64(from), rewriteSuffix))
	f, err := s.deps.FS.Create(path + temporarySuffix)
	if err != nil {
		return err
	}
	if err := errors.Join(s.copyTo(f, seg, from, to, seal), f.Close()); err != nil {
		return err
	}
	if err := s.deps.FS.Rename(path+temporarySuffix, path); err != nil {
		return err
	}
	return s.deps.FS.SyncDir(s.dir)
}

func (s *scanner) copyTo(f vfs.File, seg *segment, from, to ident.Position, seal []byte) error {
	at := int64(0)
	for length := int64(to - from); at < length; {
		p, err := s.read(seg, int64(from-s.segs.base(seg))+at, min(windowBytes, length-at))
		if err != nil {
			return err
		}
		if _, err := f.WriteAt(p, at); err != nil {
			return err
		}
		at += int64(len(p))
	}
	if _, err := f.WriteAt(seal, at); err != nil {
		return err
	}
	return f.Sync()
}

// finishRewrites puts durable rewrite files in place, then removes them and all temporary files.
func (s *scanner) finishRewrites() error {
	names, err := s.deps.FS.List(s.dir)
	if err != nil {
		return err
	}
	var done []string
	for _, name := range names {
		pos, isRewrite := parseName(name, rewriteSuffix)
		switch {
		case isRewrite:
			if err := s.putBack(filepath.Join(s.dir, name), ident.Position(pos)); err != nil {
				return err
			}
		case !strings.HasSuffix(name, temporarySuffix):
			continue
		}
		done = append(done, name)
	}
	s.winSeg = nil // the cached window may be out of date
	for _, name := range done {
		if err := s.deps.FS.Remove(filepath.Join(s.dir, name)); err != nil {
			return err
		}
	}
	if len(done) == 0 {
		return nil
	}
	return s.deps.FS.SyncDir(s.dir)
}

// putBack writes a rewrite file over the segment that it was copied from.
func (s *scanner) putBack(path string, pos ident.Position) error {
	seg := s.segmentOf(pos)
	if seg == nil {
		return &CorruptError{File: path, Position: pos, What: "rewrite of a segment that is missing"}
	}
	f, err := s.deps.FS.OpenRead(path)
	if err != nil {
		return err
	}
	size, err := f.Size()
	w := window{file: f, size: size}
	at := int64(pos - s.segs.base(seg))
	for done := int64(0); err == nil && done < size; {
		var p []byte
		if p, err = w.at(done, min(windowBytes, size-done)); err == nil {
			_, err = seg.file.WriteAt(p, at+done)
		}
		done += int64(len(p))
	}
	if err == nil {
		err = seg.file.Sync()
	}
	return errors.Join(err, f.Close())
}

// removeBehind removes the segments behind the seal. The last one goes first, so that no gap can
// appear.
func (s *scanner) removeBehind() error {
	last := s.segmentOf(after(s.end, s.segs.segmentBytes))
	for {
		n := len(s.segs.list)
		seg := s.segs.list[n-1]
		if seg == last {
			return nil
		}
		s.segs.list = s.segs.list[:n-1]
		err := errors.Join(seg.file.Close(), s.deps.FS.Remove(seg.path))
		if err == nil {
			err = s.deps.FS.SyncDir(s.dir)
		}
		if err != nil {
			return err
		}
	}
}

// OpenSealed opens an incarnation whose end is known and calls visit for its entries as Recover
// does. Everything below end must be good, or OpenSealed returns a *CorruptError. It ignores what
// lies above end.
func OpenSealed(cfg Config, deps RecoverDeps, inc ident.Incarnation, end ident.Position, visit func(*Entry) error) (*Sealed, error) {
	sealed, err := openSealed(cfg, deps, inc, end, visit)
	if err != nil {
		return nil, fmt.Errorf("open sealed write-ahead log %s: %w", inc, err)
	}
	return sealed, nil
}

func openSealed(cfg Config, deps RecoverDeps, inc ident.Incarnation, end ident.Position, visit func(*Entry) error) (*Sealed, error) {
	s, err := openScanner(cfg, deps, inc, deps.FS.OpenRead)
	if err != nil {
		return nil, err
	}
	for s.end < end && err == nil {
		err = s.next(visit)
		if err == nil && s.seal {
			err = &CorruptError{File: s.dir, Position: s.end, What: "sealed below its registered end", Want: uint64(end), Got: uint64(s.end)}
		}
	}
	if err == nil && s.end > end {
		err = &CorruptError{File: s.dir, Position: s.end, What: "no group ends at the registered end", Want: uint64(end), Got: uint64(s.end)}
	}
	if err != nil {
		return nil, errors.Join(err, s.segs.close())
	}
	return s.sealed(), nil
}

// Incarnation returns the number of the incarnation.
func (s *Sealed) Incarnation() ident.Incarnation { return s.inc }

// End returns the end that the seal fixed (I6). For an incarnation without any group that is the
// first position of its first segment, which mostly is 0.
func (s *Sealed) End() ident.Position { return s.end }

// ReadAt fills p with the payload at pos and verifies it against crc, the checksum of its entry.
// Damage is a *CorruptError.
func (s *Sealed) ReadAt(p []byte, pos ident.Position, crc uint32) error {
	return s.segs.readAt(p, pos, crc)
}

// DiskBytes returns the size of the incarnation's files.
func (s *Sealed) DiskBytes() int64 { return s.segs.diskBytes() }

// Close closes the files. Reads that have begun can finish.
func (s *Sealed) Close() error { return s.segs.close() }

// Remove closes and deletes the incarnation. The caller must know that nothing needs it any more
// (I9).
func (s *Sealed) Remove() error {
	err := s.segs.close()
	if rerr := s.disk.RemoveAll(s.dir); rerr != nil {
		return fmt.Errorf("remove write-ahead log %s: %w", s.inc, errors.Join(err, rerr))
	}
	if serr := s.disk.SyncDir(filepath.Dir(s.dir)); serr != nil {
		return fmt.Errorf("remove write-ahead log %s: %w", s.inc, errors.Join(err, serr))
	}
	return err
}
