-- Tables of the queue: history, counters, processes, job events, periodic jobs.
--
-- Locks: the statements on river_job take SHARE (CREATE INDEX) and ACCESS EXCLUSIVE (DROP INDEX) for as long as they
-- run. `towpath migrate up` builds and drops these indexes CONCURRENTLY beforehand when the table already holds jobs,
-- so that here they find nothing left to do. All other statements touch new relations only.

--
-- Indexes of river_job
--
-- A hot row is found in three ways: waiting rows in fetch order, rows that become due, and running rows. Each has a
-- partial index, so that a row is in exactly one of them at a time. River's own index over all states would be
-- written twice a job, and its two GIN indexes cost more than the rest of the job together; no hot query needs them.
CREATE INDEX IF NOT EXISTS towpath_job_available_idx ON /* TEMPLATE: schema */river_job (queue, priority, scheduled_at, id)
    WHERE state = 'available';
CREATE INDEX IF NOT EXISTS towpath_job_due_idx ON /* TEMPLATE: schema */river_job (scheduled_at, id)
    WHERE state IN ('retryable', 'scheduled');
CREATE INDEX IF NOT EXISTS towpath_job_running_idx ON /* TEMPLATE: schema */river_job (attempted_at, id)
    WHERE state = 'running';
CREATE INDEX IF NOT EXISTS towpath_job_finalized_idx ON /* TEMPLATE: schema */river_job (finalized_at DESC, id DESC)
    WHERE finalized_at IS NOT NULL;

DROP INDEX IF EXISTS /* TEMPLATE: schema */river_job_args_index;
DROP INDEX IF EXISTS /* TEMPLATE: schema */river_job_metadata_index;
DROP INDEX IF EXISTS /* TEMPLATE: schema */river_job_kind;
DROP INDEX IF EXISTS /* TEMPLATE: schema */river_job_prioritized_fetching_index;
DROP INDEX IF EXISTS /* TEMPLATE: schema */river_job_state_and_finalized_at_index;

-- A row lives in the hot table for one insert, one update and one delete: vacuum has to look at it early and often,
-- and pages keep room for the update.
ALTER TABLE /* TEMPLATE: schema */river_job SET (
    fillfactor = 85,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_scale_factor = 0.1,
    autovacuum_analyze_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 1
);

--
-- job_history: finished jobs
--
CREATE TABLE /* TEMPLATE: schema */job_history (
    id bigint NOT NULL,
    args jsonb NOT NULL,
    attempt smallint NOT NULL,
    attempted_at timestamptz,
    attempted_by text[],
    created_at timestamptz NOT NULL,
    errors jsonb[],
    finalized_at timestamptz NOT NULL,
    kind text NOT NULL,
    max_attempts smallint NOT NULL,
    metadata jsonb NOT NULL,
    priority smallint NOT NULL,
    queue text NOT NULL,
    state /* TEMPLATE: schema */river_job_state NOT NULL,
    scheduled_at timestamptz NOT NULL,
    tags varchar(255)[] NOT NULL,
    unique_key bytea,
    unique_states bit(8),
    archived_at timestamptz NOT NULL DEFAULT now()
) PARTITION BY LIST (state);

CREATE TABLE /* TEMPLATE: schema */job_history_completed PARTITION OF /* TEMPLATE: schema */job_history
    FOR VALUES IN ('completed') PARTITION BY RANGE (archived_at);
CREATE TABLE /* TEMPLATE: schema */job_history_cancelled PARTITION OF /* TEMPLATE: schema */job_history
    FOR VALUES IN ('cancelled') PARTITION BY RANGE (archived_at);
CREATE TABLE /* TEMPLATE: schema */job_history_discarded PARTITION OF /* TEMPLATE: schema */job_history
    FOR VALUES IN ('discarded') PARTITION BY RANGE (archived_at);

