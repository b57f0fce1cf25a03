package compat

import (
	"slices"
	"strings"
	"testing"
)

// clientAdmin takes a topic and a group through their whole life with the admin client of each
// library.
func clientAdmin(t *testing.T, l *lab) {
	// Each library names errors and states in its own way, and leaves something out.
	expected := map[string]string{
		"java": `cluster-nodes 1|again TopicExistsException|partitions 3|retention.ms 3600000 DYNAMIC_TOPIC_CONFIG|max.message.bytes 2000000 DYNAMIC_TOPIC_CONFIG
			|retention.ms 604800000 DEFAULT_CONFIG|partitions 5|deleted-before 4|earliest 4|latest 10|committed 7|group-listed true
			|group-state Empty|group-listed false|topic-listed false`,
		"confluent": `cluster-nodes 1|again TOPIC_ALREADY_EXISTS|partitions 3|retention.ms 3600000 1|max.message.bytes 2000000 1
			|retention.ms 604800000 5|sent-back True []|cleanup.policy delete,compact 1|message.timestamp.type CreateTime 5|partitions 5|deleted-before 4|earliest 4|latest 10|committed 7|group-listed True
			|group-state EMPTY|group-listed False|topic-listed False`,
		"aiokafka": `cluster-nodes 1|create NoError|again TopicAlreadyExistsError|partitions 3|retention.ms 3600000|alter NoError
			|max.message.bytes 2000000|retention.ms 604800000|partitions 5|deleted-before 4|earliest 4|latest 10|committed 7
			|group-listed True|group-state Empty|delete NoError|topic-listed False`,
		"kafkapython": `cluster-nodes 1|again TopicAlreadyExistsError|partitions 3|retention.ms 3600000|max.message.bytes 2000000
			|retention.ms 604800000|partitions 5|deleted-before 4|earliest 4|latest 10|committed 7|group-listed True
			|group-state Empty|group-listed False|topic-listed False`,
	}
	for _, s := range l.stocks {
		want, ok := expected[s.name]
		if !ok {
			continue // franz-go's is kadm; see clientKadm
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			got := l.run(t, s, "admin", "topic=admin-"+s.name, "group=admin-"+s.name)
			if lines := fields(want); !slices.Equal(got, lines) {
				t.Errorf("printed\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(lines, "\n"))
			}
		})
	}
}

// fields splits a text at its bars and trims the parts.
func fields(s string) []string {
	parts := strings.Split(s, "|")
	for i, p := range parts {
		parts[i] = strings.TrimSpace(p)
	}
	return parts
}
