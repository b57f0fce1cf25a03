package raft

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	hraft "github.com/hashicorp/raft"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/metadata/pb"
)

// A lone voter has nobody to wait for: lead tells it to stand for election. So this is only how
// often the leader looks for its (missing) followers. With 20 ms, after which the voter stood for
// election by itself, that was most of what an idle broker did: 0.7 % of a core.
const loneTimeout = time.Second

// Snapshots are taken by count and by bytes, because a thousand commits of 500 KB are half a
// gigabyte of log to replay. Raft's own schedule only counts.
const (
	snapshotEntries  = 8192
	snapshotBytes    = 32 << 20
	snapshotsRetain  = 2
	trailingLogsMin  = 512              // entries that may be appended while a snapshot is written
	proposeTimeout   = 10 * time.Second // time to enter Raft's queue
	leaderTimeout    = 10 * time.Second
	neverBySchedule  = 24 * 365 * time.Hour
	metaDirectory    = "meta"
	applyBatchOfRaft = 64
)

// Config is the configuration of a node.
type Config struct {
	Dir     string // the data directory; the node owns meta/ in it
	DirUUID string // the directory's UUID, which is Raft's ServerID
}

func (c Config) validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("raft: Dir is empty"))
	}
	if c.DirUUID == "" {
		errs = append(errs, errors.New("raft: DirUUID is empty"))
	}
	return errors.Join(errs...)
}

// Deps are the parts that a node works with.
type Deps struct {
	Log *slog.Logger
	// OnFatal is called once, from any goroutine, when the node cannot go on. The process must end.
	// OnFatal must not call the node.
	OnFatal func(error)
	// OnApply is called after each applied command, in the order of the log, once Open has returned
	// or is about to. Commands that were replayed before are only seen through View. The state
	// shows the changes already. OnApply must not block for long and must not propose. It may be
	// nil.
	OnApply func(index uint64, cmd *pb.Command, res metadata.Result)
}

// Node is one member of the metadata quorum.
type Node struct {
	deps      Deps
	store     *store
	raft      *hraft.Raft
	snapshots hraft.SnapshotStore
	meter     *meter

	ctx     context.Context // ended by Close
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	due     chan struct{} // a snapshot is due
	serving atomic.Bool   // Open has seen everything that existed; from now on OnApply is called
	fatal   sync.Once
	closed  sync.Once

	// inflight counts futures for which somebody may wait. Raft forgets some of them when it is
	// shut down, so Close waits for them first.
	inflight sync.WaitGroup

	mu      sync.RWMutex
	state   *metadata.State // guarded by mu
	halted  error           // guarded by mu
	closing bool            // guarded by mu; no new futures begin
	// These count since the last snapshot of this process and are guarded by mu.
	pendingEntries int
	pendingBytes   int
}

// Open replays what the directory holds. It returns when this node leads and everything that was
// committed is applied. An empty directory becomes a quorum of one without a cluster: propose
// NewBootstrap next.
func Open(ctx context.Context, cfg Config, deps Deps) (*Node, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("raft: open: %w", err)
	}
	n := &Node{deps: deps, state: metadata.New(), due: make(chan struct{}, 1), meter: newMeter()}
	n.ctx, n.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := n.open(ctx, cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("raft: open %s: %w", cfg.Dir, err), n.Close())
	}
	return n, nil
}

func (n *Node) open(ctx context.Context, cfg Config) error {
	dir := filepath.Join(cfg.Dir, metaDirectory)
	if err := makeDir(cfg.Dir, dir); err != nil {
		return err
	}
	log := &logger{to: n.deps.Log}
	var err error
	if n.snapshots, err = hraft.NewFileSnapshotStoreWithLogger(dir, snapshotsRetain, log); err != nil {
		return err
	}
	if n.store, err = openStore(dir, n.stop); err != nil {
		return err
	}
	address, transport := hraft.NewInmemTransport(hraft.ServerAddress(cfg.DirUUID))
	transport.Connect(address, transport) // needed by stand
	conf := raftConfig(cfg.DirUUID, log)
	lone := hraft.Configuration{Servers: []hraft.Server{{ID: conf.LocalID, Address: address}}}
	err = hraft.BootstrapCluster(conf, n.store, n.store, n.snapshots, transport, lone)
	// It exists already: this is an ordinary start.
	if err != nil && !errors.Is(err, hraft.ErrCantBootstrap) {
		return fmt.Errorf("bootstrap: %w", err)
	}
	r, err := hraft.NewRaft(conf, (*fsm)(n), n.store, n.store, n.snapshots, transport)
	if err != nil {
		return err
	}
	n.mu.Lock() // since stop reads n.raft
	n.raft = r
	n.mu.Unlock()
	if err := n.checkReplay(); err != nil {
		return err
	}
	if err := n.checkAlone(conf.LocalID); err != nil {
		return err
	}
	stand := func() error {
		return transport.TimeoutNow(conf.LocalID, address, &hraft.TimeoutNowRequest{RPCHeader: hraft.RPCHeader{ProtocolVersion: conf.ProtocolVersion}}, new(hraft.TimeoutNowResponse))
	}
	if err := n.lead(ctx, stand); err != nil {
		return err
	}
	n.wg.Go(n.takeSnapshots)
	return nil
}

