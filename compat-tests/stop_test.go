package compat

import (
	"fmt"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/compat-tests/harness"
	"github.com/sluicemq/sluice/compat-tests/history"
)

// idleStopLimit is how long a clean stop may take if only idle clients are connected.
const idleStopLimit = 15 * time.Second

// SIGTERM with idle clients of every kind connected: the broker ends within its deadline with exit
// code 0, and has everything when it comes back.
func TestStop(t *testing.T) {
	b := harness.Sluice(t, harness.Config{Dir: t.TempDir(), Env: budgets()})
	b.Start()
	if err := harness.CreateTopic(b.Addr, "stop", 1); err != nil {
		t.Fatal(err)
	}
	h := history.New()
	crew := harness.NewCrew(t, b.Addr, h, harness.Seed(t), harness.Partitions(1, "stop"), 1, 0)
	crew.AwaitAcks(200)
	crew.Rest()
	idle(t, b.Addr)
	t.Logf("stopped in %v", b.Stop(idleStopLimit))
	b.Start()
	crew.Sweep()
	harness.Verdict(t, h)
}

// SIGTERM while the bucket is away, refuses or hangs: the broker ends when its time is over and
// says how much is not in the bucket. The next start has it.
func TestStop_BucketAway(t *testing.T) {
	for _, fault := range []harness.Fault{harness.Refuse, harness.Hang, harness.Unavailable} {
		t.Run(fault.String(), func(t *testing.T) { stopAway(t, fault) })
	}
}

func stopAway(t *testing.T, fault harness.Fault) {
	store := harness.VersityGW(t)
	proxy := harness.NewProxy(t, store.Addr)
	env := budgets()
	for k, v := range store.Env {
		env[k] = v
	}
	env["SLUICE_STOP_TIMEOUT"] = "2s"
	b := harness.Sluice(t, harness.Config{Dir: t.TempDir(), Bucket: store.URL(proxy.Addr, "stop"), Env: env})
	b.Start()
	if err := harness.CreateTopic(b.Addr, "stop", 1); err != nil {
		t.Fatal(err)
	}
	h := history.New()
	crew := harness.NewCrew(t, b.Addr, h, harness.Seed(t), harness.Partitions(1, "stop"), 1, 0)
	crew.AwaitAcks(200)
	proxy.Set(fault)
	crew.AwaitAcks(200)
	crew.Rest()
	idle(t, b.Addr)
	t.Logf("stopped in %v", b.Stop(idleStopLimit))
	if out := b.Process().Output(); !unflushedBytes.MatchString(out) {
		t.Errorf("the stop does not say how many bytes are not in the bucket:\n%s", b.Process().Tail())
	}
	b.Start()
	crew.Sweep()
	harness.Verdict(t, h)
}

// unflushedBytes is the message of a stop that left records behind.
var unflushedBytes = regexp.MustCompile(`not in the bucket.* bytes=[1-9]`)

// A second SIGTERM, while the first one's stop waits for the bucket, ends the process at once. No
// acknowledged record is lost.
func TestStop_SecondSignal(t *testing.T) {
	store := harness.VersityGW(t)
	proxy := harness.NewProxy(t, store.Addr)
	env := budgets()
	for k, v := range store.Env {
		env[k] = v
	}
	env["SLUICE_STOP_TIMEOUT"] = "10m"
	b := harness.Sluice(t, harness.Config{Dir: t.TempDir(), Bucket: store.URL(proxy.Addr, "stop"), Env: env})
	b.Start()
	if err := harness.CreateTopic(b.Addr, "stop", 1); err != nil {
		t.Fatal(err)
	}
	h := history.New()
	crew := harness.NewCrew(t, b.Addr, h, harness.Seed(t), harness.Partitions(1, "stop"), 1, 0)
	proxy.Set(harness.Hang)
	crew.AwaitAcks(200)
	crew.Rest()
	b.Process().Signal(t, syscall.SIGTERM)
	if err := harness.Until(idleStopLimit, func() error { return stillServes(b.Addr) }); err != nil {
		t.Fatal(err)
	}
	b.Process().Signal(t, syscall.SIGTERM)
	select {
	case <-b.Process().Exited():
	case <-time.After(idleStopLimit):
		t.Fatalf("a second SIGTERM does not end a stop that waits for the bucket:\n%s", b.Process().Tail())
	}
	proxy.Set(harness.Pass)
	b.Start()
	crew.Sweep()
	harness.Verdict(t, h)
}

// stillServes returns an error as long as somebody can connect.
func stillServes(addr string) error {
	c, err := harness.Dial(addr)
	if err != nil {
		return nil
	}
	defer c.Close()
	return fmt.Errorf("%s still accepts connections after SIGTERM", addr)
}

// idle leaves connections open that wait, each in its own way.
func idle(t *testing.T, addr string) {
	t.Helper()
	dial := func() *harness.Conn {
		c, err := harness.Dial(addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	dial() // never sends anything

	c := dial() // has only said hello
	if _, err := c.Do(apiVersions()); err != nil {
		t.Fatal(err)
	}

	c = dial() // has stopped in the middle of a frame
	if _, err := c.Write([]byte{0, 0, 0, 50, 0, 18}); err != nil {
		t.Fatal(err)
	}

	c = dial() // waits for data that does not come
	if err := c.Send(longPoll("stop")); err != nil {
		t.Fatal(err)
	}

	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics("stop"), kgo.FetchMaxWait(30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if fetches := cl.PollFetches(t.Context()); fetches.Err() != nil {
		t.Fatal(fetches.Err())
	}
}

func apiVersions() *kmsg.ApiVersionsRequest {
	req := kmsg.NewPtrApiVersionsRequest()
	req.SetVersion(3)
	req.ClientSoftwareName, req.ClientSoftwareVersion = "compat-tests", "1"
	return req
}

// longPoll waits a minute at the end of a partition.
func longPoll(topic string) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(12)
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = 60_000, 64<<20, 64<<20, -1
	p := kmsg.NewFetchRequestTopicPartition()
	p.PartitionMaxBytes, p.CurrentLeaderEpoch = 64<<20, -1
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic, rt.Partitions = topic, append(rt.Partitions, p)
	req.Topics = append(req.Topics, rt)
	return req
}
