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
// One wait for the whole request, woken by any of its partitions. Record bytes are sent from where the log has them.
// Different from Apache Kafka: no session is kept, the id is always 0 and a request that
// continues one gets FETCH_SESSION_ID_NOT_FOUND; a wait is at most as long as a connection may idle; last_fetched_epoch
// is ignored, as only replicas send it, and a request with a replica id gets TOPIC_AUTHORIZATION_FAILED.

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
)

// fetchCall is one Fetch request. fetch.Partitions holds what is asked of the
// log; refused has the errors of the others. Both are walked in the request's order.
type fetchCall struct {
	b       *Broker
	call    *call
	req     *kmsg.FetchRequest
	topics  []*catalog.Topic // by request topic; nil if not found
	refused [][]error        // by request topic and partition; nil if asked of the log
	fetch   storage.Fetch
}

func (b *Broker) fetch(ctx context.Context, c *call) ([][]byte, int, error) {
	f := &fetchCall{b: b, call: c, req: c.req.(*kmsg.FetchRequest)}
	if c.version >= fetchSessionVersion && f.req.SessionEpoch > 0 {
		r := protocol.NewFetchResponse(c.version, c.header.CorrelationID, codeOf(errNoFetchSession), 0)
		buffers, bytes := r.Buffers(nil)
		return buffers, bytes, nil
	}
	f.plan()
	f.poll(ctx)
	buffers, bytes := f.encode()
	return buffers, bytes, nil
}

// plan sorts out what cannot be asked of the log.
func (f *fetchCall) plan() {
	f.topics = make([]*catalog.Topic, len(f.req.Topics))
	f.refused = make([][]error, len(f.req.Topics))
	for i := range f.req.Topics {
		rt := &f.req.Topics[i]
		f.refused[i] = make([]error, len(rt.Partitions))
		topic, err := f.topic(rt)
		f.topics[i] = topic
		for j := range rt.Partitions {
			f.refused[i][j] = f.add(topic, err, &rt.Partitions[j])
		}
	}
	f.fetch.MaxBytes = f.b.cfg.FetchBytesMax
	if f.req.MaxBytes >= 0 { // a client that has none says so with 2147483647
		f.fetch.MaxBytes = min(int(f.req.MaxBytes), f.b.cfg.FetchBytesMax)
	}
	f.fetch.MinBytes = min(int(f.req.MinBytes), f.fetch.MaxBytes)
	f.fetch.MaxWait = min(time.Duration(f.req.MaxWaitMillis)*time.Millisecond, f.b.cfg.IdleTimeout)
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
	case !f.call.allowed(name), f.req.ReplicaID >= 0, f.req.ReplicaState.ID >= 0:
		return nil, errUnauthorizedTopic // there are no replicas here that could ask (CVE-2018-1288)
	case !ok:
		return nil, storage.ErrUnknownPartition
	}
	return topic, nil
}

func (f *fetchCall) add(topic *catalog.Topic, err error, rp *kmsg.FetchRequestTopicPartition) error {
	if err != nil {
		return err
	}
	if !hasPartition(topic, rp.Partition) {
		return storage.ErrUnknownPartition
	}
	f.fetch.Partitions = append(f.fetch.Partitions, storage.FetchPartition{
		Partition:    ident.TopicPartition{Topic: topic.ID, Index: rp.Partition},
		Offset:       ident.Offset(rp.FetchOffset),
		MaxBytes:     int(rp.PartitionMaxBytes),
		CurrentEpoch: requestEpoch(rp.CurrentLeaderEpoch),
		Split:        true,
		Isolation:    isolation(f.req.IsolationLevel),
	})
	return nil
}

// requestEpoch reads a leader epoch; anything negative means that it is not to be checked.
func requestEpoch(e int32) ident.Epoch { return max(ident.NoEpoch, ident.Epoch(e)) }

func isolation(level int8) storage.Isolation {
	if level == int8(storage.ReadCommitted) {
		return storage.ReadCommitted
	}
	return storage.ReadUncommitted
}

// poll reads until there is enough to answer, the wait is over, or the broker stops. It
// watches before it reads: what comes between is not missed.
func (f *fetchCall) poll(ctx context.Context) {
	if f.mayWait() {
		moved := make(chan struct{}, 1)
		parts := make([]ident.TopicPartition, len(f.fetch.Partitions))
		for i := range parts {
			parts[i] = f.fetch.Partitions[i].Partition
		}
		defer f.b.log.Watch(parts, moved)()
		expired := time.NewTimer(f.fetch.MaxWait)
		defer expired.Stop()
		for over := false; !f.read(ctx) && !over; {
			select {
			case <-moved:
			case <-expired.C:
				over = true // one last look: what came below MinBytes is sent
			case <-f.b.stopping:
				over = true
			case <-ctx.Done():
				over = true
			}
		}
		return
	}
	f.read(ctx)
}

// mayWait reports that nothing has been refused, and that there is something to wait for.
func (f *fetchCall) mayWait() bool {
	if f.fetch.MaxWait <= 0 || f.fetch.MinBytes <= 0 || len(f.fetch.Partitions) == 0 {
		return false
	}
	for _, topic := range f.refused {
		for _, err := range topic {
			if err != nil {
				return false
			}
		}
	}
	return true
}

// read asks the log and reports whether that is enough to answer.
func (f *fetchCall) read(ctx context.Context) bool {
	for i := range f.fetch.Partitions {
		p := &f.fetch.Partitions[i]
		p.Err, p.Batches, p.Bytes = nil, nil, 0
		p.HighWatermark, p.LastStable, p.LogStart = -1, -1, -1
		p.Current = storage.Leader{Broker: -1, Epoch: ident.NoEpoch}
	}
	if len(f.fetch.Partitions) == 0 {
		return true
	}
	f.b.log.Read(ctx, &f.fetch)
	bytes := 0
	for i := range f.fetch.Partitions {
		if f.fetch.Partitions[i].Err != nil {
			return true
		}
		bytes += f.fetch.Partitions[i].Bytes
	}
	return bytes >= f.fetch.MinBytes
}

// encode answers every partition that was asked for, exactly once, in the request's order.
func (f *fetchCall) encode() ([][]byte, int) {
	r := protocol.NewFetchResponse(f.call.version, f.call.header.CorrelationID, protocol.CodeNone, len(f.req.Topics))
	leaders := map[int32]bool{}
	asked := f.fetch.Partitions
	for i := range f.req.Topics {
		rt := &f.req.Topics[i]
		r.Topic(rt.Topic, rt.TopicID, len(rt.Partitions))
		for j := range rt.Partitions {
			var out protocol.FetchedPartition
			if err := f.refused[i][j]; err != nil {
				out = f.refusedPartition(rt.Partitions[j].Partition, err)
				out.Committed = true // Kafka lists no aborted transactions, rather than null, where it did not read
			} else {
				out = f.readPartition(f.topics[i], &asked[0])
				asked = asked[1:]
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
		Committed: f.req.IsolationLevel == int8(storage.ReadCommitted), Leader: newLeader(err),
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
		err = errUnknownTopicID // deleted while we waited
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
