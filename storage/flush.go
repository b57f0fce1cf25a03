package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/internal/unzeroed"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/object"
	"github.com/sluicemq/sluice/storage/pstate"
)

// The flush path, in five steps:
//
//  1. prepare  copy which batches of the chosen partitions are persisted and uncommitted
//              (E18, E26) into sections, and the sections into bundles of about FlushBytes, at most 2.5 times that.
//  2. upload   several bundles at once, each under a fresh object id. An id whose upload
//              met another object or ended in doubt is abandoned, never deleted here (E28).
//  3. commit   one command at a time carries the bundles; the quorum judges range by
//              range (E12). Class object is published and answered here.
//  4. record   a state record per partition goes into the WAL (E13, E24).
//  5. trim     trim.go: only under what is committed or void and recorded (I9).
//
// Dying after 2 leaves an object that the quorum expires; after 3, batches in the WAL
// below the committed end, which the next start skips; after 4, nothing to repair.

const (
	sectionsPerBundleMax = 1500      // keeps a bundle's part of the command under catalog.CommitPartBytesMax (E17)
	sectionsPerCommitMax = 3000      // and the command under 1 MiB
	passBytesMax         = 256 << 20 // one pass plans at most this much
	passBatchesMax       = 256 << 10 // and this many batches; the next pass takes the rest
	absorbParallel       = 16        // manifests written at once
)

// heldPause is how long a flush waits that found its partitions held by another.
const heldPause = 5 * time.Millisecond

// section is one run of one partition's batches, all of one (incarnation, epoch), on its way into a bundle.
type section struct {
	p        *partition
	facts    *topicFacts
	logStart ident.Offset
	source   *source
	epoch    ident.Epoch
	batches  []batch
	bytes    int64
	state    []byte // state block as of the section's end
	isBase   bool
	base     catalog.StateRef // what the state builds on, unless it is a base
}

func (s *section) start() ident.Offset { return s.batches[0].start }
func (s *section) end() ident.Offset   { return s.batches[len(s.batches)-1].end }

// walEnd is the position up to which the section's source was read.
func (s *section) walEnd() ident.Position {
	last := &s.batches[len(s.batches)-1]
	return last.position + ident.Position(last.size)
}

// bundle is a planned object.
type bundle struct {
	sections []*section
	id       ident.ObjectID
	built    object.Built
	uploaded bool
	lost     error // of sections that were left out
}

// A flush that size starts brings this many bundles: each flush adds a range to every partition that it takes, and a range costs
// its part of a command, a state record and its part of a manifest. With a flush for each bundle, 16 partitions and 100 MiB/s,
// manifests came to as many requests as bundles.
const bundlesPerFlush = 4

// flushAt returns how many unflushed bytes start a flush before its time: so many that its bundles fill the
// upload slots, but not so many that they fall out of memory and have to be read again, or use up the WAL's budget.
func (c *Config) flushAt() int64 {
	return max(c.FlushBytes, min(bundlesPerFlush*c.FlushBytes, c.HotBytes/4, c.WALBudgetBytes/8))
}

// Flush moves everything that is persisted to the bucket, and returns when it is there or ctx ends.
func (e *Engine) Flush(ctx context.Context) error {
	for {
		n, _, err := e.pass(ctx, e.all())
		again := errors.Is(err, errRefused) || errors.Is(err, errLost) && movedOn(err)
		if err != nil && !again {
			return err
		}
		if n == 0 && e.Unflushed() == 0 {
			return e.trim(ctx)
		}
		if n == 0 || again { // another pass holds the partitions, or it has to be planned again
			if err := sleep(ctx, heldPause); err != nil {
				return err
			}
		}
	}
}

