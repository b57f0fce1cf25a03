package main

import (
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sluicemq/sluice/cmd/sluice/config"
)

// devPlace is the place that problems of dev's own configuration name.
const devPlace = "sluice dev"

// devConfig makes dev out of serve. Each of its values can be overridden.
var devConfig = []config.Entry{
	{Key: "listeners", Value: "PLAINTEXT://127.0.0.1:9092", At: devPlace},
	{Key: "sluice.admin.listener", Value: "127.0.0.1:9644", At: devPlace},
	{Key: "auto.create.topics.enable", Value: "true", At: devPlace},
	{Key: "group.initial.rebalance.delay.ms", Value: "0", At: devPlace},
}

func devCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run one broker without configuration",
		Long: `Run one broker on this machine: topics are created on first use, records are
fsynced to a write-ahead log in --dir before they are acknowledged, and moved to
--bucket in the background. Stop it with Ctrl-C; start it again and everything is there.

It is sluice serve with a few keys set: --print-config shows them, --set and variables change
any (sluice serve --help). If port 9092 or 9644 is in use it takes the next free one, unless
--listen or a key names it. S3 credentials come from the standard AWS chain
(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, a role).`,
		Example: `  sluice dev
  sluice dev --memory --listen 127.0.0.1:19092
  sluice dev --dir /var/lib/sluice --set num.partitions=3
  sluice dev --bucket 's3://my-bucket/sluice?region=eu-central-1'
  sluice dev --bucket 's3://test/dev?endpoint=http://127.0.0.1:9000&path_style=true&region=us-east-1'
  sluice dev --print-config > sluice.yaml && sluice serve --config sluice.yaml`,
		Args: cobra.NoArgs,
	}
	f := addDevFlags(cmd)
	printOnly := addConfigFlags(cmd, &f.src)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := f.settings(cmd)
		if err != nil {
			return err
		}
		if *printOnly {
			return printConfig(cmd, s.config)
		}
		greet := func(address string) string { return hello(os.Args[0], address) }
		return run(cmd.Context(), s, greet, cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

// devFlags are short names for keys.
type devFlags struct {
	dir, listen, bucket string
	memory              bool
	src                 sources
}

func addDevFlags(cmd *cobra.Command) *devFlags {
	f := new(devFlags)
	cmd.Flags().StringVar(&f.dir, "dir", "./sluice-data", "data directory `DIR`: metadata, write-ahead log and, without --bucket, the objects")
	cmd.Flags().BoolVar(&f.memory, "memory", false, "keep nothing: data and bucket live in memory and are gone at the end")
	cmd.Flags().StringVar(&f.listen, "listen", "127.0.0.1:9092", "`HOST:PORT` for Kafka clients; they are told this address")
	cmd.Flags().StringVar(&f.bucket, "bucket", "", "`URL` of where the log lives: s3://bucket/prefix?region=… or file:///path; default a folder in --dir")
	return f
}

func (f *devFlags) settings(cmd *cobra.Command) (*settings, error) {
	c, err := f.read(cmd)
	if err != nil {
		return nil, err
	}
	s, err := newSettings(c)
	if err != nil {
		return nil, err
	}
	s.clientsMayMove = c.At("listeners") == devPlace
	s.adminMayMove = c.At("sluice.admin.listener") == devPlace
	return s, nil
}

func (f *devFlags) read(cmd *cobra.Command) (*config.Config, error) {
	for _, flag := range []string{"dir", "bucket"} {
		if f.memory && cmd.Flags().Changed(flag) {
			return nil, usage(fmt.Errorf("--memory keeps nothing: leave --%s out", flag))
		}
	}
	f.src.below = slices.Clone(devConfig)
	if !f.memory {
		f.src.below = append(f.src.below, config.Entry{Key: "log.dirs", Value: f.dir, At: devPlace})
	}
	set := func(flag, key, value string) {
		if cmd.Flags().Changed(flag) {
			f.src.flags = append(f.src.flags, config.Entry{Key: key, Value: value, At: "--" + flag})
		}
	}
	set("dir", "log.dirs", f.dir)
	set("listen", "listeners", "PLAINTEXT://"+f.listen)
	set("bucket", "sluice.bucket", f.bucket)
	set("memory", "sluice.memory.only", fmt.Sprint(f.memory))
	return f.src.read()
}

// hello is what a developer pastes into another terminal. program is how this process was called,
// since sluice may not be on the PATH. Each line has a group of its own, since the members of a
// group must have an assignor in common.
func hello(program, address string) string {
	return fmt.Sprintf(`
Sluice %[2]s serves Kafka clients at %[1]s. In another terminal:

  kcat     echo hello | kcat -b %[1]s -P -t demo; kcat -b %[1]s -C -t demo -e
  Java     kafka-console-producer.sh --bootstrap-server %[1]s --topic demo
           kafka-console-consumer.sh --bootstrap-server %[1]s --topic demo --from-beginning
  Go       kgo.NewClient(kgo.SeedBrokers("%[1]s"), kgo.ConsumeTopics("demo"), kgo.ConsumerGroup("go"))
  Python   python3 -c 'import confluent_kafka as k; c = k.Consumer({"bootstrap.servers": "%[1]s", "group.id": "python",
             "auto.offset.reset": "earliest"}); c.subscribe(["demo"]); print([m.value() for m in c.consume(10, 5)]); c.close()'
  Sluice   echo hello | %[3]s produce -b %[1]s demo; %[3]s consume -b %[1]s demo -e

`, address, version, program)
}
