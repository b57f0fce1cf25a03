package vfs

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const tailBytes = 100 // the tail of a file that ends inside a block

// coldFile returns a file of random bytes that is not in the page cache, if its file system lets
// that happen, and whether the file can be read past the page cache.
func coldFile(t *testing.T) (f File, content []byte, direct bool) {
	t.Helper()
	content = make([]byte, 1<<20+tailBytes)
	rand.NewChaCha8([32]byte{7}).Read(content)
	name := filepath.Join(t.TempDir(), "cold")
	noError(t, os.WriteFile(name, content, 0o600))
	f, err := OS().OpenRead(name)
	noError(t, err)
	t.Cleanup(func() { f.Close() })
	noError(t, f.Sync())
	fd := int(f.(*osFile).Fd())
	noError(t, unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED))
	probe, err := os.OpenFile(name, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return f, content, false
	}
	probe.Close()
	return f, content, !mostlyCached(uintptr(fd), 0, len(content)) && cachedPages(t, f) == 0 && !overlaid(uintptr(fd))
}

func cachedPages(t *testing.T, f File) uint64 {
	t.Helper()
	var stat unix.Cachestat_t
	noError(t, unix.Cachestat(uint(f.(*osFile).Fd()), &unix.CachestatRange{Len: 1 << 30}, &stat, 0))
	return stat.Cache
}

// What ReadDirect fills is the file's bytes, and they never get into the page cache. ReadAt goes on
// from there, at any position.
func TestReadDirect(t *testing.T) {
	f, content, direct := coldFile(t)
	got := make([]byte, len(content))
	n := f.ReadDirect(got, 0)
	if want := len(content) - tailBytes; direct && (n != want || cachedPages(t, f) != 0) || !direct && n != 0 {
		t.Fatalf("filled %d bytes of %d (direct %v), %d pages are cached", n, len(content), direct, cachedPages(t, f))
	}
	if m, err := f.ReadAt(got[n:], int64(n)); n+m != len(content) || err != nil || !bytes.Equal(got, content) {
		t.Fatalf("with the rest %d bytes, %v, equal: %v", n+m, err, bytes.Equal(got, content))
	}
	odd := make([]byte, 333)
	if _, err := f.ReadAt(odd, 5555); err != nil || !bytes.Equal(odd, content[5555:][:333]) {
		t.Fatalf("an unaligned ReadAt afterwards: %v", err)
	}
}

// A read across the file's end fills what there is.
func TestReadDirectShortFile(t *testing.T) {
	f, content, direct := coldFile(t)
	got := make([]byte, 2<<20)
	n := f.ReadDirect(got, 0)
	if direct && n != len(content) || !direct && n != 0 {
		t.Fatalf("filled %d of %d bytes", n, len(content))
	}
	m, err := f.ReadAt(got[n:], int64(n))
	if n+m != len(content) || err != io.EOF || !bytes.Equal(got[:n+m], content) {
		t.Fatalf("%d bytes in all, %v", n+m, err)
	}
	if n := f.ReadDirect(got, 4<<20); n != 0 {
		t.Fatalf("%d bytes from behind the end", n)
	}
}

// Where the alignment does not fit, or the pages are cached, ReadDirect reads nothing, and that is
// no error.
func TestReadDirectDeclines(t *testing.T) {
	f, content, _ := coldFile(t)
	p := make([]byte, 256<<10)
	for name, n := range map[string]int{
		"position": f.ReadDirect(p, 512+1), "address": f.ReadDirect(p[1:], 0), "length": f.ReadDirect(p[:DirectAlign-1], 0), "empty": f.ReadDirect(nil, 0),
	} {
		if n != 0 {
			t.Errorf("%s: %d bytes", name, n)
		}
	}
	if _, err := f.ReadAt(make([]byte, len(content)), 0); err != nil {
		t.Fatal(err)
	}
	if n := f.ReadDirect(p, 0); n != 0 {
		t.Errorf("%d bytes of what is in the page cache", n)
	}
	proc, err := OS().OpenRead("/proc/self/maps") // /proc refuses O_DIRECT
	noError(t, err)
	defer proc.Close()
	if n := proc.ReadDirect(p, 0); n != 0 {
		t.Errorf("%d bytes of a file that cannot be read so", n)
	}
	if n, _ := proc.ReadAt(p, 0); n == 0 {
		t.Error("nothing of it with ReadAt")
	}
}

// What WriteDirect writes is in the file and not in the page cache; around it other writes go on as
// usual.
func TestWriteDirect(t *testing.T) {
	name := filepath.Join(t.TempDir(), "new")
	f, err := OS().Create(name)
	noError(t, err)
	t.Cleanup(func() { f.Close() })
	const size = 1<<20 + tailBytes
	memory := make([]byte, size+DirectAlign)
	content := memory[DirectAlign-int(uintptr(unsafe.Pointer(&memory[0]))%DirectAlign):][:size]
	rand.NewChaCha8([32]byte{7}).Read(content)
	whole := content[:1<<20]
	err = f.WriteDirect(whole[:1<<19], 0)
	if errors.Is(err, errors.ErrUnsupported) {
		if n, serr := f.Size(); serr != nil || n != 0 {
			t.Fatalf("what could not be written has left %d bytes, %v", n, serr)
		}
		t.Skip("this file system has no O_DIRECT")
	}
	noError(t, err)
	noError(t, f.WriteDirect(whole[1<<19:], 1<<19))
	if n := cachedPages(t, f); n != 0 && !overlaid(f.(*osFile).Fd()) {
		t.Errorf("%d pages are cached", n)
	}
	_, err = f.WriteAt(content[1<<20:], 1<<20)
	noError(t, err)
	noError(t, f.Sync())
	got, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("read back %d bytes that differ, %v", len(got), err)
	}
	for what, err := range map[string]error{"position": f.WriteDirect(whole, 512), "address": f.WriteDirect(content[1:DirectAlign+1], 0), "length": f.WriteDirect(whole[:100], 0)} {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s that is not aligned: %v", what, err)
		}
	}
	if err := f.WriteDirect(nil, 0); err != nil {
		t.Errorf("nothing to write: %v", err)
	}
}
