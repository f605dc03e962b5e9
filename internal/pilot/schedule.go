package pilot

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
)

// scheduleStatement makes due jobs available, at most $1 of them: those whose time has come by the database's clock, and
// by $2 where somebody sets it. River's scheduler asks some seconds ahead, because it comes by so rarely; a job made
// available before its time would be told of too early and then wait for a poll.
//
// As in River, a job whose unique key meanwhile belongs to another is discarded instead. Two due jobs with one key are
// told apart by their place in the queue.
//
// The rows are found by the index of due rows, from the longest due on, and locked in that order; the limit is a subquery
// for the reason given at fetchStatement. WAIT says what to do
// about rows that another transaction holds: we pass on and come again, while River's scheduler waits, since whoever
// runs it counts on every due job being available afterwards. Two schedulers that make jobs of one key available at the
// same time meet at the unique index; one of them fails and finds the conflict the next time.
func scheduleStatement(wait, result string) statement {
	return build(`
WITH due AS MATERIALIZED (
	SELECT * FROM SCHEMA.river_job
	WHERE state IN ('retryable', 'scheduled') AND scheduled_at <= HORIZON
	ORDER BY scheduled_at, id LIMIT (SELECT $1::int)
	FOR UPDATE WAIT
), ranked AS (
	SELECT *, row_number() OVER (PARTITION BY unique_key ORDER BY priority, scheduled_at, id) AS place FROM due
), judged AS (
	SELECT r.*, r.unique_key IS NOT NULL AND r.unique_states IS NOT NULL AND (r.place > 1 OR EXISTS (
		SELECT FROM SCHEMA.river_job o
		WHERE o.unique_key = r.unique_key AND o.id <> r.id AND o.unique_key IS NOT NULL AND o.unique_states IS NOT NULL
			AND SCHEMA.river_job_state_in_bitmask(o.unique_states, o.state))) AS conflict
	FROM ranked r
), outcome AS (
	SELECT id, args, attempt, attempted_at, attempted_by, created_at, errors,
		CASE WHEN conflict THEN coalesce($2::timestamptz, now()) END AS finalized_at, kind, max_attempts,
		CASE WHEN conflict THEN metadata || '{"unique_key_conflict": "scheduler_discarded"}' ELSE metadata END AS metadata,
		priority, queue, (CASE WHEN conflict THEN 'discarded' ELSE 'available' END)::SCHEMA.river_job_state AS state, scheduled_at,
		-- It must not hold a key that another holds, even where it would in that state.
		tags, unique_key, CASE WHEN conflict THEN set_bit(unique_states, 4, 0) ELSE unique_states END AS unique_states, conflict
	FROM judged
), WITH_OUTCOME, refused AS (
	SELECT queue, kind FROM outcome WHERE conflict
), counted AS (
	COUNT
), told AS MATERIALIZED (
	SELECT count(NOTIFY_QUEUE) AS n
	FROM (SELECT queue FROM outcome WHERE NOT conflict UNION SELECT unnest($6::text[])) AS q
)
`+result,
		"WAIT", wait, "WITH_OUTCOME", withOutcome("$3"), "COUNT", countInto("refused", "'discarded_waiting'", "0::double precision"),
		"NOTIFY_QUEUE", notifyQueue("q.queue", "$4", "$5"), "JOB_COLUMNS", jobColumns,
		"HORIZON", "least($2::timestamptz, now())")
}

var (
	// scheduleRowsStatement returns the jobs.
	scheduleRowsStatement = scheduleStatement("", `SELECT JOB_COLUMNS, conflict FROM outcome, told ORDER BY priority, scheduled_at, id`)
	// scheduleCountStatement returns how many there were, the seconds until the next one is due, the database's clock, and
	// the seconds that all this took it.
	scheduleCountStatement = scheduleStatement("SKIP LOCKED", `
SELECT (SELECT count(*) FROM outcome), (SELECT extract(epoch FROM scheduled_at - clock_timestamp())::double precision
	FROM SCHEMA.river_job WHERE state IN ('retryable', 'scheduled') AND scheduled_at > HORIZON ORDER BY scheduled_at, id LIMIT 1),
	clock_timestamp(), extract(epoch FROM clock_timestamp() - statement_timestamp())::double precision
FROM told`)
)

// JobSchedule makes due jobs available for River's scheduler. Beside a leader of ours that does so all the time there is
// nothing left for it to do.
func (x *Executor) JobSchedule(ctx context.Context, params *riverdriver.JobScheduleParams) ([]*riverdriver.JobScheduleResult, error) {
	if !x.hasLine(ctx, params.Schema) {
		return x.Executor.JobSchedule(ctx, params)
	}
	if x.storage.looksAfterDue(params.Schema) {
		return nil, nil
	}
	var results []*riverdriver.JobScheduleResult
	run := func(inPlace bool) error {
		rows, err := x.db.Query(ctx, scheduleRowsStatement.in(params.Schema), x.storage.unnamed(
			params.Max, params.Now, inPlace, x.storage.notifies(), params.Schema, []string{})...)
		if err != nil {
			return err
		}
		results, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (*riverdriver.JobScheduleResult, error) {
			var conflict bool
			job, decodeErr, err := scanJob(row, &conflict)
			if err = cmp.Or(err, decodeErr); err != nil {
				return nil, err
			}
			return &riverdriver.JobScheduleResult{Job: *job, ConflictDiscarded: conflict}, nil
		})
		return err
	}
	err := x.whereverItMay(run)
	return results, riverError(err)
}

// agenda is what a look at the due jobs brings.
type agenda struct {
	promoted int
	next     time.Duration // until the next one is due; negative where there is none
	clock    time.Time     // the database's
	took     time.Duration // in the database
}

// promote makes due jobs available, and notifies their queues and those in wake.
func (x *Executor) promote(ctx context.Context, schema string, wake []string) (agenda, error) {
	var result agenda
	err := x.whereverItMay(func(inPlace bool) error {
		var (
			seconds *float64
			took    float64
		)
		args := []any{dueBatch, (*time.Time)(nil), inPlace, x.storage.notifies(), schema, wake}
		err := x.hot(ctx, scheduleCountStatement, schema, args, func(rows pgx.Rows) error {
			_, err := pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (_ struct{}, err error) {
				return struct{}{}, row.Scan(&result.promoted, &seconds, &result.clock, &took)
			})
			return err
		})
		result.took = time.Duration(took * float64(time.Second))
		result.next = -1
		if seconds != nil {
			result.next = max(time.Duration(*seconds*float64(time.Second)), 0)
		}
		return err
	})
	if err != nil {
		return result, fmt.Errorf("make due jobs available: %w", riverError(err))
	}
	return result, nil
}
