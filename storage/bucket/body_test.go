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

// withPartCRCs is the body with checksums of its parts as they are now.
func withPartCRCs(b Body) Body {
	b.PartCRCs = make([]uint32, len(b.Parts))
	for i, p := range b.Parts {
		b.PartCRCs[i] = crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli))
	}
	return b
}

// TestBodyReaderMixed: whatever mix of Read, Send with short writes and Seek reads a body, the
// bytes are those of the parts.
func TestBodyReaderMixed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := withPartCRCs(NewBody(rapid.SliceOf(rapid.SliceOfN(rapid.Byte(), 0, 9)).Draw(t, "parts")...))
		whole := bytes.Join(b.Parts, nil)
		r := NewBodyReader(b)
		pos := 0
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			var got []byte
			size := rapid.IntRange(1, 20).Draw(t, "size")
			switch rapid.SampledFrom([]string{"read", "send", "short", "seek"}).Draw(t, "step") {
			case "read":
				got = make([]byte, size)
				n, err := io.ReadFull(r, got)
				if got = got[:n]; err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
					t.Fatal(err)
				}
				size = min(size, len(whole)-pos)
			case "send":
				if _, err := r.Send(int64(size), func(vec [][]byte) (int64, error) {
					got = append(got, bytes.Join(vec, nil)...)
					return int64(len(bytes.Join(vec, nil))), nil
				}); err != nil {
					t.Fatal(err)
				}
				size = min(size, len(whole)-pos)
			case "short":
				took := rapid.IntRange(0, min(size, len(whole)-pos)).Draw(t, "took")
				n, err := r.Send(int64(size), func(vec [][]byte) (int64, error) {
					got = bytes.Join(vec, nil)[:took]
					return int64(took), io.ErrShortWrite
				})
				if pos < len(whole) && !errors.Is(err, io.ErrShortWrite) || n != int64(len(got)) {
					t.Fatalf("%d bytes, %v", n, err)
				}
				size = len(got)
			case "seek":
				pos = rapid.IntRange(0, len(whole)).Draw(t, "pos")
				if _, err := r.Seek(int64(pos), io.SeekStart); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if len(got) != size || !bytes.Equal(got, whole[pos:pos+size]) {
				t.Fatalf("at %d of %q: %q", pos, whole, got)
			}
			pos += size
		}
	})
}

// TestDamagedPart: a part whose memory changed after its checksum was taken is named and never
// leaves, whichever way it is read (docs/lessons.md).
func TestDamagedPart(t *testing.T) {
	b := withPartCRCs(NewBody([]byte("head"), bytes.Repeat([]byte{1}, 1000), bytes.Repeat([]byte{2}, 1000), []byte("tail")))
	b.Parts[2][999] ^= 1
	out := func(out *[]byte) func([][]byte) (int64, error) {
		return func(vec [][]byte) (int64, error) {
			joined := bytes.Join(vec, nil)
			*out = append(*out, joined...)
			return int64(len(joined)), nil
		}
	}
	var left []byte
	for name, read := range map[string]func(*BodyReader) error{
		"read": func(r *BodyReader) (err error) { left, err = io.ReadAll(r); return err },
		"send": func(r *BodyReader) error { _, err := r.Send(b.Size(), out(&left)); return err },
		"send after a step back": func(r *BodyReader) error {
			b.Parts[2][999] ^= 1 // whole at the first reading
			if _, err := io.ReadAll(r); err != nil {
				return err
			}
			b.Parts[2][999] ^= 1
			if _, err := r.Seek(0, io.SeekStart); err != nil {
				return err
			}
			_, err := r.Send(b.Size(), out(&left))
			return err
		},
	} {
		left = nil
		r := NewBodyReader(b)
		err := read(r)
		var damaged *DamagedPartError
		if !errors.As(err, &damaged) || damaged.Part != 2 || !errors.Is(err, ErrCorrupt) || !errors.Is(r.Damage(), ErrCorrupt) {
			t.Errorf("%s: %v, damage %v", name, err, r.Damage())
		}
		if bytes.ContainsRune(left, 2) {
			t.Errorf("%s: bytes of the damaged part have left", name)
		}
	}
	if err := b.Verify(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Verify: %v", err)
	}
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
	n, err := r.Send(4, func([][]byte) (int64, error) {
		t.Error("parts were sent after their release")
		return 0, nil
	})
	if n != 0 || !errors.Is(err, errReleased) {
		t.Fatalf("send after release: %d, %v", n, err)
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
