package client

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// completionTimeout bounds how long a person waits after pressing Tab.
const completionTimeout = 2 * time.Second

type completion = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective)

// completeWith asks the cluster for names. Completion cannot show an error, so without an answer
// there are no names.
func completeWith(c *connection, atMost int, names func(context.Context, *session) ([]string, error)) completion {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if atMost > 0 && len(args) >= atMost {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		short := connection{c.brokers, completionTimeout}
		var found []string
		err := short.bounded(cmd, func(ctx context.Context, s *session) (err error) {
			found, err = names(ctx, s)
			return err
		})
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var matching []string
		for _, n := range found {
			if strings.HasPrefix(n, typed) {
				matching = append(matching, n)
			}
		}
		return matching, cobra.ShellCompDirectiveNoFileComp
	}
}

func topicNames(ctx context.Context, s *session) ([]string, error) {
	topics, err := s.admin.ListTopics(ctx)
	return topics.Names(), err
}

func groupNames(ctx context.Context, s *session) ([]string, error) {
	groups, err := s.admin.ListGroups(ctx)
	return groups.Groups(), err
}
