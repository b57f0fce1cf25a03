// Produce, versions 3 to 13. Versions 0 to 13 are listed, because librdkafka takes a minimum above
// 2 as a sign that compression is not supported. A request of version 0 to 2 closes the connection.
//
//	5   log start offset
//	7   zstd
//	8   error messages (KIP-467)
//	9   flexible
//	10  new leader beside NOT_LEADER_OR_FOLLOWER (KIP-951)
//	13  topic ids
//
// acks 1 and −1 mean the same: the broker answers when the records are published. timeout_ms holds
// for both.
//
// Different from Apache Kafka: records are not decompressed, so errors that only the records show
// are not found (wrong counts inside, null keys in compacted topics), and record_errors is always
// empty. Transactional batches are refused with 53.

package broker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	produceTopicIDVersion = 13
	// adminClientID may write internal topics, as in Kafka.
	adminClientID = "__admin_client"
)

// produceCall is one Produce request from its placing to its answer.
type produceCall struct {
	b        *Broker
	conn     *conn
	call     *call
	acks     int16
	bytes    int       // size of the frame, counted against the connection's limit (E20)
	deadline time.Time // zero if there is none

	topics []protocol.ProducedTopic // the answer, in the request's order
	append storage.AppendRequest    // what was not refused
	slots  []produceSlot            // by append.Partitions: where each outcome goes

	// target.seen of every topic so far; nil for a request of one partition.
	seen map[ident.TopicID][]uint64

	// holders counts what holds the share of the memory budget and the space: the answer, the
	// reader until it has placed the call, and the log until it calls Done.
	holders atomic.Int32
	space   *produceSpace
	// The connection ended, perhaps in the middle of the answer: space is not used again.
	abandoned bool

	lent bool // the reader lends itself and answers; guarded by conn.mu, changed only by the reader

	// Guarded by conn.mu. Once the call is settled, append belongs to the broker again. A call that
	// timed out is answered without a look at append, which the log still has.
	settled, timedOut bool
}

type produceSlot struct{ topic, partition int }

// produceSpace is the memory that a request needs per partition; later requests use it again. For a
// hundred partitions it is 30 KiB. Fresh from the allocator that would be cold memory, which cost a
// twentieth of the request's latency.
type produceSpace struct {
	appends  []storage.PartitionAppend
	slots    []produceSlot
	produced []protocol.ProducedPartition
}

var produceSpaces = sync.Pool{New: func() any { return new(produceSpace) }}

// produceSpaceMax is the largest number of partitions for which a space is kept.
const produceSpaceMax = 1024

// produce authorises and validates a request. It places nothing yet.
func (b *Broker) produce(c *call) *produceCall {
	req := c.req.(*kmsg.ProduceRequest)
	p := &produceCall{b: b, call: c, acks: req.Acks, bytes: c.frameBytes}
	p.holders.Store(1)
	if req.TimeoutMillis > 0 && req.Acks != 0 {
		p.deadline = time.Now().Add(time.Duration(req.TimeoutMillis) * time.Millisecond)
	}
	transactional := hasTransactionalBatch(req)
	nowMs := time.Now().UnixMilli()
	produced := p.prepareFor(partitionCount(req))
	p.topics = make([]protocol.ProducedTopic, len(req.Topics))
	for i := range req.Topics {
		rt := &req.Topics[i]
		n := len(rt.Partitions)
		p.topics[i] = protocol.ProducedTopic{Name: rt.Topic, ID: rt.TopicID, Partitions: produced[:n:n]}
		produced = produced[n:]
		t := p.lookUp(rt)
		if transactional {
			t.err = errUnauthorizedTxn
		}
		for j := range rt.Partitions {
			p.addPartition(i, j, &rt.Partitions[j], &t, nowMs)
		}
	}
	p.pin()
	return p
}

const (
	// A frame of which less than one keptOfFrame-th is appended does not stay in memory, unless the
	// rest is less than wastedBytesMin.
	keptOfFrame    = 4
	wastedBytesMin = 4 * kib
)

