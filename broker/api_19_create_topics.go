// CreateTopics, versions 2 to 7: 4 has defaults (−1), 5 is flexible and returns the configuration,
// 7 the topic id.
//
// Different from Apache Kafka: any replication factor from 1 on is accepted, stored and shown, also
// above the number of brokers. A manual assignment gives only the counts, because the cluster
// places the leaders.

package broker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func (b *Broker) createTopics(ctx context.Context, c *call, req *kmsg.CreateTopicsRequest) kmsg.Response {
	ctx, cancel := withRequestTimeout(ctx, req.TimeoutMillis)
	defer cancel()
	resp := kmsg.NewPtrCreateTopicsResponse()
	counts := map[string]int{}
	for i := range req.Topics {
		counts[req.Topics[i].Topic]++
	}
	var creations []creation
	planned := map[string]string{}
	for i := range req.Topics {
		rt := &req.Topics[i]
		var spec TopicSpec
		var err error
		switch counts[rt.Topic] {
		case 0: // it has its answer already
			continue
		case 1:
			spec, err = b.creatable(c, req, rt, planned)
		default:
			err = fmt.Errorf("%w: the topic stands twice", errInvalidRequest)
		}
		if err == nil {
			creations = append(creations, creation{len(resp.Topics), spec})
		}
		resp.Topics = append(resp.Topics, createdTopic(rt.Topic, err))
		counts[rt.Topic] = 0
	}
	changeTogether(len(creations), func(i int) {
		k := &creations[i]
		resp.Topics[k.at] = b.createTopic(ctx, k.spec, req.ValidateOnly)
	})
	return resp
}

// creation is a topic that is to be created.
type creation struct {
	at   int // index in the response
	spec TopicSpec
}

// creatable judges one topic of a request. planned has the topics before it that can be created, by
// the name that metrics give them.
func (b *Broker) creatable(c *call, req *kmsg.CreateTopicsRequest, rt *kmsg.CreateTopicsRequestTopic, planned map[string]string) (TopicSpec, error) {
	if !c.allowed(rt.Topic) {
		return TopicSpec{}, errUnauthorizedTopic
	}
	spec, err := b.topicSpec(rt)
	if err == nil {
		err = b.checkCreatable(spec, req)
	}
	if err != nil || req.ValidateOnly {
		return spec, err
	}
	metric := strings.ReplaceAll(rt.Topic, ".", "_")
	if other, ok := planned[metric]; ok {
		return spec, fmt.Errorf("%w: %q collides with topic %q", errInvalidTopic, rt.Topic, other)
	}
	planned[metric] = rt.Topic
	return spec, nil
}

// withRequestTimeout bounds the wait for a change, not the change itself. 0 or less means "do not
// wait", which this broker reads as a short moment.
func withRequestTimeout(ctx context.Context, ms int32) (context.Context, context.CancelFunc) {
	const shortest = 100 * time.Millisecond
	return context.WithTimeout(ctx, max(shortest, time.Duration(ms)*time.Millisecond))
}

func createdTopic(name string, err error) kmsg.CreateTopicsResponseTopic {
	out := kmsg.NewCreateTopicsResponseTopic()
	out.Topic, out.ErrorCode, out.ErrorMessage = name, int16(codeOf(err)), messageOf(err)
	out.NumPartitions, out.ReplicationFactor = -1, -1
	out.Configs = []kmsg.CreateTopicsResponseTopicConfig{}
	return out
}

func (b *Broker) createTopic(ctx context.Context, spec TopicSpec, validateOnly bool) kmsg.CreateTopicsResponseTopic {
	out := createdTopic(spec.Name, nil)
	if !validateOnly {
		t, err := b.topics.CreateTopic(ctx, spec)
		if err != nil {
			return createdTopic(spec.Name, err)
		}
		out.TopicID = t.ID
		b.logger.Info("topic created", "topic", t.Name, "topic_id", t.ID.String(), "partitions", len(t.Partitions))
		b.noteCompaction(t, nil)
	}
	b.showCreated(&out, spec)
	return out
}

// showCreated fills in what was decided, unless the caller may not see configurations.
func (b *Broker) showCreated(out *kmsg.CreateTopicsResponseTopic, spec TopicSpec) {
	if !b.authorize(topicDescribeConfigs, spec.Name) {
		out.ConfigErrorCode = int16(codeOf(errUnauthorizedTopic))
		out.Configs = nil
		return
	}
	out.NumPartitions, out.ReplicationFactor = spec.Partitions, spec.ReplicationFactor
	live := b.live.Load()
	for _, k := range catalog.TopicConfigKeys() {
		v, source := live.topicConfigValue(&k, spec.Configs)
		out.Configs = append(out.Configs, kmsg.CreateTopicsResponseTopicConfig{Name: k.Name, Value: kmsg.StringPtr(v), Source: int8(source)})
	}
}

