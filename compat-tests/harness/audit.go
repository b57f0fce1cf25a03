package harness

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/compat-tests/history"
)

// Auditor reads everything that a broker has, over raw connections, and records what it is shown:
// each batch with its checksum, and each statement about ends.
type Auditor struct {
	Addr string
	H    *history.History
}

// fetchBytes is how much the auditor asks for at once.
const fetchBytes = 4 << 20

// Sweep reads a partition from its log start to the high watermark that it has at the beginning. If
// the broker answers an error that is legal while it recovers, Sweep asks again until the limit.
func (a *Auditor) Sweep(p history.Partition, limit time.Duration) (history.Sweep, error) {
	var s history.Sweep
	err := Until(limit, func() (err error) {
		s, err = a.sweep(p)
		return err
	})
	if err != nil {
		return s, fmt.Errorf("complete read of %s: %w", p, err)
	}
	return s, nil
}

// SweepAll sweeps every partition.
func (a *Auditor) SweepAll(parts []history.Partition, limit time.Duration) (map[history.Partition]history.Sweep, error) {
	all := make(map[history.Partition]history.Sweep)
	for _, p := range parts {
		s, err := a.Sweep(p, limit)
		if err != nil {
			return all, err
		}
		all[p] = s
	}
	return all, nil
}

func (a *Auditor) sweep(p history.Partition) (history.Sweep, error) {
	s := history.Sweep{Partition: p, Number: a.H.SweepNumber(), Invoke: a.H.Now()}
	c, err := Dial(a.Addr)
	if err != nil {
		return s, err
	}
	defer c.Close()
	if s.Start, s.End, err = a.bounds(c, p); err != nil {
		return s, err
	}
	for next := s.Start; next < s.End; {
		after, err := a.read(c, p, next, s.Number)
		if err != nil {
			return s, err
		}
		if after == next {
			return s, fmt.Errorf("%s: nothing at %d, below the end %d", p, next, s.End)
		}
		next = after
	}
	s.Complete = a.H.Now()
	a.H.Swept(s)
	return s, nil
}

// bounds asks for log start and end.
func (a *Auditor) bounds(c *Conn, p history.Partition) (start, end int64, err error) {
	invoke := a.H.Now()
	start, _, err = c.ListOffset(p.Topic, p.Index, Earliest)
	if err != nil {
		return 0, 0, err
	}
	a.told(p, invoke, -1, -1, start, -1)
	invoke = a.H.Now()
	end, epoch, err := c.ListOffset(p.Topic, p.Index, Latest)
	if err != nil {
		return 0, 0, err
	}
	a.told(p, invoke, end, -1, -1, epoch)
	return start, end, nil
}

func (a *Auditor) told(p history.Partition, invoke time.Duration, high, stable, start int64, epoch int32) {
	a.H.Told(history.Bounds{Partition: p, Invoke: invoke, Complete: a.H.Now(), HighWatermark: high, LastStable: stable, LogStart: start, LeaderEpoch: epoch})
}

// read fetches once and records what it is shown. It returns the offset after that.
func (a *Auditor) read(c *Conn, p history.Partition, from int64, sweep int) (int64, error) {
	invoke := a.H.Now()
	got, err := c.fetch(p.Topic, p.Index, from, fetchBytes)
	if err != nil {
		return from, err
	}
	complete := a.H.Now()
	a.told(p, invoke, got.HighWatermark, got.LastStableOffset, got.LogStartOffset, -1)
	batches, contents, err := decodeBatches(got.RecordBatches)
	if err != nil {
		return from, fmt.Errorf("%s from %d: %w", p, from, err)
	}
	for i, b := range batches {
		b.Partition, b.Sweep, b.Invoke, b.Complete = p, sweep, invoke, complete
		for _, r := range contents[i] {
			b.Records = append(b.Records, history.Record{Offset: r.Offset, ID: idOf(r.Value), Hash: Hash(r.Key, r.Value)})
		}
		a.H.Saw(b)
		from = max(from, b.Last+1)
	}
	return from, nil
}

// Follow reads the tails of partitions until ctx ends, whatever happens to the broker, and asks for
// their ends from time to time. It ignores errors of a dying broker.
func (a *Auditor) Follow(ctx context.Context, parts []history.Partition) {
	next := make(map[history.Partition]int64)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		a.followOnce(ctx, parts, next)
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// followOnce goes on for as long as its connection lives.
func (a *Auditor) followOnce(ctx context.Context, parts []history.Partition, next map[history.Partition]int64) {
	c, err := Dial(a.Addr)
	if err != nil {
		return
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	for ctx.Err() == nil {
		for _, p := range parts {
			after, err := a.read(c, p, next[p], 0)
			if errors.Is(err, kerr.OffsetOutOfRange) {
				after, _, err = a.bounds(c, p)
			}
			if err != nil {
				return
			}
			next[p] = after
			if _, _, err := a.bounds(c, p); err != nil {
				return
			}
		}
	}
}

// ProducerID asks for a new producer id.
func ProducerID(addr string) (id int64, epoch int16, err error) {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.SetVersion(4)
	req.TransactionTimeoutMillis = 60_000
	req.ProducerID, req.ProducerEpoch = -1, -1
	resp, err := Ask[*kmsg.InitProducerIDResponse](addr, req)
	if err != nil {
		return 0, 0, err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return 0, 0, fmt.Errorf("InitProducerId: %w", err)
	}
	return resp.ProducerID, resp.ProducerEpoch, nil
}
