-- Schedules: what they are, when they ran, what became of it.
--
-- A schedule is a row with up to two definitions: the one deployed in code, and one edited at run time, which holds while
-- it is there. The leader fires its ticks; it needs to compute times, which SQL leaves to it. What can be refused at once
-- is refused here, by the rules of the Go side.
--
-- Locks: new tables and functions only.

--
-- Tables
--
CREATE TABLE /* TEMPLATE: schema */schedule (
    name text PRIMARY KEY,
    code jsonb,
    edited jsonb,
    application text,
    code_at timestamptz,
    edited_at timestamptz,
    edited_by text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    version bigint NOT NULL DEFAULT 1,
    settled boolean NOT NULL DEFAULT false,
    in_words text,
    problem text,
    after timestamptz NOT NULL DEFAULT clock_timestamp(),
    next_tick timestamptz,
    next_due timestamptz,
    held boolean NOT NULL DEFAULT false,
    blocked boolean NOT NULL DEFAULT false,
    paused_at timestamptz,
    paused_by text,
    pause_reason text,
    runs bigint NOT NULL DEFAULT 0,
    open_runs integer NOT NULL DEFAULT 0,
    watched_since timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_due timestamptz,
    overdue_since timestamptz,
    last_start timestamptz,
    last_success timestamptz,
    last_failure timestamptz,
    running_since timestamptz,
    last_outcome text,
    last_duration interval,
    usual_duration interval,
    status text NOT NULL DEFAULT 'ok',
    status_since timestamptz NOT NULL DEFAULT clock_timestamp(),
    status_due timestamptz,
    CONSTRAINT schedule_defined CHECK (code IS NOT NULL OR edited IS NOT NULL),
    CONSTRAINT schedule_status CHECK (status IN ('ok', 'late', 'missed', 'failed', 'too_long', 'paused'))
);
ALTER TABLE /* TEMPLATE: schema */schedule SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 1);
CREATE INDEX schedule_due_idx ON /* TEMPLATE: schema */schedule (next_due) WHERE next_due IS NOT NULL AND NOT blocked AND settled;
CREATE INDEX schedule_status_idx ON /* TEMPLATE: schema */schedule (status_due) WHERE status_due IS NOT NULL;
CREATE INDEX schedule_unsettled_idx ON /* TEMPLATE: schema */schedule (name) WHERE NOT settled;

COMMENT ON TABLE /* TEMPLATE: schema */schedule IS 'Schedules: their definitions and where they stand. The view schedules is for people.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.name IS 'The name.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.code IS 'The definition that was deployed in code, or NULL.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.edited IS 'The definition made at run time, or NULL. While there is one it holds.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.application IS 'The program whose code defines it.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.code_at IS 'When the code''s definition was last deployed with a change.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.edited_at IS 'When it was last changed at run time.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.edited_by IS 'By whom.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.created_at IS 'When it was first defined.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.version IS 'Grows with every change; who advances the schedule says which one it saw.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.settled IS 'Whether a leader has computed what follows from the definition that holds.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.in_words IS 'When it runs, in plain words.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.problem IS 'Why the leader cannot fire it, or NULL.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.after IS 'Ticks up to here have been decided upon, or came before the definition.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.next_tick IS 'The next tick, or NULL when there is none or it is not known yet.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.next_due IS 'When that is to be fired: with a jitter a little later.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.held IS 'Whether that tick has come and waits for a run to end.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.blocked IS 'Whether none has ended since, so that there is nothing to decide.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.paused_at IS 'Since when it is paused, or NULL.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.paused_by IS 'Who paused it.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.pause_reason IS 'Why, if it was said.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.runs IS 'How many rows it has had in schedule_run.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.open_runs IS 'How many of its runs have not ended.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.watched_since IS 'Since when its status is watched: it was defined or resumed then.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.last_due IS 'When the last tick that was to run was due.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.overdue_since IS 'Since when the oldest tick is due that was to run and has not begun; NULL if there is none. Ticks that wait for a run to end do not count.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.last_start IS 'When a run of it last started.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.last_success IS 'When a run last succeeded.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.last_failure IS 'When a run last failed for good, or was cancelled.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.running_since IS 'Since when the longest of its running runs runs.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.last_outcome IS 'How the run ended that ended last.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.last_duration IS 'How long the last run took that succeeded.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.usual_duration IS 'The median of the last 20 runs that succeeded.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.status IS 'ok, late, missed, failed, too_long or paused, as a leader last saw it.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.status_since IS 'Since when.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule.status_due IS 'When the status has to be looked at again.';

