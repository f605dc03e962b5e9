package cmd

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/store"
)

func (p *Program) jobsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "jobs",
		Short: "Look at jobs and operate on them: list, show, retry, cancel, delete, logs, wait",
		Long: "Look at jobs, waiting, running and finished ones alike, and retry, cancel or delete them: single ones by their\n" +
			"ids, many by the same filter that `jobs list` takes.",
	}
	c.AddCommand(p.jobsList(), p.jobsShow(), p.jobsLogs(), p.jobsWait(),
		p.jobsAct(retrying), p.jobsAct(cancelling), p.jobsAct(deleting))
	return c
}

// jobView is a job as --json prints it; an interface.
type jobView struct {
	ID          int64           `json:"id" about:"the job's number, which it keeps when it is retried"`
	State       string          `json:"state" about:"available, scheduled, pending, running, retryable, completed, cancelled or discarded"`
	Kind        string          `json:"kind" about:"names the worker that runs it"`
	Queue       string          `json:"queue" about:"the queue it waits in"`
	Priority    int16           `json:"priority" about:"from 1, fetched first, to 4"`
	Attempt     int16           `json:"attempt" about:"how often it has been started"`
	MaxAttempts int16           `json:"max_attempts" about:"after so many failed attempts it is discarded"`
	CreatedAt   time.Time       `json:"created_at" about:"when it was enqueued"`
	ScheduledAt time.Time       `json:"scheduled_at" about:"not to start before; of a job that has started, when its last attempt was due"`
	AttemptedAt *time.Time      `json:"attempted_at" about:"when the last attempt started"`
	FinalizedAt *time.Time      `json:"finalized_at" about:"when it finished; null for an unfinished job"`
	AttemptedBy []string        `json:"attempted_by" about:"the ids of the clients that ran its attempts, the last one last"`
	Tags        []string        `json:"tags" about:"words for filters"`
	Args        json.RawMessage `json:"args" about:"what its worker is given"`
	Metadata    json.RawMessage `json:"metadata" about:"what River, Towpath and the application noted; output is what the worker recorded"`
	Errors      []jobFailure    `json:"errors" about:"one a failed attempt, oldest first"`
}

// jobFailure is a failed attempt.
type jobFailure struct {
	At      time.Time `json:"at" about:"when it failed"`
	Attempt int       `json:"attempt" about:"which attempt"`
	Error   string    `json:"error" about:"the error's text"`
	Trace   string    `json:"trace" about:"where it panicked; else empty"`
}

func viewJob(job store.JobsRow) (jobView, error) {
	view := jobView{
		ID: job.ID, State: job.State, Kind: job.Kind, Queue: job.Queue, Priority: job.Priority,
		Attempt: job.Attempt, MaxAttempts: job.MaxAttempts,
		CreatedAt: job.CreatedAt, ScheduledAt: job.ScheduledAt, AttemptedAt: job.AttemptedAt, FinalizedAt: job.FinalizedAt,
		AttemptedBy: orEmpty(job.AttemptedBy), Tags: orEmpty(job.Tags), Args: job.Args, Metadata: job.Metadata,
		Errors: []jobFailure{},
	}
	if err := json.Unmarshal(job.Errors, &view.Errors); err != nil {
		return jobView{}, fmt.Errorf("read the errors of job %d: %w", job.ID, err)
	}
	return view, nil
}
