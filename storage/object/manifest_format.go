package object

import (
	"fmt"
	"math"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
)

// A manifest object, little-endian: root and leaf share one layout. The root
// names leaves and holds the newest ranges itself; a leaf holds ranges only.
//
//	  0  4  magic           0x464D4C53, "SLMF"
//	  4  2  formatVersion   1
//	  6  1  kind            1 root, 2 leaf
//	  7  1  flags           0; readers refuse bits that they do not know
//	  8  4  bytes           of the whole object, at most ManifestBytesMax
//	 12  4  crc32c          of bytes 0 to 11 and 16 to the end
//	 16  8  object          its own id
//	 24  8  writer          incarnation
//	 32 16  topicID
//	 48  4  partition
//	 52  1  clusterBytes    1 to clusterIDMax
//	 53  3  zero
//	 56 32  clusterID       padded with zeros
//	 88  8  version         root: of the manifest, 1 with the first; leaf: 0
//	 96  8  start           offset of the first live range
//	104  8  end             offset after the last range
//	112  8  rangeCount      live ranges, those of the leaves included
//	120  8  dataBytes       of their batches
//	128  4  leafCount       at most LeavesMax; leaf: 0
//	132  4  inlineCount     ranges in this object, at most LeafRangesMax
//	136  4  skip            how many ranges of the first leaf are released; leaf: 0
//	140  4  zero
//	144     leaves          leafCount × leafRefBytes, rising
//	        ranges          inlineCount × rangeBytes, rising, after the leaves' ranges
//
// A leaf's reference:
//
//	 0  8  object
//	 8  8  writer
//	16  8  start           of its first range, released or not
//	24  8  end
//	32  8  dataBytes       of all its ranges
//	40  8  maxTimestamp    milliseconds, of the newest range; -1 if that of any is not known
//	48  4  bytes           of the leaf object
//	52  4  crc32c          of the whole leaf object
//	56  4  rangeCount      1 to LeafRangesMax
//	60  4  zero
//
// A range:
//
//	 0  8  object
//	 8  8  writer
//	16  8  objectBytes
//	24  8  start
//	32  8  end
//	40  8  incarnation
//	48  4  epoch
//	52  4  indexBytes
//	56  8  indexPosition
//	64  8  bytes           of batches
//	72  8  maxTimestamp    milliseconds, of the newest batch; -1 not known
//
// These values are on disk: changing one makes a new version.
const (
	manifestMagic   = 0x464D4C53
	manifestVersion = 1

	manifestHeaderBytes = 144
	leafRefBytes        = 64
	rangeBytes          = 80

	// LeavesMax and LeafRangesMax bound a manifest to some 16 million ranges (E17).
	LeavesMax     = 4096
	LeafRangesMax = 4096
	// ManifestBytesMax bounds a manifest object: a full root is the largest.
	ManifestBytesMax = manifestHeaderBytes + LeavesMax*leafRefBytes + LeafRangesMax*rangeBytes
)

type manifestKind uint8

const (
	kindRoot manifestKind = 1
	kindLeaf manifestKind = 2
)

// LeafRef is what a root says about a leaf.
type LeafRef struct {
	Object       ident.ObjectID
	Writer       ident.Incarnation
	Start, End   ident.Offset // of all its ranges, released or not
	DataBytes    int64
	MaxTimestamp int64 // milliseconds, -1 not known
	Bytes        int32 // of the leaf object
	CRC          uint32
	RangeCount   int32
}

// ManifestHeader is what root and leaf have in common.
type ManifestHeader struct {
	ClusterID  string
	Object     ident.ObjectID
	Writer     ident.Incarnation
	Partition  ident.TopicPartition
	Start, End ident.Offset
	RangeCount int64 // live
	DataBytes  int64 // of live ranges
}

// Root is one version of a partition's manifest. It is immutable once decoded or planned.
type Root struct {
	ManifestHeader
	Version uint64
	Leaves  []LeafRef       // oldest first
	Skip    int32           // number of released ranges at the front of the first leaf
	Ranges  []catalog.Range // newer than all leaves
}

// Leaf is a run of a partition's ranges, oldest first.
type Leaf struct {
	ManifestHeader
	Ranges []catalog.Range
}

