package group

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluicemq/sluice/ident"
)

// TestIDsThatNobodyJoinsWithAreBounded: if there are too many unused member ids, the oldest is
// forgotten.
func TestIDsThatNobodyJoinsWithAreBounded(t *testing.T) {
	r := newRig(t, DefaultConfig())
	join := func(member, fresh string) *JoinAnswer {
		w := r.ask("join")
		r.take(r.shard.Join(r.now, JoinRequest{Waiter: w, Group: "g", MemberID: member, FreshID: fresh, ClientID: "c", SessionTimeout: 30 * time.Minute,
			ProtocolType: "consumer", Protocols: []Protocol{{"range", nil}}, RequireKnownMember: true}))
		a, _ := r.answers[w].(*JoinAnswer)
		return a
	}
	for i := range pendingMax + 10 {
		join("", fmt.Sprint(i))
	}
	g := r.shard.groups["g"]
	if len(g.pending) != pendingMax || len(r.shard.timers.queue) != pendingMax {
		t.Fatalf("%d ids, %d timers; want %d", len(g.pending), len(r.shard.timers.queue), pendingMax)
	}
	if a := join("c-9", ""); a.Err != ErrUnknownMember {
		t.Errorf("an id that was forgotten: %v", a.Err)
	}
	if a := join("c-10", ""); a != nil {
		t.Errorf("the oldest id that is remembered: %v", a.Err)
	}
}

// TestStringsThatNoRecordHoldsAreRefused: a string that is too long would damage the record, and
// with it the log.
func TestStringsThatNoRecordHoldsAreRefused(t *testing.T) {
	long := strings.Repeat("x", stringMax)
	longer := long + "x"
	good := JoinRequest{Group: "g", FreshID: "1", ClientID: "c", SessionTimeout: 10 * time.Second, ProtocolType: "consumer", Protocols: []Protocol{{"range", nil}}}
	for name, change := range map[string]func(*JoinRequest){
		"group":         func(j *JoinRequest) { j.Group = longer },
		"client id":     func(j *JoinRequest) { j.ClientID = long },
		"client host":   func(j *JoinRequest) { j.ClientHost = longer },
		"instance id":   func(j *JoinRequest) { j.InstanceID = &long },
		"protocol type": func(j *JoinRequest) { j.ProtocolType = longer },
		"protocol":      func(j *JoinRequest) { j.Protocols = []Protocol{{longer, nil}} },
	} {
		r := newRig(t, DefaultConfig())
		j := good
		change(&j)
		j.Waiter = r.ask("join")
		r.take(r.shard.Join(r.now, j))
		if a, ok := r.answers[j.Waiter].(*JoinAnswer); !ok || a.Err != ErrTooLong {
			t.Errorf("%s: %+v", name, a)
		}
	}
	r := newRig(t, DefaultConfig())
	r.shard.cfg.OffsetMetadataMax = 1 << 20
	commit := func(group, topic, metadata string) *CommitAnswer {
		w := r.ask("commit")
		r.take(r.shard.Commit(r.now, CommitRequest{Waiter: w, Group: group, Generation: -1, Retention: time.Hour,
			Partitions: []CommitPartition{{Topic: topic, Metadata: metadata}}}))
		return r.answers[w].(*CommitAnswer)
	}
	if a := commit(longer, "t", ""); a.Err != ErrTooLong {
		t.Errorf("group of a commit: %v", a.Err)
	}
	if a := commit("g", longer, ""); a.Err != ErrTooLong {
		t.Errorf("topic of a commit: %v", a.Err)
	}
	if a := commit("g", "t", longer); a.Partitions[0] != ErrMetadataTooLarge {
		t.Errorf("metadata of a commit: %v", a.Partitions)
	}
	if a := commit(long, long, long); a.Err != nil || a.Partitions[0] != nil {
		t.Errorf("the longest that is allowed: %v %v", a.Err, a.Partitions)
	}
	if again := load(t, r.cfg, r.log); durable(again) != durable(r.shard) {
		t.Error("the longest strings do not replay")
	}
}

