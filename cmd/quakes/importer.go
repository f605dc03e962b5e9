package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"github.com/towpath/towpath/cmd"
	"github.com/towpath/towpath/jobs"
)

// importer replays the feed into the database.
type importer struct {
	pool     *pgxpool.Pool
	client   *jobs.Client
	reports  []report
	speed    float64 // seconds of the feed that pass in one; 0: as fast as it goes
	replay   int64
	imported atomic.Int64
}

// begin opens a replay.
func (i *importer) begin(ctx context.Context) error {
	if err := i.pool.QueryRow(ctx, "INSERT INTO quakes.replay DEFAULT VALUES RETURNING id").Scan(&i.replay); err != nil {
		return fmt.Errorf("begin a replay: %w", err)
	}
	return nil
}

// run imports the reports and waits until every job that follows has ended.
func (i *importer) run(ctx context.Context) error {
	start := time.Now()
	for _, r := range i.reports {
		if i.speed > 0 {
			due := start.Add(time.Duration(float64(r.at.Sub(i.reports[0].at)) / i.speed))
			select {
			case <-ctx.Done():
			case <-time.After(time.Until(due)):
			}
		}
		if err := pgx.BeginFunc(ctx, i.pool, func(tx pgx.Tx) error { return i.take(ctx, tx, r) }); err != nil {
			return fmt.Errorf("import the report of event %q at %s: %w", r.id, r.at.Format(time.RFC3339), err)
		}
		i.imported.Add(1)
	}
	for waiting := 1; waiting > 0; <-time.After(50 * time.Millisecond) {
		if err := i.pool.QueryRow(ctx, `SELECT count(*) FROM quakes.expected JOIN towpath.river_job ON id = job_id
			WHERE replay = $1 AND finalized_at IS NULL`, i.replay).Scan(&waiting); err != nil {
			return fmt.Errorf("wait for the replay's jobs: %w", err)
		}
	}
	return nil
}

func (i *importer) progress(ctx context.Context) ([]cmd.Amount, error) {
	f, err := i.count(ctx)
	return []cmd.Amount{
		{Name: "reports imported", Done: int(i.imported.Load()), Total: len(i.reports)},
		{Name: "jobs worked", Done: f.effects, Total: f.expected},
	}, err
}

// take writes a report and enqueues what follows from it in the same transaction: both are there after the commit, or
// neither is.
func (i *importer) take(ctx context.Context, tx pgx.Tx, r report) error {
	if _, err := tx.Exec(ctx, `
		WITH told AS (INSERT INTO quakes.feed VALUES ($1, $2) ON CONFLICT DO NOTHING)
		INSERT INTO quakes.event (replay, id, happened_at, magnitude, place, longitude, latitude, network, event_type, significance, tsunami)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
		ON CONFLICT (replay, id) DO UPDATE SET magnitude = excluded.magnitude, place = excluded.place, longitude = excluded.longitude,
			latitude = excluded.latitude, event_type = excluded.event_type, significance = excluded.significance, tsunami = excluded.tsunami`,
		i.replay, r.id, r.happenedAt, r.magnitude, r.place, r.longitude, r.latitude, r.network, r.eventType, r.significance, r.tsunami); err != nil {
		return err
	}
	ref := eventRef{Replay: i.replay, Event: r.id}
	follow := []river.InsertManyParams{{Args: assessArgs{ref}}, {Args: indexArgs{ref, r.at}}}
	if !r.update {
		follow = append(follow, river.InsertManyParams{Args: locateArgs{ref}})
	}
	results, err := i.client.InsertManyTx(ctx, tx, follow)
	if err != nil {
		return err
	}
	var expected []int64
	for _, result := range results {
		if !result.UniqueSkippedAsDuplicate { // joined a job that is expected already
			expected = append(expected, result.Job.ID)
		}
	}
	_, err = tx.Exec(ctx, "INSERT INTO quakes.expected (replay, job_id) SELECT $1, unnest($2::bigint[])", i.replay, expected)
	return err
}
