-- What is true at this moment, all in one statement: source says of what, and the other columns mean what it means there. It
-- has no parameters, so that a connection plans it once: to plan it takes longer than to run it.
--

-- name: AlertFacts :many
WITH late AS MATERIALIZED (
    SELECT j.id, j.kind, j.queue, j.attempted_at FROM towpath.river_job j
    WHERE j.state = 'running' AND j.attempted_at < clock_timestamp() - make_interval(secs => (SELECT min(threshold) FROM towpath.alert_rules WHERE name = 'work_stuck' AND enabled))
), limits AS MATERIALIZED ( -- of each kind its own
    SELECT k.kind, towpath.alert_limit('work_stuck', k.kind)::double precision AS threshold FROM (SELECT DISTINCT kind FROM late) k
)
SELECT 'queue'::text AS source, q.queue::text AS subject, ''::text AS word, extract(epoch FROM q.oldest)::double precision AS measure, NULL::timestamptz AS since,
    q.available::bigint AS n, q.slots::bigint AS other, ''::text AS note
FROM towpath.queues q WHERE q.oldest IS NOT NULL AND q.paused_at IS NULL
UNION ALL
SELECT 'schedule', s.name, s.status, 0, s.status_since, 0, 0, coalesce(s.problem, '') FROM towpath.schedules s WHERE s.status NOT IN ('ok', 'paused')
UNION ALL
SELECT 'check', c.name, c.status, 0, c.status_since, coalesce(c.last_exit_status, 0), 0, coalesce(c.problem, '') FROM towpath.checks c WHERE c.status NOT IN ('ok', 'new', 'paused')
UNION ALL
SELECT 'probe', p.name, p.status, coalesce(p.value, 0), p.since, (p.value IS NOT NULL)::integer, 0, coalesce(p.detail, '') FROM towpath.probes p WHERE p.status IN ('beyond', 'empty', 'failed', 'stale')
UNION ALL
SELECT 'leader', coalesce(max(l.leader_id), ''), '', 0, NULL, count(*), 0, '' FROM towpath.river_leader l WHERE l.name = 'default' AND l.expires_at > clock_timestamp()
UNION ALL
-- Of the dead: whether they still own jobs, and whether another one has started on the host since.
SELECT 'process', p.client_id, CASE WHEN p.dead_at IS NULL THEN 'silent' ELSE 'dead' END, extract(epoch FROM clock_timestamp() - coalesce(p.dead_at, p.beat_at)), p.beat_at,
    CASE WHEN p.dead_at IS NULL THEN p.running ELSE (SELECT count(*) FROM towpath.river_job j WHERE j.state = 'running' AND j.attempted_by[array_upper(j.attempted_by, 1)] = p.client_id
        AND j.attempted_at >= p.started_at AND j.attempted_at < p.dead_at) END,
    (SELECT count(*) FROM towpath.process o WHERE o.host = p.host AND o.epoch > p.epoch AND o.started_at > p.beat_at AND o.dead_at IS NULL), p.host || ' pid ' || p.pid
