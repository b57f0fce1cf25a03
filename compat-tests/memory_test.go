package compat

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/compat-tests/harness"
)

// The load of memory_test.go is hostile on purpose, all of it at once:
//
//   - Produce requests in which a good batch of 100 B stands beside a refused one of 1 MiB
//   - Fetch requests that name one partition 200,000 times and wait for ten minutes
//   - 100 consumers far behind with fetch.max.bytes of 50 MiB, of which every third does not read
//   - compressed bombs, which the topic wants in another codec, and searches by time through bombs
//   - connections that do nothing
//
// Meanwhile a member of a group sends heartbeats, and another client asks for metadata.
type siege struct {
	b      *harness.Broker
	failed atomic.Pointer[error] // of somebody who must make progress

	pinning, fetched, bombs, searches atomic.Int64
	heartbeats, metadata              progress
	idle                              []net.Conn
}

// siegeSize says how much of the load there is.
type siegeSize struct {
	pinning, idle, behindMiB int
	each                     int // what each consumer, producer of bombs and searcher does
}

func siegeOf(long bool) siegeSize {
	if long {
		return siegeSize{pinning: 6000, idle: 10_000, behindMiB: 1024, each: 20}
	}
	return siegeSize{pinning: 2400, idle: 1000, behindMiB: 160, each: 3}
}

const (
	siegeConsumers  = 100
	siegePolls      = 24
	siegePartitions = 8
)

// progress counts the answers to one kind of request, and how long they took.
type progress struct {
	mu   sync.Mutex
	took []time.Duration
}

func (p *progress) add(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.took = append(p.took, d)
}

// quantiles returns how many answers there were, their p99, and the longest wait.
func (p *progress) quantiles() (n int, p99, longest time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.took) == 0 {
		return 0, 0, 0
	}
	slices.Sort(p.took)
	return len(p.took), p.took[len(p.took)*99/100], p.took[len(p.took)-1]
}

// newSiege starts a broker with small budgets and fills the topic that the consumers are behind on.
func newSiege(t testing.TB, size siegeSize) *siege {
	connections := strconv.Itoa(size.idle + 500)
	b := harness.Sluice(t, harness.Config{Dir: t.TempDir(), Env: map[string]string{
		"SLUICE_HOT_BYTES": "32MiB", "SLUICE_CACHE_BYTES": "32MiB", "SLUICE_REQUEST_MEMORY_BYTES": "100MiB", "SLUICE_FETCH_MEMORY_BYTES": "100MiB",
		"SLUICE_UNFLUSHED_BATCHES_MAX": "100000", "SLUICE_FLUSH_INTERVAL": "1s", "SLUICE_FLUSH_BYTES": "4MiB",
		"SLUICE_MAX_CONNECTIONS": connections, "SLUICE_MAX_CONNECTIONS_PER_IP": connections,
	}})
	b.Start()
	s := &siege{b: b}
	for _, topic := range [][]string{
		{"pinned"}, {"polled"}, {"behind", "segment.bytes", "104857600"}, {"rebuilt", "compression.type", "uncompressed"}, {"searched", "max.message.bytes", "10000000"},
	} {
		if err := harness.CreateTopic(b.Addr, topic[0], siegePartitions, topic[1:]...); err != nil {
			t.Fatal(err)
		}
	}
	w := dialWire(t, b.Addr)
	large := plain(string(bytes.Repeat([]byte("x"), 1_000_000))).bytes()
	for i := range size.behindMiB {
		wantCode(t, "produce", w.produceTo(topicRef{name: "behind"}, int32(i%siegePartitions), 9, large).ErrorCode, nil)
	}
	return s
}

func (s *siege) fail(what string, err error) {
	if err != nil {
		err = fmt.Errorf("%s: %w", what, err)
		s.failed.CompareAndSwap(nil, &err)
	}
}

// siegeConn is a connection of somebody who does not give up.
type siegeConn struct{ net.Conn }

