package node

import (
	"net"
	"testing"
	"time"
)

// What was acknowledged is there after a clean stop and a start, and after a kill and a start.
func TestStartStopStart(t *testing.T) {
	b, dir := fileBucket(t), t.TempDir()
	r := start(t, dir, b)
	r.create("t", 2, nil)
	r.produce("t", 0, values("a", 10)...)
	r.end()
	if left := r.logs.String(); left == "" {
		t.Fatal("nothing was logged")
	}

	r = start(t, dir, b)
	r.produce("t", 0, values("b", 10)...)
	r.kill()

	r = start(t, dir, b)
	got := r.consume("t", 0, 0, 20)
	for i, want := range append(values("a", 10), values("b", 10)...) {
		if string(got[i].Value) != want {
			t.Errorf("offset %d is %q, want %q", i, got[i].Value, want)
		}
	}
	r.end()
}

// A stop does not wait for clients that are connected and say nothing.
func TestStopWithIdleClients(t *testing.T) {
	r := start(t, t.TempDir(), fileBucket(t))
	r.create("t", 1, nil)
	r.produce("t", 0, "x")
	silent, err := net.Dial("tcp", r.deps.Listeners[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	half, err := net.Dial("tcp", r.deps.Listeners[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	if _, err := half.Write([]byte{0, 0, 0, 50, 0, 18}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r.end()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("stopping took %v", took)
	}
	if left := r.engine.Unflushed(); left > 0 {
		t.Errorf("%d bytes are not in the bucket after a clean stop", left)
	}
}
