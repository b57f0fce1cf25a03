package dir

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/sluicemq/sluice/storage/bucket"
)

// walk is one listing.
type walk struct {
	b             *Bucket
	ctx           context.Context
	prefix, after string
	yield         func(bucket.Info, error) bool
}

// entry is a name in a folder. The name of a folder ends in '/', which sorts it where the byte
// order of whole keys wants it ("a-b" < "a/b" < "a0").
type entry struct {
	key   string
	bytes int64
}

// folder walks one folder, whose name is "" or ends in '/'. It returns false when the reader has
// enough.
func (w *walk) folder(folder string) (more bool, err error) {
	if err := bucket.ContextError(w.ctx); err != nil {
		return false, err
	}
	entries, err := w.entries(folder)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.key, "/") {
			more, err = w.folder(e.key)
		} else {
			more = w.yield(bucket.Info{Key: e.key, Bytes: e.bytes}, nil)
		}
		if !more || err != nil {
			return false, err
		}
	}
	return true, nil
}

// entries reads a folder and keeps, in order, the names that may hold wanted keys.
func (w *walk) entries(folder string) ([]entry, error) {
	names, err := w.b.fs.List(w.b.path(folder))
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, known(err)
	}
	var entries []entry
	for _, name := range names {
		key := folder + name
		if bucket.ValidateKey(key) != nil || !w.mayWant(key) {
			continue // temporaries, and files that are not ours
		}
		info, err := w.b.fs.Stat(w.b.path(key))
		switch {
		case errors.Is(err, fs.ErrNotExist): // it was deleted meanwhile
		case err != nil:
			return nil, known(err)
		case info.IsDir():
			if w.wantFolder(key + "/") {
				entries = append(entries, entry{key: key + "/"})
			}
		case strings.HasPrefix(key, w.prefix) && key > w.after:
			entries = append(entries, entry{key, info.Size()})
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	return entries, nil
}

// mayWant reports whether a name can be wanted as an object or as a folder. If not, no Stat is
// needed.
func (w *walk) mayWant(key string) bool {
	object := strings.HasPrefix(key, w.prefix) && key > w.after
	return object || w.wantFolder(key+"/")
}

// wantFolder reports whether a key below the folder can have the prefix and come after.
func (w *walk) wantFolder(folder string) bool {
	if !strings.HasPrefix(folder, w.prefix) && !strings.HasPrefix(w.prefix, folder) {
		return false
	}
	return folder > w.after || strings.HasPrefix(w.after, folder)
}
