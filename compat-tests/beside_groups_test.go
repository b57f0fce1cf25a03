package compat

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// The scripts of groups play in this order, since a script asks about what an earlier one has left.
// Every step has its own groups at every version, so that no version sees what another did.
var besideGroups = []script{
	{10, besideFindCoordinator}, {11, besideJoin}, {14, besideSync}, {12, besideHeartbeat}, {13, besideLeave},
	{8, besideCommit}, {9, besideFetchOffsets}, {47, besideDeleteOffsets}, {15, besideDescribeGroups}, {16, besideListGroups}, {42, besideDeleteGroups},
}

func coordinator(name string, from, to int16, kind int8, key string, more ...string) step {
	return step{name: name, from: from, to: to, prep: awaitCoordinator, ask: func(*side, int16) kmsg.Request {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorType, req.CoordinatorKey, req.CoordinatorKeys = kind, key, append([]string{key}, more...)
		return req
	}}
}

// awaitCoordinator waits until groups are served. A broker creates the topic for them when it is
// first asked.
func awaitCoordinator(s *side, _ int16) {
	if s.ids["coordinator"] != "" {
		return
	}
	s.until("no coordinator", func() bool {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorKey = "await"
		if s.do(req, 3).(*kmsg.FindCoordinatorResponse).ErrorCode != 0 {
			return false
		}
		fetch := kmsg.NewPtrOffsetFetchRequest()
		fetch.Group = "await"
		return s.do(fetch, 2).(*kmsg.OffsetFetchResponse).ErrorCode == 0
	})
	// Apache Kafka creates that topic, too, when it is first asked.
	s.until("no transaction coordinator", func() bool {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorType, req.CoordinatorKey = 1, "tx"
		return s.do(req, 3).(*kmsg.FindCoordinatorResponse).ErrorCode != 15
	})
	s.ids["coordinator"] = "there"
}

var besideFindCoordinator = []step{
	coordinator("a group", 0, 0, 0, "some"),
	coordinator("an empty group", 0, 0, 0, ""),
	coordinator("a transactional id", 1, 0, 1, "tx"),
	coordinator("an empty transactional id", 1, 0, 1, ""),
	coordinator("share without its form", 1, 0, 2, "some"),
	coordinator("a kind that is none", 1, 0, 7, "some"),
	coordinator("two groups", 4, 0, 0, "some", "other"),
	coordinator("a group twice", 4, 0, 0, "some", "some"),
	{name: "no key", from: 4, ask: func(*side, int16) kmsg.Request { return kmsg.NewPtrFindCoordinatorRequest() }},
}

// join is a valid request to join: consumer, range, 30 s.
func join(group, member string) *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.MemberID, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis, req.ProtocolType = group, member, 30_000, 30_000, "consumer"
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: subscription("read")}}
	return req
}

// subscription is the subscription of a consumer of a topic.
func subscription(topic string) []byte {
	m := kmsg.NewConsumerMemberMetadata()
	m.Topics = []string{topic}
	return m.AppendTo(nil)
}

// groupOf names a step's group at a version.
func groupOf(name string, v int16) string {
	return fmt.Sprintf("%s-%d", strings.ReplaceAll(name, " ", "-"), v)
}

// member makes a group with one stable member, using the oldest versions that can. s.ids has the
// member's id under the group's name.
func (s *side) member(group string, edits ...func(*kmsg.JoinGroupRequest)) {
	s.t.Helper()
	awaitCoordinator(s, 0)
	req := join(group, "")
	for _, edit := range edits {
		edit(req)
	}
	got := s.do(req, 5).(*kmsg.JoinGroupResponse)
	if got.ErrorCode == 79 { // the member was given its id and joins
		req.MemberID = got.MemberID
		got = s.do(req, 5).(*kmsg.JoinGroupResponse)
	}
	s.ids[group] = got.MemberID
	sync := syncOf(group, got.MemberID, got.Generation)
	sync.InstanceID = req.InstanceID
	if code := s.do(sync, 3).(*kmsg.SyncGroupResponse).ErrorCode; got.ErrorCode != 0 || code != 0 {
		s.t.Fatalf("%s: join %d, sync %d", group, got.ErrorCode, code)
	}
}

