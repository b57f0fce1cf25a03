package compat

import (
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// besideState creates the topics that the scripts share. A topic that a script changes belongs to
// that script alone.
func besideState(s *side) {
	s.topics["nowhere"] = topicRef{"nowhere", [16]byte{1, 2, 3}}
	s.topic("plain", 2)
	s.topic("other", 1)
	s.topic("bad", 1)
	s.topic("small", 1, "max.message.bytes", "1000")
	s.topic("compacted", 1, "cleanup.policy", "compact")
	s.topic("appended", 1, "message.timestamp.type", "LogAppendTime")
	s.topic("recent", 1, "message.timestamp.before.max.ms", "10000")
	s.topic("sequences", 1)
	s.topic("zipped", 1, "compression.type", "gzip")
	s.topic("described", 3, "retention.ms", "7200000")
	s.topic("read", 2, "retention.ms", "-1") // its records are old
	s.topic("empty", 1)
	s.topic("untouched", 2)
	for _, c := range claims {
		s.topic(c.topic, 1, "retention.ms", "-1") // for the same reason
	}
	for i := range 4 {
		b := plain("one", "two", "three")
		b.Timestamp = readTime + int64(i)*1000
		s.do(produceOf(s.topics["read"], -1, b.bytes(), b.bytes()), 9)
	}
	s.until("no producer id", func() bool { return s.do(newInitProducer(nil), 4).(*kmsg.InitProducerIDResponse).ErrorCode == 0 })
	awaitCoordinator(s, 0)
	s.until("no transactions", func() bool {
		code := s.do(newInitProducer(kmsg.StringPtr("tx")), 4).(*kmsg.InitProducerIDResponse).ErrorCode
		return code != 14 && code != 15 && code != 16 && code != 51
	})
	for _, t := range s.do(kmsg.NewPtrMetadataRequest(), 12).(*kmsg.MetadataResponse).Topics {
		s.names.Topics[t.TopicID] = *t.Topic // the brokers' own topics
	}
}

// readTime is the first timestamp of the topic "read": long ago, and so the same for both brokers.
const readTime = 1_700_000_000_000

var besideLog = []script{
	{35, besideLogDirs}, {0, slices.Concat(besideProduce, besideClaimsProduce)}, {1, slices.Concat(besideFetch, besideClaimsFetch)},
	{2, slices.Concat(besideListOffsets, besideClaimsOffsets)}, {23, besideEpochs}, {22, besideProducers}, {21, besideDeleteRecords},
}

// produced makes a step that puts one batch into partition 0 of a topic.
func produced(name, topic string, batch func() []byte, edits ...func(*kmsg.ProduceRequest)) step {
	return step{name: name, from: 3, ask: func(s *side, _ int16) kmsg.Request {
		req := produceOf(s.topics[topic], -1, batch())
		for _, edit := range edits {
			edit(req)
		}
		return req
	}}
}

func good() []byte { return plain("one", "two").bytes() }

func damaged(edit func(b []byte)) func() []byte {
	return func() []byte { return edited(edit) }
}

func raw(b []byte) func() []byte { return func() []byte { return b } }

func at(ago time.Duration) func() []byte {
	return func() []byte {
		b := plain("x")
		b.Timestamp = time.Now().Add(-ago).UnixMilli()
		return b.bytes()
	}
}

// sequence is a batch of the version's own idempotent producer. No broker gave out the producer's
// id, and none checks that.
func sequence(name string, epoch int16, first int32, values ...string) step {
	return step{name: name, from: 3, ask: func(s *side, v int16) kmsg.Request {
		return produceOf(s.topics["sequences"], -1, surfaceBatch{Producer: 1_000_000 + int64(v), Epoch: epoch, Sequence: first, Values: values}.bytes())
	}}
}

var besideProduce = []step{
	{name: "versions that are listed and not served", to: 2, ask: func(s *side, _ int16) kmsg.Request {
		return produceOf(s.topics["plain"], -1, good())
	}},
	{name: "versions that are listed and not served, a topic that is none", to: 2, ask: func(s *side, _ int16) kmsg.Request {
		return produceOf(s.topics["nowhere"], -1, good())
	}},
	produced("a batch", "plain", good),
	produced("acks 1", "plain", good, func(r *kmsg.ProduceRequest) { r.Acks = 1 }),
	{name: "acks 0", from: 3, silent: true, ask: func(s *side, _ int16) kmsg.Request { return produceOf(s.topics["plain"], 0, good()) }},
	{name: "acks 0 to no topic", from: 3, silent: true, ask: func(s *side, _ int16) kmsg.Request { return produceOf(s.topics["nowhere"], 0, good()) }},
	{name: "two topics, three partitions", from: 3, ask: func(s *side, _ int16) kmsg.Request {
		req := produceOf(s.topics["plain"], -1, good(), good())
		req.Topics = append(req.Topics, produceOf(s.topics["other"], -1, good()).Topics...)
		return req
	}},
	{name: "one good, one bad", from: 3, ask: func(s *side, _ int16) kmsg.Request {
		return produceOf(s.topics["plain"], -1, good(), edited(func(b []byte) { b[16] = 1 }))
	}},
	{name: "partitions backwards", from: 3, ask: func(s *side, _ int16) kmsg.Request {
		req := produceOf(s.topics["plain"], -1, good(), good())
		p := req.Topics[0].Partitions
		p[0].Partition, p[1].Partition = 1, 0
		return req
	}},
	{name: "a partition twice", from: 3, ask: func(s *side, _ int16) kmsg.Request {
		req := produceOf(s.topics["plain"], -1, good(), good())
		req.Topics[0].Partitions[1].Partition = 0
		return req
	}},
	produced("gzip topic", "zipped", good),
	produced("timeout 0", "plain", good, func(r *kmsg.ProduceRequest) { r.TimeoutMillis = 0 }),
	produced("negative timeout", "plain", good, func(r *kmsg.ProduceRequest) { r.TimeoutMillis = -1 }),
	produced("no topic at all", "plain", good, func(r *kmsg.ProduceRequest) { r.Topics = nil }),
	produced("no partition of a topic", "plain", good, func(r *kmsg.ProduceRequest) { r.Topics[0].Partitions = nil }),
	produced("a topic that is none", "nowhere", good),
	produced("a topic without a name or id", "plain", good, func(r *kmsg.ProduceRequest) { r.Topics[0].Topic, r.Topics[0].TopicID = "", [16]byte{} }),
	produced("no such partition", "plain", good, func(r *kmsg.ProduceRequest) { r.Topics[0].Partitions[0].Partition = 9 }),
	produced("a negative partition", "plain", good, func(r *kmsg.ProduceRequest) { r.Topics[0].Partitions[0].Partition = -1 }),
	produced("acks 2", "plain", good, func(r *kmsg.ProduceRequest) { r.Acks = 2 }),
	produced("acks -2", "plain", good, func(r *kmsg.ProduceRequest) { r.Acks = -2 }),
	produced("a transactional id, a plain batch", "plain", good, func(r *kmsg.ProduceRequest) { r.TransactionID = kmsg.StringPtr("tx") }),
	produced("an empty transactional id", "plain", good, func(r *kmsg.ProduceRequest) { r.TransactionID = kmsg.StringPtr("") }),
	produced("a transactional batch", "bad", damaged(func(b []byte) { b[22] |= 0x10 })),
	// Apache Kafka does not answer, which takes a while at every version.
	muted(only(13, 0, produced("records null", "bad", raw(nil)))),
	produced("records empty", "bad", raw([]byte{})),
	produced("records of 5 bytes", "bad", raw([]byte{0, 0, 0, 0, 0})),
	produced("records of 16 zeros", "bad", raw(make([]byte, 16))),
	produced("records of 61 zeros", "bad", raw(make([]byte, 61))),
	produced("two batches", "bad", func() []byte { return append(good(), good()...) }),
	produced("a batch and some bytes", "bad", func() []byte { return append(good(), 1, 2, 3) }),
	produced("half a batch", "bad", func() []byte { return good()[:70] }),
	produced("format 0", "bad", damaged(func(b []byte) { b[16] = 0 })),
	produced("format 1", "bad", damaged(func(b []byte) { b[16] = 1 })),
	produced("format 3", "bad", damaged(func(b []byte) { b[16] = 3 })),
	produced("format -1", "bad", damaged(func(b []byte) { b[16] = 0xff })),
	produced("a bad checksum", "bad", func() []byte { b := good(); b[len(b)-3] ^= 1; return b }),
	produced("a length below the header", "bad", damaged(func(b []byte) { binary.BigEndian.PutUint32(b[8:], 3) })),
	produced("a negative length", "bad", damaged(func(b []byte) { binary.BigEndian.PutUint32(b[8:], 0xffffffff) })),
	produced("the highest length", "bad", damaged(func(b []byte) { binary.BigEndian.PutUint32(b[8:], 0x7fffffff) })),
	produced("too large", "small", func() []byte { return plain(strings.Repeat("x", 2000)).bytes() }),
	produced("a control batch", "bad", damaged(func(b []byte) { b[22] |= 0x20 })),
	produced("a base offset", "plain", damaged(func(b []byte) { b[7] = 5 })),
	produced("a negative base offset", "bad", damaged(func(b []byte) { b[0] = 0x80 })),
	produced("no records in a batch", "bad", damaged(func(b []byte) { binary.BigEndian.PutUint32(b[57:], 0) })),
	produced("a negative record count", "bad", damaged(func(b []byte) { binary.BigEndian.PutUint32(b[57:], 0xffffffff) })),
	produced("a wrong last offset delta", "bad", damaged(func(b []byte) { b[26] = 7 })),
	produced("a negative last offset delta", "bad", damaged(func(b []byte) { b[23] = 0xff })),
	produced("a wrong record count", "bad", damaged(func(b []byte) { b[60] = 3 })),
	produced("counts that only the records contradict", "bad", damaged(func(b []byte) { b[26], b[60] = 2, 3 })),
	produced("offsets inside the batch", "plain", damaged(func(b []byte) { b[61+3] = 8 })),
	produced("codec 5", "bad", damaged(func(b []byte) { b[22] |= 5 })),
	produced("codec 7", "bad", damaged(func(b []byte) { b[22] |= 7 })),
	produced("bytes that are not of the codec", "bad", damaged(func(b []byte) { b[22] |= 1 })),
	produced("zstd", "bad", damaged(func(b []byte) { b[22] |= 4 })),
	produced("unknown attributes", "plain", damaged(func(b []byte) { b[21] |= 0x40 })),
	produced("the LogAppendTime bit, CreateTime topic", "bad", damaged(func(b []byte) { b[22] |= 0x08 })),
	produced("LogAppendTime", "appended", good),
	produced("no timestamp", "plain", damaged(func(b []byte) {
		for i := 27; i < 43; i++ {
			b[i] = 0xff
		}
	})),
	produced("two hours from now", "plain", at(-2*time.Hour)),
	produced("before the topic's limit", "recent", at(time.Minute)),
	produced("a null key, compacted topic", "compacted", good),
	produced("an epoch without a producer", "plain", damaged(func(b []byte) { binary.BigEndian.PutUint16(b[51:], 3) })),
	produced("a sequence without a producer", "plain", damaged(func(b []byte) { binary.BigEndian.PutUint32(b[53:], 3) })),
	produced("a producer id below -1", "bad", func() []byte {
		return surfaceBatch{Producer: -5, Epoch: -1, Sequence: -1, Values: []string{"x"}}.bytes()
	}),
	produced("a producer with a negative epoch", "bad", func() []byte {
		return surfaceBatch{Producer: 77, Epoch: -1, Sequence: 0, Values: []string{"x"}}.bytes()
	}),
	produced("a producer with a negative sequence", "bad", func() []byte {
		return surfaceBatch{Producer: 78, Epoch: 0, Sequence: -1, Values: []string{"x"}}.bytes()
	}),
	sequence("the first sequence", 0, 0, "a", "b"),
	sequence("the next sequence", 0, 2, "c"),
	sequence("the first sequence again", 0, 0, "a", "b"),
	sequence("half of a batch that is there", 0, 0, "a"),
	sequence("a gap in the sequence", 0, 9, "x"),
	sequence("a new epoch, not at 0", 1, 3, "x"),
	sequence("a new epoch", 1, 0, "d"),
	sequence("the epoch before", 0, 3, "x"),
	produced("a first sequence that is not 0", "sequences", func() []byte {
		return surfaceBatch{Producer: 99, Epoch: 0, Sequence: 7, Values: []string{"x"}}.bytes()
	}),
}

// fetched makes a step that reads from offset 0 of partition 0 of a topic.
func fetched(name, topic string, edit func(*kmsg.FetchRequest)) step {
	return step{name: name, ask: func(s *side, _ int16) kmsg.Request {
		req := fetchOf(s.topics[topic], 0, 0)
		edit(req)
		return req
	}}
}

func muted(st step) step {
	st.mute = true
	return st
}

func only(from, to int16, st step) step {
	st.from, st.to = from, to
	return st
}

var besideFetch = []step{
	fetched("from the start", "read", func(*kmsg.FetchRequest) {}),
	fetched("from inside a batch", "read", func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].FetchOffset = 4 }),
	fetched("at the end", "read", func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].FetchOffset = 12 }),
	fetched("at the end, waiting", "read", func(r *kmsg.FetchRequest) {
		r.Topics[0].Partitions[0].FetchOffset, r.MaxWaitMillis = 12, 20
	}),
	fetched("an empty partition", "empty", func(*kmsg.FetchRequest) {}),
	fetched("read committed", "read", func(r *kmsg.FetchRequest) { r.IsolationLevel = 1 }),
	fetched("read committed, empty", "empty", func(r *kmsg.FetchRequest) { r.IsolationLevel = 1 }),
	fetched("an isolation level that is none", "read", func(r *kmsg.FetchRequest) { r.IsolationLevel = 7 }),
	fetched("max bytes 1", "read", func(r *kmsg.FetchRequest) { r.MaxBytes = 1 }),
	fetched("max bytes 0", "read", func(r *kmsg.FetchRequest) { r.MaxBytes = 0 }),
	fetched("partition max bytes 1", "read", func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].PartitionMaxBytes = 1 }),
	fetched("partition max bytes 0", "read", func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].PartitionMaxBytes = 0 }),
	fetched("negative limits", "read", func(r *kmsg.FetchRequest) {
		r.MaxBytes, r.MinBytes, r.MaxWaitMillis, r.Topics[0].Partitions[0].PartitionMaxBytes = -1, -1, -1, -1
	}),
	fetched("more than there is", "read", func(r *kmsg.FetchRequest) { r.MinBytes, r.MaxWaitMillis = 1<<30, 20 }),
	{name: "two partitions, two topics", ask: func(s *side, _ int16) kmsg.Request {
		req := fetchOf(s.topics["read"], 1, 3)
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, fetchOf(s.topics["read"], 0, 6).Topics[0].Partitions...)
		req.Topics = append(req.Topics, fetchOf(s.topics["empty"], 0, 0).Topics...)
		return req
	}},
	{name: "room for one batch, two partitions", ask: func(s *side, _ int16) kmsg.Request {
		req := fetchOf(s.topics["read"], 0, 0)
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, fetchOf(s.topics["read"], 1, 0).Topics[0].Partitions...)
		req.MaxBytes = 100
		return req
	}},
	{name: "one good, one bad", ask: func(s *side, _ int16) kmsg.Request {
		req := fetchOf(s.topics["read"], 0, 0)
		req.Topics = append(req.Topics, fetchOf(s.topics["nowhere"], 0, 0).Topics...)
		return req
	}},
	{name: "a partition twice", ask: func(s *side, _ int16) kmsg.Request {
		req := fetchOf(s.topics["read"], 0, 0)
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, fetchOf(s.topics["read"], 0, 9).Topics[0].Partitions...)
		return req
	}},
	fetched("no topic at all", "read", func(r *kmsg.FetchRequest) { r.Topics = nil }),
	fetched("no partition of a topic", "read", func(r *kmsg.FetchRequest) { r.Topics[0].Partitions = nil }),
	fetched("beyond the end", "read", func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].FetchOffset = 99 }),
	fetched("from -1", "read", func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].FetchOffset = -1 }),
	fetched("no such partition", "read", func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].Partition = 9 }),
	fetched("a negative partition", "read", func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].Partition = -1 }),
	fetched("a topic that is none", "nowhere", func(*kmsg.FetchRequest) {}),
	fetched("a topic without a name or id", "read", func(r *kmsg.FetchRequest) { r.Topics[0].Topic, r.Topics[0].TopicID = "", [16]byte{} }),
	only(9, 0, fetched("the leader epoch that is", "read", func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].CurrentLeaderEpoch = 0 })),
	only(9, 0, fetched("a leader epoch from ahead", "read", func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].CurrentLeaderEpoch = 99 })),
	only(12, 0, fetched("a last epoch that is", "read", func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].LastFetchedEpoch = 0 })),
	only(7, 0, fetched("a session begins", "read", func(r *kmsg.FetchRequest) { r.SessionEpoch = 0 })),
	only(7, 0, fetched("a session that is not", "read", func(r *kmsg.FetchRequest) { r.SessionID, r.SessionEpoch = 99, 5 })),
	only(7, 0, fetched("a session closes that is not", "read", func(r *kmsg.FetchRequest) { r.SessionID = 99 })),
	only(7, 0, fetched("topics to forget, no session", "read", func(r *kmsg.FetchRequest) {
		r.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{Topic: "read", Partitions: []int32{0}}}
	})),
	only(11, 0, fetched("a rack", "read", func(r *kmsg.FetchRequest) { r.Rack = "nowhere" })),
	only(4, 14, fetched("a replica that is none", "read", func(r *kmsg.FetchRequest) { r.ReplicaID = 7 })),
	only(15, 0, fetched("a replica state", "read", func(r *kmsg.FetchRequest) { r.ReplicaState.ID, r.ReplicaState.Epoch = 7, 1 })),
	fetched("the LogAppendTime topic", "appended", func(r *kmsg.FetchRequest) {}),
}

