package broker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicemq/sluice/broker/coordinator"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// groupRequests returns, by API key, requests of the group APIs that reach deep, about group "g"
// and a topic.
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

// at returns the highest version of an API that is not above v, for conversations in which all APIs
// move on together.
func at(key, v int16) int16 { return max(apis[key].versions.low, min(apis[key].versions.high, v)) }

func joinRequest(group, member string) *kmsg.JoinGroupRequest {
	return &kmsg.JoinGroupRequest{
		Group: group, MemberID: member, SessionTimeoutMillis: 10_000, RebalanceTimeoutMillis: 60_000, ProtocolType: "consumer",
		Protocols: []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte("subscription")}, {Name: "sticky", Metadata: []byte("other")}},
	}
}

// groupsNow is a configuration in which groups do not wait for more members.
var groupsNow = Config{Groups: coordinator.Config{InitialRebalanceDelay: -1}}

// joinAlone makes the only member of a group. It joins, twice if KIP-394 asks for that, and syncs.
func joinAlone(c *rawClient, name string, version int16) (member string, generation int32) {
	c.t.Helper()
	join := ask[*kmsg.JoinGroupResponse](c, joinRequest(name, ""), at(11, version))
	if version >= 4 {
		wantCode(c.t, "first join", join.ErrorCode, 79)
		if join.Generation != -1 || join.MemberID == "" || join.LeaderID != "" {
			c.t.Errorf("first join of version %d: %+v", version, join)
		}
		join = ask[*kmsg.JoinGroupResponse](c, joinRequest(name, join.MemberID), at(11, version))
	}
	wantCode(c.t, "join", join.ErrorCode, 0)
	if join.LeaderID != join.MemberID || !strings.HasPrefix(join.MemberID, "raw-") || len(join.Members) != 1 || join.Members[0].MemberID != join.MemberID ||
		string(join.Members[0].ProtocolMetadata) != "subscription" || *join.Protocol != "range" || (join.ProtocolType != nil) != (version >= 7) {
		c.t.Errorf("join of version %d: %+v", version, join)
	}
	sync := ask[*kmsg.SyncGroupResponse](c, syncRequest(name, join.MemberID, join.Generation), at(14, version))
	wantCode(c.t, "sync", sync.ErrorCode, 0)
	if string(sync.MemberAssignment) != "work" || (sync.Protocol != nil) != (version >= 5) {
		c.t.Errorf("sync of version %d: %+v", version, sync)
	}
	return join.MemberID, join.Generation
}

func syncRequest(group, member string, generation int32) *kmsg.SyncGroupRequest {
	return &kmsg.SyncGroupRequest{
		Group: group, MemberID: member, Generation: generation, ProtocolType: kmsg.StringPtr("consumer"), Protocol: kmsg.StringPtr("range"),
		GroupAssignment: []kmsg.SyncGroupRequestGroupAssignment{{MemberID: member, MemberAssignment: []byte("work")}},
	}
}

func findGroup(c *rawClient, name string) {
	c.t.Helper()
	wantCode(c.t, "find "+name, ask[*kmsg.FindCoordinatorResponse](c, &kmsg.FindCoordinatorRequest{CoordinatorKey: name}, 2).ErrorCode, 0)
}