func syncOf(group, member string, generation int32) *kmsg.SyncGroupRequest {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.MemberID, req.Generation = group, member, generation
	req.ProtocolType, req.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
	req.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: member, MemberAssignment: []byte("mine")}}
	return req
}

// joined makes a step that joins a group of its own.
func joined(name string, edits ...func(*kmsg.JoinGroupRequest)) step {
	return step{name: name, prep: awaitCoordinator, ask: func(_ *side, v int16) kmsg.Request {
		req := join(groupOf("join "+name, v), "")
		for _, edit := range edits {
			edit(req)
		}
		return req
	}, after: func(s *side, resp kmsg.Response) {
		r := resp.(*kmsg.JoinGroupResponse)
		s.ids[groupOf("join "+name, r.Version)] = r.MemberID
	}}
}

// memberOf makes a step about a group with one stable member. ask gets the group and the member's
// id.
func memberOf(name string, ask func(group, member string) kmsg.Request, edits ...func(*kmsg.JoinGroupRequest)) step {
	return step{name: name, prep: func(s *side, v int16) { s.member(groupOf("of "+name, v), edits...) }, ask: func(s *side, v int16) kmsg.Request {
		group := groupOf("of "+name, v)
		return ask(group, s.ids[group])
	}}
}

func static(id string) func(*kmsg.JoinGroupRequest) {
	return func(r *kmsg.JoinGroupRequest) { r.InstanceID = &id }
}

var besideJoin = []step{
	joined("a new member"),
	{name: "the member that was told its id", from: 4, ask: func(s *side, v int16) kmsg.Request {
		group := groupOf("join a new member", v)
		return join(group, s.ids[group])
	}},
	only(5, 0, joined("a static member", static("i"))),
	only(5, 0, joined("a static member comes back", func(r *kmsg.JoinGroupRequest) {
		r.Group = strings.Replace(r.Group, "join-a-static-member-comes-back", "join-a-static-member", 1)
	}, static("i"))),
	joined("a member that nobody knows", func(r *kmsg.JoinGroupRequest) { r.MemberID = "nobody" }),
	joined("an empty group", func(r *kmsg.JoinGroupRequest) { r.Group = "" }),
	joined("a session too short", func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 5_999 }),
	joined("a session too long", func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 1_800_001 }),
	joined("no session", func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 0 }),
	joined("no protocols", func(r *kmsg.JoinGroupRequest) { r.Protocols = nil }),
	joined("no protocol type", func(r *kmsg.JoinGroupRequest) { r.ProtocolType = "" }),
	joined("an empty instance", static("")),
	joined("an instance with a bad name", static("a b")),
	joined("an instance of a dot", static(".")),
	memberOf("join with another protocol", func(group, _ string) kmsg.Request {
		req := join(group, "")
		req.Protocols[0].Name = "odd"
		return req
	}),
	memberOf("join with another type", func(group, _ string) kmsg.Request {
		req := join(group, "")
		req.ProtocolType = "connect"
		return req
	}),
	memberOf("join again, the same", func(group, member string) kmsg.Request { return join(group, member) }),
	memberOf("join again, another subscription", func(group, member string) kmsg.Request {
		req := join(group, member)
		req.Protocols[0].Metadata = subscription("plain")
		return req
	}),
	memberOf("join as nobody", func(group, _ string) kmsg.Request { return join(group, "nobody") }),
	only(5, 0, memberOf("join as a static member again, the same", func(group, _ string) kmsg.Request {
		req := join(group, "")
		static("i")(req)
		return req
	}, static("i"))),
	only(5, 0, memberOf("join as a static member, with a wrong id", func(group, _ string) kmsg.Request {
		req := join(group, "nobody")
		static("i")(req)
		return req
	}, static("i"))),
	{name: "the leader, as a second one joins", also: "second", prep: func(s *side, v int16) {
		group := groupOf("two", v)
		s.member(group)
		second := join(group, "")
		s.hangUp("second")
		if v >= 4 {
			second.MemberID = s.client("second").do(join(group, ""), 4).(*kmsg.JoinGroupResponse).MemberID
		}
		s.send("second", second, v)
		s.until("no rebalance", func() bool {
			return s.do(heartbeat(group, s.ids[group], 1), 0).(*kmsg.HeartbeatResponse).ErrorCode == 27
		})
	}, ask: func(s *side, v int16) kmsg.Request {
		group := groupOf("two", v)
		return join(group, s.ids[group])
	}},
}

