package client

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// ends knows how far the partitions were read, and where -e stops.
type ends struct {
	positions map[partition]int64 // of the next record to read; may be set before the end is known
	ends      map[partition]int64
	known     bool // it is known which partitions exist
}

func newEnds() *ends {
	return &ends{positions: make(map[partition]int64), ends: make(map[partition]int64)}
}

// set fixes the end of a partition. What was read meanwhile counts.
func (e *ends) set(p partition, position, end int64) {
	e.at(p, position)
	e.ends[p] = end
	e.known = true
}

// at moves forward to a position.
func (e *ends) at(p partition, position int64) {
	e.positions[p] = max(e.positions[p], position)
}

func (e *ends) forget(p partition) {
	delete(e.positions, p)
	delete(e.ends, p)
}

// beyond reports that an offset came after the end was fixed.
func (e *ends) beyond(p partition, offset int64) bool {
	end, ok := e.ends[p]
	return ok && offset >= end
}

func (e *ends) reached() bool {
	_, missing := e.missing()
	return e.known && !missing
}

// missing returns the first partition that was not read to its end.
func (e *ends) missing() (p partition, missing bool) {
	for _, p := range slices.SortedFunc(maps.Keys(e.ends), comparePartitions) {
		if e.positions[p] < e.ends[p] {
			return p, true
		}
	}
	return p, false
}

// membership follows what a group gives to this member. The client calls assigned, revoked and lost
// on its own goroutine, and never while the result of a poll is being processed. prepare takes over
// what they note.
type membership struct {
	*reader

	mu    sync.Mutex
	fresh []partition
	gone  []partition
	heard bool // of an assignment, even an empty one
}

func (m *membership) assigned(_ context.Context, _ *kgo.Client, assigned map[string][]int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fresh, m.heard = append(m.fresh, partitionList(assigned)...), true
}

// revoked commits what was printed, before others continue from there.
func (m *membership) revoked(ctx context.Context, client *kgo.Client, revoked map[string][]int32) {
	// If the commit fails, the next reader prints records again.
	_ = client.CommitMarkedOffsets(ctx)
	m.lost(ctx, client, revoked)
}

func (m *membership) lost(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gone = append(m.gone, partitionList(lost)...)
}

func partitionList(m map[string][]int32) []partition {
	var list []partition
	for t, numbers := range m {
		for _, n := range numbers {
			list = append(list, partition{t, n})
		}
	}
	return list
}

// prepare fixes where -e ends for new partitions, and forgets those that are gone.
func (m *membership) prepare(ctx context.Context) error {
	m.mu.Lock()
	fresh, gone, heard := m.fresh, m.gone, m.heard
	m.fresh, m.gone = nil, nil
	m.mu.Unlock()
	if !m.options.exitAtEnd {
		return nil
	}
	for _, p := range gone {
		m.ends.forget(p)
	}
	m.ends.known = heard
	if len(fresh) == 0 {
		return nil
	}
	ctx, cancel := m.session.within(ctx)
	defer cancel()
	return m.session.explain(m.fix(ctx, fresh))
}

func (m *membership) fix(ctx context.Context, fresh []partition) error {
	places, err := m.session.find(ctx, m.from, fresh, m.endOffsets())
	if err != nil {
		return err
	}
	committed, err := m.session.committed(ctx, m.options.group)
	if err != nil {
		return err
	}
	for _, p := range fresh {
		position := places[p].offset
		if at, ok := committed[p]; ok {
			position = at
		}
		m.ends.set(p, position, places[p].end)
	}
	return nil
}
