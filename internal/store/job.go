package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// UnfinishedJobs returns those of the ids that are in the live table of the schema and have not ended.
func UnfinishedJobs(ctx context.Context, db DB, schema string, ids []int64) ([]int64, error) {
	rows, err := db.Query(ctx, `SELECT id FROM `+pgx.Identifier{schema, "river_job"}.Sanitize()+`
		WHERE id = ANY($1::bigint[]) AND finalized_at IS NULL`, ids)
	if err != nil {
		return nil, fmt.Errorf("look for unfinished jobs: %w", err)
	}
	unfinished, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, fmt.Errorf("look for unfinished jobs: %w", err)
	}
	return unfinished, nil
}

// HasWork reports whether the client runs a job, or the queues, as far as they are not paused, hold one of the kinds that
// could run now.
func HasWork(ctx context.Context, db DB, clientID string, queues, kinds []string) (bool, error) {
	// Each branch walks a partial index of its own: waiting rows by queue, due rows by time, running rows. The orders are
	// those of the indexes, without which the planner may think that the first rows of the table would do (and EXISTS
	// drops the order of what it asks directly).
	var has bool
	err := db.QueryRow(ctx, `
		WITH open AS MATERIALIZED (
			SELECT q FROM unnest($2::text[]) AS t (q)
			WHERE NOT EXISTS (SELECT FROM towpath.river_queue WHERE name = q AND paused_at IS NOT NULL)
		)
		SELECT EXISTS (
			SELECT FROM open, LATERAL (
				SELECT FROM towpath.river_job
				WHERE state = 'available' AND queue = q AND kind = ANY($3::text[]) AND scheduled_at <= now()
				ORDER BY priority, scheduled_at, id LIMIT 1
			) waiting
		) OR (
			SELECT true FROM towpath.river_job
			WHERE state IN ('retryable', 'scheduled') AND scheduled_at <= now() AND kind = ANY($3::text[])
				AND queue = ANY(ARRAY(SELECT q FROM open))
			ORDER BY scheduled_at, id LIMIT 1
		) IS NOT NULL OR (
			SELECT true FROM towpath.river_job
			WHERE state = 'running' AND attempted_by[array_upper(attempted_by, 1)] = $1
			ORDER BY attempted_at, id LIMIT 1
		) IS NOT NULL`, clientID, queues, kinds).Scan(&has)
	if err != nil {
		return false, fmt.Errorf("look for due jobs: %w", err)
	}
	return has, nil
}
