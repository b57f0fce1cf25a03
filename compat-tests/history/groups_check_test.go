package history

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// groupGolden is the history of one group that a correct coordinator explains, and its twin that
// none explains. Lines:
//
//	commit t=INVOKE-COMPLETE at=OFFSET m=MEMBER g=GENERATION
//	       [fail | lost | died] [meta=TEXT] [purpose] [p=PARTITION]
//	fetch  t=INVOKE-COMPLETE at=OFFSET [meta=TEXT] [p=PARTITION]
//	sync   t=INVOKE-COMPLETE m=MEMBER g=GENERATION parts=P,P
//	given  t=COMPLETE range=FIRST-LAST [p=PARTITION]
//
// lost means that there was no answer, and nobody knows whether the commit is still on its way.
// died means that the broker was killed at COMPLETE.
type groupGolden struct {
	kind           string
	legal, illegal string
}

// all says that all records were given to members before anything was committed.
const all = "given t=0 range=0-99\n"

var groupGoldens = []groupGolden{
	{OffsetBack, all + `
		fetch  t=1-2 at=-1
		commit t=3-4 at=10 m=a g=1
		fetch  t=5-6 at=10
		commit t=7-10 at=20 m=a g=1
		fetch  t=8-9 at=10
		fetch  t=8-9 at=20
	`, all + `
		commit t=3-4 at=10 m=a g=1
		commit t=5-6 at=20 m=a g=1
		fetch  t=7-8 at=10
	`},
	// The commit was acknowledged, and forgotten by a restart.
	{OffsetBack, all + `
		fetch  t=2-5 at=-1
		commit t=3-4 at=10 m=a g=1
	`, all + `
		commit t=3-4 at=10 m=a g=1
		fetch  t=5-6 at=-1
	`},
	// A commit in doubt may have taken effect or not. Once it was shown, it stays.
	{OffsetBack, all + `
		commit t=1-2 at=10 m=a g=1
		commit t=3-4 at=20 m=a g=1 died
		fetch  t=5-6 at=10
	`, all + `
		commit t=1-2 at=10 m=a g=1
		commit t=3-4 at=20 m=a g=1 lost
		fetch  t=5-6 at=20
		fetch  t=7-8 at=10
	`},
	// A commit that ended with the death of its broker does not come back over later ones. A commit
	// that may still be on its way may do so.
	{OffsetBack, all + `
		commit t=1-2 at=10 m=a g=1 lost
		commit t=5-6 at=20 m=a g=1
		fetch  t=7-8 at=10
	`, all + `
		commit t=1-2 at=10 m=a g=1 died
		commit t=5-6 at=20 m=a g=1
		fetch  t=7-8 at=10
	`},
	// A refused commit replaces nothing. The metadata tells one commit from another.
	{OffsetBack, all + `
		commit t=1-2 at=10 m=a g=1 meta=x
		commit t=3-4 at=20 m=b g=0 fail
		fetch  t=5-6 at=10 meta=x
	`, all + `
		commit t=1-2 at=10 m=a g=1 meta=x
		commit t=3-4 at=10 m=a g=1 meta=y
		fetch  t=5-6 at=10 meta=x
	`},
	// Each partition is judged on its own.
	{OffsetBack, all + `
		given  t=0 range=0-99 p=1
		commit t=1-2 at=10 m=a g=1 p=0
		commit t=3-4 at=20 m=a g=1 p=1
		fetch  t=5-6 at=10 p=0
		fetch  t=5-6 at=20 p=1
	`, all + `
		given  t=0 range=0-99 p=1
		commit t=1-2 at=10 m=a g=1 p=0
		commit t=3-4 at=20 m=a g=1 p=1
		fetch  t=5-6 at=10 p=0
		fetch  t=5-6 at=-1 p=1
	`},
	{OffsetMadeUp, all + `
		commit t=1-4 at=10 m=a g=1
		fetch  t=2-3 at=10
	`, all + `
		fetch  t=2-3 at=10
		commit t=4-5 at=10 m=a g=1
	`},
	{OffsetMadeUp, all + `
		commit t=1-2 at=10 m=a g=1 lost
		fetch  t=4-5 at=10
	`, all + `
		commit t=1-2 at=10 m=a g=1 fail
		fetch  t=4-5 at=10
	`},
	{Lowered, all + `
		commit t=1-2 at=20 m=a g=1
		commit t=3-4 at=10 m=a g=1
		commit t=5-6 at=10 m=b g=2 fail
		commit t=7-8 at=20 m=b g=2
		commit t=9-10 at=3 m=c g=-1 purpose
		commit t=11-12 at=4 m=b g=2
	`, all + `
		commit t=1-2 at=20 m=a g=1
		commit t=3-4 at=10 m=b g=1
	`},
	{Zombie, all + `
		sync   t=1-2 m=a g=1 parts=0
		commit t=5-9 at=10 m=a g=1
		sync   t=3-6 m=b g=2 parts=0
		sync   t=5-8 m=a g=1 parts=0
		commit t=9-10 at=10 m=z g=-1
	`, all + `
		sync   t=1-2 m=a g=1 parts=0
		sync   t=3-6 m=b g=2 parts=0
		commit t=7-9 at=10 m=a g=1
	`},
	// After a restart, a generation that existed before is given again.
	{Zombie, `
		sync   t=1-2 m=a g=1 parts=0
		sync   t=3-4 m=a g=2 parts=0
		sync   t=4-5 m=a g=2 parts=0
	`, `
		sync   t=1-2 m=a g=1 parts=0
		sync   t=3-4 m=a g=2 parts=0
		sync   t=5-6 m=b g=1 parts=1
	`},
	{Skipped, `
		given  t=1 range=5-9
		given  t=2 range=0-3
		given  t=3 range=2-4
		commit t=4-5 at=10 m=a g=1
		given  t=6 range=10-12
		commit t=7-8 at=13 m=a g=1
	`, `
		given  t=1 range=5-9
		given  t=2 range=0-3
		commit t=4-5 at=10 m=a g=1
	`},
	{Skipped, `
		given  t=3 range=0-9
		commit t=4-5 at=10 m=a g=1
	`, `
		given  t=5 range=0-9
		commit t=4-6 at=10 m=a g=1
	`},
	{TwoOwners, `
		sync t=1-2 m=a g=1 parts=0,1
		sync t=1-2 m=b g=1 parts=2
		sync t=3-4 m=a g=2 parts=0
		sync t=3-4 m=b g=2 parts=1,2
	`, `
		sync t=1-2 m=a g=1 parts=0,1
		sync t=1-2 m=b g=1 parts=1,2
	`},
	{TwoPlans, `
		sync t=1-2 m=a g=1 parts=0,1
		sync t=3-4 m=a g=1 parts=1,0
	`, `
		sync t=1-2 m=a g=1 parts=0,1
		sync t=3-4 m=a g=1 parts=0
	`},
}

