package storage_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicemq/sluice/broker"
	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/metadata/controller"
	"github.com/sluicemq/sluice/metadata/pb"
	"github.com/sluicemq/sluice/node"
	"github.com/sluicemq/sluice/storage"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/fault"
	"github.com/sluicemq/sluice/storage/bucket/mem"
	"github.com/sluicemq/sluice/vfs/crashfs"
)

// seed varies what crashes leave behind and where strides begin. SLUICE_SEED sets it.
func seed(t testing.TB) uint64 {
	s, err := strconv.ParseUint(os.Getenv("SLUICE_SEED"), 10, 64)
	if err != nil {
		s = 1
	}
	t.Logf("SLUICE_SEED=%d", s)
	return s
}

// long reports whether the long tests are asked for.
func long() bool { return os.Getenv("SLUICE_LONG") == "1" }

// inBubble runs a test with virtual time and with nothing outside of memory.
func inBubble(t *testing.T, f func(t *testing.T)) { synctest.Test(t, f) }

// rig is a broker's storage over a disk that forgets, a bucket that fails and a real state machine:
// everything that outlives a process. It runs in a synctest bubble.
type rig struct {
	t       testing.TB
	cfg     storage.Config
	quorum  *quorum
	objects *mem.Bucket   // what the bucket really holds
	bucket  *fault.Bucket // as the broker sees it
	disk    *crashfs.FS
	// holdsSyncs says that the test holds syncs until after a send, so that no sender may wait for
	// one.
	holdsSyncs bool
	process    *process    // nil while the broker is down
	previous   *crashfs.FS // the disk as the last process saw it
	history    *history
	topics     uint8
	// deleteDelay is how long the controller keeps an object that nothing refers to.
	deleteDelay time.Duration
	log         *slog.Logger // for later processes; nil means logger()
	// onCreate, if set, is called before an object goes to the bucket.
	onCreate func(key string)
	// onView, if set, is called after a process has read the quorum's state.
	onView func(*process)
	// onRead, if set, returns the error with which an object is not read, or nil.
	onRead atomic.Pointer[func(key string) error]
	// onSetLeader, if set, may change more of the head whose leader setLeader changes.
	onSetLeader func(*pb.Head)
}

// smallKnobs makes rare paths common.
func smallKnobs() storage.Config {
	return storage.Config{
		WALDir: "/data/wal", WALSegmentBytes: 64 << 10, WALBudgetBytes: 16 << 20,
		HotBytes: 4 << 10, CacheBytes: 1 << 20, FlushInterval: time.Second, FlushBytes: 2 << 10,
		UploadParallel: 2, RetentionInterval: time.Hour, ManifestAt: 4,
	}
}

// newRig starts a broker on an empty disk and ends it with the test.
func newRig(t testing.TB, seed uint64, change ...func(*storage.Config)) *rig {
	r := newClosedRig(t, seed, change...)
	r.mustOpen()
	return r
}

// newClosedRig is newRig before the first start.
func newClosedRig(t testing.TB, seed uint64, change ...func(*storage.Config)) *rig {
	r := &rig{t: t, cfg: smallKnobs(), quorum: newQuorum(t), objects: mem.New(), disk: crashfs.New(seed), history: newHistory(t), deleteDelay: time.Minute}
	for _, c := range change {
		c(&r.cfg)
	}
	r.bucket = fault.New(r.objects, seed)
	// A node's own folder is durable before it starts.
	if err := errors.Join(r.disk.MkdirAll("/data"), r.disk.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	cmd := metadata.NewBootstrap(clusterID, directory)
	cmd.TimeMs = time.Now().UnixMilli()
	if res := r.quorum.apply(cmd); res.Err != nil {
		t.Fatal(res.Err)
	}
	t.Cleanup(r.stop)
	return r
}

const (
	clusterID = "cluster"
	directory = "directory"
	nodeID    = 1
)

// process is one life of a broker. From its death on it changes nothing any more.
type process struct {
	rig     *rig
	disk    *crashfs.FS
	catalog *node.Catalog
	engine  *storage.Engine
	garbage *controller.Garbage
	endWork context.CancelFunc // ends garbage
	work    sync.WaitGroup
	changes node.Changes
	deaf    atomic.Bool // storage is not told what the quorum decides
	killed  atomic.Bool
	fatal   atomic.Pointer[error]

	mu sync.Mutex
	// after is the disk as the process left it when it died in a call to the quorum or bucket.
	after *crashfs.FS
}

func (p *process) dead() bool { return p.killed.Load() || p.disk.Dead() }

// die ends the process at once. It may be called from any call that the process makes.
func (p *process) die() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.after == nil {
		p.killed.Store(true)
		p.after = p.disk.Kill()
	}
}

