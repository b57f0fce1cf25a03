package object

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
)

// A bundle, little-endian:
//
//	header
//	per section: its batches, one after another, then its state block
//	index region: the section blocks, in the order of the sections
//	footer: one entry per section
//	trailer
//
// Nothing lies between these, so that a checksum covers every byte. A reader with a
// catalog.Range gets one section block and then batches; a reader without gets the
// trailer, and with one more read all section blocks.
//
// Header:
//
//	 0  4  magic           0x4E424C53, "SLBN"
//	 4  2  version         1
//	 6  2  flags           0; readers refuse bits that they do not know
//	 8  8  object          its own id
//	16  8  writer          incarnation
//	24  2  generation      of the cluster (E22)
//	26  1  clusterBytes    1 to clusterIDMax
//	27  1  zero
//	28 32  clusterID       padded with zeros
//	60  4  crc32c          of bytes 0 to 59
//
// Section block:
//
//	  0  4  magic              0x43534C53, "SLSC"
//	  4  2  version            1
//	  6  2  flags              0
//	  8  4  bytes              of this block, at most sectionBlockBytesMax
//	 12  4  crc32c             of bytes 0 to 11 and 16 to the end
//	 16  8  object             its own id: a read that went astray is noticed
//	 24  8  position           of this block in the object
//	 32 16  topicID
//	 48  8  creation           number of the topic (E26)
//	 56  4  partition
//	 60  4  partitionCount     of the topic
//	 64  2  replicationFactor
//	 66  2  nameBytes          1 to nameBytesMax
//	 68  4  configCount        at most configCountMax
//	 72  8  logStart           of the partition
//	 80  8  incarnation        in whose WAL the batches were
//	 88  4  epoch              leader epoch of all batches
//	 92  4  batchCount
//	 96  8  start              offset of the first record
//	104  8  end                offset after the last
//	112  8  walEnd             position in the incarnation's WAL up to which was read
//	120  8  dataPosition       of the first batch
//	128  8  dataBytes          of all batches
//	136  8  maxTimestamp       milliseconds, of the newest batch; -1 not known
//	144  8  statePosition      0 if there is no state block
//	152  4  stateBytes         at most stateBytesMax; the state follows the batches
//	156  4  stateCRC           of the state block
//	160  8  stateEnd           offset up to which the state reflects
//	168  8  baseObject         0 if the state is itself a base (E11)
//	176  8  baseWriter
//	184  8  basePosition
//	192  4  baseBytes
//	196  4  zero
//	200  8  baseEnd
//	208  8  baseObjectBytes
//	216     name
//	        configs            configCount × (2 keyBytes, 2 valueBytes, key, value), rising by key
//	        index              batchCount × indexEntryBytes
//
// Index entry; entry n+1 begins where entry n ends, in offsets and in the object:
//
//	 0  8  start           offset of the first record
//	 8  8  end             offset after the last
//	16  8  position        in the object
//	24  4  bytes
//	28  4  crc32c          of the whole batch as stored: base offset and leader epoch
//	                       lie outside the batch's own checksum
//	32  8  maxTimestamp    milliseconds, no record is newer; of records without times,
//	                       when they arrived; -1 not known: earlier releases wrote that
//
// Footer entry:
//
//	 0  8  blockPosition   of the section block
//	 8  4  blockBytes
//	12  4  partition
//	16 16  topicID
//
// Trailer:
//
//	 0  4  magic           0x52544C53, "SLTR"
//	 4  2  version         1
//	 6  2  flags           0
//	 8  8  object          its own id
//	16  8  indexPosition   of the index region
//	24  8  footerPosition
//	32  8  objectBytes     of the whole object
//	40  4  sectionCount    1 to sectionCountMax
//	44  4  footerCRC       of the footer entries
//	48  4  clusterHash     crc32c of the cluster id
//	52  4  crc32c          of bytes 0 to 51
//
// These values are on disk: changing one makes a new version.
const (
	headerMagic  = 0x4E424C53
	sectionMagic = 0x43534C53
	trailerMagic = 0x52544C53

	bundleVersion = 1

	headerBytes      = 64
	sectionBytes     = 216
	indexEntryBytes  = 40
	footerEntryBytes = 32
	trailerBytes     = 56

	clusterIDMax         = 32
	nameBytesMax         = 249 // Kafka's limit for topic names
	configCountMax       = 1 << 10
	configBytesMax       = 1<<16 - 1
	stateBytesMax        = 16 << 20
	sectionBlockBytesMax = 32 << 20
	sectionCountMax      = 1 << 16
	// indexRegionBytesMax bounds index region and footer together, since a reader holds both in
	// memory.
	indexRegionBytesMax = 64 << 20
)

