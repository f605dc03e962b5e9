package pilot

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
)

// rescueBatch is how many jobs one statement rescues.
const rescueBatch = 1000

// rescueStatement brings back the jobs that processes left running which are dead, or stopped long enough for every
// finish to be through: those of the epochs in $1. A job belongs to the epoch that it was fetched in. The attempt counts
// as used up: nobody knows how far it came. A job with attempts left is available at once, since it has waited long
// enough for its process to be missed.
//
// SKIP LOCKED, because several processes see the same tombstone and share the work, and because a row may be held by a
// transaction that finishes it after all; the next sweep sees how that ended. A finish that comes later finds a state or
// a token that is no longer its own. The rows are found by the index of running rows, from the oldest epoch's start on.
var rescueStatement = build(`
WITH owner AS (
	SELECT p.client_id, p.started_at,
		coalesce((SELECT min(n.started_at) FROM SCHEMA.process n WHERE n.client_id = p.client_id AND n.epoch > p.epoch), 'infinity') AS until,
		format('process %s on host %s %s and left the attempt running', p.client_id, p.host,
			CASE WHEN p.dead_at IS NULL THEN 'stopped' ELSE 'went silent' END) AS reason
	FROM SCHEMA.process p
	WHERE p.epoch = ANY($1::bigint[]) AND (p.dead_at IS NOT NULL OR p.stopped_at IS NOT NULL)
), lost AS (
	SELECT j.*, owner.reason,
		CASE WHEN j.metadata ? 'cancel_attempted_at' THEN 'cancelled' WHEN j.attempt >= j.max_attempts THEN 'discarded' ELSE 'retried' END AS event
	FROM SCHEMA.river_job j JOIN owner ON owner.client_id = j.attempted_by[array_upper(j.attempted_by, 1)]
		AND j.attempted_at >= owner.started_at AND j.attempted_at < owner.until
	WHERE j.state = 'running' AND j.attempted_at >= (SELECT min(started_at) FROM owner)
	ORDER BY j.id LIMIT $2::int
	FOR UPDATE OF j SKIP LOCKED
), outcome AS (
	SELECT l.id, l.args, l.attempt, l.attempted_at, l.attempted_by, l.created_at,
		array_append(l.errors, jsonb_build_object('at', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
			'attempt', l.attempt, 'error', l.reason, 'trace', '')) AS errors,
		CASE WHEN l.event <> 'retried' THEN now() END AS finalized_at,
		l.kind, l.max_attempts, METADATA AS metadata, l.priority, l.queue,
		(CASE WHEN l.event = 'retried' THEN 'available' ELSE l.event END)::SCHEMA.river_job_state AS state,
		CASE WHEN l.event = 'retried' THEN now() ELSE l.scheduled_at END AS scheduled_at,
		l.tags, l.unique_key, l.unique_states, l.event, date_part('epoch', now() - l.attempted_at) AS ran
	FROM lost l
), WITH_OUTCOME, counted AS (
	COUNT
), told AS MATERIALIZED (
	SELECT count(NOTIFY_QUEUE) FROM (SELECT DISTINCT queue FROM outcome WHERE state = 'available') AS q
)
SELECT event, count(*) FROM outcome, told GROUP BY event`,
	"METADATA", rescuedMetadata("l"), "WITH_OUTCOME", withOutcome("$3"), "COUNT", countInto("outcome", "event", "ran"),
	"NOTIFY_QUEUE", notifyQueue("q.queue", "$4", "$5"))

// rescued says what became of rescued jobs.
type rescued struct{ retried, cancelled, discarded int }

func (r rescued) total() int { return r.retried + r.cancelled + r.discarded }

// rescue runs the statement once.
func (x *Executor) rescue(ctx context.Context, schema string, epochs []int64, inPlace bool) (rescued, error) {
	var result rescued
	rows, err := x.db.Query(ctx, rescueStatement.in(schema),
		x.storage.unnamed(epochs, rescueBatch, inPlace, x.storage.notifies(), schema)...)
	if err != nil {
		return result, riverError(err)
	}
	var (
		event string
		n     int
	)
	_, err = pgx.ForEachRow(rows, []any{&event, &n}, func() error {
		switch event {
		case "cancelled":
			result.cancelled = n
		case "discarded":
			result.discarded = n
		default:
			result.retried = n
		}
		return nil
	})
	return result, riverError(err)
}

// rescueAll rescues until nothing is left that is not locked by somebody.
func (x *Executor) rescueAll(ctx context.Context, schema string, epochs []int64) (rescued, error) {
	var all rescued
	for {
		var batch rescued
		err := x.whereverItMay(func(inPlace bool) (err error) {
			batch, err = x.rescue(ctx, schema, epochs, inPlace)
			return err
		})
		if err != nil {
			return all, fmt.Errorf("rescue the jobs of epochs %v: %w", epochs, err)
		}
		all.retried += batch.retried
		all.cancelled += batch.cancelled
		all.discarded += batch.discarded
		if batch.total() < rescueBatch {
			return all, nil
		}
	}
}

// orphanStatement finds jobs that belong to this process's epoch and run by what their row says, while nobody here holds
// them. It locks nothing.
const orphanStatement statement = `
SELECT id, attempt, attempted_at, queue FROM SCHEMA.river_job
WHERE state = 'running' AND attempted_at >= $1::timestamptz AND attempted_at < now() - make_interval(secs => $2::double precision)
	AND attempted_by[array_upper(attempted_by, 1)] = $3::text AND id <> ALL($4::bigint[])
ORDER BY id LIMIT $5::int`

