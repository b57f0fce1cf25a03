// Fetch, versions 4 to 18.
//
//	5   log start offset
//	6   KAFKA_STORAGE_ERROR may be answered
//	7   sessions
//	9   current leader epoch
//	11  rack; OFFSET_NOT_AVAILABLE may be answered
//	12  flexible, last fetched epoch, new leader (KIP-951)
//	13  topic ids
//	16  endpoints of new leaders
//	17, 18  fields of replicas, ignored
//
// The whole request has one wait, and any of its partitions ends it. Record bytes are sent from
// where the log has them.
//
// Memory: the request is decoded, planned and let go of. While it waits it keeps the plan, with
// each partition once. Before it reads, the answer takes its share of Broker.answers, and it grows
// no larger than that share. It holds the share until it is written, or until the peer has stalled
// for too long.
//
// Different from Apache Kafka:
//
//   - No session is kept: the id is always 0, and a request that continues a session gets
//     FETCH_SESSION_ID_NOT_FOUND.
//   - A wait is at most as long as a connection may idle.
//   - last_fetched_epoch is ignored, as only replicas send it.
//   - A request with a replica id gets TOPIC_AUTHORIZATION_FAILED.
//   - If a request names a partition twice, its first entry counts. Kafka takes the last one.

package broker

import (
	"context"
	"errors"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// fetchBytesMax is Kafka's fetch.max.bytes.
	fetchBytesMax       = 57_671_680
	fetchTopicIDVersion = 13
	fetchSessionVersion = 7

	// A Fetch request that is being answered takes up to fetchCostTimes the memory of its decoded
	// form. A wait keeps fetchPlanBytes of that for each partition.
	fetchCostTimes = 3
	fetchPlanBytes = 384
	// crowdedLook is how often a wait that holds a share of a budget looks whether others need that
	// share.
	crowdedLook = time.Second

	// fetchTurnBytes is the least share of Broker.answers that an answer gets: room for a batch of
	// 1 MiB, which may lie across two blocks of the cache.
	fetchTurnBytes = 2*mib + vectorBytes
	// fetchTurnWait is how long an answer waits for memory in all; after that it is empty. It is
	// below the 30 s after which clients give up.
	fetchTurnWait = 20 * time.Second
	// noRoom makes a read return positions only: no batch is that small.
	noRoom = 1
)

// fetchCall is one Fetch request. fetch.Partitions lists the partitions that the log is asked for.
// Nothing in a fetchCall refers to the decoded request, because a call may wait for minutes.
type fetchCall struct {
	b       *Broker
	call    *call
	level   storage.Isolation
	replica bool // the request says that a replica sends it
	topics  []fetchedTopic
	refused bool // at least one entry was refused
	fetch   storage.Fetch
	// The bound for all partitions together, from the bounds that the request has for each.
	maxBytes int
	patience time.Duration // what is left of fetchTurnWait
}

// fetchedTopic is a topic of the answer.
type fetchedTopic struct {
	name    string // up to version 12
	id      [16]byte
	topic   *catalog.Topic // nil if not found
	seen    []uint64       // a bit for each partition among the entries; nil if there is only one
	entries []fetchedEntry
}

// fetchedEntry is a partition of the answer.
type fetchedEntry struct {
	index int32
	asked int32 // index in fetch.Partitions; without a meaning if err is set
	err   error
}

func (b *Broker) fetch(ctx context.Context, c *call) ([][]byte, int, error) {
	req := c.req.(*kmsg.FetchRequest)
	if c.version >= fetchSessionVersion && req.SessionEpoch > 0 {
		r := protocol.NewFetchResponse(c.version, c.header.CorrelationID, codeOf(errNoFetchSession), 0)
		buffers, bytes := r.Buffers(nil)
		return buffers, bytes, nil
	}
	f := &fetchCall{b: b, call: c, level: isolation(req.IsolationLevel), replica: req.ReplicaID >= 0 || req.ReplicaState.ID >= 0,
		patience: fetchTurnWait}
	f.plan(req)
	c.req = nil
	f.poll(ctx)
	buffers, bytes := f.encode()
	return buffers, bytes, nil
}

