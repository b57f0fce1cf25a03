package group

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/ident"
)

// codes are the names of Kafka's codes for the errors, so that tests read like the protocol.
var codes = []struct {
	err  error
	name string
}{
	{ErrNoMemory, "14 COORDINATOR_LOAD_IN_PROGRESS"}, {ErrMetadataTooLarge, "12 OFFSET_METADATA_TOO_LARGE"}, {ErrIllegalGeneration, "22 ILLEGAL_GENERATION"},
	{ErrInconsistentProtocol, "23 INCONSISTENT_GROUP_PROTOCOL"}, {ErrInvalidGroupID, "24 INVALID_GROUP_ID"},
	{ErrUnknownMember, "25 UNKNOWN_MEMBER_ID"}, {ErrInvalidSession, "26 INVALID_SESSION_TIMEOUT"},
	{ErrRebalanceInProgress, "27 REBALANCE_IN_PROGRESS"}, {ErrTooLong, "42 INVALID_REQUEST"}, {ErrNotEmpty, "68 NON_EMPTY_GROUP"},
	{ErrNotFound, "69 GROUP_ID_NOT_FOUND"}, {ErrMemberIDRequired, "79 MEMBER_ID_REQUIRED"}, {ErrMaxSize, "81 GROUP_MAX_SIZE_REACHED"},
	{ErrFencedInstance, "82 FENCED_INSTANCE_ID"}, {ErrSubscribed, "86 GROUP_SUBSCRIBED_TO_TOPIC"}, {errRefused, "the write was refused"},
}

var errRefused = errors.New("refused")

func code(err error) string {
	if err == nil {
		return "ok"
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.name
		}
	}
	return "UNNAMED " + err.Error()
}

var start = time.UnixMilli(1_700_000_000_000)

// failer is what testing.T and rapid.T have in common.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// rig drives one shard as its owner would, and checks what every owner relies on.
type rig struct {
	t       failer
	shard   *Shard
	cfg     Config
	now     time.Time
	log     []Record // the durable records, in order
	writes  []Write  // in flight, in order
	last    Token
	waiting map[Waiter]string // requests that have had no answer
	answers map[Waiter]Body
	next    Waiter
	auto    bool // writes become durable at once
	say     func(line string)
}

func newRig(t failer, cfg Config) *rig {
	return &rig{
		t: t, cfg: cfg, shard: NewShard(cfg, NewMemory(1<<40)), now: start, auto: true,
		waiting: make(map[Waiter]string), answers: make(map[Waiter]Body), say: func(string) {},
	}
}

// ask gives a request its waiter.
func (r *rig) ask(what string) Waiter {
	r.next++
	r.waiting[r.next] = what
	return r.next
}

// take carries out the effects.
func (r *rig) take(e Effects) {
	r.t.Helper()
	for _, w := range e.Writes {
		if w.Token != r.last+1 {
			r.t.Fatalf("token %d follows %d", w.Token, r.last)
		}
		r.last = w.Token
		if len(w.Records) == 0 {
			r.t.Fatalf("write %d has no records", w.Token)
		}
		r.writes = append(r.writes, w)
		for _, rec := range w.Records {
			r.say("write " + showRecord(rec))
		}
	}
	for _, a := range e.Answers {
		what, ok := r.waiting[a.Waiter]
		if !ok {
			r.t.Fatalf("waiter %d is answered, and does not wait: %+v", a.Waiter, a.Body)
		}
		delete(r.waiting, a.Waiter)
		r.answers[a.Waiter] = a.Body
		r.say(what + ": " + showBody(a.Body))
	}
	for r.auto && len(r.writes) > 0 {
		r.written(nil)
	}
}

// written settles the oldest write.
func (r *rig) written(err error) {
	r.t.Helper()
	if len(r.writes) == 0 {
		r.t.Fatal("no write is in flight")
	}
	w := r.writes[0]
	r.writes = r.writes[1:]
	if err == nil {
		r.log = append(r.log, w.Records...)
	}
	r.take(r.shard.Written(r.now, w.Token, err))
}

// pass lets time go by, and calls Tick whenever the shard's deadline comes.
func (r *rig) pass(d time.Duration) {
	r.t.Helper()
	end := r.now.Add(d)
	for ticks := 0; ; ticks++ {
		next := r.shard.Deadline()
		if next.IsZero() || next.After(end) {
			break
		}
		if ticks > 100_000 {
			r.t.Fatalf("the deadline stays at %v", next)
		}
		if next.After(r.now) {
			r.now = next
		}
		r.take(r.shard.Tick(r.now))
	}
	r.now = end
}

// restart forgets everything except the log, as a crash does. Waiting requests get no answer.
func (r *rig) restart() {
	r.t.Helper()
	r.writes, r.last = nil, 0
	clear(r.waiting)
	r.shard = load(r.t, r.cfg, r.log)
	r.take(r.shard.Loaded(r.now))
}