CREATE INDEX job_history_id_idx ON /* TEMPLATE: schema */job_history (id);
-- Ascending, so that what ends is written behind all that has ended before: that is quicker, and its pages become full
-- instead of half full. Pages that show the newest first read it backwards.
CREATE INDEX job_history_finalized_idx ON /* TEMPLATE: schema */job_history (finalized_at, id);

COMMENT ON TABLE /* TEMPLATE: schema */job_history IS
    'Finished jobs, moved out of river_job by the statement that finished them. Partitioned by state and by the day of archived_at; retention drops whole days.';
COMMENT ON COLUMN /* TEMPLATE: schema */job_history.archived_at IS
    'When the row was moved here, by the database''s clock. finalized_at is the clock of the process that finished the job.';

--
-- job_event: what a running job tells about itself
--
CREATE TABLE /* TEMPLATE: schema */job_event (
    id bigint GENERATED ALWAYS AS IDENTITY,
    job_id bigint NOT NULL,
    attempt smallint NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    event text NOT NULL,
    level text,
    message text,
    fraction double precision,
    attrs jsonb,
    CONSTRAINT job_event_kind CHECK (event IN ('log', 'progress', 'soft_limit', 'stuck', 'note'))
) PARTITION BY RANGE (at);

CREATE INDEX job_event_job_idx ON /* TEMPLATE: schema */job_event (job_id, id);
-- For alerts, which look for those of the last minutes among any number of log lines.
CREATE INDEX job_event_stuck_idx ON /* TEMPLATE: schema */job_event (at) WHERE event = 'stuck';

COMMENT ON TABLE /* TEMPLATE: schema */job_event IS
    'Log lines, progress and limits of job attempts, readable while the job runs. Partitioned by day.';
COMMENT ON COLUMN /* TEMPLATE: schema */job_event.id IS 'Grows with time; the cursor of a reader that follows a job.';
COMMENT ON COLUMN /* TEMPLATE: schema */job_event.job_id IS 'The job. No foreign key: the job may be live, finished or gone.';
COMMENT ON COLUMN /* TEMPLATE: schema */job_event.attempt IS 'The attempt that wrote the event.';
COMMENT ON COLUMN /* TEMPLATE: schema */job_event.at IS 'When, by the clock of the database.';
COMMENT ON COLUMN /* TEMPLATE: schema */job_event.event IS
    'log: a line of the handler''s logger; progress: a fraction of the work; soft_limit: the soft time limit passed; stuck: the hard limit passed and the slot was taken back; note: written by an operator.';
COMMENT ON COLUMN /* TEMPLATE: schema */job_event.level IS 'DEBUG, INFO, WARN or ERROR for log lines.';
COMMENT ON COLUMN /* TEMPLATE: schema */job_event.message IS 'The text of the line, or what the progress is about.';
COMMENT ON COLUMN /* TEMPLATE: schema */job_event.fraction IS 'Progress from 0 to 1.';
COMMENT ON COLUMN /* TEMPLATE: schema */job_event.attrs IS 'Attributes of a log line as a JSON object.';

--
-- Partitions are made ahead by this function, by the migration first and by the leader every hour after it.
--
-- CREATE TABLE … LIKE followed by ATTACH PARTITION takes SHARE UPDATE EXCLUSIVE on the parent, which readers and
-- writers do not notice; CREATE TABLE … PARTITION OF would take ACCESS EXCLUSIVE. A CHECK constraint that equals the
-- bounds saves the scan. Two callers at once are put in line by an advisory lock of the transaction.
CREATE FUNCTION /* TEMPLATE: schema */ensure_partitions(days_ahead integer DEFAULT 14) RETURNS integer
    LANGUAGE plpgsql
AS $$
DECLARE
    sch text;
    parent text;
    bound_column text;
    leaf text;
    first_day date := (now() AT TIME ZONE 'UTC')::date;
    lower_bound timestamptz;
    upper_bound timestamptz;
    made integer := 0;