// TestGroupAtEveryVersion follows a member from its join to its end, with all APIs at each version.
func TestGroupAtEveryVersion(t *testing.T) {
	h := startTCP(t, groupsNow)
	topic := h.topics.create(t, "orders", 2, nil)
	c := h.dial(t)
	for v := int16(0); v <= 10; v++ {
		name := fmt.Sprint("g", v)
		findGroup(c, name)
		member, generation := joinAlone(c, name, v)
		beat := func(generation int32, member string) int16 {
			return ask[*kmsg.HeartbeatResponse](c, &kmsg.HeartbeatRequest{Group: name, MemberID: member, Generation: generation}, at(12, v)).ErrorCode
		}
		wantCode(t, "heartbeat", beat(generation, member), 0)
		wantCode(t, "heartbeat of another generation", beat(generation+1, member), 22)
		wantCode(t, "heartbeat of a stranger", beat(generation, "stranger"), 25)

		commit := func(generation int32, member string) int16 {
			req := commitRequest(name, "orders", topic.ID, generation, member, 7)
			return ask[*kmsg.OffsetCommitResponse](c, req, at(8, v)).Topics[0].Partitions[0].ErrorCode
		}
		wantCode(t, "commit", commit(generation, member), 0)
		wantCode(t, "commit of another generation", commit(generation+1, member), 22)
		wantCode(t, "commit of a simple consumer", commit(-1, ""), 25)

		d := ask[*kmsg.DescribeGroupsResponse](c, &kmsg.DescribeGroupsRequest{Groups: []string{name}, IncludeAuthorizedOperations: true}, at(15, v)).Groups[0]
		if d.ErrorCode != 0 || d.State != "Stable" || d.ProtocolType != "consumer" || d.Protocol != "range" || len(d.Members) != 1 || (d.AuthorizedOperations == 3400) != (v >= 3) {
			t.Fatalf("describe at %d: %+v", v, d)
		}
		if m := d.Members[0]; m.MemberID != member || m.ClientID != "raw" || m.ClientHost != "/127.0.0.1" || string(m.ProtocolMetadata) != "subscription" || string(m.MemberAssignment) != "work" {
			t.Errorf("describe at %d: %+v", v, m)
		}
		del := ask[*kmsg.DeleteGroupsResponse](c, &kmsg.DeleteGroupsRequest{Groups: []string{name}}, at(42, v))
		wantCode(t, "delete a group with members", del.Groups[0].ErrorCode, 68)

		leave := func() *kmsg.LeaveGroupResponse {
			return ask[*kmsg.LeaveGroupResponse](c, &kmsg.LeaveGroupRequest{
				Group: name, MemberID: member, Members: []kmsg.LeaveGroupRequestMember{{MemberID: member}, {MemberID: "stranger"}},
			}, at(13, v))
		}
		if l := leave(); l.ErrorCode != 0 || v >= 3 && (len(l.Members) != 2 || l.Members[0].ErrorCode != 0 || l.Members[1].ErrorCode != 25 || l.Members[1].MemberID != "stranger") {
			t.Errorf("leave at %d: %+v", v, l)
		}
		if l := leave(); v < 3 && l.ErrorCode != 25 || v >= 3 && (l.ErrorCode != 0 || l.Members[0].ErrorCode != 25) {
			t.Errorf("leave again at %d: %+v", v, l)
		}
		wantCode(t, "heartbeat after leaving", beat(generation, member), 25)
		del = ask[*kmsg.DeleteGroupsResponse](c, &kmsg.DeleteGroupsRequest{Groups: []string{name, "nobody", name}}, at(42, v))
		if len(del.Groups) != 2 || del.Groups[0].ErrorCode != 0 || del.Groups[1].ErrorCode != 69 {
			t.Errorf("delete at %d: %+v", v, del)
		}
	}
}

// TestOffsetsAtEveryVersion: a simple consumer fetches the offsets that it committed, by name and
// by id, and gets an error for each bad commit.
func TestOffsetsAtEveryVersion(t *testing.T) {
	h := startTCP(t, Config{})
	topic := h.topics.create(t, "orders", 2, nil)
	c := h.dial(t)
	findGroup(c, "g")
	for v := int16(2); v <= 10; v++ {
		req := commitRequest("g", "orders", topic.ID, -1, "", int64(v))
		parts := &req.Topics[0].Partitions
		bad, long := (*parts)[0], (*parts)[0]
		bad.Partition, long.Partition = 2, 1
		long.Metadata = kmsg.StringPtr(strings.Repeat("x", 4097))
		(*parts)[0].Metadata, (*parts)[0].LeaderEpoch = kmsg.StringPtr("note"), 3
		*parts = append(*parts, bad, long)
		gone := req.Topics[0]
		gone.Topic, gone.TopicID, gone.Partitions = "nowhere", ident.TopicID{9}, gone.Partitions[:1]
		req.Topics = append(req.Topics, gone)
		resp := ask[*kmsg.OffsetCommitResponse](c, req, v)
		missing := protocol.Code(3)
		if v >= 10 {
			missing = 100
		}
		for i, want := range []protocol.Code{0, 3, 12} {
			wantCode(t, fmt.Sprintf("commit %d at %d", i, v), resp.Topics[0].Partitions[i].ErrorCode, want)
		}
		wantCode(t, "commit to no topic", resp.Topics[1].Partitions[0].ErrorCode, missing)
		if (resp.Topics[0].Topic == "orders") != (v < 10) || (resp.Topics[0].TopicID == topic.ID) != (v >= 10) {
			t.Errorf("commit at %d names %+v", v, resp.Topics[0])
		}
		epoch := int32(-1)
		if v >= 6 {
			epoch = 3
		}
		for fv := int16(1); fv <= 10; fv++ {
			wantEpoch := epoch
			if fv < 5 {
				wantEpoch = -1
			}
			checkFetched(t, c, topic.ID, fv, int64(v), wantEpoch)
		}
	}
	wantCode(t, "commit of a generation to no group",
		ask[*kmsg.OffsetCommitResponse](c, commitRequest("none", "orders", topic.ID, 4, "m", 1), 8).Topics[0].Partitions[0].ErrorCode, 22)
	wantCode(t, "the same at 9",
		ask[*kmsg.OffsetCommitResponse](c, commitRequest("none", "orders", topic.ID, 4, "m", 1), 9).Topics[0].Partitions[0].ErrorCode, 69)
	if resp := ask[*kmsg.OffsetCommitResponse](c, &kmsg.OffsetCommitRequest{Group: "nobody", Generation: -1}, 9); len(resp.Topics) != 0 {
		t.Errorf("commit of nothing: %+v", resp)
	}
	if d := ask[*kmsg.DescribeGroupsResponse](c, &kmsg.DescribeGroupsRequest{Groups: []string{"nobody"}}, 6).Groups[0]; d.ErrorCode != 69 || d.State != "Dead" || d.ErrorMessage == nil {
		t.Errorf("describe nobody at 6: %+v", d)
	}
	if d := ask[*kmsg.DescribeGroupsResponse](c, &kmsg.DescribeGroupsRequest{Groups: []string{"nobody"}}, 5).Groups[0]; d.ErrorCode != 0 || d.State != "Dead" {
		t.Errorf("describe nobody at 5: %+v", d)
	}
}

