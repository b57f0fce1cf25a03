package broker

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestKcat produces and consumes with the stock librdkafka client, in every codec:
// it does so only if Produce is listed from version 0 (trap 31).
func TestKcat(t *testing.T) {
	kcat, err := exec.LookPath("kcat")
	if err != nil {
		t.Fatalf("kcat is needed: %v", err)
	}
	h := startTCP(t, Config{})
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		topic := "kcat-" + codec
		var in bytes.Buffer
		var want []string
		for i := range 500 {
			fmt.Fprintf(&in, "key%d:value %d of a codec called %s\n", i, i, codec)
			want = append(want, fmt.Sprintf("%d:key%d:value %d of a codec called %s", i, i, i, codec))
		}
		run(t, &in, kcat, "-b", h.addr, "-t", topic, "-P", "-K", ":", "-z", codec, "-X", "enable.idempotence=true")
		out := run(t, nil, kcat, "-b", h.addr, "-t", topic, "-C", "-e", "-q", "-o", "beginning", "-f", "%o:%k:%s\n", "-X", "check.crcs=true")
		if got := strings.Split(strings.TrimSpace(out), "\n"); !slices.Equal(got, want) {
			t.Errorf("%s: got %d lines, want %d; first %q", codec, len(got), len(want), got[0])
		}
	}
	if out := run(t, nil, kcat, "-b", h.addr, "-L"); !strings.Contains(out, `topic "kcat-zstd" with 1 partitions`) {
		t.Errorf("listing: %s", out)
	}
	if out := run(t, nil, kcat, "-b", h.addr, "-Q", "-t", "kcat-gzip:0:-1"); !strings.Contains(out, "offset 500") {
		t.Errorf("end offset: %s", out)
	}
}

func run(t *testing.T, in *bytes.Buffer, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	if in != nil {
		cmd.Stdin = in
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// TestFranz produces idempotently to several partitions and consumes with topic ids and fetch sessions asked for.
func TestFranz(t *testing.T) {
	h := startTCP(t, Config{})
	h.topics.create(t, "franz", 4, nil)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(h.addr), kgo.DefaultProduceTopic("franz"), kgo.ProducerLinger(0),
		kgo.ConsumeTopics("franz"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	const n = 2000
	for i := range n {
		cl.Produce(ctx, &kgo.Record{Key: []byte(fmt.Sprint(i % 97)), Value: []byte(fmt.Sprint(i))}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("produce: %v", err)
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for len(seen) < n {
		fetches := cl.PollFetches(ctx)
		if errs := fetches.Errors(); len(errs) > 0 {
			t.Fatalf("fetch: %v", errs)
		}
		fetches.EachRecord(func(r *kgo.Record) { seen[string(r.Value)]++ })
	}
	for v, times := range seen {
		if times != 1 {
			t.Errorf("value %s came %d times", v, times)
		}
	}
}
