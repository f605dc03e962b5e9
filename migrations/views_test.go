package migrations_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/towpath/towpath/internal/testdb"
)

// process inserts a live client that works queues.
func process(t *testing.T, db querier, clientID, queues string, kinds ...string) {
	t.Helper()
	if kinds == nil {
		kinds = []string{}
	}
	exec(t, db, `INSERT INTO towpath.process (client_id, host, pid, version, roles, queues, kinds, running)
		VALUES ($1, 'host-of-' || $1, 42, 'v1.2.3', '{worker}', $2::text::jsonb, $3, 7)`, clientID, queues, kinds)
}

func lead(t *testing.T, db querier, clientID string) {
	t.Helper()
	exec(t, db, `INSERT INTO towpath.river_leader (elected_at, expires_at, leader_id, name) VALUES (now(), now() + interval '1 minute', $1, 'default')`, clientID)
}

// rows returns the rows of a query as psql would show them, without what is NULL.
func rows(t *testing.T, db querier, sql string, args ...any) []string {
	t.Helper()
	result, err := db.Query(t.Context(), sql, append([]any{pgx.QueryExecModeSimpleProtocol}, args...)...)
	require.NoError(t, err, sql)
	lines, err := pgx.CollectRows(result, func(row pgx.CollectableRow) (string, error) {
		var shown []string
		for _, value := range row.RawValues() {
			if value != nil {
				shown = append(shown, string(value))
			}
		}
		return strings.Join(shown, "|"), nil
	})
	require.NoError(t, err, sql)
	return lines
}

func row(t *testing.T, db querier, sql string, args ...any) string {
	t.Helper()
	lines := rows(t, db, sql, args...)
	require.Len(t, lines, 1, sql)
	return lines[0]
}

func TestJobsShowsLiveAndFinished(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)

	failed := `ARRAY['{"error": "first"}'::jsonb, '{"error": "last"}'::jsonb]`
	live, finished := put(t, tx, "retryable", "errors", failed), put(t, tx, "discarded", "errors", failed)
	require.Equal(t, fmt.Sprintf("%d|retryable|mail.send|last|t", live),
		row(t, tx, `SELECT id, state, kind, last_error, archived_at IS NULL FROM towpath.jobs WHERE id = $1`, live))
	require.Equal(t, fmt.Sprintf("%d|discarded|mail.send|last|f", finished),
		row(t, tx, `SELECT id, state, kind, last_error, archived_at IS NULL FROM towpath.jobs WHERE id = $1`, finished))
	// Whatever is added to one side must be added to the other.
	columns := `SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped`
	view := append(all[string](t, tx, columns, "towpath.jobs"), "last_error")
	for _, table := range []string{"towpath.river_job", "towpath.job_history"} {
		for _, column := range all[string](t, tx, columns, table) {
			require.Contains(t, view, column, table)
		}
	}
}

func TestCountersAddBothTables(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)

	exec(t, tx, `INSERT INTO towpath.counter VALUES ('default', 'mail.send', 'started', 3, 10, 1.5), ('default', 'mail.send', 'started', 4, 5, 1)`)
	exec(t, tx, `INSERT INTO towpath.counter_delta (queue, kind, event, bucket, n, seconds) VALUES
		('default', 'mail.send', 'started', 3, 2, 0.25), ('default', 'mail.send', 'completed', 3, 1, 0.25), ('mail', 'mail.send', 'started', 3, 1, 0)`)
	require.Equal(t, []string{"default|mail.send|completed|1|0.25", "default|mail.send|started|17|2.75", "mail|mail.send|started|1|0"},
		rows(t, tx, `SELECT queue, kind, event, n, seconds FROM towpath.counters ORDER BY queue, event`))

	exec(t, tx, `INSERT INTO towpath.counter_minute VALUES (date_trunc('minute', now()), 'default', 'mail.send', 'started', 3, 10, 1.5)`)
	require.Equal(t, 12, one[int](t, tx, `SELECT sum(n) FROM towpath.activity WHERE minute >= date_trunc('minute', now()) AND queue = 'default' AND event = 'started'`))
}

