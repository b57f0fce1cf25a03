package broker

import (
	"context"

	"github.com/sluicemq/sluice/broker/coordinator"
	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage"
)

// openGroups begins to load the groups. The log must be there.
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

// createOffsetsTopic creates __consumer_offsets in the way that the coordinator does on first use.
func (b *Broker) createOffsetsTopic(ctx context.Context) (*catalog.Topic, error) {
	_, err := b.groups.Find(ctx, "")
	if t, ok := b.topics.TopicByName(coordinator.OffsetsTopic); ok {
		return t, nil
	}
	b.logger.Warn("topic not created on first use", "topic", coordinator.OffsetsTopic, "err", err)
	return nil, storage.ErrUnknownPartition // retriable
}

// TopicChanged must be called when the quorum has changed a topic's existence, partitions or
// leaders, after the log was told. The groups follow the partitions of their topic.
func (b *Broker) TopicChanged(name string) {
	if name != coordinator.OffsetsTopic {
		return
	}
	select {
	case <-b.opened:
		b.groups.Follow()
	default: // Open calls Follow
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

// GroupsLoading counts the partitions of __consumer_offsets whose groups are still being loaded.
// The log must be open.
func (b *Broker) GroupsLoading() int { return b.groups.Loading() }

// Groups returns the status of every loaded group, for metrics. It returns nil until the log is
// open.
func (b *Broker) Groups(ctx context.Context) []coordinator.Status {
	select {
	case <-b.opened:
		return b.groups.Groups(ctx)
	default:
		return nil
	}
}

// groupCode is codeOf, restricted to the codes that members accept. A code about a partition's
// leadership or storage becomes the one about the coordinator, as in Kafka.
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

// groupCode returns the code of an outcome, and logs an error that codes does not name.
func (c *call) groupCode(group string, err error) int16 {
	code := groupCode(err)
	if code == protocol.CodeUnknownServerError {
		c.b.logger.Error("group request failed unexpectedly", "api", c.row.name, "group", group, "err", err)
	}
	return int16(code)
}

// patiently calls wait, which may take minutes. The context of wait ends when the peer leaves or
// the broker stops. wait calls c.release once the group has taken what it needs from the request.
func (c *call) patiently(ctx context.Context, wait func(context.Context)) {
	c.req = nil
	if c.conn == nil { // a test calls the handler without a connection
		wait(ctx)
		return
	}
	ctx, done := c.conn.untilGone(ctx)
	defer done()
	wait(ctx)
}

// host returns the peer's address in the form in which Kafka shows a member's.
func (c *call) host() string {
	if c.conn == nil {
		return ""
	}
	return "/" + remoteIP(c.conn.nc).String()
}

// groupError returns an error if the caller may not do to the group what the request wants.
func (c *call) groupError(group string) error {
	if !c.allowed(group) {
		return errUnauthorizedGroup
	}
	return nil
}
