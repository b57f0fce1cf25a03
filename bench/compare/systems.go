package compare

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// System is something that speaks Kafka's protocol, or a limit that pretends to, and is started for
// each run of a cell.
type System struct {
	Name, Title string
	Help        string // what it is, and what its acknowledgement means
	bucket      string // the kind of bucket that is started before it: "", "null" or "minio"
	minimal     bool   // one of bench limit: it has no retention and no topics to delete
	jvm         bool   // is warmed up by a load that is thrown away
	startTakes  time.Duration
	// retention is the retention.bytes of a partition if nothing else says. 0 is none.
	retention int64
	command   func(*Tools, launchPlan) []string
}

// Tools says where programs are.
type Tools struct {
	Self   string // this program, which runs its limits
	Sluice string // the broker's binary
	Kafka  string // bench/kafka/run
	MinIO  string // "" if it is not installed
}

// launchPlan is what a command needs to know.
type launchPlan struct {
	dir        string // empty, and only for this system
	addr       string // a free HOST:PORT for clients
	controller string // another one
	admin      string // and another
	bucketURL  string // of the bucket that was started; "" if there is none
	settings   []string
}

// The settings of the broker that differ from its defaults, and the reasons. The report shows them.
var (
	// Retention and deletion run often, so that a run at full speed fits on the disk.
	housekeeping = []string{"log.retention.check.interval.ms=1000", "sluice.delete.delay=2s", "sluice.snapshot.interval=2s"}
	// Uploads wait, since only producing is measured. What retention passes meanwhile is never
	// uploaded and gives its segments of the WAL back. Retention runs often, so that as little of
	// the WAL is in use as with uploads, and segments are reused while they are in memory.
	withoutUpload = []string{"sluice.flush.interval=1h", "sluice.flush.bytes=5GiB", "sluice.wal.budget.bytes=64GiB",
		"log.retention.check.interval.ms=250", "sluice.delete.delay=2s", "sluice.snapshot.interval=2s"}
)

// Systems are all systems that can be compared, in the order of tables and charts.
var Systems = []System{
	{Name: "null", Title: "null broker", minimal: true, startTakes: 200 * time.Millisecond, command: limit("null"),
		Help: "Decodes Produce and answers at once: what the client and the network take. An acknowledgement means nothing."},
	{Name: "wal", Title: "minimal WAL", minimal: true, startTakes: 2 * time.Second, command: limit("wal"),
		Help: "The null broker, a CRC check, and group commit with fdatasync into a preallocated, zero-filled ring: write, then sync. An acknowledgement means on disk."},
	{Name: "wal-overlapped", Title: "minimal WAL, overlapped", minimal: true, startTakes: 2 * time.Second, command: limit("wal-overlapped"),
		Help: "The same, and the next group is written while the last one syncs."},
	{Name: "wal-upload", Title: "minimal WAL + PUTs, null bucket", minimal: true, bucket: "null", startTakes: 2 * time.Second, command: limit("wal-upload"),
		Help: "The overlapped WAL that also PUTs every byte to the null bucket, in objects of Sluice's size."},
	{Name: "wal-twice", Title: "minimal WAL, bytes twice", minimal: true, startTakes: 2 * time.Second, command: limit("wal-twice"),
		Help: "The overlapped WAL that also writes every byte a second time, into files of 16 MiB of the same disk, past the page cache, each synced when it is full. What a broker whose bucket is a folder cannot exceed."},
	{Name: "fetch", Title: "fetch from memory", minimal: true, startTakes: 200 * time.Millisecond, command: limit("fetch"),
		Help: "Keeps what is produced in memory and serves it by reference with writev; checks nothing."},
	{Name: "sluice-file", Title: "Sluice as started", startTakes: 500 * time.Millisecond, command: sluice(nil),
		Help: "`sluice dev` with nothing set but its folder and its ports: the bucket is a folder of the same disk, so every byte is written twice. An acknowledgement means on disk (fdatasync); the object follows within 10 s."},
	{Name: "sluice", Title: "Sluice, produce only", startTakes: 500 * time.Millisecond, retention: 8 << 20, command: sluice(withoutUpload),
		Help: "One broker whose uploads are put off for an hour and whose retention runs four times a second, so that the path of a produce is seen alone: a limit to know, not what a user gets. An acknowledgement means on disk (fdatasync)."},
	{Name: "sluice-upload", Title: "Sluice, null bucket", bucket: "null", startTakes: time.Second, command: sluice(housekeeping),
		Help: "One broker that uploads as it does by default, into the null bucket. An acknowledgement means on disk; the object follows within 10 s."},
	{Name: "sluice-minio", Title: "Sluice, MinIO", bucket: "minio", startTakes: 2 * time.Second, retention: 256 << 20, command: sluice(housekeeping),
		Help: "The same into MinIO on this machine, whose CPU and disk it shares."},
	{Name: "raw-get", Title: "raw GETs of MinIO", minimal: true, bucket: "minio", startTakes: 2 * time.Second, command: noCommand,
		Help: "No broker: objects of 8 MiB, four at a time, out of MinIO on this machine, with the client that Sluice has. Nothing is decoded or checked."},
	{Name: "kafka", Title: "Kafka", jvm: true, startTakes: 5 * time.Second, command: kafka(),
		Help: "Apache Kafka, one KRaft node with its defaults. An acknowledgement means in the page cache, not on disk."},
	{Name: "kafka-fsync", Title: "Kafka, flush.messages=1", jvm: true, startTakes: 5 * time.Second, command: kafka("log.flush.interval.messages=1"),
		Help: "The same, and every append is synced before its acknowledgement: on disk, as Sluice's."},
}