// A quantile lies in the bucket of the duration that has that rank.
func TestHistogramQuantile(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)

	rapid.Check(t, func(rt *rapid.T) {
		durations := rapid.SliceOfN(rapid.Float64Range(0, 100_000), 1, 50).Draw(rt, "milliseconds")
		q := rapid.SampledFrom([]float64{0.01, 0.5, 0.95, 0.99, 1}).Draw(rt, "q")
		seconds := make([]float64, len(durations))
		for i, d := range durations {
			seconds[i] = d / 1000
		}
		var got time.Duration
		err := tx.QueryRow(t.Context(), `SELECT towpath.histogram_quantile(array_agg(bucket ORDER BY bucket), array_agg(n ORDER BY bucket), $2)
			FROM (SELECT towpath.duration_bucket(s) AS bucket, count(*) AS n FROM unnest($1::float8[]) s GROUP BY 1) h`, seconds, q).Scan(&got)
		require.NoError(rt, err)

		slices.Sort(durations)
		exact := durations[int(math.Ceil(q*float64(len(durations))))-1]
		upper := math.Max(1, math.Pow(2, math.Ceil(math.Log2(exact)-1e-9)))
		lower := upper / 2
		if upper == 1 {
			lower = 0
		}
		ms := float64(got) / float64(time.Millisecond)
		require.LessOrEqual(rt, ms, upper*1.001+0.1)
		require.GreaterOrEqual(rt, ms, lower*0.999-0.1)
	})
	require.Nil(t, one[*string](t, tx, `SELECT towpath.histogram_quantile('{}', '{}', 0.5)::text`))
}

func TestKinds(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)

	exec(t, tx, `INSERT INTO towpath.counter_minute VALUES
		(date_trunc('minute', now()) - interval '10 minutes', 'default', 'mail.send', 'started', 3, 100, 0.5),
		(date_trunc('minute', now()) - interval '10 minutes', 'mail', 'mail.send', 'started', 10, 20, 12),
		(date_trunc('minute', now()) - interval '10 minutes', 'default', 'mail.send', 'completed', 5, 90, 2),
		(date_trunc('minute', now()) - interval '10 minutes', 'default', 'mail.send', 'retried', 5, 6, 0.1),
		(date_trunc('minute', now()) - interval '10 minutes', 'default', 'mail.send', 'discarded', 5, 4, 0.1),
		(date_trunc('minute', now()) - interval '90 minutes', 'default', 'mail.send', 'completed', 5, 1000, 20)`)
	exec(t, tx, `INSERT INTO towpath.counter_delta (queue, kind, event, bucket, n) VALUES ('default', 'mail.send', 'cancelled_waiting', 0, 3)`)
	exec(t, tx, `INSERT INTO towpath.counter VALUES ('default', 'idle.kind', 'completed', 3, 10, 1.5)`)
	process(t, tx, "a", `{"default": 5}`, "mail.send", "known.kind")
	enqueueMany(t, tx, `[{"kind": "mail.send"}, {"kind": "mail.send", "scheduled_at": "2199-01-01 00:00:00+00"}]`)
	require.True(t, one[bool](t, tx, `SELECT towpath.refresh_queue_depth()`))

	require.Equal(t, []string{"idle.kind|0|0|0", "known.kind|0|0|1", "mail.send|120|2|1"}, rows(t, tx, `SELECT kind, started, waiting, processes FROM towpath.kinds`))
	require.Equal(t, "90|10|4|3|0.1|t", row(t, tx, `SELECT completed, failed, discarded, cancelled, failure_ratio, started_per_minute BETWEEN 1.9 AND 2.1
		FROM towpath.kinds WHERE kind = 'mail.send'`))
	require.Equal(t, "00:00:00.0064|00:00:00.8704|00:00:00.024|00:00:00.0312",
		row(t, tx, `SELECT wait_p50, wait_p95, run_p50, run_p95 FROM towpath.kinds WHERE kind = 'mail.send'`))
	require.Equal(t, 1090, one[int](t, tx, `SELECT completed FROM towpath.kinds_since('2 hours') WHERE kind = 'mail.send'`))
	require.Nil(t, one[*float64](t, tx, `SELECT failure_ratio FROM towpath.kinds WHERE kind = 'idle.kind'`))
}

