package harness

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/compat-tests/history"
)

// requestLimit is how long a request may take before its connection counts as lost.
const requestLimit = 15 * time.Second

// responseBytesMax bounds an answer.
const responseBytesMax = 256 << 20

// Conn is a raw connection with one request at a time, without retries or caches.
type Conn struct {
	net.Conn
	format      *kmsg.RequestFormatter
	correlation int32
}

// Dial connects to a broker.
func Dial(addr string) (*Conn, error) {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: c, format: kmsg.NewRequestFormatter(kmsg.FormatterClientID("compat-tests"))}, nil
}

// Send writes a request without waiting for an answer.
func (c *Conn) Send(req kmsg.Request) error {
	c.correlation++
	if err := c.SetDeadline(time.Now().Add(requestLimit)); err != nil {
		return err
	}
	_, err := c.Write(c.format.AppendRequest(nil, req, c.correlation))
	return err
}

// Receive reads the answer to the last request that was sent.
func (c *Conn) Receive(req kmsg.Request) (kmsg.Response, error) {
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n < 4 || n > responseBytesMax {
		return nil, fmt.Errorf("answer to %s has %d bytes", kmsg.NameForKey(req.Key()), n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c, body); err != nil {
		return nil, err
	}
	if got := int32(binary.BigEndian.Uint32(body)); got != c.correlation {
		return nil, fmt.Errorf("answer to %s has correlation id %d, want %d", kmsg.NameForKey(req.Key()), got, c.correlation)
	}
	body = body[4:]
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if resp.IsFlexible() && req.Key() != 18 { // ApiVersions always has the old header
		if len(body) == 0 || body[0] != 0 {
			return nil, fmt.Errorf("answer to %s has header tags", kmsg.NameForKey(req.Key()))
		}
		body = body[1:]
	}
	if err := resp.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("answer to %s version %d: %w", kmsg.NameForKey(req.Key()), req.GetVersion(), err)
	}
	return resp, nil
}

// Do is Send and Receive.
func (c *Conn) Do(req kmsg.Request) (kmsg.Response, error) {
	if err := c.Send(req); err != nil {
		return nil, err
	}
	return c.Receive(req)
}

// do is Do, with the type of the answer.
func do[R kmsg.Response](c *Conn, req kmsg.Request) (R, error) {
	resp, err := c.Do(req)
	if err != nil {
		var none R
		return none, err
	}
	return resp.(R), nil
}

// Ask connects, asks once and closes.
func Ask[R kmsg.Response](addr string, req kmsg.Request) (R, error) {
	c, err := Dial(addr)
	if err != nil {
		var none R
		return none, err
	}
	defer c.Close()
	return do[R](c, req)
}

// CreateTopic creates a topic with the given partitions and configs (key, value, key, value, …).
func CreateTopic(addr, name string, partitions int32, configs ...string) error {
	c, err := Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.createTopic(name, partitions, configs...)
}

func (c *Conn) createTopic(name string, partitions int32, configs ...string) error {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.SetVersion(7)
	req.TimeoutMillis = 10_000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, 1
	for i := 0; i+1 < len(configs); i += 2 {
		conf := kmsg.NewCreateTopicsRequestTopicConfig()
		conf.Name, conf.Value = configs[i], &configs[i+1]
		topic.Configs = append(topic.Configs, conf)
	}
	req.Topics = append(req.Topics, topic)
	resp, err := do[*kmsg.CreateTopicsResponse](c, req)
	if err != nil {
		return err
	}
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil {
		return fmt.Errorf("create topic %s: %w", name, err)
	}
	return nil
}

// The special timestamps of ListOffsets.
const (
	Latest   = -1
	Earliest = -2
)

// ListOffset asks where a partition starts or ends.
func (c *Conn) ListOffset(topic string, partition int32, timestamp int64) (offset int64, epoch int32, err error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.SetVersion(6)
	req.ReplicaID = -1
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Partition, p.Timestamp, p.CurrentLeaderEpoch = partition, timestamp, -1
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := do[*kmsg.ListOffsetsResponse](c, req)
	if err != nil {
		return 0, 0, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return 0, 0, fmt.Errorf("ListOffsets answers for %d topics, asked for one", len(resp.Topics))
	}
	got := resp.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(got.ErrorCode); err != nil {
		return 0, 0, fmt.Errorf("ListOffsets %s-%d: %w", topic, partition, err)
	}
	return got.Offset, got.LeaderEpoch, nil
}

// fetch reads a partition once, from the given offset.
func (c *Conn) fetch(topic string, partition int32, offset int64, maxBytes int32) (*kmsg.FetchResponseTopicPartition, error) {
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(12) // the last version with topic names
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 20, 1, maxBytes
	req.SessionEpoch = -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic = topic
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = partition, offset, maxBytes, -1
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := do[*kmsg.FetchResponse](c, req)
	if err != nil {
		return nil, err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, fmt.Errorf("fetch %s-%d: %w", topic, partition, err)
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return nil, fmt.Errorf("fetch answers for %d topics, asked for one", len(resp.Topics))
	}
	got := &resp.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(got.ErrorCode); err != nil {
		return nil, fmt.Errorf("fetch %s-%d from %d: %w", topic, partition, offset, err)
	}
	return got, nil
}

// ReadLast reads the newest record of a partition. It is an error if there is none.
func ReadLast(c *Conn, p history.Partition) error {
	end, _, err := c.ListOffset(p.Topic, p.Index, Latest)
	if err != nil {
		return err
	}
	got, err := c.fetch(p.Topic, p.Index, end-1, fetchBytes)
	if err != nil {
		return err
	}
	batches, _, err := decodeBatches(got.RecordBatches)
	if err != nil {
		return err
	}
	if len(batches) == 0 || !batches[0].CRCOK || batches[len(batches)-1].Last < end-1 {
		return fmt.Errorf("%s: offset %d, the newest, is not served", p, end-1)
	}
	return nil
}

// ProduceOne adds a record that no history contains.
func ProduceOne(c *Conn, p history.Partition) error {
	return ProduceValues(c, p, [][]byte{[]byte("one more")})
}

// ProduceValues adds a batch that no history contains.
func ProduceValues(c *Conn, p history.Partition, values [][]byte) error {
	code, _, err := c.Produce(p.Topic, p.Index, encodeBatch(values, numbered{-1, -1, -1}, time.Now().UnixMilli()))
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(code)
}

// LeaderEpoch returns the highest leader epoch of a topic's partitions.
func LeaderEpoch(addr, topic string) (int32, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.SetVersion(9)
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = &topic
	req.Topics = append(req.Topics, rt)
	resp, err := Ask[*kmsg.MetadataResponse](addr, req)
	if err != nil {
		return 0, err
	}
	highest := int32(-1)
	for _, t := range resp.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return 0, fmt.Errorf("metadata of %s: %w", topic, err)
		}
		for _, p := range t.Partitions {
			highest = max(highest, p.LeaderEpoch)
		}
	}
	return highest, nil
}
