package harness

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/compat-tests/history"
)

// Lives creates one topic again and again under the same name, writes to it and reads it, whatever
// happens to the broker. Each life of the topic begins empty at offset 0, and holds what was
// written in that life and nothing else.
type Lives struct {
	Addr    string
	Topic   string
	Configs []string // configs of every life: key, value, …
	Seed    uint64
	Count   atomic.Int64 // number of lives so far

	// begun says that the topic of this life exists. It is false also if the end of the last life
	// is in doubt.
	begun bool
	// The records of this life in the order in which they were sent. Each was acknowledged, or is
	// in doubt because its connection was lost.
	sent  []attempt
	acked int64 // one past the highest acknowledged offset
}

// attempt is one batch of one record.
type attempt struct {
	id     history.ID
	offset int64 // -1 if in doubt
}

// livesClient marks values: the client in an id tells the life.
const livesClient = 1 << 32

// errWrong is a finding, as opposed to a broker that is away.
var errWrong = errors.New("wrong")

// Live goes on until ctx ends, and returns what it found wrong.
func (l *Lives) Live(ctx context.Context) error {
	rng := rand.New(rand.NewPCG(l.Seed, livesClient))
	for ctx.Err() == nil {
		if err := l.session(ctx, rng); errors.Is(err, errWrong) {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// session works on one connection until the connection is lost.
func (l *Lives) session(ctx context.Context, rng *rand.Rand) error {
	c, err := Dial(l.Addr)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	for ctx.Err() == nil {
		if err := l.begin(c); err != nil {
			return err
		}
		for range 1 + rng.IntN(8) {
			if err := l.write(c, rng); err != nil {
				return err
			}
		}
		if err := l.read(c); err != nil {
			return err
		}
		if rng.IntN(3) == 0 {
			l.begun = false
		}
	}
	return nil
}

// write adds a record. Until it is answered, it is in doubt.
func (l *Lives) write(c *Conn, rng *rand.Rand) error {
	id := history.ID{Client: livesClient + uint64(l.Count.Load()), Counter: uint64(len(l.sent)) + 1}
	l.sent = append(l.sent, attempt{id, -1})
	code, base, err := c.Produce(l.Topic, 0, encodeBatch([][]byte{Value(id, size(rng, 0))}, numbered{-1, -1, -1}, time.Now().UnixMilli()))
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("produce to %s: %w", l.Topic, kerr.ErrorForCode(code))
	}
	l.sent[len(l.sent)-1].offset = base
	l.acked = max(l.acked, base+1)
	return nil
}

// read reads this life from its start and compares.
func (l *Lives) read(c *Conn) error {
	at := make(map[history.ID]int64)
	end, _, err := c.ListOffset(l.Topic, 0, Latest)
	if err != nil {
		return err
	}
	if end < l.acked {
		return fmt.Errorf("%w: life %d of %s: acknowledged up to %d, and it ends at %d", errWrong, l.Count.Load(), l.Topic, l.acked, end)
	}
	for next := int64(0); next < end; {
		got, err := c.fetch(l.Topic, 0, next, fetchBytes)
		if err != nil {
			return err
		}
		_, contents, err := decodeBatches(got.RecordBatches)
		if err != nil {
			return fmt.Errorf("%w: %w", errWrong, err)
		}
		before := next
		for _, records := range contents {
			for _, r := range records {
				at[idOf(r.Value)] = r.Offset
				next = max(next, r.Offset+1)
			}
		}
		if next == before {
			return fmt.Errorf("%w: life %d of %s: nothing at %d, and it ends at %d", errWrong, l.Count.Load(), l.Topic, next, end)
		}
	}
	return l.compare(at)
}

// compare checks that every acknowledged record is where its answer said, and that no record is
// from another life.
func (l *Lives) compare(at map[history.ID]int64) error {
	for id := range at {
		if id.Client != livesClient+uint64(l.Count.Load()) {
			return fmt.Errorf("%w: life %d of %s holds %s at %d, which is of another life", errWrong, l.Count.Load(), l.Topic, id, at[id])
		}
	}
	for _, a := range l.sent {
		if got, ok := at[a.id]; a.offset >= 0 && (!ok || got != a.offset) {
			return fmt.Errorf("%w: life %d of %s: %s was acknowledged at %d and is there: %t, at %d", errWrong, l.Count.Load(), l.Topic, a.id, a.offset, ok, got)
		}
	}
	return nil
}

// begin starts a life, unless one has begun. It deletes the topic if there is one (perhaps again,
// after an answer was lost), creates it, and requires it to be empty.
func (l *Lives) begin(c *Conn) error {
	if l.begun {
		return nil
	}
	if err := l.remove(c); err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
		return err
	}
	if err := c.createTopic(l.Topic, 1, l.Configs...); err != nil {
		return err
	}
	l.Count.Add(1)
	l.begun, l.sent, l.acked = true, nil, 0
	return nil
}

func (l *Lives) remove(c *Conn) error {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.SetVersion(5)
	req.TopicNames, req.TimeoutMillis = []string{l.Topic}, 10_000
	resp, err := do[*kmsg.DeleteTopicsResponse](c, req)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.Topics[0].ErrorCode)
}

// Verify reads this life once more, until the limit. If it is in doubt whether the life began,
// there is nothing to verify.
func (l *Lives) Verify(limit time.Duration) error {
	return Until(limit, func() error {
		if !l.begun {
			return nil
		}
		c, err := Dial(l.Addr)
		if err != nil {
			return err
		}
		defer c.Close()
		return l.read(c)
	})
}
