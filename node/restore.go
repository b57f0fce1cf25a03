package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/metadata/raft"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/object"
)

// Restore takes these steps (E1, E22, E26).
//
//  1. Look: read cluster.json and the newest link of the snapshot chain. Without a link, begin with
//     the state of a newly created cluster.
//  2. Gather: list the objects, and read the headers of those that the snapshot had not settled.
//  3. Plan: call metadata.PlanRestore, and try the plan on a copy of the state.
//  4. Seed: fill the empty directory with a new identity in state "restoring", and with metadata
//     that starts from the snapshot.
//  5. Decide: propose the plan's commands to the new quorum, in a new generation.
//  6. Link: store the next link of the chain, in the new generation, and look that it is the
//     newest. From here on every older directory stops.
//  7. Ready: tell the quorum about the link, and set the identity to "ready".
//
// Before step 6 the bucket is only read, so an interrupted restore changes nothing. Between steps 6
// and 7 the chain has a link without a cluster that serves. The next restore begins at that link,
// one generation later. In either case the directory is in state "restoring" and is never served.
//
// A broker that is thought lost may still be running. Up to step 6 it may continue the chain. The
// restore then refuses, since its link is taken, or since its link is not the newest if the broker
// has pruned that number. After step 6 the broker stops at its next snapshot or start. What it has
// accepted since step 2 is not in the restored cluster.

// restoreReads is how many objects are read at once. It is enough to hide the latency of a store,
// and little compared with the store's limits.
const restoreReads = 16

// The errors of a restore.
var (
	// ErrNotEmpty is a directory that already holds something.
	ErrNotEmpty = errors.New("restore needs an empty directory")
	// ErrNoCluster is a bucket prefix without a cluster.
	ErrNoCluster = errors.New("there is no cluster to restore")
	// ErrNotAlone says that somebody else is working on the prefix.
	ErrNotAlone = errors.New("a broker or another restore works on this bucket: stop it, then restore again into an empty directory")
)

// ErrLoss says that sound records behind damage would not come back.
var ErrLoss = errors.New("because of damaged objects, sound records behind them would not come back")

// RestoreConfig says into what to restore.
type RestoreConfig struct {
	Dir    string // empty or absent
	NodeID int32
	// AcceptLoss lets the restore go on even if damage keeps sound records from coming back.
	// Without it nothing is written in that case, so that the damage can be repaired first.
	AcceptLoss bool
}

// RestoreDeps are the parts that a restore works with.
type RestoreDeps struct {
	Bucket bucket.Bucket
	Log    *slog.Logger
	Out    io.Writer // lines of progress for a person
}

// Restore makes the empty directory cfg.Dir the directory of broker cfg.NodeID, in the cluster that
// the bucket holds. The report is filled in as far as the restore came.
func Restore(ctx context.Context, cfg RestoreConfig, deps RestoreDeps) (Report, error) {
	r := &restorer{cfg: cfg, deps: deps, report: Report{Dir: cfg.Dir}}
	err := r.restore(ctx)
	if err != nil {
		err = fmt.Errorf("restore into %s: %w", cfg.Dir, err)
	}
	return r.report, err
}

type restorer struct {
	cfg  RestoreConfig
	deps RestoreDeps

	id     *Identity
	state  *metadata.State // of the newest link
	found  []metadata.FoundSection
	seen   []metadata.FoundObject    // sound objects, whatever is in them
	keys   map[ident.ObjectID]string // of all objects that the snapshot has not settled
	plan   metadata.RestorePlan
	report Report
}

