package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/metadata/controller"
	"github.com/sluicemq/sluice/storage"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/mem"
	"github.com/sluicemq/sluice/storage/object"
)

// E22: a directory that was thought lost comes back after the restore. It stops by itself, and has
// neither written nor deleted anything in the bucket, although it has something to flush and
// something to delete.
func TestE22_RevivedDirectoryStopsAtItsStart(t *testing.T) {
	b := &changes{Bucket: mem.New()}
	r := start(t, filepath.Join(t.TempDir(), "first"), b)
	r.create("t", 1, nil)
	r.produce("t", 0, values("a", 10)...)
	r.flush()
	r.dropAll("t")
	r.snapshot()
	r.produce("t", 0, values("b", 10)...) // never flushed
	old := r.image()
	r.kill()

	dir, _ := restore(t, b)
	before := len(b.made())
	revived := serve(t, old, b, func(c *Config) { c.Storage.FlushInterval, c.DeleteDelay = time.Millisecond, time.Millisecond })
	if err := revived.servedWith(); !errors.Is(err, metadata.ErrForeignLink) {
		t.Errorf("the revived directory ended with %v, want %v", err, metadata.ErrForeignLink)
	}
	revived.over = true
	if err := revived.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if made := b.made()[before:]; len(made) > 0 {
		t.Errorf("the revived directory has changed the bucket: %q", made)
	}
	start(t, dir, b).end()
}

// TestE22_PrunedChain: a process leaves a few of its own links, and links that existed before it
// stay. A directory that is given up after that still meets the link from which the restore
// continued, however many links the restored cluster has pruned.
func TestE22_PrunedChain(t *testing.T) {
	b := &changes{Bucket: mem.New()}
	r := start(t, filepath.Join(t.TempDir(), "first"), b)
	for i := range 3 * controller.LinksKept {
		r.create(fmt.Sprintf("t%d", i), 1, nil)
		r.snapshot()
	}
	if links := r.links(); len(links) != controller.LinksKept {
		t.Errorf("%d links are left, want %d: %v", len(links), controller.LinksKept, links)
	}
	old := r.image()
	r.kill()

	dir, _ := restore(t, b)
	restored := start(t, dir, b)
	for i := range 3 * controller.LinksKept {
		restored.create(fmt.Sprintf("u%d", i), 1, nil)
		restored.snapshot()
	}
	if links := restored.links(); len(links) != 2*controller.LinksKept+1 {
		t.Errorf("%d links are left, want those before restore, its own and %d: %v", len(links), controller.LinksKept, links)
	}
	before := len(b.made())
	revived := serve(t, old, b)
	if err := revived.servedWith(); !errors.Is(err, metadata.ErrForeignLink) {
		t.Errorf("the revived directory ended with %v, want %v", err, metadata.ErrForeignLink)
	}
	revived.over = true
	if err := revived.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if made := b.made()[before:]; len(made) > 0 {
		t.Errorf("the revived directory has changed the bucket: %q", made)
	}
	restored.kill()
	again, _ := restore(t, b)
	r = start(t, again, b)
	for _, name := range []string{"t0", "u0"} {
		if _, ok := r.cat.TopicByName(name); !ok {
			t.Errorf("topic %s is not back", name)
		}
	}
	r.end()
}

// TestE22_LeftoverLinks: a list of links that belongs to another life of the directory is ignored.
func TestE22_LeftoverLinks(t *testing.T) {
	for _, left := range []string{`[1,2,3,4,5,6,7,8]`, `{"directory_uuid":"another","links":[1,2,3,4,5,6,7,8]}`} {
		b := &changes{Bucket: mem.New()}
		dir := filepath.Join(t.TempDir(), "first")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "links.json"), []byte(left), 0o644); err != nil {
			t.Fatal(err)
		}
		r := start(t, dir, b)
		r.create("t", 1, nil)
		r.snapshot()
		if links := r.links(); len(links) == 0 {
			t.Error("the only snapshot was deleted")
		}
		r.kill()
		start(t, dir, b).end()
	}
}