// offsetAt makes a step that looks up one offset.
func offsetAt(name, topic string, from int16, timestamp int64, edits ...func(*kmsg.ListOffsetsRequest)) step {
	return step{name: name, from: from, ask: func(s *side, _ int16) kmsg.Request {
		req := kmsg.NewPtrListOffsetsRequest()
		req.ReplicaID = -1
		rt := kmsg.NewListOffsetsRequestTopic()
		rt.Topic = s.topics[topic].name
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Timestamp, rp.CurrentLeaderEpoch = timestamp, -1
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		for _, edit := range edits {
			edit(req)
		}
		return req
	}}
}

var besideListOffsets = []step{
	offsetAt("latest", "read", 0, -1),
	offsetAt("earliest", "read", 0, -2),
	offsetAt("max timestamp", "read", 0, -3),
	offsetAt("earliest local", "read", 0, -4),
	offsetAt("latest tiered", "read", 0, -5),
	offsetAt("earliest to upload", "read", 0, -6),
	offsetAt("a timestamp that means nothing", "read", 0, -9),
	offsetAt("latest, empty", "empty", 0, -1),
	offsetAt("max timestamp, empty", "empty", 7, -3),
	offsetAt("by time, empty", "empty", 0, 5),
	offsetAt("before the first", "read", 0, 5),
	offsetAt("between two batches", "read", 0, readTime+1500),
	offsetAt("the last time", "read", 0, readTime+3000),
	offsetAt("after the last", "read", 0, readTime+3001),
	offsetAt("read committed", "read", 2, -1, func(r *kmsg.ListOffsetsRequest) { r.IsolationLevel = 1 }),
	offsetAt("an isolation level that is none", "read", 2, -1, func(r *kmsg.ListOffsetsRequest) { r.IsolationLevel = 7 }),
	offsetAt("a topic that is none", "nowhere", 0, -1),
	offsetAt("no such partition", "read", 0, -1, func(r *kmsg.ListOffsetsRequest) { r.Topics[0].Partitions[0].Partition = 9 }),
	offsetAt("a negative partition", "read", 0, -1, func(r *kmsg.ListOffsetsRequest) { r.Topics[0].Partitions[0].Partition = -1 }),
	offsetAt("a topic without a name", "read", 0, -1, func(r *kmsg.ListOffsetsRequest) { r.Topics[0].Topic = "" }),
	offsetAt("the leader epoch that is", "read", 4, -1, func(r *kmsg.ListOffsetsRequest) { r.Topics[0].Partitions[0].CurrentLeaderEpoch = 0 }),
	offsetAt("a leader epoch from ahead", "read", 4, -1, func(r *kmsg.ListOffsetsRequest) { r.Topics[0].Partitions[0].CurrentLeaderEpoch = 99 }),
	offsetAt("a partition twice", "read", 0, -1, func(r *kmsg.ListOffsetsRequest) {
		r.Topics[0].Partitions = append(r.Topics[0].Partitions, r.Topics[0].Partitions[0])
	}),
	offsetAt("no topic at all", "read", 0, -1, func(r *kmsg.ListOffsetsRequest) { r.Topics = nil }),
	offsetAt("no partition of a topic", "read", 0, -1, func(r *kmsg.ListOffsetsRequest) { r.Topics[0].Partitions = nil }),
	offsetAt("a replica that is none", "read", 0, -1, func(r *kmsg.ListOffsetsRequest) { r.ReplicaID = 7 }),
	offsetAt("a debugging replica", "read", 0, -1, func(r *kmsg.ListOffsetsRequest) { r.ReplicaID = -2 }),
	offsetAt("a timeout of nothing", "read", 10, -1, func(r *kmsg.ListOffsetsRequest) { r.TimeoutMillis = 0 }),
}

