package pilot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
	"github.com/tidwall/gjson"
)

// ErrAttemptOver is returned by a finish inside a caller's transaction when the attempt that asks is no longer the one
// that the job's row belongs to: the job was rescued, handed back or ended elsewhere in the meantime. The handler
// should let its transaction roll back.
var ErrAttemptOver = errors.New("the job's attempt is over: it was rescued, handed back or ended elsewhere")

// completeStatement finishes attempts that succeeded and have nothing to add to their row. $1 are the jobs' ids in
// ascending order, each once; the other arrays have a place for each and no null, so that Postgres finds what belongs to
// a row by bisecting $1. To join arrays instead costs a fifth of the statement: every row is copied once more.
//
// It locks as it deletes: each row by its primary key, once, with no lock before it. A row that another transaction
// changes meanwhile is read again by Postgres and has to pass the conditions once more, which is what fences a stale
// attempt.
//
// Its plan must not depend on what the statistics say of a table that is filled and emptied all the time. The array that
// a subquery makes leads to the primary key however small the table looks. The conditions stand in a CASE, which leads to
// no index: the index of running rows has dead entries that pile up behind an open transaction.
var completeStatement = build(`
WITH finished AS (
	DELETE FROM SCHEMA.river_job j
	WHERE j.id = ANY(ARRAY(SELECT unnest($1::bigint[]))) AND CASE WHEN j.state = 'running' AND MAY_LEAVE
		AND j.attempted_at = ($3::timestamptz[])[PLACE] THEN true ELSE false END
	RETURNING j.*, ($2::timestamptz[])[PLACE] AS ended_at,
		coalesce(nullif(($4::double precision[])[PLACE], 'NaN'), date_part('epoch', ($2::timestamptz[])[PLACE] - j.attempted_at)) AS ran
), counted AS (
	COUNT
)
INSERT INTO SCHEMA.job_history (JOB_COLUMNS)
SELECT id, args, attempt, attempted_at, attempted_by, created_at, errors, ended_at, kind, max_attempts,
	metadata, priority, queue, 'completed', scheduled_at, tags, unique_key, unique_states
FROM finished
RETURNING id`,
	"JOB_COLUMNS", jobColumns, "MAY_LEAVE", mayLeave("j", "'completed'"), "COUNT", countInto("finished", "'completed'", "ran"),
	"PLACE", "width_bucket(j.id, $1::bigint[])")

// settleStatement ends attempts in any way: with an error, metadata, a snooze, a hand-back, a cancellation, or with a
// row whose unique key has to be held. $10 is the clock of a test, $11 keeps every row in river_job.
//
// The rows are locked first, one by one by primary key in the order of their ids, because what becomes of a row depends
// on what it holds by then (a cancellation that was asked for turns a retry into an end, as in River). Two settling
// statements over the same ids queue up in the same order. The state is compared as text to keep the planner from the
// index of running rows, whose dead entries pile up behind an open transaction.
var settleStatement = build(`
WITH asked AS (
	SELECT * FROM unnest($1::bigint[], $2::timestamptz[], $3::text[], $4::int[], $5::text[], $6::timestamptz[], $7::text[],
		$8::timestamptz[], $9::text[], $12::double precision[])
		AS t (id, token, new_state, new_attempt, error, ended_at, merge, due_at, event, ran)
	ORDER BY id
), locked AS (
	SELECT j.*, asked.new_state, asked.new_attempt, asked.error, asked.ended_at, asked.merge, asked.due_at, asked.event, asked.ran,
		asked.new_state IN ('available', 'retryable', 'scheduled') AND j.metadata ? 'cancel_attempted_at' AS cancels
	FROM asked CROSS JOIN LATERAL (
		SELECT * FROM SCHEMA.river_job r
		WHERE r.id = asked.id AND r.state::text = 'running' AND (asked.token IS NULL OR asked.token = r.attempted_at)
		FOR UPDATE
	) j
), outcome AS (
	SELECT id, args,
		CASE WHEN new_attempt IS NOT NULL AND NOT cancels THEN new_attempt::smallint ELSE attempt END AS attempt,
		attempted_at, attempted_by, created_at,
		CASE WHEN error IS NOT NULL THEN array_append(errors, error::jsonb) ELSE errors END AS errors,
		CASE WHEN cancels THEN coalesce($10::timestamptz, now()) ELSE ended_at END AS finalized_at,
		kind, max_attempts,
		CASE WHEN merge IS NOT NULL THEN metadata || merge::jsonb ELSE metadata END AS metadata,
		priority, queue,
		(CASE WHEN cancels THEN 'cancelled' ELSE new_state END)::SCHEMA.river_job_state AS state,
		CASE WHEN due_at IS NOT NULL AND NOT cancels THEN due_at ELSE scheduled_at END AS scheduled_at,
		tags, unique_key, unique_states,
		CASE WHEN cancels THEN 'cancelled' ELSE event END AS event,
		coalesce(ran, date_part('epoch', coalesce(ended_at, $10::timestamptz, now()) - attempted_at)) AS ran
	FROM locked
), WITH_OUTCOME, counted AS (
	COUNT
)
SELECT JOB_COLUMNS FROM outcome ORDER BY id`,
	"JOB_COLUMNS", jobColumns, "WITH_OUTCOME", withOutcome("$11"), "COUNT", countInto("outcome", "event", "ran"))

