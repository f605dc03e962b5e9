package pilot

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/puddle/v2"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
)

// Executor is River's executor with the statements that have to know about history put in front. It covers what does
// not pass the pilot: reads, lists, counts, the scheduler, COPY.
type Executor struct {
	riverdriver.Executor
	db      querier
	inTx    bool // the transaction is the caller's
	storage *Storage

	// On a pool: how to begin a transaction, and River's executor of it.
	pool   beginner
	unwrap func(pgx.Tx) riverdriver.ExecutorTx
}

// NewPoolExecutor wraps River's executor of a pool; unwrap returns River's executor of a transaction.
func NewPoolExecutor(river riverdriver.Executor, pool *pgxpool.Pool, storage *Storage, unwrap func(pgx.Tx) riverdriver.ExecutorTx) *Executor {
	return &Executor{Executor: river, db: pool, storage: storage, pool: pool, unwrap: unwrap}
}

// NewExecutor wraps River's executor; db is the pool or transaction that it works on.
func NewExecutor(river riverdriver.Executor, db querier, storage *Storage) *Executor {
	return &Executor{Executor: river, db: db, storage: storage}
}

// ExecutorTx is an Executor in a transaction.
type ExecutorTx struct {
	Executor
	river riverdriver.ExecutorTx
	tx    pgx.Tx
}

// NewExecutorTx wraps River's executor of the transaction tx.
func NewExecutorTx(river riverdriver.ExecutorTx, tx pgx.Tx, storage *Storage) *ExecutorTx {
	return &ExecutorTx{Executor: Executor{Executor: river, db: tx, inTx: true, storage: storage}, river: river, tx: tx}
}

// Commit commits the transaction.
func (t *ExecutorTx) Commit(ctx context.Context) error { return t.river.Commit(ctx) }

// Rollback rolls the transaction back.
func (t *ExecutorTx) Rollback(ctx context.Context) error { return t.river.Rollback(ctx) }

// Tx is the transaction.
func (t *ExecutorTx) Tx() pgx.Tx { return t.tx }

// River is River's executor of the transaction.
func (t *ExecutorTx) River() riverdriver.ExecutorTx { return t.river }

// own returns our executor behind River's interface, or nil when it is somebody else's.
func own(exec riverdriver.Executor) *Executor {
	switch e := exec.(type) {
	case *Executor:
		return e
	case *ExecutorTx:
		return &e.Executor
	default:
		return nil
	}
}

func (x *Executor) hasLine(ctx context.Context, schema string) bool {
	return x.storage.has(ctx, x.db, schema)
}

// riverError gives the errors of our statements the meaning that River's callers look for.
func riverError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, puddle.ErrClosedPool):
		return riverdriver.ErrClosedPool
	case errors.Is(err, pgx.ErrNoRows):
		return rivertype.ErrNotFound
	default:
		return err
	}
}

// Begin opens a transaction, or a savepoint where this is one already.
func (x *Executor) Begin(ctx context.Context) (riverdriver.ExecutorTx, error) {
	if x.unwrap != nil {
		tx := &lazyTx{db: x.pool}
		return NewExecutorTx(x.unwrap(tx), tx, x.storage), nil
	}
	river, err := x.Executor.Begin(ctx)
	if err != nil {
		return nil, err
	}
	// UnwrapTx needs nothing of the driver it is called on.
	tx := (*riverpgxv5.Driver)(nil).UnwrapTx(river)
	return NewExecutorTx(river, tx, x.storage), nil
}
