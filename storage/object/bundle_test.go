package object

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
)

const testCluster = "mZ3kq8dOR7mJYyC0xv5wPA"

var (
	testHeader = Header{ClusterID: testCluster, Generation: 1, Object: 0x0001_0000_0000_002a, Incarnation: 0x0001_0000_0000_0007}
	testTopic  = ident.TopicID{0xde, 0xad, 0xbe, 0xef, 4: 0x11, 15: 0x99}
)

// kafkaBatch makes a batch v2 with a valid header and a few bytes for records.
func kafkaBatch(start ident.Offset, count int, epoch ident.Epoch, maxTimestamp int64, records string) BatchRef {
	b := make([]byte, protocol.BatchHeaderBytes, protocol.BatchHeaderBytes+len(records))
	b = append(b, records...)
	be := binary.BigEndian
	be.PutUint32(b[8:], uint32(len(b)-12))
	b[16] = 2
	be.PutUint32(b[23:], uint32(count-1))
	be.PutUint64(b[27:], uint64(maxTimestamp))
	be.PutUint64(b[35:], uint64(maxTimestamp))
	be.PutUint64(b[43:], ^uint64(0))
	be.PutUint16(b[51:], ^uint16(0))
	be.PutUint32(b[53:], ^uint32(0))
	be.PutUint32(b[57:], uint32(count))
	be.PutUint32(b[17:], checksum(b[21:]))
	protocol.SetPlace(b, int64(start), int32(epoch))
	return BatchRef{Bytes: b, CRC: checksum(b), Start: start, End: start + ident.Offset(count), MaxTimestamp: maxTimestamp}
}

// testSections are three sections: batches with a delta, batches without state, and state alone.
func testSections() []Section {
	return []Section{
		{
			Topic: testTopic, Name: "orders", Creation: 3, Partition: 0, PartitionCount: 2, ReplicationFactor: 3,
			Configs:  map[string]string{"retention.ms": "86400000", "cleanup.policy": "delete"},
			LogStart: 90, Incarnation: 0x0001_0000_0000_0006, Epoch: 5, Start: 100, End: 105, WALEnd: 8192,
			Batches: []BatchRef{kafkaBatch(100, 3, 5, 1700000000500, "abc"), kafkaBatch(103, 2, 5, 1700000000100, "de")},
			State:   []byte("a delta"), StateEnd: 105,
			Base: catalog.StateRef{Object: 0x0001_0000_0000_0011, Extent: catalog.Extent{Position: 77, Bytes: 99}, End: 95, Writer: 0x0001_0000_0000_0005, ObjectBytes: 4096},
		},
		{
			Topic: testTopic, Name: "orders", Creation: 3, Partition: 1, PartitionCount: 2, ReplicationFactor: 3,
			Incarnation: testHeader.Incarnation, Epoch: 6, Start: 0, End: 1, WALEnd: 12288,
			Batches: []BatchRef{kafkaBatch(0, 1, 6, -1, "f")},
		},
		{
			Topic: ident.TopicID{1}, Name: "idle", Creation: 9, Partition: 0, PartitionCount: 1, ReplicationFactor: 1,
			LogStart: 7, Incarnation: testHeader.Incarnation, Epoch: 2, Start: 7, End: 7,
			State: []byte("a whole state"), StateEnd: 7,
		},
	}
}

func build(t testing.TB, sections ...Section) (Built, []byte) {
	t.Helper()
	b := NewBundle(testHeader)
	for i, s := range sections {
		if n, err := b.AddSection(s); err != nil || n != i {
			t.Fatalf("AddSection = %d, %v", n, err)
		}
	}
	built, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return built, bytes.Join(built.Parts, nil)
}

// readFrom serves an object from memory and counts the reads.
func readFrom(b []byte, reads *int) ReadFunc {
	return func(_ context.Context, p []byte, pos int64) error {
		*reads++
		if pos < 0 || pos > int64(len(b)) || copy(p, b[pos:]) < len(p) {
			return io.ErrUnexpectedEOF
		}
		return nil
	}
}

