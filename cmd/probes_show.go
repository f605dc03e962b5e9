package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/store"
	"github.com/towpath/towpath/internal/view"
)

// probeView is a probe as --json prints it; an interface. Lengths of time are seconds.
type probeView struct {
	Name        string          `json:"name" about:"the probe"`
	Status      string          `json:"status" about:"pending, ok, beyond, empty, failed, stale or paused"`
	Since       time.Time       `json:"since" about:"since when"`
	Value       *float64        `json:"value" about:"the value farthest beyond, or of the only series, or how many differences; null with several series"`
	Detail      *string         `json:"detail" about:"what there is to say about the status; null when all is well"`
	Description string          `json:"description" about:"what it is about"`
	Query       string          `json:"query" about:"the query"`
	CompareWith *string         `json:"compare_with" about:"the query compared with; null if nothing is compared"`
	Every       float64         `json:"every_seconds" about:"the interval"`
	Timeout     float64         `json:"timeout_seconds" about:"how long a run may take"`
	Role        *string         `json:"role" about:"the database role; null for the leader's own choice"`
	KeyColumns  []string        `json:"key_columns" about:"columns that name a series, or identify a row"`
	EmptyIsFine bool            `json:"empty_is_fine" about:"whether a query may return nothing"`
	AlertAbove  *float64        `json:"alert_above" about:"a value above it is beyond; null for no limit"`
	AlertBelow  *float64        `json:"alert_below" about:"a value below it is beyond; null for no limit"`
	Missing     *int64          `json:"missing" about:"of the last comparison: rows that only the query has"`
	Extra       *int64          `json:"extra" about:"of the last comparison: rows that only the query compared with has"`
	Differing   *int64          `json:"differing" about:"of the last comparison: keys with other values"`
	Examples    json.RawMessage `json:"examples" about:"some of each, in lists by those names; null for none"`
	Running     bool            `json:"running" about:"whether it runs at this moment"`
	LastRun     int64           `json:"last_run" about:"the number of the run that ended last"`
	LastRunAt   *time.Time      `json:"last_run_at" about:"when that began"`
	LastOKAt    *time.Time      `json:"last_ok_at" about:"when the last run began that gave values"`
	LastTook    *float64        `json:"last_duration_seconds" about:"how long the last run took"`
	NextRunAt   *time.Time      `json:"next_run_at" about:"when it runs next; null while paused"`
	SeriesCount int64           `json:"series_count" about:"how many series the last run gave that gave values"`
	DefinedIn   string          `json:"defined_in" about:"code, run time or both"`
	Holds       string          `json:"holds" about:"which definition holds: code or edited"`
	PausedAt    *time.Time      `json:"paused_at" about:"since when it is paused; null if it is not"`
	PausedBy    *string         `json:"paused_by" about:"by whom"`
	PauseReason *string         `json:"pause_reason" about:"why, if it was said"`
	ChangedAt   time.Time       `json:"changed_at" about:"when a definition last changed"`
	ChangedBy   *string         `json:"changed_by" about:"who changed it"`

	Series []seriesView     `json:"series,omitempty" about:"what the last run gave that gave values; of probes show alone"`
	Events []probeEventView `json:"events,omitempty" about:"the latest changes of its status, the newest first; of probes show alone"`
}

type seriesView struct {
	Series string  `json:"series" about:"the series"`
	Value  float64 `json:"value" about:"its value"`
}

type probeEventView struct {
	At     time.Time `json:"at" about:"when it was noted"`
	Status string    `json:"status" about:"the status from then on"`
	Before string    `json:"before" about:"the one before"`
	Since  time.Time `json:"since" about:"since when it is true"`
	Value  *float64  `json:"value" about:"the probe's value then"`
	Detail *string   `json:"detail" about:"what there was to say"`
}

func viewProbe(v *store.ProbeView) probeView {
	return probeView{
		Name: v.Name, Status: v.Status, Since: v.Since, Value: v.Value, Detail: v.Detail, Description: v.Description, Query: v.Query, CompareWith: v.CompareWith,
		Every: v.Every.Seconds(), Timeout: v.Timeout.Seconds(), Role: v.Role, KeyColumns: orEmpty(v.KeyColumns), EmptyIsFine: v.EmptyIsFine,
		AlertAbove: v.AlertAbove, AlertBelow: v.AlertBelow, Missing: v.Missing, Extra: v.Extra, Differing: v.Differing, Examples: v.Examples, Running: v.Running,
		LastRun: v.LastRun, LastRunAt: v.LastRunAt, LastOKAt: v.LastOkAt, LastTook: view.Seconds(v.LastDuration), NextRunAt: v.NextRunAt, SeriesCount: v.Series,
		DefinedIn: v.DefinedIn, Holds: v.Holds, PausedAt: v.PausedAt, PausedBy: v.PausedBy, PauseReason: v.PauseReason, ChangedAt: v.ChangedAt, ChangedBy: v.ChangedBy,
	}
}