func makeDir(parent, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncDir(parent)
}

func raftConfig(id string, log *logger) *hraft.Config {
	conf := hraft.DefaultConfig()
	conf.LocalID = hraft.ServerID(id)
	conf.Logger = log
	conf.HeartbeatTimeout = loneTimeout
	conf.ElectionTimeout = loneTimeout
	conf.LeaderLeaseTimeout = loneTimeout
	conf.CommitTimeout = loneTimeout
	conf.MaxAppendEntries = applyBatchOfRaft
	conf.SnapshotInterval = neverBySchedule // takeSnapshots decides instead
	conf.SnapshotThreshold = 1 << 62
	conf.TrailingLogs = snapshotEntries
	conf.NoLegacyTelemetry = true
	return conf
}

// checkReplay refuses a log that does not continue where the snapshot ends. Raft would panic at the
// missing entry.
func (n *Node) checkReplay() error {
	b, err := n.store.state()
	if err != nil {
		return err
	}
	if from := n.raft.AppliedIndex() + 1; b.first > from {
		return &CorruptError{What: "log entry", Index: from, Reason: fmt.Sprintf("missing: the log begins at %d and no readable snapshot holds it", b.first)}
	}
	return nil
}

// checkAlone refuses a folder that belongs to the Raft of another directory.
func (n *Node) checkAlone(id hraft.ServerID) error {
	f := n.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return err
	}
	servers := f.Configuration().Servers
	if len(servers) != 1 || servers[0].ID != id {
		return fmt.Errorf("meta/ belongs to voters %v, this directory is %s: was it copied from another?", servers, id)
	}
	return nil
}

// lead makes the node stand for election, and waits until it leads and everything that is committed
// is applied.
func (n *Node) lead(ctx context.Context, stand func() error) error {
	ctx, cancel := context.WithTimeout(ctx, leaderTimeout)
	defer cancel()
	if err := stand(); err != nil { // it will stand by itself within two seconds
		n.deps.Log.Warn("the metadata quorum is told to elect this node, and does not listen", "err", errors.Join(err, n.failure()))
	}
	for n.raft.State() != hraft.Leader {
		select {
		case <-n.raft.LeaderCh():
		case <-ctx.Done():
			return fmt.Errorf("no leader: %w", errors.Join(ctx.Err(), n.failure()))
		case <-n.ctx.Done():
			return n.failure()
		}
	}
	n.serving.Store(true)
	if err := n.barrier(ctx); err != nil {
		return err
	}
	return n.failure()
}

// WhileLeading calls act while this node leads the quorum, with a context that ends with the
// leadership, and again after each election that the node wins. It returns when ctx or the node has
// ended and act has returned. There may be one caller at a time, since only one reader gets the
// changes of leadership.
func (n *Node) WhileLeading(ctx context.Context, act func(context.Context)) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(n.ctx, cancel)()
	whileLeading(ctx, n.raft.LeaderCh(), func() bool { return n.raft.State() == hraft.Leader }, act)
}

// whileLeading reads the changes of leadership from changed, which may repeat itself and holds only
// the newest.
func whileLeading(ctx context.Context, changed <-chan bool, leads func() bool, act func(context.Context)) {
	for ctx.Err() == nil {
		if !leads() && !await(ctx, changed, true) {
			return
		}
		term, end := context.WithCancel(ctx)
		var acting sync.WaitGroup
		acting.Go(func() { act(term) })
		await(ctx, changed, false)
		end()
		acting.Wait()
	}
}

// await returns true when changed says want, and false when ctx ends.
func await(ctx context.Context, changed <-chan bool, want bool) bool {
	for {
		select {
		case is := <-changed:
			if is == want {
				return true
			}
		case <-ctx.Done():
			return false
		}
	}
}

// failure returns why the node cannot go on, or nil while it can.
func (n *Node) failure() error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.halted
}