func load(t failer, cfg Config, log []Record) *Shard {
	t.Helper()
	s := NewShard(cfg, NewMemory(1<<40))
	for _, rec := range log {
		if err := s.Replay(rec); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// shorten replaces the log by a snapshot, as the owner does when the log has grown too long.
func (r *rig) shorten() { r.log = r.shard.Snapshot() }

// durable is the whole durable state as text, for comparison.
func durable(s *Shard) string {
	var b strings.Builder
	for _, g := range s.sorted() {
		if g.stored != nil {
			fmt.Fprintln(&b, showRecord(Record{Key: groupKey(g.id), Value: g.stored}))
		}
		for _, sl := range g.slots() {
			if sl.committed != nil {
				fmt.Fprintln(&b, showRecord(offsetRecord(g.id, sl.partition, sl.committed)))
			}
		}
	}
	return b.String()
}

// clock prints a record's time as the time since start.
func clock(ms int64) string {
	if ms < 0 {
		return "none"
	}
	return (time.Duration(ms-start.UnixMilli()) * time.Millisecond).String()
}

func showRecord(r Record) string {
	switch v, _ := version(r.Key); v {
	case 0, 1:
		var k kmsg.OffsetCommitKey
		_ = k.ReadFrom(r.Key)
		name := fmt.Sprintf("offset %s %s-%d", k.Group, k.Topic, k.Partition)
		if r.Value == nil {
			return name + " tombstone"
		}
		o, err := parseOffsetValue(r.Key, r.Value)
		if err != nil {
			return err.Error()
		}
		name += fmt.Sprintf(" = %d", o.at)
		if o.epoch != ident.NoEpoch {
			name += fmt.Sprintf(" epoch=%d", o.epoch)
		}
		if o.metadata != "" {
			name += fmt.Sprintf(" metadata=%q", o.metadata)
		}
		if !o.topic.IsZero() {
			name += fmt.Sprintf(" topic=%x", o.topic[:1])
		}
		name += " at=" + clock(o.commit)
		if o.expire >= 0 {
			name += " expires=" + clock(o.expire)
		}
		return name
	case 2:
		var k kmsg.GroupMetadataKey
		_ = k.ReadFrom(r.Key)
		if r.Value == nil {
			return "group " + k.Group + " tombstone"
		}
		g, err := parseGroupValue(r.Key, r.Value)
		if err != nil {
			return err.Error()
		}
		s := fmt.Sprintf("group %s type=%q generation=%d protocol=%q leader=%q since=%s", k.Group, g.ProtocolType, g.Generation, orEmpty(g.Protocol), orEmpty(g.Leader), clock(g.CurrentStateTimestamp))
		for _, m := range g.Members {
			s += fmt.Sprintf(" [%s instance=%q session=%v rebalance=%v %q → %q]", m.MemberID, orEmpty(m.InstanceID), millis(m.SessionTimeoutMillis), millis(m.RebalanceTimeoutMillis), topicsIn(m.Subscription), m.Assignment)
		}
		return s
	default:
		return fmt.Sprintf("key version %d", v)
	}
}

// topicsIn shows a subscription as the list of its topics.
func topicsIn(b []byte) string {
	topics := make(map[string]bool)
	if !readTopics(b, topics) {
		return string(b)
	}
	var names []string
	for t := range topics {
		names = append(names, t)
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}

func showBody(b Body) string {
	each := func(errs []error) string {
		var all []string
		for _, err := range errs {
			all = append(all, code(err))
		}
		return strings.Join(all, ", ")
	}
	switch a := b.(type) {
	case *JoinAnswer:
		if a.Err != nil {
			return fmt.Sprintf("%s member=%q", code(a.Err), a.MemberID)
		}
		s := fmt.Sprintf("joined generation=%d protocol=%s leader=%s member=%s", a.Generation, *a.Protocol, a.Leader, a.MemberID)
		if a.SkipAssignment {
			s += " skip-assignment"
		}
		for _, m := range a.Members {
			s += fmt.Sprintf(" [%s instance=%q %q]", m.MemberID, orEmpty(m.InstanceID), topicsIn(m.Metadata))
		}
		return s
	case *SyncAnswer:
		if a.Err != nil {
			return code(a.Err)
		}
		return fmt.Sprintf("assigned %q protocol=%s/%s", a.Assignment, *a.ProtocolType, *a.Protocol)
	case *LeaveAnswer:
		if a.Err != nil {
			return code(a.Err)
		}
		return each(a.Members)
	case *CommitAnswer:
		if a.Err != nil {
			return code(a.Err)
		}
		return each(a.Partitions)
	case *DeleteOffsetsAnswer:
		if a.Err != nil {
			return code(a.Err)
		}
		return each(a.Partitions)
	case *DeleteAnswer:
		return code(a.Err)
	}
	return fmt.Sprintf("%T", b)
}

// subscribe makes a subscription of version 0 to the topics.
func subscribe(topics ...string) []byte {
	m := kmsg.ConsumerMemberMetadata{Version: 0, Topics: topics}
	return m.AppendTo(nil)
}
