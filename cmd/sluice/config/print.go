package config

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// YAML prints the keys that were set, as a file that ParseFile can read back. Passwords are left
// out.
func (c *Config) YAML() (string, error) {
	var out strings.Builder
	for _, name := range c.Said() {
		s := c.said[name]
		if s.key.Secret() {
			fmt.Fprintf(&out, "# %s is set and not shown.\n", name)
			continue
		}
		value, err := yaml.Marshal(s.scalar())
		if err != nil {
			return "", fmt.Errorf("print %s: %w", name, err)
		}
		fmt.Fprintf(&out, "# %s\n%s: %s", s.key.Doc, name, value)
	}
	return out.String(), nil
}

// scalar returns the value as a node that YAML prints without quotes if the type allows that.
func (s *said) scalar() any {
	node := &yaml.Node{Kind: yaml.ScalarNode, Value: s.value}
	switch s.key.Type {
	case Boolean, Int, Short, Long, Double:
	default:
		node.SetString(s.value)
	}
	return node
}
