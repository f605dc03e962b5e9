package pilot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
)

// topicOf is the channel of a topic, given as an expression, in the schema that parameter names; River takes the first
// schema of the search path where none is set.
func topicOf(parameter, topic string) string {
	return "concat(coalesce(nullif(" + parameter + "::text, ''), current_schema()), '.', " + topic + ")"
}

// notifyQueue tells the workers of a queue, given as an expression, that it has work, if the parameter notify says that
// the server knows how. The bytes are River's own: Postgres folds notifications of one transaction only where they are
// equal.
func notifyQueue(queue, notify, schema string) string {
	return "CASE WHEN " + notify + "::boolean THEN pg_notify(" + topicOf(schema, "'river_insert'") + `, concat('{"queue": "', ` + queue + `, '"}')) END`
}

// retryLiveStatement makes a job available that is still in river_job: scheduled, retryable, pending, or finished and
// held there by its unique key. Its row is locked by primary key before it is judged; running jobs, and jobs that have
// been waiting in line already, stay as they are.
var retryLiveStatement = build(`
WITH job AS (
	SELECT * FROM SCHEMA.river_job WHERE id = $1::bigint FOR UPDATE
), updated AS (
	UPDATE SCHEMA.river_job j
	SET state = 'available', finalized_at = NULL, scheduled_at = coalesce($2::timestamptz, now()),
		max_attempts = CASE WHEN j.attempt >= j.max_attempts THEN j.attempt + 1 ELSE j.max_attempts END,
		-- A cancellation asked for during an earlier attempt must not cancel the next one.
		metadata = j.metadata - 'cancel_attempted_at'
	FROM job
	WHERE j.id = job.id AND job.state <> 'running'
		AND NOT (job.state = 'available' AND job.scheduled_at < coalesce($2::timestamptz, now()))
	RETURNING j.*, NOTIFY_QUEUE
), revived AS (
	SELECT updated.* FROM updated JOIN job USING (id) WHERE job.finalized_at IS NOT NULL
), counted AS (
	COUNT
)
SELECT JOB_COLUMNS FROM updated
UNION ALL
SELECT JOB_COLUMNS FROM job WHERE id NOT IN (SELECT id FROM updated)`,
	"JOB_COLUMNS", jobColumns, "COUNT", countInto("revived", "'revived'", "0::double precision"),
	"NOTIFY_QUEUE", notifyQueue("j.queue", "$3", "$4"))

// reviveStatement brings a finished job back from history under its own id. A unique key that another job holds by now
// makes the insert fail, as River's retry of the row would.
var reviveStatement = build(`
WITH gone AS (
	DELETE FROM SCHEMA.job_history WHERE id = $1::bigint RETURNING *
), back AS (
	INSERT INTO SCHEMA.river_job (JOB_COLUMNS)
	SELECT id, args, attempt, attempted_at, attempted_by, created_at, errors, NULL, kind,
		CASE WHEN attempt >= max_attempts THEN attempt + 1 ELSE max_attempts END, metadata - 'cancel_attempted_at', priority, queue,
		'available', coalesce($2::timestamptz, now()), tags, unique_key, unique_states
	FROM gone
	RETURNING *, NOTIFY_QUEUE
), counted AS (
	COUNT
)
SELECT JOB_COLUMNS FROM back`,
	"JOB_COLUMNS", jobColumns, "COUNT", countInto("back", "'revived'", "0::double precision"),
	"NOTIFY_QUEUE", notifyQueue("queue", "$3", "$4"))

// JobRetry makes a job available again. History is asked by a statement of its own: only a new snapshot sees a job that
// left river_job while the first one waited for its row.
func (x *Executor) JobRetry(ctx context.Context, params *riverdriver.JobRetryParams) (*rivertype.JobRow, error) {
	if !x.hasLine(ctx, params.Schema) {
		return x.Executor.JobRetry(ctx, params)
	}
	args := x.storage.unnamed(params.ID, params.Now, x.storage.notifies(), params.Schema)
	return x.untilFound(ctx, params.Schema, params.ID, func() ([]*rivertype.JobRow, error) {
		jobs, err := queryJobs(ctx, x.db, strict, retryLiveStatement.in(params.Schema), args...)
		if err != nil || len(jobs) > 0 {
			return jobs, err
		}
		return queryJobs(ctx, x.db, strict, reviveStatement.in(params.Schema), args...)
	}, func(*rivertype.JobRow) bool { return false })
}

