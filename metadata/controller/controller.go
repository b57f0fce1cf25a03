package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/internal/retry"
	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/metadata/pb"
)

// Quorum is the metadata quorum as a node reaches it: Raft, or in tests a bare state machine.
type Quorum interface {
	// Propose returns the answer once the command is committed and applied here, or
	// catalog.ErrUnavailable if its outcome is unknown.
	Propose(ctx context.Context, cmd *pb.Command) (metadata.Result, error)
	// Barrier returns when everything that was committed before the call is applied here.
	Barrier(ctx context.Context) error
	// View shows the state while nothing changes it. What the state's accessors return is
	// immutable.
	View(func(*metadata.State))
}

// Bucket is what the controller needs of the object store.
type Bucket interface {
	metadata.Bucket
	// Delete succeeds if the key is absent.
	Delete(ctx context.Context, key string) error
}

// Config says how often the controller acts. All values are required.
type Config struct {
	// DeleteDelay is how long an object stays after the last reference to it is gone. It must be
	// longer than any reader keeps a plan (E16).
	DeleteDelay time.Duration
	// SnapshotInterval is the longest time between two links of the snapshot chain.
	SnapshotInterval time.Duration
	// SnapshotSoon is the time from an administrative change to its link.
	SnapshotSoon time.Duration
	// Directory is the UUID of this node's data directory, which is named in the links that it
	// stores.
	Directory string
	// LinksFile is the path where this directory keeps the list of links that it may prune.
	LinksFile string
}

// Deps are the parts that a controller works with.
type Deps struct {
	Quorum Quorum
	Bucket Bucket
	// Keys returns every key that a dead object may have.
	Keys func(clusterID string, o *metadata.DeadObject) []string
	// Release takes the ranges below the head's log start out of the manifest that the head names.
	Release func(ctx context.Context, head *catalog.Head) error
	// Fatal is called when this directory does not belong to the cluster any more.
	Fatal func(error)
	Now   func() time.Time
	Log   *slog.Logger
}

// Controller joins what runs where the quorum is led.
type Controller struct {
	quorum  Quorum
	log     *slog.Logger
	Chain   *Chain
	Garbage *Garbage
}

// New returns a controller that does nothing before [Controller.Run].
func New(cfg Config, deps Deps) *Controller {
	return &Controller{quorum: deps.Quorum, log: deps.Log, Chain: newChain(cfg, deps), Garbage: NewGarbage(cfg.DeleteDelay, deps)}
}

// Run acts until ctx ends, which is when the node stops leading the quorum. First it waits until
// everything that was decided before is applied here, so that it plans on a state that is no older
// than its leadership.
func (c *Controller) Run(ctx context.Context) {
	for err := c.quorum.Barrier(ctx); err != nil; err = c.quorum.Barrier(ctx) {
		c.log.Warn("the controller waits for the metadata quorum", "err", err)
		if retry.Sleep(ctx, barrierPause) != nil {
			return
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() { c.Chain.run(ctx) })
	wg.Go(func() { c.Garbage.Run(ctx) })
	wg.Wait()
}

// barrierPause is the time between two attempts to reach the quorum.
const barrierPause = time.Second

// propose proposes a command. A refusal is an error.
func propose(ctx context.Context, q Quorum, cmd *pb.Command) error {
	res, err := q.Propose(ctx, cmd)
	if err = errors.Join(err, res.Err); err != nil {
		return fmt.Errorf("%s: %w", metadata.CommandName(cmd), err)
	}
	return nil
}
