package raft

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	hraft "github.com/hashicorp/raft"
)

// A log entry, the value under its big-endian index in bucket "log" of raft.db, little-endian:
//
//	 0  1  version     1; readers refuse any other
//	 1  1  type        hashicorp/raft's log type
//	 2  2  reserved    0
//	 4  4  dataBytes
//	 8  4  extBytes
//	12  8  index       the key again: an entry under another's key is damage
//	20  8  term
//	28  8  appendedAt  nanoseconds since 1970, 0 unknown; information only
//	36     data, extensions
//	    4  crc32c      of all bytes before
//
// A value of bucket "stable" is its bytes, then 4 bytes crc32c of key and value.
// These values are on disk: changing one makes a new version.
const (
	entryVersion     = 1
	entryHeaderBytes = 36
	entryBytesMax    = 64 << 20
	crcBytes         = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encodeEntry(l *hraft.Log) ([]byte, error) {
	size := entryHeaderBytes + len(l.Data) + len(l.Extensions) + crcBytes
	if size > entryBytesMax {
		return nil, fmt.Errorf("entry %d of %d bytes, at most %d", l.Index, size, entryBytesMax)
	}
	le := binary.LittleEndian
	b := make([]byte, entryHeaderBytes, size)
	b[0], b[1] = entryVersion, byte(l.Type)
	le.PutUint32(b[4:], uint32(len(l.Data)))
	le.PutUint32(b[8:], uint32(len(l.Extensions)))
	le.PutUint64(b[12:], l.Index)
	le.PutUint64(b[20:], l.Term)
	if !l.AppendedAt.IsZero() {
		le.PutUint64(b[28:], uint64(l.AppendedAt.UnixNano()))
	}
	b = append(append(b, l.Data...), l.Extensions...)
	return le.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

// decodeEntry copies the entry out of b, which is the database's memory.
func decodeEntry(index uint64, b []byte, l *hraft.Log) error {
	le := binary.LittleEndian
	if len(b) < entryHeaderBytes+crcBytes {
		return &CorruptError{What: "log entry", Index: index, Reason: fmt.Sprintf("%d bytes", len(b))}
	}
	body := b[:len(b)-crcBytes]
	if want, got := le.Uint32(b[len(body):]), crc32.Checksum(body, castagnoli); want != got {
		return &CorruptError{What: "log entry", Index: index, Reason: fmt.Sprintf("crc32c %08x, entry says %08x", got, want)}
	}
	if b[0] != entryVersion {
		return &CorruptError{What: "log entry", Index: index, Reason: fmt.Sprintf("format version %d, this build reads %d", b[0], entryVersion)}
	}
	data, ext := int64(le.Uint32(b[4:])), int64(le.Uint32(b[8:]))
	if entryHeaderBytes+data+ext != int64(len(body)) || le.Uint64(b[12:]) != index {
		return &CorruptError{What: "log entry", Index: index, Reason: "lengths or index do not fit"}
	}
	own := append([]byte(nil), body[entryHeaderBytes:]...)
	*l = hraft.Log{Index: index, Term: le.Uint64(b[20:]), Type: hraft.LogType(b[1]), Data: own[:data:data]}
	if ext > 0 {
		l.Extensions = own[data:]
	}
	if at := int64(le.Uint64(b[28:])); at != 0 {
		l.AppendedAt = time.Unix(0, at)
	}
	return nil
}

func encodeStable(key, value []byte) []byte {
	b := append(make([]byte, 0, len(value)+crcBytes), value...)
	return binary.LittleEndian.AppendUint32(b, stableCRC(key, value))
}

func decodeStable(key, b []byte) ([]byte, error) {
	n := len(b) - crcBytes
	if n < 0 || binary.LittleEndian.Uint32(b[n:]) != stableCRC(key, b[:n]) {
		return nil, &CorruptError{What: "stable value " + string(key), Reason: "crc32c does not fit"}
	}
	return append([]byte(nil), b[:n]...), nil
}

func stableCRC(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}
