package raft

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	hraft "github.com/hashicorp/raft"

	"github.com/sluicemq/sluice/metadata"
)

// takeSnapshots is the goroutine that takes a snapshot when enough has gathered.
func (n *Node) takeSnapshots() {
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.due:
		}
		err := n.SnapshotNow(n.ctx)
		n.meter.snapshot(err)
		if err != nil && n.ctx.Err() == nil {
			// The log stays, so nothing is lost. The next command asks again.
			n.deps.Log.Warn("metadata snapshot failed", "err", err)
			n.mu.Lock()
			n.pendingEntries = snapshotEntries
			n.mu.Unlock()
		}
	}
}

// SnapshotNow takes a snapshot of the state into meta/ and drops the log below the snapshot before
// it. If the newest snapshot is damaged, the older one and the log still give the state.
func (n *Node) SnapshotNow(ctx context.Context) error {
	if err := n.keepLogFromPrevious(); err != nil {
		return fmt.Errorf("raft: snapshot: %w", err)
	}
	f, err := n.begin(func() hraft.Future { return n.raft.Snapshot() })
	if err == nil {
		err = n.wait(ctx, f)
	}
	if err != nil && !errors.Is(err, hraft.ErrNothingNewToSnapshot) {
		return fmt.Errorf("raft: snapshot: %w", err)
	}
	return nil
}

// keepLogFromPrevious sets how much of the log survives the next snapshot.
func (n *Node) keepLogFromPrevious() error {
	list, err := n.snapshots.List()
	if err != nil {
		return err
	}
	conf := n.raft.ReloadableConfig()
	// There is no older snapshot, so all of the log is kept.
	conf.TrailingLogs = n.raft.LastIndex() + trailingLogsMin
	if len(list) > 0 {
		conf.TrailingLogs = n.raft.LastIndex() - list[0].Index + trailingLogsMin
	}
	return n.raft.ReloadConfig(conf)
}

// Seed makes meta/ of an empty data directory start from a state that another quorum reached, as a
// restore does. The folder is complete when Seed returns. An interrupted Seed leaves a folder that
// the next Seed refuses: begin again with an empty directory.
func Seed(cfg Config, deps Deps, state *metadata.State) error {
	if err := seed(cfg, deps, state); err != nil {
		return fmt.Errorf("raft: seed %s: %w", cfg.Dir, err)
	}
	return nil
}

// seedTerm comes before every term in which the seeded quorum elects a leader.
const seedTerm = 1

func seed(cfg Config, deps Deps, state *metadata.State) (err error) {
	if err := cfg.validate(); err != nil {
		return err
	}
	dir := filepath.Join(cfg.Dir, metaDirectory)
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s exists: restore needs an empty directory (%w)", dir, errors.Join(err, os.ErrExist))
	}
	if err := makeDir(cfg.Dir, dir); err != nil {
		return err
	}
	log := &logger{to: deps.Log}
	snapshots, err := hraft.NewFileSnapshotStoreWithLogger(dir, snapshotsRetain, log)
	if err != nil {
		return err
	}
	s, err := openStore(dir, deps.OnFatal)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	address, transport := hraft.NewInmemTransport(hraft.ServerAddress(cfg.DirUUID))
	lone := hraft.Configuration{Servers: []hraft.Server{{ID: hraft.ServerID(cfg.DirUUID), Address: address}}}
	sink, err := snapshots.Create(hraft.SnapshotVersionMax, state.Index(), seedTerm, lone, state.Index(), transport)
	if err != nil {
		return err
	}
	if err := (&frozen{state}).Persist(sink); err != nil {
		return err
	}
	return s.SetUint64([]byte("CurrentTerm"), seedTerm)
}

// Existing reports whether a data directory has a quorum's files.
func Existing(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, metaDirectory, "raft.db"))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
