package harness

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/compat-tests/history"
)

// tapReader turns the requests and answers of one member into the history of its group.
type tapReader struct {
	h     *history.Groups
	group string

	mu    sync.Mutex
	names map[[16]byte]string // topics, as Metadata named them
	// Where the member last asked to read; a fetch session keeps offsets that are not repeated.
	from map[fetchPlace]int64
}

// fetchPlace is a partition under the name or id that the request uses.
type fetchPlace struct {
	topic string
	id    [16]byte
	index int32
}

// noted is a request and when it was sent.
type noted struct {
	req     kmsg.Request
	invoke  time.Duration
	commits []*history.Commit // one for each partition, in order
}

// interesting reports whether a tap decodes an API. All others pass through unread.
func interesting(key int16) bool {
	switch kmsg.Key(key) {
	case kmsg.Fetch, kmsg.Metadata, kmsg.OffsetCommit, kmsg.OffsetFetch, kmsg.FindCoordinator, kmsg.JoinGroup, kmsg.SyncGroup, kmsg.DescribeCluster:
		return true
	}
	return false
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// asked is called before a request is sent.
func (r *tapReader) asked(req kmsg.Request) noted {
	n := noted{req: req, invoke: r.h.Now()}
	switch req := req.(type) {
	case *kmsg.OffsetCommitRequest:
		n.commits = r.committing(req, n.invoke)
	case *kmsg.FetchRequest:
		r.fetching(req)
	}
	return n
}

func (r *tapReader) committing(req *kmsg.OffsetCommitRequest, invoke time.Duration) (commits []*history.Commit) {
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			c := history.Commit{
				Slot:     r.slot(t.Topic, t.TopicID, p.Partition),
				Position: position(p.Offset, p.Metadata), Member: owner(req.MemberID, req.InstanceID), Generation: req.Generation, Invoke: invoke,
			}
			commits = append(commits, r.h.Began(c))
		}
	}
	return commits
}

func position(offset int64, metadata *string) history.Position {
	p := history.Position{Offset: offset}
	if metadata != nil {
		p.Metadata = *metadata
	}
	return p
}

// owner is a name for a member over several lives, if it has one.
func owner(member string, instance *string) string {
	if instance != nil {
		return "static " + *instance
	}
	return member
}

func (r *tapReader) slot(topic string, id [16]byte, index int32) history.Slot {
	if topic == "" {
		r.mu.Lock()
		defer r.mu.Unlock()
		topic = r.names[id]
	}
	return history.Slot{Group: r.group, Partition: history.Partition{Topic: topic, Index: index}}
}

func (r *tapReader) fetching(req *kmsg.FetchRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			r.from[fetchPlace{t.Topic, t.TopicID, p.Partition}] = p.FetchOffset
		}
	}
}

// abandoned is called when no answer will come, because the broker has died.
func (r *tapReader) abandoned(n noted) {
	now := r.h.Now()
	for _, c := range n.commits {
		r.h.Doubted(c, now)
	}
}

// answered is called before an answer is handed on.
func (r *tapReader) answered(n noted, resp kmsg.Response) {
	now := r.h.Now()
	switch resp := resp.(type) {
	case *kmsg.MetadataResponse:
		r.learn(resp)
	case *kmsg.OffsetCommitResponse:
		i := 0
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				r.h.Ended(n.commits[i], now, p.ErrorCode)
				i++
			}
		}
	case *kmsg.OffsetFetchResponse:
		r.h.Answered(r.offsets(n, resp, now)...)
	case *kmsg.SyncGroupResponse:
		r.synced(n.req.(*kmsg.SyncGroupRequest), resp, n.invoke, now)
	case *kmsg.FetchResponse:
		r.fetched(resp, now)
	}
}

func (r *tapReader) learn(resp *kmsg.MetadataResponse) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range resp.Topics {
		if t.Topic != nil {
			r.names[t.TopicID] = *t.Topic
		}
	}
}

func (r *tapReader) offsets(n noted, resp *kmsg.OffsetFetchResponse, now time.Duration) (answers []history.Answer) {
	add := func(slot history.Slot, p history.Position, code int16) {
		if code == 0 {
			answers = append(answers, history.Answer{Slot: slot, Position: p, Invoke: n.invoke, Complete: now})
		}
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			add(r.slot(t.Topic, [16]byte{}, p.Partition), position(p.Offset, p.Metadata), resp.ErrorCode|p.ErrorCode)
		}
	}
	for _, g := range resp.Groups {
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				add(r.slot(t.Topic, t.TopicID, p.Partition), position(p.Offset, p.Metadata), g.ErrorCode|p.ErrorCode)
			}
		}
	}
	return answers
}

func (r *tapReader) synced(req *kmsg.SyncGroupRequest, resp *kmsg.SyncGroupResponse, invoke, now time.Duration) {
	if resp.ErrorCode != 0 {
		return
	}
	parts, err := assignedTo(resp.MemberAssignment)
	if err != nil {
		return // the leader made a mistake; its group does not settle
	}
	r.h.Assigned(history.Assignment{
		Group: r.group, Generation: req.Generation, Owner: owner(req.MemberID, req.InstanceID), Partitions: parts, Invoke: invoke, Complete: now,
	})
}

// assignedTo reads what a leader assigned to a member: nothing, if the leader left the member out.
func assignedTo(raw []byte) (parts []history.Partition, err error) {
	if len(raw) == 0 {
		return nil, nil
	}
	var a kmsg.ConsumerMemberAssignment
	if err := a.ReadFrom(raw); err != nil {
		return nil, fmt.Errorf("assignment: %w", err)
	}
	for _, t := range a.Topics {
		for _, p := range t.Partitions {
			parts = append(parts, history.Partition{Topic: t.Topic, Index: p})
		}
	}
	return parts, nil
}

// fetched records what a member was given. It begins where the member asked to read, although a
// batch may begin before.
func (r *tapReader) fetched(resp *kmsg.FetchResponse, now time.Duration) {
	var given []history.Delivery
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			first, last, ok := batchSpan(p.RecordBatches)
			if !ok || p.ErrorCode != 0 {
				continue
			}
			r.mu.Lock()
			from := r.from[fetchPlace{t.Topic, t.TopicID, p.Partition}]
			r.mu.Unlock()
			given = append(given, history.Delivery{Slot: r.slot(t.Topic, t.TopicID, p.Partition), First: max(first, from), Last: last, Complete: now})
		}
	}
	r.h.Delivered(given...)
}

// batchSpan returns the first and the last offset in the whole batches of raw.
func batchSpan(raw []byte) (first, last int64, ok bool) {
	first = math.MaxInt64
	for len(raw) >= batchHeaderBytes {
		length := 12 + int64(int32(binary.BigEndian.Uint32(raw[8:])))
		if length < batchHeaderBytes || length > int64(len(raw)) {
			break
		}
		base := int64(binary.BigEndian.Uint64(raw))
		first, last, ok = min(first, base), base+int64(int32(binary.BigEndian.Uint32(raw[23:]))), true
		raw = raw[length:]
	}
	return first, last, ok
}