// checkFetched wants the given offset for partition 0, none for partition 1, and no error for a
// topic or group that does not exist.
func checkFetched(t *testing.T, c *rawClient, id ident.TopicID, v int16, offset int64, epoch int32) {
	t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = "g"
	req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "orders", Partitions: []int32{0, 1}}, {Topic: "nowhere", Partitions: []int32{0}}}
	named := []kmsg.OffsetFetchRequestGroupTopic{{Topic: "orders", TopicID: id, Partitions: []int32{0, 1}}, {Topic: "nowhere", TopicID: ident.TopicID{9}, Partitions: []int32{0}}}
	req.Groups = []kmsg.OffsetFetchRequestGroup{{Group: "g", Topics: named}, {Group: "nobody", Topics: named}, {Group: "g"}}
	resp := ask[*kmsg.OffsetFetchResponse](c, req, v)
	if v < 8 {
		checkSingle(t, resp, v, offset, epoch)
		req.Topics = nil
		if all := ask[*kmsg.OffsetFetchResponse](c, req, v); v >= 2 && (len(all.Topics) != 1 || len(all.Topics[0].Partitions) != 1 || all.Topics[0].Partitions[0].Offset != offset) || v < 2 && len(all.Topics) != 0 {
			t.Errorf("fetch all at %d: %+v", v, all)
		}
		return
	}
	missing := int16(0)
	if v >= 10 {
		missing = 100
	}
	g, nobody, all := resp.Groups[0], resp.Groups[1], resp.Groups[2]
	if p := g.Topics[0].Partitions; g.ErrorCode != 0 || p[0].Offset != offset || p[0].LeaderEpoch != epoch || *p[0].Metadata != "note" || p[1].Offset != -1 || *p[1].Metadata != "" {
		t.Errorf("fetch at %d: %+v", v, g)
	}
	if p := g.Topics[1].Partitions[0]; p.Offset != -1 || p.LeaderEpoch != -1 || p.ErrorCode != missing {
		t.Errorf("fetch of no topic at %d: %+v", v, p)
	}
	if p := nobody.Topics[0].Partitions[0]; nobody.ErrorCode != 0 || p.Offset != -1 || p.ErrorCode != 0 {
		t.Errorf("fetch of nobody at %d: %+v", v, nobody)
	}
	if len(all.Topics) != 1 || len(all.Topics[0].Partitions) != 1 || all.Topics[0].Partitions[0].Offset != offset ||
		(all.Topics[0].Topic == "orders") != (v < 10) || (all.Topics[0].TopicID == id) != (v >= 10) {
		t.Errorf("fetch all at %d: %+v", v, all)
	}
}

