package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// OS returns the operating system's file system.
func OS() FS { return osFS{} }

type osFS struct{}

const (
	fileMode = 0o644
	dirMode  = 0o755
)

func (osFS) Create(name string) (File, error) {
	return open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (osFS) Open(name string) (File, error) { return open(name, os.O_RDWR) }

func (osFS) OpenRead(name string) (File, error) { return open(name, os.O_RDONLY) }

func open(name string, flags int) (File, error) {
	f, err := os.OpenFile(name, flags, fileMode)
	if err != nil {
		return nil, noSpace(err)
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", name, err), f.Close())
	}
	return &osFile{File: f, raw: raw}, nil
}

func (osFS) Rename(oldname, newname string) error { return noSpace(os.Rename(oldname, newname)) }
func (osFS) Link(oldname, newname string) error   { return noSpace(os.Link(oldname, newname)) }
func (osFS) Remove(name string) error             { return os.Remove(name) }
func (osFS) RemoveAll(name string) error          { return os.RemoveAll(name) }
func (osFS) MkdirAll(name string) error           { return noSpace(os.MkdirAll(name, dirMode)) }

func (osFS) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

func (osFS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (osFS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return errors.Join(noSpace(d.Sync()), d.Close())
}

// osFile adds to os.File what it lacks. The raw connection holds a reference on the descriptor
// during each call. With a bare number, the descriptor could be closed and reused during the call.
type osFile struct {
	*os.File
	raw syscall.RawConn
}

func (f *osFile) WriteAt(p []byte, pos int64) (int, error) {
	n, err := f.File.WriteAt(p, pos)
	return n, noSpace(err)
}

func (f *osFile) Sync() error { return noSpace(f.File.Sync()) }

func (f *osFile) Truncate(size int64) error { return noSpace(f.File.Truncate(size)) }

func (f *osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f *osFile) pathError(op string, err error) error {
	if err == nil {
		return nil
	}
	return noSpace(&fs.PathError{Op: op, Path: f.Name(), Err: err})
}

// noSpace makes the platform's errors for a full disk or quota testable as ErrNoSpace.
func noSpace(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
