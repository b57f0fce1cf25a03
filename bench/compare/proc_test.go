package compare

import (
	"os"
	"testing"
)

func TestProc_StatSeconds(t *testing.T) {
	const stat = "4242 (a (odd) name) S 1 4242 4242 0 -1 4194560 1200 0 3 0 250 75 0 0 20 0 9 0 123456 1000 200 18446744073709551615\n"
	if got := statSeconds(stat); got != 3.25 {
		t.Errorf("%v CPU seconds, want 2.50 of user + 0.75 of system", got)
	}
	if got := statSeconds("4242 (gone"); got != 0 {
		t.Errorf("half a line: %v, want 0", got)
	}
}

// Idle, iowait and guests are not work of the machine. Stolen time and interrupts are.
func TestProc_BusySeconds(t *testing.T) {
	const stat = "cpu  100 10 200 99999 88888 5 15 20 7777 6666\ncpu0 1 1 1 1 1 1 1 1 1 1\n"
	if got := busySeconds(stat); got != 3.5 {
		t.Errorf("%v busy seconds, want 3.5", got)
	}
}

func TestProc_Meminfo(t *testing.T) {
	const meminfo = "MemTotal:       24684096 kB\nDirty:               540 kB\nWriteback:         15532 kB\nWritebackTmp:          7 kB\n"
	if d, w := kibibytes([]byte(meminfo), "Dirty"), kibibytes([]byte(meminfo), "Writeback"); d != 540 || w != 15532 {
		t.Errorf("Dirty %d, Writeback %d; want 540 and 15532", d, w)
	}
}

func TestProc_Pressure(t *testing.T) {
	const text = "some avg10=12.34 avg60=0.10 avg300=0.19 total=4265606\nfull avg10=56.00 avg60=0.00 avg300=0.08 total=2905511\n"
	if got := pressure([]byte(text)); got != 12.34 {
		t.Errorf("pressure %v, want 12.34", got)
	}
}

// The real files have the expected form.
func TestProc_OfThisMachine(t *testing.T) {
	if machineSeconds() <= 0 {
		t.Error("this machine has done nothing")
	}
	m := describeMachine(t.TempDir())
	if m.CPUs < 1 || m.MemoryMiB < 1 || m.Kernel == "Linux " || m.Disk == "" {
		t.Errorf("machine %+v", m)
	}
	host, err := os.Hostname()
	if err == nil && host != "" && (m.CPU == host || m.Kernel == host || m.Disk == host) {
		t.Errorf("the host's name is in %+v", m)
	}
}

// What a child has used counts as ours once the child has ended.
func TestOthers_ChildrenAreOurs(t *testing.T) {
	before := sampleOthers()
	p, err := launch([]string{"sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"})
	if err != nil {
		t.Fatal(err)
	}
	<-p.done
	if used := sampleOthers().ours - before.ours; used < 0.02 {
		t.Errorf("a child that counted to 300,000 used %.3f s", used)
	}
}
