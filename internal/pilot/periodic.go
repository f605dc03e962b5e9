package pilot

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivershared/riverpilot"
)

// River's periodic jobs live in the process that declares them. With these three functions its enqueuer keeps the next
// run of each one that has an id in the database: written in the transaction that inserts the job, so that a run is
// neither lost nor doubled when the leader changes, and read by the next leader at its start.

const periodicColumns = "id, created_at, next_run_at, updated_at"

var (
	periodicAllStatement = build(`SELECT COLUMNS FROM SCHEMA.periodic_job ORDER BY id`, "COLUMNS", periodicColumns)

	periodicUpsertStatement = build(`
INSERT INTO SCHEMA.periodic_job AS p (id, next_run_at, updated_at)
SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) AS t (id, next_run_at, updated_at) ORDER BY id
ON CONFLICT (id) DO UPDATE SET next_run_at = excluded.next_run_at, updated_at = excluded.updated_at
RETURNING COLUMNS`, "COLUMNS", periodicColumns)

	// periodicReapStatement keeps the declared jobs alive and forgets those that no leader has declared for a day.
	periodicReapStatement = build(`
WITH reaped AS (
	DELETE FROM SCHEMA.periodic_job WHERE updated_at < now() - interval '1 day' AND id <> ALL($1::text[])
)
UPDATE SCHEMA.periodic_job SET updated_at = now() WHERE id = ANY($1::text[]) RETURNING COLUMNS`, "COLUMNS", periodicColumns)
)

func queryPeriodic(ctx context.Context, x *Executor, sql string, args ...any) ([]*riverpilot.PeriodicJob, error) {
	rows, err := x.db.Query(ctx, sql, args...)
	if err != nil {
		return nil, riverError(err)
	}
	jobs, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*riverpilot.PeriodicJob, error) {
		var job riverpilot.PeriodicJob
		err := row.Scan(&job.ID, &job.CreatedAt, &job.NextRunAt, &job.UpdatedAt)
		job.CreatedAt, job.NextRunAt, job.UpdatedAt = job.CreatedAt.UTC(), job.NextRunAt.UTC(), job.UpdatedAt.UTC()
		return &job, err
	})
	return jobs, riverError(err)
}

// PeriodicJobGetAll implements River's pilot.
func (p *Pilot) PeriodicJobGetAll(ctx context.Context, exec riverdriver.Executor, params *riverpilot.PeriodicJobGetAllParams) ([]*riverpilot.PeriodicJob, error) {
	x := own(exec)
	if x == nil || !x.hasLine(ctx, params.Schema) {
		return p.StandardPilot.PeriodicJobGetAll(ctx, exec, params)
	}
	jobs, err := queryPeriodic(ctx, x, periodicAllStatement.in(params.Schema))
	if err != nil {
		return nil, fmt.Errorf("read periodic jobs: %w", err)
	}
	return jobs, nil
}

// PeriodicJobUpsertMany implements River's pilot. It runs in the transaction that inserts the jobs.
func (p *Pilot) PeriodicJobUpsertMany(ctx context.Context, exec riverdriver.Executor, params *riverpilot.PeriodicJobUpsertManyParams) ([]*riverpilot.PeriodicJob, error) {
	x := own(exec)
	if x == nil || !x.hasLine(ctx, params.Schema) {
		return p.StandardPilot.PeriodicJobUpsertMany(ctx, exec, params)
	}
	n := len(params.Jobs)
	ids, nextRunAt, updatedAt := make([]string, n), make([]time.Time, n), make([]time.Time, n)
	for i, job := range params.Jobs {
		ids[i], nextRunAt[i], updatedAt[i] = job.ID, job.NextRunAt, job.UpdatedAt
	}
	jobs, err := queryPeriodic(ctx, x, periodicUpsertStatement.in(params.Schema), ids, nextRunAt, updatedAt)
	if err != nil {
		return nil, fmt.Errorf("write the next runs of periodic jobs: %w", err)
	}
	return jobs, nil
}

// PeriodicJobKeepAliveAndReap implements River's pilot.
func (p *Pilot) PeriodicJobKeepAliveAndReap(ctx context.Context, exec riverdriver.Executor, params *riverpilot.PeriodicJobKeepAliveAndReapParams) ([]*riverpilot.PeriodicJob, error) {
	x := own(exec)
	if x == nil || !x.hasLine(ctx, params.Schema) {
		return p.StandardPilot.PeriodicJobKeepAliveAndReap(ctx, exec, params)
	}
	ids := params.ID
	if ids == nil {
		ids = []string{}
	}
	jobs, err := queryPeriodic(ctx, x, periodicReapStatement.in(params.Schema), ids)
	if err != nil {
		return nil, fmt.Errorf("keep periodic jobs alive: %w", err)
	}
	return jobs, nil
}
