package coordinator

import (
	"errors"
	"fmt"
	"time"

	"github.com/sluicemq/sluice/broker/group"
)

// Config configures the groups of a broker. The zero value of a field means its default, which is Apache Kafka's.
type Config struct {
	// MinSessionTimeout and MaxSessionTimeout bound what members ask for: group.min.session.timeout.ms (6 s) and group.max.session.timeout.ms (30 min).
	MinSessionTimeout, MaxSessionTimeout time.Duration
	// InitialRebalanceDelay is how long the first member of an empty group waits for others,
	// group.initial.rebalance.delay.ms: default 3 s; negative: not at all.
	InitialRebalanceDelay time.Duration
	// MaxSize bounds the members of a group, group.max.size; default: no bound.
	MaxSize int
	// OffsetsRetention is how long offsets that nobody uses are kept, offsets.retention.minutes; default 7 days.
	OffsetsRetention time.Duration
	// CheckInterval lies between two looks for offsets to expire, offsets.retention.check.interval.ms; default 10 min.
	CheckInterval time.Duration
	// OffsetMetadataBytesMax bounds the text that a client may store beside an offset, offset.metadata.max.bytes; default 4096.
	OffsetMetadataBytesMax int
	// Partitions of __consumer_offsets when it is created, offsets.topic.num.partitions; default 50. It never changes after that.
	Partitions int32
	// ReplicationFactor of __consumer_offsets, offsets.topic.replication.factor; default 3, and no more than there are brokers.
	ReplicationFactor int16
	// ShortenBytes is how large a partition's log may grow whatever it holds; default 16 MiB.
	ShortenBytes int64
	// ShortenInterval is how long a log stays that is shorter, but holds ten times of what lives; default 5 min. One that
	// does when it is loaded is shortened at once. It bounds how many small objects committed offsets keep in the bucket; it costs a batch of the live state each time.
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

// WithDefaults fills in what is not set.
func (c Config) WithDefaults() Config {
	d := group.DefaultConfig()
	orDefault(&c.MinSessionTimeout, d.MinSessionTimeout)
	orDefault(&c.MaxSessionTimeout, d.MaxSessionTimeout)
	orDefault(&c.InitialRebalanceDelay, d.InitialRebalanceDelay)
	orDefault(&c.MaxSize, d.MaxSize)
	orDefault(&c.OffsetsRetention, d.OffsetsRetention)
	orDefault(&c.CheckInterval, 10*time.Minute)
	orDefault(&c.OffsetMetadataBytesMax, d.OffsetMetadataMax)
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
	atLeast("Partitions", int64(c.Partitions), 1)
	atLeast("ReplicationFactor", int64(c.ReplicationFactor), 1)
	atLeast("ShortenBytes", c.ShortenBytes, 1)
	atLeast("ShortenInterval", int64(c.ShortenInterval), 1)
	return errors.Join(errs...)
}

// machine is what the pure core needs of it.
func (c Config) machine() group.Config {
	return group.Config{
		MinSessionTimeout: c.MinSessionTimeout, MaxSessionTimeout: c.MaxSessionTimeout,
		InitialRebalanceDelay: max(0, c.InitialRebalanceDelay), MaxSize: c.MaxSize,
		OffsetsRetention: c.OffsetsRetention, OffsetMetadataMax: c.OffsetMetadataBytesMax,
	}
}
