package broker

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// BenchmarkProduceRequest measures what the broker adds to a Produce request over TCP, with one
// request at a time and with 16 in flight. The log is a map, so that the cost of what metrics.go
// counts and times shows.
func BenchmarkProduceRequest(b *testing.B) {
	for _, bc := range []struct {
		name     string
		inFlight int
	}{{"one", 1}, {"pipelined16", 16}} {
		b.Run(bc.name, func(b *testing.B) {
			h := startTCP(b, Config{})
			h.topics.create(b, "t", 1, nil)
			c := h.dial(b)
			req := produceRequest("t", plainBatch(b, "0123456789"))
			var open []int32
			for b.Loop() {
				open = append(open, c.send(req, 9))
				if len(open) == bc.inFlight {
					for _, correlation := range open {
						_ = c.receive(req, correlation).(*kmsg.ProduceResponse)
					}
					open = open[:0]
				}
			}
			for _, correlation := range open {
				_ = c.receive(req, correlation)
			}
		})
	}
}