// E26: sections carry log start, partition count, configs, creation number and everything else that
// went in.
func TestE26_RoundTrip(t *testing.T) {
	sections := testSections()
	built, object := build(t, sections...)
	if built.Bytes != int64(len(object)) || built.CRC32C != checksum(object) {
		t.Errorf("built says %d bytes, crc %08x; it has %d, %08x", built.Bytes, built.CRC32C, len(object), checksum(object))
	}
	if h, err := DecodeHeader(object[:HeaderBytes]); err != nil || h != testHeader {
		t.Errorf("header %+v, %v", h, err)
	}
	for i, ref := range built.Sections {
		block := object[ref.Range.Index.Position:][:ref.Range.Index.Bytes]
		info, err := DecodeSection(block, ref.Range.Index)
		if err != nil {
			t.Fatal(err)
		}
		checkSection(t, object, info, &sections[i], ref)
	}
}

// checkSection compares what was read back with what went in.
func checkSection(t *testing.T, object []byte, info *SectionInfo, want *Section, ref SectionRef) {
	t.Helper()
	got, in := info.Section, *want
	in.Batches, in.State = nil, nil
	if !reflect.DeepEqual(got, in) {
		t.Errorf("section is %+v, want %+v", got, in)
	}
	if again := info.Ref(testHeader.Incarnation, int64(len(object))); again != ref {
		t.Errorf("reference %+v, want %+v", again, ref)
	}
	newest := int64(-1)
	var data int64
	for i, b := range want.Batches {
		e := &info.Index[i]
		stored := object[e.Position:][:e.Bytes]
		if !bytes.Equal(stored, b.Bytes) || VerifyBatch(e, stored) != nil || e.Start != b.Start || e.End != b.End || e.MaxTimestamp != b.MaxTimestamp {
			t.Errorf("batch %d is %+v, want %+v", i, e, b)
		}
		newest, data = max(newest, b.MaxTimestamp), data+int64(e.Bytes)
	}
	r := ref.Range
	if r.Object != testHeader.Object || r.Writer != testHeader.Incarnation || r.ObjectBytes != int64(len(object)) ||
		r.Start != want.Start || r.End != want.End || r.Incarnation != want.Incarnation || r.Epoch != want.Epoch ||
		r.Bytes != data || r.MaxTimestamp != newest {
		t.Errorf("range %+v of %d bytes up to time %d", r, data, newest)
	}
	if len(want.State) == 0 {
		if ref.State != (catalog.StateRef{}) {
			t.Errorf("state %+v of a section without", ref.State)
		}
		return
	}
	state := object[ref.State.Extent.Position:][:ref.State.Extent.Bytes]
	if !bytes.Equal(state, want.State) || info.VerifyState(state) != nil || ref.State.End != want.StateEnd || ref.Base != want.Base {
		t.Errorf("state %q at %+v on %+v", state, ref.State, ref.Base)
	}
}