// replicationFactorMax bounds how many replicas Metadata lists for each partition. The factor is
// only shown: tools that ask for three get three on one broker. Apache Kafka's bound is the number
// of brokers.
const replicationFactorMax = 32

// topicSpec validates what is asked for, and fills in the defaults.
func (b *Broker) topicSpec(rt *kmsg.CreateTopicsRequestTopic) (TopicSpec, error) {
	spec := TopicSpec{Name: rt.Topic, Partitions: rt.NumPartitions, ReplicationFactor: rt.ReplicationFactor}
	if err := validateTopicName(rt.Topic); err != nil {
		return spec, err
	}
	if len(rt.ReplicaAssignment) > 0 {
		if err := spec.assign(rt); err != nil {
			return spec, err
		}
	}
	if spec.Partitions == -1 {
		spec.Partitions = b.cfg.PartitionsDefault
	}
	if spec.ReplicationFactor == -1 {
		spec.ReplicationFactor = b.cfg.ReplicationDefault
	}
	switch {
	case spec.Partitions <= 0:
		return spec, fmt.Errorf("%w: %d", catalog.ErrInvalidPartitions, spec.Partitions)
	case spec.ReplicationFactor <= 0:
		return spec, fmt.Errorf("%w: %d", errInvalidReplication, spec.ReplicationFactor)
	case spec.ReplicationFactor > replicationFactorMax:
		return spec, fmt.Errorf("%w: %d, at most %d", errInvalidReplication, spec.ReplicationFactor, replicationFactorMax)
	}
	for _, rc := range rt.Configs {
		if rc.Value == nil {
			return spec, fmt.Errorf("%w: %s is null", catalog.ErrInvalidConfig, rc.Name)
		}
		if spec.Configs == nil {
			spec.Configs = map[string]string{}
		}
		spec.Configs[rc.Name] = *rc.Value
	}
	if spec.Configs == nil {
		return spec, nil
	}
	var err error
	spec.Configs, err = b.live.Load().topics.Check(spec.Configs)
	return spec, err
}

// assign takes the counts from a manual assignment, which has to be complete.
func (spec *TopicSpec) assign(rt *kmsg.CreateTopicsRequestTopic) error {
	if rt.NumPartitions != -1 || rt.ReplicationFactor != -1 {
		return fmt.Errorf("%w: with an assignment, partitions and replication factor must both be -1", errInvalidRequest)
	}
	spec.Partitions = int32(len(rt.ReplicaAssignment))
	spec.ReplicationFactor = int16(len(rt.ReplicaAssignment[0].Replicas))
	seen := map[int32]bool{}
	for _, a := range rt.ReplicaAssignment {
		if a.Partition < 0 || a.Partition >= spec.Partitions || seen[a.Partition] {
			return fmt.Errorf("%w: partitions must be numbered from 0, each once", errInvalidAssignment)
		}
		seen[a.Partition] = true
		if err := checkReplicas(a.Replicas, int(spec.ReplicationFactor)); err != nil {
			return err
		}
	}
	return nil
}

// checkReplicas refuses a list of replicas that is empty, has another length than wanted, or
// repeats a replica.
func checkReplicas(list []int32, want int) error {
	if len(list) == 0 || len(list) != want {
		return fmt.Errorf("%w: %d replicas, want %d", errInvalidAssignment, len(list), want)
	}
	sorted := slices.Sorted(slices.Values(list)) // a request may name two million
	for i := 1; i < len(sorted); i++ {
		if sorted[i] == sorted[i-1] {
			return fmt.Errorf("%w: broker %d stands twice", errInvalidAssignment, sorted[i])
		}
	}
	return nil
}

// checkCreatable judges a valid spec against the topics that exist and against the size of the
// request.
func (b *Broker) checkCreatable(spec TopicSpec, req *kmsg.CreateTopicsRequest) error {
	var total int64
	for i := range req.Topics {
		total += max(int64(req.Topics[i].NumPartitions), int64(len(req.Topics[i].ReplicaAssignment)))
	}
	if total > partitionsPerRequestMax {
		return fmt.Errorf("%w: %d partitions in one request, at most %d", errPolicy, total, partitionsPerRequestMax)
	}
	if _, ok := b.topics.TopicByName(spec.Name); ok {
		return fmt.Errorf("%w: %q", catalog.ErrTopicExists, spec.Name)
	}
	return b.checkCollision(spec.Name)
}
