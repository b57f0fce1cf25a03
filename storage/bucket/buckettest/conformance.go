package buckettest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sluicemq/sluice/storage/bucket"
)

// Flags say what a store lacks, and give numbers that parts of the suite need.
type Flags struct {
	// NoChecksum: the store accepts a body that does not match its CRC32C.
	NoChecksum bool
	// NoConditionalMultipart: an upload in parts may replace an object.
	NoConditionalMultipart bool
	// MultipartBytes is the size of a body that is uploaded in several parts, or 0 if the store has
	// no such uploads.
	MultipartBytes int
	// ListObjects is how many objects the listing test creates. The default is 2,500, which is
	// three pages.
	ListObjects int
}

// Run checks that a bucket keeps the promises of its interface. open is called once per part of the
// suite and returns an empty bucket, which open's own cleanup closes.
func Run(t *testing.T, open func(t *testing.T) bucket.Bucket, f Flags) {
	if f.ListObjects == 0 {
		f.ListObjects = 2500
	}
	parts := []struct {
		name string
		test func(*testing.T, bucket.Bucket, Flags)
	}{
		{"I3_CreateOnce", createOnce},
		{"I3_CreateRace", createRace},
		{"Parts", partsJoined},
		{"Empty", emptyObject},
		{"ReadRanges", readRanges},
		{"ReadShort", readShort},
		{"ReadAbsent", readAbsent},
		{"ReadAll", readAll},
		{"Stat", stat},
		{"ListPages", listPages},
		{"ListOrder", listOrder},
		{"ListStops", listStops},
		{"Delete", deleteTwice},
		{"Checksum", checksum},
		{"DamagedPart", damagedPart},
		{"Keys", keys},
		{"BadKeys", badKeys},
		{"Canceled", canceled},
		{"PartsAreReturned", partsAreReturned},
		{"Multipart", multipart},
		{"Concurrent", concurrent},
		{"Probe", probe},
	}
	for _, p := range parts {
		t.Run(p.name, func(t *testing.T) { p.test(t, open(t), f) })
	}
}

func createOnce(t *testing.T, b bucket.Bucket, _ Flags) {
	ctx := t.Context()
	must(t, b.Create(ctx, "a/one", bucket.NewBody([]byte("first"))))
	want(t, b.Create(ctx, "a/one", bucket.NewBody([]byte("second"))), bucket.ErrExists)
	// Equal bytes make no difference.
	want(t, b.Create(ctx, "a/one", bucket.NewBody([]byte("first"))), bucket.ErrExists)
	same(t, read(t, b, "a/one", 5), []byte("first"))
}

func createRace(t *testing.T, b bucket.Bucket, _ Flags) {
	for round := range 5 {
		key := fmt.Sprintf("race/%d", round)
		const writers = 8
		errs := make([]error, writers)
		start := make(chan struct{})
		var racing sync.WaitGroup
		for w := range writers {
			racing.Go(func() {
				<-start
				errs[w] = b.Create(t.Context(), key, bucket.NewBody(bytes.Repeat([]byte{byte(w)}, 10_000)))
			})
		}
		close(start)
		racing.Wait()
		winner := -1
		for w, err := range errs {
			switch {
			case err == nil && winner >= 0:
				t.Fatalf("writers %d and %d both created %s", winner, w, key)
			case err == nil:
				winner = w
			// A conflict may be refused as such.
			case !errors.Is(err, bucket.ErrExists) && !errors.Is(err, bucket.ErrUnavailable):
				t.Fatalf("writer %d: %v", w, err)
			}
		}
		if winner < 0 {
			t.Fatalf("nobody created %s: %v", key, errs)
		}
		same(t, read(t, b, key, 10_000), bytes.Repeat([]byte{byte(winner)}, 10_000))
	}
}