// synced makes a step that syncs the group of one stable member.
func synced(name string, edit func(*kmsg.SyncGroupRequest)) step {
	return memberOf("sync "+name, func(group, member string) kmsg.Request {
		req := syncOf(group, member, 1)
		edit(req)
		return req
	})
}

var besideSync = []step{
	synced("again", func(*kmsg.SyncGroupRequest) {}),
	synced("without assignments", func(r *kmsg.SyncGroupRequest) { r.GroupAssignment = nil }),
	synced("with an old generation", func(r *kmsg.SyncGroupRequest) { r.Generation = 0 }),
	synced("with a generation from ahead", func(r *kmsg.SyncGroupRequest) { r.Generation = 9 }),
	synced("as nobody", func(r *kmsg.SyncGroupRequest) { r.MemberID = "nobody" }),
	synced("without a member", func(r *kmsg.SyncGroupRequest) { r.MemberID = "" }),
	synced("no group", func(r *kmsg.SyncGroupRequest) { r.Group = "sync-nowhere" }),
	synced("an empty group", func(r *kmsg.SyncGroupRequest) { r.Group = "" }),
	only(3, 0, synced("as an instance that is none", func(r *kmsg.SyncGroupRequest) { r.InstanceID = kmsg.StringPtr("i") })),
	only(5, 0, synced("with another protocol", func(r *kmsg.SyncGroupRequest) { r.Protocol = kmsg.StringPtr("odd") })),
	only(5, 0, synced("with another type", func(r *kmsg.SyncGroupRequest) { r.ProtocolType = kmsg.StringPtr("connect") })),
	only(5, 0, synced("without a protocol", func(r *kmsg.SyncGroupRequest) { r.Protocol, r.ProtocolType = nil, nil })),
	{name: "the first", prep: func(s *side, v int16) {
		group := groupOf("sync first", v)
		awaitCoordinator(s, v)
		s.ids[group] = s.do(join(group, ""), 3).(*kmsg.JoinGroupResponse).MemberID
	}, ask: func(s *side, v int16) kmsg.Request {
		group := groupOf("sync first", v)
		return syncOf(group, s.ids[group], 1)
	}},
}

func heartbeat(group, member string, generation int32) *kmsg.HeartbeatRequest {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID, req.Generation = group, member, generation
	return req
}

func beaten(name string, edit func(*kmsg.HeartbeatRequest), joins ...func(*kmsg.JoinGroupRequest)) step {
	return memberOf("beat "+name, func(group, member string) kmsg.Request {
		req := heartbeat(group, member, 1)
		edit(req)
		return req
	}, joins...)
}

var besideHeartbeat = []step{
	beaten("well", func(*kmsg.HeartbeatRequest) {}),
	beaten("with an old generation", func(r *kmsg.HeartbeatRequest) { r.Generation = 0 }),
	beaten("with a generation from ahead", func(r *kmsg.HeartbeatRequest) { r.Generation = 9 }),
	beaten("with generation -1", func(r *kmsg.HeartbeatRequest) { r.Generation = -1 }),
	beaten("as nobody", func(r *kmsg.HeartbeatRequest) { r.MemberID = "nobody" }),
	beaten("without a member", func(r *kmsg.HeartbeatRequest) { r.MemberID = "" }),
	beaten("no group", func(r *kmsg.HeartbeatRequest) { r.Group = "beat-nowhere" }),
	beaten("an empty group", func(r *kmsg.HeartbeatRequest) { r.Group = "" }),
	only(3, 0, beaten("as the instance", func(r *kmsg.HeartbeatRequest) { r.InstanceID = kmsg.StringPtr("i") }, static("i"))),
	only(3, 0, beaten("as an instance that is none", func(r *kmsg.HeartbeatRequest) { r.InstanceID = kmsg.StringPtr("i") })),
	only(3, 0, beaten("as the instance of another", func(r *kmsg.HeartbeatRequest) {
		r.InstanceID, r.MemberID = kmsg.StringPtr("i"), "nobody"
	}, static("i"))),
}

