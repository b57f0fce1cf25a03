package node

import (
	"sync"

	"github.com/sluicemq/sluice/metadata"
)

// Changes passes what the quorum applies on to storage and the broker, in the quorum's order. What
// is applied while storage opens is kept until storage is open: storage reads the state in the
// middle of its opening, and what is applied after that must not be lost. Storage gets changes that
// it has read already once more, which has no effect.
type Changes struct {
	mu   sync.Mutex // held during tell, so that no change overtakes the kept ones
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
			if ch.Kind != metadata.HeadChanged { // tell ignores these
				c.kept = append(c.kept, ch)
			}
		}
	default:
		c.tell(changes)
	}
}

// Open calls tell with the changes that were kept. From then on Applied calls tell.
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

// Close makes Applied drop all further changes.
func (c *Changes) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over, c.tell, c.kept = true, nil, nil
}
