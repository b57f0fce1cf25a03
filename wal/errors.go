package wal

import (
	"errors"
	"fmt"

	"github.com/sluicemq/sluice/ident"
)

// Errors that callers decide by.
var (
	ErrPoisoned = errors.New("write-ahead log failed and takes no more")
	ErrClosed   = errors.New("write-ahead log is closed")
	ErrNoSpace  = errors.New("no space for the next write-ahead log segment")
	ErrTooLarge = errors.New("append does not fit a write-ahead log segment")
	ErrTrimmed  = errors.New("position is trimmed")
	ErrCorrupt  = errors.New("write-ahead log is damaged")
	// ErrMissing says that an incarnation has no folder or no segment. Only an incarnation that was
	// never opened may be missing (E27).
	ErrMissing = errors.New("write-ahead log of the incarnation is missing")
	// ErrVersion says that a newer release wrote the file.
	ErrVersion = errors.New("write-ahead log was written by a newer release")
)

// CorruptError is damage that is not a torn tail. errors.Is(err, ErrCorrupt) holds for it.
type CorruptError struct {
	File     string
	Position ident.Position
	What     string
	Want     uint64 // Want and Got are both 0 if there are no two values to compare.
	Got      uint64
}

func (e *CorruptError) Error() string {
	s := fmt.Sprintf("write-ahead log is damaged: %s, position %d: %s", e.File, e.Position, e.What)
	if e.Want != 0 || e.Got != 0 {
		s += fmt.Sprintf(" (want %#x, got %#x)", e.Want, e.Got)
	}
	return s
}

// Is makes every CorruptError an ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }
