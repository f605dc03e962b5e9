-- The values travel as text, so that Postgres reads and refuses them as it does in any SQL.
--
-- name: Enqueue :one
SELECT id::bigint AS id, state::text AS state, skipped::boolean AS skipped
FROM towpath.enqueue(kind => sqlc.arg(kind)::text, args => (sqlc.arg(args)::text)::json, queue => sqlc.narg(queue)::text,
    priority => sqlc.narg(priority)::integer, scheduled_at => (sqlc.narg(scheduled_at)::text)::timestamptz,
    max_attempts => sqlc.narg(max_attempts)::integer, tags => sqlc.narg(tags)::text[], unique_key => sqlc.narg(unique_key)::text,
    unique_by_args => sqlc.arg(unique_by_args)::boolean, unique_period => (sqlc.narg(unique_period)::text)::interval,
    unique_queue => sqlc.arg(unique_queue)::boolean, unique_states => sqlc.narg(unique_states)::text[],
    unique_args => sqlc.narg(unique_args)::text[], unique_exclude_kind => sqlc.arg(unique_exclude_kind)::boolean,
    metadata => (sqlc.narg(metadata)::text)::json);

-- name: EnqueueMany :many
SELECT id::bigint AS id, state::text AS state, skipped::boolean AS skipped FROM towpath.enqueue_many((@jobs::text)::json);
