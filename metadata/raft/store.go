package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	hraft "github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// ErrPoisoned is the answer of a store after its first failed write. What the disk then holds is
// unknown until a restart reads it.
var ErrPoisoned = errors.New("metadata log failed before: restart the process")

// ErrCorrupt is a damaged log or stable value.
var ErrCorrupt = errors.New("metadata log is damaged")

// CorruptError tells what is damaged. errors.Is(err, ErrCorrupt) holds for it.
type CorruptError struct {
	What   string
	Index  uint64 // of a log entry
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s %d: %s: %v", e.What, e.Index, e.Reason, ErrCorrupt)
}

func (e *CorruptError) Unwrap() error { return ErrCorrupt }

var (
	logBucket    = []byte("log")
	stableBucket = []byte("stable")
)

// store is Raft's log and stable store in one bbolt file. Each call that changes it is one
// transaction, durable when the call returns. The first error of any transaction poisons the store:
// onFatal is called once, and nothing succeeds afterwards.
type store struct {
	db      *bbolt.DB
	onFatal func(error)

	// writing puts transactions and their changes of bounds into one order. It is taken before mu
	// and held through the fsync. Only writers wait for it.
	writing sync.Mutex

	mu     sync.Mutex
	bounds bounds // guarded by mu
	failed error  // guarded by mu
}

// bounds are the first and last entry of the log, both included. They are 0 and 0 if the log is
// empty.
type bounds struct{ first, last uint64 }

// openStore opens raft.db in dir. If there is none, it creates one under another name, whole and
// synced, and renames it, since bbolt's own creation is not atomic.
func openStore(dir string, onFatal func(error)) (*store, error) {
	name := filepath.Join(dir, "raft.db")
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		if err := createDB(dir, name); err != nil {
			return nil, fmt.Errorf("raft: create %s: %w", name, err)
		}
	}
	db, err := bbolt.Open(name, 0o600, dbOptions())
	if err != nil {
		return nil, fmt.Errorf("raft: open %s: %w", name, err)
	}
	s := &store{db: db, onFatal: onFatal}
	if err := s.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("raft: open %s: %w", name, err), db.Close())
	}
	return s, nil
}

// dbOptions leaves the free list to a scan when the file is opened: written with every commit, it
// would cost megabytes after a burst.
func dbOptions() *bbolt.Options {
	return &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, Timeout: time.Second}
}

func createDB(dir, name string) error {
	temporary := name + ".tmp"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := bbolt.Open(temporary, 0o600, dbOptions())
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket(logBucket)
		if err == nil {
			_, err = tx.CreateBucket(stableBucket)
		}
		return err
	})
	if err == nil {
		err = db.Sync()
	}
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary, name); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// load reads the log's bounds and checks every entry. What Raft reads later must be what was
// written, and the log must have no hole.
func (s *store) load() error {
	return s.db.View(func(tx *bbolt.Tx) error {
		log := tx.Bucket(logBucket)
		if log == nil || tx.Bucket(stableBucket) == nil {
			return &CorruptError{What: "database", Reason: "a bucket is missing"}
		}
		var l hraft.Log
		c := log.Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			if len(k) != 8 {
				return &CorruptError{What: "log key", Reason: fmt.Sprintf("%d bytes", len(k))}
			}
			index := binary.BigEndian.Uint64(k)
			if last := s.bounds.last; last != 0 && index != last+1 {
				return &CorruptError{What: "log entry", Index: last + 1, Reason: "missing"}
			}
			if err := decodeEntry(index, v, &l); err != nil {
				return err
			}
			if s.bounds.first == 0 {
				s.bounds.first = index
			}
			s.bounds.last = index
		}
		return nil
	})
}