// left returns the disk after the process's death, with its page cache.
func (p *process) left() *crashfs.FS {
	p.die()
	return p.after
}

// applied tells storage what a command changed, as a node does.
func (p *process) applied(changes []metadata.Change) {
	if !p.deaf.Load() {
		p.changes.Applied(changes)
	}
}

func (p *process) fail(err error) { p.fatal.CompareAndSwap(nil, &err) }

// open starts a process on the disk. It returns storage's error.
func (r *rig) open() error {
	p := &process{rig: r, disk: r.disk}
	q := &session{quorum: r.quorum, process: p}
	p.catalog = node.NewCatalog(q, broker.Node{ID: nodeID, Host: "localhost", Port: 9092}, directory, time.Now)
	var err error
	p.engine, err = storage.Open(r.t.Context(), r.cfg, storage.Deps{
		FS: p.disk, Bucket: &processBucket{inner: r.bucket, process: p}, Catalog: p.catalog,
		Log: cmp.Or(r.log, logger()), Now: time.Now, Fatal: p.fail,
	})
	if err != nil {
		r.disk = p.left()
		return err
	}
	p.changes.Open(func(changes []metadata.Change) { node.Notify(p.engine, p.catalog, changes) })
	p.startGarbage(q)
	r.process = p
	return nil
}

// startGarbage runs the part of the controller that deletes objects, as the node that leads the
// quorum does.
func (p *process) startGarbage(q controller.Quorum) {
	p.garbage = controller.NewGarbage(p.rig.deleteDelay, controller.Deps{
		Quorum: q, Bucket: garbageBucket{&processBucket{inner: p.rig.bucket, process: p}}, Keys: node.DeadKeys,
		Release: p.engine.ReleaseDeleted, Now: time.Now, Log: logger(),
	})
	ctx, cancel := context.WithCancel(context.Background())
	p.endWork = cancel
	p.work.Go(func() { p.garbage.Run(ctx) })
}

// garbageBucket is the part of a bucket that deleting objects needs.
type garbageBucket struct{ *processBucket }

func (garbageBucket) Create(context.Context, string, []byte) (bool, error) {
	panic("BUG: deleting objects creates none")
}

func (garbageBucket) ReadAll(context.Context, string, int64) ([]byte, bool, error) {
	panic("BUG: deleting objects reads none")
}

func (garbageBucket) List(context.Context, string) ([]string, error) {
	panic("BUG: nothing is deleted because a list names it")
}

// close ends everything that the process runs.
func (p *process) close() error {
	p.endWork()
	p.work.Wait()
	return p.engine.Close()
}

// collectGarbage deletes what can be deleted now.
func (r *rig) collectGarbage(ctx context.Context) error { return r.process.garbage.Collect(ctx) }

func (r *rig) mustOpen() {
	r.t.Helper()
	if err := r.open(); err != nil {
		r.t.Fatalf("open: %v", err)
	}
}

func logger() *slog.Logger {
	if os.Getenv("SLUICE_TEST_LOG") == "1" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.DiscardHandler)
}