func partsJoined(t *testing.T, b bucket.Bucket, _ Flags) {
	var parts [][]byte
	for i := range 3000 { // more than one vectored write takes
		parts = append(parts, bytes.Repeat([]byte{byte(i)}, i%40))
	}
	whole := slices.Concat(parts...)
	must(t, b.Create(t.Context(), "parts", bucket.NewBody(parts...)))
	same(t, read(t, b, "parts", len(whole)), whole)
}

func emptyObject(t *testing.T, b bucket.Bucket, _ Flags) {
	ctx := t.Context()
	must(t, b.Create(ctx, "empty", bucket.NewBody()))
	want(t, b.Create(ctx, "empty", bucket.NewBody([]byte("x"))), bucket.ErrExists)
	info, err := b.Stat(ctx, "empty")
	must(t, err)
	if info != (bucket.Info{Key: "empty"}) {
		t.Fatalf("stat of an empty object: %+v", info)
	}
	must(t, b.ReadAt(ctx, "empty", nil, 0))
	want(t, b.ReadAt(ctx, "empty", make([]byte, 1), 0), bucket.ErrShort)
	if all, err := bucket.ReadAll(ctx, b, "empty", 0); err != nil || len(all) != 0 {
		t.Fatalf("ReadAll of an empty object: %q, %v", all, err)
	}
}

func readRanges(t *testing.T, b bucket.Bucket, _ Flags) {
	object := noise(1, 300_000)
	must(t, b.Create(t.Context(), "ranges", bucket.NewBody(object)))
	random := rand.New(rand.NewPCG(2, 0))
	for range 40 {
		pos := random.IntN(len(object))
		p := make([]byte, 1+random.IntN(len(object)-pos))
		must(t, b.ReadAt(t.Context(), "ranges", p, int64(pos)))
		same(t, p, object[pos:pos+len(p)])
	}
	last := make([]byte, 1)
	must(t, b.ReadAt(t.Context(), "ranges", last, int64(len(object)-1)))
	same(t, last, object[len(object)-1:])
}

func readShort(t *testing.T, b bucket.Bucket, _ Flags) {
	must(t, b.Create(t.Context(), "short", bucket.NewBody([]byte("0123456789"))))
	for _, at := range []struct{ pos, bytes int64 }{{0, 11}, {9, 2}, {10, 1}, {11, 1}, {1 << 40, 1}} {
		want(t, b.ReadAt(t.Context(), "short", make([]byte, at.bytes), at.pos), bucket.ErrShort)
	}
	want(t, b.ReadAt(t.Context(), "short", make([]byte, 1), -1), bucket.ErrDenied)
}

func readAbsent(t *testing.T, b bucket.Bucket, _ Flags) {
	must(t, b.Create(t.Context(), "there/object", bucket.NewBody([]byte("x"))))
	for _, key := range []string{"absent", "there/absent", "there", "no/such/folder"} {
		want(t, b.ReadAt(t.Context(), key, make([]byte, 1), 0), bucket.ErrNotFound)
		_, err := b.Stat(t.Context(), key)
		want(t, err, bucket.ErrNotFound)
	}
}

func readAll(t *testing.T, b bucket.Bucket, _ Flags) {
	object := noise(3, 100_000)
	must(t, b.Create(t.Context(), "all", bucket.NewBody(object)))
	got, err := bucket.ReadAll(t.Context(), b, "all", int64(len(object)))
	must(t, err)
	same(t, got, object)
	_, err = bucket.ReadAll(t.Context(), b, "all", int64(len(object)-1))
	want(t, err, bucket.ErrDenied)
	_, err = bucket.ReadAll(t.Context(), b, "nothing", 10)
	want(t, err, bucket.ErrNotFound)
}

func stat(t *testing.T, b bucket.Bucket, _ Flags) {
	must(t, b.Create(t.Context(), "s/object", bucket.NewBody([]byte("12"), []byte("345"))))
	info, err := b.Stat(t.Context(), "s/object")
	must(t, err)
	if info != (bucket.Info{Key: "s/object", Bytes: 5}) {
		t.Fatalf("stat: %+v", info)
	}
}

