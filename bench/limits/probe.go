package limits

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/open"
	"github.com/sluicemq/sluice/vfs"
)

const (
	// A probe of the disk ends after this many syncs of each size or after this time, whichever
	// comes first.
	syncCountMax = 2000
	syncTime     = time.Second
	probeBytes   = 64 << 20 // size of the file, which is written over and over

	objectBytes   = 8 << 20
	probeParallel = 4
)

// Fdatasync measures one write and one fdatasync into a preallocated file full of zeros, with
// nothing else going on. The figures are fdatasync_p50_ms and fdatasync_p99_ms for 4 KiB, and the
// same with 64k or 1m before the p for the other sizes.
func Fdatasync(dir string) (map[string]float64, error) {
	path := filepath.Join(dir, "fdatasync-"+rand.Text())
	r, err := newRing(path, probeBytes)
	if err != nil {
		return nil, err
	}
	figures := make(map[string]float64)
	for _, size := range []struct {
		name  string
		bytes int
	}{{"", 4 << 10}, {"64k_", 64 << 10}, {"1m_", 1 << 20}} {
		times, terr := syncTimes(r.file, size.bytes)
		if err = terr; err != nil {
			break
		}
		figures["fdatasync_"+size.name+"p50_ms"] = quantile(times, 0.5)
		figures["fdatasync_"+size.name+"p99_ms"] = quantile(times, 0.99)
	}
	if err = errors.Join(err, r.file.Close(), os.Remove(path)); err != nil {
		return nil, fmt.Errorf("limits: probe fdatasync: %w", err)
	}
	return figures, nil
}

// syncTimes writes from the start of the file to its end, again and again.
func syncTimes(f vfs.File, bytes int) (times []time.Duration, err error) {
	p := make([]byte, bytes)
	_, _ = rand.Read(p) // never fails
	over := time.Now().Add(syncTime)
	for pos := int64(0); len(times) < syncCountMax && time.Now().Before(over); {
		began := time.Now()
		if _, err := f.WriteAt(p, pos); err != nil {
			return nil, err
		}
		if err := f.Datasync(); err != nil {
			return nil, err
		}
		times = append(times, time.Since(began))
		if pos += int64(bytes); pos+int64(bytes) > probeBytes {
			pos = 0
		}
	}
	return times, nil
}

// quantile returns a quantile in milliseconds. It sorts its argument.
func quantile(times []time.Duration, q float64) float64 {
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return float64(times[min(len(times)-1, int(q*float64(len(times))))]) / float64(time.Millisecond)
}

// Put uploads the given number of bytes in objects of 8 MiB, four at a time, and deletes them
// again. The figures are put_mib_per_second and put_p50_ms.
func Put(ctx context.Context, bucketURL string, bytes int64) (map[string]float64, error) {
	figures, err := probeBucket(ctx, bucketURL, bytes, false)
	if err != nil {
		return nil, fmt.Errorf("limits: probe PUT: %w", err)
	}
	return figures, nil
}

// Get is Put, and also reads each object once, in ranges that cover all of it. The additional
// figures are get_mib_per_second and get_p50_ms.
func Get(ctx context.Context, bucketURL string, bytes int64) (map[string]float64, error) {
	figures, err := probeBucket(ctx, bucketURL, bytes, true)
	if err != nil {
		return nil, fmt.Errorf("limits: probe GET: %w", err)
	}
	return figures, nil
}

func probeBucket(ctx context.Context, bucketURL string, bytes int64, get bool) (figures map[string]float64, err error) {
	b, err := open.Open(ctx, bucketURL, open.Options{Memory: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	content := make([]byte, objectBytes)
	_, _ = rand.Read(content) // never fails
	body := bucket.NewBody(content)
	prefix := "limits/" + rand.Text() + "/"
	key := func(i int64) string { return fmt.Sprintf("%s%06d", prefix, i) }
	count := max(bytes/objectBytes, probeParallel)
	defer func() { // also deletes what a failed probe has stored
		_, _, derr := inParallel(count, func(i int64) error { return b.Delete(context.WithoutCancel(ctx), key(i)) })
		err = errors.Join(err, derr)
	}()
	figures = make(map[string]float64)
	took, times, err := inParallel(count, func(i int64) error { return b.Create(ctx, key(i), body) })
	if err != nil {
		return nil, err
	}
	figures["put_mib_per_second"] = mibPerSecond(count, took)
	figures["put_p50_ms"] = quantile(times, 0.5)
	if !get {
		return figures, nil
	}
	buffers := sync.Pool{New: func() any { b := make([]byte, objectBytes); return &b }}
	took, times, err = inParallel(count, func(i int64) error {
		p := buffers.Get().(*[]byte)
		defer buffers.Put(p)
		return b.ReadAt(ctx, key(i), *p, 0)
	})
	if err != nil {
		return nil, err
	}
	figures["get_mib_per_second"] = mibPerSecond(count, took)
	figures["get_p50_ms"] = quantile(times, 0.5)
	return figures, nil
}

func mibPerSecond(objects int64, took time.Duration) float64 {
	return float64(objects*objectBytes) / (1 << 20) / took.Seconds()
}

// inParallel calls do for each i below count, and returns how long all calls together and each of
// them took.
func inParallel(count int64, do func(i int64) error) (time.Duration, []time.Duration, error) {
	var next atomic.Int64
	var working sync.WaitGroup
	errs := make([]error, probeParallel)
	times := make([]time.Duration, count)
	began := time.Now()
	for w := range probeParallel {
		working.Go(func() {
			for i := next.Add(1) - 1; i < count && errs[w] == nil; i = next.Add(1) - 1 {
				start := time.Now()
				errs[w] = do(i)
				times[i] = time.Since(start)
			}
		})
	}
	working.Wait()
	return time.Since(began), times, errors.Join(errs...)
}
