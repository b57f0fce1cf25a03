package node

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/storage/bucket/mem"
)

// A client is told the endpoint of the listener through which it came, in every answer that names
// brokers.
func TestListenersTellTheirOwnEndpoints(t *testing.T) {
	inside, outside := listen(t), listen(t)
	n, err := Open(t.Context(), testConfig(t.TempDir()), Deps{Bucket: mem.New(), Log: slog.New(newLogs()), Listeners: []Listener{
		{Name: "INSIDE", Listener: inside},
		{Name: "OUTSIDE", Listener: outside, Host: "broker.example", Port: 19092},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	own := n.deps.Listeners[0].Endpoint()
	for _, c := range []struct {
		at, host string
		port     int32
	}{
		{inside.Addr().String(), "127.0.0.1", own.Port},
		{outside.Addr().String(), "broker.example", 19092},
	} {
		client, err := kgo.NewClient(kgo.SeedBrokers(c.at))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		seed := client.SeedBrokers()[0]
		told := func(api, host string, port int32) {
			if host != c.host || port != c.port {
				t.Errorf("%s at %s names %s:%d, want %s:%d", api, c.at, host, port, c.host, c.port)
			}
		}
		ask := func(req kmsg.Request) kmsg.Response {
			resp, err := seed.Request(within(t), req)
			if err != nil {
				t.Fatal(err)
			}
			return resp
		}
		m := ask(kmsg.NewPtrMetadataRequest()).(*kmsg.MetadataResponse)
		told("Metadata", m.Brokers[0].Host, m.Brokers[0].Port)
		d := ask(kmsg.NewPtrDescribeClusterRequest()).(*kmsg.DescribeClusterResponse)
		told("DescribeCluster", d.Brokers[0].Host, d.Brokers[0].Port)
		find := kmsg.NewPtrFindCoordinatorRequest()
		find.CoordinatorKeys = []string{"g"}
		f := ask(find).(*kmsg.FindCoordinatorResponse)
		told("FindCoordinator", f.Coordinators[0].Host, f.Coordinators[0].Port)
	}
}

// A directory belongs to a node. Another node.id does not change that silently.
func TestNodeIDOfTheDirectoryCounts(t *testing.T) {
	dir, b := t.TempDir(), mem.New()
	start(t, dir, b).end()
	_, err := openRig(t, dir, b, func(c *Config) { c.NodeID = 7 })
	if err == nil || !strings.Contains(err.Error(), "set node.id=") {
		t.Errorf("start as node 7: %v", err)
	}
}
