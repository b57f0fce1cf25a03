package node

import (
	"sync"

	"github.com/sluicemq/sluice/metadata"
)

// Changes passes what the quorum applies on to storage and the broker, in the quorum's order. What
// is applied while storage opens is kept until then: storage reads the state in the middle of its
// opening, and what is applied after that must not be lost. What storage has read already is told
// again, which changes nothing.
type Changes struct {
	mu   sync.Mutex // held while it tells, so that nothing overtakes what was kept
	tell func([]metadata.Change)
	kept []metadata.Change
	over bool
}

// Applied takes what a command has changed. The quorum calls it after the state shows the change.
func (c *Changes) Applied(changes []metadata.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.over:
	case c.tell == nil:
		for _, ch := range changes {
			if ch.Kind != metadata.HeadChanged { // of which nobody is told
				c.kept = append(c.kept, ch)
			}
		}
	default:
		c.tell(changes)
	}
}

// Open has tell called with what was kept, and from then on with what is applied.
func (c *Changes) Open(tell func([]metadata.Change)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	c.tell = tell
	if len(c.kept) > 0 {
		tell(c.kept)
	}
	c.kept = nil
}

// Close ends it: nobody is told anything any more.
func (c *Changes) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over, c.tell, c.kept = true, nil, nil
}
