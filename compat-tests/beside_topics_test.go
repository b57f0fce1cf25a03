package compat

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var besideTopics = []script{
	{18, besideApiVersions}, {3, besideMetadata}, {75, besideDescribeTopics}, {60, besideDescribeCluster},
	{19, besideCreateTopics}, {37, besideCreatePartitions}, {20, besideDeleteTopics},
}

func askedVersions(name string, from int16, software, version string) step {
	return step{name: name, from: from, ask: func(*side, int16) kmsg.Request {
		req := kmsg.NewPtrApiVersionsRequest()
		req.ClientSoftwareName, req.ClientSoftwareVersion = software, version
		return req
	}}
}

var besideApiVersions = []step{
	askedVersions("what is served", 0, "compat-tests", "1.0"),
	askedVersions("what is served, again", 0, "compat-tests", "1.0"),
	askedVersions("software without a name", 3, "", "1.0"),
	askedVersions("software without a version", 3, "compat-tests", ""),
	askedVersions("software with an odd name", 3, "-a b-", "1.0"),
}

// asked makes a step that asks for the metadata of topics.
func asked(name string, from int16, edit func(s *side, r *kmsg.MetadataRequest), topics ...string) step {
	return step{name: name, from: from, ask: func(s *side, v int16) kmsg.Request {
		req := kmsg.NewPtrMetadataRequest()
		req.Topics = []kmsg.MetadataRequestTopic{}
		for _, topic := range topics {
			rt := kmsg.NewMetadataRequestTopic()
			rt.Topic = kmsg.StringPtr(topic)
			req.Topics = append(req.Topics, rt)
		}
		req.AllowAutoTopicCreation = false
		if edit != nil {
			edit(s, req)
		}
		return req
	}}
}

func byID(topic string) func(*side, *kmsg.MetadataRequest) {
	return func(s *side, r *kmsg.MetadataRequest) {
		r.Topics = []kmsg.MetadataRequestTopic{{TopicID: s.topics[topic].id}}
	}
}

var besideMetadata = []step{
	asked("all topics", 0, func(_ *side, r *kmsg.MetadataRequest) { r.Topics = nil }),
	asked("no topics", 0, nil),
	asked("a topic", 0, nil, "read"),
	asked("topics, one twice", 0, nil, "read", "described", "read"),
	asked("a topic that is none", 4, nil, "nowhere"),
	asked("a bad name", 0, nil, "a b"),
	asked("an empty name", 0, nil, ""),
	asked("a long name", 0, nil, strings.Repeat("x", 250)),
	asked("a dot", 0, nil, "."),
	asked("a bad name, to be created", 4, func(_ *side, r *kmsg.MetadataRequest) { r.AllowAutoTopicCreation = true }, "a b"),
	asked("operations", 8, func(_ *side, r *kmsg.MetadataRequest) {
		r.IncludeTopicAuthorizedOperations = true
	}, "read"),
	asked("operations on the cluster", 8, func(_ *side, r *kmsg.MetadataRequest) {
		r.IncludeClusterAuthorizedOperations = true
	}, "read"),
	asked("a topic by id", 10, byID("read")),
	asked("a topic by an id that is none", 10, byID("nowhere")),
	asked("neither name nor id", 10, func(_ *side, r *kmsg.MetadataRequest) { r.Topics = []kmsg.MetadataRequestTopic{{}} }),
	asked("a name and an id", 10, func(s *side, r *kmsg.MetadataRequest) {
		r.Topics = []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr("read"), TopicID: s.topics["read"].id}}
	}),
	{name: "a new topic", ask: func(_ *side, v int16) kmsg.Request {
		req := kmsg.NewPtrMetadataRequest()
		req.AllowAutoTopicCreation = true
		req.Topics = []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr(fmt.Sprintf("asked-for-%d", v))}}
		return req
	}, after: func(s *side, resp kmsg.Response) {
		for _, t := range resp.(*kmsg.MetadataResponse).Topics {
			s.names.Topics[t.TopicID] = *t.Topic
		}
	}},
}

func describedTopics(name string, edit func(s *side, r *kmsg.DescribeTopicPartitionsRequest), topics ...string) step {
	return step{name: name, ask: func(s *side, _ int16) kmsg.Request {
		req := kmsg.NewPtrDescribeTopicPartitionsRequest()
		for _, topic := range topics {
			req.Topics = append(req.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: topic})
		}
		if edit != nil {
			edit(s, req)
		}
		return req
	}}
}

func cursor(topic string, partition int32) *kmsg.DescribeTopicPartitionsRequestCursor {
	return &kmsg.DescribeTopicPartitionsRequestCursor{Topic: topic, Partition: partition}
}