func TestGroupsCheck_Goldens(t *testing.T) {
	covered := make(map[string]bool)
	for i, g := range groupGoldens {
		covered[g.kind] = true
		t.Run(fmt.Sprintf("%02d_%s", i, g.kind), func(t *testing.T) {
			if got := parseGroups(t, g.legal).Check(); len(got) > 0 {
				t.Errorf("the legal twin is called %v", got)
			}
			got := parseGroups(t, g.illegal).Check()
			if !slices.ContainsFunc(got, func(a GroupAnomaly) bool { return a.Kind == g.kind }) {
				t.Errorf("found %v, want %s", got, g.kind)
			}
		})
	}
	for _, kind := range []string{OffsetBack, OffsetMadeUp, Lowered, Zombie, Skipped, TwoOwners, TwoPlans} {
		if !covered[kind] {
			t.Errorf("no golden history for %s", kind)
		}
	}
}

func TestGroups_Counts(t *testing.T) {
	got := parseGroups(t, groupGoldens[2].legal+"commit t=7-8 at=1 m=a g=0 fail\nsync t=1-2 m=a g=1 parts=0\nsync t=1-2 m=b g=1 parts=1").Counts()
	want := GroupCounts{Committed: 1, Refused: 1, InDoubt: 1, Answers: 1, Assignments: 2, Deliveries: 1, Generations: 1}
	if got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
}

func parseGroups(t *testing.T, text string) *Groups {
	t.Helper()
	g := NewGroups()
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
		slot := Slot{"g", f.partition()}
		position := Position{f.num("at", -1), f.kv["meta"]}
		switch words[0] {
		case "commit":
			g.parseCommit(f, slot, position)
		case "fetch":
			a := Answer{Slot: slot, Position: position}
			a.Invoke, a.Complete = f.times()
			g.Answered(a)
		case "sync":
			a := Assignment{Group: "g", Generation: int32(f.num("g", 0)), Owner: f.kv["m"]}
			a.Invoke, a.Complete = f.times()
			for p := range strings.SplitSeq(f.kv["parts"], ",") {
				n, err := strconv.Atoi(p)
				if err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				a.Partitions = append(a.Partitions, Partition{"t", int32(n)})
			}
			g.Assigned(a)
		case "given":
			d := Delivery{Slot: slot, Complete: time.Duration(f.num("t", 0))}
			d.First, d.Last = f.pair("range", 0)
			g.Delivered(d)
		default:
			t.Fatalf("%q: what is %s?", line, words[0])
		}
	}
	return g
}

func (g *Groups) parseCommit(f fields, slot Slot, position Position) {
	invoke, complete := f.times()
	c := g.Began(Commit{Slot: slot, Position: position, Member: f.kv["m"], Generation: int32(f.num("g", 0)), OnPurpose: f.has("purpose"), Invoke: invoke})
	switch {
	case f.has("fail"):
		g.Ended(c, complete, 22)
	case f.has("died"):
		g.Doubted(c, complete)
	case !f.has("lost"):
		g.Ended(c, complete, 0)
	}
}