// TestMetadataIsMeasuredAsKafkaDoes: the length counts in UTF-16 units, not in bytes.
func TestMetadataIsMeasuredAsKafkaDoes(t *testing.T) {
	for s, want := range map[string]int{"": 0, "abc": 3, "äöü": 3, "日本": 2, "🙂": 2, "\xff": 1} {
		if got := utf16Length(s); got != want {
			t.Errorf("%q: %d, want %d", s, got, want)
		}
	}
}

// TestLargeChangesAreCut: a request with more records than a batch should hold becomes several
// writes, and gets one answer when the last is durable.
func TestLargeChangesAreCut(t *testing.T) {
	r := newRig(t, DefaultConfig())
	r.auto = false
	q := CommitRequest{Group: "g", Generation: -1, Retention: -1}
	for i := range int32(3000) {
		q.Partitions = append(q.Partitions, CommitPartition{Topic: "t", Partition: i, Offset: ident.Offset(i), Metadata: strings.Repeat("m", 400)})
	}
	q.Waiter = r.ask("commit")
	r.take(r.shard.Commit(r.now, q))
	if len(r.writes) < 2 {
		t.Fatalf("%d writes", len(r.writes))
	}
	for _, w := range r.writes {
		bytes := 0
		for _, rec := range w.Records {
			bytes += recordBytes(len(rec.Key), len(rec.Value))
		}
		if bytes > writeBytesMax {
			t.Errorf("a write of %d bytes", bytes)
		}
	}
	// The first write is refused, the others are not. The answer is an error for all partitions,
	// and what is durable is shown.
	refused := len(r.writes[0].Records)
	r.written(errRefused)
	for len(r.writes) > 0 {
		if len(r.answers) > 0 {
			t.Fatal("answered before the last write is settled")
		}
		r.written(nil)
	}
	if a := r.answers[q.Waiter].(*CommitAnswer); a.Err != errRefused {
		t.Errorf("answered %v", a.Err)
	}
	if shown := r.shard.FetchAll("g", nil); len(shown) != 3000-refused || int(shown[0].Partition) != refused {
		t.Errorf("%d are shown, %d were refused", len(shown), refused)
	}
}

// TestBytesIsWhatASnapshotWrites: Bytes is nearly the size of a snapshot, since it decides when the
// log is shortened.
func TestBytesIsWhatASnapshotWrites(t *testing.T) {
	r := newRig(t, DefaultConfig())
	for i := range 500 {
		q := CommitRequest{Waiter: r.ask("commit"), Group: fmt.Sprint("group", i%7), Generation: -1, Retention: -1}
		for range i % 3 {
			q.Partitions = append(q.Partitions, CommitPartition{Topic: "orders", Partition: int32(i), TopicID: ident.TopicID{1}, Metadata: strings.Repeat("m", i)})
		}
		r.take(r.shard.Commit(r.now, q))
	}
	written := 0
	for _, rec := range r.shard.Snapshot() {
		written += recordBytes(len(rec.Key), len(rec.Value))
	}
	if got := r.shard.Bytes(); got < written*9/10 || got > written*11/10 {
		t.Errorf("Bytes says %d, a snapshot has %d", got, written)
	}
}

// TestTimersKeepTheirOrder: timers fire in the order of their times, then in the order in which
// they were set. A timer that sets itself again for now does not keep Tick from returning.
func TestTimersKeepTheirOrder(t *testing.T) {
	var ts timers
	var fired []string
	named := func(name string) *timer { return &timer{fire: func(time.Time) { fired = append(fired, name) }} }
	a, b, c := named("a"), named("b"), named("c")
	ts.set(a, start.Add(2))
	ts.set(b, start.Add(1))
	ts.set(c, start.Add(1))
	ts.set(b, start.Add(1)) // moved, so that it comes after c
	again := &timer{}
	again.fire = func(now time.Time) { fired = append(fired, "again"); ts.set(again, now) }
	ts.set(again, start)
	ts.stop(a)
	ts.stop(a)
	seq := ts.seq
	for t := ts.due(start.Add(5), seq); t != nil; t = ts.due(start.Add(5), seq) {
		t.fire(start.Add(5))
	}
	if got := strings.Join(fired, " "); got != "again c b" {
		t.Errorf("fired %s", got)
	}
}
