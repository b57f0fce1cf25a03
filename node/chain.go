package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/storage/bucket"
)

// keeper writes the chain of metadata snapshots into the bucket: at an interval, soon
// after an administrative change, and on a clean stop (E1, E22).
type keeper struct {
	quorum    Quorum
	bucket    bucket.Bucket
	directory string
	log       *slog.Logger
	fatal     func(error)
	interval  time.Duration
	soon      time.Duration
	changed   chan struct{} // capacity 1: there was an administrative change
}

// noteChange asks for a snapshot soon. It does not block.
func (k *keeper) noteChange() {
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// run stores snapshots until ctx ends.
func (k *keeper) run(ctx context.Context) {
	timer := time.NewTimer(k.interval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.changed:
			if !pause(ctx, k.soon) { // what comes meanwhile is in it as well
				return
			}
		case <-timer.C:
		}
		next := k.interval
		if err := k.store(ctx); err != nil && ctx.Err() == nil {
			k.log.Warn("metadata snapshot is not in the bucket; trying again", "err", err)
			next = min(k.interval, 5*time.Second)
		}
		timer.Reset(next)
	}
}

// store puts a link into the bucket and tells the quorum, which lets garbage of before it be deleted.
func (k *keeper) store(ctx context.Context) error {
	var frozen *metadata.State
	k.quorum.View(func(s *metadata.State) { frozen = s.Freeze() })
	if frozen.Stored().Index+1 >= frozen.Index() && frozen.Stored().Number > 0 {
		return nil // nothing but the note of the last snapshot has happened since
	}
	stored, err := metadata.StoreSnapshot(ctx, objects{k.bucket}, frozen, k.directory)
	if errors.Is(err, metadata.ErrForeignLink) {
		k.fatal(err)
	}
	if err != nil {
		return err
	}
	res, err := k.quorum.Propose(ctx, metadata.NewSnapshotStored(stored))
	if err = errors.Join(err, res.Err); err != nil {
		return fmt.Errorf("note snapshot %d: %w", stored.Number, err)
	}
	k.log.Debug("metadata snapshot stored", "number", stored.Number, "index", stored.Index)
	return nil
}

// pause waits for d; false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
