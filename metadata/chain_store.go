package metadata

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// Bucket is what the chain needs of the object store. node joins it to the real one.
type Bucket interface {
	// Create stores an object if the key is free and reports whether it did. An
	// error leaves the outcome open.
	Create(ctx context.Context, key string, body []byte) (created bool, err error)
	// ReadAll returns an object of at most bytesMax, or found = false.
	ReadAll(ctx context.Context, key string, bytesMax int64) (body []byte, found bool, err error)
	// List returns the keys that begin with prefix, in order.
	List(ctx context.Context, prefix string) ([]string, error)
}

// Errors of the bucket's identity. Whoever meets one stops: it is not the
// owner of this prefix, or not any more (E22).
var (
	ErrForeignLink  = errors.New("snapshot chain was continued by another directory: the cluster was restored elsewhere, this directory must not serve")
	ErrBrokenChain  = errors.New("snapshot chain in the bucket is not what this directory wrote")
	ErrWrongCluster = errors.New("bucket prefix belongs to another cluster")
)

// StoreSnapshot puts state into the bucket as the link after its newest, and
// returns what to tell the quorum with NewSnapshotStored. A link that is there already is adopted if
// this directory wrote it in this generation (its quorum was not told), else ErrForeignLink.
// After any other error it is unknown whether the link exists; calling again settles it.
//
// state must not change meanwhile: pass State.Freeze.
func StoreSnapshot(ctx context.Context, b Bucket, state *State, directory string) (StoredSnapshot, error) {
	snapshot, err := state.EncodeSnapshot()
	if err != nil {
		return StoredSnapshot{}, err
	}
	link := &Link{
		Number: state.stored.Number + 1, Index: state.index, Generation: state.generation,
		Directory: directory, PreviousCRC: state.stored.CRC, Snapshot: snapshot,
	}
	body, err := EncodeLink(link)
	if err != nil {
		return StoredSnapshot{}, err
	}
	created, err := b.Create(ctx, LinkKey(link.Number), body)
	if err != nil {
		return StoredSnapshot{}, fmt.Errorf("metadata: store %s: %w", LinkKey(link.Number), err)
	}
	if created {
		return link.Stored(), nil
	}
	return adoptLink(ctx, b, link)
}

// adoptLink judges the link that stands where ours should go.
func adoptLink(ctx context.Context, b Bucket, ours *Link) (StoredSnapshot, error) {
	theirs, err := ReadLink(ctx, b, ours.Number)
	if err != nil {
		return StoredSnapshot{}, err
	}
	if theirs.Directory != ours.Directory || theirs.Generation != ours.Generation || theirs.PreviousCRC != ours.PreviousCRC {
		return StoredSnapshot{}, foreign(theirs)
	}
	return theirs.Stored(), nil
}

func foreign(l *Link) error {
	return fmt.Errorf("metadata: %s was written by directory %s in generation %d: %w", LinkKey(l.Number), l.Directory, l.Generation, ErrForeignLink)
}

// ReadLink reads link n. Its absence is ErrBrokenChain.
func ReadLink(ctx context.Context, b Bucket, n uint64) (*Link, error) {
	body, found, err := b.ReadAll(ctx, LinkKey(n), linkBytesMax)
	if err != nil {
		return nil, fmt.Errorf("metadata: read %s: %w", LinkKey(n), err)
	}
	if !found {
		return nil, fmt.Errorf("metadata: read %s: absent: %w", LinkKey(n), ErrBrokenChain)
	}
	l, err := DecodeLink(body)
	if err != nil {
		return nil, fmt.Errorf("metadata: read %s: %w", LinkKey(n), err)
	}
	if l.Number != n {
		return nil, fmt.Errorf("metadata: read %s: it says number %d: %w", LinkKey(n), l.Number, ErrBrokenChain)
	}
	return l, nil
}

// ReadNewest reads the newest link, for restore; found = false if the prefix has none.
func ReadNewest(ctx context.Context, b Bucket) (link *Link, found bool, err error) {
	keys, err := b.List(ctx, LinkPrefix)
	if err != nil {
		return nil, false, fmt.Errorf("metadata: list snapshots: %w", err)
	}
	n, ok := NewestSnapshot(keys)
	if !ok {
		return nil, false, nil
	}
	link, err = ReadLink(ctx, b, n)
	return link, err == nil, err
}

