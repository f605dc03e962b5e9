-- What went wrong, what happened when, and why a job is not running: failures, timeline, waiting, why.
--
-- Locks: new views and functions only.

--
-- Failures
--
-- Errors differ in ids, numbers and quoted text; without them they are the same failure.
CREATE FUNCTION /* TEMPLATE: schema */error_pattern(error text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN regexp_replace(left(split_part(error, E'\n', 1), 300),
        '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|0x[0-9a-f]+|"[^"]*"|''[^'']*''|[0-9]+([.:][0-9]+)*', '?', 'gi');
COMMENT ON FUNCTION /* TEMPLATE: schema */error_pattern(text) IS
    'The first line of an error with numbers, ids, addresses and quoted text replaced by ?: what equal failures have in common.';

CREATE FUNCTION /* TEMPLATE: schema */failures_since(period interval, max_jobs integer DEFAULT 1000)
    RETURNS TABLE (fingerprint text, kind text, pattern text, jobs bigint, discarded bigint, first_seen timestamptz, last_seen timestamptz,
        example_id bigint, example_error text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 50
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_custom_plan
    SET jit = off
    SET max_parallel_workers_per_gather = 0
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH failed AS (
        (SELECT j.id, j.kind, j.state, j.errors FROM /* TEMPLATE: schema */river_job j
            WHERE j.state IN ('retryable', 'scheduled') AND j.state = 'retryable' ORDER BY j.scheduled_at, j.id LIMIT max_jobs)
        UNION ALL
        (SELECT j.id, j.kind, j.state, j.errors FROM /* TEMPLATE: schema */river_job j
            WHERE j.state = 'running' AND j.errors IS NOT NULL ORDER BY j.attempted_at, j.id LIMIT max_jobs)
        UNION ALL
        (SELECT j.id, j.kind, j.state, j.errors FROM /* TEMPLATE: schema */river_job j
            WHERE j.finalized_at IS NOT NULL AND j.finalized_at >= now() - period AND j.state <> 'completed'
            ORDER BY j.finalized_at DESC, j.id DESC LIMIT max_jobs)
        UNION ALL
        (SELECT j.id, j.kind, j.state, j.errors FROM /* TEMPLATE: schema */job_history j
            WHERE j.state IN ('discarded', 'cancelled') AND j.finalized_at >= now() - period ORDER BY j.finalized_at DESC, j.id DESC LIMIT max_jobs)
    ), last AS (
        SELECT f.id, f.kind, f.state, f.errors[cardinality(f.errors)] ->> 'error' AS error,
            (f.errors[cardinality(f.errors)] ->> 'at')::timestamptz AS at,
            CASE WHEN f.errors[1] ->> 'error' = f.errors[cardinality(f.errors)] ->> 'error' THEN (f.errors[1] ->> 'at')::timestamptz END AS first_at
        FROM failed f WHERE f.errors IS NOT NULL
    ), named AS (
        SELECT *, /* TEMPLATE: schema */error_pattern(l.error) AS pattern FROM last l WHERE l.at >= now() - period
    )
    SELECT left(md5(n.kind || E'\n' || n.pattern), 12), n.kind, n.pattern, count(*), count(*) FILTER (WHERE n.state = 'discarded'),
        min(least(n.first_at, n.at)), max(n.at), max(n.id), left((array_agg(n.error ORDER BY n.id DESC))[1], 1000)
    FROM named n
    GROUP BY n.kind, n.pattern
    ORDER BY max(n.at) DESC;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */failures_since(interval, integer) IS
    'Errors of a period, grouped by kind and pattern, the newest first; the columns are those of failures. It looks at the last error of jobs that have not succeeded since: at most max_jobs of those that wait for their next attempt, that run, that ended in the live table and that ended in history each, the newest or next first.';

CREATE VIEW /* TEMPLATE: schema */failures AS SELECT * FROM /* TEMPLATE: schema */failures_since(interval '1 day', 500);
COMMENT ON VIEW /* TEMPLATE: schema */failures IS
    'Errors of the last day, grouped by kind and pattern, the newest first; a sample of up to 500 jobs a state. failures_since(period, max_jobs) looks farther.';
COMMENT ON COLUMN /* TEMPLATE: schema */failures.fingerprint IS 'Names the group; the same for the same kind and pattern everywhere.';
COMMENT ON COLUMN /* TEMPLATE: schema */failures.kind IS 'The kind of job.';
COMMENT ON COLUMN /* TEMPLATE: schema */failures.pattern IS 'What the errors have in common: see error_pattern.';
COMMENT ON COLUMN /* TEMPLATE: schema */failures.jobs IS 'How many jobs failed last with it.';
COMMENT ON COLUMN /* TEMPLATE: schema */failures.discarded IS 'How many of them failed for good.';
COMMENT ON COLUMN /* TEMPLATE: schema */failures.first_seen IS 'The earliest such error that was found.';
COMMENT ON COLUMN /* TEMPLATE: schema */failures.last_seen IS 'The latest.';
COMMENT ON COLUMN /* TEMPLATE: schema */failures.example_id IS 'The newest such job.';
COMMENT ON COLUMN /* TEMPLATE: schema */failures.example_error IS 'Its error, up to a thousand characters.';

--
-- Timeline
--
CREATE VIEW /* TEMPLATE: schema */timeline AS
SELECT j.id AS job_id, e.at, e.event, e.attempt, e.host, e.detail
FROM /* TEMPLATE: schema */jobs j
CROSS JOIN LATERAL (
    SELECT coalesce((
        SELECT p.host FROM /* TEMPLATE: schema */process p
        WHERE p.client_id = j.attempted_by[cardinality(j.attempted_by)] AND p.started_at <= j.attempted_at ORDER BY p.epoch DESC LIMIT 1
    ), j.attempted_by[cardinality(j.attempted_by)]) AS host
) last
CROSS JOIN LATERAL (
    SELECT j.created_at AS at, 'enqueued' AS event, NULL::integer AS attempt, NULL AS host,
        'kind ' || j.kind || ', queue ' || j.queue || ', priority ' || j.priority AS detail
    UNION ALL
    SELECT j.scheduled_at, 'due', NULL, NULL, NULL WHERE j.scheduled_at > j.created_at
    UNION ALL
    SELECT j.attempted_at, 'started', j.attempt, last.host, 'attempt ' || j.attempt || ' of ' || j.max_attempts WHERE j.attempted_at IS NOT NULL
    UNION ALL
    SELECT (x.error ->> 'at')::timestamptz, 'failed', (x.error ->> 'attempt')::integer, CASE
            WHEN (x.error ->> 'attempt')::integer = j.attempt THEN last.host
            -- As long as every attempt counted, the clients are in the order of the attempts.
            WHEN cardinality(j.attempted_by) = j.attempt THEN j.attempted_by[(x.error ->> 'attempt')::integer] END, x.error ->> 'error'
        FROM unnest(j.errors) AS x (error)
    UNION ALL
    SELECT j.finalized_at, j.state::text, nullif(j.attempt, 0), CASE WHEN j.attempted_at IS NOT NULL THEN last.host END, NULL WHERE j.finalized_at IS NOT NULL
) e
UNION ALL
SELECT e.job_id, e.at, e.event, e.attempt, NULL, concat_ws(' ', e.level, round((e.fraction * 100)::numeric) || '%', e.message, nullif(e.attrs, '{}')::text)
FROM /* TEMPLATE: schema */job_event e
UNION ALL
SELECT a.job_id, a.at, a.action, NULL, NULL, 'by ' || coalesce(a.on_behalf_of || ' through ', '') || a.actor || coalesce(': ' || (a.details ->> 'note'), '')
FROM /* TEMPLATE: schema */audit a WHERE a.job_id IS NOT NULL;

COMMENT ON VIEW /* TEMPLATE: schema */timeline IS
    'What happened to a job and when. Always ask for one job, WHERE job_id = 42 ORDER BY at. Of earlier attempts River keeps the errors only.';
COMMENT ON COLUMN /* TEMPLATE: schema */timeline.job_id IS 'The job.';
COMMENT ON COLUMN /* TEMPLATE: schema */timeline.at IS 'When; starts and ends by the clock of the process that ran the job, the rest by that of the database.';
COMMENT ON COLUMN /* TEMPLATE: schema */timeline.event IS
    'enqueued, due, started, failed, then completed, cancelled or discarded; log, progress, soft_limit, stuck, note from the job itself; cancel_job, retry_job and the like from operators.';
COMMENT ON COLUMN /* TEMPLATE: schema */timeline.attempt IS 'The attempt it belongs to.';
COMMENT ON COLUMN /* TEMPLATE: schema */timeline.host IS 'Where that attempt ran; the client''s id when the process is forgotten.';
COMMENT ON COLUMN /* TEMPLATE: schema */timeline.detail IS 'The error, the line that was logged, who acted.';

--
-- Logs
--
CREATE VIEW /* TEMPLATE: schema */logs AS
SELECT job_id, id, at, attempt, event, level, message, fraction, attrs FROM /* TEMPLATE: schema */job_event;

COMMENT ON VIEW /* TEMPLATE: schema */logs IS
    'What jobs tell about themselves, readable while they run. Always ask for one job, WHERE job_id = 42 ORDER BY id; to follow it, ask again for what is above the last id.';
COMMENT ON COLUMN /* TEMPLATE: schema */logs.job_id IS 'The job.';
COMMENT ON COLUMN /* TEMPLATE: schema */logs.id IS 'Grows with time.';
COMMENT ON COLUMN /* TEMPLATE: schema */logs.at IS 'When, by the clock of the database.';
COMMENT ON COLUMN /* TEMPLATE: schema */logs.attempt IS 'The attempt that wrote it.';
COMMENT ON COLUMN /* TEMPLATE: schema */logs.event IS
    'log: a line of the handler''s logger; progress: a fraction of the work; soft_limit: the soft time limit passed; stuck: the hard limit passed and the slot was taken back; note: written by an operator.';
COMMENT ON COLUMN /* TEMPLATE: schema */logs.level IS 'DEBUG, INFO, WARN or ERROR for log lines.';
COMMENT ON COLUMN /* TEMPLATE: schema */logs.message IS 'The text of the line, or what the progress is about.';
COMMENT ON COLUMN /* TEMPLATE: schema */logs.fraction IS 'Progress from 0 to 1.';
COMMENT ON COLUMN /* TEMPLATE: schema */logs.attrs IS 'Attributes of a log line as a JSON object.';

--
-- Why a job is not running
--
-- Every obstacle that stands between a waiting job and its start, the first one being what has to give way first.
--
-- The rows of river_job stream out of the index that the question asks for, and a LIMIT ends the walk. That needs a view
-- without WITH, which would be computed on its own, and lateral joins with limits, which cannot become joins of whole sets
-- that lose the order. Postgres remembers what it looked up for a queue.
CREATE VIEW /* TEMPLATE: schema */waiting AS
SELECT j.id, j.state, j.kind, j.queue, j.priority, j.scheduled_at, o.reasons[1] AS reason, o.texts[1] AS explanation, o.texts[2:] AS also
FROM /* TEMPLATE: schema */river_job j
LEFT JOIN LATERAL (
    SELECT count(*) AS n FROM (SELECT FROM /* TEMPLATE: schema */river_job r WHERE r.state = 'running' AND r.queue = j.queue LIMIT 100000) r LIMIT 1
) running ON true
LEFT JOIN LATERAL (SELECT f.* FROM /* TEMPLATE: schema */fleet f WHERE f.queue = j.queue LIMIT 1) fleet ON true
LEFT JOIN LATERAL (SELECT p.* FROM /* TEMPLATE: schema */pauses p WHERE p.queue = j.queue LIMIT 1) paused ON true
CROSS JOIN LATERAL (
    SELECT array_agg(x.reason ORDER BY x.n) AS reasons, array_agg(x.text ORDER BY x.n) AS texts
    FROM (VALUES
        (1, 'pending', CASE WHEN j.state = 'pending' THEN
            'it is pending: whatever enqueued it has to release it' END),
        (2, 'scheduled', CASE WHEN j.state = 'scheduled' AND j.scheduled_at > now() THEN
            'it is scheduled for ' || date_trunc('second', j.scheduled_at) || ', in ' || date_trunc('second', j.scheduled_at - now()) END),
        (3, 'retry', CASE WHEN j.state = 'retryable' AND j.scheduled_at > now() THEN
            'attempt ' || j.attempt || ' of ' || j.max_attempts || ' failed; the next one is at ' || date_trunc('second', j.scheduled_at)
                || ', in ' || date_trunc('second', j.scheduled_at - now())
                || coalesce('. The error: ' || left(split_part(j.errors[cardinality(j.errors)] ->> 'error', E'\n', 1), 200), '') END),
        (4, 'unique', CASE WHEN j.state IN ('retryable', 'scheduled') AND j.unique_key IS NOT NULL THEN
            'job ' || /* TEMPLATE: schema */key_holder(j.id, j.unique_key) || ' holds its unique key; it will be discarded when it is due, unless that one is gone by then' END),
        (5, 'no_leader', CASE WHEN j.state IN ('retryable', 'scheduled') AND j.scheduled_at <= now() AND NOT EXISTS (SELECT FROM /* TEMPLATE: schema */river_leader l WHERE l.expires_at > now()) THEN
            'it is due, but there is no leader to make it available: no process that works a queue is alive' END),
        (6, 'due', CASE WHEN j.state IN ('retryable', 'scheduled') AND j.scheduled_at <= now() AND EXISTS (SELECT FROM /* TEMPLATE: schema */river_leader l WHERE l.expires_at > now()) THEN
            'it is due, and the leader makes it available within a few seconds' END),
        (7, 'paused', CASE WHEN paused.queue IS NOT NULL THEN
            'queue ' || j.queue || ' is paused since ' || date_trunc('second', paused.paused_at) || coalesce(' by ' || paused.paused_by, '') || coalesce(': ' || paused.reason, '') END),
        (8, 'no_process', CASE WHEN fleet.queue IS NULL THEN
            'no live process works queue ' || j.queue END),
        (9, 'unknown_kind', CASE WHEN fleet.queue IS NOT NULL AND NOT EXISTS (
                SELECT FROM /* TEMPLATE: schema */process p WHERE p.stopped_at IS NULL AND p.dead_at IS NULL AND p.beat_at > now() - interval '30 seconds'
                    AND p.queues ? j.queue AND j.kind = ANY (p.kinds)) THEN
            'no live process that works queue ' || j.queue || ' has a worker for kind ' || j.kind END),
        (10, 'busy', CASE WHEN running.n >= fleet.slots AND NOT fleet.slots_unknown THEN
            'all ' || fleet.slots || ' slots of queue ' || j.queue || ' are busy' END),
        (11, 'in_line', CASE WHEN j.state = 'available' THEN
            'it is in line since ' || date_trunc('second', j.scheduled_at) || ' with priority ' || j.priority END)
    ) AS x (n, reason, text)
    WHERE x.text IS NOT NULL
) o
WHERE j.state IN ('available', 'pending', 'retryable', 'scheduled');

COMMENT ON VIEW /* TEMPLATE: schema */waiting IS
    'The jobs that wait, and why each is not running. Give a LIMIT, or a queue with state = ''available'' ORDER BY priority, scheduled_at, id. For one job, also one that runs, has finished or is not there, see why(id).';
COMMENT ON COLUMN /* TEMPLATE: schema */waiting.id IS 'The job.';
COMMENT ON COLUMN /* TEMPLATE: schema */waiting.state IS 'available, pending, retryable or scheduled.';
COMMENT ON COLUMN /* TEMPLATE: schema */waiting.kind IS 'Its kind.';
COMMENT ON COLUMN /* TEMPLATE: schema */waiting.queue IS 'Its queue.';
COMMENT ON COLUMN /* TEMPLATE: schema */waiting.priority IS 'From 1, fetched first, to 4.';
COMMENT ON COLUMN /* TEMPLATE: schema */waiting.scheduled_at IS 'When it is or was due.';
COMMENT ON COLUMN /* TEMPLATE: schema */waiting.reason IS 'What has to give way first, for programs: pending, scheduled, retry, unique, no_leader, due, paused, no_process, unknown_kind, busy, in_line.';
COMMENT ON COLUMN /* TEMPLATE: schema */waiting.explanation IS 'The same in words.';
COMMENT ON COLUMN /* TEMPLATE: schema */waiting.also IS 'What would stand in its way next, in words.';

CREATE FUNCTION /* TEMPLATE: schema */why(job_id bigint, OUT id bigint, OUT state text, OUT reason text, OUT explanation text, OUT also text[])
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    job record;
    ahead bigint;
    owner record;
    highest bigint;
    writers bigint;
BEGIN
    id := job_id;
    also := '{}';
    SELECT w.state, w.reason, w.explanation, w.also, w.queue, w.priority, w.scheduled_at INTO job FROM /* TEMPLATE: schema */waiting w WHERE w.id = job_id;
    IF FOUND THEN
        state := job.state;
        reason := job.reason;
        explanation := job.explanation;
        also := coalesce(job.also, '{}');
        IF job.state = 'available' THEN
            SELECT count(*) INTO ahead FROM (
                SELECT FROM /* TEMPLATE: schema */river_job j
                WHERE j.state = 'available' AND j.queue = job.queue AND (j.priority, j.scheduled_at, j.id) < (job.priority, job.scheduled_at, job_id)
                LIMIT 10001) first;
            also := also || CASE ahead WHEN 0 THEN 'no job of the queue is ahead of it' WHEN 1 THEN '1 job of the queue is ahead of it'
                WHEN 10001 THEN 'more than 10000 jobs of the queue are ahead of it' ELSE ahead || ' jobs of the queue are ahead of it' END;
        END IF;
        RETURN;
    END IF;

    SELECT j.state::text, j.attempt, j.max_attempts, j.attempted_at, j.attempted_by[cardinality(j.attempted_by)] AS client, j.finalized_at, j.last_error,
        j.metadata ? 'cancel_attempted_at' AS cancelled INTO job FROM /* TEMPLATE: schema */jobs j WHERE j.id = job_id;
    IF FOUND AND job.finalized_at IS NOT NULL THEN
        state := job.state;
        reason := 'finished';
        explanation := 'it was ' || job.state || ' at ' || date_trunc('second', job.finalized_at)
            || CASE WHEN job.attempt = 0 THEN ' without an attempt' ELSE ' after ' || job.attempt || ' of ' || job.max_attempts || ' attempts' END
            || coalesce('. The last error: ' || left(split_part(job.last_error, E'\n', 1), 200), '');
        RETURN;
    ELSIF FOUND THEN
        state := job.state;
        SELECT p.host, p.pid, p.status INTO owner FROM /* TEMPLATE: schema */processes p WHERE p.client_id = job.client ORDER BY p.epoch DESC LIMIT 1;
        reason := CASE WHEN owner.status IN ('silent', 'dead') THEN 'owner_lost' ELSE 'running' END;
        explanation := 'it is running since ' || date_trunc('second', job.attempted_at) || ', attempt ' || job.attempt || ' of ' || job.max_attempts
            || coalesce(', on host ' || owner.host || ' (pid ' || owner.pid || ')', ', by client ' || job.client, '')
            || CASE WHEN reason = 'owner_lost' THEN ', which gives no sign of life; the job comes back within half a minute' ELSE '' END;
        also := array_remove(ARRAY[CASE WHEN job.cancelled THEN 'its worker was told to stop' END], NULL);
        RETURN;
    END IF;

    SELECT s.last_value INTO highest FROM /* TEMPLATE: schema */river_job_id_seq s;
    SELECT count(DISTINCT l.pid) INTO writers FROM pg_locks l
        WHERE l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()) AND l.relation = '/* TEMPLATE: schema */river_job'::regclass AND l.mode = 'RowExclusiveLock' AND l.granted AND l.pid <> pg_backend_pid();
    reason := 'not_found';
    explanation := CASE WHEN job_id > highest THEN 'there is no such job; the highest number so far is ' || highest
        ELSE 'there is no such job: the transaction that enqueued it has not committed yet or was rolled back, the job was deleted, or its history is past its time' END;
    also := CASE writers WHEN 0 THEN ARRAY['no open transaction has written to the queue'] WHEN 1 THEN ARRAY['1 open transaction has written to the queue']
        ELSE ARRAY[writers || ' open transactions have written to the queue'] END;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */why(bigint) IS
    'Why a job is not running, or what became of it: one row, whatever number is given. reason is a word for programs, those of waiting and running, owner_lost, finished, not_found; explanation says it in a sentence; also lists what else is to be known.';

REVOKE ALL ON FUNCTION /* TEMPLATE: schema */error_pattern, /* TEMPLATE: schema */failures_since, /* TEMPLATE: schema */why FROM PUBLIC;
SELECT /* TEMPLATE: schema */pin_search_path();
