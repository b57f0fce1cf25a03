package node

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/mem"
)

// overwriting is a store that ignores If-None-Match.
type overwriting struct{ bucket.Bucket }

func (o overwriting) Create(ctx context.Context, key string, body bucket.Body) error {
	if err := o.Delete(ctx, key); err != nil {
		return err
	}
	return o.Bucket.Create(ctx, key, body)
}

// TestStoreThatOverwrites: every start logs the risk, and the metrics show it as long as the broker
// runs.
func TestStoreThatOverwrites(t *testing.T) {
	dir, store := t.TempDir(), overwriting{mem.New()}
	for range 2 {
		r, url := startAdmin(t, dir, store)
		if said := r.logs.String(); !strings.Contains(said, "WARN the object store is not what it should be") || !strings.Contains(said, "ignores If-None-Match") {
			t.Errorf("the log does not warn:\n%s", said)
		}
		_, metrics := get(t, url+"/metrics")
		for _, want := range []string{`sluice_bucket_capability{capability="conditional_create"} 0`, `sluice_bucket_capability{capability="ranged_read"} 1`} {
			if !strings.Contains(metrics, want) {
				t.Errorf("no %s in the metrics", want)
			}
		}
		r.end()
	}
	r, url := startAdmin(t, t.TempDir(), mem.New())
	if said := r.logs.String(); strings.Contains(said, "not what it should be") {
		t.Errorf("a good store is warned of:\n%s", said)
	}
	if _, metrics := get(t, url+"/metrics"); !strings.Contains(metrics, `sluice_bucket_capability{capability="conditional_create"} 1`) {
		t.Error("a good store is not shown as one")
	}
}

// TestRefuseBucket: one broker runs on a store that overwrites objects, several do not.
func TestRefuseBucket(t *testing.T) {
	good := bucket.Capabilities{ConditionalCreate: true, RangedRead: true}
	bad := bucket.Capabilities{RangedRead: true, ChecksumRefused: true, ListAfterWrite: true}
	for _, c := range []struct {
		caps    bucket.Capabilities
		brokers int
		want    error
	}{{good, 1, nil}, {good, 3, nil}, {bad, 1, nil}, {bad, 2, ErrBucketUnfit}, {bad, 3, ErrBucketUnfit}} {
		if err := refuseBucket(c.caps, c.brokers); !errors.Is(err, c.want) {
			t.Errorf("%d brokers on %v: %v, want %v", c.brokers, c.caps, err, c.want)
		}
	}
}
