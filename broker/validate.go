package broker

import (
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

// parseOneBatch takes what a Produce request holds for a partition: exactly one batch of format 2.
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

// validateBatch judges a batch by its header and checksum; records are not decompressed.
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
	return validateTimestamps(h, config, nowMs)
}

// validateTimestamps trusts baseTimestamp and maxTimestamp for the records between them.
func validateTimestamps(h *protocol.BatchHeader, config *catalog.TopicConfig, nowMs int64) error {
	if h.Attributes.LogAppendTime() {
		return fmt.Errorf("%w: LogAppendTime is the broker's to set", errInvalidTimestamp)
	}
	oldest, newest := nowMs-config.TimestampBeforeMaxMs, int64(math.MaxInt64)
	if config.TimestampAfterMaxMs < math.MaxInt64-nowMs {
		newest = nowMs + config.TimestampAfterMaxMs
	}
	for _, t := range []int64{h.BaseTimestamp, h.MaxTimestamp} {
		if t != -1 && (t < oldest || t > newest) {
			return fmt.Errorf("%w: %d is outside [%d, %d]", errInvalidTimestamp, t, oldest, newest)
		}
	}
	return nil
}

var codecNumbers = map[string]int{"uncompressed": protocol.CodecNone, "gzip": protocol.CodecGzip,
	"snappy": protocol.CodecSnappy, "lz4": protocol.CodecLZ4, "zstd": protocol.CodecZstd}

// maybeRecompress rebuilds a batch where the topic's compression.type asks for
// another codec than the producer chose.
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
