package migrations_test

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
)

// crowd puts one job of each state in, and some that differ in one thing, and returns them by name.
func crowd(t *testing.T, db querier) map[string]int64 {
	t.Helper()
	failed := `ARRAY['{"error": "first"}'::jsonb, '{"error": "Connection refused by 10.0.0.1"}'::jsonb]`
	return map[string]int64{
		"available": put(t, db, "available"),
		"scheduled": put(t, db, "scheduled"),
		"pending":   put(t, db, "pending"),
		"retryable": put(t, db, "retryable", "errors", failed),
		"running":   put(t, db, "running"),
		"completed": put(t, db, "completed"),
		"held":      put(t, db, "completed", "unique_key", `'\x01'`, "unique_states", "B'11110101'"),
		"cancelled": put(t, db, "cancelled"),
		"discarded": put(t, db, "discarded", "errors", failed),
		"old":       put(t, db, "discarded", "finalized_at", "now() - interval '3 days'"),
		"other":     put(t, db, "available", "kind", "'other.kind'", "queue", "'mail'"),
		"tagged":    put(t, db, "available", "tags", "ARRAY['vip', 'eu']::varchar[]"),
		"args":      put(t, db, "available", "args", `'{"customer": 42, "more": true}'`),
		"new":       put(t, db, "available", "created_at", "now()"),
	}
}

// namesOf returns the names of jobs, sorted.
func namesOf(jobs map[string]int64, ids []int64) []string {
	names := []string{}
	for _, name := range slices.Sorted(maps.Keys(jobs)) {
		if slices.Contains(ids, jobs[name]) {
			names = append(names, name)
		}
	}
	return names
}

func TestFindJobs(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)
	jobs := crowd(t, tx)

	tests := []struct {
		filter string
		want   []string
	}{
		{``, slices.Sorted(maps.Keys(jobs))},
		{`states => '{discarded}'`, []string{"discarded", "old"}},
		{`states => '{completed,running}'`, []string{"completed", "held", "running"}},
		{`kind => 'other.kind'`, []string{"other"}},
		{`queue => 'mail'`, []string{"other"}},
		{`queue => 'mail', kind => 'mail.send'`, []string{}},
		{`tag => 'eu'`, []string{"tagged"}},
		{`args => '{"customer": 42}'`, []string{"args"}},
		{`args => '{"customer": "42"}'`, []string{}},
		{`error => 'REFUSED'`, []string{"discarded", "retryable"}},
		{`error => 'first'`, []string{}},
		{`error => 'refused', states => '{discarded}'`, []string{"discarded"}},
		{`older_than => '1 day'`, []string{"old"}},
		{`states => '{available}', newer_than => '1 hour'`, []string{"new"}},
		{`states => '{discarded}', newer_than => '1 day'`, []string{"discarded"}},
		{`states => '{discarded}', older_than => '1 day', newer_than => '2 days'`, []string{}},
	}
	for _, test := range tests {
		t.Run(test.filter, func(t *testing.T) {
			require.Equal(t, test.want, namesOf(jobs, all[int64](t, tx, `SELECT id FROM towpath.find_jobs(`+test.filter+`)`)))
		})
	}
	require.Len(t, all[int64](t, tx, `SELECT id FROM towpath.find_jobs(max_jobs => 11)`), 11, "the live ones and some of history")
	require.Equal(t, []int64{jobs["new"], jobs["args"]}, all[int64](t, tx, `SELECT id FROM towpath.find_jobs(max_jobs => 2)`), "the newest first")
	require.Equal(t, "discarded", one[string](t, tx, `SELECT state FROM towpath.find_jobs(states => '{discarded}', older_than => '1 day')`))
}

func TestFindJobsRefuses(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)

	tests := []struct{ filter, message, column string }{
		{`states => '{done}'`, `states contains "done", which is no state`, "states"},
		{`states => '{NULL}'`, `states contains NULL, which is no state`, "states"},
		{`max_jobs => 0`, `max_jobs 0 must be from 1 to 10000`, "max_jobs"},
		{`max_jobs => 10001`, `max_jobs 10001 must be from 1 to 10000`, "max_jobs"},
		{`max_jobs => NULL`, `max_jobs NULL must be from 1 to 10000`, "max_jobs"},
	}
	for _, test := range tests {
		for _, function := range []string{"find_jobs", "cancel_jobs", "retry_jobs", "delete_jobs"} {
			savepoint(t, tx, func(tx pgx.Tx) {
				err := refused(t, tx, `SELECT * FROM towpath.`+function+`(kind => 'mail.send', `+test.filter+`)`)
				require.Equal(t, test.message, err.Message)
				require.Equal(t, "22023", err.Code)
				require.Equal(t, test.column, err.ColumnName)
				require.NotEmpty(t, err.Hint)
			})
		}
	}
	for _, function := range []string{"cancel_jobs", "retry_jobs", "delete_jobs"} {
		savepoint(t, tx, func(tx pgx.Tx) {
			err := refused(t, tx, `SELECT * FROM towpath.`+function+`(max_jobs => 5)`)
			require.Equal(t, function+" needs a filter", err.Message)
			require.Equal(t, "22023", err.Code)
		})
	}
}

