-- name: ListChecks :many
SELECT name::text AS name, status::text AS status, status_since::timestamptz AS status_since, description::text AS description, period, cron,
    zone::text AS zone, grace::interval AS grace, longest, last_ping, last_start, last_success, last_failure, last_exit_status, last_duration,
    running::integer AS running, running_since, expected_by, late_by, problem, pings::bigint AS pings, created_at::timestamptz AS created_at,
    updated_at::timestamptz AS updated_at, updated_by::text AS updated_by
FROM towpath.checks
WHERE (@name::text = '' OR name = @name) AND name > @after::text AND (cardinality(@statuses::text[]) = 0 OR status = ANY (@statuses))
ORDER BY name LIMIT @most::integer;

-- name: ListCheckPings :many
SELECT id::bigint AS id, at::timestamptz AS at, kind::text AS kind, exit_status, run_id, duration, source::text AS source, body, body_bytes::bigint AS body_bytes
FROM towpath.check_pings WHERE name = @name::text AND (@before::bigint = 0 OR id < @before) ORDER BY id DESC LIMIT @most::integer;

-- name: ListCheckEvents :many
SELECT id::bigint AS id, at::timestamptz AS at, status::text AS status, was::text AS was
FROM towpath.check_events WHERE name = @name::text ORDER BY id DESC LIMIT @most::integer;
