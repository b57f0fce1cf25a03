package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sluicemq/sluice/catalog"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// edit is what a request changes about one key.
type edit struct {
	name  string
	op    kmsg.IncrementalAlterConfigOp
	value *string
}

// alteration is one resource of AlterConfigs, which replaces everything that is set, or of
// IncrementalAlterConfigs.
type alteration struct {
	kind     kmsg.ConfigResourceType
	name     string
	replaces bool
	edits    []edit
}

// alterAll applies the alterations and returns their outcomes. Each resource is altered entirely or
// not at all. A resource that a request names twice is refused both times.
func (b *Broker) alterAll(ctx context.Context, c *call, alterations []alteration, validateOnly bool) []error {
	type resource struct {
		kind kmsg.ConfigResourceType
		name string
	}
	counts := map[resource]int{}
	for _, a := range alterations {
		counts[resource{a.kind, a.name}]++
	}
	errs := make([]error, len(alterations))
	for i := range alterations {
		a := &alterations[i]
		if counts[resource{a.kind, a.name}] > 1 {
			errs[i] = fmt.Errorf("%w: each resource must appear at most once", errInvalidRequest)
			continue
		}
		errs[i] = b.alterResource(ctx, c, a, validateOnly)
	}
	return errs
}

func (b *Broker) alterResource(ctx context.Context, c *call, a *alteration, validateOnly bool) error {
	switch a.kind {
	case kmsg.ConfigResourceTypeTopic:
		if a.name == "" && c.allowed("") {
			return fmt.Errorf("%w: there is no configuration of all topics: name one", errInvalidRequest)
		}
		return readAndWrite(ctx, func() error { return b.alterTopic(ctx, c, a, validateOnly) })
	case kmsg.ConfigResourceTypeBroker:
		if err := b.ownBroker(c, a.name, true); err != nil {
			return err
		}
		return readAndWrite(ctx, func() error { return b.alterBroker(ctx, a, validateOnly) })
	case kmsg.ConfigResourceTypeBrokerLogger:
		if err := b.ownBroker(c, a.name, false); err != nil {
			return err
		}
		return fmt.Errorf("%w: log levels are set when the broker starts", errInvalidRequest)
	default:
		return fmt.Errorf("%w: resource type %d has no configuration here", errInvalidRequest, a.kind)
	}
}

// readAndWrite calls change, which reads, changes and writes a configuration. It calls change again
// if another write came in between. The quorum compares and sets, so no change is lost.
func readAndWrite(ctx context.Context, change func() error) error {
	for {
		if err := change(); !errors.Is(err, catalog.ErrConflict) || ctx.Err() != nil {
			return err
		}
	}
}

// ownBroker checks the name of a resource that stands for one broker: this broker answers only for
// its own id. The empty name stands for the configs that are set on all brokers.
func (b *Broker) ownBroker(c *call, name string, emptyIsAll bool) error {
	if !b.authorize(Need{c.row.needs.Op, OnCluster}, "") {
		return errUnauthorizedCluster
	}
	if name == "" && emptyIsAll {
		return nil
	}
	id, err := strconv.ParseInt(name, 10, 32)
	switch {
	case err != nil:
		return fmt.Errorf("%w: a broker's id is a number, not %q", errInvalidRequest, name)
	case int32(id) != b.cfg.NodeID:
		return fmt.Errorf("%w: this is broker %d: ask broker %d itself", errInvalidRequest, b.cfg.NodeID, id)
	}
	return nil
}

// check refuses a key that the request names twice, and a value that is missing.
func (a *alteration) check() error {
	seen := map[string]bool{}
	for _, e := range a.edits {
		if seen[e.name] {
			return fmt.Errorf("%w: %s stands twice", errInvalidRequest, e.name)
		}
		seen[e.name] = true
		if e.value == nil && e.op != kmsg.IncrementalAlterConfigOpDelete {
			return fmt.Errorf("%w: %s is null", errInvalidRequest, e.name)
		}
	}
	return nil
}

// apply returns the configs that result from the ones that are set now. list returns the value that
// a key of a list has without being set; its second result is false if the key is no list.
func (a *alteration) apply(now map[string]string, list func(name string) (string, bool)) (map[string]string, error) {
	next := map[string]string{}
	if !a.replaces {
		maps.Copy(next, now)
	}
	for _, e := range a.edits {
		switch e.op {
		case kmsg.IncrementalAlterConfigOpDelete:
			delete(next, e.name)
		case kmsg.IncrementalAlterConfigOpSet:
			next[e.name] = *e.value
		case kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract:
			current, ok := list(e.name)
			if !ok {
				return nil, fmt.Errorf("%w: %s is not a list", catalog.ErrInvalidConfig, e.name)
			}
			if v, set := next[e.name]; set {
				current = v
			}
			next[e.name] = alteredList(current, *e.value, e.op == kmsg.IncrementalAlterConfigOpAppend)
		default:
			return nil, fmt.Errorf("%w: operation %d on %s", errInvalidRequest, e.op, e.name)
		}
	}
	return next, nil
}

// alteredList appends items to the value of a list, or removes them from it.
func alteredList(current, value string, appends bool) string {
	items := catalog.SplitConfigList(current)
	for _, item := range catalog.SplitConfigList(value) {
		switch at := slices.Index(items, item); {
		case item == "": // after a last comma
		case appends && at < 0:
			items = append(items, item)
		case !appends && at >= 0:
			items = slices.Delete(items, at, at+1)
		}
	}
	return strings.Join(items, ",")
}