func (s *siege) dial(ctx context.Context) (*siegeConn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", s.b.Addr)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { nc.Close() })
	return &siegeConn{nc}, nil
}

func (c *siegeConn) send(req kmsg.Request, version int16) error {
	req.SetVersion(version)
	_, err := c.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("siege")).AppendRequest(nil, req, 1))
	return err
}

// skip reads an answer and returns its size.
func (c *siegeConn) skip() (int64, error) {
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return 0, err
	}
	return io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(size[:])))
}

func (c *siegeConn) do(req kmsg.Request, version int16) (kmsg.Response, error) {
	if err := c.send(req, version); err != nil {
		return nil, err
	}
	body, err := readAnswer(c)
	if err != nil {
		return nil, err
	}
	resp := req.ResponseKind()
	resp.SetVersion(version)
	header := 4
	if req.IsFlexible() {
		header++
	}
	return resp, resp.ReadFrom(body[header:])
}

// again runs one attempt after another until so many have succeeded (0: for ever), or ctx ends.
// What an attempt says of its failure is its own business: the broker may close a connection that
// does not read.
func (s *siege) again(ctx context.Context, times int, attempt func(*siegeConn) error) {
	for done := 0; ctx.Err() == nil && (times == 0 || done < times); {
		c, err := s.dial(ctx)
		if err != nil {
			continue
		}
		for err == nil && ctx.Err() == nil && (times == 0 || done < times) {
			if err = attempt(c); err == nil {
				done++
			}
		}
		c.Close()
	}
}

