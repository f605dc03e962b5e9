-- name: CancelJob :one
SELECT id::bigint AS id, state::text AS state, changed::boolean AS changed, note::text AS note FROM towpath.cancel_job(@id::bigint);

-- name: RetryJob :one
SELECT id::bigint AS id, state::text AS state, changed::boolean AS changed, note::text AS note FROM towpath.retry_job(@id::bigint);

-- name: DeleteJob :one
SELECT id::bigint AS id, state::text AS state, changed::boolean AS changed, note::text AS note FROM towpath.delete_job(@id::bigint);

-- name: CancelJobs :many
SELECT id::bigint AS id, state::text AS state, changed::boolean AS changed, note::text AS note
FROM towpath.cancel_jobs(states => sqlc.narg(states)::text[], kinds => sqlc.narg(kinds)::text[], queues => sqlc.narg(queues)::text[],
    tags => sqlc.narg(tags)::text[], older_than => sqlc.narg(older_than)::interval, newer_than => sqlc.narg(newer_than)::interval,
    args => sqlc.narg(args)::jsonb, error => sqlc.narg(error)::text, max_jobs => cardinality(@ids::bigint[]), ids => @ids);

-- name: RetryJobs :many
SELECT id::bigint AS id, state::text AS state, changed::boolean AS changed, note::text AS note
FROM towpath.retry_jobs(states => sqlc.narg(states)::text[], kinds => sqlc.narg(kinds)::text[], queues => sqlc.narg(queues)::text[],
    tags => sqlc.narg(tags)::text[], older_than => sqlc.narg(older_than)::interval, newer_than => sqlc.narg(newer_than)::interval,
    args => sqlc.narg(args)::jsonb, error => sqlc.narg(error)::text, max_jobs => cardinality(@ids::bigint[]), ids => @ids);

-- name: DeleteJobs :many
SELECT id::bigint AS id, state::text AS state, changed::boolean AS changed, note::text AS note
FROM towpath.delete_jobs(states => sqlc.narg(states)::text[], kinds => sqlc.narg(kinds)::text[], queues => sqlc.narg(queues)::text[],
    tags => sqlc.narg(tags)::text[], older_than => sqlc.narg(older_than)::interval, newer_than => sqlc.narg(newer_than)::interval,
    args => sqlc.narg(args)::jsonb, error => sqlc.narg(error)::text, max_jobs => cardinality(@ids::bigint[]), ids => @ids);

-- name: PauseQueue :many
SELECT queue::text AS queue, paused_at::timestamptz AS paused_at, changed::boolean AS changed FROM towpath.pause_queue(@name::text, sqlc.narg(reason)::text);

-- name: ResumeQueue :many
SELECT queue::text AS queue, changed::boolean AS changed FROM towpath.resume_queue(@name::text);