// own reports that the system is Sluice; uploads reports that it uploads while it is measured.
func (s *System) own() bool     { return !s.minimal && !s.jvm }
func (s *System) uploads() bool { return s.own() && s.bucket != "" }

func systemNamed(name string) *System {
	for i := range Systems {
		if Systems[i].Name == name {
			return &Systems[i]
		}
	}
	return nil
}

// noCommand is for a limit that is not a server.
func noCommand(*Tools, launchPlan) []string { return nil }

func limit(kind string) func(*Tools, launchPlan) []string {
	return func(t *Tools, p launchPlan) []string {
		words := []string{t.Self, "limit", kind, "--listen", p.addr, "--dir", p.dir, "--admin", p.admin}
		if p.bucketURL != "" {
			words = append(words, "--bucket", p.bucketURL)
		}
		return words
	}
}

func sluice(settings []string) func(*Tools, launchPlan) []string {
	return func(t *Tools, p launchPlan) []string {
		words := []string{t.Sluice, "dev", "--dir", filepath.Join(p.dir, "data"), "--listen", p.addr, "--set", "sluice.admin.listener=" + p.admin}
		if p.bucketURL != "" {
			words = append(words, "--bucket", p.bucketURL)
		}
		for _, s := range append(settings[:len(settings):len(settings)], p.settings...) {
			words = append(words, "--set", s)
		}
		return words
	}
}

func kafka(settings ...string) func(*Tools, launchPlan) []string {
	return func(t *Tools, p launchPlan) []string {
		words := append([]string{t.Kafka, p.dir, p.addr, p.controller}, settings...)
		return append(words, p.settings...)
	}
}

// bucketName is the bucket in the null bucket and in MinIO.
const bucketName = "bench"

// bucketEnv are the credentials of both. The null bucket accepts any.
var bucketEnv = []string{"AWS_ACCESS_KEY_ID=bench-user", "AWS_SECRET_ACCESS_KEY=bench-secret", "AWS_REGION=us-east-1",
	"MINIO_ROOT_USER=bench-user", "MINIO_ROOT_PASSWORD=bench-secret", "MINIO_BROWSER=off"}

func bucketURL(addr string) string {
	return fmt.Sprintf("s3://%s/run?region=us-east-1&endpoint=http://%s&path_style=true", bucketName, addr)
}

// settingsOf lists what a Sluice system sets, for the report.
func settingsOf(s *System) string {
	words := s.command(&Tools{}, launchPlan{})
	var out []string
	for i, w := range words {
		if w == "--set" && !strings.HasPrefix(words[i+1], "sluice.admin") {
			out = append(out, words[i+1])
		}
		if strings.HasPrefix(w, "log.flush") && words[max(0, i-1)] != "--set" {
			out = append(out, w)
		}
	}
	return strings.Join(out, " ")
}