// end closes a process that is dead or that is to be closed in order, and takes its disk over.
func (r *rig) end(cut bool) {
	p := r.process
	if p == nil {
		return
	}
	r.process, r.previous = nil, p.disk
	r.checkCounts(p)
	disk := p.left()
	if cut {
		disk = disk.Crash()
	}
	r.disk = disk
	_ = p.close() // a dead process ends its goroutines and changes nothing
	r.history.ended()
}

// kill kills the process if it has not died yet. The page cache survives.
func (r *rig) kill() { r.end(false) }

// crash cuts the power.
func (r *rig) crash() { r.end(true) }

// restart kills the process and opens another.
func (r *rig) restart() {
	r.t.Helper()
	r.kill()
	r.mustOpen()
}

// stop closes the process in order, without flushing.
func (r *rig) stop() {
	p := r.process
	if p == nil {
		return
	}
	r.checkCounts(p)
	if err := p.close(); err != nil && !p.dead() && p.fatal.Load() == nil {
		r.t.Errorf("close: %v", err)
	}
	r.process = nil
	r.disk = p.left()
	r.history.ended()
}

// alive reports whether the process runs and has not given up.
func (r *rig) alive() bool {
	return r.process != nil && !r.process.dead() && r.process.fatal.Load() == nil
}

func (r *rig) engine() *storage.Engine { return r.process.engine }

// createTopic makes a topic through the catalog, as a broker does. ok is false if the process died
// meanwhile.
func (r *rig) createTopic(name string, partitions int32, configs map[string]string) (t *catalog.Topic, ok bool) {
	r.topics++
	cmd := metadata.NewCreateTopic(metadata.TopicSpec{
		ID: ident.TopicID{0: r.topics, 6: 0x40, 15: 1}, Name: name, Partitions: partitions, ReplicationFactor: 1, Configs: configs,
	})
	res, err := r.admin(cmd)
	return res.Topic, err == nil
}

// mustCreate makes a topic and returns its partitions.
func (r *rig) mustCreate(name string, partitions int32, configs map[string]string) []ident.TopicPartition {
	r.t.Helper()
	t, ok := r.createTopic(name, partitions, configs)
	if !ok {
		r.t.Fatalf("topic %s was not created", name)
	}
	ids := make([]ident.TopicPartition, partitions)
	for i := range ids {
		ids[i] = ident.TopicPartition{Topic: t.ID, Index: int32(i)}
	}
	return ids
}

var classObject = map[string]string{catalog.ConfigDurability: "object"}

// admin proposes a command as the running process does, again and again while its outcome is
// unknown.
func (r *rig) admin(cmd *pb.Command) (metadata.Result, error) {
	q := &session{quorum: r.quorum, process: r.process}
	cmd.RequestId = []byte(fmt.Sprintf("request %8d", r.quorum.commands()))
	for range 10 {
		res, err := q.Propose(context.Background(), cmd)
		if err == nil {
			return res, res.Err
		}
		if !r.alive() {
			return res, err
		}
	}
	return metadata.Result{}, errors.New("the quorum never answers")
}

func (r *rig) deleteTopic(id ident.TopicID) {
	r.history.deleting(id)
	if _, err := r.admin(metadata.NewDeleteTopic(id)); err != nil && r.alive() {
		r.t.Errorf("delete topic: %v", err)
	}
}

// advance moves a log start as DeleteRecords does.
func (r *rig) advance(tp ident.TopicPartition, start ident.Offset) {
	r.history.advancing(tp, start)
	_, err := r.admin(metadata.NewAdvanceLogStart(r.engine().Incarnation(), tp, start))
	if err != nil && r.alive() {
		r.t.Errorf("advance log start of %s: %v", tp, err)
	}
}