// epochAt makes a step that asks where a leader epoch ends.
func epochAt(name, topic string, edits ...func(*kmsg.OffsetForLeaderEpochRequest)) step {
	return step{name: name, ask: func(s *side, _ int16) kmsg.Request {
		req := kmsg.NewPtrOffsetForLeaderEpochRequest()
		req.ReplicaID = -1
		rt := kmsg.NewOffsetForLeaderEpochRequestTopic()
		rt.Topic = s.topics[topic].name
		rp := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		rp.CurrentLeaderEpoch = -1
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		for _, edit := range edits {
			edit(req)
		}
		return req
	}}
}

var besideEpochs = []step{
	epochAt("the epoch that is", "read"),
	epochAt("an empty partition", "empty"),
	epochAt("an epoch from ahead", "read", func(r *kmsg.OffsetForLeaderEpochRequest) { r.Topics[0].Partitions[0].LeaderEpoch = 99 }),
	epochAt("epoch -1", "read", func(r *kmsg.OffsetForLeaderEpochRequest) { r.Topics[0].Partitions[0].LeaderEpoch = -1 }),
	epochAt("epoch -5", "read", func(r *kmsg.OffsetForLeaderEpochRequest) { r.Topics[0].Partitions[0].LeaderEpoch = -5 }),
	epochAt("the current epoch told", "read", func(r *kmsg.OffsetForLeaderEpochRequest) { r.Topics[0].Partitions[0].CurrentLeaderEpoch = 0 }),
	epochAt("a current epoch from ahead", "read", func(r *kmsg.OffsetForLeaderEpochRequest) { r.Topics[0].Partitions[0].CurrentLeaderEpoch = 99 }),
	epochAt("a topic that is none", "nowhere"),
	epochAt("no such partition", "read", func(r *kmsg.OffsetForLeaderEpochRequest) { r.Topics[0].Partitions[0].Partition = 9 }),
	epochAt("no topic at all", "read", func(r *kmsg.OffsetForLeaderEpochRequest) { r.Topics = nil }),
	epochAt("a partition twice", "read", func(r *kmsg.OffsetForLeaderEpochRequest) {
		r.Topics[0].Partitions = append(r.Topics[0].Partitions, r.Topics[0].Partitions[0])
	}),
	epochAt("a replica that is none", "read", func(r *kmsg.OffsetForLeaderEpochRequest) { r.ReplicaID = 7 }),
}

