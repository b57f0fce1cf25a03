package config

import (
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluicemq/sluice/catalog"
)

// unset is the default of a key that has none.
const unset = "\x00"

// notThere is why such a key fails the start.
const notThere = "TLS, SASL and authorization are not served yet"

func key(name string, t Type, value string, meaning Meaning, doc string) Key {
	k := Key{Name: name, Type: t, Default: value, Meaning: meaning, Doc: doc}
	if value == unset {
		k.Default, k.Unset = "", true
	}
	return k
}

func acts(name string, t Type, value, doc string) Key { return key(name, t, value, Acts, doc) }

func kept(name string, t Type, value, why string) Key { return key(name, t, value, Kept, why) }

func notServed(name string, t Type, value string) Key {
	return key(name, t, value, NotServed, notThere)
}

// from sets the lower bound of a number or a size. The upper bound is that of the type.
func (k Key) from(low int64) Key { return k.between(low, k.highest()) }

func (k Key) highest() int64 {
	switch k.Type {
	case Int:
		return math.MaxInt32
	case Short:
		return math.MaxInt16
	}
	return math.MaxInt64
}

func (k Key) between(low, high int64) Key {
	k.min, k.max = low, high
	return k
}

func (k Key) but(check func(string) error) Key {
	k.check = check
	return k
}

// or adds another name: Kafka's older one, or our shorter one.
func (k Key) or(alias string) Key {
	k.aliases = append(k.aliases, alias)
	return k
}

// orIn adds another name whose values are of type t and are converted.
func (k Key) orIn(alias string, t Type, convert func(string) string) Key {
	k = k.or(alias)
	k.converted = &convertedAlias{alias, t, convert}
	return k
}

