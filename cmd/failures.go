package cmd

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/store"
)

// failureView is a group of equal errors, as --json prints it.
type failureView struct {
	Fingerprint  string    `json:"fingerprint" about:"names the group; the same for the same kind and pattern everywhere"`
	Kind         string    `json:"kind" about:"the kind of job"`
	Pattern      string    `json:"pattern" about:"what the errors have in common, numbers, ids and quoted text replaced by ?"`
	Jobs         int64     `json:"jobs" about:"how many jobs failed last with it"`
	Discarded    int64     `json:"discarded" about:"how many of them failed for good"`
	FirstSeen    time.Time `json:"first_seen" about:"the earliest such error that was found"`
	LastSeen     time.Time `json:"last_seen" about:"the latest"`
	ExampleID    int64     `json:"example_id" about:"the newest such job"`
	ExampleError string    `json:"example_error" about:"its error, up to a thousand characters"`
}

// failurePage is the result of `failures --json`.
type failurePage struct {
	SinceSeconds float64       `json:"since_seconds" about:"the period that was looked at"`
	Failures     []failureView `json:"failures" about:"the latest first"`
	Next         *string       `json:"next" about:"what --after needs for the next page; null on the last one"`
}

func (p *Program) failuresCommand() *cobra.Command {
	since := spanValue{value: errorWindow}
	var sample int
	var kind onceValue
	var page pageFlags
	c := &cobra.Command{
		Use:   "failures",
		Short: "List what goes wrong, equal errors grouped",
		Long: "List the last errors of jobs that have not succeeded since, the latest first. Errors of a kind that differ only in\n" +
			"numbers, addresses and quoted text are one failure. It looks at the newest --sample jobs of each state.",
		Example: "  towpath failures\n  towpath failures --since 3d --kind mail.send --json",
		RunE: func(c *cobra.Command, _ []string) error {
			if sample < 1 || sample > 100_000 {
				return usagef("--sample %d: give a number from 1 to 100000", sample)
			}
			return p.listFailures(c.Context(), since.value, sample, kind.text, page)
		},
	}
	c.Flags().Var(&since, "since", "how far back")
	c.Flags().IntVar(&sample, "sample", 1000, "how many jobs a state, at most 100000")
	c.Flags().Var(&kind, "kind", "only this kind")
	page.addTo(c, 50, "the fingerprint of the last failure")
	p.complete(c, "kind", kindNames)
	p.quietFlag(c, "print the ids of the examples alone")
	p.returns(c, failurePage{})
	return p.needs(c, roleReader)
}

// failures reads what went wrong, of one kind or, without one, of all.
func failures(ctx context.Context, db store.DB, period time.Duration, sample int, kind string) ([]failureView, error) {
	rows, err := store.ListFailures(ctx, db, period, sample)
	if err != nil {
		return nil, err
	}
	views := make([]failureView, len(rows))
	for i, row := range rows {
		views[i] = failureView(row)
	}
	if kind != "" {
		views = slices.DeleteFunc(views, func(f failureView) bool { return f.Kind != kind })
	}
	return views, nil
}

func (p *Program) listFailures(ctx context.Context, period time.Duration, sample int, kind string, flags pageFlags) error {
	pool, err := p.Database(ctx)
	if err != nil {
		return err
	}
	all, err := failures(ctx, pool, period, sample, kind)
	if err != nil {
		return err
	}
	page := failurePage{SinceSeconds: period.Seconds()}
	page.Failures, page.Next, err = paginate(flags, all, func(f failureView) string { return f.Fingerprint })
	if err != nil {
		return err
	}
	example := func(f failureView) string { return strconv.FormatInt(f.ExampleID, 10) }
	return printList(p, page, page.Failures, page.Next, example, failureTable)
}

// failureTable returns the table of failures, as `failures` and `top` show it.
func failureTable(failures []failureView) (header []string, rows [][]string) {
	rows = make([][]string, len(failures))
	for i, f := range failures {
		rows[i] = []string{
			f.Fingerprint, cell(f.Kind, 40), strconv.FormatInt(f.Jobs, 10), strconv.FormatInt(f.Discarded, 10),
			moment(&f.FirstSeen), moment(&f.LastSeen), strconv.FormatInt(f.ExampleID, 10), cell(f.Pattern, 100),
		}
	}
	return []string{"FAILURE", "KIND", "JOBS", "DISCARDED", "FIRST", "LAST", "EXAMPLE", "ERROR"}, rows
}
