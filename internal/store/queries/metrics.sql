-- name: Lifecycles :many
SELECT queue::text AS queue, kind::text AS kind, received::bigint AS received, started::bigint AS started, succeeded::bigint AS succeeded,
    failed::bigint AS failed, retried::bigint AS retried, snoozed::bigint AS snoozed, interrupted::bigint AS interrupted,
    cancelled::bigint AS cancelled, discarded::bigint AS discarded, revived::bigint AS revived, deleted::bigint AS deleted,
    finished::bigint AS finished
FROM towpath.lifecycle;

-- name: AttemptDurations :many
SELECT queue, kind, event, bucket, sum(n)::bigint AS n, sum(seconds)::double precision AS seconds
FROM (
    SELECT queue, kind, event, bucket, n, seconds FROM towpath.counter
    UNION ALL
    SELECT queue, kind, event, bucket, n, seconds FROM towpath.counter_delta
) both_tables
WHERE event IN ('started', 'completed', 'retried', 'discarded', 'snoozed', 'interrupted', 'cancelled')
GROUP BY queue, kind, event, bucket;

-- name: KnownKinds :many
SELECT kind, queue FROM towpath.known_kind;

-- In the order of their keys, so that processes that start together wait for each other and never in a circle.
--
-- name: AddKnownKinds :exec
INSERT INTO towpath.known_kind (kind, queue)
SELECT kind, queue FROM ROWS FROM (unnest(@kinds::text[]), unnest(@queues::text[])) AS k (kind, queue) ORDER BY kind, queue
ON CONFLICT DO NOTHING;

-- name: PutKindSchemas :exec
INSERT INTO towpath.kind_schema AS k (kind, schema)
SELECT kind, schema::jsonb FROM ROWS FROM (unnest(@kinds::text[]), unnest(@schemas::text[])) AS s (kind, schema) ORDER BY kind
ON CONFLICT (kind) DO UPDATE SET schema = EXCLUDED.schema, told_at = now() WHERE k.schema <> EXCLUDED.schema;

-- name: KindSchemas :many
SELECT kind::text AS kind, schema::jsonb AS schema, checked::boolean AS checked, told_at::timestamptz AS told_at FROM towpath.kind_schemas ORDER BY kind;

-- name: QueuesNow :many
SELECT queue::text AS queue, available::bigint AS available, scheduled::bigint AS scheduled, retryable::bigint AS retryable,
    running::bigint AS running, pending::bigint AS pending, coalesce(extract(epoch FROM oldest), 0)::double precision AS oldest,
    (paused_at IS NOT NULL)::boolean AS paused, processes::bigint AS processes, slots::bigint AS slots
FROM towpath.queues ORDER BY queue;

-- name: ScheduleFigures :many
SELECT name::text AS name, status::text AS status, next_run, last_start, last_success,
    coalesce(extract(epoch FROM last_duration), -1)::double precision AS last_duration
FROM towpath.schedules ORDER BY name;

-- name: TablesHealth :many
SELECT t.name::text AS name, sum(coalesce(pg_catalog.pg_stat_get_dead_tuples(c.oid), 0))::bigint AS dead_tuples,
    sum(pg_catalog.pg_total_relation_size(c.oid))::bigint AS bytes
FROM unnest('{river_job,job_history,job_event,counter,counter_delta,counter_minute,process}'::text[]) AS t (name)
CROSS JOIN LATERAL (
    SELECT ('towpath.' || t.name)::regclass::oid AS oid
    UNION SELECT p.relid::oid FROM pg_catalog.pg_partition_tree(('towpath.' || t.name)::regclass) AS p WHERE p.isleaf
) c
GROUP BY t.name ORDER BY t.name;

-- Of other roles' transactions one sees the begin only with the rights of pg_read_all_stats.
--
-- name: ServerHealth :one
SELECT coalesce(max(extract(epoch FROM clock_timestamp() - a.xact_start)), 0)::double precision AS oldest_transaction,
    pg_catalog.pg_notification_queue_usage()::double precision AS notify_usage
FROM pg_catalog.pg_stat_activity a
WHERE a.datname = current_database() AND a.backend_type = 'client backend' AND a.pid <> pg_backend_pid();

-- name: TakeLease :one
SELECT towpath.take_lease(@name::text, @holder::text, make_interval(secs => @seconds::double precision))::boolean AS has;
