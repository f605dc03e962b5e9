package pilot

import "strings"

// jobColumns are River's columns of a job, in the order in which rows are scanned and history is written.
const jobColumns = "id, args, attempt, attempted_at, attempted_by, created_at, errors, finalized_at, kind, max_attempts, " +
	"metadata, priority, queue, state, scheduled_at, tags, unique_key, unique_states"

// jobColumnsOf returns the columns qualified by a table's alias.
func jobColumnsOf(alias string) string {
	return alias + "." + strings.ReplaceAll(jobColumns, ", ", ", "+alias+".")
}

// mayLeave is the condition under which a row that reaches a final state may leave river_job: no unique key has to be
// held in that state. The row is named by its alias, the state by an expression.
func mayLeave(alias, state string) string {
	return strings.NewReplacer("ROW", alias, "STATE", state).Replace(
		"(ROW.unique_key IS NULL OR ROW.unique_states IS NULL OR NOT SCHEMA.river_job_state_in_bitmask(ROW.unique_states, STATE))")
}

// countInto is the statement that appends lifecycle events: one row a queue, kind, event and histogram bucket of the
// rows in a CTE, which has the columns queue and kind; event and duration (in seconds) are expressions over it.
//
// Appending takes no lock that another transaction could wait for, unlike a shared row that is updated: a caller's
// transaction may stay open as long as it likes.
func countInto(cte, event, seconds string) string {
	return strings.NewReplacer("CTE", cte, "EVENT", event, "SECONDS", seconds).Replace(
		`INSERT INTO SCHEMA.counter_delta (queue, kind, event, bucket, n, seconds)
		SELECT queue, kind, EVENT, SCHEMA.duration_bucket(SECONDS), count(*), sum(greatest(SECONDS, 0))
		FROM CTE GROUP BY 1, 2, 3, 4`)
}

// build fills the parts of a statement that several share: pairs of a marker and its text.
func build(sql string, parts ...string) statement {
	return statement(strings.NewReplacer(parts...).Replace(sql))
}
