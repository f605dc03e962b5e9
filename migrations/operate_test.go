package migrations_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
)

// put inserts a job in a state, as workers would have left it, and returns its id. Finished jobs go to history unless
// they hold a unique key.
func put(t *testing.T, db querier, state string, columns ...string) int64 {
	t.Helper()
	names, values := "", ""
	for i := 0; i < len(columns); i += 2 {
		names, values = names+", "+columns[i], values+", "+columns[i+1]
	}
	table, finalized := "towpath.river_job", "NULL"
	switch state {
	case "completed", "cancelled", "discarded":
		table, finalized = "towpath.job_history", "now() - interval '1 minute'"
		for i := 0; i < len(columns); i += 2 {
			if columns[i] == "unique_key" {
				table = "towpath.river_job"
			}
		}
	}
	base := `id, args, kind, max_attempts, metadata, priority, queue, state, scheduled_at, created_at, tags, finalized_at, attempt`
	defaults := `nextval('towpath.river_job_id_seq'), '{"n": 1}', 'mail.send', 25, '{}', 1, 'default', '` + state + `', now() - interval '1 hour',
		now() - interval '2 hours', '{}', ` + finalized + `, 1`
	if names == "" {
		return one[int64](t, db, `INSERT INTO `+table+` (`+base+`) VALUES (`+defaults+`) RETURNING id`)
	}
	id := one[int64](t, db, `INSERT INTO `+table+` (`+base+`) VALUES (`+defaults+`) RETURNING id`)
	exec(t, db, `UPDATE `+table+` SET (`+names[2:]+`) = ROW(`+values[2:]+`) WHERE id = $1`, id)
	return id
}

// outcome is what the operating functions answer.
type outcome struct {
	ID      int64
	State   string
	Changed bool
	Note    string
}

func act(t *testing.T, db querier, call string, args ...any) []outcome {
	t.Helper()
	rows, err := db.Query(t.Context(), `SELECT id, state, changed, note FROM towpath.`+call, args...)
	require.NoError(t, err, call)
	outcomes, err := pgx.CollectRows(rows, pgx.RowToStructByPos[outcome])
	require.NoError(t, err, call)
	return outcomes
}

// place tells which table a job is in, and its state.
func place(t *testing.T, db querier, id int64) string {
	t.Helper()
	places := all[string](t, db, `SELECT 'live ' || state FROM towpath.river_job WHERE id = $1
		UNION ALL SELECT 'history ' || state FROM towpath.job_history WHERE id = $1`, id)
	require.LessOrEqual(t, len(places), 1, "a job is in one place")
	if len(places) == 0 {
		return "nowhere"
	}
	return places[0]
}

// counted returns the lifecycle events that were appended.
func counted(t *testing.T, db querier) map[string]int {
	t.Helper()
	events := map[string]int{}
	for _, event := range all[string](t, db, `SELECT event FROM towpath.counter_delta, generate_series(1, n)`) {
		events[event]++
	}
	return events
}

const heldKey = `'\xabcd'`

