package wal_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/vfs"
	"github.com/sluicemq/sluice/wal"
)

// durableSignal tells each writer of a benchmark that its append is durable.
func durableSignal(g *wal.Group) {
	for _, a := range g.Appends() {
		a.Owner.(chan struct{}) <- struct{}{}
	}
}

func realWriter(b *testing.B) *wal.Writer {
	w, err := wal.Create(wal.Config{Dir: filepath.Join(b.TempDir(), "wal")}, wal.Deps{
		FS: vfs.OS(), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Durable: durableSignal, Failed: func(err error, _ []*wal.Append) { b.Error(err) },
	}, 1)
	must(b, err)
	return w
}

// BenchmarkAppend is a closed loop of writers, each with one append in flight, on the real disk.
func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 4, 16, 64, 256} {
		for _, size := range []int{4 << 10, 64 << 10} {
			b.Run(fmt.Sprintf("writers=%d/bytes=%d", writers, size), func(b *testing.B) { appendLoop(b, writers, 1, size) })
		}
	}
}

// BenchmarkPartitions compares one append for one partition with one append of the same size for a
// hundred.
func BenchmarkPartitions(b *testing.B) {
	for _, parts := range []int{1, 100} {
		b.Run(fmt.Sprintf("partitions=%d", parts), func(b *testing.B) { appendLoop(b, 1, parts, 100<<10/parts) })
	}
}

func appendLoop(b *testing.B, writers, parts, size int) {
	w := realWriter(b)
	var mu sync.Mutex
	var times []time.Duration
	payload := bytes.Repeat([]byte{7}, size)
	share := b.N/writers + 1
	b.SetBytes(int64(parts * size))
	b.ResetTimer()
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			done, own := make(chan struct{}, 1), make([]time.Duration, 0, share)
			a := &wal.Append{Owner: done, Entries: make([]wal.Entry, parts)}
			for range share {
				for i := range a.Entries {
					a.Entries[i] = wal.Entry{Kind: wal.KindBatch, Partition: ident.TopicPartition{Index: int32(i)}, Payload: payload}
				}
				start := time.Now()
				if err := w.Append(a); err != nil {
					b.Error(err)
					return
				}
				<-done
				if own = append(own, time.Since(start)); len(own)%16 == 0 {
					_ = w.Trim(w.Durable())
				}
			}
			mu.Lock()
			defer mu.Unlock()
			times = append(times, own...)
		})
	}
	group.Wait()
	b.StopTimer()
	slices.Sort(times)
	st := w.Stats()
	b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-us")
	b.ReportMetric(float64(st.Groups)/float64(len(times)), "groups/op")
	b.ReportMetric(float64(st.Overlapped)/float64(st.Groups), "overlapped")
	must(b, w.Close())
}

// BenchmarkCreate is the part of a start for which the first acknowledgement waits.
func BenchmarkCreate(b *testing.B) {
	for b.Loop() {
		w := realWriter(b)
		b.StopTimer()
		must(b, w.Close())
		b.StartTimer()
	}
}

// BenchmarkRecover reads a sealed tail of 256 MiB of 64 KiB payloads, with a warm page cache, after
// a clean close and after a kill.
func BenchmarkRecover(b *testing.B) {
	dir := b.TempDir()
	deps := wal.RecoverDeps{FS: vfs.OS(), Log: discard}
	w, err := wal.Create(wal.Config{Dir: dir}, wal.Deps{FS: vfs.OS(), Log: discard, Durable: durableSignal, Failed: func(err error, _ []*wal.Append) { b.Error(err) }}, 1)
	must(b, err)
	done := make(chan struct{}, 1)
	payload := bytes.Repeat([]byte{7}, 64<<10)
	for range 4096 {
		must(b, w.Append(&wal.Append{Owner: done, Entries: []wal.Entry{{Kind: wal.KindBatch, Payload: payload}}}))
		<-done
	}
	// A copy of the files while the log is open is what a kill leaves.
	open := dir
	dir = b.TempDir()
	must(b, os.CopyFS(dir, os.DirFS(open)))
	must(b, w.Close())
	b.Run("killed", func(b *testing.B) {
		start := time.Now()
		// This happens once, since it seals the log.
		s, err := wal.Recover(wal.Config{Dir: dir}, deps, 1, func(*wal.Entry) error { return nil })
		must(b, err)
		b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms-first")
		must(b, s.Close())
	})
	b.Run("sealed", func(b *testing.B) {
		for b.Loop() {
			s, err := wal.Recover(wal.Config{Dir: dir}, deps, 1, func(*wal.Entry) error { return nil })
			must(b, err)
			must(b, s.Close())
		}
	})
}
