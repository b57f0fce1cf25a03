package load

import (
	"context"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func TestIdle_Workloads(t *testing.T) {
	target := startRawBroker(t).target()
	r := runRaw(t, "idle", target, 1)
	positive(t, r, "rss_mib.broker")
	if cpu, there := r.Figures["idle_cpu_percent.broker"]; !there || cpu < 0 {
		t.Errorf("idle CPU %v (there: %v)", cpu, there)
	}
	r = runRaw(t, "idle-connections", target, 0.002)
	positive(t, r, "rss_mib_at_connection.broker", "connections_per_second")
	if n := r.Figures["connections"]; n != 20 {
		t.Errorf("%v connections, want 20", n)
	}
	r = runRaw(t, "idle-partitions", target, 0.001)
	positive(t, r, "rss_mib_at_partition_never_written.broker", "rss_mib_at_partition_written_once.broker")
	if n := r.Figures["partitions"]; n != manyPerTopic {
		t.Errorf("%v partitions, want the least, %d", n, manyPerTopic)
	}
}

func TestIdle_NoTimeNoRate(t *testing.T) {
	target := Target{Processes: []Process{{"broker", os.Getpid()}}}
	r, err := Run(t.Context(), target, rawNamed(t, "idle"), Options{Warmup: -1, Duration: -1})
	if err != nil {
		t.Fatal(err)
	}
	positive(t, r, "rss_mib.broker")
	if cpu, there := r.Figures["idle_cpu_percent.broker"]; there {
		t.Errorf("%v %% of a core over no time", cpu)
	}
}

func TestIdle_WantsProcesses(t *testing.T) {
	for _, name := range []string{"idle", "idle-connections", "idle-partitions"} {
		_, err := Run(t.Context(), Target{Seeds: []string{"127.0.0.1:1"}}, rawNamed(t, name), Options{})
		if err == nil || !strings.Contains(err.Error(), "--pid") {
			t.Errorf("%s: error %v, want that it asks for processes", name, err)
		}
	}
}

// With a broker that drops idle connections the slope would be zero. That must not pass.
func TestIdle_DroppedConnectionIsAnError(t *testing.T) {
	real := startRawBroker(t)
	proxy := dropping(t, real.addr)
	w := rawNamed(t, "idle-connections")
	target := real.target()
	target.Seeds = []string{proxy}
	_, err := Run(t.Context(), target, w, Options{Warmup: -1, Duration: 100 * time.Millisecond, Scale: 0.0005})
	if err == nil || !strings.Contains(err.Error(), "idle connections") {
		t.Errorf("error %v, want that a connection is gone", err)
	}
}

// dropping forwards to a broker, the third connection only until it has received two answers.
func dropping(t *testing.T, to string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for n := 1; ; n++ {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				return
			}
			go pass(out, in, -1)
			answers := -1
			if n == 3 {
				answers = 2
			}
			go pass(in, out, answers)
		}
	}()
	return l.Addr().String()
}

// pass copies whole answers from one connection to another: at most the given number, if it is not
// negative. The answers in this test come in one piece.
func pass(to, from net.Conn, answers int) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for ; answers != 0; answers-- {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func TestSettled_WaitsForMemoryToStandStill(t *testing.T) {
	if !moved([]processSample{{rssBytes: 1000}}, []processSample{{rssBytes: 1006}}) || !moved([]processSample{{rssBytes: 1000}}, []processSample{{rssBytes: 994}}) {
		t.Error("a change by more than half a percent is none")
	}
	if moved([]processSample{{rssBytes: 1000}}, []processSample{{rssBytes: 1004}}) {
		t.Error("a change by less than half a percent is one")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	target := Target{Processes: []Process{{"me", os.Getpid()}}}
	if _, err := settled(ctx, target, Options{Scale: 1}); err == nil {
		t.Error("it does not end with its context")
	}
	if _, err := settled(t.Context(), Target{Processes: []Process{{"nobody", 1 << 30}}}, Options{Scale: 1}); err == nil || !strings.Contains(err.Error(), "is gone") {
		t.Errorf("error %v of a process that is not there", err)
	}
}

func TestSwitches(t *testing.T) {
	if n := switches(os.Getpid()); n <= 0 {
		t.Errorf("%v context switches of this process", n)
	}
}
