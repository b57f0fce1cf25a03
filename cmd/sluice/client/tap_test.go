package client

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// tap stands between a client and a broker and puts errors into answers.
type tap struct {
	t      *testing.T
	broker string

	mu     sync.Mutex
	key    int16 // of the API whose answers are spoiled
	left   int   // how many more answers are spoiled
	err    *kerr.Error
	passed int // answers of that API that were not spoiled
}

// startTapped starts a tap, and a broker that tells its clients the tap's address.
func startTapped(t *testing.T) (*tap, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := startNamed(t, "127.0.0.1", int32(l.Addr().(*net.TCPAddr).Port))
	p := &tap{t: t, broker: b.addr}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() { l.Close(); open.Wait() })
	return p, l.Addr().String()
}

// spoil puts err into the next answers of an API.
func (p *tap) spoil(key int16, answers int, err *kerr.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.key, p.left, p.err, p.passed = key, answers, err, 0
}

// serve carries one connection until either side closes it.
func (p *tap) serve(client net.Conn) {
	defer client.Close()
	broker, err := net.Dial("tcp", p.broker)
	if err != nil {
		return
	}
	defer broker.Close()
	var mu sync.Mutex
	asked := map[uint32][2]int16{} // key and version by correlation id
	var answers sync.WaitGroup
	defer answers.Wait()
	answers.Go(func() {
		defer client.Close()
		for {
			frame, err := readFrame(broker)
			if err != nil {
				return
			}
			mu.Lock()
			request := asked[binary.BigEndian.Uint32(frame[4:])]
			mu.Unlock()
			if _, err := client.Write(p.answer(frame, request[0], request[1])); err != nil {
				return
			}
		}
	})
	for {
		frame, err := readFrame(client)
		if err != nil {
			broker.Close()
			return
		}
		mu.Lock()
		asked[binary.BigEndian.Uint32(frame[8:])] = [2]int16{int16(binary.BigEndian.Uint16(frame[4:])), int16(binary.BigEndian.Uint16(frame[6:]))}
		mu.Unlock()
		if _, err := broker.Write(frame); err != nil {
			return
		}
	}
}

// readFrame returns a frame with its length in front.
func readFrame(r io.Reader) ([]byte, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	frame := append(head, make([]byte, binary.BigEndian.Uint32(head))...)
	_, err := io.ReadFull(r, frame[4:])
	return frame, err
}

// answer spoils a frame if it is its turn.
func (p *tap) answer(frame []byte, key, version int16) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if key != p.key || p.err == nil {
		return frame
	}
	if p.left == 0 {
		p.passed++
		return frame
	}
	p.left--
	resp := kmsg.ResponseForKey(key)
	resp.SetVersion(version)
	body := 8
	if resp.IsFlexible() {
		body++ // the header has no tags
	}
	if err := resp.ReadFrom(frame[body:]); err != nil {
		p.t.Errorf("answer of %s: %v", kmsg.NameForKey(key), err)
		return frame
	}
	spoilt(resp, p.err.Code)
	frame = resp.AppendTo(frame[:body:body])
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	return frame
}

