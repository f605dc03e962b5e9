package cmd

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/store"
)

func (p *Program) jobsShow() *cobra.Command {
	c := &cobra.Command{
		Use:     "show ID",
		Short:   "Show one job with its args, errors and output",
		Long:    "Show everything about one job, whether it waits, runs or has finished.",
		Example: "  towpath jobs show 4711\n  towpath jobs show 4711 --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := p.parseID(args[0])
			if err != nil {
				return err
			}
			return p.showJob(c.Context(), id)
		},
	}
	p.returns(c, jobView{})
	return p.needs(c, roleReader)
}

// noSuchJob says that a job is not there.
func noSuchJob(id int64) error {
	return fmt.Errorf("job %d does not exist; it may never have been committed, or its history may be over", id)
}

func (p *Program) showJob(ctx context.Context, id int64) error {
	pool, err := p.Database(ctx)
	if err != nil {
		return err
	}
	found, err := store.Jobs(ctx, pool, []int64{id})
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return noSuchJob(id)
	}
	view, err := viewJob(found[0])
	if err != nil {
		return err
	}
	if p.json {
		return p.printJSON(view)
	}
	return p.printJob(view)
}

func (p *Program) printJob(job jobView) error {
	rows := [][]string{
		{"State", job.State},
		{"Kind", job.Kind},
		{"Queue", job.Queue},
		{"Priority", strconv.Itoa(int(job.Priority))},
		{"Attempt", fmt.Sprintf("%d of %d", job.Attempt, job.MaxAttempts)},
		{"Created", moment(&job.CreatedAt)},
		{"Scheduled", moment(&job.ScheduledAt)},
		{"Attempted", moment(job.AttemptedAt)},
		{"Finished", moment(job.FinalizedAt)},
		{"Attempted by", cell(strings.Join(job.AttemptedBy, ", "), 200)},
		{"Tags", cell(strings.Join(job.Tags, ", "), 200)},
		{"Args", string(job.Args)},
		{"Metadata", string(job.Metadata)},
	}
	if err := p.record([]string{"ID", digits(job.ID)}, rows); err != nil {
		return err
	}
	for _, failure := range job.Errors {
		fmt.Fprintf(p.stdout, "\nAttempt %d failed at %s: %s\n", failure.Attempt, moment(&failure.At), failure.Error)
		if failure.Trace != "" {
			fmt.Fprintf(p.stdout, "%s\n", strings.TrimRight(failure.Trace, "\n"))
		}
	}
	return nil
}
