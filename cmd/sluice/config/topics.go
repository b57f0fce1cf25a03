package config

import "github.com/sluicemq/sluice/catalog"

// TopicDefaults returns the values of topics that set nothing themselves.
func (c *Config) TopicDefaults() (*catalog.TopicDefaults, error) {
	set := map[string]string{}
	for name, s := range c.said {
		if s.key.topic {
			set[name] = s.value
		}
	}
	return catalog.ParseTopicDefaults(set)
}
