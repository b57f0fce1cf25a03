package compare

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/sluicemq/sluice/bench/load"
	"golang.org/x/sys/unix"
)

// Machine describes where a run took place, without naming a host.
type Machine struct {
	CPU       string  `json:"cpu"`
	CPUs      int     `json:"cpus"`
	MemoryMiB int64   `json:"memory_mib"`
	Kernel    string  `json:"kernel"`
	Disk      string  `json:"disk"` // the file system of the working folder
	Go        string  `json:"go"`
	Java      string  `json:"java,omitempty"`
	Load      float64 `json:"load_before"` // the load average of a minute when the run began
}

func describeMachine(dir string) Machine {
	m := Machine{CPUs: runtime.NumCPU(), Go: runtime.Version(), Disk: fileSystem(dir)}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.CPU = procField(b, "model name")
	}
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		m.MemoryMiB = kibibytes(b, "MemTotal") / 1024
	}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		// Only the numbers are kept, since the rest often names the owner of the machine.
		m.Kernel = "Linux " + regexp.MustCompile(`^[0-9.]*[0-9]`).FindString(string(b))
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		one, _, _ := strings.Cut(string(b), " ")
		m.Load, _ = strconv.ParseFloat(one, 64)
	}
	return m
}

// fileSystem names the type of the file system that holds a folder.
func fileSystem(dir string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "unknown"
	}
	names := map[int64]string{unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs",
		unix.TMPFS_MAGIC: "tmpfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay"}
	if name, ok := names[int64(st.Type)]; ok {
		return name
	}
	return fmt.Sprintf("0x%x", st.Type)
}

func javaVersion(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "java", "-version").CombinedOutput()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.ReplaceAll(line, `"`, "")
}

// procField returns the first value of a name in a file with lines "name : value".
func procField(b []byte, name string) string {
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// kibibytes returns a value from /proc/meminfo or /proc/PID/status.
func kibibytes(b []byte, name string) int64 {
	n, _, _ := strings.Cut(procField(b, name), " ")
	v, _ := strconv.ParseInt(n, 10, 64)
	return v
}

const (
	quietDirtyKiB = 16 << 10 // Dirty + Writeback up to this count as clean
	// quietWait is the longest wait for that, since a machine on which others write is never clean.
	quietWait = 20 * time.Second
)

// quiet writes back what earlier runs left, so that no system pays for another.
func quiet(ctx context.Context) {
	unix.Sync()
	until := time.Now().Add(quietWait)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for time.Now().Before(until) {
		b, err := os.ReadFile("/proc/meminfo")
		if err != nil || kibibytes(b, "Dirty")+kibibytes(b, "Writeback") < quietDirtyKiB {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

const (
	// settledPercent is the share of the last ten seconds in which somebody waited for a disk.
	settledPercent = 1.0
	settledWait    = time.Minute // the longest wait for that
	// settleTakes is how long it mostly takes: that is how long the kernel's average falls after a
	// run at full speed.
	settleTakes = 35 * time.Second
)

// settle waits until nobody has waited for a disk recently. A disk may be busy with data that it
// has accepted, even if nothing is dirty in memory. settle returns the pressure that was left, or 0
// if the kernel does not tell.
func settle(ctx context.Context) (percent float64) {
	until := time.Now().Add(settledWait)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		b, err := os.ReadFile("/proc/pressure/io")
		if err != nil {
			return 0
		}
		if percent = pressure(b); percent <= settledPercent || time.Now().After(until) {
			return percent
		}
		select {
		case <-ctx.Done():
			return percent
		case <-tick.C:
		}
	}
}

// pressure reads "some avg10=0.18 avg60=…", the first line of /proc/pressure/io.
func pressure(b []byte) float64 {
	_, rest, _ := strings.Cut(string(b), "some avg10=")
	value, _, _ := strings.Cut(rest, " ")
	percent, _ := strconv.ParseFloat(value, 64)
	return percent
}

// dropCaches empties the page cache, so that reads come from the disk. Only root can do that.
func dropCaches() error {
	unix.Sync()
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3\n"), 0o200)
}

const ticksPerSecond = 100 // USER_HZ, the same on every Linux that Go runs on

// cpuSeconds returns the user and system time of a process so far.
func cpuSeconds(pid int) float64 {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0
	}
	return statSeconds(string(b))
}

// statSeconds reads /proc/PID/stat. The name in parentheses may contain anything, also spaces and
// parentheses.
func statSeconds(stat string) float64 {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / ticksPerSecond
}

// machineSeconds returns the seconds during which the processors were not idle so far.
func machineSeconds() float64 {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	return busySeconds(string(b))
}

// busySeconds reads the first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq,
// steal, ….
func busySeconds(stat string) float64 {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	sum := 0.0
	for i, f := range fields {
		// These are the name, idle, waiting for disks, and guests, which are part of user.
		if i == 0 || i == 4 || i == 5 || i > 8 {
			continue
		}
		v, _ := strconv.ParseFloat(f, 64)
		sum += v
	}
	return sum / ticksPerSecond
}

// others tells how much CPU the rest of the machine uses during a step. When the step is over,
// every process that it started has ended and was waited for, so the kernel counts it as ours.
type others struct {
	at            time.Time
	machine, ours float64
	kernel        map[string]float64
}

func sampleOthers() others {
	return others{time.Now(), machineSeconds(), usage(unix.RUSAGE_SELF) + usage(unix.RUSAGE_CHILDREN), load.KernelThreads()}
}

// foreign returns cores since the sample.
func (o others) foreign() float64 {
	now := sampleOthers()
	return max(0, now.machine-o.machine-(now.ours-o.ours)-load.KernelUsed(o.kernel, now.kernel)) / now.at.Sub(o.at).Seconds()
}

func usage(who int) float64 {
	var u unix.Rusage
	if err := unix.Getrusage(who, &u); err != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
