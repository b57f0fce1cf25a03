package raft

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	hraft "github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

func testStore(t *testing.T, dir string) (*store, *[]error) {
	t.Helper()
	var fatal []error
	s, err := openStore(dir, func(err error) { fatal = append(fatal, err) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.close() })
	return s, &fatal
}

func entries(first, last uint64) []*hraft.Log {
	var logs []*hraft.Log
	for i := first; i <= last; i++ {
		logs = append(logs, &hraft.Log{
			Index: i, Term: i / 3, Type: hraft.LogCommand, Data: bytes.Repeat([]byte{byte(i)}, int(i%50)),
			Extensions: []byte{byte(i)}, AppendedAt: time.Unix(0, int64(i)),
		})
	}
	return logs
}

// wantLog checks the bounds and every entry.
func wantLog(t *testing.T, s *store, first, last uint64) {
	t.Helper()
	if b, err := s.state(); err != nil || b != (bounds{first, last}) {
		t.Fatalf("log %+v (%v), want %d to %d", b, err, first, last)
	}
	for i := first; i <= last && i > 0; i++ {
		want := entries(i, i)[0]
		var l hraft.Log
		if err := s.GetLog(i, &l); err != nil {
			t.Fatal(err)
		}
		if l.Index != i || l.Term != want.Term || !bytes.Equal(l.Data, want.Data) || !bytes.Equal(l.Extensions, want.Extensions) || !l.AppendedAt.Equal(want.AppendedAt) {
			t.Fatalf("entry %d is %+v", i, l)
		}
	}
}

func TestStoreKeepsTheLog(t *testing.T) {
	dir := t.TempDir()
	s, _ := testStore(t, dir)
	wantLog(t, s, 0, 0)
	check := func(first, last uint64) {
		t.Helper()
		wantLog(t, s, first, last)
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
		s, _ = testStore(t, dir)
		wantLog(t, s, first, last)
	}
	for _, step := range []struct {
		do          func() error
		first, last uint64
	}{
		{func() error { return s.StoreLogs(entries(1, 60)) }, 1, 60},
		{func() error { return s.DeleteRange(1, 20) }, 21, 60}, // as a snapshot does
		// As a new leader does that cuts the end.
		{func() error { return s.DeleteRange(51, 60) }, 21, 50},
		{func() error { return s.StoreLogs(entries(45, 55)) }, 21, 55},
		{func() error { return s.DeleteRange(21, 55) }, 0, 0},
		// Behind an installed snapshot.
		{func() error { return s.StoreLogs(entries(100, 101)) }, 100, 101},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		check(step.first, step.last)
	}
	var l hraft.Log
	if err := s.GetLog(5, &l); !errors.Is(err, hraft.ErrLogNotFound) {
		t.Fatalf("absent entry: %v", err)
	}
	if _, err := s.Get([]byte("k")); err == nil || err.Error() != "not found" {
		t.Fatalf("absent value: %v", err)
	}
	if err := s.SetUint64([]byte("k"), 7); err != nil {
		t.Fatal(err)
	}
	if v, err := s.GetUint64([]byte("k")); v != 7 || err != nil {
		t.Fatalf("value %d (%v)", v, err)
	}
}

func TestStoreFirstErrorPoisons(t *testing.T) {
	s, fatal := testStore(t, t.TempDir())
	if err := s.StoreLogs(entries(1, 3)); err != nil {
		t.Fatal(err)
	}
	// A hole stands for any failure of the transaction.
	if err := s.StoreLogs(entries(5, 6)); err == nil {
		t.Fatal("a hole was stored")
	}
	for _, err := range []error{s.StoreLogs(entries(4, 4)), s.Set([]byte("k"), nil), s.DeleteRange(1, 1)} {
		if !errors.Is(err, ErrPoisoned) {
			t.Fatalf("after the first error: %v", err)
		}
	}
	if len(*fatal) != 1 {
		t.Fatalf("told %d times: %v", len(*fatal), *fatal)
	}
	wantBounds := bounds{1, 3}
	if b, _ := s.state(); b != wantBounds {
		t.Fatalf("bounds %+v", b)
	}
}

