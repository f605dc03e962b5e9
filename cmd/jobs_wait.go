package cmd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/store"
)

// waitPause is how often jobs that are waited for are looked at.
const waitPause = 300 * time.Millisecond

// waitedJob is a job that was waited for.
type waitedJob struct {
	ID      int64  `json:"id" about:"the job"`
	State   string `json:"state" about:"how it ended, or where it was when the time was up; missing: there is none"`
	Attempt int16  `json:"attempt" about:"how often it had been started"`
}

// waitResult is the result of `jobs wait --json`.
type waitResult struct {
	Jobs     []waitedJob `json:"jobs" about:"in the order of the ids"`
	TimedOut bool        `json:"timed_out" about:"whether --timeout passed before all had ended"`
}

func (p *Program) jobsWait() *cobra.Command {
	var timeout spanValue
	c := &cobra.Command{
		Use:   "wait ID...",
		Short: "Wait until jobs have ended",
		Long: "Wait until jobs have ended for good, whoever works them. The exit code is 0 when all have completed, and 1 when one\n" +
			"was discarded or cancelled, is not there, or has not ended within --timeout. - reads ids from the input.",
		Example: "  towpath jobs wait 4712 --timeout 10m\n" +
			"  towpath enqueue mail.send '{\"customer\": 42}' --quiet | towpath jobs wait - --timeout 1s || echo not yet",
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			ids, err := p.readIDs(args)
			if err != nil {
				return err
			}
			return p.waitFor(c.Context(), ids, timeout.value)
		},
	}
	c.Flags().Var(&timeout, "timeout", "give up after this time, as in 10m (default: never)")
	p.quietFlag(c, "print nothing")
	p.returns(c, waitResult{})
	return p.needs(c, roleReader)
}

func (p *Program) waitFor(ctx context.Context, ids []int64, timeout time.Duration) error {
	pool, err := p.Database(ctx)
	if err != nil {
		return err
	}
	var late <-chan time.Time
	if timeout > 0 {
		late = time.After(timeout)
	}
	for {
		result, open, err := lookAt(ctx, pool, ids)
		if err != nil {
			return err
		}
		if open == 0 {
			return p.printWaited(result, timeout)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-late:
			result.TimedOut = true
			return p.printWaited(result, timeout)
		case <-time.After(waitPause):
		}
	}
}

// lookAt returns where the jobs are, and how many of them have not ended.
func lookAt(ctx context.Context, db store.DB, ids []int64) (waitResult, int, error) {
	rows, err := store.JobStates(ctx, db, ids)
	if err != nil {
		return waitResult{}, 0, err
	}
	byID := make(map[int64]store.JobStatesRow, len(rows))
	for _, row := range rows {
		byID[row.ID] = row
	}
	result := waitResult{Jobs: make([]waitedJob, len(ids))}
	open := 0
	for i, id := range ids {
		row, there := byID[id]
		result.Jobs[i] = waitedJob{ID: id, State: "missing"}
		if there {
			result.Jobs[i] = waitedJob{ID: id, State: row.State, Attempt: row.Attempt}
			if !final(row.State) {
				open++
			}
		}
	}
	return result, open, nil
}

func (p *Program) printWaited(result waitResult, timeout time.Duration) error {
	failed := 0
	rows := make([][]string, len(result.Jobs))
	for i, job := range result.Jobs {
		rows[i] = []string{digits(job.ID), job.State, strconv.Itoa(int(job.Attempt))}
		if job.State != "completed" {
			failed++
		}
	}
	var err error
	switch {
	case p.json:
		err = p.printJSON(result)
	case !p.quiet:
		err = table(p.stdout, []string{"ID", "STATE", "ATTEMPT"}, rows)
	}
	switch {
	case err != nil:
		return err
	case result.TimedOut:
		return fmt.Errorf("wait for jobs: %d of %s not completed after %s", failed, jobCount(len(result.Jobs)), config.Duration(timeout))
	case failed > 0:
		return &silentError{errors.New("not all jobs completed")}
	}
	return nil
}
