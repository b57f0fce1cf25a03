package compat

import (
	"bytes"
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// claim is a batch whose header says something that its records contradict. Each has a topic of its
// own. Produce, ListOffsets and Fetch show what the brokers make of it.
type claim struct {
	name  string
	topic string
	batch func() claimed
	// One broker refuses the batch and the other does not, so their logs are not compared.
	apart bool
}

// claimed is a batch in which every claim can be chosen. Its records are at claimTime and one
// millisecond apart.
type claimed struct {
	base, largest int64
	times         []int64 // of the records
	offsets       []int32 // deltas inside the batch; nil is 0, 1, 2, …
	count         int32   // 0 is the number of records
	attributes    int16
	record        int8 // attributes of each record
	codec         kgo.CompressionCodec
}

// claimTime is long ago, like readTime.
const claimTime = readTime

// honest is a batch of five records whose header is true.
func honest() claimed {
	c := claimed{base: claimTime, largest: claimTime + 4, codec: kgo.NoCompression()}
	for i := range int64(5) {
		c.times = append(c.times, claimTime+i)
	}
	return c
}

func lying(edit func(*claimed)) func() claimed {
	return func() claimed {
		c := honest()
		edit(&c)
		return c
	}
}

func (c *claimed) bytes() []byte {
	var records []byte
	for i, t := range c.times {
		r := kmsg.Record{Attributes: c.record, TimestampDelta64: t - c.base, OffsetDelta: int32(i), Value: []byte("value")}
		if c.offsets != nil {
			r.OffsetDelta = c.offsets[i]
		}
		// Without the length itself, which takes one byte while it is 0.
		r.Length = int32(len(r.AppendTo(nil)) - 1)
		records = r.AppendTo(records)
	}
	compressor, err := kgo.DefaultCompressor(c.codec)
	if err != nil {
		panic(err)
	}
	if compressor != nil {
		packed, codec := compressor.Compress(new(bytes.Buffer), records)
		records, c.attributes = bytes.Clone(packed), c.attributes|int16(codec)
	}
	count := c.count
	if count == 0 {
		count = int32(len(c.times))
	}
	b := (&kmsg.RecordBatch{
		PartitionLeaderEpoch: 7, Magic: 2, Attributes: c.attributes, LastOffsetDelta: count - 1,
		FirstTimestamp: c.base, MaxTimestamp: c.largest, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1,
		NumRecords: count, Records: records,
	}).AppendTo(nil)
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	return sealed(b)
}

// ahead is a time that the clock of no test shows.
const ahead = 4_102_444_800_000

var claims = []claim{
	{name: "claims nothing that is not so", topic: "claim-none", batch: honest},
	{name: "claims no largest time", topic: "claim-sarama", batch: lying(func(c *claimed) { c.largest = -1 })},
	{name: "claims no largest time, gzip", topic: "claim-gzip", batch: lying(func(c *claimed) { c.largest, c.codec = -1, kgo.GzipCompression() })},
	{name: "claims no largest time, snappy", topic: "claim-snappy", batch: lying(func(c *claimed) { c.largest, c.codec = -1, kgo.SnappyCompression() })},
	{name: "claims no largest time, lz4", topic: "claim-lz4", batch: lying(func(c *claimed) { c.largest, c.codec = -1, kgo.Lz4Compression() })},
	{name: "claims no largest time, zstd", topic: "claim-zstd", batch: lying(func(c *claimed) { c.largest, c.codec = -1, kgo.ZstdCompression() })},
	{name: "claims a largest time below the first", topic: "claim-below", batch: lying(func(c *claimed) { c.largest = claimTime - 5 })},
	{name: "claims the last time as the largest", topic: "claim-last", batch: lying(func(c *claimed) { c.times[2], c.largest = claimTime+9, claimTime+4 })},
	{name: "claims a largest time an hour late", topic: "claim-late", batch: lying(func(c *claimed) { c.largest = claimTime + 3_600_000 })},
	{name: "claims a largest time from ahead", topic: "claim-ahead", batch: lying(func(c *claimed) { c.largest = ahead })},
	{name: "claims a largest time from ahead, gzip", topic: "claim-ahead-gzip", batch: lying(func(c *claimed) { c.largest, c.codec = ahead, kgo.GzipCompression() })},
	{name: "claims a first time from ahead", topic: "claim-first-ahead", batch: lying(func(c *claimed) { c.base = ahead })},
	{name: "claims a first time of long ago", topic: "claim-first-old", batch: lying(func(c *claimed) { c.base = 5 })},
	{name: "claims no time, the records have them", topic: "claim-no-time", batch: lying(func(c *claimed) { c.base, c.largest = -1, -1 })},
	{name: "claims no time, as the records", topic: "claim-timeless", batch: lying(func(c *claimed) { c.base, c.largest, c.times = -1, -1, []int64{-1, -1} })},
	{name: "hides a record from ahead", topic: "claim-hides", batch: lying(func(c *claimed) { c.times[2] = ahead }), apart: true},
	{name: "hides a record from ahead, no largest time", topic: "claim-hides-less", batch: lying(func(c *claimed) { c.times[2], c.largest = ahead, -1 })},
	{name: "offsets inside leave gaps", topic: "claim-gaps", batch: lying(func(c *claimed) { c.offsets = []int32{0, 2, 3, 5, 9} })},
	{name: "offsets inside leave gaps, gzip", topic: "claim-gaps-gzip", batch: lying(func(c *claimed) { c.offsets, c.codec = []int32{0, 2, 3, 5, 9}, kgo.GzipCompression() }), apart: true},
	{name: "offsets inside are all 0", topic: "claim-zeros", batch: lying(func(c *claimed) { c.offsets = make([]int32, 5) })},
	{name: "claims more records than there are", topic: "claim-more", batch: lying(func(c *claimed) { c.count = 7 }), apart: true},
	{name: "claims fewer records than there are", topic: "claim-fewer", batch: lying(func(c *claimed) { c.count = 3 }), apart: true},
	{name: "claims more records than there are, gzip", topic: "claim-more-gzip", batch: lying(func(c *claimed) { c.count, c.codec = 7, kgo.GzipCompression() }), apart: true},
	{name: "claims fewer records than there are, gzip", topic: "claim-fewer-gzip", batch: lying(func(c *claimed) { c.count, c.codec = 3, kgo.GzipCompression() }), apart: true},
	{name: "claims fewer records and no largest time", topic: "claim-fewer-less", batch: lying(func(c *claimed) { c.count, c.largest = 3, -1 })},
	{name: "attributes of records", topic: "claim-attributes", batch: lying(func(c *claimed) { c.record = 5 })},
	{name: "claims a delete horizon", topic: "claim-horizon", batch: lying(func(c *claimed) { c.attributes = 1 << 6 })},
	{name: "times before 1970", topic: "claim-negative", batch: lying(func(c *claimed) { c.base, c.largest, c.times = -9, -5, []int64{-9, -5} })},
}

// claimSteps are the steps of one API for all claims, or only for those after which the logs are
// the same.
func claimSteps(all bool, of func(claim) []step) (steps []step) {
	for _, c := range claims {
		if c.apart && !all {
			continue
		}
		steps = append(steps, of(c)...)
	}
	return steps
}

var besideClaimsProduce = claimSteps(true, func(c claim) []step {
	return []step{only(9, 9, produced(c.name, c.topic, func() []byte {
		made := c.batch()
		return made.bytes()
	}))}
})

var besideClaimsFetch = claimSteps(false, func(c claim) []step {
	return []step{only(12, 12, fetched(c.name, c.topic, func(*kmsg.FetchRequest) {}))}
})

var besideClaimsOffsets = claimSteps(false, func(c claim) (steps []step) {
	at := func(name string, timestamp int64) {
		st := offsetAt(c.name+", "+name, c.topic, 7, timestamp)
		st.to = 7
		steps = append(steps, st)
	}
	at("the largest", -3)
	at("from T-1", claimTime-1)
	for i, name := range []string{"from T", "from T+1", "from T+2", "from T+3", "from T+4", "from T+5"} {
		at(name, claimTime+int64(i))
	}
	return steps
})