// flushLoop flushes every partition when enough has gathered or enough time has passed.
func (e *Engine) flushLoop() {
	timer := time.NewTimer(e.cfg.FlushInterval)
	defer timer.Stop()
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-e.flushNow:
			if !e.worthFlushing() {
				continue
			}
		case <-timer.C:
		}
		e.unflushed.Store(0)
		_ = e.retry(e.ctx, "flush", e.flushAll)
		timer.Reset(e.cfg.FlushInterval)
	}
}

// worthFlushing gives back what it can of the log, and reports whether half of what started a flush is left in it. If retention has
// passed it, or class object has brought it to the bucket, the count goes on with the rest: what is deleted before the interval ends is
// never uploaded. One old record that stays holds back all of the log behind it, and is flushed with it.
func (e *Engine) worthFlushing() bool {
	if e.unflushed.Load() < e.cfg.flushAt() {
		return false // a signal from before the last flush
	}
	if e.trim(e.ctx) != nil {
		return true // the flush trims too, and tries again
	}
	counted := e.unflushed.Load() // after the trim, before what is left: nothing counts twice, nothing is missed
	left := e.budget.span.Load() + e.budget.tailBytes.Load()
	if left >= e.cfg.flushAt()/2 {
		return true
	}
	e.unflushed.Add(left - counted)
	return false
}

// flushAll repeats pass and trim as long as a pass leaves something that was there when it began.
func (e *Engine) flushAll(ctx context.Context) error {
	for {
		_, more, err := e.pass(ctx, unhurried(e.all()))
		// What one partition lacks does not keep the others' segments from going.
		if err = errors.Join(err, e.trim(ctx)); err != nil || !more {
			return err
		}
	}
}

// unhurried leaves out the partitions of class object: urgentLoop flushes them at once, and the
// many bundles of a regular pass must not hold them up (E18).
func unhurried(parts []*partition) []*partition {
	return slices.DeleteFunc(parts, func(p *partition) bool { return p.facts.Load().afterCommit })
}

// urgentSet gathers partitions of class object that have something to flush at once.
type urgentSet struct {
	wake  chan struct{}
	mu    sync.Mutex
	parts map[*partition]struct{}
}

func (e *Engine) wakeUrgent(p *partition) {
	e.urgent.mu.Lock()
	if e.urgent.parts == nil {
		e.urgent.parts = make(map[*partition]struct{})
	}
	e.urgent.parts[p] = struct{}{}
	e.urgent.mu.Unlock()
	signal(e.urgent.wake)
}

func (u *urgentSet) take() []*partition {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := make([]*partition, 0, len(u.parts))
	for p := range u.parts {
		out = append(out, p)
	}
	u.parts = nil
	return out
}

// urgentLoop flushes partitions of class object at once, and only them (E18).
func (e *Engine) urgentLoop() {
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-e.urgent.wake:
		}
		parts := e.urgent.take()
		planned := 0
		_ = e.retry(e.ctx, "flush of class object", func(ctx context.Context) (err error) {
			planned, _, err = e.pass(ctx, parts)
			return err
		})
		for _, p := range parts { // those that another pass held, or that have more already
			if p.uncommitted() {
				e.wakeUrgent(p)
			}
		}
		if planned == 0 {
			_ = sleep(e.ctx, heldPause)
		}
	}
}

func (p *partition) uncommitted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status == serving && p.committed < p.persisted
}

// pass flushes what is there now of the given partitions, as far as one pass goes. It returns
// the number of batches that it planned and whether its limits left some out.
func (e *Engine) pass(ctx context.Context, parts []*partition) (count int, more bool, err error) {
	bundles, chosen, count, more := e.prepare(parts)
	defer release(chosen)
	if len(bundles) == 0 {
		return 0, false, nil
	}
	began := time.Now()
	err = e.upload(ctx, bundles)
	bundles = slices.DeleteFunc(bundles, func(b *bundle) bool { return !b.uploaded })
	if ctx.Err() != nil {
		return count, more, err
	}
	err = errors.Join(err, e.commitAll(ctx, bundles))
	e.meter.flushed(began, err)
	err = errors.Join(err, e.record(ctx, chosen))                     // of those that were committed, whatever became of the others
	if err := e.absorb(ctx, chosen); err != nil && ctx.Err() == nil { // a full head may be why one was refused
		e.log.Warn("ranges stay in the quorum until the next flush", "err", err)
	}
	return count, more, err
}