// E1: an object can be understood from its end, with two reads at most.
func TestE1_ReadFromTheEnd(t *testing.T) {
	for _, count := range []int{1, 3, 3000} {
		var sections []Section
		for i := range count {
			s := testSections()[i%3]
			s.Partition = int32(i)
			sections = append(sections, s)
		}
		built, object := build(t, sections...)
		reads := 0
		f, err := ReadFooter(t.Context(), readFrom(object, &reads), built.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if want := min(2, 1+count/1000); reads != want || len(f.Sections) != count || f.Object != testHeader.Object {
			t.Errorf("%d sections: %d reads (want %d), %d found", count, reads, want, len(f.Sections))
		}
		for i, info := range f.Sections {
			checkSection(t, object, info, &sections[i], built.Sections[i])
		}
	}
}

// No byte of an object can change without being noticed.
func TestDamagedBundleIsRefused(t *testing.T) {
	_, object := build(t, testSections()...)
	for i := range object {
		bad := bytes.Clone(object)
		bad[i] ^= 0x10
		if err := verifyWhole(bad); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
			t.Errorf("byte %d flipped: %v", i, err)
		}
		if err := verifyWhole(object[:i]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
	if err := verifyWhole(object); err != nil {
		t.Errorf("undamaged: %v", err)
	}
}

// verifyWhole reads all of a bundle in the way that its readers do.
func verifyWhole(object []byte) error {
	reads := 0
	f, err := ReadFooter(context.Background(), readFrom(object, &reads), int64(len(object)))
	if err != nil {
		return err
	}
	h, err := DecodeHeader(object[:HeaderBytes])
	if err != nil {
		return err
	}
	if h.Object != f.Object {
		return &CorruptError{}
	}
	for _, s := range f.Sections {
		for i := range s.Index {
			e := &s.Index[i]
			if err := VerifyBatch(e, object[e.Position:][:e.Bytes]); err != nil {
				return err
			}
		}
		if err := s.VerifyState(object[s.StateExtent.Position:][:s.StateExtent.Bytes]); s.StateExtent.Bytes > 0 && err != nil {
			return err
		}
	}
	return nil
}

// A section block that was read from a wrong place is not taken for the right one.
func TestReadThatWentAstray(t *testing.T) {
	built, object := build(t, testSections()...)
	ask := built.Sections[0].Range.Index
	block := object[ask.Position:][:ask.Bytes]
	for name, want := range map[string]catalog.Extent{
		"position": {Position: ask.Position + 1, Bytes: ask.Bytes}, "length": {Position: ask.Position, Bytes: ask.Bytes + 1},
	} {
		var corrupt *CorruptError
		if _, err := DecodeSection(block, want); !errors.As(err, &corrupt) || corrupt.Position != want.Position {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNewerBundleIsNamed(t *testing.T) {
	built, object := build(t, testSections()...)
	trailer := object[len(object)-trailerBytes:]
	trailer[4] = 2
	reads := 0
	if _, err := ReadFooter(t.Context(), readFrom(object, &reads), built.Bytes); !errors.Is(err, ErrVersion) {
		t.Errorf("version 2: %v", err)
	}
	trailer[4], trailer[6] = 1, 1
	if _, err := ReadFooter(t.Context(), readFrom(object, &reads), built.Bytes); !errors.Is(err, ErrVersion) {
		t.Errorf("unknown flag: %v", err)
	}
}

// A batch whose memory changed after its checksum was taken does not get into an object. The bundle
// claims the checksums of what was placed, for the part and for the whole, and the bucket compares
// the bytes with them.
func TestBatchChangedInMemory(t *testing.T) {
	whole, _ := build(t, testSections()...)
	sections := testSections()
	damaged := sections[0].Batches[1].Bytes
	damaged[70-8] ^= 1
	built, _ := build(t, sections...)
	if built.CRC32C != whole.CRC32C || !slices.Equal(built.PartCRCs, whole.PartCRCs) {
		t.Errorf("the damage shows in the checksums: %08x %08x, want %08x %08x", built.CRC32C, built.PartCRCs, whole.CRC32C, whole.PartCRCs)
	}
	for i, part := range built.Parts {
		if matches := checksum(part) == built.PartCRCs[i]; matches == (&part[0] == &damaged[0]) {
			t.Errorf("part %d of %d: matches its checksum: %v", i, len(built.Parts), matches)
		}
	}
}

func TestTooLarge(t *testing.T) {
	for name, change := range map[string]func(*Section){
		"config": func(s *Section) { s.Configs = map[string]string{"a": string(make([]byte, 1<<16))} },
		"configs": func(s *Section) {
			s.Configs = make(map[string]string)
			for i := range configCountMax + 1 {
				s.Configs[fmt.Sprint(i)] = ""
			}
		},
		"state":   func(s *Section) { s.State = make([]byte, stateBytesMax+1) },
		"batches": func(s *Section) { s.Batches = make([]BatchRef, sectionBlockBytesMax/indexEntryBytes) },
	} {
		s := testSections()[0]
		change(&s)
		if _, err := NewBundle(testHeader).AddSection(s); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFind(t *testing.T) {
	index := []IndexEntry{
		{Start: 10, End: 12, MaxTimestamp: 50}, {Start: 12, End: 13, MaxTimestamp: -1}, {Start: 13, End: 20, MaxTimestamp: 40}, {Start: 20, End: 21, MaxTimestamp: 90},
	}
	for offset, want := range map[ident.Offset]int{0: 0, 10: 0, 11: 0, 12: 1, 13: 2, 19: 2, 20: 3, 21: 4, 99: 4} {
		if got := Find(index, offset); got != want {
			t.Errorf("Find(%d) = %d, want %d", offset, got, want)
		}
	}
	for ts, want := range map[int64]int{-1: 0, 0: 0, 40: 0, 50: 0, 51: 1, 90: 1, 91: 1} {
		if got := FindTime(index, ts); got != want {
			t.Errorf("FindTime(%d) = %d, want %d", ts, got, want)
		}
	}
}

// I3: keys are unique per id and carry cluster, hash, generation, id and writer (E1, E22).
func TestI3_Keys(t *testing.T) {
	key := Key(testCluster, testHeader.Object, testHeader.Incarnation, KindBundle)
	if want := testCluster + "/b1f0/0001-000100000000002a-0001000000000007.bundle"; key != want {
		t.Errorf("key %q, want %q", key, want)
	}
	rapid.Check(t, func(t *rapid.T) {
		want := KeyParts{
			ClusterID: rapid.StringMatching(`[A-Za-z0-9_-]{1,32}`).Draw(t, "cluster"),
			Object:    ident.ObjectID(rapid.Uint64().Draw(t, "id")),
			Writer:    ident.Incarnation(rapid.Uint64().Draw(t, "writer")),
			Kind:      rapid.SampledFrom(kinds[:]).Draw(t, "kind"),
		}
		key := Key(want.ClusterID, want.Object, want.Writer, want.Kind)
		if got, err := ParseKey(key); err != nil || got != want {
			t.Fatalf("ParseKey(%q) = %+v, %v", key, got, err)
		}
	})
	for _, bad := range []string{
		"", "cluster.json", "snap/0000000000000001", "probe/x", key + "x", "/" + key, key[:len(key)-1], testCluster + "/b1f1" + key[27:],
		testCluster + "/b1f0/0002-000100000000002a-0001000000000007.bundle", "../" + key[len(testCluster)+1:],
	} {
		if p, err := ParseKey(bad); err == nil {
			t.Errorf("ParseKey(%q) = %+v", bad, p)
		}
	}
	if keys := Keys(testCluster, 5, 6); len(keys) != 3 || keys[0] == keys[1] {
		t.Errorf("Keys = %v", keys)
	}
}

// A section block never makes its reader panic, and the fields of an accepted block fit together.
func FuzzDecodeSection(f *testing.F) {
	built, object := build(f, testSections()...)
	for _, ref := range built.Sections {
		f.Add(object[ref.Range.Index.Position:][:ref.Range.Index.Bytes], ref.Range.Index.Position)
		// As unsigned, the position lies behind everything.
		f.Add(object[ref.Range.Index.Position:][:ref.Range.Index.Bytes], int64(-1))
	}
	f.Fuzz(func(t *testing.T, b []byte, position int64) {
		if len(b) >= sectionBytes { // checksums are fixed up, so that the content is tested too
			placeSection(b, testHeader.Object, position)
		}
		s, err := DecodeSection(b, catalog.Extent{Position: position, Bytes: int32(len(b))})
		if err != nil {
			return
		}
		next := s.Start
		for i, e := range s.Index {
			if e.Start != next || e.End <= e.Start || e.Bytes < 0 || e.Position < 0 || e.Position+int64(e.Bytes) > position {
				t.Fatalf("entry %d of [%d,%d) is %+v", i, s.Start, s.End, e)
			}
			next = e.End
		}
		if next != s.End {
			t.Fatalf("index ends at %d, section at %d", next, s.End)
		}
	})
}

// The end of an object never makes its reader panic, or allocate more than the object's size.
func FuzzReadFooter(f *testing.F) {
	_, object := build(f, testSections()...)
	f.Add(object)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= headerBytes+trailerBytes {
			tail := b[len(b)-trailerBytes:]
			le.PutUint32(tail[52:], checksum(tail[:52]))
		}
		reads := 0
		f, err := ReadFooter(context.Background(), readFrom(b, &reads), int64(len(b)))
		if err == nil && (reads > 2 || len(f.Sections)*footerEntryBytes > len(b)) {
			t.Errorf("%d reads, %d sections of %d bytes", reads, len(f.Sections), len(b))
		}
	})
}

func BenchmarkBundle(b *testing.B) {
	for _, batchBytes := range []int{1 << 10, 1 << 16, 1 << 20} {
		b.Run(fmt.Sprintf("16MiB-of-%dKiB", batchBytes>>10), func(b *testing.B) {
			s := testSections()[1]
			ref := kafkaBatch(0, 1, 6, 0, string(make([]byte, batchBytes-protocol.BatchHeaderBytes)))
			for i := range ident.Offset(16 << 20 / batchBytes) {
				ref.Start, ref.End = i, i+1
				s.Batches = append(s.Batches[:i], ref)
				s.End = i + 1
			}
			b.SetBytes(16 << 20)
			for b.Loop() {
				w := NewBundle(testHeader)
				if _, err := w.AddSection(s); err != nil {
					b.Fatal(err)
				}
				if _, err := w.Finish(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
