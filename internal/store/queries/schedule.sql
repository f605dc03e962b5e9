-- name: UnsettledSchedules :many
SELECT name, version, coalesce(edited, code)::jsonb AS definition, after, next_tick, next_due, held, open_runs, in_words, problem
FROM towpath.schedule WHERE NOT settled AND paused_at IS NULL ORDER BY name LIMIT @most::bigint;

-- name: DueSchedules :many
SELECT name, version, coalesce(edited, code)::jsonb AS definition, after, next_tick, next_due, held, open_runs, in_words, problem
FROM towpath.schedule WHERE next_due IS NOT NULL AND next_due <= @moment::timestamptz AND NOT blocked AND settled
ORDER BY next_due LIMIT @most::bigint;

-- name: SettledSchedules :many
SELECT name, version, coalesce(edited, code)::jsonb AS definition, after, next_tick, next_due, held, open_runs, in_words, problem
FROM towpath.schedule WHERE settled AND paused_at IS NULL AND name > @beyond::text ORDER BY name LIMIT @most::bigint;

-- name: SchedulesToWatch :many
SELECT name, version, coalesce(edited, code)::jsonb AS definition, status, status_since, watched_since, paused_at, problem, next_due, held,
    overdue_since, last_success, last_failure, running_since
FROM towpath.schedule WHERE status_due IS NOT NULL AND status_due <= @moment::timestamptz ORDER BY status_due LIMIT @most::bigint;

-- name: OpenBackfills :many
SELECT b.id, b.schedule, b.after, b.to_at, b.at_once, coalesce(s.edited, s.code)::jsonb AS definition,
    (SELECT count(*) FROM towpath.schedule_run r WHERE r.backfill = b.id AND r.outcome IN ('waiting', 'running', 'retrying'))::bigint AS open_runs
FROM towpath.schedule_backfill b JOIN towpath.schedule s ON s.name = b.schedule
WHERE b.ended_at IS NULL ORDER BY b.id LIMIT @most::bigint;

-- What the services of a leader wait for. Of schedules each part walks a partial index to its first entry, of checks an index
-- of all; there are never many probes.
--

-- name: ReadAgenda :one
SELECT clock_timestamp()::timestamptz AS clock,
    (SELECT next_due FROM towpath.schedule WHERE next_due IS NOT NULL AND NOT blocked AND settled ORDER BY next_due LIMIT 1) AS next_due,
    (SELECT status_due FROM towpath.schedule WHERE status_due > '-infinity' ORDER BY status_due LIMIT 1) AS status_due,
    EXISTS (SELECT FROM towpath.schedule WHERE NOT settled AND paused_at IS NULL)::boolean AS unsettled,
    EXISTS (SELECT FROM towpath.schedule WHERE status_due = '-infinity')::boolean AS watch,
    EXISTS (SELECT FROM towpath.schedule_run WHERE outcome IN ('waiting', 'running', 'retrying'))::boolean AS open_runs,
    EXISTS (SELECT FROM towpath.schedule_backfill WHERE ended_at IS NULL)::boolean AS backfills,
    EXISTS (SELECT FROM towpath.probe WHERE due IS NOT NULL)::boolean AS probes,
    (SELECT coalesce(min(greatest(due, claimed_until)), now()) FROM towpath.probe WHERE due IS NOT NULL)::timestamptz AS probe_due,
    (SELECT turns_at FROM towpath.heartbeat WHERE turns_at IS NOT NULL ORDER BY turns_at LIMIT 1) AS check_due;

-- name: AdvanceSchedules :one
SELECT towpath.advance_schedules(@changes::json, @runs::json)::integer AS moved;

-- name: AdvanceBackfill :one
SELECT towpath.advance_backfill(@id::bigint, @seen::timestamptz, @up_to::timestamptz, @ended::boolean, @runs::json)::boolean AS moved;

-- name: NoteScheduleRuns :one
SELECT towpath.note_schedule_runs()::integer AS noted;

-- name: SetScheduleStatuses :one
SELECT towpath.set_schedule_statuses(@statuses::json)::integer AS changed;

-- name: PruneSchedules :one
SELECT towpath.prune_schedules()::integer AS gone;

-- name: DeploySchedules :one
SELECT towpath.deploy_schedules(@application::text, @fingerprint::text, @version::text, @definitions::jsonb)::boolean AS applied;
