package migrations_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// querier is what a test asks: a pool, a connection or a transaction.
type querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// exec runs a statement that must succeed and returns how many rows it touched.
func exec(t *testing.T, db querier, sql string, args ...any) int64 {
	t.Helper()
	tag, err := db.Exec(t.Context(), sql, args...)
	require.NoError(t, err, sql)
	return tag.RowsAffected()
}

// one returns the single value of the single row of a query.
func one[T any](t *testing.T, db querier, sql string, args ...any) T {
	t.Helper()
	rows, err := db.Query(t.Context(), sql, args...)
	require.NoError(t, err, sql)
	value, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	require.NoError(t, err, sql)
	return value
}

// all returns the values of a query of one column.
func all[T any](t *testing.T, db querier, sql string, args ...any) []T {
	t.Helper()
	rows, err := db.Query(t.Context(), sql, args...)
	require.NoError(t, err, sql)
	values, err := pgx.CollectRows(rows, pgx.RowTo[T])
	require.NoError(t, err, sql)
	return values
}

// refused returns the error that a statement must end with.
func refused(t *testing.T, db querier, sql string, args ...any) *pgconn.PgError {
	t.Helper()
	rows, err := db.Query(t.Context(), sql, args...)
	if err == nil {
		rows.Close()
		err = rows.Err()
	}
	var pgErr *pgconn.PgError
	require.ErrorAs(t, err, &pgErr, "must be refused: %s", sql)
	return pgErr
}

// savepoint runs a test in a transaction that is rolled back, so that an error does not end the one around it.
func savepoint(t *testing.T, tx pgx.Tx, test func(tx pgx.Tx)) {
	t.Helper()
	inner, err := tx.Begin(t.Context())
	require.NoError(t, err)
	test(inner)
	require.NoError(t, inner.Rollback(t.Context()))
}

// notifications returns the payloads that arrive on a listening connection before the marker does.
func notifications(t *testing.T, conn *pgx.Conn, marker string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var payloads []string
	for {
		n, err := conn.WaitForNotification(ctx)
		require.NoError(t, err)
		if n.Payload == marker {
			return payloads
		}
		payloads = append(payloads, n.Channel+" "+n.Payload)
	}
}

// listen opens a connection that hears River's channels and one named marker.
func listen(t *testing.T, config *pgx.ConnConfig) *pgx.Conn {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	exec(t, conn, `LISTEN "towpath.river_insert"`)
	exec(t, conn, `LISTEN "towpath.river_control"`)
	exec(t, conn, `LISTEN marker`)
	return conn
}
