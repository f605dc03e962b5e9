package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/store"
	"github.com/towpath/towpath/internal/testdb"
)

func TestJobEventsComeBackInOrder(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	half := 0.5
	written := []store.JobEvent{
		{JobID: 7, Attempt: 2, Age: 90 * time.Second, Event: store.EventLog, Level: "WARN", Message: "one", Attrs: `{"a": 1}`},
		{JobID: 8, Attempt: 1, Event: store.EventStuck},
		{JobID: 7, Attempt: 2, Event: store.EventProgress, Message: "two", Fraction: &half},
		{JobID: 7, Attempt: 3, Event: store.EventNote, Message: "three"},
	}
	require.NoError(t, store.InsertJobEvents(t.Context(), pool, written))
	events, err := store.JobEvents(t.Context(), pool, 7, 0, 10)
	require.NoError(t, err)
	require.Len(t, events, 3)
	first := events[0]
	require.Equal(t, 2, first.Attempt)
	require.Equal(t, "WARN", *first.Level)
	require.JSONEq(t, `{"a": 1}`, string(first.Attrs))
	require.Nil(t, first.Fraction)
	var age float64
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT extract(epoch FROM clock_timestamp() - $1::timestamptz)`, first.At).Scan(&age))
	require.InDelta(t, 90, age, 30)
	require.InDelta(t, 0.5, *events[1].Fraction, 0)
	require.Nil(t, events[1].Level)
	require.Nil(t, events[1].Attrs)

	// Following a job: the last id is where to go on.
	page, err := store.JobEvents(t.Context(), pool, 7, 0, 2)
	require.NoError(t, err)
	require.Len(t, page, 2)
	page, err = store.JobEvents(t.Context(), pool, 7, page[1].ID, 2)
	require.NoError(t, err)
	require.Len(t, page, 1)
	require.Equal(t, "three", *page[0].Message)
	page, err = store.JobEvents(t.Context(), pool, 9, 0, 2)
	require.NoError(t, err)
	require.Empty(t, page)
}

func TestErrorsSayWhatWasTried(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	require.ErrorContains(t, store.InsertJobEvents(t.Context(), pool, []store.JobEvent{{Event: "unheard of"}}), "write job events: ")
	_, err := pool.Exec(t.Context(), `DROP SCHEMA towpath CASCADE`)
	require.NoError(t, err)
	_, err = store.JobEvents(t.Context(), pool, 1, 0, 1)
	require.ErrorContains(t, err, "read events of job 1: ")
	_, err = store.UnfinishedJobs(t.Context(), pool, "towpath", []int64{1})
	require.ErrorContains(t, err, "look for unfinished jobs: ")
	_, err = store.HasWork(t.Context(), pool, "me", nil, nil)
	require.ErrorContains(t, err, "look for due jobs: ")
}

// insertJobs writes rows as they are in the middle of life.
func insertJobs(t *testing.T, pool *pgxpool.Pool, n int, state, queue, by string) {
	t.Helper()
	_, err := pool.Exec(t.Context(), `
		INSERT INTO towpath.river_job (args, kind, max_attempts, state, queue, attempted_at, attempted_by, scheduled_at, finalized_at)
		SELECT '{}', 'a', 25, $1::towpath.river_job_state, $2, now(), ARRAY['earlier', $3], now() - interval '1 minute',
			CASE WHEN $1 = 'completed' THEN now() END
		FROM generate_series(1, $4)`, state, queue, by, n)
	require.NoError(t, err)
}

func TestUnfinishedJobs(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	for _, state := range []string{"available", "running", "retryable", "scheduled", "pending", "completed"} {
		insertJobs(t, pool, 1, state, "default", "x")
	}
	ids, err := store.UnfinishedJobs(t.Context(), pool, "towpath", []int64{1, 2, 3, 4, 5, 6, 7})
	require.NoError(t, err)
	require.ElementsMatch(t, []int64{1, 2, 3, 4, 5}, ids)

	// A client of River's may keep its tables anywhere.
	_, err = pool.Exec(t.Context(), `CREATE SCHEMA "Else.where"; CREATE TABLE "Else.where".river_job AS SELECT * FROM towpath.river_job WHERE id < 3`)
	require.NoError(t, err)
	ids, err = store.UnfinishedJobs(t.Context(), pool, "Else.where", []int64{1, 2, 3})
	require.NoError(t, err)
	require.ElementsMatch(t, []int64{1, 2}, ids)
}

func TestHasWork(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		prepare func(pool *pgxpool.Pool)
		want    bool
	}{
		"nothing":             {func(*pgxpool.Pool) {}, false},
		"waiting":             {func(pool *pgxpool.Pool) { insertJobs(t, pool, 1, "available", "default", "x") }, true},
		"a retry that is due": {func(pool *pgxpool.Pool) { insertJobs(t, pool, 1, "retryable", "default", "x") }, true},
		"scheduled and due":   {func(pool *pgxpool.Pool) { insertJobs(t, pool, 1, "scheduled", "default", "x") }, true},
		"running here":        {func(pool *pgxpool.Pool) { insertJobs(t, pool, 1, "running", "elsewhere", "me") }, true},
		"running there":       {func(pool *pgxpool.Pool) { insertJobs(t, pool, 1, "running", "default", "x") }, false},
		"pending and completed": {func(pool *pgxpool.Pool) {
			insertJobs(t, pool, 1, "pending", "default", "x")
			insertJobs(t, pool, 1, "completed", "default", "x")
		}, false},
		"waiting somewhere else": {func(pool *pgxpool.Pool) { insertJobs(t, pool, 1, "available", "elsewhere", "x") }, false},
	} {
		pool := testdb.Pool(t)
		test.prepare(pool)
		has, err := store.HasWork(t.Context(), pool, "me", []string{"default"}, []string{"a"})
		require.NoError(t, err, name)
		require.Equal(t, test.want, has, name)
		has, err = store.HasWork(t.Context(), pool, "me", []string{"default"}, []string{"b"})
		require.NoError(t, err, name)
		require.Equal(t, name == "running here", has, name)
	}
}

// explained is a handle that has every statement explained before it runs.
type explained struct {
	*pgxpool.Pool
	t     *testing.T
	scans []string // the tables that were to be scanned from end to end
}

func (e *explained) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	e.explain(sql, args)
	return e.Pool.Query(ctx, sql, args...)
}

func (e *explained) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	e.explain(sql, args)
	return e.Pool.QueryRow(ctx, sql, args...)
}

func (e *explained) explain(sql string, args []any) {
	var plan any
	require.NoError(e.t, e.Pool.QueryRow(e.t.Context(), "EXPLAIN (FORMAT JSON) "+sql, args...).Scan(&plan))
	e.walk(plan)
}

func (e *explained) walk(plan any) {
	switch node := plan.(type) {
	case []any:
		for _, one := range node {
			e.walk(one)
		}
	case map[string]any:
		if node["Node Type"] == "Seq Scan" {
			e.scans = append(e.scans, fmt.Sprint(node["Relation Name"]))
		}
		for _, one := range node {
			e.walk(one)
		}
	}
}

func TestNoStatementReadsAWholeTable(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	insertJobs(t, pool, 30_000, "available", "busy", "x")
	insertJobs(t, pool, 30_000, "scheduled", "busy", "x")
	insertJobs(t, pool, 1_000, "running", "busy", "x")
	insertJobs(t, pool, 30_000, "pending", "busy", "x")
	_, err := pool.Exec(t.Context(), `INSERT INTO towpath.job_event (job_id, attempt, event) SELECT n, 1, 'note' FROM generate_series(1, 30000) n`)
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), `ANALYZE`)
	require.NoError(t, err)

	db := &explained{Pool: pool, t: t}
	_, err = store.UnfinishedJobs(t.Context(), db, "towpath", []int64{1, 2, 3})
	require.NoError(t, err)
	_, err = store.HasWork(t.Context(), db, "me", []string{"default"}, []string{"a"})
	require.NoError(t, err)
	_, err = store.JobEvents(t.Context(), db, 5, 0, 100)
	require.NoError(t, err)
	_, _, err = store.AlertFacts(t.Context(), db)
	require.NoError(t, err)
	// Empty partitions of job_event and the few queues may well be scanned.
	require.NotContains(t, db.scans, "river_job")
	require.NotContains(t, db.scans, "job_event_"+time.Now().UTC().Format("20060102"))
}