// plan separates the entries for which the log cannot be asked, and takes each partition once.
func (f *fetchCall) plan(req *kmsg.FetchRequest) {
	f.topics = make([]fetchedTopic, 0, len(req.Topics))
	places := map[ident.TopicID]int{}
	entries := 0
	for i := range req.Topics {
		rt := &req.Topics[i]
		topic, err := f.topic(rt)
		t := f.placeOf(rt, topic, places, len(req.Topics) > 1)
		before := len(t.entries)
		for j := range rt.Partitions {
			f.add(t, err, &rt.Partitions[j])
		}
		entries += len(t.entries) - before
	}
	f.fetch.MaxBytes = f.b.cfg.FetchBytesMax
	if req.MaxBytes >= 0 { // a client without a bound sends 2147483647
		f.fetch.MaxBytes = min(int(req.MaxBytes), f.b.cfg.FetchBytesMax)
	}
	f.fetch.MinBytes = min(int(req.MinBytes), f.fetch.MaxBytes)
	f.fetch.MaxWait = min(time.Duration(req.MaxWaitMillis)*time.Millisecond, f.b.cfg.IdleTimeout)
	f.call.decoded.shrinkTo(int64(entries) * fetchPlanBytes)
}

// placeOf finds a topic that was named before, or makes room for a new one.
func (f *fetchCall) placeOf(rt *kmsg.FetchRequestTopic, topic *catalog.Topic, places map[ident.TopicID]int, several bool) *fetchedTopic {
	if topic != nil && several {
		if at, ok := places[topic.ID]; ok {
			return &f.topics[at]
		}
		places[topic.ID] = len(f.topics)
	}
	room := len(rt.Partitions)
	t := fetchedTopic{name: rt.Topic, id: rt.TopicID, topic: topic}
	if topic != nil && (room > 1 || several) {
		t.seen = make([]uint64, (len(topic.Partitions)+63)/64)
		room = min(room, len(topic.Partitions))
	}
	t.entries = make([]fetchedEntry, 0, room)
	f.topics = append(f.topics, t)
	return &f.topics[len(f.topics)-1]
}

func (f *fetchCall) topic(rt *kmsg.FetchRequestTopic) (*catalog.Topic, error) {
	var topic *catalog.Topic
	var ok bool
	name := rt.Topic
	if f.call.version >= fetchTopicIDVersion {
		if topic, ok = f.b.topics.TopicByID(rt.TopicID); !ok {
			return nil, errUnknownTopicID
		}
		name = topic.Name
	} else {
		topic, ok = f.b.topics.TopicByName(name)
	}
	switch {
	case !f.call.allowed(name), f.replica:
		return nil, errUnauthorizedTopic // no replica exists here that could ask (CVE-2018-1288)
	case !ok:
		return nil, storage.ErrUnknownPartition
	}
	return topic, nil
}

// add takes up an entry of the request, unless its partition was named before.
func (f *fetchCall) add(t *fetchedTopic, err error, rp *kmsg.FetchRequestTopicPartition) {
	switch {
	case err != nil:
	case !hasPartition(t.topic, rp.Partition):
		err = storage.ErrUnknownPartition
	case t.isTwice(rp.Partition):
		return
	}
	t.entries = append(t.entries, fetchedEntry{rp.Partition, int32(len(f.fetch.Partitions)), err})
	if err != nil {
		f.refused = true
		return
	}
	f.maxBytes += max(0, int(rp.PartitionMaxBytes))
	f.fetch.Partitions = append(f.fetch.Partitions, storage.FetchPartition{
		Partition:    ident.TopicPartition{Topic: t.topic.ID, Index: rp.Partition},
		Offset:       ident.Offset(rp.FetchOffset),
		MaxBytes:     int(rp.PartitionMaxBytes),
		CurrentEpoch: requestEpoch(rp.CurrentLeaderEpoch),
		Split:        true,
		Isolation:    f.level,
	})
}

// isTwice notes a partition that the topic has, and reports whether it was noted before.
func (t *fetchedTopic) isTwice(partition int32) bool {
	if t.seen == nil {
		return false
	}
	word, bit := &t.seen[partition/64], uint64(1)<<(partition%64)
	twice := *word&bit != 0
	*word |= bit
	return twice
}

// requestEpoch reads a leader epoch. A negative one means that the epoch is not to be checked.
func requestEpoch(e int32) ident.Epoch { return max(ident.NoEpoch, ident.Epoch(e)) }