CREATE TABLE /* TEMPLATE: schema */schedule_run (
    schedule text NOT NULL REFERENCES /* TEMPLATE: schema */schedule ON DELETE CASCADE,
    n bigint NOT NULL,
    tick timestamptz NOT NULL,
    due timestamptz NOT NULL,
    awaited_since timestamptz,
    ticks integer NOT NULL DEFAULT 1,
    cause text NOT NULL,
    backfill bigint,
    fired_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    job_id bigint,
    outcome text NOT NULL,
    note text,
    attempt smallint NOT NULL DEFAULT 0,
    started_at timestamptz,
    finished_at timestamptz,
    duration interval,
    process text,
    host text,
    PRIMARY KEY (schedule, n),
    CONSTRAINT schedule_run_cause CHECK (cause IN ('tick', 'manual', 'backfill')),
    CONSTRAINT schedule_run_outcome CHECK (outcome IN ('waiting', 'running', 'retrying', 'succeeded', 'failed', 'cancelled', 'deleted', 'skipped'))
);
ALTER TABLE /* TEMPLATE: schema */schedule_run SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 1);
CREATE UNIQUE INDEX schedule_run_tick_idx ON /* TEMPLATE: schema */schedule_run (schedule, tick) WHERE cause = 'tick';
CREATE INDEX schedule_run_open_idx ON /* TEMPLATE: schema */schedule_run (schedule, n) WHERE outcome IN ('waiting', 'running', 'retrying');
CREATE INDEX schedule_run_backfill_idx ON /* TEMPLATE: schema */schedule_run (backfill) WHERE backfill IS NOT NULL;

COMMENT ON TABLE /* TEMPLATE: schema */schedule_run IS 'Ticks of schedules that ran, or did not. The last thousand of each schedule are kept. The view schedule_runs is for people.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_run.schedule IS 'The schedule.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_run.n IS 'Counts the rows of a schedule.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_run.tick IS 'The moment that the expression names; of a run by hand, the moment of asking. Of skipped ticks, the last one.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_run.due IS 'When it was to be fired: with a jitter a little later.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_run.awaited_since IS 'Since when its start is awaited, if not since due: of several ticks since the first one was, of one that was held since the other run ended.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_run.ticks IS 'How many ticks the row stands for.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_run.cause IS 'tick: its time had come; manual: somebody asked for it; backfill: somebody asked for a span of the past.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_run.backfill IS 'The backfill that it belongs to.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_run.fired_at IS 'When its job was enqueued, or it was decided to skip it.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_run.job_id IS 'The job. No foreign key: its history may be over before this row''s.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_run.outcome IS 'waiting (enqueued), running, retrying (an attempt failed, another follows), succeeded, failed (for good), cancelled, deleted (its job was), skipped.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_run.note IS 'Of a skipped one, why: missed (it came too late), overlap (another was unfinished), asked (by whom). Of a failed one, its error.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_run.attempt IS 'Which attempt the times are about: the last one.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_run.started_at IS 'When that attempt started.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_run.finished_at IS 'When the job ended, by whatever outcome.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_run.duration IS 'How long its last attempt took.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_run.process IS 'The id of the client that ran it.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_run.host IS 'The machine that the client was on.';

CREATE TABLE /* TEMPLATE: schema */schedule_event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schedule text NOT NULL REFERENCES /* TEMPLATE: schema */schedule ON DELETE CASCADE,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    status text NOT NULL,
    before text NOT NULL,
    since timestamptz NOT NULL,
    due timestamptz,
    job_id bigint
);
CREATE INDEX schedule_event_schedule_idx ON /* TEMPLATE: schema */schedule_event (schedule, id);
COMMENT ON TABLE /* TEMPLATE: schema */schedule_event IS
    'Changes of the status of schedules, one row each, written by the leader, which notifies <schema>.schedule_event. Kept for half a year.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_event.id IS 'Grows with time.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_event.schedule IS 'The schedule.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_event.at IS 'When the leader saw it.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_event.status IS 'The new status.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_event.before IS 'The one before.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_event.since IS 'Since when the new one is true.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_event.due IS 'When the last tick was due that was to run.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_event.job_id IS 'The job of the last run, if there was one.';