FROM towpath.process p
WHERE p.stopped_at IS NULL AND (p.dead_at > clock_timestamp() - interval '1 day' OR p.dead_at IS NULL AND p.beat_at < clock_timestamp() - interval '20 seconds')
UNION ALL
-- Longer than four times what 99% of the kind's attempts have taken since the beginning.
SELECT 'running', r.kind, '', extract(epoch FROM clock_timestamp() - r.first), r.first, r.n, r.id, r.queue
FROM (
    SELECT j.kind, min(j.queue) AS queue, count(*) AS n, min(j.attempted_at) AS first, (array_agg(j.id ORDER BY j.attempted_at))[1] AS id
    FROM late j JOIN limits m ON m.kind = j.kind
    WHERE j.attempted_at < clock_timestamp() - make_interval(secs => m.threshold)
    GROUP BY j.kind
) r
WHERE clock_timestamp() - r.first > 4 * coalesce((
    SELECT towpath.histogram_quantile(array_agg(h.bucket ORDER BY h.bucket), array_agg(h.n ORDER BY h.bucket), 0.99) FROM (
        SELECT c.bucket, sum(c.n)::bigint AS n FROM towpath.counter c WHERE c.kind = r.kind AND c.event IN ('completed', 'retried', 'discarded') GROUP BY c.bucket
    ) h
), interval '0')
UNION ALL
SELECT 'stuck', j.kind, '', count(*), min(e.at), count(*), max(e.job_id), min(j.queue)
FROM (SELECT job_id, at FROM towpath.job_event WHERE event = 'stuck' AND at > clock_timestamp() - interval '15 minutes' ORDER BY at DESC LIMIT 200) e
JOIN towpath.jobs j ON j.id = e.job_id GROUP BY j.kind
UNION ALL
-- How the attempts of the last 15 minutes went, as counters keep them: n of an event and a bucket (other), and their seconds.
SELECT 'attempts', a.queue, a.event, sum(a.seconds)::double precision, NULL, sum(a.n)::bigint, a.bucket, a.kind
FROM (
    SELECT m.queue, m.kind, m.event, m.bucket, m.n, m.seconds FROM towpath.counter_minute m WHERE m.minute >= date_trunc('minute', now() - interval '15 minutes')
    UNION ALL
    SELECT d.queue, d.kind, d.event, d.bucket, d.n, d.seconds FROM towpath.counter_delta d WHERE d.at >= date_trunc('minute', now() - interval '15 minutes')
) a
WHERE a.event IN ('started', 'completed', 'retried', 'discarded')
GROUP BY a.queue, a.kind, a.event, a.bucket
UNION ALL
-- And with the event running those under way.
SELECT 'attempts', r.queue, 'running', sum(extract(epoch FROM least(clock_timestamp() - r.attempted_at, interval '15 minutes'))), NULL, count(*), 0, r.kind
FROM (SELECT queue, kind, attempted_at FROM towpath.river_job WHERE state = 'running' ORDER BY attempted_at, id LIMIT 10000) r
GROUP BY r.queue, r.kind;

-- How Postgres is. Of other roles' transactions one sees the begin only with the rights of pg_read_all_stats.
--

-- name: AlertHealth :many
SELECT 'dead_rows'::text AS source, t.relname::text AS subject, t.n_dead_tup::double precision AS measure, NULL::timestamptz AS since,
    t.n_live_tup::bigint AS n, ''::text AS note
FROM pg_catalog.pg_stat_user_tables t JOIN pg_catalog.pg_class c ON c.oid = t.relid
WHERE t.schemaname = 'towpath' AND NOT c.relispartition AND t.n_dead_tup > t.n_live_tup
UNION ALL
(SELECT 'transaction', current_database()::text, extract(epoch FROM clock_timestamp() - a.xact_start), a.xact_start, a.pid,
    format('pid %s, user %s, application %s, %s: %s', a.pid, a.usename, a.application_name, a.state, left(regexp_replace(a.query, '\s+', ' ', 'g'), 100))
FROM pg_catalog.pg_stat_activity a
WHERE a.datname = current_database() AND a.backend_type = 'client backend' AND a.pid <> pg_backend_pid() AND a.xact_start IS NOT NULL
ORDER BY a.xact_start LIMIT 1)
UNION ALL
SELECT 'partition', 'towpath.' || parent.name, 0, NULL, count(*), string_agg(day.at::text, ', ' ORDER BY day.at)
FROM unnest('{job_history_completed,job_history_cancelled,job_history_discarded,job_event}'::text[]) AS parent (name)
CROSS JOIN LATERAL (SELECT (now() AT TIME ZONE 'UTC')::date + n AS at FROM generate_series(0, 1) AS n) day
WHERE to_regclass('towpath.' || parent.name || '_' || to_char(day.at, 'YYYYMMDD')) IS NULL
GROUP BY parent.name;
