package main

import (
	"math"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/sluicemq/sluice/broker"
	"github.com/sluicemq/sluice/broker/coordinator"
	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/cmd/sluice/config"
	"github.com/sluicemq/sluice/node"
	"github.com/sluicemq/sluice/storage"
)

// settings are what a broker runs with: its configuration, and what follows from it.
type settings struct {
	config    *config.Config
	dir       string // data directory; empty for memory
	bucket    string // URL
	listeners []config.Listener
	admin     string // HOST:PORT; empty if there is none
	walBudget int64  // bytes of the write-ahead log

	// clientsMayMove and adminMayMove let a start take the next free port, since nobody has asked
	// for this one.
	clientsMayMove, adminMayMove bool
}

func newSettings(c *config.Config) (*settings, error) {
	s := &settings{config: c, admin: c.Value("sluice.admin.listener"), walBudget: c.Size("sluice.wal.budget.bytes")}
	s.listeners, _ = c.Listeners() // Resolve has reported the problems with them
	if c.Bool("sluice.memory.only") {
		s.bucket = "mem://"
		return s, nil
	}
	var err error
	if s.dir, err = filepath.Abs(c.Value("log.dirs")); err != nil {
		return nil, err
	}
	s.bucket, err = bucketURL(c.Value("sluice.bucket"), s.dir)
	return s, err
}

// bucketURL returns the URL that was given, or that of the folder in the data directory.
func bucketURL(given, dir string) (string, error) {
	if given != "" {
		return given, nil
	}
	path, err := filepath.Abs(filepath.Join(dir, "bucket"))
	if err != nil {
		return "", err
	}
	return (&url.URL{Scheme: "file", Path: path}).String(), nil
}

// bucketName returns the bucket's URL without its query, for the log.
func (s *settings) bucketName() string {
	u, err := url.Parse(s.bucket)
	if err != nil {
		return s.bucket
	}
	return u.Scheme + "://" + u.Host + u.Path
}

// nodeConfig returns the configuration of the parts.
func (s *settings) nodeConfig(listeners []node.Listener, admin net.Listener) (node.Config, error) {
	c := s.config
	topics, err := c.TopicDefaults()
	if err != nil {
		return node.Config{}, err
	}
	return node.Config{
		Dir: s.dir, NodeID: int32(c.Int("node.id")), Rack: c.Value("broker.rack"),
		Storage: s.storageConfig(topics), Broker: s.brokerConfig(s.shown(listeners, admin)),
		DeleteDelay:      c.Duration("sluice.delete.delay"),
		SnapshotInterval: c.Duration("sluice.snapshot.interval"), SnapshotSoon: c.Duration("sluice.snapshot.after.change"),
		BucketWait: c.Duration("sluice.bucket.wait"), StopTimeout: c.Duration("sluice.stop.timeout"),
		MetricsPartitionsMax: int(c.Int("sluice.metrics.partitions.max")),
		Version:              version,
	}, nil
}

func (s *settings) storageConfig(topics *catalog.TopicDefaults) storage.Config {
	c := s.config
	return storage.Config{
		WALSegmentBytes: c.Size("sluice.wal.segment.bytes"), WALBudgetBytes: s.walBudget,
		HotBytes: c.Size("sluice.hot.bytes"), CacheBytes: c.Size("sluice.cache.bytes"), UnflushedBatchesMax: c.Size("sluice.unflushed.batches.max"),
		FlushInterval: c.Duration("sluice.flush.interval"), FlushBytes: c.Size("sluice.flush.bytes"), UploadParallel: int(c.Int("sluice.upload.parallel")),
		RetentionInterval: c.Ms("log.retention.check.interval.ms"),
		ProducerExpiry:    c.Ms("producer.id.expiration.ms"), TopicDefaults: topics,
	}
}

func (s *settings) brokerConfig(shown []broker.Setting) broker.Config {
	c := s.config
	return broker.Config{
		AutoCreateOff: !c.Bool("auto.create.topics.enable"), TopicDeletionOff: !c.Bool("delete.topic.enable"),
		PartitionsDefault: int32(c.Int("num.partitions")), ReplicationDefault: int16(c.Int("default.replication.factor")),
		FetchBytesMax: int(c.Int("fetch.max.bytes")), FrameBytesMax: int(c.Int("socket.request.max.bytes")), MemoryBytesMax: c.Size("sluice.request.memory.bytes"),
		FetchMemoryBytesMax: c.Size("sluice.fetch.memory.bytes"),
		ConnectionsMax:      int(c.Int("max.connections")), ConnectionsPerIPMax: int(c.Int("max.connections.per.ip")), IdleTimeout: c.Ms("connections.max.idle.ms"),
		Groups: s.groupConfig(), Settings: shown,
	}
}