func TestOneJobInEveryState(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)

	type test struct {
		call, state string
		columns     []string
		want        outcome // without the id
		place       string
		events      map[string]int
	}
	unique := []string{"unique_key", heldKey, "unique_states", "B'11110101'"}
	uniqueInAll := []string{"unique_key", heldKey, "unique_states", "B'11111111'"}
	tests := []test{
		{"cancel_job", "available", nil, outcome{State: "cancelled", Changed: true, Note: "was available"}, "history cancelled", map[string]int{"cancelled_waiting": 1}},
		{"cancel_job", "scheduled", nil, outcome{State: "cancelled", Changed: true, Note: "was scheduled"}, "history cancelled", map[string]int{"cancelled_waiting": 1}},
		{"cancel_job", "retryable", unique, outcome{State: "cancelled", Changed: true, Note: "was retryable"}, "history cancelled", map[string]int{"cancelled_waiting": 1}},
		{"cancel_job", "pending", uniqueInAll, outcome{State: "cancelled", Changed: true, Note: "was pending"}, "live cancelled", map[string]int{"cancelled_waiting": 1}},
		{"cancel_job", "running", nil, outcome{State: "running", Changed: true, Note: "was running; its worker is told to stop"}, "live running", map[string]int{}},
		{"cancel_job", "completed", nil, outcome{State: "completed", Note: "was completed already"}, "history completed", map[string]int{}},
		{"cancel_job", "completed", unique, outcome{State: "completed", Note: "was completed already"}, "live completed", map[string]int{}},
		{"retry_job", "scheduled", []string{"scheduled_at", "now() + interval '1 day'"}, outcome{State: "available", Changed: true, Note: "was scheduled"}, "live available", map[string]int{}},
		{"retry_job", "retryable", unique, outcome{State: "available", Changed: true, Note: "was retryable"}, "live available", map[string]int{}},
		{"retry_job", "available", nil, outcome{State: "available", Note: "was available already"}, "live available", map[string]int{}},
		{"retry_job", "running", nil, outcome{State: "running", Note: "is running"}, "live running", map[string]int{}},
		{"retry_job", "completed", unique, outcome{State: "available", Changed: true, Note: "was completed"}, "live available", map[string]int{"revived": 1}},
		{"retry_job", "discarded", nil, outcome{State: "available", Changed: true, Note: "was discarded"}, "live available", map[string]int{"revived": 1}},
		{"retry_job", "cancelled", nil, outcome{State: "available", Changed: true, Note: "was cancelled"}, "live available", map[string]int{"revived": 1}},
		{"delete_job", "available", nil, outcome{State: "available", Changed: true, Note: "was available"}, "nowhere", map[string]int{"deleted": 1}},
		{"delete_job", "pending", unique, outcome{State: "pending", Changed: true, Note: "was pending"}, "nowhere", map[string]int{"deleted": 1}},
		{"delete_job", "completed", unique, outcome{State: "completed", Changed: true, Note: "was completed"}, "nowhere", map[string]int{}},
		{"delete_job", "discarded", nil, outcome{State: "discarded", Changed: true, Note: "was discarded"}, "nowhere", map[string]int{}},
	}
	for _, test := range tests {
		name := test.call + "/" + test.state
		if test.columns != nil {
			name += "/" + test.columns[0]
		}
		t.Run(name, func(t *testing.T) {
			savepoint(t, tx, func(tx pgx.Tx) {
				id := put(t, tx, test.state, test.columns...)
				test.want.ID = id
				require.Equal(t, []outcome{test.want}, act(t, tx, test.call+"($1)", id))
				require.Equal(t, test.place, place(t, tx, id))
				require.Equal(t, test.events, counted(t, tx))

				recorded := all[string](t, tx, `SELECT action || ' ' || target || ' ' || job_id || ' ' || (details ->> 'note') FROM towpath.audit
					WHERE actor = session_user AND on_behalf_of IS NULL`)
				if test.want.Changed {
					number := strconv.FormatInt(id, 10)
					require.Equal(t, []string{test.call + " job " + number + " " + number + " " + test.want.Note}, recorded)
				} else {
					require.Empty(t, recorded, "nothing was done, nothing is recorded")
				}
			})
		})
	}
}

func TestOneJobRefused(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)

	for _, call := range []string{"cancel_job", "retry_job", "delete_job"} {
		savepoint(t, tx, func(tx pgx.Tx) {
			err := refused(t, tx, `SELECT * FROM towpath.`+call+`(4711)`)
			require.Equal(t, "P0002", err.Code)
			require.Equal(t, "job 4711 does not exist", err.Message)
			require.NotEmpty(t, err.Hint)
		})
		savepoint(t, tx, func(tx pgx.Tx) {
			require.Equal(t, "job NULL does not exist", refused(t, tx, `SELECT * FROM towpath.`+call+`(NULL)`).Message)
		})
	}
	savepoint(t, tx, func(tx pgx.Tx) {
		id := put(t, tx, "running")
		err := refused(t, tx, `SELECT * FROM towpath.delete_job($1)`, id)
		require.Equal(t, "55006", err.Code)
		require.Equal(t, "job "+strconv.FormatInt(id, 10)+" is running and cannot be deleted", err.Message)
		require.Equal(t, "Cancel it first.", err.Hint)
	})
	for _, state := range []string{"cancelled", "discarded"} { // in these a default unique key is free again
		savepoint(t, tx, func(tx pgx.Tx) {
			id := put(t, tx, state)
			exec(t, tx, `UPDATE towpath.job_history SET unique_key = `+heldKey+`, unique_states = B'11110101' WHERE id = $1`, id)
			holder := put(t, tx, "available", "unique_key", heldKey, "unique_states", "B'11110101'")
			err := refused(t, tx, `SELECT * FROM towpath.retry_job($1)`, id)
			require.Equal(t, "23505", err.Code)
			require.Equal(t, "river_job_unique_idx", err.ConstraintName)
			require.Equal(t, "job "+strconv.FormatInt(id, 10)+" cannot run again: job "+strconv.FormatInt(holder, 10)+" holds its unique key", err.Message)
		})
	}
}

