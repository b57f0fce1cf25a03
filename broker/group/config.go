package group

import "time"

// Config is what the operator sets, under Kafka's names.
type Config struct {
	MinSessionTimeout time.Duration // group.min.session.timeout.ms
	MaxSessionTimeout time.Duration // group.max.session.timeout.ms
	// InitialRebalanceDelay is group.initial.rebalance.delay.ms: how long the first join waits for
	// others.
	InitialRebalanceDelay time.Duration
	MaxSize               int           // group.max.size: members per group
	OffsetsRetention      time.Duration // offsets.retention.minutes
	OffsetMetadataMax     int           // offset.metadata.max.bytes
}

// DefaultConfig returns the defaults of Apache Kafka.
func DefaultConfig() Config {
	return Config{
		MinSessionTimeout:     6 * time.Second,
		MaxSessionTimeout:     30 * time.Minute,
		InitialRebalanceDelay: 3 * time.Second,
		MaxSize:               1<<31 - 1,
		OffsetsRetention:      7 * 24 * time.Hour,
		OffsetMetadataMax:     4096,
	}
}