// ending is how one attempt ends.
type ending struct {
	id      int64
	token   *time.Time // attempted_at of the fetch that the finish belongs to; nil where nobody holds the job
	state   string
	attempt *int // a new number for the attempt, where it was not used up
	err     *string
	endedAt *time.Time
	merge   *string
	dueAt   *time.Time
	event   string   // the lifecycle event that is counted
	ran     *float64 // seconds, where the client measured them
	stays   bool     // a success would leave the row in river_job
}

// unbegun is the end of an attempt that nobody has begun: the job is available again, and the attempt is not used up.
func unbegun(id int64, attempt int, token *time.Time) ending {
	attempt = max(attempt-1, 0)
	return ending{id: id, token: token, state: string(rivertype.JobStateAvailable), attempt: &attempt, event: "interrupted"}
}

// plain reports whether the attempt is a success that adds nothing to its row and lets it leave.
func (e *ending) plain() bool {
	return !e.stays && e.state == string(rivertype.JobStateCompleted) && e.err == nil && e.merge == nil && e.endedAt != nil
}

func newEndings(params *riverdriver.JobSetStateIfRunningManyParams) []ending {
	all := make([]int, len(params.ID))
	for i := range all {
		all[i] = i
	}
	return endingsAt(params, all)
}

// endingsAt returns the endings at some places of the parameters.
func endingsAt(params *riverdriver.JobSetStateIfRunningManyParams, places []int) []ending {
	endings := make([]ending, len(places))
	for n, i := range places {
		e := &endings[n]
		e.id, e.state, e.attempt = params.ID[i], string(params.State[i]), params.Attempt[i]
		e.endedAt, e.dueAt = params.FinalizedAt[i], params.ScheduledAt[i]
		if params.ErrData[i] != nil {
			e.err = jsonText(params.ErrData[i])
		}
		if params.MetadataDoMerge[i] {
			e.merge = jsonText(params.MetadataUpdates[i])
		}
		e.event = endEvent(e)
	}
	return endings
}

// jsonText passes JSON as text: with a pooler between, pgx may send arrays of bytes as bytea, which is no JSON.
func jsonText(raw []byte) *string {
	text := string(raw)
	return &text
}

// endEvent names the lifecycle event of an ending. River does not hand its reason down to here; a snooze is told from a
// hand-back by the count that River keeps in the metadata.
func endEvent(e *ending) string {
	switch rivertype.JobState(e.state) {
	case rivertype.JobStateCompleted, rivertype.JobStateCancelled, rivertype.JobStateDiscarded:
		return e.state
	case rivertype.JobStateScheduled:
		return "snoozed"
	case rivertype.JobStateAvailable:
		switch {
		case e.err != nil:
			return "retried"
		case e.merge != nil && gjson.Get(*e.merge, "snoozes").Exists():
			return "snoozed"
		default:
			return "interrupted"
		}
	default:
		return "retried"
	}
}

// complete runs the short statement on plain endings, which it sorts, and returns the ids it finished.
func (x *Executor) complete(ctx context.Context, schema string, endings []ending) ([]int64, error) {
	slices.SortFunc(endings, func(a, b ending) int { return cmp.Compare(a.id, b.id) })
	endings = slices.CompactFunc(endings, func(a, b ending) bool { return a.id == b.id })
	ids := make([]int64, len(endings))
	endedAt, tokens := make([]time.Time, len(endings)), make([]time.Time, len(endings))
	ran := make([]float64, len(endings))
	for i := range endings {
		e := &endings[i]
		ids[i], endedAt[i], tokens[i], ran[i] = e.id, *e.endedAt, *e.token, math.NaN()
		if e.ran != nil {
			ran[i] = *e.ran
		}
	}
	var done []int64
	err := x.hot(ctx, completeStatement, schema, []any{ids, endedAt, tokens, ran}, func(rows pgx.Rows) (err error) {
		done, err = pgx.CollectRows(rows, pgx.RowTo[int64])
		return err
	})
	return done, err
}

// settle runs the long statement and returns the rows that it changed, as they are now.
func (x *Executor) settle(ctx context.Context, schema string, now *time.Time, inPlace bool, endings []ending) ([]*rivertype.JobRow, error) {
	n := len(endings)
	var (
		ids                     = make([]int64, n)
		tokens, endedAt, dueAt  = make([]*time.Time, n), make([]*time.Time, n), make([]*time.Time, n)
		states, events          = make([]string, n), make([]string, n)
		attempts, errs, updates = make([]*int, n), make([]*string, n), make([]*string, n)
		ran                     = make([]*float64, n)
	)
	for i := range endings {
		e := &endings[i]
		ids[i], tokens[i], states[i], attempts[i], errs[i] = e.id, e.token, e.state, e.attempt, e.err
		endedAt[i], updates[i], dueAt[i], events[i], ran[i] = e.endedAt, e.merge, e.dueAt, e.event, e.ran
	}
	args := []any{ids, tokens, states, attempts, errs, endedAt, updates, dueAt, events, now, inPlace, ran}
	var jobs []*rivertype.JobRow
	err := x.hot(ctx, settleStatement, schema, args, func(rows pgx.Rows) (err error) {
		jobs, err = pgx.CollectRows(rows, lenient)
		return err
	})
	return jobs, err
}

// refusesHistory reports whether an error means that history will not take a row: a constraint that somebody added, or
// a day without a partition.
func refusesHistory(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && (pgErr.Code == "23503" || pgErr.Code == "23514")
}

func attemptOver(e *ending) error {
	return fmt.Errorf("finish job %d of the attempt begun at %s: %w", e.id, e.token.Format(time.RFC3339Nano), ErrAttemptOver)
}
