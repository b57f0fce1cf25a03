package limits

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/open"
	"github.com/sluicemq/sluice/vfs"
)

// batch is a record batch of one record of the given size, with a correct CRC.
func batch(bytesOfRecords int) []byte {
	b := make([]byte, protocol.BatchHeaderBytes+bytesOfRecords)
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	b[16] = 2
	binary.BigEndian.PutUint32(b[57:], 1)
	for i := range bytesOfRecords {
		b[protocol.BatchHeaderBytes+i] = byte(i * 7)
	}
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], protocol.Castagnoli))
	return b
}

// raw is a connection on which requests are sent without waiting for answers.
type raw struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
	next uint32
}

func dial(t testing.TB, addr string) *raw {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &raw{t: t, conn: c, in: bufio.NewReader(c)}
}

// frameOf is a request as it goes over the wire.
func frameOf(req kmsg.Request, correlation uint32) []byte {
	f := binary.BigEndian.AppendUint16(make([]byte, 4), uint16(req.Key()))
	f = binary.BigEndian.AppendUint16(f, uint16(req.GetVersion()))
	f = binary.BigEndian.AppendUint32(f, correlation)
	f = append(f, 0, 1, 'x')
	if req.IsFlexible() {
		f = append(f, 1, 5, 2, 'a', 'b') // an unknown tag
	}
	f = req.AppendTo(f)
	binary.BigEndian.PutUint32(f, uint32(len(f)-4))
	return f
}

func (r *raw) send(req kmsg.Request) {
	r.t.Helper()
	r.next++
	if _, err := r.conn.Write(frameOf(req, r.next)); err != nil {
		r.t.Fatal(err)
	}
}

