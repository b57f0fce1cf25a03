package main

import (
	"bufio"
	"context"
	"flag"
	"io"
	"net"
	"strings"
	"testing"
)

// A limit prints where it listens in one line, and ends with its context.
func TestLimit_SaysWhereItListens(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- runLimit(ctx, []string{"null"}, w)
		_ = w.Close()
	}()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listening ")
	if !ok {
		t.Fatalf("said %q, want listening ADDR", line)
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestRun_Refuses(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"no-such-command"}, "no-such-command"},
		{[]string{"limit"}, "name one of"},
		{[]string{"limit", "no-such-kind"}, "no-such-kind"},
		{[]string{"report"}, "folder of results"},
		{[]string{"compare", "--sluice", "/does/not/exist"}, "/does/not/exist"},
		{[]string{"compare", "--no-such-flag"}, flag.ErrHelp.Error()},
	} {
		if err := run(t.Context(), c.args); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("bench %v: error %v, want one that says %q", c.args, err, c.want)
		}
	}
}
