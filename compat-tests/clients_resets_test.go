package compat

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicemq/sluice/compat-tests/harness"
)

// The topic and the group of the reset tests. Each of two partitions has resetEach records, a
// second apart. At first the group has committed nothing.
const (
	resetTopic = "tool-resets"
	resetGroup = "tool-resets"
	resetEach  = 20
)

// resetCase is one way to name offsets, and the offsets that it gives in partitions 0 and 1.
type resetCase struct {
	how  []string
	want [2]int64
}

// toolResets runs kafka-consumer-groups --reset-offsets with every kind of target, first as a dry
// run and then for real.
func toolResets(t *testing.T, l *lab) {
	mustCreate(t, l.Addr, resetTopic, 2)
	start := time.Now().Add(-time.Hour).Truncate(time.Second)
	seedTopic(t, l, resetTopic, 2, resetEach, start.UnixMilli())
	// The date lies half a second after the record with offset 10.
	date := start.Add(10*time.Second + 500*time.Millisecond).UTC().Format("2006-01-02T15:04:05.000")
	file := filepath.Join(t.TempDir(), "offsets.csv")
	if err := os.WriteFile(file, []byte(resetTopic+",0,3\n"+resetTopic+",1,4\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []resetCase{
		{[]string{"--to-offset", "10"}, [2]int64{10, 10}},
		{[]string{"--to-earliest"}, [2]int64{0, 0}},
		{[]string{"--to-latest"}, [2]int64{20, 20}},
		{[]string{"--shift-by", "-5"}, [2]int64{15, 15}},
		{[]string{"--shift-by", "2"}, [2]int64{17, 17}},
		{[]string{"--to-current"}, [2]int64{17, 17}},
		{[]string{"--to-datetime", date}, [2]int64{11, 11}},
		{[]string{"--to-datetime", start.Add(-time.Hour).UTC().Format("2006-01-02T15:04:05.000Z")}, [2]int64{0, 0}},
		{[]string{"--by-duration", "PT30M"}, [2]int64{20, 20}},
		{[]string{"--by-duration", "P1D"}, [2]int64{0, 0}},
		{[]string{"--to-offset", "1000"}, [2]int64{20, 20}}, // beyond the end counts as the end
		{[]string{"--shift-by", "-1000"}, [2]int64{0, 0}},
		{[]string{"--from-file", file}, [2]int64{3, 4}},
		{[]string{"--to-current"}, [2]int64{3, 4}},
	} {
		resetTo(t, l, c)
	}
	export := l.tool(t, "kafka-consumer-groups", "--reset-offsets", "--group", resetGroup, "--topic", resetTopic, "--to-current", "--export", "--dry-run")
	if got := slices.Sorted(slices.Values(strings.Fields(export))); !slices.Equal(got, []string{"tool-resets,0,3", "tool-resets,1,4"}) {
		t.Errorf("exported are %q", got)
	}
	// Only one partition is reset.
	l.tool(t, "kafka-consumer-groups", "--reset-offsets", "--group", resetGroup, "--topic", resetTopic+":1", "--to-offset", "9", "--execute")
	wantCommitted(t, l, map[int32]int64{0: 3, 1: 9})
	wantSaid(t, l.tool(t, "kafka-consumer-groups", "--delete-offsets", "--group", resetGroup, "--topic", resetTopic+":0"), `tool-resets\s+0\s+Successful`)
	wantCommitted(t, l, map[int32]int64{1: 9})
	wantSaid(t, l.tool(t, "kafka-consumer-groups", "--delete", "--group", resetGroup), `Deletion of requested consumer groups \('tool-resets'\) was successful`)
	l.toolRefuses(t, "GroupIdNotFoundException", "kafka-consumer-groups", "--describe", "--group", resetGroup)
}

// resetTo tries a reset as a dry run, which must change nothing, and then executes it.
func resetTo(t *testing.T, l *lab, c resetCase) {
	t.Helper()
	before := resetCommitted(t, l)
	args := append([]string{"--reset-offsets", "--group", resetGroup, "--topic", resetTopic}, c.how...)
	rows := []string{fmt.Sprintf(`tool-resets\s+tool-resets\s+0\s+%d\s*$`, c.want[0]), fmt.Sprintf(`tool-resets\s+tool-resets\s+1\s+%d\s*$`, c.want[1])}
	wantSaid(t, l.tool(t, "kafka-consumer-groups", append(args, "--dry-run")...), rows...)
	if after := resetCommitted(t, l); !maps.Equal(before, after) {
		t.Errorf("%v: the trial moved the offsets from %v to %v", c.how, before, after)
	}
	wantSaid(t, l.tool(t, "kafka-consumer-groups", append(args, "--execute")...), rows...)
	wantCommitted(t, l, map[int32]int64{0: c.want[0], 1: c.want[1]})
}

func wantCommitted(t *testing.T, l *lab, want map[int32]int64) {
	t.Helper()
	if got := resetCommitted(t, l); !maps.Equal(got, want) {
		t.Errorf("committed are %v, want %v", got, want)
	}
}

// resetCommitted returns the offsets of the group.
func resetCommitted(t *testing.T, l *lab) map[int32]int64 {
	t.Helper()
	adm, cl := l.kadm(t)
	defer cl.Close()
	offsets, err := adm.FetchOffsets(t.Context(), resetGroup)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[int32]int64)
	for p, o := range offsets[resetTopic] {
		got[p] = o.At
	}
	return got
}

