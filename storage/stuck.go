package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/wal"
)

// A partition is stuck when its batches cannot go to the bucket for a reason that lies in this
// partition alone: its head is full because its manifest cannot be read, the quorum refuses its
// ranges, or a batch cannot be read from the log. Such a partition must hurt no other:
//
//   - None of its batches are uploaded any more, since none could be committed.
//   - Produce to it is refused (ErrStuck), so that its uncommitted batches do not grow. Reading
//     goes on.
//   - Its batches are carried forward in the log (carry.go), so that the log can be trimmed.
//   - recheck looks every minute whether the reason is gone, and at once when the log start moves.
//
// A reason that may pass by itself, such as a bucket that does not answer, is only trouble at
// first. The partition becomes stuck if the trouble lasts for a minute in which the bucket has
// taken bundles of other partitions. docs/operations.md tells operators the way out, and
// docs/decisions/0020-stuck-partitions.md explains why.

const (
	stuckAfter = time.Minute // from the first trouble that may pass by itself
	stuckEvery = time.Minute // between two looks at what is stuck
	stuckLines = 10          // partitions that are logged one by one until the next look
)

// These are the reasons for trouble beside those of package catalog.
const (
	reasonUnreadable = "unreadable in the write-ahead log"
	reasonTooLarge   = "too large for an object"
)

// trouble is why a partition's batches do not go to the bucket. partition.mu guards it, and it
// never changes once it is noted.
type trouble struct {
	reason string
	err    error
	since  time.Time
	at     ident.Offset // start of the range that cannot be committed
	head   catalog.Head // the head by which the range was judged
	lost   *batch       // the batch that cannot be read; nil if that is not the reason
	// unshown says that the range lies above the high watermark, as with class object, so that no
	// log start can pass it.
	unshown bool
	// uploads is how many bundles the bucket had taken at that time. If it has taken more since,
	// the bucket is not down.
	uploads int64
}

var headFull = catalog.ReasonHeadFull.String()

// note records why a partition's batches do not go to the bucket. If the reason is certain, or has
// lasted while the bucket took other bundles, the partition is stuck from now on.
func (f *flusher) note(p *partition, t trouble, certain bool) {
	now := f.deps.Now()
	t.since, t.uploads = now, f.uploads.Load()
	p.mu.Lock()
	if p.status.ended() {
		p.mu.Unlock()
		return
	}
	t.unshown = t.lost != nil && t.lost.end > p.hw
	old := p.flush.trouble
	if old != nil && old.reason == t.reason {
		t.since, t.uploads = old.since, old.uploads
	}
	p.flush.trouble = &t
	stuck := !p.stuck && (certain || now.Sub(t.since) >= stuckAfter && f.uploads.Load() > t.uploads)
	p.stuck = p.stuck || stuck
	bytes := p.unflushed
	p.mu.Unlock()
	switch {
	case stuck:
		if f.stuckLogged.Add(1) <= stuckLines {
			f.log.Error("partition is stuck: nothing of it goes to the bucket, and Produce to it is refused",
				"topic", p.facts.Load().topic.Name, "partition", p.id.Index, "reason", t.reason, "err", t.err,
				"unflushed_bytes", bytes, "remedy", t.remedy())
		}
	case old == nil:
		f.log.Warn("partition cannot be flushed; trying again", "topic", p.facts.Load().topic.Name, "partition", p.id.Index,
			"reason", t.reason, "err", t.err)
	}
}

// clearTrouble forgets why a partition was stuck.
func (f *flusher) clearTrouble(p *partition) {
	p.mu.Lock()
	was := p.stuck
	p.stuck, p.flush.trouble = false, nil
	p.mu.Unlock()
	if was {
		f.log.Info("partition is not stuck any more", "topic", p.facts.Load().topic.Name, "partition", p.id.Index)
	}
	if p.class != catalog.ClassLocal && p.uncommitted() {
		f.wakeUrgent(p)
	}
}

func (p *partition) troubleNow() *trouble {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.flush.trouble
}

