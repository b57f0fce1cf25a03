package object

import (
	"fmt"
	"maps"
	"slices"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/internal/crc32c"
)

// BatchRef is one whole batch as it is to be stored. The bundle refers to Bytes and never copies or
// changes them.
type BatchRef struct {
	Bytes        []byte
	CRC          uint32 // CRC-32C of all of Bytes, known since the batch was placed
	Start, End   ident.Offset
	MaxTimestamp int64 // milliseconds, -1 not known
}

// Section is one partition's part of a bundle: a run of batches of one (incarnation, epoch), with
// everything that is needed to open or restore the partition (E1, E11, E26). A section without
// batches (Start == End) only carries state.
type Section struct {
	Topic             ident.TopicID
	Name              string
	Creation          uint64
	Partition         int32
	PartitionCount    int32
	ReplicationFactor int16
	Configs           map[string]string // only what was set

	LogStart    ident.Offset
	Incarnation ident.Incarnation // the incarnation whose WAL holds the batches
	Epoch       ident.Epoch
	Start, End  ident.Offset
	WALEnd      ident.Position // the position in that WAL up to which it was read (E21)
	Batches     []BatchRef     // contiguous from Start to End

	State    []byte // state block, may be nil
	StateEnd ident.Offset
	Base     catalog.StateRef // the base on which State is a delta; zero if State is a base
}

// SectionRef says where a section is, in the catalog's terms. State is zero if the section has no
// state block. Base is what the section named.
type SectionRef struct {
	Range       catalog.Range
	State, Base catalog.StateRef
}

// Built is a finished bundle. Its parts refer to the batches' own memory.
type Built struct {
	Parts    [][]byte
	Bytes    int64
	CRC32C   uint32   // of the whole object, composed from PartCRCs
	PartCRCs []uint32 // one per part; for a batch, the checksum with which it was placed
	Sections []SectionRef
}

// Bundle lays out an object. It is used once: NewBundle, AddSection, Finish.
//
// Bundle does not read the bytes of batches, since it composes the object's checksum from theirs.
// The bytes are checked against those checksums when they leave for the bucket
// (bucket.Body.PartCRCs), and only there.
type Bundle struct {
	header   Header
	parts    [][]byte
	partCRCs []uint32
	position int64
	crc      uint32
	sections []*sectionDraft
}

// sectionDraft is a section whose block has no place yet.
type sectionDraft struct {
	Section
	configKeys              []string
	index                   []IndexEntry
	dataPosition, dataBytes int64
	maxTimestamp            int64
	state                   catalog.Extent
	stateCRC                uint32
	block                   catalog.Extent
}

// NewBundle begins a bundle.
func NewBundle(h Header) *Bundle {
	if !validClusterID(h.ClusterID) || h.Object == 0 || h.Incarnation == 0 {
		panic(fmt.Sprintf("BUG: bundle with header %+v", h))
	}
	b := &Bundle{header: h}
	b.write(h.encode())
	return b
}

// write appends bytes without copying them.
func (b *Bundle) write(p []byte) { b.writeKnown(p, checksum(p)) }

// writeKnown is write for bytes whose checksum is known.
func (b *Bundle) writeKnown(p []byte, crc uint32) {
	b.parts = append(b.parts, p)
	b.partCRCs = append(b.partCRCs, crc)
	b.position += int64(len(p))
	b.crc = crc32c.Combine(b.crc, crc, int64(len(p)))
}

// Bytes returns the size of the object so far, without index and footer.
func (b *Bundle) Bytes() int64 { return b.position }

// AddSection adds a section and returns its number in Built.Sections. The only error is
// ErrTooLarge; after it the bundle must not be used.
func (b *Bundle) AddSection(s Section) (int, error) {
	d := &sectionDraft{Section: s, configKeys: slices.Sorted(maps.Keys(s.Configs))}
	if err := d.validate(); err != nil {
		return 0, fmt.Errorf("section of topic %s partition %d: %w", s.Topic, s.Partition, err)
	}
	if len(b.sections) == sectionCountMax {
		return 0, fmt.Errorf("%w: more than %d sections", ErrTooLarge, sectionCountMax)
	}
	b.addBatches(d)
	if len(s.State) > 0 {
		d.state = catalog.Extent{Position: b.position, Bytes: int32(len(s.State))}
		d.stateCRC = checksum(s.State)
		b.writeKnown(s.State, d.stateCRC)
	}
	b.sections = append(b.sections, d)
	return len(b.sections) - 1, nil
}

