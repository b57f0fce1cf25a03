package metadata

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata/pb"
)

// The constructors of commands. They leave time and request id to metadata/raft, which stamps them
// once: a caller that repeats a command after ErrUnavailable passes the same value again.

// NewBootstrap creates the cluster. directory is the UUID of the creator's data directory.
func NewBootstrap(clusterID, directory string) *pb.Command {
	return &pb.Command{Kind: &pb.Command_Bootstrap{Bootstrap: &pb.Bootstrap{ClusterId: clusterID, Directory: directory}}}
}

// NewRegisterIncarnation seals the previous incarnation at end (0 means that there is none) and
// begins the broker's next one.
func NewRegisterIncarnation(broker int32, directory string, previous ident.Incarnation, end ident.Position) *pb.Command {
	return &pb.Command{Kind: &pb.Command_RegisterIncarnation{RegisterIncarnation: &pb.RegisterIncarnation{
		Broker: broker, Directory: directory, Previous: uint64(previous), PreviousEnd: int64(end),
	}}}
}

// NewOpenIncarnation allows placing and committing under inc (E27).
func NewOpenIncarnation(inc ident.Incarnation) *pb.Command {
	return &pb.Command{Kind: &pb.Command_OpenIncarnation{OpenIncarnation: &pb.OpenIncarnation{Incarnation: uint64(inc)}}}
}

// NewRetireTail forgets a tail that inc holds.
func NewRetireTail(inc, tail ident.Incarnation) *pb.Command {
	return &pb.Command{Kind: &pb.Command_RetireTail{RetireTail: &pb.RetireTail{Incarnation: uint64(inc), Tail: uint64(tail)}}}
}

// TopicSpec is a topic to be created.
type TopicSpec struct {
	ID                ident.TopicID
	Name              string
	Partitions        int32
	ReplicationFactor int16
	Configs           map[string]string // only what was set
	// Leaders names the broker that leads each partition. If it is empty, the brokers take turns.
	Leaders []int32
}

// NewCreateTopic creates a topic.
func NewCreateTopic(t TopicSpec) *pb.Command {
	return &pb.Command{Kind: &pb.Command_CreateTopic{CreateTopic: &pb.CreateTopic{
		Topic: t.ID[:], Name: t.Name, PartitionCount: t.Partitions,
		ReplicationFactor: int32(t.ReplicationFactor), Configs: configsTo(t.Configs), Leaders: t.Leaders,
	}}}
}

// NewDeleteTopic deletes the topic with this id.
func NewDeleteTopic(id ident.TopicID) *pb.Command {
	return &pb.Command{Kind: &pb.Command_DeleteTopic{DeleteTopic: &pb.DeleteTopic{Topic: id[:]}}}
}

// NewCreatePartitions grows a topic to count partitions.
func NewCreatePartitions(id ident.TopicID, count int32, leaders ...int32) *pb.Command {
	return &pb.Command{Kind: &pb.Command_CreatePartitions{CreatePartitions: &pb.CreatePartitions{Topic: id[:], PartitionCount: count, Leaders: leaders}}}
}

// NewSetConfigs replaces everything that is set on a topic, if previous is what is set now.
func NewSetConfigs(id ident.TopicID, previous, configs map[string]string) *pb.Command {
	return &pb.Command{Kind: &pb.Command_SetConfigs{SetConfigs: &pb.SetConfigs{
		Topic: id[:], Configs: configsTo(configs), Compares: true, Previous: configsTo(previous),
	}}}
}

// NewSetBrokerConfigs replaces everything that is set on a broker, or on catalog.AllBrokers, if
// previous is what is set now.
func NewSetBrokerConfigs(broker int32, previous, configs map[string]string) *pb.Command {
	return &pb.Command{Kind: &pb.Command_SetBrokerConfigs{SetBrokerConfigs: &pb.SetBrokerConfigs{
		Broker: broker, Configs: configsTo(configs), Previous: configsTo(previous),
	}}}
}

// NewAllocateProducerIds takes a block of ProducerBlockCount producer ids.
func NewAllocateProducerIds() *pb.Command {
	return &pb.Command{Kind: &pb.Command_AllocateProducerIds{AllocateProducerIds: &pb.AllocateProducerIds{}}}
}

// NewReserveObjects prepares count object ids for inc until expires.
func NewReserveObjects(inc ident.Incarnation, count int, expires time.Time) *pb.Command {
	return &pb.Command{Kind: &pb.Command_ReserveObjects{ReserveObjects: &pb.ReserveObjects{
		Incarnation: uint64(inc), Count: int32(count), ExpiresMs: expires.UnixMilli(),
	}}}
}

