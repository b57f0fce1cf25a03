package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/sluicemq/sluice/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// rawClient speaks the wire protocol itself. It pipelines at will and sees every byte.
type rawClient struct {
	t    testing.TB
	nc   net.Conn
	next int32
}

func (h *harness) dial(t testing.TB) *rawClient {
	t.Helper()
	nc, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return &rawClient{t: t, nc: nc}
}

func requestFrame(req kmsg.Request, correlation int32, clientID string) []byte {
	f := kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID))
	return f.AppendRequest(nil, req, correlation)
}

// send writes a request at a version and returns its correlation id.
func (c *rawClient) send(req kmsg.Request, version int16) int32 {
	c.t.Helper()
	req.SetVersion(version)
	c.next++
	c.write(requestFrame(req, c.next, "raw"))
	return c.next
}

func (c *rawClient) write(b []byte) {
	c.t.Helper()
	if _, err := c.nc.Write(b); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

// frame reads one answer and returns its correlation id and the bytes behind the id.
func (c *rawClient) frame() (int32, []byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(c.nc, size[:]); err != nil {
		return 0, nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c.nc, b); err != nil {
		return 0, nil, err
	}
	return int32(binary.BigEndian.Uint32(b)), b[4:], nil
}

// receive reads the answer to a request that was sent as req.
func (c *rawClient) receive(req kmsg.Request, correlation int32) kmsg.Response {
	c.t.Helper()
	got, body, err := c.frame()
	if err != nil {
		c.t.Fatalf("answer to %s: %v", kmsg.NameForKey(req.Key()), err)
	}
	if got != correlation {
		c.t.Fatalf("answer %d, want %d: out of order", got, correlation)
	}
	if req.IsFlexible() && req.Key() != apiVersionsKey {
		body = body[1:]
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if err := resp.ReadFrom(body); err != nil {
		c.t.Fatalf("%s: %v", kmsg.NameForKey(req.Key()), err)
	}
	return resp
}

// ask sends a request and receives its answer.
func ask[R kmsg.Response](c *rawClient, req kmsg.Request, version int16) R {
	c.t.Helper()
	return c.receive(req, c.send(req, version)).(R)
}

// expectClosed waits for the broker to close the connection without a byte.
func (c *rawClient) expectClosed() {
	c.t.Helper()
	// SetReadDeadline fails if the connection is closed already.
	_ = c.nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	var one [1]byte
	n, err := c.nc.Read(one[:])
	if n != 0 || errors.Is(err, os.ErrDeadlineExceeded) || err == nil {
		c.t.Fatalf("read %d bytes, %v: want the connection closed", n, err)
	}
}

// expectSilence checks that nothing comes for d. In virtual time nothing can be late.
func (c *rawClient) expectSilence(d time.Duration) {
	c.t.Helper()
	if err := c.nc.SetReadDeadline(time.Now().Add(d)); err != nil {
		c.t.Fatal(err)
	}
	var one [1]byte
	if n, err := c.nc.Read(one[:]); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("read %d bytes, %v: want silence", n, err)
	}
	if err := c.nc.SetReadDeadline(time.Time{}); err != nil {
		c.t.Fatal(err)
	}
}

// produceRequest puts one batch each into partitions of a topic, in order.
func produceRequest(topic string, batches ...[]byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 30_000
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic = topic
	for i, b := range batches {
		rt.Partitions = append(rt.Partitions, kmsg.ProduceRequestTopicPartition{Partition: int32(i), Records: b})
	}
	req.Topics = append(req.Topics, rt)
	return req
}

func fetchRequest(topic string, offset int64, minBytes, maxWaitMs int32) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.MinBytes, req.MaxWaitMillis, req.MaxBytes, req.SessionEpoch = minBytes, maxWaitMs, 1<<20, -1
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.FetchOffset, rp.PartitionMaxBytes, rp.CurrentLeaderEpoch = offset, 1<<20, -1
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}

func plainBatch(t testing.TB, values ...string) []byte {
	return testBatch(t, protocol.NoProducerSpec, values...)
}

func wantCode(t testing.TB, what string, got int16, want protocol.Code) {
	t.Helper()
	if protocol.Code(got) != want {
		t.Errorf("%s: got %s, want %s", what, protocol.Code(got), want)
	}
}

func name(req kmsg.Request, version int16) string {
	return fmt.Sprintf("%s/%d", kmsg.NameForKey(req.Key()), version)
}

func put64(b []byte, v int64) { binary.BigEndian.PutUint64(b, uint64(v)) }

// recrc computes a batch's checksum again.
func recrc(b []byte) {
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], protocol.Castagnoli))
}
