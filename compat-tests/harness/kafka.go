package harness

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Kafka prepares a broker of Apache Kafka. It serves as an oracle: an anomaly that the harness
// reports about it is made up by the harness.
func Kafka(t testing.TB, c Config) *Broker {
	t.Helper()
	classpath, err := os.ReadFile(filepath.Join(toolsDir(), "kafka.classpath"))
	if err != nil {
		Missing(t, "Apache Kafka")
	}
	java := Tool(t, "java")
	b := &Broker{Config: c, Addr: fmt.Sprintf("127.0.0.1:%d", FreePort(t)), t: t, ready: "Kafka Server started"}
	b.stopCode = 128 + 15 // the JVM's exit code after SIGTERM
	b.command = func(b *Broker) *exec.Cmd {
		return exec.Command(java, "-Xmx512m", "-cp", strings.TrimSpace(string(classpath)),
			"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.log.kafka.server=info", "kafka.Kafka", b.properties())
	}
	b.format(java, strings.TrimSpace(string(classpath)), fmt.Sprintf("127.0.0.1:%d", FreePort(t)))
	t.Cleanup(b.cleanup)
	return b
}

func (b *Broker) properties() string { return filepath.Join(b.Dir, "server.properties") }

// format writes Kafka's configuration and formats its directory.
func (b *Broker) format(java, classpath, controller string) {
	b.t.Helper()
	conf := fmt.Sprintf(`process.roles=broker,controller
node.id=1
controller.quorum.voters=1@%[2]s
listeners=PLAINTEXT://%[1]s,CONTROLLER://%[2]s
advertised.listeners=PLAINTEXT://%[1]s
controller.listener.names=CONTROLLER
log.dirs=%[3]s
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
num.partitions=1
`, b.Addr, controller, filepath.Join(b.Dir, "logs"))
	for _, key := range slices.Sorted(maps.Keys(b.Properties)) {
		conf += key + "=" + b.Properties[key] + "\n"
	}
	if err := os.WriteFile(b.properties(), []byte(conf), 0o644); err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.Command(java, "-cp", classpath, "kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c", b.properties())
	if out, err := cmd.CombinedOutput(); err != nil {
		b.t.Fatalf("format Kafka's storage: %v\n%s", err, out)
	}
}
