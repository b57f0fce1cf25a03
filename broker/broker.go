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

// Log is the part of storage that the broker uses.
type Log interface {
	// Append begins with the step "place", which refuses or places every partition. If req.Lend is
	// set, Append may go on with the other steps, and so take as long as a sync. It calls req.Done
	// once, when every partition is durable and visible or has failed: perhaps before Append
	// returns, else from another goroutine. No partition may stand twice in req, since Append locks
	// every one (E8).
	Append(req *storage.AppendRequest)
	// Throttle returns how long a connection should not be read (KIP-219), if Produce requests of
	// that many bytes are answered on it now. 0 means that it may be read on.
	Throttle(bytes int64) time.Duration
	// Read fills in the records that are there now. The limits across partitions hold in request
	// order.
	Read(ctx context.Context, f *storage.Fetch)
	// Watch signals c, without blocking, whenever one of the partitions moves its high watermark,
	// is deleted or changes its leader.
	Watch(parts []ident.TopicPartition, c chan<- struct{}) (stop func())
	// ListOffset looks up an offset by its time. It does not check the epoch if that is NoEpoch.
	ListOffset(ctx context.Context, tp ident.TopicPartition, timestamp int64, epoch ident.Epoch, isolation storage.Isolation) (storage.OffsetAt, error)
	// EpochEnd answers OffsetForLeaderEpoch. It returns the largest epoch at or below the one asked
	// for, and the offset at which that epoch ends, or (NoEpoch, -1) if none is known.
	EpochEnd(tp ident.TopicPartition, epoch, currentEpoch ident.Epoch) (ident.Epoch, ident.Offset, error)
	// Producers returns the producers that a partition remembers, by rising id.
	Producers(tp ident.TopicPartition) ([]storage.Producer, error)
	// DeleteRecords moves a partition's log start up to before, or to its high watermark if before
	// is storage.HighWatermark. It returns the log start that holds then.
	DeleteRecords(ctx context.Context, tp ident.TopicPartition, before ident.Offset) (logStart ident.Offset, err error)
	// LogBytes returns the size of a partition's batches, in the log and in the bucket together.
	LogBytes(tp ident.TopicPartition) (int64, error)
}

// Topics is the part of the metadata that the broker uses. Lookups are local and cheap. Changes
// return when the quorum has decided them.
type Topics interface {
	ClusterID() string
	TopicByName(name string) (*catalog.Topic, bool)
	TopicByID(id ident.TopicID) (*catalog.Topic, bool)
	// AllTopics returns every topic, sorted by name.
	AllTopics() []*catalog.Topic
	// CreateTopic returns catalog.ErrTopicExists if the name is taken.
	CreateTopic(ctx context.Context, spec TopicSpec) (*catalog.Topic, error)
	// DeleteTopic returns catalog.ErrTopicNotFound if the topic is gone.
	DeleteTopic(ctx context.Context, id ident.TopicID) error
	// CreatePartitions raises the number of partitions to count. It returns
	// catalog.ErrInvalidPartitions if the topic has that many already.
	CreatePartitions(ctx context.Context, id ident.TopicID, count int32) error
	// SetConfigs replaces everything that is set on a topic. It returns catalog.ErrConflict if what
	// is set differs from previous.
	SetConfigs(ctx context.Context, id ident.TopicID, previous, configs map[string]string) error
	// BrokerConfigs returns the configs that are set on a broker while it runs, or on all brokers
	// if id is catalog.AllBrokers. Callers must not change the map.
	BrokerConfigs(id int32) map[string]string
	// SetBrokerConfigs replaces the configs that BrokerConfigs returns. It returns
	// catalog.ErrConflict if what is set differs from previous. When it returns, Reconfigure has
	// been called.
	SetBrokerConfigs(ctx context.Context, id int32, previous, configs map[string]string) error
	// AllocateProducerID returns an id that was never given before.
	AllocateProducerID(ctx context.Context) (ident.ProducerID, error)
	// Brokers returns the live brokers by rising id. This broker is among them.
	Brokers() []Node
}

