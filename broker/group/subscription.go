package group

import "encoding/binary"

// consumerProtocol is the protocol type of consumers. The group reads subscriptions of no other
// type.
const consumerProtocol = "consumer"

// subscription is what the members of a group subscribe to.
type subscription struct {
	topics map[string]bool
	known  bool // false if it is no group of consumers, or a subscription did not parse
	all    bool // not known, and taken as a subscription to every topic
}

func (s subscription) holds(topic string) bool { return s.all || s.topics[topic] }

// subscription reads the members' subscriptions for the protocol of the generation. If the
// subscriptions of a group of consumers cannot be read, every topic counts as subscribed, so that
// no offset is deleted by mistake.
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
