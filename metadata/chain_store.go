package metadata

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// Bucket is what the chain needs of the object store. Package node adapts the real bucket to it.
type Bucket interface {
	// Create stores an object if the key is free, and reports whether it did. After an error the
	// outcome is unknown.
	Create(ctx context.Context, key string, body []byte) (created bool, err error)
	// ReadAll returns an object of at most bytesMax, or found = false.
	ReadAll(ctx context.Context, key string, bytesMax int64) (body []byte, found bool, err error)
	// List returns the keys that begin with prefix, in order.
	List(ctx context.Context, prefix string) ([]string, error)
}

// Errors about the owner of the bucket's prefix. A node that meets one must stop: it is not the
// owner of the prefix, or no longer (E22).
var (
	ErrForeignLink  = errors.New("snapshot chain was continued by another directory: the cluster was restored elsewhere, this directory must not serve")
	ErrBrokenChain  = errors.New("snapshot chain in the bucket is not what this directory wrote")
	ErrWrongCluster = errors.New("bucket prefix belongs to another cluster")
)

// StoreSnapshot puts state into the bucket as the link after its newest link, and returns what to
// tell the quorum with NewSnapshotStored. If that link exists already, it is adopted if this
// directory wrote it in this generation (its quorum was then not told); otherwise the error is
// ErrForeignLink. After any other error it is unknown whether the link exists. Calling
// StoreSnapshot again settles that.
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

// adoptLink judges an existing link that has the number of ours.
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

// ReadLink reads link n. If there is none, the error is ErrBrokenChain.
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

// ReadNewest reads the newest link, for a restore. found is false if the prefix has no link.
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

// CheckChain verifies that nobody else continued the chain. The newest link must be the one that
// the quorum knows, or the one after it if this directory wrote that one and its quorum was not
// told. After a start, nothing is written to the bucket or deleted from it before CheckChain has
// succeeded (E22).
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

// clusterFileVersion is the version of the bucket's layout: the keys and formats below the prefix.
const clusterFileVersion = 1

// clusterFileBytesMax bounds how much of cluster.json is read.
const clusterFileBytesMax = 64 << 10

// ClusterFile is cluster.json. The first start creates it, conditionally. It says which cluster
// owns the bucket's prefix.
type ClusterFile struct {
	ClusterID     string `json:"clusterId"`
	FormatVersion int    `json:"formatVersion"`
	Directory     string `json:"directory"` // the UUID of the creator's data directory
}

// Encode returns the file's bytes.
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

// ReadClusterFile reads cluster.json. found is false if the prefix is unused.
func ReadClusterFile(ctx context.Context, b Bucket) (c ClusterFile, found bool, err error) {
	body, found, err := b.ReadAll(ctx, ClusterKey, clusterFileBytesMax)
	if err != nil || !found {
		return c, false, wrapIf(err, "metadata: read "+ClusterKey)
	}
	c, err = DecodeClusterFile(body)
	return c, err == nil, err
}

// ClaimPrefix creates cluster.json, or finds that an interrupted first start of this directory
// created it (E27). If it belongs to another cluster, the error is ErrWrongCluster.
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
