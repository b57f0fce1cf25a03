package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Entry is what one place says about one key.
type Entry struct {
	Key, Value string
	// At is the place in a form that helps a person to find it: file:line, a variable, a flag.
	At string
	// Foreign says that the name may belong to somebody else: an unknown name is then no problem,
	// unless it is almost a key.
	Foreign bool
}

// Problem is what is wrong with one entry.
type Problem struct {
	At, Key, Reason string
}

func (p Problem) String() string {
	return fmt.Sprintf("%s: %s: %s", p.At, p.Key, p.Reason)
}

// Problems is every problem of a configuration, one a line.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

// Config is a whole configuration: the values that were set, and defaults for the rest.
type Config struct {
	said    map[string]said // by the key's own name
	foreign []Entry
}

// said is the value that counts for one key.
type said struct {
	key   *Key
	value string // canonical
	at    string
	name  string // the name that was used: the key's own or an alias
}

// Resolve combines the layers; later layers override earlier ones. The error is of type [Problems]
// and names all of them.
func Resolve(layers ...[]Entry) (*Config, error) {
	c := &Config{said: map[string]said{}}
	var problems Problems
	for _, entries := range layers {
		here := map[string]said{}
		for _, e := range entries {
			problems = append(problems, c.take(here, e)...)
		}
		for name, s := range here {
			c.said[name] = s
		}
	}
	if problems = append(problems, c.judge()...); len(problems) > 0 {
		return nil, problems
	}
	return c, nil
}

// take reads one entry into the values of its layer.
func (c *Config) take(here map[string]said, e Entry) Problems {
	k, ok := find(e.Key)
	if !ok {
		return c.unknown(e)
	}
	v, err := k.read(e.Key, e.Value)
	if err != nil {
		return Problems{{e.At, e.Key, fmt.Sprintf("%s: %v", k.shown(e.Value), err)}}
	}
	if k.Meaning == NotServed && v != k.Default {
		return Problems{{e.At, e.Key, fmt.Sprintf("%s: %s, and a key that asks for them is not ignored: remove it to serve in plain text", k.shown(e.Value), k.Doc)}}
	}
	if before, ok := here[k.Name]; ok && (before.name == e.Key || before.value != v) {
		reason := "it stands twice: " + before.at + " says " + k.shown(before.value)
		if before.name != e.Key {
			reason = "it is another name of " + before.name + ", which is " + k.shown(before.value) + " at " + before.at + ": keep one"
		}
		return Problems{{e.At, e.Key, reason}}
	}
	here[k.Name] = said{key: k, value: v, at: e.At, name: e.Key}
	return nil
}

// shown quotes a value for a message, unless it is a secret.
func (k *Key) shown(v string) string {
	if k.Secret() {
		return "(hidden)"
	}
	return strconv.Quote(v)
}

// Secret says that the value must not be shown, because the key is a password or its name says so.
func (k *Key) Secret() bool {
	return k.Type == Password || strings.Contains(k.Name, "password") || strings.Contains(k.Name, "secret") || strings.Contains(k.Name, "jaas")
}

func (c *Config) unknown(e Entry) Problems {
	near := suggest(e.Key)
	if e.Foreign && (near == "" || distance(e.Key, near) > 2) {
		c.foreign = append(c.foreign, e)
		return nil
	}
	reason := "unknown key"
	if near != "" {
		reason += "; did you mean " + near + "?"
	} else {
		reason += "; docs/configuration.md lists all"
	}
	return Problems{{e.At, e.Key, reason}}
}

