package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/vfs"
)

// windowBytes is how much a scan reads ahead.
const windowBytes = 1 << 20

// window reads a file forward through one buffer.
type window struct {
	file  vfs.File
	size  int64
	buf   []byte
	start int64
}

// at returns n bytes from pos, or fewer at the file's end. They are valid until the next call.
func (w *window) at(pos int64, n int64) ([]byte, error) {
	n = min(n, w.size-pos)
	if n <= 0 {
		return nil, nil
	}
	if pos < w.start || pos+n > w.start+int64(len(w.buf)) {
		if err := w.load(pos, max(n, min(windowBytes, w.size-pos))); err != nil {
			return nil, err
		}
	}
	at := pos - w.start
	return w.buf[at : at+n : at+n], nil
}

func (w *window) load(pos, n int64) error {
	if int64(cap(w.buf)) < n {
		w.buf = make([]byte, n)
	}
	w.buf, w.start = w.buf[:n], pos
	if _, err := w.file.ReadAt(w.buf, pos); err != nil && !errors.Is(err, io.EOF) {
		w.buf = w.buf[:0]
		return err
	}
	return nil
}

// scanner reads an incarnation's groups in order.
type scanner struct {
	deps RecoverDeps
	inc  ident.Incarnation
	dir  string
	segs *segments

	end     ident.Position // the end of the last good group
	durable ident.Position // the highest durable position that a good group names
	seal    bool           // the last group that was read is the seal
	groups  int
	onGroup func(*groupHeader) // called for each good group before its entries; may be nil
	win     window
	winSeg  *segment
}

// openScanner opens the segments of an incarnation with open, which decides whether they can be
// written to.
func openScanner(cfg Config, deps RecoverDeps, inc ident.Incarnation, open func(string) (vfs.File, error)) (*scanner, error) {
	s := &scanner{deps: deps, inc: inc, dir: incarnationDir(cfg.Dir, inc), segs: &segments{}}
	names, err := deps.FS.List(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrMissing, err) // E27
	}
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if index, ok := parseSegmentName(name); ok {
			if err := s.openSegment(index, filepath.Join(s.dir, name), open); err != nil {
				return nil, errors.Join(err, s.segs.close())
			}
		}
	}
	if len(s.segs.list) == 0 {
		return nil, fmt.Errorf("%w: %s holds no segment", ErrMissing, s.dir)
	}
	s.end = s.segs.base(s.segs.list[0])
	return s, nil
}

func (s *scanner) openSegment(index uint64, path string, open func(string) (vfs.File, error)) error {
	file, err := open(path)
	if err != nil {
		return err
	}
	seg := &segment{file: file, path: path, index: index}
	if err := s.checkSegment(seg); err != nil {
		return errors.Join(err, file.Close())
	}
	s.segs.add(seg)
	return nil
}

// checkSegment reads and checks a segment's header. A bad header is damage and never torn: the
// header became durable before the file got its name.
func (s *scanner) checkSegment(seg *segment) error {
	p := make([]byte, headerBytes)
	if _, err := seg.file.ReadAt(p, 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s: %w", seg.path, err)
	}
	h, err := decodeSegmentHeader(p)
	if err != nil {
		return located(err, seg.path, 0)
	}
	list := s.segs.list
	damage := func(what string, want, got uint64) error {
		return &CorruptError{File: seg.path, What: what, Want: want, Got: got}
	}
	switch {
	case h.incarnation != s.inc:
		return damage("segment of another incarnation", uint64(s.inc), uint64(h.incarnation))
	case h.index != seg.index:
		return damage("segment under another's name", seg.index, h.index)
	case len(list) > 0 && h.segmentBytes != s.segs.segmentBytes:
		return damage("segment of another size", uint64(s.segs.segmentBytes), uint64(h.segmentBytes))
	case len(list) > 0 && list[len(list)-1].index+1 != seg.index:
		return damage("segment missing before this one", list[len(list)-1].index+1, seg.index)
	}
	s.segs.segmentBytes, seg.capacity = h.segmentBytes, h.capacity
	return nil
}

// located adds file and position to an error about bytes in memory.
func located(err error, path string, pos ident.Position) error {
	var c *CorruptError
	if errors.As(err, &c) {
		c.File = path
		if c.Position == 0 {
			c.Position = pos
		}
		return c
	}
	return fmt.Errorf("%s, position %d: %w", path, pos, err)
}

// segmentOf returns the open segment that holds pos, or nil.
func (s *scanner) segmentOf(pos ident.Position) *segment {
	at := int64(pos)/s.segs.segmentBytes - int64(s.segs.list[0].index)
	if at < 0 || at >= int64(len(s.segs.list)) {
		return nil
	}
	return s.segs.list[at]
}