BEGIN
    SELECT n.nspname INTO sch FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = '/* TEMPLATE: schema */job_history'::regclass;
    PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('towpath partitions ' || sch, 0));
    FOR parent, bound_column IN VALUES ('job_history_completed', 'archived_at'), ('job_history_cancelled', 'archived_at'),
                                       ('job_history_discarded', 'archived_at'), ('job_event', 'at')
    LOOP
        FOR i IN 0 .. days_ahead LOOP
            leaf := parent || '_' || to_char(first_day + i, 'YYYYMMDD');
            CONTINUE WHEN to_regclass(format('%I.%I', sch, leaf)) IS NOT NULL;
            lower_bound := (first_day + i)::timestamp AT TIME ZONE 'UTC';
            upper_bound := (first_day + i + 1)::timestamp AT TIME ZONE 'UTC';
            EXECUTE format('CREATE TABLE %I.%I (LIKE %I.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS, CONSTRAINT bounds CHECK (%I >= %L AND %I < %L))',
                sch, leaf, sch, parent, bound_column, lower_bound, bound_column, upper_bound);
            -- A leaf that waits for its predecessors' readers would block every insert behind it; better to try again in an hour.
            EXECUTE format('ALTER TABLE %I.%I ATTACH PARTITION %I.%I FOR VALUES FROM (%L) TO (%L)',
                sch, parent, sch, leaf, lower_bound, upper_bound);
            EXECUTE format('ALTER TABLE %I.%I DROP CONSTRAINT bounds', sch, leaf);
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */ensure_partitions(integer) IS
    'Makes the daily partitions of job_history and job_event from today (UTC) to so many days ahead; returns how many it made.';

SELECT /* TEMPLATE: schema */ensure_partitions(3);

--
-- Counters
--
CREATE TABLE /* TEMPLATE: schema */counter_delta (
    at timestamptz NOT NULL DEFAULT now(),
    queue text NOT NULL,
    kind text NOT NULL,
    event text NOT NULL,
    bucket smallint NOT NULL,
    n bigint NOT NULL,
    seconds double precision NOT NULL DEFAULT 0
);
ALTER TABLE /* TEMPLATE: schema */counter_delta SET (
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 1
);
CREATE TABLE /* TEMPLATE: schema */counter (
    queue text NOT NULL,
    kind text NOT NULL,
    event text NOT NULL,
    bucket smallint NOT NULL,
    n bigint NOT NULL,
    seconds double precision NOT NULL,
    PRIMARY KEY (queue, kind, event, bucket)
);
CREATE TABLE /* TEMPLATE: schema */counter_minute (
    minute timestamptz NOT NULL,
    queue text NOT NULL,
    kind text NOT NULL,
    event text NOT NULL,
    bucket smallint NOT NULL,
    n bigint NOT NULL,
    seconds double precision NOT NULL,
    PRIMARY KEY (minute, queue, kind, event, bucket)
);
COMMENT ON TABLE /* TEMPLATE: schema */counter_delta IS
    'Lifecycle events, appended by the statement that changes the jobs'' state, so that they commit or vanish together. Folded into counter and counter_minute; a reader adds both.';
COMMENT ON COLUMN /* TEMPLATE: schema */counter_delta.event IS
    'started, completed, retried, snoozed, interrupted, cancelled, discarded (an attempt''s end); cancelled_waiting, discarded_waiting, deleted, revived (without an attempt). deleted counts unfinished jobs only.';
COMMENT ON COLUMN /* TEMPLATE: schema */counter_delta.bucket IS
    'Histogram bucket: b holds durations over 2^(b-1) up to 2^b milliseconds, 0 those up to one. Of the wait from scheduled_at for started, of the run for an attempt''s end, 0 for the rest.';
