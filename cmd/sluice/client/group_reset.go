package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

// resetOptions say which partitions of a group are moved, and where to: by exactly one of to,
// toCurrent, shift and fromFile.
type resetOptions struct {
	topics    []string
	allTopics bool

	to        string
	toCurrent bool
	shift     string
	fromFile  string

	toFile  string
	execute bool
}

// resetPlan is what a reset does, or would do.
type resetPlan struct {
	Group      string     `json:"group"`
	Executed   bool       `json:"executed"`
	Replayed   int64      `json:"replayed"` // records that will be read again
	Skipped    int64      `json:"skipped"`  // records that will not be read
	LagAfter   int64      `json:"lag_after"`
	Partitions []resetRow `json:"partitions"`

	leftOut int // partitions without a committed offset to start from
}

type resetRow struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Current   *int64 `json:"current"` // null if nothing is committed
	Target    int64  `json:"target"`
	Replayed  int64  `json:"replayed"`
	Skipped   int64  `json:"skipped"`
	LagAfter  int64  `json:"lag_after"`
	Note      string `json:"note,omitempty"`
}

func groupReset(c *connection) *cobra.Command {
	var out format
	var o resetOptions
	cmd := &cobra.Command{
		Use:   "reset-offsets GROUP",
		Short: "Move where a group reads: shows what would happen, and does it with --execute",
		Long: `Move where a group reads. Without --execute it only shows, for each partition, from where to
where, and which records would be read again or skipped.

Which partitions: --topic T for a topic, --topic T:0,2 for some of its partitions (repeat for
more), or --all-topics for every topic that the group has committed offsets for.

Where to, one of:
  --to WHERE        by the grammar below
  --shift-by N      N records onward from what is committed; -N: back
  --to-current      what is committed; with --to-file, to keep it
  --from-file FILE  what a file says; it names the partitions too

Files have lines of topic,partition,offset, as those of Kafka's own tool; a name that ends in
.json makes it [{"topic":"t","partition":0,"offset":7}]. --to-file writes the targets of the
plan, with or without --execute.

The group must have no members then: stop its consumers first. The offsets are read back
after they were committed.`,
		Annotations: reference(whereHelp),
		Example: `  sluice group reset-offsets billing --all-topics --to @-1h
  sluice group reset-offsets billing --topic orders:0,2 --to start --execute
  sluice group reset-offsets billing --topic orders --shift-by -100
  sluice group reset-offsets billing --all-topics --to-current --to-file before.csv
  sluice group reset-offsets billing --from-file before.csv --execute`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeWith(c, 1, groupNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runReset(cmd, c, out, o, args[0])
		},
	}
	out.addFlag(cmd)
	f := cmd.Flags()
	f.StringArrayVar(&o.topics, "topic", nil, "`TOPIC` or TOPIC:PARTITION,PARTITION (repeat for more)")
	f.BoolVar(&o.allTopics, "all-topics", false, "every topic that the group has committed offsets for")
	f.StringVar(&o.to, "to", "", "`WHERE` to read next: start, end, N, +N, -N, @TIME or @-AGE")
	f.BoolVar(&o.toCurrent, "to-current", false, "leave it at what is committed, moved into what is kept")
	f.StringVar(&o.shift, "shift-by", "", "`N` records onward, or back with a minus")
	f.StringVar(&o.fromFile, "from-file", "", "`FILE` with targets; - reads standard input")
	f.StringVar(&o.toFile, "to-file", "", "`FILE` to write the targets to")
	f.BoolVar(&o.execute, "execute", false, "do it")
	_ = cmd.RegisterFlagCompletionFunc("topic", completeWith(c, 0, topicNames))
	return cmd
}

// target returns where a partition is moved. ok is false if there is nothing to start from.
type target func(p partition, current *int64, s span) (offset int64, note string, ok bool)

func runReset(cmd *cobra.Command, c *connection, out format, o resetOptions, group string) error {
	if err := o.check(); err != nil {
		return err
	}
	var file map[partition]int64
	if o.fromFile != "" {
		var err error
		if file, err = readOffsetsFile(o.fromFile, cmd.InOrStdin()); err != nil {
			return usage("--from-file %s: %w", o.fromFile, err)
		}
	}
	return c.bounded(cmd, func(ctx context.Context, s *session) error {
		state, err := s.resettable(ctx, group, o.execute)
		if err != nil {
			return err
		}
		plan, err := s.planReset(ctx, group, o, file)
		if err != nil {
			return err
		}
		if o.toFile != "" {
			if err := writeOffsetsFile(o.toFile, plan); err != nil {
				return fmt.Errorf("--to-file %s: %w", o.toFile, err)
			}
		}
		var failed error
		if o.execute {
			failed = s.executeReset(ctx, plan)
		}
		if err := out.print(cmd.OutOrStdout(), plan, func(t *tabulator) { printReset(t, plan, state, o.execute) }); err != nil {
			return err
		}
		return failed
	})
}

