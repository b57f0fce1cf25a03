package vfs

import (
	"errors"
	"io"
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

// iovMax is how many buffers the kernel takes in one call at most (UIO_MAXIOV).
const iovMax = 1024

// WriteVec uses pwritev. It continues after short writes and interruptions.
func (f *osFile) WriteVec(bufs [][]byte, pos int64) (n int64, calls int, err error) {
	rest := bufs
	for len(rest) > 0 {
		part := rest[:min(len(rest), iovMax)]
		var m int
		var werr error
		cerr := f.raw.Control(func(fd uintptr) { m, werr = unix.Pwritev(int(fd), part, pos+n) })
		calls++
		switch err := errors.Join(cerr, werr); {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return n, calls, f.pathError("pwritev", err)
		}
		n += int64(m)
		next := advance(rest, m)
		if m == 0 && len(next) > 0 {
			return n, calls, f.pathError("pwritev", io.ErrShortWrite)
		}
		rest = next
	}
	return n, calls, nil
}

// advance returns what is left of bufs after n bytes. It does not change the caller's slice of
// buffers.
func advance(bufs [][]byte, n int) [][]byte {
	for len(bufs) > 0 && n >= len(bufs[0]) {
		n -= len(bufs[0])
		bufs = bufs[1:]
	}
	if n == 0 {
		return bufs
	}
	rest := make([][]byte, len(bufs))
	copy(rest, bufs)
	rest[0] = rest[0][n:]
	return rest
}

// Allocate uses fallocate.
func (f *osFile) Allocate(size int64) error {
	for {
		var ferr error
		cerr := f.raw.Control(func(fd uintptr) { ferr = unix.Fallocate(int(fd), 0, 0, size) })
		if err := errors.Join(cerr, ferr); !errors.Is(err, unix.EINTR) {
			return f.pathError("fallocate", err)
		}
	}
}

// Datasync uses fdatasync. An interrupted call has not failed and is made again. Any other error is
// final: the kernel may have dropped the pages that it could not write.
func (f *osFile) Datasync() error {
	for {
		var serr error
		cerr := f.raw.Control(func(fd uintptr) { serr = unix.Fdatasync(int(fd)) })
		if err := errors.Join(cerr, serr); !errors.Is(err, unix.EINTR) {
			return f.pathError("fdatasync", err)
		}
	}
}

func osLinks(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(stat.Nlink)
	}
	return 0
}
