package crashfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sluicemq/sluice/vfs"
)

// Errors of the disk itself. EIO is the error to pass to FailAt for an I/O error.
var (
	ErrDead = errors.New("crashfs: the process is dead")
	EIO     = syscall.EIO
)

// errLate is the outcome of calls that a process makes after its death.
var errLate = fmt.Errorf("%w since an earlier call", ErrDead)

const (
	pageBytes   = 4096
	sectorBytes = 512
)

// Call is one call that was made. Calls are counted from 1.
type Call struct {
	N int
	// Op is create open openread rename link remove removeall mkdir list stat syncdir read write
	// sync datasync truncate.
	Op   string
	Name string
	To   string // of rename and link
	Pos  int64  // of read, write and truncate (the size)
	Len  int64
}

func (c Call) String() string {
	switch c.Op {
	case "rename", "link":
		return fmt.Sprintf("%s %s %s", c.Op, c.Name, c.To)
	case "read", "write":
		return fmt.Sprintf("%s %s %d+%d", c.Op, c.Name, c.Pos, c.Len)
	case "truncate":
		return fmt.Sprintf("%s %s %d", c.Op, c.Name, c.Pos)
	}
	return c.Op + " " + c.Name
}

// FS is a disk and the process that uses it.
type FS struct {
	mu    sync.Mutex
	rng   *rand.Rand
	seed  uint64
	root  *node
	dead  bool
	calls []Call
	fail  map[int]error
	kill  int
	hook  func(Call) error
}

var _ vfs.FS = (*FS)(nil)

// New returns an empty disk. The seed decides what a crash leaves of the bytes and names that were
// not synced.
func New(seed uint64) *FS {
	return &FS{seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), root: newDir(), fail: make(map[int]error)}
}

// FailAt makes the n-th call fail with err, counted from 1 over all calls; see [EIO] and
// [vfs.ErrNoSpace]. A failing write has written a part. A failing sync drops what was not synced.
func (d *FS) FailAt(n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail[n] = err
}

// KillAt stops the process in the n-th call. If that is a write, it may have written a part; any
// other call does nothing. Every later call answers ErrDead.
func (d *FS) KillAt(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kill = n
}

// SetHook has f called before each call is carried out. An error of f becomes the call's outcome,
// as with FailAt; [ErrDead] kills the process. f may block. SetHook(nil) removes the hook.
func (d *FS) SetHook(f func(Call) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hook = f
}

// Calls returns all calls so far, in order.
func (d *FS) Calls() []Call {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.calls)
}

// Dead reports whether KillAt, Kill or Crash has stopped the process.
func (d *FS) Dead() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dead
}

// Kill stops the process and returns the disk as the next process finds it. The page cache
// survives, and dirty pages are still dirty. Open files of d answer ErrDead.
func (d *FS) Kill() *FS {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = true
	next := New(d.seed + 1)
	next.root = cloneTree(d.root, make(map[*node]*node))
	return next
}

// Crash cuts the power and returns the disk as the next start finds it. Open files of d answer
// ErrDead.
func (d *FS) Crash() *FS {
	next := d.Kill()
	next.root = cut(next.root, next.rng, make(map[*node]bool))
	return next
}

// begin counts a call and decides its outcome: nil means that it is carried out.
func (d *FS) begin(c Call) error {
	d.mu.Lock()
	if d.dead {
		d.mu.Unlock()
		return errLate
	}
	c.N = len(d.calls) + 1
	d.calls = append(d.calls, c)
	hook, err := d.hook, d.fail[c.N]
	if d.kill == c.N {
		err = ErrDead
	}
	d.mu.Unlock()
	if err == nil && hook != nil {
		err = hook(c)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return errLate // killed while the hook held the call
	}
	if errors.Is(err, ErrDead) {
		d.dead = true
	}
	if err != nil {
		return &fs.PathError{Op: c.Op, Path: c.Name, Err: err}
	}
	return nil
}

// do carries out a call on names.
func (d *FS) do(c Call, f func() error) error {
	if err := d.begin(c); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return ErrDead
	}
	if err := f(); err != nil {
		return &fs.PathError{Op: c.Op, Path: c.Name, Err: err}
	}
	return nil
}

