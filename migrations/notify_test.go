package migrations_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
)

func TestEnqueueNotifiesOnceAQueue(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	conn := listen(t, pool.Config().ConnConfig)

	require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		for range 3 {
			enqueue(t, tx, map[string]any{"kind": "mail.send"})
			enqueue(t, tx, map[string]any{"kind": "mail.send", "queue": "mail"})
		}
		enqueueMany(t, tx, `[{"kind":"mail.send"},{"kind":"mail.send","queue":"mail"},{"kind":"mail.send","queue":"slow_mail"}]`)
		enqueue(t, tx, map[string]any{"kind": "mail.send", "queue": "later", "scheduled_at": "2199-01-01 00:00:00+00"})
		enqueueMany(t, tx, `[{"kind":"mail.send","queue":"later","scheduled_at":"2199-01-01 00:00:00+00"}]`)
		return nil
	}))
	exec(t, pool, `NOTIFY marker, 'inserted'`)
	// The bytes are River's own, which its clients insert with as well: Postgres folds equal ones only.
	require.ElementsMatch(t, []string{
		`towpath.river_insert {"queue": "default"}`,
		`towpath.river_insert {"queue": "mail"}`,
		`towpath.river_insert {"queue": "slow_mail"}`,
	}, notifications(t, conn, "inserted"))

	enqueue(t, pool, map[string]any{"kind": "mail.send", "unique_key": "one"})
	exec(t, pool, `NOTIFY marker, 'first'`)
	require.Len(t, notifications(t, conn, "first"), 1)
	require.True(t, enqueue(t, pool, map[string]any{"kind": "mail.send", "unique_key": "one"}).Skipped)
	exec(t, pool, `NOTIFY marker, 'second'`)
	require.Empty(t, notifications(t, conn, "second"), "nothing was inserted")
}

// A job that falls due soon makes the leader look, which would else come by some seconds after its time.
func TestEnqueueCallsTheLeaderForWhatIsDueSoon(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	conn := listen(t, pool.Config().ConnConfig)
	told := func(insert func(tx pgx.Tx)) []string {
		t.Helper()
		require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error { insert(tx); return nil }))
		exec(t, pool, `NOTIFY marker, 'inserted'`)
		return notifications(t, conn, "inserted")
	}
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339Nano) }
	call := `towpath.river_insert {"queue": "@due"}`

	require.Equal(t, []string{call}, told(func(tx pgx.Tx) {
		enqueue(t, tx, map[string]any{"kind": "soon", "scheduled_at": in(8 * time.Second)})
		enqueue(t, tx, map[string]any{"kind": "soon", "scheduled_at": in(9 * time.Second)})
	}))
	for _, unique := range []string{``, `,"unique_key":"one"`} {
		require.ElementsMatch(t, []string{call, `towpath.river_insert {"queue": "now"}`}, told(func(tx pgx.Tx) {
			enqueueMany(t, tx, `[{"kind":"soon","scheduled_at":"`+in(8*time.Second)+`"`+unique+`},{"kind":"soon","scheduled_at":"`+in(9*time.Second)+`"},
				{"kind":"soon","scheduled_at":"`+in(time.Hour)+`"},{"kind":"soon","queue":"now"}]`)
		}))
	}
	require.Empty(t, told(func(tx pgx.Tx) {
		enqueue(t, tx, map[string]any{"kind": "later", "scheduled_at": in(time.Hour)})
		enqueueMany(t, tx, `[{"kind":"later","scheduled_at":"`+in(time.Hour)+`"}]`)
		require.True(t, enqueueMany(t, tx, `[{"kind":"soon","scheduled_at":"`+in(5*time.Second)+`","unique_key":"one"}]`)[0].Skipped)
	}))
}

func TestEnqueueRollsBackWithItsCaller(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	conn := listen(t, pool.Config().ConnConfig)

	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	exec(t, tx, `CREATE TABLE booking (id int)`)
	single := enqueue(t, tx, map[string]any{"kind": "mail.send"})
	enqueueMany(t, tx, `[{"kind":"mail.send"},{"kind":"mail.send"}]`)
	require.Equal(t, 3, one[int](t, tx, `SELECT count(*) FROM towpath.river_job`))
	require.Zero(t, one[int](t, pool, `SELECT count(*) FROM towpath.river_job`), "others see nothing before the commit")
	require.NoError(t, tx.Rollback(t.Context()))

	require.Zero(t, one[int](t, pool, `SELECT count(*) FROM towpath.river_job`))
	exec(t, pool, `NOTIFY marker, 'after'`)
	require.Empty(t, notifications(t, conn, "after"))
	require.Greater(t, enqueue(t, pool, map[string]any{"kind": "mail.send"}).ID, single.ID)
}

func TestEnqueueInEveryExecMode(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)

	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
		pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			config := pool.Config().ConnConfig
			config.DefaultQueryExecMode = mode
			conn, err := pgx.ConnectConfig(t.Context(), config)
			require.NoError(t, err)
			defer conn.Close(t.Context())

			args := `{"name": "Zoë <z@example.org>", "n": 1.50}`
			for range 2 {
				var result enqueued
				row := conn.QueryRow(t.Context(), `SELECT id, state, skipped FROM towpath.enqueue($1, $2::json, tags => $3::text[], unique_by_args => $4)`,
					"mode."+strings.ReplaceAll(mode.String(), " ", "-"), args, []string{"one", "two"}, true)
				require.NoError(t, row.Scan(&result.ID, &result.State, &result.Skipped))
				require.Equal(t, []string{"one", "two"}, readJob(t, conn, result.ID).Tags)
			}
			require.Len(t, enqueueMany(t, conn, `[{"kind":"mail.send","args":`+args+`}]`), 1)
		})
	}
}
