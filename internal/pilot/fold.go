package pilot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// foldStatement moves the appended lifecycle events into the two tables that hold their sums. What one folder deletes
// another waits for and then no longer finds, so any number of them count every event once; readers add all three tables
// in one statement and see each event in exactly one place.
//
// The sums are written in the order of their keys, so two folders wait for each other there and never in a circle. They
// may meet in a circle at the deletes, which read the table from wherever Postgres likes to begin: then one of them
// fails and leaves everything as it was.
const foldStatement statement = `
WITH moved AS (
	DELETE FROM SCHEMA.counter_delta RETURNING *
), total AS (
	INSERT INTO SCHEMA.counter AS c (queue, kind, event, bucket, n, seconds)
	SELECT queue, kind, event, bucket, sum(n), sum(seconds) FROM moved GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
	ON CONFLICT (queue, kind, event, bucket) DO UPDATE SET n = c.n + excluded.n, seconds = c.seconds + excluded.seconds
), by_minute AS (
	INSERT INTO SCHEMA.counter_minute AS c (minute, queue, kind, event, bucket, n, seconds)
	SELECT date_trunc('minute', at), queue, kind, event, bucket, sum(n), sum(seconds) FROM moved GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
	ON CONFLICT (minute, queue, kind, event, bucket) DO UPDATE SET n = c.n + excluded.n, seconds = c.seconds + excluded.seconds
)
SELECT count(*) FROM moved`

// Counters are folded so often when there is something to fold, and ever more rarely up to foldRest when there is not.
const (
	foldPause = 5 * time.Second
	foldRest  = 30 * time.Second
)

// foldOnce folds what there is and returns how many rows that was.
func (x *Executor) foldOnce(ctx context.Context, schema string) (int64, error) {
	var n int64
	err := x.db.QueryRow(ctx, foldStatement.in(schema), x.storage.unnamed()...).Scan(&n)
	return n, riverError(err)
}

func (u *upkeep) fold(ctx context.Context, x *Executor, schema string) (time.Duration, error) {
	begun := time.Now()
	n, err := x.foldOnce(ctx, schema)
	switch {
	case outrun(err):
		return foldPause, nil // by another leader, who has folded
	case err != nil:
		return 0, fmt.Errorf("fold counters: %w", err)
	case n == 0:
		u.foldIdle = min(max(2*u.foldIdle, foldPause), foldRest)
		return u.foldIdle, nil
	default:
		u.foldIdle = 0
		return max(foldPause, upkeepShare*time.Since(begun)), nil
	}
}

// outrun reports whether a statement lost against another that does the same: by a deadlock, or by a serialization
// failure where the server works that way.
func outrun(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && (pgErr.Code == "40P01" || pgErr.Code == "40001")
}

// depthPause is how often the cache of queue depths is refreshed, depthRest how often while nothing is counted for so long
// that folding rests, depthLook how often somebody looks whether there is one.
const (
	depthPause = 10 * time.Second
	depthRest  = 20 * time.Second
	depthLook  = time.Hour
)

// depthState says whether the schema has a cache of queue depths.
type depthState struct {
	found  bool
	looked time.Time
}

// refreshDepth refreshes the numbers of waiting jobs that views and metrics show, where the schema caches them.
func (u *upkeep) refreshDepth(ctx context.Context, x *Executor, schema string) (time.Duration, error) {
	const refresh = statement("SCHEMA.refresh_queue_depth()")
	if !u.depth.found && time.Since(u.depth.looked) >= depthLook {
		if err := x.db.QueryRow(ctx, "SELECT to_regprocedure($1) IS NOT NULL", refresh.in(schema)).Scan(&u.depth.found); err != nil {
			return 0, fmt.Errorf("look for the cache of queue depths: %w", err)
		}
		u.depth.looked = time.Now()
	}
	if !u.depth.found {
		return depthLook, nil
	}
	begun := time.Now()
	if _, err := x.db.Exec(ctx, "SELECT "+refresh.in(schema)); err != nil {
		u.depth.found = false // gone with a migration
		return 0, fmt.Errorf("refresh the queue depths: %w", err)
	}
	pause := depthPause
	if u.foldIdle >= foldRest {
		pause = depthRest
	}
	return max(pause, upkeepShare*time.Since(begun)), nil
}

// pruneStatements delete what has served its time: counters by minute after two days, and processes that ended a day ago
// and have no job running. The last condition is what keeps a tombstone for as long as it owns anything.
var pruneStatements = []statement{
	`DELETE FROM SCHEMA.counter_minute WHERE minute < now() - interval '2 days'`,
	`
DELETE FROM SCHEMA.process p
WHERE coalesce(p.dead_at, p.stopped_at) < now() - interval '1 day'
	AND NOT EXISTS (
		SELECT FROM SCHEMA.river_job j
		WHERE j.state = 'running' AND j.attempted_by[array_upper(j.attempted_by, 1)] = p.client_id AND j.attempted_at >= p.started_at
			AND j.attempted_at < coalesce((SELECT min(n.started_at) FROM SCHEMA.process n
				WHERE n.client_id = p.client_id AND n.epoch > p.epoch), 'infinity'))`,
}

func (u *upkeep) prune(ctx context.Context, x *Executor, schema string) (time.Duration, error) {
	for _, prune := range pruneStatements {
		if _, err := x.db.Exec(ctx, prune.in(schema)); err != nil {
			return 0, fmt.Errorf("prune: %w", err)
		}
	}
	return time.Hour, nil
}
