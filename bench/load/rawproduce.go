package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/protocol"
)

// rawShape describes the requests of a raw producer. Request i takes the next perRequest partitions
// of the topic, in turn, and has one batch of batchBytes for each.
type rawShape struct {
	rawTopic
	perRequest int // must divide partitions
	// Including its header; if the size cannot be met exactly, it is a few bytes smaller.
	batchBytes int
}

// rawProducer is an idempotent producer with one request in flight at a time.
type rawProducer struct {
	c       *rawConn
	shape   rawShape
	batch   []byte
	records int // per batch
	next    int // number of requests so far
	req     *kmsg.ProduceRequest
}

// newRawProducer takes over the connection, which must lead to the topic's leader.
func newRawProducer(ctx context.Context, c *rawConn, s rawShape) (*rawProducer, error) {
	id, epoch, err := c.awaitProducerID(ctx)
	if err != nil {
		return nil, err
	}
	batch, records, err := rawBatch(s.batchBytes, id, epoch)
	if err != nil {
		return nil, err
	}
	return &rawProducer{c: c, shape: s, batch: batch, records: records, req: rawProduceRequest(s, batch)}, nil
}

// awaitProducerID asks until the broker gives an id. A broker that has just started must first load
// what it knows about producers.
func (c *rawConn) awaitProducerID(ctx context.Context) (id int64, epoch int16, err error) {
	ctx, cancel := context.WithTimeout(ctx, rawPatience)
	defer cancel()
	for {
		if id, epoch, err = c.producerID(); !kerr.IsRetriable(err) {
			return id, epoch, err
		}
		if ended := wait(ctx, rawPoll); ended != nil {
			return 0, 0, errors.Join(ended, err)
		}
	}
}

func (c *rawConn) producerID() (id int64, epoch int16, err error) {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.Version, req.ProducerID, req.ProducerEpoch = rawProducerVersion, -1, -1
	answer, err := c.ask(req)
	if err != nil {
		return 0, 0, err
	}
	resp := answer.(*kmsg.InitProducerIDResponse)
	if resp.ErrorCode != 0 {
		return 0, 0, answered("InitProducerId", resp.ErrorCode)
	}
	return resp.ProducerID, resp.ProducerEpoch, nil
}

// rawProduceRequest is the request. Later, only partition numbers and the batch's sequence change.
func rawProduceRequest(s rawShape, batch []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = rawProduceVersion, -1, int32(rawPatience/time.Millisecond)
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic = s.name
	for range s.perRequest {
		p := kmsg.NewProduceRequestTopicPartition()
		p.Records = batch
		topic.Partitions = append(topic.Partitions, p)
	}
	req.Topics = append(req.Topics, topic)
	return req
}

// rawBatch makes a batch of records of about 1 KiB each (one smaller record, if no more fits). Half
// of the bytes are random, as in OpenMessaging Benchmark. The batch is at most three bytes smaller
// than requested.
func rawBatch(bytes int, id int64, epoch int16) (batch []byte, records int, err error) {
	const perRecord = 16 // the most that a record of this kind takes beside its value
	records = max(1, bytes/recordBytesDefault)
	value := max(1, (bytes-protocol.BatchHeaderBytes)/records-perRecord)
	rs := make([]protocol.Record, records)
	now := time.Now().UnixMilli()
	for i := range rs {
		rs[i] = protocol.Record{Timestamp: now, Value: halfRandom(value)}
	}
	spec := protocol.BatchSpec{ProducerID: id, ProducerEpoch: epoch}
	if batch, err = protocol.BuildBatch(spec, rs); err != nil {
		return nil, 0, err
	}
	if missing := bytes - len(batch) - 3; missing > 0 { // 3: the two varints of its length may grow
		rs[0].Value = halfRandom(value + missing)
		batch, err = protocol.BuildBatch(spec, rs)
	}
	return batch, records, err
}

const recordBytesDefault = 1024

func halfRandom(bytes int) []byte {
	b := make([]byte, bytes)
	for i := range bytes / 2 {
		b[2*i] = byte(rand.Int())
	}
	return b
}

