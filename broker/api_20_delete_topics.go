// DeleteTopics, versions 1 to 6: 4 is flexible, 5 has error messages, 6 takes names or ids.
//
// Different from Apache Kafka: an internal topic is not deleted, since the state of all groups
// would go with it. The answer is INVALID_TOPIC_EXCEPTION.

package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	deletionOffVersion = 3
	deleteByIDVersion  = 6
)

func (b *Broker) deleteTopics(ctx context.Context, c *call, req *kmsg.DeleteTopicsRequest) kmsg.Response {
	ctx, cancel := withRequestTimeout(ctx, req.TimeoutMillis)
	defer cancel()
	asked := req.Topics
	if c.version < deleteByIDVersion {
		asked = nil
		for _, name := range req.TopicNames {
			asked = append(asked, kmsg.DeleteTopicsRequestTopic{Topic: kmsg.StringPtr(name)})
		}
	}
	resp := kmsg.NewPtrDeleteTopicsResponse()
	topics, errs := b.topicsToDelete(c, asked)
	resp.Topics = make([]kmsg.DeleteTopicsResponseTopic, len(asked))
	changeTogether(len(asked), func(i int) {
		out := kmsg.NewDeleteTopicsResponseTopic()
		out.Topic, out.TopicID = asked[i].Topic, asked[i].TopicID
		err := errs[i]
		if b.cfg.TopicDeletionOff {
			err = deletionOff(c)
		}
		if err == nil {
			out.Topic, out.TopicID = kmsg.StringPtr(topics[i].Name), topics[i].ID
			err = b.deleteTopic(ctx, topics[i])
		}
		out.ErrorCode, out.ErrorMessage = int16(codeOf(err)), messageOf(err)
		resp.Topics[i] = out
	})
	return resp
}

// deletionOff returns the refusal that clients of a version know.
func deletionOff(c *call) error {
	if c.version < deletionOffVersion {
		return fmt.Errorf("%w: %w", errInvalidRequest, errDeletionOff)
	}
	return errDeletionOff
}

// topicsToDelete looks up every topic before any is deleted. A topic that is named twice is refused
// both times.
func (b *Broker) topicsToDelete(c *call, asked []kmsg.DeleteTopicsRequestTopic) ([]*catalog.Topic, []error) {
	topics, errs := make([]*catalog.Topic, len(asked)), make([]error, len(asked))
	counts := map[ident.TopicID]int{}
	for i := range asked {
		topics[i], errs[i] = b.topicToDelete(c, &asked[i])
		if errs[i] == nil && internalTopics[topics[i].Name] {
			errs[i] = fmt.Errorf("%w: %s is the broker's", errInvalidTopic, topics[i].Name)
		}
		if errs[i] == nil {
			counts[topics[i].ID]++
		}
	}
	for i := range asked {
		if errs[i] == nil && counts[topics[i].ID] > 1 {
			errs[i] = fmt.Errorf("%w: the topic stands twice", errInvalidRequest)
		}
	}
	return topics, errs
}

func (b *Broker) topicToDelete(c *call, rt *kmsg.DeleteTopicsRequestTopic) (*catalog.Topic, error) {
	id := ident.TopicID(rt.TopicID)
	if (rt.Topic != nil) == !id.IsZero() {
		return nil, fmt.Errorf("%w: either a name or an id", errInvalidRequest)
	}
	if rt.Topic != nil {
		if !c.allowed(*rt.Topic) {
			return nil, errUnauthorizedTopic
		}
		if t, ok := b.topics.TopicByName(*rt.Topic); ok {
			return t, nil
		}
		return nil, storage.ErrUnknownPartition
	}
	t, ok := b.topics.TopicByID(id)
	switch {
	case !ok, !c.allowed(t.Name) && !b.authorize(topicDescribe, t.Name):
		// A caller that may not see a topic does not learn that it exists.
		return nil, errUnknownTopicID
	case !c.allowed(t.Name):
		return nil, errUnauthorizedTopic
	}
	return t, nil
}

func (b *Broker) deleteTopic(ctx context.Context, t *catalog.Topic) error {
	err := b.topics.DeleteTopic(ctx, t.ID)
	if err == nil {
		b.logger.Info("topic deleted", "topic", t.Name, "topic_id", t.ID.String())
	}
	if errors.Is(err, catalog.ErrTopicNotFound) {
		return storage.ErrUnknownPartition
	}
	return err
}
