package node

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// identityFormat is the newest layout of a data directory that this binary opens.
const identityFormat = 1

// The states of a data directory (E27).
const (
	// stateNew: cluster.json may or may not exist, and it is not certain that the metadata is
	// bootstrapped.
	stateNew = "new"
	// A restore began here and did not end: the directory is never served (E22).
	stateRestoring = "restoring"
	stateReady     = "ready" // bootstrapped or restored
)

// ErrUnfinishedRestore says that an interrupted restore left the directory.
var ErrUnfinishedRestore = errors.New("a restore into this directory was interrupted")

// Identity is node.json: it says which node and cluster a directory belongs to. It is fsynced
// before anything about the cluster is written to the bucket, so that a crash between the two can
// be continued (E27).
type Identity struct {
	Format    int    `json:"format"`
	ClusterID string `json:"cluster_id"` // Kafka's 22-character UUID
	NodeID    int32  `json:"node_id"`
	// Raft's ServerID; a copied or new disk has another one.
	Directory string `json:"directory_uuid"`
	State     string `json:"state"`
}

func (n *Identity) path(dir string) string { return filepath.Join(dir, "node.json") }

// readIdentity returns nil without an error if the directory has no node.json.
func readIdentity(dir string) (*Identity, error) {
	n := new(Identity)
	b, err := os.ReadFile(n.path(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, n); err != nil {
		return nil, fmt.Errorf("%s is damaged (%w): restore it from a copy, or use an empty --dir and `sluice restore`", n.path(dir), err)
	}
	if n.Format > identityFormat {
		return nil, fmt.Errorf("%s has format %d, this sluice opens up to %d: use a newer sluice", n.path(dir), n.Format, identityFormat)
	}
	switch n.State {
	case stateNew, stateReady:
		return n, nil
	case stateRestoring:
		return nil, fmt.Errorf("%s: %w: run `sluice restore --bucket URL --dir DIR` again with an empty --dir; what this directory holds is not needed for it", n.path(dir), ErrUnfinishedRestore)
	}
	return nil, fmt.Errorf("%s has state %q, which this sluice does not know: use a newer sluice", n.path(dir), n.State)
}

// write replaces node.json durably.
func (n *Identity) write(dir string) error {
	b, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		return err
	}
	tmp := n.path(dir) + ".tmp"
	f, err := os.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, n.path(dir)); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// newIdentity makes a directory's identity. The cluster is a new one, unless clusterID is given (by
// a restore).
func newIdentity(clusterID string, nodeID int32) *Identity {
	if clusterID == "" {
		clusterID = newClusterID()
	}
	u := newUUID()
	return &Identity{Format: identityFormat, ClusterID: clusterID, NodeID: nodeID, Directory: hex.EncodeToString(u[:]), State: stateNew}
}

// newUUID returns a random version 4 UUID.
func newUUID() (u [16]byte) {
	_, _ = rand.Read(u[:]) // never fails
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return u
}

// newClusterID returns an id that does not begin with a dash, since tools would take that for a
// flag.
func newClusterID() string {
	for {
		u := newUUID()
		if id := base64.RawURLEncoding.EncodeToString(u[:]); id[0] != '-' {
			return id
		}
	}
}

// lockDir makes sure that only one process uses the directory.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s is used by another process: stop it, or choose another --dir", dir)
	}
	return f, nil
}
