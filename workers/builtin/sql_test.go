package builtin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/workers/builtin"
)

// sqlDatabase returns a database with a table that the role may write, and one that it may not even see.
func sqlDatabase(t *testing.T) (pool *pgxpool.Pool, role string) {
	t.Helper()
	pool = testdb.Pool(t)
	super := testdb.Super(t, pool)
	role = pool.Config().ConnConfig.Database + "_cleaner" // roles are the whole server's
	name := pgx.Identifier{role}.Sanitize()
	owner := pgx.Identifier{pool.Config().ConnConfig.User}.Sanitize()
	for _, statement := range []string{
		`CREATE ROLE ` + name, `GRANT ` + name + ` TO ` + owner,
		`CREATE TABLE public.cart (id int, at timestamptz)`, `CREATE TABLE public.salary (id int)`,
		`INSERT INTO public.cart SELECT i, now() FROM generate_series(1, 30) i`,
		`GRANT SELECT, INSERT, DELETE ON public.cart TO ` + name,
	} {
		_, err := super.Exec(t.Context(), statement)
		require.NoError(t, err, statement)
	}
	t.Cleanup(func() {
		for _, statement := range []string{`DROP TABLE public.cart, public.salary`, `DROP OWNED BY ` + name, `DROP ROLE ` + name} {
			_, err := super.Exec(context.WithoutCancel(t.Context()), statement)
			require.NoError(t, err, statement)
		}
	})
	return pool, role
}

func TestSQL(t *testing.T) {
	t.Parallel()
	pool, role := sqlDatabase(t)
	r := start(t, pool, builtin.Config{SQLRoles: []string{role}})
	run := func(args jobs.SQLArgs) *jobs.Result { return await(t, r, insert(t, r, args)) }

	result := run(jobs.SQLArgs{Statement: `DELETE FROM public.cart WHERE id <= 10`})
	require.NoError(t, result.Err())
	require.Equal(t, builtin.SQLOutput{Command: "DELETE 10", Affected: 10}, output[builtin.SQLOutput](t, result.Job))

	result = run(jobs.SQLArgs{Statement: `SELECT id, current_user::text AS who, 1.5 AS share, true AS yes, NULL AS none, '{"a": 1}'::jsonb AS doc, 'NaN'::float8 AS nan FROM public.cart ORDER BY id`, KeepRows: 2})
	require.NoError(t, result.Err())
	kept := output[builtin.SQLOutput](t, result.Job)
	require.Equal(t, []string{"id", "who", "share", "yes", "none", "doc", "nan"}, kept.Columns)
	require.Len(t, kept.Rows, 2)
	require.EqualValues(t, 20, kept.Affected)
	require.True(t, kept.Truncated)
	row, err := json.Marshal(kept.Rows[0])
	require.NoError(t, err)
	require.JSONEq(t, fmt.Sprintf(`[11, %q, 1.5, true, null, {"a": 1}, "NaN"]`, role), string(row))

	for name, test := range map[string]struct {
		args jobs.SQLArgs
		want string
	}{
		"no right":     {jobs.SQLArgs{Statement: `SELECT * FROM public.salary`}, "permission denied for table salary"},
		"queue itself": {jobs.SQLArgs{Statement: `DELETE FROM towpath.river_job`}, "permission denied for schema towpath"},
		"other role":   {jobs.SQLArgs{Statement: `SELECT 1`, Role: "postgres"}, fmt.Sprintf(`role "postgres" is not allowed; this worker allows %s (TOWPATH_SQL_ROLES)`, role)},
		"nonsense":     {jobs.SQLArgs{Statement: `DELTE FROM x`}, "syntax error"},
		"two":          {jobs.SQLArgs{Statement: `RESET ROLE; SELECT * FROM public.salary`}, "cannot insert multiple commands"},
		"commits":      {jobs.SQLArgs{Statement: `COMMIT`}, "the statement ended its transaction; leave BEGIN, COMMIT and ROLLBACK out"},
		"writes":       {jobs.SQLArgs{Statement: `DELETE FROM public.cart`, ReadOnly: true}, "read-only transaction"},
	} {
		result := run(test.args)
		require.ErrorContains(t, result.Err(), test.want, name)
		require.Equal(t, rivertype.JobStateDiscarded, result.State, name)
		require.Len(t, result.Job.Errors, 1, name)
	}
	result = run(jobs.SQLArgs{Statement: `SELECT count(*) FROM public.cart`, ReadOnly: true})
	require.NoError(t, result.Err())
	require.Equal(t, "20", string(output[builtin.SQLOutput](t, result.Job).Rows[0][0]))

	// What a statement sets is gone with it: whoever gets the pool's next connection is the login, with its own path.
	require.NoError(t, run(jobs.SQLArgs{Statement: `SELECT set_config('search_path', 'nowhere', false), set_config('role', current_user, false)`}).Err())
	for range 30 {
		var user, path string
		require.NoError(t, r.Client().Driver().GetExecutor().QueryRow(t.Context(), `SELECT current_user::text, current_setting('search_path')`).Scan(&user, &path))
		require.Equal(t, pool.Config().ConnConfig.User, user)
		require.NotContains(t, path, "nowhere")
	}
}

