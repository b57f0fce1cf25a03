package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sluicemq/sluice/cmd/sluice/config"
)

func serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a broker as its configuration says",
		Long: `Run a broker as its configuration says. Each key comes from the first of these that has it:

  1. --set KEY=VALUE on the command line
  2. a variable: SLUICE_FLUSH_INTERVAL is sluice.flush.interval; KAFKA_NUM_PARTITIONS is
     num.partitions, as in container images of Kafka (__ stands for _, ___ for -)
  3. --config FILE: YAML with dotted keys, flat or nested, or a Kafka server.properties
  4. its default: Kafka's, but for the few that docs/configuration.md marks

Keys have Kafka's names where Kafka has the thing, and begin with sluice. where it does not;
docs/configuration.md lists them all. A key that nobody knows ends the start, all problems are told
at once. Keys that tune parts which Sluice does not have are accepted and logged; those that ask
for TLS, SASL or authorization end the start until they are served.

Stop it with SIGTERM: it answers what is in flight, moves what it can to the bucket and says
what stays in the write-ahead log. A second signal ends it at once, which is always safe.`,
		Example: `  sluice serve --config server.properties
  sluice serve --config sluice.yaml --set num.partitions=6
  sluice serve --set log.dirs=/var/lib/sluice --set 'sluice.bucket=s3://my-bucket/sluice?region=eu-central-1' \
    --set listeners=PLAINTEXT://0.0.0.0:9092 --set advertised.listeners=PLAINTEXT://broker.example:9092`,
		Args: cobra.NoArgs,
	}
	var src sources
	cmd.Flags().StringVar(&src.file, "config", "", "configuration `FILE`: YAML, or Kafka's server.properties")
	printOnly := addConfigFlags(cmd, &src)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := src.read()
		if err != nil {
			return err
		}
		if *printOnly {
			return printConfig(cmd, c)
		}
		s, err := newSettings(c)
		if err != nil {
			return err
		}
		return run(cmd.Context(), s, nil, cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

// addConfigFlags adds the flags that serve and dev have in common.
func addConfigFlags(cmd *cobra.Command, src *sources) (printOnly *bool) {
	cmd.Flags().StringArrayVar(&src.set, "set", nil, "`KEY=VALUE` of any key, over all else; may be repeated")
	err := cmd.RegisterFlagCompletionFunc("set", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var names []string
		for _, k := range config.Keys() {
			if k.Meaning == config.Acts {
				names = append(names, k.Name+"=\t"+k.Doc)
			}
		}
		return names, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return cmd.Flags().Bool("print-config", false, "print the configuration as a file for serve --config, and end")
}

func printConfig(cmd *cobra.Command, c *config.Config) error {
	text, err := c.YAML()
	if err == nil {
		_, err = fmt.Fprint(cmd.OutOrStdout(), text)
	}
	return err
}