// toolGroups tests what kafka-consumer-groups and kafka-groups say about a living group.
func toolGroups(t *testing.T, l *lab) {
	const name = "tool-groups"
	mustCreate(t, l.Addr, name, 4)
	seedTopic(t, l, name, 4, 10, time.Now().UnixMilli())
	java := l.stocks[0]
	member := java.start(t, "member", "bootstrap="+l.Addr, "topic="+name, "group="+name, "assignor=range")
	member.Await(t, clientLimit, func(lines []string) error {
		if got := len(recordsIn(t, lines)); got != 40 {
			return fmt.Errorf("%d records read, want 40", got)
		}
		return nil
	})
	groups := func(args ...string) string {
		t.Helper()
		return l.tool(t, "kafka-consumer-groups", append(args, "--group", name)...)
	}
	if err := harness.Until(clientLimit, func() error {
		if out := groups("--describe"); strings.Count(out, " 10 ") < 8 {
			return fmt.Errorf("not all is committed: %s", out)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	wantSaid(t, groups("--describe"), `^tool-groups\s+tool-groups\s+3\s+10\s+10\s+0\s+\S+\s+/127\.0\.0\.1\s+\S+`)
	wantSaid(t, groups("--describe", "--offsets", "--verbose"), `^tool-groups\s+tool-groups\s+3\s+\S+\s+10\s+10\s+0\s`)
	wantSaid(t, groups("--describe", "--members"), `^tool-groups\s+\S+\s+/127\.0\.0\.1\s+\S+\s+4\s*$`)
	wantSaid(t, groups("--describe", "--members", "--verbose"), `tool-groups:0,1,2,3|tool-groups\(0,1,2,3\)`)
	wantSaid(t, groups("--describe", "--state"), `^tool-groups\s+127\.0\.0\.1:\d+\s+\(1\)\s+range\s+Stable\s+1\s*$`)
	wantSaid(t, groups("--describe", "--state", "--verbose"), `Stable`)
	wantSaid(t, l.tool(t, "kafka-consumer-groups", "--list"), `^tool-groups$`)
	wantSaid(t, l.tool(t, "kafka-consumer-groups", "--list", "--state"), `^tool-groups\s+Stable`)
	wantSaid(t, l.tool(t, "kafka-consumer-groups", "--list", "--state", "Stable", "--type", "classic"), `^tool-groups\s`)
	wantSaid(t, l.tool(t, "kafka-groups", "--list"), `^tool-groups\s+Classic\s+consumer`)
	wantSaid(t, l.tool(t, "kafka-consumer-groups", "--describe", "--all-groups", "--state"), `^tool-groups\s`)

	// A living group can be neither reset nor deleted.
	l.toolRefuses(t, "inactive", "kafka-consumer-groups", "--reset-offsets", "--group", name, "--topic", name, "--to-earliest", "--execute")
	l.toolRefuses(t, "GroupNotEmptyException", "kafka-consumer-groups", "--delete", "--group", name)
	member.Done(t, clientLimit)
	wantSaid(t, groups("--describe", "--state"), `Empty\s+0\s*$`)
	wantSaid(t, groups("--describe"), `^tool-groups\s+tool-groups\s+0\s+10\s+10\s+0\s+-\s+-\s+-`)
	groups("--reset-offsets", "--all-topics", "--to-earliest", "--execute")
	wantSaid(t, groups("--describe"), `^tool-groups\s+tool-groups\s+0\s+0\s+10\s+10\s+-`)
	groups("--delete")
}