func (h *ManifestHeader) encode(kind manifestKind, version uint64, leaves, ranges int, skip int32) []byte {
	b := make([]byte, 0, manifestHeaderBytes+leaves*leafRefBytes+ranges*rangeBytes)
	b = le.AppendUint32(b, manifestMagic)
	b = le.AppendUint16(b, manifestVersion)
	b = append(b, byte(kind), 0)
	b = le.AppendUint64(b, 0) // bytes and crc32c; closeManifest sets them
	b = le.AppendUint64(b, uint64(h.Object))
	b = le.AppendUint64(b, uint64(h.Writer))
	b = append(b, h.Partition.Topic[:]...)
	b = le.AppendUint32(b, uint32(h.Partition.Index))
	b = append(b, byte(len(h.ClusterID)), 0, 0, 0)
	b = append(b, h.ClusterID...)
	b = append(b, make([]byte, clusterIDMax-len(h.ClusterID))...)
	b = le.AppendUint64(b, version)
	b = le.AppendUint64(b, uint64(h.Start))
	b = le.AppendUint64(b, uint64(h.End))
	b = le.AppendUint64(b, uint64(h.RangeCount))
	b = le.AppendUint64(b, uint64(h.DataBytes))
	b = le.AppendUint32(b, uint32(leaves))
	b = le.AppendUint32(b, uint32(ranges))
	b = le.AppendUint32(b, uint32(skip))
	return le.AppendUint32(b, 0)
}

// closeManifest sets length and checksum.
func closeManifest(b []byte) []byte {
	le.PutUint32(b[8:], uint32(len(b)))
	le.PutUint32(b[12:], blockChecksum(b))
	return b
}

// encode returns the root's bytes.
func (r *Root) encode() []byte {
	b := r.ManifestHeader.encode(kindRoot, r.Version, len(r.Leaves), len(r.Ranges), r.Skip)
	for i := range r.Leaves {
		b = r.Leaves[i].encode(b)
	}
	return closeManifest(appendRanges(b, r.Ranges))
}

// encode returns the leaf's bytes.
func (l *Leaf) encode() []byte {
	b := l.ManifestHeader.encode(kindLeaf, 0, 0, len(l.Ranges), 0)
	return closeManifest(appendRanges(b, l.Ranges))
}

func (l *LeafRef) encode(b []byte) []byte {
	b = le.AppendUint64(b, uint64(l.Object))
	b = le.AppendUint64(b, uint64(l.Writer))
	b = le.AppendUint64(b, uint64(l.Start))
	b = le.AppendUint64(b, uint64(l.End))
	b = le.AppendUint64(b, uint64(l.DataBytes))
	b = le.AppendUint64(b, uint64(l.MaxTimestamp))
	b = le.AppendUint32(b, uint32(l.Bytes))
	b = le.AppendUint32(b, l.CRC)
	b = le.AppendUint32(b, uint32(l.RangeCount))
	return le.AppendUint32(b, 0)
}

func decodeLeafRef(b []byte) LeafRef {
	return LeafRef{
		Object:       ident.ObjectID(le.Uint64(b)),
		Writer:       ident.Incarnation(le.Uint64(b[8:])),
		Start:        ident.Offset(le.Uint64(b[16:])),
		End:          ident.Offset(le.Uint64(b[24:])),
		DataBytes:    int64(le.Uint64(b[32:])),
		MaxTimestamp: int64(le.Uint64(b[40:])),
		Bytes:        int32(le.Uint32(b[48:])),
		CRC:          le.Uint32(b[52:]),
		RangeCount:   int32(le.Uint32(b[56:])),
	}
}

func appendRanges(b []byte, ranges []catalog.Range) []byte {
	for i := range ranges {
		r := &ranges[i]
		b = le.AppendUint64(b, uint64(r.Object))
		b = le.AppendUint64(b, uint64(r.Writer))
		b = le.AppendUint64(b, uint64(r.ObjectBytes))
		b = le.AppendUint64(b, uint64(r.Start))
		b = le.AppendUint64(b, uint64(r.End))
		b = le.AppendUint64(b, uint64(r.Incarnation))
		b = le.AppendUint32(b, uint32(r.Epoch))
		b = le.AppendUint32(b, uint32(r.Index.Bytes))
		b = le.AppendUint64(b, uint64(r.Index.Position))
		b = le.AppendUint64(b, uint64(r.Bytes))
		b = le.AppendUint64(b, uint64(r.MaxTimestamp))
	}
	return b
}

