package controller

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

	"github.com/sluicemq/sluice/internal/retry"
	"github.com/sluicemq/sluice/metadata"
)

// Chain writes the chain of metadata snapshots into the bucket: at an interval, soon after an
// administrative change, and on a clean stop (E1, E22).
type Chain struct {
	quorum    Quorum
	bucket    Bucket
	directory string
	log       *slog.Logger
	fatal     func(error)
	interval  time.Duration
	soon      time.Duration
	changed   chan struct{} // capacity 1; signals an administrative change

	own string // path of the file that keeps mine from one process of the directory to the next

	mu   sync.Mutex
	mine []uint64 // links that this directory has stored and not pruned, in order
}

func newChain(cfg Config, deps Deps) *Chain {
	c := &Chain{
		quorum: deps.Quorum, bucket: deps.Bucket, directory: cfg.Directory, log: deps.Log, fatal: deps.Fatal,
		interval: cfg.SnapshotInterval, soon: cfg.SnapshotSoon, changed: make(chan struct{}, 1), own: cfg.LinksFile,
	}
	c.readOwn()
	return c
}

// LinksKept is how many of its own links a directory leaves in the bucket. A restore reads the
// newest one. The others are for people.
const LinksKept = 8

// ownLinks is links.json.
type ownLinks struct {
	Directory string   `json:"directory_uuid"` // of the owner; another directory ignores the list
	Links     []uint64 `json:"links"`
}

// readOwn takes over the links that earlier processes of this directory have stored. If the file is
// missing or damaged, those links stay in the bucket and nothing else happens. So writes to it are
// not synced.
func (c *Chain) readOwn() {
	var own ownLinks
	b, err := os.ReadFile(c.own)
	if err == nil {
		err = json.Unmarshal(b, &own)
	}
	if err == nil && own.Directory == c.directory {
		c.mine = own.Links
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.log.Warn("old metadata snapshots stay in the bucket: the list of them cannot be read", "file", c.own, "err", err)
	}
}

// writeOwn replaces the list.
func (c *Chain) writeOwn(links []uint64) error {
	b, err := json.Marshal(ownLinks{c.directory, links})
	if err != nil {
		return err
	}
	tmp := c.own + ".tmp"
	if err := os.WriteFile(tmp, b, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, c.own)
}

// NoteChange asks for a snapshot soon. It does not block.
func (c *Chain) NoteChange() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// run stores snapshots until ctx ends.
func (c *Chain) run(ctx context.Context) {
	timer := time.NewTimer(c.interval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.changed:
			if retry.Sleep(ctx, c.soon) != nil { // changes meanwhile are in the snapshot, too
				return
			}
		case <-timer.C:
		}
		next := c.interval
		if err := c.Store(ctx); err != nil && ctx.Err() == nil {
			c.log.Warn("metadata snapshot is not in the bucket; trying again", "err", err)
			next = min(c.interval, 5*time.Second)
		}
		timer.Reset(next)
	}
}

// Store puts a link into the bucket and tells the quorum, which then allows the deletion of older
// garbage.
func (c *Chain) Store(ctx context.Context) error {
	var frozen *metadata.State
	c.quorum.View(func(s *metadata.State) { frozen = s.Freeze() })
	if frozen.Stored().Index+1 >= frozen.Index() && frozen.Stored().Number > 0 {
		return nil // nothing has happened except the note of the last snapshot
	}
	stored, err := metadata.StoreSnapshot(ctx, c.bucket, frozen, c.directory)
	if errors.Is(err, metadata.ErrForeignLink) {
		c.fatal(err)
	}
	if err != nil {
		return err
	}
	if err := propose(ctx, c.quorum, metadata.NewSnapshotStored(stored)); err != nil {
		return fmt.Errorf("note snapshot %d: %w", stored.Number, err)
	}
	c.log.Debug("metadata snapshot stored", "number", stored.Number, "index", stored.Index)
	c.prune(ctx, stored.Number)
	return nil
}

// prune deletes the oldest links that this directory has stored itself. A directory that was given
// up and lives on creates the link after its own newest one (E22). That number is at most the one
// from which the restore continued, and so lower than that of any link of the directory that serves
// now. So pruning never frees a number that such a directory would use.
func (c *Chain) prune(ctx context.Context, stored uint64) {
	c.mu.Lock()
	c.mine = append(c.mine, stored)
	var old []uint64
	if n := len(c.mine) - LinksKept; n > 0 {
		old, c.mine = c.mine[:n:n], c.mine[n:]
	}
	mine := c.mine
	c.mu.Unlock()
	if err := c.writeOwn(mine); err != nil {
		c.log.Warn("metadata snapshots will stay in the bucket after a restart: the list of them cannot be written", "file", c.own, "err", err)
	}
	for _, n := range old {
		if n+LinksKept > stored {
			continue // it is among the newest, whatever the list says
		}
		if err := c.bucket.Delete(ctx, metadata.LinkKey(n)); err != nil {
			c.log.Warn("an old metadata snapshot stays in the bucket", "key", metadata.LinkKey(n), "err", err)
		}
	}
}