// check requires exactly one way to choose partitions, and one to say where to.
func (o *resetOptions) check() error {
	ways := 0
	for _, given := range []bool{o.to != "", o.toCurrent, o.shift != "", o.fromFile != ""} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return usage("where to? Want one of --to, --shift-by, --to-current and --from-file")
	}
	chosen := len(o.topics) > 0
	switch {
	case o.fromFile != "" && (chosen || o.allTopics):
		return usage("--from-file names the partitions: leave --topic and --all-topics out")
	case o.fromFile == "" && chosen == o.allTopics:
		return usage("which partitions? Want --topic TOPIC[:PARTITION,…] or --all-topics")
	}
	return nil
}

// resettable requires a group without members. If nothing is executed, it only returns the group's
// state.
func (s *session) resettable(ctx context.Context, group string, execute bool) (state string, err error) {
	d, err := s.groupState(ctx, group)
	switch {
	case ExitCode(err) == exitNotFound:
		return "There is no such group yet: --execute makes it.", nil
	case err != nil:
		return "", err
	case len(d.Members) == 0 && d.State == "Empty":
		return "", nil
	case execute:
		return "", fail(exitRefused, "group %q is %s with %s: stop its consumers first, they would go on from where they are", group, d.State, plural(len(d.Members), "member"))
	}
	return fmt.Sprintf("The group is %s with %s: stop its consumers before --execute.", d.State, plural(len(d.Members), "member")), nil
}

// planReset works out a target for each partition.
func (s *session) planReset(ctx context.Context, group string, o resetOptions, file map[partition]int64) (*resetPlan, error) {
	committed, err := s.committed(ctx, group)
	if err != nil {
		return nil, err
	}
	selections, err := o.selections(group, committed, file)
	if err != nil {
		return nil, err
	}
	parts, err := s.partitionsOf(ctx, selections)
	if err != nil {
		return nil, err
	}
	spans, err := s.spans(ctx, parts, s.admin.ListEndOffsets)
	if err != nil {
		return nil, err
	}
	to, err := s.targets(ctx, o, file, parts)
	if err != nil {
		return nil, err
	}
	plan := newPlan(group, parts, committed, spans, to)
	if o.execute && len(plan.Partitions) == 0 {
		return nil, notFound("group %q has committed nothing there to go by: use --to", group)
	}
	return plan, nil
}

func (o *resetOptions) selections(group string, committed, file map[partition]int64) ([]selection, error) {
	if len(o.topics) > 0 {
		var list []selection
		for _, text := range o.topics {
			sel, err := parseSelection(text)
			if err != nil {
				return nil, usage("--topic %w", err)
			}
			list = append(list, sel)
		}
		return list, nil
	}
	if file != nil {
		var list []selection
		for p := range file {
			list = append(list, selection{p.topic, []int32{p.number}})
		}
		return list, nil
	}
	if len(committed) == 0 {
		return nil, notFound("group %q has no committed offsets: name topics with --topic", group)
	}
	var list []selection
	for _, t := range topicsOf(slices.SortedFunc(maps.Keys(committed), comparePartitions)) {
		list = append(list, selection{topic: t})
	}
	return list, nil
}

// targets turns the options into a function.
func (s *session) targets(ctx context.Context, o resetOptions, file map[partition]int64, parts []partition) (target, error) {
	switch {
	case o.toCurrent:
		return func(_ partition, current *int64, sp span) (int64, string, bool) {
			if current == nil {
				return 0, "", false
			}
			offset, note := sp.clamp(*current)
			return offset, note, true
		}, nil
	case o.shift != "":
		by, err := strconv.ParseInt(o.shift, 10, 64)
		if err != nil {
			return nil, usage("--shift-by %q: want a number, such as 100 or -100", o.shift)
		}
		return func(_ partition, current *int64, sp span) (int64, string, bool) {
			if current == nil {
				return 0, "", false
			}
			offset, note := sp.shift(*current, by)
			return offset, note, true
		}, nil
	case file != nil:
		return func(p partition, _ *int64, sp span) (int64, string, bool) {
			offset, note := sp.clamp(file[p])
			return offset, note, true
		}, nil
	}
	w, err := parseWhere(o.to)
	if err != nil {
		return nil, usage("--to %q: %w", o.to, err)
	}
	places, err := s.find(ctx, w, parts, s.admin.ListEndOffsets)
	if err != nil {
		return nil, err
	}
	return func(p partition, _ *int64, sp span) (int64, string, bool) {
		return places[p].offset, places[p].note, true
	}, nil
}