func decodeRange(b []byte) catalog.Range {
	return catalog.Range{
		Object:       ident.ObjectID(le.Uint64(b)),
		Writer:       ident.Incarnation(le.Uint64(b[8:])),
		ObjectBytes:  int64(le.Uint64(b[16:])),
		Start:        ident.Offset(le.Uint64(b[24:])),
		End:          ident.Offset(le.Uint64(b[32:])),
		Incarnation:  ident.Incarnation(le.Uint64(b[40:])),
		Epoch:        ident.Epoch(le.Uint32(b[48:])),
		Index:        catalog.Extent{Bytes: int32(le.Uint32(b[52:])), Position: int64(le.Uint64(b[56:]))},
		Bytes:        int64(le.Uint64(b[64:])),
		MaxTimestamp: int64(le.Uint64(b[72:])),
	}
}

// DecodeRoot reads a root and checks it against what the quorum says about it.
func DecodeRoot(b []byte, tp ident.TopicPartition, want catalog.Manifest) (*Root, error) {
	c := checker{object: want.Object}
	c.equal("bytes of manifest", uint64(len(b)), uint64(want.Bytes))
	c.equal("crc32c of manifest", uint64(checksum(b)), uint64(want.CRC))
	if c.err != nil {
		return nil, c.err
	}
	r, err := decodeRoot(b)
	if err != nil {
		return nil, err
	}
	c.equal("object of manifest", uint64(r.Object), uint64(want.Object))
	c.equal("version of manifest", r.Version, want.Version)
	c.equal("start of manifest", uint64(r.Start), uint64(want.Start))
	c.equal("end of manifest", uint64(r.End), uint64(want.End))
	c.equal("ranges of manifest", uint64(r.RangeCount), uint64(want.RangeCount))
	c.equal("data of manifest", uint64(r.DataBytes), uint64(want.DataBytes))
	if c.err == nil && r.Partition != tp {
		c.err = fmt.Errorf("%w: manifest %s is of partition %s, want %s", ErrCorrupt, r.Object, r.Partition, tp)
	}
	return r, c.err
}

// DecodeLeaf reads a leaf and checks it against what its root says about it.
func DecodeLeaf(b []byte, tp ident.TopicPartition, want LeafRef) (*Leaf, error) {
	c := checker{object: want.Object}
	c.equal("bytes of leaf", uint64(len(b)), uint64(want.Bytes))
	c.equal("crc32c of leaf", uint64(checksum(b)), uint64(want.CRC))
	if c.err != nil {
		return nil, c.err
	}
	l, err := decodeLeaf(b)
	if err != nil {
		return nil, err
	}
	c.equal("object of leaf", uint64(l.Object), uint64(want.Object))
	c.equal("start of leaf", uint64(l.Start), uint64(want.Start))
	c.equal("end of leaf", uint64(l.End), uint64(want.End))
	c.equal("ranges of leaf", uint64(l.RangeCount), uint64(want.RangeCount))
	c.equal("data of leaf", uint64(l.DataBytes), uint64(want.DataBytes))
	if c.err == nil && l.Partition != tp {
		c.err = fmt.Errorf("%w: leaf %s is of partition %s, want %s", ErrCorrupt, l.Object, l.Partition, tp)
	}
	return l, c.err
}

func decodeRoot(b []byte) (*Root, error) {
	h, c, err := decodeManifestHeader(b, kindRoot)
	if err != nil {
		return nil, err
	}
	leaves, ranges := le.Uint32(b[128:]), le.Uint32(b[132:])
	r := &Root{ManifestHeader: h, Version: le.Uint64(b[88:]), Skip: int32(le.Uint32(b[136:]))}
	rest := b[manifestHeaderBytes:]
	var live, data uint64
	end := ident.Offset(0)
	for range leaves {
		l := decodeLeafRef(rest)
		c.follows("leaf", l.Start, l.End, end)
		c.most("ranges of leaf", uint64(uint32(l.RangeCount)), LeafRangesMax)
		c.most("bytes of leaf", uint64(uint32(l.Bytes)), ManifestBytesMax)
		r.Leaves, rest, end = append(r.Leaves, l), rest[leafRefBytes:], l.End
		live += uint64(l.RangeCount)
		data += uint64(l.DataBytes)
	}
	if leaves > 0 {
		c.most("released ranges", uint64(uint32(r.Skip))+1, uint64(r.Leaves[0].RangeCount))
	} else {
		c.equal("released ranges", uint64(uint32(r.Skip)), 0)
	}
	live -= uint64(uint32(r.Skip))
	if c.err != nil {
		return nil, c.err
	}
	var inline uint64
	r.Ranges, inline = c.decodeRanges(rest, ranges, end)
	c.equal("number of ranges", live+uint64(ranges), uint64(h.RangeCount))
	c.most("data of ranges", uint64(h.DataBytes), data+inline)
	c.most("one range", 1, uint64(h.RangeCount))
	if c.err != nil {
		return nil, c.err
	}
	if leaves == 0 {
		c.equal("start", uint64(h.Start), uint64(r.Ranges[0].Start))
		c.equal("data of ranges", uint64(h.DataBytes), inline)
	}
	if n := len(r.Ranges); n > 0 {
		end = r.Ranges[n-1].End
	}
	c.equal("end", uint64(h.End), uint64(end))
	return r, c.err
}