COMMENT ON COLUMN /* TEMPLATE: schema */counter_delta.seconds IS 'Sum of those durations in seconds.';
COMMENT ON TABLE /* TEMPLATE: schema */counter IS 'Folded lifecycle events since the beginning. Columns as in counter_delta.';
COMMENT ON TABLE /* TEMPLATE: schema */counter_minute IS 'Folded lifecycle events by minute, kept for two days, for rates and percentiles. Columns as in counter_delta.';

-- The histogram bucket of a duration in seconds.
CREATE FUNCTION /* TEMPLATE: schema */duration_bucket(seconds double precision) RETURNS smallint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    -- The small term keeps exact powers of two in their own bucket despite the rounding of the logarithms.
    RETURN CASE WHEN seconds > 0.001 THEN least(ceil(ln(seconds * 1000) / ln(2::double precision) - 1e-9), 40)::smallint ELSE 0::smallint END;
COMMENT ON FUNCTION /* TEMPLATE: schema */duration_bucket(double precision) IS
    'The bucket b of a duration: the smallest b with seconds <= 2^b / 1000, from 0 to 40.';

--
-- Processes
--
CREATE SEQUENCE /* TEMPLATE: schema */process_epoch_seq;
CREATE TABLE /* TEMPLATE: schema */process (
    epoch bigint PRIMARY KEY DEFAULT nextval('/* TEMPLATE: schema */process_epoch_seq'),
    client_id text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    beat bigint NOT NULL DEFAULT 1,
    beat_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    host text NOT NULL DEFAULT '',
    pid integer NOT NULL DEFAULT 0,
    version text NOT NULL DEFAULT '',
    roles text[] NOT NULL DEFAULT '{}',
    queues jsonb NOT NULL DEFAULT '{}',
    kinds text[] NOT NULL DEFAULT '{}',
    running integer NOT NULL DEFAULT 0,
    may_lead boolean NOT NULL DEFAULT true,
    max_conns integer NOT NULL DEFAULT 0,
    clock_ahead interval,
    stopped_at timestamptz,
    dead_at timestamptz
);
ALTER TABLE /* TEMPLATE: schema */process SET (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
CREATE INDEX process_client_idx ON /* TEMPLATE: schema */process (client_id);

COMMENT ON TABLE /* TEMPLATE: schema */process IS
    'River clients that work queues, one row a start. A process beats every five seconds; one whose beat stands still is declared dead and its running jobs go back to the queue.';
COMMENT ON COLUMN /* TEMPLATE: schema */process.epoch IS 'Tells two starts under one client id apart.';
COMMENT ON COLUMN /* TEMPLATE: schema */process.client_id IS 'The id of the River client, the same as in attempted_by of the jobs it works.';
COMMENT ON COLUMN /* TEMPLATE: schema */process.started_at IS 'When it started, by the clock of the database.';
COMMENT ON COLUMN /* TEMPLATE: schema */process.beat IS 'Grows by one with every sign of life; observers watch it change and compare no clocks.';
COMMENT ON COLUMN /* TEMPLATE: schema */process.beat_at IS 'When it last gave a sign of life, for people to read.';
COMMENT ON COLUMN /* TEMPLATE: schema */process.queues IS 'Queue name to number of slots.';
COMMENT ON COLUMN /* TEMPLATE: schema */process.kinds IS 'The kinds of job it has workers for.';
COMMENT ON COLUMN /* TEMPLATE: schema */process.running IS 'How many jobs it held at its last beat.';
COMMENT ON COLUMN /* TEMPLATE: schema */process.may_lead IS 'Whether it stands for leader.';
COMMENT ON COLUMN /* TEMPLATE: schema */process.max_conns IS 'How many connections its pool opens at most; 0 when it did not say.';
COMMENT ON COLUMN /* TEMPLATE: schema */process.clock_ahead IS
    'How far its host''s clock was ahead of the database''s at its last beat, negative when behind, and off by the way of the message.';
COMMENT ON COLUMN /* TEMPLATE: schema */process.stopped_at IS 'When it ended in good order.';
COMMENT ON COLUMN /* TEMPLATE: schema */process.dead_at IS 'When another process declared it dead. The row stays until none of its jobs is left running.';

--
-- Periodic jobs (River's, made durable)
--
CREATE TABLE /* TEMPLATE: schema */periodic_job (
    id text PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    next_run_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE /* TEMPLATE: schema */periodic_job IS
    'River''s periodic jobs that have an id: when each runs next, so that a restart or a change of leader loses no run.';
COMMENT ON COLUMN /* TEMPLATE: schema */periodic_job.updated_at IS 'When a leader last saw the job declared; one not seen for a day is forgotten.';

--
-- What the functions of the other migrations share
--
-- The name of the schema is part of River's notification channels. It is written into a function once, here, because
-- at run time it could only be read from the catalog.
DO $do$
DECLARE
    sch text;
BEGIN
    SELECT n.nspname INTO sch FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = '/* TEMPLATE: schema */river_job'::regclass;
    EXECUTE format('CREATE FUNCTION %I.schema_name() RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN %L', sch, sch);
END;
$do$;
COMMENT ON FUNCTION /* TEMPLATE: schema */schema_name() IS
    'Internal: the schema that Towpath lives in, which is also the prefix of River''s notification channels.';

-- Without a schema in the template, which is River's default, functions name their tables without one. They shall look for
-- them where the migration was applied, and nowhere else. Each migration with functions ends with a call of this one.
CREATE FUNCTION /* TEMPLATE: schema */pin_search_path() RETURNS void
    LANGUAGE plpgsql
AS $$
DECLARE
    f regprocedure;
BEGIN
    IF '/* TEMPLATE: schema */' = '' THEN
        FOR f IN SELECT oid FROM pg_catalog.pg_proc
            WHERE pronamespace = /* TEMPLATE: schema */schema_name()::regnamespace AND 'search_path=pg_catalog, pg_temp' = ANY (proconfig)
        LOOP
            EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, %I, pg_temp', f, /* TEMPLATE: schema */schema_name());
        END LOOP;
    END IF;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */pin_search_path() IS 'Internal: points functions at this schema where they were made without its name.';

CREATE FUNCTION /* TEMPLATE: schema */shown(value text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN '"' || CASE WHEN char_length(value) > 64 THEN left(value, 64) || '…' ELSE value END || '"';
COMMENT ON FUNCTION /* TEMPLATE: schema */shown(text) IS
    'Internal: a value as error messages quote it, cut after 64 characters.';

CREATE FUNCTION /* TEMPLATE: schema */shown(value timestamptz) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE WHEN isfinite(value) THEN to_char(value AT TIME ZONE 'UTC', 'FMYYYY-MM-DD"T"HH24:MI:SS"Z"') ELSE value::text END;
COMMENT ON FUNCTION /* TEMPLATE: schema */shown(timestamptz) IS 'Internal: a time as error messages show it, in UTC.';

CREATE FUNCTION /* TEMPLATE: schema */raise_fault(fault text[], detail text) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', COLUMN = fault[1], MESSAGE = fault[2], DETAIL = regexp_replace(detail, '%s', fault[1]), -- the first one
        HINT = upper(left(fault[3], 1)) || substr(fault[3], 2) || CASE WHEN fault[3] LIKE '%.' THEN '' ELSE '.' END;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */raise_fault(text[], text) IS
    'Internal: raises a fault, which is what the checks return: the parameter, the message and the hint. In detail the first %s stands for the parameter.';

REVOKE ALL ON FUNCTION
    /* TEMPLATE: schema */schema_name, /* TEMPLATE: schema */pin_search_path, /* TEMPLATE: schema */shown(text), /* TEMPLATE: schema */shown(timestamptz), /* TEMPLATE: schema */raise_fault
FROM PUBLIC;
