package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// JobFilter says which jobs are meant; what is nil does not matter. It is the filter of towpath.find_jobs.
type JobFilter struct {
	States               []string
	Kinds, Queues, Tags  []string
	OlderThan, NewerThan *time.Duration // since they finished or, unfinished, were enqueued
	Args                 json.RawMessage
	Error                *string
}

// JobCursor is a job after which a page begins: its id and, if it had finished, when.
type JobCursor struct {
	ID       int64
	Finished *time.Time
}

// FindJobs returns jobs by a filter, unfinished ones before finished ones and the newest of each first, at most limit.
// The database sends a notice when it did not look at all of them.
func FindJobs(ctx context.Context, db DB, filter JobFilter, after *JobCursor, limit int) ([]FindJobsRow, error) {
	params := FindJobsParams{
		States: filter.States, Kinds: filter.Kinds, Queues: filter.Queues, Tags: filter.Tags, OlderThan: filter.OlderThan,
		NewerThan: filter.NewerThan, Args: filter.Args, Error: filter.Error, MaxJobs: int32(limit), //nolint:gosec // the function refuses more than 10,000
	}
	if after != nil {
		params.AfterID, params.AfterFinished = &after.ID, after.Finished
	}
	found, err := queries.FindJobs(ctx, db, params)
	if err != nil {
		return nil, fmt.Errorf("find jobs: %w", err)
	}
	return found, nil
}

// Jobs returns the jobs of these ids, in no order; those that do not exist are left out.
func Jobs(ctx context.Context, db DB, ids []int64) ([]JobsRow, error) {
	jobs, err := queries.Jobs(ctx, db, ids)
	if err != nil {
		return nil, fmt.Errorf("read jobs: %w", err)
	}
	return jobs, nil
}

// JobStates returns the states of the jobs of these ids, in no order; those that do not exist are left out.
func JobStates(ctx context.Context, db DB, ids []int64) ([]JobStatesRow, error) {
	states, err := queries.JobStates(ctx, db, ids)
	if err != nil {
		return nil, fmt.Errorf("read the states of jobs: %w", err)
	}
	return states, nil
}
