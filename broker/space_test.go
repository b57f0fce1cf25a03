package broker

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestProduceSpace_ClosedConnections: requests use the space of earlier ones again while
// connections end in the middle of their answers. No request gets the outcome of another. Each
// worker has a topic with a number of partitions of its own, so that a mixed-up answer shows.
func TestProduceSpace_ClosedConnections(t *testing.T) {
	const workers, rounds, pipelined = 4, 25, 8
	h := startTCP(t, Config{})
	h.log.hold = true
	stop, released := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(released)
		for {
			h.log.release(h.log.heldCount())
			select {
			case <-stop:
				return
			default:
				runtime.Gosched()
			}
		}
	}()
	var work sync.WaitGroup
	for w := range workers {
		topic := fmt.Sprintf("t%d", w)
		h.topics.create(t, topic, int32(200+50*w), nil)
		work.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			for range rounds {
				c := h.dial(t)
				var sent []*kmsg.ProduceRequest
				for range pipelined {
					req := spreadRequest(t, topic, 1+rng.IntN(200+50*w))
					c.send(req, 9)
					sent = append(sent, req)
				}
				for i := range rng.IntN(pipelined + 1) {
					resp := c.receive(sent[i], int32(i+1)).(*kmsg.ProduceResponse)
					if got, want := len(resp.Topics[0].Partitions), len(sent[i].Topics[0].Partitions); resp.Topics[0].Topic != topic || got != want {
						t.Errorf("answer for %s with %d partitions, want %s with %d", resp.Topics[0].Topic, got, topic, want)
					}
					for j, p := range resp.Topics[0].Partitions {
						if p.Partition != int32(j) || p.ErrorCode != 0 || p.BaseOffset < 0 {
							t.Errorf("%s: partition %d is answered as %+v", topic, j, p)
						}
					}
				}
				_ = c.nc.Close()
			}
		})
	}
	work.Wait()
	close(stop)
	<-released
	h.log.release(h.log.heldCount())
}

// spreadRequest produces a record to each of the first n partitions.
func spreadRequest(t *testing.T, topic string, n int) *kmsg.ProduceRequest {
	batches := make([][]byte, n)
	for i := range batches {
		batches[i] = plainBatch(t, "x")
	}
	return produceRequest(topic, batches...)
}
