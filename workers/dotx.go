package workers

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
)

// Beginner opens transactions: a pool, or a transaction that opens savepoints.
type Beginner interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}

// errNoDatabase is returned by DoTx outside a job.
var errNoDatabase = errors.New("begin the job's transaction: the context is not that of a job")

// Database returns what the attempt's transactions are begun on: the pool of Config, or the test's transaction under
// workerstest. Outside a job it is nil.
func Database(ctx context.Context) Beginner {
	if a := attemptOf(ctx); a != nil {
		return a.runtime.database
	}
	return nil
}

// DoTx runs do in a transaction that also completes the job: what do writes and the job's end are committed together,
// or not at all, so that the effect happens exactly once however often the job is tried. The handler returns what DoTx
// returns and does nothing else afterwards. An error of do rolls back; the attempt then fails as by any other error.
func DoTx[T river.JobArgs](ctx context.Context, job *river.Job[T], do func(tx pgx.Tx) error) error {
	db := Database(ctx)
	if db == nil {
		return errNoDatabase
	}
	return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		if err := do(tx); err != nil {
			return err
		}
		if _, err := CompleteTx(ctx, tx, job); err != nil {
			return fmt.Errorf("complete job %d with its effects: %w", job.ID, err)
		}
		return nil
	})
}