func (r *restorer) restore(ctx context.Context) (err error) {
	lock, err := emptyDir(r.cfg.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	for _, step := range []func(context.Context) error{r.look, r.gather, r.makePlan, r.seed, r.decide} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	r.id.State = stateReady
	if err := r.id.write(r.cfg.Dir); err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	return nil
}

func (r *restorer) say(format string, args ...any) {
	_, _ = fmt.Fprintf(r.deps.Out, format+"\n", args...)
}

// emptyDir creates the directory if there is none, takes its lock, and checks that it is empty.
func emptyDir(dir string) (*os.File, error) {
	empty := func() error {
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		for _, e := range entries {
			if e.Name() != "LOCK" { // left by a restore that ended before it wrote anything
				return fmt.Errorf("%w: %s holds %s", ErrNotEmpty, dir, e.Name())
			}
		}
		return err
	}
	if err := empty(); err != nil { // before a lock is put into somebody's folder
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	if err := empty(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// look reads which cluster owns the prefix, and the newest state that is stored there. If the
// newest link is damaged, that is an error: with an older link the restore would refer to objects
// that may have been deleted since (E22).
func (r *restorer) look(ctx context.Context) error {
	b := objects{r.deps.Bucket}
	cluster, found, err := metadata.ReadClusterFile(ctx, b)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("%w: the bucket has no %s: is this the right bucket and prefix?", ErrNoCluster, metadata.ClusterKey)
	}
	link, found, err := metadata.ReadNewest(ctx, b)
	if err != nil {
		return err
	}
	r.report.Cluster = cluster.ClusterID
	if !found {
		r.say("cluster %s has never stored a snapshot: beginning with an empty cluster", cluster.ClusterID)
		r.state, err = madeState(cluster)
		return err
	}
	if r.state, err = link.State(); err != nil {
		return err
	}
	if r.state.ClusterID() != cluster.ClusterID {
		return fmt.Errorf("%w: %s says cluster %s, the newest snapshot cluster %s", metadata.ErrWrongCluster, metadata.ClusterKey, cluster.ClusterID, r.state.ClusterID())
	}
	r.report.Snapshot = SnapshotReport{
		Number: link.Number, Index: link.Index, Time: r.state.Now().UTC(), Generation: link.Generation, Directory: link.Directory,
	}
	r.say("cluster %s: going back to snapshot %d of %s", cluster.ClusterID, link.Number, r.report.Snapshot.Time.Format(time.RFC3339))
	return nil
}

// madeState is the first state of a cluster that never stored a snapshot.
func madeState(c metadata.ClusterFile) (*metadata.State, error) {
	s := metadata.New()
	res, err := s.Apply(1, metadata.NewBootstrap(c.ClusterID, c.Directory))
	return s, errors.Join(err, res.Err)
}

// gather lists what is in the bucket, and reads what the snapshot has not settled.
func (r *restorer) gather(ctx context.Context) error {
	unread, err := r.list(ctx)
	if err != nil {
		return err
	}
	r.say("%d objects, of which the snapshot does not know %d", r.report.Objects.Listed, r.report.Objects.Unsettled)
	results, err := r.read(ctx, unread)
	if err != nil {
		return err
	}
	for i, res := range results {
		if res.bad != "" {
			r.report.Objects.Damaged = append(r.report.Objects.Damaged, BadObject{Key: unread[i].key, Reason: res.bad})
			continue
		}
		r.seen = append(r.seen, unread[i].found)
		r.found = append(r.found, res.sections...)
	}
	return nil
}

// listed is an object whose key was found and that must be read.
type listed struct {
	key   string
	parts object.KeyParts
	found metadata.FoundObject
}

// list goes over all keys of the cluster and returns the bundles that must be read. Anything that
// cannot be an object of the cluster is reported and left alone: nothing is deleted only because a
// listing did not expect it.
func (r *restorer) list(ctx context.Context) (unread []listed, err error) {
	r.keys = make(map[ident.ObjectID]string)
	o := &r.report.Objects
	for info, err := range r.deps.Bucket.List(ctx, r.state.ClusterID()+"/", "") {
		if err != nil {
			return nil, err
		}
		if o.Listed++; o.Listed%100_000 == 0 {
			r.say("%d objects listed", o.Listed)
		}
		parts, err := object.ParseKey(info.Key)
		if err != nil {
			o.Foreign = append(o.Foreign, BadObject{Key: info.Key, Reason: "not a key that a broker writes"})
			continue
		}
		if !r.state.Unsettled(parts.Object) {
			continue
		}
		o.Unsettled++
		if other := r.keys[parts.Object]; other != "" {
			// I3
			return nil, fmt.Errorf("%w: %s and %s have one id, which no broker does: move away the one that is not the cluster's", object.ErrCorrupt, other, info.Key)
		}
		r.keys[parts.Object] = info.Key
		l := listed{info.Key, parts, metadata.FoundObject{
			ID: parts.Object, Writer: parts.Writer, Bytes: info.Bytes, Manifest: parts.Kind == object.KindManifest,
		}}
		if l.found.Manifest { // a manifest says nothing that the bundles do not say
			r.seen = append(r.seen, l.found)
			continue
		}
		unread = append(unread, l)
	}
	return unread, nil
}

// readResult is what an object says about itself, or why it cannot be trusted.
type readResult struct {
	sections []metadata.FoundSection
	bad      string
	err      error
}

// read reads the footers of all objects, several at once.
func (r *restorer) read(ctx context.Context, all []listed) ([]readResult, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make([]readResult, len(all))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(restoreReads, len(all)) {
		wg.Go(func() {
			for i := range next {
				if results[i] = r.readOne(ctx, &all[i]); results[i].err != nil {
					cancel() // one error is enough
				}
			}
		})
	}
	for i := range all {
		if i > 0 && i%1000 == 0 {
			r.say("%d of %d objects read", i, len(all))
		}
		select {
		case next <- i:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	wg.Wait()
	r.report.Objects.Read = len(all)
	return results, firstError(ctx, results)
}

// firstError prefers the error that ended the reading to the errors that it caused.
func firstError(ctx context.Context, results []readResult) error {
	err := ctx.Err()
	for i := range results {
		if e := results[i].err; e != nil && (err == nil || errors.Is(err, context.Canceled)) {
			err = e
		}
	}
	return err
}

// readOne reads a bundle's header and footer. Damage is a result, since one bundle must not keep
// the others from coming back. If another release could read the bundle, or if it cannot be read
// now, the restore ends.
func (r *restorer) readOne(ctx context.Context, l *listed) (res readResult) {
	read := func(ctx context.Context, p []byte, pos int64) error { return r.deps.Bucket.ReadAt(ctx, l.key, p, pos) }
	sections, err := r.readBundle(ctx, read, l)
	switch {
	case err == nil:
		return readResult{sections: sections}
	case errors.Is(err, object.ErrCorrupt), errors.Is(err, bucket.ErrShort), errors.Is(err, bucket.ErrCorrupt):
		return readResult{bad: err.Error()}
	case errors.Is(err, bucket.ErrNotFound):
		return readResult{err: fmt.Errorf("%s was listed and then deleted: %w", l.key, ErrNotAlone)}
	}
	return readResult{err: fmt.Errorf("read %s: %w", l.key, err)}
}

func (r *restorer) readBundle(ctx context.Context, read object.ReadFunc, l *listed) ([]metadata.FoundSection, error) {
	footer, err := object.ReadFooter(ctx, read, l.found.Bytes)
	if err != nil {
		return nil, err
	}
	head := make([]byte, object.HeaderBytes)
	if err := read(ctx, head, 0); err != nil {
		return nil, err
	}
	h, err := object.DecodeHeader(head)
	if err != nil {
		return nil, err
	}
	if h.ClusterID != l.parts.ClusterID || h.Object != l.parts.Object || h.Incarnation != l.parts.Writer || footer.Object != h.Object {
		return nil, fmt.Errorf("%w: it says that it is object %s of incarnation %s, cluster %s", object.ErrCorrupt, h.Object, h.Incarnation, h.ClusterID)
	}
	found := make([]metadata.FoundSection, len(footer.Sections))
	for i, s := range footer.Sections {
		ref := s.Ref(l.parts.Writer, l.found.Bytes)
		found[i] = metadata.FoundSection{
			Topic: s.Topic, Name: s.Name, Creation: s.Creation, PartitionCount: s.PartitionCount,
			ReplicationFactor: s.ReplicationFactor, Configs: s.Configs, Partition: s.Partition,
			LogStart: s.LogStart, Range: ref.Range, State: ref.State, Base: ref.Base,
		}
	}
	return found, nil
}

// makePlan decides what is put back, and tries the plan on a copy, so that nothing is written for a
// plan that is refused.
func (r *restorer) makePlan(context.Context) error {
	r.id = newIdentity(r.state.ClusterID(), r.cfg.NodeID)
	r.id.State = stateRestoring
	r.planAgain()
	after, err := r.try()
	if err != nil {
		return err
	}
	if len(r.report.Objects.Damaged) > 0 && r.keepLeftOut() {
		r.planAgain()
		if after, err = r.try(); err != nil {
			return err
		}
	}
	r.tell(after)
	if n := len(r.report.LeftOut); n > 0 && len(r.report.Objects.Damaged) > 0 && !r.cfg.AcceptLoss {
		return fmt.Errorf("%w: %d objects are damaged, %d sections behind them would be lost; nothing was written: repair the objects and restore again, or accept the loss with --accept-loss", ErrLoss, len(r.report.Objects.Damaged), n)
	}
	return nil
}

func (r *restorer) planAgain() {
	by := metadata.Restorer{Directory: r.id.Directory, Broker: r.cfg.NodeID}
	r.plan = metadata.PlanRestore(r.state, by, r.seen, r.found)
}

// try applies the plan to a copy of the state.
func (r *restorer) try() (*metadata.State, error) {
	trial := r.state.Freeze()
	for i, cmd := range r.plan.Commands {
		res, err := trial.Apply(trial.Index()+1, cmd)
		if err = errors.Join(err, res.Err); err != nil {
			return nil, fmt.Errorf("BUG: step %d of the plan, %s, is refused; nothing was written: %w", i, metadata.CommandName(cmd), err)
		}
	}
	return trial, nil
}

// keepLeftOut takes objects out of the plan that nothing uses and whose data was left out. Beside a
// damaged bundle the data may have been left out because of the damage, and may be all that is left
// of these records. So these objects are not deleted. keepLeftOut reports whether there were any.
func (r *restorer) keepLeftOut() bool {
	keep := make(map[ident.ObjectID]bool)
	for i := range r.plan.LeftOut {
		keep[r.plan.LeftOut[i].Section.Range.Object] = true
	}
	unused := make(map[ident.ObjectID]bool)
	for _, o := range r.plan.Unused {
		unused[o.ID] = true
	}
	before := len(r.seen)
	r.seen = slices.DeleteFunc(r.seen, func(o metadata.FoundObject) bool {
		if !keep[o.ID] || !unused[o.ID] {
			return false
		}
		r.report.Objects.Kept = append(r.report.Objects.Kept, r.keys[o.ID])
		return true
	})
	return len(r.seen) < before
}

// seed makes the directory this node's, not to be served yet. The identity is durable before
// anything else is there.
func (r *restorer) seed(context.Context) error {
	r.report.Directory = r.id.Directory
	if err := r.id.write(r.cfg.Dir); err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	return raft.Seed(raft.Config{Dir: r.cfg.Dir, DirUUID: r.id.Directory}, raft.Deps{Log: r.deps.Log, OnFatal: func(error) {}}, r.state)
}

// decide makes the plan the cluster's new state, and puts that state into the bucket as the next
// link.
func (r *restorer) decide(ctx context.Context) (err error) {
	quorum, err := raft.Open(ctx, raft.Config{Dir: r.cfg.Dir, DirUUID: r.id.Directory}, raft.Deps{
		// Propose fails after a fatal error.
		Log: r.deps.Log, OnFatal: func(err error) { r.deps.Log.Error("metadata failed", "err", err) },
	})
	if err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	defer func() { err = errors.Join(err, quorum.Close()) }()
	for _, cmd := range r.plan.Commands {
		res, err := quorum.Propose(ctx, cmd)
		if err = errors.Join(err, res.Err); err != nil {
			return fmt.Errorf("%s: %w", metadata.CommandName(cmd), err)
		}
	}
	stored, err := r.link(ctx, quorum.Freeze())
	if err != nil {
		return err
	}
	r.report.Link, r.report.Generation = stored.Number, stored.Generation
	r.say("snapshot %d stored: generation %d begins", stored.Number, stored.Generation)
	res, err := quorum.Propose(ctx, metadata.NewSnapshotStored(stored))
	if err = errors.Join(err, res.Err); err != nil {
		return fmt.Errorf("note snapshot %d: %w", stored.Number, err)
	}
	return nil
}

// linkTries is how often an outcome in doubt is asked for. The bucket has its own retries below
// that.
const linkTries = 5

// link adds the next link to the chain (E22). If somebody has continued the chain since it was
// read, they are alive and have data that this restore has not seen.
func (r *restorer) link(ctx context.Context, state *metadata.State) (stored metadata.StoredSnapshot, err error) {
	for range linkTries {
		stored, err = metadata.StoreSnapshot(ctx, objects{r.deps.Bucket}, state, r.id.Directory)
		if err == nil {
			err = r.isNewest(ctx, stored.Number)
		}
		if err == nil {
			return stored, nil
		}
		if errors.Is(err, metadata.ErrForeignLink) {
			return stored, fmt.Errorf("%w: %w", ErrNotAlone, err)
		}
		if errors.Is(err, bucket.ErrDenied) || !pause(ctx, time.Second) {
			return stored, err
		}
	}
	return stored, err
}

// isNewest checks that there is nothing above the link that this restore has made. A living broker
// may have continued the chain and pruned exactly that number meanwhile. Its newest links are never
// pruned, so they are there.
func (r *restorer) isNewest(ctx context.Context, number uint64) error {
	keys, err := objects{r.deps.Bucket}.List(ctx, metadata.LinkPrefix)
	if err != nil {
		return fmt.Errorf("list snapshots: %w", err)
	}
	if newest, _ := metadata.NewestSnapshot(keys); newest != number {
		return fmt.Errorf("%w: the newest is %s, not %s", metadata.ErrForeignLink, metadata.LinkKey(newest), metadata.LinkKey(number))
	}
	return nil
}
