package harness

import (
	"bufio"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

//go:embed desk/Desk.java
var deskSource []byte

// Java is one JVM with the class path of Apache Kafka, in which many programs can run, also at the
// same time. Starting a JVM for each would cost a second or two.
type Java struct {
	writing sync.Mutex
	in      io.WriteCloser

	mu    sync.Mutex
	calls map[int64]*Program
	next  int64
}

// NewJava compiles the sources and starts a JVM with them. It ends with the test.
func NewJava(t testing.TB, sources ...string) *Java {
	t.Helper()
	classpath, classes := kafkaClasspath(t), t.TempDir()
	desk := filepath.Join(t.TempDir(), "Desk.java")
	if err := os.WriteFile(desk, deskSource, 0o644); err != nil {
		t.Fatal(err)
	}
	compile := exec.Command(Tool(t, "javac"), append([]string{"-nowarn", "-d", classes, "-cp", classpath, desk}, sources...)...)
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("javac: %v\n%s", err, out)
	}
	j := &Java{calls: make(map[int64]*Program)}
	j.start(t, exec.Command(Tool(t, "java"), "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
		// This logs why a consumer rebalances.
		"-Dorg.slf4j.simpleLogger.log.org.apache.kafka.clients.consumer.internals.ConsumerCoordinator=info",
		"-Dorg.slf4j.simpleLogger.log.org.apache.kafka.clients.Metadata=info",
		"-cp", classes+string(os.PathListSeparator)+classpath, "Desk"))
	return j
}

func kafkaClasspath(t testing.TB) string {
	t.Helper()
	classpath, err := os.ReadFile(filepath.Join(toolsDir(), "kafka.classpath"))
	if err != nil {
		Missing(t, "Apache Kafka")
	}
	return strings.TrimSpace(string(classpath))
}

// ExecJava runs a main method in a JVM of its own, for tools that do their last work when their JVM
// ends.
func ExecJava(t testing.TB, main string, args ...string) *Program {
	t.Helper()
	words := append([]string{"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", kafkaClasspath(t), main}, args...)
	return Exec(t, javaName(main, args), exec.Command(Tool(t, "java"), words...))
}

func javaName(main string, args []string) string {
	return fmt.Sprintf("java %s %s", main[strings.LastIndexByte(main, '.')+1:], strings.Join(args, " "))
}

// start runs the JVM and the goroutine that distributes its answers.
func (j *Java) start(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start a JVM: %v", err)
	}
	j.in = in
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		j.read(out)
		_ = cmd.Wait() // killed by the clean-up, or its calls report the error
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended already
		<-gone
	})
}

// answer is one line from the desk, the program in the JVM.
type answer struct {
	ID   int64
	Out  string
	Err  string
	Code *int
}

// read hands answers to the calls that wait for them, until the JVM ends.
func (j *Java) read(out io.Reader) {
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		var a answer
		if json.Unmarshal(line, &a) != nil {
			continue // printed by the JVM itself
		}
		j.hand(a)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for id, p := range j.calls {
		delete(j.calls, id)
		p.finish(-1)
	}
}

func (j *Java) hand(a answer) {
	j.mu.Lock()
	defer j.mu.Unlock()
	p := j.calls[a.ID]
	if p == nil {
		return
	}
	_, _ = p.writer(&p.out).Write(latin1(a.Out))
	_, _ = p.writer(&p.errs).Write(latin1(a.Err))
	if a.Code != nil {
		delete(j.calls, a.ID)
		p.finish(*a.Code)
	}
}

// latin1 returns the bytes that the desk sent as characters.
func latin1(s string) []byte {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		b = append(b, byte(r))
	}
	return b
}

// Start starts the main method of a class.
func (j *Java) Start(t testing.TB, main string, args ...string) *Program {
	t.Helper()
	p := newProgram(javaName(main, args))
	j.mu.Lock()
	j.next++
	id := j.next
	j.calls[id] = p
	j.mu.Unlock()
	p.send = func(line string) error { return j.tell(map[string]any{"id": id, "line": line}) }
	p.end = func() error { return j.tell(map[string]any{"id": id, "end": true}) }
	if err := j.tell(map[string]any{"id": id, "main": main, "args": append([]string{}, args...)}); err != nil {
		t.Fatalf("%s: %v", p.Name, err)
	}
	return p
}

func (j *Java) tell(request any) error {
	line, err := json.Marshal(request)
	if err != nil {
		return err
	}
	j.writing.Lock() // not mu: answers are read while the JVM is slow to read
	defer j.writing.Unlock()
	_, err = j.in.Write(append(line, '\n'))
	return err
}
