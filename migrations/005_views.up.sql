-- What people look at: jobs, queues, kinds, counters, failures, processes, timelines.
--
-- Each view bears ten million finished and a million waiting jobs: it walks an index to a limit, reads counters instead
-- of jobs, or looks at a window of time. A view reads with the rights of its owner, so that a reader needs none on the
-- tables.
--
-- Locks: one new table, new views and functions.

--
-- Jobs
--
-- Both sides have an index on id and one on (finalized_at, id), which the pages below walk on both at once, from the end:
--   WHERE id = 42
--   WHERE finalized_at IS NOT NULL [AND state = …] ORDER BY finalized_at DESC, id DESC LIMIT 50
--   WHERE state = 'available' AND queue = … ORDER BY priority, scheduled_at, id LIMIT 50
-- The condition on finalized_at is needed for the live side's index, and NULLS LAST would spoil the order. Never count
-- over this view; counters does that.
CREATE VIEW /* TEMPLATE: schema */jobs AS
SELECT id, state, kind, queue, priority, attempt, max_attempts, args, tags, created_at, scheduled_at, attempted_at, finalized_at,
    attempted_by, errors[cardinality(errors)] ->> 'error' AS last_error, errors, metadata, unique_key, unique_states,
    NULL::timestamptz AS archived_at
FROM /* TEMPLATE: schema */river_job
UNION ALL
SELECT id, state, kind, queue, priority, attempt, max_attempts, args, tags, created_at, scheduled_at, attempted_at, finalized_at,
    attempted_by, errors[cardinality(errors)] ->> 'error' AS last_error, errors, metadata, unique_key, unique_states, archived_at
FROM /* TEMPLATE: schema */job_history;

COMMENT ON VIEW /* TEMPLATE: schema */jobs IS
    'All jobs, live and finished. Quick by id, and by page: WHERE finalized_at IS NOT NULL ORDER BY finalized_at DESC, id DESC LIMIT n. Do not count it; see counters and queues.';
COMMENT ON COLUMN /* TEMPLATE: schema */jobs.id IS 'The job''s number, which it keeps when it is retried.';
COMMENT ON COLUMN /* TEMPLATE: schema */jobs.state IS
    'available (may start), scheduled (later), pending (waits for something else to release it), running, retryable (failed, tries again), completed, cancelled, discarded (failed for good).';
COMMENT ON COLUMN /* TEMPLATE: schema */jobs.kind IS 'Names the worker that runs it.';
COMMENT ON COLUMN /* TEMPLATE: schema */jobs.queue IS 'The queue it waits in.';
COMMENT ON COLUMN /* TEMPLATE: schema */jobs.priority IS 'From 1, fetched first, to 4.';
COMMENT ON COLUMN /* TEMPLATE: schema */jobs.attempt IS 'How often it has been started; a snooze or an interruption is taken off again.';
COMMENT ON COLUMN /* TEMPLATE: schema */jobs.max_attempts IS 'After so many failed attempts it is discarded.';
COMMENT ON COLUMN /* TEMPLATE: schema */jobs.args IS 'What its worker is given.';
COMMENT ON COLUMN /* TEMPLATE: schema */jobs.tags IS 'Words for filters.';
COMMENT ON COLUMN /* TEMPLATE: schema */jobs.created_at IS 'When it was enqueued.';
COMMENT ON COLUMN /* TEMPLATE: schema */jobs.scheduled_at IS 'Not to start before; of a job that has started, when its last attempt was due.';
COMMENT ON COLUMN /* TEMPLATE: schema */jobs.attempted_at IS 'When the last attempt started.';
COMMENT ON COLUMN /* TEMPLATE: schema */jobs.finalized_at IS 'When it finished, by the clock of the process that finished it; NULL for a live job.';
COMMENT ON COLUMN /* TEMPLATE: schema */jobs.attempted_by IS 'The ids of the clients that ran its attempts, the last one last.';
COMMENT ON COLUMN /* TEMPLATE: schema */jobs.last_error IS 'The text of the last failed attempt''s error.';
COMMENT ON COLUMN /* TEMPLATE: schema */jobs.errors IS 'One object a failed attempt: at, attempt, error, trace.';
COMMENT ON COLUMN /* TEMPLATE: schema */jobs.metadata IS 'What River, Towpath and the application noted about it.';
COMMENT ON COLUMN /* TEMPLATE: schema */jobs.unique_key IS 'At most one job with this key is in one of the unique states.';
COMMENT ON COLUMN /* TEMPLATE: schema */jobs.unique_states IS
    'In which states it holds its unique key; the bits mean, from the left, scheduled, running, retryable, pending, discarded, completed, cancelled, available.';
COMMENT ON COLUMN /* TEMPLATE: schema */jobs.archived_at IS 'When it moved to history; NULL while it is in the live table.';

