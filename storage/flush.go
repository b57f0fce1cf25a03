package storage

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage/object"
)

// The flush path has five steps. trigger.go tells what starts it.
//
//  1. plan: plan.go copies which batches of the chosen partitions are persisted and uncommitted
//     (E18, E26) into sections, and puts the sections into bundles of about FlushBytes, at most 2.5
//     times that.
//  2. upload: upload.go uploads several bundles at once, each under a fresh object id. An id whose
//     upload met another object or ended in doubt is abandoned, and never deleted here (E28).
//  3. commit: commit.go sends one command at a time, which carries the bundles. The quorum judges
//     them range by range (E12). Class object is published and answered in this step.
//  4. record: record.go writes a state record per partition into the WAL (E13, E24).
//  5. trim: trim.go trims the WAL, only below what is committed or void and recorded (I9).
//
// Dying after step 2 leaves an object that the quorum expires. Dying after step 3 leaves batches in
// the WAL below the committed end, which the next start skips. Dying after step 4 leaves nothing to
// repair.

// flusher moves persisted batches to the bucket, and keeps account of those that cannot go there.
// One loop flushes all partitions, one flushes those of class object at once, and one looks at the
// stuck partitions. Each partition notes whether a running pass has it (flushState.busy), so that
// passes over different partitions run side by side.
type flusher struct {
	*env
	partitions  *partitions
	budget      *budget
	replication *replication
	objects     *objectIDs
	manifests   *manifestWriter
	records     *recorder
	trimmer     *trimmer

	fail         func(error)         // ends this incarnation: it is fenced
	topicDeleted func(ident.TopicID) // ends the lives of a topic's partitions

	unflushed atomic.Int64  // bytes persisted since the last flush began
	enough    chan struct{} // signals that unflushed is large enough for a flush
	urgent    urgentSet

	commitTurn turn // one commit in flight (E28)
	// commitInDoubt says that a commit whose caller gave up may still be on its way to the quorum.
	// commitTurn guards it.
	commitInDoubt bool

	uploads    atomic.Int64  // bundles that the bucket has taken
	recheckNow chan struct{} // signals that a stuck partition's log start has moved
	// stuckLogged counts the partitions that were logged as stuck since the last look.
	stuckLogged atomic.Int32
}

// section is one run of one partition's batches, all of one (incarnation, epoch), on its way into a
// bundle.
type section struct {
	p        *partition
	facts    *topicFacts
	logStart ident.Offset
	source   *source
	epoch    ident.Epoch // the epoch under which the log has the batches
	batches  []batch     // they have bytes only while their bundle is built and stored
	number   int64       // the first batch's number in the partition's batch log
	bytes    int64
	state    []byte // state block as of the section's end
	isBase   bool
	base     catalog.StateRef // what the state builds on, unless the state is a base
}

func (s *section) start() ident.Offset { return s.batches[0].start }
func (s *section) end() ident.Offset   { return s.batches[len(s.batches)-1].end }

// walEnd is the position up to which the section's source was read.
func (s *section) walEnd() (end ident.Position) {
	for i := range s.batches { // carried batches do not lie in the order of offsets
		b := &s.batches[i]
		end = max(end, b.position+ident.Position(b.size))
	}
	return end
}

// bundle is a planned object.
type bundle struct {
	sections []*section
	id       ident.ObjectID
	built    object.Built
	uploaded bool
	lost     []lostSection // sections that were left out
}

// lostSection is a section that was left out of its bundle, and why.
type lostSection struct {
	section *section
	batch   *batch // the batch that could not be read; nil if the section does not fit the format
	err     error
	again   bool // the section may fit, or be elsewhere, by the next pass
}

// pass flushes what the given partitions hold now, as far as the limits of one pass allow. It
// returns the number of batches that it planned and whether its limits left some out.
func (f *flusher) pass(ctx context.Context, parts []*partition) (count int, more bool, err error) {
	plan := f.plan(parts)
	defer release(plan.chosen)
	if len(plan.bundles) > 0 {
		if err = f.move(ctx, &plan); ctx.Err() != nil {
			return plan.count, plan.more, err
		}
	}
	if f.absorb(ctx, plan.chosen, plan.crowded) {
		plan.more = true // the crowded partitions now have room for more
	}
	return plan.count, plan.more, err
}

// move uploads, commits and records a plan.
func (f *flusher) move(ctx context.Context, plan *plan) error {
	began := time.Now()
	err := f.upload(ctx, plan.bundles)
	uploaded := slices.DeleteFunc(slices.Clone(plan.bundles), func(b *bundle) bool { return !b.uploaded })
	if ctx.Err() != nil {
		return err
	}
	err = errors.Join(err, f.commitAll(ctx, uploaded), f.lose(plan.bundles))
	f.meter.flushed(began, err)
	// records the partitions that were committed, even if others failed.
	return errors.Join(err, f.records.record(ctx, plan.chosen))
}

// absorbParallel is how many manifests are written at once.
const absorbParallel = 16

// absorb moves the oldest ranges of full heads into their manifests. If the bucket does not take a
// manifest now, absorb tries again after the next flush. A head that stays full stops the flushing
// of its partition and nothing else (E17). The crowded partitions are those whose head had no room
// in this pass; absorb reports whether one of them has room now.
func (f *flusher) absorb(ctx context.Context, chosen, crowded []*partition) (room bool) {
	var wg sync.WaitGroup
	var made atomic.Bool
	slots := make(chan struct{}, absorbParallel)
	try := func(p *partition, do func(*catalog.Head) error, failed func(*catalog.Head, error)) {
		head, ok := f.deps.Catalog.Head(p.id)
		if !ok || len(head.Ranges) < f.cfg.ManifestAt {
			return
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := do(&head); err != nil && ctx.Err() == nil {
				failed(&head, err)
			}
		})
	}
	for _, p := range chosen {
		try(p, func(h *catalog.Head) error { return f.manifests.absorb(ctx, h) }, func(_ *catalog.Head, err error) {
			f.log.Warn("ranges stay in the quorum until the next flush", "partition", p.id, "err", err)
		})
	}
	for _, p := range crowded {
		try(p, func(h *catalog.Head) error {
			err := f.makeRoom(ctx, h)
			if err == nil {
				made.Store(true)
				f.clearTrouble(p)
			}
			return err
		}, func(h *catalog.Head, err error) {
			f.note(p, trouble{reason: headFull, err: err, at: h.CommittedEnd, head: *h}, certain(err))
		})
	}
	wg.Wait()
	return made.Load()
}

func release(parts []*partition) {
	for _, p := range parts {
		p.mu.Lock()
		p.flush.busy = false
		p.mu.Unlock()
	}
}