CREATE TABLE /* TEMPLATE: schema */schedule_backfill (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schedule text NOT NULL REFERENCES /* TEMPLATE: schema */schedule ON DELETE CASCADE,
    from_at timestamptz NOT NULL,
    to_at timestamptz NOT NULL,
    at_once integer NOT NULL,
    after timestamptz NOT NULL,
    fired integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by text NOT NULL DEFAULT session_user,
    ended_at timestamptz,
    cancelled boolean NOT NULL DEFAULT false
);
CREATE INDEX schedule_backfill_open_idx ON /* TEMPLATE: schema */schedule_backfill (id) WHERE ended_at IS NULL;
COMMENT ON TABLE /* TEMPLATE: schema */schedule_backfill IS 'Spans of the past that a schedule is to run for. The leader enqueues their ticks in order.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_backfill.id IS 'The backfill''s number.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_backfill.schedule IS 'The schedule.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_backfill.from_at IS 'The first moment that counts.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_backfill.to_at IS 'The last moment that counts.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_backfill.at_once IS 'How many of its runs may be unfinished at the same time.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_backfill.after IS 'Ticks up to here are enqueued.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_backfill.fired IS 'How many ticks are enqueued.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_backfill.created_at IS 'When it was asked for.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_backfill.created_by IS 'By whom.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_backfill.ended_at IS 'When its last tick was enqueued, or it was cancelled.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_backfill.cancelled IS 'Whether it was cancelled.';

CREATE TABLE /* TEMPLATE: schema */deployment (
    what text NOT NULL,
    application text NOT NULL,
    fingerprint text NOT NULL,
    deployed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    version text NOT NULL DEFAULT '',
    applied boolean NOT NULL DEFAULT false,
    definitions jsonb NOT NULL,
    PRIMARY KEY (what, application, fingerprint)
);
COMMENT ON TABLE /* TEMPLATE: schema */deployment IS
    'The sets of definitions in the code of the programs that run. Of one application, the set deployed last holds while a process with it lives.';
COMMENT ON COLUMN /* TEMPLATE: schema */deployment.what IS 'What is defined: schedules, and what later migrations bring.';
COMMENT ON COLUMN /* TEMPLATE: schema */deployment.application IS 'The program.';
COMMENT ON COLUMN /* TEMPLATE: schema */deployment.fingerprint IS 'Tells sets apart: a hash of the definitions.';
COMMENT ON COLUMN /* TEMPLATE: schema */deployment.deployed_at IS 'When the first process with this set appeared, after a time without any.';
COMMENT ON COLUMN /* TEMPLATE: schema */deployment.seen_at IS 'When a process with this set last gave a sign of life.';
COMMENT ON COLUMN /* TEMPLATE: schema */deployment.version IS 'The version that the program says it is.';
COMMENT ON COLUMN /* TEMPLATE: schema */deployment.applied IS 'Whether this set is the one that is shown as defined in code.';
COMMENT ON COLUMN /* TEMPLATE: schema */deployment.definitions IS 'Name to definition.';

--
-- Checks
--
-- A check returns NULL or three texts, as those of enqueue: the field at fault, the message, the hint.
--
CREATE FUNCTION /* TEMPLATE: schema */cron_values(field text, low integer, high integer, names text[]) RETURNS integer[]
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
DECLARE
    part text;
    m text[];
    bounds integer[];
    first integer;
    last integer;
    step integer;
    found integer[] := '{}';
