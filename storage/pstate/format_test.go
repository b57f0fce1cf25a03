package pstate

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluicemq/sluice/ident"
)

var update = flag.Bool("update", false, "write the golden files anew")

// sample is a base with one epoch more than necessary, and a delta on it: one producer went on, one
// is new, one has expired.
func sample() (base, delta []byte, want *State) {
	t := NewTable()
	t.Apply(Batch{Producer: 4000, Epoch: 0, FirstSequence: 0, Start: 100, End: 103, Placed: 1700000000000, AppendTime: -1})
	t.Apply(Batch{Producer: 4000, Epoch: 0, FirstSequence: 3, Start: 103, End: 104, Placed: 1700000000500, AppendTime: -1})
	t.Apply(Batch{Producer: 4001, Epoch: 2, FirstSequence: 2147483647, Start: 104, End: 106, Placed: 1600000000000, AppendTime: 1600000000000})
	s := &State{End: 106, LogStart: 90, Epochs: []EpochStart{{0, 0}, {5, 103}}, Producers: t}
	base = EncodeBase(nil, s)
	t.MarkBase()
	t.Apply(Batch{Producer: 4000, Epoch: 1, FirstSequence: 0, Start: 106, End: 107, Placed: 1700000001000, AppendTime: -1})
	t.Apply(Batch{Producer: 4002, Epoch: 0, FirstSequence: 0, Start: 107, End: 110, Placed: 1700000001500, AppendTime: -1})
	t.Expire(1650000000000)
	s = &State{End: 110, LogStart: 95, Epochs: []EpochStart{{0, 0}, {5, 103}, {6, 106}}, Producers: t}
	return base, EncodeDelta(nil, s), s
}

func TestGolden(t *testing.T) {
	base, delta, want := sample()
	base = golden(t, "base-v2.txt", base)
	delta = golden(t, "delta-v2.txt", delta)
	got, err := Decode(base, delta, 0)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("golden files decode to %+v, %v, want %+v", got, err, want)
	}
}

// What version 1 wrote keeps opening. Its times are those that clients sent, so all its producers
// count as placed now. Producers that had expired by those times stay expired.
func TestOpensVersion1(t *testing.T) {
	base, delta := oldBlock(t, "base-v1.txt"), oldBlock(t, "delta-v1.txt")
	const now = 1800000000000
	got, err := Decode(base, delta, now)
	if err != nil {
		t.Fatal(err)
	}
	_, _, want := sample()
	for p := range want.Producers.all() {
		p.placed = now
	}
	want.Producers.floor = noTime
	if !reflect.DeepEqual(got, want) {
		t.Errorf("version 1 decodes to %+v, want %+v", got, want)
	}
	if n := got.Producers.Expire(now); n != 0 {
		t.Errorf("%d producers expired at once", n)
	}
	alone, err := Decode(base, nil, now)
	if err != nil || alone.Producers.Expire(now+1) != 2 {
		t.Errorf("the base alone: %+v, %v", alone, err)
	}
	_, newer, _ := sample()
	if _, err := Decode(base, newer, now); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a delta of version 2 on it: %v", err)
	}
}

// oldBlock returns the bytes of a block that an earlier release wrote.
func oldBlock(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return unannotate(t, string(text))
}

// golden compares a block with its annotated file and returns the file's bytes.
func golden(t *testing.T, name string, block []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", name)
	text := annotate(block)
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(file) != text {
		t.Errorf("%s has changed: the bytes on disk are a promise.\ngot:\n%s", name, text)
	}
	return unannotate(t, string(file))
}

