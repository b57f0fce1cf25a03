//go:build !linux

package vfs

import (
	"errors"
	"io/fs"
)

// WriteVec makes one call per buffer, since we use no vector write on this platform.
func (f *osFile) WriteVec(bufs [][]byte, pos int64) (n int64, calls int, err error) {
	for _, b := range bufs {
		m, err := f.WriteAt(b, pos+n)
		n += int64(m)
		calls++
		if err != nil {
			return n, calls, err
		}
	}
	return n, calls, nil
}

// Datasync is a full fsync on this platform.
func (f *osFile) Datasync() error { return f.Sync() }

// Allocate is not supported on this platform.
func (f *osFile) Allocate(int64) error { return f.pathError("allocate", errors.ErrUnsupported) }

// ReadDirect fills nothing and leaves everything to ReadAt.
func (f *osFile) ReadDirect([]byte, int64) int { return 0 }

// WriteDirect is not supported on this platform.
func (f *osFile) WriteDirect([]byte, int64) error { return f.pathError("write", errors.ErrUnsupported) }

func osLinks(fs.FileInfo) uint64 { return 0 }
