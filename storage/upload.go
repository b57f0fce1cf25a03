package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/sluicemq/sluice/internal/unzeroed"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/object"
)

// This file is the step "upload": bundles are laid out and put into the bucket under object ids
// that nothing else uses.

// errCrowded says that a bundle's sections are too many for one object.
var errCrowded = errors.New("too many sections for one object")

// errLost says that batches are not where they should be: their topic was deleted, the log start
// passed them, or they are damaged. Trying the same again would never succeed, so the flush is
// planned anew.
var errLost = errors.New("batches could not be read from the write-ahead log")

// upload puts all bundles into the bucket, several at a time.
func (f *flusher) upload(ctx context.Context, bundles []*bundle) error {
	var wg sync.WaitGroup
	slots := make(chan struct{}, f.cfg.UploadParallel)
	errs := make([]error, len(bundles))
	for i, b := range bundles {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = f.retry(ctx, "upload bundle", func(ctx context.Context) error { return f.uploadOne(ctx, b) })
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// uploadOne makes one attempt. After an outcome in doubt, the next attempt takes a new id.
func (f *flusher) uploadOne(ctx context.Context, b *bundle) error {
	if b.id == 0 {
		id, err := f.objects.next(ctx)
		if err != nil {
			return err
		}
		b.id = id
	}
	if f.build(b); len(b.sections) == 0 {
		return nil
	}
	body := bucket.Body{Parts: b.built.Parts, CRC32C: b.built.CRC32C, PartCRCs: b.built.PartCRCs}
	err := f.deps.Bucket.Create(ctx, object.Key(f.deps.Catalog.ClusterID(), b.id, f.incarnation, object.KindBundle), body)
	// This releases the batches' bytes. Another attempt builds the bundle again.
	b.built.Parts, b.built.PartCRCs = nil, nil
	var damaged *bucket.DamagedPartError
	if errors.As(err, &damaged) {
		err = b.distrust(body.Parts[damaged.Part], err)
	}
	for _, s := range b.sections {
		s.letGo()
	}
	if err != nil {
		if !errors.Is(err, bucket.ErrUnavailable) && !errors.Is(err, bucket.ErrDenied) {
			b.id = 0 // the id is taken or in doubt, so it is abandoned (E28, I3)
		}
		return fmt.Errorf("create bundle: %w", err)
	}
	b.uploaded = true
	f.uploads.Add(1)
	f.meter.uploaded(b.built.Bytes)
	return nil
}

// fetch takes the batches' bytes from the hot tail where they are still there.
func (s *section) fetch() {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	for i := range s.batches {
		at := s.number + int64(i) - s.p.log.first
		if at < 0 || at >= int64(s.p.log.len()) {
			continue // the log start passed the batch, or its topic was deleted
		}
		if b := s.p.log.at(int(at)); b.start == s.batches[i].start && b.end == s.batches[i].end {
			s.batches[i].bytes = b.bytes
		}
	}
}

// letGo drops the batches' bytes. A section holds them only while its bundle is built and stored.
// Batches that leave the hot tail before that are read from the log; those that leave it later are
// freed.
func (s *section) letGo() {
	for i := range s.batches {
		s.batches[i].bytes = nil
	}
}

// distrust drops the bytes of a batch that have changed in memory since the batch was placed. The
// next attempt, and every reader, takes the batch from the WAL, where it has its checksum.
func (b *bundle) distrust(part []byte, err error) error {
	for _, s := range b.sections {
		for i := range s.batches {
			if c := &s.batches[i]; len(c.bytes) > 0 && &c.bytes[0] == &part[0] {
				s.p.forget(c.end)
				c.bytes = nil
				return fmt.Errorf("batch [%d,%d) of %s changed in memory: %w", c.start, c.end, s.p.id, err)
			}
		}
	}
	return err
}

// build lays a bundle out. A section that cannot be read, or does not fit the format, is left out,
// so that it does not keep the others from the bucket.
func (f *flusher) build(b *bundle) {
	for len(b.sections) > 0 {
		built, bad, err := f.layOut(b)
		if err == nil {
			b.built = built
			return
		}
		crowded := errors.Is(err, errCrowded) && len(b.sections) > 1
		b.lost = append(b.lost, lostSection{section: b.sections[bad], err: err, again: crowded})
		b.sections = slices.Delete(b.sections, bad, bad+1)
	}
}

// layOut returns the object that a bundle's sections make, or the index of the section that is too
// large for the object.
func (f *flusher) layOut(b *bundle) (built object.Built, bad int, err error) {
	w := object.NewBundle(object.Header{
		ClusterID: f.deps.Catalog.ClusterID(), Generation: f.incarnation.Generation(), Object: b.id, Incarnation: f.incarnation,
	})
	for i := 0; i < len(b.sections); {
		s := b.sections[i]
		refs, unread, err := s.refs()
		if err != nil {
			b.lost = append(b.lost, lostSection{section: s, batch: unread, err: err, again: movedOn(err)})
			b.sections = slices.Delete(b.sections, i, i+1)
			continue
		}
		if _, err := w.AddSection(object.Section{
			Topic: s.p.id.Topic, Name: s.facts.topic.Name, Creation: s.facts.topic.Creation,
			Partition: s.p.id.Index, PartitionCount: int32(len(s.facts.topic.Partitions)), ReplicationFactor: s.facts.topic.ReplicationFactor,
			Configs: s.facts.topic.Configs, LogStart: s.logStart,
			Incarnation: s.source.incarnation, Epoch: s.epoch, Start: s.start(), End: s.end(), WALEnd: s.walEnd(),
			Batches: refs, State: s.state, StateEnd: s.end(), Base: s.base,
		}); err != nil {
			return built, i, fmt.Errorf("section of %s: %w", s.p.id, err)
		}
		i++
	}
	if len(b.sections) == 0 {
		return built, 0, nil
	}
	if built, err = w.Finish(); err != nil {
		return built, len(b.sections) - 1, fmt.Errorf("%w: %w", errCrowded, err)
	}
	return built, 0, nil
}

// refs returns the section's batches, from memory or read from the WAL, or the batch that could not
// be read.
func (s *section) refs() (refs []object.BatchRef, unread *batch, err error) {
	s.fetch()
	refs = make([]object.BatchRef, len(s.batches))
	for i := range s.batches {
		b := &s.batches[i]
		bytes, err := b.load()
		if err != nil {
			unread := *b
			return nil, &unread, fmt.Errorf("[%d,%d) of %s: %w", b.start, b.end, s.p.id, err)
		}
		refs[i] = object.BatchRef{Bytes: bytes, Start: b.start, End: b.end, MaxTimestamp: b.maxTimestamp, CRC: b.crc}
	}
	return refs, nil, nil
}

// load returns a batch's bytes from memory or from the WAL, verified.
func (b *batch) load() ([]byte, error) {
	if b.bytes != nil {
		return b.bytes, nil
	}
	bytes := unzeroed.Make(int(b.size))
	if err := b.source.read(bytes, b.position, b.crc); err != nil {
		return nil, err
	}
	return bytes, nil
}