var (
	le         = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// blockChecksum covers a block that holds its own checksum in bytes 12 to 15.
func blockChecksum(b []byte) uint32 { return crc32.Update(checksum(b[:12]), castagnoli, b[16:]) }

// Header says which object this is and who wrote it.
type Header struct {
	ClusterID   string
	Generation  ident.Generation
	Object      ident.ObjectID
	Incarnation ident.Incarnation // of the writer: catalog.Range.Writer
}

func (h *Header) encode() []byte {
	b := make([]byte, 0, headerBytes)
	b = le.AppendUint32(b, headerMagic)
	b = le.AppendUint16(b, bundleVersion)
	b = le.AppendUint16(b, 0)
	b = le.AppendUint64(b, uint64(h.Object))
	b = le.AppendUint64(b, uint64(h.Incarnation))
	b = le.AppendUint16(b, uint16(h.Generation))
	b = append(b, byte(len(h.ClusterID)), 0)
	b = append(b, h.ClusterID...)
	b = append(b, make([]byte, clusterIDMax-len(h.ClusterID))...)
	return le.AppendUint32(b, checksum(b))
}

// DecodeHeader reads and verifies the first HeaderBytes of a bundle.
func DecodeHeader(b []byte) (Header, error) {
	c := checker{}
	c.equal("length of header", uint64(len(b)), headerBytes)
	if c.err != nil {
		return Header{}, c.err
	}
	c.object = ident.ObjectID(le.Uint64(b[8:]))
	c.equal("header magic", uint64(le.Uint32(b)), headerMagic)
	c.version("header", le.Uint16(b[4:]), bundleVersion, le.Uint16(b[6:]))
	c.equal("header crc32c", uint64(checksum(b[:60])), uint64(le.Uint32(b[60:])))
	c.most("length of cluster id", uint64(b[26]), clusterIDMax)
	if c.err != nil {
		return Header{}, c.err
	}
	return Header{
		ClusterID:   string(b[28:][:b[26]]),
		Generation:  ident.Generation(le.Uint16(b[24:])),
		Object:      c.object,
		Incarnation: ident.Incarnation(le.Uint64(b[16:])),
	}, nil
}

// HeaderBytes is the length of a bundle's header.
const HeaderBytes = headerBytes

// encode appends the section block with its position still open. placeSection fills the position
// in.
func (s *sectionDraft) encode(b []byte) []byte {
	b = le.AppendUint32(b, sectionMagic)
	b = le.AppendUint16(b, bundleVersion)
	b = le.AppendUint16(b, 0)
	b = append(b, make([]byte, 24)...) // bytes, crc32c, object and position
	b = append(b, s.Topic[:]...)
	b = le.AppendUint64(b, s.Creation)
	b = le.AppendUint32(b, uint32(s.Partition))
	b = le.AppendUint32(b, uint32(s.PartitionCount))
	b = le.AppendUint16(b, uint16(s.ReplicationFactor))
	b = le.AppendUint16(b, uint16(len(s.Name)))
	b = le.AppendUint32(b, uint32(len(s.Configs)))
	b = le.AppendUint64(b, uint64(s.LogStart))
	b = le.AppendUint64(b, uint64(s.Incarnation))
	b = le.AppendUint32(b, uint32(s.Epoch))
	b = le.AppendUint32(b, uint32(len(s.index)))
	b = le.AppendUint64(b, uint64(s.Start))
	b = le.AppendUint64(b, uint64(s.End))
	b = le.AppendUint64(b, uint64(s.WALEnd))
	b = le.AppendUint64(b, uint64(s.dataPosition))
	b = le.AppendUint64(b, uint64(s.dataBytes))
	b = le.AppendUint64(b, uint64(s.maxTimestamp))
	b = le.AppendUint64(b, uint64(s.state.Position))
	b = le.AppendUint32(b, uint32(s.state.Bytes))
	b = le.AppendUint32(b, s.stateCRC)
	b = le.AppendUint64(b, uint64(s.StateEnd))
	b = appendBase(b, &s.Base)
	b = append(b, s.Name...)
	for _, key := range s.configKeys {
		b = le.AppendUint16(b, uint16(len(key)))
		b = le.AppendUint16(b, uint16(len(s.Configs[key])))
		b = append(b, key...)
		b = append(b, s.Configs[key]...)
	}
	for i := range s.index {
		b = s.index[i].encode(b)
	}
	return b
}

func appendBase(b []byte, r *catalog.StateRef) []byte {
	b = le.AppendUint64(b, uint64(r.Object))
	b = le.AppendUint64(b, uint64(r.Writer))
	b = le.AppendUint64(b, uint64(r.Extent.Position))
	b = le.AppendUint32(b, uint32(r.Extent.Bytes))
	b = le.AppendUint32(b, 0)
	b = le.AppendUint64(b, uint64(r.End))
	return le.AppendUint64(b, uint64(r.ObjectBytes))
}

func decodeBase(b []byte) catalog.StateRef {
	return catalog.StateRef{
		Object:      ident.ObjectID(le.Uint64(b)),
		Writer:      ident.Incarnation(le.Uint64(b[8:])),
		Extent:      catalog.Extent{Position: int64(le.Uint64(b[16:])), Bytes: int32(le.Uint32(b[24:]))},
		End:         ident.Offset(le.Uint64(b[32:])),
		ObjectBytes: int64(le.Uint64(b[40:])),
	}
}

// placeSection gives an encoded section block its place and its checksum.
func placeSection(b []byte, object ident.ObjectID, position int64) {
	le.PutUint32(b[8:], uint32(len(b)))
	le.PutUint64(b[16:], uint64(object))
	le.PutUint64(b[24:], uint64(position))
	le.PutUint32(b[12:], blockChecksum(b))
}

func (e *IndexEntry) encode(b []byte) []byte {
	b = le.AppendUint64(b, uint64(e.Start))
	b = le.AppendUint64(b, uint64(e.End))
	b = le.AppendUint64(b, uint64(e.Position))
	b = le.AppendUint32(b, uint32(e.Bytes))
	b = le.AppendUint32(b, e.CRC)
	return le.AppendUint64(b, uint64(e.MaxTimestamp))
}

func decodeIndexEntry(b []byte) IndexEntry {
	return IndexEntry{
		Start:        ident.Offset(le.Uint64(b)),
		End:          ident.Offset(le.Uint64(b[8:])),
		Position:     int64(le.Uint64(b[16:])),
		Bytes:        int32(le.Uint32(b[24:])),
		CRC:          le.Uint32(b[28:]),
		MaxTimestamp: int64(le.Uint64(b[32:])),
	}
}

// trailer is the end of a bundle.
type trailer struct {
	object                        ident.ObjectID
	indexPosition, footerPosition int64
	objectBytes                   int64
	sectionCount                  int
	footerCRC, clusterHash        uint32
}

func (t *trailer) encode(b []byte) []byte {
	from := len(b)
	b = le.AppendUint32(b, trailerMagic)
	b = le.AppendUint16(b, bundleVersion)
	b = le.AppendUint16(b, 0)
	b = le.AppendUint64(b, uint64(t.object))
	b = le.AppendUint64(b, uint64(t.indexPosition))
	b = le.AppendUint64(b, uint64(t.footerPosition))
	b = le.AppendUint64(b, uint64(t.objectBytes))
	b = le.AppendUint32(b, uint32(t.sectionCount))
	b = le.AppendUint32(b, t.footerCRC)
	b = le.AppendUint32(b, t.clusterHash)
	return le.AppendUint32(b, checksum(b[from:]))
}

// decodeTrailer reads the last trailerBytes of an object of the given size.
func decodeTrailer(b []byte, objectBytes int64) (*trailer, error) {
	c := checker{object: ident.ObjectID(le.Uint64(b[8:])), position: objectBytes - trailerBytes}
	c.equal("trailer magic", uint64(le.Uint32(b)), trailerMagic)
	c.version("trailer", le.Uint16(b[4:]), bundleVersion, le.Uint16(b[6:]))
	c.equal("trailer crc32c", uint64(checksum(b[:52])), uint64(le.Uint32(b[52:])))
	t := &trailer{
		object:         c.object,
		indexPosition:  int64(le.Uint64(b[16:])),
		footerPosition: int64(le.Uint64(b[24:])),
		objectBytes:    int64(le.Uint64(b[32:])),
		sectionCount:   int(le.Uint32(b[40:])),
		footerCRC:      le.Uint32(b[44:]),
		clusterHash:    le.Uint32(b[48:]),
	}
	c.equal("size of object", uint64(objectBytes), uint64(t.objectBytes))
	c.most("number of sections", uint64(t.sectionCount), sectionCountMax)
	if c.err == nil {
		c.equal("position of footer", uint64(t.footerPosition), uint64(objectBytes-trailerBytes-int64(t.sectionCount)*footerEntryBytes))
		c.most("position of index region", uint64(t.indexPosition), uint64(t.footerPosition))
		c.most("size of index region", uint64(t.footerPosition-t.indexPosition), indexRegionBytesMax)
		c.most("end of header", headerBytes, uint64(t.indexPosition))
	}
	return t, c.err
}