func TestManyJobs(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)

	tests := []struct {
		call          string
		changed, left []string
		events        map[string]int
	}{
		{
			`cancel_jobs(kind => 'mail.send')`,
			[]string{"args", "available", "new", "pending", "retryable", "running", "scheduled", "tagged"},
			[]string{},
			map[string]int{"cancelled_waiting": 7},
		},
		{`cancel_jobs(kind => 'mail.send', states => '{completed,available}', tag => 'vip')`, []string{"tagged"}, []string{}, map[string]int{"cancelled_waiting": 1}},
		{`cancel_jobs(states => '{completed}')`, []string{}, []string{"completed", "held"}, map[string]int{}},
		{`retry_jobs(kind => 'mail.send')`, []string{"discarded", "old", "retryable"}, []string{}, map[string]int{"revived": 2}},
		{`retry_jobs(states => '{running,available,completed}')`, []string{"completed", "held"}, []string{"args", "available", "new", "other", "running", "tagged"}, map[string]int{"revived": 2}},
		{`delete_jobs(kind => 'mail.send')`, []string{"cancelled", "completed", "discarded", "held", "old"}, []string{}, map[string]int{}},
		{`delete_jobs(states => '{running,available}', queue => 'mail')`, []string{"other"}, []string{}, map[string]int{"deleted": 1}},
		{`delete_jobs(states => '{running}')`, []string{}, []string{"running"}, map[string]int{}},
		{`cancel_jobs(kind => 'nothing')`, []string{}, []string{}, map[string]int{}},
	}
	for _, test := range tests {
		t.Run(test.call, func(t *testing.T) {
			savepoint(t, tx, func(tx pgx.Tx) {
				jobs := crowd(t, tx)
				var changed, left []int64
				for _, outcome := range act(t, tx, test.call) {
					if outcome.Changed {
						changed = append(changed, outcome.ID)
					} else {
						left = append(left, outcome.ID)
					}
				}
				require.Equal(t, test.changed, namesOf(jobs, changed))
				require.Equal(t, test.left, namesOf(jobs, left))
				require.Equal(t, test.events, counted(t, tx))
				require.Equal(t, len(changed), one[int](t, tx, `SELECT count(*) FROM towpath.audit a
					JOIN towpath.audit call ON call.id = (a.details ->> 'call')::bigint AND call.target = 'jobs' WHERE a.job_id IS NOT NULL`))
				require.Equal(t, len(changed)+len(left), one[int](t, tx, `SELECT (details ->> 'matched')::int FROM towpath.audit WHERE target = 'jobs'`))
			})
		})
	}
}

// Of jobs with one unique key only one can come back.
func TestRetryManyOfOneKey(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)

	ids := []int64{put(t, tx, "discarded"), put(t, tx, "discarded"), put(t, tx, "discarded")}
	exec(t, tx, `UPDATE towpath.job_history SET unique_key = `+heldKey+`, unique_states = B'11110101' WHERE id = ANY ($1)`, ids)
	savepoint(t, tx, func(tx pgx.Tx) {
		require.Equal(t, []outcome{
			{ids[0], "available", true, "was discarded"},
			{ids[1], "discarded", false, "another job of this call holds its unique key"},
			{ids[2], "discarded", false, "another job of this call holds its unique key"},
		}, act(t, tx, "retry_jobs(states => '{discarded}')"))
	})
	put(t, tx, "available", "unique_key", heldKey, "unique_states", "B'11110101'")
	for _, outcome := range act(t, tx, "retry_jobs(states => '{discarded}')") {
		require.Contains(t, outcome.Note, "holds its unique key")
		require.False(t, outcome.Changed)
	}
	require.Empty(t, counted(t, tx))
}

// A bulk action passes over what another transaction holds, instead of waiting for it.
func TestManyJobsPassOverLockedOnes(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)

	held, free := put(t, pool, "available"), put(t, pool, "available")
	other, err := pool.Begin(t.Context())
	require.NoError(t, err)
	exec(t, other, `SELECT FROM towpath.river_job WHERE id = $1 FOR UPDATE`, held)
	require.Equal(t, []outcome{{free, "cancelled", true, "was available"}}, act(t, pool, "cancel_jobs(kind => 'mail.send')"))
	require.NoError(t, other.Rollback(t.Context()))
	require.Equal(t, []outcome{{held, "cancelled", true, "was available"}}, act(t, pool, "cancel_jobs(kind => 'mail.send')"))
}