var besideDescribeTopics = []step{
	describedTopics("a topic", nil, "described"),
	describedTopics("topics, one twice", nil, "read", "described", "read"),
	describedTopics("a topic that is none", nil, "nowhere"),
	describedTopics("a bad name", nil, "a b"),
	describedTopics("an empty name", nil, ""),
	describedTopics("a limit of two", func(_ *side, r *kmsg.DescribeTopicPartitionsRequest) { r.ResponsePartitionLimit = 2 }, "described", "read"),
	describedTopics("a limit of three", func(_ *side, r *kmsg.DescribeTopicPartitionsRequest) { r.ResponsePartitionLimit = 3 }, "described", "read"),
	describedTopics("a limit of nothing", func(_ *side, r *kmsg.DescribeTopicPartitionsRequest) { r.ResponsePartitionLimit = 0 }, "described"),
	describedTopics("a negative limit", func(_ *side, r *kmsg.DescribeTopicPartitionsRequest) { r.ResponsePartitionLimit = -1 }, "described"),
	describedTopics("a cursor", func(_ *side, r *kmsg.DescribeTopicPartitionsRequest) { r.Cursor = cursor("described", 1) }, "described", "read"),
	describedTopics("a cursor on a partition that is none", func(_ *side, r *kmsg.DescribeTopicPartitionsRequest) { r.Cursor = cursor("described", 9) }, "described", "read"),
	describedTopics("a cursor on a negative partition", func(_ *side, r *kmsg.DescribeTopicPartitionsRequest) { r.Cursor = cursor("described", -1) }, "described"),
	describedTopics("a cursor on a topic not asked for", func(_ *side, r *kmsg.DescribeTopicPartitionsRequest) { r.Cursor = cursor("other", 0) }, "described", "read"),
}

var besideDescribeCluster = []step{
	{name: "the cluster", ask: func(*side, int16) kmsg.Request { return describeCluster(1, false) }},
	{name: "operations", ask: func(*side, int16) kmsg.Request { return describeCluster(1, true) }},
	{name: "fenced brokers too", from: 2, ask: func(*side, int16) kmsg.Request {
		r := describeCluster(1, false)
		r.IncludeFencedBrokers = true
		return r
	}},
	{name: "the controllers", from: 1, ask: func(*side, int16) kmsg.Request { return describeCluster(2, false) }},
	{name: "an endpoint that is none", from: 1, ask: func(*side, int16) kmsg.Request { return describeCluster(7, false) }},
}

func describeCluster(endpoint int8, operations bool) *kmsg.DescribeClusterRequest {
	r := kmsg.NewPtrDescribeClusterRequest()
	r.EndpointType, r.IncludeClusterAuthorizedOperations = endpoint, operations
	return r
}

// created makes a step that creates a topic. Every version has a name of its own for it.
func created(name, topic string, edits ...func(v int16, r *kmsg.CreateTopicsRequest)) step {
	return step{name: name, ask: func(_ *side, v int16) kmsg.Request {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.TimeoutMillis = 10_000
		rt := kmsg.NewCreateTopicsRequestTopic()
		rt.Topic, rt.NumPartitions, rt.ReplicationFactor = strings.ReplaceAll(topic, "#", fmt.Sprint(v)), 1, 1
		req.Topics = append(req.Topics, rt)
		for _, edit := range edits {
			edit(v, req)
		}
		return req
	}, after: func(s *side, resp kmsg.Response) {
		for _, t := range resp.(*kmsg.CreateTopicsResponse).Topics {
			if t.ErrorCode == 0 && t.TopicID != [16]byte{} {
				s.names.Topics[t.TopicID] = t.Topic
			}
		}
	}}
}

func counts(partitions int32, replicas int16) func(int16, *kmsg.CreateTopicsRequest) {
	return func(_ int16, r *kmsg.CreateTopicsRequest) {
		r.Topics[0].NumPartitions, r.Topics[0].ReplicationFactor = partitions, replicas
	}
}

// placedOn places replicas by hand, those of partition 0 first. Only broker 1 exists.
func placedOn(replicas ...[]int32) func(int16, *kmsg.CreateTopicsRequest) {
	return func(_ int16, r *kmsg.CreateTopicsRequest) {
		r.Topics[0].NumPartitions, r.Topics[0].ReplicationFactor = -1, -1
		for i, list := range replicas {
			r.Topics[0].ReplicaAssignment = append(r.Topics[0].ReplicaAssignment,
				kmsg.CreateTopicsRequestTopicReplicaAssignment{Partition: int32(i), Replicas: list})
		}
	}
}

func configured(name string, value *string) func(int16, *kmsg.CreateTopicsRequest) {
	return func(_ int16, r *kmsg.CreateTopicsRequest) {
		r.Topics[0].Configs = append(r.Topics[0].Configs, kmsg.CreateTopicsRequestTopicConfig{Name: name, Value: value})
	}
}

