package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// format is how a command prints: -o, which has the same meaning in every command.
type format string

const (
	asTable format = "table"
	asJSON  format = "json"
	asYAML  format = "yaml"
)

var formats = []string{string(asTable), string(asJSON), string(asYAML)}

func (f *format) addFlag(cmd *cobra.Command) {
	*f = asTable
	cmd.Flags().VarP(f, "output", "o", "table, json or yaml")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}

var _ pflag.Value = (*format)(nil)

func (f *format) String() string { return string(*f) }
func (f *format) Type() string   { return "FORMAT" }
func (f *format) Set(s string) error {
	if !slices.Contains(formats, s) {
		if _, err := parseWhere(s); err == nil || otherWords[s] != "" { // the -o of kcat
			return errors.New("want table, json or yaml; where to start is -O")
		}
		return errors.New("want table, json or yaml")
	}
	*f = format(s)
	return nil
}

// print writes v as JSON or YAML, or what table writes.
func (f format) print(out io.Writer, v any, table func(*tabulator)) error {
	switch f {
	case asJSON:
		b, err := toJSON(v, "  ")
		if err != nil {
			return err
		}
		_, err = out.Write(b)
		return err
	case asYAML:
		b, err := toYAML(v)
		if err != nil {
			return err
		}
		_, err = out.Write(b)
		return err
	}
	t := &tabulator{}
	table(t)
	_, err := out.Write(t.bytes())
	return err
}

// toJSON ends with a newline and does not escape <, > and &.
func toJSON(v any, indent string) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	err := enc.Encode(v)
	return out.Bytes(), err
}

// toYAML converts from JSON, so that both have the same names in the same order.
func toYAML(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return nil, err
	}
	blockStyle(&doc)
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// blockStyle drops JSON's braces and quotes. The encoder adds quotes where a text would otherwise
// have another meaning.
func blockStyle(n *yaml.Node) {
	if len(n.Content) > 0 || n.Kind == yaml.ScalarNode {
		n.Style = 0
	}
	for _, c := range n.Content {
		blockStyle(c)
	}
}

// tabulator aligns tables and prints the lines between them.
type tabulator struct {
	out   bytes.Buffer
	table *tabwriter.Writer
}

// head starts a table.
func (t *tabulator) head(columns ...string) {
	t.end()
	t.table = tabwriter.NewWriter(&t.out, 0, 8, 2, ' ', 0)
	t.row(anys(columns)...)
}

func anys(columns []string) []any {
	row := make([]any, len(columns))
	for i, c := range columns {
		row[i] = c
	}
	return row
}

// row adds a line to the table. nil and "" are shown as "-", control characters as in Go strings.
func (t *tabulator) row(cells ...any) {
	for i, c := range cells {
		if i > 0 {
			fmt.Fprint(t.table, "\t")
		}
		fmt.Fprint(t.table, cell(c))
	}
	fmt.Fprint(t.table, "\n")
}

func cell(c any) string {
	switch v := c.(type) {
	case nil:
		return "-"
	case *int64:
		if v == nil {
			return "-"
		}
		return strconv.FormatInt(*v, 10)
	case []int32:
		return numbers(v)
	}
	s := fmt.Sprint(c)
	if s == "" {
		return "-"
	}
	if q := strconv.Quote(s); strings.Contains(q, `\x`) || strings.ContainsAny(s, "\n\t\r\v\f\x1b") {
		return q
	}
	return s
}

// numbers prints a list as 0,1,2.
func numbers(ns []int32) string {
	if len(ns) == 0 {
		return "-"
	}
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(ns), " ", ","), "[]")
}

// line ends the current table, if there is one, and adds a line of text.
func (t *tabulator) line(format string, args ...any) {
	t.end()
	fmt.Fprintf(&t.out, format+"\n", args...)
}

func (t *tabulator) end() {
	if t.table != nil {
		_ = t.table.Flush() // cannot fail: it goes to memory
		t.table = nil
	}
}

// bytes returns everything, without blanks at the ends of lines.
func (t *tabulator) bytes() []byte {
	t.end()
	lines := strings.Split(t.out.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return []byte(strings.Join(lines, "\n"))
}

// plural returns "1 record" or "2 records".
func plural[N int | int64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
