package monitor_test

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/monitor"
	"github.com/towpath/towpath/internal/testdb"
)

// However many jobs wait, a scrape looks at few of them: their numbers come from the last count.
func TestScrapeLooksAtFewJobs(t *testing.T) {
	t.Parallel()
	cfg, err := pgxpool.ParseConfig(testdb.URL(t))
	require.NoError(t, err)
	cfg.MaxConns = 1 // so that its statistics can be asked for
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	defer pool.Close()
	const waiting = 100_000
	_, err = pool.Exec(t.Context(), `
		INSERT INTO towpath.river_job (args, kind, max_attempts, queue, state)
			SELECT '{"n": 1}', 'kind-' || n % 20, 25, 'queue-' || n % 3, 'available' FROM generate_series(1, 100000) n;
		INSERT INTO towpath.counter (queue, kind, event, bucket, n, seconds)
			SELECT 'queue-' || k % 3, 'kind-' || k, e, b, 5000, 5000 FROM generate_series(0, 19) k, generate_series(0, 20) b,
				unnest('{started,completed,retried}'::text[]) e;`)
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), `ANALYZE towpath.river_job, towpath.counter`)
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), `SELECT towpath.refresh_queue_depth()`)
	require.NoError(t, err)
	read := func() (rows int64) {
		_, err := pool.Exec(t.Context(), `SELECT pg_stat_force_next_flush()`)
		require.NoError(t, err)
		require.NoError(t, pool.QueryRow(t.Context(), `
			SELECT seq_tup_read + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relid = t.relid)::bigint
			FROM pg_stat_user_tables t WHERE relid = 'towpath.river_job'::regclass`).Scan(&rows))
		return rows
	}
	before := read()
	found := gather(t, monitor.New(monitor.Config{Pool: pool, ID: "x", MaxKinds: 200, Logger: testLogger}))
	require.InDelta(t, 1, found["towpath_scrape_database"], 0)
	sum := 0.0
	for _, queue := range []string{"queue-0", "queue-1", "queue-2"} {
		sum += found.need(t, `towpath_queue_jobs{queue="`+queue+`",state="available"}`)
	}
	require.InDelta(t, waiting, sum, 0)
	require.Less(t, read()-before, int64(waiting/10))
}