// update runs one transaction, which may move the bounds, and poisons the store if it fails.
func (s *store) update(what string, change func(tx *bbolt.Tx, b *bounds) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	b, failed := s.state()
	if failed != nil {
		return fmt.Errorf("raft: %s: %w: %w", what, ErrPoisoned, failed)
	}
	if err := s.db.Update(func(tx *bbolt.Tx) error { return change(tx, &b) }); err != nil {
		err = fmt.Errorf("raft: %s: %w", what, err)
		s.poison(err)
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bounds = b
	return nil
}

func (s *store) state() (bounds, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bounds, s.failed
}

func (s *store) poison(err error) {
	s.mu.Lock()
	first := s.failed == nil
	if first {
		s.failed = err
	}
	s.mu.Unlock()
	if first {
		s.onFatal(err)
	}
}

// FirstIndex implements raft.LogStore.
func (s *store) FirstIndex() (uint64, error) {
	b, _ := s.state()
	return b.first, nil
}

// LastIndex implements raft.LogStore.
func (s *store) LastIndex() (uint64, error) {
	b, _ := s.state()
	return b.last, nil
}

// GetLog implements raft.LogStore. Damage is fatal, since Raft would take it for a missing entry.
func (s *store) GetLog(index uint64, l *hraft.Log) error {
	err := s.db.View(func(tx *bbolt.Tx) error {
		v := tx.Bucket(logBucket).Get(indexKey(index))
		if v == nil {
			return hraft.ErrLogNotFound
		}
		return decodeEntry(index, v, l)
	})
	if errors.Is(err, ErrCorrupt) {
		s.poison(err)
	}
	return err
}

// StoreLog implements raft.LogStore.
func (s *store) StoreLog(l *hraft.Log) error { return s.StoreLogs([]*hraft.Log{l}) }

// StoreLogs implements raft.LogStore. All entries are stored in one transaction.
func (s *store) StoreLogs(logs []*hraft.Log) error {
	return s.update("store log", func(tx *bbolt.Tx, b *bounds) error {
		for _, l := range logs {
			if b.last != 0 && (l.Index > b.last+1 || l.Index < b.first) {
				return &CorruptError{What: "log entry", Index: l.Index, Reason: fmt.Sprintf("does not follow %d to %d", b.first, b.last)}
			}
			v, err := encodeEntry(l)
			if err != nil {
				return err
			}
			if err := tx.Bucket(logBucket).Put(indexKey(l.Index), v); err != nil {
				return err
			}
			if b.first == 0 {
				b.first = l.Index
			}
			b.last = max(b.last, l.Index)
		}
		return nil
	})
}

// DeleteRange implements raft.LogStore. It deletes entries low to high, both included, from either
// end of the log.
func (s *store) DeleteRange(low, high uint64) error {
	return s.update("delete log", func(tx *bbolt.Tx, b *bounds) error {
		for i := max(low, b.first); i <= min(high, b.last) && i > 0; i++ {
			if err := tx.Bucket(logBucket).Delete(indexKey(i)); err != nil {
				return err
			}
		}
		switch {
		case low <= b.first && high >= b.last:
			*b = bounds{}
		case low <= b.first:
			b.first = max(b.first, high+1)
		case high >= b.last:
			b.last = min(b.last, low-1)
		default:
			return &CorruptError{What: "log entry", Index: low, Reason: "deletion from the middle"}
		}
		return nil
	})
}

// IsMonotonic implements raft.MonotonicLogStore: the log has no holes.
func (s *store) IsMonotonic() bool { return true }

// errNotFound has the text by which Raft recognises a missing stable value.
var errNotFound = errors.New("not found")

// Set implements raft.StableStore.
func (s *store) Set(key, value []byte) error {
	return s.update("set "+string(key), func(tx *bbolt.Tx, _ *bounds) error {
		return tx.Bucket(stableBucket).Put(key, encodeStable(key, value))
	})
}

// Get implements raft.StableStore.
func (s *store) Get(key []byte) ([]byte, error) {
	var value []byte
	err := s.db.View(func(tx *bbolt.Tx) error {
		v := tx.Bucket(stableBucket).Get(key)
		if v == nil {
			return errNotFound
		}
		var err error
		value, err = decodeStable(key, v)
		return err
	})
	if errors.Is(err, ErrCorrupt) {
		s.poison(err)
	}
	return value, err
}

// SetUint64 implements raft.StableStore.
func (s *store) SetUint64(key []byte, v uint64) error {
	return s.Set(key, binary.LittleEndian.AppendUint64(nil, v))
}

// GetUint64 implements raft.StableStore.
func (s *store) GetUint64(key []byte) (uint64, error) {
	b, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, &CorruptError{What: "stable value " + string(key), Reason: fmt.Sprintf("%d bytes", len(b))}
	}
	return binary.LittleEndian.Uint64(b), nil
}

func (s *store) close() error { return s.db.Close() }

func indexKey(i uint64) []byte { return binary.BigEndian.AppendUint64(nil, i) }
