package bucket

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

func TestBodyReader(t *testing.T) {
	parts := [][]byte{nil, []byte("ab"), {}, []byte("c"), []byte("defgh"), {}}
	if err := iotest.TestReader(NewBodyReader(NewBody(parts...)), []byte("abcdefgh")); err != nil {
		t.Fatal(err)
	}
	if err := iotest.TestReader(NewBodyReader(NewBody()), nil); err != nil {
		t.Fatal(err)
	}
}

func TestBodySliceAndSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := NewBody(rapid.SliceOf(rapid.SliceOfN(rapid.Byte(), 0, 9)).Draw(t, "parts")...)
		whole := bytes.Join(b.Parts, nil)
		if b.Size() != int64(len(whole)) || b.CRC32C != crc32.Checksum(whole, crc32.MakeTable(crc32.Castagnoli)) {
			t.Fatalf("size %d, crc %08x of %q", b.Size(), b.CRC32C, whole)
		}
		pos := rapid.IntRange(0, len(whole)).Draw(t, "pos")
		size := rapid.IntRange(0, len(whole)-pos).Draw(t, "size")
		slice := b.Slice(int64(pos), int64(size))
		got, err := io.ReadAll(NewBodyReader(slice))
		if err != nil || !bytes.Equal(got, whole[pos:pos+size]) || slice.Verify() != nil {
			t.Fatalf("slice [%d,+%d) of %q = %q, %v", pos, size, whole, got, err)
		}
	})
}

func TestBodyReaderReleased(t *testing.T) {
	part := []byte("some bytes")
	r := NewBodyReader(NewBody(part))
	p := make([]byte, 4)
	if _, err := r.Read(p); err != nil {
		t.Fatal(err)
	}
	r.Release()
	if n, err := r.Read(p); n != 0 || !errors.Is(err, errReleased) {
		t.Fatalf("read after release: %d, %v", n, err)
	}
}

func TestBodyVerify(t *testing.T) {
	part := []byte("some bytes")
	b := NewBody(part)
	if err := b.Verify(); err != nil {
		t.Fatal(err)
	}
	part[3] ^= 4
	if err := b.Verify(); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("changed body: %v", err)
	}
}
