package history

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// golden is a hand-written history that the log of a correct broker explains, and its twin, told a
// little differently, that none explains. Lines:
//
//	send    id=CLIENT/COUNTER t=INVOKE-COMPLETE  [ok=OFFSET | fail=CODE | maybe]
//	        [again=OFFSET] [plain] [p=PARTITION]
//	batch   t=INVOKE-COMPLETE base=OFFSET vals=ID,ID
//	        [n=SWEEP] [pid=ID/EPOCH] [seq=N] [le=LEADER-EPOCH] [bad] [hash=N]
//	told    t=INVOKE-COMPLETE  [hw=N] [lso=N] [start=N] [le=N]
//	sweep   n=SWEEP t=INVOKE-COMPLETE range=START-END
//	restore at=T floor=N survived=N
type golden struct {
	kind           string
	legal, illegal string
}

var goldens = []golden{
	{Fabricated, `
		send id=1/1 t=1-2 ok=0
		sweep n=1 t=9-10 range=0-1
		batch n=1 t=9-10 base=0 vals=1/1
	`, `
		send id=1/1 t=1-2 ok=0
		sweep n=1 t=9-10 range=0-2
		batch n=1 t=9-10 base=0 vals=1/1,7/7
	`},
	{Misrouted, `
		send id=1/1 t=1-2 ok=0 p=0
		send id=1/2 t=1-2 ok=0 p=1
		sweep n=1 t=9-10 range=0-1 p=0
		batch n=1 t=9-10 base=0 vals=1/1 p=0
		sweep n=1 t=9-10 range=0-1 p=1
		batch n=1 t=9-10 base=0 vals=1/2 p=1
	`, `
		send id=1/1 t=1-2 ok=0 p=0
		send id=1/2 t=1-2 maybe p=1
		sweep n=1 t=9-10 range=0-2 p=0
		batch n=1 t=9-10 base=0 vals=1/1,1/2 p=0
		sweep n=1 t=9-10 range=0-0 p=1
	`},
	{Altered, `
		send id=1/1 t=1-2 ok=0
		sweep n=1 t=9-10 range=0-1
		batch n=1 t=9-10 base=0 vals=1/1
	`, `
		send id=1/1 t=1-2 ok=0
		sweep n=1 t=9-10 range=0-1
		batch n=1 t=9-10 base=0 vals=1/1 hash=99
	`},
	{BadCRC, `
		send id=1/1 t=1-2 maybe
		sweep n=1 t=9-10 range=0-1
		batch n=1 t=9-10 base=0 vals=1/1
		batch t=3-4 base=0 vals=1/1
	`, `
		send id=1/1 t=1-2 maybe
		sweep n=1 t=9-10 range=0-1
		batch n=1 t=9-10 base=0 vals=1/1
		batch t=3-4 base=0 vals=1/1 bad
	`},
	// Offset 1 was shown with one value, and after a crash with another.
	{TwoValues, `
		send id=1/1 t=1-2 maybe plain
		send id=2/1 t=5-6 ok=1 plain
		batch t=3-4 base=0 vals=1/1
		sweep n=1 t=9-10 range=0-2
		batch n=1 t=9-10 base=0 vals=1/1,2/1
	`, `
		send id=1/1 t=1-2 maybe plain
		send id=2/1 t=5-6 ok=0 plain
		batch t=3-4 base=0 vals=1/1
		sweep n=1 t=9-10 range=0-1
		batch n=1 t=9-10 base=0 vals=2/1
	`},
	// A plain producer may repeat what is in doubt. An idempotent one may not.
	{Duplicate, `
		send id=1/1 t=1-8 ok=1 plain
		sweep n=1 t=9-10 range=0-2
		batch n=1 t=9-10 base=0 vals=1/1
		batch n=1 t=9-10 base=1 vals=1/1
	`, `
		send id=1/1 t=1-8 ok=1
		sweep n=1 t=9-10 range=0-2
		batch n=1 t=9-10 base=0 vals=1/1
		batch n=1 t=9-10 base=1 vals=1/1
	`},
	{WrongOffset, `
		send id=1/1 t=1-2 ok=1
		send id=2/1 t=1-2 ok=0
		sweep n=1 t=9-10 range=0-2
		batch n=1 t=9-10 base=0 vals=2/1,1/1
	`, `
		send id=1/1 t=1-2 ok=0
		send id=2/1 t=1-2 maybe
		sweep n=1 t=9-10 range=0-2
		batch n=1 t=9-10 base=0 vals=2/1,1/1
	`},
	{WrongRepeat, `
		send id=1/1 t=1-2 ok=0 again=0
		sweep n=1 t=9-10 range=0-1
		batch n=1 t=9-10 base=0 vals=1/1
	`, `
		send id=1/1 t=1-2 ok=0 again=1
		sweep n=1 t=9-10 range=0-1
		batch n=1 t=9-10 base=0 vals=1/1
	`},
	// The record was acknowledged and is gone. In the twin it was in doubt, or lies below the log
	// start.
	{LostWrite, `
		send id=1/1 t=1-2 ok=0
		send id=1/2 t=3-4 ok=1
		send id=1/3 t=5-6 maybe
		sweep n=1 t=9-10 range=1-2
		batch n=1 t=9-10 base=1 vals=1/2
	`, `
		send id=1/1 t=1-2 ok=0
		send id=1/2 t=3-4 ok=1
		sweep n=1 t=9-10 range=0-1
		batch n=1 t=9-10 base=0 vals=1/1
	`},
	// The record was shown, never acknowledged, and is gone: it was exposed before it was durable.
	{Vanished, `
		send id=1/1 t=1-2 maybe
		batch t=3-4 base=0 vals=1/1
		sweep n=1 t=9-10 range=0-1
		batch n=1 t=9-10 base=0 vals=1/1
	`, `
		send id=1/1 t=1-2 maybe
		batch t=3-4 base=0 vals=1/1
		sweep n=1 t=9-10 range=0-0
	`},
	{RefusedSeen, `
		send id=1/1 t=1-2 fail=45
		send id=1/2 t=1-2 maybe
		sweep n=1 t=9-10 range=0-1
		batch n=1 t=9-10 base=0 vals=1/2
	`, `
		send id=1/1 t=1-2 fail=45
		sweep n=1 t=9-10 range=0-1
		batch n=1 t=9-10 base=0 vals=1/1
	`},
	{Hole, `
		send id=1/1 t=1-2 ok=0
		send id=1/2 t=3-4 ok=1
		sweep n=1 t=9-10 range=0-2
		batch n=1 t=9-10 base=0 vals=1/1
		batch n=1 t=9-10 base=1 vals=1/2
	`, `
		send id=1/1 t=1-2 ok=0
		send id=1/2 t=3-4 ok=2
		sweep n=1 t=9-10 range=0-3
		batch n=1 t=9-10 base=0 vals=1/1
		batch n=1 t=9-10 base=2 vals=1/2
	`},
	// The high watermark was 2, and later 1. That is allowed only if the two readings overlap.
	{Stale, `
		send id=1/1 t=1-2 ok=0
		send id=1/2 t=1-2 ok=1
		told t=3-5 hw=2
		told t=4-6 hw=2
		told t=1-3 hw=1
		sweep n=1 t=9-10 range=0-2
		batch n=1 t=9-10 base=0 vals=1/1,1/2
	`, `
		send id=1/1 t=1-2 ok=0
		send id=1/2 t=1-2 ok=1
		told t=3-4 hw=2
		told t=5-6 hw=1
		sweep n=1 t=9-10 range=0-2
		batch n=1 t=9-10 base=0 vals=1/1,1/2
	`},
	// A record was acknowledged at 1 before the record at 0 was sent, so offset 0 was given twice.
	{Stale, `
		send id=1/1 t=3-8 ok=0
		send id=2/1 t=1-4 ok=1
		sweep n=1 t=9-10 range=0-2
		batch n=1 t=9-10 base=0 vals=1/1,2/1
	`, `
		send id=1/1 t=5-8 ok=0
		send id=2/1 t=1-4 ok=1
		sweep n=1 t=9-10 range=0-2
		batch n=1 t=9-10 base=0 vals=1/1,2/1
	`},
	// A reading of the length after the answer does not count the record.
	{Stale, `
		send id=1/1 t=1-4 ok=0
		told t=3-6 hw=0
		sweep n=1 t=9-10 range=0-1
		batch n=1 t=9-10 base=0 vals=1/1
	`, `
		send id=1/1 t=1-4 ok=0
		told t=5-6 hw=0
		sweep n=1 t=9-10 range=0-1
		batch n=1 t=9-10 base=0 vals=1/1
	`},
	{FromTheFuture, `
		send id=1/1 t=1-8 ok=0
		batch t=2-3 base=0 vals=1/1
		sweep n=1 t=9-10 range=0-1
		batch n=1 t=9-10 base=0 vals=1/1
	`, `
		send id=1/1 t=4-8 ok=0
		batch t=2-3 base=0 vals=1/1
		sweep n=1 t=9-10 range=0-1
		batch n=1 t=9-10 base=0 vals=1/1
	`},
	// Both records were under way at the same time, so real time allows either order. The
	// producer's order does not.
	{Order, `
		send id=1/1 t=1-8 ok=0
		send id=1/2 t=2-8 ok=1
		sweep n=1 t=9-10 range=0-2
		batch n=1 t=9-10 base=0 vals=1/1,1/2
	`, `
		send id=1/1 t=1-8 ok=1
		send id=1/2 t=2-8 ok=0
		sweep n=1 t=9-10 range=0-2
		batch n=1 t=9-10 base=0 vals=1/2,1/1
	`},
	{StartBack, `
		send id=1/1 t=1-2 ok=0
		told t=3-4 hw=1 start=0
		told t=5-6 hw=1 start=1
		sweep n=1 t=9-10 range=1-1
	`, `
		send id=1/1 t=1-2 ok=0
		told t=3-4 hw=1 start=1
		told t=5-6 hw=1 start=0
		sweep n=1 t=9-10 range=1-1
	`},
	{EpochBack, `
		send id=1/1 t=1-2 ok=0
		told t=3-4 le=1
		told t=5-6 le=2
		sweep n=1 t=9-10 range=0-1
		batch n=1 t=9-10 base=0 vals=1/1 le=1
	`, `
		send id=1/1 t=1-2 ok=0
		told t=3-4 le=2
		told t=5-6 le=1
		sweep n=1 t=9-10 range=0-1
		batch n=1 t=9-10 base=0 vals=1/1 le=1
	`},
	{EpochBack, `
		send id=1/1 t=1-2 ok=0
		send id=1/2 t=3-4 ok=1
		sweep n=1 t=9-10 range=0-2
		batch n=1 t=9-10 base=0 vals=1/1 le=1
		batch n=1 t=9-10 base=1 vals=1/2 le=2
	`, `
		send id=1/1 t=1-2 ok=0
		send id=1/2 t=3-4 ok=1
		sweep n=1 t=9-10 range=0-2
		batch n=1 t=9-10 base=0 vals=1/1 le=2
		batch n=1 t=9-10 base=1 vals=1/2 le=1
	`},
	{StableAbove, `
		send id=1/1 t=1-2 ok=0
		told t=3-4 hw=1 lso=1
		sweep n=1 t=9-10 range=0-1
		batch n=1 t=9-10 base=0 vals=1/1
	`, `
		send id=1/1 t=1-2 ok=0
		told t=3-4 hw=1 lso=2
		sweep n=1 t=9-10 range=0-1
		batch n=1 t=9-10 base=0 vals=1/1
	`},
	// The same numbers from another epoch are another sequence.
	{SequenceTwice, `
		send id=1/1 t=1-2 ok=0 plain
		send id=1/2 t=3-4 ok=1 plain
		sweep n=1 t=9-10 range=0-2
		batch n=1 t=9-10 base=0 vals=1/1 pid=7/0 seq=0
		batch n=1 t=9-10 base=1 vals=1/2 pid=7/1 seq=0
	`, `
		send id=1/1 t=1-2 ok=0 plain
		send id=1/2 t=3-4 ok=1 plain
		sweep n=1 t=9-10 range=0-2
		batch n=1 t=9-10 base=0 vals=1/1 pid=7/0 seq=0
		batch n=1 t=9-10 base=1 vals=1/2 pid=7/0 seq=0
	`},
	{SequenceGap, `
		send id=1/1 t=1-2 ok=0
		send id=1/2 t=1-2 ok=1
		send id=1/3 t=3-4 ok=2
		sweep n=1 t=9-10 range=0-3
		batch n=1 t=9-10 base=0 vals=1/1,1/2 pid=7/0 seq=2147483646
		batch n=1 t=9-10 base=2 vals=1/3 pid=7/0 seq=0
	`, `
		send id=1/1 t=1-2 ok=0
		send id=1/2 t=1-2 ok=1
		send id=1/3 t=3-4 ok=2
		sweep n=1 t=9-10 range=0-3
		batch n=1 t=9-10 base=0 vals=1/1,1/2 pid=7/0 seq=0
		batch n=1 t=9-10 base=2 vals=1/3 pid=7/0 seq=3
	`},
	// What was not in the bucket may be gone after a restore, and its offset may be given again.
	// What was in the bucket must be back.
	{ShortRestore, `
		send id=1/1 t=1-2 ok=0
		send id=1/2 t=1-2 ok=1
		told t=3-4 hw=2 start=0 le=0
		batch t=3-4 base=0 vals=1/1,1/2
		restore at=5 floor=1 survived=1
		told t=6-7 hw=1 start=0 le=10000
		send id=2/1 t=7-8 ok=1
		sweep n=1 t=9-10 range=0-2
		batch n=1 t=9-10 base=0 vals=1/1
		batch n=1 t=9-10 base=1 vals=2/1 le=10000
	`, `
		send id=1/1 t=1-2 ok=0
		send id=1/2 t=1-2 ok=1
		restore at=5 floor=2 survived=1
		sweep n=1 t=9-10 range=0-1
		batch n=1 t=9-10 base=0 vals=1/1
	`},
	// Without the restore the same loss is an anomaly.
	{LostWrite, `
		send id=1/1 t=1-2 ok=0
		send id=1/2 t=1-2 ok=1
		restore at=5 floor=1 survived=1
		sweep n=1 t=9-10 range=0-1
		batch n=1 t=9-10 base=0 vals=1/1
	`, `
		send id=1/1 t=1-2 ok=0
		send id=1/2 t=1-2 ok=1
		restore at=5 floor=1 survived=2
		sweep n=1 t=9-10 range=0-1
		batch n=1 t=9-10 base=0 vals=1/1
	`},
	{NotSwept, `
		send id=1/1 t=1-2 ok=0
		sweep n=1 t=9-10 range=0-1
		batch n=1 t=9-10 base=0 vals=1/1
	`, `
		send id=1/1 t=1-2 ok=0
		batch t=9-10 base=0 vals=1/1
	`},
}

