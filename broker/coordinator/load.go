package coordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluicemq/sluice/broker/group"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/internal/retry"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage"
)

const (
	// loadParallel is how many shards load at once.
	loadParallel = 8
	// loadReadBytes is how many bytes one read of the log asks for.
	loadReadBytes = 4 * mib

	// Pauses between attempts to load double, with jitter, from the first to the last.
	loadRetryFirst = 50 * time.Millisecond
	loadRetryLast  = 5 * time.Second
)

// load replays the partition's log. Records that lie only in the bucket may be out of reach for a
// while: load tries again until ctx ends, and lets other shards load meanwhile.
func (s *shard) load(ctx context.Context) error {
	began := time.Now()
	pauses := retry.Pauses{First: loadRetryFirst, Last: loadRetryLast}
	for {
		err := s.loadInTurn(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			break
		}
		if !errors.Is(err, storage.ErrNotReady) {
			s.stuck.Store(true)
		}
		// An operator sees it at once, and is not flooded.
		if pauses.Notable() {
			s.log.Warn("groups are not loaded yet; trying again", "err", err)
		}
		if err := pauses.Wait(ctx); err != nil {
			return err
		}
	}
	s.log.Debug("groups loaded", "groups", len(s.machine.List()), "log_bytes", s.appender.logBytes,
		"skipped", s.machine.Skipped(), "took", time.Since(began))
	s.take(s.machine.Loaded(time.Now()))
	return nil
}

// loadInTurn waits for a slot and loads.
func (s *shard) loadInTurn(ctx context.Context) error {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
		return s.loadOnce(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// loadOnce replays the whole log into a new machine.
func (s *shard) loadOnce(ctx context.Context) error {
	s.machine.Drop()
	s.machine = group.NewShard(s.cfg.machine(), s.memory)
	s.appender.logBytes = 0
	first, err := s.deps.Log.ListOffset(ctx, s.tp, storage.TimestampEarliest, s.epoch, storage.ReadUncommitted)
	if err != nil {
		return fmt.Errorf("log start of %s: %w", s.tp, err)
	}
	next := first.Offset
	for {
		f := storage.Fetch{MaxBytes: loadReadBytes, Partitions: []storage.FetchPartition{
			{Partition: s.tp, Offset: next, MaxBytes: loadReadBytes, CurrentEpoch: s.epoch},
		}}
		s.deps.Log.Read(ctx, &f)
		p := &f.Partitions[0]
		if p.Err != nil {
			return fmt.Errorf("read %s at %d: %w", s.tp, next, p.Err)
		}
		if len(p.Batches) == 0 && next < p.HighWatermark {
			return fmt.Errorf("read %s at %d: nothing there, but the log ends at %d", s.tp, next, p.HighWatermark)
		}
		for _, batch := range p.Batches {
			if next, err = s.replay(batch, next); err != nil {
				return fmt.Errorf("replay %s: %w", s.tp, err)
			}
		}
		if next >= p.HighWatermark {
			s.appender.end = next
			return nil
		}
	}
}

// replay applies the records of a batch from offset from on, and returns the offset at which the
// batch ends.
func (s *shard) replay(batch []byte, from ident.Offset) (ident.Offset, error) {
	header, err := protocol.ParseBatchHeader(batch)
	if err != nil {
		return 0, err
	}
	s.appender.logBytes += int64(len(batch))
	if header.Attributes.Control() {
		return ident.Offset(header.End()), nil
	}
	for r, err := range protocol.Records(batch) {
		if err == nil && ident.Offset(r.Offset) >= from {
			err = s.machine.Replay(group.Record{Key: r.Key, Value: r.Value})
		}
		if err != nil {
			return 0, fmt.Errorf("offset %d: %w", r.Offset, err)
		}
	}
	return ident.Offset(header.End()), nil
}
