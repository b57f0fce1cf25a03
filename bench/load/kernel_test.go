package load

import (
	"math"
	"testing"
)

func TestKernel_ThreadsByTheirParent(t *testing.T) {
	for stat, want := range map[string]bool{
		"77 (kworker/u8:1-events (x) y) I 2 0 0 0 -1 69238880 0 0 0 0 10 300 0 0 20 0 1 0": true,
		"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 1 0 0 20 0 1 0":                       false,
		"4242 (broker) S 1 4242 4242 0 -1 4194560 0 0 0 0 10 300 0 0 20 0 9 0":             false,
		"4243 (odd ) I 2 x) S 4242 4242 4242 0 -1 4194560 0 0 0 0 10 300 0 0 20 0 9 0":     false,
		"gone": false,
	} {
		if got := ofKernel([]byte(stat)); got != want {
			t.Errorf("%q is the kernel's: %t, want %t", stat, got, want)
		}
	}
}

func TestKernel_Used(t *testing.T) {
	before, after := map[string]float64{"7": 1, "8": 5, "9": 3}, map[string]float64{"7": 1.5, "8": 5, "10": 0.25}
	if got := KernelUsed(before, after); math.Abs(got-0.75) > 1e-9 {
		t.Errorf("used %v s, want 0.5 of one and 0.25 of a new one", got)
	}
}

// What the kernel does for a load does not count as a stranger's.
func TestKernel_IsNotForeign(t *testing.T) {
	before := usage{client: 1, machine: 10, ok: true, process: map[string]float64{"broker": 2}, kernel: map[string]float64{"7": 1}}
	after := usage{client: 2, machine: 16, ok: true, process: map[string]float64{"broker": 4}, kernel: map[string]float64{"7": 3}}
	figures := make(map[string]float64)
	after.figures(&before, 2, 0, 0, figures)
	if figures["foreign_cores"] != 0.5 || figures["kernel_cores"] != 1 {
		t.Errorf("foreign %v, kernel %v cores; want 0.5 and 1 of the 3 that the machine used", figures["foreign_cores"], figures["kernel_cores"])
	}
}
