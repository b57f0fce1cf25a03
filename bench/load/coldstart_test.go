package load

import (
	"context"
	"net"
	"os"
	"strings"
	"testing"
)

// restarts is a broker in this process that Restart can start and stop. It is not running yet. It
// always ends cleanly.
func restarts(t *testing.T) (Target, *[]bool) {
	b := startRawBroker(t)
	b.stop()
	target, kills := b.target(), new([]bool)
	target.Restart = &Restart{
		Start: func() (int, error) { b.start(); return os.Getpid(), nil },
		Stop:  func(kill bool) error { *kills = append(*kills, kill); b.stop(); return nil },
	}
	return target, kills
}

func TestColdStart(t *testing.T) {
	target, kills := restarts(t)
	r := runRaw(t, "cold-start", target, 1)
	positive(t, r, "first_start_answer_ms", "clean_first_answer_ms", "clean_first_answer_ms_min", "clean_first_ack_ms", "clean_stop_ms",
		"killed_first_answer_ms", "killed_first_ack_ms_max")
	if f := r.Figures; f["clean_first_ack_ms_min"] < f["clean_first_answer_ms_min"] {
		t.Errorf("first ack after %v ms, first answer after %v", f["clean_first_ack_ms_min"], f["clean_first_answer_ms_min"])
	}
	clean, kill := 0, 0
	for _, k := range *kills {
		if k {
			kill++
		} else {
			clean++
		}
	}
	if clean != startRounds || kill != startRounds+1 { // the last one ends the test
		t.Errorf("%d clean stops, %d kills", clean, kill)
	}
}

func TestManyPartitions(t *testing.T) {
	target, _ := restarts(t)
	r := runRaw(t, "many-partitions-1k", target, 1)
	positive(t, r, "create_us_per_partition", "first_produce_us_per_partition", "second_produce_ms", "clean_restart_to_all_us_per_partition",
		"clean_first_answer_ms", "killed_first_ack_us_per_partition", "killed_restart_to_all_ms")
	if n := r.Figures["partitions"]; n != 1000 {
		t.Errorf("%v partitions", n)
	}
}

func TestMetaOps(t *testing.T) {
	b := startRawBroker(t)
	r := runRaw(t, "meta-ops", b.target(), 0.05)
	positive(t, r, "create_topic_topics_per_second", "create_topic_p50_ms", "delete_topic_p99_ms", "create_100_topics_topics_per_second",
		"delete_100_topics_topics_per_second", "metadata_one_topic_p50_ms", "metadata_all_p50_ms")
	if f := r.Figures; f["metadata_all_answer_kib"] < 10*f["metadata_one_topic_answer_kib"] {
		t.Errorf("all: %v KiB, one topic: %v KiB", f["metadata_all_answer_kib"], f["metadata_one_topic_answer_kib"])
	}
	c, err := openRaw(t.Context(), b.target().Seeds)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	left, err := c.metadata()
	if err != nil || len(left.Topics) != 0 {
		t.Errorf("%d topics are left, error %v", len(left.Topics), err)
	}
}

func TestRestart_Refusals(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := []string{l.Addr().String()}
	l.Close()
	for _, c := range []struct {
		name, want string
		target     Target
	}{
		{"not told how", "--exec", Target{Seeds: nobody}},
		{"runs already", "somebody answers", Target{Seeds: []string{startRawBroker(t).addr}, Restart: RestartCommand("true")}},
		{"no such program", "no-such-program", Target{Seeds: nobody, Restart: RestartCommand("no-such-program")}},
		{"ends at once", "out of reasons", Target{Seeds: nobody, Restart: RestartCommand("sh", "-c", "echo out of reasons >&2; exit 3")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := c.target.begin(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestRestartCommand(t *testing.T) {
	if err := RestartCommand("sleep", "60").Stop(false); err != nil {
		t.Errorf("nothing to stop: %v", err)
	}
	for _, kill := range []bool{true, false} {
		r := RestartCommand("sleep", "60")
		pid, err := r.Start()
		if err != nil {
			t.Fatal(err)
		}
		if ended(pid) {
			t.Error("it has ended before it was stopped")
		}
		if err := r.Stop(kill); err != nil {
			t.Error(err)
		}
		if !ended(pid) {
			t.Error("it has not ended")
		}
	}
}

func TestBegin_EndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	stopped := false
	target := Target{Seeds: []string{"127.0.0.1:1"}, Restart: &Restart{
		Start: func() (int, error) { cancel(); return os.Getpid(), nil },
		Stop:  func(bool) error { stopped = true; return nil },
	}}
	if _, err := target.begin(ctx); err == nil || !stopped {
		t.Errorf("error %v, stopped %v: want the broker ended", err, stopped)
	}
}
