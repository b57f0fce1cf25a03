package compat

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/compat-tests/harness"
)

// The clients_*_test.go files run clients and tools as their users do. Each library is driven by
// the same verbs and prints the same lines (testdata/clients/lines.py describes them); Kafka's
// console tools are driven by their command lines. All of them run at the same time against one
// broker.

// Limits for the work of one client and for what it waits for. They are generous, since a slow
// machine is no error.
const (
	clientLimit = 60 * time.Second
	toolLimit   = 60 * time.Second
)

func TestClients(t *testing.T) {
	b := harness.Sluice(t, harness.Config{Dir: t.TempDir(), Env: surfaceEnv()})
	b.Start()
	runClients(t, b, b.Kill)
}

// A failure here is a fault of the test.
func TestClients_Oracle(t *testing.T) {
	if !harness.Long() {
		t.Skip("Apache Kafka instead of Sluice: SLUICE_LONG=1")
	}
	b := harness.Kafka(t, harness.Config{Dir: t.TempDir(), Properties: map[string]string{"group.initial.rebalance.delay.ms": "0"}})
	b.Start()
	warmUp(t, b.Addr)
	runClients(t, b, nil)
}

// warmUp makes Apache Kafka create its topic of offsets, since some clients give up before it
// exists.
func warmUp(t *testing.T, addr string) {
	err := harness.Until(clientLimit, func() error {
		resp, err := harness.Ask[*kmsg.FindCoordinatorResponse](addr, &kmsg.FindCoordinatorRequest{Version: 3, CoordinatorKey: "warm-up"})
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(resp.ErrorCode)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// runClients runs everything that only needs a broker side by side, and then the groups. kill takes
// the broker down in the middle of the groups. nil leaves that out, since Apache Kafka needs longer
// to come back than sessions last.
func runClients(t *testing.T, b *harness.Broker, kill func()) {
	l := &lab{Broker: b, kill: kill}
	l.java = harness.NewJava(t, filepath.Join("testdata", "clients", "Client.java"))
	l.stocks = stocks(l.java)
	t.Run("Together", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T, *lab){
			"Codecs": clientCodecs, "Seek": clientSeek, "Admin": clientAdmin, "Kadm": clientKadm, "Kcat": clientKcat, "Tools": clientTools,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, l)
			})
		}
	})
	t.Run("Groups", func(t *testing.T) { clientGroups(t, l) })
}

// lab is what the tests of clients share.
type lab struct {
	*harness.Broker
	kill   func() // kill -9, if the broker comes back soon enough
	java   *harness.Java
	stocks []stock
}

// stock is a client library that is driven by verbs.
type stock struct {
	name      string
	assignors []string
	start     func(t testing.TB, verb string, args ...string) *harness.Program
	own       bool // a member is a process of its own and can be killed
}

func stocks(java *harness.Java) []stock {
	python := func(script string) func(testing.TB, string, ...string) *harness.Program {
		return func(t testing.TB, verb string, args ...string) *harness.Program {
			t.Helper()
			return harness.Python(t, filepath.Join("testdata", "clients", script), append([]string{verb}, args...)...)
		}
	}
	return []stock{
		{name: "java", assignors: []string{"range", "roundrobin", "sticky", "cooperative-sticky"},
			start: func(t testing.TB, verb string, args ...string) *harness.Program {
				t.Helper()
				return java.Start(t, "Client", append([]string{verb}, args...)...)
			}},
		{name: "confluent", assignors: []string{"range", "roundrobin", "cooperative-sticky"}, start: python("confluent.py"), own: true},
		{name: "aiokafka", assignors: []string{"range", "roundrobin", "sticky"}, start: python("aio.py"), own: true},
		{name: "kafkapython", assignors: []string{"range", "roundrobin", "sticky", "cooperative-sticky"}, start: python("kafkapython.py"), own: true},
		{name: "kgo", assignors: []string{"range", "roundrobin", "sticky", "cooperative-sticky"}, start: startKgo},
	}
}

// run runs a verb to its end and returns the lines.
func (l *lab) run(t testing.TB, s stock, verb string, args ...string) []string {
	t.Helper()
	p := s.start(t, verb, append(args, "bootstrap="+l.Addr)...)
	p.Done(t, clientLimit)
	return p.Lines()
}

// kadm returns an admin client and the client below it.
func (l *lab) kadm(t testing.TB, opts ...kgo.Opt) (*kadm.Client, *kgo.Client) {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(l.Addr), kgo.RecordPartitioner(kgo.ManualPartitioner())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return kadm.NewClient(cl), cl
}

// seen is the line of a record, as the drivers print it.
type seen struct {
	partition int32
	offset    int64
	timestamp int64
	rest      string // key, length, CRC, codec header
}

// recordsIn picks the records out of lines.
func recordsIn(t testing.TB, lines []string) []seen {
	t.Helper()
	var found []seen
	for _, line := range lines {
		if !strings.HasPrefix(line, "record ") {
			continue
		}
		var s seen
		var key, size, crc, codec string
		if _, err := fmt.Sscanf(line, "record %d %d %d %s %s %s %s", &s.partition, &s.offset, &s.timestamp, &key, &size, &crc, &codec); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		s.rest = strings.Join([]string{key, size, crc, codec}, " ")
		found = append(found, s)
	}
	return found
}