// pin tells the log which memory the batches keep alive: the frame, and the batches that were
// compressed anew. If most of a request was refused, pin copies the little that is left instead.
func (p *produceCall) pin() {
	kept := 0
	for i := range p.append.Partitions {
		kept += len(p.append.Partitions[i].Batch)
	}
	rebuilt := int(p.call.rebuilt.bytes)
	if waste := p.bytes - (kept - rebuilt); waste < max(wastedBytesMin, (keptOfFrame-1)*kept) {
		p.append.PinnedBytes = p.bytes + rebuilt
		return
	}
	p.append.PinnedBytes = kept
	for i := range p.append.Partitions {
		a := &p.append.Partitions[i]
		a.Batch = bytes.Clone(a.Batch)
	}
}

func partitionCount(req *kmsg.ProduceRequest) int {
	n := 0
	for i := range req.Topics {
		n += len(req.Topics[i].Partitions)
	}
	return n
}

// prepareFor makes room for n partitions at once, and returns the room for their answers.
func (p *produceCall) prepareFor(n int) []protocol.ProducedPartition {
	s := produceSpaces.Get().(*produceSpace)
	if cap(s.appends) < n {
		*s = produceSpace{make([]storage.PartitionAppend, 0, n), make([]produceSlot, 0, n), make([]protocol.ProducedPartition, n)}
	}
	p.space = s
	p.append.Partitions, p.slots = s.appends[:0], s.slots[:0]
	if n > 1 {
		p.seen = map[ident.TopicID][]uint64{}
	}
	return s.produced[:n]
}

// hasTransactionalBatch decides by the batches: a field in the header of the request proves nothing
// (CVE-2018-17196).
func hasTransactionalBatch(req *kmsg.ProduceRequest) bool {
	for i := range req.Topics {
		for j := range req.Topics[i].Partitions {
			r := req.Topics[i].Partitions[j].Records
			if len(r) >= protocol.BatchHeaderBytes && protocol.Attributes(binary.BigEndian.Uint16(r[21:])).Transactional() {
				return true
			}
		}
	}
	return false
}

// target is what a request needs to know of one of its topics. It is found once for all partitions
// of the topic.
type target struct {
	topic    *catalog.Topic
	internal bool
	config   *catalog.TopicConfig
	// A bit for each partition that was lined up, also by an earlier entry of the topic. It is nil
	// for a request of one partition.
	seen []uint64
	err  error // for every partition
}

func (p *produceCall) lookUp(rt *kmsg.ProduceRequestTopic) (t target) {
	if t.topic, t.err = p.b.producedTopic(p.call, rt); t.err != nil {
		return t
	}
	t.internal = internalTopics[t.topic.Name]
	t.config = p.b.topicConfig(t.topic)
	if p.seen != nil {
		words := (len(t.topic.Partitions) + 63) / 64
		// The topic may have grown since its first entry.
		if t.seen = p.seen[t.topic.ID]; len(t.seen) < words {
			t.seen = append(t.seen, make([]uint64, words-len(t.seen))...)
			p.seen[t.topic.ID] = t.seen
		}
	}
	return t
}

func (b *Broker) producedTopic(c *call, rt *kmsg.ProduceRequestTopic) (*catalog.Topic, error) {
	var topic *catalog.Topic
	var ok bool
	if c.version >= produceTopicIDVersion {
		if topic, ok = b.topics.TopicByID(rt.TopicID); !ok {
			return nil, errUnknownTopicID
		}
	} else {
		topic, ok = b.topics.TopicByName(rt.Topic)
	}
	name := rt.Topic
	if ok {
		name = topic.Name
	}
	if !c.allowed(name) {
		return nil, errUnauthorizedTopic
	}
	if !ok {
		return nil, storage.ErrUnknownPartition
	}
	return topic, nil
}

