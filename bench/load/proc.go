package load

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

// ticksPerSecond is USER_HZ, the same on every Linux that Go runs on.
const ticksPerSecond = 100

// processCPU returns the user and system time that a process has used. It returns false if there is
// no such process, or no /proc.
func processCPU(pid int) (seconds float64, ok bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false
	}
	return parseProcessStat(b)
}

// parseProcessStat adds up utime and stime. The name before them is in parentheses and may contain
// anything.
func parseProcessStat(b []byte) (seconds float64, ok bool) {
	i := bytes.LastIndexByte(b, ')')
	fields := strings.Fields(string(b[i+1:]))
	if i < 0 || len(fields) < 13 {
		return 0, false
	}
	user, err1 := strconv.ParseFloat(fields[11], 64)
	system, err2 := strconv.ParseFloat(fields[12], 64)
	return (user + system) / ticksPerSecond, err1 == nil && err2 == nil
}

// processRSS returns how much memory of a process is in RAM.
func processRSS(pid int) (bytes int64, ok bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0, false
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0, false
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err == nil
}

// machineCPU returns the time during which the processors were not idle.
func machineCPU() (seconds float64, ok bool) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, false
	}
	return parseMachineStat(b)
}

// parseMachineStat adds up user, nice, system, irq and softirq. Waiting for a disk counts as idle.
func parseMachineStat(b []byte) (seconds float64, ok bool) {
	line, _, _ := strings.Cut(string(b), "\n")
	fields := strings.Fields(line)
	if len(fields) < 8 || fields[0] != "cpu" {
		return 0, false
	}
	for _, i := range []int{1, 2, 3, 6, 7} {
		n, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			return 0, false
		}
		seconds += n
	}
	return seconds / ticksPerSecond, true
}

// usage is what processes have used up to a moment.
type usage struct {
	process map[string]float64 // CPU seconds, without processes that cannot be read
	client  float64
	machine float64
	kernel  map[string]float64 // CPU seconds of the kernel's threads
	ok      bool               // client and machine are known
}

func sampleUsage(ps []Process) usage {
	u := usage{process: make(map[string]float64)}
	for _, p := range ps {
		if s, ok := processCPU(p.PID); ok {
			u.process[p.Name] += s
		}
	}
	var ok1, ok2 bool
	u.client, ok1 = processCPU(os.Getpid())
	u.machine, ok2 = machineCPU()
	u.kernel = KernelThreads()
	u.ok = ok1 && ok2
	return u
}

// figures reports what was used since an earlier sample, and per GiB and per request if there were
// any.
func (u *usage) figures(before *usage, seconds, gibs, requests float64, into map[string]float64) {
	foreign := u.machine - before.machine - (u.client - before.client)
	tell := func(name string, used float64) {
		into["cpu_cores."+name] = used / seconds
		if gibs > 0 {
			into["cpu_s_per_gib."+name] = used / gibs
		}
		if requests > 0 {
			into["cpu_us_per_request."+name] = 1e6 * used / requests
		}
	}
	for name, s := range u.process {
		if b, ok := before.process[name]; ok {
			tell(name, s-b)
			foreign -= s - b
		}
	}
	if u.ok && before.ok {
		tell("client", u.client-before.client)
		kernel := KernelUsed(before.kernel, u.kernel)
		into["kernel_cores"], into["foreign_cores"] = kernel/seconds, max(0, foreign-kernel)/seconds
	}
}
