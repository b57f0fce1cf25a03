package compat

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// besideCluster: leaders, the quorum, features, producers.
var besideCluster = []script{
	{43, besideElections}, {45, besideReassignments}, {46, besideListedReassignments}, {55, besideQuorum}, {57, besideFeatures}, {61, besideActiveProducers},
}

func elections(name string, kind int8, topics ...kmsg.ElectLeadersRequestTopic) step {
	return step{name: name, ask: func(*side, int16) kmsg.Request {
		req := kmsg.NewPtrElectLeadersRequest()
		req.ElectionType, req.Topics, req.TimeoutMillis = kind, topics, 10_000
		return req
	}}
}

func electing(topic string, partitions ...int32) kmsg.ElectLeadersRequestTopic {
	return kmsg.ElectLeadersRequestTopic{Topic: topic, Partitions: partitions}
}

var besideElections = []step{
	elections("preferred", 0, electing("read", 0, 1)),
	elections("unclean", 1, electing("read", 0)),
	elections("a type that is none", 9, electing("read", 0)),
	elections("a topic that is none", 0, electing("nowhere", 0)),
	elections("a bad name", 0, electing("a b", 0)),
	elections("no such partition", 0, electing("read", 9, -1)),
	elections("no partition", 0, electing("read")),
	elections("a partition twice", 0, electing("read", 0, 0)),
	elections("a topic twice", 0, electing("read", 0), electing("read", 0)),
	{name: "no topic", ask: func(*side, int16) kmsg.Request {
		req := kmsg.NewPtrElectLeadersRequest()
		req.Topics = []kmsg.ElectLeadersRequestTopic{}
		return req
	}},
}

func reassignments(name, topic string, partition int32, replicas []int32, edits ...func(*kmsg.AlterPartitionAssignmentsRequest)) step {
	return step{name: name, ask: func(*side, int16) kmsg.Request {
		req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
		req.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: topic,
			Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Partition: partition, Replicas: replicas}}}}
		for _, edit := range edits {
			edit(req)
		}
		return req
	}}
}

var besideReassignments = []step{
	reassignments("as it is", "read", 0, []int32{1}),
	reassignments("to a broker that is none", "read", 0, []int32{2}),
	reassignments("to one more", "read", 0, []int32{1, 2}),
	reassignments("to a broker twice", "read", 0, []int32{1, 1}),
	reassignments("to none", "read", 0, []int32{}),
	reassignments("to a negative broker", "read", 0, []int32{-1}),
	reassignments("cancel", "read", 0, nil),
	reassignments("no such partition", "read", 9, []int32{1}),
	reassignments("cancel no such partition", "read", -1, nil),
	reassignments("a topic that is none", "nowhere", 0, []int32{1}),
	reassignments("cancel of a topic that is none", "nowhere", 0, nil),
	reassignments("a bad name", "a b", 0, []int32{1}),
	reassignments("a partition twice", "read", 0, []int32{1}, func(r *kmsg.AlterPartitionAssignmentsRequest) {
		r.Topics[0].Partitions = append(r.Topics[0].Partitions, r.Topics[0].Partitions[0])
	}),
	reassignments("no partition", "read", 0, nil, func(r *kmsg.AlterPartitionAssignmentsRequest) { r.Topics[0].Partitions = nil }),
	reassignments("no topic", "read", 0, nil, func(r *kmsg.AlterPartitionAssignmentsRequest) { r.Topics = nil }),
	reassignments("the factor stays", "read", 0, []int32{1}, func(r *kmsg.AlterPartitionAssignmentsRequest) { r.AllowReplicationFactorChange = false }),
}

func listedReassignments(name string, topics ...kmsg.ListPartitionReassignmentsRequestTopic) step {
	return step{name: name, ask: func(*side, int16) kmsg.Request {
		req := kmsg.NewPtrListPartitionReassignmentsRequest()
		req.Topics = topics
		return req
	}}
}

var besideListedReassignments = []step{
	listedReassignments("all"),
	listedReassignments("one", kmsg.ListPartitionReassignmentsRequestTopic{Topic: "read", Partitions: []int32{0}}),
	listedReassignments("no such partition", kmsg.ListPartitionReassignmentsRequestTopic{Topic: "read", Partitions: []int32{9}}),
	listedReassignments("a topic that is none", kmsg.ListPartitionReassignmentsRequestTopic{Topic: "nowhere", Partitions: []int32{0}}),
}

