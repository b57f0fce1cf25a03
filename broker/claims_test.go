package broker

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/protocol"
)

// TestClaimedTimes: if a header has times that no record could have, the records decide. The header
// is corrected, or the batch is refused, as Apache Kafka 4.3.1 does with each of these
// (compat-tests/beside_claims_test.go). Times that are possible are believed.
func TestClaimedTimes(t *testing.T) {
	h := startTCP(t, Config{})
	h.topics.create(t, "plain", 1, nil)
	h.topics.create(t, "recent", 1, map[string]string{"message.timestamp.before.max.ms": "60000"})
	h.topics.create(t, "boundless", 1, map[string]string{"message.timestamp.after.max.ms": "9223372036854775807"})
	h.topics.create(t, "gzip", 1, map[string]string{"compression.type": "gzip"})
	now, hour := time.Now().UnixMilli(), time.Hour.Milliseconds()
	five := []int64{now, now + 1, now + 4, now + 3, now + 2}
	cases := []struct {
		name          string
		topic         string // "" stands for plain
		base, largest int64  // base 0 stands for the time of the first record
		times         []int64
		count         byte
		want          protocol.Code
		stored        int64 // the largest time as it is stored
	}{
		{name: "no largest time", largest: -1, times: five, stored: now + 4},
		{name: "no largest time, recompressed", topic: "gzip", largest: -1, times: five, stored: now + 4},
		{name: "below the first", largest: now - 5, times: five, stored: now + 4},
		{name: "from ahead", largest: now + 3*hour, times: five, stored: now + 4},
		{name: "from ahead, no limit", topic: "boundless", largest: now + 3*hour, times: five, stored: now + 4},
		{name: "truly from ahead, no limit", topic: "boundless", largest: now + 3*hour, times: []int64{now, now + 3*hour}, stored: now + 3*hour},
		{name: "truly from ahead", largest: now + 3*hour, times: []int64{now, now + 3*hour}, want: 32},
		{name: "a first time from ahead", base: now + 3*hour, largest: now + 4, times: five, stored: now + 4},
		{name: "a first time of long ago", topic: "recent", base: 5, largest: now + 4, times: five, stored: now + 4},
		{name: "truly of long ago", topic: "recent", base: 5, largest: now, times: []int64{now - 2*hour, now}, want: 32},
		{name: "no time, the records have them", base: -1, largest: -1, times: five, stored: now + 4},
		{name: "no time, as the records", base: -1, largest: -1, times: []int64{-1, -1}, stored: -1},
		{name: "before 1970", largest: -5, times: []int64{-9, -5}, stored: -1},
		{name: "a record from ahead is hidden", largest: -1, times: []int64{now, now + 3*hour, now}, want: 32},
		{name: "fewer records than there are", largest: -1, times: five, count: 3, want: 87},
		{name: "more records than there are", largest: -1, times: five, count: 7, want: 87},
		{name: "could be, and is believed", largest: now + hour/2, times: five, stored: now + hour/2},
	}
	c := h.dial(t)
	for codec := range 5 {
		for _, tc := range cases {
			topic := tc.topic
			if topic == "" {
				topic = "plain"
			}
			b := claimedBatch(t, codec, tc.base, tc.largest, tc.times)
			if tc.count != 0 {
				b[26], b[60] = tc.count-1, tc.count
				recrc(b)
			}
			p := ask[*kmsg.ProduceResponse](c, produceRequest(topic, b), 9).Topics[0].Partitions[0]
			wantCode(t, tc.name, p.ErrorCode, tc.want)
			if p.ErrorCode != 0 {
				continue
			}
			stored := h.log.parts[partitionOf(h, topic)].batches
			last := stored[len(stored)-1]
			hd, err := protocol.ParseBatchHeader(last)
			if err != nil || protocol.VerifyCRC(last) != nil || hd.MaxTimestamp != tc.stored {
				t.Errorf("codec %d, %s: stored with largest time %d, %v, %v, want %d", codec, tc.name, hd.MaxTimestamp, err, protocol.VerifyCRC(last), tc.stored)
			}
		}
	}
}

// claimedBatch returns a batch of records with the given times, whose header claims base and
// largest.
func claimedBatch(t *testing.T, codec int, base, largest int64, times []int64) []byte {
	t.Helper()
	if base == 0 {
		base = times[0]
	}
	var body []byte
	for i, ms := range times {
		r := kmsg.Record{TimestampDelta64: ms - base, OffsetDelta: int32(i), Value: []byte("value")}
		// The length does not count itself, and takes one byte while it is 0.
		r.Length = int32(len(r.AppendTo(nil)) - 1)
		body = r.AppendTo(body)
	}
	body, err := protocol.Compress(nil, codec, 1, body)
	if err != nil {
		t.Fatal(err)
	}
	b := (&kmsg.RecordBatch{
		Length: int32(protocol.BatchHeaderBytes - 12 + len(body)), PartitionLeaderEpoch: -1, Magic: 2, Attributes: int16(codec),
		LastOffsetDelta: int32(len(times) - 1), FirstTimestamp: base, MaxTimestamp: largest,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: int32(len(times)), Records: body,
	}).AppendTo(nil)
	recrc(b)
	return b
}
