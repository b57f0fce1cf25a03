package compare

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{"number": number}).Parse(pageText))

// page is what page.html shows.
type page struct {
	Results  []resultView
	Summary  *picture
	Rows     []rowGroup
	Cells    []cellView
	Systems  []systemView
	Failures []Run
	Cores    float64 // a run is marked if others used more cores than this
	Limited  float64
}

type resultView struct {
	*Result
	Cells   string // the cells that are taken from it
	Command string
	Took    time.Duration
}

type rowView struct {
	Measure, Than, Value, Range, Aim string
	Rounds                           int
	Marks                            []string
}

type cellView struct {
	*Cell
	From    string // the date, if there are several results
	Picture picture
	Lines   []lineView
	Others  []otherView
}

type lineView struct {
	System  string
	Values  []Spread // in the order of the cell's measures
	Foreign Spread
	Marks   []string
}

// otherView is a figure that is not a measure of the cell, for readers who want all figures.
type otherView struct {
	Figure string
	Values []Spread // in the order of the lines
}

type systemView struct{ Title, Help, Settings string }

// Report makes index.html and chart.svg in out, from the results in the folders.
func Report(dirs []string, out string) error {
	var results []*Result
	for _, dir := range dirs {
		r, err := loadResult(dir)
		if err != nil {
			return fmt.Errorf("report: %w", err)
		}
		results = append(results, r)
	}
	html, svg, err := render(results)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	err = os.WriteFile(filepath.Join(out, "index.html"), html, 0o644)
	if len(svg) == 0 {
		return err
	}
	return errors.Join(err, os.WriteFile(filepath.Join(out, "chart.svg"), svg, 0o644))
}

// render returns the page, and the chart if there is anything to show in it.
func render(results []*Result) (html, svg []byte, err error) {
	p := newPage(results)
	var b bytes.Buffer
	if err := pageTemplate.ExecuteTemplate(&b, "page", p); err != nil {
		return nil, nil, err
	}
	html = bytes.Clone(b.Bytes())
	if p.Summary == nil {
		return html, nil, nil
	}
	b.Reset()
	if err := pageTemplate.ExecuteTemplate(&b, "chart.svg", p.Summary); err != nil {
		return nil, nil, err
	}
	return html, b.Bytes(), nil
}

func newPage(results []*Result) *page {
	s := source(merge(results))
	p := &page{Cores: disturbedCores, Limited: clientLimitedBelow}
	used := make(map[string]bool)
	for i := range Cells {
		c := &Cells[i]
		r := s[c.Name]
		if r == nil {
			continue
		}
		v := newCellView(c, r)
		if len(results) > 1 {
			v.From = r.Started.Format("2006-01-02 15:04") + ", " + r.Version
		}
		p.Cells = append(p.Cells, v)
		for _, name := range c.systems(true) {
			used[name] = used[name] || r.spread(c.Name, name, c.mainFigure()).Count > 0
		}
	}
	groups := rowGroups()
	for i := range rows {
		if v, ok := newRowView(&rows[i], s); ok {
			g := &groups[rows[i].group()]
			g.Rows = append(g.Rows, v)
		}
	}
	p.Rows = slices.DeleteFunc(groups, func(g rowGroup) bool { return len(g.Rows) == 0 })
	for i := range Systems {
		if sys := &Systems[i]; used[sys.Name] {
			p.Systems = append(p.Systems, systemView{sys.Title, sys.Help, settingsOf(sys)})
		}
	}
	if pic := summary(s); len(pic.Panels) > 0 {
		p.Summary = &pic
	}
	for _, r := range results {
		p.addResult(r, s)
	}
	return p
}

func (p *page) addResult(r *Result, s source) {
	var cells []string
	for i := range Cells {
		if s[Cells[i].Name] == r {
			cells = append(cells, Cells[i].Name)
		}
	}
	p.Results = append(p.Results, resultView{Result: r, Cells: strings.Join(cells, ", "), Command: r.Settings.command(),
		Took: time.Duration(r.Seconds * float64(time.Second)).Round(time.Second)})
	for i := range r.Runs {
		if r.Runs[i].Error != "" {
			p.Failures = append(p.Failures, r.Runs[i])
		}
	}
}

