package compat

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluicemq/sluice/compat-tests/harness"
)

// codecs are all codecs that Kafka's clients use. Each gets a topic and a kcat of its own.
var codecs = []string{"none", "gzip", "snappy", "lz4", "zstd"}

// killAt are the parts of the input after which the broker is killed, counted by what it has
// accepted. The others are the parts after which the input waits until that has happened, counted
// by what kcat was given. So a kill always happens during the work.
var (
	killAt = []float64{0.20, 0.60}
	waitAt = []float64{0.50, 0.85}
)

const realPartitions = 4

// I1, I11: the Debian package index goes through one idempotent kcat per codec while the broker is
// killed twice. kcat and franz-go read it as it was written, in order.
func TestRealInput(t *testing.T) {
	in := realInput(t)
	for _, c := range []struct {
		name  string
		store func(testing.TB) *harness.Store
	}{{"file", nil}, {"versitygw", harness.VersityGW}, {"minio", harness.MinIO}} {
		t.Run(c.name, func(t *testing.T) {
			conf := harness.Config{Dir: t.TempDir(), Bucket: "file://" + t.TempDir(), Env: budgets()}
			conf.Env["SLUICE_FLUSH_BYTES"], conf.Env["SLUICE_WAL_SEGMENT_BYTES"] = "16777216", "67108864"
			if c.store != nil {
				s := c.store(t)
				conf.Bucket = s.URL(s.Addr, "real")
				for k, v := range s.Env {
					conf.Env[k] = v
				}
			}
			throughAndBack(t, harness.Sluice(t, conf), in)
		})
	}
}

// The same against Apache Kafka: a failure here is a fault of the test.
func TestRealInput_Oracle(t *testing.T) {
	longOnly(t)
	in := realInput(t)
	throughAndBack(t, harness.Kafka(t, harness.Config{Dir: t.TempDir()}), in[:min(len(in), 5000)])
}

// stanza is one record of the input.
type stanza struct {
	key   string
	value []byte
}

// shortStanzas is how many stanzas the test uses unless it runs long.
const shortStanzas = 20_000

// realInput reads the index of all packages that this machine knows, or makes one up.
func realInput(t *testing.T) []stanza {
	t.Helper()
	var in []stanza
	if out, err := exec.Command("apt-cache", "dumpavail").Output(); err == nil {
		in = stanzas(bytes.NewReader(out))
	}
	if len(in) < 10_000 {
		seed := harness.Seed(t)
		t.Logf("no package index here (%d stanzas): made up from the seed", len(in))
		in = stanzas(strings.NewReader(madeUp(seed, shortStanzas)))
	}
	if !harness.Long() {
		in = in[:min(len(in), shortStanzas)]
	}
	size := 0
	for _, s := range in {
		size += len(s.value)
	}
	t.Logf("%d stanzas, %d bytes of JSON", len(in), size)
	return in
}

// stanzas turns a Debian control file into records: one JSON object each, with the package as its
// key, and its number.
func stanzas(r io.Reader) []stanza {
	var list []stanza
	var last string
	fields := make(map[string]any)
	end := func() {
		if name, ok := fields["Package"].(string); ok {
			fields["n"] = len(list)
			value, err := json.Marshal(fields)
			if err == nil {
				list = append(list, stanza{name, value})
			}
		}
		fields, last = make(map[string]any), ""
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		name, value, ok := strings.Cut(line, ":")
		switch {
		case line == "":
			end()
		case strings.HasPrefix(line, " ") && last != "":
			fields[last] = fields[last].(string) + "\n" + strings.TrimPrefix(line, " ")
		case ok:
			last, fields[name] = name, strings.TrimSpace(value)
		}
	}
	end()
	return list
}