// addPartition validates the batch of one partition, and refuses it or lines it up for the append.
func (p *produceCall) addPartition(i, j int, rp *kmsg.ProduceRequestTopicPartition, t *target, nowMs int64) {
	out := &p.topics[i].Partitions[j]
	*out = protocol.ProducedPartition{Index: rp.Partition, BaseOffset: -1, AppendTime: -1, LogStart: -1, Leader: protocol.NewLeader{Broker: -1, Epoch: -1}}
	n := len(p.append.Partitions)
	p.append.Partitions = append(p.append.Partitions, storage.PartitionAppend{})
	if err := p.preparePartition(&p.append.Partitions[n], rp, t, nowMs); err != nil {
		p.append.Partitions = p.append.Partitions[:n]
		p.refuse(out, err)
		return
	}
	p.slots = append(p.slots, produceSlot{i, j})
}

// preparePartition fills a in place, so that it is never copied.
func (p *produceCall) preparePartition(a *storage.PartitionAppend, rp *kmsg.ProduceRequestTopicPartition, t *target, nowMs int64) (err error) {
	if t.err != nil {
		return t.err
	}
	if !hasPartition(t.topic, rp.Partition) {
		return storage.ErrUnknownPartition
	}
	h := &a.Header
	*h, err = parseOneBatch(rp.Records, p.call.version)
	switch {
	case err != nil:
		return err
	case p.acks < -1 || p.acks > 1:
		return errInvalidAcks
	case t.internal && p.call.header.ClientID != adminClientID:
		return fmt.Errorf("%w: %s is the broker's", errInvalidTopic, t.topic.Name)
	}
	if err := validateBatch(rp.Records, h, t.config, nowMs); err != nil {
		return err
	}
	if a.Batch, err = p.maybeRebuild(rp.Records, h, t.config); err != nil {
		return err
	}
	a.Partition, a.AppendTime = ident.TopicPartition{Topic: t.topic.ID, Index: rp.Partition}, -1
	if t.isTwice(rp.Partition) {
		return fmt.Errorf("%w: the partition stands twice in the request", errInvalidRecord)
	}
	if t.config.LogAppendTime {
		protocol.SetLogAppendTime(a.Batch, nowMs)
		if *h, err = protocol.ParseBatchHeader(a.Batch); err != nil {
			return err
		}
		a.AppendTime = nowMs
	}
	return nil
}

// maybeRebuild returns the batch in the codec that the topic asks for. Memory that it takes in
// addition to the frame is counted. At the bound the batch is refused with an error that clients
// retry: to wait for memory while holding some would be a deadlock.
func (p *produceCall) maybeRebuild(batch []byte, h *protocol.BatchHeader, config *catalog.TopicConfig) ([]byte, error) {
	rebuilt, err := maybeRecompress(batch, h, config)
	if err != nil || &rebuilt[0] == &batch[0] {
		return rebuilt, err
	}
	if !p.call.rebuilt.grow(p.b.rebuilt, int64(len(rebuilt))) {
		return nil, fmt.Errorf("%w: the memory for putting batches into another codec is in use", storage.ErrThrottled)
	}
	return rebuilt, nil
}

// isTwice reports whether a partition was lined up before; the log takes each lock once (E8). There
// is one bit per partition, because a map of partitions cost a twentieth of a request of a hundred.
func (t *target) isTwice(partition int32) bool {
	if t.seen == nil {
		return false
	}
	word, bit := &t.seen[partition/64], uint64(1)<<(partition%64)
	twice := *word&bit != 0
	*word |= bit
	return twice
}

// refuse gives a partition an error. If the producer is at the wrong broker, the answer names the
// right one.
func (p *produceCall) refuse(out *protocol.ProducedPartition, err error) {
	out.Code = codeOf(err)
	if text := messageOf(err); text != nil {
		out.Message = *text
	}
	if out.Code == protocol.CodeUnknownServerError {
		p.b.logger.Error("produce failed unexpectedly", "partition", out.Index, "err", err)
	}
	out.Leader = newLeader(err)
}

