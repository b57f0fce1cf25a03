// Package dir is the file:// bucket: an object is a file below one folder, its key is the path.
//
// It owns that folder. What Create returned success for is there, whole, after a
// power cut; what it failed for, or was killed in, is absent or whole, never half (E29). Unlike
// an object store a folder cannot hold both an object "a" and an object "a/b": the second is ErrDenied.
//
// An object is synced as it is written, a MiB at a time, and when it is deleted its room goes in steps too: the write-ahead log mostly lies on the same disk.
//
// Half-written and half-deleted objects live in the folder "~tmp", a name that no key can have. Open
// deletes what is there: of two processes on one folder the later start may so break a
// Create of the other, which then says ErrUnavailable and is tried again.
//
// A read whose range is not in the page cache goes past it as far as alignment allows: blocks of objects have a cache of
// their own above, and filling pages cost four times what the disk's own way into memory does. All of a read is from one open file.
//
// The type to know is [Bucket]. It has no goroutines; a mutex guards the set of folders
// that are known to be durable, and one deleted object shrinks at a time. Layout: docs/formats/bucket.md. Imports: storage/bucket, vfs.
package dir
