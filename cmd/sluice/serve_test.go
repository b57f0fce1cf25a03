package main

import (
	"context"
	"encoding/xml"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func kafka(t *testing.T, address string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(address), kgo.AllowAutoTopicCreation())...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// A broker is started as a user does. It says in one line what it is, answers health and metrics,
// shows its configuration, and ends with an idle client connected. What was acknowledged is there
// after the next start.
func TestDevProcess(t *testing.T) {
	dir := t.TempDir()
	p, address := dev(t, dir, []string{"SLUICE_NUM_PARTITIONS=3", "KAFKA_LOG_RETENTION_HOURS=5"}, "--set", "broker.rack=r1", "--set", "num.io.threads=9")
	started := p.await("msg=listening")
	for key, want := range map[string]string{"version": version, "dir": dir, "bucket": "file://" + dir + "/bucket", "durability": "local"} {
		if got := field(t, started, key); got != want {
			t.Errorf("%s is %s, want %s", key, got, want)
		}
	}
	if !strings.Contains(p.await("without meaning"), "keys=num.io.threads") {
		t.Error("a key without meaning is not named")
	}
	for path, want := range map[string]string{"/readyz": `"ready"`, "/metrics": "sluice_unflushed_bytes"} {
		if got := get(t, "http://"+field(t, started, "admin")+path); !strings.Contains(got, want) {
			t.Errorf("%s: %s", path, got)
		}
	}
	c := kafka(t, address)
	if err := c.ProduceSync(within(t), &kgo.Record{Topic: "t", Value: []byte("v")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	checkShown(t, c, map[string]shownSetting{
		"num.partitions": {"3", kmsg.ConfigSourceStaticBrokerConfig}, "log.retention.hours": {"5", kmsg.ConfigSourceStaticBrokerConfig},
		"listeners": {"PLAINTEXT://" + address, kmsg.ConfigSourceStaticBrokerConfig}, "advertised.listeners": {"PLAINTEXT://" + address, kmsg.ConfigSourceDefaultConfig},
		"log.dirs": {dir, kmsg.ConfigSourceStaticBrokerConfig}, "node.id": {"1", kmsg.ConfigSourceDefaultConfig}, "broker.id": {"1", kmsg.ConfigSourceDefaultConfig},
		"sluice.wal.budget.bytes": {"4294967296", kmsg.ConfigSourceDefaultConfig}, "num.io.threads": {"9", kmsg.ConfigSourceStaticBrokerConfig},
		"offsets.topic.num.partitions": {"50", kmsg.ConfigSourceDefaultConfig}, "ssl.keystore.password": {"", kmsg.ConfigSourceDefaultConfig},
		"group.initial.rebalance.delay.ms": {"0", kmsg.ConfigSourceStaticBrokerConfig},
	})
	idle, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	p.stop()
	p.await("stopping: flushing up to 8s; a second signal ends at once, nothing is lost")
	p.await("stopped with everything in the bucket")

	p, address = dev(t, dir, nil)
	c = kafka(t, address, kgo.ConsumeTopics("t"))
	if got := c.PollFetches(within(t)).Records(); len(got) != 1 || string(got[0].Value) != "v" {
		t.Errorf("after the restart: %v", got)
	}
	p.stop()
}

// shownSetting is a broker's key as DescribeConfigs shows it.
type shownSetting struct {
	value  string
	source kmsg.ConfigSource
}

func checkShown(t *testing.T, c *kgo.Client, want map[string]shownSetting) {
	t.Helper()
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "1"}}
	resp, err := c.Broker(1).Request(within(t), req)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]shownSetting{}
	for _, k := range resp.(*kmsg.DescribeConfigsResponse).Resources[0].Configs {
		value := ""
		if k.Value != nil {
			value = *k.Value
		}
		got[k.Name] = shownSetting{value, k.Source}
	}
	for name, w := range want {
		if got[name] != w {
			t.Errorf("%s is shown as %+v, want %+v", name, got[name], w)
		}
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(within(t), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var text strings.Builder
	if err := resp.Write(&text); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// serve reads a Kafka configuration, listens where it says, and tells clients of each listener
// their own endpoint.
func TestServeProcess(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "server.properties")
	write(t, file, "log.dirs="+filepath.Join(dir, "data")+`
listeners=INSIDE://127.0.0.1:0,OUTSIDE://127.0.0.1:0,CONTROLLER://:9093
advertised.listeners=OUTSIDE://kafka.example:443,CONTROLLER://localhost:9093
listener.security.protocol.map=INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
node.id=4
sluice.admin.listener=
`)
	p := launch(t, nil, "serve", "--config", file)
	at := strings.Split(field(t, p.await("msg=listening"), "address"), ",")
	inside, ok := strings.CutPrefix(at[0], "INSIDE://")
	outside, ok2 := strings.CutPrefix(at[1], "OUTSIDE://")
	if !ok || !ok2 || len(at) != 2 {
		t.Fatalf("listening at %q", at)
	}
	for address, want := range map[string]string{inside: inside, outside: "kafka.example:443"} {
		resp, err := kmsg.NewPtrMetadataRequest().RequestWith(within(t), kafka(t, address).SeedBrokers()[0])
		if err != nil {
			t.Fatal(err)
		}
		b := resp.Brokers[0]
		if got := net.JoinHostPort(b.Host, fmt.Sprint(b.Port)); got != want || b.NodeID != 4 {
			t.Errorf("clients at %s are told of node %d at %s, want %s", address, b.NodeID, got, want)
		}
	}
	p.stop()
}

// With --memory nothing is left behind, and the broker says so.
func TestMemoryProcess(t *testing.T) {
	p := launch(t, nil, "dev", "--memory", "--listen", "127.0.0.1:0", "--set", "sluice.admin.listener=")
	started := p.await("msg=listening")
	dir := field(t, started, "dir")
	if got := field(t, started, "durability"); !strings.Contains(got, "none") || field(t, started, "bucket") != "mem://" {
		t.Errorf("started as %s", started)
	}
	if err := kafka(t, field(t, started, "address")).ProduceSync(within(t), &kgo.Record{Topic: "t", Value: []byte("v")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	p.await("nothing is kept")
	if _, err := os.Stat(filepath.Join(dir, "node.json")); err != nil {
		t.Fatal(err)
	}
	p.stop()
	p.await("nothing was kept")
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", dir, err)
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A problem with folder, port or configuration is reported in a line that says what to do, and ends
// the start with code 1.
func TestStartRefused(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() }) // runs after the parallel tests
	port := fmt.Sprint(taken.Addr().(*net.TCPAddr).Port)
	config := filepath.Join(t.TempDir(), "broker.yaml")
	write(t, config, "num.partition: 3\nssl.keystore.location: /k\nlisteners: PLAINTEXT://0.0.0.0:9092\n")
	for _, c := range []struct {
		name string
		args func(dir string) []string
		want []string
	}{
		{"client port taken", func(dir string) []string {
			return []string{"dev", "--dir", dir, "--listen", taken.Addr().String(), "--set", "sluice.admin.listener="}
		}, []string{"listeners (--listen): cannot listen on 127.0.0.1:" + port + ": port " + port + " is in use: stop what uses it, or choose another port"}},
		{"admin port taken", func(dir string) []string {
			return devArgs(dir, "--set", "sluice.admin.listener="+taken.Addr().String())
		}, []string{"sluice.admin.listener (--set): cannot listen on", "is in use: stop what uses it"}},
		{"not this machine's address", func(dir string) []string { return []string{"dev", "--dir", dir, "--listen", "192.0.2.1:9092"} },
			[]string{"192.0.2.1 is no address of this machine: listen on one that is, or on 0.0.0.0 and name 192.0.2.1 in advertised.listeners"}},
		{"every address", func(dir string) []string { return []string{"dev", "--dir", dir, "--listen", "0.0.0.0:9092"} },
			[]string{"--listen: listeners: clients are told to connect to 0.0.0.0:9092, which is no address of anybody: set advertised.listeners=PLAINTEXT://HOST:9092"}},
		{"a file in place of the folder", func(dir string) []string {
			write(t, filepath.Join(dir, "file"), "")
			return devArgs(filepath.Join(dir, "file"))
		}, []string{"is a file, or below one: choose a folder (--dir, log.dirs)"}},
		{"Kafka's folder", func(dir string) []string {
			write(t, filepath.Join(dir, "meta.properties"), "version=1\n")
			return devArgs(dir)
		}, []string{"is a data directory of Apache Kafka", "choose another one"}},
		{"a newer format", func(dir string) []string {
			write(t, filepath.Join(dir, "node.json"), `{"format": 99, "state": "ready"}`)
			return devArgs(dir)
		}, []string{"has format 99, this sluice opens up to 1: use a newer sluice"}},
		{"a full disk", func(dir string) []string {
			if err := os.Symlink("/dev/full", filepath.Join(dir, "node.json.tmp")); err != nil {
				t.Fatal(err)
			}
			return devArgs(dir)
		}, []string{"is full: free space on it, or choose a directory on another one (--dir, log.dirs)"}},
		{"a configuration with several problems", func(dir string) []string { return []string{"serve", "--config", config} }, []string{
			"broker.yaml:1: num.partition: unknown key; did you mean num.partitions?",
			"broker.yaml:2: ssl.keystore.location: \"/k\": TLS, SASL and authorization are not served yet",
			"broker.yaml:3: listeners: clients are told to connect to 0.0.0.0:9092",
		}},
		{"a configuration that is not there", func(dir string) []string { return []string{"serve", "--config", dir + "/none.yaml"} },
			[]string{"none.yaml: no such file or directory"}},
		{"a bucket that is none", func(dir string) []string { return devArgs(dir, "--bucket", "s4://x") }, []string{"unknown scheme"}},
		{"memory that is not asked for", func(dir string) []string { return devArgs(dir, "--bucket", "mem://") }, []string{"say --memory if that is wanted"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			says(t, c.name, ends(t, 1, nil, c.args(dir)...), c.want...)
		})
	}
}

// A command line that makes no sense ends with code 2 and one line.
func TestUsageErrors(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"sevre"}, `unknown command "sevre" for "sluice"; did you mean serve`},
		{[]string{"dev", "--nope"}, "unknown flag: --nope (see sluice dev --help)"},
		{[]string{"serve", "extra"}, "unknown command"},
		{[]string{"dev", "--set", "num.partitions"}, "want KEY=VALUE, such as --set num.partitions=3"},
		{[]string{"dev", "--memory", "--dir", "x"}, "--memory keeps nothing: leave --dir out"},
		{[]string{"object", "sl"}, "unknown command"},
		{[]string{"object", "inspect"}, "accepts 1 arg(s), received 0 (see sluice object inspect --help)"},
		{[]string{"wal", "inspect", "a", "b"}, "accepts at most 1 arg(s)"},
		{[]string{"restore"}, "restore needs --bucket URL and --dir DIR"},
		{[]string{"version", "-o", "xml"}, "want text or json"},
	} {
		says(t, strings.Join(c.args, " "), ends(t, 2, nil, c.args...), c.want)
	}
}