func newInitProducer(transactionalID *string) *kmsg.InitProducerIDRequest {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = transactionalID, 60_000, -1, -1
	return req
}

func producerStep(name string, from int16, transactionalID *string, edits ...func(*kmsg.InitProducerIDRequest)) step {
	return step{name: name, from: from, ask: func(*side, int16) kmsg.Request {
		req := newInitProducer(transactionalID)
		for _, edit := range edits {
			edit(req)
		}
		return req
	}}
}

var besideProducers = []step{
	producerStep("no transactional id", 0, nil),
	producerStep("no transactional id, no timeout", 0, nil, func(r *kmsg.InitProducerIDRequest) { r.TransactionTimeoutMillis = 0 }),
	producerStep("no transactional id, a negative timeout", 0, nil, func(r *kmsg.InitProducerIDRequest) { r.TransactionTimeoutMillis = -1 }),
	producerStep("an empty transactional id", 0, kmsg.StringPtr("")),
	producerStep("a transactional id", 0, kmsg.StringPtr("tx")),
	producerStep("a producer id and its epoch", 3, nil, func(r *kmsg.InitProducerIDRequest) { r.ProducerID, r.ProducerEpoch = 1000, 0 }),
	producerStep("a producer id without an epoch", 3, nil, func(r *kmsg.InitProducerIDRequest) { r.ProducerID = 1000 }),
	producerStep("an epoch without a producer id", 3, nil, func(r *kmsg.InitProducerIDRequest) { r.ProducerEpoch = 3 }),
}

