package beside

import (
	"fmt"
	"strings"
)

// Node is a part of an answer: a value, or a record or list of further nodes.
type Node struct {
	Name     string
	Value    string // of a leaf; "null" and "[]" are lists without elements
	Children []*Node
}

func leaf(name, value string) *Node { return &Node{Name: name, Value: value} }

// Answer is a node for a request that was not answered with a message of its kind.
func Answer(what string) *Node {
	return &Node{Children: []*Node{leaf("answer", what)}}
}

func (n *Node) child(name string) *Node {
	for _, c := range n.Children {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// String draws the tree, for the messages of failed tests.
func (n *Node) String() string {
	var b strings.Builder
	n.draw(&b, 0)
	return b.String()
}

func (n *Node) draw(b *strings.Builder, depth int) {
	fmt.Fprintf(b, "%s%s %s\n", strings.Repeat("  ", depth), n.Name, n.Value)
	for _, c := range n.Children {
		c.draw(b, depth+1)
	}
}

// Difference is a place where two answers differ. A part that only one of them has is one
// difference, "absent" against "present".
type Difference struct {
	Path        string // Topics[plain].Partitions[0].ErrorCode
	Here, Kafka string
}

func (d Difference) String() string {
	return fmt.Sprintf("%s: here %s, Kafka %s", d.Path, d.Here, d.Kafka)
}

const (
	absent  = "absent"
	present = "present"
)

// Diff compares our answer with Apache Kafka's.
func Diff(here, kafka *Node) []Difference {
	return diff(nil, "", here, kafka)
}

func diff(list []Difference, path string, here, kafka *Node) []Difference {
	if here.Value != kafka.Value {
		return append(list, Difference{path, show(here), show(kafka)})
	}
	for _, h := range here.Children {
		if k := kafka.child(h.Name); k != nil {
			list = diff(list, join(path, h.Name), h, k)
		} else {
			list = append(list, Difference{join(path, h.Name), present, absent})
		}
	}
	for _, k := range kafka.Children {
		if here.child(k.Name) == nil {
			list = append(list, Difference{join(path, k.Name), absent, present})
		}
	}
	return list
}

// show returns a node's value. For a list that is not empty, that is the number of its elements.
func show(n *Node) string {
	if n.Value == "" && len(n.Children) > 0 {
		return fmt.Sprintf("%d elements", len(n.Children)-1) // the order is one of the children
	}
	return n.Value
}

func join(path, name string) string {
	if path == "" || strings.HasPrefix(name, "[") {
		return path + name
	}
	return path + "." + name
}
