package object

import (
	"errors"
	"fmt"

	"github.com/sluicemq/sluice/ident"
)

// Errors that readers and writers decide by.
var (
	// ErrCorrupt is an object whose bytes are not the bytes that were written.
	ErrCorrupt = errors.New("damaged object")
	// ErrVersion is an object of a format that this release does not know.
	ErrVersion = errors.New("object of an unknown version")
	// ErrTooLarge is content beyond what the format allows. The writer must split it.
	ErrTooLarge = errors.New("too large for an object")
)

// CorruptError says where an object is damaged. errors.Is(err, ErrCorrupt) holds for it.
type CorruptError struct {
	Object    ident.ObjectID // 0 if only the caller knows the object
	Position  int64          // of the damaged block, in the object
	What      string         // the field that does not fit
	Want, Got uint64
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%v %s: %s at position %d is %#x, want %#x", ErrCorrupt, e.Object, e.What, e.Position, e.Got, e.Want)
}

// Is makes every CorruptError an ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// checker compares the fields of one block with what they must be. It keeps the first misfit.
type checker struct {
	object   ident.ObjectID
	position int64
	err      error
}

// equal requires got to be want.
func (c *checker) equal(what string, got, want uint64) {
	if c.err == nil && got != want {
		c.err = &CorruptError{Object: c.object, Position: c.position, What: what, Want: want, Got: got}
	}
}

// most requires got to be at most limit.
func (c *checker) most(what string, got, limit uint64) {
	if c.err == nil && got > limit {
		c.err = &CorruptError{Object: c.object, Position: c.position, What: what + " (at most)", Want: limit, Got: got}
	}
}

// version requires a version and flags that this release knows.
func (c *checker) version(what string, got, known, flags uint16) {
	if c.err == nil && (got != known || flags != 0) {
		c.err = fmt.Errorf("%w: %s of object %s has version %d and flags %#x, this release reads version %d", ErrVersion, what, c.object, got, flags, known)
	}
}