// place hands the rest of the request to the log. Done may be called before Append returns.
func (p *produceCall) place(b *Broker) {
	p.seen = nil
	if len(p.append.Partitions) == 0 {
		p.conn.mu.Lock()
		p.settled = true
		p.conn.mu.Unlock()
		return
	}
	p.holders.Add(1)
	p.append.Done = p.done
	p.append.Lend = p.lent
	b.log.Append(&p.append)
}

// done is called by the log, once. It must not block, and it does not: conn.mu is never held during
// I/O.
func (p *produceCall) done(*storage.AppendRequest) {
	p.conn.mu.Lock()
	p.settled = true
	if !p.lent {
		p.conn.changed.Broadcast()
	}
	p.conn.mu.Unlock()
	p.release()
}

// release gives the memory of the frame back once the answer has left and the log has let go of the
// frame.
func (p *produceCall) release() {
	if p.holders.Add(-1) > 0 {
		return
	}
	p.call.release()
	if s := p.space; !p.abandoned && cap(s.appends) <= produceSpaceMax {
		clear(p.append.Partitions) // lets go of the batches
		for i := range p.topics {
			clear(p.topics[i].Partitions) // and of the messages
		}
		produceSpaces.Put(s)
	}
}

// finish fills the outcome of the append into the answer.
func (p *produceCall) finish() {
	for i := range p.append.Partitions {
		slot := p.slots[i]
		out := &p.topics[slot.topic].Partitions[slot.partition]
		if p.timedOut {
			p.refuse(out, errTimedOut)
			continue
		}
		a := &p.append.Partitions[i]
		if a.Err != nil {
			p.refuseAppended(out, a)
			continue
		}
		out.BaseOffset, out.AppendTime, out.LogStart = int64(a.BaseOffset), a.AppendTime, int64(a.LogStart)
	}
}

// refuseAppended does what refuse does, for a partition that the log refused. A topic that was
// found before may be gone now.
func (p *produceCall) refuseAppended(out *protocol.ProducedPartition, a *storage.PartitionAppend) {
	err := a.Err
	if p.call.version >= produceTopicIDVersion && errors.Is(err, storage.ErrUnknownPartition) {
		if _, ok := p.b.topics.TopicByID(a.Partition.Topic); !ok {
			err = errUnknownTopicID
		}
	}
	p.refuse(out, err)
}

// failed reports, for acks=0, whether any partition failed.
func (p *produceCall) failed() bool {
	p.finish()
	for i := range p.topics {
		for j := range p.topics[i].Partitions {
			if p.topics[i].Partitions[j].Code != protocol.CodeNone {
				return true
			}
		}
	}
	return false
}

// appendAnswer appends the frame of the answer. throttle is for how long the connection is not
// read. The answer leaves out times below a millisecond, because a client that waits for that waits
// far too long.
func (p *produceCall) appendAnswer(dst []byte, throttle time.Duration) []byte {
	p.finish()
	throttleMs := int32(0)
	if throttle >= time.Millisecond {
		throttleMs = int32((throttle + time.Millisecond - 1) / time.Millisecond)
	}
	dst = slices.Grow(dst, p.answerBytes())
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = protocol.AppendResponseHeader(dst, p.call.header.Key, p.call.version, p.call.header.CorrelationID)
	dst = protocol.AppendProduceResponse(dst, p.call.version, p.topics, throttleMs, p.call.endpoints(p.newLeaders()))
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-protocol.FrameLengthBytes))
	return dst
}

// answerBytes is about the size of an answer without refusals.
func (p *produceCall) answerBytes() int {
	const fixedBytes, topicBytes, partitionBytes = 32, 24, 37
	n := fixedBytes
	for i := range p.topics {
		n += topicBytes + len(p.topics[i].Name) + partitionBytes*len(p.topics[i].Partitions)
	}
	return n
}

func (p *produceCall) newLeaders() map[int32]bool {
	var leaders map[int32]bool
	for i := range p.topics {
		for j := range p.topics[i].Partitions {
			if id := p.topics[i].Partitions[j].Leader.Broker; id >= 0 {
				if leaders == nil {
					leaders = map[int32]bool{}
				}
				leaders[id] = true
			}
		}
	}
	return leaders
}
