package dir

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sluicemq/sluice/internal/unzeroed"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/vfs"
)

// tmpName is the folder of half-written objects. Keys have no '~'.
const tmpName = "~tmp"

// Bucket is a folder of objects.
type Bucket struct {
	fs       vfs.FS
	root     string
	readOnly bool

	life string        // a random part of the names of this life's temporaries
	temp atomic.Uint64 // number of the last temporary

	writing   chan []byte   // lends out the one buffer that large objects are written from
	shrinking chan struct{} // holds a token while a deleted object gives its room back

	mu      sync.Mutex
	durable map[string]bool // the folders below root whose names this life has synced
}

// Open creates the folder if it is absent, and deletes what earlier lives left half-written (E29).
func Open(fsys vfs.FS, root string) (*Bucket, error) {
	b := &Bucket{fs: fsys, root: path.Clean(root), writing: make(chan []byte, 1), shrinking: make(chan struct{}, 1), durable: map[string]bool{}}
	b.writing <- nil // the first large object makes the buffer
	if err := b.open(); err != nil {
		return nil, fmt.Errorf("dir: open %s: %w", root, err)
	}
	return b, nil
}

// OpenReadOnly opens an existing folder, perhaps one that another process uses, and changes nothing
// in it: Create and Delete return ErrDenied. If the folder is absent, the error is ErrNotFound.
func OpenReadOnly(fsys vfs.FS, root string) (*Bucket, error) {
	b := &Bucket{fs: fsys, root: path.Clean(root), readOnly: true}
	info, err := fsys.Stat(b.root)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%w: not a folder", bucket.ErrDenied)
	}
	if err != nil {
		return nil, fmt.Errorf("dir: open %s: %w", root, known(err))
	}
	return b, nil
}

func (b *Bucket) open() error {
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return err
	}
	b.life = hex.EncodeToString(random[:])
	if err := b.makeRoot(); err != nil {
		return known(err)
	}
	tmp := path.Join(b.root, tmpName)
	names, err := b.fs.List(tmp)
	if err != nil {
		return known(err)
	}
	for _, name := range names {
		if err := b.fs.Remove(path.Join(tmp, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return known(err)
		}
	}
	return nil
}