func onlyValidate(_ int16, r *kmsg.CreateTopicsRequest) { r.ValidateOnly = true }

var besideCreateTopics = []step{
	created("a topic", "made-#"),
	created("a topic that is there", "made-#"),
	created("three partitions", "made-three-#", counts(3, 1)),
	created("three partitions and configs", "made-configs-#", counts(3, 1), configured("retention.ms", kmsg.StringPtr("5000")), configured("cleanup.policy", kmsg.StringPtr("compact,delete"))),
	only(4, 0, created("defaults", "made-default-#", counts(-1, -1))),
	created("by assignment", "made-placed-#", placedOn([]int32{1}, []int32{1})),
	created("to a broker that is none", "made-bad", placedOn([]int32{7})),
	created("to a broker twice", "made-bad", placedOn([]int32{1, 1})),
	created("to no broker", "made-bad", placedOn([]int32{})),
	created("to uneven brokers", "made-bad", placedOn([]int32{1}, []int32{})),
	created("an assignment and counts", "made-bad", placedOn([]int32{1}), counts(1, 1)),
	created("an assignment with a hole", "made-bad", placedOn([]int32{1}, []int32{1}), func(_ int16, r *kmsg.CreateTopicsRequest) {
		r.Topics[0].ReplicaAssignment[1].Partition = 5
	}),
	created("an assignment of a partition twice", "made-bad", placedOn([]int32{1}, []int32{1}), func(_ int16, r *kmsg.CreateTopicsRequest) {
		r.Topics[0].ReplicaAssignment[1].Partition = 0
	}),
	created("only validate", "made-never", onlyValidate),
	created("only validate what is there", "plain", onlyValidate),
	created("only validate configs", "made-never", onlyValidate, configured("retention.ms", kmsg.StringPtr("5000"))),
	created("a bad name", "a b"),
	created("an empty name", ""),
	created("a dot", "."),
	created("a name too long", strings.Repeat("x", 250)),
	created("a name that collides", "made_1.2", func(v int16, r *kmsg.CreateTopicsRequest) {
		r.Topics[0].Topic = fmt.Sprintf("made.x-%d", v)
	}),
	created("a name that does collide", "made_1.2", func(v int16, r *kmsg.CreateTopicsRequest) {
		r.Topics[0].Topic = fmt.Sprintf("made_x-%d", v)
	}),
	created("no partition", "made-bad", counts(0, 1)),
	created("-2 partitions", "made-bad", counts(-2, 1)),
	created("no replica", "made-bad", counts(1, 0)),
	created("-2 replicas", "made-bad", counts(1, -2)),
	created("three replicas", "made-replicas-#", counts(1, 3)),
	created("an unknown config", "made-bad", configured("no.such", kmsg.StringPtr("1"))),
	created("a bad config", "made-bad", configured("retention.ms", kmsg.StringPtr("soon"))),
	created("a config out of range", "made-bad", configured("segment.bytes", kmsg.StringPtr("1"))),
	created("a config of null", "made-null-#", configured("retention.ms", nil)),
	created("a config twice", "made-twice-#", configured("retention.ms", kmsg.StringPtr("5000")), configured("retention.ms", kmsg.StringPtr("6000"))),
	created("tiers", "made-bad", configured("remote.storage.enable", kmsg.StringPtr("true"))),
	created("a topic twice", "made-bad", func(_ int16, r *kmsg.CreateTopicsRequest) { r.Topics = append(r.Topics, r.Topics[0]) }),
	created("one good, one bad", "made-good-#", func(_ int16, r *kmsg.CreateTopicsRequest) {
		bad := r.Topics[0]
		bad.Topic = "a b"
		r.Topics = append(r.Topics, bad)
	}),
	created("no topic", "made-bad", func(_ int16, r *kmsg.CreateTopicsRequest) { r.Topics = nil }),
	created("no time", "made-notime-#", func(_ int16, r *kmsg.CreateTopicsRequest) { r.TimeoutMillis = 0 }),
}

// more makes a step that adds partitions to a topic of its own, which has two.
func more(name string, count int32, edits ...func(*kmsg.CreatePartitionsRequest)) step {
	topic := "more-" + strings.ReplaceAll(name, " ", "-")
	topic = strings.ReplaceAll(topic, ",", "")
	return step{name: name, prep: func(s *side, v int16) { s.topic(fmt.Sprintf("%s-%d", topic, v), 2) }, ask: func(_ *side, v int16) kmsg.Request {
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.TimeoutMillis = 10_000
		req.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: fmt.Sprintf("%s-%d", topic, v), Count: count}}
		for _, edit := range edits {
			edit(req)
		}
		return req
	}}
}

