package metadata

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/sluicemq/sluice/ident"
)

// A link of the snapshot chain, the object snap/<n>, little-endian:
//
//	 0  4  magic           "SLSN"
//	 4  2  version         1; readers refuse any other
//	 6  2  flags           0; readers refuse bits they do not know
//	 8  8  number          n: 1 is the first, no number is left out
//	16  8  index           of the last command that the snapshot holds
//	24  2  generation
//	26  2  directoryBytes  at most 64
//	28  4  previousCRC     the last four bytes of link n-1; 0 in link 1
//	32  4  snapshotBytes   at most 1 GiB
//	36     directory       UUID of the writer's data directory
//	       snapshot        a snapshot frame (frame.go)
//	    4  crc32c          of all bytes before
//
// These values are in the bucket: changing one makes a new version.
const (
	linkMagic         = "SLSN"
	linkVersion       = 1
	linkHeaderBytes   = 36
	directoryBytesMax = 64
)

// linkBytesMax bounds how much of a link is read.
const linkBytesMax = linkHeaderBytes + directoryBytesMax + frameBytes + snapshotBytesMax + 4

// Link is one snapshot in the chain.
type Link struct {
	Number      uint64
	Index       uint64
	Generation  ident.Generation
	Directory   string // the UUID of the writer's data directory
	PreviousCRC uint32
	Snapshot    []byte // a snapshot frame: DecodeSnapshot reads it
	CRC         uint32 // of the whole link; EncodeLink sets it
}

// Stored returns what SnapshotStored tells the quorum about the link.
func (l *Link) Stored() StoredSnapshot {
	return StoredSnapshot{Number: l.Number, Index: l.Index, CRC: l.CRC, Generation: l.Generation}
}

// State decodes the link's snapshot for a restore. The state knows that it is stored as this link.
func (l *Link) State() (*State, error) {
	s, err := DecodeSnapshot(l.Snapshot)
	if err != nil {
		return nil, fmt.Errorf("metadata: %s: %w", LinkKey(l.Number), err)
	}
	if s.index != l.Index || s.generation != l.Generation {
		return nil, fmt.Errorf("metadata: %s: %w: header and snapshot differ in index or generation", LinkKey(l.Number), ErrCorrupt)
	}
	s.stored = l.Stored()
	return s, nil
}

// EncodeLink returns the bytes of a link and sets its CRC.
func EncodeLink(l *Link) ([]byte, error) {
	if len(l.Directory) == 0 || len(l.Directory) > directoryBytesMax || l.Number == 0 {
		return nil, fmt.Errorf("metadata: encode link %d: %w: directory UUID of %d bytes", l.Number, ErrInvalidCommand, len(l.Directory))
	}
	if len(l.Snapshot) > frameBytes+snapshotBytesMax {
		return nil, fmt.Errorf("metadata: encode link %d of %d bytes: %w", l.Number, len(l.Snapshot), ErrTooLarge)
	}
	b := make([]byte, linkHeaderBytes, linkHeaderBytes+len(l.Directory)+len(l.Snapshot)+4)
	copy(b, linkMagic)
	le := binary.LittleEndian
	le.PutUint16(b[4:], linkVersion)
	le.PutUint64(b[8:], l.Number)
	le.PutUint64(b[16:], l.Index)
	le.PutUint16(b[24:], uint16(l.Generation))
	le.PutUint16(b[26:], uint16(len(l.Directory)))
	le.PutUint32(b[28:], l.PreviousCRC)
	le.PutUint32(b[32:], uint32(len(l.Snapshot)))
	b = append(b, l.Directory...)
	b = append(b, l.Snapshot...)
	l.CRC = crc32.Checksum(b, castagnoli)
	return le.AppendUint32(b, l.CRC), nil
}

// DecodeLink reads a link. Its Snapshot aliases b.
func DecodeLink(b []byte) (*Link, error) {
	le := binary.LittleEndian
	if len(b) < linkHeaderBytes+4 || string(b[:4]) != linkMagic {
		return nil, fmt.Errorf("metadata: decode link: %w: not a snapshot link", ErrCorrupt)
	}
	body := b[:len(b)-4]
	if want, got := le.Uint32(b[len(body):]), crc32.Checksum(body, castagnoli); want != got {
		return nil, fmt.Errorf("metadata: decode link: %w: crc32c %08x, link says %08x", ErrCorrupt, got, want)
	}
	if v, flags := le.Uint16(b[4:]), le.Uint16(b[6:]); v != linkVersion || flags != 0 {
		return nil, fmt.Errorf("metadata: decode link: %w: format version %d flags %#x, this build reads version %d", ErrUnknownCommand, v, flags, linkVersion)
	}
	directory, snapshot := int64(le.Uint16(b[26:])), int64(le.Uint32(b[32:]))
	if directory == 0 || directory > directoryBytesMax || linkHeaderBytes+directory+snapshot != int64(len(body)) {
		return nil, fmt.Errorf("metadata: decode link: %w: lengths %d and %d do not fill %d bytes", ErrCorrupt, directory, snapshot, len(b))
	}
	return &Link{
		Number: le.Uint64(b[8:]), Index: le.Uint64(b[16:]), Generation: ident.Generation(le.Uint16(b[24:])),
		PreviousCRC: le.Uint32(b[28:]), CRC: le.Uint32(b[len(body):]),
		Directory: string(body[linkHeaderBytes : linkHeaderBytes+directory]),
		Snapshot:  body[linkHeaderBytes+directory:],
	}, nil
}

// Keys below the bucket's prefix. Everything else begins with the cluster's id.
const (
	ClusterKey = "cluster.json"
	LinkPrefix = "snap/"
)

// LinkKey is the key of link n. Keys sort as numbers do.
func LinkKey(n uint64) string { return fmt.Sprintf("%s%016d", LinkPrefix, n) }

// ParseLinkKey reads the number out of a link's key.
func ParseLinkKey(key string) (uint64, bool) {
	digits, ok := strings.CutPrefix(key, LinkPrefix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil && n > 0
}

// NewestSnapshot finds the highest link among keys. It returns false if there is none.
func NewestSnapshot(keys []string) (uint64, bool) {
	newest := uint64(0)
	for _, key := range keys {
		if n, ok := ParseLinkKey(key); ok {
			newest = max(newest, n)
		}
	}
	return newest, newest > 0
}
