package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// fileBytesMax is more than any configuration needs.
const fileBytesMax = 1 << 20

// ParseFile reads a configuration file: YAML with dotted keys, flat or nested, or Kafka's
// server.properties. The end of the name says which (.yaml, .yml, .json; .properties); otherwise
// the first line does. The error is of type [Problems].
func ParseFile(name string, text []byte) ([]Entry, error) {
	if len(text) > fileBytesMax {
		return nil, Problems{{name, "file", fmt.Sprintf("it has %d bytes, at most %d are read: is it a configuration?", len(text), fileBytesMax)}}
	}
	if !utf8.Valid(text) {
		return nil, Problems{{name, "file", "it is not text in UTF-8: is it a configuration?"}}
	}
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	var p parsed
	p.file = name
	switch ext := strings.ToLower(filepath.Ext(name)); {
	case ext == ".properties", ext != ".yaml" && ext != ".yml" && ext != ".json" && looksLikeProperties(text):
		p.properties(string(text))
	default:
		p.yaml(text)
	}
	if len(p.problems) > 0 {
		return nil, p.problems
	}
	return p.entries, nil
}

var assignment = regexp.MustCompile(`^[A-Za-z0-9_.-]+\s*=`)

// looksLikeProperties judges by the first line that is neither empty nor a comment.
func looksLikeProperties(text []byte) bool {
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line != "" && line[0] != '#' && line[0] != '!' {
			return assignment.MatchString(line)
		}
	}
	return false
}

// parsed is what was read from a file so far.
type parsed struct {
	file     string
	entries  []Entry
	problems Problems
}

func (p *parsed) at(line int) string { return fmt.Sprintf("%s:%d", p.file, line) }

func (p *parsed) problem(line int, key, reason string) {
	p.problems = append(p.problems, Problem{p.at(line), key, reason})
}

// yaml reads a mapping of mappings. Their names are joined by dots.
func (p *parsed) yaml(text []byte) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF): // nothing except comments
		return
	case err != nil:
		p.problems = append(p.problems, Problem{p.file, "file", strings.TrimPrefix(err.Error(), "yaml: ") + " (YAML, or name it .properties)"})
		return
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		p.problems = append(p.problems, Problem{p.file, "file", "it holds more than one YAML document"})
		return
	}
	p.yamlNode("", document.Content[0])
}

func (p *parsed) yamlNode(name string, n *yaml.Node) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			p.yamlPair(name, n.Content[i], n.Content[i+1])
		}
	case yaml.SequenceNode:
		p.yamlList(name, n)
	case yaml.ScalarNode:
		if name == "" && n.Tag == "!!null" {
			return // an empty document
		}
		if name == "" || n.Tag == "!!null" {
			p.problem(n.Line, orFile(name), "it has no value; write \"\" for an empty one")
			return
		}
		p.entries = append(p.entries, Entry{Key: name, Value: n.Value, At: p.at(n.Line)})
	default: // a reference would hide where a value comes from
		p.problem(n.Line, orFile(name), "references (*name) are not supported; write the value")
	}
}

func orFile(name string) string {
	if name == "" {
		return "file"
	}
	return name
}

func (p *parsed) yamlPair(prefix string, k, v *yaml.Node) {
	name := strings.TrimSpace(k.Value)
	if k.Kind != yaml.ScalarNode || name == "" || k.Tag == "!!merge" {
		p.problem(k.Line, orFile(prefix), "want a key here, such as num.partitions")
		return
	}
	if prefix != "" {
		name = prefix + "." + name
	}
	p.yamlNode(name, v)
}

func (p *parsed) yamlList(name string, n *yaml.Node) {
	var items []string
	for _, item := range n.Content {
		if item.Kind != yaml.ScalarNode || item.Tag == "!!null" {
			p.problem(item.Line, orFile(name), "want a list of plain values")
			return
		}
		items = append(items, item.Value)
	}
	if name == "" {
		p.problem(n.Line, "file", "want KEY: VALUE lines, not a list")
		return
	}
	p.entries = append(p.entries, Entry{Key: name, Value: strings.Join(items, ","), At: p.at(n.Line)})
}
