package load

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The versions of requests. Any broker from Kafka 2.6 to 4.x serves them.
const (
	rawProduceVersion  = 9
	rawMetadataVersion = 9
	rawCreateVersion   = 5
	rawDeleteVersion   = 5
	rawProducerVersion = 4
	rawOffsetsVersion  = 4
)

const rawPoll = 3 * time.Millisecond // between two questions whether something is done

// rawPatience bounds what a broker is asked to do. The longest is creating 10,000 partitions.
const rawPatience = 60 * time.Second

// rawTopic is a topic to be created. Its retention keeps the disk small if the broker acts on it.
type rawTopic struct {
	name       string
	partitions int
}

// createTopics creates topics with one request and returns how long the answer took.
func (c *rawConn) createTopics(topics ...rawTopic) (time.Duration, error) {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.TimeoutMillis = rawCreateVersion, int32(rawPatience/time.Millisecond)
	for _, t := range topics {
		req.Topics = append(req.Topics, t.request())
	}
	start := time.Now()
	answer, err := c.ask(req)
	took := time.Since(start)
	if err != nil {
		return took, err
	}
	for _, t := range answer.(*kmsg.CreateTopicsResponse).Topics {
		if t.ErrorCode != 0 {
			return took, answered("create topic "+t.Topic, t.ErrorCode)
		}
	}
	return took, nil
}

func (t rawTopic) request() kmsg.CreateTopicsRequestTopic {
	req := kmsg.NewCreateTopicsRequestTopic()
	req.Topic, req.NumPartitions, req.ReplicationFactor = t.name, int32(t.partitions), 1
	retention := kmsg.NewCreateTopicsRequestTopicConfig()
	retention.Name, retention.Value = "retention.bytes", kmsg.StringPtr(fmt.Sprint(64<<20))
	req.Configs = append(req.Configs, retention)
	return req
}

// deleteTopics deletes topics and returns how long the answer took. A limit of the machine
// (bench/limits) keeps its topics, since it does not serve the request.
func (c *rawConn) deleteTopics(names ...string) (time.Duration, error) {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version, req.TimeoutMillis, req.TopicNames = rawDeleteVersion, int32(rawPatience/time.Millisecond), names
	if !c.serves(req.Key(), req.Version) {
		return 0, nil
	}
	start := time.Now()
	answer, err := c.ask(req)
	took := time.Since(start)
	if err != nil {
		return took, err
	}
	for _, t := range answer.(*kmsg.DeleteTopicsResponse).Topics {
		if t.ErrorCode != 0 {
			return took, answered("delete topic "+deref(t.Topic), t.ErrorCode)
		}
	}
	return took, nil
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// metadata asks for the named topics, or for all topics if none is named.
func (c *rawConn) metadata(names ...string) (*kmsg.MetadataResponse, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.Version = rawMetadataVersion
	for _, n := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(n)
		req.Topics = append(req.Topics, t)
	}
	answer, err := c.ask(req)
	if err != nil {
		return nil, err
	}
	return answer.(*kmsg.MetadataResponse), nil
}

// awaitLeaders asks until every partition of the topic has a leader, and returns the leader's
// address. A raw client has one connection, so a topic that several brokers lead is refused.
func (c *rawConn) awaitLeaders(ctx context.Context, t rawTopic) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, rawPatience)
	defer cancel()
	for {
		resp, err := c.metadata(t.name)
		if err != nil {
			return "", err
		}
		leader, ready, err := onlyLeader(resp, t)
		if err != nil {
			return "", err
		}
		if ready {
			return brokerAddress(resp, leader)
		}
		if err := wait(ctx, rawPoll); err != nil {
			return "", fmt.Errorf("topic %s has no leader for each of its %d partitions: %w", t.name, t.partitions, err)
		}
	}
}

// onlyLeader finds the broker that leads all of the topic's partitions. It is not ready while some
// have no leader.
func onlyLeader(resp *kmsg.MetadataResponse, t rawTopic) (leader int32, ready bool, err error) {
	topic := &resp.Topics[0]
	if topic.ErrorCode == kerr.UnknownTopicOrPartition.Code || topic.ErrorCode == kerr.LeaderNotAvailable.Code {
		return 0, false, nil
	}
	if topic.ErrorCode != 0 {
		return 0, false, answered("metadata of topic "+t.name, topic.ErrorCode)
	}
	if len(topic.Partitions) < t.partitions {
		return 0, false, nil
	}
	leader = topic.Partitions[0].Leader
	for i := range topic.Partitions {
		p := &topic.Partitions[i]
		if p.ErrorCode != 0 || p.Leader < 0 {
			return 0, false, nil
		}
		if p.Leader != leader {
			return 0, false, fmt.Errorf("brokers %d and %d lead topic %s: a one-connection workload wants a cluster of one broker", leader, p.Leader, t.name)
		}
	}
	return leader, true, nil
}

func brokerAddress(resp *kmsg.MetadataResponse, id int32) (string, error) {
	for i := range resp.Brokers {
		if b := &resp.Brokers[i]; b.NodeID == id {
			return net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))), nil
		}
	}
	return "", fmt.Errorf("metadata names leader %d and not its address", id)
}

// wait sleeps until the time is over or the context ends.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