// foresee returns why the quorum would refuse a section as its head stands, or 0. What cannot be
// committed is not uploaded. flusher.planPartition has dealt with full heads before.
func foresee(head *catalog.Head, s *section) catalog.Reason {
	under := func(l catalog.Leadership) bool { return l.Incarnation == s.source.incarnation && l.Epoch == s.epoch }
	// cut says that the log start has moved the committed end into the section (E23).
	cut := head.CommittedEnd == head.LogStart && s.start() < head.CommittedEnd && head.CommittedEnd < s.end()
	switch {
	case s.start() != head.CommittedEnd && !cut:
		return catalog.ReasonNotNext
	case !under(head.Leader) && !slices.ContainsFunc(head.Past, under):
		return catalog.ReasonFenced
	case s.source.sealed != nil && s.walEnd() > s.source.sealed.End():
		return catalog.ReasonBeyondTail
	}
	return 0
}

// refused lets the reason of a refusal decide what happens to the partition. It follows the head in
// any case. If that changes what is planned next, the next pass tries again. Otherwise the quorum
// would refuse the same again, and the partition is stuck.
func (f *flusher) refused(s *section, reason catalog.Reason) {
	moved := f.follow(s.p)
	switch reason {
	case catalog.ReasonNotPrepared: // the next pass takes new ids
		f.objects.giveUp()
		return
	// The next pass sees the full head, and waits until the manifest has taken ranges.
	case catalog.ReasonHeadFull:
		return
	case catalog.ReasonState:
		if !s.isBase { // the next section brings its own base
			return
		}
	}
	if moved {
		return
	}
	head, _ := f.deps.Catalog.Head(s.p.id)
	f.note(s.p, trouble{reason: reason.String(), err: fmt.Errorf("the quorum refused [%d,%d)", s.start(), s.end()), at: s.start(), head: head}, true)
}

// lose handles the sections that a pass could not lay out. It returns an error if their batches are
// to be planned again: they are in the bucket by now, or void, or may be readable the next time.
func (f *flusher) lose(bundles []*bundle) error {
	var errs []error
	for _, b := range bundles {
		for _, l := range b.lost {
			if l.again {
				errs = append(errs, fmt.Errorf("%w: %w", errLost, l.err))
				continue
			}
			t := trouble{reason: reasonTooLarge, err: l.err, at: l.section.start()}
			if l.batch != nil {
				t.reason, t.at, t.lost = reasonUnreadable, l.batch.start, l.batch
			}
			f.note(l.section.p, t, l.batch == nil || errors.Is(l.err, wal.ErrCorrupt))
			if !l.section.p.isStuck() {
				errs = append(errs, l.err)
			}
		}
	}
	return errors.Join(errs...)
}

func (p *partition) isStuck() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stuck
}

// rechecking runs recheck every minute, and when a log start moves.
func (f *flusher) rechecking() {
	ticker := time.NewTicker(stuckEvery)
	defer ticker.Stop()
	for {
		select {
		case <-f.ctx.Done():
			return
		case <-ticker.C:
			f.recheck(f.ctx)
			f.remind()
		case <-f.recheckNow:
			f.recheck(f.ctx)
		}
	}
}

// recheck releases the partitions whose trouble is over.
func (f *flusher) recheck(ctx context.Context) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, absorbParallel)
	for _, p := range f.partitions.all() {
		if p.troubleNow() == nil {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f.recheckOne(ctx, p)
		})
	}
	wg.Wait()
}

// remind logs again, in one line, what is stuck, and lets note name the next partitions.
func (f *flusher) remind() {
	f.stuckLogged.Store(0)
	if stuck := f.stuck(); len(stuck) > 0 {
		f.log.Error("partitions are stuck; see the admin address, /stuck", "count", len(stuck), "first", stuck[0].name(),
			"reason", stuck[0].Reason, "err", stuck[0].Err, "remedy", stuck[0].Remedy)
	}
}

func (f *flusher) recheckOne(ctx context.Context, p *partition) {
	f.follow(p)
	head, ok := f.deps.Catalog.Head(p.id)
	t := p.troubleNow()
	if !ok || t == nil {
		return
	}
	err := f.stillTrouble(ctx, &head, t)
	switch {
	case ctx.Err() != nil:
	case err == nil:
		f.clearTrouble(p)
	default:
		again := *t
		again.err = err
		f.note(p, again, false)
	}
}

