package compare

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluicemq/sluice/bench/load"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	javaTopic      = "java-perf"
	javaPartitions = 16
)

// javaPerf lets Kafka's own ProducerPerformance produce, and counts from outside, with end offsets
// and /proc, because its own figures include the time in which its JVM is cold.
func javaPerf(recordBytes int, codec string) func(*stage) error {
	return func(st *stage) error {
		r, err := start(st.ctx, &st.o.Tools, st.system, st.dir, st.settings())
		if err != nil {
			return err
		}
		defer r.kill()
		if err := st.warm(r); err != nil {
			return err
		}
		cl, err := kgo.NewClient(kgo.SeedBrokers(r.plan.addr))
		if err != nil {
			return err
		}
		defer cl.Close()
		if err := createJavaTopic(st.ctx, cl, st.retention()); err != nil {
			return err
		}
		tool, err := launchJavaPerf(r.plan.addr, recordBytes, codec)
		if err != nil {
			return err
		}
		defer tool.kill()
		figures, err := st.watchJava(cl, r, tool, recordBytes)
		if err != nil {
			return fmt.Errorf("%w\n%s", err, tool.out)
		}
		st.figures = append(st.figures, figures)
		return nil
	}
}

func launchJavaPerf(addr string, recordBytes int, codec string) (*process, error) {
	classpath, err := javaClasspath()
	if err != nil {
		return nil, err
	}
	argv := []string{"java", "-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", classpath,
		"org.apache.kafka.tools.ProducerPerformance", "--topic", javaTopic, "--num-records", "2000000000",
		"--record-size", fmt.Sprint(recordBytes), "--throughput", "-1", "--producer-props", "bootstrap.servers=" + addr,
		"acks=all", "compression.type=" + codec, "batch.size=131072", "linger.ms=1"}
	return launch(argv)
}

// javaClasspath returns the class path that scripts/tools.sh has left.
func javaClasspath() (string, error) {
	dir := os.Getenv("SLUICE_TOOLS")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(home, ".cache", "sluice-tools")
	}
	b, err := os.ReadFile(filepath.Join(dir, "kafka.classpath"))
	if err != nil {
		return "", errors.New("no class path of Apache Kafka: make tools")
	}
	if _, err := exec.LookPath("java"); err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b)), nil
}

func createJavaTopic(ctx context.Context, cl *kgo.Client, retention int64) error {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = javaTopic, javaPartitions, 1
	if retention > 0 {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = "retention.bytes", kmsg.StringPtr(fmt.Sprint(retention))
		t.Configs = append(t.Configs, c)
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	if code := resp.Topics[0].ErrorCode; code != 0 {
		return fmt.Errorf("create topic %s: error code %d", javaTopic, code)
	}
	return nil
}

// reading is everything that is counted, at one moment.
type reading struct {
	at                            time.Time
	records                       int64
	broker, client, self, machine float64 // CPU seconds
	kernel                        map[string]float64
}

func takeReading(ctx context.Context, cl *kgo.Client, r *running, tool *process) (reading, error) {
	records, err := endOffsets(ctx, cl)
	return reading{at: time.Now(), records: records, broker: cpuSeconds(r.broker.pid()), client: cpuSeconds(tool.pid()),
		self: cpuSeconds(os.Getpid()), machine: machineSeconds(), kernel: load.KernelThreads()}, err
}

func (st *stage) watchJava(cl *kgo.Client, r *running, tool *process, recordBytes int) (map[string]float64, error) {
	warmup, duration := times(st.o, st.cell)
	if err := tool.while(st.ctx, warmup); err != nil {
		return nil, err
	}
	first, err := takeReading(st.ctx, cl, r, tool)
	if err != nil {
		return nil, err
	}
	if err := tool.while(st.ctx, duration); err != nil {
		return nil, err
	}
	last, err := takeReading(st.ctx, cl, r, tool)
	if err != nil {
		return nil, err
	}
	return javaFigures(first, last, recordBytes)
}

func javaFigures(first, last reading, recordBytes int) (map[string]float64, error) {
	records, seconds := float64(last.records-first.records), last.at.Sub(first.at).Seconds()
	if records <= 0 {
		return nil, errors.New("the tool produced nothing")
	}
	gib := records * float64(recordBytes) / (1 << 30)
	broker, client := last.broker-first.broker, last.client-first.client
	kernel := load.KernelUsed(first.kernel, last.kernel)
	return map[string]float64{
		"mib_per_second": gib * 1024 / seconds, "records_per_second": records / seconds,
		"cpu_s_per_gib.broker": broker / gib, "cpu_s_per_gib.client": client / gib,
		"kernel_cores": kernel / seconds, "foreign_cores": max(0, last.machine-first.machine-broker-client-kernel-(last.self-first.self)) / seconds,
	}, nil
}

// while waits for d, or until the process ends.
func (p *process) while(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-p.done:
		return fmt.Errorf("%s ended: %v", p.cmd.Path, p.err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// endOffsets returns the sum over the partitions of the tool's topic.
func endOffsets(ctx context.Context, cl *kgo.Client) (int64, error) {
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = javaTopic
	for i := range int32(javaPartitions) {
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = i, -1
		t.Partitions = append(t.Partitions, p)
	}
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.Topics = -1, append(req.Topics, t)
	sum := int64(0)
	for _, shard := range cl.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return 0, fmt.Errorf("end offsets: %w", shard.Err)
		}
		for _, t := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range t.Partitions {
				if p.ErrorCode != 0 {
					return 0, fmt.Errorf("end offset of partition %d: error code %d", p.Partition, p.ErrorCode)
				}
				sum += p.Offset
			}
		}
	}
	return sum, nil
}
