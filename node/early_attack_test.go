package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/storage/bucket"
)

// These tests attack a broker that answers while its log opens.

// heldLogs holds the start when it logs a torn log, which is in the middle of the recovery.
type heldLogs struct {
	*logs
	held, goOn chan struct{}
}

const tornMessage = "write-ahead log ends in a torn group, which was never acknowledged: cut"

func (h *heldLogs) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h *heldLogs) WithGroup(string) slog.Handler      { return h }

func (h *heldLogs) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == tornMessage {
		close(h.held)
		<-h.goOn
	}
	return h.logs.Handle(ctx, r)
}

// startingNode is a node whose Open is held in the middle of the recovery.
type startingNode struct {
	t      *testing.T
	dir    string
	bucket bucket.Bucket
	logs   *heldLogs
	listen net.Listener
	stop   context.CancelFunc // of Open
	opened chan error
	node   *Node
}

// startOverTornLog kills a node that holds ten records, tears its log, and starts again.
func startOverTornLog(t *testing.T) *startingNode {
	t.Helper()
	b := fileBucket(t)
	first := start(t, t.TempDir(), b)
	first.create("t", 1, nil)
	if find, err := kmsg.NewPtrFindCoordinatorRequest().RequestWith(within(t), first.client); err != nil || find.ErrorCode != 0 {
		t.Fatal(err, find)
	}
	first.produce("t", 0, values("kept", 10)...)
	s := &startingNode{
		t: t, dir: first.image(), bucket: b, listen: listen(t), opened: make(chan error, 1),
		logs: &heldLogs{logs: newLogs(), held: make(chan struct{}), goOn: make(chan struct{})},
	}
	first.kill()
	tearLog(t, s.dir)
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	t.Cleanup(s.stop)
	go func() {
		var err error
		s.node, err = Open(ctx, testConfig(s.dir), Deps{Bucket: b, Listeners: []Listener{{Listener: s.listen}}, Log: slog.New(s.logs)})
		s.opened <- err
	}()
	select {
	case <-s.logs.held:
	case <-within(t).Done():
		t.Fatal("the recovery never began")
	}
	return s
}

// tearLog writes half a group behind the last one, as a death in the middle of a write does.
func tearLog(t *testing.T, dir string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "wal", "*", "*.seg"))
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	p, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	end := len(p) / 4096 * 4096
	for end > 0 && slices.Max(p[end-4096:end]) == 0 {
		end -= 4096
	}
	copy(p[end:], p[4096:4096+100]) // the head of a group, but at another place
	if err := os.WriteFile(names[0], p, 0o644); err != nil {
		t.Fatal(err)
	}
}

func (s *startingNode) client() *kgo.Client {
	c, err := kgo.NewClient(kgo.SeedBrokers(s.listen.Addr().String()), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

// wait returns how Open ended.
func (s *startingNode) wait() error {
	s.t.Helper()
	select {
	case err := <-s.opened:
		return err
	case <-within(s.t).Done():
		s.t.Fatal("Open does not end")
		return nil
	}
}

// In the middle of the recovery Metadata names topic and leader, and nobody learns an offset.
// Requests that came too early are answered when the log is open, once, after what was recovered.
func TestE13_AnswersInTheMiddleOfARecovery(t *testing.T) {
	s := startOverTornLog(t)
	client := s.client()
	req := kmsg.NewPtrMetadataRequest()
	meta, err := req.RequestWith(within(t), client)
	if err != nil || len(meta.Topics) != 2 || *meta.Topics[1].Topic != "t" || meta.Topics[1].Partitions[0].Leader != 1 {
		t.Fatalf("%+v, %v", meta, err)
	}
	produced := make(chan *kgo.Record, 1)
	client.Produce(within(t), &kgo.Record{Topic: "t", Value: []byte("early")}, func(r *kgo.Record, err error) {
		if err != nil {
			t.Error(err)
		}
		produced <- r
	})
	latest := make(chan int64, 1)
	go func() {
		list := kmsg.NewPtrListOffsetsRequest()
		list.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "t", Partitions: []kmsg.ListOffsetsRequestTopicPartition{{Timestamp: -2, CurrentLeaderEpoch: -1}}}}
		resp, err := list.RequestWith(within(t), client)
		if err != nil || resp.Topics[0].Partitions[0].ErrorCode != 0 {
			t.Errorf("%+v, %v", resp, err)
			latest <- -1
			return
		}
		latest <- resp.Topics[0].Partitions[0].Offset
	}()
	select {
	case r := <-produced:
		t.Fatalf("acknowledged at %d before the log was open", r.Offset)
	case at := <-latest:
		t.Fatalf("offset %d was told before the log was open", at)
	case <-time.After(200 * time.Millisecond):
	}
	close(s.logs.goOn)
	if err := s.wait(); err != nil {
		t.Fatal(err)
	}
	if r := <-produced; r.Offset != 10 {
		t.Errorf("produced at %d, ten records were there", r.Offset)
	}
	if at := <-latest; at != 0 {
		t.Errorf("the log starts at %d", at)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.node.Serve(ctx) }()
	stop()
	if err := errors.Join(<-served, s.node.Close()); err != nil {
		t.Error(err)
	}
}

// A stop in the middle of a recovery, with clients that wait: they see the end of their
// connections, Open says why it ended, port and folder are free, and the next start has everything.
func TestE27_StoppedInTheMiddleOfARecovery(t *testing.T) {
	s := startOverTornLog(t)
	nc, err := net.Dial("tcp", s.listen.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	list := kmsg.NewPtrListOffsetsRequest()
	list.Version = 5
	if _, err := nc.Write(kmsg.NewRequestFormatter().AppendRequest(nil, list, 1)); err != nil {
		t.Fatal(err)
	}
	s.stop()
	close(s.logs.goOn)
	if err := s.wait(); !errors.Is(err, context.Canceled) {
		t.Fatalf("Open ended with %v", err)
	}
	if err := nc.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if n, err := nc.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) && !strings.Contains(fmt.Sprint(err), "reset") {
		t.Errorf("the waiting client reads %d bytes, %v", n, err)
	}
	if nc, err := net.Dial("tcp", s.listen.Addr().String()); err == nil {
		nc.Close()
		t.Error("the port is still open")
	}
	r := start(t, s.dir, s.bucket)
	r.consume("t", 0, 0, 10)
	r.end()
}

// The listener dies in the middle of a recovery. The start goes on, Serve says what happened, and
// the end is clean.
func TestListenerDiesInTheMiddleOfARecovery(t *testing.T) {
	s := startOverTornLog(t)
	s.listen.Close()
	close(s.logs.goOn)
	if err := s.wait(); err != nil {
		t.Fatal(err)
	}
	if err := s.node.Serve(within(t)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve ended with %v", err)
	}
	if err := s.node.Close(); err != nil {
		t.Error(err)
	}
	r := start(t, s.dir, s.bucket)
	r.consume("t", 0, 0, 10)
	r.end()
}
