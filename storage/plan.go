package storage

import (
	"fmt"
	"slices"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/storage/pstate"
)

// This file is the step "plan": persisted, uncommitted batches become sections, and sections become
// bundles. Nothing here does I/O.

const (
	// sectionsPerBundleMax keeps a bundle's part of the command under catalog.CommitPartBytesMax
	// (E17).
	sectionsPerBundleMax = 1500
	passBytesMax         = 256 << 20 // one pass plans at most this much
	passBatchesMax       = 256 << 10 // and this many batches; the next pass takes the rest
)

// plan is what one pass is going to move.
type plan struct {
	bundles []*bundle
	chosen  []*partition // busy until the pass ends
	crowded []*partition // have something to flush and no room for it in their heads
	count   int          // number of batches
	more    bool         // the limits left some batches out
}

// plan plans bundles and marks the partitions that it chose.
func (f *flusher) plan(parts []*partition) (pass plan) {
	parts = slices.Clone(parts)
	slices.SortFunc(parts, func(a, b *partition) int { return a.id.Compare(b.id) })
	parts = keepersFirst(parts)
	var sections []*section
	bytes := int64(0)
	for _, p := range parts {
		if bytes >= passBytesMax || pass.count >= passBatchesMax {
			pass.more = true
			break
		}
		cut, rest := f.planPartition(p, &pass)
		pass.more = pass.more || rest
		if cut == nil {
			continue
		}
		pass.chosen = append(pass.chosen, p)
		for _, s := range cut {
			pass.count += len(s.batches)
			bytes += s.bytes
		}
		sections = append(sections, cut...)
	}
	pass.bundles = pack(sections, f.cfg.FlushBytes)
	return pass
}

// planPartition plans as many sections of a partition as its head has room for, and none that the
// quorum would refuse: what cannot be committed is not uploaded.
func (f *flusher) planPartition(p *partition, pass *plan) (cut []*section, rest bool) {
	if !p.flushable() {
		return nil, false
	}
	head, ok := f.deps.Catalog.Head(p.id)
	if !ok {
		f.follow(p)
		return nil, false
	}
	room := catalog.RangesPerHeadMax - max(len(head.Ranges), f.cfg.ManifestAt)
	if room <= 0 {
		pass.crowded = append(pass.crowded, p)
		return nil, false
	}
	cut, rest = p.plan(f.cfg.FlushBytes, room, passBatchesMax-pass.count)
	if cut == nil {
		return nil, rest
	}
	reason := foresee(&head, cut[0])
	if reason == 0 {
		return cut, rest
	}
	release([]*partition{p})
	// The partition is planned again with what it has learnt, or with what has changed since the
	// head was read.
	moved := f.follow(p) || f.headMoved(&head)
	if !moved {
		f.note(p, trouble{reason: reason.String(), at: cut[0].start(), head: head,
			err: fmt.Errorf("the quorum would refuse [%d,%d): committed up to %d, log start %d", cut[0].start(), cut[0].end(), head.CommittedEnd, head.LogStart)}, false)
	}
	return nil, moved
}

// headMoved reports whether the quorum would judge a range by another head now.
func (f *flusher) headMoved(head *catalog.Head) bool {
	now, ok := f.deps.Catalog.Head(head.Partition)
	return !ok || now.LogStart != head.LogStart || now.CommittedEnd != head.CommittedEnd ||
		now.Leader != head.Leader || !slices.Equal(now.Past, head.Past)
}

// flushable reports whether a partition has batches that may go to the bucket.
func (p *partition) flushable() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status == leading && !p.stuck && !p.flush.busy && p.committed < p.persisted
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

// plan cuts the persisted, uncommitted batches of one partition into sections and marks the
// partition busy. sections is nil if there is nothing to flush or another pass has the partition.
// rest says that limits left batches out.
func (p *partition) plan(sectionBytesMax int64, sectionsMax, batchesMax int) (sections []*section, rest bool) {
	p.mu.Lock()
	if p.status != leading || p.stuck || p.flush.busy || p.committed >= p.persisted {
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
			// Until this base is committed, later sections write bases too.
			base = catalog.StateRef{}
		}
		s.base = base
	}
	return sections, rest
}

// cutLocked copies the persisted, uncommitted batches (E18, E26) into sections. It begins a new
// section where incarnation or epoch changes and where a section is full.
func (p *partition) cutLocked(sectionBytesMax int64, sectionsMax, batchesMax int) (sections []*section, rest bool) {
	facts := p.facts.Load()
	for i := p.log.search(p.committed); i < p.log.len() && p.log.at(i).end <= p.persisted; { // E26
		if batchesMax == 0 || len(sections) == sectionsMax {
			return sections, true
		}
		first := p.log.at(i)
		s := &section{p: p, facts: facts, logStart: p.logStart, source: first.source, epoch: first.under}
		from := i
		for ; i < p.log.len() && i-from < batchesMax; i++ {
			b := p.log.at(i)
			if b.end > p.persisted || b.source != s.source || b.under != s.epoch || i > from && s.bytes+int64(b.size) > sectionBytesMax {
				break
			}
			s.bytes += int64(b.size)
		}
		s.batches, s.number = p.log.copy(from, i), p.log.first+int64(from)
		s.letGo() // until the section is built, since a pass may plan more than the hot tail holds
		batchesMax -= i - from
		sections = append(sections, s)
	}
	return sections, false
}

// deltaFloor is the size that a delta may always have, however small its base.
const deltaFloor = 512

// encodeState writes a delta, or a base when one is due because deltas have outgrown half of the
// last base (E11).
func encodeState(s *pstate.State, wantBase bool, baseBytes int32) (block []byte, isBase bool) {
	if !wantBase {
		block = pstate.EncodeDelta(nil, s)
		if len(block) <= max(deltaFloor, int(baseBytes)/2) {
			return block, false
		}
	}
	return pstate.EncodeBase(nil, s), true
}

// pack puts sections into bundles in their order, so that a partition's sections stay in order.
// Sections that never expire get bundles of their own: otherwise a few committed offsets would keep
// megabytes of expired batches in the bucket.
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

// packEvenly makes bundles of about equal size. Their number is the total divided by bundleBytes,
// rounded, and a section goes into the bundle in which its middle lies. Filling one bundle after
// the other would waste the room of half a section in each, which is a quarter of all where few
// partitions are written to, and the store charges for each request.
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