func checkSingle(t *testing.T, resp *kmsg.OffsetFetchResponse, v int16, offset int64, epoch int32) {
	t.Helper()
	if resp.ErrorCode != 0 || len(resp.Topics) != 2 || len(resp.Topics[0].Partitions) != 2 {
		t.Fatalf("fetch at %d: %+v", v, resp)
	}
	if p := resp.Topics[0].Partitions; p[0].Offset != offset || p[0].LeaderEpoch != epoch || *p[0].Metadata != "note" || p[1].Offset != -1 || p[1].ErrorCode != 0 {
		t.Errorf("fetch at %d: %+v", v, p)
	}
	if p := resp.Topics[1].Partitions[0]; p.Offset != -1 || p.ErrorCode != 0 {
		t.Errorf("fetch of no topic at %d: %+v", v, p)
	}
}

// TestNoCoordinator: members are sent to look again while __consumer_offsets does not exist, and
// while its partition is led elsewhere.
func TestNoCoordinator(t *testing.T) {
	h := startTCP(t, Config{})
	topic := h.topics.create(t, "orders", 1, nil)
	c := h.dial(t)
	check := func(want protocol.Code) {
		t.Helper()
		for v := int16(1); v <= 10; v++ {
			resp := ask[*kmsg.OffsetFetchResponse](c, groupRequests("orders", topic.ID)[9](v), v)
			switch {
			case v < 2:
				wantCode(t, "fetch", resp.Topics[0].Partitions[0].ErrorCode, want)
			case v < 8:
				wantCode(t, "fetch", resp.ErrorCode, want)
			default:
				wantCode(t, "fetch", resp.Groups[0].ErrorCode, want)
			}
		}
		wantCode(t, "commit", ask[*kmsg.OffsetCommitResponse](c, commitRequest("g", "orders", topic.ID, -1, "", 1), 9).Topics[0].Partitions[0].ErrorCode, want)
		wantCode(t, "join", ask[*kmsg.JoinGroupResponse](c, joinRequest("g", ""), 9).ErrorCode, want)
		wantCode(t, "sync", ask[*kmsg.SyncGroupResponse](c, syncRequest("g", "m", 1), 5).ErrorCode, want)
		wantCode(t, "leave", ask[*kmsg.LeaveGroupResponse](c, &kmsg.LeaveGroupRequest{Group: "g"}, 5).ErrorCode, want)
		wantCode(t, "describe", ask[*kmsg.DescribeGroupsResponse](c, &kmsg.DescribeGroupsRequest{Groups: []string{"g"}}, 6).Groups[0].ErrorCode, want)
		wantCode(t, "delete", ask[*kmsg.DeleteGroupsResponse](c, &kmsg.DeleteGroupsRequest{Groups: []string{"g"}}, 2).Groups[0].ErrorCode, want)
		wantCode(t, "delete offsets", ask[*kmsg.OffsetDeleteResponse](c, &kmsg.OffsetDeleteRequest{Group: "g"}, 0).ErrorCode, want)
	}
	beat := func() int16 { return ask[*kmsg.HeartbeatResponse](c, &kmsg.HeartbeatRequest{Group: "g"}, 4).ErrorCode }
	list := func() *kmsg.ListGroupsResponse {
		return ask[*kmsg.ListGroupsResponse](c, kmsg.NewPtrListGroupsRequest(), 5)
	}
	check(16)
	wantCode(t, "heartbeat", beat(), 16)
	if l := list(); l.ErrorCode != 0 || len(l.Groups) != 0 {
		t.Errorf("list: %+v", l)
	}

	h.log.mu.Lock()
	h.log.readErr = storage.ErrUnavailable
	h.log.mu.Unlock()
	findGroup(c, "g") // the groups of "g" are being loaded now
	check(14)
	wantCode(t, "heartbeat while loading", beat(), 0)
	wantCode(t, "list while loading", list().ErrorCode, 14)
}

func TestListGroups(t *testing.T) {
	h := startTCP(t, groupsNow)
	topic := h.topics.create(t, "orders", 1, nil)
	c := h.dial(t)
	findGroup(c, "g")
	joinAlone(c, "members", 9)
	ask[*kmsg.OffsetCommitResponse](c, commitRequest("simple", "orders", topic.ID, -1, "", 1), 9)
	for _, tc := range []struct {
		states, types []string
		version       int16
		want          string
	}{
		{nil, nil, 0, "[members/consumer// simple///]"},
		{nil, nil, 4, "[members/consumer/Stable/ simple//Empty/]"},
		{nil, nil, 5, "[members/consumer/Stable/classic simple//Empty/classic]"},
		{[]string{"sTABLE"}, nil, 4, "[members/consumer/Stable/]"},
		{[]string{"Dead", "Empty"}, []string{"CLASSIC"}, 5, "[simple//Empty/classic]"},
		{[]string{"nonsense"}, nil, 5, "[]"},
		{nil, []string{"consumer"}, 5, "[]"},
	} {
		resp := ask[*kmsg.ListGroupsResponse](c, &kmsg.ListGroupsRequest{StatesFilter: tc.states, TypesFilter: tc.types}, tc.version)
		got := []string{}
		for _, g := range resp.Groups {
			got = append(got, fmt.Sprintf("%s/%s/%s/%s", g.Group, g.ProtocolType, g.GroupState, g.GroupType))
		}
		slices.Sort(got)
		if fmt.Sprint(got) != tc.want || resp.ErrorCode != 0 {
			t.Errorf("%v %v at %d: %v, want %s", tc.states, tc.types, tc.version, got, tc.want)
		}
	}
}