// produce sends the next request and waits for its answer. The time counts from the first byte that
// leaves to the last byte that arrives, without encoding the request and decoding the answer.
//
// The first request to a partition is sent again while the broker asks for that: Apache Kafka names
// a new partition's leader before that leader knows about it. By its sequence the broker recognises
// what it has accepted already.
func (p *rawProducer) produce(ctx context.Context) (time.Duration, error) {
	took, err := p.once()
	for p.inFirstRound() && kerr.IsRetriable(err) {
		if ended := wait(ctx, rawPoll); ended != nil {
			return 0, errors.Join(ended, err)
		}
		took, err = p.once()
	}
	if err != nil {
		return 0, err
	}
	p.next++
	return took, nil
}

// inFirstRound reports whether there are partitions for which no request was acknowledged.
func (p *rawProducer) inFirstRound() bool { return p.next*p.shape.perRequest < p.shape.partitions }

func (p *rawProducer) once() (time.Duration, error) {
	p.prepare()
	start := time.Now()
	if err := p.c.exchange(); err != nil {
		return 0, fmt.Errorf("produce to %s: %w", p.shape.name, err)
	}
	took := time.Since(start)
	return took, p.judge()
}

// prepare encodes the next request. All batches of a request have the same sequence, since its
// partitions have had their turn equally often.
func (p *rawProducer) prepare() {
	first := p.next * p.shape.perRequest
	turn := first / p.shape.partitions
	binary.BigEndian.PutUint32(p.batch[53:], uint32(turn*p.records))
	binary.BigEndian.PutUint32(p.batch[17:], crc32.Checksum(p.batch[21:], protocol.Castagnoli))
	partitions := p.req.Topics[0].Partitions
	for i := range partitions {
		partitions[i].Partition = int32((first + i) % p.shape.partitions)
	}
	p.c.encode(p.req)
}

// judge looks at the answer for every partition.
func (p *rawProducer) judge() error {
	answer, err := p.c.decode(p.req)
	if err != nil {
		return err
	}
	partitions := 0
	for _, t := range answer.(*kmsg.ProduceResponse).Topics {
		for _, a := range t.Partitions {
			if a.ErrorCode != 0 {
				return answered(fmt.Sprintf("produce to %s-%d", p.shape.name, a.Partition), a.ErrorCode)
			}
			partitions++
		}
	}
	if partitions != p.shape.perRequest {
		return fmt.Errorf("produce to %s: %d partitions answered, %d sent", p.shape.name, partitions, p.shape.perRequest)
	}
	return nil
}

// acknowledged returns how many records of a partition were acknowledged.
func (p *rawProducer) acknowledged(partition int) int64 {
	batches := p.next * p.shape.perRequest
	n := batches / p.shape.partitions
	if partition < batches%p.shape.partitions {
		n++
	}
	return int64(n * p.records)
}

// verify compares each partition's end with what was acknowledged to this producer, which is the
// topic's only one.
func (p *rawProducer) verify() (lost, duplicates int64, err error) {
	ends, err := p.c.ends(p.shape.rawTopic)
	if err != nil {
		return 0, 0, err
	}
	for i, end := range ends {
		lost += max(0, p.acknowledged(i)-end)
		duplicates += max(0, end-p.acknowledged(i))
	}
	return lost, duplicates, nil
}

// ends asks for the end offset of each partition.
func (c *rawConn) ends(t rawTopic) ([]int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID = rawOffsetsVersion, -1
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic = t.name
	for i := range t.partitions {
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = int32(i), -1
		topic.Partitions = append(topic.Partitions, p)
	}
	req.Topics = append(req.Topics, topic)
	answer, err := c.ask(req)
	if err != nil {
		return nil, err
	}
	ends := make([]int64, t.partitions)
	for _, at := range answer.(*kmsg.ListOffsetsResponse).Topics {
		for _, p := range at.Partitions {
			if p.ErrorCode != 0 || p.Partition < 0 || int(p.Partition) >= len(ends) {
				return nil, answered(fmt.Sprintf("end of %s-%d", t.name, p.Partition), p.ErrorCode)
			}
			ends[p.Partition] = p.Offset
		}
	}
	return ends, nil
}