// receive wants the answer to the request that was sent as the nth.
func (r *raw) receive(nth uint32, req kmsg.Request) kmsg.Response {
	r.t.Helper()
	var size [4]byte
	if _, err := io.ReadFull(r.in, size[:]); err != nil {
		r.t.Fatalf("answer %d: %v", nth, err)
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(r.in, b); err != nil {
		r.t.Fatalf("answer %d: %v", nth, err)
	}
	if got := binary.BigEndian.Uint32(b); got != nth {
		r.t.Fatalf("answer to request %d, wanted that to %d", got, nth)
	}
	b = b[4:]
	resp := req.ResponseKind()
	if resp.IsFlexible() && req.Key() != apiVersionsKey {
		b = b[1:]
	}
	if err := resp.ReadFrom(b); err != nil {
		r.t.Fatalf("answer %d: %v", nth, err)
	}
	return resp
}

func produceOf(version int16, topic string, partitions ...[]byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = version, -1, 1000
	t := kmsg.NewProduceRequestTopic()
	t.Topic = topic
	for i, b := range partitions {
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition, p.Records = int32(i), b
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	return req
}

func metadataOfTopic(name string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 9
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &name
	req.Topics = append(req.Topics, t)
	return req
}

// codes are the codes of a Produce answer, partition after partition.
func codes(resp kmsg.Response) (all []int16) {
	for _, t := range resp.(*kmsg.ProduceResponse).Topics {
		for _, p := range t.Partitions {
			all = append(all, p.ErrorCode)
		}
	}
	return all
}

// A batch that does not match its CRC is refused by the kinds that write it, whatever the version.
// The null broker does not look.
func TestDamagedBatch(t *testing.T) {
	for _, kind := range []Kind{Null, WAL, WALOverlapped} {
		t.Run(string(kind), func(t *testing.T) {
			addr, _ := start(t, kind, Config{})
			c := dial(t, addr)
			c.send(metadataOfTopic("topic"))
			c.receive(1, metadataOfTopic("topic"))
			for version := int16(3); version <= 12; version++ {
				damaged := batch(200)
				damaged[150] ^= 1
				two := append(batch(10), batch(20)...)
				req := produceOf(version, "topic", batch(100), damaged, two, batch(10)[:30], nil)
				c.send(req)
				resp := c.receive(c.next, req).(*kmsg.ProduceResponse)
				want := []int16{0, codeCorrupt, 0, codeCorrupt, codeCorrupt}
				if kind == Null {
					want[1] = 0
				}
				got := codes(resp)
				for i := range want {
					if got[i] != want[i] {
						t.Errorf("version %d, partition %d: code %d, wanted %d", version, i, got[i], want[i])
					}
				}
				if base := resp.Topics[0].Partitions[2].BaseOffset; base != 2*int64(version-3) {
					t.Errorf("version %d: two batches begin at offset %d", version, base)
				}
			}
			req := produceOf(9, "nobody's", batch(1))
			c.send(req)
			if got := codes(c.receive(c.next, req)); got[0] != codeUnknown {
				t.Errorf("an unknown topic: code %d", got[0])
			}
		})
	}
}

// Requests that are sent without waiting are answered in their order, whether they wait for the
// disk or not.
func TestAnswersInOrder(t *testing.T) {
	for _, kind := range []Kind{Null, WAL, WALOverlapped, Fetch} {
		t.Run(string(kind), func(t *testing.T) {
			addr, _ := start(t, kind, Config{})
			c := dial(t, addr)
			var sent []kmsg.Request
			silent := produceOf(9, "topic", batch(10))
			silent.Acks = 0
			for i := range 200 {
				var req kmsg.Request = produceOf(int16(3+i%10), "topic", batch(i), batch(300*i))
				switch {
				case i%5 == 0:
					req = metadataOfTopic("topic")
				case i%50 == 49:
					req = kmsg.NewPtrApiVersionsRequest()
				}
				sent = append(sent, req)
				c.send(req)
			}
			for i, req := range sent {
				c.receive(uint32(i+1), req)
			}
			c.send(silent) // not answered
			c.send(metadataOfTopic("topic"))
			c.receive(c.next, metadataOfTopic("topic"))
		})
	}
}

// A client of the future asks for versions in a way that nobody knows yet. It learns which versions
// are known.
func TestApiVersions_TooNew(t *testing.T) {
	addr, _ := start(t, Null, Config{})
	c := dial(t, addr)
	req := kmsg.NewPtrApiVersionsRequest()
	req.Version = 77
	c.send(req)
	req.Version = 0
	if resp := c.receive(1, req).(*kmsg.ApiVersionsResponse); resp.ErrorCode != codeVersions || len(resp.ApiKeys) != len(versions) {
		t.Fatalf("answered with %+v", resp)
	}
}

// gate is a file whose syncs wait until they are let through. They fail if told so.
type gate struct {
	vfs.File
	path    string
	entered chan struct{}
	let     chan error
	open    func() // lets all syncs through from now on
}

func (g *gate) Datasync() error {
	select {
	case g.entered <- struct{}{}:
	default: // nobody counts any more
	}
	if err := <-g.let; err != nil {
		return err
	}
	return g.File.Datasync()
}

// await bounds a wait for the gate.
func await(t *testing.T, entered chan struct{}) {
	t.Helper()
	select {
	case <-entered:
	case <-time.After(patience):
		t.Fatal("no sync has begun")
	}
}

// gated runs a WAL kind on such a file. It returns the server, a connection to it, and a channel
// for what Serve returns in the end.
func gated(t *testing.T, kind Kind) (*server, *gate, *raw, chan error) {
	t.Helper()
	cfg := Config{Dir: t.TempDir(), RingBytes: 8 << 20, Log: slog.New(slog.DiscardHandler)}.withDefaults()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s, err := newServer(ctx, kind, cfg, l)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{s.wal.ring.file, filepath.Join(cfg.Dir, ringName), make(chan struct{}, 100), make(chan error, 100), nil}
	g.open = sync.OnceFunc(func() { close(g.let) })
	s.wal.ring.file = g
	served, ready := make(chan error, 1), make(chan struct{})
	go func() { served <- s.serve(ctx, func(net.Addr) { close(ready) }) }()
	<-ready
	t.Cleanup(func() {
		g.open()
		cancel()
	})
	c := dial(t, l.Addr().String())
	c.send(metadataOfTopic("topic"))
	c.receive(1, metadataOfTopic("topic"))
	return s, g, c, served
}

// Nothing is answered before its sync has returned. What gathered meanwhile is one group with one
// sync. What was answered is in the ring as it was sent.
func TestAckAfterSync(t *testing.T) {
	for _, kind := range []Kind{WAL, WALOverlapped} {
		t.Run(string(kind), func(t *testing.T) {
			_, g, c, _ := gated(t, kind)
			const first, count = 100, 11
			req := func(i int) *kmsg.ProduceRequest { return produceOf(9, "topic", batch(first+i)) }
			c.send(req(0))
			await(t, g.entered)
			for i := range count - 1 {
				c.send(req(1 + i))
			}
			must(t, c.conn.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
			if _, err := c.in.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("answered before the sync was done: %v", err)
			}
			must(t, c.conn.SetReadDeadline(time.Now().Add(patience)))
			g.let <- nil
			c.receive(2, req(0))
			g.let <- nil
			for i := range uint32(count - 1) {
				c.receive(3+i, req(0))
			}
			if n := len(g.entered); n != 1 {
				t.Fatalf("%d more syncs, wanted 1", n)
			}
			at := int64(0)
			for i := range count {
				want := batch(first + i)
				got := make([]byte, len(want))
				readAt(t, g.path, got, at)
				if offset := binary.BigEndian.Uint64(got); offset != uint64(i) || !bytes.Equal(got[16:], want[16:]) {
					t.Fatalf("at %d lies not batch %d as it was sent, but offset %d: %x", at, i, offset, got[16:])
				}
				at += int64(len(want))
			}
		})
	}
}

// While a group syncs, a large enough next group is written, but it is not answered before.
func TestOverlap(t *testing.T) {
	_, g, c, _ := gated(t, WALOverlapped)
	small, large := produceOf(9, "topic", batch(100)), produceOf(9, "topic", batch(overlapBytes))
	c.send(small)
	await(t, g.entered)
	c.send(large)
	want := large.Topics[0].Partitions[0].Records
	at := int64(len(small.Topics[0].Partitions[0].Records))
	got := make([]byte, len(want))
	for deadline := time.Now().Add(patience); !bytes.Equal(got[21:], want[21:]); readAt(t, g.path, got, at) {
		if time.Now().After(deadline) {
			t.Fatal("it is not written during the sync")
		}
	}
	g.let <- nil
	c.receive(2, small)
	await(t, g.entered)
	g.let <- nil
	c.receive(3, large)
}

func readAt(t *testing.T, path string, p []byte, pos int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.ReadAt(p, pos); err != nil {
		t.Fatal(err)
	}
}

// A failed sync ends the limit. What waited for it is not answered.
func TestSyncFails(t *testing.T) {
	_, g, c, served := gated(t, WALOverlapped)
	c.send(produceOf(9, "topic", batch(100)))
	broken := errors.New("disk is gone")
	g.let <- broken
	if err := <-served; !errors.Is(err, broken) {
		t.Fatalf("Serve: %v", err)
	}
	if n, err := c.in.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Fatal("it was answered")
	}
}

// A client that does not read its answers holds up nobody, and gets all of them, in order, when it
// does.
func TestSlowReader(t *testing.T) {
	s, g, slow, _ := gated(t, WAL)
	g.open()
	s.mu.Lock()
	for c := range s.conns { // only the slow one's: less than its answers take
		must(t, c.(*net.TCPConn).SetWriteBuffer(64<<10))
	}
	s.mu.Unlock()
	must(t, slow.conn.(*net.TCPConn).SetReadBuffer(64<<10))
	req := produceOf(3, strings.Repeat("nobody's", 4000), batch(1)) // the answer repeats the name
	const count = 60
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range uint32(count) {
			_, _ = slow.conn.Write(frameOf(req, 2+i)) // the receives below notice an error
		}
		_, _ = slow.conn.Write(frameOf(produceOf(9, "topic", batch(1)), 2+count))
	}()
	other := dial(t, s.listen.Addr().String())
	own := produceOf(9, "topic", batch(10))
	for i := range uint32(20) {
		other.send(own)
		other.receive(1+i, own)
	}
	<-sent
	for i := range uint32(count) {
		slow.receive(2+i, req)
	}
	slow.receive(2+count, own)
}