// stop poisons the node and tells its owner, once. It shuts Raft down at once: without its store
// Raft would panic at the next election, before the process could end in order.
func (n *Node) stop(err error) {
	n.mu.Lock()
	if n.halted == nil {
		n.halted = err
	}
	r := n.raft
	n.mu.Unlock()
	n.cancel()
	if r != nil {
		r.Shutdown() // returns without waiting
	}
	n.fatal.Do(func() { n.deps.OnFatal(err) })
}

// Propose decides a command. Result.Err is the state machine's refusal. An error means that there
// is no answer: with catalog.ErrUnavailable the command may or may not have been applied, or may be
// applied later; with metadata.ErrTooLarge it was not sent. Propose stamps time and request id if
// they are not set, so that proposing the same cmd again is the same request.
func (n *Node) Propose(ctx context.Context, cmd *pb.Command) (res metadata.Result, err error) {
	began := time.Now()
	defer func() { n.meter.proposed(began, res, err) }()
	stamp(cmd)
	data, err := metadata.EncodeCommand(cmd)
	if err != nil {
		return metadata.Result{}, err
	}
	f, err := n.begin(func() hraft.Future { return n.raft.Apply(data, proposeTimeout) })
	if err == nil {
		err = n.wait(ctx, f)
	}
	if err != nil {
		return metadata.Result{}, fmt.Errorf("raft: propose %s: %w: %w", metadata.CommandName(cmd), catalog.ErrUnavailable, err)
	}
	switch res := f.(hraft.ApplyFuture).Response().(type) {
	case metadata.Result:
		return res, nil
	case error:
		return metadata.Result{}, fmt.Errorf("raft: propose %s: %w: %w", metadata.CommandName(cmd), catalog.ErrUnavailable, res)
	}
	panic("BUG: the state machine answered with neither a result nor an error")
}

func stamp(cmd *pb.Command) {
	if cmd.TimeMs == 0 {
		cmd.TimeMs = time.Now().UnixMilli()
	}
	if len(cmd.RequestId) == 0 {
		cmd.RequestId = make([]byte, 16)
		rand.Read(cmd.RequestId) // never fails
	}
}

// begin starts a future, unless the node is closing or has stopped. The caller must call wait next.
func (n *Node) begin(start func() hraft.Future) (hraft.Future, error) {
	n.mu.RLock()
	err := n.halted
	if n.closing && err == nil {
		err = errClosed
	}
	if err == nil {
		n.inflight.Add(1)
	}
	n.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	return start(), nil
}

var errClosed = errors.New("node is closed")

// wait waits for a future, but no longer than the caller's context and the node live.
func (n *Node) wait(ctx context.Context, f hraft.Future) error {
	done := make(chan error, 1)
	// This goroutine ends with the future. When the node stops, it may stay until the process ends.
	go func() {
		defer n.inflight.Done()
		done <- f.Error()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-n.ctx.Done():
		return errors.Join(errClosed, n.failure())
	}
}

// Barrier returns when everything that was committed before the call is applied here.
func (n *Node) Barrier(ctx context.Context) error {
	if err := n.barrier(ctx); err != nil {
		return fmt.Errorf("raft: barrier: %w: %w", catalog.ErrUnavailable, err)
	}
	return nil
}

func (n *Node) barrier(ctx context.Context) error {
	f, err := n.begin(func() hraft.Future { return n.raft.Barrier(proposeTimeout) })
	if err != nil {
		return err
	}
	return errors.Join(n.wait(ctx, f), n.failure())
}

// View calls read with the state, which read must not keep or change. What the state's accessors
// return may be kept. Commands wait meanwhile, so read must be short.
func (n *Node) View(read func(*metadata.State)) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	read(n.state)
}

// Freeze returns a copy of the state that later commands do not change, for
// metadata.StoreSnapshot and metadata.CheckChain.
func (n *Node) Freeze() *metadata.State {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.state.Freeze()
}

// Close lets proposals end, stops Raft and closes the files. It may be called twice.
func (n *Node) Close() error {
	var err error
	n.closed.Do(func() {
		n.mu.Lock()
		n.closing = true
		halted := n.halted
		n.mu.Unlock()
		if halted == nil {
			n.inflight.Wait()
		}
		n.cancel()
		if n.raft != nil {
			err = n.raft.Shutdown().Error()
		}
		n.wg.Wait()
		if n.store != nil {
			err = errors.Join(err, n.store.close())
		}
	})
	return err
}

// Status describes the state of this node's Raft.
type Status struct {
	Leads           bool
	Term            uint64
	Last, Committed uint64 // indexes of the log
}

// Status returns the state of this node's Raft.
func (n *Node) Status() Status {
	return Status{Leads: n.raft.State() == hraft.Leader, Term: n.raft.CurrentTerm(), Last: n.raft.LastIndex(), Committed: n.raft.CommitIndex()}
}