// A retried job keeps its row but for what another attempt needs.
func TestRetryKeepsTheRow(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)

	columns := []string{
		"attempt", "25", "max_attempts", "25", "attempted_at", "now() - interval '2 minutes'", "attempted_by", "ARRAY['a', 'b']",
		"errors", `ARRAY['{"error": "x"}'::jsonb]`, "metadata", `'{"cancel_attempted_at": "2020-01-01T00:00:00Z", "trace": "t"}'`, "tags", `ARRAY['abc']::varchar[]`,
	}
	for _, state := range []string{"discarded", "retryable"} {
		id := put(t, tx, state, columns...)
		require.True(t, act(t, tx, "retry_job($1)", id)[0].Changed)
		row := one[string](t, tx, `SELECT concat_ws(' ', state, attempt, max_attempts, attempted_by, cardinality(errors), metadata, tags, finalized_at IS NULL,
			scheduled_at > now() - interval '1 minute', created_at < now() - interval '1 hour') FROM towpath.river_job WHERE id = $1`, id)
		require.Equal(t, `available 25 26 {a,b} 1 {"trace": "t"} {abc} t t t`, row, state)
	}
}

func TestCancelMarksARunningJob(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)

	id := put(t, tx, "running", "attempted_at", "now()", "metadata", `'{"trace": "t"}'`)
	act(t, tx, "cancel_job($1)", id)
	require.Equal(t, "t", one[string](t, tx, `SELECT metadata ->> 'trace' FROM towpath.river_job WHERE id = $1`, id))
	asked := one[string](t, tx, `SELECT metadata ->> 'cancel_attempted_at' FROM towpath.river_job WHERE id = $1`, id)
	at, err := time.Parse(time.RFC3339Nano, asked)
	require.NoError(t, err, "River reads the time as Go's encoder writes it")
	require.WithinDuration(t, one[time.Time](t, tx, `SELECT clock_timestamp()`), at, time.Minute)
}

func TestDeleteTakesWhatTheJobLogged(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)

	id, other := put(t, tx, "discarded"), put(t, tx, "discarded")
	exec(t, tx, `INSERT INTO towpath.job_event (job_id, attempt, event, message) VALUES ($1, 1, 'log', 'mine'), ($2, 1, 'log', 'other''s')`, id, other)
	act(t, tx, "delete_job($1)", id)
	require.Equal(t, []string{"other's"}, all[string](t, tx, `SELECT message FROM towpath.job_event`))
}

// When history takes no row, for want of a partition, a job can be cancelled all the same.
func TestCancelWithoutPartition(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)

	id := put(t, pool, "available")
	for _, leaf := range all[string](t, pool, `SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'towpath.job_history_cancelled'::regclass`) {
		exec(t, pool, `DROP TABLE `+leaf)
	}
	require.Equal(t, []outcome{{id, "cancelled", true, "was available"}}, act(t, pool, "cancel_job($1)", id))
	require.Equal(t, "live cancelled", place(t, pool, id))
	require.Equal(t, map[string]int{"cancelled_waiting": 1}, counted(t, pool))
}

func TestAuditIsAppendOnly(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)

	exec(t, tx, `SET LOCAL towpath.actor = 'alice'`)
	act(t, tx, "cancel_job($1)", put(t, tx, "available"))
	require.Equal(t, "alice", one[string](t, tx, `SELECT on_behalf_of FROM towpath.audit`))
	for _, statement := range []string{`UPDATE towpath.audit SET actor = 'bob'`, `DELETE FROM towpath.audit`, `TRUNCATE towpath.audit`} {
		savepoint(t, tx, func(tx pgx.Tx) {
			require.Equal(t, "the audit record is append-only", refused(t, tx, statement).Message)
		})
	}
}

