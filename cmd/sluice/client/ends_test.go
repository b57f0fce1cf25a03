package client

import "testing"

func TestEnds(t *testing.T) {
	a, b := partition{"t", 0}, partition{"t", 1}
	e := newEnds()
	if e.reached() {
		t.Error("the end is reached before it is known which partitions there are")
	}
	e.at(a, 7) // records came before the end was looked up
	if e.beyond(a, 100) {
		t.Error("beyond an end that is not known")
	}
	e.set(a, 3, 8)
	e.set(b, 5, 5)
	if p, missing := e.missing(); !missing || p != a || e.positions[a] != 7 {
		t.Errorf("missing %v %v at %d, want t [0] at 7", p, missing, e.positions[a])
	}
	if !e.beyond(b, 5) || e.beyond(a, 7) || !e.beyond(a, 8) {
		t.Error("an end is the first offset that is not read")
	}
	e.at(a, 8)
	if !e.reached() {
		t.Error("all is read, and the end is not reached")
	}
	e.set(b, 5, 9)
	e.forget(b) // another member has it
	if !e.reached() {
		t.Error("what went to another member is waited for")
	}
}