BEGIN
    FOREACH part IN ARRAY string_to_array(field, ',') LOOP
        m := regexp_match(part, '^(?:[*?]|([0-9]{1,3}|[A-Za-z]{3})(?:-([0-9]{1,3}|[A-Za-z]{3}))?)(?:/([0-9]{1,3}))?$');
        IF m IS NULL THEN
            RETURN NULL;
        END IF;
        -- A name stands for its place in the list, which begins at low.
        SELECT array_agg(CASE WHEN v ~ '^[0-9]' THEN v::integer ELSE low - 1 + array_position(names, lower(v)) END ORDER BY n)
            INTO bounds FROM unnest(m[1:2]) WITH ORDINALITY AS b (v, n);
        IF m[1] IS NOT NULL AND bounds[1] IS NULL OR m[2] IS NOT NULL AND bounds[2] IS NULL THEN
            RETURN NULL;
        END IF;
        step := coalesce(m[3]::integer, 1);
        first := coalesce(bounds[1], low);
        last := CASE WHEN m[1] IS NULL THEN high WHEN m[2] IS NOT NULL THEN bounds[2] WHEN m[3] IS NOT NULL THEN high ELSE first END;
        -- The seventh day of the week is Sunday.
        IF high = 6 AND (m[1] = '7' OR m[2] = '7') THEN
            last := 7;
        END IF;
        IF step = 0 OR first < low OR last > high + (CASE WHEN high = 6 AND (m[1] = '7' OR m[2] = '7') THEN 1 ELSE 0 END) OR first > last THEN
            RETURN NULL;
        END IF;
        found := found || ARRAY(SELECT CASE WHEN high = 6 THEN v % 7 ELSE v END FROM generate_series(first, last, step) v);
    END LOOP;
    RETURN ARRAY(SELECT DISTINCT v FROM unnest(found) v ORDER BY v);
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */cron_values(text, integer, integer, text[]) IS 'Internal: the values of a field of a cron expression, in order, or NULL if it is none.';

CREATE FUNCTION /* TEMPLATE: schema */cron_gap(vals integer[], length integer) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (SELECT least(min(v - before), CASE WHEN length > 0 THEN greatest(length - (max(v) - min(v)), 1) END)
        FROM (SELECT v, lag(v) OVER (ORDER BY v) AS before FROM unnest(vals) v) s);
COMMENT ON FUNCTION /* TEMPLATE: schema */cron_gap(integer[], integer) IS 'Internal: the least distance of two neighbours in a set that begins again after so many; 0: that does not.';

CREATE FUNCTION /* TEMPLATE: schema */read_expression(expression text, OUT fault text[], OUT shortest double precision)
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
DECLARE
    spec text := btrim(expression, E' \t\r\n');
    examples constant jsonb := '{"hourly": "hourly> 30:00", "daily": "daily> 07:00:00", "weekly": "weekly> Sun,09:00:00", "monthly": "monthly> 1,09:00:00",
        "minutes_interval": "minutes_interval> 30", "seconds_interval": "seconds_interval> 90", "cron": "cron> 0 6 * * 1"}';
    labels constant text[] := '{second,minute,hour,day of the month,month,day of the week}';
    lows constant integer[] := '{0,0,0,1,1,0}';
    highs constant integer[] := '{59,59,23,31,12,6}';
    months constant text[] := '{jan,feb,mar,apr,may,jun,jul,aug,sep,oct,nov,dec}';
    days constant text[] := '{sun,mon,tue,wed,thu,fri,sat}';
    m text[];
    fields text[];
    sets jsonb[];
    one integer[];
    both_days boolean;
    gaps integer[];
    spans integer[];
