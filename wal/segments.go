package wal

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/vfs"
)

// segment is one open segment file.
type segment struct {
	file     vfs.File
	path     string
	index    uint64
	capacity int64
	// the end of its last group, as far as a scan has read; 0 if there is none
	end ident.Position

	readers int  // guarded by segments.mu
	dropped bool // guarded by segments.mu; the last reader closes the file
}

// segments are the open files of an incarnation, in order and without gaps.
type segments struct {
	segmentBytes int64

	mu     sync.Mutex
	list   []*segment // guarded by mu
	closed bool       // guarded by mu
}

func (s *segments) base(seg *segment) ident.Position {
	return ident.Position(seg.index * uint64(s.segmentBytes))
}

func (s *segments) add(seg *segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, seg)
}

// first returns the oldest segment.
func (s *segments) first() *segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.list[0]
}

// dropFirst removes the oldest segment from the list. idle says that nobody reads the segment; no
// new reader can find it.
func (s *segments) dropFirst() (seg *segment, idle bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seg = s.list[0]
	s.list = s.list[1:]
	return seg, seg.readers == 0
}

// closeDropped closes a segment that was removed from the list, or leaves that to the segment's
// last reader.
func (s *segments) closeDropped(seg *segment) error {
	s.mu.Lock()
	seg.dropped = true
	read := seg.readers > 0
	s.mu.Unlock()
	if read {
		return nil
	}
	return seg.file.Close()
}

func (s *segments) acquire(pos ident.Position, length int) (*segment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	index := uint64(pos) / uint64(s.segmentBytes)
	if len(s.list) == 0 || pos < 0 || index < s.list[0].index {
		return nil, fmt.Errorf("%w: %d", ErrTrimmed, pos)
	}
	at := index - s.list[0].index
	if at >= uint64(len(s.list)) || int64(pos-s.base(s.list[at]))+int64(length) > s.list[at].capacity {
		return nil, &CorruptError{Position: pos, What: "no segment holds this position"}
	}
	seg := s.list[at]
	seg.readers++
	return seg, nil
}

func (s *segments) release(seg *segment) error {
	s.mu.Lock()
	seg.readers--
	last := seg.dropped && seg.readers == 0
	s.mu.Unlock()
	if last {
		return seg.file.Close()
	}
	return nil
}

// readAt fills p with the payload at pos and verifies it against crc.
func (s *segments) readAt(p []byte, pos ident.Position, crc uint32) error {
	seg, err := s.acquire(pos, len(p))
	if err != nil {
		return err
	}
	_, err = seg.file.ReadAt(p, int64(pos-s.base(seg)))
	if err := errors.Join(err, s.release(seg)); err != nil {
		return fmt.Errorf("read %d bytes at %d: %w", len(p), pos, err)
	}
	if got := checksum(p); got != crc {
		return &CorruptError{File: seg.path, Position: pos, What: "checksum of a payload", Want: uint64(crc), Got: uint64(got)}
	}
	return nil
}

// count returns how many segments hold groups or will hold the next one.
func (s *segments) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.list)
}

func (s *segments) diskBytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := int64(0)
	for _, seg := range s.list {
		n += seg.capacity
	}
	return n
}

// close closes all files. A file that is being read is closed by its last reader.
func (s *segments) close() error {
	s.mu.Lock()
	list := s.list
	s.list, s.closed = nil, true
	s.mu.Unlock()
	var errs []error
	for _, seg := range list {
		errs = append(errs, s.closeDropped(seg))
	}
	return errors.Join(errs...)
}

func incarnationDir(dir string, inc ident.Incarnation) string {
	return filepath.Join(dir, inc.String())
}
