package limits

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

type topic struct {
	name       string
	partitions []*partition
}

// partition counts offsets. For Fetch it also has a log.
type partition struct {
	next atomic.Int64
	log  log
}

// topics are created when they are first used.
type topics struct {
	partitionCount int
	mu             sync.RWMutex
	byName         map[string]*topic
}

func newTopics(partitionCount int) *topics {
	return &topics{partitionCount: partitionCount, byName: make(map[string]*topic)}
}

// find returns nil for a topic that nobody has created and whose metadata nobody has asked for.
func (t *topics) find(name []byte) *topic {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byName[string(name)]
}

// create creates a topic unless there is one. A partitionCount below 1 means the default.
func (t *topics) create(name string, partitionCount int) (made *topic, isNew bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if made = t.byName[name]; made != nil {
		return made, false
	}
	if partitionCount < 1 {
		partitionCount = t.partitionCount
	}
	made = &topic{name: name, partitions: make([]*partition, partitionCount)}
	for i := range made.partitions {
		made.partitions[i] = new(partition)
	}
	t.byName[name] = made
	return made, true
}

func (t *topics) remove(name string) (removed *topic) {
	t.mu.Lock()
	defer t.mu.Unlock()
	removed = t.byName[name]
	delete(t.byName, name)
	return removed
}

func (t *topics) all() []*topic {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.Collect(maps.Values(t.byName))
}
