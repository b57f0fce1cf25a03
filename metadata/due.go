package metadata

import (
	"time"

	"github.com/sluicemq/sluice/metadata/pb"
)

// ExpiryDue reports whether ExpireObjects at now would find anything. An idle cluster proposes
// nothing.
func (s *State) ExpiryDue(now time.Time) bool {
	for _, o := range s.objects {
		if o.state == pb.ObjectState_PREPARED && o.expires < now.UnixMilli() {
			return true
		}
	}
	return false
}
