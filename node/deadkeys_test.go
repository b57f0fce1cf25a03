package node

import (
	"slices"
	"testing"

	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/storage/object"
)

// TestDeadKeys: an object that a commit made live is deleted with one request. An object that
// nobody committed may be of any kind.
func TestDeadKeys(t *testing.T) {
	dead := metadata.DeadObject{ID: 7, Writer: 3}
	for kind, want := range map[int32][]string{
		0:                     object.Keys("c", 7, 3),
		metadata.KindBundle:   {object.Key("c", 7, 3, object.KindBundle)},
		metadata.KindManifest: {object.Key("c", 7, 3, object.KindManifest)},
	} {
		dead.Kind = kind
		if got := DeadKeys("c", &dead); !slices.Equal(got, want) {
			t.Errorf("kind %d: %q, want %q", kind, got, want)
		}
	}
}