func TestQueues(t *testing.T) {
	t.Parallel()
	// A database of its own: one transaction at a time counts in each.
	tx, err := testdb.Pool(t).Begin(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, tx.Rollback(context.WithoutCancel(t.Context()))) }()

	exec(t, tx, `INSERT INTO towpath.river_queue (name) VALUES ('default'), ('empty')`)
	put(t, tx, "available", "scheduled_at", "now() - interval '5 minutes'")
	put(t, tx, "available", "scheduled_at", "now() - interval '9 minutes'", "priority", "3")
	for _, state := range []string{"scheduled", "retryable", "retryable", "running", "pending", "completed"} {
		put(t, tx, state)
	}
	put(t, tx, "available", "queue", "'unknown-yet'", "scheduled_at", "now() + interval '1 second'")
	process(t, tx, "a", `{"default": 5, "worked": 2}`)
	process(t, tx, "b", `{"default": 3}`)
	exec(t, tx, `UPDATE towpath.process SET stopped_at = now() WHERE client_id = 'b'`)
	exec(t, tx, `INSERT INTO towpath.counter_minute VALUES (date_trunc('minute', now()) - interval '2 minutes', 'default', 'mail.send', 'started', 3, 600, 1)`)
	exec(t, tx, `SELECT * FROM towpath.pause_queue('default', 'too hot')`)
	exec(t, tx, `SELECT * FROM towpath.pause_queue('empty')`)

	require.Equal(t, []string{"default|2|1|2|1|0", "empty|0|0|0|0|0", "unknown-yet|1|0|0|0|0", "worked|0|0|0|0|0"},
		rows(t, tx, `SELECT queue, available, scheduled, retryable, running, pending FROM towpath.queues`))
	require.Equal(t, []string{"default|00:09:00|1|5", "empty|0|0", "unknown-yet|00:00:00|0|0", "worked|1|2"},
		rows(t, tx, `SELECT queue, oldest, processes, slots FROM towpath.queues`))
	rate := one[float64](t, tx, `SELECT started_per_minute FROM towpath.queues WHERE queue = 'default'`)
	require.True(t, rate >= 100 && rate <= 120, "600 in five to six minutes, not %v", rate)
	user := one[string](t, tx, `SELECT session_user`)
	require.Equal(t, "t|"+user, row(t, tx, `SELECT paused_at = now(), paused_by FROM towpath.queues WHERE queue = 'default'`))
	require.Equal(t, "t|f", row(t, tx, `SELECT counted_at = now(), paused_at IS NOT NULL FROM towpath.queues WHERE queue = 'worked'`))

	require.True(t, one[bool](t, tx, `SELECT towpath.refresh_queue_depth()`))
	require.Equal(t, 1, one[int](t, tx, `SELECT pending FROM towpath.queues WHERE queue = 'default'`))
	exec(t, tx, `UPDATE towpath.river_queue SET paused_at = now() - interval '1 hour' WHERE name = 'default'`)
	require.Nil(t, one[*string](t, tx, `SELECT paused_by FROM towpath.queues WHERE queue = 'default'`), "somebody else paused it, without a record")
}

// Beyond a thousand jobs the last count is shown, with its time.
func TestQueuesOfManyJobs(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)

	exec(t, pool, `INSERT INTO towpath.river_job (args, kind, max_attempts, queue, state, scheduled_at)
		SELECT '{}', 'mail.send', 25, 'default', s::towpath.river_job_state, now() + interval '1 hour'
		FROM unnest('{available,scheduled,retryable}'::text[]) s, generate_series(1, 1500)`)
	require.Equal(t, "1001|t|t|t", row(t, pool, `SELECT available, scheduled + retryable >= 1000, counted_at IS NULL, oldest = '0' FROM towpath.queues`),
		"nobody has counted yet")
	require.True(t, one[bool](t, pool, `SELECT towpath.refresh_queue_depth()`))
	require.Equal(t, "1500|1500|1500|t", row(t, pool, `SELECT available, scheduled, retryable, counted_at > now() - interval '1 minute' FROM towpath.queues`))

	exec(t, pool, `DELETE FROM towpath.river_job WHERE state = 'retryable'`)
	exec(t, pool, `UPDATE towpath.queue_depth SET took = '1 hour'`)
	require.False(t, one[bool](t, pool, `SELECT towpath.refresh_queue_depth()`), "counting is not worth an hour")
	exec(t, pool, `UPDATE towpath.queue_depth SET took = '0'`)
	require.True(t, one[bool](t, pool, `SELECT towpath.refresh_queue_depth()`))
	require.Equal(t, []string{"available|1500", "scheduled|1500"}, rows(t, pool, `SELECT state, n FROM towpath.queue_depth ORDER BY state`))
}

func TestRefreshQueueDepthByOneAtATime(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)

	enqueue(t, pool, map[string]any{"kind": "mail.send"})
	other, err := pool.Begin(t.Context())
	require.NoError(t, err)
	require.True(t, one[bool](t, other, `SELECT towpath.refresh_queue_depth()`))
	require.False(t, one[bool](t, pool, `SELECT towpath.refresh_queue_depth()`), "another leader counts")
	require.NoError(t, other.Rollback(t.Context()))
	require.True(t, one[bool](t, pool, `SELECT towpath.refresh_queue_depth()`))
}

func TestProcesses(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)

	for _, client := range []string{"live", "silent", "stopped", "dead"} {
		process(t, tx, client, `{"default": 5, "mail": 2}`, "mail.send")
	}
	lead(t, tx, "live")
	exec(t, tx, `UPDATE towpath.process SET beat_at = now() - interval '21 seconds' WHERE client_id = 'silent'`)
	exec(t, tx, `UPDATE towpath.process SET stopped_at = now() WHERE client_id = 'stopped'`)
	exec(t, tx, `UPDATE towpath.process SET dead_at = now() WHERE client_id = 'dead'`)
	require.Equal(t, []string{
		"live|host-of-live|42|v1.2.3|{worker}|7|7|live|t", "silent|host-of-silent|42|v1.2.3|{worker}|7|7|silent|f",
		"stopped|host-of-stopped|42|v1.2.3|{worker}|7|7|stopped|f", "dead|host-of-dead|42|v1.2.3|{worker}|7|7|dead|f",
	}, rows(t, tx, `SELECT client_id, host, pid, version, roles, slots, running, status, leads FROM towpath.processes ORDER BY epoch`))
}