// Whatever many sessions do at once, each job is in one place, and what was counted accounts for all of them.
func TestManyJobsAtOnce(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)

	const jobs = 200
	require.Len(t, enqueueMany(t, pool, manyJobs(jobs)), jobs)
	calls := []string{
		`cancel_jobs(kind => 'crowd', max_jobs => 60)`, `retry_jobs(kind => 'crowd', states => '{cancelled}', max_jobs => 60)`,
		`delete_jobs(kind => 'crowd', states => '{available,cancelled}', max_jobs => 5)`,
	}
	done := make(chan error)
	for i := range 6 {
		go func() {
			for range 10 {
				if _, err := pool.Exec(t.Context(), `SELECT * FROM towpath.`+calls[i%len(calls)]); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range 6 {
		require.NoError(t, <-done)
	}
	events := counted(t, pool)
	live := one[int](t, pool, `SELECT count(*) FROM towpath.river_job`)
	history := one[int](t, pool, `SELECT count(*) FROM towpath.job_history`)
	require.Equal(t, one[int](t, pool, `SELECT count(DISTINCT id) FROM towpath.jobs`), live+history)
	// What came in is what went out, less what came back, plus what was deleted unfinished, plus what is there.
	require.Equal(t, jobs, events["cancelled_waiting"]-events["revived"]+events["deleted"]+live)
}

func manyJobs(n int) string {
	jobs := []byte(`[{"kind": "crowd"}`)
	for range n - 1 {
		jobs = append(jobs, `,{"kind": "crowd"}`...)
	}
	return string(append(jobs, ']'))
}

// One page after another gives each job once, in the order of all of them.
func TestFindJobsByPages(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)
	crowd(t, tx)

	whole := all[int64](t, tx, `SELECT id FROM towpath.find_jobs()`)
	require.NotEmpty(t, whole)
	for _, size := range []int{1, 3, 5} {
		var pages []int64
		var afterID *int64
		var afterFinished *time.Time
		for {
			rows, err := tx.Query(t.Context(), `SELECT f.id, CASE WHEN f.state IN ('cancelled', 'completed', 'discarded') THEN f.at END
				FROM towpath.find_jobs(max_jobs => $1, after_id => $2, after_finished => $3) f`, size, afterID, afterFinished)
			require.NoError(t, err)
			type found struct {
				ID       int64
				Finished *time.Time
			}
			page, err := pgx.CollectRows(rows, pgx.RowToStructByPos[found])
			require.NoError(t, err)
			for _, job := range page {
				pages = append(pages, job.ID)
				afterID, afterFinished = &job.ID, job.Finished
			}
			if len(page) < size {
				break
			}
		}
		require.Equal(t, whole, pages, "pages of %d", size)
	}
}

// Jobs that were looked at before are acted on only if they are still meant.
func TestManyJobsByID(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)
	jobs := crowd(t, tx)

	call := func(action string) []outcome {
		return act(t, tx, action, []int64{jobs["discarded"], jobs["old"], jobs["available"], jobs["other"], 999_999_999})
	}
	require.Equal(t, []outcome{{jobs["discarded"], "available", true, "was discarded"}},
		call(`retry_jobs(states => '{discarded}', kind => 'mail.send', newer_than => '1 day', ids => $1)`))
	require.JSONEq(t, `{"kind": "mail.send", "states": ["discarded"], "newer_than": "1 day", "ids": 5}`,
		one[string](t, tx, `SELECT details -> 'filter' FROM towpath.audit WHERE target = 'jobs'`))
	require.Len(t, call(`cancel_jobs(ids => $1)`), 3, "with ids alone, too")
	require.Empty(t, call(`cancel_jobs(ids => $1)`))
}

// What no index answers is looked for among so many jobs, and the limit is told.
func TestFindJobsLooksAtSoManyOnly(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	config := pool.Config().ConnConfig.Copy()
	var notices []string
	config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) { notices = append(notices, notice.Message) }
	conn, err := pgx.ConnectConfig(t.Context(), config)
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))

	needle := put(t, pool, "available", "args", `'{"needle": 1}'`)
	exec(t, pool, `INSERT INTO towpath.river_job (args, kind, max_attempts, state, created_at) SELECT '{}', 'hay', 25, 'available', '2026-01-02 03:04:05+00'
		FROM generate_series(1, 100000)`)
	require.Empty(t, all[int64](t, conn, `SELECT id FROM towpath.find_jobs(args => '{"needle": 1}')`))
	require.Len(t, notices, 1)
	require.Regexp(t, `^only the newest 100000 unfinished jobs were looked at, back to "?20`, notices[0])
	require.Equal(t, []int64{needle}, all[int64](t, conn, `SELECT id FROM towpath.find_jobs(args => '{"needle": 1}', after_id => $1)`, needle+1))
	require.Equal(t, []int64{needle}, all[int64](t, conn, `SELECT id FROM towpath.find_jobs(args => '{"needle": 1}', ids => $1)`, []int64{needle}))
	require.Len(t, all[int64](t, conn, `SELECT id FROM towpath.find_jobs(kind => 'hay', max_jobs => 10)`), 10)
	require.Len(t, notices, 1, "nothing to tell when enough was found")
}
