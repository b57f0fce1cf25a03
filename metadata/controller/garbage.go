package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata"
)

const (
	deletesPerStep = 256 // how many objects one step deletes, and confirms with one command
	// How many objects are deleted at once; one at a time cannot keep up with production.
	deletesParallel = 8
	turnMin         = 10 * time.Millisecond
)

// Garbage deletes objects to which nothing refers and nothing can refer any more (I10).
type Garbage struct {
	delay time.Duration
	deps  Deps
	log   *slog.Logger

	deletes, failures prometheus.Counter
}

// NewGarbage returns a collector that does nothing before Run or Collect.
func NewGarbage(delay time.Duration, deps Deps) *Garbage {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return &Garbage{
		delay: delay, deps: deps, log: deps.Log,
		deletes:  counter("sluice_objects_deleted_total", "Objects that nothing referred to any more and that were deleted."),
		failures: counter("sluice_object_delete_failures_total", "Objects that could not be deleted and are tried again."),
	}
}

// Metrics returns the collectors that Prometheus may register.
func (g *Garbage) Metrics() []prometheus.Collector {
	return []prometheus.Collector{g.deletes, g.failures}
}

// Run collects at its own pace until ctx ends. A bucket that deletes slowly holds up nothing else.
func (g *Garbage) Run(ctx context.Context) {
	ticker := time.NewTicker(max(g.delay/2, turnMin))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := g.Collect(ctx); err != nil && ctx.Err() == nil {
			g.log.Warn("deletion failed; trying again at its next turn", "err", err)
		}
	}
}

// Collect deletes what can be deleted now. It goes on as long as more is left than one step takes,
// since deletes that never catch up would hold back the objects of a deleted topic.
func (g *Garbage) Collect(ctx context.Context) error {
	for {
		if err := g.expire(ctx); err != nil {
			return err
		}
		released := g.release(ctx) // a manifest that cannot be read does not keep other objects
		dead := g.dead()
		gone, err := g.delete(ctx, dead)
		if len(gone) > 0 {
			err = errors.Join(err, propose(ctx, g.deps.Quorum, metadata.NewConfirmDeleted(gone)))
		}
		if err != nil || len(dead) < deletesPerStep {
			return errors.Join(released, err)
		}
	}
}

// expire turns prepared objects that are past their expiry into garbage.
func (g *Garbage) expire(ctx context.Context) error {
	due := false
	g.deps.Quorum.View(func(s *metadata.State) { due = s.ExpiryDue(g.deps.Now()) })
	if !due {
		return nil // an idle cluster proposes nothing
	}
	return propose(ctx, g.deps.Quorum, metadata.NewExpireObjects())
}

// release drops the ranges that manifests of deleted topics still name (E30).
func (g *Garbage) release(ctx context.Context) error {
	var heads []catalog.Head
	g.deps.Quorum.View(func(s *metadata.State) { heads = s.Released(deletesPerStep) })
	var errs []error
	for i := range heads {
		heads[i].LogStart = heads[i].Manifest.End // all ranges
		if err := g.deps.Release(ctx, &heads[i]); err != nil {
			errs = append(errs, fmt.Errorf("release manifest of deleted %s: %w", heads[i].Partition, err))
		}
	}
	return errors.Join(errs...)
}

// deadObject is an object to delete, with every key that it may have.
type deadObject struct {
	id   ident.ObjectID
	keys []string
}

func (g *Garbage) dead() (out []deadObject) {
	g.deps.Quorum.View(func(s *metadata.State) {
		for _, o := range s.Deletable(g.deps.Now(), g.delay, deletesPerStep) {
			out = append(out, deadObject{o.ID, g.deps.Keys(s.ClusterID(), &o)})
		}
	})
	return out
}

// delete returns the objects that are gone for certain. A key that was gone already counts as
// deleted.
func (g *Garbage) delete(ctx context.Context, dead []deadObject) (gone []ident.ObjectID, err error) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, deletesParallel)
	errs := make([]error, len(dead))
	for i := range dead {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = g.deleteKeys(ctx, dead[i].keys)
		})
	}
	wg.Wait()
	for i := range dead {
		if errs[i] == nil {
			gone = append(gone, dead[i].id)
			continue
		}
		g.failures.Inc()
	}
	g.deletes.Add(float64(len(gone)))
	return gone, errors.Join(errs...)
}

func (g *Garbage) deleteKeys(ctx context.Context, keys []string) error {
	for _, key := range keys {
		if err := g.deps.Bucket.Delete(ctx, key); err != nil {
			return fmt.Errorf("delete object %s: %w", key, err)
		}
	}
	return nil
}
