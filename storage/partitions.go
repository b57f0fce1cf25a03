package storage

import (
	"sync"

	"github.com/sluicemq/sluice/ident"
)

// partitions finds the partitions that are open here, by id. A topic may have any subset of its
// partitions open here.
type partitions struct {
	*env
	mu sync.RWMutex // guards the map and its lists, nothing else; taken before a partition's
	// topics has a list for each topic, with room up to the highest open partition and nil for each
	// one that is not open. So a request looks up its topics, and not each of its partitions.
	topics map[ident.TopicID][]*partition
}

// get returns an open partition, or nil.
func (m *partitions) get(tp ident.TopicPartition) *partition {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return partitionAt(m.topics[tp.Topic], tp.Index)
}

// absent returns why a partition is not open here. It asks the catalog, so no partition's lock may
// be held.
func (m *partitions) absent(tp ident.TopicPartition) error {
	t, ok := m.deps.Catalog.Topic(tp.Topic)
	if !ok || tp.Index < 0 || int(tp.Index) >= len(t.Partitions) {
		return ErrUnknownPartition
	}
	if l := t.Partitions[tp.Index]; l.Incarnation != m.incarnation {
		return &NotLeaderError{tp, leaderOf(l)}
	}
	return ErrNotReady // the quorum has decided, and storage is about to be told
}

// find returns an open partition, or an error that says why there is none.
func (m *partitions) find(tp ident.TopicPartition) (*partition, error) {
	if p := m.get(tp); p != nil {
		return p, nil
	}
	return nil, m.absent(tp)
}

func partitionAt(ofTopic []*partition, index int32) *partition {
	if index < 0 || int(index) >= len(ofTopic) {
		return nil
	}
	return ofTopic[index]
}

// put makes a partition findable by its id, and replaces one that had the id before.
func (m *partitions) put(p *partition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.topics == nil {
		m.topics = make(map[ident.TopicID][]*partition)
	}
	ofTopic := m.topics[p.id.Topic]
	for int(p.id.Index) >= len(ofTopic) {
		ofTopic = append(ofTopic, nil)
	}
	ofTopic[p.id.Index] = p
	m.topics[p.id.Topic] = ofTopic
}

// removeTopic removes all partitions of a topic and returns them.
func (m *partitions) removeTopic(id ident.TopicID) (removed []*partition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.topics[id] {
		if p != nil {
			removed = append(removed, p)
		}
	}
	delete(m.topics, id)
	return removed
}

// all returns every open partition, in no particular order.
func (m *partitions) all() []*partition {
	m.mu.RLock()
	defer m.mu.RUnlock()
	out := make([]*partition, 0, 2*len(m.topics))
	for _, ofTopic := range m.topics {
		for _, p := range ofTopic {
			if p != nil {
				out = append(out, p)
			}
		}
	}
	return out
}

func (m *partitions) count() (n int) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, ofTopic := range m.topics {
		for _, p := range ofTopic {
			if p != nil {
				n++
			}
		}
	}
	return n
}

// requestLookup finds the partitions of one request, which lists them by topic. The caller holds
// mu.
type requestLookup struct {
	of      *partitions
	topic   ident.TopicID
	ofTopic []*partition
	begun   bool
}

func (l *requestLookup) get(tp ident.TopicPartition) *partition {
	if !l.begun || tp.Topic != l.topic {
		l.begun, l.topic, l.ofTopic = true, tp.Topic, l.of.topics[tp.Topic]
	}
	return partitionAt(l.ofTopic, tp.Index)
}
