package storage

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/cache"
	"github.com/sluicemq/sluice/vfs"
)

// Config holds the sizes and intervals of the engine. The zero value of a field means its default.
type Config struct {
	// WALDir holds one folder per incarnation.
	WALDir string
	// WALSegmentBytes is the size of a WAL file; default 64 MiB. Smaller files are trimmed sooner
	// and rolled more often.
	WALSegmentBytes int64
	// WALBudgetBytes bounds what the WAL and its sealed tails hold; default 4 GiB. Producers are
	// slowed from 70 % on, slowed hard from 85 % on, and refused with a retriable error from 95 %
	// on.
	WALBudgetBytes int64
	// HotBytes bounds the batches kept in memory for tailing readers; default 256 MiB.
	HotBytes int64
	// CacheBytes bounds the blocks of objects kept in memory; default 256 MiB. Half of it is for
	// read-ahead, which is 8 MiB for each of 16 readers by default.
	CacheBytes int64
	// UnflushedBatchesMax bounds the in-memory index of batches that are not in the bucket (about
	// 128 bytes a batch); default 4 Mi.
	UnflushedBatchesMax int64
	// FlushInterval is the longest that persisted data stays out of the bucket; default 10 s.
	FlushInterval time.Duration
	// FlushBytes is about the size of a bundle; default 16 MiB. Four bundles' worth start a flush
	// before the interval, unless retention has passed half of it by then. Less (down to one
	// bundle's worth) starts a flush where HotBytes or WALBudgetBytes are small.
	FlushBytes int64
	// UploadParallel is the number of bundles uploaded at once; default 4.
	UploadParallel int
	// RetentionInterval is how often retention is checked; default 5 min
	// (log.retention.check.interval.ms).
	RetentionInterval time.Duration
	// ProducersMax bounds the producer ids that one partition remembers; default 10,000.
	ProducersMax int
	// ProducerExpiry drops idle producer ids; default 24 h (producer.id.expiration.ms).
	ProducerExpiry time.Duration
	// ManifestAt is how many ranges a head may have before the oldest move to the manifest; default
	// 24, below catalog.RangesPerHeadMax.
	ManifestAt int
	// TopicDefaults is the configuration of topics that set nothing themselves; nil means Kafka's
	// defaults. TopicDefaults and ProducerExpiry apply at the start; Engine.Reconfigure changes
	// them.
	TopicDefaults *catalog.TopicDefaults
}

const producerExpiryDefault = 24 * time.Hour

func (c Config) withDefaults() Config {
	def := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	dur := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	num := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.WALSegmentBytes, 64<<20)
	def(&c.WALBudgetBytes, 4<<30)
	def(&c.HotBytes, 256<<20)
	def(&c.CacheBytes, 256<<20)
	def(&c.UnflushedBatchesMax, 4<<20)
	dur(&c.FlushInterval, 10*time.Second)
	def(&c.FlushBytes, 16<<20)
	num(&c.UploadParallel, 4)
	dur(&c.RetentionInterval, 5*time.Minute)
	num(&c.ProducersMax, 10_000)
	dur(&c.ProducerExpiry, producerExpiryDefault)
	num(&c.ManifestAt, 24)
	return c
}

// Validate reports every problem of a config that has its defaults.
func (c Config) Validate() error {
	var errs []error
	bad := func(cond bool, format string, args ...any) {
		if cond {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(c.WALDir == "", "storage: WALDir is empty")
	bad(c.WALSegmentBytes < 64<<10, "storage: WALSegmentBytes %d: want at least 64 KiB", c.WALSegmentBytes)
	bad(c.WALBudgetBytes < 2*c.WALSegmentBytes, "storage: WALBudgetBytes %d: want at least two segments of %d", c.WALBudgetBytes, c.WALSegmentBytes)
	bad(c.FlushBytes < 1<<10, "storage: FlushBytes %d: want at least 1 KiB", c.FlushBytes)
	bad(c.FlushInterval < 0, "storage: FlushInterval %v is negative", c.FlushInterval)
	bad(c.UploadParallel < 1, "storage: UploadParallel %d: want at least 1", c.UploadParallel)
	bad(c.ManifestAt < 2 || c.ManifestAt >= 32, "storage: ManifestAt %d: want 2 to 31", c.ManifestAt)
	return errors.Join(errs...)
}

// batchBytes is the memory that a batch takes besides its bytes while it is not in the bucket.
const batchBytes = 128

// MemoryBytes is the most memory that an engine of this configuration takes: the sum of its budgets
// (docs/operations.md, "Memory"). Bundles that are being uploaded may keep the hot tail's frames a
// second time. Read-ahead holds half of the cache while it waits for the rest.
func (c Config) MemoryBytes() int64 {
	c = c.withDefaults()
	// A bundle is up to 2.5 times FlushBytes.
	uploads := int64(c.UploadParallel) * c.FlushBytes * 5 / 2
	reads := c.CacheBytes*3/2 + cache.ReadsMax*cache.BlockBytes + 2*decodedBytesMax
	return 2*c.HotBytes + uploads + reads + c.UnflushedBatchesMax*batchBytes
}

// Deps are the parts that the engine works with.
type Deps struct {
	FS      vfs.FS
	Bucket  bucket.Bucket
	Catalog Catalog
	Log     *slog.Logger
	Now     func() time.Time
	// Fatal is called once when this incarnation must end because the WAL is poisoned, stored data
	// contradicts the metadata, or the quorum fenced the incarnation.
	Fatal func(error)
}