// annotate prints a line per field: position, bytes, meaning.
func annotate(b []byte) string {
	var out strings.Builder
	at := 0
	field := func(n int, format string, args ...any) {
		fmt.Fprintf(&out, "%04x-%04x %-32x %s\n", at, at+n, b[at:at+n], fmt.Sprintf(format, args...))
		at += n
	}
	i64 := func(name string) { field(8, "%s=%d", name, int64(le.Uint64(b[at:]))) }
	i32 := func(name string) uint32 {
		v := le.Uint32(b[at:])
		field(4, "%s=%d", name, int32(v))
		return v
	}
	field(4, "magic %q", b[:4])
	field(2, "version=%d", le.Uint16(b[4:]))
	field(1, "kind=%d", b[6])
	field(1, "flags=%d", b[7])
	i32("bytes")
	field(4, "crc32c")
	i64("end")
	i64("logStart")
	i64("floor")
	epochs := i32("epochCount")
	producers := i32("producerCount")
	i32("openTxnCount")
	i32("abortedCount")
	for range epochs {
		i32("epoch")
		i64("  start")
	}
	for range producers {
		i64("producer")
		field(2, "  epoch=%d", le.Uint16(b[at:]))
		count := b[at]
		field(1, "  count=%d", count)
		field(1, "  zero")
		i64("  placed")
		for range count {
			i32("  batch firstSequence")
			i32("    lastOffsetDelta")
			i64("    start")
			i64("    appendTime")
		}
	}
	if at != len(b) {
		fmt.Fprintf(&out, "%d bytes more\n", len(b)-at)
	}
	return out.String()
}

func unannotate(t *testing.T, text string) []byte {
	t.Helper()
	var b []byte
	for line := range strings.Lines(text) {
		field, err := hex.DecodeString(strings.Fields(line)[1])
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, field...)
	}
	return b
}

// Every damaged byte and every cut is noticed.
func TestDamageIsRefused(t *testing.T) {
	base, delta, _ := sample()
	for i := range base {
		bad := bytes.Clone(base)
		bad[i] ^= 0x40
		if _, err := Decode(bad, delta, 0); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
			t.Errorf("base with byte %d flipped: %v", i, err)
		}
		if _, err := Decode(base[:i], nil, 0); i > 0 && !errors.Is(err, ErrCorrupt) {
			t.Errorf("base cut at %d: %v", i, err)
		}
	}
	for i := range delta {
		bad := bytes.Clone(delta)
		bad[i] ^= 0x01
		if _, err := Decode(base, bad, 0); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
			t.Errorf("delta with byte %d flipped: %v", i, err)
		}
	}
	for name, pair := range map[string][2][]byte{
		"delta alone": {nil, delta}, "delta as base": {delta, nil}, "base as delta": {base, base},
		"delta older than its base": {EncodeBase(nil, &State{End: 111, Producers: NewTable()}), delta},
	} {
		if _, err := Decode(pair[0], pair[1], 0); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNewerVersionIsNamed(t *testing.T) {
	base, _, _ := sample()
	base[4] = 3
	if _, err := Decode(base, nil, 0); !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "reads 1 to 2") {
		t.Errorf("version 3: %v", err)
	}
	base[4], base[48] = 2, 1 // an open transaction
	le.PutUint32(base[12:], checksum(base))
	if _, err := Decode(base, nil, 0); !errors.Is(err, ErrVersion) {
		t.Errorf("open transactions: %v", err)
	}
}

func TestEmptyState(t *testing.T) {
	s, err := Decode(nil, nil, 0)
	if err != nil || s.End != 0 || s.Producers.Len() != 0 || len(s.Epochs) != 0 {
		t.Errorf("Decode of nothing = %+v, %v", s, err)
	}
}