// makeRoot makes root and its folder of temporaries. It syncs all names from root upwards at each
// start, since an earlier life may have been killed between making and syncing them. An ancestor
// that existed before and that we may not read is left to its owner.
func (b *Bucket) makeRoot() error {
	if err := b.fs.MkdirAll(path.Join(b.root, tmpName)); err != nil {
		return err
	}
	for dir := b.root; dir != path.Dir(dir); dir = path.Dir(dir) {
		err := b.fs.SyncDir(path.Dir(dir))
		if errors.Is(err, fs.ErrPermission) && dir != b.root {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Create implements bucket.Bucket. // E29
func (b *Bucket) Create(ctx context.Context, key string, body bucket.Body) error {
	if err := b.create(ctx, key, body); err != nil {
		return fmt.Errorf("dir: create %s: %w", key, err)
	}
	return nil
}

// create takes these steps: write and sync a temporary → make the key's folders durable → link the
// temporary to the key, if the key is free → remove the temporary's name → sync the key's folder. A
// failure up to the link leaves nothing behind; after a later failure the outcome is unknown.
func (b *Bucket) create(ctx context.Context, key string, body bucket.Body) error {
	if err := b.check(ctx, key, true); err != nil {
		return err
	}
	if body.PartCRCs == nil { // otherwise each part is checked as it is written
		if err := body.Verify(); err != nil {
			return err
		}
	}
	tmp := b.temporary()
	if err := b.writeTemporary(ctx, tmp, body); err != nil {
		return err
	}
	err := b.makeFolders(path.Dir(key))
	if err == nil {
		err = bucket.ContextError(ctx)
	}
	if err != nil {
		return b.drop(tmp, unmade(err))
	}
	if err := b.fs.Link(tmp, b.path(key)); err != nil { // I3
		return b.drop(tmp, b.linkError(key, err))
	}
	// Another opener may have removed it.
	if err := b.fs.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return unknown(err)
	}
	if err := b.fs.SyncDir(path.Dir(b.path(key))); err != nil {
		return unknown(err)
	}
	return nil
}

// temporary returns a name that nobody else uses.
func (b *Bucket) temporary() string {
	return path.Join(b.root, tmpName, fmt.Sprintf("%s-%d", b.life, b.temp.Add(1)))
}

const (
	// directFrom is the size from which an object is written past the page cache.
	directFrom = 1 << 20
	// pieceBytes are written at a time. A sync of the write-ahead log, which mostly is on the same
	// disk, waits for one piece.
	pieceBytes = 1 << 20
)

func (b *Bucket) writeTemporary(ctx context.Context, tmp string, body bucket.Body) error {
	f, err := b.fs.Create(tmp)
	if err != nil {
		return unmade(err)
	}
	if size := body.Size(); size >= directFrom {
		err = b.writeLarge(ctx, f, body, size)
	} else {
		err = writeSmall(f, body, size)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return b.drop(tmp, unmade(err))
	}
	return nil
}

func writeSmall(f vfs.File, body bucket.Body, size int64) error {
	pos := int64(0)
	_, err := bucket.NewBodyReader(body).Send(size, func(bufs [][]byte) (int64, error) {
		n, _, err := f.WriteVec(bufs, pos)
		pos += n
		return n, err
	})
	return err
}

// writeLarge writes past the page cache, a piece at a time and one object at a time
// (docs/decisions/0019-the-log-first.md).
func (b *Bucket) writeLarge(ctx context.Context, f vfs.File, body bucket.Body, size int64) error {
	var piece []byte
	select {
	case piece = <-b.writing:
		defer func() { b.writing <- piece }()
	case <-ctx.Done():
		return bucket.ContextError(ctx)
	}
	if err := f.Allocate(size); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	if piece == nil {
		piece = unzeroed.Make(pieceBytes)
	}
	reader := bucket.NewBodyReader(body)
	for pos := int64(0); pos < size; pos += pieceBytes {
		if err := bucket.ContextError(ctx); err != nil {
			return err
		}
		n, err := io.ReadFull(reader, piece[:min(pieceBytes, size-pos)])
		if err == nil {
			err = writePiece(f, piece[:n], pos)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writePiece writes whole blocks past the page cache, and the rest of the last block through the
// page cache. Where the page cache cannot be avoided, writePiece syncs each piece: one sync of a
// whole object would hold up the syncs of the write-ahead log for 100 to 160 ms.
func writePiece(f vfs.File, piece []byte, pos int64) error {
	whole := len(piece) / vfs.DirectAlign * vfs.DirectAlign
	err := f.WriteDirect(piece[:whole], pos)
	if errors.Is(err, errors.ErrUnsupported) {
		if _, err := f.WriteAt(piece, pos); err != nil {
			return err
		}
		return f.Datasync()
	}
	if err == nil && whole < len(piece) {
		_, err = f.WriteAt(piece[whole:], pos+int64(whole))
	}
	return err
}

// drop removes the temporary of a Create that failed with err. If that fails too, the next Open
// removes the temporary.
func (b *Bucket) drop(tmp string, err error) error {
	if rerr := b.fs.Remove(tmp); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
		return fmt.Errorf("%w (and a temporary stays until the next start: %v)", err, rerr)
	}
	return err
}

// linkError says what a failed link means for the key.
func (b *Bucket) linkError(key string, err error) error {
	switch {
	case errors.Is(err, fs.ErrExist):
		if info, serr := b.fs.Stat(b.path(key)); serr == nil && info.IsDir() {
			return fmt.Errorf("%w: the key is a folder of other objects", bucket.ErrDenied)
		}
		return bucket.ErrExists
	// The temporary was removed by another opener, or somebody removed the folder: the next Create
	// makes both anew.
	case errors.Is(err, fs.ErrNotExist):
		b.mu.Lock()
		clear(b.durable)
		b.mu.Unlock()
		return unmade(err)
	case errors.Is(err, vfs.ErrNoSpace), errors.Is(err, fs.ErrPermission), absent(err):
		return unmade(err)
	}
	return unknown(err)
}

// makeFolders makes dir and its ancestors below root, and makes their names durable, once per life.
func (b *Bucket) makeFolders(dir string) error {
	if dir == "." || b.isDurable(dir) {
		return nil
	}
	if err := b.makeFolders(path.Dir(dir)); err != nil {
		return err
	}
	if err := b.fs.MkdirAll(b.path(dir)); err != nil {
		return err
	}
	if err := b.fs.SyncDir(path.Dir(b.path(dir))); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.durable[dir] = true
	return nil
}

func (b *Bucket) isDurable(dir string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.durable[dir]
}

// ReadAt implements bucket.Bucket.
func (b *Bucket) ReadAt(ctx context.Context, key string, p []byte, pos int64) error {
	if err := b.readAt(ctx, key, p, pos); err != nil {
		return fmt.Errorf("dir: read %d bytes at %d of %s: %w", len(p), pos, key, err)
	}
	return nil
}

func (b *Bucket) readAt(ctx context.Context, key string, p []byte, pos int64) error {
	if err := b.check(ctx, key, false); err != nil {
		return err
	}
	if pos < 0 {
		return fmt.Errorf("%w: negative position", bucket.ErrDenied)
	}
	if len(p) == 0 {
		return nil
	}
	f, err := b.fs.OpenRead(b.path(key))
	if err != nil {
		return known(err)
	}
	n := f.ReadDirect(p, pos)
	if n < len(p) {
		var m int
		m, err = f.ReadAt(p[n:], pos+int64(n))
		n += m
	}
	cerr := f.Close()
	switch {
	case n == len(p): // io.ReaderAt may return EOF with the last bytes
		return known(cerr)
	case err == nil || errors.Is(err, io.EOF):
		if _, err := b.fs.Stat(b.path(key)); absent(err) {
			return known(err) // deleteLarge has cut off its end meanwhile
		}
		return fmt.Errorf("%w: it has %d bytes from there", bucket.ErrShort, n)
	}
	return known(err)
}

// Stat implements bucket.Bucket.
func (b *Bucket) Stat(ctx context.Context, key string) (bucket.Info, error) {
	err := b.check(ctx, key, false)
	if err == nil {
		var info fs.FileInfo
		info, err = b.fs.Stat(b.path(key))
		if err == nil && !info.IsDir() {
			return bucket.Info{Key: key, Bytes: info.Size()}, nil
		}
		if err == nil {
			err = bucket.ErrNotFound
		}
		err = known(err)
	}
	return bucket.Info{}, fmt.Errorf("dir: stat %s: %w", key, err)
}

// Delete implements bucket.Bucket. Once it has succeeded, the object does not come back after a
// power cut. Folders stay, since another Create may be about to use them.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	if err := b.delete(ctx, key); err != nil {
		return fmt.Errorf("dir: delete %s: %w", key, err)
	}
	return nil
}

func (b *Bucket) delete(ctx context.Context, key string) error {
	if err := b.check(ctx, key, true); err != nil {
		return err
	}
	info, err := b.fs.Stat(b.path(key))
	if err == nil && info.IsDir() {
		return nil // a folder is no object
	}
	if err == nil && info.Size() > shrinkStep {
		return b.deleteLarge(ctx, key)
	}
	if err == nil {
		err = b.fs.Remove(b.path(key))
	}
	return b.deleted(key, err)
}

// deleted makes durable that the key has no file any more. It does so even if the file was absent,
// since an earlier Delete may have failed before this step.
func (b *Bucket) deleted(key string, err error) error {
	if err != nil && !absent(err) {
		return known(err)
	}
	if err := b.fs.SyncDir(path.Dir(b.path(key))); err != nil && !absent(err) {
		return known(err)
	}
	return nil
}

// deleteLarge takes these steps: link the object's file to a temporary → remove it from its key and
// sync the key's folder, after which the object is deleted → shrink the file, then remove it. A
// kill between two steps leaves the object whole or absent, and a temporary that the next Open
// removes. If the link cannot be made (the disk is full, or the folder is on another disk), the
// object is deleted as a whole.
func (b *Bucket) deleteLarge(ctx context.Context, key string) error {
	tmp := b.temporary()
	lerr := b.fs.Link(b.path(key), tmp)
	info, serr := b.fs.Stat(tmp)
	// The file has these two names and no other. For a symbolic link, the second name is that of
	// the link, and the count is that of the file to which it leads, which is not ours.
	ours := lerr == nil && serr == nil && vfs.Links(info) == 2
	err := b.deleted(key, b.fs.Remove(b.path(key)))
	if ours && err == nil {
		b.shrink(ctx, tmp)
	}
	if rerr := b.fs.Remove(tmp); rerr != nil && !absent(rerr) && err == nil {
		return fmt.Errorf("%w (it is deleted; its room is taken until the next start)", known(rerr))
	}
	return err
}

const (
	shrinkStep = 2 << 20 // of a deleted object, at a time
	// restMax is the longest rest between two steps. With longer rests or smaller steps, deletion
	// would fall behind production.
	restMax = time.Millisecond
)

// shrink gives a file's room back a step at a time, with rests. Some file systems tell their disk
// at once which blocks are free (ext4 mounted with "discard"). They would otherwise hold up the
// write-ahead log's syncs for as long as the whole object takes: 20 ms for 16 MiB on a virtual
// disk, times the objects that retention deletes in one pass. A file that has another name, as in a
// backup by hard links, is left alone. A failure is not reported: what is left of the file is freed
// at once when its name is removed.
func (b *Bucket) shrink(ctx context.Context, name string) {
	select {
	case b.shrinking <- struct{}{}:
		defer func() { <-b.shrinking }()
	case <-ctx.Done():
		return
	}
	info, err := b.fs.Stat(name)
	if err != nil || vfs.Links(info) != 1 {
		return
	}
	f, err := b.fs.Open(name)
	if err != nil {
		return // for example, we may not write to it
	}
	defer func() { _ = f.Close() }()
	for size := info.Size() - shrinkStep; size > 0 && err == nil && ctx.Err() == nil; size -= shrinkStep {
		begun := time.Now()
		err = f.Truncate(size)
		rest(ctx, min(time.Since(begun), restMax))
	}
}

func rest(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Close implements bucket.Bucket. There is nothing to free.
func (b *Bucket) Close() error { return nil }

func (b *Bucket) path(key string) string { return path.Join(b.root, key) }

func (b *Bucket) check(ctx context.Context, key string, change bool) error {
	if err := bucket.ContextError(ctx); err != nil {
		return err
	}
	if change && b.readOnly {
		return fmt.Errorf("%w: the bucket is open for reading only", bucket.ErrDenied)
	}
	return bucket.ValidateKey(key)
}

// absent reports that there is no such name, or that one of its folders is an object.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EISDIR)
}

// known classifies an error after which nothing was changed.
func known(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bucket.ErrUnavailable), errors.Is(err, bucket.ErrNotFound), errors.Is(err, bucket.ErrDenied), errors.Is(err, bucket.ErrCorrupt):
		return err
	case absent(err):
		return fmt.Errorf("%w: %w", bucket.ErrNotFound, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w: give this user read and write access to the folder", bucket.ErrDenied, err)
	}
	return fmt.Errorf("%w: %w", bucket.ErrUnavailable, err)
}

// unmade classifies an error of a Create that made nothing.
func unmade(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist): // a folder or temporary was removed meanwhile
		return fmt.Errorf("%w: %w", bucket.ErrUnavailable, err)
	case absent(err), errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w: %w: a part of the key is an object", bucket.ErrDenied, err)
	}
	return known(err)
}

func unknown(err error) error { return fmt.Errorf("%w: %w", bucket.ErrUnknown, err) }

// List implements bucket.Bucket. It reads a folder when the walk reaches it.
func (b *Bucket) List(ctx context.Context, prefix, after string) iter.Seq2[bucket.Info, error] {
	return func(yield func(bucket.Info, error) bool) {
		w := walk{b: b, ctx: ctx, prefix: prefix, after: after, yield: yield}
		err := bucket.ValidatePrefix(prefix)
		if err == nil {
			// Only the folder that the prefix names can hold keys with the prefix.
			folder := ""
			if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
				folder = prefix[:i+1]
			}
			_, err = w.folder(folder)
		}
		if err != nil {
			yield(bucket.Info{}, fmt.Errorf("dir: list %s: %w", prefix, err))
		}
	}
}
