package wal

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/sluicemq/sluice/vfs"
)

// Config says where incarnations live and how they are cut into segments.
type Config struct {
	// Dir is the folder of all incarnations. Each incarnation makes a folder of its own in it.
	// Required.
	Dir string
	// SegmentBytes is the distance between two segments in the stream: the unit of trimming and the
	// upper limit of one append. It is a multiple of 4,096 from 16 KiB to 1 GiB; the default is 64
	// MiB. A larger segment lets one slow partition hold more disk; a smaller one rolls more often.
	SegmentBytes int64
}

func (c Config) withDefaults() Config {
	if c.SegmentBytes == 0 {
		c.SegmentBytes = 64 << 20
	}
	return c
}

// Validate reports every problem at once.
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

// Deps are the parts that a Writer works with. All of them are required.
type Deps struct {
	FS  vfs.FS
	Log *slog.Logger
	// Durable is called once per durable group, in WAL order, by one goroutine at a time and
	// outside all locks. The group is valid during the call, and longer if it is retained.
	Durable func(*Group)
	// Failed is called at most once, after the last Durable, with every append that was accepted
	// and never reported durable. The outcome of those appends is unknown.
	Failed func(err error, appends []*Append)
}

// RecoverDeps are the parts that reading an incarnation works with.
type RecoverDeps struct {
	FS  vfs.FS
	Log *slog.Logger
}
