package broker

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/protocol"
)

// TestE20_TimeoutsWhileLent: requests time out before, while and after they are placed, lent or
// not, refused or not. Each is answered once and in order.
func TestE20_TimeoutsWhileLent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := start(t, Config{}, l, nil)
	h.topics.create(t, "t", 8, nil)
	var work sync.WaitGroup
	for n := range 6 {
		work.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(n), 1))
			c := h.dial(t)
			type sent struct {
				req *kmsg.ProduceRequest
				id  int32
			}
			var out []sent
			for range 150 {
				var batches [][]byte
				for range 1 + rng.IntN(8) {
					batches = append(batches, plainBatch(t, fmt.Sprint(n)))
				}
				topic := "t"
				if rng.IntN(4) == 0 {
					topic = "none"
				}
				req := produceRequest(topic, batches...)
				req.TimeoutMillis = int32(rng.IntN(3))
				if rng.IntN(3) == 0 && topic == "t" {
					req.Acks = 0
				}
				id := c.send(req, 9)
				if req.Acks != 0 {
					out = append(out, sent{req, id})
				}
				for len(out) > rng.IntN(4) {
					resp := c.receive(out[0].req, out[0].id).(*kmsg.ProduceResponse)
					for _, p := range resp.Topics[0].Partitions {
						switch protocol.Code(p.ErrorCode) {
						case protocol.CodeNone, protocol.CodeRequestTimedOut, protocol.CodeUnknownTopicOrPartition:
						default:
							t.Errorf("code %d", p.ErrorCode)
						}
					}
					out = out[1:]
				}
			}
			_ = c.nc.Close()
		})
	}
	work.Wait()
}
