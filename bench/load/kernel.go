package load

import (
	"os"
	"strconv"
	"strings"
)

// kthreadd is the parent of all kernel threads.
const kthreadd = "2"

// KernelThreads returns the CPU seconds of each kernel thread so far, for [KernelUsed]. Kernel
// threads write back what the processes under test have written and receive what they send, so
// their time is not a stranger's. Without /proc the result is nil.
func KernelThreads() map[string]float64 {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	threads := make(map[string]float64)
	for _, name := range names {
		if _, err := strconv.Atoi(name); err != nil {
			continue
		}
		b, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil || !ofKernel(b) {
			continue
		}
		if s, ok := parseProcessStat(b); ok {
			threads[name] = s
		}
	}
	return threads
}

// ofKernel tells from a thread's stat whether the thread belongs to the kernel: its parent is
// kthreadd.
func ofKernel(stat []byte) bool {
	_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	fields := strings.Fields(rest) // state, parent, …
	return len(fields) > 1 && fields[1] == kthreadd
}

// KernelUsed returns how many seconds kernel threads used between two samples. All the time of a
// new thread counts. A thread that has ended is not counted.
func KernelUsed(before, after map[string]float64) (seconds float64) {
	for name, s := range after {
		seconds += max(0, s-before[name])
	}
	return seconds
}
