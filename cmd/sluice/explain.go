package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/node"
)

// explain adds what to do to an error of the operating system, and to the error of a directory that
// is started with another directory's bucket.
func (s *settings) explain(err error) error {
	path := s.dir
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		path = pathError.Path
	}
	var do string
	switch {
	case errors.Is(err, metadata.ErrWrongCluster) && !errors.Is(err, node.ErrForeignPrefix):
		do = fmt.Sprintf("%s was not made with the bucket %s: start it with the one that it was made with (--bucket, sluice.bucket), or choose another directory (--dir, log.dirs)",
			s.dir, s.bucketName())
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		do = fmt.Sprintf("the disk of %s is full: free space on it, or choose a directory on another one (--dir, log.dirs)", s.dir)
	case errors.Is(err, fs.ErrPermission):
		do = fmt.Sprintf("user %d may not write to %s: give the folder to that user, or choose another one (--dir, log.dirs)", os.Getuid(), path)
	case errors.Is(err, syscall.EROFS):
		do = fmt.Sprintf("%s cannot be written to: choose another folder (--dir, log.dirs)", path)
	case errors.Is(err, syscall.ENOTDIR):
		do = fmt.Sprintf("%s is a file, or below one: choose a folder (--dir, log.dirs)", path)
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		do = "too few file descriptors: raise the limit (ulimit -n, LimitNOFILE=), or lower max.connections"
	default:
		return err
	}
	return fmt.Errorf("%s: %w", do, err)
}