func TestSQLEndsWithItsLimit(t *testing.T) {
	t.Parallel()
	pool, role := sqlDatabase(t)
	r := start(t, pool, builtin.Config{SQLRoles: []string{role}})
	id := insert(t, r, jobs.SQLArgs{Statement: `SELECT pg_sleep(600)`, TimeoutSeconds: 0.1})
	require.Eventually(t, func() bool {
		job, err := r.Client().JobGet(t.Context(), id)
		return err == nil && len(job.Errors) > 0
	}, patience, patience/1000)
	job, err := r.Client().JobGet(t.Context(), id)
	require.NoError(t, err)
	require.Contains(t, job.Errors[0].Error, "the statement ran into its time limit of 100ms; set timeout_seconds")
	_, err = r.Client().JobCancel(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateCancelled, await(t, r, id).State)

	// The server stops working for a job that is cancelled.
	id = insert(t, r, jobs.SQLArgs{Statement: `SELECT pg_sleep(601)`})
	sleeping := func() (n int) {
		require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(601)' AND state = 'active'`).Scan(&n))
		return n
	}
	require.Eventually(t, func() bool { return sleeping() == 1 }, patience, patience/1000)
	_, err = r.Client().JobCancel(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateCancelled, await(t, r, id).State)
	require.Eventually(t, func() bool { return sleeping() == 0 }, patience, patience/1000)
}

// Statements are off until roles are allowed, and must say which of several they want.
func TestSQLRoles(t *testing.T) {
	t.Parallel()
	result := work(t, builtin.Config{}, jobs.SQLArgs{Statement: "SELECT 1"})
	require.EqualError(t, result.Err, "this worker runs no statements; allow it roles with TOWPATH_SQL_ROLES, such as TOWPATH_SQL_ROLES=reporting")
	require.Equal(t, rivertype.JobStateDiscarded, result.Job.State)
	result = work(t, builtin.Config{SQLRoles: []string{"a", "b"}}, jobs.SQLArgs{Statement: "SELECT 1"})
	require.EqualError(t, result.Err, "role is missing, and this worker allows several; give one of a, b")
}

// A login of their own leaves statements nothing to step back into.
func TestSQLOwnLogin(t *testing.T) {
	t.Parallel()
	pool, role := sqlDatabase(t)
	super := testdb.Super(t, pool)
	login := role + "_login"
	name := pgx.Identifier{login}.Sanitize()
	_, err := super.Exec(t.Context(), `CREATE ROLE `+name+` LOGIN NOINHERIT PASSWORD 'p'; GRANT `+pgx.Identifier{role}.Sanitize()+` TO `+name)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := super.Exec(context.WithoutCancel(t.Context()), `DROP ROLE `+name)
		require.NoError(t, err)
	})
	config := pool.Config().ConnConfig
	url := fmt.Sprintf("host=%s port=%d dbname=%s user=%s password=p", config.Host, config.Port, config.Database, login)
	r := start(t, pool, builtin.Config{SQLRoles: []string{role}, SQLDatabaseURL: url})
	result := await(t, r, insert(t, r, jobs.SQLArgs{Statement: `DELETE FROM public.cart WHERE id = 1`}))
	require.NoError(t, result.Err())
	require.EqualValues(t, 1, output[builtin.SQLOutput](t, result.Job).Affected)
	result = await(t, r, insert(t, r, jobs.SQLArgs{Statement: `DO $$ BEGIN RESET ROLE; PERFORM * FROM towpath.river_job; END $$`}))
	require.ErrorContains(t, result.Err(), "permission denied for schema towpath")
}
