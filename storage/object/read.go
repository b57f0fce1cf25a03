package object

import (
	"context"
	"fmt"
	"hash/crc32"
	"math"
	"sort"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
)

// ReadFunc reads a run of bytes of one object. It fills all of p or fails.
type ReadFunc func(ctx context.Context, p []byte, pos int64) error

// IndexEntry is one batch in an object.
type IndexEntry struct {
	Start, End   ident.Offset
	Position     int64
	Bytes        int32
	CRC          uint32 // of the whole batch as stored
	MaxTimestamp int64  // milliseconds, -1 not known
}

// SectionInfo is a section as read back. Its Batches and State are nil.
type SectionInfo struct {
	Section
	Object       ident.ObjectID
	Block        catalog.Extent // the section's header and index
	Index        []IndexEntry   // contiguous in offsets and in the object
	DataPosition int64
	DataBytes    int64
	MaxTimestamp int64          // milliseconds, -1 not known
	StateExtent  catalog.Extent // zero if there is no state block
	StateCRC     uint32
}

// Ref says where the section is, in the catalog's terms, for an object with the given writer and
// size.
func (s *SectionInfo) Ref(writer ident.Incarnation, objectBytes int64) SectionRef {
	return sectionRef(&s.Section, s.Object, writer, objectBytes, s.Block, s.DataBytes, s.MaxTimestamp, s.StateExtent)
}

// VerifyState checks the section's state block.
func (s *SectionInfo) VerifyState(block []byte) error {
	c := checker{object: s.Object, position: s.StateExtent.Position}
	c.equal("bytes of state", uint64(len(block)), uint64(s.StateExtent.Bytes))
	c.equal("crc32c of state", uint64(checksum(block)), uint64(s.StateCRC))
	return c.err
}

// VerifyBatch checks the bytes of the batch that an entry names. They may come in several pieces.
// Every read that can reach a client goes through VerifyBatch.
func VerifyBatch(e *IndexEntry, pieces ...[]byte) error {
	n, crc := 0, uint32(0)
	for _, p := range pieces {
		n, crc = n+len(p), crc32.Update(crc, castagnoli, p)
	}
	c := checker{position: e.Position}
	c.equal("bytes of batch", uint64(n), uint64(e.Bytes))
	c.equal("crc32c of batch", uint64(crc), uint64(e.CRC))
	return c.err
}

// Find returns the first entry that ends after offset, or len(index) if there is none. That entry
// holds the offset if any entry does.
func Find(index []IndexEntry, offset ident.Offset) int {
	return sort.Search(len(index), func(i int) bool { return index[i].End > offset })
}

// MayReach reports whether something with the given largest time may hold a record of at least
// timestamp. A largest time of -1 is not known: only the records tell.
func MayReach(maxTimestamp, timestamp int64) bool {
	return maxTimestamp < 0 || maxTimestamp >= timestamp
}

// newer is the largest time of two things together, not known if that of either is not.
func newer(a, b int64) int64 {
	if a < 0 || b < 0 {
		return -1
	}
	return max(a, b)
}

// FindTime returns the first entry that may hold a record of at least the given time, or len(index)
// if there is none. The times of neighbouring entries need not rise.
func FindTime(index []IndexEntry, timestamp int64) int {
	for i := range index {
		if MayReach(index[i].MaxTimestamp, timestamp) {
			return i
		}
	}
	return len(index)
}

// DecodeSection reads and verifies a section block that was read from the given place. The result
// shares no memory with b.
func DecodeSection(b []byte, want catalog.Extent) (*SectionInfo, error) {
	c := checker{position: want.Position}
	c.most("place of section", uint64(want.Position), math.MaxInt64)
	c.equal("bytes of section", uint64(len(b)), uint64(want.Bytes))
	c.most("header of section", sectionBytes, uint64(len(b)))
	if c.err != nil {
		return nil, c.err
	}
	c.object = ident.ObjectID(le.Uint64(b[16:]))
	c.equal("section magic", uint64(le.Uint32(b)), sectionMagic)
	c.version("section", le.Uint16(b[4:]), bundleVersion, le.Uint16(b[6:]))
	c.equal("length of section", uint64(le.Uint32(b[8:])), uint64(len(b)))
	c.equal("section crc32c", uint64(blockChecksum(b)), uint64(le.Uint32(b[12:])))
	c.equal("position of section", le.Uint64(b[24:]), uint64(want.Position))
	if c.err != nil {
		return nil, c.err
	}
	s := decodeSectionHeader(b)
	s.Block = want
	if err := s.checkHeader(&c); err != nil {
		return nil, err
	}
	rest, err := s.decodeNames(b[sectionBytes:], int(le.Uint16(b[66:])), le.Uint32(b[68:]), &c)
	if err != nil {
		return nil, err
	}
	return s, s.decodeIndex(rest, le.Uint32(b[92:]), &c)
}