// The folder belongs to another user.
func TestFolderNotWritable(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", devArgs(dir)...)
	if os.Getuid() == 0 { // root may write anywhere
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	p := launchCommand(t, nil, cmd)
	if code := p.code(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	says(t, "not writable", p.errs.String(), "may not write to "+dir, "give the folder to that user, or choose another one (--dir, log.dirs)")
}

// A second process on a folder, and a second broker on a bucket's prefix, refuse to start. The
// first one goes on.
func TestTwoBrokers(t *testing.T) {
	dir, bucket := t.TempDir(), "file://"+t.TempDir()
	p, _ := dev(t, dir, nil, "--bucket", bucket)
	says(t, "locked", ends(t, 1, nil, devArgs(dir, "--bucket", bucket)...), dir+" is used by another process: stop it, or choose another --dir")
	says(t, "one prefix", ends(t, 1, nil, devArgs(t.TempDir(), "--bucket", bucket)...),
		"the bucket prefix is in use by cluster "+field(t, p.await("msg=listening"), "cluster"), "sluice restore", "choose another prefix")
	p.stop()
}

// storeAnswering is an S3 store that refuses everything.
func storeAnswering(t *testing.T, status int, code string) (url string) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		// The client may have gone.
		_ = xml.NewEncoder(w).Encode(struct {
			XMLName xml.Name `xml:"Error"`
			Code    string
		}{Code: code})
	}))
	t.Cleanup(s.Close)
	return "s3://bucket/p?region=us-east-1&path_style=true&endpoint=" + s.URL
}

