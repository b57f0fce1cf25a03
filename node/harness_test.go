package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluicemq/sluice/broker"
	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/metadata/controller"
	"github.com/sluicemq/sluice/storage"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/open"
)

// patience bounds every wait of these tests. Nothing takes nearly that long.
const patience = 20 * time.Second

// rig is one node in this process, with real Raft and write-ahead log in a folder, and a client
// over TCP.
type rig struct {
	*Node
	t      testing.TB
	dir    string
	bucket bucket.Bucket
	logs   *logs
	client *kgo.Client
	stop   context.CancelFunc // what SIGTERM does
	served chan error         // Serve's answer
	over   bool
}

// testConfig does nothing by itself: flushes, snapshots and deletions happen when a test asks for
// them.
func testConfig(dir string) Config {
	return Config{
		Dir: dir, NodeID: 1,
		Storage: storage.Config{
			WALSegmentBytes: 1 << 20, WALBudgetBytes: 64 << 20, FlushInterval: time.Hour, RetentionInterval: time.Hour,
			HotBytes: 4 << 10, ManifestAt: 4, FlushBytes: 4 << 10,
		},
		DeleteDelay: time.Hour, SnapshotInterval: time.Hour, SnapshotSoon: time.Hour, BucketWait: patience, StopTimeout: patience,
	}
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// openRig opens a node without serving.
func openRig(t testing.TB, dir string, b bucket.Bucket, change ...func(*Config)) (*rig, error) {
	t.Helper()
	cfg := testConfig(dir)
	for _, c := range change {
		c(&cfg)
	}
	r := &rig{t: t, dir: dir, bucket: b, logs: newLogs(), served: make(chan error, 1)}
	var err error
	r.Node, err = Open(t.Context(), cfg, Deps{Bucket: b, Listeners: []Listener{{Listener: listen(t)}}, Log: slog.New(r.logs)})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of %s:\n%s", filepath.Base(dir), r.logs)
		}
	})
	if err != nil {
		r.over = true
		return r, err
	}
	t.Cleanup(r.kill)
	return r, nil
}

// start opens a node, serves, and waits until the bucket is checked.
func start(t testing.TB, dir string, b bucket.Bucket, change ...func(*Config)) *rig {
	t.Helper()
	r := serve(t, dir, b, change...)
	r.logs.await(t, "bucket probed")
	return r
}