func siegeProduce(topic string, batches ...[]byte) *kmsg.ProduceRequest {
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

func siegeFetch(topic string, partitions []int32, maxBytes, waitMs int32) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.MinBytes, req.MaxWaitMillis, req.MaxBytes, req.SessionEpoch = 1, waitMs, maxBytes, -1
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic = topic
	for _, i := range partitions {
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.PartitionMaxBytes, rp.CurrentLeaderEpoch = i, maxBytes, -1
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	return req
}

func siegeBomb(t testing.TB, bytes int) []byte {
	zstd, err := kgo.DefaultCompressor(kgo.ZstdCompression())
	if err != nil {
		t.Fatal(err)
	}
	bomb := plain(strings.Repeat("0", bytes))
	bomb.Compressor = zstd
	return bomb.bytes()
}

// run attacks until all has happened that is to happen. Who only holds on to something does so
// until then, and so long must the others make progress.
func (s *siege) run(t testing.TB, size siegeSize) {
	ctx, cancel := context.WithTimeout(t.Context(), 9*time.Minute)
	var work, holding sync.WaitGroup
	defer holding.Wait()
	defer cancel()
	s.beIdle(t, ctx, size.idle)
	polls := kmsg.NewRequestFormatter().AppendRequest(nil, atVersion(siegeFetch("polled", slices.Repeat([]int32{0}, 200_000), 1<<20, 600_000), 11), 1)
	for range siegePolls {
		holding.Go(func() { s.again(ctx, 0, s.sending(polls, nil)) })
	}
	bad := plain(string(bytes.Repeat([]byte("x"), 1_000_000))).bytes()
	bad[len(bad)-1] ^= 1
	pin := kmsg.NewRequestFormatter().AppendRequest(nil, atVersion(siegeProduce("pinned", plain(strings.Repeat("v", 30)).bytes(), bad), 9), 1)
	const pinners = 8
	for range pinners {
		work.Go(func() { s.again(ctx, size.pinning/pinners, s.sending(pin, &s.pinning)) })
	}
	s.bomb(t, ctx, &work, size.each)
	for i := range siegeConsumers {
		if i%3 == 2 {
			holding.Go(func() { s.consume(ctx, 0, true) })
		} else {
			work.Go(func() { s.consume(ctx, size.each, false) })
		}
	}
	holding.Go(func() { s.fail("metadata", s.askMetadata(ctx)) })
	holding.Go(func() { s.fail("heartbeat", s.beat(ctx)) })
	work.Wait()
	if ctx.Err() != nil {
		t.Errorf("not done in time: %d pinning requests, %d answers to consumers, %d requests of bombs, %d searches", s.pinning.Load(), s.fetched.Load(), s.bombs.Load(), s.searches.Load())
	}
	if err := s.failed.Load(); err != nil {
		t.Error(*err)
	}
	heartbeats, _, _ := s.heartbeats.quantiles()
	if metadata, _, _ := s.metadata.quantiles(); heartbeats < 20 || metadata < 20 {
		t.Errorf("%d heartbeats and %d requests for metadata were answered meanwhile", heartbeats, metadata)
	}
}

// sending sends a frame and reads what comes.
func (s *siege) sending(frame []byte, count *atomic.Int64) func(*siegeConn) error {
	return func(c *siegeConn) error {
		if _, err := c.Write(frame); err != nil {
			return err
		}
		_, err := c.skip()
		if err == nil && count != nil {
			count.Add(1)
		}
		return err
	}
}

func atVersion(req kmsg.Request, version int16) kmsg.Request {
	req.SetVersion(version)
	return req
}

func (s *siege) beIdle(t testing.TB, ctx context.Context, count int) {
	for range count {
		c, err := s.dial(ctx)
		if err != nil {
			t.Fatalf("idle connection: %v", err)
		}
		s.idle = append(s.idle, c)
	}
}

// bomb produces batches that take a thousand times their size, and searches among some.
func (s *siege) bomb(t testing.TB, ctx context.Context, work *sync.WaitGroup, each int) {
	bomb, huge := siegeBomb(t, 900_000), siegeBomb(t, 100<<20)
	w := dialWire(t, s.b.Addr)
	wantCode(t, "a bomb in a topic that takes every codec", w.produceTo(topicRef{name: "searched"}, 0, 9, huge).ErrorCode, nil)
	for i := range 8 {
		req := siegeProduce("rebuilt", slices.Repeat([][]byte{bomb}, siegePartitions)...)
		if i%4 == 3 {
			req = siegeProduce("rebuilt", huge)
		}
		frame := kmsg.NewRequestFormatter().AppendRequest(nil, atVersion(req, 9), 1)
		work.Go(func() { s.again(ctx, each, s.sending(frame, &s.bombs)) })
		search := kmsg.NewPtrListOffsetsRequest()
		search.ReplicaID = -1
		rt := kmsg.NewListOffsetsRequestTopic()
		rt.Topic = "searched"
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Timestamp, rp.CurrentLeaderEpoch = 1, -1
		rt.Partitions = append(rt.Partitions, rp)
		search.Topics = append(search.Topics, rt)
		searching := kmsg.NewRequestFormatter().AppendRequest(nil, atVersion(search, 6), 1)
		work.Go(func() { s.again(ctx, each, s.sending(searching, &s.searches)) })
	}
}

// consume reads the old topic from its start, again and again. A deaf one asks and does not read.
func (s *siege) consume(ctx context.Context, times int, deaf bool) {
	var all []int32
	for i := range int32(siegePartitions) {
		all = append(all, i)
	}
	s.again(ctx, times, func(c *siegeConn) error {
		if err := c.send(siegeFetch("behind", all, 50<<20, 500), 11); err != nil {
			return err
		}
		if deaf {
			return s.untilCut(ctx, c)
		}
		n, err := c.skip()
		if n > 900_000 {
			s.fetched.Add(1)
		}
		return err
	})
}

// untilCut waits, without reading, until the broker has cut the connection: then a write fails.
func (s *siege) untilCut(ctx context.Context, c *siegeConn) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if _, err := c.Write([]byte{0}); err != nil {
				return err
			}
		}
	}
}