// TestE22_PrunedAcrossStarts: the chain does not grow with each start, and a damaged list of links
// does not stop a start.
func TestE22_PrunedAcrossStarts(t *testing.T) {
	b := &changes{Bucket: mem.New()}
	dir := filepath.Join(t.TempDir(), "first")
	for life := range 4 {
		r := start(t, dir, b)
		for i := range controller.LinksKept {
			r.create(fmt.Sprintf("t%d-%d", life, i), 1, nil)
			r.snapshot()
		}
		if links := r.links(); len(links) != controller.LinksKept {
			t.Errorf("in life %d, %d links are left, want %d: %v", life, len(links), controller.LinksKept, links)
		}
		r.kill()
	}
	if err := os.WriteFile(filepath.Join(dir, "links.json"), []byte("[1,"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := start(t, dir, b)
	for i := range 2 * controller.LinksKept {
		r.create(fmt.Sprintf("u%d", i), 1, nil)
		r.snapshot()
	}
	if links := r.links(); len(links) != 2*controller.LinksKept {
		t.Errorf("%d links are left, want those that nobody knows of and %d: %v", len(links), controller.LinksKept, links)
	}
	r.end()
}

// links returns the keys of the snapshot chain.
func (r *rig) links() []string {
	r.t.Helper()
	var keys []string
	for info, err := range r.deps.Bucket.List(within(r.t), metadata.LinkPrefix, "") {
		if err != nil {
			r.t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

// dropAll moves the log start over everything that is committed, so that its objects become
// garbage.
func (r *rig) dropAll(topic string) {
	r.t.Helper()
	h := r.head(topic, 0)
	if err := r.cat.AdvanceLogStart(within(r.t), r.engine.Incarnation(), h.Partition, h.CommittedEnd); err != nil {
		r.t.Fatal(err)
	}
}

// E22: a broker that was thought lost has gone on during the restore. It stops at its next
// snapshot, and what it still flushed does not disturb the restored cluster.
func TestE22_RunningBrokerStopsAtItsNextSnapshot(t *testing.T) {
	b := mem.New()
	old := start(t, filepath.Join(t.TempDir(), "first"), b)
	old.create("t", 1, nil)
	old.produce("t", 0, values("a", 10)...)
	old.flush()
	old.snapshot()

	dir, report := restore(t, b)
	r := start(t, dir, b)
	old.produce("t", 0, values("old", 5)...)
	old.flush()
	if at := r.produce("t", 0, "new"); at != 10 {
		t.Errorf("the restored cluster gave offset %d, want 10", at)
	}
	r.flush()
	if err := old.controller.Chain.Store(within(t)); !errors.Is(err, metadata.ErrForeignLink) {
		t.Fatalf("the old broker's next snapshot: %v, want %v", err, metadata.ErrForeignLink)
	}
	if err := old.servedWith(); !errors.Is(err, metadata.ErrForeignLink) {
		t.Errorf("the old broker ended with %v", err)
	}
	old.over = true
	if err := old.Close(); err != nil {
		t.Error(err)
	}
	if got := r.consume("t", 0, 10, 11); string(got[0].Value) != "new" {
		t.Errorf("offset 10 is %q", got[0].Value)
	}
	r.snapshot()
	l := newestLink(t, b)
	if l.Generation != report.Generation || l.Directory != report.Directory {
		t.Errorf("newest link is %d of generation %d by %s, want the restored cluster's", l.Number, l.Generation, l.Directory)
	}
	// After another restore, nothing comes back that the old broker wrote after the first one.
	r.kill()
	again, second := restore(t, b)
	if second.Generation != 2 || second.Offsets != 0 {
		t.Errorf("second restore: %+v", second)
	}
	r = start(t, again, b)
	if got := r.consume("t", 0, 10, 11); string(got[0].Value) != "new" {
		t.Errorf("offset 10 is %q after the second restore", got[0].Value)
	}
}

// E22: the old broker continues the chain while the restore runs. The restore refuses, and the old
// cluster goes on.
func TestE22_RestoreRefusesWhereTheChainGoesOn(t *testing.T) {
	inner := mem.New()
	old := start(t, filepath.Join(t.TempDir(), "first"), inner)
	old.create("t", 1, nil)
	old.produce("t", 0, values("a", 10)...)
	old.snapshot()
	once := false
	b := &changes{Bucket: inner, before: func(op bucket.Op, key string) error {
		if op == bucket.OpCreate && strings.HasPrefix(key, metadata.LinkPrefix) && !once {
			once = true
			old.create("u", 1, nil)
			old.snapshot()
		}
		return nil
	}}
	dir := filepath.Join(t.TempDir(), "restored")
	if _, err := tryRestore(t, dir, b); !errors.Is(err, ErrNotAlone) {
		t.Fatalf("restore beside a broker that lives: %v, want %v", err, ErrNotAlone)
	}
	if _, err := openRig(t, dir, inner); !errors.Is(err, ErrUnfinishedRestore) {
		t.Errorf("what the refused restore left: %v, want %v", err, ErrUnfinishedRestore)
	}
	old.produce("t", 0, "b")
	old.end()
}

// E22: two restores at the same time begin from one link, in one new generation. One of them wins.
func TestE22_OfTwoRestoresOneWins(t *testing.T) {
	inner := mem.New()
	r := start(t, filepath.Join(t.TempDir(), "first"), inner)
	r.create("t", 1, nil)
	r.produce("t", 0, values("a", 10)...)
	r.end()
	var winner string
	b := &changes{Bucket: inner, before: func(op bucket.Op, key string) error {
		if op == bucket.OpCreate && winner == "" {
			winner, _ = restore(t, inner)
		}
		return nil
	}}
	loser := filepath.Join(t.TempDir(), "loser")
	if _, err := tryRestore(t, loser, b); !errors.Is(err, ErrNotAlone) {
		t.Errorf("the second restore: %v, want %v", err, ErrNotAlone)
	}
	if _, err := openRig(t, loser, inner); !errors.Is(err, ErrUnfinishedRestore) {
		t.Errorf("what the second restore left: %v", err)
	}
	start(t, winner, inner).consume("t", 0, 0, 10)
}

// E22: an object that was listed is gone when it is to be read. Somebody deletes, so somebody is
// alive, and the restore refuses.
func TestE22_RestoreRefusesWhereObjectsGo(t *testing.T) {
	inner := mem.New()
	r := start(t, filepath.Join(t.TempDir(), "first"), inner)
	r.create("t", 1, nil)
	r.produce("t", 0, values("a", 10)...)
	r.flush()
	r.kill()
	bundle := newestKey(t, inner)
	b := &changes{Bucket: inner, before: func(op bucket.Op, key string) error {
		if op == bucket.OpReadAt && key == bundle {
			return inner.Delete(t.Context(), key)
		}
		return nil
	}}
	if _, err := tryRestore(t, filepath.Join(t.TempDir(), "restored"), b); !errors.Is(err, ErrNotAlone) {
		t.Errorf("restore while objects go: %v, want %v", err, ErrNotAlone)
	}
	if made := b.made(); len(made) > 0 {
		t.Errorf("a refused restore has changed the bucket: %q", made)
	}
}

// E22: garbage is deleted only after a stored snapshot says that it is garbage.
func TestE22_NothingIsDeletedBeforeASnapshot(t *testing.T) {
	b := &changes{Bucket: mem.New()}
	r := start(t, t.TempDir(), b)
	r.create("t", 1, nil)
	r.produce("t", 0, values("a", 10)...)
	r.flush()
	r.snapshot()
	r.produce("t", 0, "new base") // the head still refers to the state in the first bundle
	r.dropAll("t")
	if err := r.cat.DeleteTopic(within(t), r.head("t", 0).Partition.Topic); err != nil {
		t.Fatal(err)
	}
	collect := func() {
		if err := r.collect(); err != nil {
			t.Fatal(err)
		}
	}
	deletes := func() (n int) {
		for _, change := range b.made() {
			if strings.HasPrefix(change, "delete ") {
				n++
			}
		}
		return n
	}
	collect()
	if n := deletes(); n > 0 {
		t.Errorf("%d deletes before a snapshot knows of the garbage: %q", n, b.made())
	}
	r.snapshot()
	collect()
	if deletes() == 0 {
		t.Error("garbage stays after a snapshot")
	}
}

// TestGate: until the bucket's owner and chain are checked, nothing is put into the bucket or
// deleted from it, and clients are served all the while. Once the check has passed, all of that
// happens (E22).
func TestGate_NothingIsWrittenBeforeTheCheck(t *testing.T) {
	inner, dir := mem.New(), t.TempDir()
	r := start(t, dir, inner)
	r.create("t", 1, nil)
	r.create("gone", 1, nil)
	r.produce("gone", 0, "x")
	r.flush()
	if err := r.cat.DeleteTopic(within(t), r.head("gone", 0).Partition.Topic); err != nil {
		t.Fatal(err)
	}
	r.snapshot() // from here on the bundle of the deleted topic may be deleted
	r.produce("t", 0, values("a", 10)...)
	r.kill()

	release := make(chan struct{})
	b := &changes{Bucket: inner, before: func(op bucket.Op, key string) error {
		if op == bucket.OpList && key == metadata.LinkPrefix {
			<-release
		}
		return nil
	}}
	r = serve(t, dir, b, func(c *Config) { c.Storage.FlushInterval, c.DeleteDelay = time.Millisecond, time.Millisecond })
	r.produce("t", 0, values("b", 10)...)
	r.consume("t", 0, 0, 20)
	waiting := make(chan error, 1)
	go func() { waiting <- r.gate.ReadAt(within(t), metadata.ClusterKey, make([]byte, 1), 0) }()
	// Both would get through by now if the gate were open. They fail because it is shut.
	ctx, cancel := context.WithTimeout(within(t), 50*time.Millisecond)
	defer cancel()
	if err := r.engine.Flush(ctx); err == nil {
		t.Error("flush before the check went through")
	}
	if err := r.collect(); !errors.Is(err, bucket.ErrUnavailable) {
		t.Errorf("deletion before the check: %v", err)
	}
	for what, err := range asked(t, r.gate) {
		if !errors.Is(err, bucket.ErrUnavailable) {
			t.Errorf("%s before the check: %v", what, err)
		}
	}
	if made := b.made(); len(made) > 0 {
		t.Errorf("the bucket was changed before the check: %q", made)
	}
	close(release)
	if err := <-waiting; err != nil {
		t.Errorf("a read that waited for the check: %v", err)
	}
	r.logs.await(t, "bucket probed")
	r.flush()
	if err := r.collect(); err != nil {
		t.Error(err)
	}
	made := b.made()
	for _, what := range []string{"create ", "delete "} {
		if !slices.ContainsFunc(made, func(c string) bool { return strings.HasPrefix(c, what) }) {
			t.Errorf("no %safter the check: %q", what, made)
		}
	}
}

// asked returns what a bucket answers to each kind of read.
func asked(t *testing.T, b bucket.Bucket) map[string]error {
	ctx, cancel := context.WithTimeout(within(t), 50*time.Millisecond) // reads wait for the check
	defer cancel()
	got := map[string]error{"read": b.ReadAt(ctx, metadata.ClusterKey, make([]byte, 1), 0), "list": nil}
	_, got["stat"] = b.Stat(ctx, metadata.ClusterKey)
	for _, err := range b.List(ctx, "", "") {
		got["list"] = err
	}
	return got
}

// The bucket of another cluster stops a start. What should have been written to it stays in the
// write-ahead log.
func TestForeignBucketStopsTheNode(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, mem.New())
	r.create("t", 1, nil)
	r.produce("t", 0, "x")
	r.kill()
	other := &changes{Bucket: mem.New()}
	start(t, t.TempDir(), other).end()
	before := len(other.made())
	r = serve(t, dir, other)
	for what, err := range asked(t, r.gate) {
		if !errors.Is(err, bucket.ErrUnavailable) {
			t.Errorf("%s of another cluster's bucket: %v", what, err)
		}
	}
	if err := r.servedWith(); !errors.Is(err, metadata.ErrWrongCluster) {
		t.Errorf("on another cluster's bucket: %v, want %v", err, metadata.ErrWrongCluster)
	}
	r.over = true
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if n := len(other.made()) - before; n > 0 {
		t.Errorf("%d changes in another cluster's bucket", n)
	}
}

// E22: a restore that dies at any of its calls to the bucket leaves a directory that is never
// served, and a bucket from which the next restore brings everything back.
func TestE22_RestoreInterruptedAnywhere(t *testing.T) {
	inner := mem.New()
	r := start(t, filepath.Join(t.TempDir(), "first"), inner)
	r.create("t", 1, nil)
	r.produce("t", 0, values("a", 10)...)
	r.flush()
	r.snapshot()
	r.produce("t", 0, values("b", 10)...)
	r.flush()
	r.kill()
	generation := ident.Generation(0)
	for n := 1; ; n++ {
		died := false
		for _, done := range []bool{false, true} { // the last call was carried out, or was not
			calls := 0
			hook := func(op bucket.Op, _ string) error {
				if calls++; calls == n {
					died = true
					return errKilled
				}
				return nil
			}
			b := &changes{Bucket: inner}
			if done {
				b.after = hook
			} else {
				b.before = hook
			}
			dir := filepath.Join(t.TempDir(), "dead")
			report, err := tryRestore(t, dir, b)
			if !died {
				if err != nil {
					t.Fatal(err)
				}
				generation = report.Generation
				continue
			}
			if err == nil {
				t.Fatalf("call %d failed and the restore did not", n)
			}
			if _, err := openRig(t, dir, inner); !errors.Is(err, ErrUnfinishedRestore) && !errors.Is(err, ErrForeignPrefix) {
				t.Errorf("died at call %d: the directory starts with %v", n, err)
			}
		}
		if !died {
			break
		}
	}
	dir, report := restore(t, inner)
	if report.Generation <= generation {
		t.Errorf("generation %d after %d", report.Generation, generation)
	}
	r = start(t, dir, inner)
	for i, rec := range r.consume("t", 0, 0, 20) {
		if want := append(values("a", 10), values("b", 10)...)[i]; string(rec.Value) != want {
			t.Errorf("offset %d is %q, want %q", i, rec.Value, want)
		}
	}
}

// errKilled is the answer to a call of a dead process, which never sees it. The call is not tried
// again.
var errKilled = errors.Join(errors.New("the process is dead"), bucket.ErrDenied)

// E26: a damaged bundle and objects that belong to nobody are reported and left where they are, and
// everything that does not need them comes back. Since sound records lie behind the damage, the
// loss must be accepted.
func TestE26_DamagedAndForeignObjects(t *testing.T) {
	b := mem.New()
	r := start(t, filepath.Join(t.TempDir(), "first"), b)
	r.create("t", 2, nil)
	r.snapshot()
	r.produce("t", 0, values("a", 5)...)
	r.flush()
	r.produce("t", 0, values("b", 5)...)
	r.flush()
	damaged := newestKey(t, b)
	r.produce("t", 0, values("c", 5)...)
	r.produce("t", 1, values("d", 5)...)
	r.flush()
	cluster := r.ClusterID()
	r.kill()
	whole, err := bucket.ReadAll(t.Context(), b, damaged, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	broken := slices.Clone(whole)
	broken[len(broken)-70] ^= 1
	replace(t, b, damaged, broken)
	foreign := cluster + "/0000/hello.txt"
	replace(t, b, foreign, []byte("hello"))

	dir, report := restoreAccepting(t, b)
	if len(report.Objects.Damaged) != 1 || report.Objects.Damaged[0].Key != damaged {
		t.Errorf("damaged: %+v, want %s", report.Objects.Damaged, damaged)
	}
	if len(report.Objects.Foreign) != 1 || report.Objects.Foreign[0].Key != foreign {
		t.Errorf("foreign: %+v, want %s", report.Objects.Foreign, foreign)
	}
	if len(report.LeftOut) != 1 || report.LeftOut[0].Start != 10 || report.LeftOut[0].Partition != 0 {
		t.Errorf("left out: %+v, want [10,15) of partition 0", report.LeftOut)
	}
	r = start(t, dir, b)
	r.consume("t", 0, 0, 5)
	r.consume("t", 1, 0, 5)
	if at := r.produce("t", 0, "e"); at != 5 {
		t.Errorf("offset %d after the damage, want 5", at)
	}
	r.snapshot()
	if err := r.collect(); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{damaged, foreign} {
		if !slices.Contains(keys(t, b), key) {
			t.Errorf("%s was deleted", key)
		}
	}
}

// restoreAccepting restores although damage keeps sound records away, after the restore was
// refused.
func restoreAccepting(t testing.TB, b bucket.Bucket) (string, Report) {
	t.Helper()
	dir, before := filepath.Join(t.TempDir(), "accepting"), keys(t, b)
	if _, err := tryRestore(t, dir, b); !errors.Is(err, ErrLoss) {
		t.Errorf("restore with a loss that nobody accepted: %v", err)
	}
	if !slices.Equal(before, keys(t, b)) {
		t.Error("a refused restore has changed the bucket")
	}
	// The directory is as empty as before.
	report, err := restoreWith(t, RestoreConfig{Dir: dir, NodeID: 1, AcceptLoss: true}, b)
	if err != nil {
		t.Fatal(err)
	}
	return dir, report
}

// damageOne has a cluster with ten records in two bundles that no snapshot knows, and truncates the
// first bundle.
func damageOne(t *testing.T) (b bucket.Bucket, damaged, behind string, whole []byte) {
	b = mem.New()
	r := start(t, filepath.Join(t.TempDir(), "first"), b)
	r.create("t", 1, nil)
	r.snapshot()
	r.produce("t", 0, values("a", 5)...)
	r.flush()
	damaged = newestKey(t, b)
	r.produce("t", 0, values("b", 5)...)
	r.flush()
	behind = newestKey(t, b)
	r.kill()
	whole, err := bucket.ReadAll(t.Context(), b, damaged, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, b, damaged, whole[:len(whole)-10])
	return b, damaged, behind, whole
}

// E26: beside damage, a bundle that holds only data that was left out is kept. Without damage it
// would be deleted.
func TestE26_LeftOutBesideDamageIsKept(t *testing.T) {
	b, _, behind, _ := damageOne(t)
	dir, report := restoreAccepting(t, b)
	if !slices.Equal(report.Objects.Kept, []string{behind}) || report.Objects.Unused != 0 {
		t.Errorf("kept %q, unused %d; want %s kept", report.Objects.Kept, report.Objects.Unused, behind)
	}
	r := start(t, dir, b)
	r.snapshot()
	if err := r.collect(); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(keys(t, b), behind) {
		t.Errorf("%s was deleted", behind)
	}
}

// E26: a restore is refused because of damage, the damage is repaired, and the next restore brings
// everything back.
func TestE26_RepairedDamage(t *testing.T) {
	b, damaged, _, whole := damageOne(t)
	dir := filepath.Join(t.TempDir(), "restored")
	if report, err := tryRestore(t, dir, b); !errors.Is(err, ErrLoss) || len(report.LeftOut) != 1 {
		t.Fatalf("restore beside damage: %v, %+v", err, report)
	}
	replace(t, b, damaged, whole)
	if _, err := tryRestore(t, dir, b); err != nil {
		t.Fatal(err)
	}
	start(t, dir, b).consume("t", 0, 0, 10)
}

// E26: damage without anything sound behind it does not stop a restore, since nothing more can be
// recovered.
func TestE26_DamageAtTheEnd(t *testing.T) {
	b, _, behind, _ := damageOne(t)
	replace(t, b, behind, []byte("not a bundle"))
	dir, report := restore(t, b)
	if len(report.Objects.Damaged) != 2 {
		t.Errorf("damaged: %+v", report.Objects.Damaged)
	}
	if at := start(t, dir, b).produce("t", 0, "x"); at != 0 {
		t.Errorf("first offset %d", at)
	}
}

func newestKey(t testing.TB, b bucket.Bucket) (newest string) {
	id := newestObject(t, b)
	for _, key := range keys(t, b) {
		if p, err := object.ParseKey(key); err == nil && p.Object == id {
			newest = key
		}
	}
	return newest
}

func replace(t testing.TB, b bucket.Bucket, key string, body []byte) {
	t.Helper()
	if err := errors.Join(b.Delete(t.Context(), key), b.Create(t.Context(), key, bucket.NewBody(body))); err != nil {
		t.Fatal(err)
	}
}

// E26: an upload whose commit never came. Its records were sent under these offsets, so they may
// appear after a restore, and then they count.
func TestE26_UncommittedBundleMayAppear(t *testing.T) {
	ctx, cancel := context.WithCancel(within(t))
	inner := mem.New()
	b := &changes{Bucket: inner}
	r := start(t, filepath.Join(t.TempDir(), "first"), b)
	r.create("t", 1, nil)
	r.snapshot()
	r.produce("t", 0, values("a", 10)...)
	b.after = func(op bucket.Op, key string) error { // stored, but the process never learns that
		if op == bucket.OpCreate && strings.HasSuffix(key, ".bundle") {
			cancel()
			return bucket.ErrUnknown
		}
		return nil
	}
	if err := r.engine.Flush(ctx); err == nil {
		t.Fatal("the flush has committed")
	}
	if h := r.head("t", 0); h.CommittedEnd != 0 {
		t.Fatalf("committed up to %d", h.CommittedEnd)
	}
	r.kill()
	dir, report := restore(t, inner)
	if report.Offsets != 10 || report.Objects.Applied != 1 {
		t.Errorf("report %+v", report)
	}
	r = start(t, dir, inner)
	for i, rec := range r.consume("t", 0, 0, 10) {
		if want := values("a", 10)[i]; string(rec.Value) != want {
			t.Errorf("offset %d is %q, want %q", i, rec.Value, want)
		}
	}
	if at := r.produce("t", 0, "next"); at != 10 {
		t.Errorf("next offset %d", at)
	}
}

// E26: a topic is deleted after the snapshot and created again under its name. The later topic
// comes back under its id, and no record of the earlier one does.
func TestE26_TopicMadeAgainAroundTheSnapshot(t *testing.T) {
	b := mem.New()
	r := start(t, filepath.Join(t.TempDir(), "first"), b)
	first := r.create("t", 1, nil)
	r.produce("t", 0, values("first", 10)...)
	r.flush()
	r.snapshot()
	r.produce("t", 0, values("more", 10)...)
	r.flush()
	if err := r.cat.DeleteTopic(within(t), first.ID); err != nil {
		t.Fatal(err)
	}
	second := r.create("t", 1, nil)
	r.client.Close()
	r.connect() // a client stays with the topic id that it has met
	r.produce("t", 0, values("second", 5)...)
	r.flush()
	r.kill()
	dir, report := restore(t, b)
	r = start(t, dir, b)
	topic, ok := r.cat.TopicByName("t")
	if !ok || topic.ID != second.ID {
		t.Fatalf("topic %v came back, want the second life %s", topic, second.ID)
	}
	if h := r.head("t", 0); h.CommittedEnd != 5 {
		t.Errorf("ends at %d, want 5; report %+v", h.CommittedEnd, report)
	}
	for i, rec := range r.consume("t", 0, 0, 5) {
		if want := values("second", 5)[i]; string(rec.Value) != want {
			t.Errorf("offset %d is %q, want %q", i, rec.Value, want)
		}
	}
}

// E26: records that were never flushed lie between two sections, and the log start had passed them.
// That gap is legal.
func TestE26_GapBelowTheLogStart(t *testing.T) {
	b := mem.New()
	r := start(t, filepath.Join(t.TempDir(), "first"), b)
	r.create("t", 1, nil)
	r.produce("t", 0, values("a", 10)...)
	r.flush()
	r.snapshot()
	r.produce("t", 0, values("b", 10)...)
	if err := r.cat.AdvanceLogStart(within(t), r.engine.Incarnation(), r.head("t", 0).Partition, 20); err != nil {
		t.Fatal(err)
	}
	r.produce("t", 0, values("c", 10)...)
	r.flush()
	r.kill()
	dir, report := restore(t, b)
	if len(report.LeftOut) > 0 {
		t.Errorf("left out: %+v", report.LeftOut)
	}
	r = start(t, dir, b)
	if h := r.head("t", 0); h.LogStart != 20 || h.CommittedEnd != 30 {
		t.Fatalf("came back as [%d,%d), want [20,30)", h.LogStart, h.CommittedEnd)
	}
	if got := r.consume("t", 0, 20, 30); string(got[0].Value) != "c-0" {
		t.Errorf("offset 20 is %q", got[0].Value)
	}
}

// E26: a topic is deleted after the snapshot, and nothing takes its place. A restore goes back to
// before the deletion.
func TestE26_DeletionAfterTheSnapshotIsForgotten(t *testing.T) {
	b := mem.New()
	r := start(t, filepath.Join(t.TempDir(), "first"), b, func(c *Config) { c.Storage = storage.Config{FlushInterval: time.Hour} })
	first := r.create("t", 1, nil)
	r.produce("t", 0, values("a", 10)...)
	r.flush()
	r.snapshot()
	if err := r.cat.DeleteTopic(within(t), first.ID); err != nil {
		t.Fatal(err)
	}
	if err := r.collect(); err != nil {
		t.Fatal(err)
	}
	r.kill()
	dir, _ := restore(t, b)
	start(t, dir, b).consume("t", 0, 0, 10)
}