// snapshot tells the quorum that a stored snapshot holds everything that it knows now, so that
// garbage may go.
func (r *rig) snapshot() {
	var next metadata.StoredSnapshot
	r.quorum.view(func(s *metadata.State) {
		next = metadata.StoredSnapshot{Number: s.Stored().Number + 1, Index: s.Index(), CRC: 1}
	})
	_, _ = r.admin(metadata.NewSnapshotStored(next))
}

// flush moves everything to the bucket. It returns false if it could not.
func (r *rig) flush() bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return r.engine().Flush(ctx) == nil
}

func (r *rig) mustFlush() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := r.engine().Flush(ctx); err != nil {
		r.t.Fatalf("flush: %v", err)
	}
}

// head returns what the quorum knows about a partition.
func (r *rig) head(tp ident.TopicPartition) catalog.Head {
	r.t.Helper()
	var h catalog.Head
	var ok bool
	r.quorum.view(func(s *metadata.State) { h, ok = s.Head(tp) })
	if !ok {
		r.t.Fatalf("the quorum has no head for %s", tp)
	}
	return h
}

func (r *rig) tails() (n int) {
	r.quorum.view(func(s *metadata.State) {
		if b, ok := s.Broker(nodeID); ok {
			n = len(b.Tails)
		}
	})
	return n
}

// restore replays the loss of the disk: the state machine goes on as sluice restore makes it of a
// snapshot taken now, on an empty disk.
func (r *rig) restore() {
	r.t.Helper()
	r.kill()
	var commands []*pb.Command
	r.quorum.view(func(s *metadata.State) {
		commands = metadata.PlanRestore(s, metadata.Restorer{Directory: directory, Broker: nodeID}, nil, nil).Commands
	})
	for _, cmd := range commands {
		if res := r.quorum.apply(cmd); res.Err != nil {
			r.t.Fatalf("%s: %v", metadata.CommandName(cmd), res.Err)
		}
	}
	r.disk = crashfs.New(1)
	if err := errors.Join(r.disk.MkdirAll("/data"), r.disk.SyncDir("/")); err != nil {
		r.t.Fatal(err)
	}
}

// callTimeout is how long one call to the bucket may take, as with the clients of real stores.
const callTimeout = 10 * time.Second

// processBucket is the bucket as one process reaches it: not at all once the process is dead.
type processBucket struct {
	inner   bucket.Bucket
	process *process
}

func (b *processBucket) begin(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if b.process.dead() {
		return nil, nil, fmt.Errorf("%w: the process is dead", bucket.ErrUnavailable)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	return ctx, cancel, nil
}

func (b *processBucket) Create(ctx context.Context, key string, body bucket.Body) error {
	ctx, cancel, err := b.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	if f := b.process.rig.onCreate; f != nil {
		f(key)
	}
	return b.inner.Create(ctx, key, body)
}

func (b *processBucket) ReadAt(ctx context.Context, key string, p []byte, pos int64) error {
	ctx, cancel, err := b.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	if f := b.process.rig.onRead.Load(); f != nil {
		if err := (*f)(key); err != nil {
			return err
		}
	}
	return b.inner.ReadAt(ctx, key, p, pos)
}

func (b *processBucket) Stat(ctx context.Context, key string) (bucket.Info, error) {
	ctx, cancel, err := b.begin(ctx)
	if err != nil {
		return bucket.Info{}, err
	}
	defer cancel()
	return b.inner.Stat(ctx, key)
}

func (b *processBucket) List(ctx context.Context, prefix, after string) iter.Seq2[bucket.Info, error] {
	return b.inner.List(ctx, prefix, after)
}

func (b *processBucket) Delete(ctx context.Context, key string) error {
	ctx, cancel, err := b.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	return b.inner.Delete(ctx, key)
}

func (b *processBucket) Close() error { return nil }

// keys lists what the bucket really holds.
func (r *rig) keys() (keys []string) {
	for info, err := range r.objects.List(context.Background(), "", "") {
		if err != nil {
			r.t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}
