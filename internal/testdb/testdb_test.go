package testdb_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
)

func count(t *testing.T, pool *pgxpool.Pool, query string, args ...any) int {
	t.Helper()
	var n int
	require.NoError(t, pool.QueryRow(t.Context(), query, args...).Scan(&n))
	return n
}

const addQueue = `INSERT INTO towpath.river_queue (name, created_at, updated_at) VALUES ('mine', now(), now())`

func TestPoolIsATestsOwn(t *testing.T) {
	t.Parallel()
	one, other := testdb.Pool(t), testdb.Pool(t)
	_, err := one.Exec(t.Context(), addQueue)
	require.NoError(t, err)
	require.Equal(t, 1, count(t, one, `SELECT count(*) FROM towpath.river_queue`))
	require.Zero(t, count(t, other, `SELECT count(*) FROM towpath.river_queue`))
}

func TestConnectsAsThePlainOwner(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	var owner, super bool
	require.NoError(t, pool.QueryRow(t.Context(), `
		SELECT pg_catalog.pg_get_userbyid(datdba) = current_user, (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
		FROM pg_catalog.pg_database WHERE datname = current_database()`).Scan(&owner, &super))
	require.True(t, owner)
	if !externalServer() {
		require.False(t, super)
	}
}

func TestDatabaseIsDroppedAtTheEnd(t *testing.T) {
	watch := testdb.Empty(t)
	const named = `SELECT count(*) FROM pg_catalog.pg_database WHERE datname = $1`
	var name string
	t.Run("inner", func(t *testing.T) {
		pool := testdb.Pool(t)
		name = pool.Config().ConnConfig.Database
		require.Equal(t, 1, count(t, pool, named, name))
	})
	require.Zero(t, count(t, watch, named, name))
}

func TestEmptyHasNoMigrations(t *testing.T) {
	t.Parallel()
	require.Zero(t, count(t, testdb.Empty(t), `SELECT count(*) FROM pg_catalog.pg_namespace WHERE nspname = 'towpath'`))
}

func TestTxIsRolledBack(t *testing.T) {
	for range 2 {
		t.Run("tx", func(t *testing.T) {
			tx := testdb.Tx(t)
			_, err := tx.Exec(t.Context(), addQueue)
			require.NoError(t, err, "the same row fits in again")
		})
	}
	t.Run("committed", func(t *testing.T) {
		require.NoError(t, testdb.Tx(t).Rollback(t.Context()), "a test may end its transaction itself")
	})
}

func TestSuperReachesTheSameDatabase(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	super := testdb.Super(t, pool)
	require.Equal(t, pool.Config().ConnConfig.Database, super.Config().ConnConfig.Database)
	conn, err := pool.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	_, err = super.Exec(t.Context(), `SELECT pg_catalog.pg_terminate_backend($1)`, int(conn.Conn().PgConn().PID()))
	require.NoError(t, err)
	require.Error(t, conn.Ping(t.Context()))
}

// recorder is a test whose failure is looked at.
type recorder struct {
	*testing.T

	cleanups []func()
	errors   []string
}

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Errorf(format string, a ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, a...))
}

func TestConnectionLeakFailsTheTest(t *testing.T) {
	t.Parallel()
	inner := &recorder{T: t}
	pool := testdb.Pool(inner)
	_, err := pool.Acquire(t.Context())
	require.NoError(t, err)
	for _, cleanup := range slices.Backward(inner.cleanups) {
		cleanup()
	}
	require.Equal(t, []string{"close the test's pool: 1 connections are still in use"}, inner.errors)
}
