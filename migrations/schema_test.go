package migrations_test

import (
	"fmt"
	"io/fs"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/jobs/driver"
	"github.com/towpath/towpath/migrations"
)

func TestEverythingHasAComment(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)

	// River's own objects are River's to explain; a partition is explained by its parent.
	require.Empty(t, all[string](t, tx, `
		SELECT 'relation ' || c.relname FROM pg_class c
		WHERE c.relnamespace = 'towpath'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relispartition AND c.relname NOT LIKE 'river\_%'
			AND obj_description(c.oid, 'pg_class') IS NULL
		UNION ALL
		SELECT 'column ' || c.relname || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		WHERE c.relnamespace = 'towpath'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relispartition AND c.relname NOT LIKE 'river\_%'
			AND col_description(c.oid, a.attnum) IS NULL
		UNION ALL
		SELECT 'function ' || p.oid::regprocedure::text FROM pg_proc p
		WHERE p.pronamespace = 'towpath'::regnamespace AND p.proname NOT LIKE 'river\_%' AND obj_description(p.oid, 'pg_proc') IS NULL`),
		"without COMMENT ON")
}

// Who applies a migration, or takes it back, reads at its head whom that keeps waiting.
func TestEveryMigrationSaysWhatItLocks(t *testing.T) {
	t.Parallel()
	files, err := fs.Glob(migrations.FS(), "migration/"+migrations.Line+"/*.sql")
	require.NoError(t, err)
	require.Len(t, files, 2*versions(t))
	for _, file := range files {
		text, err := fs.ReadFile(migrations.FS(), file)
		require.NoError(t, err)
		require.Contains(t, string(text), "\n-- Locks: ", file)
	}
}

func migrator(t *testing.T, pool *pgxpool.Pool, line, schema string) *rivermigrate.Migrator[pgx.Tx] {
	t.Helper()
	m, err := rivermigrate.New(driver.New(pool), &rivermigrate.Config{Line: line, Schema: schema})
	require.NoError(t, err)
	return m
}

func step(t *testing.T, m *rivermigrate.Migrator[pgx.Tx], direction rivermigrate.Direction, steps int) {
	t.Helper()
	_, err := m.Migrate(t.Context(), direction, &rivermigrate.MigrateOpts{MaxSteps: steps})
	require.NoError(t, err)
}

// versions is how many migrations the line has.
func versions(t *testing.T) int {
	t.Helper()
	files, err := fs.Glob(migrations.FS(), "migration/"+migrations.Line+"/*.up.sql")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	return len(files)
}

// snapshot lists what a schema holds: relations with their columns, indexes, constraints and options, functions with
// their text, and what others than the owner may do.
func snapshot(t *testing.T, db querier, schema string) []string {
	t.Helper()
	rights := func(acl, owner string) string {
		return `coalesce((SELECT string_agg(x.grantee::regrole::text || ' ' || x.privilege_type, ', ' ORDER BY x.grantee, x.privilege_type)
			FROM aclexplode(` + acl + `) x WHERE x.grantee NOT IN (0, ` + owner + `)), '')`
	}
	return all[string](t, db, `
		SELECT 'relation ' || c.relname || ' ' || c.relkind::text || ' ' || coalesce(c.reloptions::text, '') || ' ' || `+rights("c.relacl", "c.relowner")+`
			|| coalesce((SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull::text || ' '
				|| coalesce(pg_get_expr(d.adbin, d.adrelid), ''), ', ' ORDER BY a.attname)
				FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
				WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '')
		FROM pg_class c WHERE c.relnamespace = $1::text::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S')
		UNION ALL
		SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = $1
		UNION ALL
		SELECT 'constraint ' || conrelid::regclass::text || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
		WHERE connamespace = $1::text::regnamespace
		UNION ALL
		SELECT 'function ' || p.oid::regprocedure::text || ' ' || has_function_privilege('public', p.oid, 'EXECUTE')::text || ' '
			|| `+rights("p.proacl", "p.proowner")+` || pg_get_functiondef(p.oid)
		FROM pg_proc p WHERE p.pronamespace = $1::text::regnamespace
		UNION ALL
		SELECT 'schema ' || `+rights("n.nspacl", "n.nspowner")+` FROM pg_namespace n WHERE n.nspname = $1
		ORDER BY 1`, schema)
}

// requireSame compares two snapshots and names no more than what differs.
func requireSame(t *testing.T, want, got []string, message string) {
	t.Helper()
	only := func(lines, others []string) []string {
		left := []string{}
		for _, line := range lines {
			if !slices.Contains(others, line) {
				left = append(left, line[:min(len(line), 300)])
			}
		}
		return left
	}
	require.Empty(t, only(want, got), "%s: lost", message)
	require.Empty(t, only(got, want), "%s: left over", message)
}