// leaving makes a step in which the members leave that edit adds to the request.
func leaving(name string, edit func(r *kmsg.LeaveGroupRequest, member string), joins ...func(*kmsg.JoinGroupRequest)) step {
	return memberOf("leave "+name, func(group, member string) kmsg.Request {
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Group = group
		edit(req, member)
		return req
	}, joins...)
}

func leaver(member string, instance *string) kmsg.LeaveGroupRequestMember {
	m := kmsg.NewLeaveGroupRequestMember()
	m.MemberID, m.InstanceID = member, instance
	return m
}

var besideLeave = []step{
	leaving("well", func(r *kmsg.LeaveGroupRequest, member string) {
		r.MemberID, r.Members = member, []kmsg.LeaveGroupRequestMember{leaver(member, nil)}
	}),
	leaving("as nobody", func(r *kmsg.LeaveGroupRequest, _ string) {
		r.MemberID, r.Members = "nobody", []kmsg.LeaveGroupRequestMember{leaver("nobody", nil)}
	}),
	leaving("without a member", func(r *kmsg.LeaveGroupRequest, _ string) {
		r.MemberID, r.Members = "", []kmsg.LeaveGroupRequestMember{leaver("", nil)}
	}),
	leaving("no group", func(r *kmsg.LeaveGroupRequest, member string) {
		r.Group, r.MemberID, r.Members = "leave-nowhere", member, []kmsg.LeaveGroupRequestMember{leaver(member, nil)}
	}),
	leaving("an empty group", func(r *kmsg.LeaveGroupRequest, member string) {
		r.Group, r.MemberID, r.Members = "", member, []kmsg.LeaveGroupRequestMember{leaver(member, nil)}
	}),
	only(3, 0, leaving("nobody at all", func(*kmsg.LeaveGroupRequest, string) {})),
	only(3, 0, leaving("twice", func(r *kmsg.LeaveGroupRequest, member string) {
		r.Members = []kmsg.LeaveGroupRequestMember{leaver(member, nil), leaver(member, nil)}
	})),
	only(3, 0, leaving("as the instance", func(r *kmsg.LeaveGroupRequest, _ string) {
		r.Members = []kmsg.LeaveGroupRequestMember{leaver("", kmsg.StringPtr("i"))}
	}, static("i"))),
	only(3, 0, leaving("as the instance of another", func(r *kmsg.LeaveGroupRequest, _ string) {
		r.Members = []kmsg.LeaveGroupRequestMember{leaver("nobody", kmsg.StringPtr("i"))}
	}, static("i"))),
	only(3, 0, leaving("one good, one bad", func(r *kmsg.LeaveGroupRequest, member string) {
		r.Members = []kmsg.LeaveGroupRequestMember{leaver("nobody", nil), leaver(member, nil)}
	})),
	only(5, 0, leaving("with a reason", func(r *kmsg.LeaveGroupRequest, member string) {
		r.Members = []kmsg.LeaveGroupRequestMember{leaver(member, nil)}
		r.Members[0].Reason = kmsg.StringPtr("done")
	})),
}

// commit is a commit of one offset of partition 0 of a topic, without a member.
func commit(s *side, group, topic string, offset int64) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation, req.RetentionTimeMillis = group, -1, -1
	rt := kmsg.NewOffsetCommitRequestTopic()
	rt.Topic, rt.TopicID = s.topics[topic].name, s.topics[topic].id
	rp := kmsg.NewOffsetCommitRequestTopicPartition()
	rp.Offset, rp.LeaderEpoch, rp.Metadata = offset, -1, kmsg.StringPtr("note")
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}