// command is the command that repeats the run.
func (s *Settings) command() string {
	words := "go run ./bench compare"
	if s.Only != "" {
		words += " --only '" + s.Only + "'"
	}
	if s.Full {
		words += " --full"
	}
	return fmt.Sprintf("%s --rounds %d --warmup %s --duration %s", words, s.Rounds, s.Warmup, s.Duration)
}

func (c *Cell) mainFigure() string {
	if len(c.Measures) == 0 {
		return ""
	}
	return c.Measures[0].Figure
}

func newCellView(c *Cell, r *Result) cellView {
	v := cellView{Cell: c}
	var panels []panel
	for _, m := range c.Measures {
		if p := newPanel(r, c, m, c.systems(true)); len(p.Bars) > 0 {
			panels = append(panels, p)
		}
	}
	v.Picture = stack(panels, 2)
	v.Picture.Title = c.Title
	var systems []string
	for _, name := range c.systems(true) {
		if r.ran(c.Name, name) {
			systems = append(systems, name)
			v.Lines = append(v.Lines, newLine(c, r, name))
		}
	}
	for _, figure := range r.figuresOf(c.Name) {
		if slices.ContainsFunc(c.Measures, func(m Measure) bool { return m.Figure == figure }) {
			continue
		}
		o := otherView{Figure: figure}
		for _, name := range systems {
			o.Values = append(o.Values, r.spread(c.Name, name, figure))
		}
		v.Others = append(v.Others, o)
	}
	return v
}

func newLine(c *Cell, r *Result, system string) lineView {
	l := lineView{System: systemTitle(system), Foreign: r.spread(c.Name, system, "foreign_cores"), Marks: r.marks(c.Name, system)}
	for _, m := range c.Measures {
		l.Values = append(l.Values, r.spread(c.Name, system, m.Figure))
	}
	return l
}

// ran reports whether a system has figures in a cell.
func (r *Result) ran(cell, system string) bool {
	return slices.ContainsFunc(r.Runs, func(run Run) bool { return run.Cell == cell && run.System == system && len(run.Figures) > 0 })
}

// figuresOf returns the names of all figures of a cell, sorted.
func (r *Result) figuresOf(cell string) []string {
	var names []string
	for i := range r.Runs {
		if r.Runs[i].Cell != cell {
			continue
		}
		for name := range r.Runs[i].Figures {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// marks are warnings about a system's figures in a cell.
func (r *Result) marks(cell, system string) []string {
	runs, disturbed, wrong := 0, 0, 0
	for i := range r.Runs {
		run := &r.Runs[i]
		if run.Cell != cell || run.System != system || len(run.Figures) == 0 {
			continue
		}
		runs++
		if run.Disturbed() {
			disturbed++
		}
		if run.Figures["lost"]+run.Figures["duplicates"]+run.Figures["reordered"]+run.Figures["errors"] > 0 {
			wrong++
		}
	}
	var marks []string
	if disturbed > 0 {
		marks = append(marks, fmt.Sprintf("disturbed %d of %d", disturbed, runs))
	}
	if wrong > 0 {
		marks = append(marks, fmt.Sprintf("errors in %d of %d", wrong, runs))
	}
	if r.clientLimited(cell, system) {
		marks = append(marks, "client-limited")
	}
	return marks
}

func newRowView(r *row, s source) (rowView, bool) {
	sp := r.evaluate(s)
	if sp.Count == 0 {
		return rowView{}, false
	}
	v := rowView{Measure: r.Measure, Than: r.Than, Value: strings.TrimSpace(number(sp.Median) + " " + r.Unit), Aim: r.Aim, Rounds: sp.Count}
	if sp.Count > 1 {
		v.Range = number(sp.Min) + " – " + number(sp.Max)
	}
	v.Marks = s[r.of.cell].marks(r.of.cell, r.of.system)
	// In a cell where the client is the limit, CPU is the figure to read.
	if strings.HasPrefix(r.of.figure, "cpu_") {
		v.Marks = slices.DeleteFunc(v.Marks, func(m string) bool { return m == "client-limited" })
	}
	return v, true
}
