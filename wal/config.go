package wal

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/sluicemq/sluice/vfs"
)

// Config says where an incarnation lives and how it is cut.
type Config struct {
	// Dir is the folder of all incarnations; each makes one of its own in it. Required.
	Dir string
	// SegmentBytes is the distance of two segments: the unit of trimming and the
	// upper limit of one append. A multiple of 4,096 from 16 KiB to 1 GiB; default 64 MiB. Larger
	// ones cost disk that a single slow partition holds, smaller ones roll more often.
	SegmentBytes int64
}

func (c Config) withDefaults() Config {
	if c.SegmentBytes == 0 {
		c.SegmentBytes = 64 << 20
	}
	return c
}

// Validate reports every problem.
func (c Config) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("wal: Dir is empty"))
	}
	if n := c.SegmentBytes; n < segmentBytesMin || n > segmentBytesMax || n%blockBytes != 0 {
		errs = append(errs, fmt.Errorf("wal: SegmentBytes %d: want a multiple of %d from %d to %d", n, blockBytes, segmentBytesMin, segmentBytesMax))
	}
	return errors.Join(errs...)
}

// Deps are the parts that a Writer works with; all are required.
type Deps struct {
	FS  vfs.FS
	Log *slog.Logger
	// Durable is called by one goroutine, in WAL order, once per durable group, outside all locks.
	// The slice is valid during the call.
	Durable func(group []*Append)
	// Failed is called at most once, by the same goroutine and after the last Durable, with every
	// append that was taken and not reported durable: its outcome is unknown.
	Failed func(err error, appends []*Append)
}

// RecoverDeps are the parts that reading an incarnation works with.
type RecoverDeps struct {
	FS  vfs.FS
	Log *slog.Logger
}