// committed makes a step that commits to a group of its own, without members.
func committed(name, topic string, edits ...func(*kmsg.OffsetCommitRequest)) step {
	return step{name: name, prep: awaitCoordinator, ask: func(s *side, v int16) kmsg.Request {
		req := commit(s, groupOf("commit "+name, v), topic, 5)
		for _, edit := range edits {
			edit(req)
		}
		return req
	}}
}

// committing makes a step in which the only member of a group commits.
func committing(name string, edit func(*kmsg.OffsetCommitRequest), joins ...func(*kmsg.JoinGroupRequest)) step {
	st := memberOf("commit "+name, nil, joins...)
	st.ask = func(s *side, v int16) kmsg.Request {
		group := groupOf("of commit "+name, v)
		req := commit(s, group, "read", 5)
		req.Generation, req.MemberID = 1, s.ids[group]
		edit(req)
		return req
	}
	return st
}

var besideCommit = []step{
	committed("an offset", "read"),
	committed("offset -1", "read", func(r *kmsg.OffsetCommitRequest) { r.Topics[0].Partitions[0].Offset = -1 }),
	committed("offset -2", "read", func(r *kmsg.OffsetCommitRequest) { r.Topics[0].Partitions[0].Offset = -2 }),
	committed("no note", "read", func(r *kmsg.OffsetCommitRequest) { r.Topics[0].Partitions[0].Metadata = nil }),
	committed("a long note", "read", func(r *kmsg.OffsetCommitRequest) {
		r.Topics[0].Partitions[0].Metadata = kmsg.StringPtr(strings.Repeat("x", 4097))
	}),
	committed("a topic that is none", "nowhere"),
	committed("a topic without a name or id", "read", func(r *kmsg.OffsetCommitRequest) { r.Topics[0].Topic, r.Topics[0].TopicID = "", [16]byte{} }),
	committed("no such partition", "read", func(r *kmsg.OffsetCommitRequest) { r.Topics[0].Partitions[0].Partition = 9 }),
	committed("a negative partition", "read", func(r *kmsg.OffsetCommitRequest) { r.Topics[0].Partitions[0].Partition = -1 }),
	committed("a partition twice", "read", func(r *kmsg.OffsetCommitRequest) {
		r.Topics[0].Partitions = append(r.Topics[0].Partitions, r.Topics[0].Partitions[0])
	}),
	{name: "one good, one bad", prep: awaitCoordinator, ask: func(s *side, v int16) kmsg.Request {
		req := commit(s, groupOf("commit mixed", v), "read", 5)
		req.Topics = append(req.Topics, commit(s, "", "nowhere", 5).Topics...)
		return req
	}},
	committed("an empty group", "read", func(r *kmsg.OffsetCommitRequest) { r.Group = "" }),
	committed("no topic", "read", func(r *kmsg.OffsetCommitRequest) { r.Topics = nil }),
	committed("no partition of a topic", "read", func(r *kmsg.OffsetCommitRequest) { r.Topics[0].Partitions = nil }),
	committed("a member without a group", "read", func(r *kmsg.OffsetCommitRequest) { r.Generation, r.MemberID = 3, "nobody" }),
	committed("an instance without a group", "read", func(r *kmsg.OffsetCommitRequest) { r.InstanceID = kmsg.StringPtr("i") }),
	committing("as the member", func(*kmsg.OffsetCommitRequest) {}),
	committing("with an old generation", func(r *kmsg.OffsetCommitRequest) { r.Generation = 0 }),
	committing("with a generation from ahead", func(r *kmsg.OffsetCommitRequest) { r.Generation = 9 }),
	committing("as nobody", func(r *kmsg.OffsetCommitRequest) { r.MemberID = "nobody" }),
	committing("without a member", func(r *kmsg.OffsetCommitRequest) { r.Generation, r.MemberID = -1, "" }),
	only(7, 0, committing("as the instance", func(r *kmsg.OffsetCommitRequest) { r.InstanceID = kmsg.StringPtr("i") }, static("i"))),
	only(7, 0, committing("as the instance of another", func(r *kmsg.OffsetCommitRequest) {
		r.InstanceID, r.MemberID = kmsg.StringPtr("i"), "nobody"
	}, static("i"))),
	only(7, 0, committing("as an instance that is none", func(r *kmsg.OffsetCommitRequest) { r.InstanceID = kmsg.StringPtr("i") })),
}