// untilFound runs a change of one job until it meets the job. A job on its way from one table to the other while a
// statement waits for its row is in neither for that statement, and in one of them for the next. A change that came to
// nothing is enough where the job, as it is then, has nothing left to change.
func (x *Executor) untilFound(ctx context.Context, schema string, id int64, change func() ([]*rivertype.JobRow, error), enough func(*rivertype.JobRow) bool) (*rivertype.JobRow, error) {
	for {
		jobs, err := change()
		if err != nil || len(jobs) > 0 {
			return one(jobs, err)
		}
		job, err := x.JobGetByID(ctx, &riverdriver.JobGetByIDParams{ID: id, Schema: schema})
		if err != nil || enough(job) {
			return job, err
		}
	}
}

// JobRetry implements River's pilot.
func (p *Pilot) JobRetry(ctx context.Context, exec riverdriver.Executor, params *riverdriver.JobRetryParams) (*rivertype.JobRow, error) {
	return exec.JobRetry(ctx, params)
}

// cancelStatement cancels a job that waits, and asks the worker of one that runs. The row is locked by primary key
// first; what happens depends on its state at that moment.
var cancelStatement = build(`
WITH job AS (
	SELECT * FROM SCHEMA.river_job WHERE id = $1::bigint FOR UPDATE
), asked AS (
	UPDATE SCHEMA.river_job j SET metadata = jsonb_set(j.metadata, '{cancel_attempted_at}', $2::text::jsonb, true)
	FROM job WHERE j.id = job.id AND job.state = 'running'
	RETURNING j.*, CASE WHEN $3::boolean THEN pg_notify(TOPIC,
		json_build_object('action', 'cancel', 'job_id', j.id, 'queue', j.queue)::text) END
), ended AS (
	SELECT id, args, attempt, attempted_at, attempted_by, created_at, errors, coalesce($6::timestamptz, now()) AS finalized_at, kind,
		max_attempts, jsonb_set(metadata, '{cancel_attempted_at}', $2::text::jsonb, true) AS metadata, priority, queue,
		'cancelled'::SCHEMA.river_job_state AS state, scheduled_at, tags, unique_key, unique_states
	FROM job WHERE state NOT IN ('running', 'cancelled', 'completed', 'discarded')
), leaving AS (
	SELECT * FROM ended e WHERE NOT $7::boolean AND MAY_LEAVE
), gone AS (
	DELETE FROM SCHEMA.river_job j USING leaving WHERE j.id = $1::bigint AND j.id = leaving.id RETURNING j.id
), archived AS (
	INSERT INTO SCHEMA.job_history (JOB_COLUMNS) SELECT JOB_COLUMNS FROM leaving WHERE id IN (SELECT id FROM gone)
), kept AS (
	UPDATE SCHEMA.river_job j SET state = e.state, finalized_at = e.finalized_at, metadata = e.metadata
	FROM ended e WHERE j.id = $1::bigint AND j.id = e.id AND e.id NOT IN (SELECT id FROM leaving)
), counted AS (
	COUNT
)
SELECT JOB_COLUMNS FROM asked
UNION ALL
SELECT JOB_COLUMNS FROM ended
UNION ALL
SELECT JOB_COLUMNS FROM job WHERE id NOT IN (SELECT id FROM asked) AND id NOT IN (SELECT id FROM ended)`,
	"JOB_COLUMNS", jobColumns, "MAY_LEAVE", mayLeave("e", "e.state"), "TOPIC", topicOf("$4", "$5::text"),
	"COUNT", countInto("ended", "'cancelled_waiting'", "0::double precision"))

