package client

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// created is what became of a topic that was to be created.
type created struct {
	Name       string `json:"name"`
	Status     string `json:"status"` // "created", "exists", "valid" (in a dry run) or "failed"
	Partitions int32  `json:"partitions,omitempty"`
	Replicas   int16  `json:"replicas,omitempty"`
	Error      string `json:"error,omitempty"`
}

type createOptions struct {
	partitions  int32
	replicas    int16
	set         []string
	ifNotExists bool
	dryRun      bool
}

func topicCreate(c *connection) *cobra.Command {
	var out format
	var o createOptions
	cmd := &cobra.Command{
		Use:         "create TOPIC…",
		Short:       "Create topics",
		Long:        `Create topics, all alike. Without -p and -r the cluster's defaults are taken.`,
		Annotations: reference(),
		Example: `  sluice topic create orders
  sluice topic create orders payments -p 6 --set retention.ms=86400000
  sluice topic create orders --if-not-exists     (for scripts)
  sluice topic create orders -p 6 --dry-run`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, topics []string) error {
			configs, err := parseConfigs(o.set)
			if err != nil {
				return err
			}
			return c.bounded(cmd, func(ctx context.Context, s *session) error {
				rows, failed, err := s.createTopics(ctx, o, configs, topics)
				if err != nil {
					return err
				}
				if err := out.print(cmd.OutOrStdout(), rows, func(t *tabulator) { printCreated(t, rows) }); err != nil {
					return err
				}
				return several(len(rows)-len(failed), failed)
			})
		},
	}
	out.addFlag(cmd)
	f := cmd.Flags()
	f.Int32VarP(&o.partitions, "partitions", "p", -1, "`N` partitions; -1: the cluster's default")
	f.Int16VarP(&o.replicas, "replicas", "r", -1, "`N` copies of each partition; -1: the cluster's default")
	f.StringArrayVar(&o.set, "set", nil, "`KEY=VALUE` of the topic's configuration (repeat for more)")
	f.SetNormalizeFunc(configIsSet)
	f.BoolVar(&o.ifNotExists, "if-not-exists", false, "a topic that exists is no error, and stays as it is")
	f.BoolVar(&o.dryRun, "dry-run", false, "let the cluster check, and create nothing")
	_ = cmd.RegisterFlagCompletionFunc("set", cobra.NoFileCompletions)
	return cmd
}

// configIsSet accepts --config, as kafka-topics does, for --set.
func configIsSet(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	if name == "config" {
		name = "set"
	}
	return pflag.NormalizedName(name)
}

// parseConfigs reads KEY=VALUE. A value may contain commas and may be empty.
func parseConfigs(list []string) (map[string]*string, error) {
	configs := make(map[string]*string, len(list))
	for _, kv := range list {
		key, value, ok := strings.Cut(kv, "=")
		if !ok || key == "" {
			return nil, usage("%q: want KEY=VALUE, such as retention.ms=86400000", kv)
		}
		if _, twice := configs[key]; twice {
			return nil, usage("%s is given twice", key)
		}
		configs[key] = &value
	}
	return configs, nil
}

func (s *session) createTopics(ctx context.Context, o createOptions, configs map[string]*string, topics []string) (rows []created, failed []error, err error) {
	done := "created"
	if o.dryRun {
		done = "valid"
	}
	responses, err := s.admin.CreateTopics(ctx, o.dryRun, o.partitions, o.replicas, configs, topics...)
	if err != nil {
		return nil, nil, err
	}
	for _, r := range responses.Sorted() {
		row := createdRow(r, done, o.ifNotExists)
		if row.Status == "failed" {
			failed = append(failed, topicError(r.Topic, r.Err, r.ErrMessage))
			row.Error = failed[len(failed)-1].Error()
		}
		rows = append(rows, row)
	}
	return rows, failed, nil
}

func createdRow(r kadm.CreateTopicResponse, done string, ifNotExists bool) created {
	switch {
	case r.Err == nil:
		return created{Name: r.Topic, Status: done, Partitions: max(r.NumPartitions, 0), Replicas: max(r.ReplicationFactor, 0)}
	case ifNotExists && errors.Is(r.Err, kerr.TopicAlreadyExists):
		return created{Name: r.Topic, Status: "exists"}
	}
	return created{Name: r.Topic, Status: "failed"}
}

func printCreated(t *tabulator, rows []created) {
	t.head("TOPIC", "STATUS", "PARTITIONS", "REPLICAS")
	for _, r := range rows {
		t.row(r.Name, r.Status, unlessZero(int64(r.Partitions)), unlessZero(int64(r.Replicas)))
	}
}

func unlessZero(n int64) any {
	if n == 0 {
		return nil
	}
	return n
}
