package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluicemq/sluice/broker"
	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/internal/retry"
	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/metadata/controller"
	"github.com/sluicemq/sluice/metadata/pb"
	"github.com/sluicemq/sluice/metadata/raft"
	"github.com/sluicemq/sluice/storage"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/vfs"
)

// Config says where a node's data is and how the node runs. Open sets Storage.WALDir.
type Config struct {
	Dir     string
	NodeID  int32  // of a new directory; an existing directory with another id is refused
	Rack    string // the broker's rack, as clients see it; "" if there is none
	Storage storage.Config
	Broker  broker.Config

	// DeleteDelay is how long an object stays after the last reference to it is gone
	// (file.delete.delay.ms). The default is 60 s.
	DeleteDelay      time.Duration
	SnapshotInterval time.Duration // the longest time between two links of the snapshot chain
	SnapshotSoon     time.Duration // the time from an administrative change to its link
	BucketWait       time.Duration // how long a first start waits for an unreachable bucket
	// StopTimeout is the time for a stop. At most half of it is for requests in flight, the rest
	// for the last flush and snapshot.
	StopTimeout time.Duration

	// MetricsPartitionsMax is the number of partitions up to which /metrics shows each of them.
	// Above it only sums are shown, unless ?partitions=all is requested. The default is 2,000,
	// which is a page of about 2 MB.
	MetricsPartitionsMax int
	// Version is the program's version, for sluice_build_info.
	Version string
}

// Listener is a socket to which clients connect, with the address that clients are told.
type Listener struct {
	net.Listener
	Name string // for example PLAINTEXT
	// Host and Port are the address that Metadata tells clients of this listener. If they are empty
	// and 0, Metadata tells the address at which the listener listens.
	Host string
	Port int32
}

// Endpoint returns the address that clients are told.
func (l *Listener) Endpoint() broker.Endpoint {
	at := l.Addr().(*net.TCPAddr)
	e := broker.Endpoint{Host: l.Host, Port: l.Port}
	if e.Host == "" {
		e.Host = at.IP.String()
	}
	if e.Port == 0 {
		e.Port = int32(at.Port)
	}
	return e
}

// Deps are the parts that a node works with.
type Deps struct {
	Bucket bucket.Bucket
	// Listeners are where clients connect. There is at least one. The broker closes them.
	Listeners []Listener
	// Admin is the listener for health, metrics and profiles. If it is nil, nothing answers them.
	// Open takes it over and Close closes it.
	Admin net.Listener
	Log   *slog.Logger
}

// Node is one running broker with its metadata.
type Node struct {
	cfg    Config
	deps   Deps
	id     *Identity
	lock   *os.File
	gate   *gate
	raft   *raft.Node
	cat    *Catalog
	engine *storage.Engine
	broker *broker.Broker
	// controller runs while this node leads the quorum.
	controller *controller.Controller
	admin      *admin
	probed     *prometheus.GaugeVec // what the store was seen to do; empty before the probe

	// Ends the broker and returns how it ended; nil before the broker answers.
	stopBroker  func() error
	brokerEnded chan struct{} // closed when the broker has ended

	changes Changes // that the quorum applies
	// configuring is held while broker and storage adopt what is set on running brokers.
	configuring sync.Mutex
	fatal       chan error            // capacity 1: why this process must end
	failed      atomic.Pointer[error] // the same, for /healthz
	// Why clients should not be sent here; empty while they are served.
	phase  atomic.Pointer[string]
	loaded atomic.Bool // /readyz has found everything loaded, and does not check any more
	// When the time of a stop is over; written by Serve and read by Close after it.
	stopBy  time.Time
	ctx     context.Context // of background work
	cancel  context.CancelFunc
	work    sync.WaitGroup
	closing sync.Once
	closed  error
}

