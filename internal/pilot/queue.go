package pilot

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
)

// forgetQueuesStatement deletes rows of queues that no client has worked since $1, $2 of them at most, unless they are
// paused: somebody wants their jobs not to be worked, which a worker that comes later has to find.
//
// A worker that starts meanwhile waits for the delete of its queue's row, and inserts it anew. A pause that was made
// meanwhile changes the row, and Postgres looks at the condition again.
const forgetQueuesStatement = statement(`
DELETE FROM SCHEMA.river_queue
WHERE paused_at IS NULL AND updated_at < $1::timestamptz AND name IN (
	SELECT name FROM SCHEMA.river_queue WHERE paused_at IS NULL AND updated_at < $1::timestamptz ORDER BY name LIMIT $2::int)
RETURNING name`)

// QueueDeleteExpired forgets queues that have had no worker for long, and no pause. River forgets the pause as well.
func (x *Executor) QueueDeleteExpired(ctx context.Context, params *riverdriver.QueueDeleteExpiredParams) ([]string, error) {
	if !x.hasLine(ctx, params.Schema) {
		return x.Executor.QueueDeleteExpired(ctx, params)
	}
	rows, err := x.db.Query(ctx, forgetQueuesStatement.in(params.Schema), params.UpdatedAtHorizon, params.Max)
	if err != nil {
		return nil, riverError(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return names, riverError(err)
}