// serve opens a node and serves, whatever the bucket does.
func serve(t testing.TB, dir string, b bucket.Bucket, change ...func(*Config)) *rig {
	t.Helper()
	r, err := openRig(t, dir, b, change...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() { r.served <- r.Serve(ctx) }()
	r.connect()
	return r
}

// connect makes the client that produces.
func (r *rig) connect() {
	r.t.Helper()
	var err error
	r.client, err = kgo.NewClient(kgo.SeedBrokers(r.deps.Listeners[0].Addr().String()), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.FetchMaxWait(100*time.Millisecond), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(r.client.Close)
}

// within bounds a test's own waiting.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// end stops the node as SIGTERM does, and requires it to end well.
func (r *rig) end() {
	r.t.Helper()
	r.stop()
	if err := r.servedWith(); err != nil {
		r.t.Fatalf("Serve: %v", err)
	}
	r.over = true
	if err := r.Close(); err != nil {
		r.t.Fatalf("Close: %v", err)
	}
}

// servedWith waits for Serve's answer.
func (r *rig) servedWith() error {
	r.t.Helper()
	select {
	case err := <-r.served:
		return err
	case <-time.After(patience):
		r.t.Fatal("Serve does not end")
		return nil
	}
}

// kill ends the node in the way in which the death of its process looks to everybody else: no
// flush, no snapshot, no word to clients.
func (r *rig) kill() {
	if r.over {
		return
	}
	r.over = true
	if r.stop != nil {
		r.client.Close()
		r.stop()
		<-r.served
	}
	r.closing.Do(func() {
		r.cancel()
		r.work.Wait()
		r.changes.Close()
		r.closed = errors.Join(r.engine.Close(), r.raft.Close(), r.lock.Close())
	})
	if r.closed != nil {
		r.t.Errorf("kill: %v", r.closed)
	}
}

// image copies the directory while the node runs: it is what a disk would show if the process were
// killed now. Nothing may be going on meanwhile.
func (r *rig) image() string {
	r.t.Helper()
	to := filepath.Join(r.t.TempDir(), "image")
	if err := os.CopyFS(to, os.DirFS(r.dir)); err != nil {
		r.t.Fatal(err)
	}
	return to
}

func (r *rig) create(name string, partitions int32, configs map[string]string) *catalog.Topic {
	r.t.Helper()
	topic, err := r.cat.CreateTopic(within(r.t), broker.TopicSpec{Name: name, Partitions: partitions, ReplicationFactor: 1, Configs: configs})
	if err != nil {
		r.t.Fatal(err)
	}
	return topic
}

// produce sends values to one partition and returns the offset of the first.
func (r *rig) produce(topic string, partition int32, values ...string) int64 {
	r.t.Helper()
	records := make([]*kgo.Record, len(values))
	for i, v := range values {
		records[i] = &kgo.Record{Topic: topic, Partition: partition, Value: []byte(v)}
	}
	results := r.client.ProduceSync(within(r.t), records...)
	if err := results.FirstErr(); err != nil {
		r.t.Fatalf("produce to %s-%d: %v", topic, partition, err)
	}
	return results[0].Record.Offset
}

// consume reads [from, to) of one partition with a client of its own.
func (r *rig) consume(topic string, partition int32, from, to ident.Offset) []*kgo.Record {
	r.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(r.deps.Listeners[0].Addr().String()), kgo.FetchMaxWait(100*time.Millisecond), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(int64(from))}}))
	if err != nil {
		r.t.Fatal(err)
	}
	defer client.Close()
	ctx := within(r.t)
	var got []*kgo.Record
	for next := from; next < to; next = from + ident.Offset(len(got)) {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			r.t.Fatalf("consume %s-%d from %d: %v", topic, partition, next, err)
		}
		fetches.EachRecord(func(rec *kgo.Record) {
			if rec.Offset != int64(from)+int64(len(got)) {
				r.t.Fatalf("%s-%d shows offset %d where %d is due", topic, partition, rec.Offset, int64(from)+int64(len(got)))
			}
			got = append(got, rec)
		})
	}
	return got
}

func (r *rig) flush() {
	r.t.Helper()
	if err := r.engine.Flush(within(r.t)); err != nil {
		r.t.Fatalf("flush: %v", err)
	}
}

// collect deletes objects to which nothing refers, without a delay.
func (r *rig) collect() error {
	return controller.NewGarbage(0, r.controllerDeps()).Collect(within(r.t))
}

func (r *rig) snapshot() {
	r.t.Helper()
	if err := r.controller.Chain.Store(within(r.t)); err != nil {
		r.t.Fatalf("snapshot: %v", err)
	}
}

func (r *rig) head(topic string, partition int32) catalog.Head {
	r.t.Helper()
	t, ok := r.cat.TopicByName(topic)
	if !ok {
		r.t.Fatalf("no topic %s", topic)
	}
	h, ok := r.cat.Head(ident.TopicPartition{Topic: t.ID, Index: partition})
	if !ok {
		r.t.Fatalf("no head of %s-%d", topic, partition)
	}
	return h
}

// restore restores into a new directory.
func restore(t testing.TB, b bucket.Bucket) (string, Report) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "restored")
	report, err := tryRestore(t, dir, b)
	if err != nil {
		t.Fatal(err)
	}
	return dir, report
}

func tryRestore(t testing.TB, dir string, b bucket.Bucket) (Report, error) {
	t.Helper()
	return restoreWith(t, RestoreConfig{Dir: dir, NodeID: 1}, b)
}

func restoreWith(t testing.TB, cfg RestoreConfig, b bucket.Bucket) (Report, error) {
	t.Helper()
	var out bytes.Buffer
	l := newLogs()
	report, err := Restore(within(t), cfg, RestoreDeps{Bucket: b, Log: slog.New(l), Out: &out})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("restore into %s: %v\n%s%s", filepath.Base(cfg.Dir), err, &out, l)
		}
	})
	return report, err
}

