package broker

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/sluicemq/sluice/broker/coordinator"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// seeds are requests that reach deep into their handlers.
func seeds(t testing.TB) []kmsg.Request {
	s := kmsg.StringPtr
	all := []kmsg.Request{
		produceRequest("t", plainBatch(t, "a"), plainBatch(t, "b")), fetchRequest("t", 0, 1, 1),
		&kmsg.ListOffsetsRequest{Topics: []kmsg.ListOffsetsRequestTopic{{Topic: "t", Partitions: []kmsg.ListOffsetsRequestTopicPartition{{Timestamp: -1}}}}},
		&kmsg.MetadataRequest{AllowAutoTopicCreation: true, Topics: []kmsg.MetadataRequestTopic{{Topic: s("t")}, {Topic: s("new")}}},
		&kmsg.ApiVersionsRequest{ClientSoftwareName: "a", ClientSoftwareVersion: "b"},
		&kmsg.CreateTopicsRequest{Topics: []kmsg.CreateTopicsRequestTopic{{Topic: "x", NumPartitions: -1, ReplicationFactor: -1, ReplicaAssignment: []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Replicas: []int32{1}}}, Configs: []kmsg.CreateTopicsRequestTopicConfig{{Name: "retention.ms", Value: s("1")}}}}},
		&kmsg.DeleteTopicsRequest{TopicNames: []string{"x"}, Topics: []kmsg.DeleteTopicsRequestTopic{{Topic: s("x")}}},
		deleteRequest("t", 0, -1, 1, 0, 0, 5),
		kmsg.NewPtrInitProducerIDRequest(),
		&kmsg.DescribeLogDirsRequest{Topics: []kmsg.DescribeLogDirsRequestTopic{{Topic: "t", Partitions: []int32{0, 1, 9}}}},
		&kmsg.OffsetForLeaderEpochRequest{Topics: []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{{}}}}},
		&kmsg.DescribeConfigsRequest{Resources: []kmsg.DescribeConfigsRequestResource{{ResourceType: 2, ResourceName: "t"}, {ResourceType: 4, ResourceName: "1"}}},
		&kmsg.AlterConfigsRequest{Resources: []kmsg.AlterConfigsRequestResource{{ResourceType: 2, ResourceName: "t", Configs: []kmsg.AlterConfigsRequestResourceConfig{{Name: "retention.ms", Value: s("1")}}}}},
		&kmsg.CreatePartitionsRequest{Topics: []kmsg.CreatePartitionsRequestTopic{{Topic: "t", Count: 3}}},
		&kmsg.IncrementalAlterConfigsRequest{Resources: []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: 2, ResourceName: "t", Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "cleanup.policy", Op: 2, Value: s("compact")}}}}},
		&kmsg.DescribeClusterRequest{EndpointType: 1},
		&kmsg.DescribeTopicPartitionsRequest{Topics: []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "t"}}, Cursor: &kmsg.DescribeTopicPartitionsRequestCursor{Topic: "t", Partition: 1}},
	}
	for _, request := range groupRequests("t", ident.TopicID{}) {
		all = append(all, request(0))
	}
	return all
}

// FuzzServe: any frame of any served API and version is refused, or answered with a frame that kmsg
// reads. Nothing panics, and the budgets are whole afterwards.
func FuzzServe(f *testing.F) {
	for _, req := range seeds(f) {
		a := apis[req.Key()]
		for version := a.versions.low; version <= a.versions.high; version++ {
			req.SetVersion(version)
			f.Add(requestFrame(req, 1, "fuzz")[protocol.FrameLengthBytes:])
		}
	}
	for _, frame := range captured(f) {
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, bytes []byte) {
		topics := newMemoryTopics(Node{ID: 1, Host: "h", Port: 1})
		b, err := New(Config{NodeID: 1, IdleTimeout: time.Nanosecond, Groups: coordinator.Config{Partitions: 1, InitialRebalanceDelay: -1}}, Deps{Log: newMemoryLog(topics), Topics: topics, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer b.closeGroups()
		// A member of a fuzzed group may wait for another.
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		topics.create(t, "t", 2, map[string]string{"compression.type": "lz4"})
		if _, err := b.groups.Find(ctx, "g"); err != nil {
			t.Fatal(err)
		}
		header, err := protocol.ParseRequestPrefix(bytes)
		if err != nil {
			return
		}
		a, err := lookup(header.Key, header.Version)
		if err != nil {
			return
		}
		c, err := b.decode(&frame{row: a, header: header, bytes: bytes})
		if err != nil {
			b.wantBudgetsWhole(t)
			return
		}
		kind := c.req.ResponseKind() // a handler that waits lets the request go
		checkAnswer(t, c, kind, serveOne(ctx, t, b, c))
	})
}

func serveOne(ctx context.Context, t *testing.T, b *Broker, c *call) []byte {
	if c.row.place == nil {
		buffers, n, err := c.row.handle(b, ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		var out []byte
		for _, part := range buffers {
			out = append(out, part...)
		}
		if len(out) != n {
			t.Fatalf("%d bytes, said %d", len(out), n)
		}
		return out
	}
	p := c.row.place(b, c)
	p.conn = newConn(b, nil)
	p.place(b)
	return p.appendAnswer(nil, 0)
}

func checkAnswer(t *testing.T, c *call, resp kmsg.Response, frame []byte) {
	resp.SetVersion(c.version)
	body := frame[8:]
	if protocol.Flexible(c.header.Key, c.version) && c.header.Key != apiVersionsKey {
		body = body[1:]
	}
	if err := resp.ReadFrom(body); err != nil {
		t.Fatalf("%s version %d: %v\n%x", c.row.name, c.version, err, frame)
	}
}
