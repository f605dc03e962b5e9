package bench

import (
	"fmt"
	"html"
	"io"
	"math"
	"slices"
	"strings"
)

// The chart's measures, in pixels.
const (
	chartWidth   = 760
	chartLeft    = 200
	chartRight   = 110
	barHeight    = 22
	barGap       = 8
	caseGap      = 34
	titleHeight  = 44
	seriesHeight = 300
	axisWidth    = 70
)

// colors of the contenders, in their order.
func colors() []string { return []string{"#1f6f8b", "#99a8b2", "#c9d1d6", "#e0a458", "#8a6fae"} }

// WriteSVG draws the report: a bar for each contender's headline figure, with a line from its worst to its best round;
// or its course over time where the benchmark has one.
func (r *Report) WriteSVG(out io.Writer) error {
	body, y := &strings.Builder{}, titleHeight
	for _, c := range r.Cases {
		if slices.ContainsFunc(c.Contenders, func(contender Contender) bool { return len(contender.Series) > 0 }) {
			y = c.drawSeries(body, y)
		} else {
			y = c.drawBars(body, y)
		}
	}
	text := &strings.Builder{}
	fmt.Fprintf(text, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="system-ui, sans-serif" font-size="13">`+"\n",
		chartWidth, y, chartWidth, y)
	fmt.Fprintf(text, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", chartWidth, y)
	label(text, 16, 26, "start", "16", fmt.Sprintf("towpath bench %s", r.Bench))
	label(text, chartWidth-16, 26, "end", "12", fmt.Sprintf("rounds in turn: %d; cores: %d; Postgres %s", r.Rounds, r.Cores, r.Server))
	text.WriteString(body.String())
	text.WriteString("</svg>\n")
	if _, err := io.WriteString(out, text.String()); err != nil {
		return fmt.Errorf("write the chart: %w", err)
	}
	return nil
}

func label(out *strings.Builder, x, y float64, anchor, size, text string) {
	fmt.Fprintf(out, `<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%s" fill="#22303a">%s</text>`+"\n", x, y, anchor, size, html.EscapeString(text))
}

// drawBars draws one case from y downward and returns where it ends.
func (c *Case) drawBars(out *strings.Builder, y int) int {
	l := lookOf(c.RatioOf)
	title := l.title
	if c.Name != "" {
		title = c.About + ": " + l.title
	}
	label(out, 16, float64(y)+14, "start", "13", fmt.Sprintf("%s (ratio %.2f)", title, c.Ratio))
	y += 24
	most := 0.0
	for i := range c.Contenders {
		most = max(most, slices.Max(append(c.column(i, c.RatioOf), 0)))
	}
	scale := float64(chartWidth-chartLeft-chartRight) / max(most, math.SmallestNonzeroFloat64)
	for i, contender := range c.Contenders {
		values := c.column(i, c.RatioOf)
		if len(values) == 0 {
			continue
		}
		value, middle := median(values), float64(y)+barHeight/2
		fmt.Fprintf(out, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n",
			chartLeft, y, value*scale, barHeight, colors()[i%len(colors())])
		low, high := chartLeft+slices.Min(values)*scale, chartLeft+slices.Max(values)*scale
		fmt.Fprintf(out, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#22303a" stroke-width="2"/>`+"\n", low, middle, high, middle)
		label(out, chartLeft-8, middle+4, "end", "12", contender.Title)
		label(out, max(high, chartLeft+value*scale)+8, middle+4, "start", "12", l.format(value))
		y += barHeight + barGap
	}
	return y + caseGap - barGap
}

// drawSeries draws the course of all contenders over time.
func (c *Case) drawSeries(out *strings.Builder, y int) int {
	var most, last float64
	for _, contender := range c.Contenders {
		for _, p := range contender.Series {
			most, last = max(most, p.JobsPerSecond), max(last, p.Seconds)
		}
	}
	top, bottom := float64(y)+10, float64(y+seriesHeight)
	left, right := float64(axisWidth), float64(chartWidth-20)
	px := func(p Point) (float64, float64) {
		return left + p.Seconds/max(last, 1)*(right-left), bottom - p.JobsPerSecond/max(most, 1)*(bottom-top)
	}
	for i := range 5 {
		value := most * float64(i) / 4
		_, py := px(Point{JobsPerSecond: value})
		fmt.Fprintf(out, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#dde3e7"/>`+"\n", left, py, right, py)
		label(out, left-6, py+4, "end", "11", whole(value))
	}
	label(out, right, bottom+18, "end", "11", fmt.Sprintf("%.0f s", last))
	label(out, left, bottom+18, "start", "11", "0 s, jobs/s")
	legend := bottom + 40
	for i, contender := range c.Contenders {
		color := colors()[i%len(colors())]
		var points []string
		for _, p := range contender.Series {
			x, y := px(p)
			points = append(points, fmt.Sprintf("%.1f,%.1f", x, y))
		}
		fmt.Fprintf(out, `<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/>`+"\n", color, strings.Join(points, " "))
		fmt.Fprintf(out, `<rect x="%.1f" y="%.1f" width="14" height="4" fill="%s"/>`+"\n", left, legend-4, color)
		label(out, left+20, legend, "start", "12", fmt.Sprintf("%s: %s jobs/s, slope %+.1f%% a minute", contender.Title,
			whole(contender.Median[JobsPerSecond]), contender.Median[SlopePerMinute]))
		legend += 18
	}
	return int(legend) + 10
}
