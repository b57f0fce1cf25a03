package pstate

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"

	"github.com/sluicemq/sluice/ident"
)

// State block, little-endian. Base and delta have one layout; a delta lists
// only producers that changed since its base, but always all epochs.
//
//	 0  4  magic           0x54545350, "PSTT"
//	 4  2  version         2; of version 1 only the producers' times differ
//	 6  1  kind            1 base, 2 delta
//	 7  1  flags           0; readers refuse bits they do not know
//	 8  4  bytes           of the whole block, at most BlockBytesMax
//	12  4  crc32c          of bytes 0 to 11 and 16 to the end
//	16  8  end             every batch below it is reflected
//	24  8  logStart        of the partition
//	32  8  floor           delta: producers of the base that were placed below it
//	                       (milliseconds) and are not listed here are gone; base: the lowest int64
//	40  4  epochCount      at most epochsMax
//	44  4  producerCount   at most producersMax
//	48  4  openTxnCount    0 in version 2
//	52  4  abortedCount    0 in version 2
//	56     epochs          epochCount × epochBytes, rising
//	       producers       producerCount × (producerBytes + count × batchBytes), rising by id
//
// An epoch:
//
//	0  4  epoch
//	4  8  start           offset
//
// A producer:
//
//	 0  8  id
//	 8  2  epoch
//	10  1  count           of batches, 1 to RecentMax
//	11  1  zero
//	12  8  placed          when its newest batch was placed, milliseconds by the broker's
//	                       clock; version 1: the largest timestamp of its batches
//	20     batches         oldest first
//
// A batch:
//
//	 0  4  firstSequence
//	 4  4  lastOffsetDelta
//	 8  8  start           offset
//	16  8  appendTime      milliseconds, -1 none
//
// These values are on disk: changing one makes a new version.
const (
	blockMagic    = 0x54545350
	blockVersion  = 2
	oldestVersion = 1
	headerBytes   = 56
	epochBytes    = 12
	producerBytes = 20
	batchBytes    = 24

	// BlockBytesMax bounds a block: about 115,000 full producers.
	BlockBytesMax = 16 << 20
	epochsMax     = 1 << 16
	producersMax  = 1 << 18
)

// Kind tells a base from a delta.
type Kind uint8

// Kinds of blocks.
const (
	KindBase  Kind = 1
	KindDelta Kind = 2
)

// ErrCorrupt is a block that is damaged, or that does not fit its base.
var ErrCorrupt = errors.New("damaged partition state")

// ErrVersion is a block of a format that this release does not know.
var ErrVersion = errors.New("partition state of an unknown version")

// State is everything that a block, or a base with a delta, holds about a partition.
type State struct {
	End       ident.Offset // every batch below it is reflected, and none above
	LogStart  ident.Offset
	Epochs    []EpochStart // rising
	Producers *Table
}

var le = binary.LittleEndian

// EncodeBase appends the whole state to dst as a base block.
func EncodeBase(dst []byte, s *State) []byte {
	return encode(dst, s, KindBase, noTime, slices.SortedFunc(s.Producers.all(), byID))
}

// EncodeDelta appends what changed since the table's last MarkBase. The block may be applied to
// that base, or to a newer base up to the block's own end, since it sets values and never adds to
// them.
func EncodeDelta(dst []byte, s *State) []byte {
	var changed []*producer
	for p := range s.Producers.all() {
		if p.changed {
			changed = append(changed, p)
		}
	}
	slices.SortFunc(changed, byID)
	return encode(dst, s, KindDelta, s.Producers.floor, changed)
}

func byID(a, b *producer) int { return cmp.Compare(a.id, b.id) }

// blockBytes returns the length of a block with these producers, so that it can be allocated at
// once.
func blockBytes(s *State, producers []*producer) int {
	n := headerBytes + len(s.Epochs)*epochBytes + len(producers)*producerBytes
	for _, p := range producers {
		n += int(p.count) * batchBytes
	}
	return n
}

func encode(dst []byte, s *State, kind Kind, floor int64, producers []*producer) []byte {
	dst = slices.Grow(dst, blockBytes(s, producers))
	from := len(dst)
	dst = le.AppendUint32(dst, blockMagic)
	dst = le.AppendUint16(dst, blockVersion)
	dst = append(dst, byte(kind), 0)
	dst = le.AppendUint64(dst, 0) // bytes and crc, set below
	dst = le.AppendUint64(dst, uint64(s.End))
	dst = le.AppendUint64(dst, uint64(s.LogStart))
	dst = le.AppendUint64(dst, uint64(floor))
	dst = le.AppendUint32(dst, uint32(len(s.Epochs)))
	dst = le.AppendUint32(dst, uint32(len(producers)))
	dst = le.AppendUint64(dst, 0) // open and aborted transactions
	for _, e := range s.Epochs {
		dst = le.AppendUint32(dst, uint32(e.Epoch))
		dst = le.AppendUint64(dst, uint64(e.Start))
	}
	for _, p := range producers {
		dst = appendProducer(dst, p)
	}
	block := dst[from:]
	if len(block) > BlockBytesMax || len(s.Epochs) > epochsMax || len(producers) > producersMax {
		panic(fmt.Sprintf("BUG: partition state of %d bytes, %d epochs, %d producers: the caller must cap them", len(block), len(s.Epochs), len(producers)))
	}
	le.PutUint32(block[8:], uint32(len(block)))
	le.PutUint32(block[12:], checksum(block))
	return dst
}

