package config

import "github.com/sluicemq/sluice/catalog"

// TopicDefaults returns what topics have where they set nothing.
func (c *Config) TopicDefaults() (*catalog.TopicDefaults, error) {
	set := map[string]string{}
	for name, s := range c.said {
		if s.key.topic {
			set[name] = s.value
		}
	}
	return catalog.ParseTopicDefaults(set)
}