// alterTopic reads, changes and writes the configs of a topic. It returns catalog.ErrConflict if
// they were changed meanwhile.
func (b *Broker) alterTopic(ctx context.Context, c *call, a *alteration, validateOnly bool) error {
	t, err := b.configuredTopic(c, a.name)
	if err != nil {
		return err
	}
	if err := a.check(); err != nil {
		return err
	}
	l := b.live.Load()
	set, err := a.apply(t.Configs, func(name string) (string, bool) {
		k, ok := catalog.TopicConfigKeyNamed(name)
		return l.topics.Value(&k), ok && k.Type == catalog.ConfigList
	})
	if err != nil {
		return err
	}
	if set, err = l.topics.Check(set); err != nil {
		return err
	}
	if old, now := b.topicConfig(t).Durability, l.topics.Effective(set).Durability; old != now {
		return fmt.Errorf("%w: %s of a topic in use cannot be changed yet (%q to %q): create a new topic", catalog.ErrInvalidConfig, catalog.ConfigDurability, old, now)
	}
	if validateOnly || maps.Equal(set, t.Configs) {
		return nil
	}
	if err := b.topics.SetConfigs(ctx, t.ID, t.Configs, set); err != nil {
		return err
	}
	b.logger.Info("topic configuration changed", "topic", t.Name, "topic_id", t.ID.String())
	if changed, ok := b.topics.TopicByID(t.ID); ok {
		b.noteCompaction(changed, t)
	}
	return nil
}

// noteCompaction logs once, when a topic becomes a compacted one, that the topic keeps every
// record. before is nil for a new topic.
func (b *Broker) noteCompaction(t, before *catalog.Topic) {
	if !b.topicConfig(t).CleanupPolicy.Compact || before != nil && b.topicConfig(before).CleanupPolicy.Compact {
		return
	}
	b.logger.Warn("topic has cleanup.policy=compact: older records of a key are not removed yet, the topic keeps them all", "topic", t.Name, "topic_id", t.ID.String())
}

// alterBroker reads, changes and writes the configs that are set on this broker while it runs, or
// on all brokers if the name is empty. It returns catalog.ErrConflict if they were changed
// meanwhile.
func (b *Broker) alterBroker(ctx context.Context, a *alteration, validateOnly bool) error {
	id, shown := b.cfg.NodeID, map[string]describedConfig{}
	if a.name == "" {
		id = catalog.AllBrokers
	}
	now := b.topics.BrokerConfigs(id)
	for _, d := range b.describeBroker(a.name) {
		shown[d.Name] = d
	}
	changes := alteration{replaces: a.replaces, edits: withoutUnchanged(a.edits, shown)}
	if err := changes.check(); err != nil {
		return err
	}
	set, err := changes.apply(now, b.brokerList)
	if err != nil {
		return err
	}
	if err := b.checkBroker(a.name, set); err != nil {
		return err
	}
	if validateOnly || maps.Equal(set, now) {
		return nil
	}
	if err := b.topics.SetBrokerConfigs(ctx, id, now, set); err != nil {
		return err
	}
	b.logger.Info("configuration of running brokers changed", "broker", a.name, "keys", slices.Sorted(maps.Keys(set)))
	return nil
}

// withoutUnchanged leaves out the edits that set a key to the value it already shows, if that value
// cannot be set. So a client that reads all keys, changes one and sends all of them back changes
// that one. Two values cannot be set: that of a key that does not change while the broker runs, and
// the absence of a value, for which some clients send an empty one.
func withoutUnchanged(edits []edit, shown map[string]describedConfig) (left []edit) {
	for _, e := range edits {
		d, ok := shown[e.name]
		unchanged := ok && e.op == kmsg.IncrementalAlterConfigOpSet &&
			(d.Value == nil && (e.value == nil || *e.value == "") || d.ReadOnly && d.Value != nil && e.value != nil && *d.Value == *e.value)
		if !unchanged {
			left = append(left, e)
		}
	}
	return left
}

// brokerList returns the value with which the broker started for a key that is a list. The second
// result is false if there is no such key, or the key is no list.
func (b *Broker) brokerList(name string) (string, bool) {
	for i := range b.settings {
		if s := &b.settings[i]; s.Name == name && s.Type == catalog.ConfigList && s.Value != nil {
			return *s.Value, true
		}
	}
	return "", false
}

// checkBroker judges the configs to be set on this broker, or on all brokers if the name is empty,
// and puts them into canonical form.
func (b *Broker) checkBroker(name string, set map[string]string) error {
	var fixed []string
	for _, key := range slices.Sorted(maps.Keys(set)) {
		v, known, err := checkDynamic(key, set[key])
		if err != nil {
			return fmt.Errorf("%w: invalid value %q for %s: %w", errInvalidRequest, set[key], key, err)
		}
		if !known {
			fixed = append(fixed, key)
		}
		set[key] = v
	}
	if len(fixed) > 0 {
		return fmt.Errorf("%w: Cannot update these configs dynamically: %v: set them in the broker's configuration and start it again", errInvalidRequest, fixed)
	}
	own, all := b.topics.BrokerConfigs(b.cfg.NodeID), set
	if name != "" {
		own, all = set, b.topics.BrokerConfigs(catalog.AllBrokers)
	}
	if _, err := b.cfg.TopicDefaults.With(own, all); err != nil {
		return fmt.Errorf("%w: %v", errInvalidRequest, err)
	}
	return nil
}