func TestCheck_Goldens(t *testing.T) {
	covered := make(map[string]bool)
	for i, g := range goldens {
		covered[g.kind] = true
		t.Run(fmt.Sprintf("%02d_%s", i, g.kind), func(t *testing.T) {
			if got := parse(t, g.legal).Check(); len(got) > 0 {
				t.Errorf("the legal twin is called %v", got)
			}
			got := parse(t, g.illegal).Check()
			if !slices.ContainsFunc(got, func(a Anomaly) bool { return a.Kind == g.kind }) {
				t.Errorf("found %v, want %s", got, g.kind)
			}
		})
	}
	for _, kind := range []string{
		Fabricated, Misrouted, Altered, BadCRC, TwoValues, Duplicate, WrongOffset, WrongRepeat, LostWrite, Vanished, RefusedSeen,
		Hole, Stale, FromTheFuture, Order, StartBack, EpochBack, StableAbove, SequenceTwice, SequenceGap, ShortRestore, NotSwept,
	} {
		if !covered[kind] {
			t.Errorf("no golden history for %s", kind)
		}
	}
}

// fields is one line of a golden history.
type fields struct {
	t    *testing.T
	line string
	kv   map[string]string
}

func (f fields) num(key string, otherwise int64) int64 {
	v, ok := f.kv[key]
	if !ok {
		return otherwise
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		f.t.Fatalf("%q: %s: %v", f.line, key, err)
	}
	return n
}