// Open starts a node in this order. If the process dies between any two steps, the next start
// continues (E27).
//
//  1. Lock the folder and write its identity, fsynced before anything about the cluster is written
//     to the bucket.
//  2. On a first start: claim the bucket's prefix.
//  3. Open the metadata. On a first start: bootstrap, and then set the identity to "ready".
//  4. Open the broker. It tells clients its id and address; every other request waits for the
//     log.
//  5. Open storage: recover, register, open (storage/recover.go). That does not need the bucket.
//     Then the broker serves.
//  6. Check the bucket in the background, and only then write to it.
func Open(ctx context.Context, cfg Config, deps Deps) (n *Node, err error) {
	n = newNode(ctx, cfg, deps)
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	if deps.Admin != nil {
		n.admin.serve(deps.Admin)
	}
	if err := n.identify(ctx); err != nil {
		return n, err
	}
	if err := n.openMetadata(ctx); err != nil {
		return n, err
	}
	n.joinCatalog()
	if err := n.openBroker(); err != nil {
		return n, err
	}
	if err := n.openStorage(ctx); err != nil {
		return n, err
	}
	n.broker.Open(n.engine)
	n.measureLog()
	n.setPhase("")
	n.work.Go(n.useBucket)
	n.work.Go(func() { n.newFlushWatch().run(n.ctx) })
	n.work.Go(func() { newMemoryWatch().run(n.ctx) })
	return n, nil
}

// openBroker answers clients from now on. Requests that need the log wait until it is open, so that
// no connection is refused.
func (n *Node) openBroker() (err error) {
	n.cfg.Broker.TopicDefaults = n.cfg.Storage.TopicDefaults // what the broker was started with
	if n.cfg.Broker.LogDir, err = filepath.Abs(n.cfg.Dir); err != nil {
		return err
	}
	n.broker, err = broker.New(n.cfg.Broker, broker.Deps{
		Topics: n.cat, Logger: n.deps.Log,
		Quorum:    n.quorumState,
		DiskSpace: func() (totalBytes, usableBytes int64, err error) { return vfs.Space(n.cfg.Dir) },
	})
	if err != nil {
		return err
	}
	n.measure(n.broker.Metrics())
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	n.stopBroker = sync.OnceValue(func() error {
		cancel()
		return <-served
	})
	n.brokerEnded = make(chan struct{})
	var listeners []broker.Listener
	for _, l := range n.deps.Listeners {
		listeners = append(listeners, broker.Listener{Listener: l.Listener, Name: l.Name})
	}
	go func() {
		served <- n.broker.Serve(ctx, listeners...)
		close(n.brokerEnded)
	}()
	return nil
}

func newNode(ctx context.Context, cfg Config, deps Deps) *Node {
	n := &Node{cfg: cfg, deps: deps, fatal: make(chan error, 1), gate: newGate(deps.Bucket)}
	n.ctx, n.cancel = context.WithCancel(context.WithoutCancel(ctx))
	n.admin = newAdmin(deps.Log, n.unhealthy, n.unready)
	n.measureBuild()
	n.probed = newProbedGauge()
	n.measure([]prometheus.Collector{n.probed})
	n.setPhase("starting: the write-ahead log is not recovered yet")
	return n
}

func (n *Node) walDir() string { return filepath.Join(n.cfg.Dir, "wal") }

// identify locks the folder and reads this node's identity. On a first start it decides the
// identity and writes it down, claims the bucket's prefix and opens the gate.
func (n *Node) identify(ctx context.Context) (err error) {
	if err := os.MkdirAll(n.cfg.Dir, 0o755); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if n.lock, err = lockDir(n.cfg.Dir); err != nil {
		return err
	}
	if n.id, err = readIdentity(n.cfg.Dir); err != nil {
		return err
	}
	if n.id == nil {
		n.id = newIdentity("", n.cfg.NodeID)
		if err := n.id.write(n.cfg.Dir); err != nil {
			return fmt.Errorf("write identity: %w", err)
		}
	}
	if n.cfg.NodeID != n.id.NodeID {
		return fmt.Errorf("%s is the directory of node %d, node.id is %d: set node.id=%d, or choose another directory for a new node",
			n.cfg.Dir, n.id.NodeID, n.cfg.NodeID, n.id.NodeID)
	}
	if n.id.State != stateNew {
		return nil
	}
	if err := n.firstClaim(ctx); err != nil {
		return err
	}
	n.gate.open.Store(true)
	n.gate.checked()
	return nil
}

// The pauses of a first start between two questions to a bucket that does not answer. They double.
const (
	firstPause    = 500 * time.Millisecond
	firstPauseMax = 5 * time.Second
)

// firstClaim waits a while for a bucket that does not answer, and asks it less and less often. A
// bucket that refuses ends the start at once.
func (n *Node) firstClaim(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.BucketWait)
	defer cancel()
	for wait := firstPause; ; wait = min(2*wait, firstPauseMax) {
		err := claim(ctx, n.deps.Bucket, n.id)
		if err == nil || errors.Is(err, bucket.ErrDenied) || errors.Is(err, ErrForeignPrefix) {
			return err
		}
		n.deps.Log.Warn("the bucket does not answer; a first start needs it", "err", err)
		if !pause(ctx, wait) {
			return fmt.Errorf("the bucket was not reachable for %v: check the URL and the network: %w", n.cfg.BucketWait, err)
		}
	}
}