--
-- Counters
--
CREATE VIEW /* TEMPLATE: schema */counters AS
SELECT queue, kind, event, sum(n)::bigint AS n, sum(seconds) AS seconds
FROM (
    SELECT queue, kind, event, n, seconds FROM /* TEMPLATE: schema */counter
    UNION ALL
    SELECT queue, kind, event, n, seconds FROM /* TEMPLATE: schema */counter_delta
) both_tables
GROUP BY queue, kind, event;

COMMENT ON VIEW /* TEMPLATE: schema */counters IS 'Exact numbers of lifecycle events since the beginning, by queue and kind.';
COMMENT ON COLUMN /* TEMPLATE: schema */counters.queue IS 'The queue.';
COMMENT ON COLUMN /* TEMPLATE: schema */counters.kind IS 'The kind of job.';
COMMENT ON COLUMN /* TEMPLATE: schema */counters.event IS
    'started, completed, retried, snoozed, interrupted, cancelled, discarded (an attempt''s end); cancelled_waiting, discarded_waiting, deleted, revived (without an attempt). deleted counts unfinished jobs only.';
COMMENT ON COLUMN /* TEMPLATE: schema */counters.n IS 'How many.';
COMMENT ON COLUMN /* TEMPLATE: schema */counters.seconds IS 'Sum of the waits (of started) or of the runs (of an attempt''s end) in seconds.';

CREATE VIEW /* TEMPLATE: schema */activity AS
SELECT minute, queue, kind, event, bucket, n, seconds FROM /* TEMPLATE: schema */counter_minute
UNION ALL
SELECT date_trunc('minute', at), queue, kind, event, bucket, n, seconds FROM /* TEMPLATE: schema */counter_delta;

COMMENT ON VIEW /* TEMPLATE: schema */activity IS
    'Lifecycle events by minute, of the last two days. A minute may have several rows; sum them, and give a minute to begin with.';
COMMENT ON COLUMN /* TEMPLATE: schema */activity.minute IS 'The beginning of the minute.';
COMMENT ON COLUMN /* TEMPLATE: schema */activity.queue IS 'The queue.';
COMMENT ON COLUMN /* TEMPLATE: schema */activity.kind IS 'The kind of job.';
COMMENT ON COLUMN /* TEMPLATE: schema */activity.event IS 'As in counters.';
COMMENT ON COLUMN /* TEMPLATE: schema */activity.bucket IS
    'Histogram bucket: b holds durations over 2^(b-1) up to 2^b milliseconds, 0 those up to one. Of the wait for started, of the run for an attempt''s end.';
COMMENT ON COLUMN /* TEMPLATE: schema */activity.n IS 'How many.';
COMMENT ON COLUMN /* TEMPLATE: schema */activity.seconds IS 'Sum of the durations in seconds.';

CREATE FUNCTION /* TEMPLATE: schema */histogram_quantile(buckets smallint[], counts bigint[], q double precision) RETURNS interval
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
DECLARE
    rank double precision;
    below bigint := 0;
    low double precision;
BEGIN
    SELECT q * sum(c) INTO rank FROM unnest(counts) c;
    FOR i IN 1 .. coalesce(cardinality(buckets), 0) LOOP
        IF below + counts[i] >= rank AND counts[i] > 0 THEN
            -- Durations are taken to lie evenly inside their bucket.
            low := CASE WHEN buckets[i] = 0 THEN 0 ELSE power(2, buckets[i] - 1) END;
            RETURN make_interval(secs => round(((low + (power(2, buckets[i]) - low) * (rank - below) / counts[i]) / 1000)::numeric, 4)::double precision);
        END IF;
        below := below + counts[i];
    END LOOP;
    RETURN NULL;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */histogram_quantile(smallint[], bigint[], double precision) IS
    'The duration below which the share q (0 to 1) of a histogram lies: buckets as in activity, in ascending order, and how many each holds. Off by less than a factor of two.';

--
-- Depth of the queues
--
-- Counting a million rows takes 0.1 s, too long for a view that is looked at every second. Few rows are counted when they
-- are asked for, many by the leader every now and then.
--
CREATE TABLE /* TEMPLATE: schema */queue_depth (
    queue text NOT NULL,
    kind text NOT NULL,
    state /* TEMPLATE: schema */river_job_state NOT NULL,
    n bigint NOT NULL,
    counted_at timestamptz NOT NULL,
    took interval NOT NULL,
    PRIMARY KEY (queue, kind, state)
);
ALTER TABLE /* TEMPLATE: schema */queue_depth SET (fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);
COMMENT ON TABLE /* TEMPLATE: schema */queue_depth IS 'How many unfinished jobs there were when they were last counted.';
COMMENT ON COLUMN /* TEMPLATE: schema */queue_depth.queue IS 'The queue.';
COMMENT ON COLUMN /* TEMPLATE: schema */queue_depth.kind IS 'The kind of job.';
COMMENT ON COLUMN /* TEMPLATE: schema */queue_depth.state IS 'An unfinished state.';
COMMENT ON COLUMN /* TEMPLATE: schema */queue_depth.n IS 'How many.';
COMMENT ON COLUMN /* TEMPLATE: schema */queue_depth.counted_at IS 'When they were counted.';
COMMENT ON COLUMN /* TEMPLATE: schema */queue_depth.took IS 'How long counting everything took.';