// A first start needs the bucket. A refusal ends it at once, silence after a while.
func TestFirstStartWithoutBucket(t *testing.T) {
	credentials := []string{"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b", "SLUICE_BUCKET_WAIT=10m"}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	away := silent.Addr().String()
	silent.Close() // refuses connections from here on
	for _, c := range []struct {
		name, url string
		environ   []string
		want      string
	}{
		{"missing", storeAnswering(t, 404, "NoSuchBucket"), credentials, "the bucket does not exist (or the access key is unknown): create it or correct the URL"},
		{"wrong key", storeAnswering(t, 403, "InvalidAccessKeyId"), credentials, "access denied: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"},
		{"denied", storeAnswering(t, 403, "AccessDenied"), credentials, "that they may GetObject, PutObject, DeleteObject and ListBucket"},
		{"no key", storeAnswering(t, 403, "AccessDenied"), credentials[2:], "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role"},
		{"unreachable", "s3://bucket/p?region=us-east-1&path_style=true&endpoint=http://" + away, []string{credentials[0], credentials[1], "SLUICE_BUCKET_WAIT=1s"},
			"the bucket was not reachable for 1s: check the URL and the network"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			says(t, c.name, ends(t, 1, c.environ, devArgs(t.TempDir(), "--bucket", c.url)...), c.want)
		})
	}
}