// stillTrouble returns why the trouble lasts, or nil if it is over.
func (f *flusher) stillTrouble(ctx context.Context, head *catalog.Head, t *trouble) error {
	switch {
	case t.reason == headFull:
		return f.makeRoom(ctx, head)
	case head.CommittedEnd > t.at:
		return nil // the log start has passed it
	case t.lost != nil:
		_, err := t.lost.load()
		return err
	case head.Leader != t.head.Leader || !slices.Equal(head.Past, t.head.Past):
		return nil // the quorum judges anew
	}
	return t.err
}

// makeRoom moves ranges out of a full head into the manifest, as absorb does after a flush.
func (f *flusher) makeRoom(ctx context.Context, head *catalog.Head) error {
	if head.Manifest.Object != 0 && head.Manifest.End <= head.LogStart {
		if err := f.manifests.release(ctx, head); err != nil { // this gives a damaged manifest up
			return err
		}
	}
	if len(head.Ranges) < catalog.RangesPerHeadMax {
		return nil // the log start has passed some ranges
	}
	return f.manifests.absorb(ctx, head)
}

// certain reports whether an error of the bucket tells of damage, which does not pass by itself.
func certain(err error) bool {
	return err != nil && errors.Is(readError(err), ErrCorrupt)
}

// StuckPartition is what operators are told about a partition that is stuck.
type StuckPartition struct {
	Topic     string               `json:"topic"`
	Partition int32                `json:"partition"`
	ID        ident.TopicPartition `json:"-"`
	Reason    string               `json:"reason"`
	Err       string               `json:"error"`
	Since     time.Time            `json:"since"`
	// UnflushedBytes is what the partition holds that is not in the bucket.
	UnflushedBytes int64        `json:"unflushed_bytes"`
	LogStart       ident.Offset `json:"log_start"`
	HighWatermark  ident.Offset `json:"high_watermark"`
	Remedy         string       `json:"remedy"`
}

func (s *StuckPartition) name() string { return fmt.Sprintf("%s/%d", s.Topic, s.Partition) }

// Stuck lists the partitions that are stuck, by topic and partition.
func (e *Engine) Stuck() []StuckPartition { return e.flusher.stuck() }

func (f *flusher) stuck() (stuck []StuckPartition) {
	for _, p := range f.partitions.all() {
		if s, ok := p.stuckNow(); ok {
			stuck = append(stuck, s)
		}
	}
	slices.SortFunc(stuck, func(a, b StuckPartition) int {
		if c := strings.Compare(a.Topic, b.Topic); c != 0 {
			return c
		}
		return int(a.Partition) - int(b.Partition)
	})
	return stuck
}

func (p *partition) stuckNow() (s StuckPartition, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stuck || p.status.ended() {
		return s, false
	}
	t := p.flush.trouble
	return StuckPartition{
		Topic: p.facts.Load().topic.Name, Partition: p.id.Index, ID: p.id, Reason: t.reason, Err: t.err.Error(), Since: t.since,
		UnflushedBytes: p.unflushed, LogStart: p.logStart, HighWatermark: p.hw, Remedy: t.remedy(),
	}, true
}

// remedy says what an operator can do. docs/operations.md explains it.
func (t *trouble) remedy() string {
	deletion := "; or delete its topic"
	switch {
	case t.reason == headFull && errors.Is(t.err, bucket.ErrDenied):
		return "let the broker read and write the bucket"
	case t.reason == headFull:
		return fmt.Sprintf("bring the manifest object back; or give up what it lists: delete the partition's records below offset %d (kafka-delete-records.sh)%s", t.head.Manifest.End, deletion)
	case t.lost != nil && t.unshown:
		return "delete its topic: what is not in the bucket was not acknowledged, and cannot be deleted by offset"
	case t.lost != nil:
		return fmt.Sprintf("delete the partition's records below offset %d (kafka-delete-records.sh)%s", t.lost.end, deletion)
	case t.reason == reasonTooLarge:
		return "take away topic configurations that are not needed" + deletion
	}
	return "restart the broker; if it stays, report a bug, and delete the partition's records up to its high watermark (kafka-delete-records.sh)" + deletion
}
