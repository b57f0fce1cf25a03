package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sys/unix"
)

// limitPartitions is the partition count of the one topic that the limit servers know.
const limitPartitions = 16

// limit is a server that does as little as a Kafka client lets it.
type limit struct {
	wal  *minimalWAL // nil: the null broker
	addr *net.TCPAddr

	mu   sync.Mutex
	next [limitPartitions]int64 // offsets
}

// serveLimit runs the null broker, or with a folder the minimal WAL, until the process is killed.
func serveLimit(listen, dir string) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	s := &limit{addr: l.Addr().(*net.TCPAddr)}
	if dir != "" {
		if s.wal, err = newMinimalWAL(dir); err != nil {
			return err
		}
	}
	fmt.Println("listening", l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			if err := s.serve(c); err != nil && !errors.Is(err, io.EOF) {
				fmt.Fprintln(os.Stderr, "limit:", err)
			}
			_ = c.Close()
		}()
	}
}

// serve answers a connection's requests in order. Produce requests overlap: an answer waits for its sync in the writer.
func (s *limit) serve(c net.Conn) error {
	r := bufio.NewReaderSize(c, 64<<10)
	answers := make(chan func() []byte, 64)
	defer close(answers)
	go func() {
		for a := range answers {
			if _, err := c.Write(a()); err != nil {
				_ = c.Close()
			}
		}
	}()
	for {
		var head [4]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return err
		}
		frame := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(r, frame); err != nil {
			return err
		}
		answer, err := s.handle(frame)
		if err != nil {
			return err
		}
		answers <- answer
	}
}

// handle decodes a request and returns what gives its answer.
func (s *limit) handle(frame []byte) (func() []byte, error) {
	key, version := int16(binary.BigEndian.Uint16(frame)), int16(binary.BigEndian.Uint16(frame[2:]))
	correlation := frame[4:8]
	req := kmsg.RequestForKey(key)
	if req == nil {
		return nil, fmt.Errorf("api key %d", key)
	}
	req.SetVersion(version)
	body := frame[8:]
	if n := int16(binary.BigEndian.Uint16(body)); n > 0 {
		body = body[n:]
	}
	body = body[2:]
	if req.IsFlexible() {
		body = body[1:] // franz-go sends no header tags
	}
	if err := req.ReadFrom(body); err != nil {
		return nil, err
	}
	resp := req.ResponseKind()
	wait := func() {}
	switch q := req.(type) {
	case *kmsg.ApiVersionsRequest:
		answerVersions(resp.(*kmsg.ApiVersionsResponse))
	case *kmsg.MetadataRequest:
		s.answerMetadata(resp.(*kmsg.MetadataResponse))
	case *kmsg.InitProducerIDRequest:
		resp.(*kmsg.InitProducerIDResponse).ProducerID = 1
	case *kmsg.ProduceRequest:
		wait = s.produce(q, resp.(*kmsg.ProduceResponse))
	default:
		return nil, fmt.Errorf("api key %d", key)
	}
	return func() []byte {
		wait()
		out := append(make([]byte, 4, 256), correlation...)
		if resp.IsFlexible() && key != 18 {
			out = append(out, 0)
		}
		out = resp.AppendTo(out)
		binary.BigEndian.PutUint32(out, uint32(len(out)-4))
		return out
	}, nil
}

func answerVersions(resp *kmsg.ApiVersionsResponse) {
	for _, k := range [][2]int16{{0, 10}, {3, 9}, {18, 3}, {22, 4}} {
		v := kmsg.NewApiVersionsResponseApiKey()
		v.ApiKey, v.MaxVersion = k[0], k[1]
		resp.ApiKeys = append(resp.ApiKeys, v)
	}
}

func (s *limit) answerMetadata(resp *kmsg.MetadataResponse) {
	b := kmsg.NewMetadataResponseBroker()
	b.NodeID, b.Host, b.Port = 1, s.addr.IP.String(), int32(s.addr.Port)
	resp.Brokers, resp.ControllerID = append(resp.Brokers, b), 1
	t := kmsg.NewMetadataResponseTopic()
	t.Topic = kmsg.StringPtr(topicName)
	for i := range int32(limitPartitions) {
		p := kmsg.NewMetadataResponseTopicPartition()
		p.Partition, p.Leader, p.Replicas, p.ISR = i, 1, []int32{1}, []int32{1}
		t.Partitions = append(t.Partitions, p)
	}
	resp.Topics = append(resp.Topics, t)
}

// produce gives offsets and, with a WAL, hands the batches over; the returned func waits until they are durable.
func (s *limit) produce(req *kmsg.ProduceRequest, resp *kmsg.ProduceResponse) func() {
	var batches [][]byte
	s.mu.Lock()
	for _, t := range req.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.BaseOffset = p.Partition, s.next[p.Partition]
			s.next[p.Partition] += int64(binary.BigEndian.Uint32(p.Records[57:]))
			binary.BigEndian.PutUint64(p.Records, uint64(rp.BaseOffset))
			batches = append(batches, p.Records)
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	s.mu.Unlock()
	if s.wal == nil {
		return func() {}
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	for _, b := range batches {
		if crc32.Checksum(b[21:], table) != binary.BigEndian.Uint32(b[17:]) {
			panic("the client's batch has a wrong CRC")
		}
	}
	return s.wal.append(batches)
}

// minimalWAL is group commit and nothing else: one write and one fdatasync per group into a
// preallocated, zero-filled ring of one file.
type minimalWAL struct {
	f     *os.File
	queue chan walRequest
	pos   int64
}

type walRequest struct {
	batches [][]byte
	done    chan struct{}
}

const ringBytes = 1 << 30

func newMinimalWAL(dir string) (*minimalWAL, error) {
	f, err := os.Create(filepath.Join(dir, "ring"))
	if err != nil {
		return nil, err
	}
	zero := make([]byte, 1<<20)
	for pos := int64(0); pos < ringBytes; pos += int64(len(zero)) {
		if _, err := f.WriteAt(zero, pos); err != nil {
			return nil, err
		}
	}
	w := &minimalWAL{f: f, queue: make(chan walRequest, 1024)}
	go w.run()
	return w, f.Sync()
}

func (w *minimalWAL) append(batches [][]byte) func() {
	done := make(chan struct{})
	w.queue <- walRequest{batches, done}
	return func() { <-done }
}

// run writes whatever gathered during the last sync as the next group.
func (w *minimalWAL) run() {
	for first := range w.queue {
		group := []walRequest{first}
		vec := first.batches
	gather:
		for len(vec) < 900 {
			select {
			case r := <-w.queue:
				group = append(group, r)
				vec = append(vec, r.batches...)
			default:
				break gather
			}
		}
		w.write(vec)
		for _, r := range group {
			close(r.done)
		}
	}
}

func (w *minimalWAL) write(vec [][]byte) {
	size := int64(0)
	for _, b := range vec {
		size += int64(len(b))
	}
	if w.pos+size > ringBytes {
		w.pos = 0
	}
	for len(vec) > 0 {
		n, err := unix.Pwritev(int(w.f.Fd()), vec[:min(len(vec), 1024)], w.pos)
		if err != nil {
			panic(err)
		}
		w.pos += int64(n)
		for n > 0 && n >= len(vec[0]) {
			n -= len(vec[0])
			vec = vec[1:]
		}
		if n > 0 {
			vec[0] = vec[0][n:]
		}
	}
	if err := unix.Fdatasync(int(w.f.Fd())); err != nil {
		panic(err)
	}
}