// What is sent to workers is what River's own client sends, byte for byte.
func TestControlNotificationsAreRivers(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{Schema: "towpath"})
	require.NoError(t, err)
	conn := listen(t, pool.Config().ConnConfig)
	exec(t, pool, `INSERT INTO towpath.river_queue (name) VALUES ('default'), ('mail')`)
	id := put(t, pool, "running")

	_, err = client.JobCancel(t.Context(), id)
	require.NoError(t, err)
	require.NoError(t, client.QueuePause(t.Context(), "mail", nil))
	require.NoError(t, client.QueueResume(t.Context(), "mail", nil))
	require.NoError(t, client.QueuePause(t.Context(), "*", nil))
	require.NoError(t, client.QueueResume(t.Context(), "*", nil))
	exec(t, pool, `NOTIFY marker, 'river'`)
	fromRiver := notifications(t, conn, "river")
	require.Len(t, fromRiver, 5)

	act(t, pool, "cancel_job($1)", id)
	for _, call := range []string{"pause_queue('mail')", "resume_queue('mail')", "pause_queue('*')", "resume_queue('*')"} {
		exec(t, pool, `SELECT * FROM towpath.`+call)
	}
	exec(t, pool, `NOTIFY marker, 'sql'`)
	require.Equal(t, fromRiver, notifications(t, conn, "sql"))

	act(t, pool, "retry_job($1)", put(t, pool, "discarded"))
	act(t, pool, "retry_job($1)", put(t, pool, "retryable", "queue", "'mail'"))
	exec(t, pool, `NOTIFY marker, 'retried'`)
	require.Equal(t, []string{`towpath.river_insert {"queue": "default"}`, `towpath.river_insert {"queue": "mail"}`}, notifications(t, conn, "retried"))
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)
	exec(t, tx, `INSERT INTO towpath.river_queue (name) VALUES ('default'), ('mail'), ('slow')`)
	call := func(call string) []string {
		return all[string](t, tx, `SELECT concat_ws(' ', queue, paused_at IS NOT NULL, changed) FROM towpath.`+call)
	}

	require.Equal(t, []string{"mail t t"}, call("pause_queue('mail', 'too hot')"))
	since := one[time.Time](t, tx, `SELECT paused_at FROM towpath.river_queue WHERE name = 'mail'`)
	require.Equal(t, []string{"mail t f"}, call("pause_queue('mail')"))
	require.Equal(t, []string{"default t t", "mail t f", "slow t t"}, call("pause_queue('*')"))
	require.Equal(t, since, one[time.Time](t, tx, `SELECT paused_at FROM towpath.river_queue WHERE name = 'mail'`))
	require.Equal(t, []string{"slow f t"}, call("resume_queue('slow')"))
	require.Equal(t, []string{"default f t", "mail f t", "slow f f"}, call("resume_queue('*')"))
	require.Equal(t, []string{"pause_queue queue mail too hot", "pause_queue queue mail", "pause_queue queue *", "resume_queue queue slow", "resume_queue queue *"},
		all[string](t, tx, `SELECT concat_ws(' ', action, target, details ->> 'reason') FROM towpath.audit ORDER BY id`))

	err := refused(t, tx, `SELECT * FROM towpath.resume_queue('nowhere')`)
	require.Equal(t, "P0002", err.Code)
	require.Equal(t, `queue "nowhere" does not exist`, err.Message)
	require.Equal(t, "Queues: default, mail, slow.", err.Detail)
}

// A queue may be paused before its first worker: its jobs are there already, or are about to be.
func TestPauseBeforeTheFirstWorker(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)
	call := func(call string) []string {
		return all[string](t, tx, `SELECT concat_ws(' ', queue, paused_at IS NOT NULL, changed) FROM towpath.`+call)
	}
	exec(t, tx, `SELECT towpath.enqueue('tow', '{}', queue => 'mail')`)
	require.Equal(t, []string{"mail t t"}, call("pause_queue('mail', 'not yet')"))
	require.Equal(t, []string{"mail t f"}, call("pause_queue('mail')"))
	require.Equal(t, "paused", one[string](t, tx, `SELECT reason FROM towpath.waiting WHERE queue = 'mail'`))
	require.Equal(t, []string{"later t t"}, call("pause_queue('later')"), "nothing is there yet")
	require.Equal(t, []string{"later f t", "mail f t"}, call("resume_queue('*')"))

	// The rules of kinds have no say in it.
	exec(t, tx, `INSERT INTO towpath.kind_schema (kind, schema, checked) VALUES ('job', '{"type": "object", "required": ["n"]}', true)`)
	require.Equal(t, []string{"parcels t t"}, call("pause_queue('parcels')"))

	err := refused(t, tx, `SELECT * FROM towpath.pause_queue('Mail Box')`)
	require.Equal(t, "22023", err.Code)
	require.Equal(t, "name", err.ColumnName)
	require.Equal(t, "Parameter name of pause_queue.", err.Detail)
	require.Contains(t, err.Message, `queue "Mail Box" must have 1 to 64 characters`)
}

// A single action waits for whoever holds the row and then sees what came of it.
func TestCancelWaitsForTheFinish(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)

	id := put(t, pool, "running")
	worker, err := pool.Begin(t.Context())
	require.NoError(t, err)
	exec(t, worker, `WITH d AS (DELETE FROM towpath.river_job WHERE id = $1 RETURNING *)
		INSERT INTO towpath.job_history (id, args, attempt, created_at, finalized_at, kind, max_attempts, metadata, priority, queue, state, scheduled_at, tags)
		SELECT id, args, attempt, created_at, now(), kind, max_attempts, metadata, priority, queue, 'completed', scheduled_at, tags FROM d`, id)
	var answer outcome
	done := make(chan error)
	go func() {
		row := pool.QueryRow(t.Context(), `SELECT id, state, changed, note FROM towpath.cancel_job($1)`, id)
		done <- row.Scan(&answer.ID, &answer.State, &answer.Changed, &answer.Note)
	}()
	require.Eventually(t, func() bool {
		return one[bool](t, pool, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')`)
	}, 30*time.Second, 10*time.Millisecond)
	require.NoError(t, worker.Commit(t.Context()))
	require.NoError(t, <-done)
	require.Equal(t, outcome{id, "completed", false, "was completed already"}, answer)
}