func listPages(t *testing.T, b bucket.Bucket, f Flags) {
	var all []string
	for i := range f.ListObjects {
		all = append(all, fmt.Sprintf("list/%02x/%06d", i%7, i))
	}
	createAll(t, b, all)
	createAll(t, b, []string{"lis", "list-", "listen", "m"})
	slices.Sort(all)
	sameKeys(t, list(t, b, "list/", ""), all)
	sameKeys(t, list(t, b, "list/03/", ""), having(all, "list/03/", ""))
	sameKeys(t, list(t, b, "list/03/0000", ""), having(all, "list/03/0000", ""))
	for _, at := range []int{len(all) / 2, len(all) - 1} {
		sameKeys(t, list(t, b, "list/", all[at]), all[at+1:])
	}
	three := having(all, "list/03/", "")
	for _, at := range []int{0, len(three) - 2, len(three) - 1} {
		sameKeys(t, list(t, b, "list/03/", three[at]), three[at+1:])
	}
	sameKeys(t, list(t, b, "list/03/", "list/03"), three) // not a key
	sameKeys(t, list(t, b, "list/03/", "a"), three)       // before the prefix
	// In another folder before it.
	sameKeys(t, list(t, b, "list/03/", all[0]), three)
	sameKeys(t, list(t, b, "list/03/", "z"), nil) // behind it
	// An empty listing is no error.
	sameKeys(t, list(t, b, "none", ""), nil)
	sameKeys(t, list(t, b, "none/such/", ""), nil)                       // nor is an absent folder
	sameKeys(t, list(t, b, "", "list/zz"), []string{"listen", "m"})      // '/' < 'e'
	sameKeys(t, list(t, b, "lis", "list/06/999999"), []string{"listen"}) // a prefix within a name
	// A whole key as the prefix.
	sameKeys(t, list(t, b, "list-", ""), []string{"list-"})
	whole := append([]string{"list-"}, append(slices.Clone(all), "listen")...)
	sameKeys(t, list(t, b, "list", "lis"), whole) // all of it in byte order
}

func having(keys []string, prefix, after string) []string {
	var out []string
	for _, k := range keys {
		if strings.HasPrefix(k, prefix) && k > after {
			out = append(out, k)
		}
	}
	return out
}

// listOrder: the order is that of whole keys, not that of a walk through folders.
func listOrder(t *testing.T, b bucket.Bucket, _ Flags) {
	all := []string{"o/a-b", "o/a.b", "o/a/b", "o/a/b0", "o/a0", "o/a_b", "o/aB", "o/ab", "o/A", "o/0", "o/a-/x", "o/a./x"}
	createAll(t, b, all)
	slices.Sort(all)
	sameKeys(t, list(t, b, "o/", ""), all)
	for i := range all {
		sameKeys(t, list(t, b, "o/", all[i]), all[i+1:])
	}
}

func listStops(t *testing.T, b bucket.Bucket, _ Flags) {
	createAll(t, b, []string{"p/1", "p/2", "p/3"})
	var got []string
	for info, err := range b.List(t.Context(), "p/", "") {
		must(t, err)
		got = append(got, info.Key)
		if info.Bytes != int64(len(info.Key)) {
			t.Fatalf("%s is listed with %d bytes", info.Key, info.Bytes)
		}
		if len(got) == 2 {
			break
		}
	}
	sameKeys(t, got, []string{"p/1", "p/2"})
}

func deleteTwice(t *testing.T, b bucket.Bucket, _ Flags) {
	ctx := t.Context()
	createAll(t, b, []string{"d/1", "d/2"})
	for range 2 {
		must(t, b.Delete(ctx, "d/1"))
		want(t, b.ReadAt(ctx, "d/1", make([]byte, 1), 0), bucket.ErrNotFound)
	}
	must(t, b.Delete(ctx, "d/never"))
	must(t, b.Delete(ctx, "no/such/folder"))
	must(t, b.Delete(ctx, "d")) // a folder is not an object
	sameKeys(t, list(t, b, "d/", ""), []string{"d/2"})
	must(t, b.Delete(ctx, "d/2"))
	sameKeys(t, list(t, b, "", ""), nil)
}

