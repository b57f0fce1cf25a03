package broker

import (
	"errors"
	"fmt"
	"math"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/protocol"
)

const (
	batchMagic         = 2
	batchMagicPosition = 16
	zstdProduceVersion = 7
)

// parseOneBatch reads what a Produce request has for a partition, which must be exactly one batch
// of format 2.
func parseOneBatch(records []byte, version int16) (protocol.BatchHeader, error) {
	if len(records) <= batchMagicPosition {
		return protocol.BatchHeader{}, fmt.Errorf("%w: no batch", errInvalidRecord)
	}
	if magic := records[batchMagicPosition]; magic != batchMagic {
		return protocol.BatchHeader{}, fmt.Errorf("%w: format %d, only 2 is taken", errInvalidRecord, magic)
	}
	h, err := protocol.ParseBatchHeader(records)
	if err != nil {
		return h, err
	}
	if h.Bytes != len(records) {
		return h, fmt.Errorf("%w: more than one batch", errInvalidRecord)
	}
	if h.Attributes.Codec() == protocol.CodecZstd && version < zstdProduceVersion {
		return h, fmt.Errorf("%w: zstd needs Produce version %d", errUnsupportedCodec, zstdProduceVersion)
	}
	return h, nil
}

// validateBatch judges a batch by its header and checksum. It looks at the records only if the
// times in the header cannot be theirs. Then it corrects the largest time in batch and in h, as
// Apache Kafka does.
func validateBatch(batch []byte, h *protocol.BatchHeader, config *catalog.TopicConfig, nowMs int64) error {
	switch {
	case h.BaseOffset != 0:
		return fmt.Errorf("%w: base offset %d, want 0", errInvalidRecord, h.BaseOffset)
	case h.Bytes > int(config.MaxMessageBytes):
		return fmt.Errorf("%w: %d bytes, limit %d", errTooLarge, h.Bytes, config.MaxMessageBytes)
	case h.Bytes > int(config.SegmentBytes):
		return fmt.Errorf("%w: %d bytes, limit %d", errOverSegment, h.Bytes, config.SegmentBytes)
	}
	if err := protocol.VerifyCRC(batch); err != nil {
		return err
	}
	switch {
	case h.Attributes.Control():
		return fmt.Errorf("%w: control batches are the broker's", errInvalidRecord)
	case h.RecordCount <= 0:
		return fmt.Errorf("%w: %d records", errInvalidRecord, h.RecordCount)
	case h.LastOffsetDelta != h.RecordCount-1:
		return fmt.Errorf("%w: last offset delta %d with %d records", errInvalidRecord, h.LastOffsetDelta, h.RecordCount)
	case h.ProducerID < -1:
		return fmt.Errorf("%w: producer id %d", errInvalidRecord, h.ProducerID)
	case h.ProducerID >= 0 && (h.BaseSequence < 0 || h.ProducerEpoch < 0):
		return fmt.Errorf("%w: producer id %d with epoch %d and sequence %d", errInvalidRecord, h.ProducerID, h.ProducerEpoch, h.BaseSequence)
	case h.Attributes.Codec() > protocol.CodecZstd:
		return fmt.Errorf("%w: %d", errUnsupportedCodec, h.Attributes.Codec())
	}
	if config.LogAppendTime {
		return nil
	}
	return validateTimestamps(batch, h, config, nowMs)
}

// timeLimits are the times that a topic accepts from producers, in milliseconds.
type timeLimits struct{ oldest, newest int64 }

func limitsAt(nowMs int64, config *catalog.TopicConfig) timeLimits {
	l := timeLimits{oldest: nowMs - config.TimestampBeforeMaxMs, newest: math.MaxInt64}
	if config.TimestampAfterMaxMs < math.MaxInt64-nowMs {
		l.newest = nowMs + config.TimestampAfterMaxMs
	}
	return l
}

// allow reports whether a record may have that time. -1, which means no time, is always allowed.
func (l timeLimits) allow(ms int64) bool { return ms == -1 || ms >= l.oldest && ms <= l.newest }

// aheadBelievedMs is how far a largest time may be ahead of the broker's clock without a look at
// the records. It also holds on a topic that sets no such limit, because retention waits for that
// time.
const aheadBelievedMs = 60 * 60 * 1000

// validateTimestamps believes baseTimestamp and maxTimestamp if records could have these times. If
// not, the records decide. Telling the two cases apart needs no look at the records, so an honest
// producer pays nothing.
func validateTimestamps(batch []byte, h *protocol.BatchHeader, config *catalog.TopicConfig, nowMs int64) error {
	if h.Attributes.LogAppendTime() {
		return fmt.Errorf("%w: LogAppendTime is the broker's to set", errInvalidTimestamp)
	}
	limits := limitsAt(nowMs, config)
	if h.MaxTimestamp >= max(h.BaseTimestamp, 0) && h.MaxTimestamp <= nowMs+aheadBelievedMs &&
		limits.allow(h.BaseTimestamp) && limits.allow(h.MaxTimestamp) {
		return nil
	}
	largest, err := largestWithin(batch, limits)
	if err != nil {
		return err
	}
	if largest != h.MaxTimestamp {
		protocol.SetMaxTimestamp(batch, largest)
		*h, err = protocol.ParseBatchHeader(batch)
	}
	return err
}

// largestWithin returns the largest time of a batch's records, or -1 if they have none. All times
// must be within the limits.
func largestWithin(batch []byte, limits timeLimits) (int64, error) {
	largest := int64(-1)
	for s, err := range protocol.Stamps(batch) {
		// The checksum is right, so sending the batch again would not help.
		if errors.Is(err, protocol.ErrCorruptBatch) {
			return 0, fmt.Errorf("%w: %v", errInvalidRecord, err)
		}
		if err != nil {
			return 0, err
		}
		if !limits.allow(s.Timestamp) {
			return 0, fmt.Errorf("%w: %d is outside [%d, %d]", errInvalidTimestamp, s.Timestamp, limits.oldest, limits.newest)
		}
		largest = max(largest, s.Timestamp)
	}
	return largest, nil
}

var codecNumbers = map[string]int{"uncompressed": protocol.CodecNone, "gzip": protocol.CodecGzip,
	"snappy": protocol.CodecSnappy, "lz4": protocol.CodecLZ4, "zstd": protocol.CodecZstd}

// maybeRecompress rebuilds a batch if the topic's compression.type asks for another codec than the
// producer chose.
func maybeRecompress(batch []byte, h *protocol.BatchHeader, config *catalog.TopicConfig) ([]byte, error) {
	if config.CompressionType == "producer" {
		return batch, nil
	}
	codec, chosen := codecNumbers[config.CompressionType]
	if !chosen || codec == h.Attributes.Codec() {
		return batch, nil
	}
	rebuilt, err := protocol.Recompress(batch, codec, config.CompressionLevel, protocol.DecompressedBytesMax)
	if err != nil {
		return nil, err
	}
	if len(rebuilt) > int(config.MaxMessageBytes) {
		return nil, fmt.Errorf("%w: %d bytes as %s, limit %d", errTooLarge, len(rebuilt), config.CompressionType, config.MaxMessageBytes)
	}
	*h, err = protocol.ParseBatchHeader(rebuilt)
	return rebuilt, err
}
