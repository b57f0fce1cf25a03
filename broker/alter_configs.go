package broker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sluicemq/sluice/catalog"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// alteration is one resource of AlterConfigs or IncrementalAlterConfigs.
type alteration struct {
	kind   kmsg.ConfigResourceType
	name   string
	change func(set map[string]string) error // turns what is set on a topic into what shall be
	writes []string                          // keys that are given a value
}

// alterAll applies alterations, all or nothing for each resource, and returns their outcomes. A resource that stands twice is refused both times.
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
	for i, a := range alterations {
		if counts[resource{a.kind, a.name}] > 1 {
			errs[i] = fmt.Errorf("%w: each resource must appear at most once", errInvalidRequest)
			continue
		}
		errs[i] = b.alterResource(ctx, c, a, validateOnly)
	}
	return errs
}

func (b *Broker) alterResource(ctx context.Context, c *call, a alteration, validateOnly bool) error {
	switch a.kind {
	case kmsg.ConfigResourceTypeTopic:
		return b.alterTopic(ctx, c, a, validateOnly)
	case kmsg.ConfigResourceTypeBroker:
		return b.alterBroker(c, a)
	case kmsg.ConfigResourceTypeBrokerLogger:
		if err := b.ownBroker(c, a.name, false); err != nil {
			return err
		}
		return fmt.Errorf("%w: log levels are set when the broker starts", errInvalidRequest)
	default:
		return fmt.Errorf("%w: resource type %d has no configuration here", errInvalidRequest, a.kind)
	}
}

// ownBroker checks the name of a resource that stands for one broker: only this one's id is answered here. The
// empty name stands for what is set on all brokers.
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

// alterBroker takes what changes nothing, as tools that clean up behind themselves send it: there is
// no dynamic configuration of a broker that could be set or taken away.
func (b *Broker) alterBroker(c *call, a alteration) error {
	if err := b.ownBroker(c, a.name, true); err != nil {
		return err
	}
	if err := a.change(map[string]string{}); err != nil {
		return err
	}
	if len(a.writes) > 0 {
		return fmt.Errorf("%w: cannot update these configs dynamically: %v: set them in the broker's configuration and start it again", errInvalidRequest, a.writes)
	}
	return nil
}

// alterTopic reads, changes and writes what is set on a topic, one at a time on this broker.
func (b *Broker) alterTopic(ctx context.Context, c *call, a alteration, validateOnly bool) error {
	if a.name == "" && c.allowed("") {
		return fmt.Errorf("%w: there is no configuration of all topics: name one", errInvalidRequest)
	}
	b.alter.Lock()
	defer b.alter.Unlock()
	t, err := b.configuredTopic(c, a.name)
	if err != nil {
		return err
	}
	set := maps.Clone(t.Configs)
	if set == nil {
		set = map[string]string{}
	}
	if err := a.change(set); err != nil {
		return err
	}
	if set, err = b.cfg.TopicDefaults.Check(set); err != nil {
		return err
	}
	if old, now := t.Configs[catalog.ConfigDurability], set[catalog.ConfigDurability]; old != now {
		return fmt.Errorf("%w: %s of a topic in use cannot be changed yet (%q to %q): create a new topic", catalog.ErrInvalidConfig, catalog.ConfigDurability, old, now)
	}
	if validateOnly || maps.Equal(set, t.Configs) {
		return nil
	}
	if err := b.topics.SetConfigs(ctx, t.ID, set); err != nil {
		return err
	}
	b.logger.Info("topic configuration changed", "topic", t.Name, "topic_id", t.ID.String())
	if changed, ok := b.topics.TopicByID(t.ID); ok {
		b.noteCompaction(changed, t)
	}
	return nil
}

// noteCompaction logs, when a topic becomes a compacted one, that it keeps every record. before is nil for a new topic.
func (b *Broker) noteCompaction(t, before *catalog.Topic) {
	if !b.topicConfig(t).CleanupPolicy.Compact || before != nil && b.topicConfig(before).CleanupPolicy.Compact {
		return
	}
	b.logger.Warn("topic has cleanup.policy=compact: older records of a key are not removed yet, the topic keeps them all", "topic", t.Name, "topic_id", t.ID.String())
}

// alterList appends to or subtracts from a list value, beginning with the default if nothing is set.
func (b *Broker) alterList(set map[string]string, name, value string, appends bool) error {
	k, ok := catalog.TopicConfigKeyNamed(name)
	if !ok || k.Type != catalog.ConfigList {
		return fmt.Errorf("%w: %s is not a list", catalog.ErrInvalidConfig, name)
	}
	current, _ := b.topicConfigValue(&k, set)
	items := catalog.SplitConfigList(current)
	for _, item := range catalog.SplitConfigList(value) {
		switch at := slices.Index(items, item); {
		case item == "": // behind a last comma
		case appends && at < 0:
			items = append(items, item)
		case !appends && at >= 0:
			items = slices.Delete(items, at, at+1)
		}
	}
	set[name] = strings.Join(items, ",")
	return nil
}
