package node

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage"
	"github.com/sluicemq/sluice/storage/bucket/open"
	"github.com/sluicemq/sluice/storage/object"
)

// TestStuckIsNamed: the bucket holds a damaged manifest. The admin server names the partition and
// the way out. The partition's producer is told to come again, while another partition goes on.
// When the operator takes the way out, this partition goes on too.
func TestStuckIsNamed(t *testing.T) {
	dir, store := t.TempDir(), t.TempDir()
	b, err := open.Open(t.Context(), "file://"+store, open.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, _ := startAdmin(t, dir, b)
	bad := ident.TopicPartition{Topic: r.create("bad", 1, nil).ID}
	r.create("good", 1, nil)
	for range 8 {
		r.produce("bad", 0, "a")
		r.flush()
	}
	head, _ := r.cat.Head(bad)
	r.end()
	root := filepath.Join(store, object.Key(r.ClusterID(), head.Manifest.Object, head.Manifest.Writer, object.KindManifest))
	bytes, err := os.ReadFile(root)
	if err != nil {
		t.Fatal(err)
	}
	bytes[len(bytes)/2] ^= 1
	if err := os.WriteFile(root, bytes, 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err = open.Open(t.Context(), "file://"+store, open.Options{}); err != nil {
		t.Fatal(err)
	}
	r, address := startAdmin(t, dir, b)
	for n := 0; len(r.engine.Stuck()) == 0; n++ {
		if n > 40 {
			t.Fatal("never stuck")
		}
		r.produce("bad", 0, "b")
		_ = r.engine.Flush(within(t)) // the last flush says why it fails
	}
	answer, err := http.Get(address + "/stuck")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	var stuck []storage.StuckPartition
	if err := json.NewDecoder(answer.Body).Decode(&stuck); err != nil {
		t.Fatal(err)
	}
	if len(stuck) != 1 || stuck[0].Topic != "bad" || stuck[0].Reason != "head full" || !strings.Contains(stuck[0].Remedy, "kafka-delete-records.sh") {
		t.Fatalf("/stuck answers %+v", stuck)
	}
	once, err := kgo.NewClient(kgo.SeedBrokers(r.deps.Listeners[0].Addr().String()), kgo.RecordRetries(1), kgo.DisableIdempotentWrite(), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer once.Close()
	if err := once.ProduceSync(within(t), &kgo.Record{Topic: "bad", Value: []byte("c")}).FirstErr(); !errors.Is(err, kerr.NotEnoughReplicas) {
		t.Errorf("the producer is told %v, want NOT_ENOUGH_REPLICAS", err)
	}
	r.produce("good", 0, "d")
	if _, err := r.engine.DeleteRecords(within(t), bad, head.Manifest.End); err != nil {
		t.Fatal(err)
	}
	r.flush()
	r.produce("bad", 0, "e")
}