// Create implements vfs.FS.
func (d *FS) Create(name string) (vfs.File, error) {
	var n *node
	err := d.do(Call{Op: "create", Name: name}, func() error {
		dir, base, err := d.parent(name)
		if err != nil {
			return err
		}
		if dir.names[base] != nil {
			return fs.ErrExist
		}
		n = newFile()
		n.path = name
		dir.names[base] = n
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &file{disk: d, node: n, writable: true}, nil
}

// Open implements vfs.FS.
func (d *FS) Open(name string) (vfs.File, error) { return d.open("open", name, true) }

// OpenRead implements vfs.FS.
func (d *FS) OpenRead(name string) (vfs.File, error) { return d.open("openread", name, false) }

func (d *FS) open(op, name string, writable bool) (vfs.File, error) {
	var n *node
	err := d.do(Call{Op: op, Name: name}, func() (err error) {
		if n, err = d.find(name); err == nil && n.isDir() {
			err = syscall.EISDIR
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &file{disk: d, node: n, writable: writable}, nil
}

// Rename implements vfs.FS.
func (d *FS) Rename(oldname, newname string) error {
	return d.do(Call{Op: "rename", Name: oldname, To: newname}, func() error {
		from, fromBase, err := d.parent(oldname)
		if err != nil {
			return err
		}
		to, toBase, err := d.parent(newname)
		if err != nil {
			return err
		}
		n := from.names[fromBase]
		if n == nil {
			return fs.ErrNotExist
		}
		if over := to.names[toBase]; over != nil && over.isDir() && len(over.names) > 0 {
			return syscall.ENOTEMPTY
		}
		delete(from.names, fromBase)
		to.names[toBase] = n
		n.path = newname
		return nil
	})
}

// Link implements vfs.FS.
func (d *FS) Link(oldname, newname string) error {
	return d.do(Call{Op: "link", Name: oldname, To: newname}, func() error {
		n, err := d.find(oldname)
		if err != nil {
			return err
		}
		to, base, err := d.parent(newname)
		if err != nil {
			return err
		}
		if to.names[base] != nil {
			return fs.ErrExist
		}
		to.names[base] = n
		return nil
	})
}

// Remove implements vfs.FS.
func (d *FS) Remove(name string) error {
	return d.do(Call{Op: "remove", Name: name}, func() error {
		dir, base, err := d.parent(name)
		if err != nil {
			return err
		}
		n := dir.names[base]
		if n == nil {
			return fs.ErrNotExist
		}
		if n.isDir() && len(n.names) > 0 {
			return syscall.ENOTEMPTY
		}
		delete(dir.names, base)
		return nil
	})
}

// RemoveAll implements vfs.FS. The files in a folder are removed one by one, so a crash may leave
// some.
func (d *FS) RemoveAll(name string) error {
	return d.do(Call{Op: "removeall", Name: name}, func() error {
		dir, base, err := d.parent(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if n := dir.names[base]; n != nil {
			n.empty()
			delete(dir.names, base)
		}
		return nil
	})
}

// MkdirAll implements vfs.FS.
func (d *FS) MkdirAll(name string) error {
	return d.do(Call{Op: "mkdir", Name: name}, func() error {
		at := d.root
		for _, part := range split(name) {
			next := at.names[part]
			if next == nil {
				next = newDir()
				at.names[part] = next
			}
			if !next.isDir() {
				return syscall.ENOTDIR
			}
			at = next
		}
		return nil
	})
}

// List implements vfs.FS.
func (d *FS) List(dir string) ([]string, error) {
	var names []string
	err := d.do(Call{Op: "list", Name: dir}, func() error {
		n, err := d.find(dir)
		if err != nil {
			return err
		}
		if !n.isDir() {
			return syscall.ENOTDIR
		}
		names = slices.Sorted(maps.Keys(n.names))
		return nil
	})
	return names, err
}

// Stat implements vfs.FS.
func (d *FS) Stat(name string) (fs.FileInfo, error) {
	var i info
	err := d.do(Call{Op: "stat", Name: name}, func() error {
		n, err := d.find(name)
		if err != nil {
			return err
		}
		i = info{name: path.Base(name), size: int64(len(n.cache)), dir: n.isDir(), links: links(d.root, n)}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return i, nil
}

// SyncDir implements vfs.FS.
func (d *FS) SyncDir(dir string) error {
	return d.do(Call{Op: "syncdir", Name: dir}, func() error {
		n, err := d.find(dir)
		if err != nil {
			return err
		}
		if !n.isDir() {
			return syscall.ENOTDIR
		}
		n.durable = maps.Clone(n.names)
		return nil
	})
}

// find resolves a path; d.mu is held.
func (d *FS) find(name string) (*node, error) {
	at := d.root
	for _, part := range split(name) {
		if !at.isDir() {
			return nil, syscall.ENOTDIR
		}
		if at = at.names[part]; at == nil {
			return nil, fs.ErrNotExist
		}
	}
	return at, nil
}

// parent resolves the folder of a path; d.mu is held.
func (d *FS) parent(name string) (*node, string, error) {
	dir, err := d.find(path.Dir(path.Clean(name)))
	if err != nil {
		return nil, "", err
	}
	if !dir.isDir() {
		return nil, "", syscall.ENOTDIR
	}
	return dir, path.Base(name), nil
}

func split(name string) []string {
	name = strings.Trim(path.Clean(name), "/")
	if name == "" || name == "." {
		return nil
	}
	return strings.Split(name, "/")
}

// info is the result of Stat.
type info struct {
	name  string
	size  int64
	dir   bool
	links vfs.LinkCount
}

// links counts the names of node n at and below a folder.
func links(at, n *node) (count vfs.LinkCount) {
	for _, child := range at.names {
		if child == n {
			count++
		}
		count += links(child, n)
	}
	return count
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.dir }
func (i info) Sys() any           { return i.links }
func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}

// file is an open file.
type file struct {
	disk     *FS
	node     *node
	writable bool
	closed   bool // guarded by disk.mu
}

// usable is called with disk.mu held.
func (f *file) usable() error {
	switch {
	case f.disk.dead:
		return ErrDead
	case f.closed:
		return fs.ErrClosed
	}
	return nil
}

// name returns the file's newest name.
func (f *file) name() string {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	return f.node.path
}

func (f *file) do(c Call, g func() error) error {
	c.Name = f.name()
	return f.disk.do(c, func() error {
		if f.closed {
			return fs.ErrClosed
		}
		return g()
	})
}

// ReadDirect fills nothing and leaves everything to ReadAt: this disk has no page cache that a read
// could bypass.
func (f *file) ReadDirect([]byte, int64) int { return 0 }

func (f *file) ReadAt(p []byte, pos int64) (int, error) {
	n := 0
	err := f.do(Call{Op: "read", Pos: pos, Len: int64(len(p))}, func() error {
		if pos < int64(len(f.node.cache)) {
			n = copy(p, f.node.cache[pos:])
		}
		return nil
	})
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

func (f *file) WriteAt(p []byte, pos int64) (int, error) {
	n, _, err := f.WriteVec([][]byte{p}, pos)
	return int(n), err
}

// WriteDirect is WriteAt: this disk has no page cache that a write could bypass.
func (f *file) WriteDirect(p []byte, pos int64) error {
	_, err := f.WriteAt(p, pos)
	return err
}

func (f *file) WriteVec(bufs [][]byte, pos int64) (int64, int, error) {
	p := bytes.Join(bufs, nil)
	c := Call{Op: "write", Name: f.name(), Pos: pos, Len: int64(len(p))}
	fate := f.disk.begin(c)
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if errors.Is(fate, errLate) {
		return 0, 0, fate
	}
	if fate != nil { // the part that the call managed before it failed
		p = p[:f.disk.rng.IntN(len(p)+1)]
		f.node.write(p, pos)
		return int64(len(p)), 1, fate
	}
	if err := f.usable(); err != nil {
		return 0, 0, err
	}
	if !f.writable {
		return 0, 0, &fs.PathError{Op: "write", Path: f.node.path, Err: syscall.EBADF}
	}
	f.node.write(p, pos)
	return int64(len(p)), 1, nil
}

func (f *file) Sync() error     { return f.sync("sync") }
func (f *file) Datasync() error { return f.sync("datasync") }

func (f *file) sync(op string) error {
	err := f.do(Call{Op: op}, func() error {
		f.node.sync()
		return nil
	})
	if err != nil && !errors.Is(err, ErrDead) {
		f.disk.mu.Lock()
		defer f.disk.mu.Unlock()
		clear(f.node.dirty) // marked clean, though the disk never saw the pages
	}
	return err
}

func (f *file) Truncate(size int64) error {
	return f.do(Call{Op: "truncate", Pos: size}, func() error {
		f.node.resize(size)
		return nil
	})
}

func (f *file) Allocate(size int64) error {
	return f.do(Call{Op: "allocate", Pos: size}, func() error {
		f.node.resize(max(size, int64(len(f.node.cache))))
		return nil
	})
}

func (f *file) Size() (int64, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.usable(); err != nil {
		return 0, err
	}
	return int64(len(f.node.cache)), nil
}

func (f *file) Close() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.closed = true
	return nil
}
