package protocol

import (
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// kmsg checks the count of an array only against one byte per element, so that a request of n bytes
// may make it allocate several hundred times n. So each request is first walked by its shape. The
// walk allocates nothing, requires every element to be really there, and adds up what kmsg will
// allocate.

// The memory that a decoded value takes, rounded up (TestDecodeCostCoversAllocation).
const (
	structCostBytes    = 128
	primitiveCostBytes = 24
	tagCostBytes       = 128
)

const (
	produceKey     = 0
	fetchKey       = 1
	apiVersionsKey = 18
)

type fieldKind uint8

const (
	fixedField  fieldKind = iota // a number of bytes
	stringField                  // nullable or not: the walk accepts both
	bytesField
	structsField // array of structs
	fixedsField  // array of fixed values
	stringsField // array of strings
	maybeStruct  // one byte: negative is null
)

// field is one field of a request in the versions [from, to].
type field struct {
	kind     fieldKind
	bytes    int
	fields   []field
	from, to int16
}

func fixed(n int) field             { return field{kind: fixedField, bytes: n, to: 99} }
func str() field                    { return field{kind: stringField, to: 99} }
func blob() field                   { return field{kind: bytesField, to: 99} }
func structs(fs ...field) field     { return field{kind: structsField, fields: fs, to: 99} }
func fixeds(n int) field            { return field{kind: fixedsField, bytes: n, to: 99} }
func strs() field                   { return field{kind: stringsField, to: 99} }
func maybe(fs ...field) field       { return field{kind: maybeStruct, fields: fs, to: 99} }
func (f field) since(v int16) field { f.from = v; return f }
func (f field) until(v int16) field { f.to = v; return f }

// shape is the layout of one API's request body, by Kafka's message definitions.
type shape struct {
	flexible int16 // first version with compact encodings and tagged fields
	fields   []field
	// tagged lists the tagged structs that kmsg decodes. For a tag count inside them kmsg would
	// loop, even if no bytes follow.
	tagged map[uint32][]field
}

// neverFlexible is above every version that exists.
const neverFlexible = 99

var shapes = map[int16]shape{
	// Produce
	0: {flexible: 9, fields: []field{str().since(3), fixed(2), fixed(4),
		structs(str().until(12), fixed(16).since(13), structs(fixed(4), blob()))}},
	// Fetch
	1: {flexible: 12, fields: []field{fixed(4).until(14), fixed(4 + 4), fixed(4).since(3), fixed(1).since(4), fixed(4 + 4).since(7),
		structs(str().until(12), fixed(16).since(13),
			structs(fixed(4), fixed(4).since(9), fixed(8), fixed(4).since(12), fixed(8).since(5), fixed(4))),
		structs(str().until(12), fixed(16).since(13), fixeds(4)).since(7),
		str().since(11)},
		tagged: map[uint32][]field{1: {fixed(4), fixed(8)}}},
	// ListOffsets
	2: {flexible: 6, fields: []field{fixed(4), fixed(1).since(2),
		structs(str(), structs(fixed(4), fixed(4).since(4), fixed(8), fixed(4).until(0))),
		fixed(4).since(10)}},
	// Metadata
	3: {flexible: 9, fields: []field{structs(fixed(16).since(10), str()),
		fixed(1).since(4), fixed(1).since(8).until(10), fixed(1).since(8)}},
	// OffsetCommit
	8: {flexible: 8, fields: []field{str(), fixed(4).since(1), str().since(1), str().since(7), fixed(8).since(2).until(4),
		structs(str().until(9), fixed(16).since(10),
			structs(fixed(4), fixed(8), fixed(8).since(1).until(1), fixed(4).since(6), str()))}},
	// OffsetFetch
	9: {flexible: 6, fields: []field{str().until(7), structs(str(), fixeds(4)).until(7),
		structs(str(), str().since(9), fixed(4).since(9), structs(str().until(9), fixed(16).since(10), fixeds(4))).since(8),
		fixed(1).since(7)}},
	// FindCoordinator
	10: {flexible: 3, fields: []field{str().until(3), fixed(1).since(1), strs().since(4)}},
	// JoinGroup
	11: {flexible: 6, fields: []field{str(), fixed(4), fixed(4).since(1), str(), str().since(5), str(),
		structs(str(), blob()), str().since(8)}},
	// Heartbeat
	12: {flexible: 4, fields: []field{str(), fixed(4), str(), str().since(3)}},
	// LeaveGroup
	13: {flexible: 4, fields: []field{str(), str().until(2), structs(str(), str(), str().since(5)).since(3)}},
	// SyncGroup
	14: {flexible: 4, fields: []field{str(), fixed(4), str(), str().since(3), str().since(5), str().since(5),
		structs(str(), blob())}},
	// DescribeGroups
	15: {flexible: 5, fields: []field{strs(), fixed(1).since(3)}},
	// ListGroups
	16: {flexible: 3, fields: []field{strs().since(4), strs().since(5)}},
	// ApiVersions
	18: {flexible: 3, fields: []field{str().since(3), str().since(3)}},
	// CreateTopics
	19: {flexible: 5, fields: []field{structs(str(), fixed(4), fixed(2), structs(fixed(4), fixeds(4)), structs(str(), str())),
		fixed(4), fixed(1).since(1)}},
	// DeleteTopics
	20: {flexible: 4, fields: []field{strs().until(5), structs(str(), fixed(16)).since(6), fixed(4)}},
	// DeleteRecords
	21: {flexible: 2, fields: []field{structs(str(), structs(fixed(4+8))), fixed(4)}},
	// InitProducerId
	22: {flexible: 2, fields: []field{str(), fixed(4), fixed(8).since(3), fixed(2).since(3)}},
	// OffsetForLeaderEpoch
	23: {flexible: 4, fields: []field{fixed(4).since(3), structs(str(), structs(fixed(4), fixed(4).since(2), fixed(4)))}},
	// DescribeConfigs
	32: {flexible: 4, fields: []field{structs(fixed(1), str(), strs()), fixed(1).since(1), fixed(1).since(3)}},
	// AlterConfigs
	33: {flexible: 2, fields: []field{structs(fixed(1), str(), structs(str(), str())), fixed(1)}},
	// DescribeLogDirs
	35: {flexible: 2, fields: []field{structs(str(), fixeds(4))}},
	// CreatePartitions
	37: {flexible: 2, fields: []field{structs(str(), fixed(4), structs(fixeds(4))), fixed(4), fixed(1)}},
	// DeleteGroups
	42: {flexible: 2, fields: []field{strs()}},
	// ElectLeaders
	43: {flexible: 2, fields: []field{fixed(1).since(1), structs(str(), fixeds(4)), fixed(4)}},
	// IncrementalAlterConfigs
	44: {flexible: 1, fields: []field{structs(fixed(1), str(), structs(str(), fixed(1), str())), fixed(1)}},
	// AlterPartitionReassignments
	45: {flexible: 0, fields: []field{fixed(4), fixed(1).since(1), structs(str(), structs(fixed(4), fixeds(4)))}},
	// ListPartitionReassignments
	46: {flexible: 0, fields: []field{fixed(4), structs(str(), fixeds(4))}},
	// OffsetDelete
	47: {flexible: neverFlexible, fields: []field{str(), structs(str(), structs(fixed(4)))}},
	// DescribeQuorum
	55: {flexible: 0, fields: []field{structs(str(), structs(fixed(4)))}},
	// UpdateFeatures
	57: {flexible: 0, fields: []field{fixed(4), structs(str(), fixed(2), fixed(1)), fixed(1).since(1)}},
	// DescribeCluster
	60: {flexible: 0, fields: []field{fixed(1), fixed(1).since(1), fixed(1).since(2)}},
	// DescribeProducers
	61: {flexible: 0, fields: []field{structs(str(), fixeds(4))}},
	// DescribeTopicPartitions
	75: {flexible: 0, fields: []field{structs(str()), fixed(4), maybe(str(), fixed(4))}},
}

// Flexible reports whether a version of an API has compact encodings and tagged fields. It returns
// false for an API that Sluice does not know.
func Flexible(key, version int16) bool {
	s, ok := shapes[key]
	return ok && version >= s.flexible
}

// RequestCost walks a request body without allocating. It returns how many bytes of memory decoding
// the body will take beside the body itself, or ErrMalformed if the body is not complete. Bytes
// after the last field are ignored, as Kafka does.
func RequestCost(key, version int16, body []byte) (int, error) {
	s, ok := shapes[key]
	if !ok {
		return 0, fmt.Errorf("%w: api %d is not known", ErrMalformed, key)
	}
	w := walker{src: body, version: version, flexible: version >= s.flexible}
	w.tagged = s.tagged
	w.fields(s.fields)
	if w.bad {
		return 0, fmt.Errorf("%w: body of api %d version %d", ErrMalformed, key, version)
	}
	return w.cost, nil
}

// DecodeRequest decodes a body that RequestCost has accepted. Byte slices in the result alias body.
// In Produce strings alias it as well, since its batches keep the frame alive anyway.
func DecodeRequest(key, version int16, body []byte) (kmsg.Request, error) {
	req := kmsg.RequestForKey(key)
	if req == nil {
		return nil, fmt.Errorf("%w: api %d is not known", ErrMalformed, key)
	}
	req.SetVersion(version)
	read := req.ReadFrom
	if u, ok := req.(kmsg.UnsafeReadFrom); ok && key == produceKey {
		read = u.UnsafeReadFrom
	}
	if err := read(body); err != nil {
		return nil, fmt.Errorf("%w: api %d version %d: %w", ErrMalformed, key, version, err)
	}
	return req, nil
}

// walker walks over bytes without allocating. Once it is bad, it stays bad and has no bytes left.
type walker struct {
	src      []byte
	version  int16
	flexible bool
	depth    int                // of structs around the current field; 0 in the request's own tags
	tagged   map[uint32][]field // the tags of the request itself
	cost     int
	bad      bool
}

func (w *walker) fields(fs []field) {
	w.depth++
	for i := range fs {
		if w.bad {
			return
		}
		if f := &fs[i]; f.from <= w.version && w.version <= f.to {
			w.field(f)
		}
	}
	w.depth--
	if w.flexible {
		w.tags()
	}
}

func (w *walker) field(f *field) {
	switch f.kind {
	case fixedField:
		w.skip(f.bytes)
	case stringField:
		w.cost += len(w.nullableString(w.flexible))
	case bytesField:
		w.skip(max(0, w.length(4, w.flexible)))
	case structsField:
		for n := w.count(structCostBytes); n > 0 && !w.bad; n-- {
			w.fields(f.fields)
		}
	case fixedsField:
		if n := w.count(primitiveCostBytes); n > 0 {
			w.skip(n * f.bytes)
		}
	case stringsField:
		for n := w.count(primitiveCostBytes); n > 0 && !w.bad; n-- {
			w.cost += len(w.nullableString(w.flexible))
		}
	case maybeStruct:
		if b := w.skip(1); len(b) == 1 && int8(b[0]) >= 0 {
			w.cost += structCostBytes
			w.fields(f.fields)
		}
	}
}

// count reads the count of an array, and adds the memory that its elements take, each bytes for
// one. At least one byte per element must follow in the request.
func (w *walker) count(each int) int {
	n := w.length(4, w.flexible)
	if n > len(w.src) {
		w.fail()
		return 0
	}
	if n > 0 {
		w.cost += n * each
	}
	return n
}

func (w *walker) nullableString(compact bool) []byte {
	if n := w.length(2, compact); n > 0 {
		return w.skip(n)
	}
	return nil
}

// length reads a length of the given size, or a compact one: a varint that is one higher. A
// negative length means null.
func (w *walker) length(bytes int, compact bool) int {
	if compact {
		n := w.uvarint()
		return int(n) - 1
	}
	b := w.skip(bytes)
	switch {
	case b == nil:
		return 0
	case bytes == 2:
		return int(int16(binary.BigEndian.Uint16(b)))
	default:
		return int(int32(binary.BigEndian.Uint32(b)))
	}
}

// tags skips a section of tagged fields, known or not.
func (w *walker) tags() {
	n := w.uvarint()
	if int64(n) > int64(len(w.src)) {
		w.fail()
		return
	}
	w.cost += int(n) * tagCostBytes
	for ; n > 0 && !w.bad; n-- {
		tag := w.uvarint()
		value := w.skip(int(w.uvarint()))
		if fs, ok := w.tagged[tag]; ok && w.depth == 0 {
			inner := walker{src: value, version: w.version, flexible: true}
			inner.fields(fs)
			w.cost += inner.cost
			w.bad = w.bad || inner.bad
		}
	}
}

func (w *walker) uvarint() uint32 {
	v, n := binary.Uvarint(w.src)
	if n <= 0 || n > 5 || v > 1<<32-1 {
		w.fail()
		return 0
	}
	w.src = w.src[n:]
	return uint32(v)
}

func (w *walker) skip(n int) []byte {
	if n < 0 || n > len(w.src) {
		w.fail()
		return nil
	}
	b := w.src[:n]
	w.src = w.src[n:]
	return b
}

func (w *walker) fail() {
	w.bad = true
	w.src = nil
}
