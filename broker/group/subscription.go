package group

import "encoding/binary"

// consumerProtocol is the protocol type of consumers, the only one whose
// subscriptions the group reads.
const consumerProtocol = "consumer"

// subscription is what the members of a group subscribe to.
type subscription struct {
	topics map[string]bool
	known  bool // false: it is no group of consumers, or a subscription did not parse
	all    bool // not known, and taken for all there is
}

func (s subscription) holds(topic string) bool { return s.all || s.topics[topic] }

// subscription reads the subscriptions of the members for the protocol of the
// generation. Of a group of consumers whose subscriptions cannot be read
// every topic counts as subscribed, so that nothing is deleted under it.
func (g *group) subscription() subscription {
	if g.protocolType != consumerProtocol {
		return subscription{}
	}
	topics := make(map[string]bool)
	if g.protocol == "" && len(g.members) > 0 {
		return subscription{all: true}
	}
	for _, m := range g.members {
		metadata := m.metadata(g.protocol)
		if metadata == nil {
			continue // joining with other protocols than the generation's
		}
		if !readTopics(metadata, topics) {
			return subscription{all: true}
		}
	}
	return subscription{topics: topics, known: true}
}

// readTopics adds the topics of one subscription: the version 0 that every
// version of Kafka's ConsumerProtocolSubscription begins with, big-endian:
//
//	0  2  version, not negative
//	2  4  number of topics
//	6  …  each: 2 bytes of length, the name
func readTopics(b []byte, into map[string]bool) bool {
	if len(b) < 6 || int16(binary.BigEndian.Uint16(b)) < 0 {
		return false
	}
	n := int32(binary.BigEndian.Uint32(b[2:]))
	b = b[6:]
	if n < 0 || int(n) > len(b)/2 {
		return false
	}
	for range n {
		if len(b) < 2 {
			return false
		}
		size := int(int16(binary.BigEndian.Uint16(b)))
		if size < 0 || size > len(b)-2 {
			return false
		}
		into[string(b[2:2+size])] = true
		b = b[2+size:]
	}
	return true
}
