package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// port listens, and calls serve for each connection.
func port(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() { serve(c); c.Close() })
		}
	})
	t.Cleanup(func() { l.Close(); open.Wait() })
	return l.Addr().String()
}

// closedPort is an address on which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestUnreachable: whatever is at the address, the error names it and says what to do, in time,
// with exit code 6.
func TestUnreachable(t *testing.T) {
	for _, c := range []struct {
		name, addr string
		want       []string
	}{
		{"nobody listens", closedPort(t), []string{"cannot reach ADDR: connection refused", "sluice dev", "--brokers", "SLUICE_BROKERS"}},
		{"no such host", "nowhere.invalid:9092", []string{"cannot reach ADDR: no such host"}},
		{"it says nothing", port(t, func(c net.Conn) { io.Copy(io.Discard, c) }), []string{"cannot reach ADDR: no answer"}},
		{"it closes", port(t, func(c net.Conn) { c.Read(make([]byte, 1)) }), []string{"ADDR", "is it a Kafka port"}},
		{"it speaks HTTP", port(t, func(c net.Conn) {
			c.Read(make([]byte, 1000))
			io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
		}), []string{"ADDR does not answer as Kafka does", "is it a Kafka port"}},
	} {
		for _, command := range [][]string{{"topic", "ls"}, {"group", "describe", "g"}, {"produce", "t"}, {"consume", "t"}, {"consume", "t", "-G", "g"}} {
			t.Run(c.name+"/"+command[0], func(t *testing.T) {
				t.Parallel()
				_, errs, code := run(within(t), strings.NewReader("x\n"), append(command, "-b", c.addr, "--timeout", "300ms")...)
				if code != exitUnreachable {
					t.Errorf("exit %d", code)
				}
				for _, w := range c.want {
					if w = strings.ReplaceAll(w, "ADDR", c.addr); !strings.Contains(errs, w) {
						t.Errorf("%q is not said: %s", w, errs)
					}
				}
			})
		}
	}
}

// TestAdvertisedUnreachable: the seed answers, and names a broker that cannot be reached.
func TestAdvertisedUnreachable(t *testing.T) {
	t.Parallel()
	_, free, _ := strings.Cut(closedPort(t), ":")
	var number int32
	fmt.Sscan(free, &number)
	b := startNamed(t, "127.0.0.1", number)
	// produce makes the topic.
	for _, args := range [][]string{{"topic", "create", "t"}, {"produce", "t"}, {"topic", "describe", "t"}, {"consume", "t"}} {
		_, errs, code := run(within(t), strings.NewReader("x\n"), append(args, "-b", b.addr, "--timeout", "500ms")...)
		if code != exitUnreachable || !strings.Contains(errs, "127.0.0.1:"+free) || !strings.Contains(errs, "advertised.listeners") {
			t.Errorf("%v: exit %d: %s", args, code, errs)
		}
	}
}

func TestBrokersOfEnvironment(t *testing.T) {
	b := startBroker(t)
	t.Setenv("SLUICE_BROKERS", closedPort(t)+","+b.addr)
	must(t, "", "topic", "ls")
	t.Setenv("SLUICE_BROKERS", closedPort(t))
	must(t, "", "topic", "ls", "-b", b.addr) // the flag takes precedence
}

// TestProduceLosesBroker: acknowledged records are reported apart from the others, and the end
// comes in time.
func TestProduceLosesBroker(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	must(t, "", "topic", "create", "t", "-p", "1", "-b", b.addr)
	r, w := io.Pipe()
	defer w.Close()
	var out, errs bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- runInto(within(t), r, &out, &errs, "produce", "t", "-o", "json", "-b", b.addr, "--timeout", "1s")
	}()
	io.WriteString(w, "first\n")
	if got := must(t, "", "consume", "t", "-c", "1", "-b", b.addr); got != "first\n" {
		t.Fatal(got)
	}
	b.stop()
	io.WriteString(w, "second\n") // after that the input is silent, like a person who waits
	code := <-ended
	if code != exitPartly || !strings.Contains(errs.String(), "acknowledged before: 1 record; not: 1") || !strings.Contains(out.String(), `"records": 1`) {
		t.Errorf("exit %d\n%s%s", code, out.String(), errs.String())
	}
}

// signals closes its channel at the first write that contains a text.
type signals struct {
	mu    sync.Mutex
	all   bytes.Buffer
	text  string
	found chan struct{}
}

func newSignals(text string) *signals { return &signals{text: text, found: make(chan struct{})} }

func (s *signals) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all.Write(p)
	if strings.Contains(s.all.String(), s.text) {
		select {
		case <-s.found:
		default:
			close(s.found)
		}
	}
	return len(p), nil
}

func (s *signals) await(t *testing.T) {
	t.Helper()
	select {
	case <-s.found:
	case <-time.After(patience):
		s.mu.Lock()
		defer s.mu.Unlock()
		t.Fatalf("%q did not come: %s", s.text, s.all.String())
	}
}

// TestConsumeLosesBroker: without -e a reader says that it cannot reach the cluster and keeps
// trying. Ctrl-C ends it well.
func TestConsumeLosesBroker(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	must(t, "", "topic", "create", "t", "-p", "1", "-b", b.addr)
	must(t, "x\n", "produce", "t", "-b", b.addr)
	ctx, cancel := context.WithCancel(within(t))
	out, errs := newSignals("x\n"), newSignals("still trying")
	ended := make(chan int, 1)
	go func() {
		ended <- runInto(ctx, strings.NewReader(""), out, errs, "consume", "t", "-b", b.addr, "--timeout", "300ms")
	}()
	out.await(t)
	b.stop()
	errs.await(t)
	cancel()
	if code := <-ended; code != 0 {
		t.Errorf("exit %d: %s", code, errs.all.String())
	}
}

// TestProduceInterrupted: Ctrl-C ends a producer whose input is silent.
func TestProduceInterrupted(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	ctx, cancel := context.WithCancel(within(t))
	r, w := io.Pipe()
	defer w.Close()
	var errs bytes.Buffer
	ended := make(chan int, 1)
	go func() { ended <- runInto(ctx, r, io.Discard, &errs, "produce", "t", "-b", b.addr) }()
	io.WriteString(w, "x\n") // it is accepted, so the command is running
	cancel()
	if code := <-ended; code == 0 || !strings.Contains(errs.String(), "interrupted") {
		t.Errorf("exit %d: %s", code, errs.String())
	}
}

// TestInterrupted: Ctrl-C during a command that changes something is not a success.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(within(t))
	addr := port(t, func(c net.Conn) { cancel(); io.Copy(io.Discard, c) })
	_, errs, code := run(ctx, strings.NewReader(""), "topic", "create", "t", "-b", addr)
	if code != exitFailed || !strings.Contains(errs, "interrupted") {
		t.Errorf("exit %d: %s", code, errs)
	}
}
