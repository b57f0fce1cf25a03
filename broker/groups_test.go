package broker

import (
	"testing"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// groupRequests are requests of the group APIs that reach deep, by key, about group "g" and a topic.
func groupRequests(topic string, id ident.TopicID) map[int16]func(version int16) kmsg.Request {
	s := kmsg.StringPtr
	return map[int16]func(version int16) kmsg.Request{
		8: func(int16) kmsg.Request { return commitRequest("g", topic, id, -1, "", 5) },
		9: func(int16) kmsg.Request {
			return &kmsg.OffsetFetchRequest{
				Group:  "g",
				Topics: []kmsg.OffsetFetchRequestTopic{{Topic: topic, Partitions: []int32{0}}},
				Groups: []kmsg.OffsetFetchRequestGroup{{Group: "g", Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: topic, TopicID: id, Partitions: []int32{0}}}}},
			}
		},
		10: func(int16) kmsg.Request {
			return &kmsg.FindCoordinatorRequest{CoordinatorKey: "g", CoordinatorKeys: []string{"g", "h"}}
		},
		11: func(int16) kmsg.Request {
			return &kmsg.JoinGroupRequest{
				Group: "g", SessionTimeoutMillis: 10_000, RebalanceTimeoutMillis: 10_000, ProtocolType: "consumer", InstanceID: s("i"),
				Protocols: []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte{0, 0, 0, 0, 0, 0, 255, 255, 255, 255}}},
			}
		},
		12: func(int16) kmsg.Request { return &kmsg.HeartbeatRequest{Group: "g", MemberID: "m"} },
		13: func(int16) kmsg.Request {
			return &kmsg.LeaveGroupRequest{Group: "g", MemberID: "m", Members: []kmsg.LeaveGroupRequestMember{{MemberID: "m"}, {InstanceID: s("i")}}}
		},
		14: func(int16) kmsg.Request {
			return &kmsg.SyncGroupRequest{
				Group: "g", MemberID: "m", ProtocolType: s("consumer"), Protocol: s("range"),
				GroupAssignment: []kmsg.SyncGroupRequestGroupAssignment{{MemberID: "m", MemberAssignment: []byte("x")}},
			}
		},
		15: func(int16) kmsg.Request { return &kmsg.DescribeGroupsRequest{Groups: []string{"g"}} },
		16: func(int16) kmsg.Request { return kmsg.NewPtrListGroupsRequest() },
		42: func(int16) kmsg.Request { return &kmsg.DeleteGroupsRequest{Groups: []string{"g"}} },
		47: func(int16) kmsg.Request {
			return &kmsg.OffsetDeleteRequest{Group: "g", Topics: []kmsg.OffsetDeleteRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}}}}}
		},
	}
}

// commitRequest commits one offset of partition 0.
func commitRequest(group, topic string, id ident.TopicID, generation int32, member string, offset int64) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation, req.MemberID = group, generation, member
	rp := kmsg.NewOffsetCommitRequestTopicPartition()
	rp.Offset = offset
	req.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: topic, TopicID: id, Partitions: []kmsg.OffsetCommitRequestTopicPartition{rp}}}
	return req
}

func TestFindCoordinator(t *testing.T) {
	h := startTCP(t, Config{})
	c := h.dial(t)
	if _, ok := h.topics.TopicByName("__consumer_offsets"); ok {
		t.Fatal("the topic is there before it is needed")
	}
	for _, tc := range []struct {
		keyType      int8
		version      int16
		want         protocol.Code
		wantsMessage string
	}{
		{0, 0, 0, ""}, {9, 0, 0, ""}, {0, 1, 0, "NONE"}, {0, 3, 0, "NONE"}, {0, 4, 0, ""}, {0, 6, 0, ""},
		{1, 1, 53, "transactions"}, {1, 6, 53, "transactions"}, {2, 5, 42, "key type 2"}, {2, 6, 15, "coordinator"}, {9, 1, 42, "key type 9"}, {9, 6, 42, "key type 9"},
	} {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorType, req.CoordinatorKey, req.CoordinatorKeys = tc.keyType, "a", []string{"a", "", "a"}
		resp := ask[*kmsg.FindCoordinatorResponse](c, req, tc.version)
		all := resp.Coordinators
		if tc.version < 4 {
			all = []kmsg.FindCoordinatorResponseCoordinator{{Key: "a", ErrorCode: resp.ErrorCode, ErrorMessage: resp.ErrorMessage, NodeID: resp.NodeID, Host: resp.Host, Port: resp.Port}}
		} else if len(all) != 3 || all[1].Key != "" {
			t.Errorf("type %d version %d: %+v", tc.keyType, tc.version, resp)
		}
		for _, one := range all {
			wantCode(t, req.CoordinatorKey, one.ErrorCode, tc.want)
			if found := one.NodeID == 1 && one.Host == "127.0.0.1" && one.Port != 0; found != (tc.want == 0) {
				t.Errorf("type %d version %d: %+v", tc.keyType, tc.version, one)
			}
			if one.Port <= 0 && one.Port != -1 || one.NodeID == 0 {
				t.Errorf("type %d version %d: %+v", tc.keyType, tc.version, one)
			}
		}
	}
	topic, ok := h.topics.TopicByName("__consumer_offsets")
	if !ok || len(topic.Partitions) != 50 || topic.ReplicationFactor != 1 || topic.Configs["cleanup.policy"] != "compact" || topic.Configs["segment.bytes"] != "104857600" || topic.Configs["compression.type"] != "producer" {
		t.Errorf("the topic was created as %+v", topic)
	}
}
