package harness

import (
	"syscall"
	"testing"
)

// Pause stops a program that is a process of its own, as if its machine slept. Resume lets it go
// on.
func (p *Program) Pause(t testing.TB) { p.stopped(t, syscall.SIGSTOP) }

// Resume ends a Pause.
func (p *Program) Resume(t testing.TB) { p.stopped(t, syscall.SIGCONT) }

func (p *Program) stopped(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := p.signal(s); err != nil && !p.Ended() {
		t.Errorf("%s: %v: %v", p.Name, s, err)
	}
}

// Ended reports that the program has ended.
func (p *Program) Ended() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}
