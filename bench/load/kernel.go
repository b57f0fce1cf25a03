package load

import (
	"os"
	"strconv"
	"strings"
)

// kthreadd is the parent of all kernel threads.
const kthreadd = "2"

// KernelThreads are the CPU seconds of each thread of the kernel so far: they write back what the processes under
// test have written and receive what they send, so that they are no stranger's. Nil without /proc. For [KernelUsed].
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

// ofKernel tells from a thread's stat whether it is the kernel's: its parent is kthreadd.
func ofKernel(stat []byte) bool {
	_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	fields := strings.Fields(rest) // state, parent, …
	return len(fields) > 1 && fields[1] == kthreadd
}

// KernelUsed is what kernel threads used between two samples. One that is new has used all it has; one that
// has ended is not known any more.
func KernelUsed(before, after map[string]float64) (seconds float64) {
	for name, s := range after {
		seconds += max(0, s-before[name])
	}
	return seconds
}
