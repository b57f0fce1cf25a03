package bucket_test

import (
	"context"
	"errors"
	"iter"
	"testing"

	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/fault"
	"github.com/sluicemq/sluice/storage/bucket/mem"
)

// careless is a store that lacks what the flags say.
type careless struct {
	*mem.Bucket
	overwrites, takesAnything, hidesNew bool
}

func (c careless) Create(ctx context.Context, key string, body bucket.Body) error {
	if c.takesAnything {
		body = bucket.NewBody(body.Parts...)
	}
	if c.overwrites {
		if err := c.Delete(ctx, key); err != nil {
			return err
		}
	}
	return c.Bucket.Create(ctx, key, body)
}

func (c careless) List(ctx context.Context, prefix, after string) iter.Seq2[bucket.Info, error] {
	if c.hidesNew {
		return func(func(bucket.Info, error) bool) {}
	}
	return c.Bucket.List(ctx, prefix, after)
}

func TestProbe(t *testing.T) {
	all := bucket.Capabilities{ConditionalCreate: true, RangedRead: true, ChecksumRefused: true, ListAfterWrite: true}
	without := func(change func(*bucket.Capabilities)) bucket.Capabilities {
		c := all
		change(&c)
		return c
	}
	for _, c := range []struct {
		store careless
		want  bucket.Capabilities
		line  string
	}{
		{careless{}, all, "conditional create: yes, ranged read: yes, wrong checksum refused: yes, list after write: yes"},
		{careless{overwrites: true}, without(func(c *bucket.Capabilities) { c.ConditionalCreate = false }),
			"conditional create: NO, ranged read: yes, wrong checksum refused: yes, list after write: yes"},
		{careless{takesAnything: true}, without(func(c *bucket.Capabilities) { c.ChecksumRefused = false }),
			"conditional create: yes, ranged read: yes, wrong checksum refused: NO, list after write: yes"},
		{careless{hidesNew: true}, without(func(c *bucket.Capabilities) { c.ListAfterWrite = false }),
			"conditional create: yes, ranged read: yes, wrong checksum refused: yes, list after write: NO"},
	} {
		c.store.Bucket = mem.New()
		got, err := bucket.Probe(t.Context(), c.store, "p/", "uuid")
		if err != nil || got != c.want || got.String() != c.line {
			t.Errorf("got %v, %v\nwant %v", got, err, c.line)
		}
		for info := range c.store.Bucket.List(t.Context(), "", "") {
			t.Errorf("%s is left", info.Key)
		}
	}
}

func TestProbeFails(t *testing.T) {
	for _, c := range []struct {
		op    bucket.Op
		fault fault.Fault
		want  error
	}{
		{bucket.OpCreate, fault.Refused, bucket.ErrUnavailable},
		{bucket.OpCreate, fault.Denied, bucket.ErrDenied},
		{bucket.OpReadAt, fault.Flip, bucket.ErrCorrupt},
		{bucket.OpReadAt, fault.Missing, bucket.ErrNotFound},
		{bucket.OpList, fault.Busy, bucket.ErrUnavailable},
		{bucket.OpDelete, fault.Denied, bucket.ErrDenied},
	} {
		faulty := fault.New(mem.New(), 1)
		faulty.FailAt(c.op, 1, c.fault)
		if caps, err := bucket.Probe(t.Context(), faulty, "p/", "uuid"); !errors.Is(err, c.want) || caps != (bucket.Capabilities{}) {
			t.Errorf("%v fails in %v: %v, %v", c.fault, c.op, caps, err)
		}
	}
}
