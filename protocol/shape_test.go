package protocol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fill sets every field of a kmsg request to something random, with arrays of up to three elements.
func fill(v reflect.Value, r *rand.Rand) {
	switch v.Kind() {
	case reflect.Pointer:
		if r.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), r)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[kmsg.Tags]() {
			tags := v.Addr().Interface().(*kmsg.Tags)
			for i := range r.IntN(3) {
				tags.Set(uint32(900+i), []byte("unknown tag"))
			}
			return
		}
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() && v.Type().Field(i).Name != "Version" {
				fill(f, r)
			}
		}
	case reflect.Slice:
		n := r.IntN(4)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(v.Index(i), r)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), r)
		}
	case reflect.String:
		v.SetString(fmt.Sprintf("s%d", r.IntN(1000)))
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(r.IntN(100)))
	case reflect.Uint8:
		v.SetUint(uint64(r.IntN(100)))
	}
}

// everyVersion calls f for each API that has a shape, at each of its versions in kmsg.
func everyVersion(t *testing.T, f func(t *testing.T, key, version int16)) {
	for key := range shapes {
		for version := int16(0); version <= servedMax(key); version++ {
			t.Run(fmt.Sprintf("%s/%d", kmsg.NameForKey(key), version), func(t *testing.T) { f(t, key, version) })
		}
	}
}

func servedMax(key int16) int16 {
	if key == apiVersionsKey {
		return 4 // kmsg knows a version that Kafka does not list yet
	}
	return kmsg.RequestForKey(key).MaxVersion()
}

func randomRequest(key, version int16, seed uint64) kmsg.Request {
	req := kmsg.RequestForKey(key)
	fill(reflect.ValueOf(req).Elem(), rand.New(rand.NewPCG(seed, uint64(key)<<16|uint64(version))))
	req.SetVersion(version)
	return req
}

// TestShapesMatchMessages: for random requests of every API and version, the walk ends at the last
// byte. A request that is cut anywhere is refused.
func TestShapesMatchMessages(t *testing.T) {
	everyVersion(t, func(t *testing.T, key, version int16) {
		for seed := range uint64(30) {
			body := randomRequest(key, version, seed).AppendTo(nil)
			s := shapes[key]
			w := walker{src: body, version: version, flexible: version >= s.flexible, tagged: s.tagged}
			if w.fields(s.fields); w.bad || len(w.src) != 0 {
				t.Fatalf("seed %d: bad %v, %d of %d bytes left\n%x", seed, w.bad, len(w.src), len(body), body)
			}
			for cut := range body {
				if _, err := RequestCost(key, version, body[:cut]); !errors.Is(err, ErrMalformed) {
					t.Fatalf("seed %d: cut at %d of %d was accepted: %v", seed, cut, len(body), err)
				}
			}
			if _, err := DecodeRequest(key, version, body); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
	})
}

func TestFlexibleMatchesMessages(t *testing.T) {
	everyVersion(t, func(t *testing.T, key, version int16) {
		req := kmsg.RequestForKey(key)
		req.SetVersion(version)
		if got, want := Flexible(key, version), req.IsFlexible(); got != want {
			t.Errorf("flexible %v, want %v", got, want)
		}
	})
}

// TestDecodeCostCoversAllocation: many of the smallest elements allocate no more than the walk
// says.
func TestDecodeCostCoversAllocation(t *testing.T) {
	const elements = 20_000
	cases := []struct {
		name         string
		key, version int16
		body         []byte
	}{
		{"fetch topics", 1, 12, append(append(make([]byte, 4+8+4+1+8), uvarint(elements+1)...), append(bytes.Repeat([]byte{1, 1, 0}, elements), 1, 1, 0)...)},
		{"metadata topics", 3, 9, append(append(uvarint(elements+1), bytes.Repeat([]byte{1, 0}, elements)...), 0, 0, 0, 0)},
		{"create topics", 19, 7, append(append(uvarint(elements+1), bytes.Repeat(append([]byte{1}, 0, 0, 0, 0, 0, 0, 1, 1, 0), elements)...), 0, 0, 0, 0, 0, 0)},
		{"delete names", 20, 4, append(append(uvarint(elements+1), bytes.Repeat([]byte{1}, elements)...), 0, 0, 0, 0, 0)},
		{"produce topics", 0, 9, append(append([]byte{0, 0, 1, 0, 0, 0, 0}, uvarint(elements+1)...), append(bytes.Repeat([]byte{1, 1, 0}, elements), 0)...)},
		{"tags", 60, 0, append(append([]byte{0}, uvarint(elements)...), manyTags(elements)...)},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cost, err := RequestCost(c.key, c.version, c.body)
			if err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			req, err := DecodeRequest(c.key, c.version, c.body)
			runtime.GC() // so that garbage from growing a map does not count
			runtime.ReadMemStats(&after)
			if err != nil {
				t.Fatal(err)
			}
			held := int64(after.HeapAlloc) - int64(before.HeapAlloc)
			runtime.KeepAlive(req)
			if held > int64(cost)+64<<10 {
				t.Errorf("%d bytes of body hold %d bytes, cost said %d", len(c.body), held, cost)
			}
		})
	}
}

