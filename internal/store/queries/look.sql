-- Durations are seconds; what there is none of is NaN, because sqlc does not know that a function's column may be NULL.

-- name: Queues :many
SELECT queue::text AS queue, available::bigint AS available, running::bigint AS running, scheduled::bigint AS scheduled,
    retryable::bigint AS retryable, pending::bigint AS pending, coalesce(extract(epoch FROM oldest), 'NaN')::double precision AS oldest,
    started_per_minute::double precision AS started_per_minute, finished_per_minute::double precision AS finished_per_minute,
    processes::bigint AS processes, slots::bigint AS slots, paused_at, paused_by, counted_at
FROM towpath.queues ORDER BY queue;

-- name: Kinds :many
SELECT kind::text AS kind, started::bigint AS started, completed::bigint AS completed, failed::bigint AS failed,
    discarded::bigint AS discarded, cancelled::bigint AS cancelled, coalesce(failure_ratio, 'NaN')::double precision AS failure_ratio, started_per_minute::double precision AS started_per_minute,
    coalesce(extract(epoch FROM wait_p50), 'NaN')::double precision AS wait_p50, coalesce(extract(epoch FROM wait_p95), 'NaN')::double precision AS wait_p95,
    coalesce(extract(epoch FROM run_p50), 'NaN')::double precision AS run_p50, coalesce(extract(epoch FROM run_p95), 'NaN')::double precision AS run_p95,
    waiting::bigint AS waiting, processes::bigint AS processes
FROM towpath.kinds_since(@period::interval);

-- name: Failures :many
SELECT fingerprint::text AS fingerprint, kind::text AS kind, pattern::text AS pattern, jobs::bigint AS jobs, discarded::bigint AS discarded,
    first_seen::timestamptz AS first_seen, last_seen::timestamptz AS last_seen, example_id::bigint AS example_id, example_error::text AS example_error
FROM towpath.failures_since(@period::interval, @max_jobs::integer);

-- name: Processes :many
SELECT client_id::text AS client_id, host::text AS host, pid::integer AS pid, version::text AS version, roles::text[] AS roles,
    queues::jsonb AS queues, kinds::text[] AS kinds, slots::integer AS slots, running::integer AS running, status::text AS status,
    leads::boolean AS leads, since::timestamptz AS since, beat_at::timestamptz AS beat_at, stopped_at, dead_at
FROM towpath.processes ORDER BY status, host, pid;

-- name: Why :one
SELECT id::bigint AS id, coalesce(state, '')::text AS state, reason::text AS reason, explanation::text AS explanation, also::text[] AS also FROM towpath.why(@id::bigint);

-- name: Logs :many
SELECT id::bigint AS id, at::timestamptz AS at, attempt::smallint AS attempt, event::text AS event, level, message, fraction, attrs
FROM towpath.logs
WHERE job_id = @job_id::bigint AND id > @after::bigint
    AND (sqlc.narg(attempt)::smallint IS NULL OR attempt = sqlc.narg(attempt))
    AND (event <> 'log' OR array_position('{DEBUG,INFO,WARN,ERROR}'::text[], level) >= @min_level::integer)
ORDER BY id LIMIT @max_lines::bigint;

-- name: Running :many
SELECT id::bigint AS id, kind::text AS kind, queue::text AS queue, attempt::smallint AS attempt, max_attempts::smallint AS max_attempts,
    attempted_at, attempted_by[cardinality(attempted_by)]::text AS client_id
FROM towpath.jobs WHERE state = 'running' ORDER BY attempted_at, id LIMIT @max_jobs::bigint;