func isolation(level int8) storage.Isolation {
	if level == int8(storage.ReadCommitted) {
		return storage.ReadCommitted
	}
	return storage.ReadUncommitted
}

// poll reads until there is enough to answer, the wait is over, or the broker stops. It begins to
// watch before it reads, so that it misses nothing in between.
func (f *fetchCall) poll(ctx context.Context) {
	if !f.mayWait() {
		f.read(ctx)
		return
	}
	moved := make(chan struct{}, 1)
	parts := make([]ident.TopicPartition, len(f.fetch.Partitions))
	for i := range parts {
		parts[i] = f.fetch.Partitions[i].Partition
	}
	defer f.b.log.Watch(parts, moved)()
	deadline := time.Now().Add(f.fetch.MaxWait)
	// When the wait is over, the log is read once more: the answer has what is there, even if it is
	// less than MinBytes.
	for over := false; !f.read(ctx) && !over; {
		f.letGo()
		over = f.wait(ctx, moved, deadline)
	}
}

// mayWait reports whether nothing has been refused and there is something to wait for.
func (f *fetchCall) mayWait() bool {
	return f.fetch.MaxWait > 0 && f.fetch.MinBytes > 0 && len(f.fetch.Partitions) > 0 && !f.refused
}

// wait returns when a partition has moved, or reports that the wait is over. It is over when its
// time is up, when the broker stops, or when the request holds memory that others wait for.
func (f *fetchCall) wait(ctx context.Context, moved <-chan struct{}, deadline time.Time) (over bool) {
	for {
		look := time.Until(deadline)
		if f.call.decoded.bytes > 0 {
			look = min(look, crowdedLook)
		}
		timer := time.NewTimer(look)
		select {
		case <-moved:
			timer.Stop()
			return false
		case <-timer.C:
			if !time.Now().Before(deadline) || f.call.decoded.isCrowded() {
				return true
			}
		case <-f.b.stopping.Done():
			return true
		case <-ctx.Done():
			return true
		}
	}
}

// read asks the log, and reports whether the answer can leave: there is enough, or there was no
// memory in time.
func (f *fetchCall) read(ctx context.Context) bool {
	if len(f.fetch.Partitions) == 0 {
		return true
	}
	f.takeTurn()
	f.b.log.Read(ctx, &f.fetch)
	// The first batch is larger than this turn.
	if needs := int64(f.fetch.Needs); needs > 0 && f.fetch.Room > noRoom {
		f.call.releaseAnswer()
		f.awaitTurn(min(needs+vectorBytes, f.b.answers.bytes))
		// The answer has all that there is: the batch may take a little more.
		if f.call.answer.bytes == f.b.answers.bytes {
			f.fetch.Room = max(f.fetch.Room, int(needs))
		}
		f.b.log.Read(ctx, &f.fetch)
	}
	bytes, held, failed := 0, 0, false
	for i := range f.fetch.Partitions {
		p := &f.fetch.Partitions[i]
		bytes += p.Bytes
		held += p.Held
		failed = failed || p.Err != nil
	}
	if bytes > 0 {
		held += vectorBytes
	}
	f.call.answer.shrinkTo(int64(held))
	f.call.behind.shrinkTo(int64(held))
	if f.call.conn != nil {
		f.call.conn.behind = f.fetch.Behind
	}
	return failed || f.fetch.Room == noRoom || bytes >= f.fetch.MinBytes || bytes > 0 && f.fetch.Room < f.fetch.MinBytes
}

// takeTurn takes a share of the memory for answers: as much as the request may ask for, but at most
// half of what is free. So answers become smaller as the memory fills up. If nothing is free, the
// call waits until the calls before it have been served.
func (f *fetchCall) takeTurn() {
	free := f.b.answers.available()
	if f.isBehind() {
		free = min(free, f.b.behind.available())
	}
	want := int64(min(f.fetch.MaxBytes, f.maxBytes)) + vectorBytes
	if !f.tryTurn(max(fetchTurnBytes, min(want, free/2))) {
		f.awaitTurn(fetchTurnBytes)
	}
}