func quorums(name, topic string, partitions ...int32) step {
	return step{name: name, ask: func(*side, int16) kmsg.Request {
		req := kmsg.NewPtrDescribeQuorumRequest()
		rt := kmsg.DescribeQuorumRequestTopic{Topic: topic}
		for _, p := range partitions {
			rt.Partitions = append(rt.Partitions, kmsg.DescribeQuorumRequestTopicPartition{Partition: p})
		}
		req.Topics = append(req.Topics, rt)
		return req
	}}
}

var besideQuorum = []step{
	quorums("the quorum", "__cluster_metadata", 0),
	quorums("another partition", "__cluster_metadata", 1),
	quorums("one partition more", "__cluster_metadata", 0, 1),
	quorums("no partition", "__cluster_metadata"),
	quorums("another topic", "read", 0),
	{name: "no topic", ask: func(*side, int16) kmsg.Request { return kmsg.NewPtrDescribeQuorumRequest() }},
}

// updates asks for levels above the one that is finalized for metadata.version.
func updates(name string, list ...kmsg.UpdateFeaturesRequestFeatureUpdate) step {
	return step{name: name, ask: func(s *side, v int16) kmsg.Request {
		req := kmsg.NewPtrUpdateFeaturesRequest()
		for _, u := range list {
			if u.Feature == metadataVersion {
				u.MaxVersionLevel += s.level(metadataVersion)
			}
			req.FeatureUpdates = append(req.FeatureUpdates, u)
		}
		return req
	}}
}

const metadataVersion = "metadata.version"

// level is the level that the broker says a feature is finalized at.
func (s *side) level(feature string) int16 {
	s.t.Helper()
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "compat-tests", "1"
	for _, f := range s.do(req, 4).(*kmsg.ApiVersionsResponse).FinalizedFeatures {
		if f.Name == feature {
			return f.MaxVersionLevel
		}
	}
	s.t.Fatalf("%s: no feature %s", s.addr, feature)
	return 0
}

func update(feature string, above int16, kind int8) kmsg.UpdateFeaturesRequestFeatureUpdate {
	return kmsg.UpdateFeaturesRequestFeatureUpdate{Feature: feature, MaxVersionLevel: above, UpgradeType: kind, AllowDowngrade: kind > 1}
}

var besideFeatures = []step{
	updates("nothing"),
	updates("the level that it is at", update(metadataVersion, 0, 1)),
	updates("a level above", update(metadataVersion, 1, 1)),
	updates("a level below", update(metadataVersion, -1, 1)),
	updates("a level below, downgrade", update(metadataVersion, -1, 2)),
	updates("a level below, unsafe", update(metadataVersion, -1, 3)),
	updates("a level that is none", update(metadataVersion, -100, 2)),
	updates("a feature that is none", update("no.such", 1, 1)),
	updates("no name", update("", 1, 1)),
	updates("no type", update(metadataVersion, 0, 0)),
	updates("a type that is none", update(metadataVersion, 0, 9)),
	updates("a feature twice", update(metadataVersion, 0, 1), update(metadataVersion, 0, 1)),
	updates("one good, one bad", update(metadataVersion, 0, 1), update("no.such", 1, 1)),
}

func activeProducersOf(name, topic string, partitions ...int32) step {
	return step{name: name, ask: func(*side, int16) kmsg.Request {
		req := kmsg.NewPtrDescribeProducersRequest()
		req.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: topic, Partitions: partitions}}
		return req
	}}
}

var besideActiveProducers = []step{
	activeProducersOf("a partition", "read", 0),
	activeProducersOf("no such partition", "read", 9),
	activeProducersOf("a topic that is none", "nowhere", 0),
	activeProducersOf("a bad name", "a b", 0),
	activeProducersOf("a partition twice", "read", 0, 0),
	activeProducersOf("no partition", "read"),
	{name: "no topic", ask: func(*side, int16) kmsg.Request { return kmsg.NewPtrDescribeProducersRequest() }},
}
