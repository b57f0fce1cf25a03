package client

import (
	"strings"
	"testing"
)

// TestCompletions asks as a shell does.
func TestCompletions(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	must(t, "", "topic", "create", "orders", "orders-old", "payments", "-b", b.addr)
	for _, c := range []struct {
		typed string
		want  string
	}{
		{"topic describe -b ADDR or", "orders orders-old"},
		{"topic delete -b ADDR ", "orders orders-old payments"},
		{"consume -b ADDR pay", "payments"},
		{"produce -b ADDR pay", "payments"},
		{"produce orders -b ADDR pay", ""},
		{"topic alter orders -b ADDR --set retention.m", "retention.ms="},
		{"topic alter orders -b ADDR --unset retention.m", "retention.ms"},
		{"topic ls -o ", "table json yaml"},
		{"produce orders -z ", "none gzip snappy lz4 zstd"},
		{"topic describe -b 127.0.0.1:1 or", ""},
	} {
		args := append([]string{"__complete"}, strings.Split(strings.ReplaceAll(c.typed, "ADDR", b.addr), " ")...)
		out := must(t, "", args...)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		// The last line is the directive.
		if got := strings.Join(lines[:len(lines)-1], " "); got != c.want {
			t.Errorf("%s: %q, want %q", c.typed, got, c.want)
		}
	}
}
