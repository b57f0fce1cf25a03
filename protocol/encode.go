package protocol

import "encoding/binary"

// Node is a broker as responses name it beside a partition's new leader (KIP-951).
type Node struct {
	ID   int32
	Host string
	Port int32
	Rack *string
}

// NewLeader tells a client where a partition is now (KIP-951). Broker -1 means "not known" and is
// not sent.
type NewLeader struct {
	Broker int32
	Epoch  int32
}

func appendUvarint(dst []byte, v int) []byte { return binary.AppendUvarint(dst, uint64(uint32(v))) }
func append16(dst []byte, v int16) []byte    { return binary.BigEndian.AppendUint16(dst, uint16(v)) }
func append32(dst []byte, v int32) []byte    { return binary.BigEndian.AppendUint32(dst, uint32(v)) }
func append64(dst []byte, v int64) []byte    { return binary.BigEndian.AppendUint64(dst, uint64(v)) }

func appendCount(dst []byte, flexible bool, n int) []byte {
	if flexible {
		return appendUvarint(dst, n+1)
	}
	return append32(dst, int32(n))
}

func appendString(dst []byte, flexible bool, s string) []byte {
	if flexible {
		return append(appendUvarint(dst, len(s)+1), s...)
	}
	return append(append16(dst, int16(len(s))), s...)
}

func appendNullableString(dst []byte, flexible bool, s *string) []byte {
	switch {
	case s != nil:
		return appendString(dst, flexible, *s)
	case flexible:
		return appendUvarint(dst, 0)
	default:
		return append16(dst, -1)
	}
}

// appendNewLeader appends the tagged field `current_leader`: 4 + 4 bytes and no tags of its own.
func appendNewLeader(dst []byte, tag int, l NewLeader) []byte {
	dst = appendUvarint(dst, tag)
	dst = appendUvarint(dst, 9)
	dst = append32(dst, l.Broker)
	dst = append32(dst, l.Epoch)
	return append(dst, 0)
}

// appendNodes appends a section of tagged fields that holds `node_endpoints` as tag 0, or nothing.
func appendNodes(dst []byte, nodes []Node) []byte {
	if len(nodes) == 0 {
		return append(dst, 0)
	}
	var value []byte
	value = appendCount(value, true, len(nodes))
	for _, n := range nodes {
		value = append32(value, n.ID)
		value = appendString(value, true, n.Host)
		value = append32(value, n.Port)
		value = appendNullableString(value, true, n.Rack)
		value = append(value, 0)
	}
	dst = append(dst, 1, 0)
	return append(appendUvarint(dst, len(value)), value...)
}
