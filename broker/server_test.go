package broker

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// failingListener fails every Accept.
type failingListener struct {
	*pipeListener
	err   error
	tries int
}

func (l *failingListener) Accept() (net.Conn, error) {
	l.tries++
	return nil, l.err
}

// A failing Accept is tried again at growing intervals of up to a second. Every ten seconds a line
// in the log says what to do.
func TestAcceptFails(t *testing.T) {
	for err, says := range map[error]string{syscall.EMFILE: "ulimit -n", syscall.ENFILE: "ulimit -n", errors.New("else"): "trying again"} {
		synctest.Test(t, func(t *testing.T) {
			var told bytes.Buffer // slog's handler locks the buffer
			s := &server{b: &Broker{logger: slog.New(slog.NewTextHandler(&told, nil))}}
			l := &failingListener{pipeListener: newPipeListener(), err: fmt.Errorf("accept: %w", os.NewSyscallError("accept4", err))}
			ctx, cancel := context.WithTimeout(t.Context(), 35*time.Second)
			defer cancel()
			if err := s.acceptLoop(ctx, Listener{Listener: l}); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			// The tries are at 0, 0.05, 0.15, 0.35, 0.75, 1.55 s and then once a second.
			if l.tries != 39 {
				t.Errorf("%d tries in 35 s", l.tries)
			}
			if n := strings.Count(told.String(), "\n"); n != 4 || strings.Count(told.String(), says) != n {
				t.Errorf("wanted four lines that say %q, was told\n%s", says, &told)
			}
		})
	}
}

// TestTLSClient: a client that speaks TLS to a plain listener is refused. The log names the
// listener and what to change, once a minute, since such a client tries again all the time.
func TestTLSClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told bytes.Buffer // slog's handler locks the buffer
		topics := newMemoryTopics(Node{ID: 1})
		b, err := New(Config{NodeID: 1}, Deps{Log: newMemoryLog(topics), Topics: topics, Logger: slog.New(slog.NewTextHandler(&told, nil))})
		if err != nil {
			t.Fatal(err)
		}
		inner, outer := newPipeListener(), newPipeListener()
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() {
			served <- b.Serve(ctx, Listener{Listener: inner, Name: "INNER"}, Listener{Listener: outer, Name: "OUTER"})
		}()
		handshake := func(l *pipeListener) {
			nc := l.dial()
			defer nc.Close()
			if err := tls.Client(nc, &tls.Config{ServerName: "broker"}).HandshakeContext(t.Context()); err == nil {
				t.Error("a TLS handshake succeeded")
			}
			synctest.Wait()
		}
		for range 3 {
			handshake(inner)
		}
		handshake(outer)
		time.Sleep(tlsLogEvery)
		handshake(inner)
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		said := told.String()
		if strings.Count(said, "security.protocol=PLAINTEXT") != 3 || strings.Count(said, "listener=INNER") != 2 || strings.Count(said, "listener=OUTER") != 1 {
			t.Errorf("want two lines of INNER and one of OUTER:\n%s", said)
		}
	})
}