// JobCancel cancels a job; a finished one is returned as it is.
func (x *Executor) JobCancel(ctx context.Context, params *riverdriver.JobCancelParams) (*rivertype.JobRow, error) {
	if !x.hasLine(ctx, params.Schema) {
		return x.Executor.JobCancel(ctx, params)
	}
	askedAt, err := params.CancelAttemptedAt.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("write the time of the cancellation: %w", err)
	}
	return x.untilFound(ctx, params.Schema, params.ID, func() (jobs []*rivertype.JobRow, err error) {
		err = x.whereverItMay(func(inPlace bool) error {
			jobs, err = queryJobs(ctx, x.db, strict, cancelStatement.in(params.Schema), x.storage.unnamed(params.ID, string(askedAt),
				x.storage.notifies(), params.Schema, params.ControlTopic, params.Now, inPlace)...)
			return err
		})
		return jobs, err
	}, func(job *rivertype.JobRow) bool { return job.FinalizedAt != nil })
}

// JobCancel implements River's pilot.
func (p *Pilot) JobCancel(ctx context.Context, exec riverdriver.Executor, params *riverdriver.JobCancelParams) (*rivertype.JobRow, error) {
	return exec.JobCancel(ctx, params)
}

// deleteStatement deletes jobs by id, except running ones and those that a condition leaves out: the live rows by primary
// key, the finished ones by the index on id. WAIT says what to do about rows that another transaction holds: a single
// delete waits, one of many passes on. Either judges a row by what it holds once it is locked. A job that was deleted
// before it ended is counted, since otherwise what came in could never equal what went out.
func deleteStatement(ids, condition, wait string) statement {
	return build(`
WITH live AS (
	DELETE FROM SCHEMA.river_job
	WHERE id = ANY(ARRAY(SELECT id FROM SCHEMA.river_job
		WHERE id = ANY(IDS::bigint[]) AND state::text <> 'running' AND (CONDITION) FOR UPDATE WAIT))
	RETURNING *
), kept AS (
	DELETE FROM SCHEMA.job_history AS river_job WHERE id = ANY(IDS::bigint[]) AND (CONDITION) RETURNING *
), unfinished AS (
	SELECT queue, kind FROM live WHERE finalized_at IS NULL
), counted AS (
	COUNT
)
SELECT JOB_COLUMNS_OF_LIVE FROM live UNION ALL SELECT JOB_COLUMNS_OF_KEPT FROM kept`,
		"JOB_COLUMNS_OF_LIVE", jobColumnsOf("live"), "JOB_COLUMNS_OF_KEPT", jobColumnsOf("kept"), "WAIT", wait, "IDS", ids,
		"CONDITION", condition, "COUNT", countInto("unfinished", "'deleted'", "0::double precision"))
}

// listed stands for the condition of a list, which differs from call to call.
const listed = "LISTED"

var (
	deleteOneStatement  = deleteStatement("$1", "true", "")
	deleteManyStatement = deleteStatement("@towpath_ids", listed, "SKIP LOCKED")
)

// JobDelete deletes a job, live or finished.
func (x *Executor) JobDelete(ctx context.Context, params *riverdriver.JobDeleteParams) (*rivertype.JobRow, error) {
	if !x.hasLine(ctx, params.Schema) {
		return x.Executor.JobDelete(ctx, params)
	}
	running := false
	job, err := x.untilFound(ctx, params.Schema, params.ID, func() ([]*rivertype.JobRow, error) {
		return queryJobs(ctx, x.db, strict, deleteOneStatement.in(params.Schema), x.storage.unnamed([]int64{params.ID})...)
	}, func(job *rivertype.JobRow) bool {
		running = job.State == rivertype.JobStateRunning
		return running
	})
	if running {
		return nil, rivertype.ErrJobRunning
	}
	return job, err
}

// JobDelete implements River's pilot.
func (p *Pilot) JobDelete(ctx context.Context, exec riverdriver.Executor, params *riverdriver.JobDeleteParams) (*rivertype.JobRow, error) {
	return exec.JobDelete(ctx, params)
}