func (p *Program) probesShow() *cobra.Command {
	c := &cobra.Command{
		Use:     "show NAME",
		Short:   "Show a probe, what it found last, and the latest changes of its status",
		Long:    "Show a probe, what it found last with some examples of differences, and the latest changes of its status.",
		Example: "  towpath probes show orders",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return p.showProbe(c.Context(), args[0]) },
	}
	p.returns(c, probeView{})
	return p.needs(c, roleReader)
}

func (p *Program) showProbe(ctx context.Context, name string) error {
	pool, err := p.schedulesPool(ctx)
	if err != nil {
		return err
	}
	found, err := store.FindProbe(ctx, pool, name)
	if errors.Is(err, pgx.ErrNoRows) {
		return noProbe(name)
	}
	if err != nil {
		return err
	}
	latest, err := store.LatestProbeValues(ctx, pool, name, 1000)
	if err != nil {
		return err
	}
	events, err := store.ListProbeEvents(ctx, pool, name, 10)
	if err != nil {
		return err
	}
	shown := viewProbe(found)
	for _, s := range latest {
		shown.Series = append(shown.Series, seriesView(s))
	}
	for _, e := range events {
		shown.Events = append(shown.Events, probeEventView(e))
	}
	if p.json {
		return p.printJSON(shown)
	}
	return p.printOneProbe(&shown)
}

func (p *Program) printOneProbe(v *probeView) error {
	span := func(seconds float64) string { return config.Duration(seconds * float64(time.Second)).String() }
	rows := [][]string{
		{"Status", fmt.Sprintf("%s since %s", v.Status, moment(&v.Since))},
		{"Detail", textOf(v.Detail)},
		{"Description", v.Description},
		{"Query", cell(v.Query, 400)},
	}
	if v.CompareWith != nil {
		rows = append(rows, []string{"Compared with", cell(*v.CompareWith, 400)})
	}
	rows = append(rows, [][]string{
		{"Key columns", strings.Join(v.KeyColumns, ", ")},
		{"Every", span(v.Every)},
		{"Timeout", span(v.Timeout)},
		{"Role", textOf(v.Role)},
		{"Limits", probeLimits(v)},
		{"Last run", fmt.Sprintf("%s, number %d", moment(v.LastRunAt), v.LastRun)},
		{"Last values", moment(v.LastOKAt)},
		{"Next run", moment(v.NextRunAt)},
		{"Defined in", v.DefinedIn},
		{"Changed", moment(&v.ChangedAt) + " by " + textOf(v.ChangedBy)},
	}...)
	if v.PausedAt != nil {
		rows = append(rows, []string{"Paused", fmt.Sprintf("%s by %s: %s", moment(v.PausedAt), textOf(v.PausedBy), textOf(v.PauseReason))})
	}
	if err := p.record([]string{"Name", v.Name}, rows); err != nil {
		return err
	}
	series := make([][]string, len(v.Series))
	for i, s := range v.Series {
		series[i] = []string{cell(s.Series, 80), figure(&s.Value)}
	}
	if len(series) > 0 {
		fmt.Fprintln(p.stdout)
		if err := table(p.stdout, []string{"SERIES", "VALUE"}, series); err != nil {
			return err
		}
	}
	if err := p.printExamples(v.Examples); err != nil {
		return err
	}
	for i, e := range v.Events {
		if i == 0 {
			fmt.Fprintln(p.stdout)
		}
		fmt.Fprintf(p.stdout, "%s  %s, was %s  %s\n", moment(&e.Since), e.Status, e.Before, cell(textOf(e.Detail), 80))
	}
	return nil
}

func probeLimits(v *probeView) string {
	var parts []string
	if v.AlertAbove != nil {
		parts = append(parts, "above "+figure(v.AlertAbove))
	}
	if v.AlertBelow != nil {
		parts = append(parts, "below "+figure(v.AlertBelow))
	}
	if v.EmptyIsFine {
		parts = append(parts, "empty is fine")
	}
	return strings.Join(parts, ", ")
}

