package client

import (
	"cmp"
	"context"
	"slices"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

// change is one thing that a command changes, or would change.
type change struct {
	Topic string  `json:"topic"`
	What  string  `json:"what"` // "partitions" or a key of the configuration
	From  *string `json:"from"` // null if nothing was set, or if it is sensitive
	To    *string `json:"to"`   // null for the default
}

type alterOptions struct {
	partitions int
	set, unset []string
	dryRun     bool
}

func topicAlter(c *connection) *cobra.Command {
	var out format
	var o alterOptions
	cmd := &cobra.Command{
		Use:   "alter TOPIC…",
		Short: "Change configuration and number of partitions of topics",
		Long: `Change configuration and number of partitions of topics, and show from what to what.

The cluster checks all changes before the first one is made. --partitions is the number that
the topic shall have then; it can only grow. Records stay where they are, and new records of
a key may go to another partition than its old ones.`,
		Annotations: reference(),
		Example: `  sluice topic alter orders --set retention.ms=86400000
  sluice topic alter orders --unset retention.ms
  sluice topic alter orders payments --partitions 12 --dry-run`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeWith(c, 0, topicNames),
		RunE: func(cmd *cobra.Command, topics []string) error {
			wanted, err := o.configs()
			if err != nil {
				return err
			}
			return c.bounded(cmd, func(ctx context.Context, s *session) error {
				changes, err := s.alterTopics(ctx, topics, o, wanted)
				if err != nil {
					return err
				}
				return out.print(cmd.OutOrStdout(), changes, func(t *tabulator) { printChanges(t, changes, o.dryRun) })
			})
		},
	}
	out.addFlag(cmd)
	f := cmd.Flags()
	f.IntVarP(&o.partitions, "partitions", "p", 0, "`N` partitions that the topic shall have")
	f.StringArrayVar(&o.set, "set", nil, "`KEY=VALUE` to set (repeat for more)")
	f.StringArrayVar(&o.unset, "unset", nil, "`KEY` to put back to its default (repeat for more)")
	f.BoolVar(&o.dryRun, "dry-run", false, "let the cluster check, show the changes and make none")
	_ = cmd.RegisterFlagCompletionFunc("set", completeConfigKeys(c, "="))
	_ = cmd.RegisterFlagCompletionFunc("unset", completeConfigKeys(c, ""))
	return cmd
}

// completeConfigKeys offers the keys of the topic that is named before the flag.
func completeConfigKeys(c *connection, after string) completion {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		keys, directive := completeWith(c, 0, func(ctx context.Context, s *session) ([]string, error) {
			described, err := s.admin.DescribeTopicConfigs(ctx, args[0])
			var keys []string
			for _, rc := range described {
				for _, config := range rc.Configs {
					keys = append(keys, config.Key+after)
				}
			}
			return keys, err
		})(cmd, args, typed)
		return keys, directive | cobra.ShellCompDirectiveNoSpace
	}
}

// configs are the changes of configuration that the flags request, by key.
func (o *alterOptions) configs() ([]kadm.AlterConfig, error) {
	set, err := parseConfigs(o.set)
	if err != nil {
		return nil, err
	}
	var wanted []kadm.AlterConfig
	for key, value := range set {
		wanted = append(wanted, kadm.AlterConfig{Op: kadm.SetConfig, Name: key, Value: value})
	}
	for _, key := range o.unset {
		if set[key] != nil {
			return nil, usage("%s is set and unset", key)
		}
		wanted = append(wanted, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: key})
	}
	if len(wanted) == 0 && o.partitions == 0 {
		return nil, usage("nothing to change: want --set, --unset or --partitions")
	}
	if o.partitions < 0 {
		return nil, usage("--partitions %d: want a number above zero", o.partitions)
	}
	slices.SortFunc(wanted, func(a, b kadm.AlterConfig) int { return cmp.Compare(a.Name, b.Name) })
	return wanted, nil
}

// alterTopics has all changes checked, and makes them unless this is a dry run.
func (s *session) alterTopics(ctx context.Context, topics []string, o alterOptions, wanted []kadm.AlterConfig) ([]change, error) {
	changes, err := s.changes(ctx, topics, o, wanted)
	if err != nil {
		return nil, err
	}
	if errs := s.apply(ctx, topics, o.partitions, wanted, true); len(errs) > 0 {
		return nil, several(0, errs)
	}
	if o.dryRun {
		return changes, nil
	}
	errs := s.apply(ctx, topics, o.partitions, wanted, false)
	return changes, several(len(topics)-len(errs), errs)
}

// apply makes the changes, or only lets the cluster check them.
func (s *session) apply(ctx context.Context, topics []string, partitions int, wanted []kadm.AlterConfig, check bool) (errs []error) {
	if len(wanted) > 0 {
		responses, err := s.admin.AlterTopicConfigs(ctx, check, wanted, topics...)
		if err != nil {
			return []error{s.explain(firstShardError(err))}
		}
		for _, r := range responses {
			if r.Err != nil {
				errs = append(errs, topicError(r.Name, r.Err, r.ErrMessage))
			}
		}
	}
	if partitions > 0 && len(errs) == 0 {
		responses, err := s.admin.UpdatePartitions(ctx, check, partitions, topics...)
		if err != nil {
			return []error{s.explain(err)}
		}
		for _, r := range responses.Sorted() {
			if r.Err != nil {
				errs = append(errs, topicError(r.Topic, r.Err, r.ErrMessage))
			}
		}
	}
	return errs
}

// changes compares what is set with what is wanted.
func (s *session) changes(ctx context.Context, topics []string, o alterOptions, wanted []kadm.AlterConfig) ([]change, error) {
	details, failed, err := s.metadataOf(ctx, topics)
	if err != nil {
		return nil, err
	}
	if len(failed) > 0 {
		return nil, several(0, failed)
	}
	if err := s.addConfigs(ctx, details, true); err != nil {
		return nil, err
	}
	list := []change{}
	for _, d := range details {
		for _, w := range wanted {
			list = append(list, change{d.Name, w.Name, currentConfig(d, w.Name), w.Value})
		}
		if o.partitions > 0 {
			from, to := cell(len(d.Partitions)), cell(o.partitions)
			list = append(list, change{d.Name, "partitions", &from, &to})
		}
	}
	return list, nil
}

func currentConfig(d topicDetail, key string) *string {
	for _, c := range d.Configs {
		if c.Key == key {
			return c.Value
		}
	}
	return nil
}

func printChanges(t *tabulator, changes []change, dryRun bool) {
	t.head("TOPIC", "WHAT", "FROM", "TO")
	for _, c := range changes {
		to := "(default)"
		if c.To != nil {
			to = *c.To
		}
		t.row(c.Topic, c.What, orDash(c.From), to)
	}
	if dryRun {
		t.line("A dry run: nothing was changed.")
	}
}

func orDash(s *string) any {
	if s == nil {
		return nil
	}
	return *s
}
