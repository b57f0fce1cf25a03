package bucket

import (
	"context"
	"errors"
	"fmt"
	"iter"
)

// The errors by which a caller decides. Every error of a [Bucket] is one of these, wrapped with the
// operation, the key and the cause.
var (
	ErrExists   = errors.New("object exists already")
	ErrNotFound = errors.New("no such object")
	// ErrUnknown is only returned by Create: the object may be stored, may not be stored, or may
	// yet appear. Only the metadata quorum can settle it.
	ErrUnknown = errors.New("outcome unknown: the object may have been stored")
	// ErrUnavailable means: try again later. If Create returns it, nothing was stored, and nothing
	// will be.
	ErrUnavailable = errors.New("object store unavailable")
	// ErrDenied means that the store, or this package, refuses the request as it is, and will go on
	// to refuse it until somebody changes something. The message says what. Nothing was stored.
	ErrDenied = errors.New("object store refuses the request")
	// ErrShort means that the object ends before the end of the requested range.
	ErrShort = errors.New("object is shorter than the read")
	// ErrCorrupt means that bytes do not match their checksum, or an answer its request. Nothing
	// was stored.
	ErrCorrupt = errors.New("bytes do not match their checksum")
)

// Info describes a stored object.
type Info struct {
	Key   string
	Bytes int64
}

// Bucket is an object store. Methods may be called concurrently.
//
// All methods honour ctx. If ctx ends before the outcome is known, Create returns ErrUnknown and
// the others return ErrUnavailable, with the context's error wrapped. Keys must be valid by
// ValidateKey; any other key is ErrDenied.
type Bucket interface {
	// Create stores the object if the key is free, and otherwise returns ErrExists (I3). After a
	// timeout or another ambiguous failure the outcome is ErrUnknown, and only the metadata quorum
	// settles it. Create never deletes. The body's parts belong to Create until it returns, and
	// only until then, however it ends.
	Create(ctx context.Context, key string, body Body) error
	// ReadAt fills all of p with the object's bytes from position pos, or fails. The error is
	// ErrNotFound, or ErrShort if the object ends before. After an error the content of p is
	// undefined. For an empty p the store is not asked.
	ReadAt(ctx context.Context, key string, p []byte, pos int64) error
	// Stat returns the size of an object, or ErrNotFound.
	Stat(ctx context.Context, key string) (Info, error)
	// List yields the objects whose key begins with prefix and is greater than after, in byte order
	// of their keys, page after page to the end. An error ends the sequence. Objects that are
	// created or deleted meanwhile may or may not be seen.
	List(ctx context.Context, prefix, after string) iter.Seq2[Info, error]
	// Delete succeeds if the key is absent.
	Delete(ctx context.Context, key string) error
	// Close frees what the bucket holds in this process. It may be called twice.
	Close() error
}

// ReadAll returns the whole object, which may have at most bytesMax bytes (otherwise the error is
// ErrDenied), so that no object decides how much memory we take.
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

// ContextError returns ErrUnavailable with the context's error if ctx has ended, and otherwise nil.
// It is the check of a Bucket before it begins.
func ContextError(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
}