BEGIN
    IF expression IS NULL THEN
        fault := ARRAY['expression', 'expression must be given', /* TEMPLATE: schema */hint_expression()];
        RETURN;
    END IF;
    spec := coalesce('{"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *"}'::jsonb ->> spec, spec);
    fault := ARRAY['expression', 'expression ' || /* TEMPLATE: schema */shown(expression) || ' is no schedule', /* TEMPLATE: schema */hint_expression()];
    m := regexp_match(spec, '^(?:@every\s+(.+)|([a-z_]+)>\s*(.*))$');
    IF m[1] IS NOT NULL THEN
        shortest := /* TEMPLATE: schema */go_duration(m[1]);
        IF shortest IS NULL THEN
            fault[2] := 'expression ' || /* TEMPLATE: schema */shown(expression) || ' has no duration behind @every';
        END IF;
    ELSIF m[2] IN ('minutes_interval', 'seconds_interval') AND btrim(m[3]) ~ '^[0-9]{1,9}$' THEN
        shortest := btrim(m[3])::double precision * CASE m[2] WHEN 'minutes_interval' THEN 60 ELSE 1 END;
    ELSIF m[2] IS NOT NULL THEN
        IF NOT examples ? m[2] THEN
            fault[2] := 'expression ' || /* TEMPLATE: schema */shown(expression) || ' has an unknown form; the forms are hourly>, daily>, weekly>, monthly>, minutes_interval>, seconds_interval> and cron>';
            RETURN;
        END IF;
        spec := CASE m[2]
            WHEN 'cron' THEN nullif(btrim(m[3]), '')
            WHEN 'hourly' THEN regexp_replace(substring(btrim(m[3]) FROM '^[0-9]{2}:[0-9]{2}$'), '^(..):(..)$', '\2 \1 * * * *')
            WHEN 'daily' THEN regexp_replace(substring(btrim(m[3]) FROM '^[0-9]{2}:[0-9]{2}:[0-9]{2}$'), '^(..):(..):(..)$', '\3 \2 \1 * * *')
            WHEN 'weekly' THEN regexp_replace(substring(btrim(m[3]) FROM '^[A-Za-z]{3},[0-9]{2}:[0-9]{2}:[0-9]{2}$'), '^(...),(..):(..):(..)$', '\4 \3 \2 * * \1')
            WHEN 'monthly' THEN regexp_replace(substring(btrim(m[3]) FROM '^[0-9]{1,2},[0-9]{2}:[0-9]{2}:[0-9]{2}$'), '^(.{1,2}),(..):(..):(..)$', '\4 \3 \2 \1 * *')
        END;
        IF spec IS NULL THEN
            fault := ARRAY['expression', 'expression ' || /* TEMPLATE: schema */shown(expression) || ' is not of that form', 'write it as in "' || (examples ->> m[2]) || '"'];
            RETURN;
        END IF;
    ELSIF spec = '' OR spec ~ '^@' OR spec ~ '=' THEN
        RETURN;
    END IF;
    IF m[1] IS NOT NULL OR m[2] IN ('minutes_interval', 'seconds_interval') THEN
        IF shortest IS NOT NULL AND shortest >= 1 AND shortest = floor(shortest) AND shortest <= 100 * 366 * 86400.0 THEN
            fault := NULL;
        ELSIF shortest IS NOT NULL THEN
            fault[2] := 'expression ' || /* TEMPLATE: schema */shown(expression) || ' needs a period of whole seconds, from one second to a hundred years';
        END IF;
        RETURN;
    END IF;

    fields := regexp_split_to_array(btrim(spec), '\s+');
    IF cardinality(fields) NOT IN (5, 6) THEN
        fault[2] := 'expression ' || /* TEMPLATE: schema */shown(expression) || ' has ' || cardinality(fields) || ' fields';
        RETURN;
    END IF;
    IF cardinality(fields) = 5 THEN
        fields := ARRAY['0'] || fields;
    END IF;
    FOR i IN 1 .. 6 LOOP
        one := /* TEMPLATE: schema */cron_values(fields[i], lows[i], highs[i], CASE i WHEN 5 THEN months WHEN 6 THEN days END);
        IF one IS NULL THEN
            fault[2] := 'expression ' || /* TEMPLATE: schema */shown(expression) || ' has the ' || labels[i] || ' ' || /* TEMPLATE: schema */shown(fields[i]) || ', which is none';
            RETURN;
        END IF;
        sets[i] := to_jsonb(one);
        gaps[i] := /* TEMPLATE: schema */cron_gap(one, CASE i WHEN 4 THEN 28 WHEN 6 THEN 7 ELSE 0 END);
        spans[i] := one[cardinality(one)] - one[1];
    END LOOP;
    both_days := fields[4] ~ '^[*?]' OR fields[6] ~ '^[*?]';
    IF both_days AND NOT EXISTS (
        SELECT FROM jsonb_array_elements_text(sets[5]) AS month
        WHERE (sets[4] ->> 0)::integer <= (ARRAY[31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])[month::integer]
    ) THEN
        fault := ARRAY['expression', 'expression ' || /* TEMPLATE: schema */shown(expression) || ' never comes: no month that it names has such a day',
            'the last day that February has is 29, April, June, September and November have 30; write as in "0 6 28 2 *"'];
        RETURN;
    END IF;
    fault := NULL;
    shortest := least(gaps[1], gaps[2] * 60 - spans[1], gaps[3] * 3600 - spans[2] * 60 - spans[1],
        CASE WHEN both_days THEN greatest(gaps[4], gaps[6]) ELSE 1 END * 86400 - spans[3] * 3600 - spans[2] * 60 - spans[1]);
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */read_expression(text) IS
    'Internal: what is wrong with the expression of a schedule, and the least time between two ticks in seconds; both by the rules of the leader.';

