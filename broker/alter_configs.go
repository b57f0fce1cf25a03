package broker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluicemq/sluice/catalog"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// alteration is one resource of AlterConfigs or IncrementalAlterConfigs: change turns what is set into what shall be.
type alteration struct {
	kind   kmsg.ConfigResourceType
	name   string
	change func(set map[string]string) error
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
			errs[i] = fmt.Errorf("%w: the resource stands twice", errInvalidRequest)
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
		if !b.authorize(Need{c.row.needs.Op, OnCluster}, "") {
			return errUnauthorizedCluster
		}
		return fmt.Errorf("%w: a broker's configuration is set when it starts", errInvalidRequest)
	default:
		return fmt.Errorf("%w: resource type %d has no configuration here", errInvalidRequest, a.kind)
	}
}

// alterTopic reads, changes and writes what is set on a topic, one at a time on this broker.
func (b *Broker) alterTopic(ctx context.Context, c *call, a alteration, validateOnly bool) error {
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
	if _, err := catalog.ParseTopicConfig(set); err != nil {
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
	return nil
}

// alterList appends to or subtracts from a list value, beginning with the default if nothing is set.
func alterList(set map[string]string, name, value string, appends bool) error {
	k, ok := catalog.TopicConfigKeyNamed(name)
	if !ok || k.Type != catalog.ConfigList {
		return fmt.Errorf("%w: %s is not a list", catalog.ErrInvalidConfig, name)
	}
	current, _ := topicConfigValue(&k, set)
	items := catalog.SplitConfigList(current)
	for _, item := range catalog.SplitConfigList(value) {
		switch at := slices.Index(items, item); {
		case appends && at < 0:
			items = append(items, item)
		case !appends && at >= 0:
			items = slices.Delete(items, at, at+1)
		}
	}
	set[name] = strings.Join(items, ",")
	return nil
}
