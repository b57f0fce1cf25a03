package storage

import (
	"context"
	"testing"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage/object"
)

// Section is what readers know of a range.
func (e *Engine) Section(ctx context.Context, tp ident.TopicPartition, r *catalog.Range) (*object.SectionInfo, error) {
	return e.section(ctx, tp, r)
}

// PlaceAdmitted is Append for a request that nothing refused before it was placed.
func (e *Engine) PlaceAdmitted(req *AppendRequest) {
	req.pending.waiting.Store(1)
	parts := e.resolve(req)
	locked := lockInOrder(parts)
	e.place(req, parts)
	for _, p := range locked {
		p.mu.Unlock()
	}
	req.settle()
}

// TestRetentionDropsInOrder: what was committed after the unflushed batches were listed stands in both lists or is missing in
// neither: nothing young is skipped on the way to something old.
func TestRetentionDropsInOrder(t *testing.T) {
	head := &catalog.Head{CommittedEnd: 20, Ranges: []catalog.Range{
		{Start: 0, End: 10, Bytes: 100, MaxTimestamp: 1}, {Start: 10, End: 20, Bytes: 100, MaxTimestamp: 9},
	}}
	unflushed := []batch{{start: 20, end: 30, size: 100, maxTimestamp: 1}}
	for name, c := range map[string]struct {
		r    retention
		want ident.Offset
	}{
		"by time": {retention{expiredBelow: 5, bytesMax: -1}, 10},
		"by size": {retention{expiredBelow: -1, bytesMax: 200}, 10},
		"nothing": {retention{expiredBelow: -1, bytesMax: 300}, 0},
		"all":     {retention{expiredBelow: 10, bytesMax: -1}, 30},
	} {
		got, err := new(Engine).retained(t.Context(), head, unflushed, 30, c.r)
		if err != nil || got != c.want {
			t.Errorf("%s: log start %d, %v; want %d", name, got, err, c.want)
		}
	}
}
