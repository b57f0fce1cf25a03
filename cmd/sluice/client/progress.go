package client

import (
	"fmt"
	"io"
	"time"
)

// progressInterval is how often progress is printed. Work that is done sooner prints nothing.
const progressInterval = time.Second

// progress prints on a terminal how far a long command is. Elsewhere it does nothing.
type progress struct {
	out            io.Writer // nil if this is not a terminal
	verb           string
	records, bytes int64
	started, told  time.Time
}

func newProgress(out io.Writer, verb string) *progress {
	p := &progress{verb: verb, started: time.Now()}
	if isTerminal(out) {
		p.out = out
	}
	p.told = p.started
	return p
}

func (p *progress) add(bytes int64) {
	p.records++
	p.bytes += bytes
	if p.out == nil || p.records%64 != 0 { // the clock is not read for each record
		return
	}
	if now := time.Now(); now.Sub(p.told) >= progressInterval {
		p.told = now
		rate := float64(p.records) / now.Sub(p.started).Seconds()
		fmt.Fprintf(p.out, "\r%s %s, %.1f MB, %.0f/s ", p.verb, plural(p.records, "record"), float64(p.bytes)/1e6, rate)
	}
}

// end goes to a new line if anything was printed.
func (p *progress) end() {
	if p.out != nil && p.told != p.started {
		fmt.Fprintln(p.out)
	}
}
