package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/sluicemq/sluice/broker/coordinator"
	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage"
)

// Log is what the broker needs of storage.
type Log interface {
	// Append begins with the step "place", which refuses or places every partition. Where req.Lend
	// is set it may go on with the other steps, so it may take as long as a sync. req.Done is called
	// once, when all are durable and visible or failed: perhaps before Append returns, else from
	// another goroutine. No partition stands twice in req (E8 locks them).
	Append(req *storage.AppendRequest)
	// Throttle says for how long a connection whose Produce requests of that many bytes are
	// answered now should not be read (KIP-219); 0: not at all.
	Throttle(bytes int64) time.Duration
	// Read fills in what is there now, honouring the limits across partitions in request order.
	Read(ctx context.Context, f *storage.Fetch)
	// Watch signals c, without blocking, whenever one of the partitions moves its high watermark, is deleted or changes its leader.
	Watch(parts []ident.TopicPartition, c chan<- struct{}) (stop func())
	// ListOffset looks an offset up by time. epoch NoEpoch is not checked.
	ListOffset(ctx context.Context, tp ident.TopicPartition, timestamp int64, epoch ident.Epoch, isolation storage.Isolation) (storage.OffsetAt, error)
	// EpochEnd answers OffsetForLeaderEpoch: the largest epoch at or below the one asked for, and where it ends. (NoEpoch, -1) if not known.
	EpochEnd(tp ident.TopicPartition, epoch, currentEpoch ident.Epoch) (ident.Epoch, ident.Offset, error)
	// Producers returns the producers that a partition remembers, by rising id.
	Producers(tp ident.TopicPartition) ([]storage.Producer, error)
	// DeleteRecords moves a partition's log start up to before (storage.HighWatermark: all of it) and returns where it is then.
	DeleteRecords(ctx context.Context, tp ident.TopicPartition, before ident.Offset) (logStart ident.Offset, err error)
	// LogBytes is the size of a partition's batches, wherever they are.
	LogBytes(tp ident.TopicPartition) (int64, error)
}

// Topics is what the broker needs of the metadata quorum. Lookups are local and cheap; changes return when they are decided.
type Topics interface {
	ClusterID() string
	TopicByName(name string) (*catalog.Topic, bool)
	TopicByID(id ident.TopicID) (*catalog.Topic, bool)
	// AllTopics returns every topic, sorted by name.
	AllTopics() []*catalog.Topic
	// CreateTopic answers catalog.ErrTopicExists if the name is taken.
	CreateTopic(ctx context.Context, spec TopicSpec) (*catalog.Topic, error)
	// DeleteTopic answers catalog.ErrTopicNotFound if it is gone.
	DeleteTopic(ctx context.Context, id ident.TopicID) error
	// CreatePartitions raises the count; catalog.ErrInvalidPartitions if that is not more.
	CreatePartitions(ctx context.Context, id ident.TopicID, count int32) error
	// SetConfigs replaces all that is set on a topic; catalog.ErrConflict if previous is not what is set.
	SetConfigs(ctx context.Context, id ident.TopicID, previous, configs map[string]string) error
	// BrokerConfigs returns what is set on a broker while it runs, or on catalog.AllBrokers. Read-only.
	BrokerConfigs(id int32) map[string]string
	// SetBrokerConfigs replaces that; catalog.ErrConflict if previous is not what is set. When it returns, Reconfigure has been called.
	SetBrokerConfigs(ctx context.Context, id int32, previous, configs map[string]string) error
	// AllocateProducerID returns an id that was never given before.
	AllocateProducerID(ctx context.Context) (ident.ProducerID, error)
	// Brokers returns the live brokers by rising id, this one among them.
	Brokers() []Node
}

// TopicSpec says what topic to create. All of it was validated.
type TopicSpec struct {
	Name              string
	Partitions        int32
	ReplicationFactor int16
	Configs           map[string]string
}

// Node is a live broker as clients reach it.
type Node struct {
	ID   int32
	Host string
	Port int32
	Rack *string
	// Endpoints says, by the name of a listener, where clients that came by one of that name reach the broker. Nil: at Host and
	// Port, all of them.
	Endpoints map[string]Endpoint
}

// Endpoint is an address that clients are told.
type Endpoint struct {
	Host string
	Port int32
}

