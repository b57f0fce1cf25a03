package beside

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Exchange is one request of a script at one version, and where the two answers to it differ.
type Exchange struct {
	API         string
	Version     int16
	Step        string
	Differences []Difference
}

func (e Exchange) String() string { return fmt.Sprintf("%s v%d, %s", e.API, e.Version, e.Step) }

// Row is an intended difference:
//
//	| id | API | versions | when | field | here | Kafka | why |
//
// when names steps of the script; * is any step. field names places in the answer; [] is any
// element and * anything. here and Kafka are the values of the first field; * is any value. The
// other fields follow from the first: they are excused where the first one differs in this way.
type Row struct {
	ID, API   string
	Low, High int16
	When      []string
	Fields    []string

	here, kafka string
	patterns    []*regexp.Regexp
	seenFields  []bool
	seenWhen    map[string]bool
	seen        map[int16]bool
}

// List is the list of intended differences.
type List []*Row

// columns are those of the tables that are read. Tables with other columns are prose.
var columns = []string{"id", "API", "versions", "when", "field", "here", "Kafka", "why"}

// Parse reads the tables of a page.
func Parse(page string) (List, error) {
	var list List
	inside := false
	for i, line := range strings.Split(page, "\n") {
		cells := cellsOf(line)
		switch {
		case slices.Equal(cells, columns):
			inside = true
		case cells == nil:
			inside = false
		case inside && !strings.HasPrefix(cells[0], "--"):
			r, err := parseRow(cells)
			if err == nil && slices.ContainsFunc(list, func(o *Row) bool { return o.ID == r.ID }) {
				err = fmt.Errorf("id %s is used twice", r.ID)
			}
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", i+1, err)
			}
			list = append(list, r)
		}
	}
	return list, nil
}

func cellsOf(line string) []string {
	line = strings.TrimSpace(line)
	if !strings.HasPrefix(line, "|") || !strings.HasSuffix(line, "|") || len(line) < 2 {
		return nil
	}
	cells := strings.Split(line[1:len(line)-1], "|")
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	return cells
}

func parseRow(cells []string) (*Row, error) {
	if len(cells) != len(columns) {
		return nil, fmt.Errorf("%d cells, want %d", len(cells), len(columns))
	}
	if i := slices.Index(cells, ""); i >= 0 {
		return nil, fmt.Errorf("the column %q is empty", columns[i])
	}
	plain := func(s string) string { return strings.ReplaceAll(s, "`", "") }
	r := &Row{ID: cells[0], API: cells[1], When: split(cells[3], "; "), Fields: split(plain(cells[4]), ", "),
		here: plain(cells[5]), kafka: plain(cells[6]), seenWhen: map[string]bool{}, seen: map[int16]bool{}}
	r.seenFields = make([]bool, len(r.Fields))
	low, high, isRange := strings.Cut(cells[2], "–")
	if !isRange {
		high = low
	}
	from, err := strconv.ParseInt(low, 10, 16)
	to, err2 := strconv.ParseInt(high, 10, 16)
	if err != nil || err2 != nil || from > to {
		return nil, fmt.Errorf("versions %q: want 3 or 3–9", cells[2])
	}
	r.Low, r.High = int16(from), int16(to)
	for _, f := range r.Fields {
		r.patterns = append(r.patterns, pattern(f))
	}
	return r, nil
}

func split(s, by string) []string {
	list := strings.Split(s, by)
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

func pattern(field string) *regexp.Regexp {
	quoted := regexp.QuoteMeta(field)
	quoted = strings.ReplaceAll(quoted, `\[\]`, `\[[^\]]*\]`)
	return regexp.MustCompile("^" + strings.ReplaceAll(quoted, `\*`, ".*") + "$")
}

// Unexplained returns the differences of an exchange that no row explains, and remembers which rows
// explained something.
func (l List) Unexplained(e Exchange) []Difference {
	rest := e.Differences
	for _, r := range l {
		rest = r.explain(e, rest)
	}
	return rest
}

// explain drops what the row explains. Every row is shown all differences, so that a row is never
// idle only because another row came first.
func (r *Row) explain(e Exchange, rest []Difference) []Difference {
	if e.API != r.API || e.Version < r.Low || e.Version > r.High {
		return rest
	}
	when := slices.IndexFunc(r.When, func(w string) bool { return w == "*" || w == e.Step })
	if when < 0 || !slices.ContainsFunc(e.Differences, r.first) {
		return rest
	}
	r.seenWhen[r.When[when]], r.seen[e.Version] = true, true
	for _, d := range e.Differences {
		r.covers(d)
	}
	return slices.DeleteFunc(slices.Clone(rest), r.covers)
}

func (r *Row) first(d Difference) bool {
	return r.patterns[0].MatchString(d.Path) && (r.here == "*" || r.here == d.Here) && (r.kafka == "*" || r.kafka == d.Kafka)
}

func (r *Row) covers(d Difference) bool {
	if r.first(d) {
		r.seenFields[0] = true
		return true
	}
	for i, p := range r.patterns {
		if i > 0 && p.MatchString(d.Path) {
			r.seenFields[i] = true
			return true
		}
	}
	return false
}

// Idle returns the rows that no exchange showed.
func (l List) Idle() []string {
	var idle []string
	for _, r := range l {
		for _, w := range r.When {
			if !r.seenWhen[w] {
				idle = append(idle, fmt.Sprintf("%s: nothing differs so when %q", r.ID, w))
			}
		}
		for v := r.Low; v <= r.High; v++ {
			if !r.seen[v] {
				idle = append(idle, fmt.Sprintf("%s: nothing differs so at version %d", r.ID, v))
			}
		}
		for i, f := range r.Fields {
			if !r.seenFields[i] {
				idle = append(idle, fmt.Sprintf("%s: %s does not differ so", r.ID, f))
			}
		}
	}
	return idle
}
