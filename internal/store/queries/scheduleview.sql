-- name: ListSchedules :many
SELECT name::text AS name, expression::text AS expression, in_words::text AS in_words, zone::text AS zone, kind::text AS kind, args::jsonb AS args,
    queue::text AS queue, priority::integer AS priority, status::text AS status, status_since::timestamptz AS status_since, next_run, late_by,
    last_start, last_success, last_failure, last_outcome, last_duration, usual_duration, off_usual, running_since, paused_at, paused_by, pause_reason,
    defined_in::text AS defined_in, holds::text AS holds, ends_at, missed::text AS missed, skip_after, overlap::text AS overlap,
    grace::interval AS grace, changed_at::timestamptz AS changed_at, changed_by, problem, code, edited
FROM towpath.schedules
WHERE name > @beyond::text AND (cardinality(@statuses::text[]) = 0 OR status = ANY (@statuses::text[]))
ORDER BY name LIMIT @most::bigint;

-- name: FindSchedule :one
SELECT name::text AS name, expression::text AS expression, in_words::text AS in_words, zone::text AS zone, kind::text AS kind, args::jsonb AS args,
    queue::text AS queue, priority::integer AS priority, status::text AS status, status_since::timestamptz AS status_since, next_run, late_by,
    last_start, last_success, last_failure, last_outcome, last_duration, usual_duration, off_usual, running_since, paused_at, paused_by, pause_reason,
    defined_in::text AS defined_in, holds::text AS holds, ends_at, missed::text AS missed, skip_after, overlap::text AS overlap,
    grace::interval AS grace, changed_at::timestamptz AS changed_at, changed_by, problem, code, edited
FROM towpath.schedules WHERE name = @name::text;

-- name: ListScheduleRuns :many
SELECT n::bigint AS n, tick::timestamptz AS tick, due::timestamptz AS due, ticks::integer AS ticks, cause::text AS cause, job_id, outcome::text AS outcome,
    attempt::smallint AS attempt, started_at, finished_at, duration, process, host, note
FROM towpath.schedule_runs WHERE schedule = @schedule::text AND n < @before::bigint ORDER BY n DESC LIMIT @most::bigint;

-- name: ListScheduleEvents :many
SELECT at::timestamptz AS at, status::text AS status, before::text AS before, since::timestamptz AS since, due, job_id
FROM towpath.schedule_events WHERE schedule = @schedule::text ORDER BY id DESC LIMIT @most::bigint;

-- name: ListBackfills :many
SELECT id::bigint AS id, schedule::text AS schedule, from_at::timestamptz AS from_at, to_at::timestamptz AS to_at, at_once::integer AS at_once,
    fired::integer AS fired, open_runs::bigint AS open_runs, created_at::timestamptz AS created_at, created_by::text AS created_by, ended_at,
    cancelled::boolean AS cancelled
FROM towpath.schedule_backfills WHERE id < coalesce(sqlc.narg(before)::bigint, 9223372036854775807) ORDER BY id DESC LIMIT @most::bigint;

-- How many live processes could run its jobs, and whether its queue is paused.
--
-- name: ScheduleNeeds :one
SELECT (SELECT count(*) FROM towpath.processes p WHERE @kind::text = ANY (p.kinds) AND jsonb_exists(p.queues, @queue::text) AND p.status = 'live')::bigint AS processes,
    EXISTS (SELECT FROM towpath.river_queue q WHERE q.name = @queue::text AND q.paused_at IS NOT NULL)::boolean AS paused;

-- name: ScheduleDefinition :one
SELECT coalesce(edited, code)::jsonb FROM towpath.schedule WHERE name = @schedule::text;