// Groups follow each other, and start again at the front when the end is near. They never go beyond
// the end.
func TestRingWraps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ring")
	r, err := newRing(path, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer r.file.Close()
	group := func(fill byte, size int) []*pending {
		b := bytes.Repeat([]byte{fill}, size)
		return []*pending{{vec: [][]byte{b[:size/2], b[size/2:]}, bytes: int64(size)}}
	}
	for i, want := range []int64{300_000, 600_000, 900_000, 300_000, 600_000} {
		if err := r.write(group(byte(i+1), 300_000)); err != nil || r.pos != want {
			t.Fatalf("group %d ends at %d: %v", i, r.pos, err)
		}
	}
	content, err := os.ReadFile(path)
	if err != nil || len(content) != 1<<20 {
		t.Fatalf("the file has %d bytes: %v", len(content), err)
	}
	for pos, want := range map[int]byte{0: 4, 299_999: 4, 300_000: 5, 599_999: 5, 600_000: 3, 899_999: 3, 900_000: 0} {
		if content[pos] != want {
			t.Errorf("at %d lies group %d, wanted %d", pos, content[pos], want)
		}
	}
	if err := r.write(group(9, 1<<20+1)); err == nil {
		t.Error("more than the ring has was written")
	}
}

// What WALUpload has acknowledged is in the bucket once, and what WALTwice has acknowledged is in
// its files, in objects of the requested size.
func TestUpload(t *testing.T) {
	dir := t.TempDir()
	for kind, stored := range map[Kind]string{WALUpload: filepath.Join(dir, "bucket"), WALTwice: filepath.Join(dir, "limits.objects")} {
		t.Run(string(kind), func(t *testing.T) {
			testUpload(t, kind, Config{Dir: dir, BucketURL: "file://" + filepath.Join(dir, "bucket"), ObjectBytes: 1 << 20, PendingBytes: 8 << 20}, "file://"+stored)
		})
	}
}

func testUpload(t *testing.T, kind Kind, cfg Config, url string) {
	t.Helper()
	addr, stop := start(t, kind, cfg)
	produce(t, client(t, addr), "topic", 64, 300_000)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	b, err := open.Open(t.Context(), url, open.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var records, objects int
	for info, err := range b.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		objects++
		content, err := bucket.ReadAll(t.Context(), b, info.Key, 8<<20)
		if err != nil {
			t.Fatal(err)
		}
		for len(content) > 0 {
			h, err := protocol.ParseBatchHeader(content)
			if err == nil {
				err = protocol.VerifyCRC(content[:h.Bytes])
			}
			if err != nil {
				t.Fatalf("%s: %v", info.Key, err)
			}
			records += int(h.RecordCount)
			content = content[h.Bytes:]
		}
	}
	if records != 64 || objects < 64*300_000/(3<<20) || objects > 64*300_000>>20 {
		t.Fatalf("%d records in %d objects", records, objects)
	}
}