CREATE FUNCTION /* TEMPLATE: schema */hint_expression() RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 'write five fields as in "0 6 * * MON", six with seconds first, "@every 90s" or "daily> 07:00:00"';
COMMENT ON FUNCTION /* TEMPLATE: schema */hint_expression() IS 'Internal: how expressions are written.';

CREATE FUNCTION /* TEMPLATE: schema */go_duration(value text) RETURNS double precision
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN btrim(value) ~ '^[+]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(h|ms|m|s|us|µs|ns))+$' AND length(value) < 40 THEN (
        SELECT sum(part[1]::double precision * CASE part[2] WHEN 'h' THEN 3600 WHEN 'm' THEN 60 WHEN 's' THEN 1 WHEN 'ms' THEN 0.001 WHEN 'ns' THEN 0.000000001 ELSE 0.000001 END)
        FROM regexp_matches(value, '([0-9]+\.?[0-9]*|\.[0-9]+)(h|ms|m|s|us|µs|ns)', 'g') part)
        WHEN btrim(value) ~ '^-(([0-9]+(\.[0-9]*)?|\.[0-9]+)(h|ms|m|s|us|µs|ns))+$' THEN -1 END;
COMMENT ON FUNCTION /* TEMPLATE: schema */go_duration(text) IS 'Internal: the seconds of a duration as Go writes them, as in 1h30m, or NULL; -1 for a negative one.';

CREATE FUNCTION /* TEMPLATE: schema */known_zone(name text) RETURNS boolean
    LANGUAGE plpgsql STABLE
AS $$
BEGIN
    -- The list of all zones takes a tenth of a second.
    RETURN known_zone.name = 'UTC' OR EXISTS (SELECT FROM /* TEMPLATE: schema */schedule s WHERE s.problem IS NULL AND s.settled AND coalesce(s.edited, s.code) ->> 'zone' = known_zone.name)
        OR EXISTS (SELECT FROM pg_catalog.pg_timezone_names z WHERE z.name = known_zone.name AND z.name NOT LIKE 'posix%');
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */known_zone(text) IS 'Internal: whether the database knows a time zone.';

CREATE FUNCTION /* TEMPLATE: schema */definition_fault(name text, d jsonb) RETURNS text[]
    LANGUAGE plpgsql STABLE
AS $$
DECLARE
    read record;
    jitter constant double precision := (d ->> 'jitter')::double precision;
    field text;
