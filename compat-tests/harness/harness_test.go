package harness

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluicemq/sluice/compat-tests/history"
)

// fake starts franz-go's in-process broker.
func fake(t *testing.T, port int) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.Ports(port), kfake.NumBrokers(1), kfake.SeedTopics(3, "t"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The broker behaves, so any anomaly would be made up by the harness.
func TestCrew_FindsNothingInAnHonestBroker(t *testing.T) {
	port := FreePort(t)
	c := fake(t, port)
	defer c.Close()
	h := history.New()
	crew := NewCrew(t, fmt.Sprintf("127.0.0.1:%d", port), h, Seed(t), Partitions(3, "t"), 2, 1)
	crew.AwaitAcks(2000)
	crew.Rest()
	crew.Sweep()
	Verdict(t, h)
}

// A broker that comes back empty has lost what it acknowledged.
func TestCrew_CatchesABrokerThatForgets(t *testing.T) {
	port := FreePort(t)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	c := fake(t, port)
	h := history.New()
	crew := NewCrew(t, addr, h, Seed(t), Partitions(3, "t"), 0, 1)
	crew.AwaitAcks(500)
	crew.cancel()
	crew.work.Wait()
	c.Close()
	c = fake(t, port)
	defer c.Close()
	crew.Sweep()
	found := h.Check()
	for _, kind := range []string{history.LostWrite, history.Vanished, history.Stale} {
		if !slices.ContainsFunc(found, func(a history.Anomaly) bool { return a.Kind == kind }) {
			t.Errorf("%s is not among %v", kind, found)
		}
	}
}

// The auditor's decoder reads what franz-go's clients write, in every codec.
func TestAuditor_ReadsEveryCodec(t *testing.T) {
	port := FreePort(t)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	c := fake(t, port)
	defer c.Close()
	for _, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
		cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ProducerBatchCompression(codec), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err != nil {
			t.Fatal(err)
		}
		var records []*kgo.Record
		for range 50 {
			records = append(records, &kgo.Record{Topic: "t", Key: []byte("key"), Value: make([]byte, 300)})
		}
		if err := cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		cl.Close()
	}
	conn, err := Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	count := 0
	for next := int64(0); next < 250; {
		got, err := conn.fetch("t", 0, next, fetchBytes)
		if err != nil {
			t.Fatal(err)
		}
		batches, contents, err := decodeBatches(got.RecordBatches)
		if err != nil {
			t.Fatal(err)
		}
		for i, b := range batches {
			if !b.CRCOK || b.ProducerID < 0 {
				t.Errorf("batch at %d: crc ok %v, producer %d", b.Base, b.CRCOK, b.ProducerID)
			}
			for _, r := range contents[i] {
				if string(r.Key) != "key" || len(r.Value) != 300 {
					t.Errorf("offset %d: key %q, %d bytes", r.Offset, r.Key, len(r.Value))
				}
				count++
			}
			next = b.Last + 1
		}
	}
	if count != 250 {
		t.Errorf("read %d records, want 250", count)
	}
}

func TestDecodeBatch_TellsDamage(t *testing.T) {
	raw := encodeBatch([][]byte{Value(history.ID{Client: 1, Counter: 2}, 100)}, numbered{7, 1, 3}, 1000)
	b, records, err := decodeBatch(raw)
	if err != nil || !b.CRCOK || len(records) != 1 || idOf(records[0].Value) != (history.ID{Client: 1, Counter: 2}) || b.ProducerID != 7 || b.BaseSequence != 3 {
		t.Fatalf("own batch read as %+v, %v, %v", b, records, err)
	}
	for i := 21; i < len(raw); i++ {
		raw[i] ^= 1
		if b, _, err := decodeBatch(raw); err == nil && b.CRCOK {
			t.Errorf("a flipped bit at %d passes", i)
		}
		raw[i] ^= 1
	}
}

// Each fault of the proxy does what its name says. Pass works again afterwards on the same port.
func TestProxy_Faults(t *testing.T) {
	backend, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "here") })}
	go srv.Serve(backend)
	defer srv.Close()
	p := NewProxy(t, backend.Addr().String())
	// Each request has a connection of its own, since a client may notice only with its next
	// request that Set has closed the old one.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(limit time.Duration) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+p.Addr, http.NoBody)
		if err != nil {
			return "", err
		}
		resp, err := client.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return fmt.Sprintf("%d %s", resp.StatusCode, body), err
	}
	for _, fault := range []Fault{Refuse, Hang, Unavailable} {
		p.Set(Pass)
		if got, err := get(time.Minute); got != "200 here" {
			t.Fatalf("pass: %q, %v", got, err)
		}
		p.Set(fault)
		limit := time.Minute
		if fault == Hang {
			limit = 300 * time.Millisecond
		}
		got, err := get(limit)
		switch {
		case fault == Unavailable && (err != nil || got[:3] != "503"):
			t.Errorf("%s: %q, %v", fault, got, err)
		case fault != Unavailable && err == nil:
			t.Errorf("%s: answered %q", fault, got)
		}
	}
}

func TestStores_Start(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *Store{"versitygw": VersityGW, "minio": MinIO} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			if err := s.makeBucket(t.Context()); err != nil {
				t.Errorf("the bucket is not there, or not ours: %v", err)
			}
		})
	}
}