// Config configures a broker. The zero value of a field means its default.
type Config struct {
	// NodeID is this broker's id.
	NodeID int32
	// AutoCreateOff stops Metadata from creating unknown topics that it is asked for.
	AutoCreateOff bool
	// TopicDeletionOff refuses DeleteTopics; Kafka's delete.topic.enable=false.
	TopicDeletionOff bool
	// FetchBytesMax bounds the records of one answer to Fetch, one batch apart; default 55 MiB, Kafka's fetch.max.bytes.
	FetchBytesMax int
	// PartitionsDefault is the partition count of topics created without one; default 1.
	PartitionsDefault int32
	// ReplicationDefault is the replication factor of topics created without one; default 1. It is shown, not acted on.
	ReplicationDefault int16
	// FetchMemoryBytesMax bounds the records of all answers to Fetch that are being read or written; default 256 MiB, at least
	// FrameBytesMax: the largest batch must fit. At the bound answers are smaller, and consumers take turns.
	FetchMemoryBytesMax int64
	// FrameBytesMax is the largest Produce request; default 100 MiB, Kafka's socket.request.max.bytes.
	FrameBytesMax int
	// MemoryBytesMax bounds the Produce requests that are being read or not yet answered, of all connections
	// together; default 512 MiB, at least FrameBytesMax. At the bound producers are not read; all else goes on.
	MemoryBytesMax int64
	// ConnectionsMax and ConnectionsPerIPMax bound accepted connections; defaults 10,000 and 2,000. They may change
	// while the broker runs.
	ConnectionsMax, ConnectionsPerIPMax int
	// IdleTimeout closes a connection that sends nothing; default 10 minutes, Kafka's connections.max.idle.ms.
	// It also is the longest that a fetch waits.
	IdleTimeout time.Duration
	// StallTimeout is how long a begun frame, or an answer, may take beside
	// what its size is granted at 512 KiB/s; default 15 seconds.
	StallTimeout time.Duration
	// StopTimeout is how long Serve waits at its end for requests in flight; default 10 seconds.
	StopTimeout time.Duration
	// TopicDefaults is what topics have where they set nothing; nil: Kafka's defaults. What is set on running brokers
	// is laid over it: give storage what Broker.Reconfigure returns.
	TopicDefaults *catalog.TopicDefaults
	// Settings is this broker's configuration as DescribeConfigs shows it; nil: what the broker itself knows of it.
	Settings []Setting
	// LogDir is the data directory as DescribeLogDirs names it.
	LogDir string
	// Groups configures consumer groups and their topic.
	Groups coordinator.Config
}

const (
	kib = 1 << 10
	mib = 1 << 20
)

func orDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

func (c Config) withDefaults() Config {
	orDefault(&c.PartitionsDefault, 1)
	orDefault(&c.ReplicationDefault, 1)
	orDefault(&c.FetchBytesMax, fetchBytesMax)
	orDefault(&c.FrameBytesMax, 100*mib)
	orDefault(&c.MemoryBytesMax, 512*mib)
	orDefault(&c.FetchMemoryBytesMax, 256*mib)
	orDefault(&c.ConnectionsMax, 10_000)
	orDefault(&c.ConnectionsPerIPMax, 2_000)
	orDefault(&c.IdleTimeout, 10*time.Minute)
	orDefault(&c.StallTimeout, 15*time.Second)
	orDefault(&c.StopTimeout, 10*time.Second)
	return c
}

// Validate reports every problem of the configuration.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	atLeast := func(name string, v, low int64) {
		if v < low {
			errs = append(errs, fmt.Errorf("broker: %s is %d, want at least %d", name, v, low))
		}
	}
	atLeast("NodeID", int64(c.NodeID), 0)
	atLeast("PartitionsDefault", int64(c.PartitionsDefault), 1)
	atLeast("ReplicationDefault", int64(c.ReplicationDefault), 1)
	atLeast("FetchBytesMax", int64(c.FetchBytesMax), kib)
	atLeast("FrameBytesMax", int64(c.FrameBytesMax), kib)
	atLeast("MemoryBytesMax", c.MemoryBytesMax, int64(c.FrameBytesMax))
	atLeast("FetchMemoryBytesMax", c.FetchMemoryBytesMax, max(int64(c.FrameBytesMax), fetchTurnBytes))
	atLeast("ConnectionsMax", int64(c.ConnectionsMax), 1)
	atLeast("ConnectionsPerIPMax", int64(c.ConnectionsPerIPMax), 1)
	atLeast("IdleTimeout", int64(c.IdleTimeout), 1)
	atLeast("StallTimeout", int64(c.StallTimeout), 1)
	atLeast("StopTimeout", int64(c.StopTimeout), 1)
	errs = append(errs, validateSettings(c.Settings))
	return errors.Join(append(errs, c.Groups.Validate())...)
}

