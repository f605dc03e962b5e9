package probe_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/agenda"
	"github.com/towpath/towpath/internal/probe"
	"github.com/towpath/towpath/internal/store"
)

const patience = 30 * time.Second

// await waits until a statement returns true.
func await(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	for deadline := time.Now().Add(patience); !one[bool](t, pool, sql, args...); <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			probes, err := store.ListProbes(t.Context(), pool, nil, "", 10)
			require.NoError(t, err)
			text, _ := json.Marshal(probes)
			require.Fail(t, "does not become true", "%s\n%s", sql, text)
		}
	}
}

// lead lets a runner lead until the test is over, or the function is called.
func lead(t *testing.T, pool *pgxpool.Pool, atOnce int) (stop func()) {
	t.Helper()
	r := probe.New(probe.Config{Pool: pool, Roles: []string{role}, AtOnce: atOnce, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	var leading sync.WaitGroup
	leading.Go(func() { r.Lead(ctx) })
	stop = func() {
		cancel()
		leading.Wait()
	}
	t.Cleanup(stop)
	return stop
}

func status(t *testing.T, pool *pgxpool.Pool, name string) string {
	t.Helper()
	return one[string](t, pool, `SELECT concat_ws('|', status, value, detail) FROM towpath.probes WHERE name = $1`, name)
}

// A record deleted: the next comparison shows one missing. An emptied source is empty. Who listens is told of each.
func TestFromPutToEvent(t *testing.T) {
	t.Parallel()
	pool := shop(t)
	exec(t, pool, `CREATE TABLE shop.modern AS SELECT * FROM shop.orders`)
	exec(t, pool, `GRANT SELECT ON shop.modern TO towpath_probe`)
	listener, err := pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig)
	require.NoError(t, err)
	defer listener.Close(context.WithoutCancel(t.Context()))
	_, err = listener.Exec(t.Context(), `LISTEN "towpath.probe_event"`)
	require.NoError(t, err)

	exec(t, pool, `SELECT towpath.put_probe('orders', 'SELECT id FROM shop.orders', '1 second', 'SELECT id FROM shop.modern')`)
	require.Equal(t, "pending", status(t, pool, "orders"))
	lead(t, pool, 2)
	await(t, pool, `SELECT status = 'ok' FROM towpath.probes`)
	exec(t, pool, `DELETE FROM shop.modern WHERE id = 2`)
	await(t, pool, `SELECT status = 'beyond' FROM towpath.probes`)
	require.Equal(t, "beyond|1|missing is 1, above 0", status(t, pool, "orders"))
	require.JSONEq(t, `{"missing": ["2"]}`, one[string](t, pool, `SELECT examples::text FROM towpath.probes WHERE missing = 1 AND extra = 0`))
	exec(t, pool, `DELETE FROM shop.modern`)
	await(t, pool, `SELECT status = 'empty' FROM towpath.probes`)
	require.Equal(t, "empty|1|the query compared with returned nothing", status(t, pool, "orders"))
	exec(t, pool, `DROP TABLE shop.modern`)
	await(t, pool, `SELECT status = 'failed' FROM towpath.probes`)
	require.Equal(t, `failed|1|the query compared with: relation "shop.modern" does not exist (line 1, character 16)`, status(t, pool, "orders"))

	events, err := store.ListProbeEvents(t.Context(), pool, "orders", 10)
	require.NoError(t, err)
	require.Len(t, events, 4)
	for i, want := range []string{"failed", "empty", "beyond", "ok"} {
		require.Equal(t, want, events[i].Status)
	}
	require.Equal(t, "missing is 1, above 0", *events[2].Detail)
	require.Equal(t, "pending", events[3].Before)
	for _, want := range []string{"ok", "beyond", "empty", "failed"} {
		notification, err := listener.WaitForNotification(t.Context())
		require.NoError(t, err)
		var told struct{ Probe, Status string }
		require.NoError(t, json.Unmarshal([]byte(notification.Payload), &told))
		require.Equal(t, "orders "+want, told.Probe+" "+told.Status)
	}
	require.Equal(t, []string{"extra", "missing", "rows", "rows compared with"}, one[[]string](t, pool, `SELECT array_agg(DISTINCT series ORDER BY series) FROM towpath.probe_values WHERE probe = 'orders'`))
	require.Zero(t, one[int](t, pool, `SELECT count(*) FROM towpath.probe_values WHERE series = 'missing' AND value > 1`), "nothing is kept of what was empty")
}

// One that takes its time holds up neither the others nor the end of the leadership, which gives it back.
func TestSlowProbesHoldUpNobody(t *testing.T) {
	t.Parallel()
	pool := shop(t)
	exec(t, pool, `SELECT towpath.put_probe('slow', 'SELECT pg_sleep(3000)::text, 1 AS n', '1 hour', timeout => '50 minutes')`)
	exec(t, pool, `SELECT towpath.put_probe('quick', 'SELECT 1 AS n', '1 second')`)
	stop := lead(t, pool, 2)
	await(t, pool, `SELECT last_run >= 3 FROM towpath.probes WHERE name = 'quick'`)
	require.True(t, one[bool](t, pool, `SELECT running FROM towpath.probes WHERE name = 'slow'`))
	stop()
	require.True(t, one[bool](t, pool, `SELECT NOT running AND next_run_at <= now() AND last_run = 0 FROM towpath.probes WHERE name = 'slow'`))
	await(t, pool, `SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3000)%' AND pid <> pg_backend_pid() AND datname = current_database())`)
}

// Of two leaders at a time, and of one that died with a run in hand, each run counts once.
func TestARunCountsOnce(t *testing.T) {
	t.Parallel()
	pool := shop(t)
	exec(t, pool, `SELECT towpath.put_probe('orders', 'SELECT count(*) FROM shop.orders', '1 hour')`)
	claims, err := store.ClaimProbes(t.Context(), pool, 10)
	require.NoError(t, err)
	require.Len(t, claims, 1)
	again, err := store.ClaimProbes(t.Context(), pool, 10)
	require.NoError(t, err)
	require.Empty(t, again)

	exec(t, pool, `UPDATE towpath.probe SET claimed_until = now() - interval '1 second'`) // its time is over
	again, err = store.ClaimProbes(t.Context(), pool, 10)
	require.NoError(t, err)
	require.Len(t, again, 1)
	value := 1.0
	end := store.ProbeEnd{Outcome: probe.OK, Value: &value, Found: &store.ProbeFound{Values: map[string]float64{"count": 1}}}
	for run, want := range map[int64]bool{claims[0].Run: false, again[0].Run: true} {
		counts, err := store.FinishProbe(t.Context(), pool, "orders", run, end)
		require.NoError(t, err)
		require.Equal(t, want, counts)
	}
	counts, err := store.FinishProbe(t.Context(), pool, "orders", again[0].Run, end)
	require.NoError(t, err)
	require.False(t, counts, "a second time")
	require.Equal(t, 1, one[int](t, pool, `SELECT count(*) FROM towpath.probe_values`))
	require.True(t, one[bool](t, pool, `SELECT next_run_at > now() + interval '59 minutes' FROM towpath.probes`))

	// A run of another definition does not count either.
	exec(t, pool, `SELECT towpath.run_probe('orders')`)
	claims, err = store.ClaimProbes(t.Context(), pool, 10)
	require.NoError(t, err)
	require.Len(t, claims, 1)
	exec(t, pool, `SELECT towpath.put_probe('orders', 'SELECT count(*) FROM shop.secret', '1 hour')`)
	counts, err = store.FinishProbe(t.Context(), pool, "orders", claims[0].Run, end)
	require.NoError(t, err)
	require.False(t, counts)
	require.Equal(t, "pending", status(t, pool, "orders"))
}

func TestStale(t *testing.T) {
	t.Parallel()
	pool := shop(t)
	exec(t, pool, `SELECT towpath.put_probe('orders', 'SELECT 1 AS n', '10 minutes')`)
	exec(t, pool, `UPDATE towpath.probe SET watched_since = now() - interval '19 minutes'`)
	require.Equal(t, "pending", status(t, pool, "orders"))
	exec(t, pool, `UPDATE towpath.probe SET watched_since = now() - interval '21 minutes'`)
	require.Equal(t, "stale|has never run", status(t, pool, "orders"), "before anybody has noted it")
	require.Zero(t, one[int](t, pool, `SELECT count(*) FROM towpath.probe_events`))
	for range 2 {
		_, err := store.NoteStaleProbes(t.Context(), pool)
		require.NoError(t, err)
	}
	require.Equal(t, "stale has never run", one[string](t, pool, `SELECT status || ' ' || detail FROM towpath.probe_events`), "once")
	require.True(t, one[bool](t, pool, `SELECT since = watched_since + interval '20 minutes' FROM towpath.probes JOIN towpath.probe USING (name)`))
	stop := lead(t, pool, 1)
	await(t, pool, `SELECT status = 'ok' FROM towpath.probes`)
	stop()
	shown, err := store.ProbeSeriesNow(t.Context(), pool, 10)
	require.NoError(t, err)
	require.Len(t, shown, 1)
	exec(t, pool, `UPDATE towpath.probe SET last_run_at = '2026-01-02 03:04:05+00', watched_since = '2026-01-01'`)
	require.Equal(t, "stale|1|has not run since 2026-01-02T03:04:05Z", status(t, pool, "orders"))
	shown, err = store.ProbeSeriesNow(t.Context(), pool, 10)
	require.NoError(t, err)
	require.Empty(t, shown, "an old value is no metric")
}

// A run that nobody ended, of a probe that was paused meanwhile, is nothing to wake for.
func TestPausedWhileClaimed(t *testing.T) {
	t.Parallel()
	pool := shop(t)
	exec(t, pool, `SELECT towpath.put_probe('orders', 'SELECT 1 AS n', '1 minute')`)
	claims, err := store.ClaimProbes(t.Context(), pool, 1)
	require.NoError(t, err)
	require.Len(t, claims, 1)
	exec(t, pool, `SELECT towpath.pause_probe('orders')`)
	exec(t, pool, `UPDATE towpath.probe SET claimed_until = now() - interval '1 minute'`)
	page, err := agenda.NewBook(pool).After(t.Context(), time.Now())
	require.NoError(t, err)
	require.False(t, page.Probes && !page.ProbeDue.After(page.Clock))
}

// A limit that changes while a run is under way is judged at once, not after the next interval.
func TestChangedWhileClaimed(t *testing.T) {
	t.Parallel()
	pool := shop(t)
	exec(t, pool, `SELECT towpath.put_probe('orders', 'SELECT 5 AS n', '1 hour')`)
	claims, err := store.ClaimProbes(t.Context(), pool, 1)
	require.NoError(t, err)
	require.Len(t, claims, 1)
	exec(t, pool, `SELECT towpath.put_probe('orders', 'SELECT 5 AS n', '1 hour', alert_above => 3)`)
	counts, err := store.FinishProbe(t.Context(), pool, claims[0].Name, claims[0].Run, store.ProbeEnd{Outcome: "ok", Found: &store.ProbeFound{Values: map[string]float64{"n": 5}}})
	require.NoError(t, err)
	require.True(t, counts)
	page, err := agenda.NewBook(pool).After(t.Context(), time.Now())
	require.NoError(t, err)
	require.True(t, page.Probes)
	require.False(t, page.ProbeDue.After(page.Clock))
}

func TestPauseAndRun(t *testing.T) {
	t.Parallel()
	pool := shop(t)
	exec(t, pool, `SELECT towpath.put_probe('orders', 'SELECT count(*) FROM shop.orders', '1 hour')`)
	require.True(t, one[bool](t, pool, `SELECT changed FROM towpath.pause_probe('orders', 'the shop moves')`))
	require.False(t, one[bool](t, pool, `SELECT changed FROM towpath.pause_probe('orders')`))
	lead(t, pool, 2)
	run := one[int64](t, pool, `SELECT run FROM towpath.run_probe('orders')`)
	await(t, pool, `SELECT last_run >= $1 FROM towpath.probes`, run)
	require.Equal(t, "paused|3", status(t, pool, "orders"), "it runs when it is asked to")
	require.True(t, one[bool](t, pool, `SELECT next_run_at IS NULL FROM towpath.probes`))
	require.True(t, one[bool](t, pool, `SELECT changed FROM towpath.resume_probe('orders')`))
	await(t, pool, `SELECT status = 'ok' AND last_run = 2 FROM towpath.probes`)
	require.False(t, one[bool](t, pool, `SELECT changed FROM towpath.resume_probe('orders')`))
	require.Equal(t, []string{"paused", "pending", "ok"}, one[[]string](t, pool, `SELECT array_agg(status ORDER BY id) FROM towpath.probe_events`))
	run = one[int64](t, pool, `SELECT run FROM towpath.run_probe('orders')`)
	await(t, pool, `SELECT last_run >= $1 FROM towpath.probes`, run)
	exec(t, pool, `SELECT towpath.delete_probe('orders')`)
	require.Zero(t, one[int](t, pool, `SELECT (SELECT count(*) FROM towpath.probe_point) + (SELECT count(*) FROM towpath.probe_event)`))
}

// A year of values is small: each for a week, then hours, then days. What they say of their time stays true.
func TestValuesOfAYear(t *testing.T) {
	t.Parallel()
	pool := shop(t)
	exec(t, pool, `SELECT towpath.put_probe('orders', 'SELECT count(*) FROM shop.orders', '1 minute')`)
	exec(t, pool, `INSERT INTO towpath.probe_series (probe, name, value, at) VALUES ('orders', 'count', 1, now()), ('orders', 'old', 1, now() - interval '400 days')`)
	exec(t, pool, `INSERT INTO towpath.probe_point (series_id, at, value) SELECT s.id, g, extract(epoch FROM g)::bigint / 60 % 1440
		FROM generate_series(now() - interval '400 days', now(), '1 minute') g, towpath.probe_series s WHERE s.name = 'count'`)
	exec(t, pool, `INSERT INTO towpath.probe_point (series_id, at, value) SELECT s.id, s.at, 1 FROM towpath.probe_series s WHERE s.name = 'old'`)
	r := runner(t, pool)
	require.NoError(t, r.Compact(t.Context()))
	require.NoError(t, r.Compact(t.Context()), "a second time changes nothing")
	widths := one[map[string]int](t, pool, `SELECT json_object_agg(width::text, n) FROM (SELECT width, count(*) AS n FROM towpath.probe_values GROUP BY width) w`)
	require.InDelta(t, 7*1440, widths["00:00:00"], 61)
	require.InDelta(t, 53*24, widths["01:00:00"], 25)
	require.InDelta(t, 306, widths["24:00:00"], 2)
	require.Equal(t, 1, one[int](t, pool, `SELECT count(*) FROM towpath.probe_series`), "a series that is over goes with its values")
	require.Equal(t, "1440|0|1439|719.5|1439", one[string](t, pool, `SELECT DISTINCT concat_ws('|', n, low, high, mean, value) FROM towpath.probe_values
		WHERE width = '1 day' AND at > now() - interval '364 days'`))
	require.Equal(t, "60|59|59", one[string](t, pool, `SELECT DISTINCT concat_ws('|', n, high - low, value - low) FROM towpath.probe_values WHERE width = '1 hour' AND at < now() - interval '8 days'`))
	require.Equal(t, 7, one[int](t, pool, `SELECT extract(day FROM now() - min(at))::int FROM towpath.probe_values WHERE width = '0'`))

	exec(t, pool, `VACUUM FULL towpath.probe_point`)
	size := one[int64](t, pool, `SELECT pg_total_relation_size('towpath.probe_point')`)
	rows := one[int64](t, pool, `SELECT count(*) FROM towpath.probe_point`)
	t.Logf("a series of a minute: %d rows, %d bytes a year", rows, size)
	// Up to sixty values of the hour that is not over come on top: a page of the table, and one of its index.
	require.LessOrEqual(t, size, int64(1<<20+2*8192), "a megabyte a series and year")

	// A value that comes late is added to its hour; one of ten a second is summed up sooner.
	exec(t, pool, `INSERT INTO towpath.probe_point (series_id, at, value) SELECT id, date_trunc('hour', now() - interval '20 days') + interval '1 second', 5000 FROM towpath.probe_series`)
	exec(t, pool, `UPDATE towpath.probe SET edited = edited || '{"every": 1}'`)
	require.NoError(t, r.Compact(t.Context()))
	require.Equal(t, "61|5000|5000", one[string](t, pool, `SELECT concat_ws('|', n, high, value) FROM towpath.probe_values WHERE width = '1 hour' AND high = 5000`))
	require.LessOrEqual(t, one[int](t, pool, `SELECT count(*) FROM towpath.probe_values WHERE width = '0'`), 10080/60+61)
}

// Series that are no longer seen make room for others.
func TestSeriesAreBounded(t *testing.T) {
	t.Parallel()
	pool := shop(t)
	exec(t, pool, `SELECT towpath.put_probe('orders', 'SELECT 1 AS n', '1 hour')`)
	exec(t, pool, `INSERT INTO towpath.probe_series (probe, name, value, at) SELECT 'orders', 'old ' || g, 1, now() - g * interval '1 hour' FROM generate_series(1, 600) g`)
	lead(t, pool, 1)
	await(t, pool, `SELECT status = 'ok' FROM towpath.probes`)
	require.Equal(t, 500, one[int](t, pool, `SELECT count(*) FROM towpath.probe_series`))
	require.Equal(t, 1, one[int](t, pool, `SELECT count(*) FROM towpath.probe_latest`))
	require.True(t, one[bool](t, pool, `SELECT EXISTS (SELECT FROM towpath.probe_series WHERE name = 'old 1')`))
}

// The values of a window come newest first, by pages.
func TestPagesOfValues(t *testing.T) {
	t.Parallel()
	pool := shop(t)
	exec(t, pool, `SELECT towpath.put_probe('orders', 'SELECT 1 AS n', '1 hour')`)
	exec(t, pool, `INSERT INTO towpath.probe_series (probe, name, value, at) VALUES ('orders', 'a', 1, now()), ('orders', 'b', 1, now())`)
	exec(t, pool, `INSERT INTO towpath.probe_point (series_id, at, value) SELECT id, date_trunc('hour', now()) - g * interval '1 hour', g FROM towpath.probe_series, generate_series(1, 3) g`)
	window := store.ProbeWindow{Probe: "orders", Since: time.Now().Add(-24 * time.Hour), Before: time.Now().Add(time.Hour), Most: 4}
	page, err := store.ListProbeValues(t.Context(), pool, window)
	require.NoError(t, err)
	require.Len(t, page, 4)
	window.Before, window.Beyond = page[2].At, page[2].Series
	page, err = store.ListProbeValues(t.Context(), pool, window)
	require.NoError(t, err)
	require.Len(t, page, 3)
	require.Equal(t, "b", page[0].Series)
	require.InDelta(t, 2, page[0].Value, math.SmallestNonzeroFloat64)
}
