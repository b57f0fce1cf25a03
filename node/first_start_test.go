package node

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/metadata/raft"
	"github.com/sluicemq/sluice/storage"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/mem"
	"github.com/sluicemq/sluice/vfs"
)

// E27: a first start dies between any two of its steps: identity, cluster.json, bootstrap, the
// identity's "ready", registration, the folder of the incarnation, the opening of the incarnation.
// The next start goes on and works.
func TestE27_FirstStartDiesBetweenAnyTwoSteps(t *testing.T) {
	for _, c := range []struct {
		name string
		die  func(t *testing.T, dir string, b bucket.Bucket)
	}{
		{"folder and lock, no identity", func(t *testing.T, dir string, b bucket.Bucket) {
			f, err := lockDir(dir)
			if err = errors.Join(err, f.Close(), os.WriteFile(filepath.Join(dir, "node.json.tmp"), []byte("{"), 0o644)); err != nil {
				t.Fatal(err)
			}
		}},
		{"identity, no cluster.json", func(t *testing.T, dir string, b bucket.Bucket) {
			dieOpening(t, dir, &changes{Bucket: b, before: atClusterFile})
		}},
		{"cluster.json, no bootstrap", func(t *testing.T, dir string, b bucket.Bucket) {
			dieOpening(t, dir, &changes{Bucket: b, after: atClusterFile})
		}},
		{"metadata's folder, no bootstrap", func(t *testing.T, dir string, b bucket.Bucket) {
			dieAfter(t, dir, b, func(n *Node) error {
				q, err := raft.Open(t.Context(), raft.Config{Dir: dir, DirUUID: n.id.Directory}, raft.Deps{Log: n.deps.Log, OnFatal: n.fail})
				return errors.Join(err, q.Close())
			})
		}},
		{"bootstrap, identity not ready", func(t *testing.T, dir string, b bucket.Bucket) {
			dieAfter(t, dir, b, func(n *Node) error {
				q, err := raft.Open(t.Context(), raft.Config{Dir: dir, DirUUID: n.id.Directory}, raft.Deps{Log: n.deps.Log, OnFatal: n.fail})
				if err != nil {
					return err
				}
				res, err := q.Propose(t.Context(), metadata.NewBootstrap(n.id.ClusterID, n.id.Directory))
				return errors.Join(err, res.Err, q.Close())
			})
		}},
		{"ready, not registered", func(t *testing.T, dir string, b bucket.Bucket) {
			dieAfter(t, dir, b, func(n *Node) error { return n.openMetadata(t.Context()) })
		}},
		{"registered, no folder", func(t *testing.T, dir string, b bucket.Bucket) {
			dieInStorage(t, dir, b, &dyingCatalog{afterRegister: true}, 0)
		}},
		{"folder, not opened", func(t *testing.T, dir string, b bucket.Bucket) {
			dieInStorage(t, dir, b, &dyingCatalog{beforeOpen: true}, 1)
		}},
		{"opened, nothing placed", func(t *testing.T, dir string, b bucket.Bucket) {
			dieInStorage(t, dir, b, &dyingCatalog{afterOpen: true}, 1)
		}},
		{"opened", func(t *testing.T, dir string, b bucket.Bucket) {
			r, err := openRig(t, dir, b)
			if err != nil {
				t.Fatal(err)
			}
			r.kill()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, b := t.TempDir(), mem.New()
			c.die(t, dir, b)
			works(t, dir, b)
		})
	}
}

// works starts a node, writes, and finds everything again in the next life.
func works(t *testing.T, dir string, b bucket.Bucket) {
	t.Helper()
	r := start(t, dir, b)
	r.create("t", 1, nil)
	r.produce("t", 0, values("a", 10)...)
	r.end()
	r = start(t, dir, b)
	r.consume("t", 0, 0, 10)
	r.end()
}

func atClusterFile(op bucket.Op, key string) error {
	if op == bucket.OpCreate && key == metadata.ClusterKey {
		return errKilled
	}
	return nil
}

// dieOpening opens a node on a bucket that ends it.
func dieOpening(t *testing.T, dir string, b bucket.Bucket) {
	t.Helper()
	if _, err := openRig(t, dir, b); !errors.Is(err, errKilled) {
		t.Fatalf("open: %v, want to die", err)
	}
}

