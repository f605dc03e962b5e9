package migrate_test

import (
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/migrate"
	"github.com/towpath/towpath/internal/testdb"
)

// files makes a file system of names and contents.
func files(pairs ...string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		fsys[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return fsys
}

// runScript runs many statements as psql would with -f.
func runScript(t *testing.T, pool *pgxpool.Pool, script string) {
	t.Helper()
	conn, err := pool.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	_, err = conn.Conn().PgConn().Exec(t.Context(), script).ReadAll()
	require.NoError(t, err)
}

func TestAppMigrations(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	one := files(
		"README.md", "not a migration",
		"001_tables.up.sql", "CREATE SCHEMA shop; CREATE TABLE shop.item (id bigint PRIMARY KEY); INSERT INTO shop.item VALUES (1), (2);",
		"001_tables.down.sql", "DROP SCHEMA shop CASCADE;",
	)
	m, lines := newMigrator(t, pool, migrate.WithApp(one))
	check, err := m.Check(t.Context())
	require.NoError(t, err)
	require.Equal(t, migrate.CheckResult{State: migrate.Older, Missing: []string{"app 001"}}, check)
	require.NoError(t, m.Up(t.Context()))
	require.Equal(t, []string{"app 001 tables"}, trimDurations(lines()))
	require.Equal(t, 2, scan[int](t, pool, `SELECT count(*) FROM shop.item`))

	two := files(
		"001_tables.up.sql", string(one["001_tables.up.sql"].Data), "001_tables.down.sql", "DROP SCHEMA shop CASCADE;",
		"002_fails.up.sql", "INSERT INTO shop.item VALUES (3); SELECT 1/0;",
	)
	m, _ = newMigrator(t, pool, migrate.WithApp(two))
	require.ErrorContains(t, m.Up(t.Context()), `migrate line "app" up`)
	require.Equal(t, 2, scan[int](t, pool, `SELECT count(*) FROM shop.item`), "a migration is there or not")

	two["002_fails.up.sql"].Data = []byte("INSERT INTO shop.item VALUES (3)")
	m, _ = newMigrator(t, pool, migrate.WithApp(two))
	require.NoError(t, m.Up(t.Context()))
	require.Equal(t, 3, scan[int](t, pool, `SELECT count(*) FROM shop.item`))

	plain, _ := newMigrator(t, pool)
	requireCurrent(t, plain)
	require.ErrorContains(t, plain.Down(t.Context(), migrate.DownOptions{Line: "towpath"}), `line "app" stands on line "towpath"`)
	require.ErrorContains(t, m.Down(t.Context(), migrate.DownOptions{Line: "app"}), "migration app 002 has no down file")
	require.Equal(t, 3, scan[int](t, pool, `SELECT count(*) FROM shop.item`))

	two["002_fails.down.sql"] = &fstest.MapFile{Data: []byte("DELETE FROM shop.item WHERE id = 3")}
	m, _ = newMigrator(t, pool, migrate.WithApp(two))
	require.NoError(t, m.Down(t.Context(), migrate.DownOptions{Line: "app", To: 1}))
	require.Equal(t, 2, scan[int](t, pool, `SELECT count(*) FROM shop.item`))
	require.NoError(t, m.Down(t.Context(), migrate.DownOptions{Line: "app"}))
	require.False(t, scan[bool](t, pool, `SELECT to_regclass('shop.item') IS NOT NULL`))
}

// trimDurations leaves of "applied app 001 tables (3ms)" what does not change.
func trimDurations(lines []string) []string {
	for i, line := range lines {
		lines[i] = line[len("applied ") : len(line)-len(line[lastIndex(line, '('):])-1]
	}
	return lines
}

func lastIndex(text string, c byte) int {
	for i := len(text) - 1; i >= 0; i-- {
		if text[i] == c {
			return i
		}
	}
	return len(text)
}

func TestAppMigrationsOutOfOrder(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		files fstest.MapFS
		want  string
	}{
		"no file":       {files("README.md", "x"), "hold no file such as 001_create_tables.up.sql"},
		"bad name":      {files("1_a.up.sql", "x"), `"1_a.up.sql": name it like 001_create_tables.up.sql`},
		"no direction":  {files("001_a.sql", "x"), `"001_a.sql": name it like`},
		"wide number":   {files("0001_a.up.sql", "x"), `"0001_a.up.sql": write its number with three digits`},
		"zero":          {files("000_a.up.sql", "x", "001_b.up.sql", "x"), "number the files from 001 without gaps"},
		"gap":           {files("001_a.up.sql", "x", "003_b.up.sql", "x"), "migration 002 is missing"},
		"same number":   {files("001_a.up.sql", "x", "001_b.up.sql", "x"), `"001_a.up.sql" and "001_b.up.sql" have the same number`},
		"down alone":    {files("001_a.up.sql", "x", "002_b.down.sql", "x"), "002 has a down file alone"},
		"empty":         {files("001_a.up.sql", " \n"), `"001_a.up.sql": it is empty`},
		"down of other": {files("001_a.up.sql", "x", "001_a.down.sql", "x", "001_b.down.sql", "x"), "have the same number"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := migrate.New(nil, migrate.WithApp(test.files))
			require.ErrorContains(t, err, test.want)
		})
	}
}