func checksum(t *testing.T, b bucket.Bucket, f Flags) {
	bad := bucket.NewBody([]byte("some bytes"))
	bad.CRC32C ^= 0x8000_0000
	err := b.Create(t.Context(), "bad", bad)
	if f.NoChecksum {
		must(t, err) // the flag is a claim, too: a store that learns this loses the flag
		return
	}
	want(t, err, bucket.ErrCorrupt)
	_, err = b.Stat(t.Context(), "bad")
	want(t, err, bucket.ErrNotFound)
	must(t, b.Create(t.Context(), "bad", bucket.NewBody([]byte("some bytes"))))
}

// damagedPart: a part that changed in memory after its checksum was taken is named, and nothing is
// stored, whatever the store checks. Once the part is repaired, the same body is stored under the
// same key.
func damagedPart(t *testing.T, b bucket.Bucket, f Flags) {
	sizes := []int{1, 700_000, 0, 300_000, 4}
	if f.MultipartBytes > 0 {
		damagedPartOf(t, b, append(sizes, f.MultipartBytes))
	}
	damagedPartOf(t, b, sizes)
}

func damagedPartOf(t *testing.T, b bucket.Bucket, sizes []int) {
	ctx, key := t.Context(), fmt.Sprintf("damaged-%d", len(sizes))
	var parts [][]byte
	for i, size := range sizes {
		parts = append(parts, bytes.Repeat([]byte{byte(i)}, size))
	}
	body := bucket.NewBody(parts...)
	for i := range parts {
		body.PartCRCs = append(body.PartCRCs, bucket.NewBody(parts[i]).CRC32C)
	}
	parts[3][200_000] ^= 1
	err := b.Create(ctx, key, body)
	want(t, err, bucket.ErrCorrupt)
	var damaged *bucket.DamagedPartError
	if !errors.As(err, &damaged) || damaged.Part != 3 {
		t.Errorf("the damaged part is not named: %v", err)
	}
	_, err = b.Stat(ctx, key)
	want(t, err, bucket.ErrNotFound)
	parts[3][200_000] ^= 1
	must(t, b.Create(ctx, key, body))
	same(t, read(t, b, key, int(body.Size())), slices.Concat(parts...))
}

func keys(t *testing.T, b bucket.Bucket, _ Flags) {
	long := strings.Repeat("k", 200)
	all := []string{
		"0", "-", "_", "...", ".hidden", "a..b", "UPPER", "upper", "trailing.", "n-/-", "n_/_",
		"a.b-c_d/E.F-G_H/0", long + "/" + long, "x/" + strings.Repeat("y/", 100) + "z",
	}
	createAll(t, b, all)
	for _, key := range all {
		same(t, read(t, b, key, len(key)), []byte(key))
	}
	slices.Sort(all)
	sameKeys(t, list(t, b, "", ""), all)
}

func badKeys(t *testing.T, b bucket.Bucket, _ Flags) {
	ctx := t.Context()
	for _, key := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a b", "a\x00", "ä", "a~b", "~tmp/a", "a\\b", "a?b", "a%2fb",
		strings.Repeat("k", 256), strings.Repeat("k/", 300) + "k",
	} {
		want(t, b.Create(ctx, key, bucket.NewBody([]byte("x"))), bucket.ErrDenied)
		want(t, b.ReadAt(ctx, key, make([]byte, 1), 0), bucket.ErrDenied)
		want(t, b.Delete(ctx, key), bucket.ErrDenied)
		_, err := b.Stat(ctx, key)
		want(t, err, bucket.ErrDenied)
	}
	for _, prefix := range []string{"/", "../", "a/../", "a b", "~tmp/"} {
		var got error
		for _, err := range b.List(ctx, prefix, "") {
			got = err
		}
		want(t, got, bucket.ErrDenied)
	}
	sameKeys(t, list(t, b, "", ""), nil)
}

