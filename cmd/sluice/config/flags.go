package config

import (
	"fmt"
	"strings"
)

// FromFlags reads the arguments of --set, KEY=VALUE each. If a key occurs several times, the last
// one counts, as on any command line.
func FromFlags(assignments []string) ([]Entry, error) {
	byKey := map[string]int{}
	var entries []Entry
	for _, a := range assignments {
		name, value, ok := strings.Cut(a, "=")
		name = strings.TrimSpace(name)
		if !ok || name == "" {
			return nil, fmt.Errorf("--set %q: want KEY=VALUE, such as --set num.partitions=3", a)
		}
		e := Entry{Key: name, Value: value, At: "--set"}
		if i, ok := byKey[name]; ok {
			entries[i] = e
			continue
		}
		byKey[name] = len(entries)
		entries = append(entries, e)
	}
	return entries, nil
}