// newPlan counts the records that are read again and those that are skipped, among those that are
// still kept.
func newPlan(group string, parts []partition, committed map[partition]int64, spans map[partition]span, to target) *resetPlan {
	plan := &resetPlan{Group: group, Partitions: []resetRow{}}
	for _, p := range parts {
		sp, row := spans[p], resetRow{Topic: p.topic, Partition: p.number}
		if at, ok := committed[p]; ok {
			row.Current = &at
		}
		var ok bool
		if row.Target, row.Note, ok = to(p, row.Current, sp); !ok {
			plan.leftOut++
			continue
		}
		if row.Current != nil {
			from, _ := sp.clamp(*row.Current)
			row.Replayed, row.Skipped = max(from-row.Target, 0), max(row.Target-from, 0)
		}
		row.LagAfter = max(sp.end-row.Target, 0)
		plan.Replayed += row.Replayed
		plan.Skipped += row.Skipped
		plan.LagAfter += row.LagAfter
		plan.Partitions = append(plan.Partitions, row)
	}
	return plan
}

// executeReset commits outside of any generation, which a group without members accepts, and reads
// the result back.
func (s *session) executeReset(ctx context.Context, plan *resetPlan) error {
	offsets := make(kadm.Offsets)
	for _, r := range plan.Partitions {
		offsets.Add(kadm.Offset{Topic: r.Topic, Partition: r.Partition, At: r.Target, LeaderEpoch: -1})
	}
	responses, err := s.admin.CommitOffsets(ctx, plan.Group, offsets)
	if err != nil {
		return groupError(plan.Group, s.explain(err), "")
	}
	var failed []error
	for _, r := range responses.Sorted() {
		if r.Err != nil {
			failed = append(failed, groupError(plan.Group, r.Err, partition{r.Topic, r.Partition}.String()))
		}
	}
	if len(failed) == len(plan.Partitions) && len(failed) > 0 {
		return failed[0] // all for the same reason, most likely
	}
	plan.Executed = true
	if len(failed) > 0 {
		return several(len(plan.Partitions)-len(failed), failed)
	}
	return s.checkReset(ctx, plan)
}

// checkReset reads back what was committed.
func (s *session) checkReset(ctx context.Context, plan *resetPlan) error {
	committed, err := s.committed(ctx, plan.Group)
	if err != nil {
		return err
	}
	for _, r := range plan.Partitions {
		p := partition{r.Topic, r.Partition}
		if at, ok := committed[p]; !ok || at != r.Target {
			return fmt.Errorf("%v: committed %d, but it reads back as %d (there: %v): is another client committing for group %q?", p, r.Target, at, ok, plan.Group)
		}
	}
	return nil
}

func printReset(t *tabulator, plan *resetPlan, state string, execute bool) {
	t.head("TOPIC", "PARTITION", "CURRENT", "TARGET", "CHANGE", "LAG AFTER", "NOTE")
	for _, r := range plan.Partitions {
		t.row(r.Topic, r.Partition, r.Current, r.Target, r.change(), r.LagAfter, r.Note)
	}
	t.line("")
	t.line("Group %s: %s, reads %s again and skips %d; lag after: %d.", plan.Group, plural(len(plan.Partitions), "partition"),
		plural(plan.Replayed, "record"), plan.Skipped, plan.LagAfter)
	if plan.leftOut > 0 {
		t.line("Left out, since nothing is committed there: %s.", plural(plan.leftOut, "partition"))
	}
	switch {
	case !execute:
		if state != "" {
			t.line("%s", state)
		}
		t.line("A dry run: nothing was changed. Add --execute to do it.")
	case plan.Executed:
		t.line("Done.")
	}
}

func (r *resetRow) change() string {
	switch {
	case r.Current == nil:
		return "new"
	case r.Replayed > 0:
		return fmt.Sprintf("reads %d again", r.Replayed)
	case r.Skipped > 0:
		return fmt.Sprintf("skips %d", r.Skipped)
	}
	return "none"
}

// readOffsetsFile reads JSON if the file begins with a bracket, and otherwise lines of
// topic,partition,offset.
func readOffsetsFile(name string, stdin io.Reader) (map[partition]int64, error) {
	var b []byte
	var err error
	if name == "-" {
		b, err = io.ReadAll(stdin)
	} else {
		b, err = os.ReadFile(name)
	}
	if err != nil {
		var path *os.PathError
		if errors.As(err, &path) {
			err = path.Err // the flag and its value say which file
		}
		return nil, err
	}
	return parseOffsets(b)
}

func writeOffsetsFile(name string, plan *resetPlan) error {
	rows := make([]offsetLine, 0, len(plan.Partitions))
	for _, r := range plan.Partitions {
		rows = append(rows, offsetLine{r.Topic, r.Partition, r.Target})
	}
	var out bytes.Buffer
	if strings.HasSuffix(name, ".json") {
		b, err := toJSON(rows, "  ")
		if err != nil {
			return err
		}
		out.Write(b)
	} else {
		for _, r := range rows {
			fmt.Fprintf(&out, "%s,%d,%d\n", r.Topic, r.Partition, r.Offset)
		}
	}
	return os.WriteFile(name, out.Bytes(), 0o644)
}