func decodeLeaf(b []byte) (*Leaf, error) {
	h, c, err := decodeManifestHeader(b, kindLeaf)
	if err != nil {
		return nil, err
	}
	count := le.Uint32(b[132:])
	l := &Leaf{ManifestHeader: h}
	var data uint64
	c.equal("leaves of a leaf", uint64(le.Uint32(b[128:]))+uint64(le.Uint32(b[136:])), 0)
	c.most("one range", 1, uint64(count))
	if c.err != nil {
		return nil, c.err
	}
	l.Ranges, data = c.decodeRanges(b[manifestHeaderBytes:], count, 0)
	c.equal("number of ranges", uint64(count), uint64(h.RangeCount))
	c.equal("data of ranges", data, uint64(h.DataBytes))
	if c.err == nil {
		c.equal("start", uint64(h.Start), uint64(l.Ranges[0].Start))
		c.equal("end", uint64(h.End), uint64(l.Ranges[count-1].End))
	}
	return l, c.err
}

// decodeManifestHeader verifies the object as a whole: magic, version, length, checksum, and that
// its counts fit its length.
func decodeManifestHeader(b []byte, kind manifestKind) (ManifestHeader, *checker, error) {
	c := &checker{}
	c.most("header of manifest", manifestHeaderBytes, uint64(len(b)))
	if c.err != nil {
		return ManifestHeader{}, c, c.err
	}
	c.object = ident.ObjectID(le.Uint64(b[16:]))
	c.equal("manifest magic", uint64(le.Uint32(b)), manifestMagic)
	c.version("manifest", le.Uint16(b[4:]), manifestVersion, uint16(b[7]))
	c.equal("length of manifest", uint64(le.Uint32(b[8:])), uint64(len(b)))
	c.equal("manifest crc32c", uint64(blockChecksum(b)), uint64(le.Uint32(b[12:])))
	c.equal("kind of manifest", uint64(b[6]), uint64(kind))
	leaves, ranges := uint64(le.Uint32(b[128:])), uint64(le.Uint32(b[132:]))
	c.most("number of leaves", leaves, LeavesMax)
	c.most("number of ranges", ranges, LeafRangesMax)
	c.equal("bytes of manifest", uint64(len(b)), manifestHeaderBytes+leaves*leafRefBytes+ranges*rangeBytes)
	c.most("length of cluster id", uint64(b[52]), clusterIDMax)
	c.most("end", le.Uint64(b[104:]), math.MaxInt64)
	c.most("start", le.Uint64(b[96:]), le.Uint64(b[104:]))
	if c.err != nil {
		return ManifestHeader{}, c, c.err
	}
	return ManifestHeader{
		Object:     c.object,
		Writer:     ident.Incarnation(le.Uint64(b[24:])),
		Partition:  ident.TopicPartition{Topic: ident.TopicID(b[32:48]), Index: int32(le.Uint32(b[48:]))},
		ClusterID:  string(b[56:][:b[52]]),
		Start:      ident.Offset(le.Uint64(b[96:])),
		End:        ident.Offset(le.Uint64(b[104:])),
		RangeCount: int64(le.Uint64(b[112:])),
		DataBytes:  int64(le.Uint64(b[120:])),
	}, c, nil
}

// follows requires [start, end) not to be empty and not to begin below from. A gap is legal: the
// log start may have passed the committed end.
func (c *checker) follows(what string, start, end, from ident.Offset) {
	c.most("start of "+what+" after the one before", uint64(from), uint64(start))
	c.most("end of "+what, uint64(end), math.MaxInt64)
	if c.err == nil {
		c.most("start of "+what, uint64(start)+1, uint64(end))
	}
}

// decodeRanges reads count ranges and sums up their bytes.
func (c *checker) decodeRanges(b []byte, count uint32, from ident.Offset) ([]catalog.Range, uint64) {
	ranges := make([]catalog.Range, count)
	var data uint64
	for i := range ranges {
		r := decodeRange(b[i*rangeBytes:])
		c.follows("range", r.Start, r.End, from)
		ranges[i], from = r, r.End
		data += uint64(r.Bytes)
	}
	return ranges, data
}
