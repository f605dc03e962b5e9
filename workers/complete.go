package workers

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/towpath/towpath/jobs/driver"
)

// CompleteTx completes the job in the transaction that holds its effects, so that both are committed or neither: the
// effect happens exactly once. After the commit the handler returns nil. An error means that this attempt is over,
// because the job was taken from it or handed back; the handler must roll back.
//
// It is river.JobCompleteTx with Towpath's driver filled in.
func CompleteTx[T river.JobArgs](ctx context.Context, tx pgx.Tx, job *river.Job[T]) (*river.Job[T], error) {
	return river.JobCompleteTx[*driver.Driver](ctx, tx, job)
}