// actingKeys do what they say. The keys with defaults for topics come from topicKeys, which makes
// them from catalog's table.
var actingKeys = []Key{
	acts("node.id", Int, "1", "This broker's id. It belongs to the data directory and cannot change later.").from(0).or("broker.id"),
	acts("process.roles", List, "broker,controller", "Every process is both: naming fewer is refused.").but(bothRoles),
	acts("broker.rack", String, unset, "Rack or zone of this broker, as clients see it."),

	acts("listeners", List, "PLAINTEXT://127.0.0.1:9092", "Where the broker listens: NAME://HOST:PORT, separated by commas. Only this machine unless told otherwise; "+
		"0.0.0.0 means every address, and then advertised.listeners must say which one clients reach."),
	acts("advertised.listeners", List, unset, "What clients are told, by listener: NAME://HOST:PORT. Unset: what listeners says."),
	acts("listener.security.protocol.map", String, "PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL",
		"Protocol of each listener, by name. Only PLAINTEXT is served yet; names that no listener bears do not count."),
	acts("controller.listener.names", List, unset, "Listeners of Kafka's controllers: these are not opened."),
	acts("max.connections", Int, "10000", "Open client connections (Kafka has no bound).").from(1).or("sluice.connections.max"),
	acts("max.connections.per.ip", Int, "2000", "Open client connections of one address (Kafka has no bound).").from(1).or("sluice.connections.per.ip.max"),
	acts("connections.max.idle.ms", Long, "600000", "A connection that says nothing for so long is closed.").between(1, maxMs),
	acts("socket.request.max.bytes", Int, "104857600", "Largest Produce request.").from(1024),
	acts("fetch.max.bytes", Int, "57671680", "Most bytes that one Fetch is answered with.").from(1024),

	acts("log.dirs", List, "./sluice-data", "The data directory: identity, metadata, write-ahead log and, without sluice.bucket, the objects. One.").
		but(oneFolder).or("log.dir"),

	acts("auto.create.topics.enable", Boolean, "true", "A topic that a client asks for by name is created."),
	acts("delete.topic.enable", Boolean, "true", "Clients may delete topics."),
	acts("num.partitions", Int, "1", "Partitions of a topic that is created without a number.").from(1),
	acts("default.replication.factor", Int, "1", "Replication factor that such a topic shows; what a record survives is told by sluice.durability.").between(1, math.MaxInt16),
	acts("log.retention.check.interval.ms", Long, "300000", "How often retention is applied.").between(1, maxMs).
		orIn("sluice.retention.check.interval", Duration, durationToMs),
	acts("producer.id.expiration.ms", Int, "86400000", "How long an idle producer id is remembered, for idempotence.").from(1),

	acts("group.min.session.timeout.ms", Int, "6000", "Shortest session timeout that a member may ask for.").from(1),
	acts("group.max.session.timeout.ms", Int, "1800000", "Longest session timeout that a member may ask for.").from(1),
	acts("group.initial.rebalance.delay.ms", Int, "3000", "How long the first member of an empty group waits for others.").from(0),
	acts("group.max.size", Int, "2147483647", "Members of one group.").from(1),
	acts("offsets.retention.minutes", Int, "10080", "How long committed offsets stay when nobody uses the group.").from(1),
	acts("offsets.retention.check.interval.ms", Long, "600000", "How often they are looked at.").between(1, maxMs),
	acts("offset.metadata.max.bytes", Int, "4096", "Longest text that a client may store beside an offset.").from(1),
	acts("offsets.topic.num.partitions", Int, "50", "Partitions of __consumer_offsets when it is created.").between(1, 10000),
	acts("offsets.topic.replication.factor", Short, "3", "Replication factor of __consumer_offsets, at most the number of brokers.").from(1),

	acts("sluice.bucket", String, unset, "Where the log lives: s3://bucket/prefix?region=…&endpoint=…&path_style=true or file:///path. Unset: the folder bucket in log.dirs. "+
		"Credentials come from the standard AWS chain."),
	acts("sluice.memory.only", Boolean, "false", "Keep nothing: data directory and bucket live in memory and are gone when the process ends."),
	acts("sluice.admin.listener", String, "127.0.0.1:9644", "HOST:PORT for /healthz, /readyz, /metrics and profiles, without authentication; empty: nowhere.").but(hostPort),
	acts("sluice.metrics.partitions.max", Int, "2000", "Up to how many partitions /metrics shows each one.").from(1),
	acts("sluice.wal.budget.bytes", Size, "4GiB", "Disk for what is not in the bucket yet. At 70 % producers are slowed, at 85 % hard, at 95 % refused with a retriable error.").from(128 << 10),
	acts("sluice.wal.segment.bytes", Size, "64MiB", "One file of the write-ahead log; also the largest batch. Smaller ones are freed sooner and rolled more often.").between(64<<10, 1<<30),
	acts("sluice.flush.interval", Duration, "10s", "Longest time that acknowledged data is only on this disk. Shorter: more and smaller objects."),
	acts("sluice.flush.bytes", Size, "16MiB", "About the size of a bundle; when the log holds four of them, a flush starts before the interval.").between(1<<10, 5<<30),
	acts("sluice.upload.parallel", Int, "4", "Bundles uploaded at once; each is in memory meanwhile.").from(1),
	acts("sluice.hot.bytes", Size, "256MiB", "Memory for the newest batches, which tailing readers get without a read."),
	acts("sluice.cache.bytes", Size, "256MiB", "Memory for blocks read from the bucket; half of it is for reading ahead, up to 8 MiB a reader."),
	acts("sluice.unflushed.batches.max", Size, "4194304", "Batches that may wait for the bucket; about 128 bytes of memory each."),
	acts("sluice.request.memory.bytes", Size, "512MiB", "Memory for Produce requests in flight; at the bound producers are not read. At least socket.request.max.bytes."),
	acts("sluice.fetch.memory.bytes", Size, "256MiB", "Memory for answers to Fetch that are being read or written; at the bound answers are smaller, and consumers take turns. At least socket.request.max.bytes.").from(4 << 20),
	acts("sluice.groups.memory.bytes", Size, "128MiB", "Memory for members of consumer groups and committed offsets; at the bound new ones are told to try again.").from(1 << 20),
	acts("sluice.delete.delay", Duration, "1m", "How long an unreferenced object stays; longer than any reader keeps a plan."),
	acts("sluice.snapshot.interval", Duration, "10m", "Longest time between metadata snapshots in the bucket; garbage is only deleted after one."),
	acts("sluice.snapshot.after.change", Duration, "5s", "From a topic's creation or change to its snapshot."),
	acts("sluice.bucket.wait", Duration, "30s", "How long a first start waits for a bucket that does not answer."),
	acts("sluice.stop.timeout", Duration, "8s", "How long a stop may take; what is not in the bucket then stays in the write-ahead log. Container runtimes kill after ten seconds."),
}

