package pilot

// withOutcome is the part of a statement that carries out what it has decided about jobs in bulk. The CTE outcome has
// their columns as they shall be, and event and ran (in seconds) where they count; inPlace is a parameter that keeps
// every row in river_job.
//
// A row of outcome is locked by the CTE before it. Finished rows that hold no unique key leave by primary key for
// history; all others are updated in place, by primary key as well. No row is touched twice. Neither may be
// planned by statistics, which tell nothing of the rows that a statement has just chosen: the ids reach the delete as an
// array that a subquery makes, and the update through a condition that is always true and that the planner expects few
// rows to fulfil. Both lead to the primary key. (With an array beside the join, each row was sought in all of the array.)
func withOutcome(inPlace string) string {
	return string(build(`leaving AS (
	SELECT * FROM outcome o WHERE o.finalized_at IS NOT NULL AND NOT IN_PLACE::boolean AND MAY_LEAVE
), staying AS (
	SELECT * FROM outcome WHERE id NOT IN (SELECT id FROM leaving)
), gone AS (
	DELETE FROM SCHEMA.river_job WHERE id = ANY(ARRAY(SELECT id FROM leaving))
), archived AS (
	INSERT INTO SCHEMA.job_history (JOB_COLUMNS) SELECT JOB_COLUMNS FROM leaving
), kept AS (
	UPDATE SCHEMA.river_job j
	SET attempt = s.attempt, errors = s.errors, finalized_at = s.finalized_at, metadata = s.metadata, state = s.state,
		scheduled_at = s.scheduled_at, unique_states = s.unique_states
	FROM staying s
	WHERE j.id = s.id AND s.id = s.id + 0
)`, "JOB_COLUMNS", jobColumns, "MAY_LEAVE", mayLeave("o", "o.state"), "IN_PLACE", inPlace))
}

// rescuedMetadata counts a rescue in the metadata of the row, as River does.
func rescuedMetadata(row string) string {
	return string(build(`ROW.metadata || jsonb_build_object('river:rescue_count', 1 + coalesce(
		CASE WHEN jsonb_typeof(ROW.metadata -> 'river:rescue_count') = 'number' THEN (ROW.metadata ->> 'river:rescue_count')::int END, 0))`,
		"ROW", row))
}

// whereverItMay runs a statement that moves rows to history, and once more with the rows staying in river_job when
// history will not take them. A transaction of the caller's is lost by then, but its next try passes.
func (x *Executor) whereverItMay(run func(inPlace bool) error) error {
	inPlace := x.storage.keepsInPlace()
	err := run(inPlace)
	if inPlace || !refusesHistory(err) {
		return err
	}
	x.storage.keepInPlace()
	if x.inTx {
		return err
	}
	return run(true)
}
