package raft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/metadata/pb"
)

const testUUID = "7d0c8f0e-58c2-4f51-9a39-7a3c7d2c1b11"

func testDeps(t testing.TB) Deps {
	return Deps{
		Log:     slog.New(slog.NewTextHandler(io.Discard, nil)),
		OnFatal: func(err error) { t.Errorf("fatal: %v", err) },
	}
}

func openNode(t testing.TB, dir string, deps Deps) *Node {
	t.Helper()
	n, err := Open(t.Context(), Config{Dir: dir, DirUUID: testUUID}, deps)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// do proposes a command that must be accepted.
func do(t testing.TB, n *Node, cmd *pb.Command) metadata.Result {
	t.Helper()
	res, err := n.Propose(t.Context(), cmd)
	if err = errors.Join(err, res.Err); err != nil {
		t.Fatalf("%s: %v", metadata.CommandName(cmd), err)
	}
	return res
}

// begin bootstraps the cluster and opens an incarnation.
func begin(t testing.TB, n *Node) ident.Incarnation {
	t.Helper()
	do(t, n, metadata.NewBootstrap("cluster", testUUID))
	inc := do(t, n, metadata.NewRegisterIncarnation(1, testUUID, 0, 0)).Registration.Incarnation
	do(t, n, metadata.NewOpenIncarnation(inc))
	return inc
}

func topicSpec(i int, partitions int32) metadata.TopicSpec {
	return metadata.TopicSpec{ID: ident.TopicID{1, byte(i >> 8), byte(i)}, Name: fmt.Sprintf("topic-%05d", i), Partitions: partitions, ReplicationFactor: 1}
}

func hash(t testing.TB, n *Node) [32]byte {
	t.Helper()
	h, err := n.Freeze().Hash()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestRestartGivesTheSameState(t *testing.T) {
	dir := t.TempDir()
	n := openNode(t, dir, testDeps(t))
	begin(t, n)
	for i := range 20 {
		do(t, n, metadata.NewCreateTopic(topicSpec(i, 3)))
		if i == 10 || i == 15 {
			if err := n.SnapshotNow(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := hash(t, n)
	for range 2 { // the second start has only replayed and not proposed
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		n = openNode(t, dir, testDeps(t))
		if got := hash(t, n); got != want {
			t.Fatalf("state after restart differs: %x, want %x", got, want)
		}
	}
}

// A start does not wait for a timeout before it leads, since the node is told to stand for
// election.
func TestStartStandsForElectionAtOnce(t *testing.T) {
	var out bytes.Buffer
	deps := testDeps(t)
	deps.Log = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	openNode(t, t.TempDir(), deps).Close()
	if logged := out.String(); !strings.Contains(logged, "election won") || strings.Contains(logged, "heartbeat timeout reached") {
		t.Errorf("the start logs\n%s", logged)
	}
}

// What runs where the quorum is led begins once the node leads, and has ended when WhileLeading
// returns.
func TestWhileLeading(t *testing.T) {
	for _, end := range []string{"caller", "node"} {
		n := openNode(t, t.TempDir(), testDeps(t))
		ctx, cancel := context.WithCancel(t.Context())
		began, ended, returned := make(chan struct{}), false, make(chan struct{})
		go func() {
			defer close(returned)
			n.WhileLeading(ctx, func(term context.Context) {
				close(began)
				<-term.Done()
				ended = true
			})
		}()
		<-began
		if end == "caller" {
			cancel()
		} else if err := n.Close(); err != nil {
			t.Error(err)
		}
		<-returned
		if !ended {
			t.Errorf("ended by the %s: WhileLeading returned before what it ran", end)
		}
		cancel()
	}
}

// A node that stops leading and leads again gives each leadership its own context.
func TestWhileLeadingAgain(t *testing.T) {
	leads := make(chan bool)
	terms := make(chan context.Context)
	ctx, cancel := context.WithCancel(t.Context())
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		whileLeading(ctx, leads, func() bool { return true }, func(term context.Context) {
			terms <- term
			<-term.Done()
		})
	}()
	first := <-terms
	leads <- true // said again of the leadership that goes on
	if first.Err() != nil {
		t.Error("a leadership that goes on was ended")
	}
	leads <- false
	second := <-terms
	if first.Err() == nil || second.Err() != nil {
		t.Errorf("first leadership %v, second %v", first.Err(), second.Err())
	}
	cancel()
	<-returned
}

func TestRestartFallsBackToTheOlderSnapshot(t *testing.T) {
	dir := t.TempDir()
	n := openNode(t, dir, testDeps(t))
	begin(t, n)
	for range 3 {
		fill(t, n, trailingLogsMin+100) // enough for the log to be cut
		if err := n.SnapshotNow(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, n, 10)
	if b, _ := n.store.state(); b.first == 1 {
		t.Fatal("the log was never cut: the test shows nothing")
	}
	want := hash(t, n)
	n.Close()
	newest := snapshotFiles(t, dir)[0]
	flipByte(t, newest, 40)
	n = openNode(t, dir, testDeps(t))
	if got := hash(t, n); got != want {
		t.Fatal("state differs after falling back to the older snapshot")
	}
	n.Close()
	for _, f := range snapshotFiles(t, dir) {
		flipByte(t, f, 41)
	}
	if _, err := Open(t.Context(), Config{Dir: dir, DirUUID: testUUID}, testDeps(t)); err == nil {
		t.Fatal("opened without any readable snapshot")
	}
}

// fill proposes commands from many goroutines, so that they share fsyncs.
func fill(t *testing.T, n *Node, count int) {
	t.Helper()
	const proposers = 50
	var wg sync.WaitGroup
	for range proposers {
		wg.Go(func() {
			for range count/proposers + 1 {
				if _, err := n.Propose(t.Context(), metadata.NewAllocateProducerIds()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// snapshotFiles lists the snapshots' files, newest first.
func snapshotFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "meta", "snapshots", "*", "state.bin"))
	if err != nil || len(files) != snapshotsRetain {
		t.Fatalf("%d snapshots, want %d (%v)", len(files), snapshotsRetain, err)
	}
	slices.SortFunc(files, func(a, b string) int { return modTime(t, b).Compare(modTime(t, a)) })
	return files
}

func modTime(t *testing.T, name string) time.Time {
	t.Helper()
	fi, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return fi.ModTime()
}

func flipByte(t *testing.T, name string, at int64) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 0x40
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOtherDirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	openNode(t, dir, testDeps(t)).Close()
	_, err := Open(t.Context(), Config{Dir: dir, DirUUID: "another"}, testDeps(t))
	if err == nil {
		t.Fatal("a copied meta/ opened under another directory's UUID")
	}
}

func TestOnApplySeesOrderAndState(t *testing.T) {
	dir := t.TempDir()
	deps := testDeps(t)
	var n *Node
	var created []string
	ready := make(chan struct{})
	deps.OnApply = func(index uint64, cmd *pb.Command, res metadata.Result) {
		<-ready
		for _, c := range res.Changes {
			if c.Kind != metadata.TopicCreated {
				continue
			}
			n.View(func(s *metadata.State) {
				if _, ok := s.Topic(c.Topic.ID); !ok || s.Index() < index {
					t.Errorf("change at %d is not in the state", index)
				}
			})
			created = append(created, c.Topic.Name)
		}
	}
	n = openNode(t, dir, deps)
	close(ready)
	begin(t, n)
	for i := range 3 {
		do(t, n, metadata.NewCreateTopic(topicSpec(i, 1)))
	}
	if want := []string{"topic-00000", "topic-00001", "topic-00002"}; !slices.Equal(created, want) {
		t.Fatalf("OnApply saw %v, want %v", created, want)
	}
}

func TestUnknownCommandHalts(t *testing.T) {
	dir := t.TempDir()
	deps := testDeps(t)
	fatal := make(chan error, 1)
	deps.OnFatal = func(err error) { fatal <- err }
	n := openNode(t, dir, deps)
	begin(t, n)
	before := hash(t, n)
	// A command of a newer version, as a node would receive it during a rolling upgrade.
	data, err := metadata.EncodeCommand(metadata.NewExpireObjects())
	if err != nil {
		t.Fatal(err)
	}
	data[4] = 99
	f := n.raft.Apply(data, time.Second)
	if err := f.Error(); err != nil {
		t.Fatal(err)
	}
	<-fatal
	if _, err := n.Propose(t.Context(), metadata.NewAllocateProducerIds()); !errors.Is(err, catalog.ErrUnavailable) {
		t.Fatalf("a halted node answered %v", err)
	}
	if hash(t, n) != before {
		t.Fatal("a halted node went on applying")
	}
	n.Close()
	if _, err := Open(t.Context(), Config{Dir: dir, DirUUID: testUUID}, deps); !errors.Is(err, metadata.ErrCorrupt) && !errors.Is(err, metadata.ErrUnknownCommand) {
		t.Fatalf("started over an unknown command: %v", err)
	}
}

func TestProposeCancelled(t *testing.T) {
	n := openNode(t, t.TempDir(), testDeps(t))
	begin(t, n)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cmd := metadata.NewCreateTopic(topicSpec(1, 1))
	if _, err := n.Propose(ctx, cmd); err != nil && !errors.Is(err, catalog.ErrUnavailable) {
		t.Fatalf("cancelled: %v, want ErrUnavailable", err)
	}
	res := do(t, n, cmd) // the same request again gets the outcome of the first
	if res.Topic == nil || res.Topic.Name != "topic-00001" {
		t.Fatalf("repeated CreateTopic answered %+v", res)
	}
}

func TestTooLargeIsNotSent(t *testing.T) {
	n := openNode(t, t.TempDir(), testDeps(t))
	begin(t, n)
	cmd := metadata.NewConfirmDeleted(make([]ident.ObjectID, metadata.CommandBytesMax))
	if _, err := n.Propose(t.Context(), cmd); !errors.Is(err, metadata.ErrTooLarge) {
		t.Fatalf("got %v, want ErrTooLarge", err)
	}
}

func TestSeed(t *testing.T) {
	n := openNode(t, t.TempDir(), testDeps(t))
	begin(t, n)
	do(t, n, metadata.NewCreateTopic(topicSpec(1, 4)))
	state := n.Freeze()
	want, err := state.Hash()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cfg := Config{Dir: dir, DirUUID: testUUID}
	if err := Seed(cfg, testDeps(t), state); err != nil {
		t.Fatal(err)
	}
	m := openNode(t, dir, testDeps(t))
	if hash(t, m) != want {
		t.Fatal("seeded state differs")
	}
	do(t, m, metadata.NewCreateTopic(topicSpec(2, 4)))
	if err := m.SnapshotNow(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.View(func(s *metadata.State) {
		if s.Index() <= state.Index() {
			t.Errorf("index %d went back below %d", s.Index(), state.Index())
		}
	})
	after := hash(t, m)
	m.Close()
	if m = openNode(t, dir, testDeps(t)); hash(t, m) != after {
		t.Fatal("seeded directory does not restart to the same state")
	}
	if err := Seed(cfg, testDeps(t), state); !errors.Is(err, os.ErrExist) {
		t.Fatalf("seeding a used directory: %v", err)
	}
}