func release(parts []*partition) {
	for _, p := range parts {
		p.mu.Lock()
		p.flush.busy = false
		p.mu.Unlock()
	}
}

// prepare plans bundles and marks the partitions that it chose.
func (e *Engine) prepare(parts []*partition) (bundles []*bundle, chosen []*partition, count int, more bool) {
	parts = slices.Clone(parts)
	slices.SortFunc(parts, func(a, b *partition) int { return a.id.Compare(b.id) })
	parts = keepersFirst(parts)
	sectionsMax := catalog.RangesPerHeadMax - e.cfg.ManifestAt
	var sections []*section
	bytes := int64(0)
	for _, p := range parts {
		if bytes >= passBytesMax || count >= passBatchesMax {
			more = true
			break
		}
		cut, rest := p.plan(e.cfg.FlushBytes, sectionsMax, passBatchesMax-count)
		more = more || rest
		if cut == nil {
			continue
		}
		chosen = append(chosen, p)
		for _, s := range cut {
			count += len(s.batches)
			bytes += s.bytes
		}
		sections = append(sections, cut...)
	}
	return pack(sections, e.cfg.FlushBytes), chosen, count, more
}

// keepersFirst puts the partitions of topics that keep everything before the others.
func keepersFirst(parts []*partition) []*partition {
	keepers, others := make([]*partition, 0, len(parts)), make([]*partition, 0, len(parts))
	for _, p := range parts {
		if p.facts.Load().keeps() {
			keepers = append(keepers, p)
		} else {
			others = append(others, p)
		}
	}
	return append(keepers, others...)
}

// pack puts sections into bundles one after another, so that a partition's stay in order. What never expires gets bundles of its
// own: a few committed offsets would keep the megabytes beside them, which expire, in the bucket.
func pack(sections []*section, bundleBytes int64) (bundles []*bundle) {
	for len(sections) > 0 {
		n := 1
		for n < len(sections) && sections[n].facts.keeps() == sections[0].facts.keeps() {
			n++
		}
		bundles = append(bundles, packEvenly(sections[:n], bundleBytes)...)
		sections = sections[n:]
	}
	return bundles
}

// packEvenly makes as many bundles as bundleBytes goes into the whole, rounded, and of about one size: a section goes where its
// middle lies. Filling one bundle after the other would leave the room of half a section in each, a quarter of all where few
// partitions are written to, and the store asks a price for each request.
func packEvenly(sections []*section, bundleBytes int64) (bundles []*bundle) {
	total := int64(0)
	for _, s := range sections {
		total += s.bytes
	}
	count := max(1, (total+bundleBytes/2)/bundleBytes)
	last, before := int64(-1), int64(0)
	for _, s := range sections {
		at := (before + s.bytes/2) * count / max(total, 1)
		before += s.bytes
		if n := len(bundles); at != last || len(bundles[n-1].sections) >= sectionsPerBundleMax {
			bundles = append(bundles, &bundle{})
			last = at
		}
		b := bundles[len(bundles)-1]
		b.sections = append(b.sections, s)
	}
	return bundles
}

