// Package dir is the file:// bucket: an object is a file below one folder, and its key is the
// path.
//
// It owns that folder. An object for which Create returned success is there, whole, after a power
// cut. An object for which Create failed, or was killed, is absent or whole, never half (E29).
// Unlike an object store, a folder cannot hold both an object "a" and an object "a/b": the second
// is ErrDenied.
//
// The write-ahead log mostly is on the same disk, and comes first. Large objects are written past
// the page cache, a MiB at a time and one object at a time, so that no write-back gathers. A
// deleted object gives its room back in steps.
//
// Half-written and half-deleted objects are in the folder "~tmp", a name that no key can have.
// Open deletes what is there. If two processes use one folder, the later start may break a Create
// of the other, which then returns ErrUnavailable and is tried again.
//
// A read whose range is not in the page cache bypasses the page cache as far as alignment allows.
// Blocks of objects have a cache of their own above this package, and filling pages cost four
// times as much as reading past them. All bytes of a read come from one open file.
//
// The type to know is [Bucket]. It has no goroutines. A mutex guards the set of folders that are
// known to be durable. One large object is written at a time, and one deleted object shrinks at a
// time. Layout: docs/formats/bucket.md. Imports: internal/unzeroed, storage/bucket, vfs.
package dir
