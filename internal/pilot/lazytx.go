package pilot

import (
	"context"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// lazyTx is a transaction that begins with its first statement. River's scheduler opens one every few seconds on every
// leader, in which there is mostly nothing to do since due jobs are looked after elsewhere; an idle process should not
// cost the server two round trips for that.
type lazyTx struct {
	db beginner

	mu    sync.Mutex
	tx    pgx.Tx // nil until the first statement
	ended bool
}

// begun returns the transaction, and begins it where that was not done yet.
func (l *lazyTx) begun(ctx context.Context) (pgx.Tx, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tx != nil {
		return l.tx, nil
	}
	if l.ended {
		return nil, pgx.ErrTxClosed
	}
	tx, err := l.db.Begin(ctx)
	if err != nil {
		return nil, err
	}
	l.tx = tx
	return tx, nil
}

// untouched reports whether the transaction is one of the pool's in which nothing has been done yet.
func (l *lazyTx) untouched(pool *pgxpool.Pool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tx == nil && !l.ended && pool != nil && l.db == beginner(pool)
}

// end ends the transaction where it has begun.
func (l *lazyTx) end(end func(pgx.Tx) error) error {
	l.mu.Lock()
	tx, ended := l.tx, l.ended
	l.ended = true
	l.mu.Unlock()
	switch {
	case tx != nil:
		return end(tx)
	case ended:
		return pgx.ErrTxClosed
	default:
		return nil
	}
}

// Commit commits what was done, if anything.
func (l *lazyTx) Commit(ctx context.Context) error {
	return l.end(func(tx pgx.Tx) error { return tx.Commit(ctx) })
}

// Rollback undoes what was done, if anything.
func (l *lazyTx) Rollback(ctx context.Context) error {
	return l.end(func(tx pgx.Tx) error { return tx.Rollback(ctx) })
}

// Begin opens a savepoint.
func (l *lazyTx) Begin(ctx context.Context) (pgx.Tx, error) {
	tx, err := l.begun(ctx)
	if err != nil {
		return nil, err
	}
	return tx.Begin(ctx)
}

// Exec implements pgx.Tx.
func (l *lazyTx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	tx, err := l.begun(ctx)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	return tx.Exec(ctx, sql, args...)
}

// Query implements pgx.Tx.
func (l *lazyTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	tx, err := l.begun(ctx)
	if err != nil {
		return nil, err
	}
	return tx.Query(ctx, sql, args...)
}

// QueryRow implements pgx.Tx.
func (l *lazyTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	tx, err := l.begun(ctx)
	if err != nil {
		return errRow{err}
	}
	return tx.QueryRow(ctx, sql, args...)
}

// CopyFrom implements pgx.Tx.
func (l *lazyTx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, source pgx.CopyFromSource) (int64, error) {
	tx, err := l.begun(ctx)
	if err != nil {
		return 0, err
	}
	return tx.CopyFrom(ctx, table, columns, source)
}

// SendBatch implements pgx.Tx.
func (l *lazyTx) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	tx, err := l.begun(ctx)
	if err != nil {
		return errBatch{err: err}
	}
	return tx.SendBatch(ctx, batch)
}

// Prepare implements pgx.Tx.
func (l *lazyTx) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	tx, err := l.begun(ctx)
	if err != nil {
		return nil, err
	}
	return tx.Prepare(ctx, name, sql)
}

// LargeObjects implements pgx.Tx. They need a transaction that has begun.
func (l *lazyTx) LargeObjects() pgx.LargeObjects {
	tx, err := l.begun(context.Background())
	if err != nil {
		return pgx.LargeObjects{}
	}
	return tx.LargeObjects()
}

// Conn returns the connection, which is nil when none can be had. River asks it for its mode before every statement.
func (l *lazyTx) Conn() *pgx.Conn {
	tx, err := l.begun(context.Background())
	if err != nil {
		return nil
	}
	return tx.Conn()
}

// errRow is the row of a query that could not be sent.
type errRow struct{ err error }

// Scan returns the reason.
func (r errRow) Scan(...any) error { return r.err }

// errBatch is the result of a batch that could not be sent.
type errBatch struct {
	pgx.BatchResults // nil
	err              error
}

// Exec returns the reason.
func (b errBatch) Exec() (pgconn.CommandTag, error) { return pgconn.CommandTag{}, b.err }

// Query returns the reason.
func (b errBatch) Query() (pgx.Rows, error) { return nil, b.err }

// QueryRow returns the reason when it is scanned.
func (b errBatch) QueryRow() pgx.Row { return errRow{b.err} }

// Close returns the reason.
func (b errBatch) Close() error { return b.err }
