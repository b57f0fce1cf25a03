package client

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/sluicemq/sluice/internal/retry"
)

// admin asks the cluster. Every administrative request goes through it. A request is sent again
// while its answer holds an error that passes by itself, until the context ends: a partition or a
// coordinator that is still loading, or a leader that has just moved. The last answer then counts.
type admin struct{ cluster *kadm.Client }

// The pauses between two requests for the same thing.
const (
	askPauseFirst = 100 * time.Millisecond
	askPauseLast  = time.Second
)

// passes reports that an error is worth another request. A topic that does not exist is not,
// although the protocol calls that error retriable, since a broker may not have heard about the
// topic yet.
func passes(err error) bool {
	var shards *kadm.ShardErrors
	if errors.As(err, &shards) {
		return slices.ContainsFunc(shards.Errs, func(e kadm.ShardError) bool { return passes(e.Err) })
	}
	return kerr.IsRetriable(err) && !errors.Is(err, kerr.UnknownTopicOrPartition) && !errors.Is(err, kerr.UnknownTopicID)
}

// again sends a request until no error in its answer passes by itself. inside yields the errors in
// an answer.
func again[T any](ctx context.Context, ask func(context.Context) (T, error), inside func(answer T, yield func(error))) (T, error) {
	var last T
	var lastErr error
	pauses := retry.Pauses{First: askPauseFirst, Last: askPauseLast}
	for {
		answer, err := ask(ctx)
		if pauses.Attempt() > 1 && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return last, lastErr // says more than that the time is over
		}
		wait := passes(err)
		inside(answer, func(e error) { wait = wait || passes(e) })
		if !wait || pauses.Wait(ctx) != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return answer, err
		}
		if ctx.Err() != nil { // Ctrl-C
			return answer, ctx.Err()
		}
		last, lastErr = answer, err
	}
}

// inDoubt is the answer to a request that was sent again because the one before it had timed out
// and may have been carried out.
type inDoubt struct{ error }

func (e inDoubt) Unwrap() error { return e.error }

// each is again for a request that changes several things. What was answered for good is not sent
// twice.
func each[R any, M ~map[string]R](ctx context.Context, names []string, ask func(context.Context, ...string) (M, error), errOf func(*R) *error) (M, error) {
	answers, doubtful, all := M{}, map[string]bool{}, names
	_, err := again(ctx, func(ctx context.Context) (M, error) {
		some, err := ask(ctx, names...)
		for name, r := range some {
			e := errOf(&r)
			if doubtful[name] && *e != nil && !passes(*e) {
				*e = inDoubt{*e}
			}
			doubtful[name] = doubtful[name] || errors.Is(*e, kerr.RequestTimedOut)
			answers[name] = r
		}
		names = slices.DeleteFunc(slices.Clone(names), func(name string) bool {
			r, ok := some[name]
			return ok && !passes(*errOf(&r))
		})
		return some, err
	}, func(some M, yield func(error)) {
		for _, r := range some {
			yield(*errOf(&r))
		}
	})
	for _, name := range all {
		if _, ok := answers[name]; !ok {
			return answers, err
		}
	}
	return answers, nil // each with its own error
}

func noneInside[T any](T, func(error)) {}

// Metadata returns the metadata of the topics. That nobody leads a topic is shown by its
// partitions, and is no reason to wait.
func (a admin) Metadata(ctx context.Context, topics ...string) (kadm.Metadata, error) {
	return again(ctx, func(ctx context.Context) (kadm.Metadata, error) { return a.cluster.Metadata(ctx, topics...) },
		func(m kadm.Metadata, yield func(error)) { insideTopics(m.Topics, yield) })
}

func insideTopics(topics kadm.TopicDetails, yield func(error)) {
	for _, t := range topics {
		yield(t.Err)
	}
}

func (a admin) ListTopics(ctx context.Context) (kadm.TopicDetails, error) {
	return again(ctx, func(ctx context.Context) (kadm.TopicDetails, error) { return a.cluster.ListTopics(ctx) }, noneInside)
}

func (a admin) ListTopicsWithInternal(ctx context.Context) (kadm.TopicDetails, error) {
	return again(ctx, func(ctx context.Context) (kadm.TopicDetails, error) { return a.cluster.ListTopicsWithInternal(ctx) }, noneInside)
}

// listed asks for offsets in one of several ways.
func listed(ctx context.Context, list listing, topics []string) (kadm.ListedOffsets, error) {
	return again(ctx, func(ctx context.Context) (kadm.ListedOffsets, error) { return list(ctx, topics...) },
		func(l kadm.ListedOffsets, yield func(error)) { l.Each(func(o kadm.ListedOffset) { yield(o.Err) }) })
}

func (a admin) ListStartOffsets(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
	return listed(ctx, a.cluster.ListStartOffsets, topics)
}

func (a admin) ListEndOffsets(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
	return listed(ctx, a.cluster.ListEndOffsets, topics)
}

func (a admin) ListCommittedOffsets(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
	return listed(ctx, a.cluster.ListCommittedOffsets, topics)
}

