package storage

import (
	"time"

	"github.com/sluicemq/sluice/ident"
)

const (
	// timelineSamples takes 1 KiB a partition. In a partition that has been busy for a week, a gap
	// between samples is up to a third of its age.
	timelineSamples = 64
	timelineStep    = time.Second
)

// timeline remembers when a partition's offsets became durable, more coarsely the longer ago. Times
// count from when the engine opened.
type timeline struct {
	// next is when the next sample may be taken, so almost every call returns without reading the
	// samples.
	next    time.Duration
	samples []timeSample // by offset and time
}

// timeSample says when a batch that begins at offset became durable.
type timeSample struct {
	offset ident.Offset
	at     time.Duration
}

// note takes a sample if the last one is old enough. Nobody asks for offsets below logStart any
// more.
func (t *timeline) note(offset ident.Offset, now time.Duration, logStart ident.Offset) {
	if now < t.next {
		return
	}
	if len(t.samples) == timelineSamples {
		t.thin(now, logStart)
	}
	t.next = now + timelineStep
	t.samples = append(t.samples, timeSample{offset, now})
}

// thin removes the samples that nobody can ask for, or else the sample whose removal leaves the
// smallest gap for its age. The first sample stays, so that every offset after it has a time.
func (t *timeline) thin(now time.Duration, logStart ident.Offset) {
	useless := 0
	for useless+1 < len(t.samples) && t.samples[useless+1].offset <= logStart {
		useless++
	}
	if useless > 0 {
		t.samples = t.samples[:copy(t.samples, t.samples[useless:])]
		return
	}
	least, leastGap := 1, 2.0
	for i := 1; i < len(t.samples)-1; i++ {
		before, after := t.samples[i-1].at, t.samples[i+1].at
		if gap := float64(after-before) / float64(now-before); gap < leastGap {
			least, leastGap = i, gap
		}
	}
	t.samples = append(t.samples[:least], t.samples[least+1:]...)
}

// at returns the earliest time at which offset may have become durable, or false if offset lies
// before the first sample.
func (t *timeline) at(offset ident.Offset) (time.Duration, bool) {
	for i := len(t.samples) - 1; i >= 0; i-- {
		if t.samples[i].offset <= offset {
			return t.samples[i].at, true
		}
	}
	return 0, false
}
