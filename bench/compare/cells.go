package compare

import (
	"slices"
	"time"

	"github.com/sluicemq/sluice/bench/load"
)

// Cell is one measurement on several systems.
type Cell struct {
	Name, Title string
	Help        string
	Systems     []string
	FullSystems []string             // additional systems with --full
	Load        string               // the workload of bench/load
	Change      func(*load.Workload) // changes to the workload
	Measures    []Measure            // what the report shows; the first one is the main one

	Warmup, Duration time.Duration      // 0 is that of the options
	Rounds           int                // the most rounds; 0 is that of the options
	Extra            time.Duration      // time beyond warm-up and duration, for the plan
	warmsItself      bool               // its warm-up is at full speed, so a JVM needs no other
	settled          bool               // waits for a settled disk before each run
	settings         []string           // settings of Sluice for this cell
	run              func(*stage) error // nil runs the load once
}

// Measure is a figure that the report shows.
type Measure struct {
	Figure, Title, Unit string
	More                bool // more is better
}

var (
	throughput  = Measure{"mib_per_second", "throughput", "MiB/s", true}
	wire        = Measure{"wire_mib_per_second", "on the wire", "MiB/s", true}
	records     = Measure{"records_per_second", "records", "/s", true}
	brokerCPU   = Measure{"cpu_s_per_gib.broker", "broker CPU", "s/GiB", false}
	bucketCPU   = Measure{"cpu_s_per_gib.bucket", "bucket CPU", "s/GiB", false}
	clientCPU   = Measure{"cpu_s_per_gib.client", "client CPU", "s/GiB", false}
	brokerRSS   = Measure{"rss_mib.broker", "broker RSS", "MiB", false}
	publishP50  = Measure{"publish_p50_ms", "publish p50", "ms", false}
	publishP99  = Measure{"publish_p99_ms", "publish p99", "ms", false}
	publishMax  = Measure{"publish_max_ms", "publish max", "ms", false}
	publishP999 = Measure{"publish_p99.9_ms", "publish p99.9", "ms", false}
	afterAckP50 = Measure{"receive_after_ack_p50_ms", "receive − ack p50", "ms", false}
	afterAckP99 = Measure{"receive_after_ack_p99_ms", "receive − ack p99", "ms", false}
	endToEndP50 = Measure{"end_to_end_p50_ms", "end to end p50", "ms", false}
	endToEndP99 = Measure{"end_to_end_p99_ms", "end to end p99", "ms", false}
)

// produceOnly is the base of most cells: 16 partitions, 1 KiB, acks=all, idempotent, no
// compression, no consumer.
func produceOnly(producers int, more ...func(*load.Workload)) func(*load.Workload) {
	return func(w *load.Workload) {
		w.Partitions, w.Producers, w.Subscriptions, w.Consumers = 16, producers, 0, 0
		for _, change := range more {
			change(w)
		}
	}
}

// fixed is a rate in MiB/s of 1 KiB records, with batches of at most 128 KiB as in OMB's latency
// driver.
func fixed(mibPerSecond float64) func(*load.Workload) {
	return func(w *load.Workload) { w.Rate, w.BatchBytes = mibPerSecond*1024, 128<<10 }
}

// spreadOver is 20,000 records/s of 1 KiB over the given number of partitions.
func spreadOver(partitions int) func(*load.Workload) {
	return produceOnly(4, fixed(20_000.0/1024), func(w *load.Workload) { w.Partitions, w.Spread = partitions, true })
}

func read(consumers int) func(*load.Workload) {
	return func(w *load.Workload) { w.Subscriptions, w.Consumers, w.Direct = consumers, 1, true }
}

func sized(recordBytes int, codec string) func(*load.Workload) {
	return func(w *load.Workload) { w.RecordBytes, w.Codec = recordBytes, codec }
}