// madeUp writes a control file of the same form.
func madeUp(seed uint64, count int) string {
	rng := rand.New(rand.NewPCG(seed, 1))
	word := func() string {
		b := make([]byte, 2+rng.IntN(9))
		for i := range b {
			b[i] = 'a' + byte(rng.IntN(26))
		}
		return string(b)
	}
	words := func(n int) string {
		list := make([]string, n)
		for i := range list {
			list[i] = word()
		}
		return strings.Join(list, " ")
	}
	var out strings.Builder
	for i := range count {
		fmt.Fprintf(&out, "Package: %s-%d\nVersion: %d.%d-%d\nInstalled-Size: %d\nMaintainer: %s <%s@example.org>\nArchitecture: amd64\n",
			word(), i*9/10, rng.IntN(9), rng.IntN(30), rng.IntN(9), rng.IntN(90000), words(2), word())
		fmt.Fprintf(&out, "Depends: %s\nDescription: %s\n %s\nSection: %s\nSHA256: %064x\n\n",
			strings.ReplaceAll(words(1+rng.IntN(12)), " ", ", "), words(6), words(20), word(), rng.Uint64())
	}
	return out.String()
}

// throughAndBack is the test on one broker.
func throughAndBack(t *testing.T, b *harness.Broker, in []stanza) {
	kcat := harness.Tool(t, "kcat")
	b.Start()
	for _, codec := range codecs {
		if err := harness.CreateTopic(b.Addr, "real-"+codec, realPartitions); err != nil {
			t.Fatal(err)
		}
	}
	gates := []chan struct{}{make(chan struct{}), make(chan struct{})}
	var work sync.WaitGroup
	errs := make(chan error, len(codecs))
	for _, codec := range codecs {
		work.Go(func() { errs <- feed(t, kcat, b.Addr, codec, in, gates) })
	}
	for i, share := range killAt {
		if err := taken(b.Addr, int64(share*float64(len(in)*len(codecs)))); err != nil {
			t.Error(err)
		}
		b.Kill()
		b.Start()
		close(gates[i])
	}
	work.Wait()
	for range codecs {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	want := tallyOf(in)
	for _, codec := range codecs {
		compare(t, "kcat "+codec, consumeKcat(t, kcat, b.Addr, "real-"+codec), want)
		compare(t, "franz-go "+codec, consumeFranz(t, b.Addr, "real-"+codec, len(in)), want)
	}
	t.Logf("stopped in %v", b.Stop(stopLimit))
}

// feed pipes the input into one idempotent kcat and waits at each gate.
func feed(t *testing.T, kcat, addr, codec string, in []stanza, gates []chan struct{}) error {
	// -E: kcat does not end when all brokers are down, as they are between kill and start.
	cmd := exec.CommandContext(t.Context(), kcat, "-P", "-E", "-b", addr, "-t", "real-"+codec, "-K", "\t", "-z", codec,
		"-X", "enable.idempotence=true", "-X", "message.timeout.ms=120000", "-X", "reconnect.backoff.max.ms=500")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	w := bufio.NewWriter(pipe)
	gate := 0
	for i, s := range in {
		if gate < len(gates) && i >= int(waitAt[gate]*float64(len(in))) {
			if err := w.Flush(); err != nil {
				break // kcat has ended, and its exit code says why
			}
			<-gates[gate]
			gate++
		}
		fmt.Fprintf(w, "%s\t%s\n", s.key, s.value)
	}
	if err := errors.Join(w.Flush(), pipe.Close(), cmd.Wait()); err != nil {
		return fmt.Errorf("kcat producing %s: %w\n%s", codec, err, out.String())
	}
	return nil
}

// taken waits until the broker has the given number of records in all topics together.
func taken(addr string, want int64) error {
	return harness.Until(2*time.Minute, func() error {
		c, err := harness.Dial(addr)
		if err != nil {
			return err
		}
		defer c.Close()
		sum := int64(0)
		for _, codec := range codecs {
			for p := range int32(realPartitions) {
				end, _, err := c.ListOffset("real-"+codec, p, harness.Latest)
				if err != nil {
					return err
				}
				sum += end
			}
		}
		if sum < want {
			return fmt.Errorf("%d records taken, waiting for %d", sum, want)
		}
		return nil
	})
}

// content is what is compared of a record.
type content struct {
	key  string
	hash uint64
}

// tally is a multiset of records, and what was found wrong with their order.
type tally struct {
	count   map[content]int
	records int
	last    map[int32]int // number of the newest stanza, by partition
	order   []string
}

func newTally() *tally { return &tally{count: make(map[content]int), last: make(map[int32]int)} }

func (c *tally) add(key string, value []byte) {
	c.count[content{key, harness.Hash(nil, value)}]++
	c.records++
}

// read adds a consumed record. Within a partition the numbers of stanzas go up.
func (c *tally) read(partition int32, offset int64, key string, value []byte) {
	c.add(key, value)
	var numbered struct{ N int }
	if err := json.Unmarshal(value, &numbered); err != nil {
		c.order = append(c.order, fmt.Sprintf("partition %d offset %d: %v", partition, offset, err))
		return
	}
	if last, ok := c.last[partition]; ok && numbered.N <= last {
		c.order = append(c.order, fmt.Sprintf("partition %d offset %d: stanza %d after %d", partition, offset, numbered.N, last))
	}
	c.last[partition] = numbered.N
}

func tallyOf(in []stanza) *tally {
	c := newTally()
	for _, s := range in {
		c.add(s.key, s.value)
	}
	return c
}

func compare(t *testing.T, who string, got, want *tally) {
	t.Helper()
	lost, extra := 0, 0
	for k, n := range want.count {
		lost += max(0, n-got.count[k])
	}
	for k, n := range got.count {
		extra += max(0, n-want.count[k])
	}
	if lost > 0 || extra > 0 || got.records != want.records {
		t.Errorf("%s: %d records, want %d: %d are lost, %d are extra or altered", who, got.records, want.records, lost, extra)
	}
	for i, o := range got.order {
		if i == 5 {
			t.Errorf("%s: and %d more out of order", who, len(got.order)-i)
			break
		}
		t.Errorf("%s: %s", who, o)
	}
}

func consumeKcat(t *testing.T, kcat, addr, topic string) *tally {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), kcat, "-C", "-q", "-b", addr, "-t", topic, "-o", "beginning", "-e", "-f", `%p\t%o\t%k\t%s\n`)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	c := newTally()
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		parts := strings.SplitN(lines.Text(), "\t", 4)
		if len(parts) != 4 {
			t.Fatalf("kcat printed %q", lines.Text())
		}
		partition, err1 := strconv.ParseInt(parts[0], 10, 32)
		offset, err2 := strconv.ParseInt(parts[1], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		c.read(int32(partition), offset, parts[2], []byte(parts[3]))
	}
	if err := errors.Join(lines.Err(), cmd.Wait()); err != nil {
		t.Fatalf("kcat consuming %s: %v\n%s", topic, err, stderr.String())
	}
	return c
}

// consumeFranz reads what the partitions hold now. want is only used to give up early.
func consumeFranz(t *testing.T, addr, topic string, want int) *tally {
	t.Helper()
	conn, err := harness.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ends := make(map[int32]int64)
	for p := range int32(realPartitions) {
		end, _, err := conn.ListOffset(topic, p, harness.Latest)
		if err != nil {
			t.Fatal(err)
		}
		if end > 0 {
			ends[p] = end
		}
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	c := newTally()
	for len(ends) > 0 && c.records <= want {
		fetches := cl.PollFetches(t.Context())
		for _, err := range fetches.Errors() {
			t.Fatalf("franz-go consuming %s-%d: %v", err.Topic, err.Partition, err.Err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			c.read(r.Partition, r.Offset, string(r.Key), r.Value)
			if r.Offset+1 >= ends[r.Partition] {
				delete(ends, r.Partition)
			}
		})
	}
	return c
}
