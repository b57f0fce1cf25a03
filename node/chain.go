package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
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

	own string // path of the file that keeps mine from one process of the directory to the next

	mu   sync.Mutex
	mine []uint64 // links that this directory has stored and not pruned, in order
}

// linksKept is how many of its own links a directory leaves in the bucket. Restore reads the newest; the others are for people.
const linksKept = 8

// ownLinks is links.json.
type ownLinks struct {
	Directory string   `json:"directory_uuid"` // whose they are: a file that somebody left here means nothing
	Links     []uint64 `json:"links"`
}

// readOwn takes up the links that earlier processes of this directory have stored. A file that is missing
// or damaged costs nothing but their litter, and so it is not synced either.
func (k *keeper) readOwn() {
	var own ownLinks
	b, err := os.ReadFile(k.own)
	if err == nil {
		err = json.Unmarshal(b, &own)
	}
	if err == nil && own.Directory == k.directory {
		k.mine = own.Links
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.log.Warn("old metadata snapshots stay in the bucket: the list of them cannot be read", "file", k.own, "err", err)
	}
}

// writeOwn replaces the list.
func (k *keeper) writeOwn(links []uint64) error {
	b, err := json.Marshal(ownLinks{k.directory, links})
	if err != nil {
		return err
	}
	tmp := k.own + ".tmp"
	if err := os.WriteFile(tmp, b, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, k.own)
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
	k.prune(ctx, stored.Number)
	return nil
}

// prune deletes the oldest links that this directory has stored itself. Another directory that was given up and lives on creates the
// link after its own newest (E22): that number is at most the one at which restore went on, which is older than
// any link of the directory that serves now. So it is never free again.
func (k *keeper) prune(ctx context.Context, stored uint64) {
	k.mu.Lock()
	k.mine = append(k.mine, stored)
	var old []uint64
	if n := len(k.mine) - linksKept; n > 0 {
		old, k.mine = k.mine[:n:n], k.mine[n:]
	}
	mine := k.mine
	k.mu.Unlock()
	if err := k.writeOwn(mine); err != nil {
		k.log.Warn("metadata snapshots will stay in the bucket after a restart: the list of them cannot be written", "file", k.own, "err", err)
	}
	for _, n := range old {
		if n+linksKept > stored {
			continue // whatever the list says: among the newest
		}
		if err := k.bucket.Delete(ctx, metadata.LinkKey(n)); err != nil {
			k.log.Warn("an old metadata snapshot stays in the bucket", "key", metadata.LinkKey(n), "err", err)
		}
	}
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