func (s *scanner) read(seg *segment, at, n int64) ([]byte, error) {
	if s.winSeg != seg {
		size, err := seg.file.Size()
		if err != nil {
			return nil, err
		}
		s.winSeg = seg
		s.win = window{file: seg.file, size: min(size, seg.capacity), buf: s.win.buf[:0]}
	}
	p, err := s.win.at(at, n)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", seg.path, err)
	}
	return p, nil
}

// head reads and verifies header and table of the group at pos.
func (s *scanner) head(seg *segment, pos ident.Position) (groupHeader, error) {
	at := int64(pos - s.segs.base(seg))
	p, err := s.read(seg, at, headerBytes)
	if err != nil {
		return groupHeader{}, err
	}
	if len(p) < headerBytes {
		return groupHeader{}, located(&CorruptError{What: "blank"}, seg.path, pos)
	}
	h, err := peekGroup(p, s.inc, pos, s.win.size-at)
	if err != nil {
		return h, located(err, seg.path, pos)
	}
	if p, err = s.read(seg, at, tableEnd(h.entryCount)); err != nil {
		return h, err
	}
	if err := h.checkHead(p); err != nil {
		return h, located(err, seg.path, pos)
	}
	return h, nil
}

// group verifies the group at pos, which must follow s.end, and then calls visit for its entries.
// An error of visit is returned as a visitError.
func (s *scanner) group(seg *segment, pos ident.Position, visit func(*Entry) error) error {
	h, err := s.head(seg, pos)
	if err != nil {
		return err
	}
	// Anything may have stood below the first segment, which was trimmed. Elsewhere a group is
	// missing.
	if h.previous != s.end && !(s.groups == 0 && seg == s.segs.list[0]) {
		return &CorruptError{File: seg.path, Position: pos, What: "a group before this one is missing", Want: uint64(s.end), Got: uint64(h.previous)}
	}
	p, err := s.read(seg, int64(pos-s.segs.base(seg)), h.length)
	if err != nil {
		return err
	}
	if err := h.decode(p, nil); err != nil {
		return located(err, seg.path, pos)
	}
	s.durable = max(s.durable, h.durable)
	if s.onGroup != nil {
		s.onGroup(&h)
	}
	if h.sealed() {
		s.seal = true
		return nil
	}
	if visit != nil {
		if err := h.decode(p, visit); err != nil {
			return &visitError{err}
		}
	}
	s.end, seg.end = h.end(), h.end()
	s.groups++
	return nil
}

// visitError tells a visitor's error from an error of the log itself.
type visitError struct{ error }

func (e *visitError) Unwrap() error { return e.error }

// next reads the group that follows s.end, either in s.end's segment or at the start of the next
// one. If neither holds a good group, next returns the error of s.end's segment.
func (s *scanner) next(visit func(*Entry) error) error {
	pos := after(s.end, s.segs.segmentBytes)
	seg := s.segmentOf(pos)
	if seg == nil {
		return &CorruptError{File: s.dir, Position: pos, What: "no segment holds this position"}
	}
	err := s.group(seg, pos, visit)
	if err == nil || !errors.Is(err, ErrCorrupt) || isVisit(err) {
		return err
	}
	pos = s.segs.base(seg) + ident.Position(s.segs.segmentBytes) + firstGroup
	if seg = s.segmentOf(pos); seg == nil {
		return err
	}
	if rolled := s.group(seg, pos, visit); rolled == nil || !errors.Is(rolled, ErrCorrupt) || isVisit(rolled) {
		return rolled
	}
	return err
}

func isVisit(err error) bool {
	var v *visitError
	return errors.As(err, &v)
}

// durableBeyond searches behind s.end for a group header that names a durable position above s.end.
// If there is one, what is wrong at s.end is damage, not a torn write (E25). It returns 0 if there
// is none.
func (s *scanner) durableBeyond() (ident.Position, error) {
	from := after(s.end, s.segs.segmentBytes)
	for seg := s.segmentOf(from); seg != nil; seg = s.segmentOf(from) {
		base := s.segs.base(seg)
		for at := int64(from - base); at < seg.capacity; at += blockBytes {
			p, err := s.read(seg, at, headerBytes)
			if err != nil {
				return 0, err
			}
			if len(p) < headerBytes {
				break
			}
			pos := base + ident.Position(at)
			if !isGroupAt(p, s.inc, pos) {
				continue
			}
			h, err := s.head(seg, pos)
			if err != nil && !errors.Is(err, ErrCorrupt) {
				return 0, err
			}
			if err == nil && h.durable > s.end {
				return h.durable, nil
			}
		}
		from = base + ident.Position(s.segs.segmentBytes) + firstGroup
	}
	return 0, nil
}