// fileBucket is a bucket in a folder of its own, opened as the command does.
func fileBucket(t testing.TB) bucket.Bucket {
	t.Helper()
	b, err := open.Open(t.Context(), "file://"+t.TempDir(), open.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// keys lists what a bucket holds.
func keys(t testing.TB, b bucket.Bucket) (all []string) {
	t.Helper()
	for info, err := range b.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, info.Key)
	}
	return all
}

func newestLink(t testing.TB, b bucket.Bucket) *metadata.Link {
	t.Helper()
	l, found, err := metadata.ReadNewest(t.Context(), objects{b})
	if err != nil || !found {
		t.Fatalf("newest link: found %t, %v", found, err)
	}
	return l
}

// changes is a bucket that notes what is created and deleted in it. It passes each call to a hook
// first.
type changes struct {
	bucket.Bucket
	// before sees every call before it is made, and its error is the call's answer. after sees the
	// calls that were made.
	before, after func(op bucket.Op, key string) error

	mu   sync.Mutex
	list []string // "create KEY", "delete KEY", in the order in which they came
}

func (c *changes) call(op bucket.Op, key string, do func() error) error {
	if c.before != nil {
		if err := c.before(op, key); err != nil {
			return err
		}
	}
	if op == bucket.OpCreate || op == bucket.OpDelete {
		c.mu.Lock()
		c.list = append(c.list, op.String()+" "+key)
		c.mu.Unlock()
	}
	if err := do(); err != nil || c.after == nil {
		return err
	}
	return c.after(op, key)
}

func (c *changes) Create(ctx context.Context, key string, body bucket.Body) error {
	return c.call(bucket.OpCreate, key, func() error { return c.Bucket.Create(ctx, key, body) })
}

func (c *changes) Delete(ctx context.Context, key string) error {
	return c.call(bucket.OpDelete, key, func() error { return c.Bucket.Delete(ctx, key) })
}

func (c *changes) ReadAt(ctx context.Context, key string, p []byte, pos int64) error {
	return c.call(bucket.OpReadAt, key, func() error { return c.Bucket.ReadAt(ctx, key, p, pos) })
}

func (c *changes) List(ctx context.Context, prefix, after string) iter.Seq2[bucket.Info, error] {
	if err := c.call(bucket.OpList, prefix, func() error { return nil }); err != nil {
		return func(yield func(bucket.Info, error) bool) { yield(bucket.Info{}, err) }
	}
	return c.Bucket.List(ctx, prefix, after)
}

// made lists the changes so far that were not a probe's.
func (c *changes) made() (made []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, change := range c.list {
		if !strings.Contains(change, " probe/") {
			made = append(made, change)
		}
	}
	return made
}

// logs keeps what a node logs and lets a test wait for a message.
type logs struct {
	mu    sync.Mutex
	lines []string
	seen  map[string]chan struct{} // closed when the message has been logged
}

func newLogs() *logs { return &logs{seen: make(map[string]chan struct{})} }

func (l *logs) signal(message string) chan struct{} {
	if l.seen[message] == nil {
		l.seen[message] = make(chan struct{})
	}
	return l.seen[message]
}

func (l *logs) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool { line += fmt.Sprintf(" %s=%v", a.Key, a.Value); return true })
	l.lines = append(l.lines, line)
	select {
	case <-l.signal(r.Message):
	default:
		close(l.signal(r.Message))
	}
	return nil
}

func (l *logs) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }
func (l *logs) WithAttrs([]slog.Attr) slog.Handler               { return l }
func (l *logs) WithGroup(string) slog.Handler                    { return l }

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

// await waits until a message was logged.
func (l *logs) await(t testing.TB, message string) {
	t.Helper()
	l.mu.Lock()
	c := l.signal(message)
	l.mu.Unlock()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("not logged: %s", message)
	}
}

// rmdir removes a directory, as if the disk were lost.
func rmdir(t testing.TB, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("%s is still there: %v", dir, err)
	}
}

func values(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%s-%d", prefix, i)
	}
	return all
}
