package coordinator

import (
	"errors"
	"fmt"
	"time"

	"github.com/sluicemq/sluice/broker/group"
)

// Config configures the groups of a broker. Where a field is zero, the default of Apache Kafka
// holds.
type Config struct {
	// MinSessionTimeout and MaxSessionTimeout bound the session timeout that a member may ask for:
	// group.min.session.timeout.ms (6 s) and group.max.session.timeout.ms (30 min).
	MinSessionTimeout, MaxSessionTimeout time.Duration
	// InitialRebalanceDelay is how long the first member of an empty group waits for others:
	// group.initial.rebalance.delay.ms, 3 s by default. If it is negative, the member does not
	// wait.
	InitialRebalanceDelay time.Duration
	// MaxSize bounds the number of members of a group: group.max.size, unbounded by default.
	MaxSize int
	// OffsetsRetention is how long the offsets of an unused group are kept:
	// offsets.retention.minutes, 7 days by default.
	OffsetsRetention time.Duration
	// CheckInterval is the time between two searches for offsets that have expired:
	// offsets.retention.check.interval.ms, 10 min by default.
	CheckInterval time.Duration
	// OffsetMetadataBytesMax bounds the text that a client may store beside an offset:
	// offset.metadata.max.bytes, 4096 by default.
	OffsetMetadataBytesMax int
	// MemoryBytesMax bounds the memory of the members, assignments and offsets of all groups of
	// this broker; default 128 MiB. At the bound new members and offsets are refused with
	// [group.ErrNoMemory], which clients retry. Members that need no more than before go on.
	MemoryBytesMax int64
	// Partitions is the number of partitions with which __consumer_offsets is created:
	// offsets.topic.num.partitions, 50 by default. The number never changes after that.
	Partitions int32
	// ReplicationFactor is the replication factor of __consumer_offsets:
	// offsets.topic.replication.factor, 3 by default, and no more than there are brokers.
	ReplicationFactor int16
	// ShortenBytes is the size above which a partition's log is shortened at once if it holds ten
	// times its live state: 16 MiB by default.
	ShortenBytes int64
	// ShortenInterval is how long a smaller log may hold ten times its live state before it is
	// shortened: 5 min by default. A log that does so when it is loaded is shortened at once. The
	// interval bounds how many small objects committed offsets keep in the bucket; each time costs
	// a batch of the live state.
	ShortenInterval time.Duration
}

const (
	kib = 1 << 10
	mib = 1 << 20
)

func orDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// WithDefaults fills in the fields that are not set.
func (c Config) WithDefaults() Config {
	d := group.DefaultConfig()
	orDefault(&c.MinSessionTimeout, d.MinSessionTimeout)
	orDefault(&c.MaxSessionTimeout, d.MaxSessionTimeout)
	orDefault(&c.InitialRebalanceDelay, d.InitialRebalanceDelay)
	orDefault(&c.MaxSize, d.MaxSize)
	orDefault(&c.OffsetsRetention, d.OffsetsRetention)
	orDefault(&c.CheckInterval, 10*time.Minute)
	orDefault(&c.OffsetMetadataBytesMax, d.OffsetMetadataMax)
	orDefault(&c.MemoryBytesMax, 128*mib)
	orDefault(&c.Partitions, 50)
	orDefault(&c.ReplicationFactor, 3)
	orDefault(&c.ShortenBytes, 16*mib)
	orDefault(&c.ShortenInterval, 5*time.Minute)
	return c
}

// Validate reports every problem of the configuration.
func (c Config) Validate() error {
	c = c.WithDefaults()
	var errs []error
	atLeast := func(name string, v, low int64) {
		if v < low {
			errs = append(errs, fmt.Errorf("coordinator: %s is %d, want at least %d", name, v, low))
		}
	}
	atLeast("MinSessionTimeout", int64(c.MinSessionTimeout), 1)
	atLeast("MaxSessionTimeout", int64(c.MaxSessionTimeout), int64(c.MinSessionTimeout))
	atLeast("MaxSize", int64(c.MaxSize), 1)
	atLeast("OffsetsRetention", int64(c.OffsetsRetention), 1)
	atLeast("CheckInterval", int64(c.CheckInterval), 1)
	atLeast("OffsetMetadataBytesMax", int64(c.OffsetMetadataBytesMax), 0)
	atLeast("MemoryBytesMax", c.MemoryBytesMax, mib)
	atLeast("Partitions", int64(c.Partitions), 1)
	atLeast("ReplicationFactor", int64(c.ReplicationFactor), 1)
	atLeast("ShortenBytes", c.ShortenBytes, 1)
	atLeast("ShortenInterval", int64(c.ShortenInterval), 1)
	return errors.Join(errs...)
}

// MemoryBytes is the most memory that the groups of this configuration take: for their state, and
// once more for the part of it that is being written to the log.
func (c Config) MemoryBytes() int64 { return 2 * c.WithDefaults().MemoryBytesMax }

// machine returns the part of the configuration that the pure core needs.
func (c Config) machine() group.Config {
	return group.Config{
		MinSessionTimeout: c.MinSessionTimeout, MaxSessionTimeout: c.MaxSessionTimeout,
		InitialRebalanceDelay: max(0, c.InitialRebalanceDelay), MaxSize: c.MaxSize,
		OffsetsRetention: c.OffsetsRetention, OffsetMetadataMax: c.OffsetMetadataBytesMax,
	}
}
