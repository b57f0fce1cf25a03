package compare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/sluicemq/sluice/bench/load"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// running is a started system with its bucket.
type running struct {
	system *System
	plan   launchPlan
	argv   []string
	broker *process
	bucket *process // nil if there is none
	counts string   // where the null bucket tells its counts
}

// target is what the load talks to and watches.
func (r *running) target() load.Target {
	t := load.Target{Seeds: []string{r.plan.addr}}
	if r.broker != nil {
		t.Processes = append(t.Processes, load.Process{Name: "broker", PID: r.broker.pid()})
	}
	if r.bucket != nil {
		t.Processes = append(t.Processes, load.Process{Name: "bucket", PID: r.bucket.pid()})
	}
	return t
}

// metrics is the URL of a Sluice broker's metrics.
func (r *running) metrics() string { return "http://" + r.plan.admin + "/metrics" }

func (r *running) kill() {
	r.broker.kill()
	r.bucket.kill()
}

const (
	startLimit = 60 * time.Second
	stopLimit  = 3 * time.Minute
)

// start starts a system in an empty folder and waits until it answers.
func start(ctx context.Context, t *Tools, s *System, dir string, settings []string) (*running, error) {
	r, err := prepare(ctx, t, s, dir, settings)
	if err != nil {
		return nil, err
	}
	if err := r.startBroker(ctx); err != nil {
		r.kill()
		return nil, err
	}
	return r, nil
}

// prepare starts the system's bucket and decides how the system itself is started.
func prepare(ctx context.Context, t *Tools, s *System, dir string, settings []string) (*running, error) {
	r := &running{system: s, plan: launchPlan{dir: filepath.Join(dir, "system"), settings: settings}}
	ports, err := freeAddrs(4)
	if err != nil {
		return nil, err
	}
	r.plan.addr, r.plan.controller, r.plan.admin = ports[0], ports[1], ports[2]
	if err := os.MkdirAll(r.plan.dir, 0o755); err != nil {
		return nil, err
	}
	if s.bucket != "" {
		if err := r.startBucket(ctx, t, filepath.Join(dir, "bucket"), ports[3]); err != nil {
			r.kill()
			return nil, err
		}
		r.plan.bucketURL = bucketURL(ports[3])
	}
	r.argv = s.command(t, r.plan)
	return r, nil
}

func (r *running) startBucket(ctx context.Context, t *Tools, dir, addr string) error {
	// MinIO treats an existing folder as a bucket.
	if err := os.MkdirAll(filepath.Join(dir, bucketName), 0o755); err != nil {
		return err
	}
	argv := []string{t.Self, "limit", "bucket", "--listen", addr, "--dir", dir}
	if r.system.bucket == "minio" {
		if t.MinIO == "" {
			return errors.New("MinIO is not installed: make tools")
		}
		argv = []string{t.MinIO, "server", "--address", addr, "--quiet", dir}
	} else {
		r.counts = "http://" + addr + "/counts"
	}
	p, err := launch(argv)
	if err != nil {
		return err
	}
	r.bucket = p
	return p.await(ctx, func(ctx context.Context) error { return dial(ctx, addr) })
}

func (r *running) startBroker(ctx context.Context) error {
	p, err := launch(r.argv)
	if err != nil {
		return err
	}
	r.broker = p
	return p.await(ctx, func(ctx context.Context) error { return answers(ctx, r.plan.addr) })
}

// stopBroker ends the broker as its operator would, and waits.
func (r *running) stopBroker() error {
	if r.broker == nil {
		return nil
	}
	err := r.broker.stop(stopLimit)
	r.broker = nil
	return err
}

// freeAddrs finds ports on which nobody listens. Another program may take one before the system
// does; then the start fails and the run says so.
func freeAddrs(n int) ([]string, error) {
	var addrs []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

func dial(ctx context.Context, addr string) error {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return c.Close()
}

// answers asks for Metadata until it names a broker, since Kafka accepts connections before that.
func answers(ctx context.Context, addr string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.RequestRetries(0), kgo.DialTimeout(time.Second))
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	resp, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	if len(resp.Brokers) == 0 {
		return errors.New("no broker in the metadata")
	}
	return nil
}

// process is a child that dies with this process.
type process struct {
	cmd  *exec.Cmd
	out  *tail
	done chan struct{} // closed when it has ended
	err  error         // how it ended; read after done
}

// launch starts a command. It ends with this process, however this process ends.
func launch(argv []string) (*process, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), bucketEnv...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &process{cmd: cmd, out: new(tail), done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	go func() {
		defer close(p.done)
		p.err = cmd.Wait()
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// await calls ready until it does not fail. It gives up when the process ends.
func (p *process) await(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before it was ready: %v\n%s", p.cmd.Path, p.err, p.out)
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready after %s: %w\n%s", p.cmd.Path, startLimit, err, p.out)
		case <-tick.C:
		}
	}
}

func (p *process) kill() {
	if p == nil {
		return
	}
	_ = syscall.Kill(-p.pid(), syscall.SIGKILL)
	<-p.done
}

// stop asks the process to end and waits. A process that does not end in time is killed, and that
// is an error.
func (p *process) stop(limit time.Duration) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		p.kill()
		return fmt.Errorf("%s did not stop within %s", p.cmd.Path, limit)
	}
}

// tail keeps the end of a process's output, for the error message.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailBytes = 4 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if len(t.b) > tailBytes {
		t.b = append(t.b[:0], t.b[len(t.b)-tailBytes:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.b))
}