// openMetadata opens the quorum. On a first start it creates the cluster, and the directory is
// "ready" from then on.
func (n *Node) openMetadata(ctx context.Context) (err error) {
	n.raft, err = raft.Open(ctx, raft.Config{Dir: n.cfg.Dir, DirUUID: n.id.Directory}, raft.Deps{
		Log: n.deps.Log, OnFatal: n.fail, OnApply: n.applied,
	})
	if err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	n.measure(n.raft.Metrics())
	if n.id.State == stateNew {
		res, err := n.raft.Propose(ctx, metadata.NewBootstrap(n.id.ClusterID, n.id.Directory))
		if err = errors.Join(err, res.Err); err != nil {
			return fmt.Errorf("bootstrap metadata: %w", err)
		}
		n.id.State = stateReady
		if err := n.id.write(n.cfg.Dir); err != nil {
			return fmt.Errorf("write identity: %w", err)
		}
	}
	return n.checkState()
}

// checkState refuses metadata that does not belong to this directory, or is half restored.
func (n *Node) checkState() (err error) {
	n.raft.View(func(s *metadata.State) {
		switch {
		case s.Restoring():
			err = metadata.ErrRestoring
		case s.ClusterID() != n.id.ClusterID:
			err = fmt.Errorf("%s says cluster %s, the metadata in it cluster %q: the folder was put together from two", n.id.path(n.cfg.Dir), n.id.ClusterID, s.ClusterID())
		}
	})
	return err
}

// joinCatalog lets storage and the broker use the quorum, and makes the controller, which useBucket
// runs later.
func (n *Node) joinCatalog() {
	first := n.deps.Listeners[0].Endpoint()
	self := broker.Node{ID: n.id.NodeID, Host: first.Host, Port: first.Port, Endpoints: map[string]broker.Endpoint{}}
	if n.cfg.Rack != "" {
		self.Rack = &n.cfg.Rack
	}
	for _, l := range n.deps.Listeners {
		self.Endpoints[l.Name] = l.Endpoint()
	}
	n.cfg.Broker.NodeID, n.cfg.Broker.StopTimeout = self.ID, n.cfg.StopTimeout/2
	n.cat = NewCatalog(n.raft, self, n.id.Directory, time.Now)
	n.controller = controller.New(controller.Config{
		DeleteDelay: n.cfg.DeleteDelay, SnapshotInterval: n.cfg.SnapshotInterval, SnapshotSoon: n.cfg.SnapshotSoon,
		Directory: n.id.Directory, LinksFile: filepath.Join(n.cfg.Dir, "links.json"),
	}, n.controllerDeps())
	n.measure(n.controller.Garbage.Metrics())
}

func (n *Node) controllerDeps() controller.Deps {
	return controller.Deps{
		Quorum: n.raft, Bucket: objects{n.gate}, Keys: DeadKeys, Fatal: n.fail, Now: time.Now, Log: n.deps.Log,
		Release: func(ctx context.Context, head *catalog.Head) error { return n.engine.ReleaseDeleted(ctx, head) },
	}
}

// openStorage opens the log over what is on the disk.
func (n *Node) openStorage(ctx context.Context) (err error) {
	cfg := n.cfg.Storage
	cfg.WALDir = n.walDir()
	// The first turn of retention must know these.
	cfg.TopicDefaults, cfg.ProducerExpiry = n.reconfigureBroker()
	n.engine, err = storage.Open(ctx, cfg, storage.Deps{
		FS: vfs.OS(), Bucket: n.gate, Catalog: n.cat, Log: n.deps.Log, Now: time.Now, Fatal: n.fail,
	})
	if err != nil {
		return err
	}
	n.changes.Open(n.tell)
	return nil
}

// quorumState tells clients where the metadata's quorum is: this node is its only voter.
func (n *Node) quorumState() broker.QuorumState {
	s := n.raft.Status()
	q := broker.QuorumState{Leader: -1, Epoch: int32(s.Term), HighWatermark: int64(s.Committed) + 1}
	if s.Leads {
		q.Leader = n.id.NodeID
	}
	q.Voters = []broker.QuorumVoter{{Broker: n.id.NodeID, End: int64(s.Last) + 1, CaughtUp: time.Now()}}
	return q
}

