-- What monitoring reads: the figures of the lifecycle, the kinds that exist, and who of several processes does a thing.
--
-- Locks: new tables, a new view and new functions.

--
-- Kinds and queues that exist before their first job
--
CREATE TABLE /* TEMPLATE: schema */known_kind (
    kind text NOT NULL,
    queue text NOT NULL,
    known_since timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, queue)
);
COMMENT ON TABLE /* TEMPLATE: schema */known_kind IS
    'The kinds that some process has or had a worker for, each with the queue that its jobs go to unless they say otherwise. Their figures exist from zero.';
COMMENT ON COLUMN /* TEMPLATE: schema */known_kind.kind IS 'The kind of job.';
COMMENT ON COLUMN /* TEMPLATE: schema */known_kind.queue IS 'The queue.';
COMMENT ON COLUMN /* TEMPLATE: schema */known_kind.known_since IS 'When a process with a worker for it first started.';

--
-- Lifecycle
--
-- Planned for what is there, and without compiled expressions and parallel workers, for which there is too little to do.
-- All of it is seen in the snapshot of the statement that calls it, so that the numbers fit each other.
CREATE FUNCTION /* TEMPLATE: schema */lifecycle_now()
    RETURNS TABLE (queue text, kind text, received bigint, started bigint, succeeded bigint, failed bigint, retried bigint, snoozed bigint,
        interrupted bigint, cancelled bigint, discarded bigint, revived bigint, deleted bigint, finished bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 50
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_custom_plan
    SET jit = off
    SET max_parallel_workers_per_gather = 0
AS $$
#variable_conflict use_column
DECLARE
    -- A table of this size is counted in a few milliseconds, whatever is in it.
    small constant boolean := pg_relation_size('/* TEMPLATE: schema */river_job') <= 8 * 1024 * 1024;
BEGIN
    RETURN QUERY
    WITH sums AS (
        SELECT c.queue, c.kind,
            sum(c.n) FILTER (WHERE c.event = 'started') AS started,
            sum(c.n) FILTER (WHERE c.event = 'completed') AS succeeded,
            sum(c.n) FILTER (WHERE c.event IN ('retried', 'discarded')) AS failed,
            sum(c.n) FILTER (WHERE c.event = 'retried') AS retried,
            sum(c.n) FILTER (WHERE c.event = 'snoozed') AS snoozed,
            sum(c.n) FILTER (WHERE c.event = 'interrupted') AS interrupted,
            sum(c.n) FILTER (WHERE c.event IN ('cancelled', 'cancelled_waiting')) AS cancelled,
            sum(c.n) FILTER (WHERE c.event IN ('discarded', 'discarded_waiting')) AS discarded,
            sum(c.n) FILTER (WHERE c.event = 'revived') AS revived,
            sum(c.n) FILTER (WHERE c.event = 'deleted') AS deleted,
            sum(c.n) FILTER (WHERE c.event IN ('completed', 'retried', 'snoozed', 'interrupted', 'cancelled', 'discarded')) AS finished
        FROM /* TEMPLATE: schema */counters c GROUP BY c.queue, c.kind
    ), live AS (
        SELECT j.queue, j.kind, count(*) AS n FROM /* TEMPLATE: schema */river_job j
        WHERE small AND j.state NOT IN ('cancelled', 'completed', 'discarded') GROUP BY j.queue, j.kind
    ), names AS (
        SELECT k.queue, k.kind FROM /* TEMPLATE: schema */known_kind k
        UNION SELECT s.queue, s.kind FROM sums s
        UNION SELECT l.queue, l.kind FROM live l
        UNION SELECT r.queue, r.kind FROM /* TEMPLATE: schema */received r
    )
    SELECT n.queue, n.kind,
        greatest(r.n, coalesce(d.n, 0) + coalesce(l.n, 0))::bigint,
        coalesce(s.started, 0)::bigint, coalesce(s.succeeded, 0)::bigint, coalesce(s.failed, 0)::bigint, coalesce(s.retried, 0)::bigint,
        coalesce(s.snoozed, 0)::bigint, coalesce(s.interrupted, 0)::bigint, coalesce(s.cancelled, 0)::bigint, coalesce(s.discarded, 0)::bigint,
        coalesce(s.revived, 0)::bigint, coalesce(s.deleted, 0)::bigint, coalesce(s.finished, 0)::bigint
    FROM names n
    LEFT JOIN sums s ON s.queue = n.queue AND s.kind = n.kind
    LEFT JOIN live l ON l.queue = n.queue AND l.kind = n.kind
    LEFT JOIN /* TEMPLATE: schema */received r ON r.queue = n.queue AND r.kind = n.kind
    LEFT JOIN /* TEMPLATE: schema */departed d ON d.queue = n.queue AND d.kind = n.kind
    ORDER BY n.queue, n.kind;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */lifecycle_now() IS 'The rows of lifecycle.';

CREATE VIEW /* TEMPLATE: schema */lifecycle AS SELECT * FROM /* TEMPLATE: schema */lifecycle_now();
COMMENT ON VIEW /* TEMPLATE: schema */lifecycle IS
    'What has happened since the beginning, by queue and kind, as Prometheus shows it. started - succeeded are the attempts that failed or are under way, started - finished those that are under way. While many jobs wait, received is as of the last count.';
COMMENT ON COLUMN /* TEMPLATE: schema */lifecycle.queue IS 'The queue.';
COMMENT ON COLUMN /* TEMPLATE: schema */lifecycle.kind IS 'The kind of job.';
COMMENT ON COLUMN /* TEMPLATE: schema */lifecycle.received IS 'Jobs enqueued.';
COMMENT ON COLUMN /* TEMPLATE: schema */lifecycle.started IS 'Attempts that started.';
COMMENT ON COLUMN /* TEMPLATE: schema */lifecycle.succeeded IS 'Jobs that succeeded.';
COMMENT ON COLUMN /* TEMPLATE: schema */lifecycle.failed IS 'Attempts that failed: retried, or discarded after their start.';
COMMENT ON COLUMN /* TEMPLATE: schema */lifecycle.retried IS 'Failed attempts after which the job tries again.';
COMMENT ON COLUMN /* TEMPLATE: schema */lifecycle.snoozed IS 'Attempts that put their job off.';
COMMENT ON COLUMN /* TEMPLATE: schema */lifecycle.interrupted IS 'Attempts handed back because their process stopped.';
COMMENT ON COLUMN /* TEMPLATE: schema */lifecycle.cancelled IS 'Jobs cancelled, running or waiting.';
COMMENT ON COLUMN /* TEMPLATE: schema */lifecycle.discarded IS 'Jobs given up, running or waiting.';
COMMENT ON COLUMN /* TEMPLATE: schema */lifecycle.revived IS 'Finished jobs that were made available again.';
COMMENT ON COLUMN /* TEMPLATE: schema */lifecycle.deleted IS 'Jobs deleted before their end.';
COMMENT ON COLUMN /* TEMPLATE: schema */lifecycle.finished IS
    'Attempts that ended: succeeded, retried, snoozed, interrupted, and cancelled or discarded while running.';

--
-- One of several
--
CREATE TABLE /* TEMPLATE: schema */lease (
    name text PRIMARY KEY,
    holder text NOT NULL,
    expires_at timestamptz NOT NULL
);
COMMENT ON TABLE /* TEMPLATE: schema */lease IS 'Who of several processes does a thing that one of them shall do, and until when unless it says so again.';
COMMENT ON COLUMN /* TEMPLATE: schema */lease.name IS 'The thing.';
COMMENT ON COLUMN /* TEMPLATE: schema */lease.holder IS 'The process, by its client id.';
COMMENT ON COLUMN /* TEMPLATE: schema */lease.expires_at IS 'When another one may take it.';

-- Locks: the lease's row, for the statement, and only when the lease changes hands or a fourth of it has passed. Two that
-- come at once queue up for it, and the second one's condition is judged by what the first has written.
CREATE FUNCTION /* TEMPLATE: schema */take_lease(name text, holder text, lasts interval) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    leads constant boolean := EXISTS (
        SELECT FROM /* TEMPLATE: schema */river_leader r WHERE r.name = 'default' AND r.leader_id = take_lease.holder AND r.expires_at > now());
    there record;
BEGIN
    SELECT * INTO there FROM /* TEMPLATE: schema */lease l WHERE l.name = take_lease.name;
    IF FOUND AND there.holder = take_lease.holder AND there.expires_at > now() + take_lease.lasts * 0.75 THEN
        RETURN true;
    ELSIF FOUND AND there.holder <> take_lease.holder AND there.expires_at > now() AND NOT leads THEN
        RETURN false;
    END IF;
    INSERT INTO /* TEMPLATE: schema */lease AS l (name, holder, expires_at)
    VALUES (take_lease.name, take_lease.holder, now() + take_lease.lasts)
    ON CONFLICT ON CONSTRAINT lease_pkey DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
        WHERE l.holder = excluded.holder OR l.expires_at <= now() OR leads;
    RETURN FOUND;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */take_lease(text, text, interval) IS
    'Whether the holder, a client id, has the lease from now on. The leader gets it at once, others when it is free or has expired.';

REVOKE ALL ON FUNCTION /* TEMPLATE: schema */lifecycle_now, /* TEMPLATE: schema */take_lease FROM PUBLIC;
SELECT /* TEMPLATE: schema */pin_search_path();
SELECT /* TEMPLATE: schema */grant_roles();
