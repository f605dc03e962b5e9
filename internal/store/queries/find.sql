-- name: FindJobs :many
SELECT id::bigint AS id, state::text AS state, at::timestamptz AS at
FROM towpath.find_jobs(states => sqlc.narg(states)::text[], kinds => sqlc.narg(kinds)::text[], queues => sqlc.narg(queues)::text[],
    tags => sqlc.narg(tags)::text[], older_than => sqlc.narg(older_than)::interval, newer_than => sqlc.narg(newer_than)::interval,
    args => sqlc.narg(args)::jsonb, error => sqlc.narg(error)::text, max_jobs => @max_jobs::integer,
    after_id => sqlc.narg(after_id)::bigint, after_finished => sqlc.narg(after_finished)::timestamptz);

-- name: Jobs :many
SELECT id::bigint AS id, state::text AS state, kind::text AS kind, queue::text AS queue, priority::smallint AS priority,
    attempt::smallint AS attempt, max_attempts::smallint AS max_attempts, args::jsonb AS args, tags::text[] AS tags,
    created_at::timestamptz AS created_at, scheduled_at::timestamptz AS scheduled_at, attempted_at, finalized_at,
    coalesce(attempted_by, '{}')::text[] AS attempted_by, to_jsonb(coalesce(errors, '{}'))::jsonb AS errors, metadata::jsonb AS metadata
FROM towpath.jobs WHERE id = ANY(@ids::bigint[]);

-- name: JobStates :many
SELECT id::bigint AS id, state::text AS state, attempt::smallint AS attempt, scheduled_at::timestamptz AS scheduled_at
FROM towpath.jobs WHERE id = ANY(@ids::bigint[]);
