package compat

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicemq/sluice/compat-tests/harness"
)

// kcat starts kcat on the broker.
func (l *lab) kcat(t *testing.T, args ...string) *harness.Program {
	t.Helper()
	return harness.Exec(t, "kcat "+strings.Join(args, " "), exec.Command(harness.Tool(t, "kcat"), append([]string{"-b", l.Addr}, args...)...))
}

// kcatOut runs kcat to its end, with lines of input, and returns what it printed.
func (l *lab) kcatOut(t *testing.T, input []string, args ...string) string {
	t.Helper()
	p := l.kcat(t, args...)
	for _, line := range input {
		p.Send(t, line)
	}
	return p.Done(t, clientLimit)
}

// clientKcat tests every mode of kcat.
func clientKcat(t *testing.T, l *lab) {
	t.Run("List", func(t *testing.T) { kcatList(t, l) })
	t.Run("Records", func(t *testing.T) { kcatRecords(t, l) })
	t.Run("Positions", func(t *testing.T) { kcatPositions(t, l) })
	t.Run("Group", func(t *testing.T) { kcatGroup(t, l) })
}

// kcatList tests -L, and its JSON.
func kcatList(t *testing.T, l *lab) {
	mustCreate(t, l.Addr, "kcat-list", 3)
	out := l.kcatOut(t, nil, "-L", "-t", "kcat-list")
	for _, want := range []string{"1 brokers:", "broker 1 at " + l.Addr + " (controller)", `topic "kcat-list" with 3 partitions:`, "partition 2, leader 1, replicas: 1, isrs: 1"} {
		if !strings.Contains(out, want) {
			t.Errorf("-L does not say %q:\n%s", want, out)
		}
	}
	var list struct {
		ControllerID int
		Topics       []struct {
			Topic      string
			Partitions []struct{ Partition, Leader int }
		}
	}
	if err := json.Unmarshal([]byte(l.kcatOut(t, nil, "-L", "-J", "-t", "kcat-list")), &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Topics) != 1 || len(list.Topics[0].Partitions) != 3 || list.Topics[0].Partitions[1].Leader != 1 {
		t.Errorf("-L -J: %+v", list)
	}
}

// kcatRecords sends keys, headers, nulls and every codec, and reads them back.
func kcatRecords(t *testing.T, l *lab) {
	mustCreate(t, l.Addr, "kcat-records", int32(len(codecs)))
	for p, codec := range codecs {
		lines := []string{"a:one", "b:", ":three", "d:" + strings.Repeat("four", 500)}
		l.kcatOut(t, lines, "-P", "-t", "kcat-records", "-p", fmt.Sprint(p), "-z", codec, "-K:", "-Z", "-H", "codec="+codec, "-H", "kind=test", "-X", "enable.idempotence=true")
		out := l.kcatOut(t, nil, "-C", "-t", "kcat-records", "-p", fmt.Sprint(p), "-o", "beginning", "-e", "-q", "-Z", "-f", `%o %K %k %S %s %h\n`)
		headers := " codec=" + codec + ",kind=test"
		want := []string{"0 1 a 3 one" + headers, "1 1 b -1 NULL" + headers, "2 -1 NULL 5 three" + headers, "3 1 d 2000 " + strings.Repeat("four", 500) + headers}
		if got := strings.Split(strings.TrimSpace(out), "\n"); !slices.Equal(got, want) {
			t.Errorf("%s: read\n%q\nwant\n%q", codec, got, want)
		}
	}
}

