package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
)

// A Report is the result of one benchmark. As JSON it is
//
//	{"bench": …, "rounds": …, "towpath": {"jobs_per_s": …, …}, "river": {…}, "ratio": …, "ratios": {"river": …, …}, "cases": […], …}
//
// where towpath, river and every other contender hold the medians of their rounds, keyed by Metric, ratio is Towpath's
// figure by River's of the metric that ratio_of names, and ratios holds the same by every other contender. A benchmark
// with several cases shows its first one there; cases holds all.
type Report struct {
	Bench    string
	Rounds   int
	Cores    int
	Server   string
	Settings map[string]string // of the server
	Cases    []Case
}

// A Case is one table.
type Case struct {
	Name, About string
	Contenders  []Contender
	// Ratio is Towpath's figure of the metric RatioOf by plain River's: the median of the rounds' own ratios.
	Ratio   float64
	RatioOf Metric
	// Ratios are the same by each contender but Towpath, by key.
	Ratios map[string]float64
	// Noise is the distance between River's best and worst round, in percent of its median: the machine's own.
	Noise float64
}

// A Contender is one column.
type Contender struct {
	Key, Title, Settings string
	// Median holds the medians of Rounds.
	Median Figures
	Rounds []Figures
	// Series is the course of the last round, of benchmarks that have one.
	Series []Point
}

// measured is a case with the outcomes of its rounds, by contender.
type measured struct {
	benchCase
	variants []variant
	settings []string
	rounds   [][]*outcome
}

func newReport(s scenario, b *bench) *Report {
	return &Report{Bench: s.name, Rounds: b.opts.Rounds, Cores: runtime.NumCPU(), Server: b.server.version, Settings: b.server.parameters}
}

// add reduces a case to its medians.
func (r *Report) add(m *measured) {
	c := Case{Name: m.name, About: m.about, RatioOf: m.headline, Ratios: map[string]float64{}}
	ours := column(m.rounds[0], m.headline)
	for i, v := range m.variants {
		contender := Contender{Key: v.key, Title: v.title, Settings: m.settings[i], Median: medians(m.rounds[i])}
		for _, round := range m.rounds[i] {
			contender.Rounds = append(contender.Rounds, round.figures)
			contender.Series = round.series
		}
		c.Contenders = append(c.Contenders, contender)
		if i > 0 {
			c.Ratios[v.key] = pairedRatio(ours, column(m.rounds[i], m.headline))
		}
	}
	c.Ratio, c.Noise = c.Ratios[m.variants[1].key], spread(column(m.rounds[1], m.headline))
	r.Cases = append(r.Cases, c)
}

// MarshalJSON writes the form that Report describes.
func (r *Report) MarshalJSON() ([]byte, error) {
	object := map[string]any{
		"bench": r.Bench, "rounds": r.Rounds, "cores": r.Cores, "server": r.Server, "server_settings": r.Settings,
	}
	cases := make([]map[string]any, len(r.Cases))
	for i, c := range r.Cases {
		cases[i] = c.object()
	}
	if len(cases) > 0 {
		maps.Copy(object, cases[0])
	}
	if len(cases) > 1 {
		object["cases"] = cases
	}
	return json.Marshal(object)
}

func (c *Case) object() map[string]any {
	object := map[string]any{"ratio_of": c.RatioOf}
	// JSON has no NaN, which is what a figure of zero or of no round leads to.
	for key, value := range map[string]float64{"ratio": c.Ratio, "noise_pct": c.Noise} {
		if finite(value) {
			object[key] = value
		}
	}
	ratios := maps.Clone(c.Ratios)
	maps.DeleteFunc(ratios, func(_ string, value float64) bool { return !finite(value) })
	object["ratios"] = ratios
	if c.Name != "" {
		object["case"] = c.Name
	}
	settings, rounds, series := map[string]string{}, map[string][]Figures{}, map[string][]Point{}
	for _, contender := range c.Contenders {
		object[contender.Key] = contender.Median
		settings[contender.Key], rounds[contender.Key] = contender.Settings, contender.Rounds
		if contender.Series != nil {
			series[contender.Key] = contender.Series
		}
	}
	object["settings"], object["by_round"] = settings, rounds
	if len(series) > 0 {
		object["series"] = series
	}
	return object
}

// finite reports whether a figure is a number that can be written.
func finite(value float64) bool { return !math.IsNaN(value) && !math.IsInf(value, 0) }

// WriteTable prints the report for people: a table for each case, with the figures as rows and a column that has
// Towpath's by River's. Under it is the ratio by every contender.
func (r *Report) WriteTable(out io.Writer) error {
	text := &strings.Builder{}
	fmt.Fprintf(text, "%s: medians; rounds, taken in turn: %d; cores: %d; Postgres %s\n", r.Bench, r.Rounds, r.Cores, r.Server)
	for _, c := range r.Cases {
		c.write(text)
	}
	if _, err := io.WriteString(out, text.String()); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	return nil
}

func (c *Case) write(text *strings.Builder) {
	text.WriteByte('\n')
	if c.Name != "" {
		fmt.Fprintf(text, "%s: %s\n", c.Name, c.About)
	}
	table := tabwriter.NewWriter(text, 0, 0, 2, ' ', tabwriter.AlignRight)
	header := []string{""}
	for _, contender := range c.Contenders {
		header = append(header, contender.Title)
	}
	rows := [][]string{append(header, "Towpath ÷ River")}
	for _, l := range looks() {
		if row := c.row(l); row != nil {
			rows = append(rows, row)
		}
	}
	for _, row := range rows {
		fmt.Fprintln(table, strings.Join(row, "\t")+"\t")
	}
	_ = table.Flush() // a builder takes everything
	fmt.Fprintf(text, "ratio of %s: %.2f; noise (spread of River's rounds): %.0f%%\n", lookOf(c.RatioOf).title, c.Ratio, c.Noise)
	for i, contender := range c.Contenders {
		if ratio := c.Ratios[contender.Key]; i > 1 && finite(ratio) {
			fmt.Fprintf(text, "ratio of %s, Towpath ÷ %s: %.2f\n", lookOf(c.RatioOf).title, contender.Title, ratio)
		}
	}
	for _, contender := range c.Contenders {
		fmt.Fprintf(text, "  %s: %s\n", contender.Title, contender.Settings)
	}
}

// row is one figure of all contenders, or nil where none has it.
func (c *Case) row(l look) []string {
	row := []string{l.title}
	has := false
	for _, contender := range c.Contenders {
		cell := "-"
		if v, ok := contender.Median[l.metric]; ok {
			cell, has = l.format(v), true
		}
		row = append(row, cell)
	}
	if !has {
		return nil
	}
	ratio := "-"
	ours, theirs := c.column(0, l.metric), c.column(1, l.metric)
	if len(ours) > 0 && len(theirs) > 0 && !slices.Contains(theirs, 0) {
		ratio = fmt.Sprintf("%.2f", pairedRatio(ours, theirs))
	}
	return append(row, ratio)
}

func (c *Case) column(contender int, metric Metric) []float64 {
	var values []float64
	for _, figures := range c.Contenders[contender].Rounds {
		if v, ok := figures[metric]; ok {
			values = append(values, v)
		}
	}
	return values
}