func canceled(t *testing.T, b bucket.Bucket, _ Flags) {
	createAll(t, b, []string{"c"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, serr := b.Stat(ctx, "c")
	var lerr error
	for _, err := range b.List(ctx, "", "") {
		lerr = err
	}
	for _, err := range []error{b.Create(ctx, "new", bucket.NewBody([]byte("x"))), b.ReadAt(ctx, "c", make([]byte, 1), 0), serr, lerr, b.Delete(ctx, "c")} {
		want(t, err, bucket.ErrUnavailable) // not begun, and so not in doubt
		want(t, err, context.Canceled)
	}
	sameKeys(t, list(t, b, "", ""), []string{"c"})
}

// partsAreReturned writes over the parts as soon as Create has returned, however it ended. With
// -race, code that still reads them is caught. What was stored is what was handed over.
func partsAreReturned(t *testing.T, b bucket.Bucket, _ Flags) {
	for i := range 10 {
		key := fmt.Sprintf("ret/%d", i)
		part := noise(uint64(i), 1<<20)
		kept := slices.Clone(part)
		ctx, cancel := context.WithCancel(t.Context())
		var canceling sync.WaitGroup
		canceling.Go(cancel) // at some moment during the call
		err := b.Create(ctx, key, bucket.NewBody(part))
		for j := range part {
			part[j] = 0xEE
		}
		canceling.Wait()
		if err != nil && !errors.Is(err, bucket.ErrUnknown) && !errors.Is(err, bucket.ErrUnavailable) {
			t.Fatalf("canceled create: %v", err)
		}
		got := make([]byte, len(kept))
		rerr := b.ReadAt(t.Context(), key, got, 0)
		switch {
		case err == nil || rerr == nil: // it exists, so it is whole
			must(t, rerr)
			same(t, got, kept)
		case errors.Is(rerr, bucket.ErrNotFound):
		default:
			t.Fatalf("%s after a canceled create (%v): %v", key, err, rerr)
		}
	}
}

func multipart(t *testing.T, b bucket.Bucket, f Flags) {
	if f.MultipartBytes == 0 {
		return // this bucket has one way to store objects, which the other parts have tested
	}
	ctx := t.Context()
	object := noise(4, f.MultipartBytes)
	third := len(object) / 3
	must(t, b.Create(ctx, "multi", bucket.NewBody(object[:third], object[third:third+1], object[third+1:])))
	same(t, read(t, b, "multi", len(object)), object)
	info, err := b.Stat(ctx, "multi")
	must(t, err)
	if info.Bytes != int64(len(object)) {
		t.Fatalf("stat says %d bytes of %d", info.Bytes, len(object))
	}
	bad := bucket.NewBody(object)
	bad.CRC32C ^= 1
	want(t, b.Create(ctx, "multi-bad", bad), bucket.ErrCorrupt)
	_, err = b.Stat(ctx, "multi-bad")
	want(t, err, bucket.ErrNotFound)
	err = b.Create(ctx, "multi", bucket.NewBody(bytes.Repeat([]byte("x"), len(object))))
	if f.NoConditionalMultipart {
		must(t, err)
		return
	}
	want(t, err, bucket.ErrExists) // I3
	same(t, read(t, b, "multi", len(object)), object)
}

func concurrent(t *testing.T, b bucket.Bucket, _ Flags) {
	const workers, each = 8, 12
	var working sync.WaitGroup
	errs := make(chan error, workers)
	for w := range workers {
		working.Go(func() { errs <- work(t.Context(), b, w, each) })
	}
	working.Wait()
	for range workers {
		must(t, <-errs)
	}
	var left []string
	for w := range workers {
		for i := 1; i < each; i += 2 {
			left = append(left, fmt.Sprintf("w/%d/%02d", w, i))
		}
	}
	slices.Sort(left)
	sameKeys(t, list(t, b, "w/", ""), left)
}

// work creates objects, reads them back, lists its own, and deletes every other one.
func work(ctx context.Context, b bucket.Bucket, w, count int) error {
	for i := range count {
		key := fmt.Sprintf("w/%d/%02d", w, i)
		object := noise(uint64(w*1000+i), 20_000)
		if err := b.Create(ctx, key, bucket.NewBody(object)); err != nil {
			return err
		}
		got := make([]byte, 5000)
		if err := b.ReadAt(ctx, key, got, 10_000); err != nil {
			return err
		}
		if !bytes.Equal(got, object[10_000:15_000]) {
			return fmt.Errorf("%s: other bytes than were written", key)
		}
		if i%2 == 0 {
			if err := b.Delete(ctx, key); err != nil {
				return err
			}
		}
	}
	n := 0
	for _, err := range b.List(ctx, fmt.Sprintf("w/%d/", w), "") {
		if err != nil {
			return err
		}
		n++
	}
	if n != count/2 {
		return fmt.Errorf("worker %d sees %d of its %d objects", w, n, count/2)
	}
	return nil
}

func probe(t *testing.T, b bucket.Bucket, f Flags) {
	ctx := t.Context()
	createAll(t, b, []string{"cluster/probe/mine-0123456789abcdef", "cluster/probe/other-0123456789abcdef", "cluster/probed"})
	got, err := bucket.Probe(ctx, b, "cluster/", "mine")
	must(t, err)
	wanted := bucket.Capabilities{ConditionalCreate: true, RangedRead: true, ChecksumRefused: !f.NoChecksum, ListAfterWrite: true}
	if got != wanted {
		t.Fatalf("probe: %v, want %v", got, wanted)
	}
	// The probe's own leftovers are gone. Those of others are not.
	sameKeys(t, list(t, b, "", ""), []string{"cluster/probe/other-0123456789abcdef", "cluster/probed"})
}

// createAll stores objects that contain their own keys, a few at a time.
func createAll(t *testing.T, b bucket.Bucket, keys []string) {
	t.Helper()
	var creating sync.WaitGroup
	next := make(chan string)
	errs := make(chan error, len(keys))
	for range 16 {
		creating.Go(func() {
			for key := range next {
				if err := b.Create(t.Context(), key, bucket.NewBody([]byte(key))); err != nil {
					errs <- err
				}
			}
		})
	}
	for _, key := range keys {
		next <- key
	}
	close(next)
	creating.Wait()
	close(errs)
	for err := range errs {
		t.Fatal(err)
	}
}

func list(t *testing.T, b bucket.Bucket, prefix, after string) []string {
	t.Helper()
	var keys []string
	for info, err := range b.List(t.Context(), prefix, after) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

func read(t *testing.T, b bucket.Bucket, key string, size int) []byte {
	t.Helper()
	p := make([]byte, size)
	must(t, b.ReadAt(t.Context(), key, p, 0))
	want(t, b.ReadAt(t.Context(), key, make([]byte, size+1), 0), bucket.ErrShort)
	return p
}

// noise is bytes that do not repeat or compress.
func noise(seed uint64, size int) []byte {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	p := make([]byte, size)
	_, _ = rand.NewChaCha8(key).Read(p) // never fails
	return p
}

func same(t *testing.T, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatalf("got %d bytes that differ from the %d wanted", len(got), len(want))
	}
}

func sameKeys(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("got %d keys %.300q\nwant %d keys %.300q", len(got), got, len(want), want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, err, wanted error) {
	t.Helper()
	if !errors.Is(err, wanted) {
		t.Fatalf("got error %v, want %v", err, wanted)
	}
}