func appendProducer(dst []byte, p *producer) []byte {
	dst = le.AppendUint64(dst, uint64(p.id))
	dst = le.AppendUint16(dst, uint16(p.epoch))
	dst = append(dst, p.count, 0)
	dst = le.AppendUint64(dst, uint64(p.placed))
	for _, r := range p.recent[:p.count] {
		dst = le.AppendUint32(dst, uint32(r.firstSequence))
		dst = le.AppendUint32(dst, uint32(r.lastOffsetDelta))
		dst = le.AppendUint64(dst, uint64(r.start))
		dst = le.AppendUint64(dst, uint64(r.appendTime))
	}
	return dst
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(block []byte) uint32 {
	return crc32.Update(crc32.Checksum(block[:12], castagnoli), castagnoli, block[16:])
}

// BlockKind reads the kind of a block from its first bytes. Only Decode verifies the block.
func BlockKind(block []byte) (Kind, error) {
	if len(block) < headerBytes {
		return 0, fmt.Errorf("%w: %d bytes", ErrCorrupt, len(block))
	}
	if got := le.Uint32(block); got != blockMagic {
		return 0, fmt.Errorf("%w: magic %08x, want %08x", ErrCorrupt, got, blockMagic)
	}
	if v := le.Uint16(block[4:]); v < oldestVersion || v > blockVersion {
		return 0, fmt.Errorf("%w: %d, this release reads %d to %d", ErrVersion, v, oldestVersion, blockVersion)
	}
	if k := Kind(block[6]); k == KindBase || k == KindDelta {
		return k, nil
	}
	return 0, fmt.Errorf("%w: kind %d", ErrCorrupt, block[6])
}

// Decode reads a base and, if delta is not empty, applies the delta to it. The table's changes are
// then those of the delta, so that further deltas on the same base are right. Two empty blocks give
// the state of an empty partition. The result shares no memory with its input.
//
// Version 1 kept the timestamps that producers had sent. They do not say when a batch came, so a
// producer of such a block counts as placed now (milliseconds). A delta of version 2 never builds
// on a base of version 1, since everybody that opens a partition begins with a base.
func Decode(base, delta []byte, now int64) (*State, error) {
	if len(base) == 0 && len(delta) == 0 {
		return &State{Producers: NewTable()}, nil
	}
	s, err := join(base, delta)
	if err != nil {
		return nil, err
	}
	if le.Uint16(base[4:]) == 1 {
		s.Producers.placedAt(now)
	}
	return s, nil
}

// join reads a base and applies a delta to it, if there is one.
func join(base, delta []byte) (*State, error) {
	s, _, err := decode(base, KindBase)
	if err != nil {
		return nil, fmt.Errorf("base: %w", err)
	}
	if len(delta) == 0 {
		return s, nil
	}
	d, floor, err := decode(delta, KindDelta)
	if err != nil {
		return nil, fmt.Errorf("delta: %w", err)
	}
	if vb, vd := le.Uint16(base[4:]), le.Uint16(delta[4:]); vb != vd {
		return nil, fmt.Errorf("%w: delta of version %d on a base of version %d", ErrCorrupt, vd, vb)
	}
	if d.End < s.End {
		return nil, fmt.Errorf("%w: delta up to %d on a base up to %d", ErrCorrupt, d.End, s.End)
	}
	s.End, s.LogStart, s.Epochs = d.End, d.LogStart, d.Epochs
	s.Producers.overlay(d.Producers, floor)
	return s, nil
}

// placedAt gives all producers the same time, and sets a floor below all of them.
func (t *Table) placedAt(ms int64) {
	for p := range t.all() {
		p.placed = ms
	}
	t.floor = noTime
}

// overlay applies a delta's producers to t, which comes from a base. They belong to t from then on.
func (t *Table) overlay(delta *Table, floor int64) {
	t.Expire(floor)
	t.floor = floor
	for p := range delta.all() {
		p.changed = true
		t.put(p)
	}
}

func decode(block []byte, want Kind) (*State, int64, error) {
	kind, err := BlockKind(block)
	if err != nil {
		return nil, 0, err
	}
	if n := le.Uint32(block[8:]); int64(n) != int64(len(block)) || n > BlockBytesMax {
		return nil, 0, fmt.Errorf("%w: says %d bytes of %d", ErrCorrupt, n, len(block))
	}
	if says, got := le.Uint32(block[12:]), checksum(block); says != got {
		return nil, 0, fmt.Errorf("%w: crc %08x, says %08x", ErrCorrupt, got, says)
	}
	if kind != want {
		return nil, 0, fmt.Errorf("%w: kind %d, want %d", ErrCorrupt, kind, want)
	}
	if block[7] != 0 || le.Uint64(block[48:]) != 0 {
		return nil, 0, fmt.Errorf("%w: flags or transactions that this release does not know", ErrVersion)
	}
	s := &State{End: ident.Offset(le.Uint64(block[16:])), LogStart: ident.Offset(le.Uint64(block[24:]))}
	floor := int64(le.Uint64(block[32:]))
	if s.End < 0 || s.LogStart < 0 || kind == KindBase && floor != noTime {
		return nil, 0, fmt.Errorf("%w: end %d, log start %d, floor %d", ErrCorrupt, s.End, s.LogStart, floor)
	}
	rest, err := s.decodeEpochs(block[headerBytes:], le.Uint32(block[40:]))
	if err != nil {
		return nil, 0, err
	}
	if err := s.decodeProducers(rest, le.Uint32(block[44:])); err != nil {
		return nil, 0, err
	}
	return s, floor, nil
}

// decodeEpochs reads count epochs and returns the bytes after them.
func (s *State) decodeEpochs(b []byte, count uint32) ([]byte, error) {
	if count > epochsMax || int(count)*epochBytes > len(b) {
		return nil, fmt.Errorf("%w: %d epochs in %d bytes", ErrCorrupt, count, len(b))
	}
	for range count {
		e := EpochStart{Epoch: ident.Epoch(le.Uint32(b)), Start: ident.Offset(le.Uint64(b[4:]))}
		if n := len(s.Epochs); e.Epoch < 0 || e.Start < 0 ||
			n > 0 && (e.Epoch <= s.Epochs[n-1].Epoch || e.Start < s.Epochs[n-1].Start) {
			return nil, fmt.Errorf("%w: epoch %d from %d on does not follow", ErrCorrupt, e.Epoch, e.Start)
		}
		s.Epochs = append(s.Epochs, e)
		b = b[epochBytes:]
	}
	return b, nil
}

func (s *State) decodeProducers(b []byte, count uint32) error {
	if count > producersMax || int64(count)*(producerBytes+batchBytes) > int64(len(b)) {
		return fmt.Errorf("%w: %d producers in %d bytes", ErrCorrupt, count, len(b))
	}
	s.Producers = NewTable()
	if count > 1 {
		s.Producers.more = make(map[ident.ProducerID]*producer, count)
	}
	before := ident.NoProducer
	for range count {
		p, n, err := decodeProducer(b)
		if err != nil {
			return err
		}
		if p.id <= before {
			return fmt.Errorf("%w: producer %d after %d", ErrCorrupt, p.id, before)
		}
		s.Producers.put(p)
		before, b = p.id, b[n:]
	}
	if len(b) > 0 {
		return fmt.Errorf("%w: %d bytes after the last producer", ErrCorrupt, len(b))
	}
	return nil
}

// decodeProducer reads one producer and returns how many bytes it took.
func decodeProducer(b []byte) (p *producer, n int, err error) {
	if len(b) < producerBytes {
		return nil, 0, fmt.Errorf("%w: producer cut off", ErrCorrupt)
	}
	p = &producer{id: ident.ProducerID(le.Uint64(b)), epoch: int16(le.Uint16(b[8:])), placed: int64(le.Uint64(b[12:]))}
	count := int(b[10])
	n = producerBytes + count*batchBytes
	if count < 1 || count > RecentMax || n > len(b) || b[11] != 0 {
		return nil, 0, fmt.Errorf("%w: producer %d with %d batches", ErrCorrupt, p.id, count)
	}
	for at := producerBytes; at < n; at += batchBytes {
		m, err := decodeBatch(b[at:])
		if err != nil {
			return nil, 0, fmt.Errorf("producer %d: %w", p.id, err)
		}
		p.push(m)
	}
	return p, n, nil
}

func decodeBatch(b []byte) (BatchMeta, error) {
	delta := int32(le.Uint32(b[4:]))
	m := BatchMeta{
		FirstSequence: int32(le.Uint32(b)),
		Start:         ident.Offset(le.Uint64(b[8:])),
		AppendTime:    int64(le.Uint64(b[16:])),
	}
	if m.FirstSequence < 0 || delta < 0 || m.Start < 0 || m.Start > math.MaxInt64-math.MaxInt32-1 {
		return m, fmt.Errorf("%w: batch of sequence %d at %d with %d more", ErrCorrupt, m.FirstSequence, m.Start, delta)
	}
	m.End = m.Start + ident.Offset(delta) + 1
	return m, nil
}