// TopicSpec describes a topic to be created. The broker has validated every field.
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
	// Endpoints maps the name of a listener to the address at which clients of that listener reach
	// the broker. If it is nil, all clients use Host and Port.
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
	// AutoCreateOff stops Metadata from creating the unknown topics that it is asked for.
	AutoCreateOff bool
	// TopicDeletionOff refuses DeleteTopics, as Kafka's delete.topic.enable=false does.
	TopicDeletionOff bool
	// FetchBytesMax bounds the records of one answer to Fetch, except that one batch always fits;
	// default 55 MiB, Kafka's fetch.max.bytes.
	FetchBytesMax int
	// PartitionsDefault is the partition count of topics created without one; default 1.
	PartitionsDefault int32
	// ReplicationDefault is the replication factor of topics created without one; default 1. The
	// broker shows it and does not act on it.
	ReplicationDefault int16
	// FetchMemoryBytesMax bounds the records of all answers to Fetch that are being read or
	// written; default 256 MiB. It must be at least FrameBytesMax, since the largest batch must
	// fit. At the bound answers are smaller, and consumers take turns.
	FetchMemoryBytesMax int64
	// FrameBytesMax is the size of the largest Produce request; default 100 MiB, Kafka's
	// socket.request.max.bytes.
	FrameBytesMax int
	// MemoryBytesMax bounds the Produce requests of all connections together that are being read or
	// are not yet answered; default 512 MiB, at least FrameBytesMax. At the bound the broker stops
	// reading from producers; other requests go on.
	MemoryBytesMax int64
	// ConnectionsMax and ConnectionsPerIPMax bound accepted connections; defaults 10,000 and 2,000.
	// They may change while the broker runs.
	ConnectionsMax, ConnectionsPerIPMax int
	// IdleTimeout is how long a connection may send nothing before it is closed; default 10
	// minutes, Kafka's connections.max.idle.ms. No fetch waits longer than this.
	IdleTimeout time.Duration
	// StallTimeout is how long a frame that has begun, or an answer, may take beyond the time that
	// its size needs at 512 KiB/s; default 15 seconds.
	StallTimeout time.Duration
	// StopTimeout is how long Serve waits at its end for requests in flight; default 10 seconds.
	StopTimeout time.Duration
	// TopicDefaults are the configs of topics that set nothing; nil stands for Kafka's defaults.
	// Configs that are set on running brokers override them, so storage must be given what
	// Broker.Reconfigure returns.
	TopicDefaults *catalog.TopicDefaults
	// Settings is this broker's configuration as DescribeConfigs shows it. If it is nil, the broker
	// shows its own fields.
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
	Log    Log // nil if Open is to be given the log later
	Topics Topics
	Logger *slog.Logger
	// Authorize decides whether the caller may do something to a named resource; nil allows
	// everything.
	Authorize func(Need, string) bool
	// DiskSpace measures the disk of the data directory; nil if that is not known.
	DiskSpace func() (totalBytes, usableBytes int64, err error)
	// Quorum returns the state of the metadata's quorum; nil if that is not known.
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
	groups    *coordinator.Coordinator // nil until the log is open

	meter           *meter
	memory          *budget // of Produce frames being read, not answered or still with the log
	producedDecoded *budget // of what Produce requests decode to
	rebuilt         *budget // of Produce's batches in another codec than the one in which they came
	fetches         requestBudgets
	others          requestBudgets // of all other APIs: the log and consumers do not hold them up
	replies         *budget        // of answers that may be larger than their requests
	answers         *budget        // of records in answers to Fetch, until they are written
	behind          *budget        // the part of answers for records that lie in the bucket only

	// opened is closed when log is set. Reading the tail takes the longer the larger the tail is.
	// Until then ApiVersions, Metadata and DescribeCluster are answered, and every other request
	// waits.
	opened chan struct{}

	// stopping ends, because of errStopped, when Serve begins to end. Long polls are answered then,
	// and no request waits for memory any more. ctx ends when the deadline for requests in flight
	// has passed.
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

// Open gives the broker the log that Deps did not have yet. The requests that waited for the log go
// on.
func (b *Broker) Open(log Log) {
	b.log = log
	b.openGroups()
	close(b.opened)
	b.groups.Follow()       // covers a change between openGroups and close
	if b.ctx.Err() != nil { // Serve had ended by itself before and found no groups to close
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