// orphan is a job that was fetched for this process by a statement whose answer never came.
type orphan struct {
	id      int64
	attempt int
	token   time.Time
	queue   string
}

// orphans looks for jobs of an epoch that are older than age and not held.
func (x *Executor) orphans(ctx context.Context, schema, clientID string, since time.Time, age time.Duration, heldIDs []int64) ([]orphan, error) {
	rows, err := x.db.Query(ctx, orphanStatement.in(schema), x.storage.unnamed(since, age.Seconds(), clientID, heldIDs, rescueBatch)...)
	if err != nil {
		return nil, riverError(err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (o orphan, err error) {
		return o, row.Scan(&o.id, &o.attempt, &o.token, &o.queue)
	})
	return found, riverError(err)
}

// handBack makes orphans available again. Nothing was ever done with them, so the attempt is not used up.
func (x *Executor) handBack(ctx context.Context, schema string, orphans []orphan) error {
	endings := make([]ending, len(orphans))
	for i := range orphans {
		o := &orphans[i]
		endings[i] = unbegun(o.id, o.attempt, &o.token)
		endings[i].dueAt = &o.token // since its fetch, which the database's clock has seen
	}
	_, err := x.settleSafely(ctx, schema, nil, endings)
	return err
}

// stuckStatement finds jobs for River's rescuer, which brings back what has run for an hour and longer than its kind
// allows. It discards kinds that it does not know, so of those it is shown only what has no attempts left. Jobs whose owner lives are that
// owner's business, and those of dead ones the fleet's: left are the owners without a row, plain River clients.
var stuckStatement = build(`
SELECT JOB_COLUMNS FROM SCHEMA.river_job j
WHERE state = 'running' AND id > $1::bigint AND attempted_at < $2::timestamptz AND (kind = ANY($3::text[]) OR attempt >= max_attempts)
	AND NOT EXISTS (SELECT FROM SCHEMA.process p WHERE p.client_id = j.attempted_by[array_upper(j.attempted_by, 1)]
		AND p.stopped_at IS NULL AND p.dead_at IS NULL)
ORDER BY id LIMIT $4::int`, "JOB_COLUMNS", jobColumns)

// JobGetStuck implements River's pilot for its rescuer.
func (p *Pilot) JobGetStuck(ctx context.Context, exec riverdriver.Executor, params *riverdriver.JobGetStuckParams) ([]*rivertype.JobRow, error) {
	x := own(exec)
	if x == nil || !x.hasLine(ctx, params.Schema) {
		return p.StandardPilot.JobGetStuck(ctx, exec, params)
	}
	return queryJobs(ctx, x.db, lenient, stuckStatement.in(params.Schema),
		x.storage.unnamed(params.AfterID, params.StuckHorizon, p.fleet.kinds, params.Max)...)
}

// rescueManyStatement carries out what River's rescuer decided. The rows are locked one by one by primary key, in the
// order of their ids, and judged once more by what they hold by then.
var rescueManyStatement = build(`
WITH asked AS (
	SELECT * FROM unnest($1::bigint[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::text[])
		AS t (id, error, ended_at, due_at, new_state)
	ORDER BY id
), stuck AS (
	SELECT j.*, asked.error, asked.ended_at, asked.due_at, asked.new_state
	FROM asked CROSS JOIN LATERAL (
		SELECT * FROM SCHEMA.river_job r
		WHERE r.id = asked.id AND r.state::text = 'running' AND r.attempted_at < $6::timestamptz
		FOR UPDATE
	) j
), outcome AS (
	SELECT s.id, s.args, s.attempt, s.attempted_at, s.attempted_by, s.created_at, array_append(s.errors, s.error::jsonb) AS errors,
		s.ended_at AS finalized_at, s.kind, s.max_attempts, METADATA AS metadata, s.priority, s.queue,
		s.new_state::SCHEMA.river_job_state AS state, s.due_at AS scheduled_at, s.tags, s.unique_key, s.unique_states,
		CASE WHEN s.ended_at IS NULL THEN 'retried' ELSE s.new_state END AS event,
		date_part('epoch', now() - s.attempted_at) AS ran
	FROM stuck s
), WITH_OUTCOME, counted AS (
	COUNT
)
SELECT count(*) FROM outcome`,
	"METADATA", rescuedMetadata("s"), "WITH_OUTCOME", withOutcome("$7"), "COUNT", countInto("outcome", "event", "ran"))

// JobRescueMany implements River's pilot for its rescuer.
func (p *Pilot) JobRescueMany(ctx context.Context, exec riverdriver.Executor, params *riverdriver.JobRescueManyParams) (*struct{}, error) {
	x := own(exec)
	if x == nil || !x.hasLine(ctx, params.Schema) {
		return p.StandardPilot.JobRescueMany(ctx, exec, params)
	}
	errs := make([]string, len(params.Error))
	for i := range params.Error {
		errs[i] = string(params.Error[i])
	}
	err := x.whereverItMay(func(inPlace bool) error {
		_, err := x.db.Exec(ctx, rescueManyStatement.in(params.Schema), x.storage.unnamed(
			params.ID, errs, params.FinalizedAt, params.ScheduledAt, params.State, params.StuckHorizon, inPlace)...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("rescue stuck jobs: %w", riverError(err))
	}
	p.fleet.Logger.InfoContext(ctx, "rescued jobs that ran too long", slog.Int("jobs", len(params.ID)))
	return &struct{}{}, nil
}
