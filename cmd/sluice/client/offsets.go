package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// partition names one partition.
type partition struct {
	topic  string
	number int32
}

func (p partition) String() string { return fmt.Sprintf("%s [%d]", p.topic, p.number) }

func comparePartitions(a, b partition) int {
	if c := strings.Compare(a.topic, b.topic); c != 0 {
		return c
	}
	return int(a.number) - int(b.number)
}

// selection is a topic with some of its partitions, or with all if none is named.
type selection struct {
	topic      string
	partitions []int32
}

// parseSelection reads TOPIC or TOPIC:P,P.
func parseSelection(s string) (selection, error) {
	topic, list, some := strings.Cut(s, ":")
	sel := selection{topic: topic}
	if topic == "" {
		return sel, fmt.Errorf("%q: want TOPIC or TOPIC:0,1", s)
	}
	if !some {
		return sel, nil
	}
	for _, text := range strings.Split(list, ",") {
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return sel, fmt.Errorf("%q: %q is no partition: want TOPIC or TOPIC:0,1", s, text)
		}
		sel.partitions = append(sel.partitions, int32(n))
	}
	return sel, nil
}

// partitionsOf asks the cluster which partitions a selection has. They are returned in order.
func (s *session) partitionsOf(ctx context.Context, selections []selection) ([]partition, error) {
	var names []string
	for _, sel := range selections {
		names = append(names, sel.topic)
	}
	if len(names) == 0 {
		return nil, nil
	}
	meta, err := s.admin.Metadata(ctx, names...)
	if err != nil {
		return nil, err
	}
	var all []partition
	for _, sel := range selections {
		detail := meta.Topics[sel.topic]
		if detail.Err != nil {
			return nil, topicError(sel.topic, detail.Err, "")
		}
		chosen := sel.partitions
		if len(chosen) == 0 {
			chosen = detail.Partitions.Numbers()
		}
		for _, n := range chosen {
			if _, ok := detail.Partitions[n]; !ok {
				return nil, notFound("topic %q has no partition %d: it has %s", sel.topic, n, plural(len(detail.Partitions), "partition"))
			}
			all = append(all, partition{sel.topic, n})
		}
	}
	slices.SortFunc(all, comparePartitions)
	return slices.Compact(all), nil
}

func topicsOf(parts []partition) []string {
	var names []string
	for _, p := range parts {
		if len(names) == 0 || names[len(names)-1] != p.topic {
			names = append(names, p.topic)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// listing is one of the ways to ask the cluster for offsets.
type listing func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error)

// offsets asks for one offset of each partition.
func (s *session) offsets(ctx context.Context, list listing, parts []partition) (map[partition]int64, error) {
	found := make(map[partition]int64, len(parts))
	if len(parts) == 0 {
		return found, nil // if no topic is named, the cluster returns all of them
	}
	listed, err := list(ctx, topicsOf(parts)...)
	if err != nil {
		return nil, firstShardError(err)
	}
	for _, p := range parts {
		o, ok := listed.Lookup(p.topic, p.number)
		switch {
		case !ok:
			return nil, topicError(p.topic, kerr.UnknownTopicOrPartition, "")
		case o.Err != nil:
			return nil, topicError(p.String(), o.Err, "")
		}
		found[p] = o.Offset
	}
	return found, nil
}

// firstShardError returns what went wrong with the first of the brokers that were asked.
func firstShardError(err error) error {
	var shards *kadm.ShardErrors
	if errors.As(err, &shards) && len(shards.Errs) > 0 {
		return shards.Errs[0].Err
	}
	return err
}

// spans asks what the partitions keep.
func (s *session) spans(ctx context.Context, parts []partition, ends listing) (map[partition]span, error) {
	first, err := s.offsets(ctx, s.admin.ListStartOffsets, parts)
	if err != nil {
		return nil, err
	}
	last, err := s.offsets(ctx, ends, parts)
	if err != nil {
		return nil, err
	}
	spans := make(map[partition]span, len(parts))
	for _, p := range parts {
		// The start may have moved between the two requests.
		spans[p] = span{first[p], max(first[p], last[p])}
	}
	return spans, nil
}

// found is a place in a partition's log.
type found struct {
	span
	offset int64
	note   string // why it is not the requested place
}

// find looks up a place in every partition.
func (s *session) find(ctx context.Context, w where, parts []partition, ends listing) (map[partition]found, error) {
	spans, err := s.spans(ctx, parts, ends)
	if err != nil {
		return nil, err
	}
	byTime := map[partition]int64{}
	if ms, ok := w.byTime(time.Now()); ok {
		after := func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
			return s.admin.ListOffsetsAfterMilli(ctx, ms, topics...)
		}
		if byTime, err = s.offsets(ctx, after, parts); err != nil {
			return nil, err
		}
	}
	places := make(map[partition]found, len(parts))
	for _, p := range parts {
		offset, note := w.pick(spans[p], byTime[p])
		places[p] = found{spans[p], offset, note}
	}
	return places, nil
}
