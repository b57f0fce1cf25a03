package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/sluicemq/sluice/catalog"
)

// Type is the type of a key's value.
type Type int

// The types of values. Size and Duration are for our own keys. Kafka's keys are plain numbers with
// the unit in the name.
const (
	Boolean  Type = iota + 1
	Int           // 32 bits
	Short         // 16 bits
	Long          // 64 bits
	Double        //
	String        //
	List          // separated by commas
	Class         // a Java class, which nothing here loads
	Password      // never shown
	Size          // bytes, with an optional KiB, MiB or GiB
	Duration      // such as 500ms or 10s
)

var typeNames = map[Type]string{
	Boolean: "boolean", Int: "int", Short: "short", Long: "long", Double: "double", String: "string", List: "list",
	Class: "class", Password: "password", Size: "size", Duration: "duration",
}

func (t Type) String() string { return typeNames[t] }

// Meaning says what happens with a key that is set.
type Meaning int

// The meanings.
const (
	// Acts: the broker does what the key says.
	Acts Meaning = iota + 1
	// Kept: a key of Apache Kafka that is accepted and shown, and changes nothing here.
	Kept
	// NotServed: a key that asks for something that is not served yet, mostly security. A value
	// other than the default fails the start.
	NotServed
)

// Key is one key of the configuration.
type Key struct {
	Name    string
	Type    Type
	Default string
	// Unset says that there is no default: the key has no value unless it is set.
	Unset   bool
	Meaning Meaning
	// Doc says what the key does. For a Kept key it says why the key does nothing.
	Doc string

	min, max  int64              // of numbers and sizes, if max > min
	check     func(string) error // of the canonical value
	unlisted  bool               // shown only if it is set
	topic     bool               // read by catalog.ParseTopicDefaults
	aliases   []string           // other names
	converted *convertedAlias    // the alias whose values have another form
}

// convertedAlias is another name of a key, with values of another type.
type convertedAlias struct {
	name    string
	of      Type
	convert func(string) string
}

// read returns the canonical form of a value that was set under the key's name or an alias.
func (k *Key) read(name, value string) (string, error) {
	if a := k.converted; a != nil && a.name == name {
		v, err := (&Key{Type: a.of}).canonical(value)
		if err != nil {
			return "", err
		}
		value = a.convert(v)
	}
	return k.canonical(value)
}

// canonical reads a value and returns it in the form in which it is kept and shown.
func (k *Key) canonical(value string) (string, error) {
	v := strings.TrimSpace(value)
	if k.topic {
		return v, checkTopicDefault(k.Name, v)
	}
	v, err := k.canonicalType(v)
	if err == nil && k.check != nil {
		err = k.check(v)
	}
	return v, err
}

func (k *Key) canonicalType(v string) (string, error) {
	switch k.Type {
	case Boolean:
		if v = strings.ToLower(v); v != "true" && v != "false" {
			return "", errors.New("want true or false")
		}
	case Int, Short, Long:
		return k.canonicalNumber(v)
	case Double:
		if _, err := strconv.ParseFloat(v, 64); err != nil {
			return "", errors.New("want a number")
		}
	case Size:
		return v, k.checkSize(v)
	case Duration:
		return v, checkDuration(v)
	case List:
		v = strings.Join(Split(v), ",")
	}
	return v, nil
}

func (k *Key) canonicalNumber(v string) (string, error) {
	low, high := k.min, k.max
	if low >= high {
		low, high = limits(k.Type)
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < low || n > high {
		return "", fmt.Errorf("want a whole number from %d to %d", low, high)
	}
	return strconv.FormatInt(n, 10), nil
}

func limits(t Type) (low, high int64) {
	switch t {
	case Short:
		return math.MinInt16, math.MaxInt16
	case Int:
		return math.MinInt32, math.MaxInt32
	}
	return math.MinInt64, math.MaxInt64
}

func (k *Key) checkSize(v string) error {
	n, err := ParseSize(v)
	if err != nil {
		return err
	}
	switch {
	case k.max <= k.min:
		return nil
	case n < k.min:
		return fmt.Errorf("want at least %s", formatSize(k.min))
	case n > k.max:
		return fmt.Errorf("want at most %s", formatSize(k.max))
	}
	return nil
}

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// ParseSize reads a number with an optional KiB, MiB or GiB.
func ParseSize(v string) (int64, error) {
	unit := int64(1)
	for _, u := range sizeUnits {
		if s, ok := strings.CutSuffix(v, u.suffix); ok {
			v, unit = s, u.bytes
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64/unit {
		return 0, errors.New("want a number above zero, such as 1048576 or 64MiB")
	}
	return n * unit, nil
}

func formatSize(n int64) string {
	for _, u := range sizeUnits {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}

func checkDuration(v string) error {
	if d, err := time.ParseDuration(v); err != nil || d <= 0 {
		return errors.New("want a duration above zero, such as 500ms or 10s")
	}
	return nil
}

// checkTopicDefault asks catalog, which knows the limits of topics' values.
func checkTopicDefault(name, value string) error {
	_, err := catalog.ParseTopicDefaults(map[string]string{name: value})
	if err == nil {
		return nil
	}
	_, reason, _ := strings.Cut(err.Error(), strconv.Quote(value)+": ")
	return errors.New(reason)
}

// Split returns the items of a list value, without blanks around them. An empty value has no items.
func Split(v string) []string {
	if strings.TrimSpace(v) == "" {
		return nil
	}
	items := strings.Split(v, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items
}

// keyed has every key by its name and its aliases.
var keyed = func() map[string]*Key {
	m := make(map[string]*Key)
	for i := range keys {
		m[keys[i].Name] = &keys[i]
		for _, a := range keys[i].aliases {
			m[a] = &keys[i]
		}
	}
	return m
}()

// Keys returns every key, sorted by name. The slice is shared: read only.
func Keys() []Key { return keys }

// find returns the key with this name, or of a family of names, such as ssl.*, whose keys have no
// rows of their own.
func find(name string) (*Key, bool) {
	if k, ok := keyed[name]; ok {
		return k, true
	}
	for i := range families {
		if f := &families[i]; f.matches(name) {
			return &Key{Name: name, Type: f.kind, Unset: true, Meaning: f.meaning, Doc: f.doc}, true
		}
	}
	return nil, false
}