// E11: with 5,000 known producers, a flush of one producer's batch writes one producer. Opening
// reads the base and that delta.
func TestE11_DeltaIsWhatChanged(t *testing.T) {
	table := NewTable()
	for id := range 5000 {
		table.Apply(batchOf(ident.ProducerID(id), 0, 0, ident.Offset(id), 1))
	}
	base := EncodeBase(nil, &State{End: 5000, Producers: table})
	table.MarkBase()
	table.Apply(batchOf(17, 0, 1, 5000, 1))
	delta := EncodeDelta(nil, &State{End: 5001, Producers: table})
	if want := headerBytes + producerBytes + 2*batchBytes; len(delta) != want {
		t.Errorf("delta of %d bytes on a base of %d, want %d", len(delta), len(base), want)
	}
	s, err := Decode(base, delta, 0)
	if err != nil || s.End != 5001 || !reflect.DeepEqual(s.Producers, table) {
		t.Errorf("opened up to %d with %d producers: %v", s.End, s.Producers.Len(), err)
	}
	// The topic goes idle and its ranges expire. The state still knows the sequence.
	if dup, err := s.Producers.Check(batchOf(17, 0, 1, 9000, 1)); err != nil || dup == nil || dup.Start != 5000 {
		t.Errorf("the last batch again: %v, %v", dup, err)
	}
	if _, err := s.Producers.Check(batchOf(17, 0, 3, 9000, 1)); !errors.Is(err, ErrOutOfOrder) {
		t.Errorf("a gap: %v", err)
	}
}

// model is the naive table: every batch that was ever applied, in a slice.
type model map[ident.ProducerID][]Batch

func (m model) check(b Batch) (dup *BatchMeta, err error) {
	all := m[b.Producer]
	if len(all) == 0 {
		return nil, nil
	}
	last := all[len(all)-1]
	seq := func(x Batch) (first, end int64) {
		return int64(x.FirstSequence), (int64(x.FirstSequence) + int64(x.End-x.Start) - 1) % (1 << 31)
	}
	for i := len(all) - 1; i >= 0 && i >= len(all)-5; i-- {
		if x := all[i]; x.Epoch == b.Epoch && b.Epoch == last.Epoch {
			f1, e1 := seq(x)
			if f2, e2 := seq(b); f1 == f2 && e1 == e2 {
				return &BatchMeta{FirstSequence: x.FirstSequence, Start: x.Start, End: x.End, AppendTime: x.AppendTime}, nil
			}
		}
	}
	_, end := seq(last)
	first, _ := seq(b)
	switch {
	case b.Epoch < last.Epoch:
		return nil, ErrStaleEpoch
	case b.Epoch > last.Epoch && first != 0, b.Epoch == last.Epoch && first != (end+1)%(1<<31):
		return nil, ErrOutOfOrder
	}
	return nil, nil
}

func (m model) expire(before int64) {
	for id, all := range m {
		newest := slices.MaxFunc(all, func(a, b Batch) int { return int(a.Placed - b.Placed) })
		if newest.Placed < before {
			delete(m, id)
		}
	}
}