// validate checks a section against the format's limits.
func (d *sectionDraft) validate() error {
	if len(d.Name) == 0 || len(d.Name) > nameBytesMax || d.Start < 0 || d.Start > d.End {
		panic(fmt.Sprintf("BUG: section of topic %q with offsets [%d,%d)", d.Name, d.Start, d.End))
	}
	if len(d.Configs) > configCountMax || len(d.State) > stateBytesMax {
		return fmt.Errorf("%w: %d configs, %d bytes of state", ErrTooLarge, len(d.Configs), len(d.State))
	}
	size := sectionBytes + len(d.Name) + len(d.Batches)*indexEntryBytes
	for key, value := range d.Configs {
		if len(key) > configBytesMax || len(value) > configBytesMax {
			return fmt.Errorf("%w: config %.40q with a value of %d bytes", ErrTooLarge, key, len(value))
		}
		size += 4 + len(key) + len(value)
	}
	if size > sectionBlockBytesMax {
		return fmt.Errorf("%w: index of %d batches", ErrTooLarge, len(d.Batches))
	}
	return nil
}

// addBatches refers to a section's batches and makes their index.
func (b *Bundle) addBatches(d *sectionDraft) {
	d.dataPosition, d.maxTimestamp = b.position, -1 // of a section without batches
	d.index = make([]IndexEntry, len(d.Batches))
	b.parts, b.partCRCs = slices.Grow(b.parts, len(d.Batches)+1), slices.Grow(b.partCRCs, len(d.Batches)+1)
	next := d.Start
	for i := range d.Batches {
		r := &d.Batches[i]
		if r.Start != next || r.End <= r.Start || len(r.Bytes) == 0 {
			panic(fmt.Sprintf("BUG: batch [%d,%d) of %d bytes where %d was due, %s-%d", r.Start, r.End, len(r.Bytes), next, d.Topic, d.Partition))
		}
		next = r.End
		d.index[i] = IndexEntry{
			Start: r.Start, End: r.End, Position: b.position,
			Bytes: int32(len(r.Bytes)), CRC: r.CRC, MaxTimestamp: r.MaxTimestamp,
		}
		if i == 0 {
			d.maxTimestamp = r.MaxTimestamp
		}
		d.maxTimestamp = newer(d.maxTimestamp, r.MaxTimestamp)
		b.writeKnown(r.Bytes, r.CRC)
	}
	if next != d.End {
		panic(fmt.Sprintf("BUG: batches end at %d, section at %d, %s-%d", next, d.End, d.Topic, d.Partition))
	}
	d.dataBytes = b.position - d.dataPosition
	d.Batches = nil
}

// Finish writes the index region, the footer and the trailer.
func (b *Bundle) Finish() (Built, error) {
	if len(b.sections) == 0 {
		panic("BUG: bundle without a section")
	}
	t := trailer{
		object: b.header.Object, indexPosition: b.position, sectionCount: len(b.sections),
		clusterHash: checksum([]byte(b.header.ClusterID)),
	}
	var end []byte
	for _, d := range b.sections {
		from := len(end)
		end = d.encode(end)
		d.block = catalog.Extent{Position: b.position + int64(from), Bytes: int32(len(end) - from)}
		placeSection(end[from:], b.header.Object, d.block.Position)
	}
	footer := len(end)
	t.footerPosition = b.position + int64(footer)
	for _, d := range b.sections {
		end = le.AppendUint64(end, uint64(d.block.Position))
		end = le.AppendUint32(end, uint32(d.block.Bytes))
		end = le.AppendUint32(end, uint32(d.Partition))
		end = append(end, d.Topic[:]...)
	}
	if len(end) > indexRegionBytesMax {
		return Built{}, fmt.Errorf("%w: indexes of %d bytes", ErrTooLarge, len(end))
	}
	t.footerCRC = checksum(end[footer:])
	t.objectBytes = b.position + int64(len(end)) + trailerBytes
	b.write(t.encode(end))
	return Built{Parts: b.parts, Bytes: b.position, CRC32C: b.crc, PartCRCs: b.partCRCs, Sections: b.refs()}, nil
}

func (b *Bundle) refs() []SectionRef {
	refs := make([]SectionRef, len(b.sections))
	for i, d := range b.sections {
		refs[i] = sectionRef(&d.Section, b.header.Object, b.header.Incarnation, b.position, d.block, d.dataBytes, d.maxTimestamp, d.state)
	}
	return refs
}

// sectionRef says where a section is, in the catalog's terms.
func sectionRef(s *Section, object ident.ObjectID, writer ident.Incarnation, objectBytes int64,
	block catalog.Extent, dataBytes, maxTimestamp int64, state catalog.Extent) SectionRef {
	ref := SectionRef{Base: s.Base, Range: catalog.Range{
		Object: object, Start: s.Start, End: s.End, Incarnation: s.Incarnation, Epoch: s.Epoch,
		Index: block, Bytes: dataBytes, MaxTimestamp: maxTimestamp, Writer: writer, ObjectBytes: objectBytes,
	}}
	if state.Bytes > 0 {
		ref.State = catalog.StateRef{Object: object, Extent: state, End: s.StateEnd, Writer: writer, ObjectBytes: objectBytes}
	}
	return ref
}