// judge checks values that depend on each other.
func (c *Config) judge() (problems Problems) {
	bad := func(name, reason string) { problems = append(problems, Problem{c.At(name), name, reason}) }
	if c.Int("group.min.session.timeout.ms") > c.Int("group.max.session.timeout.ms") {
		bad("group.min.session.timeout.ms", "it exceeds group.max.session.timeout.ms, which is "+c.Value("group.max.session.timeout.ms"))
	}
	if c.Size("sluice.wal.budget.bytes") < 2*c.Size("sluice.wal.segment.bytes") {
		bad("sluice.wal.budget.bytes", "it must hold at least two files of sluice.wal.segment.bytes, which is "+c.Value("sluice.wal.segment.bytes"))
	}
	for _, name := range []string{"sluice.request.memory.bytes", "sluice.fetch.memory.bytes"} {
		if c.Size(name) < c.Int("socket.request.max.bytes") {
			bad(name, "it must hold one request of socket.request.max.bytes, which is "+c.Value("socket.request.max.bytes"))
		}
	}
	if c.Bool("sluice.memory.only") && c.IsSet("sluice.bucket") {
		bad("sluice.memory.only", "with it the bucket is in memory too: leave sluice.bucket out")
	}
	if c.Bool("sluice.memory.only") && c.IsSet("log.dirs") {
		bad("sluice.memory.only", "with it the data directory is in memory too: leave log.dirs out")
	}
	if _, err := c.TopicDefaults(); err != nil {
		bad("log.cleaner.min.compaction.lag.ms", err.Error())
	}
	_, more := c.Listeners()
	return append(problems, more...)
}

// get returns a key of the table and the value that counts for it.
func (c *Config) get(name string) (*Key, string) {
	if s, ok := c.said[name]; ok {
		return s.key, s.value
	}
	k, ok := keyed[name]
	if !ok || k.Name != name {
		panic("BUG: no key " + name)
	}
	return k, k.Default
}

// Value returns a key's value in canonical form, or "" if it has none.
func (c *Config) Value(name string) string {
	_, v := c.get(name)
	return v
}

// IsSet reports whether a file, a variable or a flag set the key.
func (c *Config) IsSet(name string) bool {
	_, ok := c.said[name]
	return ok
}

// At says where a key was set, or that it has its default.
func (c *Config) At(name string) string {
	if s, ok := c.said[name]; ok {
		return s.at
	}
	return "default"
}

// Int returns a key's number.
func (c *Config) Int(name string) int64 {
	return mustParse(c, name, func(v string) (int64, error) { return strconv.ParseInt(v, 10, 64) })
}

// Bool returns a key's value as a bool.
func (c *Config) Bool(name string) bool { return mustParse(c, name, strconv.ParseBool) }

// Size returns a key's value in bytes.
func (c *Config) Size(name string) int64 { return mustParse(c, name, ParseSize) }

// Duration returns a key's value as a duration.
func (c *Config) Duration(name string) time.Duration { return mustParse(c, name, time.ParseDuration) }

// Ms returns the duration of a key that counts milliseconds.
func (c *Config) Ms(name string) time.Duration {
	return time.Duration(c.Int(name)) * time.Millisecond
}

func mustParse[T any](c *Config, name string, parse func(string) (T, error)) T {
	v, err := parse(c.Value(name))
	if err != nil {
		panic("BUG: " + name + " was not validated: " + err.Error())
	}
	return v
}

// Said returns the names of all keys that were set, sorted.
func (c *Config) Said() []string {
	names := make([]string, 0, len(c.said))
	for name := range c.said {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Meaningless returns the names of the keys that were set and change nothing here, sorted.
func (c *Config) Meaningless() (names []string) {
	for _, name := range c.Said() {
		if s := c.said[name]; s.key.Meaning == Kept && s.value != s.key.Default {
			names = append(names, s.name)
		}
	}
	return names
}

// Foreign returns the places of unknown names that may belong to somebody else, such as a tool's
// KAFKA_… variable.
func (c *Config) Foreign() (places []string) {
	for _, e := range c.foreign {
		places = append(places, e.At)
	}
	slices.Sort(places)
	return places
}

// Effective is a key with the value that counts for it.
type Effective struct {
	Key   *Key
	Value string
	Set   bool
}

// All returns every key that Kafka 4.3 or Sluice has, and every other key that was set, sorted by
// name.
func (c *Config) All() []Effective {
	var all []Effective
	for i := range keys {
		k := &keys[i]
		if k.unlisted && !c.IsSet(k.Name) {
			continue
		}
		all = append(all, Effective{k, c.Value(k.Name), c.IsSet(k.Name)})
	}
	for name, s := range c.said {
		if _, ok := keyed[name]; !ok {
			all = append(all, Effective{s.key, s.value, true})
		}
	}
	slices.SortFunc(all, func(a, b Effective) int { return strings.Compare(a.Key.Name, b.Key.Name) })
	return all
}
