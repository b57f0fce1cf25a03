package client

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// lines gathers what a reader prints and signals each line.
type lines struct {
	mu   sync.Mutex
	rest string
	each chan string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest += string(p)
	for {
		line, rest, ok := strings.Cut(l.rest, "\n")
		if !ok {
			return len(p), nil
		}
		l.rest = rest
		l.each <- line
	}
}

// TestMembers: a group with a member is described with it, and is not moved until the member has
// gone. When the member is stopped, it commits what it has printed.
func TestMembers(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	must(t, "", "topic", "create", "orders", "-p", "2", "-b", b.addr)
	must(t, "0 a\n0 b\n1 c\n", "produce", "orders", "-f", "%p %s", "-b", b.addr)
	ctx, cancel := context.WithCancel(within(t))
	out := &lines{each: make(chan string, 10)}
	ended := make(chan int, 1)
	go func() {
		ended <- runInto(ctx, strings.NewReader(""), out, newSignals(""), "consume", "orders", "-G", "billing", "-b", b.addr)
	}()
	got := []string{<-out.each, <-out.each, <-out.each}
	slices.Sort(got)
	if !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Fatal(got)
	}
	var described []groupDetail
	if err := json.Unmarshal([]byte(must(t, "", "group", "describe", "billing", "-o", "json", "-b", b.addr)), &described); err != nil {
		t.Fatal(err)
	}
	d := described[0]
	if d.State != "Stable" || len(d.Members) != 1 || !slices.Equal(d.Members[0].Partitions, []string{"orders:0,1"}) || d.Partitions[1].Member != "sluice" {
		t.Errorf("%+v", d)
	}
	reset := []string{"group", "reset-offsets", "billing", "--all-topics", "--to", "start", "-b", b.addr}
	if out, _, code := run(within(t), nil, append(reset[:3:3], "--topic", "orders", "--to", "start", "-b", b.addr)...); code != 0 || !strings.Contains(out, "The group is Stable with 1 member") {
		t.Errorf("a dry run: exit %d: %s", code, out)
	}
	if _, errs, code := run(within(t), nil, append(reset, "--execute")...); code != exitRefused || !strings.Contains(errs, "stop its consumers first") {
		t.Errorf("with a member: exit %d: %s", code, errs)
	}
	cancel()
	if code := <-ended; code != 0 {
		t.Errorf("the member ended with %d", code)
	}
	if out := must(t, "", append(reset, "--execute")...); !strings.Contains(out, "reads 3 records again") {
		t.Errorf("all three were committed, so all three are read again: %s", out)
	}
	if got := must(t, "", "consume", "orders", "-G", "billing", "-c", "3", "-b", b.addr); strings.Count(got, "\n") != 3 {
		t.Errorf("after the reset: %q", got)
	}
}

// TestCountCommitsNoMore: with -c only what was printed is committed, although more was fetched.
func TestCountCommitsNoMore(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	must(t, "", "topic", "create", "t", "-p", "1", "-b", b.addr)
	must(t, "1\n2\n3\n4\n5\n6\n7\n", "produce", "t", "-b", b.addr)
	var got string
	for _, count := range []string{"1", "2", "3"} {
		got += must(t, "", "consume", "t", "-G", "g", "-c", count, "-b", b.addr)
	}
	if got += must(t, "", "consume", "t", "-G", "g", "-e", "-b", b.addr); got != "1\n2\n3\n4\n5\n6\n7\n" {
		t.Errorf("%q", got)
	}
}

// TestTwoMembersShare: a stock consumer and ours share a topic. Nothing is lost, and -e ends at its
// own partitions.
func TestTwoMembersShare(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	must(t, "", "topic", "create", "t", "-p", "2", "-b", b.addr)
	joined := make(chan struct{}, 1)
	other, err := kgo.NewClient(kgo.SeedBrokers(b.addr), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.Balancers(kgo.RangeBalancer()),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, got map[string][]int32) {
			if len(got["t"]) == 2 {
				joined <- struct{}{}
			}
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	<-joined
	must(t, "0 a\n1 b\n", "produce", "t", "-f", "%p %s", "-b", b.addr)
	got := must(t, "", "consume", "t", "-G", "g", "-e", "-b", b.addr, "-f", "%p")
	// "" if the other one had read and committed it before.
	if got != "0" && got != "1" && got != "" {
		t.Errorf("one of two members read %q", got)
	}
}
