package migrate_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/migrate"
	"github.com/towpath/towpath/internal/testdb"
)

// testLimit is far more than anything here takes.
const testLimit = time.Minute

// newMigrator returns a Migrator and what it reports.
func newMigrator(t *testing.T, pool *pgxpool.Pool, opts ...migrate.Option) (*migrate.Migrator, func() []string) {
	t.Helper()
	var (
		mu    sync.Mutex
		lines []string
	)
	m, err := migrate.New(pool, append(opts, migrate.WithReport(func(line string) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, line)
	}))...)
	require.NoError(t, err)
	return m, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), lines...)
	}
}

func reported(lines []string, part string) int {
	n := 0
	for _, line := range lines {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}

// riverUp applies River's own line up to a version (0: all) in a schema, as River's own command would.
func riverUp(t *testing.T, pool *pgxpool.Pool, schema string, to int) {
	t.Helper()
	exec(t, pool, "CREATE SCHEMA IF NOT EXISTS "+pgx.Identifier{schema}.Sanitize())
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Schema: schema})
	require.NoError(t, err)
	_, err = migrator.Migrate(t.Context(), rivermigrate.DirectionUp, &rivermigrate.MigrateOpts{TargetVersion: to})
	require.NoError(t, err)
}

func exec(t *testing.T, pool *pgxpool.Pool, sql string) {
	t.Helper()
	_, err := pool.Exec(t.Context(), sql)
	require.NoError(t, err, sql)
}

func scan[T any](t *testing.T, pool *pgxpool.Pool, sql string) T {
	t.Helper()
	var value T
	require.NoError(t, pool.QueryRow(t.Context(), sql).Scan(&value), sql)
	return value
}

func requireCurrent(t *testing.T, m *migrate.Migrator) {
	t.Helper()
	check, err := m.Check(t.Context())
	require.NoError(t, err)
	require.Equal(t, migrate.CheckResult{State: migrate.Current}, check)
	require.NoError(t, check.Err())
}

const insertJobs = `INSERT INTO %s.river_job (kind, args, max_attempts, state, finalized_at)
	SELECT 'k', '{}', 5, 'available', NULL FROM generate_series(1, 1000)`

func TestUpOnAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	m, lines := newMigrator(t, testdb.Empty(t))
	before, err := m.Check(t.Context())
	require.NoError(t, err)
	require.Equal(t, migrate.Older, before.State)
	require.Contains(t, before.Missing, "main 001")
	require.Contains(t, before.Missing, "towpath 001")
	require.ErrorIs(t, before.Err(), migrate.ErrOlder)
	require.ErrorContains(t, before.Err(), "towpath migrate up")

	require.NoError(t, m.Up(t.Context()))
	requireCurrent(t, m)
	done := len(lines())
	require.Equal(t, 1, reported(lines(), "applied towpath 001"))
	require.Zero(t, reported(lines(), "building index"), "an empty table needs no care")

	require.NoError(t, m.Up(t.Context()))
	require.Len(t, lines(), done, "there was nothing left to do")
}

func TestUpTenAtOnce(t *testing.T) {
	t.Parallel()
	tests := map[string]func(t *testing.T, pool *pgxpool.Pool){
		"empty":       func(*testing.T, *pgxpool.Pool) {},
		"old River":   func(t *testing.T, pool *pgxpool.Pool) { t.Helper(); riverUp(t, pool, "towpath", 4) },
		"River alone": func(t *testing.T, pool *pgxpool.Pool) { t.Helper(); riverUp(t, pool, "towpath", 0) },
		"with jobs": func(t *testing.T, pool *pgxpool.Pool) {
			// Those who wait must not keep the concurrent builds waiting.
			t.Helper()
			riverUp(t, pool, "towpath", 0)
			exec(t, pool, strings.ReplaceAll(insertJobs, "%s", "towpath"))
		},
	}
	for name, begin := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := testdb.Empty(t)
			begin(t, pool)
			ctx, cancel := context.WithTimeout(t.Context(), testLimit)
			defer cancel()
			start, errs := make(chan struct{}), make(chan error, 10)
			m, lines := newMigrator(t, pool)
			for range 10 {
				go func() {
					<-start
					errs <- m.Up(ctx)
				}()
			}
			close(start)
			for range 10 {
				require.NoError(t, <-errs)
			}
			requireCurrent(t, m)
			require.Equal(t, 1, reported(lines(), "applied towpath 001"), "each migration is applied once")
			require.Zero(t, reported(lines(), "trying again"), "the lock keeps them apart")
		})
	}
}

