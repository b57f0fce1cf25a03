package storage

import (
	"context"
	"testing"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage/object"
)

// Section returns what readers know about a range.
func (e *Engine) Section(ctx context.Context, tp ident.TopicPartition, r *catalog.Range) (*object.SectionInfo, error) {
	return e.cold.section(ctx, tp, r)
}

// PlaceAdmitted is Append for a request that was not refused before it is placed.
func (e *Engine) PlaceAdmitted(req *AppendRequest) {
	req.pending.waiting.Store(1)
	parts := e.resolve(req)
	locked := lockInOrder(req, parts)
	e.place(req, parts)
	for _, p := range locked {
		p.mu.Unlock()
	}
	req.settle()
}

// TestRetentionDropsInOrder: batches that were committed after the head was read are neither
// counted nor skipped. No young batch goes because an old one behind it is due, and no size counts
// twice against a partition.
func TestRetentionDropsInOrder(t *testing.T) {
	head := &catalog.Head{CommittedEnd: 20, Ranges: []catalog.Range{
		{Start: 0, End: 10, Bytes: 100, MaxTimestamp: 1}, {Start: 10, End: 20, Bytes: 100, MaxTimestamp: 9},
	}}
	byTime, bySize := retention{expiredBelow: 5, bytesMax: -1}, retention{expiredBelow: -1, bytesMax: 200}
	all, none := retention{expiredBelow: 10, bytesMax: -1}, retention{expiredBelow: -1, bytesMax: 300}
	nothingLeft := retention{expiredBelow: -1, bytesMax: 0}
	for name, c := range map[string]struct {
		r             retention
		committed, hw ident.Offset
		want          ident.Offset
	}{
		"by time":                   {byTime, 20, 30, 10},
		"by size":                   {bySize, 20, 30, 10},
		"nothing":                   {none, 20, 30, 0},
		"all":                       {all, 20, 30, 30},
		"the engine is behind":      {bySize, 10, 30, 10},
		"the engine is far behind":  {none, 0, 30, 0},
		"the head is behind":        {all, 30, 30, 20},
		"the head is behind, size":  {bySize, 30, 30, 0},
		"the head is behind, young": {all, 30, 40, 20},
		"more is shown":             {none, 20, 40, 10},
		"more is shown, all goes":   {nothingLeft, 20, 40, 40},
		"class object":              {bySize, 20, 20, 0},
	} {
		p := &partition{committed: c.committed, hw: c.hw, persisted: 40, end: 40}
		for start := c.committed; start < 40; start += 10 {
			timestamp := int64(1)
			if start == 10 {
				timestamp = 9
			}
			p.log.push(batch{start: start, end: start + 10, size: 100, maxTimestamp: timestamp})
			p.unflushed += 100
		}
		got, err := new(retainer).retained(t.Context(), head, p, c.r)
		if err != nil || got != c.want {
			t.Errorf("%s: log start %d, %v; want %d", name, got, err, c.want)
		}
	}
}