// reconfigureBroker makes the broker adopt the configs that are set on running brokers, and returns
// those that storage must adopt.
func (n *Node) reconfigureBroker() (*catalog.TopicDefaults, time.Duration) {
	f := n.broker.Reconfigure()
	return f.TopicDefaults, cmp.Or(f.ProducerExpiry, n.cfg.Storage.ProducerExpiry)
}

// configsChanged lets the broker and storage adopt what is set on running brokers. It may be called
// at any time: the last call is the one that has looked last.
func (n *Node) configsChanged(e *storage.Engine) {
	n.configuring.Lock()
	defer n.configuring.Unlock()
	e.Reconfigure(n.reconfigureBroker())
}

// applied takes what a command changed. The quorum calls it in its own order, after the state shows
// the change.
func (n *Node) applied(_ uint64, _ *pb.Command, res metadata.Result) { n.changes.Applied(res.Changes) }

// tell tells storage, the broker and the controller what has changed.
func (n *Node) tell(changes []metadata.Change) {
	if slices.ContainsFunc(changes, func(c metadata.Change) bool { return c.Kind == metadata.BrokerConfigsSet }) {
		n.configsChanged(n.engine)
		n.controller.Chain.NoteChange()
	}
	if Notify(n.engine, n.cat, changes) {
		n.controller.Chain.NoteChange()
	}
	for _, ch := range changes {
		if ch.Topic != nil && ch.Kind != metadata.HeadChanged && ch.Kind != metadata.LogStartMoved {
			n.broker.TopicChanged(ch.Topic.Name)
		}
	}
}

// Notify passes changes on to storage, and reports whether any of them was administrative.
func Notify(e *storage.Engine, c *Catalog, changes []metadata.Change) (administrative bool) {
	for _, ch := range changes {
		switch ch.Kind {
		case metadata.TopicCreated, metadata.PartitionsAdded, metadata.ConfigsSet:
			e.TopicChanged(ch.Topic)
		case metadata.LeadersChanged:
			e.TopicChanged(ch.Topic)
			continue
		case metadata.TopicDeleted:
			e.TopicDeleted(ch.Topic.ID)
		case metadata.LogStartMoved:
			if h, ok := c.Head(ch.Partition); ok {
				e.LogStartMoved(ch.Partition, h.LogStart, h.CommittedEnd)
			}
			continue
		default:
			continue
		}
		administrative = true
	}
	return administrative
}

// fail remembers why the process must end, and Serve returns that. A directory that does not belong
// to the cluster any more writes nothing to the bucket after that.
func (n *Node) fail(err error) {
	if fatalIdentity(err) {
		n.gate.bar()
	}
	n.failed.CompareAndSwap(nil, &err)
	select {
	case n.fatal <- err:
	default:
	}
}

// unhealthy returns the reason why the process should be restarted, the first error that fail was
// called with (I1: nothing is acknowledged after it).
func (n *Node) unhealthy() []string {
	if err := n.failed.Load(); err != nil {
		return []string{(*err).Error()}
	}
	return nil
}

// unready says why clients should not be sent here. A bucket that is away is no reason if the
// write-ahead log can serve. It is a reason for partitions whose state is only in the bucket.
func (n *Node) unready() (why []string) {
	if phase := *n.phase.Load(); phase != "" {
		return []string{phase}
	}
	if n.loaded.Load() { // groups that are used for the first time load an empty log
		return nil
	}
	if partitions := n.engine.Awaited(); partitions > 0 {
		why = append(why, fmt.Sprintf("loading: partitions whose state is still being read from the bucket, after a restore: %d", partitions))
	}
	if partitions := n.broker.GroupsLoading(); partitions > 0 {
		why = append(why, fmt.Sprintf("loading: partitions of __consumer_offsets whose groups are still being read: %d", partitions))
	}
	n.loaded.Store(len(why) == 0)
	return why
}

func (n *Node) setPhase(why string) { n.phase.Store(&why) }

// useBucket runs in the background for as long as the node does. It opens the gate once it has
// checked that the prefix is still this node's, tries the store out, and then runs the controller
// whenever this node leads the quorum.
func (n *Node) useBucket() {
	if err := n.openGate(n.ctx); err != nil {
		if fatalIdentity(err) {
			n.fail(err)
		}
		return
	}
	if err := n.probeBucket(); err != nil {
		n.fail(err)
		return
	}
	n.controller.Chain.NoteChange()
	n.raft.WhileLeading(n.ctx, n.controller.Run)
}