func uvarint(n int) []byte { return binary.AppendUvarint(nil, uint64(n)) }

func manyTags(n int) []byte {
	var b []byte
	for i := range n {
		b = append(binary.AppendUvarint(b, uint64(i+100)), 0)
	}
	return b
}

// TestWalkRefusesClaims: counts and lengths without bytes behind them are refused before anything
// is allocated, also inside a known tag.
func TestWalkRefusesClaims(t *testing.T) {
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0x0f}
	// Version 15 with no topics and no rack, and one tag, number 1.
	fetch := append(append(make([]byte, 4+4+4+1+8), 1, 1, 1), 1, 1, 13+4)
	cases := map[string]struct {
		key, version int16
		body         []byte
	}{
		"array":         {3, 0, []byte{0x7f, 0xff, 0xff, 0xff}},
		"compact array": {3, 9, huge},
		"bytes":         {0, 3, []byte{0xff, 0xff, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 'a', 0, 0, 0, 1, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff}},
		"string":        {3, 1, []byte{0, 0, 0, 1, 0x7f, 0xff}},
		"tags":          {60, 0, append([]byte{0}, huge...)},
		"tag's tags":    {1, 15, append(append(fetch, make([]byte, 12)...), huge...)},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			allocs := testing.AllocsPerRun(10, func() {
				if _, err := RequestCost(c.key, c.version, c.body); !errors.Is(err, ErrMalformed) {
					t.Errorf("got %v", err)
				}
			})
			if allocs > 8 { // the error
				t.Errorf("%v allocations", allocs)
			}
		})
	}
}

// FuzzDecodeRequest: what the walk accepts, kmsg decodes without panic and within the cost.
func FuzzDecodeRequest(f *testing.F) {
	for key := range shapes {
		for version := int16(0); version <= servedMax(key); version++ {
			f.Add(key, version, randomRequest(key, version, 1).AppendTo(nil))
		}
	}
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) {
		if _, ok := shapes[key]; !ok || version < 0 || version > servedMax(key) {
			return
		}
		cost, err := RequestCost(key, version, body)
		if err != nil {
			return
		}
		if limit := len(body) * max(structCostBytes, tagCostBytes); cost > limit {
			t.Fatalf("cost %d of %d bytes", cost, len(body))
		}
		req, err := DecodeRequest(key, version, body)
		if err != nil {
			return // a null where none is allowed
		}
		again := req.AppendTo(nil)
		if _, err := RequestCost(key, version, again); err != nil {
			t.Fatalf("encoded again: %v\n%x\n%x", err, body, again)
		}
	})
}

func FuzzParseRequestHeader(f *testing.F) {
	f.Add([]byte{0, 18, 0, 3, 0, 0, 0, 1, 0, 3, 'r', 'd', 'k', 0})
	f.Fuzz(func(t *testing.T, frame []byte) {
		h, body, err := ParseRequestHeader(frame)
		if err == nil && len(body)+len(h.ClientID)+RequestPrefixBytes+2 > len(frame) {
			t.Fatalf("body %d client %q of %d", len(body), h.ClientID, len(frame))
		}
	})
}