func TestOffsetDelete(t *testing.T) {
	h := startTCP(t, groupsNow)
	topic := h.topics.create(t, "orders", 2, nil)
	c := h.dial(t)
	findGroup(c, "g")
	ask[*kmsg.OffsetCommitResponse](c, commitRequest("g", "orders", topic.ID, -1, "", 1), 9)
	request := func(name string) *kmsg.OffsetDeleteRequest {
		return &kmsg.OffsetDeleteRequest{Group: name, Topics: []kmsg.OffsetDeleteRequestTopic{
			{Topic: "orders", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}, {Partition: 1}, {Partition: 7}}},
			{Topic: "nowhere", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}}},
		}}
	}
	for name, want := range map[string]protocol.Code{"": 24, "nobody": 69} {
		resp := ask[*kmsg.OffsetDeleteResponse](c, request(name), 0)
		wantCode(t, name, resp.ErrorCode, want)
		if len(resp.Topics) != 0 {
			t.Errorf("%q: %+v", name, resp)
		}
	}
	resp := ask[*kmsg.OffsetDeleteResponse](c, request("g"), 0)
	wantCode(t, "delete", resp.ErrorCode, 0)
	for i, want := range []protocol.Code{0, 0, 3} {
		wantCode(t, "partition", resp.Topics[0].Partitions[i].ErrorCode, want)
	}
	wantCode(t, "no topic", resp.Topics[1].Partitions[0].ErrorCode, 3)
	if all := ask[*kmsg.OffsetFetchResponse](c, &kmsg.OffsetFetchRequest{Group: "g"}, 7); len(all.Topics) != 0 {
		t.Errorf("offsets that are left: %+v", all)
	}
}

// TestPatientJoin: a member that waits holds no share of any budget, and keeps its connection no
// longer than its peer does. Others go on.
func TestPatientJoin(t *testing.T) {
	virtually(t, groupsNow, func(t *testing.T, h *harness, dial func() *rawClient) {
		first, second, third := dial(), dial(), dial()
		for _, c := range []*rawClient{first, second, third} {
			c.t = t
		}
		findGroup(first, "g")
		member, generation := joinAlone(first, "g", 9)
		joinSecond, joinThird := joinRequest("g", ""), joinRequest("g", "")
		// Both are large enough to take a share of a budget.
		for _, j := range []*kmsg.JoinGroupRequest{joinSecond, joinThird} {
			j.Protocols = append(j.Protocols, kmsg.JoinGroupRequestProtocol{Name: "large", Metadata: make([]byte, frameFreeBytes)})
		}
		joinSecond.MemberID = ask[*kmsg.JoinGroupResponse](second, joinSecond, 9).MemberID
		second.send(joinSecond, 9)
		joinThird.MemberID = ask[*kmsg.JoinGroupResponse](third, joinThird, 9).MemberID
		staying := third.send(joinThird, 9)
		synctest.Wait()
		if free := h.others.frames.available(); free != framesBytesMax {
			t.Errorf("members that wait hold %d bytes of frames", framesBytesMax-free)
		}
		wantCode(t, "heartbeat", ask[*kmsg.HeartbeatResponse](first, &kmsg.HeartbeatRequest{Group: "g", MemberID: member, Generation: generation}, 4).ErrorCode, 27)

		_ = second.nc.Close()
		third.expectSilence(5 * time.Second)
		if n := h.scrape(t)["connections "]; n != 2 {
			t.Errorf("%v connections, want 2: the one whose peer has left is over", n)
		}
		again := ask[*kmsg.JoinGroupResponse](first, joinRequest("g", member), 9)
		resp := third.receive(joinThird, staying).(*kmsg.JoinGroupResponse)
		if resp.ErrorCode != 0 || resp.Generation != generation+1 || again.Generation != generation+1 || again.LeaderID != member {
			t.Errorf("joined: %+v, %+v", again, resp)
		}
		wantCode(t, "the connection goes on", ask[*kmsg.SyncGroupResponse](first, syncRequest("g", member, again.Generation), 5).ErrorCode, 0)
	})
}

