package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
)

// figures are counted from the database.
type figures struct{ events, expected, effects, distinct int }

func (f figures) lost() int       { return f.expected - f.distinct }
func (f figures) duplicated() int { return f.effects - f.distinct }

func (i *importer) count(ctx context.Context) (f figures, err error) {
	err = i.pool.QueryRow(ctx, `
		SELECT (SELECT count(*) FROM quakes.event WHERE replay = $1), (SELECT count(*) FROM quakes.expected WHERE replay = $1), effects, jobs
		FROM (SELECT count(*) AS effects, count(DISTINCT job_id) AS jobs FROM quakes.effect WHERE replay = $1) AS done`, i.replay).
		Scan(&f.events, &f.expected, &f.effects, &f.distinct)
	return f, err
}

// summarize prints what became of the replay; the last line is for scripts.
func (i *importer) summarize(ctx context.Context, out io.Writer) (figures, error) {
	f, err := i.count(ctx)
	if err != nil {
		return f, fmt.Errorf("count the replay: %w", err)
	}
	completed := 0
	table := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "\nKIND\tJOBS\tRETRIED")
	for _, kind := range newBundle().Kinds()[:3] { // the others do not belong to a replay
		var jobs, retried int
		if err := i.pool.QueryRow(ctx, `SELECT count(*), count(*) FILTER (WHERE attempt > 1) FROM quakes.expected
			JOIN towpath.job_history ON id = job_id AND state = 'completed' WHERE replay = $1 AND kind = $2`, i.replay, kind).
			Scan(&jobs, &retried); err != nil {
			return f, fmt.Errorf("count the jobs of kind %q: %w", kind, err)
		}
		completed += jobs
		fmt.Fprintf(table, "%s\t%d\t%d\n", kind, jobs, retried)
	}
	table.Flush()
	_, err = fmt.Fprintf(out, "\nquakes: %d events, %d jobs completed, %d lost, %d duplicated\n", f.events, completed, f.lost(), f.duplicated())
	return f, err
}