// openGate opens the gate as soon as the bucket has answered that the prefix still belongs to this
// node. It gives up when ctx ends, or when the prefix belongs to somebody else.
func (n *Node) openGate(ctx context.Context) error {
	for away := false; ; away = true {
		err := check(ctx, n.deps.Bucket, n.raft.Freeze(), n.id.Directory)
		switch {
		case err == nil:
			n.gate.open.Store(true)
			n.gate.checked()
			if away {
				n.deps.Log.Info("the bucket is back")
			}
			return nil
		case fatalIdentity(err) || ctx.Err() != nil:
			n.gate.checked()
			return err
		case !away:
			n.gate.checked()
			n.deps.Log.Warn("the bucket is away; serving from the write-ahead log", "err", err)
		}
		if !pause(ctx, bucketPause) {
			return err
		}
	}
}

// bucketPause is the time between two questions to a bucket that is away.
const bucketPause = time.Second

// Serve answers clients until ctx ends, or until the node fails. It returns the failure.
func (n *Node) Serve(ctx context.Context) error {
	var failed error
	select {
	case failed = <-n.fatal:
	case <-n.brokerEnded: // by an error of its own
	case <-ctx.Done():
	}
	n.stopBy = time.Now().Add(n.cfg.StopTimeout)
	n.setPhase("stopping")
	return errors.Join(failed, n.stopBroker())
}

// Close stops the parts in reverse order. If it is called after Serve has returned without a
// failure, it first moves what it can to the bucket and stores a snapshot, until StopTimeout, and
// logs how much stays in the WAL. It may be called twice.
func (n *Node) Close() error {
	n.closing.Do(func() { n.closed = n.close() })
	return n.closed
}

func (n *Node) close() error {
	n.cancel()
	if n.stopBroker != nil {
		// The broker still answers if the start failed. Otherwise Serve has returned its error.
		_ = n.stopBroker()
	}
	n.work.Wait()
	var errs []error
	if n.engine != nil {
		n.lastFlush()
		n.changes.Close()
	}
	errs = append(errs, n.admin.close()) // before the parts that it shows
	if n.engine != nil {
		errs = append(errs, n.engine.Close())
	}
	if n.raft != nil {
		errs = append(errs, n.raft.Close())
	}
	if n.lock != nil {
		errs = append(errs, n.lock.Close())
	}
	return errors.Join(errs...)
}

// lastFlush moves what is in the WAL to the bucket and stores a snapshot, as far as time allows. A
// bucket that was away so far may have just come back. So it is asked again, since everything
// reaches it only through an open gate.
func (n *Node) lastFlush() {
	ctx, cancel := context.WithDeadline(context.Background(), n.stopDeadline())
	defer cancel()
	err := n.flushAndStore(ctx)
	left := n.engine.Unflushed()
	switch {
	case left > 0:
		n.deps.Log.Warn("stopped with data that is not in the bucket; it stays in the write-ahead log for the next start", "bytes", left, "err", err)
	case err != nil:
		n.deps.Log.Warn("stopped without a last metadata snapshot in the bucket", "err", err)
	default:
		n.deps.Log.Info("stopped with everything in the bucket")
	}
}

// flushAndStore waits long for a bucket that does not answer only if there are records to move, and
// not at all for a bucket that belongs to somebody else.
func (n *Node) flushAndStore(ctx context.Context) error {
	if err := n.gate.barred(); err != nil {
		return err
	}
	if !n.gate.open.Load() {
		ask, cancel := ctx, context.CancelFunc(func() {})
		if n.engine.Unflushed() == 0 {
			ask, cancel = context.WithTimeout(ctx, bucketPause)
		}
		defer cancel()
		if err := n.openGate(ask); err != nil {
			return fmt.Errorf("the bucket has not answered since the start: %w", err)
		}
	}
	return errors.Join(n.engine.Flush(ctx), n.controller.Chain.Store(ctx))
}

// stopDeadline is the deadline that Serve has set. For a node that never served, it counts from
// now.
func (n *Node) stopDeadline() time.Time {
	if n.stopBy.IsZero() {
		return time.Now().Add(n.cfg.StopTimeout)
	}
	return n.stopBy
}

// ClusterID returns the cluster's id.
func (n *Node) ClusterID() string { return n.id.ClusterID }

// pause waits for d. It returns false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool { return retry.Sleep(ctx, d) == nil }
