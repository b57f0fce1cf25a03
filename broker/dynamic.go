package broker

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluicemq/sluice/catalog"
)

// live is the configuration that may change while the broker runs, in three layers: what is set on
// this broker, under it what is set on all brokers, and under that the configuration with which the
// broker started. A live is immutable; Broker.live is the one in force.
type live struct {
	// These configs are set on this broker and on all brokers: only known keys with valid values.
	own, all   map[string]string
	topics     *catalog.TopicDefaults
	plainTopic catalog.TopicConfig // of a topic that sets nothing

	connectionsMax, connectionsPerIPMax int
	producerExpiry                      time.Duration // 0: the value with which storage was started
}

// InForce is the part of the configuration in force that storage has to know.
type InForce struct {
	TopicDefaults *catalog.TopicDefaults
	// ProducerExpiry is how long an idle producer id is remembered. 0 means the time with which
	// storage was started.
	ProducerExpiry time.Duration
}

// These keys of a broker may change while it runs, in addition to those behind the keys of topics.
const (
	keyConnectionsMax      = "max.connections"
	keyConnectionsPerIPMax = "max.connections.per.ip"
	keyProducerExpiry      = "producer.id.expiration.ms"
)

// dynamicNumbers maps the keys that Kafka lists as dynamic and that mean something here to their
// lowest values.
var dynamicNumbers = map[string]int64{keyConnectionsMax: 1, keyConnectionsPerIPMax: 1, keyProducerExpiry: 1}

// checkDynamic returns the canonical form of a value for a key that may change while the broker
// runs. For any other key, known is false.
func checkDynamic(name, value string) (canonical string, known bool, err error) {
	if canonical, known, err = catalog.CheckBrokerKey(name, value); known {
		return canonical, known, err
	}
	low, known := dynamicNumbers[name]
	if !known {
		return "", false, nil
	}
	n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
	if err != nil || n < low || n > math.MaxInt32 {
		return "", true, fmt.Errorf("want a whole number from %d to %d", low, math.MaxInt32)
	}
	return strconv.FormatInt(n, 10), true, nil
}

// ChangesWhileRunning reports whether a key of a broker may change while the broker runs.
func ChangesWhileRunning(name string) bool {
	_, known, _ := checkDynamic(name, "")
	return known
}

// newLive lays the values that are set over those with which the broker started. The error names
// the values that are not valid. The configuration is usable all the same, without them: a value
// that another version or another broker accepted must not prevent a start.
func (b *Broker) newLive(own, all map[string]string) (*live, error) {
	own, err1 := holding(own)
	all, err2 := holding(all)
	topics, err3 := b.cfg.TopicDefaults.With(own, all)
	l := &live{own: own, all: all, topics: topics, plainTopic: topics.Effective(nil),
		connectionsMax: b.cfg.ConnectionsMax, connectionsPerIPMax: b.cfg.ConnectionsPerIPMax}
	if n, ok := l.number(keyConnectionsMax); ok {
		l.connectionsMax = n
	}
	if n, ok := l.number(keyConnectionsPerIPMax); ok {
		l.connectionsPerIPMax = n
	}
	if n, ok := l.number(keyProducerExpiry); ok {
		l.producerExpiry = time.Duration(n) * time.Millisecond
	}
	return l, errors.Join(err1, err2, err3)
}

// holding returns the known keys of a set that have valid values, and an error that names the
// others.
func holding(set map[string]string) (map[string]string, error) {
	good := make(map[string]string, len(set))
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(set)) {
		switch v, known, err := checkDynamic(name, set[name]); {
		case !known:
			errs = append(errs, fmt.Errorf("%s: it does not change while a broker runs", name))
		case err != nil:
			errs = append(errs, fmt.Errorf("%s=%q: %w", name, set[name], err))
		default:
			good[name] = v
		}
	}
	return good, errors.Join(errs...)
}

// set returns the value of a key that is set on this broker, or else on all of them.
func (l *live) set(name string) (string, bool) {
	if v, ok := l.own[name]; ok {
		return v, true
	}
	v, ok := l.all[name]
	return v, ok
}

func (l *live) number(name string) (int, bool) {
	v, ok := l.set(name)
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		panic("BUG: unvalidated " + name)
	}
	return n, true
}

// Reconfigure puts into force what is set on this broker and on all brokers, and returns what
// storage has to follow. Calls must not overlap, so that the last call is the one that read last.
func (b *Broker) Reconfigure() InForce {
	l, err := b.newLive(b.topics.BrokerConfigs(b.cfg.NodeID), b.topics.BrokerConfigs(catalog.AllBrokers))
	if err != nil {
		b.logger.Warn("some of the configuration that was set on running brokers does not hold here", "err", err)
	}
	b.live.Store(l)
	return InForce{TopicDefaults: l.topics, ProducerExpiry: l.producerExpiry}
}