func deleteRecords(name, topic string, offset int64, edits ...func(*kmsg.DeleteRecordsRequest)) step {
	return step{name: name, ask: func(s *side, _ int16) kmsg.Request {
		req := kmsg.NewPtrDeleteRecordsRequest()
		req.TimeoutMillis = 10_000
		req.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: topic, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: offset}}}}
		for _, edit := range edits {
			edit(req)
		}
		return req
	}}
}

var besideDeleteRecords = []step{
	deleteRecords("to the start", "read", 0),
	deleteRecords("into a batch", "read", 4),
	deleteRecords("below the start", "read", 1),
	deleteRecords("beyond the end", "read", 99),
	deleteRecords("to -2", "read", -2),
	deleteRecords("a topic that is none", "nowhere", 1),
	deleteRecords("no such partition", "read", 1, func(r *kmsg.DeleteRecordsRequest) { r.Topics[0].Partitions[0].Partition = 9 }),
	deleteRecords("a compacted topic", "compacted", 0),
	deleteRecords("an empty partition", "empty", -1),
	deleteRecords("no topic at all", "read", 1, func(r *kmsg.DeleteRecordsRequest) { r.Topics = nil }),
	deleteRecords("no partition of a topic", "read", 1, func(r *kmsg.DeleteRecordsRequest) { r.Topics[0].Partitions = nil }),
	deleteRecords("a partition twice", "read", 5, func(r *kmsg.DeleteRecordsRequest) {
		r.Topics[0].Partitions = append(r.Topics[0].Partitions, kmsg.DeleteRecordsRequestTopicPartition{Offset: 6})
	}),
	deleteRecords("no time", "read", 6, func(r *kmsg.DeleteRecordsRequest) { r.TimeoutMillis = 0 }),
	{name: "to the end", prep: func(s *side, _ int16) {
		s.do(produceOf(s.topics["other"], -1, good()), 9)
	}, ask: func(*side, int16) kmsg.Request {
		req := kmsg.NewPtrDeleteRecordsRequest()
		req.TimeoutMillis = 10_000
		req.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: "other", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: -1}}}}
		return req
	}},
	deleteRecords("a topic of the broker's", "__consumer_offsets", 0),
}
