package store

import (
	"context"
	"fmt"
	"time"
)

// A JobAction is what operators do to jobs.
type JobAction string

// The actions, by the name of their function.
const (
	CancelJob JobAction = "cancel"
	RetryJob  JobAction = "retry"
	DeleteJob JobAction = "delete"
)

// JobOutcome is what became of a job that was acted on. Changed is false when it was left alone; Note says why.
type JobOutcome struct {
	ID      int64
	State   string
	Changed bool
	Note    string
}

// ActOnJob acts on one job and waits for whoever holds it.
func ActOnJob(ctx context.Context, db DB, action JobAction, id int64) (JobOutcome, error) {
	var outcome JobOutcome
	var err error
	switch action {
	case CancelJob:
		var row CancelJobRow
		row, err = queries.CancelJob(ctx, db, id)
		outcome = JobOutcome(row)
	case RetryJob:
		var row RetryJobRow
		row, err = queries.RetryJob(ctx, db, id)
		outcome = JobOutcome(row)
	case DeleteJob:
		var row DeleteJobRow
		row, err = queries.DeleteJob(ctx, db, id)
		outcome = JobOutcome(row)
	}
	if err != nil {
		return JobOutcome{}, fmt.Errorf("%s job %d: %w", action, id, err)
	}
	return outcome, nil
}

// ActOnJobs acts on those of the ids that the filter still means; the others get no outcome.
func ActOnJobs(ctx context.Context, db DB, action JobAction, filter JobFilter, ids []int64) ([]JobOutcome, error) {
	params := CancelJobsParams{
		States: filter.States, Kinds: filter.Kinds, Queues: filter.Queues, Tags: filter.Tags, OlderThan: filter.OlderThan,
		NewerThan: filter.NewerThan, Args: filter.Args, Error: filter.Error, Ids: ids,
	}
	var outcomes []JobOutcome
	var err error
	switch action {
	case CancelJob:
		var rows []CancelJobsRow
		rows, err = queries.CancelJobs(ctx, db, params)
		for _, row := range rows {
			outcomes = append(outcomes, JobOutcome(row))
		}
	case RetryJob:
		var rows []RetryJobsRow
		rows, err = queries.RetryJobs(ctx, db, RetryJobsParams(params))
		for _, row := range rows {
			outcomes = append(outcomes, JobOutcome(row))
		}
	case DeleteJob:
		var rows []DeleteJobsRow
		rows, err = queries.DeleteJobs(ctx, db, DeleteJobsParams(params))
		for _, row := range rows {
			outcomes = append(outcomes, JobOutcome(row))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s jobs: %w", action, err)
	}
	return outcomes, nil
}

// QueueOutcome is what became of a queue that was paused or resumed.
type QueueOutcome struct {
	Queue    string
	PausedAt *time.Time
	Changed  bool
}

// PauseQueue stops the workers from fetching jobs of a queue, or of all of them (*).
func PauseQueue(ctx context.Context, db DB, name string, reason *string) ([]QueueOutcome, error) {
	rows, err := queries.PauseQueue(ctx, db, PauseQueueParams{Name: name, Reason: reason})
	if err != nil {
		return nil, fmt.Errorf("pause queue %q: %w", name, err)
	}
	outcomes := make([]QueueOutcome, len(rows))
	for i, row := range rows {
		outcomes[i] = QueueOutcome{Queue: row.Queue, PausedAt: &row.PausedAt, Changed: row.Changed}
	}
	return outcomes, nil
}

// ResumeQueue lets the workers fetch jobs of a queue again, or of all of them (*).
func ResumeQueue(ctx context.Context, db DB, name string) ([]QueueOutcome, error) {
	rows, err := queries.ResumeQueue(ctx, db, name)
	if err != nil {
		return nil, fmt.Errorf("resume queue %q: %w", name, err)
	}
	outcomes := make([]QueueOutcome, len(rows))
	for i, row := range rows {
		outcomes[i] = QueueOutcome{Queue: row.Queue, Changed: row.Changed}
	}
	return outcomes, nil
}