// Every migration can be undone: what it leaves is what was there before.
func TestEveryMigrationGoesDownAndUp(t *testing.T) {
	t.Parallel()
	pool := testdb.Empty(t)
	exec(t, pool, `CREATE SCHEMA round`)
	step(t, migrator(t, pool, "main", "round"), rivermigrate.DirectionUp, 0)
	ours := migrator(t, pool, migrations.Line, "round")

	before := make([][]string, versions(t)+1)
	before[0] = snapshot(t, pool, "round")
	for version := 1; version < len(before); version++ {
		step(t, ours, rivermigrate.DirectionUp, 1)
		before[version] = snapshot(t, pool, "round")
		step(t, ours, rivermigrate.DirectionDown, 1)
		requireSame(t, before[version-1], snapshot(t, pool, "round"), fmt.Sprintf("down %03d", version))
		step(t, ours, rivermigrate.DirectionUp, 1)
		requireSame(t, before[version], snapshot(t, pool, "round"), fmt.Sprintf("up %03d again", version))
	}
	for range len(before) - 1 {
		step(t, ours, rivermigrate.DirectionDown, 1)
	}
	requireSame(t, before[0], snapshot(t, pool, "round"), "all down")
}

// The line serves any schema, several in one database, and also the default one of a connection.
func TestAnySchema(t *testing.T) {
	t.Parallel()
	pool := testdb.Empty(t)
	config := pool.Config()
	config.ConnConfig.RuntimeParams["search_path"] = "of_path"
	ofPath, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	defer ofPath.Close()

	tests := []struct {
		schema, template string
		pool             *pgxpool.Pool
	}{{"one", "one", pool}, {"two", "two", pool}, {"Odd_Case", "Odd_Case", pool}, {"of_path", "", ofPath}}
	for _, test := range tests {
		exec(t, pool, `CREATE SCHEMA `+pgx.Identifier{test.schema}.Sanitize())
	}
	t.Run("Migrate", func(t *testing.T) {
		for _, test := range tests {
			t.Run(test.schema, func(t *testing.T) {
				t.Parallel() // as the schemas of River's own suite are
				step(t, migrator(t, test.pool, "main", test.template), rivermigrate.DirectionUp, 0)
				step(t, migrator(t, test.pool, migrations.Line, test.template), rivermigrate.DirectionUp, 0)
			})
		}
	})
	for _, test := range tests {
		t.Run(test.schema, func(t *testing.T) {
			name := pgx.Identifier{test.schema}.Sanitize()
			conn, err := pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig)
			require.NoError(t, err)
			defer conn.Close(t.Context())
			exec(t, conn, `LISTEN `+pgx.Identifier{test.schema + ".river_insert"}.Sanitize())
			exec(t, conn, `LISTEN marker`)

			id := one[int64](t, pool, `SELECT id FROM `+name+`.enqueue('mail.send', unique_key => 'k', tags => '{abc}')`)
			require.True(t, one[bool](t, pool, `SELECT skipped FROM `+name+`.enqueue_many('[{"kind": "mail.send", "unique_key": "k"}]')`))
			exec(t, pool, `NOTIFY marker, 'done'`)
			require.Equal(t, []string{test.schema + `.river_insert {"queue": "default"}`}, notifications(t, conn, "done"))
			require.Equal(t, 1, one[int](t, pool, `SELECT count(*) FROM `+name+`.jobs`))
			require.Equal(t, "no_process", one[string](t, pool, `SELECT reason FROM `+name+`.why($1)`, id))
			require.Equal(t, "cancelled", one[string](t, pool, `SELECT state FROM `+name+`.cancel_job($1)`, id))
			require.Equal(t, "available", one[string](t, pool, `SELECT state FROM `+name+`.retry_jobs(kind => 'mail.send', states => '{cancelled}')`))
			for _, view := range []string{"queues", "kinds", "failures", "counters", "processes", "waiting"} {
				exec(t, pool, `SELECT * FROM `+name+`.`+view)
			}
			require.True(t, one[bool](t, pool, `SELECT `+name+`.refresh_queue_depth()`))
			require.Equal(t, "deleted", one[string](t, pool, `WITH d AS (SELECT * FROM `+name+`.delete_job($1)) SELECT CASE WHEN changed THEN 'deleted' END FROM d`, id))
		})
	}
}

// Migrating is quick, because every schema of River's suite does it.
func TestMigrationsAreQuick(t *testing.T) {
	t.Parallel()
	pool := testdb.Empty(t)
	exec(t, pool, `CREATE SCHEMA quick`)
	step(t, migrator(t, pool, "main", "quick"), rivermigrate.DirectionUp, 0)

	result, err := migrator(t, pool, migrations.Line, "quick").Migrate(t.Context(), rivermigrate.DirectionUp, nil)
	require.NoError(t, err)
	var took time.Duration
	for _, version := range result.Versions {
		t.Logf("%03d %s: %s", version.Version, version.Name, version.Duration)
		took += version.Duration
	}
	require.Less(t, took, 10*time.Second, "on the slowest of machines")
}

func TestFilesAreInOrder(t *testing.T) {
	t.Parallel()

	for version := 1; version <= versions(t); version++ {
		for _, direction := range []string{"up", "down"} {
			pattern := fmt.Sprintf("migration/%s/%03d_*.%s.sql", migrations.Line, version, direction)
			files, err := fs.Glob(migrations.FS(), pattern)
			require.NoError(t, err)
			require.Len(t, files, 1, pattern)
		}
	}
}