// The table is compared with the model, with blocks taken and put together again on the way: I11
// and I12 hold in every state that random traffic reaches.
func TestI11_I12_TableIsTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table, naive := NewTable(), model{}
		base := EncodeBase(nil, &State{Producers: table})
		var end ident.Offset
		first := rapid.OneOf(rapid.Int32Range(0, 12), rapid.Int32Range(2147483640, 2147483647))
		t.Repeat(map[string]func(*rapid.T){
			"batch": func(t *rapid.T) {
				b := Batch{
					Producer: ident.ProducerID(rapid.Int64Range(-1, 3).Draw(t, "producer")), Epoch: rapid.Int16Range(0, 3).Draw(t, "epoch"),
					FirstSequence: first.Draw(t, "first"), Start: end, End: end + ident.Offset(rapid.Int64Range(1, 4).Draw(t, "count")),
					Placed: rapid.Int64Range(-1, 100).Draw(t, "time"), AppendTime: rapid.Int64Range(-1, 5).Draw(t, "append"),
				}
				if all := naive[b.Producer]; len(all) > 0 && rapid.Bool().Draw(t, "next") {
					last := all[len(all)-1]
					b.Epoch, b.FirstSequence = last.Epoch, LastSequence(last.FirstSequence, int32(last.End-last.Start))
				}
				dup, err := table.Check(b)
				wantDup, wantErr := naive.check(b)
				if !errors.Is(err, wantErr) || !reflect.DeepEqual(dup, wantDup) {
					t.Fatalf("%+v: %v %v, want %v %v", b, dup, err, wantDup, wantErr)
				}
				if err == nil && dup == nil {
					table.Apply(b)
					end = b.End
					if b.Producer >= 0 {
						naive[b.Producer] = append(naive[b.Producer], b)
					}
				}
			},
			"expire": func(t *rapid.T) {
				before := rapid.Int64Range(0, 100).Draw(t, "before")
				table.Expire(before)
				naive.expire(before)
			},
			"base": func(t *rapid.T) {
				base = EncodeBase(nil, &State{End: end, Producers: table})
				table.MarkBase()
			},
			"reload": func(t *rapid.T) {
				s, err := Decode(base, EncodeDelta(nil, &State{End: end, Producers: table}), 0)
				if err != nil || s.End != end || !reflect.DeepEqual(s.Producers, table) {
					t.Fatalf("reloaded %+v, %v, want %+v", s, err, table)
				}
				table = s.Producers
			},
			"newer base": func(t *rapid.T) { // from another stream of blocks: the WAL's
				newer := EncodeBase(nil, &State{End: end, Producers: table})
				s, err := Decode(newer, EncodeDelta(nil, &State{End: end, Producers: table}), 0)
				if err != nil || !reflect.DeepEqual(s.Producers, table) {
					t.Fatalf("over a newer base %+v, %v, want %+v", s, err, table)
				}
			},
			"clone": func(t *rapid.T) {
				old := table
				table = table.Clone()
				old.Apply(batchOf(2, 9, 0, end, 1)) // nobody sees this batch
			},
			"": func(t *rapid.T) {
				var ids []ident.ProducerID
				for p := range table.all() {
					ids = append(ids, p.id)
				}
				slices.Sort(ids)
				if !slices.Equal(slices.Sorted(maps.Keys(naive)), ids) || table.Len() != len(naive) {
					t.Fatalf("producers %v, want %v", ids, naive)
				}
				if (table.only != nil) != (len(ids) == 1) || (table.more != nil) != (len(ids) > 1) {
					t.Fatalf("%d producers are held as %+v", len(ids), table)
				}
			},
		})
	})
}

// A block that can be decoded can be encoded to the same bytes, and nothing panics.
func FuzzDecode(f *testing.F) {
	base, delta, _ := sample()
	f.Add(base, delta)
	f.Add(base, []byte{})
	f.Fuzz(func(t *testing.T, base, delta []byte) {
		// Checksums are fixed up, so that the content is tested too.
		for _, b := range [][]byte{base, delta} {
			if len(b) >= headerBytes {
				le.PutUint32(b[8:], uint32(len(b)))
				le.PutUint32(b[12:], checksum(b))
			}
		}
		s, err := Decode(base, nil, 0)
		if err != nil || len(base) == 0 {
			return
		}
		if again := EncodeBase(nil, s); le.Uint16(base[4:]) == blockVersion && !bytes.Equal(again, base) {
			t.Errorf("%x encodes to %x", base, again)
		}
		if s, err := Decode(base, delta, 0); err == nil {
			if _, err := Decode(EncodeBase(nil, s), nil, 0); err != nil {
				t.Errorf("base and delta joined do not decode: %v", err)
			}
		}
	})
}

func BenchmarkApply(b *testing.B) {
	t := NewTable()
	seq := int32(0)
	for b.Loop() {
		batch := batchOf(7, 0, seq, ident.Offset(seq), 1)
		if _, err := t.Check(batch); err != nil {
			b.Fatal(err)
		}
		t.Apply(batch)
		seq = LastSequence(seq, 1)
	}
}

func BenchmarkEncodeBase_5000Producers(b *testing.B) {
	t := NewTable()
	for id := range 5000 {
		for i := range int32(5) {
			t.Apply(batchOf(ident.ProducerID(id), 0, i, ident.Offset(id*5+int(i)), 1))
		}
	}
	var block []byte
	for b.Loop() {
		block = EncodeBase(block[:0], &State{Producers: t})
	}
	b.ReportMetric(float64(len(block)), "bytes")
}
