package migrate_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/migrate"
	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/migrations"
)

// newest is the last version of our line.
func newest(t *testing.T) int {
	t.Helper()
	m, _ := newMigrator(t, testdb.Empty(t))
	all, err := m.Status(t.Context())
	require.NoError(t, err)
	return all[len(all)-1].Version
}

func TestCheckOfANewerSchema(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	m, lines := newMigrator(t, pool)
	requireCurrent(t, m)

	exec(t, pool, `INSERT INTO towpath.river_migration (line, version) VALUES ('towpath', 900), ('somebody_else', 1)`)
	check, err := m.Check(t.Context())
	require.NoError(t, err)
	require.Equal(t, migrate.CheckResult{State: migrate.Newer, Unknown: []string{"towpath 900"}}, check)
	require.NoError(t, check.Err(), "a newer schema serves the release before it")
	require.NoError(t, m.Up(t.Context()))
	require.Empty(t, lines())

	all, err := m.Status(t.Context())
	require.NoError(t, err)
	last := all[len(all)-1]
	require.Equal(t, 900, last.Version)
	require.Empty(t, last.Name)
	require.NotNil(t, last.AppliedAt)

	require.ErrorContains(t, m.Down(t.Context(), migrate.DownOptions{Line: "towpath"}), "towpath 900, which this program does not know")

	exec(t, pool, `DELETE FROM towpath.river_migration WHERE line = 'towpath' AND version < 900`)
	check, err = m.Check(t.Context())
	require.NoError(t, err)
	require.Equal(t, migrate.Older, check.State, "what is missing outweighs what is unknown")
}

func TestStatusOfAnOldRiver(t *testing.T) {
	t.Parallel()
	pool := testdb.Empty(t)
	riverUp(t, pool, "towpath", 4) // no column line yet
	m, _ := newMigrator(t, pool)
	all, err := m.Status(t.Context())
	require.NoError(t, err)
	applied := 0
	for _, migration := range all {
		if migration.AppliedAt != nil {
			applied++
			require.Equal(t, "main", migration.Line)
		}
		require.NotEmpty(t, migration.Name)
	}
	require.Equal(t, 4, applied)
}

func TestDown(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	m, lines := newMigrator(t, pool)
	ctx := t.Context()

	require.ErrorContains(t, m.Down(ctx, migrate.DownOptions{Line: "pro"}), `line "pro" does not exist; choose one of main, towpath`)
	require.ErrorContains(t, m.Down(ctx, migrate.DownOptions{Line: "main"}), "run `towpath migrate down --line towpath --to 0`")
	require.ErrorContains(t, m.Down(ctx, migrate.DownOptions{Line: "towpath", To: -1}), "version -1 does not exist")

	exec(t, pool, `INSERT INTO towpath.process (client_id) VALUES ('alive'), ('stopped')`)
	exec(t, pool, `UPDATE towpath.process SET stopped_at = now() WHERE client_id = 'stopped'`)
	require.ErrorContains(t, m.Down(ctx, migrate.DownOptions{Line: "towpath"}), "1 processes are alive (alive); stop them, or add --force")

	last := newest(t)
	if last > 1 {
		require.NoError(t, m.Down(ctx, migrate.DownOptions{Line: "towpath", To: last - 1, Force: true}))
		check, err := m.Check(ctx)
		require.NoError(t, err)
		require.Len(t, check.Missing, 1)
	}

	// Finished jobs go back to where River keeps them.
	exec(t, pool, `INSERT INTO towpath.job_history (id, args, attempt, created_at, finalized_at, kind, max_attempts, metadata, priority, queue, state, scheduled_at, tags)
		SELECT i, '{}', 1, now(), now(), 'k', 5, '{}', 1, 'default', 'completed', now(), '{}' FROM generate_series(1, 100) i`)
	require.NoError(t, m.Down(ctx, migrate.DownOptions{Line: "towpath", Force: true}))
	require.Equal(t, 100, scan[int](t, pool, `SELECT count(*) FROM towpath.river_job WHERE state = 'completed'`))
	require.Equal(t, 1, reported(lines(), "undid towpath 001"))

	require.NoError(t, m.Down(ctx, migrate.DownOptions{Line: "main"}))
	require.Zero(t, scan[int](t, pool, `SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'towpath'`))
	require.NoError(t, m.Up(ctx))
	requireCurrent(t, m)
}

func TestSQLIsWhatUpDoes(t *testing.T) {
	t.Parallel()
	pool := testdb.Empty(t)
	m, _ := newMigrator(t, pool, migrate.WithApp(files("001_a.up.sql", "CREATE SCHEMA app; CREATE TABLE app.t (id int)")))
	script, err := m.SQL(t.Context(), false)
	require.NoError(t, err)
	all, err := m.SQL(t.Context(), true)
	require.NoError(t, err)
	require.Equal(t, all, script, "everything is missing")
	require.NotContains(t, script, "TEMPLATE")
	runScript(t, pool, script)
	requireCurrent(t, m)
	require.Equal(t, 1, scan[int](t, pool, `SELECT count(*) FROM towpath.river_migration WHERE line = 'app'`))

	script, err = m.SQL(t.Context(), false)
	require.NoError(t, err)
	require.Empty(t, script)
}

func TestSQLOfATableWithJobs(t *testing.T) {
	t.Parallel()
	pool := testdb.Empty(t)
	riverUp(t, pool, "towpath", 0)
	exec(t, pool, strings.ReplaceAll(insertJobs, "%s", "towpath"))
	m, _ := newMigrator(t, pool)
	script, err := m.SQL(t.Context(), false)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(script, `CREATE INDEX CONCURRENTLY IF NOT EXISTS towpath_job_available_idx ON "towpath".river_job`), script[:200])
	require.Contains(t, script, `DROP INDEX CONCURRENTLY IF EXISTS "towpath"."river_job_args_index";`)
	require.NotContains(t, script, "-- main")
	for statement := range strings.SplitSeq(script[:strings.Index(script, "-- "+migrations.Line)], ";\n") {
		if strings.TrimSpace(statement) != "" {
			exec(t, pool, statement)
		}
	}
	runScript(t, pool, script[strings.Index(script, "-- "+migrations.Line):])
	requireCurrent(t, m)
}