// less makes a step like more, with a request that changes nothing, so that the step can use a
// topic that others use, too.
func less(name string, count int32, edits ...func(*kmsg.CreatePartitionsRequest)) step {
	ours := func(r *kmsg.CreatePartitionsRequest) { r.Topics[0].Topic = "untouched" }
	return unprepared(more(name, count, append([]func(*kmsg.CreatePartitionsRequest){ours}, edits...)...))
}

func placed(replicas ...[]int32) func(*kmsg.CreatePartitionsRequest) {
	return func(r *kmsg.CreatePartitionsRequest) {
		for _, list := range replicas {
			r.Topics[0].Assignment = append(r.Topics[0].Assignment, kmsg.CreatePartitionsRequestTopicAssignment{Replicas: list})
		}
	}
}

// unprepared is a step without the state that other steps of its kind need.
func unprepared(st step) step {
	st.prep = nil
	return st
}

var besideCreatePartitions = []step{
	more("two more", 4),
	less("as many", 2),
	less("fewer", 1),
	less("none", 0),
	less("minus one", -1),
	more("placed", 3, placed([]int32{1})),
	less("placed, too few", 4, placed([]int32{1})),
	less("placed, too many", 3, placed([]int32{1}, []int32{1})),
	more("placed on no broker", 3, placed([]int32{7})),
	less("placed nowhere", 3, placed([]int32{})),
	less("placed on two", 3, placed([]int32{1, 2})),
	less("only validate", 4, func(r *kmsg.CreatePartitionsRequest) { r.ValidateOnly = true }),
	less("only validate, fewer", 1, func(r *kmsg.CreatePartitionsRequest) { r.ValidateOnly = true }),
	more("a topic twice", 4, func(r *kmsg.CreatePartitionsRequest) { r.Topics = append(r.Topics, r.Topics[0]) }),
	unprepared(more("a topic that is none", 4, func(r *kmsg.CreatePartitionsRequest) { r.Topics[0].Topic = "nowhere" })),
	unprepared(more("an empty name", 4, func(r *kmsg.CreatePartitionsRequest) { r.Topics[0].Topic = "" })),
	unprepared(more("a bad name", 4, func(r *kmsg.CreatePartitionsRequest) { r.Topics[0].Topic = "a b" })),
	unprepared(more("no topic", 4, func(r *kmsg.CreatePartitionsRequest) { r.Topics = nil })),
}

// deleted makes a step that deletes topics by name, and from version 6 on also those that edit
// adds.
func deleted(name string, edit func(s *side, r *kmsg.DeleteTopicsRequest), topics ...string) step {
	return step{name: name, ask: func(s *side, v int16) kmsg.Request {
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.TimeoutMillis = 10_000
		for _, topic := range topics {
			topic = strings.ReplaceAll(topic, "#", fmt.Sprint(v))
			req.TopicNames = append(req.TopicNames, topic)
			req.Topics = append(req.Topics, kmsg.DeleteTopicsRequestTopic{Topic: &topic})
		}
		if edit != nil {
			edit(s, req)
		}
		return req
	}}
}

// having gives a step topics of its own. # in their names stands for the version.
func having(st step, topics ...string) step {
	st.prep = func(s *side, v int16) {
		for _, topic := range topics {
			s.topic(strings.ReplaceAll(topic, "#", fmt.Sprint(v)), 1)
		}
	}
	return st
}

func deleteByID(topic string) func(*side, *kmsg.DeleteTopicsRequest) {
	return func(s *side, r *kmsg.DeleteTopicsRequest) {
		r.Topics = append(r.Topics, kmsg.DeleteTopicsRequestTopic{TopicID: s.topics[topic].id})
	}
}

var besideDeleteTopics = []step{
	having(deleted("a topic", nil, "gone-#"), "gone-#"),
	having(deleted("two topics, one that is none", nil, "gone-one-#", "nowhere", "gone-two-#"), "gone-one-#", "gone-two-#"),
	having(deleted("a topic twice", nil, "gone-twice-#", "gone-twice-#"), "gone-twice-#"),
	deleted("a topic that is none", nil, "nowhere"),
	deleted("a bad name", nil, "a b"),
	deleted("an empty name", nil, ""),
	deleted("nothing", nil),
	only(6, 0, having(deleted("by id", deleteByID("gone-id-6")), "gone-id-#")),
	only(6, 0, deleted("by an id that is none", deleteByID("nowhere"))),
	only(6, 0, having(deleted("by name and id", func(s *side, r *kmsg.DeleteTopicsRequest) {
		r.Topics[0].TopicID = s.topics["gone-both-6"].id
	}, "gone-both-#"), "gone-both-#")),
	only(6, 0, having(deleted("by name, and by id again", deleteByID("gone-again-6"), "gone-again-#"), "gone-again-#")),
	only(6, 0, deleted("neither name nor id", func(_ *side, r *kmsg.DeleteTopicsRequest) {
		r.Topics = []kmsg.DeleteTopicsRequestTopic{{}}
	})),
}
