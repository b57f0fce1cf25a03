package bucket

import (
	"context"
	"errors"
	"fmt"
	"iter"
)

// Errors that a caller decides by. Every error of a [Bucket] is one of these,
// wrapped with the operation, the key and the cause.
var (
	ErrExists   = errors.New("object exists already")
	ErrNotFound = errors.New("no such object")
	// ErrUnknown is only said by Create: the object may be stored, may not be,
	// or may yet appear. Nobody but the metadata quorum can settle it.
	ErrUnknown = errors.New("outcome unknown: the object may have been stored")
	// ErrUnavailable: try again later. Said by Create, it promises that nothing was stored nor will be.
	ErrUnavailable = errors.New("object store unavailable")
	// ErrDenied: the store, or this package, refuses the request as it is, and will
	// until someone changes something; the message says what. Nothing was stored.
	ErrDenied = errors.New("object store refuses the request")
	// ErrShort: the object ends before the end of what was asked for.
	ErrShort = errors.New("object is shorter than the read")
	// ErrCorrupt: bytes and checksum, or answer and request, do not match. Nothing was stored.
	ErrCorrupt = errors.New("bytes do not match their checksum")
)

// Info describes a stored object.
type Info struct {
	Key   string
	Bytes int64
}

// Bucket is an object store. Methods may be called concurrently.
//
// All honour ctx; where it ends before the outcome is known, Create says
// ErrUnknown and the others ErrUnavailable, with the context's error wrapped.
// Keys are as ValidateKey wants them, anything else is ErrDenied.
type Bucket interface {
	// Create stores the object if the key is free, else ErrExists (I3). After a
	// timeout or another ambiguous failure the outcome is ErrUnknown; only the
	// metadata quorum settles it. It never deletes. The body's parts belong to
	// Create until it returns, and only until then, however it ends.
	Create(ctx context.Context, key string, body Body) error
	// ReadAt fills all of p with the object's bytes from position pos, or fails:
	// ErrNotFound, or ErrShort if the object ends before. After an error p holds
	// anything. An empty p asks nothing of the store.
	ReadAt(ctx context.Context, key string, p []byte, pos int64) error
	// Stat says how big an object is, or ErrNotFound.
	Stat(ctx context.Context, key string) (Info, error)
	// List yields the objects whose key begins with prefix and is greater than
	// after, in byte order of their keys, page after page to the end. An error ends it.
	// What is created or deleted meanwhile may or may not be seen.
	List(ctx context.Context, prefix, after string) iter.Seq2[Info, error]
	// Delete of an absent key succeeds.
	Delete(ctx context.Context, key string) error
	// Close frees what the bucket holds here. It may be called twice.
	Close() error
}

// ReadAll returns the whole object, which may have at most bytesMax bytes
// (ErrDenied otherwise): nobody's object shall decide how much memory we take.
func ReadAll(ctx context.Context, b Bucket, key string, bytesMax int64) ([]byte, error) {
	info, err := b.Stat(ctx, key)
	if err != nil {
		return nil, err
	}
	if info.Bytes > bytesMax {
		return nil, fmt.Errorf("bucket: read all of %s: %w: %d bytes, expected at most %d", key, ErrDenied, info.Bytes, bytesMax)
	}
	p := make([]byte, info.Bytes)
	if err := b.ReadAt(ctx, key, p, 0); err != nil {
		return nil, err
	}
	return p, nil
}

// ContextError is ErrUnavailable with the context's error if ctx has ended, else
// nil: what a Bucket says before it has begun.
func ContextError(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
}
