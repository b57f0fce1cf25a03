package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestStuckCommand: the command shows the answer of a broker with the reason and the way out, and
// its exit code tells whether any partition is stuck.
func TestStuckCommand(t *testing.T) {
	one := `[{"topic":"orders","partition":3,"reason":"head full","error":"manifest 52 is damaged","since":"2026-03-01T08:00:00Z","unflushed_bytes":1048576,"log_start":0,"high_watermark":9,"remedy":"bring it back"}]`
	for name, c := range map[string]struct {
		status int
		body   string
		args   []string
		want   string
		fails  string
	}{
		"none":    {200, "[]", nil, "No partition is stuck.\n", ""},
		"one":     {200, one, nil, "TOPIC   PARTITION  REASON     SINCE                 UNFLUSHED\norders  3          head full  2026-03-01T08:00:00Z  1048576\n\norders/3: manifest 52 is damaged\n  Way out: bring it back.\n", "1 partitions are stuck"},
		"json":    {200, one, []string{"--json"}, one + "\n", "1 partitions are stuck"},
		"opening": {503, "the log is not open yet\n", nil, "", "503 Service Unavailable: the log is not open yet"},
		"another": {200, "<html>", nil, "", "does not answer as a broker's admin address does"},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/stuck" {
					t.Errorf("asked %s", r.URL.Path)
				}
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			}))
			defer s.Close()
			cmd := stuckCommand()
			var out bytes.Buffer
			cmd.SetOut(&out)
			cmd.SilenceErrors, cmd.SilenceUsage = true, true
			cmd.SetArgs(append([]string{"--admin", strings.TrimPrefix(s.URL, "http://")}, c.args...))
			err := cmd.ExecuteContext(t.Context())
			if got := out.String(); got != c.want {
				t.Errorf("prints\n%s\nwant\n%s", got, c.want)
			}
			if (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("error %v, want %q", err, c.fails)
			}
		})
	}
}
