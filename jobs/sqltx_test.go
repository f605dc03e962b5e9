package jobs_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "github.com/lib/pq"              // the driver "postgres"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/jobs"
)

type parityArgs struct {
	Name string `json:"name"`
}

func (parityArgs) Kind() string { return "parity" }

// countingHook counts the jobs that pass it.
type countingHook struct {
	river.HookDefaults
	jobs int
}

func (h *countingHook) InsertBegin(context.Context, *rivertype.JobInsertParams) error {
	h.jobs++
	return nil
}

// Every way of inserting the same job gives the same row, and each pair collides on its unique key.
func TestInsertSQLTxIsInsertTx(t *testing.T) {
	t.Parallel()
	later := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	cases := map[string]*river.InsertOpts{
		"plain":     nil,
		"scheduled": {ScheduledAt: later},
		"all":       {MaxAttempts: 3, Metadata: []byte(`{"a": [1, "x"]}`), Pending: true, Priority: 4, Queue: "mail", Tags: []string{"red", "blue"}},
		"by args":   {UniqueOpts: river.UniqueOpts{ByArgs: true}},
		"by period": {UniqueOpts: river.UniqueOpts{ByArgs: true, ByPeriod: 24 * time.Hour}},
		"by queue":  {Queue: "mail", UniqueOpts: river.UniqueOpts{ByQueue: true, ExcludeKind: true}},
	}
	for _, name := range []string{"pgx", "postgres"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := testdb.URL(t)
			db, err := sql.Open(name, url)
			require.NoError(t, err)
			defer func() { require.NoError(t, db.Close()) }()
			conn, err := pgx.Connect(t.Context(), url)
			require.NoError(t, err)
			defer func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) }()
			hook := &countingHook{}
			client, err := jobs.NewClient(nil, &jobs.Config{Config: river.Config{Hooks: []rivertype.Hook{hook}}})
			require.NoError(t, err)
			for name, opts := range cases {
				args := parityArgs{Name: "<&> \u2028 " + name}
				hook.jobs = 0
				compareInserts(t, client, conn, db, args, opts)
				require.Positive(t, hook.jobs, name)
			}
		})
	}
}

func compareInserts(t *testing.T, client *jobs.Client, conn *pgx.Conn, db *sql.DB, args parityArgs, opts *river.InsertOpts) {
	t.Helper()
	ctx := t.Context()
	insertPgx := func() *rivertype.JobInsertResult {
		tx, err := conn.Begin(ctx)
		require.NoError(t, err)
		result, err := client.InsertTx(ctx, tx, args, opts)
		require.NoError(t, err)
		require.NoError(t, tx.Commit(ctx))
		return result
	}
	insertSQL := func() *rivertype.JobInsertResult {
		tx, err := db.BeginTx(ctx, nil)
		require.NoError(t, err)
		result, err := client.InsertSQLTx(ctx, tx, args, opts)
		require.NoError(t, err)
		require.NoError(t, tx.Commit())
		return result
	}
	row := func(id int64) string {
		var text string
		require.NoError(t, conn.QueryRow(ctx, `SELECT (to_jsonb(j) - 'id' - 'created_at' - CASE WHEN state = 'available' OR state = 'pending'
			THEN 'scheduled_at' ELSE '' END)::text FROM towpath.river_job j WHERE id = $1`, id).Scan(&text))
		return text
	}
	empty := func() {
		_, err := conn.Exec(ctx, "DELETE FROM towpath.river_job")
		require.NoError(t, err)
	}
	unique := opts != nil && (opts.UniqueOpts.ByArgs || opts.UniqueOpts.ByQueue)

	first := insertPgx()
	want := row(first.Job.ID)
	second := insertSQL()
	require.Equal(t, unique, second.UniqueSkippedAsDuplicate)
	if unique {
		require.Equal(t, first.Job.ID, second.Job.ID)
		require.Equal(t, first.Job.UniqueKey, second.Job.UniqueKey)
		require.Equal(t, first.Job.UniqueStates, second.Job.UniqueStates)
		empty()
		second = insertSQL()
		require.True(t, insertPgx().UniqueSkippedAsDuplicate)
	}
	require.Equal(t, want, row(second.Job.ID))
	require.JSONEq(t, string(first.Job.EncodedArgs), string(second.Job.EncodedArgs))
	require.WithinDuration(t, first.Job.ScheduledAt, second.Job.ScheduledAt, time.Minute)
	require.Equal(t, first.Job.Tags, second.Job.Tags)
	empty()
}

func TestInsertSQLTxBelongsToItsTransaction(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	url := testdb.URL(t)
	db, err := sql.Open("pgx", url)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	client, err := jobs.NewClient(nil, nil)
	require.NoError(t, err)

	tx, err := db.BeginTx(ctx, nil)
	require.NoError(t, err)
	_, err = client.InsertSQLTx(ctx, tx, parityArgs{}, nil)
	require.NoError(t, err)
	require.NoError(t, tx.Rollback())
	var n int
	require.NoError(t, db.QueryRowContext(ctx, "SELECT count(*) FROM towpath.river_job").Scan(&n))
	require.Zero(t, n)

	_, err = client.InsertSQLTx(ctx, nil, parityArgs{}, nil)
	require.ErrorContains(t, err, "the transaction is nil")
}