// Deps are the parts that a broker is joined to.
type Deps struct {
	Log    Log // nil: given to Open when it is there
	Topics Topics
	Logger *slog.Logger
	// Authorize decides who may do what; nil allows everything.
	Authorize func(Need, string) bool
	// DiskSpace measures the disk of the data directory; nil: not known.
	DiskSpace func() (totalBytes, usableBytes int64, err error)
	// Quorum tells where the metadata's quorum is; nil: not known.
	Quorum func() QuorumState
}

// Broker gives Kafka's meaning to requests and serves them over TCP.
type Broker struct {
	cfg       Config
	log       Log
	topics    Topics
	logger    *slog.Logger
	authorize func(Need, string) bool
	diskSpace func() (totalBytes, usableBytes int64, err error)
	quorum    func() QuorumState
	settings  []Setting
	configs   configCache
	live      atomic.Pointer[live]
	groups    *coordinator.Coordinator // there when the log is

	meter           *meter
	memory          *budget // Produce frames that are read, not answered, or still with the log
	producedDecoded *budget // what they decode to
	rebuilt         *budget // batches of Produce that are not in the codec that came
	fetches         requestBudgets
	others          requestBudgets // of all but Produce and Fetch: neither a log that is stuck nor consumers hold them up
	replies         *budget        // what answers that may be larger than their requests take, until they are written
	answers         *budget        // what answers to Fetch hold of records, until they are written
	behind          *budget        // the part of answers that consumers may take whose records lie in the bucket only

	// opened is closed when log is there. Reading the tail takes as long as the tail is large: until then
	// ApiVersions, Metadata and DescribeCluster answer, everything else waits.
	opened chan struct{}

	// stopping ends, because of errStopped, when Serve begins to end: long polls answer then, and nobody waits for memory.
	// ctx ends when the deadline for requests in flight has passed.
	stopping, ctx context.Context
	beginStop     context.CancelCauseFunc
	cancel        context.CancelFunc
}

// New returns a broker that serves nothing yet.
func New(cfg Config, deps Deps) (*Broker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	b := &Broker{
		cfg:       cfg.withDefaults(),
		topics:    deps.Topics,
		logger:    deps.Logger,
		authorize: deps.Authorize,
		diskSpace: deps.DiskSpace,
		quorum:    deps.Quorum,
		meter:     newMeter(),
		opened:    make(chan struct{}),
	}
	if b.authorize == nil {
		b.authorize = func(Need, string) bool { return true }
	}
	b.settings = b.cfg.Settings
	if b.settings == nil {
		b.settings = b.cfg.ownSettings()
	}
	b.Reconfigure()
	b.memory = newBudget(b.cfg.MemoryBytesMax)
	b.producedDecoded = newBudget(producedDecodedBytesMax)
	b.rebuilt = newBudget(rebuiltBytesMax)
	b.fetches = newRequestBudgets()
	b.others = newRequestBudgets()
	b.replies = newBudget(repliesBytesMax)
	b.answers = newBudget(b.cfg.FetchMemoryBytesMax)
	b.behind = newBudget(max(b.cfg.FetchMemoryBytesMax/4*3, fetchTurnBytes))
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.stopping, b.beginStop = context.WithCancelCause(b.ctx)
	if deps.Log != nil {
		b.Open(deps.Log)
	}
	return b, nil
}

// Open gives the broker the log that Deps did not have yet; the requests that waited for it go on.
func (b *Broker) Open(log Log) {
	b.log = log
	b.openGroups()
	close(b.opened)
	b.groups.Follow()       // a change between the two was told to nobody
	if b.ctx.Err() != nil { // Serve had ended by itself before: it found no groups to close
		b.groups.Close()
	}
}

// waitOpened returns when the log is there, or errStopped.
func (b *Broker) waitOpened() error {
	select {
	case <-b.opened:
		return nil
	default:
	}
	select {
	case <-b.opened:
		return nil
	case <-b.stopping.Done():
		return errStopped
	}
}