func TestFailures(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)

	failed := func(at, text string) string {
		return fmt.Sprintf(`ARRAY[jsonb_build_object('at', now() - interval '%s', 'attempt', 1, 'error', '%s')]`, at, text)
	}
	put(t, tx, "discarded", "errors", failed("2 hours", "user 17: connect to 10.0.0.1:5432: refused"))
	put(t, tx, "retryable", "errors", failed("1 hour", "user 4711: connect to 10.0.0.27:5432: refused\nand more"))
	newest := put(t, tx, "running", "errors", failed("1 minute", "user 18: connect to 10.0.0.1:5432: refused"))
	put(t, tx, "retryable", "errors", failed("3 minutes", "user 18: connect to 10.0.0.1:5432: refused"), "kind", "'other.kind'")
	put(t, tx, "cancelled", "errors", failed("5 minutes", `no table "orders" in 0xdeadbeef, 123e4567-e89b-12d3-a456-426614174000`))
	put(t, tx, "discarded", "errors", failed("2 days", "long ago"))
	put(t, tx, "completed", "errors", failed("1 minute", "got over it"))
	put(t, tx, "available")

	require.Equal(t, []string{
		"mail.send|user ?: connect to ?: refused|3|1|02:00:00|00:01:00",
		"other.kind|user ?: connect to ?: refused|1|0|00:03:00|00:03:00",
		"mail.send|no table ? in ?, ?|1|0|00:05:00|00:05:00",
	}, rows(t, tx, `SELECT kind, pattern, jobs, discarded, now() - first_seen, now() - last_seen FROM towpath.failures`))
	require.Equal(t, fmt.Sprintf("%d|user 18: connect to 10.0.0.1:5432: refused", newest),
		row(t, tx, `SELECT example_id, example_error FROM towpath.failures WHERE kind = 'mail.send' AND jobs = 3`))
	require.Equal(t, 3, one[int](t, tx, `SELECT count(DISTINCT fingerprint) FROM towpath.failures WHERE length(fingerprint) = 12`))
	require.Equal(t, []string{"mail.send|1"}, rows(t, tx, `SELECT kind, jobs FROM towpath.failures_since('2 minutes')`))
	require.Equal(t, 4, one[int](t, tx, `SELECT count(*) FROM towpath.failures_since('3 days')`))
}

func TestTimeline(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)

	process(t, tx, "b", `{"default": 5}`)
	exec(t, tx, `UPDATE towpath.process SET started_at = now() - interval '1 day'`)
	id := put(t, tx, "discarded", "attempt", "2", "max_attempts", "2", "attempted_at", "now() - interval '10 minutes'", "attempted_by", "ARRAY['a', 'b']",
		"errors", `ARRAY[jsonb_build_object('at', now() - interval '30 minutes', 'attempt', 1, 'error', 'first'),
			jsonb_build_object('at', now() - interval '5 minutes', 'attempt', 2, 'error', 'second')]`,
		"finalized_at", "now() - interval '5 minutes'", "scheduled_at", "now() - interval '20 minutes'")
	exec(t, tx, `INSERT INTO towpath.job_event (job_id, attempt, at, event, level, message, fraction, attrs) VALUES
		($1, 2, now() - interval '8 minutes', 'log', 'WARN', 'slow', NULL, '{"n": 1}'), ($1, 2, now() - interval '6 minutes', 'progress', NULL, 'rows', 0.5, NULL)`, id)
	user := one[string](t, tx, `SELECT session_user`)
	want := []string{
		"02:00:00|enqueued|kind mail.send, queue default, priority 1",
		"00:30:00|failed|1|a|first",
		"00:20:00|due",
		"00:10:00|started|2|host-of-b|attempt 2 of 2",
		`00:08:00|log|2|WARN slow {"n": 1}`,
		"00:06:00|progress|2|50% rows",
		"00:05:00|failed|2|host-of-b|second",
		"00:05:00|discarded|2|host-of-b",
	}
	query := `SELECT now() - at, event, attempt, host, detail FROM towpath.timeline WHERE job_id = $1 ORDER BY at, event DESC`
	require.Equal(t, want, rows(t, tx, query, id))
	exec(t, tx, `SET LOCAL towpath.actor = 'alice'`)
	act(t, tx, "delete_job($1)", id)
	require.Equal(t, []string{"00:00:00|delete_job|by alice through " + user + ": was discarded"}, rows(t, tx, query, id))
}