-- Nobody counts inserts: that would be one more row for each. What came in is what has left and what is still there, if
-- both are looked at in one snapshot.
CREATE TABLE /* TEMPLATE: schema */received (
    queue text NOT NULL,
    kind text NOT NULL,
    n bigint NOT NULL,
    PRIMARY KEY (queue, kind)
);
ALTER TABLE /* TEMPLATE: schema */received SET (fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);
COMMENT ON TABLE /* TEMPLATE: schema */received IS 'How many jobs had been enqueued when the unfinished ones were last counted.';
COMMENT ON COLUMN /* TEMPLATE: schema */received.queue IS 'The queue.';
COMMENT ON COLUMN /* TEMPLATE: schema */received.kind IS 'The kind of job.';
COMMENT ON COLUMN /* TEMPLATE: schema */received.n IS 'Jobs that ended, less those that were revived, more those that were deleted before their end, and those that are not finished. Exact at the moment of the count.';

CREATE VIEW /* TEMPLATE: schema */departed AS
SELECT queue, kind, sum(CASE event WHEN 'revived' THEN -n ELSE n END)::bigint AS n
FROM (
    SELECT queue, kind, event, n FROM /* TEMPLATE: schema */counter
    UNION ALL
    SELECT queue, kind, event, n FROM /* TEMPLATE: schema */counter_delta
) both_tables
WHERE event IN ('completed', 'cancelled', 'discarded', 'cancelled_waiting', 'discarded_waiting', 'deleted', 'revived')
GROUP BY queue, kind;
COMMENT ON VIEW /* TEMPLATE: schema */departed IS 'Internal: by queue and kind, how many of the jobs that were enqueued are not among the unfinished ones.';
COMMENT ON COLUMN /* TEMPLATE: schema */departed.queue IS 'The queue.';
COMMENT ON COLUMN /* TEMPLATE: schema */departed.kind IS 'The kind of job.';
COMMENT ON COLUMN /* TEMPLATE: schema */departed.n IS 'How many.';

CREATE FUNCTION /* TEMPLATE: schema */refresh_queue_depth() RETURNS boolean
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    begun constant timestamptz := clock_timestamp();
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('towpath depth ' || /* TEMPLATE: schema */schema_name(), 0)) THEN
        RETURN false;
    END IF;
    -- Whatever the depth, counting may take a fiftieth of one core.
    IF (SELECT max(counted_at) + 50 * max(took) > begun FROM /* TEMPLATE: schema */queue_depth) THEN
        RETURN false;
    END IF;
    WITH counted AS MATERIALIZED (
        SELECT queue, kind, state, count(*) AS n FROM /* TEMPLATE: schema */river_job
        WHERE state NOT IN ('cancelled', 'completed', 'discarded') GROUP BY queue, kind, state
    ), came AS (
        -- A rest of plain River clients, which count nothing, must not make a counter fall.
        INSERT INTO /* TEMPLATE: schema */received AS r (queue, kind, n)
        SELECT queue, kind, sum(n) FROM (
            SELECT queue, kind, n FROM counted UNION ALL SELECT queue, kind, n FROM /* TEMPLATE: schema */departed
        ) both_sides
        GROUP BY queue, kind ORDER BY queue, kind
        ON CONFLICT (queue, kind) DO UPDATE SET n = excluded.n WHERE r.n < excluded.n
    )
    INSERT INTO /* TEMPLATE: schema */queue_depth AS d (queue, kind, state, n, counted_at, took)
    SELECT queue, kind, state, n, begun, clock_timestamp() - begun FROM counted
    ON CONFLICT (queue, kind, state) DO UPDATE SET n = excluded.n, counted_at = excluded.counted_at, took = excluded.took;
    DELETE FROM /* TEMPLATE: schema */queue_depth WHERE counted_at < begun;
    RETURN true;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */refresh_queue_depth() IS
    'Counts the unfinished jobs into queue_depth. The leader calls it every ten seconds, and every twenty while nothing happens; false means that another one does it at the moment, or that the last count is fresh enough for what it cost.';