// fetchedOffsets makes a step that asks for the offsets of a group: 7 for partition 0 of "read", 8
// for that of "plain".
func fetchedOffsets(name string, from int16, edit func(s *side, r *kmsg.OffsetFetchRequest)) step {
	return step{name: name, from: from, prep: func(s *side, v int16) {
		awaitCoordinator(s, v)
		for _, group := range []string{"fetched", "fetched-too"} {
			req := commit(s, group, "read", 7)
			req.Topics = append(req.Topics, commit(s, group, "plain", 8).Topics...)
			s.do(req, 8)
		}
	}, ask: func(s *side, v int16) kmsg.Request {
		req := kmsg.NewPtrOffsetFetchRequest()
		req.Group = "fetched"
		req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "read", Partitions: []int32{0, 1}}}
		req.Groups = []kmsg.OffsetFetchRequestGroup{ofGroup(s, "fetched", "read", 0, 1)}
		edit(s, req)
		return req
	}}
}

func ofGroup(s *side, group, topic string, partitions ...int32) kmsg.OffsetFetchRequestGroup {
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group, g.MemberEpoch = group, -1
	g.Topics = []kmsg.OffsetFetchRequestGroupTopic{{Topic: s.topics[topic].name, TopicID: s.topics[topic].id, Partitions: partitions}}
	return g
}

var besideFetchOffsets = []step{
	fetchedOffsets("an offset, and one that is not", 0, func(*side, *kmsg.OffsetFetchRequest) {}),
	fetchedOffsets("all", 2, func(_ *side, r *kmsg.OffsetFetchRequest) { r.Topics, r.Groups[0].Topics = nil, nil }),
	fetchedOffsets("none", 0, func(_ *side, r *kmsg.OffsetFetchRequest) {
		r.Topics, r.Groups[0].Topics = []kmsg.OffsetFetchRequestTopic{}, []kmsg.OffsetFetchRequestGroupTopic{}
	}),
	fetchedOffsets("all of a group that is none", 2, func(_ *side, r *kmsg.OffsetFetchRequest) {
		r.Group, r.Groups[0].Group, r.Topics, r.Groups[0].Topics = "nobody", "nobody", nil, nil
	}),
	fetchedOffsets("a group that is none", 0, func(_ *side, r *kmsg.OffsetFetchRequest) { r.Group, r.Groups[0].Group = "nobody", "nobody" }),
	fetchedOffsets("an empty group", 0, func(_ *side, r *kmsg.OffsetFetchRequest) { r.Group, r.Groups[0].Group = "", "" }),
	fetchedOffsets("a topic that is none", 0, func(s *side, r *kmsg.OffsetFetchRequest) {
		r.Topics[0].Topic, r.Groups[0] = "nowhere", ofGroup(s, "fetched", "nowhere", 0)
	}),
	fetchedOffsets("no such partition", 0, func(_ *side, r *kmsg.OffsetFetchRequest) {
		r.Topics[0].Partitions, r.Groups[0].Topics[0].Partitions = []int32{9}, []int32{9}
	}),
	fetchedOffsets("a negative partition", 0, func(_ *side, r *kmsg.OffsetFetchRequest) {
		r.Topics[0].Partitions, r.Groups[0].Topics[0].Partitions = []int32{-1}, []int32{-1}
	}),
	fetchedOffsets("a partition twice", 0, func(_ *side, r *kmsg.OffsetFetchRequest) {
		r.Topics[0].Partitions, r.Groups[0].Topics[0].Partitions = []int32{0, 0}, []int32{0, 0}
	}),
	fetchedOffsets("stable ones", 7, func(_ *side, r *kmsg.OffsetFetchRequest) { r.RequireStable = true }),
	fetchedOffsets("two groups", 8, func(s *side, r *kmsg.OffsetFetchRequest) {
		r.Groups = append(r.Groups, ofGroup(s, "fetched-too", "plain", 0))
	}),
	fetchedOffsets("a group twice", 8, func(_ *side, r *kmsg.OffsetFetchRequest) { r.Groups = append(r.Groups, r.Groups[0]) }),
	fetchedOffsets("all of a group twice", 8, func(_ *side, r *kmsg.OffsetFetchRequest) {
		r.Groups[0].Topics = nil
		r.Groups = append(r.Groups, r.Groups[0])
	}),
	fetchedOffsets("no group", 8, func(_ *side, r *kmsg.OffsetFetchRequest) { r.Groups = nil }),
	fetchedOffsets("as a member", 9, func(_ *side, r *kmsg.OffsetFetchRequest) {
		r.Groups[0].MemberID, r.Groups[0].MemberEpoch = kmsg.StringPtr("nobody"), 3
	}),
	fetchedOffsets("a topic without a name or id", 0, func(_ *side, r *kmsg.OffsetFetchRequest) {
		r.Topics[0].Topic, r.Groups[0].Topics[0].Topic, r.Groups[0].Topics[0].TopicID = "", "", [16]byte{}
	}),
}

