package monitor_test

import (
	"flag"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/monitor"
	"github.com/towpath/towpath/internal/testdb"
)

// What a scrape costs at full size, for docs/monitoring.md:
//
//	go test ./internal/monitor -run ScrapeReadsLittle -v -timeout 2h -cost.finished 10000000 -cost.waiting 1000000
var (
	finishedFlag = flag.Int("cost.finished", 60_000, "how many finished jobs there are when a scrape's cost is looked at")
	waitingFlag  = flag.Int("cost.waiting", 50_000, "how many jobs wait then")
)

const (
	// smallTable is how many rows a table or partition has at most for which reading it from end to end is the right plan.
	smallTable = 5000
	// mostRead is how many rows of jobs a scrape may meet, however many there are.
	mostRead = 20_000
)

// costs is what a database has done for its tables of jobs.
type costs struct{ seqScans, rows int64 }

// costsOf reads statistics on the connection that has caused them, which knows them at once.
func costsOf(t *testing.T, pool *pgxpool.Pool) (c costs) {
	t.Helper()
	_, err := pool.Exec(t.Context(), `SELECT pg_stat_force_next_flush()`)
	require.NoError(t, err)
	require.NoError(t, pool.QueryRow(t.Context(), `
		SELECT coalesce(sum(s.seq_scan) FILTER (WHERE c.reltuples > $1), 0)::bigint,
			coalesce(sum(s.seq_tup_read + coalesce((SELECT sum(i.idx_tup_read) FROM pg_stat_user_indexes i WHERE i.relid = s.relid), 0)), 0)::bigint
		FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid WHERE s.relname ~ '^(river_job|job_history)'`, smallTable).Scan(&c.seqScans, &c.rows))
	return c
}

// However many jobs have finished and wait, a scrape looks at few of them: it walks no big table from end to end, and the
// numbers of what waits come from the last count.
func TestScrapeReadsLittle(t *testing.T) {
	t.Parallel()
	cfg, err := pgxpool.ParseConfig(testdb.URL(t))
	require.NoError(t, err)
	cfg.MaxConns = 1 // so that its statistics can be asked for
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	defer pool.Close()
	begun := time.Now()
	testdb.Fill(t, pool, *finishedFlag, *waitingFlag)
	_, err = pool.Exec(t.Context(), `
		INSERT INTO towpath.counter (queue, kind, event, bucket, n, seconds)
			SELECT (ARRAY['default', 'mail', 'slow'])[1 + k % 3], 'kind.' || k, e, b, 5000, 5000 FROM generate_series(0, 19) k, generate_series(0, 20) b,
				unnest('{started,completed,retried}'::text[]) e;
		ANALYZE towpath.counter`)
	require.NoError(t, err)
	t.Logf("%d finished and %d waiting jobs were made in %s", *finishedFlag, *waitingFlag, time.Since(begun).Round(time.Second))
	var counting time.Duration
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT max(took) FROM towpath.queue_depth`).Scan(&counting))
	t.Logf("counting what waits takes the leader %s", counting.Round(100*time.Microsecond))

	m := monitor.New(monitor.Config{Pool: pool, ID: "x", MaxKinds: 200, Logger: testLogger})
	last := 0.0
	for n := range 6 {
		before := costsOf(t, pool)
		var found figures
		eventually(t, func() bool { // those within a second share a reading
			found = gather(t, m)
			return found.need(t, "towpath_scrape_duration_seconds") != last
		}, "another reading")
		last = found["towpath_scrape_duration_seconds"]
		after := costsOf(t, pool)
		t.Logf("reading %d takes %.1f ms and looks at %d rows of jobs", n+1, 1000*last, after.rows-before.rows)
		require.Equal(t, before.seqScans, after.seqScans, "a big table was read from end to end")
		require.Less(t, after.rows-before.rows, int64(mostRead))

		require.InDelta(t, 1, found["towpath_scrape_database"], 0)
		sums := map[string]float64{}
		for _, queue := range []string{"default", "mail", "slow"} {
			for _, state := range []string{"available", "scheduled", "retryable", "running"} {
				sums[state] += found.need(t, `towpath_queue_jobs{queue="`+queue+`",state="`+state+`"}`)
			}
		}
		require.InDelta(t, *waitingFlag, sums["available"]+sums["scheduled"]+sums["retryable"], 0)
		require.InDelta(t, 200, sums["running"], 0)
	}
}