// maxMs is the longest time that fits a duration.
const maxMs = math.MaxInt64 / int64(time.Millisecond)

func durationToMs(v string) string {
	d, err := time.ParseDuration(v)
	if err != nil {
		panic("BUG: unvalidated duration " + v)
	}
	return strconv.FormatInt(max(1, d.Milliseconds()), 10)
}

func bothRoles(v string) error {
	roles := Split(v)
	slices.Sort(roles)
	if !slices.Equal(slices.Compact(roles), []string{"broker", "controller"}) && !slices.Equal(roles, []string{"broker"}) {
		return fmt.Errorf("want broker,controller: a process that is only a controller serves nobody here")
	}
	return nil
}

func oneFolder(v string) error {
	switch folders := Split(v); {
	case len(folders) == 0:
		return fmt.Errorf("want a folder")
	case len(folders) > 1:
		return fmt.Errorf("want one folder: there is one write-ahead log, and the log itself is in the bucket")
	}
	return nil
}

func hostPort(v string) error {
	if v == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(v)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("want HOST:PORT, such as 127.0.0.1:9644, or nothing at all")
	}
	return nil
}

// topicTypes translates catalog's types of values into ours.
var topicTypes = map[catalog.ConfigType]Type{
	catalog.ConfigBoolean: Boolean, catalog.ConfigString: String, catalog.ConfigInt: Int, catalog.ConfigShort: Short, catalog.ConfigLong: Long,
	catalog.ConfigDouble: Double, catalog.ConfigList: List, catalog.ConfigClass: Class, catalog.ConfigSecret: Password,
}

// coarserKeys give topics their defaults in a larger unit. They count if the finer key is not set;
// the finer key has no default then.
var coarserKeys = []struct {
	finer string
	key   Key
}{
	{"log.retention.ms", acts("log.retention.minutes", Int, unset, "As log.retention.ms, which counts before it.")},
	{"log.retention.ms", acts("log.retention.hours", Int, "168", "As log.retention.ms, which counts before it, as does log.retention.minutes.")},
	{"log.roll.ms", acts("log.roll.hours", Int, "168", "As log.roll.ms, which counts before it.")},
	{"log.roll.jitter.ms", acts("log.roll.jitter.hours", Int, "0", "As log.roll.jitter.ms, which counts before it.")},
	{"log.flush.interval.ms", acts("log.flush.scheduler.interval.ms", Long, "9223372036854775807", "Kept and shown; every acknowledged record is already on disk.")},
}

// topicKeys are the broker's keys that give topics their defaults.
func topicKeys() (out []Key) {
	hasCoarser := map[string]bool{}
	for _, c := range coarserKeys {
		hasCoarser[c.finer] = true
		out = append(out, c.key)
	}
	for _, t := range catalog.TopicConfigKeys() {
		if t.Synonym == "" {
			continue
		}
		k := acts(t.Synonym, topicTypes[t.Type], t.Default, "Default of topics' "+t.Name+". "+t.Doc)
		if hasCoarser[t.Synonym] {
			k.Default, k.Unset = "", true
		}
		out = append(out, k)
	}
	for i := range out {
		out[i].topic = true
	}
	return out
}

func goneKey(name string) Key { return kept(name, String, unset, gone).notListed() }

// notListed marks a key that Kafka itself does not list among a broker's keys. It is shown only if
// it is set.
func (k Key) notListed() Key {
	k.unlisted = true
	return k
}

// keys is the whole table.
var keys = func() []Key {
	all := slices.Concat(actingKeys, topicKeys(), keptKeys, notServedKeys)
	for _, name := range goneKeys {
		all = append(all, goneKey(name))
	}
	slices.SortFunc(all, func(a, b Key) int { return strings.Compare(a.Name, b.Name) })
	return all
}()