func (s *settings) groupConfig() coordinator.Config {
	c := s.config
	g := coordinator.Config{
		MinSessionTimeout: c.Ms("group.min.session.timeout.ms"), MaxSessionTimeout: c.Ms("group.max.session.timeout.ms"),
		InitialRebalanceDelay: c.Ms("group.initial.rebalance.delay.ms"), MaxSize: int(c.Int("group.max.size")),
		OffsetsRetention:       time.Duration(c.Int("offsets.retention.minutes")) * time.Minute,
		CheckInterval:          c.Ms("offsets.retention.check.interval.ms"),
		OffsetMetadataBytesMax: int(c.Int("offset.metadata.max.bytes")), MemoryBytesMax: c.Size("sluice.groups.memory.bytes"),
		Partitions: int32(c.Int("offsets.topic.num.partitions")), ReplicationFactor: int16(c.Int("offsets.topic.replication.factor")),
	}
	if g.InitialRebalanceDelay == 0 {
		g.InitialRebalanceDelay = -1 // 0 would mean the default
	}
	return g
}

// settingTypes are the types of keys as DescribeConfigs names them.
var settingTypes = map[config.Type]catalog.ConfigType{
	config.Boolean: catalog.ConfigBoolean, config.Int: catalog.ConfigInt, config.Short: catalog.ConfigShort, config.Long: catalog.ConfigLong,
	config.Double: catalog.ConfigDouble, config.String: catalog.ConfigString, config.List: catalog.ConfigList, config.Class: catalog.ConfigClass,
	config.Password: catalog.ConfigSecret, config.Size: catalog.ConfigLong, config.Duration: catalog.ConfigString,
}

// shown is the configuration as DescribeConfigs shows it: the values in force, such as the free
// port that was taken.
func (s *settings) shown(listeners []node.Listener, admin net.Listener) []broker.Setting {
	inForce := map[string]string{"log.dirs": s.dir, "sluice.bucket": s.bucketName()}
	var at, told []string
	for i := range listeners {
		l := &listeners[i]
		e := l.Endpoint()
		at = append(at, l.Name+"://"+l.Addr().String())
		told = append(told, l.Name+"://"+net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))))
	}
	inForce["listeners"], inForce["advertised.listeners"] = joined(at), joined(told)
	if admin != nil {
		inForce["sluice.admin.listener"] = admin.Addr().String()
	}
	var out []broker.Setting
	for _, e := range s.config.All() {
		value, known := inForce[e.Key.Name]
		if !known {
			value, known = e.Value, e.Set || !e.Key.Unset
		}
		b := broker.Setting{
			Name: e.Key.Name, Static: e.Set, Type: settingTypes[e.Key.Type], Sensitive: e.Key.Secret(), Documentation: e.Key.Doc,
		}
		if known {
			b.Value = inNumbers(e.Key, value)
		}
		if !e.Key.Unset {
			b.Default = inNumbers(e.Key, e.Key.Default)
		}
		out = append(out, b)
	}
	return append(out, older(out)...)
}

// older adds Kafka's two older names to the keys that replaced them, since tools ask for them.
func older(settings []broker.Setting) (out []broker.Setting) {
	for _, s := range settings {
		switch s.Name {
		case "node.id":
			s.Name, s.Default = "broker.id", text("-1")
		case "log.dirs":
			s.Name = "log.dir"
		default:
			continue
		}
		s.Documentation = "Older name of what " + map[string]string{"broker.id": "node.id", "log.dir": "log.dirs"}[s.Name] + " says."
		out = append(out, s)
	}
	return out
}

func text(s string) *string { return &s }

// inNumbers shows a size in bytes, since clients read it as a number.
func inNumbers(k *config.Key, value string) *string {
	if k.Type == config.Size {
		if n, err := config.ParseSize(value); err == nil {
			return text(strconv.FormatInt(n, 10))
		}
	}
	return &value
}

// descriptorsNeeded returns how many files and sockets this configuration may have open.
func (s *settings) descriptorsNeeded() uint64 {
	c := s.config
	const rest = 256 // requests to the bucket, metadata, the admin listener
	segments := s.walBudget / c.Size("sluice.wal.segment.bytes")
	return uint64(min(c.Int("max.connections")+segments+rest, math.MaxInt32))
}

// sources are where a configuration comes from, besides the defaults.
type sources struct {
	file  string // name of the file; "" if there is none
	below []config.Entry
	flags []config.Entry
	set   []string // --set
}

// read resolves the sources: defaults < file < environment < flags.
func (src *sources) read() (*config.Config, error) {
	set, err := config.FromFlags(src.set)
	if err != nil {
		return nil, usage(err)
	}
	var file []config.Entry
	if src.file != "" {
		b, err := os.ReadFile(src.file)
		if err != nil {
			return nil, err
		}
		if file, err = config.ParseFile(src.file, b); err != nil {
			return nil, err
		}
	}
	environment := config.FromEnvironment(os.Environ())
	return config.Resolve(src.below, file, environment[0], environment[1], append(src.flags, set...))
}