func (p *Program) printExamples(document json.RawMessage) error {
	var examples map[string][]string
	if len(document) == 0 {
		return nil
	}
	if err := json.Unmarshal(document, &examples); err != nil {
		return fmt.Errorf("read the examples: %w", err)
	}
	for i, kind := range []string{"missing", "extra", "differing"} {
		if i == 0 && len(examples) > 0 {
			fmt.Fprintln(p.stdout)
		}
		if len(examples[kind]) > 0 {
			fmt.Fprintf(p.stdout, "%s, for example: %s\n", kind, strings.Join(examples[kind], "; "))
		}
	}
	return nil
}

// valueFlags are what `probes values` is given.
type valueFlags struct {
	since  spanValue
	series string
	page   pageFlags
}

func (p *Program) probesValues() *cobra.Command {
	f := valueFlags{since: spanValue{value: 24 * time.Hour}}
	c := &cobra.Command{
		Use:   "values NAME",
		Short: "List the values of a probe, the newest first",
		Long: "List the values of a probe, the newest first. Each is kept for a week, those of an hour for 60 days and those of a day\n" +
			"for a year: then there are the last value, the least, the greatest and the mean.",
		Example: "  towpath probes values orders\n  towpath probes values orders --since 30d --series count --limit 100 --json",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return p.listProbeValues(c.Context(), args[0], &f) },
	}
	c.Flags().Var(&f.since, "since", "how far back")
	c.Flags().StringVar(&f.series, "series", "", "only this series")
	f.page.addTo(c, 50, "the last value")
	p.returns(c, valuePage{})
	return p.needs(c, roleReader)
}

// valuePage is the result of `probes values --json`; an interface.
type valuePage struct {
	Values []valueView `json:"values" about:"the newest first"`
	Next   *string     `json:"next" about:"what --after needs for the next page; null on the last one"`
}

type valueView struct {
	At     time.Time `json:"at" about:"when the run began, or the hour or day"`
	Series string    `json:"series" about:"the series"`
	Value  float64   `json:"value" about:"the value; of an hour or day the last one"`
	Width  float64   `json:"width_seconds" about:"3600 for an hour, 86400 for a day, 0 for one value"`
	N      int32     `json:"n" about:"how many values it stands for"`
	Low    float64   `json:"low" about:"the least of them"`
	High   float64   `json:"high" about:"the greatest"`
	Mean   float64   `json:"mean" about:"their mean"`
}

// valuePlace is where a page of values ends: a moment and a series.
func valuePlace(at time.Time, series string) string {
	return at.UTC().Format(time.RFC3339Nano) + "," + series
}

func readValuePlace(text string) (time.Time, string, error) {
	moment, series, found := strings.Cut(text, ",")
	at, err := time.Parse(time.RFC3339Nano, moment)
	if err != nil || !found {
		return at, "", usagef("--after %q: give what the page before named, as in 2026-11-01T06:00:00Z,count", text)
	}
	return at, series, nil
}

func (p *Program) listProbeValues(ctx context.Context, name string, f *valueFlags) error {
	if err := f.page.check(); err != nil {
		return err
	}
	window := store.ProbeWindow{
		Probe: name, Series: f.series, Since: time.Now().Add(-f.since.value), Before: time.Now().Add(24 * time.Hour), Most: f.page.limit + 1,
	}
	if f.page.after != "" {
		var err error
		if window.Before, window.Beyond, err = readValuePlace(f.page.after); err != nil {
			return err
		}
	}
	pool, err := p.schedulesPool(ctx)
	if err != nil {
		return err
	}
	if _, err := store.FindProbe(ctx, pool, name); errors.Is(err, pgx.ErrNoRows) {
		return noProbe(name)
	}
	found, err := store.ListProbeValues(ctx, pool, window)
	if err != nil {
		return err
	}
	page := valuePage{Values: []valueView{}}
	key := func(v store.ProbeValue) string { return valuePlace(v.At, v.Series) }
	found, page.Next = pageOf(found, f.page.limit, key)
	for _, v := range found {
		page.Values = append(page.Values, valueView{v.At, v.Series, v.Value, v.Width.Seconds(), v.N, v.Low, v.High, v.Mean})
	}
	return printList(p, page, found, page.Next, key, valueTable)
}

func valueTable(values []store.ProbeValue) (header []string, rows [][]string) {
	for _, v := range values {
		rows = append(rows, []string{
			moment(&v.At), cell(v.Series, 60), figure(&v.Value), strconv.Itoa(int(v.N)), figure(&v.Low), figure(&v.High), strconv.FormatFloat(v.Mean, 'g', 6, 64),
		})
	}
	return []string{"AT", "SERIES", "VALUE", "N", "LOW", "HIGH", "MEAN"}, rows
}
