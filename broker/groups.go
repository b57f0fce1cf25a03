package broker

import (
	"context"

	"github.com/sluicemq/sluice/broker/coordinator"
	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage"
)

// openGroups begins to load the groups; the log is there.
func (b *Broker) openGroups() {
	b.groups = coordinator.Open(b.ctx, b.cfg.Groups, coordinator.Deps{
		Log: b.log, Topics: b.topics, NodeID: b.cfg.NodeID, Logger: b.logger,
		CreateTopic: func(ctx context.Context, name string, partitions int32, factor int16, configs map[string]string) error {
			_, err := b.topics.CreateTopic(ctx, TopicSpec{Name: name, Partitions: partitions, ReplicationFactor: factor, Configs: configs})
			if err == nil {
				b.logger.Info("topic created", "topic", name, "partitions", partitions)
			}
			return err
		},
		Brokers: func() int { return len(b.topics.Brokers()) },
	})
}

// createOffsetsTopic makes __consumer_offsets as its coordinator does on first use.
func (b *Broker) createOffsetsTopic(ctx context.Context) (*catalog.Topic, error) {
	_, err := b.groups.Find(ctx, "")
	if t, ok := b.topics.TopicByName(coordinator.OffsetsTopic); ok {
		return t, nil
	}
	b.logger.Warn("topic not created on first use", "topic", coordinator.OffsetsTopic, "err", err)
	return nil, storage.ErrUnknownPartition // retriable
}

// TopicChanged is told when the quorum has changed a topic's existence, partitions or leaders,
// after the log was told: the groups follow those of their topic.
func (b *Broker) TopicChanged(name string) {
	if name != coordinator.OffsetsTopic {
		return
	}
	select {
	case <-b.opened:
		b.groups.Follow()
	default: // Open follows
	}
}

// closeGroups ends what openGroups began.
func (b *Broker) closeGroups() {
	select {
	case <-b.opened:
		b.groups.Close()
	default: // the log never came
	}
}

// GroupsLoading counts the partitions of __consumer_offsets whose groups are still being loaded. The log must be open.
func (b *Broker) GroupsLoading() int { return b.groups.Loading() }

// Groups tells of every group that is loaded, for metrics. Nil as long as the log is not open.
func (b *Broker) Groups(ctx context.Context) []coordinator.Status {
	select {
	case <-b.opened:
		return b.groups.Groups(ctx)
	default:
		return nil
	}
}

// groupCode is codeOf, held to the codes that members take: one that stands for a partition's
// leadership or storage becomes the coordinator's, as in Kafka.
func groupCode(err error) protocol.Code {
	switch code := codeOf(err); code {
	case protocol.CodeNotLeaderOrFollower, protocol.CodeKafkaStorageError:
		return protocol.CodeNotCoordinator
	case protocol.CodeRecordListTooLarge, protocol.CodeMessageTooLarge:
		return protocol.CodeUnknownServerError
	default:
		return code
	}
}

// groupCode is the broker's, and notes what nobody foresaw.
func (c *call) groupCode(group string, err error) int16 {
	code := groupCode(err)
	if code == protocol.CodeUnknownServerError {
		c.b.logger.Error("group request failed unexpectedly", "api", c.row.name, "group", group, "err", err)
	}
	return int16(code)
}

// patiently runs a wait that may take minutes. It ends when the peer leaves or the broker stops. wait
// calls c.release once the group has what it needs of the request.
func (c *call) patiently(ctx context.Context, wait func(context.Context)) {
	c.req = nil
	if c.conn == nil { // a handler without a connection: in tests
		wait(ctx)
		return
	}
	ctx, done := c.conn.untilGone(ctx)
	defer done()
	wait(ctx)
}

// host is the peer's address as Kafka shows a member's.
func (c *call) host() string {
	if c.conn == nil {
		return ""
	}
	return "/" + remoteIP(c.conn.nc).String()
}

// groupError tells whether the caller may do to the group what the request wants.
func (c *call) groupError(group string) error {
	if !c.allowed(group) {
		return errUnauthorizedGroup
	}
	return nil
}
