package metadata

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"google.golang.org/protobuf/proto"

	"github.com/sluicemq/sluice/metadata/pb"
)

// This frame surrounds a command in the Raft log and a snapshot. All numbers are little-endian:
//
//	 0  4  magic    "SLMC" for a command, "SLMS" for a snapshot
//	 4  2  version  the lowest that can express the content; readers refuse one they do not know
//	 6  2  flags    0; readers refuse bits that they do not know
//	 8  4  bytes    length of the protobuf: at most 1 MiB for a command, 1 GiB for a snapshot
//	12  4  crc32c   of bytes 0 to 11 and of the protobuf
//	16     protobuf pb.Command or pb.Snapshot
//
// These values are on disk: changing one makes a new version.
const (
	frameBytes    = 16
	commandMagic  = "SLMC"
	snapshotMagic = "SLMS"
	// The newest: version 2 added SetBrokerConfigs, and a SetConfigs that compares.
	commandVersion = 2
	// The newest: 2 added broker_configs, 3 added classes that differ from the configs.
	snapshotVersion = 3

	snapshotBytesMax = 1 << 30
)

// CommandBytesMax is the size of the largest command, with its frame. A command is one Raft entry,
// and an entry that is too large takes the quorum down.
const CommandBytesMax = 1 << 20

// Callers decide by these errors of the formats.
var (
	ErrTooLarge       = errors.New("command is too large: split it")
	ErrCorrupt        = errors.New("metadata is damaged")
	ErrUnknownCommand = errors.New("written by a newer version of sluice: upgrade this node")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// EncodeCommand returns the bytes of a Raft entry, or ErrTooLarge.
func EncodeCommand(cmd *pb.Command) ([]byte, error) {
	if err := checkPartSizes(cmd); err != nil {
		return nil, err
	}
	b, err := appendFrame(commandMagic, commandVersionOf(cmd), cmd)
	if err != nil {
		return nil, fmt.Errorf("metadata: encode command: %w", err)
	}
	if len(b) > CommandBytesMax {
		return nil, fmt.Errorf("metadata: encode %s of %d bytes, at most %d: %w", CommandName(cmd), len(b), CommandBytesMax, ErrTooLarge)
	}
	return b, nil
}

// commandVersionOf returns the lowest version that can express the command, so that an older build
// reads every command that it can understand.
func commandVersionOf(cmd *pb.Command) uint16 {
	if cmd.GetSetBrokerConfigs() != nil || cmd.GetSetConfigs().GetCompares() {
		return 2
	}
	return 1
}

// DecodeCommand reads a Raft entry. On ErrCorrupt and on ErrUnknownCommand the node has to stop.
func DecodeCommand(b []byte) (*pb.Command, error) {
	if len(b) > CommandBytesMax {
		return nil, fmt.Errorf("metadata: decode command of %d bytes, at most %d: %w", len(b), CommandBytesMax, ErrCorrupt)
	}
	body, err := openFrame(b, commandMagic, commandVersion)
	if err != nil {
		return nil, fmt.Errorf("metadata: decode command: %w", err)
	}
	cmd := new(pb.Command)
	if err := proto.Unmarshal(body, cmd); err != nil {
		return nil, fmt.Errorf("metadata: decode command: %w: %v", ErrCorrupt, err)
	}
	if err := refuseUnknown(cmd); err != nil {
		return nil, fmt.Errorf("metadata: decode command: %w", err)
	}
	return cmd, nil
}

// refuseUnknown refuses a command whose meaning this version cannot know. It looks only at the top
// level: each field that is added deeper down raises the version number.
func refuseUnknown(cmd *pb.Command) error {
	if cmd.Kind == nil || len(cmd.ProtoReflect().GetUnknown()) > 0 {
		return ErrUnknownCommand
	}
	return nil
}

func appendFrame(magic string, version uint16, m proto.Message) ([]byte, error) {
	b := make([]byte, frameBytes, frameBytes+proto.Size(m))
	copy(b, magic)
	binary.LittleEndian.PutUint16(b[4:], version)
	b, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(b, m)
	if err != nil {
		return nil, err
	}
	if len(b)-frameBytes > snapshotBytesMax {
		return nil, fmt.Errorf("%d bytes: %w", len(b), ErrTooLarge)
	}
	binary.LittleEndian.PutUint32(b[8:], uint32(len(b)-frameBytes))
	binary.LittleEndian.PutUint32(b[12:], frameCRC(b))
	return b, nil
}

// openFrame checks the frame and returns the protobuf in it, which aliases b. newest is the highest
// version that it accepts.
func openFrame(b []byte, magic string, newest uint16) ([]byte, error) {
	if len(b) < frameBytes || string(b[:4]) != magic {
		return nil, fmt.Errorf("%w: no %s frame in %d bytes", ErrCorrupt, magic, len(b))
	}
	if n := binary.LittleEndian.Uint32(b[8:]); int64(n) != int64(len(b)-frameBytes) || n > snapshotBytesMax {
		return nil, fmt.Errorf("%w: frame says %d bytes of %d", ErrCorrupt, n, len(b)-frameBytes)
	}
	if want, got := binary.LittleEndian.Uint32(b[12:]), frameCRC(b); want != got {
		return nil, fmt.Errorf("%w: crc32c %08x, frame says %08x", ErrCorrupt, got, want)
	}
	// The version is judged after the checksum: a damaged version number is damage, not a newer
	// version.
	if v, flags := binary.LittleEndian.Uint16(b[4:]), binary.LittleEndian.Uint16(b[6:]); v < 1 || v > newest || flags != 0 {
		return nil, fmt.Errorf("%w: format version %d flags %#x, this build reads versions 1 to %d", ErrUnknownCommand, v, flags, newest)
	}
	return b[frameBytes:], nil
}

func frameCRC(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, b[frameBytes:])
}
