package compat

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/compat-tests/harness"
)

const (
	// shapeBytes is the size of a request of either shape.
	shapeBytes      = 100 << 10
	shapePartitions = 100
	// shapeRequests is how many requests of each shape make one figure.
	shapeRequests = 1000
)

// BenchmarkPartitions sends requests of 100 KiB, one after another on one connection, in turn to
// one partition and to a hundred. A group of the write-ahead log costs one write and one fdatasync,
// whatever is in it, so a hundred partitions should cost little more. The promise is that the
// medians differ by a factor of at most 1.3.
func BenchmarkPartitions(b *testing.B) {
	broker := harness.Sluice(b, harness.Config{Dir: b.TempDir()})
	broker.Start()
	one := shaped(mustCreate(b, broker.Addr, "one", 1), 1)
	hundred := shaped(mustCreate(b, broker.Addr, "hundred", shapePartitions), shapePartitions)
	w := dialWire(b, broker.Addr)
	for b.Loop() {
		took := [2][]time.Duration{}
		for i := range shapeRequests + 100 {
			for shape, req := range []*kmsg.ProduceRequest{one, hundred} {
				if d := w.timed(req); i >= 100 { // the first ones are a warm-up
					took[shape] = append(took[shape], d)
				}
			}
		}
		p50 := [2]float64{}
		for shape, name := range []string{"one", "hundred"} {
			slices.Sort(took[shape])
			p50[shape] = float64(took[shape][shapeRequests/2].Nanoseconds()) / 1000
			b.ReportMetric(p50[shape], "µs/"+name+"-p50")
			b.ReportMetric(float64(took[shape][shapeRequests*99/100].Nanoseconds())/1000, "µs/"+name+"-p99")
		}
		b.ReportMetric(p50[1]/p50[0], "ratio-p50")
		b.ReportMetric(0, "ns/op") // an op is two thousand requests, so ns/op says nothing
	}
}

// shaped spreads the bytes of a request over partitions.
func shaped(topic topicRef, partitions int) *kmsg.ProduceRequest {
	batches := make([][]byte, partitions)
	for i := range batches {
		batches[i] = plain(strings.Repeat("x", shapeBytes/partitions-128)).bytes()
	}
	req := produceOf(topic, -1, batches...)
	req.SetVersion(13)
	return req
}

// timed sends a request and waits for its answer. It measures the wire and the broker, not the
// encoding and decoding.
func (w *wire) timed(req *kmsg.ProduceRequest) time.Duration {
	w.next++
	frame := kmsg.NewRequestFormatter().AppendRequest(nil, req, w.next)
	began := time.Now()
	w.write(frame)
	body, err := readAnswer(w.nc)
	took := time.Since(began)
	if err != nil {
		w.t.Fatal(err)
	}
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	resp.SetVersion(req.GetVersion())
	if err := resp.ReadFrom(body[5:]); err != nil {
		w.t.Fatal(err)
	}
	for _, p := range resp.Topics[0].Partitions {
		if p.ErrorCode != 0 {
			wantCode(w.t, fmt.Sprintf("partition %d", p.Partition), p.ErrorCode, nil)
		}
	}
	return took
}
