package harness

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/compat-tests/history"
)

// tapped is a member of a group on a fake broker, behind a tap.
func tapped(t *testing.T) (w *Wire, p *Tap, broker string) {
	t.Helper()
	c := fake(t, 0)
	t.Cleanup(c.Close)
	broker = c.ListenAddrs()[0]
	w = NewWire(history.NewGroups())
	return w, NewTap(t, w, broker, "g"), broker
}

func fill(t *testing.T, broker string, each int) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for i := range 3 * each {
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Partition: int32(i % 3), Value: []byte("v")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// Everything that a stock client says about its group goes through its tap and is in the history.
func TestTap_StockClient(t *testing.T) {
	w, p, broker := tapped(t)
	fill(t, broker, 5)
	committing := w.Next(kmsg.OffsetCommit)
	cl, err := kgo.NewClient(kgo.SeedBrokers(p.Addr), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for read := 0; read < 15; {
		read += cl.PollFetches(t.Context()).NumRecords()
	}
	if err := cl.CommitUncommittedOffsets(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-committing:
	default:
		t.Error("nobody was told of the commit")
	}
	a := &GroupAuditor{Addr: broker, H: w.H, Groups: []string{"g"}, Topic: "t", Count: 3}
	if err := a.Settled("g", 1); err != nil {
		t.Error(err)
	}
	if err := a.Settled("g", 2); err == nil {
		t.Error("a group of one is settled with two")
	}
	got := w.H.Counts()
	if got.Committed != 3 || got.Assignments != 1 || got.Deliveries == 0 || got.Answers < 6 {
		t.Errorf("the history holds %+v", got)
	}
	if found := w.H.Check(); len(found) > 0 {
		t.Errorf("found %v", found)
	}
}

// A raw member reads everything, commits it, and is judged by its own history.
func TestTap_RawMember(t *testing.T) {
	w, p, broker := tapped(t)
	fill(t, broker, 5)
	ctx, cancel := context.WithCancel(t.Context())
	m := &RawMember{Addr: p.Addr, Group: "g", Topic: "t", Count: 3, Session: 6 * time.Second, Rand: rand.New(rand.NewPCG(1, 2))}
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Run(ctx)
	}()
	defer func() { cancel(); <-done }()
	a := &GroupAuditor{Addr: broker, H: w.H, Groups: []string{"g"}, Topic: "t", Count: 3}
	if err := Until(20*time.Second, func() error { return a.Settled("g", 1) }); err != nil {
		t.Fatal(err)
	}
	if err := Until(20*time.Second, func() error { return refusedSome(w.H) }); err != nil {
		t.Error(err)
	}
	if found := w.H.Check(); len(found) > 0 {
		t.Errorf("found %v", found)
	}
}

// refusedSome requires that a raw member has tried what must be refused.
func refusedSome(h *history.Groups) error {
	if c := h.Counts(); c.Refused == 0 || c.Committed == 0 {
		return fmt.Errorf("no commit was refused, or none accepted: %+v", c)
	}
	return nil
}

// A frozen tap passes nothing. When the tap is cut, its connections end. The death of the broker
// leaves a commit in doubt.
func TestTap_Faults(t *testing.T) {
	_, p, _ := tapped(t)
	c, err := Dial(p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask := kmsg.NewPtrMetadataRequest()
	ask.SetVersion(9)
	resp, err := do[*kmsg.MetadataResponse](c, ask)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%s:%d", resp.Brokers[0].Host, resp.Brokers[0].Port); got != p.Addr {
		t.Errorf("the broker is told to be at %s, want the tap %s", got, p.Addr)
	}
	p.Freeze()
	answered := make(chan error, 1)
	go func() {
		_, err := c.Do(ask)
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Errorf("a frozen tap lets an answer pass: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	p.Thaw()
	if err := <-answered; err != nil {
		t.Errorf("thawed: %v", err)
	}
	p.Cut()
	if _, err := c.Do(ask); err == nil {
		t.Error("a cut connection answers")
	}
}

func TestTap_BrokerDies(t *testing.T) {
	broker := fake(t, 0)
	t.Cleanup(broker.Close)
	w := NewWire(history.NewGroups())
	p := NewTap(t, w, broker.ListenAddrs()[0], "g")
	got := make(chan struct{})
	broker.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		close(got)
		return nil, errors.New("no answer: the connection ends"), true
	})
	c, err := Dial(p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m := &RawMember{Group: "g", Topic: "t", positions: map[int32]int64{0: 7}, id: "m"}
	if err := m.committed(c, 1); err == nil {
		t.Fatal("a broker that closed its connection has answered")
	}
	<-got
	slot := history.Slot{Group: "g", Partition: history.Partition{Topic: "t", Index: 0}}
	story := w.H.Story(slot, 0, time.Hour)
	if c := w.H.Counts(); c.InDoubt != 1 || len(story) != 1 || !strings.Contains(story[0], "in doubt at") {
		t.Fatalf("the history holds %+v, %q", c, story)
	}
}
