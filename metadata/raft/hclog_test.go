package raft

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// A warning that a lone voter's healthy start causes is not logged as one. Other warnings are.
func TestOrdinaryWarnings(t *testing.T) {
	var out bytes.Buffer
	l := &logger{to: slog.New(slog.NewTextHandler(&out, nil))}
	l.Warn("Election timeout reached, restarting election")
	if out.Len() > 0 {
		t.Errorf("a healthy start logs\n%s", &out)
	}
	if l.Warn("failed to contact quorum"); !strings.Contains(out.String(), "level=WARN") {
		t.Errorf("a warning is logged as %q", &out)
	}
}