// deletedOffsets makes a step that deletes an offset of a group that has two offsets and no
// members.
func deletedOffsets(name string, edit func(*kmsg.OffsetDeleteRequest)) step {
	return step{name: name, prep: func(s *side, v int16) {
		awaitCoordinator(s, v)
		req := commit(s, "emptied", "read", 7)
		req.Topics = append(req.Topics, commit(s, "", "plain", 8).Topics...)
		s.do(req, 8)
		if s.ids["consuming"] == "" {
			s.member("consuming")
			commits := commit(s, "consuming", "read", 7)
			commits.Topics = append(commits.Topics, commit(s, "", "plain", 8).Topics...)
			commits.Generation, commits.MemberID = 1, s.ids["consuming"]
			s.do(commits, 8)
		}
	}, ask: func(*side, int16) kmsg.Request {
		req := kmsg.NewPtrOffsetDeleteRequest()
		req.Group = "emptied"
		req.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: "read", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}}}}
		edit(req)
		return req
	}}
}

var besideDeleteOffsets = []step{
	deletedOffsets("an offset", func(*kmsg.OffsetDeleteRequest) {}),
	deletedOffsets("an offset that is not", func(r *kmsg.OffsetDeleteRequest) { r.Topics[0].Partitions[0].Partition = 1 }),
	deletedOffsets("no such partition", func(r *kmsg.OffsetDeleteRequest) { r.Topics[0].Partitions[0].Partition = 9 }),
	deletedOffsets("a topic that is none", func(r *kmsg.OffsetDeleteRequest) { r.Topics[0].Topic = "nowhere" }),
	deletedOffsets("a group that is none", func(r *kmsg.OffsetDeleteRequest) { r.Group = "nobody" }),
	deletedOffsets("an empty group", func(r *kmsg.OffsetDeleteRequest) { r.Group = "" }),
	deletedOffsets("no topic", func(r *kmsg.OffsetDeleteRequest) { r.Topics = nil }),
	deletedOffsets("a topic that is consumed", func(r *kmsg.OffsetDeleteRequest) { r.Group = "consuming" }),
	deletedOffsets("a topic that the group does not consume", func(r *kmsg.OffsetDeleteRequest) { r.Group, r.Topics[0].Topic = "consuming", "plain" }),
}

