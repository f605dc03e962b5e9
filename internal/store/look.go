package store

import (
	"context"
	"fmt"
	"time"
)

// ListQueues returns the queues by name.
func ListQueues(ctx context.Context, db DB) ([]QueuesRow, error) {
	rows, err := queries.Queues(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("list queues: %w", err)
	}
	return rows, nil
}

// ListKinds returns by name what happened to the kinds in a period.
func ListKinds(ctx context.Context, db DB, period time.Duration) ([]KindsRow, error) {
	rows, err := queries.Kinds(ctx, db, period)
	if err != nil {
		return nil, fmt.Errorf("list kinds: %w", err)
	}
	return rows, nil
}

// ListFailures returns the errors of a period in groups, the newest first. It looks at so many jobs a state.
func ListFailures(ctx context.Context, db DB, period time.Duration, maxJobs int) ([]FailuresRow, error) {
	rows, err := queries.Failures(ctx, db, FailuresParams{Period: period, MaxJobs: int32(maxJobs)}) //nolint:gosec // a limit of ours
	if err != nil {
		return nil, fmt.Errorf("list failures: %w", err)
	}
	return rows, nil
}

// ListProcesses returns the processes, the dead and the live ones before those that are silent or have stopped.
func ListProcesses(ctx context.Context, db DB) ([]ProcessesRow, error) {
	rows, err := queries.Processes(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	return rows, nil
}

// ListRunning returns running jobs, those that run longest first.
func ListRunning(ctx context.Context, db DB, limit int) ([]RunningRow, error) {
	rows, err := queries.Running(ctx, db, int64(limit))
	if err != nil {
		return nil, fmt.Errorf("list running jobs: %w", err)
	}
	return rows, nil
}

// WhyJob says why a job is not running, or what became of it, for any id.
func WhyJob(ctx context.Context, db DB, id int64) (WhyRow, error) {
	row, err := queries.Why(ctx, db, id)
	if err != nil {
		return WhyRow{}, fmt.Errorf("ask why job %d does not run: %w", id, err)
	}
	return row, nil
}

// JobLogs returns what a job tells about itself, oldest first.
func JobLogs(ctx context.Context, db DB, params LogsParams) ([]LogsRow, error) {
	rows, err := queries.Logs(ctx, db, params)
	if err != nil {
		return nil, fmt.Errorf("read the logs of job %d: %w", params.JobID, err)
	}
	return rows, nil
}
