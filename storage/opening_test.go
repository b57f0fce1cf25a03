package storage_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/storage"
)

// TestChangesWhileStorageOpens: the quorum creates a topic, adds a partition to a topic, deletes a
// topic and moves a log start while storage opens, after each time that storage reads the quorum's
// state. Whatever storage has read by then, no change is lost.
func TestChangesWhileStorageOpens(t *testing.T) {
	for look, last := 1, false; !last; look++ {
		t.Run(fmt.Sprintf("look%d", look), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, seed(t), byHand)
				cut, doomed := r.mustCreate("cut", 1, nil)[0], r.mustCreate("doomed", 1, nil)[0]
				r.mustSend(r.batch(cut, 5, 40, 1), r.batch(doomed, 5, 40, 1))
				r.kill()
				r.history.deleting(doomed.Topic)
				r.history.advancing(cut, 3)
				late := ident.TopicPartition{Topic: ident.TopicID{0: 99, 6: 0x40, 15: 1}}
				n := 0
				r.onView = func(p *process) {
					var current ident.Incarnation
					opened := false
					r.quorum.view(func(s *metadata.State) {
						b, _ := s.Broker(nodeID)
						current, opened = b.Incarnation, b.Opened && len(b.Tails) > 0
					})
					if !opened {
						return
					}
					if n++; n != look {
						return
					}
					p.applied(r.quorum.apply(metadata.NewCreateTopic(metadata.TopicSpec{ID: late.Topic, Name: "late", Partitions: 1, ReplicationFactor: 1})).Changes)
					p.applied(r.quorum.apply(metadata.NewCreatePartitions(cut.Topic, 2)).Changes)
					p.applied(r.quorum.apply(metadata.NewDeleteTopic(doomed.Topic)).Changes)
					p.applied(r.quorum.apply(metadata.NewAdvanceLogStart(current, cut, 3)).Changes)
				}
				r.mustOpen()
				r.onView = nil
				if last = n < look; last {
					if look < 4 {
						t.Errorf("storage took only %d looks", n)
					}
					return
				}
				r.mustSend(r.plain(late, 1), r.plain(ident.TopicPartition{Topic: cut.Topic, Index: 1}, 1), r.plain(cut, 1))
				first, err := r.engine().ListOffset(t.Context(), cut, storage.TimestampEarliest, ident.NoEpoch, storage.ReadUncommitted)
				if err != nil || first.Offset != 3 {
					t.Errorf("the log starts at %d, %v; want 3", first.Offset, err)
				}
				if _, err := r.engine().ListOffset(t.Context(), doomed, storage.TimestampEarliest, ident.NoEpoch, storage.ReadUncommitted); !errors.Is(err, storage.ErrUnknownPartition) {
					t.Errorf("of the topic that was deleted: %v", err)
				}
				r.check()
				r.mustFlush()
				r.restart()
				r.check()
			})
		})
	}
}