// A directory that is started with another bucket than its own ends with a message about that.
func TestAnotherBucket(t *testing.T) {
	dir, empty := t.TempDir(), t.TempDir()
	p, address := dev(t, dir, nil)
	if err := kafka(t, address).ProduceSync(within(t), &kgo.Record{Topic: "t", Value: []byte("v")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	p.stop()
	for what, bucket := range map[string]string{"an empty bucket": empty, "another's bucket": t.TempDir()} {
		if bucket != empty {
			other, _ := dev(t, t.TempDir(), nil, "--bucket", "file://"+bucket)
			other.stop()
		}
		printed := ends(t, 1, nil, devArgs(dir, "--bucket", "file://"+bucket)...)
		says(t, what, printed, dir+" was not made with the bucket file://"+bucket, "start it with the one that it was made with", "choose another directory")
	}
}

// A later start does not need the bucket: it serves, and says that the bucket is away.
func TestLaterStartWithoutBucket(t *testing.T) {
	dir := t.TempDir()
	p, _ := dev(t, dir, nil)
	p.stop()
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	away := "s3://bucket/p?region=us-east-1&path_style=true&endpoint=http://" + nobody.Addr().String()
	p, address := dev(t, dir, []string{"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b", "SLUICE_STOP_TIMEOUT=1s"}, "--bucket", away)
	p.await("the bucket is away; serving from the write-ahead log")
	if err := kafka(t, address).ProduceSync(within(t), &kgo.Record{Topic: "t", Value: []byte("v")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	p.stop()
	p.await("stopped with data that is not in the bucket")
}

// Too few file descriptors are reported before they run out.
func TestFewFileDescriptors(t *testing.T) {
	cmd := exec.Command("sh", append([]string{"-c", `ulimit -n 300 && exec "$0" "$@"`, "/proc/self/exe"}, devArgs(t.TempDir())...)...)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Args[3] = self
	p := launchCommand(t, nil, cmd)
	line := p.await("too few file descriptors")
	if limit, need := field(t, line, "limit"), field(t, line, "needed"); limit != "300" || need != "10320" {
		t.Errorf("limit %s, needed %s", limit, need)
	}
	p.await("msg=listening")
	p.stop()
}

// A second signal ends a process that is still trying to reach the bucket.
func TestSecondSignal(t *testing.T) {
	dir := t.TempDir()
	p, _ := dev(t, dir, nil)
	p.stop()
	// It accepts nothing, so that requests hang.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	hanging := "s3://bucket/p?region=us-east-1&path_style=true&endpoint=http://" + silent.Addr().String()
	p, address := dev(t, dir, []string{"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b", "SLUICE_STOP_TIMEOUT=10m"}, "--bucket", hanging)
	if err := kafka(t, address).ProduceSync(within(t), &kgo.Record{Topic: "t", Value: []byte("v")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	signal := func() {
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	signal()
	// The broker stops listening first.
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			break
		}
		c.Close()
	}
	signal()
	if p.code(); p.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("it ended with %v, want by the signal", p.cmd.ProcessState)
	}
}