// Every flipped byte of an entry is noticed, at the start and when Raft reads the entry.
func TestStoreDamageIsRefused(t *testing.T) {
	e, err := encodeEntry(entries(9, 9)[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := range e {
		bad := bytes.Clone(e)
		bad[i] ^= 4
		if err := decodeEntry(9, bad, new(hraft.Log)); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("byte %d flipped: %v", i, err)
		}
		if err := decodeEntry(9, e[:i], new(hraft.Log)); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	if err := decodeEntry(8, e, new(hraft.Log)); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("entry under another index: %v", err)
	}
	dir := t.TempDir()
	s, fatal := testStore(t, dir)
	if err := errors.Join(s.StoreLogs(entries(1, 5)), s.Set([]byte("k"), []byte("value"))); err != nil {
		t.Fatal(err)
	}
	damage(t, s, logBucket, indexKey(3))
	if err := s.GetLog(3, new(hraft.Log)); !errors.Is(err, ErrCorrupt) || len(*fatal) != 1 {
		t.Fatalf("damaged entry: %v, fatal %v", err, *fatal)
	}
	s.close()
	if _, err := openStore(dir, func(error) {}); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("opened a damaged log: %v", err)
	}
	s, fatal = testStore(t, t.TempDir())
	if err := s.Set([]byte("k"), []byte("value")); err != nil {
		t.Fatal(err)
	}
	damage(t, s, stableBucket, []byte("k"))
	if _, err := s.Get([]byte("k")); !errors.Is(err, ErrCorrupt) || len(*fatal) != 1 {
		t.Fatalf("damaged value: %v", err)
	}
}

func damage(t *testing.T, s *store, bucket, key []byte) {
	t.Helper()
	err := s.db.Update(func(tx *bbolt.Tx) error {
		v := bytes.Clone(tx.Bucket(bucket).Get(key))
		v[len(v)-crcBytes-1] ^= 1
		return tx.Bucket(bucket).Put(key, v)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A crash during the creation leaves a temporary file, whole or not.
func TestStoreCreationIsAtomic(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "raft.db.tmp"), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ := testStore(t, dir)
	wantLog(t, s, 0, 0)
	if _, err := os.Stat(filepath.Join(dir, "raft.db.tmp")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("temporary file: %v", err)
	}
}

// A child stores entries and prints each one that is stored. It is killed at some point, and then
// everything that it printed must be there.
func TestStoreSurvivesKill(t *testing.T) {
	if dir := os.Getenv("SLUICE_TEST_STORE_CHILD"); dir != "" {
		storeUntilKilled(dir)
	}
	rounds := 3
	if os.Getenv("SLUICE_LONG") != "" {
		rounds = 100
	}
	dir := t.TempDir()
	for round := range rounds {
		said := runChild(t, dir, 20+round*13%40)
		s, _ := testStore(t, dir)
		b, _ := s.state()
		if b.last < said {
			t.Fatalf("round %d: entry %d was stored, the log ends at %d", round, said, b.last)
		}
		wantLog(t, s, 1, b.last)
		if err := s.db.View(func(tx *bbolt.Tx) error {
			for err := range tx.Check() {
				return err
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		s.close()
	}
}

func storeUntilKilled(dir string) {
	s, err := openStore(dir, func(error) { os.Exit(3) })
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	for {
		b, _ := s.state()
		if s.StoreLogs(entries(b.last+1, b.last+1)) == nil {
			fmt.Println(b.last + 1)
		}
	}
}

// runChild lets a child say count entries, kills it, and returns the last one that it said.
func runChild(t *testing.T, dir string, count int) (said uint64) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestStoreSurvivesKill$")
	cmd.Env = append(os.Environ(), "SLUICE_TEST_STORE_CHILD="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		if n == count {
			cmd.Process.Kill()
		}
		if v, err := strconv.ParseUint(lines.Text(), 10, 64); err == nil {
			said = v
		}
	}
	cmd.Wait()
	return said
}