// kcatPositions tests offsets of every kind that kcat knows, and offsets by time.
func kcatPositions(t *testing.T, l *lab) {
	const topic = "kcat-positions"
	mustCreate(t, l.Addr, topic, 1)
	l.kcatOut(t, []string{"r0", "r1", "r2", "r3", "r4"}, "-P", "-t", topic)
	// The next record gets a later millisecond than these, so that a time between the two can be
	// asked for.
	last := l.kcatOut(t, nil, "-C", "-t", topic, "-o", "4", "-c", "1", "-q", "-f", "%T")
	var ms int64
	if _, err := fmt.Sscan(last, &ms); err != nil {
		t.Fatal(err)
	}
	if err := harness.Until(clientLimit, func() error {
		if time.Now().UnixMilli() <= ms {
			return fmt.Errorf("the clock stands at %d", ms)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	l.kcatOut(t, []string{"r5", "r6", "r7", "r8", "r9"}, "-P", "-t", topic)
	between := fmt.Sprint(ms + 1)
	for _, c := range []struct {
		from []string
		want string
	}{
		{[]string{"-o", "beginning"}, "0 1 2 3 4 5 6 7 8 9"},
		{[]string{"-o", "7"}, "7 8 9"},
		{[]string{"-o", "-2"}, "8 9"},
		{[]string{"-o", "end"}, ""},
		{[]string{"-o", "s@" + between}, "5 6 7 8 9"},
		{[]string{"-o", "beginning", "-c", "3"}, "0 1 2"},
		{[]string{"-o", "s@1", "-o", "e@" + between}, "0 1 2 3 4"},
	} {
		out := l.kcatOut(t, nil, append([]string{"-C", "-t", topic, "-p", "0", "-e", "-q", "-f", "%o "}, c.from...)...)
		if got := strings.TrimSpace(out); got != c.want {
			t.Errorf("%v reads %q, want %q", c.from, got, c.want)
		}
	}
	for at, want := range map[string]string{"-2": "0", "-1": "10", between: "5", "1": "0", "99999999999999": "-1"} {
		if out := l.kcatOut(t, nil, "-Q", "-t", topic+":0:"+at); !strings.Contains(out, "offset "+want+"\n") {
			t.Errorf("-Q at %s: %q, want offset %s", at, out, want)
		}
	}
}

// kcatGroup: two balanced consumers share a topic. When one goes, the other takes everything, and
// what was committed is not read again.
func kcatGroup(t *testing.T, l *lab) {
	const topic = "kcat-group"
	mustCreate(t, l.Addr, topic, 4)
	member := func() *harness.Program {
		return l.kcat(t, "-u", "-X", "heartbeat.interval.ms=300", "-X", "auto.offset.reset=earliest", "-X", "auto.commit.interval.ms=100",
			"-f", `record %p %o %T - %S - -\n`, "-G", topic, topic)
	}
	await := func(want int64, members ...*harness.Program) {
		t.Helper()
		for p := range 4 {
			l.kcatOut(t, []string{"x", "y", "z"}, "-P", "-t", topic, "-p", fmt.Sprint(p))
		}
		err := harness.Until(clientLimit, func() error {
			count := 0
			for _, m := range members {
				count += len(recordsIn(t, m.Lines()))
			}
			if count < int(want) {
				return fmt.Errorf("%d records read, want %d", count, want)
			}
			return nil
		})
		if err != nil {
			t.Fatalf("%v\n%s", err, members[0].Tail())
		}
	}
	first := member()
	await(12, first)
	second := member()
	shares := func(p *harness.Program, want int) func([]string) error {
		return func([]string) error {
			if got := kcatShare(p.Errors()); got != want {
				return fmt.Errorf("%d partitions assigned, want %d", got, want)
			}
			return nil
		}
	}
	first.Await(t, clientLimit, shares(first, 2))
	second.Await(t, clientLimit, shares(second, 2))
	await(24, first, second)
	second.Interrupt(t)
	second.Wait(t, clientLimit)
	first.Await(t, clientLimit, shares(first, 4))
	await(36, first, second)
	first.Interrupt(t)
	first.Wait(t, clientLimit)
	seen := make(map[string]bool)
	for _, r := range append(recordsIn(t, first.Lines()), recordsIn(t, second.Lines())...) {
		place := fmt.Sprintf("%d:%d", r.partition, r.offset)
		if seen[place] {
			t.Errorf("record %s was read twice", place)
		}
		seen[place] = true
	}
	if len(seen) != 36 {
		t.Errorf("%d records were read, want 36", len(seen))
	}
}

// kcatShare returns how many partitions the last rebalance gave.
func kcatShare(complaints string) int {
	i := strings.LastIndex(complaints, "assigned: ")
	if i < 0 {
		return 0
	}
	line, _, _ := strings.Cut(complaints[i:], "\n")
	return strings.Count(line, "[")
}
