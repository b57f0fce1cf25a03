package node

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicemq/sluice/storage/bucket"
)

// outage is a bucket that can be away: it refuses, or it hangs until the caller gives up.
type outage struct {
	bucket.Bucket
	away atomic.Bool
	hang bool
}

func (o *outage) fault(ctx context.Context) error {
	if !o.away.Load() {
		return nil
	}
	if o.hang {
		<-ctx.Done()
	}
	return fmt.Errorf("%w: connection refused", bucket.ErrUnavailable)
}

func (o *outage) Create(ctx context.Context, key string, body bucket.Body) error {
	if err := o.fault(ctx); err != nil {
		return err
	}
	return o.Bucket.Create(ctx, key, body)
}

func (o *outage) ReadAt(ctx context.Context, key string, p []byte, pos int64) error {
	if err := o.fault(ctx); err != nil {
		return err
	}
	return o.Bucket.ReadAt(ctx, key, p, pos)
}

func (o *outage) Stat(ctx context.Context, key string) (bucket.Info, error) {
	if err := o.fault(ctx); err != nil {
		return bucket.Info{}, err
	}
	return o.Bucket.Stat(ctx, key)
}

func (o *outage) List(ctx context.Context, prefix, after string) iter.Seq2[bucket.Info, error] {
	if err := o.fault(ctx); err != nil {
		return func(yield func(bucket.Info, error) bool) { yield(bucket.Info{}, err) }
	}
	return o.Bucket.List(ctx, prefix, after)
}

// startAway starts a node on a used directory while its bucket is away, and produces to it.
func startAway(t *testing.T, o *outage, change func(*Config)) *rig {
	t.Helper()
	dir := t.TempDir()
	first := start(t, dir, o)
	first.create("t", 1, nil)
	first.end()
	o.away.Store(true)
	r := serve(t, dir, o, change)
	r.produce("t", 0, values("kept", 10)...)
	return r
}

// E13: a bucket that comes back just before the stop, between two questions of the background
// check, gets everything.
func TestE13_StopFlushesToABucketThatIsJustBack(t *testing.T) {
	o := &outage{Bucket: fileBucket(t)}
	r := startAway(t, o, func(*Config) {})
	r.logs.await(t, "the bucket is away; serving from the write-ahead log")
	r.stop()
	if err := r.servedWith(); err != nil {
		t.Fatal(err)
	}
	o.away.Store(false)
	r.over = true
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r.logs.await(t, "stopped with everything in the bucket")
	dir, _ := restore(t, o)
	start(t, dir, o).consume("t", 0, 0, 10)
}

// A stop while the bucket is away, refuses or hangs, ends when its time is over and says how much
// is not in the bucket. The next start has it.
func TestStop_BucketAway(t *testing.T) {
	for _, hang := range []bool{false, true} {
		t.Run(fmt.Sprintf("hang=%t", hang), func(t *testing.T) {
			o := &outage{Bucket: fileBucket(t), hang: hang}
			r := startAway(t, o, func(c *Config) { c.StopTimeout = 100 * time.Millisecond })
			r.end()
			const message = "stopped with data that is not in the bucket; it stays in the write-ahead log for the next start"
			r.logs.await(t, message)
			if strings.Contains(r.logs.String(), message+" bytes=0") {
				t.Errorf("ten records were not flushed, and the stop says that no bytes are missing")
			}
			o.away.Store(false)
			start(t, r.dir, o).consume("t", 0, 0, 10)
		})
	}
}

// A bucket that was found to belong to somebody else gets no last flush, whatever it answers by
// then (E22).
func TestE22_ForeignBucketGetsNoLastFlush(t *testing.T) {
	o := &outage{Bucket: fileBucket(t)}
	r := start(t, t.TempDir(), o)
	r.create("t", 1, nil)
	r.produce("t", 0, values("a", 10)...)
	before := len(keys(t, o))
	r.gate.bar()
	r.end()
	if after := keys(t, o); len(after) != before {
		t.Errorf("the bucket had %d objects when it was found to be another's and %d after the stop: %v", before, len(after), after)
	}
	if err := r.gate.Create(t.Context(), "x", bucket.NewBody(nil)); !errors.Is(err, errBarred) {
		t.Errorf("create in a foreign bucket: %v", err)
	}
}
