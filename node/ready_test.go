package node

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/mem"
)

// restoredWithGroup restores a cluster that had two partitions and a group, and returns its
// directory.
func restoredWithGroup(t *testing.T, b bucket.Bucket) string {
	t.Helper()
	r := start(t, t.TempDir(), b)
	r.create("t", 2, nil)
	r.produce("t", 0, "a")
	r.produce("t", 1, "b")
	member, err := kgo.NewClient(kgo.SeedBrokers(r.deps.Listeners[0].Addr().String()), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.DisableAutoCommit())
	if err != nil {
		t.Fatal(err)
	}
	for read := 0; read < 2; {
		read += member.PollFetches(within(t)).NumRecords()
	}
	if err := member.CommitUncommittedOffsets(within(t)); err != nil {
		t.Fatal(err)
	}
	member.Close()
	r.end()
	dir, _ := restore(t, b)
	return dir
}

// isData reports that a key belongs to an object of the log, not of the metadata.
func isData(key string) bool {
	return !strings.HasPrefix(key, "snap/") && !strings.HasPrefix(key, "probe/") && key != "cluster.json"
}

// openRestored opens a node on a restored directory and returns it with the address of its admin
// server.
func openRestored(t *testing.T, dir string, b bucket.Bucket) (*rig, string) {
	t.Helper()
	r := &rig{t: t, dir: dir, bucket: b, logs: newLogs(), served: make(chan error, 1)}
	l := listen(t)
	var err error
	r.Node, err = Open(t.Context(), testConfig(dir), Deps{Bucket: b, Listeners: []Listener{{Listener: listen(t)}}, Admin: l, Log: slog.New(r.logs)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() { r.served <- r.Serve(ctx) }()
	r.connect()
	t.Cleanup(r.end)
	return r, "http://" + l.Addr().String()
}

// TestReadyAfterRestore: as long as the state of partitions is on its way from the bucket, clients
// are not served, and /readyz says so.
func TestReadyAfterRestore(t *testing.T) {
	store := mem.New()
	dir := restoredWithGroup(t, store)
	release := make(chan struct{})
	let := sync.OnceFunc(func() { close(release) })
	defer let()
	slow := &changes{Bucket: store, before: func(op bucket.Op, key string) error {
		if op == bucket.OpReadAt && isData(key) {
			<-release
		}
		return nil
	}}
	r, url := openRestored(t, dir, slow)
	code, _, reasons := state(t, url+"/readyz")
	if said := strings.Join(reasons, "; "); code != 503 || !strings.Contains(said, "after a restore: 3") || !strings.Contains(said, "groups are still being read: 1") {
		t.Errorf("while the bucket is slow: %d %v", code, reasons)
	}
	let()
	r.logs.await(t, "what a restore left in the bucket is loaded")
	for ctx := within(t); code != 200 && ctx.Err() == nil; { // the groups follow
		code, _, reasons = state(t, url+"/readyz")
	}
	if code != 200 {
		t.Errorf("loaded: %d %v", code, reasons)
	}
}

// TestReadyBesideDamage: damage to a partition's state affects only that partition.
func TestReadyBesideDamage(t *testing.T) {
	store := mem.New()
	dir := restoredWithGroup(t, store)
	gone := &changes{Bucket: store, before: func(op bucket.Op, key string) error {
		if op == bucket.OpReadAt && isData(key) {
			return bucket.ErrNotFound
		}
		return nil
	}}
	r, url := openRestored(t, dir, gone)
	r.logs.await(t, "what a restore left in the bucket is loaded")
	if _, _, reasons := state(t, url+"/readyz"); strings.Contains(strings.Join(reasons, ";"), "after a restore") {
		t.Errorf("waits for damaged state: %v", reasons)
	}
}