// asStarted makes a cell for brokers that were just started, with nothing set. Those cells come
// first, since they show what a user gets.
func asStarted(name, title, workload string, change func(*load.Workload), help string, limits ...string) Cell {
	return Cell{Name: name, Title: title, Load: workload, Change: change, settled: true, Extra: settleTakes, warmsItself: workload == "omb-throughput",
		Help: help + " Both brokers are as they come. Before each run the disk settles.", Systems: append([]string{"sluice-file", "kafka"}, limits...),
		Measures: []Measure{throughput, publishP50, publishP99, publishMax, brokerCPU, brokerRSS}}
}

// Cells are all measurements, in the order of the report.
var Cells = []Cell{
	{Name: "machine", Title: "The machine", Systems: []string{"machine"}, Rounds: 3, Warmup: -1, Duration: -1, Extra: 7 * time.Second, run: probe,
		Help: "fdatasync of 4 KiB into a preallocated file, and 8 MiB objects to and from MinIO, four at once.",
		Measures: []Measure{{"fdatasync_p50_ms", "fdatasync p50", "ms", false}, {"put_mib_per_second", "PUT", "MiB/s", true},
			{"get_mib_per_second", "GET", "MiB/s", true}}},
	asStarted("started-max", "As started, at full speed", "omb-throughput", produceOnly(4),
		"1 KiB records of 4 producers as fast as they go, 16 partitions, linger 1 ms.", "wal-twice"),
	asStarted("started-200", "As started, at 200 MiB/s", "omb-latency", produceOnly(4, fixed(200)),
		"Open loop at a fixed rate, linger 1 ms, batches up to 128 KiB; from the intended time of each record."),
	asStarted("started-100", "As started, at 100 MiB/s", "omb-latency", produceOnly(4, fixed(100)), "The same at 100 MiB/s."),
	{Name: "throughput-4", Title: "Throughput, 4 producers", Load: "omb-throughput", warmsItself: true, Change: produceOnly(4),
		Help:     "1 KiB records as fast as they go, 16 partitions, linger 1 ms.",
		Systems:  []string{"null", "wal", "wal-overlapped", "sluice", "kafka", "kafka-fsync"},
		Measures: []Measure{throughput, brokerCPU, brokerRSS}},
	{Name: "throughput-1", Title: "Throughput, 1 producer", Load: "omb-throughput", warmsItself: true, Change: produceOnly(1),
		Help:    "The same with one client.",
		Systems: []string{"null", "wal", "sluice", "kafka"}, FullSystems: []string{"wal-overlapped", "kafka-fsync"},
		Measures: []Measure{throughput, brokerCPU}},
	{Name: "upload", Title: "Throughput while uploading, 4 producers", Load: "omb-throughput", Change: produceOnly(4),
		Help:     "What is produced goes to the bucket at the same pace. Lag is what waits for the bucket at the end.",
		Systems:  []string{"wal-upload", "sluice-upload", "sluice-minio"},
		Measures: []Measure{throughput, brokerCPU, bucketCPU, {"put_per_gib", "PUTs", "/GiB", false}, {"lag_mib", "lag", "MiB", false}}},
	{Name: "small-100B", Title: "100 B records, 4 producers", Load: "omb-throughput", Change: produceOnly(4, sized(100, "none")),
		Systems: []string{"sluice", "kafka"}, Warmup: 5 * time.Second, Duration: 10 * time.Second,
		Help:     "The client is the limit here: read the CPU.",
		Measures: []Measure{brokerCPU, throughput, records}},
	{Name: "lz4", Title: "1 KiB records, lz4, 4 producers", Load: "omb-throughput", Change: produceOnly(4, sized(1024, "lz4")),
		Systems: []string{"sluice", "kafka"}, Warmup: 5 * time.Second, Duration: 10 * time.Second,
		Help:     "Payloads are half random. CPU is per GiB before compression.",
		Measures: []Measure{brokerCPU, throughput, wire}},
	{Name: "java-1KiB", Title: "Kafka's own performance tool, 1 KiB", Systems: []string{"sluice", "kafka"}, run: javaPerf(1024, "none"),
		Warmup: 5 * time.Second, Duration: 10 * time.Second,
		Help:     "org.apache.kafka.tools.ProducerPerformance, one JVM, acks=all, no compression, batches of 128 KiB, linger 1 ms.",
		Measures: []Measure{brokerCPU, throughput, clientCPU}},
	{Name: "java-100B-lz4", Title: "Kafka's own performance tool, 100 B, lz4", FullSystems: []string{"sluice", "kafka"}, run: javaPerf(100, "lz4"),
		Warmup: 5 * time.Second, Duration: 10 * time.Second,
		Help:     "The same with 100 B records and lz4. CPU is per GiB before compression.",
		Measures: []Measure{brokerCPU, throughput, clientCPU}},
	{Name: "latency-20", Title: "Latency at 20 MiB/s", Load: "omb-latency", Change: produceOnly(4, fixed(20)),
		Help:    "Open loop at a fixed rate, linger 1 ms, batches up to 128 KiB; from the intended time of each record.",
		Systems: []string{"wal", "sluice", "kafka", "kafka-fsync"}, FullSystems: []string{"null", "sluice-upload"},
		Measures: []Measure{publishP50, publishP99, publishP999, brokerCPU}},
	{Name: "latency-100", Title: "Latency at 100 MiB/s", Load: "omb-latency", Change: produceOnly(4, fixed(100)),
		Help:    "The same at 100 MiB/s.",
		Systems: []string{"wal", "sluice", "kafka", "kafka-fsync"}, FullSystems: []string{"null", "sluice-upload"},
		Measures: []Measure{publishP50, publishP99, publishP999, brokerCPU}},
	{Name: "latency-200", Title: "Latency at 200 MiB/s", Load: "omb-latency", Change: produceOnly(4, fixed(200)),
		Help:    "The same at 200 MiB/s.",
		Systems: []string{"wal", "sluice"}, FullSystems: []string{"null", "sluice-upload", "kafka", "kafka-fsync"},
		Measures: []Measure{publishP50, publishP99, publishP999, brokerCPU}},
	{Name: "end-to-end-20", Title: "End to end at 20 MiB/s, one consumer", Load: "omb-latency", Change: produceOnly(4, fixed(20), read(1)),
		Help:    "Receive − ack: from when the producer knew to when the consumer had it, per record.",
		Systems: []string{"sluice"}, FullSystems: []string{"kafka", "kafka-fsync"},
		Measures: []Measure{afterAckP50, afterAckP99, endToEndP50, endToEndP99, publishP50}},
	{Name: "end-to-end-100", Title: "End to end at 100 MiB/s, one consumer", Load: "omb-latency", Change: produceOnly(4, fixed(100), read(1)),
		Help:    "The same at 100 MiB/s.",
		Systems: []string{"sluice"}, FullSystems: []string{"kafka", "kafka-fsync"},
		Measures: []Measure{afterAckP50, afterAckP99, endToEndP50, endToEndP99, publishP50}},
	{Name: "end-to-end-100-3", Title: "End to end at 100 MiB/s, three consumers", Load: "omb-latency", Change: produceOnly(4, fixed(100), read(3)),
		Help:    "The same, and everything is read three times.",
		Systems: []string{"sluice"}, FullSystems: []string{"kafka"},
		Measures: []Measure{afterAckP50, afterAckP99, publishP50}},
	{Name: "sync-1", Title: "One record at a time", Load: "sync-1", Warmup: 2 * time.Second, Duration: 5 * time.Second,
		Help:    "A raw client of one goroutine sends a record of 1 KiB, waits for its acknowledgement, and sends the next.",
		Systems: []string{"null", "wal", "sluice", "kafka"}, FullSystems: []string{"kafka-fsync"},
		Measures: []Measure{{"ack_p50_ms", "ack p50", "ms", false}, {"ack_p99_ms", "ack p99", "ms", false}}},
	{Name: "parts-request-100", Title: "Requests of 100 partitions", Load: "parts-request-100", Warmup: 2 * time.Second, Duration: 5 * time.Second,
		Help:    "A raw client of one goroutine; each request is followed by one of equal bytes for one partition.",
		Systems: []string{"sluice"}, FullSystems: []string{"wal", "kafka"},
		Measures: []Measure{{"ack_p50_ms", "ack p50", "ms", false}, {"one_partition_ack_p50_ms", "one partition", "ms", false}, {"p50_ratio", "ratio", "", false}}},
	{Name: "parts-used-1000", Title: "1,000 partitions in use", Load: "parts-used-1000", Warmup: 2 * time.Second, Duration: 5 * time.Second,
		Help:    "The same client goes round 1,000 partitions, one in each request.",
		Systems: []string{"sluice"}, FullSystems: []string{"wal", "kafka"},
		Measures: []Measure{{"ack_p50_ms", "ack p50", "ms", false}, {"one_partition_ack_p50_ms", "one partition", "ms", false}, {"p50_ratio", "ratio", "", false}}},
	{Name: "parts-rate-1", Title: "20,000 records/s to one partition", Load: "omb-latency", Change: spreadOver(1), Warmup: 5 * time.Second, Duration: 10 * time.Second,
		Help:    "1 KiB records of 4 producers at a fixed rate, linger 1 ms.",
		Systems: []string{"sluice"}, FullSystems: []string{"kafka"},
		Measures: []Measure{publishP99, publishP50, publishP999, brokerCPU}},
	{Name: "parts-rate-100", Title: "20,000 records/s to 100 partitions", Load: "omb-latency", Change: spreadOver(100), Warmup: 5 * time.Second, Duration: 10 * time.Second,
		Help:    "The same, and each record of a producer goes to the next of 100, as records with keys do.",
		Systems: []string{"sluice"}, FullSystems: []string{"kafka"},
		Measures: []Measure{publishP99, publishP50, publishP999, brokerCPU}},
	{Name: "fetch-hot", Title: "Fetch, hot", Load: "fetch-hot", Warmup: 5 * time.Second, Duration: 15 * time.Second, Extra: 4 * time.Second,
		Help:    "1.5 GiB, read again and again by one consumer. Sluice keeps it in memory, Kafka in the page cache.",
		Systems: []string{"fetch", "sluice", "kafka"}, settings: []string{"sluice.hot.bytes=2GiB"},
		Measures: []Measure{throughput, brokerCPU}},
	{Name: "fetch-cold", Title: "Fetch, cold", Load: "fetch-cold", Rounds: 1, Extra: 75 * time.Second, Warmup: -1, Duration: -1,
		Help: "More than 4 GiB in a file bucket (Kafka: its log), the broker restarted, the page cache dropped, then read once from the start. " +
			"Each start is read three times, the cache dropped before each; the three count as rounds. Needs root, for the caches.",
		Systems:  []string{"sluice-file", "kafka"},
		Measures: []Measure{throughput, brokerCPU}, run: fetchCold},
	{Name: "replay-minio", Title: "Replay from MinIO", Load: "fetch-cold", Rounds: 1, Extra: 75 * time.Second, Warmup: -1, Duration: -1,
		Help: "3 GiB of 16 partitions in MinIO on the same machine, the broker restarted, then read once from the start by one client; the bucket's files may be in the page cache. " +
			"Each start is read three times; the three count as rounds.",
		Systems:  []string{"raw-get", "sluice-minio"},
		Measures: []Measure{throughput, brokerCPU, bucketCPU, clientCPU}, run: replay},
	{Name: "cold-start", Title: "Start", Load: "cold-start", Rounds: 1, Warmup: -1, Duration: -1, Extra: 40 * time.Second, run: restarts,
		Help:    "From starting the program to its first answer and its first acknowledgement, after a clean stop and after kill -9; five of each.",
		Systems: []string{"sluice-file", "kafka"},
		Measures: []Measure{{"clean_first_answer_ms", "first answer", "ms", false}, {"clean_first_ack_ms", "first ack", "ms", false},
			{"killed_first_answer_ms", "first answer after kill -9", "ms", false}, {"killed_first_ack_ms", "first ack after kill -9", "ms", false}}},
	{Name: "idle", Title: "Idle", Load: "idle", Rounds: 1, Warmup: 10 * time.Second, Duration: 120 * time.Second,
		Help:     "CPU and memory of a broker that nobody talks to, over 120 s.",
		Systems:  []string{"sluice-file"},
		Measures: []Measure{{"idle_cpu_percent.broker", "CPU", "% of a core", false}, brokerRSS}},
	{Name: "idle-connections", Title: "Idle connections", Load: "idle-connections", Rounds: 1, Warmup: -1, Duration: -1, Extra: 20 * time.Second,
		Help:    "Slope from none to 10,000 connections, each of which has asked for ApiVersions and Metadata.",
		Systems: []string{"sluice-file"}, settings: []string{"max.connections=20000", "max.connections.per.ip=20000"},
		Measures: []Measure{{"rss_kib_per_connection.broker", "RSS per connection", "KiB", false}}},
	{Name: "idle-partitions", Title: "Idle partitions", Load: "idle-partitions", Rounds: 1, Warmup: -1, Duration: -1, Extra: 50 * time.Second,
		Help:    "Slope from none to 10,000 partitions; those that were written to have lain still for 25 s.",
		Systems: []string{"sluice-file"},
		Measures: []Measure{{"rss_kib_per_partition_never_written.broker", "RSS per partition, never written", "KiB", false},
			{"rss_kib_per_partition_written_once.broker", "RSS per partition, written once", "KiB", false}}},
	{Name: "many-partitions-1k", Title: "1,000 partitions on one broker", Load: "many-partitions-1k", Rounds: 1, Warmup: -1, Duration: -1, Extra: 10 * time.Second, run: restarts,
		Help:    "Created, produced to, and the broker started again.",
		Systems: []string{"sluice-file"},
		Measures: []Measure{{"create_us_per_partition", "create", "µs each", false}, {"first_produce_us_per_partition", "first record to all", "µs each", false},
			{"second_produce_us_per_partition", "second record", "µs each", false}, {"clean_first_answer_ms", "restart: first answer", "ms", false},
			{"clean_restart_to_all_us_per_partition", "restart to a record in all", "µs each", false}, {"killed_restart_to_all_us_per_partition", "the same after kill -9", "µs each", false}}},
	{Name: "many-partitions-10k", Title: "10,000 partitions on one broker", Load: "many-partitions-10k", Rounds: 1, Warmup: -1, Duration: -1, Extra: 40 * time.Second, run: restarts,
		Help:    "The same with 10,000.",
		Systems: []string{"sluice-file"},
		Measures: []Measure{{"create_us_per_partition", "create", "µs each", false}, {"first_produce_us_per_partition", "first record to all", "µs each", false},
			{"second_produce_us_per_partition", "second record", "µs each", false}, {"clean_first_answer_ms", "restart: first answer", "ms", false},
			{"clean_restart_to_all_us_per_partition", "restart to a record in all", "µs each", false}, {"killed_restart_to_all_us_per_partition", "the same after kill -9", "µs each", false}}},
	{Name: "soak", Title: "Half an hour at 60 % of the maximum", Load: "omb-latency", Change: produceOnly(4, fixed(0)), Rounds: 1,
		FullSystems: []string{"sluice-file"}, Warmup: time.Minute, Duration: 30 * time.Minute, Extra: 45 * time.Second, run: soak,
		Help: "With uploads to a folder, one consumer, and retention that keeps 4 GiB; first and last third of the time. " +
			"Retention, deletion and snapshots run every 10 s. Only with --full or --only soak.",
		Measures: []Measure{throughput, publishP99, {"rss_mib_first_third", "RSS, first third", "MiB", false}, {"rss_mib_last_third", "RSS, last third", "MiB", false},
			{"bucket_files_first_third", "objects, first third", "", false}, {"bucket_files_last_third", "objects, last third", "", false}, {"gc_pause_max_ms", "longest GC pause", "ms", false}}},
}

// systems returns the cell's systems; with full, all of them.
func (c *Cell) systems(full bool) []string {
	if !full {
		return c.Systems
	}
	return append(c.Systems[:len(c.Systems):len(c.Systems)], c.FullSystems...)
}

func cellNamed(name string) *Cell {
	i := slices.IndexFunc(Cells, func(c Cell) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return &Cells[i]
}