// TestStopAnswersMembers: a broker that stops sends its members to another coordinator at once.
func TestStopAnswersMembers(t *testing.T) {
	virtually(t, groupsNow, func(t *testing.T, h *harness, dial func() *rawClient) {
		first, second := dial(), dial()
		first.t, second.t = t, t
		findGroup(first, "g")
		joinAlone(first, "g", 9)
		id := ask[*kmsg.JoinGroupResponse](second, joinRequest("g", ""), 9).MemberID
		join := joinRequest("g", id)
		correlation := second.send(join, 9)
		synctest.Wait()
		began := time.Now()
		stopped := make(chan error, 1)
		go func() { stopped <- h.stop() }()
		resp := second.receive(join, correlation).(*kmsg.JoinGroupResponse)
		wantCode(t, "join", resp.ErrorCode, 16)
		if resp.MemberID != id {
			t.Errorf("member %q, want %q", resp.MemberID, id)
		}
		if err := <-stopped; err != nil || time.Since(began) > time.Second {
			t.Errorf("stopped after %v: %v", time.Since(began), err)
		}
	})
}

// TestPipelinedBehindAJoin: requests that are sent behind a join that waits are answered after it,
// whole.
func TestPipelinedBehindAJoin(t *testing.T) {
	virtually(t, groupsNow, func(t *testing.T, h *harness, dial func() *rawClient) {
		first, second := dial(), dial()
		first.t, second.t = t, t
		findGroup(first, "g")
		member, _ := joinAlone(first, "g", 9)
		id := ask[*kmsg.JoinGroupResponse](second, joinRequest("g", ""), 9).MemberID
		join := joinRequest("g", id)
		correlation := second.send(join, 9)
		meta := kmsg.NewPtrMetadataRequest()
		var behind []int32
		for range 40 { // more than the reader's buffer holds
			behind = append(behind, second.send(meta, 9))
		}
		second.expectSilence(5 * time.Second)
		ask[*kmsg.JoinGroupResponse](first, joinRequest("g", member), 9)
		second.receive(join, correlation)
		for _, b := range behind {
			second.receive(meta, b)
		}
	})
}

// TestInternalTopicsAreTheBrokers: clients may read internal topics, but may not write, grow or
// delete them.
func TestInternalTopicsAreTheBrokers(t *testing.T) {
	h := startTCP(t, Config{})
	c := h.dial(t)
	meta := &kmsg.MetadataRequest{AllowAutoTopicCreation: true, Topics: []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr("__consumer_offsets")}}}
	m := ask[*kmsg.MetadataResponse](c, meta, 9).Topics[0]
	if m.ErrorCode != 0 || !m.IsInternal || len(m.Partitions) != 50 {
		t.Errorf("metadata, as Kafka creates it on demand: %+v", m)
	}
	offsets, _ := h.topics.TopicByName("__consumer_offsets")
	del := &kmsg.DeleteTopicsRequest{TopicNames: []string{"__consumer_offsets"}, Topics: []kmsg.DeleteTopicsRequestTopic{{TopicID: offsets.ID}}}
	for v := int16(1); v <= 6; v++ {
		wantCode(t, "delete", ask[*kmsg.DeleteTopicsResponse](c, del, v).Topics[0].ErrorCode, 17)
	}
	grow := &kmsg.CreatePartitionsRequest{Topics: []kmsg.CreatePartitionsRequestTopic{{Topic: "__consumer_offsets", Count: 51}}}
	wantCode(t, "grow", ask[*kmsg.CreatePartitionsResponse](c, grow, 3).Topics[0].ErrorCode, 17)
	wantCode(t, "produce", ask[*kmsg.ProduceResponse](c, produceRequest("__consumer_offsets", plainBatch(t, "x")), 9).Topics[0].Partitions[0].ErrorCode, 17)
	wantCode(t, "fetch", ask[*kmsg.FetchResponse](c, fetchRequest("__consumer_offsets", 0, 0, 0), 11).Topics[0].Partitions[0].ErrorCode, 0)
	if _, ok := h.topics.TopicByName("__consumer_offsets"); !ok {
		t.Error("it is gone")
	}
}