func decodeSectionHeader(b []byte) *SectionInfo {
	return &SectionInfo{
		Section: Section{
			Topic:             ident.TopicID(b[32:48]),
			Creation:          le.Uint64(b[48:]),
			Partition:         int32(le.Uint32(b[56:])),
			PartitionCount:    int32(le.Uint32(b[60:])),
			ReplicationFactor: int16(le.Uint16(b[64:])),
			LogStart:          ident.Offset(le.Uint64(b[72:])),
			Incarnation:       ident.Incarnation(le.Uint64(b[80:])),
			Epoch:             ident.Epoch(le.Uint32(b[88:])),
			Start:             ident.Offset(le.Uint64(b[96:])),
			End:               ident.Offset(le.Uint64(b[104:])),
			WALEnd:            ident.Position(le.Uint64(b[112:])),
			StateEnd:          ident.Offset(le.Uint64(b[160:])),
			Base:              decodeBase(b[168:]),
		},
		Object:       ident.ObjectID(le.Uint64(b[16:])),
		DataPosition: int64(le.Uint64(b[120:])),
		DataBytes:    int64(le.Uint64(b[128:])),
		MaxTimestamp: int64(le.Uint64(b[136:])),
		StateExtent:  catalog.Extent{Position: int64(le.Uint64(b[144:])), Bytes: int32(le.Uint32(b[152:]))},
		StateCRC:     le.Uint32(b[156:]),
	}
}

// checkHeader checks the numbers of a section against each other, so that no impossible number is
// used in a computation.
func (s *SectionInfo) checkHeader(c *checker) error {
	c.most("start offset", uint64(s.Start), uint64(s.End))
	c.most("end offset", uint64(s.End), math.MaxInt64)
	c.most("data position", uint64(s.DataPosition), uint64(s.Block.Position))
	c.most("data bytes", uint64(s.DataBytes), uint64(s.Block.Position-s.DataPosition))
	c.most("state bytes", uint64(s.StateExtent.Bytes), stateBytesMax)
	if s.StateExtent.Bytes > 0 {
		c.equal("state position", uint64(s.StateExtent.Position), uint64(s.DataPosition+s.DataBytes))
	}
	return c.err
}

// decodeNames reads topic name and configs, and returns the bytes after them.
func (s *SectionInfo) decodeNames(b []byte, nameBytes int, configCount uint32, c *checker) ([]byte, error) {
	c.most("length of name", uint64(nameBytes), min(nameBytesMax, uint64(len(b))))
	c.most("number of configs", uint64(configCount), min(configCountMax, uint64(len(b)/4)))
	if c.err != nil {
		return nil, c.err
	}
	s.Name, b = string(b[:nameBytes]), b[nameBytes:]
	if configCount > 0 {
		s.Configs = make(map[string]string, configCount)
	}
	for range configCount {
		c.most("header of config", 4, uint64(len(b)))
		if c.err != nil {
			return nil, c.err
		}
		key, value := int(le.Uint16(b)), int(le.Uint16(b[2:]))
		b = b[4:]
		c.most("length of config", uint64(key+value), uint64(len(b)))
		if c.err != nil {
			return nil, c.err
		}
		s.Configs[string(b[:key])] = string(b[key : key+value])
		b = b[key+value:]
	}
	return b, nil
}