// Without the lock, a migration that another process made at the same moment is no failure.
func TestUpWithoutAdvisoryLock(t *testing.T) {
	t.Parallel()
	pool := testdb.Empty(t)
	errs := make(chan error, 10)
	m, _ := newMigrator(t, pool)
	for range 10 {
		go func() { errs <- m.UpUnlocked(t.Context()) }()
	}
	for range 10 {
		require.NoError(t, <-errs)
	}
	requireCurrent(t, m)
}

// Postgres may choose the one who looks as the victim of a deadlock with a migration of the table that tells of migrations.
func TestLookDuringMigration(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	index := scan[string](t, pool, `SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'towpath.river_migration'::regclass`)
	waits := `SELECT EXISTS (SELECT FROM pg_locks JOIN pg_database d ON d.oid = database
		WHERE datname = current_database() AND NOT granted AND relation = '` + index + `'::regclass)`
	m, _ := newMigrator(t, pool)
	// Whoever has waited for a second looks for deadlocks and gives way. On a busy machine that may be the migration.
	for victim := false; !victim; {
		tx, err := pool.Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), `ALTER INDEX `+index+` SET TABLESPACE pg_default`)
		require.NoError(t, err)
		looked := make(chan error, 1)
		go func() {
			_, err := m.Check(t.Context())
			looked <- err
		}()
		require.Eventually(t, func() bool { return scan[bool](t, pool, waits) }, testLimit, 10*time.Millisecond)
		_, err = tx.Exec(t.Context(), `LOCK TABLE towpath.river_migration`) // waits for the one who waits for us
		victim = err == nil
		require.NoError(t, tx.Rollback(t.Context()))
		require.NoError(t, <-looked)
	}
}

func TestUpBuildsIndexesConcurrently(t *testing.T) {
	t.Parallel()
	pool := testdb.Empty(t)
	riverUp(t, pool, "towpath", 0)
	exec(t, pool, strings.ReplaceAll(insertJobs, "%s", "towpath"))
	leaveInvalidIndex(t, pool)

	m, lines := newMigrator(t, pool)
	require.NoError(t, m.Up(t.Context()))
	requireCurrent(t, m)
	require.Equal(t, 4, reported(lines(), "built index towpath_job_"))
	require.Equal(t, 5, reported(lines(), "dropped index river_job_"))
	require.Zero(t, scan[int](t, pool, `SELECT count(*) FROM pg_index WHERE NOT indisvalid`))
	require.Equal(t, []string{
		"river_job_pkey", "river_job_unique_idx",
		"towpath_job_available_idx", "towpath_job_due_idx", "towpath_job_finalized_idx", "towpath_job_running_idx",
	}, scan[[]string](t, pool, `SELECT array_agg(indexname::text ORDER BY indexname::text COLLATE "C") FROM pg_indexes
		WHERE schemaname = 'towpath' AND tablename = 'river_job'`))
	require.Equal(t, 1000, scan[int](t, pool, `SELECT count(*) FROM towpath.river_job`))
}

// leaveInvalidIndex interrupts a concurrent build while it waits for a transaction that wrote to the table.
func leaveInvalidIndex(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `UPDATE towpath.river_job SET priority = 2 WHERE id = 1`)
	require.NoError(t, err)
	built := make(chan error, 1)
	go func() {
		_, err := pool.Exec(t.Context(), `CREATE INDEX CONCURRENTLY towpath_job_due_idx ON towpath.river_job (id)`)
		built <- err
	}()
	require.Eventually(t, func() bool {
		return scan[int](t, pool, `SELECT count(*) FROM pg_index WHERE NOT indisvalid`) == 1
	}, testLimit, 10*time.Millisecond)
	exec(t, pool, `SELECT pg_cancel_backend(pid) FROM pg_stat_activity
		WHERE query LIKE 'CREATE INDEX CONCURRENTLY towpath%' AND datname = current_database()`)
	require.Error(t, <-built)
	require.NoError(t, tx.Rollback(t.Context()))
	require.Equal(t, 1, scan[int](t, pool, `SELECT count(*) FROM pg_index WHERE NOT indisvalid`))
}
