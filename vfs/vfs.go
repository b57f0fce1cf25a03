// Package vfs is the small part of a file system that is needed to make bytes durable.
//
// The WAL and the file:// bucket write through it, so that tests can replace the disk by one that
// forgets what was not synced, tears writes and fails (package vfs/crashfs). [OS] is the real file
// system. Names are slash-separated paths as the OS takes them. It imports nothing of ours.
package vfs

import (
	"errors"
	"io/fs"
)

// ErrNoSpace is the error of a full disk, whatever the platform's own error is. Test for it with
// errors.Is.
var ErrNoSpace = errors.New("no space left on device")

// FS is a file system. Methods may be called concurrently.
//
// A name (after Create, Rename, Link, Remove or MkdirAll) is durable only after SyncDir on its
// folder. A file's bytes are durable only after Sync or Datasync on the file.
type FS interface {
	// Create makes a new file for reading and writing. It fails with fs.ErrExist if the name is
	// taken.
	Create(name string) (File, error)
	// Open opens an existing file for reading and writing. It fails with fs.ErrNotExist if there is
	// none.
	Open(name string) (File, error)
	// OpenRead opens an existing file for reading.
	OpenRead(name string) (File, error)
	// Rename replaces newname if it exists.
	Rename(oldname, newname string) error
	// Link gives a file a second name. It fails with fs.ErrExist if that name is taken.
	Link(oldname, newname string) error
	Remove(name string) error
	RemoveAll(name string) error
	MkdirAll(name string) error
	// List returns the names in a folder, sorted.
	List(dir string) ([]string, error)
	Stat(name string) (fs.FileInfo, error)
	SyncDir(dir string) error
}

// File is an open file. ReadAt may be called concurrently with everything.
type File interface {
	ReadAt(p []byte, pos int64) (int, error)
	// ReadDirect reads from pos on past the page cache and returns how much of p it filled. It may
	// fill nothing, for example because most of the range is in the page cache, or because
	// platform, file system or alignment do not allow it. It returns no error: a caller that asks
	// ReadAt for the rest meets the error there. No other call on this File may be made meanwhile.
	ReadDirect(p []byte, pos int64) int
	WriteAt(p []byte, pos int64) (int, error)
	// WriteDirect writes all of p at pos past the page cache, and is no more durable for it:
	// Datasync makes it so. Address, position and length are multiples of DirectAlign.
	// errors.ErrUnsupported says that platform or file system cannot do that, and that nothing was
	// written. No other call on this File may be made meanwhile.
	WriteDirect(p []byte, pos int64) error
	// WriteVec writes the buffers one after another at pos, with as few calls as the platform
	// allows. It returns the number of bytes written and of write calls made.
	WriteVec(bufs [][]byte, pos int64) (n int64, calls int, err error)
	// Sync makes bytes and all metadata durable (fsync).
	Sync() error
	// Datasync makes bytes durable, and the size if it changed (fdatasync).
	Datasync() error
	Truncate(size int64) error
	// Allocate grows the file to size bytes of zeros and reserves their room on disk, so that later
	// writes there cannot meet a full disk. The file system notes the first write to each block,
	// which makes its Datasync more expensive. Allocate returns errors.ErrUnsupported where the
	// file system cannot do it.
	Allocate(size int64) error
	Size() (int64, error)
	Close() error
}

// DirectAlign is the alignment that reads and writes past the page cache may require of an address,
// a position and a length: the largest logical block of usual disks.
const DirectAlign = 4096

// LinkCount is what Sys may return in the FileInfo of a file system other than OS; see [Links].
type LinkCount uint64

// Links returns how many names a file has, or 0 if that is not known.
func Links(info fs.FileInfo) uint64 {
	if n, ok := info.Sys().(LinkCount); ok {
		return uint64(n)
	}
	return osLinks(info)
}