func (s *SectionInfo) decodeIndex(b []byte, count uint32, c *checker) error {
	c.equal("bytes of index", uint64(len(b)), uint64(count)*indexEntryBytes)
	if c.err != nil {
		return c.err
	}
	s.Index = make([]IndexEntry, count)
	offset, position := s.Start, s.DataPosition
	for i := range s.Index {
		e := decodeIndexEntry(b[i*indexEntryBytes:])
		c.equal("start of batch", uint64(e.Start), uint64(offset))
		c.most("start of batch", uint64(e.Start)+1, uint64(e.End))
		c.equal("position of batch", uint64(e.Position), uint64(position))
		c.most("bytes of batch", uint64(uint32(e.Bytes)), math.MaxInt32)
		if c.err != nil {
			return c.err
		}
		s.Index[i] = e
		offset, position = e.End, e.Position+int64(e.Bytes)
	}
	c.equal("end of batches", uint64(offset), uint64(s.End))
	c.equal("end of data", uint64(position), uint64(s.DataPosition+s.DataBytes))
	return c.err
}

// Footer is everything in a bundle except its batches and state blocks.
type Footer struct {
	Object      ident.ObjectID
	ObjectBytes int64
	ClusterHash uint32
	Sections    []*SectionInfo
}

// tailBytes is how much ReadFooter reads first. It is enough for the whole footer and index region
// of a bundle of some hundred sections.
const tailBytes = 64 << 10

// ReadFooter reads a bundle of the given size from its end, with two reads at most, and verifies
// all section blocks. It does not read the header, which is for DecodeHeader.
func ReadFooter(ctx context.Context, read ReadFunc, objectBytes int64) (*Footer, error) {
	if objectBytes < headerBytes+trailerBytes {
		return nil, &CorruptError{What: "size of object", Got: uint64(objectBytes), Want: headerBytes + trailerBytes}
	}
	tail := make([]byte, min(tailBytes, objectBytes))
	tailAt := objectBytes - int64(len(tail))
	if err := read(ctx, tail, tailAt); err != nil {
		return nil, fmt.Errorf("read end of object: %w", err)
	}
	t, err := decodeTrailer(tail[len(tail)-trailerBytes:], objectBytes)
	if err != nil {
		return nil, err
	}
	if t.indexPosition < tailAt {
		rest := make([]byte, tailAt-t.indexPosition, objectBytes-t.indexPosition)
		if err := read(ctx, rest, t.indexPosition); err != nil {
			return nil, fmt.Errorf("read index of object: %w", err)
		}
		tail, tailAt = append(rest, tail...), t.indexPosition
	}
	return decodeFooter(t, tail[t.indexPosition-tailAt:])
}

// decodeFooter reads the index region and the footer from b, which begins with the index region.
func decodeFooter(t *trailer, b []byte) (*Footer, error) {
	entries := b[t.footerPosition-t.indexPosition:][:t.sectionCount*footerEntryBytes]
	c := checker{object: t.object, position: t.footerPosition}
	c.equal("footer crc32c", uint64(checksum(entries)), uint64(t.footerCRC))
	if c.err != nil {
		return nil, c.err
	}
	f := &Footer{Object: t.object, ObjectBytes: t.objectBytes, ClusterHash: t.clusterHash}
	next := t.indexPosition
	for i := range t.sectionCount {
		e := entries[i*footerEntryBytes:]
		block := catalog.Extent{Position: int64(le.Uint64(e)), Bytes: int32(le.Uint32(e[8:]))}
		c.equal("position of section", uint64(block.Position), uint64(next))
		c.most("bytes of section", uint64(uint32(block.Bytes)), uint64(t.footerPosition-next))
		if c.err != nil {
			return nil, c.err
		}
		s, err := DecodeSection(b[block.Position-t.indexPosition:][:block.Bytes], block)
		if err != nil {
			return nil, fmt.Errorf("section %d: %w", i, err)
		}
		c.equal("object of section", uint64(s.Object), uint64(t.object))
		c.equal("partition of section", uint64(s.Partition), uint64(int32(le.Uint32(e[12:]))))
		if s.Topic != ident.TopicID(e[16:32]) {
			c.equal("topic of section", le.Uint64(s.Topic[:]), le.Uint64(e[16:]))
		}
		f.Sections = append(f.Sections, s)
		next += int64(block.Bytes)
	}
	c.equal("end of sections", uint64(next), uint64(t.footerPosition))
	if c.err != nil {
		return nil, c.err
	}
	return f, nil
}