--
-- Kinds
--
-- The windows are planned for the period that is asked for, not for any: a plan for any would read whole tables. What is
-- left to do is too little for compiled expressions and parallel workers to pay.
CREATE FUNCTION /* TEMPLATE: schema */kinds_since(period interval)
    RETURNS TABLE (kind text, started bigint, completed bigint, failed bigint, discarded bigint, cancelled bigint, failure_ratio double precision,
        started_per_minute double precision, wait_p50 interval, wait_p95 interval, run_p50 interval, run_p95 interval, waiting bigint, processes bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 50
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_custom_plan
    SET jit = off
    SET max_parallel_workers_per_gather = 0
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH events AS (
        -- As in activity, but without finding out the minute of each event.
        SELECT a.kind, a.event, a.bucket, sum(a.n)::bigint AS n FROM (
            SELECT m.kind, m.event, m.bucket, m.n FROM /* TEMPLATE: schema */counter_minute m WHERE m.minute >= date_trunc('minute', now() - period)
            UNION ALL
            SELECT d.kind, d.event, d.bucket, d.n FROM /* TEMPLATE: schema */counter_delta d WHERE d.at >= date_trunc('minute', now() - period)
        ) a
        GROUP BY a.kind, a.event, a.bucket
    ), sums AS (
        SELECT e.kind,
            sum(e.n) FILTER (WHERE e.event = 'started') AS started,
            sum(e.n) FILTER (WHERE e.event = 'completed') AS completed,
            sum(e.n) FILTER (WHERE e.event IN ('retried', 'discarded')) AS failed,
            sum(e.n) FILTER (WHERE e.event IN ('discarded', 'discarded_waiting')) AS discarded,
            sum(e.n) FILTER (WHERE e.event IN ('cancelled', 'cancelled_waiting')) AS cancelled
        FROM events e GROUP BY e.kind
    ), histograms AS (
        SELECT h.kind, h.waits, array_agg(h.bucket ORDER BY h.bucket) AS buckets, array_agg(h.n ORDER BY h.bucket) AS counts
        FROM (
            SELECT e.kind, e.event = 'started' AS waits, e.bucket, sum(e.n)::bigint AS n FROM events e
            WHERE e.event IN ('started', 'completed', 'retried', 'discarded') GROUP BY e.kind, e.event = 'started', e.bucket
        ) h
        GROUP BY h.kind, h.waits
    ), names AS (
        SELECT c.kind FROM /* TEMPLATE: schema */counter c
        UNION SELECT e.kind FROM events e
        UNION SELECT d.kind FROM /* TEMPLATE: schema */queue_depth d
        UNION SELECT unnest(p.kinds) FROM /* TEMPLATE: schema */process p WHERE p.stopped_at IS NULL AND p.dead_at IS NULL
    )
    SELECT k.kind, coalesce(s.started, 0)::bigint, coalesce(s.completed, 0)::bigint, coalesce(s.failed, 0)::bigint, coalesce(s.discarded, 0)::bigint,
        coalesce(s.cancelled, 0)::bigint, round(coalesce(s.failed, 0) / nullif(coalesce(s.completed, 0) + coalesce(s.failed, 0), 0), 4)::double precision,
        round((coalesce(s.started, 0) * 60 / greatest(extract(epoch FROM now() - date_trunc('minute', now() - period)), 1)), 2)::double precision,
        /* TEMPLATE: schema */histogram_quantile(w.buckets, w.counts, 0.5), /* TEMPLATE: schema */histogram_quantile(w.buckets, w.counts, 0.95),
        /* TEMPLATE: schema */histogram_quantile(r.buckets, r.counts, 0.5), /* TEMPLATE: schema */histogram_quantile(r.buckets, r.counts, 0.95),
        (SELECT coalesce(sum(d.n), 0)::bigint FROM /* TEMPLATE: schema */queue_depth d WHERE d.kind = k.kind AND d.state <> 'running'),
        (SELECT count(*) FROM /* TEMPLATE: schema */process p
            WHERE p.stopped_at IS NULL AND p.dead_at IS NULL AND p.beat_at > now() - interval '30 seconds' AND k.kind = ANY (p.kinds))
    FROM names k
    LEFT JOIN sums s ON s.kind = k.kind
    LEFT JOIN histograms w ON w.kind = k.kind AND w.waits
    LEFT JOIN histograms r ON r.kind = k.kind AND NOT r.waits
    ORDER BY k.kind;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */kinds_since(interval) IS 'What happened to each kind of job in a period, at most the last two days; the columns are those of kinds.';

CREATE VIEW /* TEMPLATE: schema */kinds AS SELECT * FROM /* TEMPLATE: schema */kinds_since(interval '1 hour');
COMMENT ON VIEW /* TEMPLATE: schema */kinds IS 'What happened to each kind of job in the last hour; kinds_since(period) for other periods.';
COMMENT ON COLUMN /* TEMPLATE: schema */kinds.kind IS 'The kind of job.';
COMMENT ON COLUMN /* TEMPLATE: schema */kinds.started IS 'Attempts that started.';
COMMENT ON COLUMN /* TEMPLATE: schema */kinds.completed IS 'Jobs that succeeded.';
COMMENT ON COLUMN /* TEMPLATE: schema */kinds.failed IS 'Attempts that failed, whether the job tries again or not.';
COMMENT ON COLUMN /* TEMPLATE: schema */kinds.discarded IS 'Jobs that failed for good.';
COMMENT ON COLUMN /* TEMPLATE: schema */kinds.cancelled IS 'Jobs that were cancelled, running or not.';
COMMENT ON COLUMN /* TEMPLATE: schema */kinds.failure_ratio IS 'failed as a share of all attempts that succeeded or failed.';
COMMENT ON COLUMN /* TEMPLATE: schema */kinds.started_per_minute IS 'Attempts that started, a minute.';
COMMENT ON COLUMN /* TEMPLATE: schema */kinds.wait_p50 IS 'Median time from being due to the start.';
COMMENT ON COLUMN /* TEMPLATE: schema */kinds.wait_p95 IS '95th percentile of that time.';
COMMENT ON COLUMN /* TEMPLATE: schema */kinds.run_p50 IS 'Median run time of an attempt that succeeded or failed.';
COMMENT ON COLUMN /* TEMPLATE: schema */kinds.run_p95 IS '95th percentile of that time.';
COMMENT ON COLUMN /* TEMPLATE: schema */kinds.waiting IS 'Jobs that wait, when they were last counted: ten to twenty seconds ago, or more where counting takes long.';
COMMENT ON COLUMN /* TEMPLATE: schema */kinds.processes IS 'Live processes with a worker for it.';

--
-- Processes
--
CREATE VIEW /* TEMPLATE: schema */processes AS
SELECT p.client_id, p.host, p.pid, p.version, p.roles, p.queues, p.kinds, slots.n AS slots, p.running,
    CASE WHEN p.dead_at IS NOT NULL THEN 'dead' WHEN p.stopped_at IS NOT NULL THEN 'stopped'
        WHEN p.beat_at < now() - interval '20 seconds' THEN 'silent' ELSE 'live' END AS status,
    coalesce(l.leader_id = p.client_id AND p.dead_at IS NULL AND p.stopped_at IS NULL, false) AS leads,
    p.started_at AS since, p.beat_at, p.stopped_at, p.dead_at, p.epoch
FROM /* TEMPLATE: schema */process p
CROSS JOIN LATERAL (SELECT coalesce(sum(value::integer), 0)::integer AS n FROM jsonb_each_text(p.queues)) slots
LEFT JOIN /* TEMPLATE: schema */river_leader l ON l.name = 'default' AND l.expires_at > now();

COMMENT ON VIEW /* TEMPLATE: schema */processes IS
    'The clients that work queues, and those that have until a short while ago. Clients of plain River are not among them.';
COMMENT ON COLUMN /* TEMPLATE: schema */processes.client_id IS 'The client''s id, as in attempted_by of its jobs.';
COMMENT ON COLUMN /* TEMPLATE: schema */processes.host IS 'Where it runs.';
COMMENT ON COLUMN /* TEMPLATE: schema */processes.pid IS 'Its process id there.';
COMMENT ON COLUMN /* TEMPLATE: schema */processes.version IS 'The program''s version.';
COMMENT ON COLUMN /* TEMPLATE: schema */processes.roles IS 'What it was started as: api, worker, scheduler.';
COMMENT ON COLUMN /* TEMPLATE: schema */processes.queues IS 'Queue name to number of slots; 0 where it did not say.';
COMMENT ON COLUMN /* TEMPLATE: schema */processes.kinds IS 'The kinds it has workers for.';
COMMENT ON COLUMN /* TEMPLATE: schema */processes.slots IS 'How many jobs it runs at once, over all its queues.';
COMMENT ON COLUMN /* TEMPLATE: schema */processes.running IS 'How many it ran at its last sign of life.';
COMMENT ON COLUMN /* TEMPLATE: schema */processes.status IS
    'live; silent (no sign of life for 20 seconds); stopped (in good order); dead (given up by the others, its jobs come back).';
COMMENT ON COLUMN /* TEMPLATE: schema */processes.leads IS 'Whether it is the leader, which moves due jobs, folds counters and tidies up.';
COMMENT ON COLUMN /* TEMPLATE: schema */processes.since IS 'When it started.';
COMMENT ON COLUMN /* TEMPLATE: schema */processes.beat_at IS 'When it last gave a sign of life.';
COMMENT ON COLUMN /* TEMPLATE: schema */processes.stopped_at IS 'When it stopped.';
COMMENT ON COLUMN /* TEMPLATE: schema */processes.dead_at IS 'When it was given up.';
COMMENT ON COLUMN /* TEMPLATE: schema */processes.epoch IS 'Tells two starts under one client id apart.';

CREATE VIEW /* TEMPLATE: schema */leader AS
SELECT l.leader_id AS client_id, p.host, p.pid, p.roles, l.elected_at, l.expires_at
FROM /* TEMPLATE: schema */river_leader l
LEFT JOIN LATERAL (SELECT * FROM /* TEMPLATE: schema */process o WHERE o.client_id = l.leader_id ORDER BY o.epoch DESC LIMIT 1) p ON true
WHERE l.name = 'default' AND l.expires_at > clock_timestamp();

COMMENT ON VIEW /* TEMPLATE: schema */leader IS 'Who leads, a client of plain River too; no row when nobody does.';
COMMENT ON COLUMN /* TEMPLATE: schema */leader.client_id IS 'The client''s id.';
COMMENT ON COLUMN /* TEMPLATE: schema */leader.host IS 'Where it runs; NULL for a client of plain River, as in the next columns.';
COMMENT ON COLUMN /* TEMPLATE: schema */leader.pid IS 'Its process id there.';
COMMENT ON COLUMN /* TEMPLATE: schema */leader.roles IS 'What it was started as: api, worker, scheduler.';
COMMENT ON COLUMN /* TEMPLATE: schema */leader.elected_at IS 'Since when it leads.';
COMMENT ON COLUMN /* TEMPLATE: schema */leader.expires_at IS 'Until when, unless it says so again.';

--
-- Queues
--
CREATE VIEW /* TEMPLATE: schema */fleet AS
SELECT q.key AS queue, count(*) AS processes, coalesce(sum(q.value::bigint), 0)::bigint AS slots, bool_or(q.value::bigint = 0) AS slots_unknown
FROM /* TEMPLATE: schema */process p CROSS JOIN LATERAL jsonb_each_text(p.queues) q
WHERE p.stopped_at IS NULL AND p.dead_at IS NULL AND p.beat_at > now() - interval '30 seconds'
GROUP BY q.key;
COMMENT ON VIEW /* TEMPLATE: schema */fleet IS 'Internal: by queue, what the live processes offer.';
COMMENT ON COLUMN /* TEMPLATE: schema */fleet.queue IS 'The queue.';
COMMENT ON COLUMN /* TEMPLATE: schema */fleet.processes IS 'How many live processes work it.';
COMMENT ON COLUMN /* TEMPLATE: schema */fleet.slots IS 'How many jobs of it they run at once, as far as they said.';
COMMENT ON COLUMN /* TEMPLATE: schema */fleet.slots_unknown IS 'Whether one of them did not say.';

CREATE VIEW /* TEMPLATE: schema */pauses AS
SELECT q.name AS queue, q.paused_at, coalesce(a.on_behalf_of, a.actor) AS paused_by, a.details ->> 'reason' AS reason
FROM /* TEMPLATE: schema */river_queue q
LEFT JOIN LATERAL (
    -- The record's time is the transaction's, and so is that of the pause it made.
    SELECT * FROM /* TEMPLATE: schema */audit a WHERE a.target IN ('queue ' || q.name, 'queue *') AND a.action = 'pause_queue' AND a.at = q.paused_at
    ORDER BY a.id DESC LIMIT 1
) a ON true
WHERE q.paused_at IS NOT NULL;
COMMENT ON VIEW /* TEMPLATE: schema */pauses IS 'Internal: the paused queues and, if it was done by pause_queue, by whom and why.';
COMMENT ON COLUMN /* TEMPLATE: schema */pauses.queue IS 'The queue.';
COMMENT ON COLUMN /* TEMPLATE: schema */pauses.paused_at IS 'Since when.';
COMMENT ON COLUMN /* TEMPLATE: schema */pauses.paused_by IS 'By whom.';
COMMENT ON COLUMN /* TEMPLATE: schema */pauses.reason IS 'Why, if it was said.';

CREATE FUNCTION /* TEMPLATE: schema */queues_now()
    RETURNS TABLE (queue text, available bigint, scheduled bigint, retryable bigint, running bigint, pending bigint, counted_at timestamptz,
        oldest interval, started_per_minute double precision, finished_per_minute double precision, processes bigint, slots bigint,
        paused_at timestamptz, paused_by text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 20
    SET search_path = pg_catalog, pg_temp
    SET jit = off
    SET max_parallel_workers_per_gather = 0
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH RECURSIVE waiting (queue) AS (
        -- From one queue to the next along the index, without the rows between.
        (SELECT queue FROM /* TEMPLATE: schema */river_job WHERE state = 'available' ORDER BY queue LIMIT 1)
        UNION ALL
        SELECT (SELECT j.queue FROM /* TEMPLATE: schema */river_job j WHERE j.state = 'available' AND j.queue > w.queue ORDER BY j.queue LIMIT 1)
        FROM waiting w WHERE w.queue IS NOT NULL
    ), running AS MATERIALIZED (
        SELECT r.queue, count(*) AS n
        FROM (SELECT queue FROM /* TEMPLATE: schema */river_job WHERE state = 'running' ORDER BY attempted_at, id LIMIT 100000) r GROUP BY r.queue
    ), due AS MATERIALIZED (
        SELECT queue, state FROM /* TEMPLATE: schema */river_job WHERE state IN ('retryable', 'scheduled') ORDER BY scheduled_at, id LIMIT 1001
    ), few AS (
        SELECT count(*) <= 1000 AS due FROM due
    ), depth AS (
        SELECT d.queue, sum(d.n) FILTER (WHERE d.state = 'available') AS available, sum(d.n) FILTER (WHERE d.state = 'scheduled') AS scheduled,
            sum(d.n) FILTER (WHERE d.state = 'retryable') AS retryable, sum(d.n) FILTER (WHERE d.state = 'pending') AS pending, max(d.counted_at) AS counted_at
        FROM /* TEMPLATE: schema */queue_depth d GROUP BY d.queue
    ), exact AS (
        SELECT due.queue, count(*) FILTER (WHERE due.state = 'scheduled') AS scheduled, count(*) FILTER (WHERE due.state = 'retryable') AS retryable
        FROM due GROUP BY due.queue
    ), rates AS (
        SELECT a.queue, sum(a.n) FILTER (WHERE a.event = 'started') AS started,
            sum(a.n) FILTER (WHERE a.event IN ('completed', 'cancelled', 'discarded')) AS finished,
            extract(epoch FROM now() - date_trunc('minute', now() - interval '5 minutes')) / 60 AS minutes
        FROM (
            SELECT m.queue, m.event, m.n FROM /* TEMPLATE: schema */counter_minute m WHERE m.minute >= date_trunc('minute', now() - interval '5 minutes')
            UNION ALL
            SELECT d.queue, d.event, d.n FROM /* TEMPLATE: schema */counter_delta d WHERE d.at >= date_trunc('minute', now() - interval '5 minutes')
        ) a
        GROUP BY a.queue
    ), names AS (
        SELECT name AS queue FROM /* TEMPLATE: schema */river_queue
        UNION SELECT queue FROM waiting WHERE queue IS NOT NULL
        UNION SELECT queue FROM running
        UNION SELECT queue FROM exact
        UNION SELECT queue FROM depth
        UNION SELECT queue FROM /* TEMPLATE: schema */fleet
    )
    SELECT n.queue,
        CASE WHEN head.n <= 1000 THEN head.n ELSE greatest(depth.available, head.n) END::bigint AS available,
        CASE WHEN few.due THEN coalesce(exact.scheduled, 0) ELSE greatest(depth.scheduled, exact.scheduled, 0) END::bigint AS scheduled,
        CASE WHEN few.due THEN coalesce(exact.retryable, 0) ELSE greatest(depth.retryable, exact.retryable, 0) END::bigint AS retryable,
        coalesce(running.n, 0) AS running,
        coalesce(depth.pending, 0)::bigint AS pending,
        CASE WHEN head.n <= 1000 AND few.due THEN now() ELSE depth.counted_at END AS counted_at,
        CASE WHEN oldest.due_at < now() THEN now() - oldest.due_at WHEN oldest.due_at IS NOT NULL THEN interval '0' END AS oldest,
        coalesce(round((rates.started / rates.minutes)::numeric, 1), 0)::double precision AS started_per_minute,
        coalesce(round((rates.finished / rates.minutes)::numeric, 1), 0)::double precision AS finished_per_minute,
        coalesce(fleet.processes, 0) AS processes,
        coalesce(fleet.slots, 0) AS slots,
        pauses.paused_at, pauses.paused_by
    FROM names n
    CROSS JOIN few
    CROSS JOIN LATERAL (
        SELECT count(*) AS n FROM (SELECT FROM /* TEMPLATE: schema */river_job j WHERE j.state = 'available' AND j.queue = n.queue LIMIT 1001) h
    ) head
    CROSS JOIN LATERAL (
        SELECT min(first.scheduled_at) AS due_at FROM generate_series(1, 4) AS levels (priority) CROSS JOIN LATERAL (
            SELECT j.scheduled_at FROM /* TEMPLATE: schema */river_job j
            WHERE j.state = 'available' AND j.queue = n.queue AND j.priority = levels.priority::smallint ORDER BY j.scheduled_at LIMIT 1
        ) first
    ) oldest
    LEFT JOIN running ON running.queue = n.queue
    LEFT JOIN exact ON exact.queue = n.queue
    LEFT JOIN depth ON depth.queue = n.queue
    LEFT JOIN rates ON rates.queue = n.queue
    LEFT JOIN /* TEMPLATE: schema */fleet ON fleet.queue = n.queue
    LEFT JOIN /* TEMPLATE: schema */pauses ON pauses.queue = n.queue
    ORDER BY n.queue;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */queues_now() IS 'The rows of queues.';

CREATE VIEW /* TEMPLATE: schema */queues AS SELECT * FROM /* TEMPLATE: schema */queues_now();
COMMENT ON VIEW /* TEMPLATE: schema */queues IS 'The queues: how much waits and runs, how fast it goes, who works it, and whether it is paused. Up to a thousand waiting jobs are counted at once, more come from the last count.';
COMMENT ON COLUMN /* TEMPLATE: schema */queues.queue IS 'The queue.';
COMMENT ON COLUMN /* TEMPLATE: schema */queues.available IS 'Jobs that may start now.';
COMMENT ON COLUMN /* TEMPLATE: schema */queues.scheduled IS 'Jobs for later.';
COMMENT ON COLUMN /* TEMPLATE: schema */queues.retryable IS 'Jobs that failed and wait for their next attempt.';
COMMENT ON COLUMN /* TEMPLATE: schema */queues.running IS 'Jobs that run.';
COMMENT ON COLUMN /* TEMPLATE: schema */queues.pending IS 'Jobs that wait for something else to release them, when last counted.';
COMMENT ON COLUMN /* TEMPLATE: schema */queues.counted_at IS 'When available, scheduled and retryable were counted.';
COMMENT ON COLUMN /* TEMPLATE: schema */queues.oldest IS 'How long the first available job has been due.';
COMMENT ON COLUMN /* TEMPLATE: schema */queues.started_per_minute IS 'Attempts that started, a minute, over the last five.';
COMMENT ON COLUMN /* TEMPLATE: schema */queues.finished_per_minute IS 'Jobs that finished after an attempt, a minute, over the last five.';
COMMENT ON COLUMN /* TEMPLATE: schema */queues.processes IS 'Live processes that work it.';
COMMENT ON COLUMN /* TEMPLATE: schema */queues.slots IS 'How many jobs they run at once; 0 when they did not say.';
COMMENT ON COLUMN /* TEMPLATE: schema */queues.paused_at IS 'When it was paused; NULL if it is not.';
COMMENT ON COLUMN /* TEMPLATE: schema */queues.paused_by IS 'Who paused it, if that was done by pause_queue.';

-- The columns of the tables behind the views mean the same there.
COMMENT ON COLUMN /* TEMPLATE: schema */counter_delta.at IS 'When it was appended: the time of the transaction.';
COMMENT ON COLUMN /* TEMPLATE: schema */periodic_job.id IS 'The id that the job was declared with.';
COMMENT ON COLUMN /* TEMPLATE: schema */periodic_job.created_at IS 'When it was first seen.';
COMMENT ON COLUMN /* TEMPLATE: schema */periodic_job.next_run_at IS 'When it runs next.';
DO $do$
DECLARE
    c record;
BEGIN
    FOR c IN
        SELECT pairs.behind, a.attname AS name, pg_catalog.col_description(a.attrelid, a.attnum) AS text
        FROM (VALUES ('/* TEMPLATE: schema */jobs', '/* TEMPLATE: schema */job_history'), ('/* TEMPLATE: schema */activity', '/* TEMPLATE: schema */counter_delta'), ('/* TEMPLATE: schema */activity', '/* TEMPLATE: schema */counter_minute'),
            ('/* TEMPLATE: schema */activity', '/* TEMPLATE: schema */counter'), ('/* TEMPLATE: schema */processes', '/* TEMPLATE: schema */process')) AS pairs (view, behind)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = pairs.view::regclass
        JOIN pg_catalog.pg_attribute b ON b.attrelid = pairs.behind::regclass AND b.attname = a.attname
        WHERE pg_catalog.col_description(b.attrelid, b.attnum) IS NULL
    LOOP
        EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', c.behind, c.name, c.text);
    END LOOP;
END;
$do$;

REVOKE ALL ON FUNCTION /* TEMPLATE: schema */refresh_queue_depth, /* TEMPLATE: schema */kinds_since, /* TEMPLATE: schema */queues_now, /* TEMPLATE: schema */histogram_quantile FROM PUBLIC;
SELECT /* TEMPLATE: schema */pin_search_path();