// dieAfter takes the first steps of a start as Open does, then one more, and lets go of everything.
func dieAfter(t *testing.T, dir string, b bucket.Bucket, step func(n *Node) error) {
	t.Helper()
	n := unopened(t, dir, b)
	if err := n.identify(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := step(n); err != nil {
		t.Fatal(err)
	}
	if n.raft != nil {
		if err := n.raft.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.lock.Close(); err != nil {
		t.Fatal(err)
	}
}

func unopened(t *testing.T, dir string, b bucket.Bucket) *Node {
	n := newNode(t.Context(), testConfig(dir), Deps{Bucket: b, Listeners: []Listener{{Listener: listen(t)}}, Log: slog.New(newLogs())})
	t.Cleanup(n.cancel)
	return n
}

// dieInStorage opens storage on a quorum that ends it, and requires a number of folders of
// incarnations.
func dieInStorage(t *testing.T, dir string, b bucket.Bucket, dying *dyingCatalog, folders int) {
	t.Helper()
	dieAfter(t, dir, b, func(n *Node) error {
		if err := n.openMetadata(t.Context()); err != nil {
			return err
		}
		n.joinCatalog()
		dying.Catalog = n.cat
		cfg := n.cfg.Storage
		cfg.WALDir = filepath.Join(dir, "wal")
		_, err := storage.Open(t.Context(), cfg, storage.Deps{FS: vfs.OS(), Bucket: n.gate, Catalog: dying, Log: n.deps.Log, Now: time.Now, Fatal: n.fail})
		if !errors.Is(err, errKilled) {
			t.Fatalf("storage: %v, want to die", err)
		}
		return nil
	})
	found, err := vfs.OS().List(filepath.Join(dir, "wal"))
	if folders > 0 && err != nil || len(found) != folders {
		t.Fatalf("wal/ holds %q, %v; want %d incarnations", found, err, folders)
	}
}

// dyingCatalog is the real catalog, which ends its caller at one of storage's steps.
type dyingCatalog struct {
	*Catalog
	afterRegister, beforeOpen, afterOpen bool
}

func (c *dyingCatalog) Register(ctx context.Context, previous ident.Incarnation, end ident.Position) (catalog.Registration, error) {
	reg, err := c.Catalog.Register(ctx, previous, end)
	if err == nil && c.afterRegister {
		err = errKilled
	}
	return reg, err
}

func (c *dyingCatalog) OpenIncarnation(ctx context.Context, inc ident.Incarnation) error {
	if c.beforeOpen {
		return errKilled
	}
	if err := c.Catalog.OpenIncarnation(ctx, inc); err != nil || !c.afterOpen {
		return err
	}
	return errKilled
}

// E27: a directory in state "new" accepts no prefix but its own.
func TestE27_NewDirectoryTakesOnlyItsOwnPrefix(t *testing.T) {
	dir, b := t.TempDir(), mem.New()
	dieOpening(t, dir, &changes{Bucket: b, before: atClusterFile})
	start(t, t.TempDir(), b).end() // another broker was faster
	if _, err := openRig(t, dir, b); !errors.Is(err, ErrForeignPrefix) || !strings.Contains(err.Error(), "sluice restore") {
		t.Errorf("start on a prefix that another took meanwhile: %v", err)
	}
	if _, err := openRig(t, dir, mem.New()); err != nil {
		t.Errorf("start on a free prefix: %v", err)
	}
}

// E1, E27: a prefix that holds anything except the directory's own cluster.json is in use. A
// directory that made cluster.json and died finds that a restore has continued from there. A prefix
// whose cluster.json is lost does not count as free.
func TestE27_UsedPrefixIsNotClaimed(t *testing.T) {
	dir, b := t.TempDir(), mem.New()
	dieOpening(t, dir, &changes{Bucket: b, after: atClusterFile})
	restored, _ := restore(t, b)
	if _, err := openRig(t, dir, b); !errors.Is(err, ErrForeignPrefix) {
		t.Errorf("first start on a prefix that was restored elsewhere meanwhile: %v", err)
	}
	start(t, restored, b).end()
	if err := b.Delete(t.Context(), metadata.ClusterKey); err != nil {
		t.Fatal(err)
	}
	if _, err := openRig(t, t.TempDir(), b); !errors.Is(err, ErrForeignPrefix) {
		t.Errorf("first start on a prefix with snapshots and without cluster.json: %v", err)
	}
}

// A first start needs the bucket. If the bucket refuses, it ends at once; if the bucket is
// unreachable, it ends after its wait. A later start goes on.
func TestFirstStartNeedsTheBucket(t *testing.T) {
	dir, inner := t.TempDir(), mem.New()
	away := &changes{Bucket: inner, before: func(bucket.Op, string) error { return bucket.ErrUnavailable }}
	_, err := openRig(t, dir, away, func(c *Config) { c.BucketWait = 10 * time.Millisecond })
	if !errors.Is(err, bucket.ErrUnavailable) || !strings.Contains(err.Error(), "not reachable") {
		t.Errorf("first start without its bucket: %v", err)
	}
	works(t, dir, inner)
}

// A first start asks a bucket that is away less and less often, and not any more once its wait is
// over.
func TestFirstStartsPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var asked []time.Duration
		away := &changes{Bucket: mem.New(), before: func(bucket.Op, string) error {
			asked = append(asked, time.Since(began))
			return bucket.ErrUnavailable
		}}
		n := &Node{cfg: Config{BucketWait: 20 * time.Second}, deps: Deps{Bucket: away, Log: slog.New(slog.DiscardHandler)}, id: newIdentity("", 1)}
		if err := n.firstClaim(t.Context()); !errors.Is(err, bucket.ErrUnavailable) {
			t.Error(err)
		}
		const s = time.Second
		if want := []time.Duration{0, s / 2, 3 * s / 2, 7 * s / 2, 15 * s / 2, 25 * s / 2, 35 * s / 2}; !slices.Equal(asked, want) {
			t.Errorf("asked at %v, want %v", asked, want)
		}
	})
}

// A folder in a state of another release is not touched.
func TestIdentityOfAnotherRelease(t *testing.T) {
	for _, text := range []string{
		`{"format": 1, "cluster_id": "c", "node_id": 1, "directory_uuid": "d", "state": "moved"}`,
		`{"format": 2, "cluster_id": "c", "node_id": 1, "directory_uuid": "d", "state": "ready"}`,
		`{`,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "node.json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := openRig(t, dir, mem.New()); err == nil || !strings.Contains(err.Error(), "node.json") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
