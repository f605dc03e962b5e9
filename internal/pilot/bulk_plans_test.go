package pilot

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
)

// The statements of the services choose rows and then change them. The time of either must depend on the rows they
// change and neither on the size of the table nor on the square of their number.
func TestPlansOfTheServices(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	exec(t, pool, `INSERT INTO towpath.process (epoch, client_id, started_at, dead_at) VALUES (1000000, 'dead', now() - interval '1 hour', now())`)
	exec(t, pool, `
INSERT INTO towpath.river_job (args, kind, queue, max_attempts, state, attempt, attempted_at, attempted_by, scheduled_at, finalized_at, unique_key, unique_states)
SELECT '{}', 'tow', 'locks', 25, s.state::towpath.river_job_state, 1, CASE s.state WHEN 'running' THEN now() - g * interval '1 ms' END,
	CASE s.state WHEN 'running' THEN '{dead}'::text[] END, now() + CASE s.state WHEN 'scheduled' THEN g - 500 ELSE 0 END * interval '1 second',
	CASE s.state WHEN 'completed' THEN now() - g * interval '1 second' END, CASE s.state WHEN 'completed' THEN int4send(g) END,
	CASE s.state WHEN 'completed' THEN B'11110101' END
FROM (VALUES ('available', 6000), ('scheduled', 6000), ('running', 1500), ('completed', 6000)) AS s (state, n), generate_series(1, s.n) AS g`)
	exec(t, pool, `ANALYZE towpath.river_job`)
	x := &Executor{db: pool}
	n := 1000
	ids, errs, states := make([]int64, n), make([]string, n), make([]string, n)
	due, ended := make([]time.Time, n), make([]*time.Time, n)
	rows, err := pool.Query(t.Context(), `SELECT id FROM towpath.river_job WHERE state = 'running' LIMIT $1`, n)
	require.NoError(t, err)
	found, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	require.NoError(t, err)
	copy(ids, found)
	for i := range n {
		errs[i], states[i], due[i] = `{}`, "retryable", time.Now()
	}
	dayAgo := time.Now().Add(-24 * time.Hour)
	for _, c := range []struct {
		name string
		sql  statement
		args []any
	}{
		{"rescue", rescueStatement, []any{[]int64{1000000}, rescueBatch, false, true, testSchema}},
		{"rescue in place", rescueStatement, []any{[]int64{1000000}, rescueBatch, true, true, testSchema}},
		{"rescue many", rescueManyStatement, []any{ids, errs, ended, due, states, time.Now(), false}},
		{"orphans", orphanStatement, []any{time.Now().Add(-time.Hour), 30.0, "somebody", ids, rescueBatch}},
		{"stuck", stuckStatement, []any{int64(0), time.Now(), []string{"tow"}, 1000}},
		{"schedule", scheduleCountStatement, []any{dueBatch, nil, false, true, testSchema, []string{}}},
		{"schedule for River", scheduleRowsStatement, []any{dueBatch, nil, false, true, testSchema, []string{}}},
		{"tidy", tidyStatement, []any{90.0, dayAgo, dayAgo, dayAgo, tidyBatch}},
		{"delete before", deleteBeforeStatement, []any{true, dayAgo, true, dayAgo, true, dayAgo, nil, nil, 1000, nil, nil, nil}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tx, err := pool.Begin(t.Context())
			require.NoError(t, err)
			defer func() { _ = tx.Rollback(context.Background()) }()
			rows, err := tx.Query(t.Context(), "EXPLAIN (ANALYZE, COSTS OFF) "+c.sql.in(testSchema), x.storage.unnamed(c.args...)...)
			require.NoError(t, err)
			plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
			require.NoError(t, err)
			for _, line := range plan {
				require.NotContains(t, line, "Seq Scan on river_job", strings.Join(plan, "\n"))
				require.NotContains(t, line, "Rows Removed by Join Filter", strings.Join(plan, "\n"))
			}
		})
	}
}