// pair reads A-B or A/B.
func (f fields) pair(key string, none int64) (a, b int64) {
	v, ok := f.kv[key]
	if !ok {
		return none, none
	}
	if _, err := fmt.Sscanf(strings.ReplaceAll(v, "/", "-"), "%d-%d", &a, &b); err != nil {
		f.t.Fatalf("%q: %s: %v", f.line, key, err)
	}
	return a, b
}

func (f fields) times() (invoke, complete time.Duration) {
	a, b := f.pair("t", 0)
	return time.Duration(a), time.Duration(b)
}

func (f fields) partition() Partition { return Partition{"t", int32(f.num("p", 0))} }

func (f fields) has(key string) bool { _, ok := f.kv[key]; return ok }

func id(a, b int64) ID { return ID{uint64(a), uint64(b)} }

func hashOf(i ID) uint64 { return i.Client*1000 + i.Counter }

func parse(t *testing.T, text string) *History {
	t.Helper()
	h := New()
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		f := fields{t, line, make(map[string]string)}
		for _, w := range words[1:] {
			k, v, _ := strings.Cut(w, "=")
			f.kv[k] = v
		}
		switch words[0] {
		case "send":
			h.parseSend(f)
		case "batch":
			h.parseBatch(f)
		case "told":
			b := Bounds{Partition: f.partition(), HighWatermark: f.num("hw", -1), LastStable: f.num("lso", -1), LogStart: f.num("start", -1), LeaderEpoch: int32(f.num("le", -1))}
			b.Invoke, b.Complete = f.times()
			h.Told(b)
		case "sweep":
			s := Sweep{Partition: f.partition(), Number: int(f.num("n", 0))}
			s.Invoke, s.Complete = f.times()
			s.Start, s.End = f.pair("range", 0)
			h.Swept(s)
		case "restore":
			h.Restored(Restore{f.partition(), time.Duration(f.num("at", 0)), f.num("floor", 0), f.num("survived", 0)})
		default:
			t.Fatalf("%q: what is %s?", line, words[0])
		}
	}
	return h
}