// plan cuts what is persisted and uncommitted of one partition into sections and marks it
// busy; nil if there is nothing or another pass has it. rest says that limits left batches out.
func (p *partition) plan(sectionBytesMax int64, sectionsMax, batchesMax int) (sections []*section, rest bool) {
	p.mu.Lock()
	if p.status != serving || p.flush.busy || p.committed >= p.persisted {
		p.mu.Unlock()
		return nil, false
	}
	sections, rest = p.cutLocked(sectionBytesMax, sectionsMax, batchesMax)
	if sections == nil {
		p.mu.Unlock()
		return nil, rest
	}
	p.flush.busy = true
	producers, stateEnd := p.flush.producers.Clone(), p.flush.stateEnd
	epochs := slices.Clone(p.epochs)
	base, baseBytes := p.flush.base, p.flush.baseBytes
	p.mu.Unlock()
	for _, s := range sections {
		for i := range s.batches {
			if b := &s.batches[i]; b.end > stateEnd {
				producers.Apply(b.state())
				stateEnd = b.end
			}
		}
		state := &pstate.State{End: s.end(), LogStart: s.logStart, Epochs: epochHistoryAt(epochs, s.end()), Producers: producers}
		s.state, s.isBase = encodeState(state, base.Object == 0, baseBytes)
		if s.isBase {
			base = catalog.StateRef{} // until it is committed, later sections write bases too
		}
		s.base = base
	}
	return sections, rest
}

// cutLocked copies the persisted, uncommitted batches (E18, E26), cut where incarnation or epoch changes and at a size.
func (p *partition) cutLocked(sectionBytesMax int64, sectionsMax, batchesMax int) (sections []*section, rest bool) {
	facts := p.facts.Load()
	for i := p.log.search(p.committed); i < p.log.len() && p.log.at(i).end <= p.persisted; { // E26
		if batchesMax == 0 || len(sections) == sectionsMax {
			return sections, true
		}
		first := p.log.at(i)
		s := &section{p: p, facts: facts, logStart: p.logStart, source: first.source, epoch: first.epoch}
		from := i
		for ; i < p.log.len() && i-from < batchesMax; i++ {
			b := p.log.at(i)
			if b.end > p.persisted || b.source != s.source || b.epoch != s.epoch || i > from && s.bytes+int64(b.size) > sectionBytesMax {
				break
			}
			s.bytes += int64(b.size)
		}
		s.batches = p.log.copy(from, i)
		batchesMax -= i - from
		sections = append(sections, s)
	}
	return sections, false
}

// deltaFloor is how large a delta may be whatever the size of its base.
const deltaFloor = 512

// encodeState writes a delta, or a base when one is due: deltas have outgrown half of it (E11).
func encodeState(s *pstate.State, wantBase bool, baseBytes int) (block []byte, isBase bool) {
	if !wantBase {
		block = pstate.EncodeDelta(nil, s)
		if len(block) <= max(deltaFloor, baseBytes/2) {
			return block, false
		}
	}
	return pstate.EncodeBase(nil, s), true
}

