package pilot

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
)

// onePool is a pool with a single connection, so that a test sees what that has prepared.
func onePool(t *testing.T, mode pgx.QueryExecMode) *pgxpool.Pool {
	t.Helper()
	config := testdb.Pool(t).Config()
	config.MinConns, config.MaxConns = 0, 1
	config.ConnConfig.DefaultQueryExecMode = mode
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

// preparedFetches is how many preparations of the fetch the pool's connection has, and when the last one was made.
func preparedFetches(t *testing.T, pool *pgxpool.Pool) (n int, last *time.Time) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*), max(prepare_time) FROM pg_prepared_statements
		WHERE statement LIKE '%claimed AS%' AND statement NOT LIKE '%pg_prepared%'`).Scan(&n, &last))
	return n, last
}

func (p *process) onConn(do func(conn *pgx.Conn)) {
	p.t.Helper()
	require.NoError(p.t, p.pool.AcquireFunc(p.t.Context(), func(conn *pgxpool.Conn) error {
		do(conn.Conn())
		return nil
	}))
}

func TestHotStatementsAreKeptForAWhile(t *testing.T) {
	t.Parallel()
	pool := onePool(t, pgx.QueryExecModeCacheStatement)
	p := newProcess(t, pool, "p")
	sql := fetchStatement.in(testSchema)
	p.fetch(1)
	n, first := preparedFetches(t, pool)
	require.Equal(t, 1, n)
	p.fetch(1)
	n, again := preparedFetches(t, pool)
	require.Equal(t, 1, n)
	require.Equal(t, first, again)

	p.onConn(func(conn *pgx.Conn) { plansOf(conn)[sql] = time.Now().Add(-planAge) })
	p.fetch(1)
	n, renewed := preparedFetches(t, pool)
	require.Equal(t, 1, n, "the old one is gone")
	require.True(t, renewed.After(*first))
}

func TestLostPreparationIsNoError(t *testing.T) {
	t.Parallel()
	pool := onePool(t, pgx.QueryExecModeCacheStatement)
	p := newProcess(t, pool, "p")
	exec(t, pool, `CREATE TABLE towpath.quay AS SELECT 1 AS berth`)
	berth := func() (text string) {
		t.Helper()
		require.NoError(t, p.executor().hot(t.Context(), "SELECT berth FROM SCHEMA.quay", testSchema, nil, func(rows pgx.Rows) error {
			_, err := pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (struct{}, error) {
				text = string(row.RawValues()[0])
				return struct{}{}, nil
			})
			return err
		}))
		return text
	}
	require.Equal(t, "\x00\x00\x00\x01", berth())
	p.onConn(func(conn *pgx.Conn) {
		_, err := conn.PgConn().Exec(t.Context(), "DEALLOCATE ALL").ReadAll()
		require.NoError(t, err)
	})
	require.Equal(t, "\x00\x00\x00\x01", berth())
	require.Equal(t, "\x00\x00\x00\x01", berth())
	_, err := pool.Exec(t.Context(), `ALTER TABLE towpath.quay ALTER berth TYPE text`, pgx.QueryExecModeExec)
	require.NoError(t, err)
	require.Equal(t, "1", berth(), "its result has another type")
	require.Equal(t, "1", berth())
}

// A statement that fails otherwise fails once, and says why.
func TestHotStatementThatFails(t *testing.T) {
	t.Parallel()
	p := newProcess(t, onePool(t, pgx.QueryExecModeCacheStatement), "p")
	calls := 0
	err := p.executor().hot(t.Context(), "SELECT 1 / $1::int", testSchema, []any{0}, func(rows pgx.Rows) error {
		calls++
		rows.Close()
		return rows.Err()
	})
	require.ErrorContains(t, err, "division by zero")
	require.Equal(t, 1, calls)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, p.executor().hot(ended, "SELECT 1", testSchema, nil, func(pgx.Rows) error { return nil }), context.Canceled)
}

// Where statements must not be prepared, behind a pooler, none is.
func TestHotStatementsBehindAPooler(t *testing.T) {
	t.Parallel()
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeExec, pgx.QueryExecModeDescribeExec} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			pool := onePool(t, mode)
			p := newProcess(t, pool, "p")
			insertMany(t, pool, 1)
			require.Len(t, p.fetch(1), 1)
			n, _ := preparedFetches(t, pool)
			require.Zero(t, n)
		})
	}
}