BEGIN
    IF name IS NULL OR octet_length(name) > 200 OR name !~ '^[A-Za-z0-9_]([A-Za-z0-9_ .:/-]*[A-Za-z0-9_])?$' THEN
        RETURN ARRAY['name', 'name ' || coalesce(/* TEMPLATE: schema */shown(name), 'NULL')
            || ' must have 1 to 200 characters, letters, digits, spaces or _.:/-, and begin and end with a letter, a digit or _',
            'name it as in "weekly digest" or "reports/daily"'];
    END IF;
    FOR field IN SELECT k FROM jsonb_object_keys(d) k LOOP
        IF field <> ALL ('{expression,kind,args,zone,queue,priority,max_attempts,tags,starts_at,ends_at,jitter,missed,skip_after,overlap,grace,longest}') THEN
            RETURN ARRAY[field, 'a schedule has no property ' || /* TEMPLATE: schema */shown(field), 'the properties are the parameters of put_schedule'];
        END IF;
    END LOOP;
    IF NOT /* TEMPLATE: schema */known_zone(d ->> 'zone') THEN
        RETURN ARRAY['zone', 'zone ' || /* TEMPLATE: schema */shown(d ->> 'zone') || ' is not known', 'give a name of the IANA database, as in "Europe/Paris" or "UTC"'];
    END IF;
    SELECT * INTO read FROM /* TEMPLATE: schema */read_expression(d ->> 'expression');
    IF read.fault IS NOT NULL THEN
        RETURN read.fault;
    END IF;
    FOREACH field IN ARRAY '{starts_at,ends_at}'::text[] LOOP
        IF NOT (d ->> field)::timestamptz BETWEEN '2000-01-01 00:00:00+00' AND '2199-12-31 00:00:00+00' THEN
            RETURN ARRAY[field, field || ' ' || /* TEMPLATE: schema */shown((d ->> field)::timestamptz) || ' must be from 2000-01-01 to 2199-12-31', 'leave it out for no bound'];
        END IF;
    END LOOP;
    IF (d ->> 'ends_at')::timestamptz < (d ->> 'starts_at')::timestamptz THEN
        RETURN ARRAY['ends_at', 'ends_at ' || /* TEMPLATE: schema */shown((d ->> 'ends_at')::timestamptz) || ' is before starts_at ' || /* TEMPLATE: schema */shown((d ->> 'starts_at')::timestamptz),
            'give an end after the start, or leave one of them out'];
    END IF;
    FOREACH field IN ARRAY '{jitter,skip_after,grace,longest}'::text[] LOOP
        IF (d ->> field)::double precision < 0 THEN
            RETURN ARRAY[field, field || ' ' || make_interval(secs => (d ->> field)::double precision) || ' is negative', 'give a length of time, such as 10 minutes'];
        END IF;
    END LOOP;
    IF jitter > read.shortest THEN
        RETURN ARRAY['jitter', 'jitter ' || make_interval(secs => jitter) || ' is longer than the shortest time between two runs, ' || make_interval(secs => read.shortest),
            'give less, such as ' || make_interval(secs => greatest(round(read.shortest / 10), 1))];
    END IF;
    IF NOT d ->> 'missed' IN ('coalesce', 'catch_up', 'skip') THEN
        RETURN ARRAY['missed', 'missed ' || /* TEMPLATE: schema */shown(d ->> 'missed') || ' is no policy', 'choose "coalesce", "catch_up" or "skip"'];
    END IF;
    IF NOT d ->> 'overlap' IN ('allow', 'skip', 'queue') THEN
        RETURN ARRAY['overlap', 'overlap ' || /* TEMPLATE: schema */shown(d ->> 'overlap') || ' is no policy', 'choose "allow", "skip" or "queue"'];
    END IF;
    IF d ? 'skip_after' AND d ->> 'missed' <> 'skip' THEN
        RETURN ARRAY['skip_after', 'skip_after ' || make_interval(secs => (d ->> 'skip_after')::double precision) || ' goes with missed "skip" alone',
            'set missed to "skip", or leave skip_after out'];
    END IF;
    RETURN /* TEMPLATE: schema */job_fault(d ->> 'kind', (d -> 'args')::json, d ->> 'queue', (d ->> 'priority')::integer, NULL, (d ->> 'max_attempts')::integer,
        ARRAY(SELECT jsonb_array_elements_text(d -> 'tags')), '{}');
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */definition_fault(text, jsonb) IS 'Internal: what is wrong with the definition of a schedule, or NULL.';

CREATE FUNCTION /* TEMPLATE: schema */full_definition(d jsonb) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
    -- Everything that has a default is written out, and nothing that is nothing: equal definitions are equal. The leader
    -- needs no NULL told from a zero.
    RETURN '{"zone": "UTC", "args": {}, "queue": "default", "priority": 1, "max_attempts": 25, "tags": [], "missed": "coalesce", "overlap": "allow", "grace": 300}'
        || (SELECT coalesce(jsonb_object_agg(key, CASE WHEN key IN ('starts_at', 'ends_at') THEN to_jsonb((to_jsonb((value #>> '{}')::timestamptz AT TIME ZONE 'UTC') #>> '{}') || 'Z') ELSE value END), '{}')
            FROM jsonb_each(d) WHERE value NOT IN ('null', '""', '0') OR key = 'args');
COMMENT ON FUNCTION /* TEMPLATE: schema */full_definition(jsonb) IS 'Internal: a definition with its defaults, in one form.';

REVOKE ALL ON FUNCTION /* TEMPLATE: schema */cron_values, /* TEMPLATE: schema */cron_gap, /* TEMPLATE: schema */read_expression, /* TEMPLATE: schema */hint_expression, /* TEMPLATE: schema */go_duration, /* TEMPLATE: schema */known_zone, /* TEMPLATE: schema */definition_fault, /* TEMPLATE: schema */full_definition FROM PUBLIC;
SELECT /* TEMPLATE: schema */pin_search_path();
