package cmd

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/store"
)

// mostPeriod is how far back figures by the minute are kept.
const mostPeriod = 48 * time.Hour

// kindView is what happened to a kind of job, as --json prints it.
type kindView struct {
	Kind             string   `json:"kind" about:"its name"`
	Started          int64    `json:"started" about:"attempts that started"`
	Completed        int64    `json:"completed" about:"jobs that succeeded"`
	Failed           int64    `json:"failed" about:"attempts that failed"`
	Discarded        int64    `json:"discarded" about:"jobs that failed for good"`
	Cancelled        int64    `json:"cancelled" about:"jobs that were cancelled"`
	FailureRatio     *float64 `json:"failure_ratio" about:"failed as a share of all attempts that succeeded or failed; null without any"`
	StartedPerMinute float64  `json:"started_per_minute" about:"attempts that started, a minute"`
	WaitP50Seconds   *float64 `json:"wait_p50_seconds" about:"median time from being due to the start"`
	WaitP95Seconds   *float64 `json:"wait_p95_seconds" about:"95th percentile of that time"`
	RunP50Seconds    *float64 `json:"run_p50_seconds" about:"median run time of an attempt"`
	RunP95Seconds    *float64 `json:"run_p95_seconds" about:"95th percentile of that time"`
	Waiting          int64    `json:"waiting" about:"jobs that wait, when they were last counted"`
	Processes        int64    `json:"processes" about:"live processes with a worker for it"`
}

// kindPage is the result of `kinds --json`.
type kindPage struct {
	SinceSeconds float64    `json:"since_seconds" about:"the period that is summed up"`
	Kinds        []kindView `json:"kinds" about:"by name"`
	Next         *string    `json:"next" about:"what --after needs for the next page; null on the last one"`
}

func (p *Program) kindsCommand() *cobra.Command {
	since := spanValue{value: time.Hour}
	var page pageFlags
	c := &cobra.Command{
		Use:   "kinds",
		Short: "List kinds of jobs: rates, failures, how long they wait and run",
		Long: "List kinds of jobs and what happened to them in the last hour, or the time of --since. Percentiles come from a\n" +
			"histogram and are off by less than a factor of two.",
		Example: "  towpath kinds\n  towpath kinds --since 10m --json",
		RunE: func(c *cobra.Command, _ []string) error {
			if since.value > mostPeriod {
				return usagef("--since %s: figures are kept for two days; give 2d or less", config.Duration(since.value))
			}
			return p.listKinds(c.Context(), since.value, page)
		},
	}
	c.Flags().Var(&since, "since", "the period, at most 2d")
	page.addTo(c, 100, "the last kind")
	p.quietFlag(c, "print the names alone")
	p.returns(c, kindPage{})
	c.Args = cobra.NoArgs
	c.AddCommand(p.kindsShow(), p.kindsCheck())
	return p.needs(c, roleReader)
}

// kinds reads the kinds.
func kinds(ctx context.Context, db store.DB, period time.Duration) ([]kindView, error) {
	rows, err := store.ListKinds(ctx, db, period)
	if err != nil {
		return nil, err
	}
	views := make([]kindView, len(rows))
	for i, row := range rows {
		views[i] = kindView{
			Kind: row.Kind, Started: row.Started, Completed: row.Completed, Failed: row.Failed, Discarded: row.Discarded,
			Cancelled: row.Cancelled, FailureRatio: seconds(row.FailureRatio), StartedPerMinute: row.StartedPerMinute,
			WaitP50Seconds: seconds(row.WaitP50), WaitP95Seconds: seconds(row.WaitP95),
			RunP50Seconds: seconds(row.RunP50), RunP95Seconds: seconds(row.RunP95), Waiting: row.Waiting, Processes: row.Processes,
		}
	}
	return views, nil
}

func (p *Program) listKinds(ctx context.Context, period time.Duration, flags pageFlags) error {
	pool, err := p.Database(ctx)
	if err != nil {
		return err
	}
	all, err := kinds(ctx, pool, period)
	if err != nil {
		return err
	}
	page := kindPage{SinceSeconds: period.Seconds()}
	key := func(k kindView) string { return k.Kind }
	if page.Kinds, page.Next, err = paginate(flags, all, key); err != nil {
		return err
	}
	return printList(p, page, page.Kinds, page.Next, key, kindTable)
}

// kindTable returns the table of kinds, as `kinds` and `top` show it.
func kindTable(kinds []kindView) (header []string, rows [][]string) {
	rows = make([][]string, len(kinds))
	for i, k := range kinds {
		ratio := "-"
		if k.FailureRatio != nil {
			ratio = strconv.FormatFloat(*k.FailureRatio*100, 'f', 1, 64) + "%"
		}
		rows[i] = []string{
			cell(k.Kind, 60), strconv.FormatInt(k.Waiting, 10), strconv.FormatInt(k.Started, 10),
			strconv.FormatFloat(k.StartedPerMinute, 'f', 1, 64), strconv.FormatInt(k.Completed, 10), strconv.FormatInt(k.Failed, 10), ratio,
			span(k.WaitP50Seconds), span(k.WaitP95Seconds), span(k.RunP50Seconds), span(k.RunP95Seconds), strconv.FormatInt(k.Processes, 10),
		}
	}
	return []string{"KIND", "WAITING", "STARTED", "/MIN", "COMPLETED", "FAILED", "RATIO", "WAIT P50", "P95", "RUN P50", "P95", "PROCS"}, rows
}