// JobDeleteMany deletes the first jobs of a list, live and finished, except running ones.
func (x *Executor) JobDeleteMany(ctx context.Context, params *riverdriver.JobDeleteManyParams) ([]*rivertype.JobRow, error) {
	if !x.hasLine(ctx, params.Schema) {
		return x.Executor.JobDeleteMany(ctx, params)
	}
	list := (*riverdriver.JobListParams)(params)
	sql, args := listQuery(list, "("+params.WhereClause+") AND state <> 'running'")
	found, err := queryJobs(ctx, x.db, lenient, sql, args)
	if err != nil || len(found) == 0 {
		return found, err
	}
	order := make(map[int64]int, len(found))
	ids := make([]int64, len(found))
	for i, job := range found {
		order[job.ID], ids[i] = i, job.ID
	}
	args["towpath_ids"] = ids
	sql = strings.ReplaceAll(deleteManyStatement.in(params.Schema), listed, params.WhereClause)
	jobs, err := queryJobs(ctx, x.db, lenient, sql, x.storage.unnamed(args)...)
	slices.SortFunc(jobs, func(a, b *rivertype.JobRow) int { return order[a.ID] - order[b.ID] })
	return jobs, err
}

// JobDeleteMany implements River's pilot.
func (p *Pilot) JobDeleteMany(ctx context.Context, exec riverdriver.Executor, params *riverdriver.JobDeleteManyParams) ([]*rivertype.JobRow, error) {
	return exec.JobDeleteMany(ctx, params)
}

// updateHistoryStatement changes the metadata of a finished job.
var updateHistoryStatement = build(`
UPDATE SCHEMA.job_history
SET metadata = CASE WHEN $2::boolean THEN metadata || $3::text::jsonb ELSE metadata END
WHERE id = $1::bigint RETURNING JOB_COLUMNS`, "JOB_COLUMNS", jobColumns)

// lockAttemptStatement takes the row of a live job, for the rest of the transaction if there is one, and tells whose
// attempt it is.
const lockAttemptStatement statement = `SELECT state::text, attempted_at FROM SCHEMA.river_job WHERE id = $1::bigint FOR UPDATE`

// lastAttemptStatement tells whose attempt ended a job.
const lastAttemptStatement statement = `SELECT state::text, attempted_at FROM SCHEMA.job_history WHERE id = $1::bigint`

// JobUpdate changes a job's metadata, live or finished. In a process that holds an attempt of the job, the row must still
// belong to it, running or ended by it: a stale handler must not write its progress into somebody else's attempt.
func (x *Executor) JobUpdate(ctx context.Context, params *riverdriver.JobUpdateParams) (*rivertype.JobRow, error) {
	if !x.hasLine(ctx, params.Schema) {
		return x.Executor.JobUpdate(ctx, params)
	}
	if err := x.mustHold(ctx, params.Schema, params.ID); err != nil {
		return nil, err
	}
	job, err := x.Executor.JobUpdate(ctx, params)
	if !errors.Is(err, rivertype.ErrNotFound) {
		return job, err
	}
	return one(queryJobs(ctx, x.db, strict, updateHistoryStatement.in(params.Schema), x.storage.unnamed(
		params.ID, params.MetadataDoMerge, string(params.Metadata))...))
}

// mustHold refuses when this process holds an attempt of the job and the job's row belongs to another.
func (x *Executor) mustHold(ctx context.Context, schema string, id int64) error {
	tokens := x.storage.tokens(id)
	if len(tokens) == 0 {
		return nil
	}
	var (
		state       string
		attemptedAt *time.Time
	)
	err := x.db.QueryRow(ctx, lockAttemptStatement.in(schema), x.storage.unnamed(id)...).Scan(&state, &attemptedAt)
	if errors.Is(err, pgx.ErrNoRows) {
		err = x.db.QueryRow(ctx, lastAttemptStatement.in(schema), x.storage.unnamed(id)...).Scan(&state, &attemptedAt)
	}
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil // the update says so
	case err != nil:
		return riverError(err)
	case attemptedAt == nil || !slices.ContainsFunc(tokens, attemptedAt.Equal) || waits(rivertype.JobState(state)):
		return attemptOver(&ending{id: id, token: &tokens[0]})
	default:
		return nil
	}
}

// waits reports whether a job in the state waits for an attempt.
func waits(state rivertype.JobState) bool {
	switch state {
	case rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable, rivertype.JobStateScheduled:
		return true
	default:
		return false
	}
}