func (a admin) ListOffsetsAfterMilli(ctx context.Context, ms int64, topics ...string) (kadm.ListedOffsets, error) {
	return listed(ctx, func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
		return a.cluster.ListOffsetsAfterMilli(ctx, ms, topics...)
	}, topics)
}

// DescribeAllLogDirs is asked once, since sizes are not essential.
func (a admin) DescribeAllLogDirs(ctx context.Context, set kadm.TopicsSet) (kadm.DescribedAllLogDirs, error) {
	return a.cluster.DescribeAllLogDirs(ctx, set)
}

func (a admin) DescribeTopicConfigs(ctx context.Context, topics ...string) (kadm.ResourceConfigs, error) {
	return again(ctx, func(ctx context.Context) (kadm.ResourceConfigs, error) {
		return a.cluster.DescribeTopicConfigs(ctx, topics...)
	},
		func(configs kadm.ResourceConfigs, yield func(error)) {
			for _, c := range configs {
				yield(c.Err)
			}
		})
}

// CreateTopics creates topics, or lets the cluster check whether it could.
func (a admin) CreateTopics(ctx context.Context, check bool, partitions int32, replicas int16, configs map[string]*string, topics ...string) (kadm.CreateTopicResponses, error) {
	create := a.cluster.CreateTopics
	if check {
		create = a.cluster.ValidateCreateTopics
	}
	return each(ctx, topics, func(ctx context.Context, topics ...string) (kadm.CreateTopicResponses, error) {
		return create(ctx, partitions, replicas, configs, topics...)
	}, func(r *kadm.CreateTopicResponse) *error { return &r.Err })
}

func (a admin) DeleteTopics(ctx context.Context, topics ...string) (kadm.DeleteTopicResponses, error) {
	return each(ctx, topics, func(ctx context.Context, topics ...string) (kadm.DeleteTopicResponses, error) {
		return a.cluster.DeleteTopics(ctx, topics...)
	}, func(r *kadm.DeleteTopicResponse) *error { return &r.Err })
}

// UpdatePartitions gives topics more partitions, or lets the cluster check whether it could.
func (a admin) UpdatePartitions(ctx context.Context, check bool, partitions int, topics ...string) (kadm.CreatePartitionsResponses, error) {
	update := a.cluster.UpdatePartitions
	if check {
		update = a.cluster.ValidateUpdatePartitions
	}
	return each(ctx, topics, func(ctx context.Context, topics ...string) (kadm.CreatePartitionsResponses, error) {
		return update(ctx, partitions, topics...)
	}, func(r *kadm.CreatePartitionsResponse) *error { return &r.Err })
}

// AlterTopicConfigs changes configurations, or lets the cluster check whether it could. Doing it
// twice has the same effect.
func (a admin) AlterTopicConfigs(ctx context.Context, check bool, changes []kadm.AlterConfig, topics ...string) (kadm.AlterConfigsResponses, error) {
	alter := a.cluster.AlterTopicConfigs
	if check {
		alter = a.cluster.ValidateAlterTopicConfigs
	}
	return again(ctx, func(ctx context.Context) (kadm.AlterConfigsResponses, error) { return alter(ctx, changes, topics...) },
		func(responses kadm.AlterConfigsResponses, yield func(error)) {
			for _, r := range responses {
				yield(r.Err)
			}
		})
}

func (a admin) ListGroups(ctx context.Context, states ...string) (kadm.ListedGroups, error) {
	return again(ctx, func(ctx context.Context) (kadm.ListedGroups, error) { return a.cluster.ListGroups(ctx, states...) }, noneInside)
}

func (a admin) DescribeGroups(ctx context.Context, group string) (kadm.DescribedGroups, error) {
	return again(ctx, func(ctx context.Context) (kadm.DescribedGroups, error) { return a.cluster.DescribeGroups(ctx, group) },
		func(groups kadm.DescribedGroups, yield func(error)) {
			for g := range maps.Values(groups) {
				yield(g.Err)
			}
		})
}

func (a admin) DescribeConsumerGroups(ctx context.Context, group string) (kadm.DescribedConsumerGroups, error) {
	return again(ctx, func(ctx context.Context) (kadm.DescribedConsumerGroups, error) {
		return a.cluster.DescribeConsumerGroups(ctx, group)
	}, func(groups kadm.DescribedConsumerGroups, yield func(error)) {
		for g := range maps.Values(groups) {
			yield(g.Err)
		}
	})
}

func insideOffsets(responses kadm.OffsetResponses, yield func(error)) {
	responses.Each(func(r kadm.OffsetResponse) { yield(r.Err) })
}

func (a admin) FetchOffsets(ctx context.Context, group string) (kadm.OffsetResponses, error) {
	return again(ctx, func(ctx context.Context) (kadm.OffsetResponses, error) { return a.cluster.FetchOffsets(ctx, group) }, insideOffsets)
}

// CommitOffsets commits offsets, and commits the same ones again if that did not succeed.
func (a admin) CommitOffsets(ctx context.Context, group string, offsets kadm.Offsets) (kadm.OffsetResponses, error) {
	return again(ctx, func(ctx context.Context) (kadm.OffsetResponses, error) {
		return a.cluster.CommitOffsets(ctx, group, offsets)
	}, insideOffsets)
}