func (h *History) parseSend(f fields) {
	s := Send{ID: id(f.pair("id", 0)), Partition: f.partition(), Idempotent: !f.has("plain"), Acks: -1}
	s.Hash = hashOf(s.ID)
	var complete time.Duration
	s.Invoke, complete = f.times()
	sent := h.Began(s)
	switch {
	case f.has("ok"):
		sent.Outcome, sent.Offset, sent.Complete = OK, f.num("ok", 0), complete
	case f.has("fail"):
		sent.Outcome, sent.Code, sent.Complete = Fail, int16(f.num("fail", 0)), complete
	}
	if f.has("again") {
		h.Ended(sent, OK, 0, f.num("again", 0))
	}
}

func (h *History) parseBatch(f fields) {
	b := Batch{Partition: f.partition(), Sweep: int(f.num("n", 0)), Base: f.num("base", 0), LeaderEpoch: int32(f.num("le", 0)),
		BaseSequence: int32(f.num("seq", -1)), CRCOK: !f.has("bad")}
	b.Invoke, b.Complete = f.times()
	pid, epoch := f.pair("pid", -1)
	b.ProducerID, b.ProducerEpoch = pid, int16(epoch)
	b.Last = b.Base - 1
	for v := range strings.SplitSeq(f.kv["vals"], ",") {
		var r Record
		if _, err := fmt.Sscanf(v, "%d/%d", &r.ID.Client, &r.ID.Counter); err != nil {
			f.t.Fatalf("%q: %v", f.line, err)
		}
		b.Last++
		r.Offset, r.Hash = b.Last, hashOf(r.ID)
		if f.has("hash") {
			r.Hash = uint64(f.num("hash", 0))
		}
		b.Records = append(b.Records, r)
	}
	h.Saw(b)
}
