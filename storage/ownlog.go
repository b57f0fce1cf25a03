package storage

import (
	"sync/atomic"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/wal"
)

// ownLog is the write-ahead log of this incarnation. A start makes it (Engine.createWAL) before
// anything is placed or flushed, and it does not change afterwards.
type ownLog struct {
	wal            *wal.Writer
	own            *source // reads the own WAL
	appendBytesMax int64   // what one append holds, entry headers included
}

// source reads batches of one WAL incarnation, the own or a sealed one.
type source struct {
	incarnation ident.Incarnation
	read        func(p []byte, pos ident.Position, crc uint32) error
	sealed      *wal.Sealed  // nil for the own WAL
	uncommitted atomic.Int64 // batches of a sealed tail that are neither committed nor void
}
