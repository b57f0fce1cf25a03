package client

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// TestEachSendsOnce: of several things to change, only those are sent again whose answer passes by
// itself.
func TestEachSendsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		script := []map[string]error{
			{"a": nil, "b": kerr.ThrottlingQuotaExceeded, "c": kerr.InvalidTopicException, "d": kerr.RequestTimedOut},
			{"b": kerr.NotController, "d": kerr.TopicAlreadyExists},
			{"b": kerr.TopicAlreadyExists},
		}
		var sent [][]string
		answers, err := each(ctx, []string{"a", "b", "c", "d"}, func(_ context.Context, names ...string) (kadm.CreateTopicResponses, error) {
			answer := kadm.CreateTopicResponses{}
			for _, name := range names {
				answer[name] = kadm.CreateTopicResponse{Topic: name, Err: script[len(sent)][name]}
			}
			sent = append(sent, names)
			return answer, nil
		}, func(r *kadm.CreateTopicResponse) *error { return &r.Err })
		if err != nil || len(sent) != 3 || !slices.Equal(sent[1], []string{"b", "d"}) || !slices.Equal(sent[2], []string{"b"}) {
			t.Fatalf("sent %v, %v", sent, err)
		}
		var doubt inDoubt
		if answers["a"].Err != nil || !errors.Is(answers["c"].Err, kerr.InvalidTopicException) {
			t.Errorf("settled at once: %v", answers)
		}
		if err := answers["d"].Err; !errors.As(err, &doubt) || !errors.Is(err, kerr.TopicAlreadyExists) {
			t.Errorf("after a time-out: %v", err)
		}
		if err := answers["b"].Err; errors.As(err, &doubt) || !errors.Is(err, kerr.TopicAlreadyExists) {
			t.Errorf("after refusals: %v", err)
		}
	})
}

// TestAgainEnds: when the context ends, the last answer counts, not that the time is over. Ctrl-C
// is reported as such.
func TestAgainEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		asked := 0
		ask := func(ctx context.Context) (error, error) {
			if asked++; asked > 1 {
				<-ctx.Done() // the second answer does not come in time
				return nil, ctx.Err()
			}
			return kerr.OffsetNotAvailable, nil
		}
		inside := func(answer error, yield func(error)) { yield(answer) }
		if answer, err := again(ctx, ask, inside); answer != kerr.OffsetNotAvailable || err != nil || asked != 2 {
			t.Errorf("at the deadline: %v, %v after %d", answer, err, asked)
		}
		ctx, stop := context.WithCancel(t.Context())
		_, err := again(ctx, func(context.Context) (error, error) { stop(); return kerr.OffsetNotAvailable, nil }, inside)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted: %v", err)
		}
	})
}