// describedGroups makes a step that describes groups: "stable" has a member, "empty" had one.
func describedGroups(name string, edit func(*kmsg.DescribeGroupsRequest), groups ...string) step {
	return step{name: name, prep: withGroups, ask: func(*side, int16) kmsg.Request {
		req := kmsg.NewPtrDescribeGroupsRequest()
		req.Groups = groups
		if edit != nil {
			edit(req)
		}
		return req
	}}
}

// withGroups makes, once, a group with a member, a group that has lost its member, and a group of
// offsets only.
func withGroups(s *side, _ int16) {
	awaitCoordinator(s, 0)
	if s.ids["stable"] != "" {
		return
	}
	s.member("stable")
	s.member("static", static("i"))
	s.member("left")
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.MemberID = "left", s.ids["left"]
	s.do(req, 0)
	s.do(commit(s, "simple", "read", 3), 8)
}

var besideDescribeGroups = []step{
	describedGroups("a stable group", nil, "stable"),
	describedGroups("a static member", nil, "static"),
	describedGroups("a group that was left", nil, "left"),
	describedGroups("a group of offsets", nil, "simple"),
	describedGroups("a group that is none", nil, "nobody"),
	describedGroups("an empty group", nil, ""),
	describedGroups("two, one twice", nil, "stable", "left", "stable"),
	describedGroups("nothing", nil),
	only(3, 0, describedGroups("operations", func(r *kmsg.DescribeGroupsRequest) { r.IncludeAuthorizedOperations = true }, "stable", "nobody")),
}

// listedGroups makes a step that lists the groups of these scripts that stay.
func listedGroups(name string, from int16, edit func(*kmsg.ListGroupsRequest)) step {
	return step{name: name, from: from, prep: withGroups, ask: func(*side, int16) kmsg.Request {
		req := kmsg.NewPtrListGroupsRequest()
		edit(req)
		return req
	}}
}

var besideListGroups = []step{
	listedGroups("all", 0, func(*kmsg.ListGroupsRequest) {}),
	listedGroups("all, again", 0, func(*kmsg.ListGroupsRequest) {}),
	listedGroups("the empty ones", 4, func(r *kmsg.ListGroupsRequest) { r.StatesFilter = []string{"Empty"} }),
	listedGroups("the stable ones, in lower case", 4, func(r *kmsg.ListGroupsRequest) { r.StatesFilter = []string{"stable"} }),
	listedGroups("a state that is none", 4, func(r *kmsg.ListGroupsRequest) { r.StatesFilter = []string{"odd"} }),
	listedGroups("the classic ones", 5, func(r *kmsg.ListGroupsRequest) { r.TypesFilter = []string{"classic"} }),
	listedGroups("the consumer ones", 5, func(r *kmsg.ListGroupsRequest) { r.TypesFilter = []string{"Consumer"} }),
	listedGroups("a type that is none", 5, func(r *kmsg.ListGroupsRequest) { r.TypesFilter = []string{"odd"} }),
}

// deletedGroups makes a step that deletes groups.
func deletedGroups(name string, prep func(s *side, group string), groups ...string) step {
	return step{name: name, prep: func(s *side, v int16) {
		withGroups(s, v)
		if prep != nil {
			prep(s, groupOf("delete "+name, v))
		}
	}, ask: func(_ *side, v int16) kmsg.Request {
		req := kmsg.NewPtrDeleteGroupsRequest()
		for _, g := range groups {
			if g == ownGroup {
				g = groupOf("delete "+name, v)
			}
			req.Groups = append(req.Groups, g)
		}
		return req
	}}
}

// ownGroup stands for a group of the step's own.
const ownGroup = "(own)"

func withOffset(s *side, group string) { s.do(commit(s, group, "read", 3), 8) }

var besideDeleteGroups = []step{
	deletedGroups("a group of offsets", withOffset, ownGroup),
	deletedGroups("a group twice", withOffset, ownGroup, ownGroup),
	deletedGroups("a group with a member", nil, "stable"),
	deletedGroups("a group that is none", nil, "nobody"),
	deletedGroups("an empty group", nil, ""),
	deletedGroups("one good, one bad", withOffset, ownGroup, "stable"),
	deletedGroups("nothing", nil),
}
