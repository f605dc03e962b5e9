package testdb

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// fillLimit bounds each step of Fill: millions of rows take their time.
const fillLimit = time.Hour

// Fill makes a database in which much has happened: jobs that finished in the last two days, jobs of which four fifths may
// start now and the others later, two hundred that run, the counters by minute of these days, and statistics of all that
// for the planner. There are twenty kinds, kind.0 to kind.19, and three queues, default, mail and slow.
func Fill(t testing.TB, pool *pgxpool.Pool, finished, waiting int) {
	t.Helper()
	failed := `CASE WHEN i % 50 = 0 THEN ARRAY[jsonb_build_object('at', at, 'attempt', 1, 'error', 'connect to 10.0.0.' || i % 250 || ': refused')] END`
	for _, step := range []struct {
		sql  string
		args []any
	}{
		{`DO $$ DECLARE s text; day timestamptz := date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
			BEGIN
				FOREACH s IN ARRAY '{completed,cancelled,discarded}'::text[] LOOP
					FOR i IN 1..3 LOOP
						EXECUTE format('CREATE TABLE towpath.job_history_%s_past%s PARTITION OF towpath.job_history_%s FOR VALUES FROM (%L) TO (%L)',
							s, i, s, day - i * interval '1 day', day - (i - 1) * interval '1 day');
					END LOOP;
				END LOOP;
			END $$`, nil},
		{`INSERT INTO towpath.job_history (id, args, attempt, attempted_at, attempted_by, created_at, errors, finalized_at, kind, max_attempts,
				metadata, priority, queue, state, scheduled_at, tags, archived_at)
			SELECT nextval('towpath.river_job_id_seq'), jsonb_build_object('customer', i % 1000), 1, at, '{host}', at, ` + failed + `, at, 'kind.' || i % 20, 25, '{}', 1,
				(ARRAY['default', 'mail', 'slow'])[1 + i % 3],
				(CASE WHEN i % 50 = 0 THEN 'discarded' WHEN i % 100 = 1 THEN 'cancelled' ELSE 'completed' END)::towpath.river_job_state, at, '{abc}', at
			FROM (SELECT i, now() - interval '2 days' * (1 - i / $1::float8) AS at FROM generate_series(1, $1) i) x`, []any{finished}},
		{`INSERT INTO towpath.river_job (args, attempt, errors, kind, max_attempts, priority, queue, state, scheduled_at, tags)
			SELECT jsonb_build_object('customer', i % 1000), 1, ` + failed + `, 'kind.' || i % 20, 25, 1 + i % 4, (ARRAY['default', 'mail', 'slow'])[1 + i % 3],
				(CASE i % 10 WHEN 0 THEN 'retryable' WHEN 1 THEN 'scheduled' ELSE 'available' END)::towpath.river_job_state,
				at + CASE WHEN i % 10 < 2 THEN interval '1 day' ELSE '0' END, '{abc}'
			FROM (SELECT i, now() - interval '1 hour' * (1 - i / $1::float8) AS at FROM generate_series(1, $1) i) x`, []any{waiting}},
		{`INSERT INTO towpath.river_job (args, attempt, attempted_at, attempted_by, kind, max_attempts, queue, state)
			SELECT '{}', 1, now(), '{a}', 'kind.' || i % 20, 25, 'default', 'running' FROM generate_series(1, 200) i`, nil},
		{`INSERT INTO towpath.counter_minute
			SELECT m, 'default', 'kind.' || k, e, b, 10, 1
			FROM generate_series(date_trunc('minute', now()) - interval '2 days', now(), interval '1 minute') m, generate_series(0, 19) k,
				unnest('{started,completed}'::text[]) e, generate_series(3, 4) b`, nil},
		{`INSERT INTO towpath.river_queue (name) VALUES ('default'), ('mail'), ('slow')`, nil},
		{`VACUUM ANALYZE towpath.river_job`, nil},
		{`VACUUM ANALYZE towpath.job_history`, nil},
		{`ANALYZE towpath.counter_minute`, nil},
		{`SELECT towpath.refresh_queue_depth()`, nil},
	} {
		if err := fillStep(t, pool, step.sql, step.args); err != nil {
			t.Fatalf("fill the database: %v", err)
		}
	}
}

func fillStep(t testing.TB, pool *pgxpool.Pool, sql string, args []any) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), fillLimit)
	defer cancel()
	if _, err := pool.Exec(ctx, sql, args...); err != nil {
		return fmt.Errorf("%.60s: %w", sql, err)
	}
	return nil
}
