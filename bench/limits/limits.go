package limits

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"
)

// Kind names a limit. The package's doc says what each kind does.
type Kind string

// The kinds.
const (
	Null          Kind = "null"
	WAL           Kind = "wal"
	WALOverlapped Kind = "wal-overlapped"
	WALUpload     Kind = "wal-upload"
	WALTwice      Kind = "wal-twice"
	Fetch         Kind = "fetch"
	Bucket        Kind = "bucket"
)

// Kinds returns all kinds.
func Kinds() []Kind { return []Kind{Null, WAL, WALOverlapped, WALUpload, WALTwice, Fetch, Bucket} }

// Config says where a limit listens and what it may use. Zero means the default.
type Config struct {
	// Listen is a TCP address; default 127.0.0.1:0, which is a free port.
	Listen string
	// Dir holds the ring of the WAL kinds, and the files of WALTwice. It must exist.
	Dir string
	// BucketURL is where WALUpload puts objects, in the form of storage/bucket/open.
	BucketURL string
	// Partitions is the partition count of a topic that nobody created. The default is 16.
	Partitions int
	// RingBytes is the size of the ring. The default is 1 GiB. All of it is written once before the
	// server listens.
	RingBytes int64
	// PendingBytes bounds the frames that wait for the disk or the bucket. Beyond it readers wait.
	// The default is 512 MiB.
	PendingBytes int64
	// ObjectBytes and Uploads are for WALUpload and WALTwice. The defaults are 16 MiB and 4, as in
	// Sluice.
	ObjectBytes int64
	Uploads     int
	// FlushInterval is the longest time for which WALUpload and WALTwice gather an object. The
	// default is 10 s, as in Sluice.
	FlushInterval time.Duration
	// MemoryBytes bounds what Fetch keeps: a partition that grows above its share drops its oldest
	// batches. The default is 4 GiB.
	MemoryBytes int64
	// KeepBytes is the size up to which Bucket keeps bodies. The default is 64 KiB.
	KeepBytes int64
	// Log gets what goes wrong. The default is slog.Default().
	Log *slog.Logger
}

const (
	// frameBytesMax is the largest request that is accepted: Kafka's socket.request.max.bytes.
	frameBytesMax = 100 << 20
	// readBytes is how much one read of a connection may return, except for a large frame.
	readBytes = 64 << 10
)

func (c Config) withDefaults() Config {
	def := func(v *int64, to int64) {
		if *v == 0 {
			*v = to
		}
	}
	num := func(v *int, to int) {
		if *v == 0 {
			*v = to
		}
	}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	if c.FlushInterval == 0 {
		c.FlushInterval = 10 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	num(&c.Partitions, 16)
	num(&c.Uploads, 4)
	def(&c.RingBytes, 1<<30)
	def(&c.PendingBytes, 512<<20)
	def(&c.ObjectBytes, 16<<20)
	def(&c.MemoryBytes, 4<<30)
	def(&c.KeepBytes, 64<<10)
	return c
}

// validate reports every problem with its value.
func (c Config) validate(kind Kind) error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf("limits: "+format, args...))
		}
	}
	bad(!slices.Contains(Kinds(), kind), "unknown kind %q; there are %v", kind, Kinds())
	bad(kind.logs() && c.Dir == "", "%s needs a folder for its ring", kind)
	bad(kind == WALUpload && c.BucketURL == "", "%s needs the URL of a bucket", kind)
	bad(c.Partitions < 1, "Partitions %d: want at least 1", c.Partitions)
	bad(c.RingBytes < 1<<20, "RingBytes %d: want at least 1 MiB", c.RingBytes)
	bad(c.PendingBytes < 2*c.ObjectBytes, "PendingBytes %d: want at least two objects of %d", c.PendingBytes, c.ObjectBytes)
	bad(c.ObjectBytes < 1, "ObjectBytes %d: want at least 1", c.ObjectBytes)
	bad(c.Uploads < 1, "Uploads %d: want at least 1", c.Uploads)
	bad(c.FlushInterval < 0, "FlushInterval %v is negative", c.FlushInterval)
	bad(c.MemoryBytes < 1, "MemoryBytes %d: want at least 1", c.MemoryBytes)
	bad(c.KeepBytes < 0, "KeepBytes %d is negative", c.KeepBytes)
	return errors.Join(errs...)
}

// logs reports whether the kind has a WAL.
func (k Kind) logs() bool { return k == WAL || k == WALOverlapped || k == WALUpload || k == WALTwice }

// Serve runs a limit until ctx ends, which is not an error, or until the limit cannot go on. It
// calls ready once it listens.
func Serve(ctx context.Context, kind Kind, cfg Config, ready func(net.Addr)) error {
	cfg = cfg.withDefaults()
	if err := cfg.validate(kind); err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("limits: listen: %w", err)
	}
	if kind == Bucket {
		return serveBucket(ctx, l, cfg, ready)
	}
	s, err := newServer(ctx, kind, cfg, l)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	return s.serve(ctx, ready)
}
