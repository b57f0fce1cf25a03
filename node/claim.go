package node

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/storage/bucket"
)

// ErrForeignPrefix says that a bucket prefix belongs to another cluster, or to another directory of
// this cluster. A start here would overwrite its data (E1).
var ErrForeignPrefix = errors.New("the bucket prefix is in use")

// claim makes an unused prefix this cluster's, or finds that it has done so before (E27). The
// identity is on disk already, so a crash on either side of the claim can be continued.
func claim(ctx context.Context, b bucket.Bucket, id *Identity) error {
	there, found, err := metadata.ReadClusterFile(ctx, objects{b})
	if err != nil {
		return err
	}
	if found && (there.ClusterID != id.ClusterID || there.Directory != id.Directory) {
		return fmt.Errorf("%w by cluster %s: to bring that cluster back into an empty directory run `sluice restore --bucket URL --dir DIR`; to start a new cluster choose another prefix", ErrForeignPrefix, there.ClusterID)
	}
	if err := unused(ctx, b); err != nil {
		return err
	}
	err = metadata.ClaimPrefix(ctx, objects{b}, metadata.ClusterFile{ClusterID: id.ClusterID, Directory: id.Directory})
	if errors.Is(err, metadata.ErrWrongCluster) {
		return fmt.Errorf("%w: %w: another broker was faster; choose another prefix", ErrForeignPrefix, err)
	}
	return err
}

// unused checks that a prefix holds nothing except, perhaps, cluster.json and probes.
func unused(ctx context.Context, b bucket.Bucket) error {
	for info, err := range b.List(ctx, "", "") {
		if err != nil {
			return err
		}
		if !strings.HasPrefix(info.Key, "probe/") && info.Key != metadata.ClusterKey {
			return fmt.Errorf("%w: it holds %s, and this directory is new: run `sluice restore --bucket URL --dir DIR` if that is a cluster of yours, or choose an empty prefix", ErrForeignPrefix, info.Key)
		}
	}
	return nil
}

// check verifies that a prefix still belongs to this cluster and that nobody else has continued its
// snapshot chain. Only then may anything be written or deleted (E22).
func check(ctx context.Context, b bucket.Bucket, state *metadata.State, directory string) error {
	there, found, err := metadata.ReadClusterFile(ctx, objects{b})
	switch {
	case err != nil:
		return err
	case !found:
		return fmt.Errorf("%w: the bucket has no %s: is this the right bucket and prefix?", metadata.ErrWrongCluster, metadata.ClusterKey)
	case there.ClusterID != state.ClusterID():
		return fmt.Errorf("%w: it is cluster %s, this directory belongs to %s", metadata.ErrWrongCluster, there.ClusterID, state.ClusterID())
	}
	return metadata.CheckChain(ctx, objects{b}, state, directory)
}

// fatalIdentity reports that a check has found another owner, as opposed to a bucket that does not
// answer.
func fatalIdentity(err error) bool {
	return errors.Is(err, metadata.ErrForeignLink) || errors.Is(err, metadata.ErrBrokenChain) || errors.Is(err, metadata.ErrWrongCluster)
}

// objects adapts a bucket to the interface of metadata.
type objects struct{ b bucket.Bucket }

func (o objects) Delete(ctx context.Context, key string) error { return o.b.Delete(ctx, key) }

func (o objects) Create(ctx context.Context, key string, body []byte) (bool, error) {
	err := o.b.Create(ctx, key, bucket.NewBody(body))
	if errors.Is(err, bucket.ErrExists) {
		return false, nil
	}
	return err == nil, err
}

func (o objects) ReadAll(ctx context.Context, key string, bytesMax int64) ([]byte, bool, error) {
	b, err := bucket.ReadAll(ctx, o.b, key, bytesMax)
	if errors.Is(err, bucket.ErrNotFound) {
		return nil, false, nil
	}
	return b, err == nil, err
}

func (o objects) List(ctx context.Context, prefix string) (keys []string, err error) {
	for info, err := range o.b.List(ctx, prefix, "") {
		if err != nil {
			return nil, err
		}
		keys = append(keys, info.Key)
	}
	return keys, nil
}