func (s *siege) askMetadata(ctx context.Context) error {
	c, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	for {
		began := time.Now()
		if _, err := c.do(kmsg.NewPtrMetadataRequest(), 9); err != nil {
			return unlessOver(ctx, err)
		}
		s.metadata.add(time.Since(began))
		if !pausing(ctx) {
			return nil
		}
	}
}

// pausing waits a moment: a client asks now and then.
func pausing(ctx context.Context) bool {
	timer := time.NewTimer(5 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func unlessOver(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// beat is a member of a group that lives on its heartbeats.
func (s *siege) beat(ctx context.Context) error {
	c, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	join := kmsg.NewPtrJoinGroupRequest()
	join.Group, join.SessionTimeoutMillis, join.RebalanceTimeoutMillis, join.ProtocolType = "g", 10_000, 10_000, "consumer"
	join.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte{0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}}}
	var joined *kmsg.JoinGroupResponse
	for joined == nil || joined.ErrorCode != 0 {
		if joined != nil {
			join.MemberID = joined.MemberID
		}
		find := kmsg.NewPtrFindCoordinatorRequest()
		find.CoordinatorKey = "g"
		if _, err := c.do(find, 3); err != nil {
			return unlessOver(ctx, err)
		}
		resp, err := c.do(join, 5)
		if err != nil {
			return unlessOver(ctx, err)
		}
		joined = resp.(*kmsg.JoinGroupResponse)
	}
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Group, sync.Generation, sync.MemberID = "g", joined.Generation, joined.MemberID
	if _, err := c.do(sync, 3); err != nil {
		return unlessOver(ctx, err)
	}
	for pausing(ctx) {
		began := time.Now()
		resp, err := c.do(&kmsg.HeartbeatRequest{Group: "g", Generation: joined.Generation, MemberID: joined.MemberID}, 3)
		if err != nil {
			return unlessOver(ctx, err)
		}
		if err := kerr.ErrorForCode(resp.(*kmsg.HeartbeatResponse).ErrorCode); err != nil {
			return err
		}
		s.heartbeats.add(time.Since(began))
	}
	return nil
}

// peakMemory is the most memory that the broker's process has had (VmHWM), its program's pages
// among it.
func (s *siege) peakMemory(t testing.TB) int64 {
	t.Helper()
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.b.Process().PID()), "status"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// ceiling is what the broker says at its start.
func (s *siege) ceiling(t testing.TB) int64 {
	t.Helper()
	_, after, _ := strings.Cut(s.b.Process().Output(), "memory has a ceiling")
	_, after, _ = strings.Cut(after, "mib=")
	mib, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
	if err != nil {
		t.Fatal(errors.New("the start does not say what memory is at most"))
	}
	return mib << 20
}

// Whatever clients do, and however many do it at once, the broker stays below the ceiling that it
// names at its start (docs/operations.md), and others make progress. SLUICE_LONG=1 plays it in full
// size.
func TestMemoryCeiling(t *testing.T) {
	size := siegeOf(harness.Long())
	s := newSiege(t, size)
	filled := s.peakMemory(t)
	s.run(t, size)
	peak, ceiling := s.peakMemory(t), s.ceiling(t)
	heartbeats, p99, longest := s.heartbeats.quantiles()
	t.Logf("memory: %d MiB after filling, %d at most, ceiling %d", filled>>20, peak>>20, ceiling>>20)
	t.Logf("%d pinning requests, %d answers to consumers, %d requests of bombs, %d searches", s.pinning.Load(), s.fetched.Load(), s.bombs.Load(), s.searches.Load())
	t.Logf("%d heartbeats, p99 %v, at most %v", heartbeats, p99, longest)
	metadata, p99, longest := s.metadata.quantiles()
	t.Logf("%d answers with metadata, p99 %v, at most %v", metadata, p99, longest)
	if peak > ceiling {
		t.Errorf("the broker has taken %d MiB, its ceiling is %d", peak>>20, ceiling>>20)
	}
}