// isBehind reports that the consumer will most likely wait for the bucket, as it did the last time.
// While the bucket is slow, such consumers hold memory for seconds, so a quarter is left to others.
func (f *fetchCall) isBehind() bool { return f.call.conn != nil && f.call.conn.behind }

func (f *fetchCall) tryTurn(bytes int64) bool {
	ok := true
	if f.isBehind() {
		if f.call.behind, ok = f.b.behind.tryReserve(bytes); !ok {
			return false
		}
	}
	s, ok := f.b.answers.tryReserve(bytes)
	if !ok {
		f.call.behind.release()
		return false
	}
	f.hold(s)
	return true
}

// awaitTurn waits in order until it gets that many bytes, for as long as the request has patience.
func (f *fetchCall) awaitTurn(bytes int64) {
	if f.isBehind() {
		f.call.behind = f.reserve(f.b.behind, min(bytes, f.b.behind.bytes))
		if f.call.behind.bytes == 0 {
			f.hold(share{})
			return
		}
	}
	f.hold(f.reserve(f.b.answers, bytes))
}

func (f *fetchCall) reserve(of *budget, bytes int64) share {
	began := time.Now()
	s := of.reserveWithin(f.b.stopping, f.patience, bytes)
	f.patience -= time.Since(began)
	return s
}

// hold gives the read the room that the share reserves.
func (f *fetchCall) hold(s share) {
	f.call.answer = s
	f.fetch.Room = max(noRoom, int(s.bytes-vectorBytes))
}

// letGo drops what was read, because the request waits for more.
func (f *fetchCall) letGo() {
	for i := range f.fetch.Partitions {
		f.fetch.Partitions[i].LetGo()
	}
	f.call.releaseAnswer()
}

// encode answers every partition that was asked for, exactly once, in the request's order.
func (f *fetchCall) encode() ([][]byte, int) {
	r := protocol.NewFetchResponse(f.call.version, f.call.header.CorrelationID, protocol.CodeNone, len(f.topics))
	leaders := map[int32]bool{}
	for i := range f.topics {
		t := &f.topics[i]
		r.Topic(t.name, t.id, len(t.entries))
		for _, entry := range t.entries {
			var out protocol.FetchedPartition
			if entry.err != nil {
				out = f.refusedPartition(entry.index, entry.err)
				// Kafka lists no aborted transactions, rather than null, where it did not read.
				out.Committed = true
			} else {
				out = f.readPartition(t.topic, &f.fetch.Partitions[entry.asked])
			}
			if out.Leader.Broker >= 0 {
				leaders[out.Leader.Broker] = true
			}
			r.Partition(&out)
		}
		r.EndTopic()
	}
	return r.Buffers(f.call.endpoints(leaders))
}

func (f *fetchCall) refusedPartition(index int32, err error) protocol.FetchedPartition {
	return protocol.FetchedPartition{
		Index: index, Code: fetchCode(err, f.call.version), HighWatermark: -1, LastStable: -1, LogStart: -1,
		Committed: f.level == storage.ReadCommitted, Leader: newLeader(err),
	}
}

func (f *fetchCall) readPartition(topic *catalog.Topic, p *storage.FetchPartition) protocol.FetchedPartition {
	if p.Err == nil {
		return protocol.FetchedPartition{
			Index: p.Partition.Index, HighWatermark: int64(p.HighWatermark), LastStable: int64(p.LastStable), LogStart: int64(p.LogStart),
			Committed: p.Isolation == storage.ReadCommitted, Leader: protocol.NewLeader{Broker: -1, Epoch: -1},
			Batches: p.Batches, Bytes: p.Bytes,
		}
	}
	err := p.Err
	if errors.Is(err, storage.ErrUnknownPartition) && f.call.version >= fetchTopicIDVersion {
		err = errUnknownTopicID // the topic was deleted while the request waited
	}
	out := f.refusedPartition(p.Partition.Index, err)
	if out.Code == protocol.CodeUnknownServerError {
		f.b.logger.Error("fetch failed unexpectedly", "topic", topic.Name, "partition", p.Partition.Index, "offset", int64(p.Offset), "err", p.Err)
	}
	if p.Current.Broker >= 0 && out.Code == protocol.CodeFencedLeaderEpoch {
		out.Leader = protocol.NewLeader{Broker: p.Current.Broker, Epoch: int32(p.Current.Epoch)}
	}
	return out
}