// spoilt puts a code wherever the answer has room for one.
func spoilt(resp kmsg.Response, code int16) {
	switch r := resp.(type) {
	case *kmsg.MetadataResponse:
		for i := range r.Topics {
			r.Topics[i].ErrorCode = code
		}
	case *kmsg.ListOffsetsResponse:
		for i := range r.Topics {
			for j := range r.Topics[i].Partitions {
				r.Topics[i].Partitions[j].ErrorCode = code
			}
		}
	case *kmsg.DescribeConfigsResponse:
		for i := range r.Resources {
			r.Resources[i].ErrorCode = code
		}
	case *kmsg.IncrementalAlterConfigsResponse:
		for i := range r.Resources {
			r.Resources[i].ErrorCode = code
		}
	case *kmsg.CreateTopicsResponse:
		for i := range r.Topics {
			r.Topics[i].ErrorCode = code
		}
	case *kmsg.DeleteTopicsResponse:
		for i := range r.Topics {
			r.Topics[i].ErrorCode = code
		}
	case *kmsg.CreatePartitionsResponse:
		for i := range r.Topics {
			r.Topics[i].ErrorCode = code
		}
	case *kmsg.ListGroupsResponse:
		r.ErrorCode = code
	case *kmsg.DescribeGroupsResponse:
		for i := range r.Groups {
			r.Groups[i].ErrorCode = code
		}
	case *kmsg.OffsetFetchResponse:
		r.ErrorCode = code
		for i := range r.Groups {
			r.Groups[i].ErrorCode = code
		}
	case *kmsg.OffsetCommitResponse:
		for i := range r.Topics {
			for j := range r.Topics[i].Partitions {
				r.Topics[i].Partitions[j].ErrorCode = code
			}
		}
	case *kmsg.FetchResponse:
		for i := range r.Topics {
			for j := range r.Topics[i].Partitions {
				r.Topics[i].Partitions[j].ErrorCode, r.Topics[i].Partitions[j].RecordBatches = code, nil
			}
		}
	}
}

// TestAsksAgain: an error that passes by itself does not end a command, whichever request it
// answers. If it does not pass, it ends the command within --timeout, with its name, as a cluster
// that does not answer does.
func TestAsksAgain(t *testing.T) {
	t.Parallel()
	tap, addr := startTapped(t)
	must(t, "", "topic", "create", "t", "-p", "2", "-b", addr)
	must(t, "0 a\n0 b\n1 c\n", "produce", "t", "-f", "%p %s", "-b", addr)
	must(t, "", "consume", "t", "-G", "g", "-e", "-b", addr)
	for _, c := range []struct {
		key  kmsg.Key
		err  *kerr.Error
		args []string
	}{
		{kmsg.ListOffsets, kerr.OffsetNotAvailable, []string{"consume", "t", "-e"}},
		{kmsg.ListOffsets, kerr.OffsetNotAvailable, []string{"consume", "t", "-O", "@-1h", "-e"}},
		{kmsg.ListOffsets, kerr.KafkaStorageError, []string{"consume", "t", "-e"}},
		{kmsg.ListOffsets, kerr.OffsetNotAvailable, []string{"topic", "describe", "t"}},
		{kmsg.ListOffsets, kerr.LeaderNotAvailable, []string{"topic", "describe", "t"}},
		{kmsg.ListOffsets, kerr.OffsetNotAvailable, []string{"group", "describe", "g"}},
		{kmsg.ListOffsets, kerr.OffsetNotAvailable, []string{"group", "reset-offsets", "g", "--topic", "t", "--to", "start"}},
		{kmsg.ListOffsets, kerr.OffsetNotAvailable, []string{"group", "reset-offsets", "g", "--topic", "t", "--to", "@-1h", "--execute"}},
		{kmsg.Metadata, kerr.LeaderNotAvailable, []string{"topic", "describe", "t"}},
		{kmsg.DescribeConfigs, kerr.RequestTimedOut, []string{"topic", "describe", "t"}},
		{kmsg.IncrementalAlterConfigs, kerr.RequestTimedOut, []string{"topic", "alter", "t", "--set", "retention.ms=7"}},
		{kmsg.ListGroups, kerr.CoordinatorLoadInProgress, []string{"group", "ls"}},
		{kmsg.DescribeGroups, kerr.CoordinatorLoadInProgress, []string{"group", "describe", "g"}},
		{kmsg.OffsetFetch, kerr.CoordinatorLoadInProgress, []string{"group", "describe", "g"}},
		{kmsg.OffsetFetch, kerr.UnstableOffsetCommit, []string{"group", "reset-offsets", "g", "--all-topics", "--to", "end"}},
		{kmsg.OffsetCommit, kerr.CoordinatorNotAvailable, []string{"group", "reset-offsets", "g", "--all-topics", "--to", "end", "--execute"}},
	} {
		name := strings.Join(c.args, " ")
		tap.spoil(int16(c.key), 2, c.err)
		if _, errs, code := run(within(t), nil, append(c.args, "-b", addr)...); code != 0 || tap.passed == 0 {
			t.Errorf("%s after two answers %s of %s: exit %d, %d good answers: %s", name, c.err.Message, c.key.Name(), code, tap.passed, errs)
		}
		tap.spoil(int16(c.key), 1000, c.err)
		_, errs, code := run(within(t), nil, append(c.args, "-b", addr, "--timeout", "300ms")...)
		// Sometimes the client library asks again by itself.
		named := strings.Contains(errs, c.err.Message) || strings.Contains(errs, "no answer within")
		if code != exitUnreachable && code != exitPartly || !named {
			t.Errorf("%s while %s answers %s: exit %d: %s", name, c.key.Name(), c.err.Message, code, errs)
		}
	}
}

