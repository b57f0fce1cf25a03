package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sluicemq/sluice/catalog"
)

// This file is the step "commit": the quorum judges what was uploaded, and partitions follow its
// verdicts.

// sectionsPerCommitMax keeps the command of a commit under 1 MiB.
const sectionsPerCommitMax = 3000

// errRefused sends a flush back to planning (E28).
var errRefused = errors.New("the quorum refused part of a commit")

// commitAll commits bundles in order. Each command carries as many bundles as its size allows.
func (f *flusher) commitAll(ctx context.Context, bundles []*bundle) error {
	// judged holds the partitions whose first refusal was looked into; only the first tells the
	// reason.
	var judged []*partition
	for _, b := range bundles {
		for _, l := range b.lost { // the sections that follow a lost one will be refused
			judged = append(judged, l.section.p)
		}
	}
	for len(bundles) > 0 {
		n, sections := 0, 0
		for n < len(bundles) && (n == 0 || sections+len(bundles[n].sections) <= sectionsPerCommitMax) {
			sections += len(bundles[n].sections)
			n++
		}
		if err := f.commit(ctx, bundles[:n], &judged); err != nil {
			return err
		}
		bundles = bundles[n:]
	}
	return nil
}

// commit makes bundles live and publishes the batches that waited for them.
func (f *flusher) commit(ctx context.Context, bundles []*bundle, judged *[]*partition) error {
	c := catalog.Commit{Incarnation: f.incarnation}
	for _, b := range bundles {
		c.Bundles = append(c.Bundles, b.toCommit())
	}
	result, err := f.propose(ctx, c)
	if err != nil {
		return err
	}
	refused := 0
	for i, b := range bundles {
		for j, s := range b.sections {
			switch v := result.Verdicts[i][j]; v {
			case catalog.Committed:
				acknowledge(f.committed(s, &c.Bundles[i].Ranges[j]))
			case catalog.Void:
				f.follow(s.p) // follows the deletion of its topic, or its log start
			default:
				refused++
				// The ranges that follow a refused one are refused only because of it.
				if !slices.Contains(*judged, s.p) {
					*judged = append(*judged, s.p)
					f.refused(s, result.Reasons[i][j])
				}
			}
		}
	}
	if refused > 0 {
		return fmt.Errorf("%w: %d ranges", errRefused, refused)
	}
	return nil
}

// propose numbers a commit and repeats it under its number until the outcome is known (E28). If the
// caller gives up before that, the next commit first waits until the outcome of the last one is
// known.
func (f *flusher) propose(ctx context.Context, c catalog.Commit) (catalog.CommitResult, error) {
	if err := f.commitTurn.take(ctx); err != nil {
		return catalog.CommitResult{}, err
	}
	defer f.commitTurn.give()
	if f.commitInDoubt {
		if err := f.deps.Catalog.Barrier(ctx); err != nil {
			return catalog.CommitResult{}, err
		}
		f.commitInDoubt = false
	}
	c.Number = f.deps.Catalog.LastCommit(f.incarnation) + 1
	var result catalog.CommitResult
	var refusal error
	err := f.retry(ctx, "commit", func(ctx context.Context) (err error) {
		result, err = f.deps.Catalog.Commit(ctx, c)
		if errors.Is(err, catalog.ErrUnavailable) {
			f.commitInDoubt = true
			return err
		}
		f.commitInDoubt = false
		refusal = err
		return nil
	})
	if errors.Is(refusal, catalog.ErrFenced) {
		f.fail(fmt.Errorf("commit: %w", refusal)) // I4
	}
	return result, errors.Join(err, refusal)
}

// follow takes over what the quorum's head says where a commit came out other than planned: the log
// start, the topic's deletion, or an earlier commit whose outcome nobody waited for. It does not
// depend on a notification from the quorum. It reports whether the partition learnt something new.
func (f *flusher) follow(p *partition) (moved bool) {
	head, ok := f.deps.Catalog.Head(p.id)
	if !ok {
		if _, ok := f.deps.Catalog.Topic(p.id.Topic); !ok {
			f.topicDeleted(p.id.Topic)
		}
		return true
	}
	moved, freed := f.followHead(p, &head)
	acknowledge(freed)
	return moved
}

func (f *flusher) followHead(p *partition, head *catalog.Head) (moved bool, freed []ack) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status.ended() {
		return true, nil
	}
	// The head's base is not known for certain, and may be why the section was refused.
	p.forgetBaseLocked()
	if p.moveLogStartLocked(head.LogStart) {
		moved = true
		p.wakeLocked()
	}
	if p.advanceCommittedLocked(head.CommittedEnd, f.budget.uncount) {
		moved = true
	}
	return moved, p.showLocked(nil, max(p.hw, p.committed)) // the most that any class asks for
}

// committed notes that a range is live, and shows the batches that waited for it.
func (f *flusher) committed(s *section, r *catalog.CommitRange) []ack {
	p := s.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status.ended() {
		return nil
	}
	p.advanceCommittedLocked(s.end(), f.budget.uncount)
	p.stuck, p.flush.trouble = false, nil
	switch {
	case !s.isBase:
	case p.flush.stateEnd == s.end():
		p.flush.base, p.flush.baseBytes = r.State, int32(len(s.state))
		p.flush.producers.MarkBase()
		p.flush.walBase = false
	default: // the log start moved first (E12): a delta on this base would miss what lies between
		p.forgetBaseLocked()
	}
	return p.showLocked(nil, max(p.hw, p.committed)) // the most that any class asks for
}

// forgetBaseLocked makes the next section and the next record write bases.
func (p *partition) forgetBaseLocked() {
	p.flush.base = catalog.StateRef{}
	p.flush.walBase = false
}

// toCommit returns the part of the commit command that makes a bundle live.
func (b *bundle) toCommit() catalog.CommitBundle {
	out := catalog.CommitBundle{Object: b.id, Bytes: b.built.Bytes}
	for i, s := range b.sections {
		ref := &b.built.Sections[i]
		out.Ranges = append(out.Ranges, catalog.CommitRange{
			Partition: s.p.id, Range: ref.Range, WALEnd: s.walEnd(), State: ref.State, Base: s.base,
		})
	}
	return out
}
