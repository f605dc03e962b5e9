package cmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/store"
)

// mostJobs is how many jobs the database finds at once.
const mostJobs = 10_000

// jobPage is the result of `jobs list --json`.
type jobPage struct {
	Jobs    []jobView `json:"jobs" about:"unfinished ones, then finished ones, the newest of each first"`
	Next    *string   `json:"next" about:"what --after needs for the next page; null on the last one"`
	Notices []string  `json:"notices" about:"what limits the answer: a window of time, or that not all jobs were looked at"`
}

func (p *Program) jobsList() *cobra.Command {
	var filter jobFilter
	var limit int
	var after string
	c := &cobra.Command{
		Use:   "list",
		Short: "List jobs, the newest first",
		Long: "List jobs: unfinished ones, the newest first, and then finished ones, the latest first. When there are more, the\n" +
			"last line says how to see the next page; with --json that is \"next\".\n\n" +
			"Kinds, queues, tags, args and errors are compared with the newest 100,000 unfinished and finished jobs of the states\n" +
			"and the time that are asked for; a line says when that was not all of them.",
		Example: "  towpath jobs list --state discarded --kind mail.send\n" +
			"  towpath jobs list --arg customer=42 --newer 2d\n" +
			"  towpath jobs list --error 'i/o timeout' --state retryable,discarded\n" +
			"  towpath jobs list --limit 100 --after 4711 --json\n" +
			"  towpath jobs list --state discarded --quiet | head -3 | xargs towpath jobs retry",
		RunE: func(c *cobra.Command, _ []string) error {
			return p.listJobs(c.Context(), &filter, limit, after)
		},
	}
	filter.addTo(c)
	p.completeFilter(c)
	c.Flags().IntVar(&limit, "limit", 25, "how many, at most 10000")
	c.Flags().StringVar(&after, "after", "", "the next page: what the page before said")
	p.quietFlag(c, "print the ids alone")
	p.returns(c, jobPage{})
	return p.needs(c, roleReader)
}

func (p *Program) listJobs(ctx context.Context, flags *jobFilter, limit int, after string) error {
	if limit < 1 || limit > mostJobs {
		return usagef("--limit %d: give a number from 1 to %d", limit, mostJobs)
	}
	filter, err := flags.filter()
	if err != nil {
		return err
	}
	from, err := parseCursor(after)
	if err != nil {
		return err
	}
	conn, notices, err := p.noticing(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	// One more than is shown tells whether there is a next page.
	found, err := store.FindJobs(ctx, conn, filter, from, min(limit+1, mostJobs))
	if err != nil {
		return err
	}
	page := jobPage{Notices: notices()}
	if window := flags.window(filter); window != "" {
		page.Notices = append(page.Notices, window)
	}
	found, page.Next = pageOf(found, limit, cursor)
	if page.Jobs, err = readJobs(ctx, conn, found); err != nil {
		return err
	}
	if len(found) == 0 {
		if hint := flags.numberHint(); hint != "" {
			page.Notices = append(page.Notices, hint)
		}
	}
	return p.printJobs(page)
}

// readJobs returns the jobs that were found, in that order. One that has been deleted meanwhile is left out.
func readJobs(ctx context.Context, db store.DB, found []store.FindJobsRow) ([]jobView, error) {
	ids := make([]int64, len(found))
	for i, job := range found {
		ids[i] = job.ID
	}
	rows, err := store.Jobs(ctx, db, ids)
	if err != nil {
		return nil, err
	}
	byID := make(map[int64]store.JobsRow, len(rows))
	for _, row := range rows {
		byID[row.ID] = row
	}
	views := make([]jobView, 0, len(rows))
	for _, id := range ids {
		row, there := byID[id]
		if !there {
			continue
		}
		view, err := viewJob(row)
		if err != nil {
			return nil, err
		}
		views = append(views, view)
	}
	return views, nil
}

func (p *Program) printJobs(page jobPage) error {
	if p.json {
		return p.printJSON(page)
	}
	for _, notice := range page.Notices {
		p.note("%s", notice)
	}
	if p.quiet {
		for _, job := range page.Jobs {
			fmt.Fprintln(p.stdout, job.ID)
		}
	} else {
		rows := make([][]string, len(page.Jobs))
		for i, job := range page.Jobs {
			rows[i] = []string{
				digits(job.ID), job.State, cell(job.Kind, 40), cell(job.Queue, 24),
				fmt.Sprintf("%d/%d", job.Attempt, job.MaxAttempts), moment(&job.ScheduledAt), moment(job.FinalizedAt),
				cell(string(job.Args), 48),
			}
		}
		if err := table(p.stdout, []string{"ID", "STATE", "KIND", "QUEUE", "ATTEMPT", "SCHEDULED", "FINISHED", "ARGS"}, rows); err != nil {
			return err
		}
	}
	p.noteNext(page.Next)
	return nil
}