// TestChangeInDoubt: a change that timed out is tried again. If it turns out to be done already,
// the error says that we may have done it.
func TestChangeInDoubt(t *testing.T) {
	t.Parallel()
	tap, addr := startTapped(t)
	tap.spoil(int16(kmsg.CreateTopics), 1, kerr.RequestTimedOut)
	_, errs, code := run(within(t), nil, "topic", "create", "t", "-b", addr)
	if code != exitRefused || !strings.Contains(errs, `topic "t" exists already (an earlier try of this command timed out and may have done it)`) {
		t.Errorf("create: exit %d: %s", code, errs)
	}
	tap.spoil(int16(kmsg.CreateTopics), 1, kerr.RequestTimedOut)
	must(t, "", "topic", "create", "u", "--if-not-exists", "-b", addr)
	// For the check, which changes nothing.
	tap.spoil(int16(kmsg.CreatePartitions), 1, kerr.RequestTimedOut)
	must(t, "", "topic", "alter", "t", "--partitions", "3", "-b", addr)
	tap.spoil(int16(kmsg.DeleteTopics), 1, kerr.RequestTimedOut)
	_, errs, code = run(within(t), nil, "topic", "delete", "t", "--yes", "-b", addr)
	if code != exitNotFound || !strings.Contains(errs, "may have done it") {
		t.Errorf("delete: exit %d: %s", code, errs)
	}
}

// TestConsumeWithoutBucket: a broker whose object store is away answers a read of old records with
// KAFKA_STORAGE_ERROR. A reader says so at once, and goes on when the store is back. With -e it
// ends within --timeout.
func TestConsumeWithoutBucket(t *testing.T) {
	t.Parallel()
	tap, addr := startTapped(t)
	must(t, "x\n", "produce", "t", "-b", addr)
	tap.spoil(int16(kmsg.Fetch), 1_000_000, kerr.KafkaStorageError)
	if _, errs, code := run(within(t), nil, "consume", "t", "-e", "-b", addr, "--timeout", "300ms"); code != exitUnreachable ||
		!strings.Contains(errs, "its object store is away, or its disk fails (KAFKA_STORAGE_ERROR), and that did not pass within --timeout") {
		t.Errorf("-e: exit %d: %s", code, errs)
	}
	ctx, cancel := context.WithCancel(within(t))
	out, errs := newSignals("x\n"), newSignals("its object store is away, or its disk fails (KAFKA_STORAGE_ERROR); still trying")
	ended := make(chan int, 1)
	go func() { ended <- runInto(ctx, strings.NewReader(""), out, errs, "consume", "t", "-b", addr) }()
	errs.await(t)
	tap.spoil(int16(kmsg.Fetch), 0, kerr.KafkaStorageError)
	out.await(t)
	cancel()
	if code := <-ended; code != 0 {
		t.Errorf("exit %d: %s", code, errs.all.String())
	}
}

// TestCreateSets: create accepts configuration as alter does, and under the name of the option in
// Kafka's tool.
func TestCreateSets(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	must(t, "", "topic", "create", "t", "--set", "retention.ms=7", "--config", "segment.bytes=1048576", "-b", b.addr)
	got := must(t, "", "topic", "describe", "t", "-b", b.addr)
	if !strings.Contains(got, "retention.ms   7") || !strings.Contains(got, "segment.bytes  1048576") {
		t.Error(got)
	}
}