// CheckChain verifies that nobody else continued the chain: its newest link is
// the one that the quorum knows, or the next one, written by this directory
// before its quorum was told. It gates every PUT and delete after a start (E22).
func CheckChain(ctx context.Context, b Bucket, state *State, directory string) error {
	known := state.stored
	keys, err := b.List(ctx, LinkPrefix)
	if err != nil {
		return fmt.Errorf("metadata: list snapshots: %w", err)
	}
	newest, _ := NewestSnapshot(keys)
	switch {
	case newest == known.Number && newest == 0:
		return nil
	case newest < known.Number:
		return fmt.Errorf("metadata: newest link is %d, the quorum knows %d: %w", newest, known.Number, ErrBrokenChain)
	}
	l, err := ReadLink(ctx, b, newest)
	if err != nil {
		return err
	}
	if newest == known.Number {
		if l.CRC != known.CRC {
			return foreign(l)
		}
		return nil
	}
	if newest != known.Number+1 || l.Directory != directory || l.Generation != state.generation || l.PreviousCRC != known.CRC {
		return foreign(l)
	}
	return nil
}

// clusterFileVersion is that of the bucket's layout: keys and formats below the prefix.
const clusterFileVersion = 1

// clusterFileBytesMax bounds what is read of cluster.json.
const clusterFileBytesMax = 64 << 10

// ClusterFile is cluster.json, created conditionally by the first start: it
// says to whom the bucket's prefix belongs.
type ClusterFile struct {
	ClusterID     string `json:"clusterId"`
	FormatVersion int    `json:"formatVersion"`
	Directory     string `json:"directory"` // UUID of the maker's data directory
}

// Encode gives the file's bytes.
func (c ClusterFile) Encode() ([]byte, error) {
	c.FormatVersion = clusterFileVersion
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("metadata: encode %s: %w", ClusterKey, err)
	}
	return append(b, '\n'), nil
}

// DecodeClusterFile reads the file's bytes.
func DecodeClusterFile(b []byte) (ClusterFile, error) {
	var c ClusterFile
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("metadata: decode %s: %w: %v", ClusterKey, ErrCorrupt, err)
	}
	if c.FormatVersion != clusterFileVersion {
		return c, fmt.Errorf("metadata: decode %s: %w: format version %d, this build reads %d", ClusterKey, ErrUnknownCommand, c.FormatVersion, clusterFileVersion)
	}
	if c.ClusterID == "" || c.Directory == "" {
		return c, fmt.Errorf("metadata: decode %s: %w: cluster id or directory is empty", ClusterKey, ErrCorrupt)
	}
	return c, nil
}

// ReadClusterFile reads cluster.json; found = false on an unused prefix.
func ReadClusterFile(ctx context.Context, b Bucket) (c ClusterFile, found bool, err error) {
	body, found, err := b.ReadAll(ctx, ClusterKey, clusterFileBytesMax)
	if err != nil || !found {
		return c, false, wrapIf(err, "metadata: read "+ClusterKey)
	}
	c, err = DecodeClusterFile(body)
	return c, err == nil, err
}

// ClaimPrefix makes cluster.json, or finds that it is this directory's own
// from an interrupted first start (E27). Another cluster's is ErrWrongCluster.
func ClaimPrefix(ctx context.Context, b Bucket, c ClusterFile) error {
	body, err := c.Encode()
	if err != nil {
		return err
	}
	created, err := b.Create(ctx, ClusterKey, body)
	if err != nil {
		return fmt.Errorf("metadata: create %s: %w", ClusterKey, err)
	}
	if created {
		return nil
	}
	there, found, err := ReadClusterFile(ctx, b)
	if err != nil {
		return err
	}
	if !found || there.ClusterID != c.ClusterID || there.Directory != c.Directory {
		return fmt.Errorf("metadata: prefix is used by cluster %s of directory %s: %w", there.ClusterID, there.Directory, ErrWrongCluster)
	}
	return nil
}

func wrapIf(err error, what string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
