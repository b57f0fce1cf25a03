package client

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// Commands returns topic, group, produce and consume, for the root command.
func Commands() []*cobra.Command {
	commands := []*cobra.Command{topicCommand(), groupCommand(), produceCommand(), consumeCommand()}
	for _, c := range commands {
		c.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
			return usage("%w (see %s --help)", err, cmd.CommandPath())
		})
		c.SetHelpTemplate(helpTemplate)
		checkArgs(c)
	}
	return commands
}

// helpTemplate puts the parts to look up (a grammar, letters, exit codes) below the parts to read:
// text, usage, examples, flags.
const helpTemplate = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}{{.UsageString}}{{with index .Annotations "reference"}}
{{.}}
{{end}}`

// reference is the end of a command's help.
func reference(parts ...string) map[string]string {
	return map[string]string{"reference": strings.Join(append(parts, exitHelp), "\n\n")}
}

// checkArgs makes a wrong number of arguments an error of usage, in a command and those below it.
func checkArgs(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usage("%w (see %s --help)", err, cmd.CommandPath())
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		checkArgs(sub)
	}
}

// parent is a command that only holds other commands. Alone it prints its help; with an unknown
// name it fails.
func parent(use, short, long string, subs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Long: long, Annotations: reference(),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			hint := ""
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				hint = fmt.Sprintf(": did you mean %s?", near[0])
			}
			return fmt.Errorf("unknown command %q%s", args[0], hint)
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.SuggestionsMinimumDistance = 2
	c.AddCommand(subs...)
	return c
}