// upload puts all bundles into the bucket, several at a time.
func (e *Engine) upload(ctx context.Context, bundles []*bundle) error {
	var wg sync.WaitGroup
	slots := make(chan struct{}, e.cfg.UploadParallel)
	errs := make([]error, len(bundles))
	for i, b := range bundles {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			err := e.retry(ctx, "upload bundle", func(ctx context.Context) error { return e.uploadOne(ctx, b) })
			errs[i] = errors.Join(err, b.lost)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// uploadOne makes one attempt. After an outcome in doubt the next attempt takes a new id.
func (e *Engine) uploadOne(ctx context.Context, b *bundle) error {
	if b.id == 0 {
		id, err := e.objects.next(ctx)
		if err != nil {
			return err
		}
		b.id = id
	}
	if err := e.build(b); err != nil {
		b.sections, b.lost = nil, errors.Join(b.lost, fmt.Errorf("%w: %w", errLost, err))
	}
	if len(b.sections) == 0 {
		return nil
	}
	body := bucket.Body{Parts: b.built.Parts, CRC32C: b.built.CRC32C, PartCRCs: b.built.PartCRCs}
	err := e.deps.Bucket.Create(ctx, e.objectKey(b.id, e.incarnation, object.KindBundle), body)
	b.built.Parts, b.built.PartCRCs = nil, nil // lets go of the batches; built again for another attempt
	var damaged *bucket.DamagedPartError
	if errors.As(err, &damaged) {
		err = b.distrust(body.Parts[damaged.Part], err)
	}
	if err != nil {
		if !errors.Is(err, bucket.ErrUnavailable) && !errors.Is(err, bucket.ErrDenied) {
			b.id = 0 // taken, or in doubt: abandoned (E28, I3)
		}
		return fmt.Errorf("create bundle: %w", err)
	}
	b.uploaded = true
	e.meter.uploaded(b.built.Bytes)
	return nil
}

// distrust forgets a batch whose bytes in memory are not any more those that were placed: the next attempt, and whoever
// reads it, takes it from the WAL, where it has its checksum.
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

// errLost says that batches are not where they should be: the deletion of their topic or the
// log start was faster, or they are damaged. To try the same again would not end; the flush is planned anew.
var errLost = errors.New("batches could not be read from the write-ahead log")

// build lays a bundle out. A section that cannot be read is left out, so that it keeps nothing else from the bucket.
func (e *Engine) build(b *bundle) error {
	w := object.NewBundle(object.Header{
		ClusterID: e.deps.Catalog.ClusterID(), Generation: e.incarnation.Generation(), Object: b.id, Incarnation: e.incarnation,
	})
	var kept []*section
	for _, s := range b.sections {
		refs, err := s.refs()
		if err != nil {
			b.lost = errors.Join(b.lost, fmt.Errorf("%w: %w", errLost, err))
			continue
		}
		kept = append(kept, s)
		if _, err := w.AddSection(object.Section{
			Topic: s.p.id.Topic, Name: s.facts.topic.Name, Creation: s.facts.topic.Creation,
			Partition: s.p.id.Index, PartitionCount: int32(len(s.facts.topic.Partitions)), ReplicationFactor: s.facts.topic.ReplicationFactor,
			Configs: s.facts.topic.Configs, LogStart: s.logStart,
			Incarnation: s.source.incarnation, Epoch: s.epoch, Start: s.start(), End: s.end(), WALEnd: s.walEnd(),
			Batches: refs, State: s.state, StateEnd: s.end(), Base: s.base,
		}); err != nil {
			return fmt.Errorf("section of %s: %w", s.p.id, err)
		}
	}
	b.sections = kept
	if len(kept) == 0 {
		return nil
	}
	built, err := w.Finish()
	b.built = built
	return err
}

// refs returns the section's batches, from memory or read from the WAL.
func (s *section) refs() ([]object.BatchRef, error) {
	refs := make([]object.BatchRef, len(s.batches))
	for i := range s.batches {
		b := &s.batches[i]
		bytes, err := b.load()
		if err != nil {
			return nil, fmt.Errorf("[%d,%d) of %s: %w", b.start, b.end, s.p.id, err)
		}
		refs[i] = object.BatchRef{Bytes: bytes, Start: b.start, End: b.end, MaxTimestamp: b.maxTimestamp, CRC: b.crc}
	}
	return refs, nil
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

// commitAll commits bundles in order, as many to a command as its size allows.
func (e *Engine) commitAll(ctx context.Context, bundles []*bundle) error {
	for len(bundles) > 0 {
		n, sections := 0, 0
		for n < len(bundles) && (n == 0 || sections+len(bundles[n].sections) <= sectionsPerCommitMax) {
			sections += len(bundles[n].sections)
			n++
		}
		if err := e.commit(ctx, bundles[:n]); err != nil {
			return err
		}
		bundles = bundles[n:]
	}
	return nil
}

// errRefused sends a flush back to planning (E28).
var errRefused = errors.New("the quorum refused part of a commit")

// commit makes bundles live and publishes what waited for it.
func (e *Engine) commit(ctx context.Context, bundles []*bundle) error {
	c := catalog.Commit{Incarnation: e.incarnation}
	for _, b := range bundles {
		c.Bundles = append(c.Bundles, e.commitBundle(b))
	}
	result, err := e.propose(ctx, c)
	if err != nil {
		return err
	}
	refused := 0
	for i, b := range bundles {
		for j, s := range b.sections {
			switch v := result.Verdicts[i][j]; v {
			case catalog.Committed:
				acknowledge(e.committed(s, &c.Bundles[i].Ranges[j]))
			case catalog.Void: // the topic's deletion or the log start has told the partition already
			default:
				refused++
				acknowledge(e.reconcile(s.p))
			}
		}
	}
	if refused > 0 {
		return fmt.Errorf("%w: %d ranges", errRefused, refused)
	}
	return nil
}

// propose numbers a commit and repeats it under its number until the outcome is known (E28). Where
// the caller gave up before that, the next commit first waits until the last is settled.
func (e *Engine) propose(ctx context.Context, c catalog.Commit) (catalog.CommitResult, error) {
	if err := e.commitTurn.take(ctx); err != nil {
		return catalog.CommitResult{}, err
	}
	defer e.commitTurn.give()
	if e.commitInDoubt {
		if err := e.deps.Catalog.Barrier(ctx); err != nil {
			return catalog.CommitResult{}, err
		}
		e.commitInDoubt = false
	}
	c.Number = e.deps.Catalog.LastCommit(e.incarnation) + 1
	var result catalog.CommitResult
	var refusal error
	err := e.retry(ctx, "commit", func(ctx context.Context) (err error) {
		result, err = e.deps.Catalog.Commit(ctx, c)
		if errors.Is(err, catalog.ErrUnavailable) {
			e.commitInDoubt = true
			return err
		}
		e.commitInDoubt = false
		refusal = err
		return nil
	})
	if errors.Is(refusal, catalog.ErrFenced) {
		e.fail(fmt.Errorf("commit: %w", refusal)) // I4
	}
	return result, errors.Join(err, refusal)
}

// reconcile follows the quorum where a commit was refused: perhaps an earlier one,
// whose outcome nobody waited for, has moved the committed end.
func (e *Engine) reconcile(p *partition) []ack {
	head, ok := e.deps.Catalog.Head(p.id)
	if !ok {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status == gone {
		return nil
	}
	p.forgetBaseLocked() // the head's is not known for certain, and may be why it was refused
	if !p.advanceCommittedLocked(head.CommittedEnd, e.uncount) {
		return nil
	}
	if p.facts.Load().afterCommit {
		return p.showLocked(nil, max(p.hw, p.committed))
	}
	return nil
}

// forgetBaseLocked makes the next section and the next record write bases.
func (p *partition) forgetBaseLocked() {
	p.flush.base = catalog.StateRef{}
	p.flush.walBase = false
}

// committed takes note of a range that is live, and shows what waited for it.
func (e *Engine) committed(s *section, r *catalog.CommitRange) []ack {
	p := s.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status == gone {
		return nil
	}
	p.advanceCommittedLocked(s.end(), e.uncount)
	switch {
	case !s.isBase:
	case p.flush.stateEnd == s.end():
		p.flush.base, p.flush.baseBytes = r.State, len(s.state)
		p.flush.producers.MarkBase()
		p.flush.walBase = false
	default: // log start was faster (E12): a delta on this base would miss what lies between
		p.forgetBaseLocked()
	}
	if p.facts.Load().afterCommit {
		return p.showLocked(nil, max(p.hw, p.committed))
	}
	return nil
}

// commitBundle says what a bundle makes live.
func (e *Engine) commitBundle(b *bundle) catalog.CommitBundle {
	out := catalog.CommitBundle{Object: b.id, Bytes: b.built.Bytes}
	for i, s := range b.sections {
		ref := &b.built.Sections[i]
		out.Ranges = append(out.Ranges, catalog.CommitRange{
			Partition: s.p.id, Range: ref.Range, WALEnd: s.walEnd(), State: ref.State, Base: s.base,
		})
	}
	return out
}