// NewCommitFlush commits bundles.
func NewCommitFlush(c catalog.Commit) *pb.Command {
	return &pb.Command{Kind: &pb.Command_CommitFlush{CommitFlush: &pb.CommitFlush{
		Incarnation: uint64(c.Incarnation), Number: c.Number, Bundles: convertAll(c.Bundles, bundleTo),
	}}}
}

func bundleTo(b catalog.CommitBundle) *pb.CommitBundle {
	return &pb.CommitBundle{Object: uint64(b.Object), Bytes: b.Bytes, Ranges: convertAll(b.Ranges, commitRangeTo)}
}

// CommitPartBytes returns how many bytes of a command the bundle takes: at most
// catalog.CommitPartBytesMax, and together with the other bundles less than CommandBytesMax (E17).
func CommitPartBytes(b catalog.CommitBundle) int { return proto.Size(bundleTo(b)) }

// CommitRangeBytes returns how many bytes of its bundle's part one range takes, so that a flush can
// cut bundles while it gathers them.
func CommitRangeBytes(r catalog.CommitRange) int {
	n := proto.Size(commitRangeTo(r))
	return n + 1 + varintBytes(n)
}

func varintBytes(n int) int {
	bytes := 1
	for ; n >= 0x80; n >>= 7 {
		bytes++
	}
	return bytes
}

// checkPartSizes checks that each bundle keeps to its part (E17).
func checkPartSizes(cmd *pb.Command) error {
	for _, b := range cmd.GetCommitFlush().GetBundles() {
		if n := proto.Size(b); n > catalog.CommitPartBytesMax {
			return fmt.Errorf("metadata: encode CommitFlush: bundle %s takes %d bytes, at most %d: %w",
				ident.ObjectID(b.Object), n, catalog.CommitPartBytesMax, ErrTooLarge)
		}
	}
	return nil
}

// NewSwapManifest replaces a partition's manifest.
func NewSwapManifest(c catalog.ManifestSwap) *pb.Command {
	return &pb.Command{Kind: &pb.Command_SwapManifest{SwapManifest: &pb.SwapManifest{
		Partition: partitionTo(c.Partition), Incarnation: uint64(c.Incarnation), OldVersion: c.OldVersion,
		Manifest: manifestTo(c.New), Absorbed: convertAll(c.Absorbed, rangeTo),
		NewObjects: objectsTo(c.NewObjects), Dropped: objectsTo(c.Dropped),
	}}}
}

// NewReleaseRanges takes ranges out of a partition's manifest.
func NewReleaseRanges(c catalog.RangeRelease) *pb.Command {
	return &pb.Command{Kind: &pb.Command_ReleaseRanges{ReleaseRanges: &pb.ReleaseRanges{
		Partition: partitionTo(c.Partition), Incarnation: uint64(c.Incarnation), OldVersion: c.OldVersion,
		Manifest: manifestTo(c.New), Released: objectsTo(c.Released),
		NewObjects: objectsTo(c.NewObjects), Dropped: objectsTo(c.Dropped),
	}}}
}

// NewExpireObjects turns prepared objects that are past their expiry into garbage.
func NewExpireObjects() *pb.Command {
	return &pb.Command{Kind: &pb.Command_ExpireObjects{ExpireObjects: &pb.ExpireObjects{}}}
}

// NewAdvanceLogStart moves the log start of a partition, which inc must lead.
func NewAdvanceLogStart(inc ident.Incarnation, tp ident.TopicPartition, start ident.Offset) *pb.Command {
	return &pb.Command{Kind: &pb.Command_AdvanceLogStart{AdvanceLogStart: &pb.AdvanceLogStart{
		Partition: partitionTo(tp), Incarnation: uint64(inc), Start: int64(start),
	}}}
}

// NewSnapshotStored reports that a link of the chain is in the bucket.
func NewSnapshotStored(s StoredSnapshot) *pb.Command {
	return &pb.Command{Kind: &pb.Command_SnapshotStored{SnapshotStored: &pb.SnapshotStored{Snapshot: storedTo(s)}}}
}

// NewConfirmDeleted reports that objects are gone from the bucket.
func NewConfirmDeleted(ids []ident.ObjectID) *pb.Command {
	return &pb.Command{Kind: &pb.Command_ConfirmDeleted{ConfirmDeleted: &pb.ConfirmDeleted{Objects: objectsTo(ids)}}}
}

// CommandName names a command's kind for logs and errors.
func CommandName(cmd *pb.Command) string {
	if cmd == nil || cmd.Kind == nil {
		return "unknown command"
	}
	m := cmd.ProtoReflect()
	f := m.WhichOneof(m.Descriptor().Oneofs().ByName("kind"))
	return string(f.Message().Name())
}
