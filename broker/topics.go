package broker

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage"
)

const (
	topicNameBytesMax = 249
	// partitionsPerRequestMax bounds how many partitions one request may create, as Kafka's
	// controller does.
	partitionsPerRequestMax = 10_000
)

// errTooMany answers the partitions of one request that are beyond partitionsPerRequestMax. It has
// no message, since a request of 8 MiB may name two million of them.
var errTooMany = fmt.Errorf("%w: too many partitions in one request", errPolicy)

// namedPartitions counts the partitions that a request names.
type namedPartitions int

// next counts one more partition. It returns errTooMany if that is one too many.
func (n *namedPartitions) next() error {
	if *n++; *n > partitionsPerRequestMax {
		return errTooMany
	}
	return nil
}

// partitionMessage is messageOf for the outcome of a partition.
func partitionMessage(err error) *string {
	// Kafka gives errNoReassignment no message either.
	if err == errTooMany || err == errNoReassignment {
		return nil
	}
	return messageOf(err)
}

// noTopic returns an error for one of many partitions whose topic does not exist. The name is cut
// to the length that a topic's name may have, since a client may send megabytes.
func noTopic(name string) error {
	return fmt.Errorf("%w: no topic %.*q", storage.ErrUnknownPartition, topicNameBytesMax, name)
}

// internalTopics are shown as internal, and clients may not write them.
var internalTopics = map[string]bool{"__consumer_offsets": true, "__transaction_state": true, "__share_group_state": true}

// metadataTopic may not be created, because Kafka's quorum has its log under this name.
const metadataTopic = "__cluster_metadata"

func validateTopicName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w name: it is empty", errInvalidTopic)
	case name == "." || name == "..":
		return fmt.Errorf("%w name: it is %q", errInvalidTopic, name)
	case len(name) > topicNameBytesMax:
		return fmt.Errorf("%w name: %d characters, at most %d", errInvalidTopic, len(name), topicNameBytesMax)
	case name == metadataTopic:
		return fmt.Errorf("%w name: %s is reserved", errInvalidTopic, metadataTopic)
	}
	for i := 0; i < len(name); i++ {
		if !isNameByte(name[i]) {
			return fmt.Errorf("%w name: only letters, digits, '.', '_' and '-' are allowed", errInvalidTopic)
		}
	}
	return nil
}

func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
}

// checkCollision refuses a name that differs from another topic's only by '.' against '_', because
// metrics could not tell the two apart.
func (b *Broker) checkCollision(name string) error {
	if !strings.ContainsAny(name, "._") {
		return nil
	}
	for _, t := range b.topics.AllTopics() {
		if t.Name != name && sameMetric(t.Name, name) {
			return fmt.Errorf("%w: %q collides with topic %q", errInvalidTopic, name, t.Name)
		}
	}
	return nil
}

// sameMetric reports whether two names differ in nothing but dots for underscores. It allocates
// nothing, since every creation compares the new name with all topics.
func sameMetric(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if x, y := a[i], b[i]; x != y && (x != '.' && x != '_' || y != '.' && y != '_') {
			return false
		}
	}
	return true
}

// changesTogether is how many changes of one request are decided at once. The quorum takes that
// many into one write. One after another, each change would wait for an fsync of its own.
const changesTogether = 64

// changeTogether calls change with 0 to n-1, several at once, and returns when all calls have
// returned.
func changeTogether(n int, change func(i int)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, changesTogether)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			change(i)
		})
	}
	wg.Wait()
}

func hasPartition(t *catalog.Topic, partition int32) bool {
	return partition >= 0 && int(partition) < len(t.Partitions)
}

// newLeader returns the leader of a partition that, by the log's error, this broker does not lead
// (KIP-951).
func newLeader(err error) protocol.NewLeader {
	var elsewhere *storage.NotLeaderError
	if !errors.As(err, &elsewhere) {
		return protocol.NewLeader{Broker: -1, Epoch: -1}
	}
	return protocol.NewLeader{Broker: elsewhere.Leader.Broker, Epoch: int32(elsewhere.Leader.Epoch)}
}

// replicas makes the list that tools compare with the replication factor that was asked for: the
// leader, then other live brokers, then the leader again.
func replicas(leader int32, factor int16, nodes []Node) []int32 {
	list := make([]int32, 0, max(1, factor))
	list = append(list, leader)
	for _, n := range nodes {
		if len(list) < int(factor) && n.ID != leader {
			list = append(list, n.ID)
		}
	}
	for len(list) < int(factor) {
		list = append(list, leader)
	}
	return list
}

func isLive(nodes []Node, id int32) bool {
	for _, n := range nodes {
		if n.ID == id {
			return true
		}
	}
	return false
}

// controllerID names the broker to which clients send administration. Every broker takes it, and
// all of them name the same one.
func controllerID(nodes []Node) int32 {
	if len(nodes) == 0 {
		return -1
	}
	return nodes[0].ID
}

// brokers returns the live brokers with the addresses at which the client of this call reaches
// them, those of the listener that the client uses. A broker without such a listener is left out.
func (c *call) brokers() []Node {
	all := c.b.topics.Brokers()
	if c.conn == nil || c.conn.listener == "" {
		return all
	}
	nodes := make([]Node, 0, len(all))
	for _, n := range all {
		if n.Endpoints != nil {
			e, ok := n.Endpoints[c.conn.listener]
			if !ok {
				continue
			}
			n.Host, n.Port = e.Host, e.Port
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// endpoints returns the live brokers that an answer names as new leaders (KIP-951).
func (c *call) endpoints(leaders map[int32]bool) []protocol.Node {
	if len(leaders) == 0 {
		return nil
	}
	var nodes []protocol.Node
	for _, n := range c.brokers() {
		if leaders[n.ID] {
			nodes = append(nodes, protocol.Node{ID: n.ID, Host: n.Host, Port: n.Port, Rack: n.Rack})
		}
	}
	return nodes
}

// configCache keeps the parsed configurations of topics that set any config, because parsing costs
// more than a produce may.
type configCache struct {
	mu     sync.Mutex
	parsed map[ident.TopicID]parsedConfig
}

type parsedConfig struct {
	of     *catalog.Topic // the topic: another pointer means another configuration
	under  *live          // the broker's configs, likewise
	config *catalog.TopicConfig
}

const configCacheTopicsMax = 20_000

// topicConfig returns a topic's effective configuration. It is shared, so callers must not change
// it.
func (b *Broker) topicConfig(t *catalog.Topic) *catalog.TopicConfig {
	l := b.live.Load()
	if len(t.Configs) == 0 {
		return &l.plainTopic
	}
	c := &b.configs
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, ok := c.parsed[t.ID]; ok && p.of == t && p.under == l {
		return p.config
	}
	config := l.topics.Effective(t.Configs)
	if c.parsed == nil || len(c.parsed) >= configCacheTopicsMax {
		// The entries of deleted topics go with the others.
		c.parsed = map[ident.TopicID]parsedConfig{}
	}
	c.parsed[t.ID] = parsedConfig{of: t, under: l, config: &config}
	return &config
}
