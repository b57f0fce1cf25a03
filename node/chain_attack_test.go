package node

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/metadata/controller"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/mem"
)

// TestE22_SlowRestoreBesideALivingBroker: while a restore gathers, the broker that was thought lost
// stores so many snapshots that it prunes the very link that the restore wants to make. The number
// is free, but the chain was continued. The restore must not claim that the cluster belongs to it
// now.
func TestE22_SlowRestoreBesideALivingBroker(t *testing.T) {
	b := mem.New()
	old := start(t, filepath.Join(t.TempDir(), "first"), b)
	old.create("t", 1, nil)
	old.snapshot()
	once := false
	slow := &changes{Bucket: b, before: func(op bucket.Op, key string) error {
		if op != bucket.OpList || strings.HasPrefix(key, metadata.LinkPrefix) || once {
			return nil
		}
		once = true
		for i := range 2 * controller.LinksKept {
			old.create(fmt.Sprintf("t%d", i), 1, nil)
			old.snapshot()
		}
		return nil
	}}
	dir := filepath.Join(t.TempDir(), "restored")
	if _, err := tryRestore(t, dir, slow); !errors.Is(err, ErrNotAlone) {
		t.Errorf("restore beside a living broker: %v, want %v", err, ErrNotAlone)
	}
	if made := slow.made(); len(made) != 1 {
		t.Errorf("the restore made %q: want its link, since the number was free", made)
	}
	if _, err := openRig(t, dir, b); !errors.Is(err, ErrUnfinishedRestore) {
		t.Errorf("what the refused restore left: %v, want %v", err, ErrUnfinishedRestore)
	}
	old.create("after", 1, nil)
	old.snapshot() // the old broker is not disturbed
	old.end()
	again, _ := restore(t, b) // neither is the next restore
	r := start(t, again, b)
	if _, ok := r.cat.TopicByName("after"); !ok {
		t.Error("topic after is not back")
	}
	r.end()
}
