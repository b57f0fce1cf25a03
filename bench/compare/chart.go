package compare

// panel shows one measure as horizontal bars: the median as a bar, and minimum to maximum as a line
// across its end.
type panel struct {
	Title, Unit   string
	Less          bool // less is better
	X, Y          int  // of the upper left corner
	Width, Height int
	Bars          []bar
}

type bar struct {
	Label, Text string
	Class       string // colours: own, kafka, fsync or limit
	Y           int
	Length      float64
	From, To    float64 // of the line
	TextX       float64
}

// Sizes of a panel, in pixels.
const (
	labelWidth = 190
	barArea    = 300
	valueWidth = 90
	barHeight  = 22
	titleSpace = 30
	panelWidth = labelWidth + barArea + valueWidth
)

// newPanel draws the systems that have the figure.
func newPanel(r *Result, cell *Cell, m Measure, systems []string) panel {
	p := panel{Title: m.Title, Unit: m.Unit, Less: !m.More, Width: panelWidth}
	largest := 0.0
	spreads := make(map[string]Spread)
	for _, s := range systems {
		spreads[s] = r.spread(cell.Name, s, m.Figure)
		largest = max(largest, spreads[s].Max)
	}
	for _, s := range systems {
		sp := spreads[s]
		if sp.Count == 0 {
			continue
		}
		scale := 0.0
		if largest > 0 {
			scale = barArea / largest
		}
		p.Bars = append(p.Bars, bar{Label: systemTitle(s), Text: number(sp.Median), Class: colour(s), Y: titleSpace + len(p.Bars)*barHeight,
			Length: sp.Median * scale, From: sp.Min * scale, To: sp.Max * scale, TextX: max(sp.Max, sp.Median)*scale + 6})
	}
	p.Height = titleSpace + len(p.Bars)*barHeight + 8
	return p
}

func systemTitle(name string) string {
	if s := systemNamed(name); s != nil {
		return s.Title
	}
	return name
}

func colour(system string) string {
	s := systemNamed(system)
	switch {
	case s == nil || s.minimal:
		return "limit"
	case s.Name == "kafka-fsync":
		return "fsync"
	case s.jvm:
		return "kafka"
	}
	return "own"
}

// picture is a whole SVG.
type picture struct {
	Title         string
	Width, Height int
	Panels        []panel
	Foot          []string
}

// stack puts panels one below the other, in columns.
func stack(panels []panel, columns int) picture {
	pic := picture{}
	y, tallest := 0, 0
	for i := range panels {
		column := i % columns
		if column == 0 {
			y, tallest = y+tallest, 0
		}
		panels[i].X, panels[i].Y = column*(panelWidth+20), y
		tallest = max(tallest, panels[i].Height)
		pic.Width = max(pic.Width, panels[i].X+panelWidth)
		pic.Height = y + tallest
	}
	pic.Panels = panels
	return pic
}

// The contents of chart.svg, which is in the README: brokers as they are started, and below them
// the path of a produce alone.
var (
	startedSystems = []string{"sluice-file", "kafka", "wal-twice"}
	produceSystems = []string{"sluice", "kafka", "kafka-fsync", "wal"}
)

// summary is chart.svg. It has the panels whose cells were run.
func summary(s source) picture {
	var panels []panel
	add := func(cell string, m Measure, systems []string, title string) {
		if r := s[cell]; r != nil {
			m.Title = title
			if p := newPanel(r, cellNamed(cell), m, systems); len(p.Bars) > 0 {
				panels = append(panels, p)
			}
		}
	}
	add("started-max", throughput, startedSystems, "As started: throughput, 4 producers")
	add("started-max", publishP99, startedSystems, "As started: publish p99 at full speed")
	add("started-200", publishP99, startedSystems, "As started: publish p99 at 200 MiB/s")
	add("started-200", brokerCPU, startedSystems, "As started: CPU per GiB at 200 MiB/s")
	add("throughput-4", throughput, produceSystems, "Produce only: throughput, 4 producers")
	add("throughput-4", brokerCPU, produceSystems, "Produce only: CPU per GiB at full speed")
	add("latency-100", publishP99, produceSystems, "Produce only: publish p99 at 100 MiB/s")
	add("latency-100", brokerCPU, produceSystems, "Produce only: CPU per GiB at 100 MiB/s")
	pic := stack(panels, 2)
	pic.Title = "Sluice beside Apache Kafka and a minimal write-ahead log, all on one machine"
	pic.Foot = []string{"1 KiB records, 16 partitions. Bars are medians of rounds, lines their minimum and maximum. As started: nothing is set;",
		"Sluice's bucket is a folder of the same disk. Produce only: its uploads are put off for an hour and its retention runs four",
		"times a second, a limit and not what a user gets. Sluice, Kafka with flush.messages=1 and the minimal WAL acknowledge",
		"what is on disk; Kafka by default acknowledges what is in the page cache."}
	return pic
}

// The margins of chart.svg around the panels.
const (
	chartMargin = 16
	chartHead   = 40
	footLine    = 18
)

func (p picture) FullWidth() int  { return p.Width + 2*chartMargin }
func (p picture) FullHeight() int { return chartHead + p.Height + footLine*len(p.Foot) + chartMargin }
func (p picture) FootY(i int) int { return p.Height + footLine*(i+1) - 4 }
