-- Schedules at work: defining and operating them, firing their ticks, and the views of them.
--
-- Locks: new functions and views only.

--
-- Define
--
-- schedule_write is the one place where a definition takes effect. A change of the times begins anew from now, but a tick
-- that was due already is still owed: it stays the next one.
CREATE FUNCTION /* TEMPLATE: schema */schedule_write(schedule text, new_code jsonb, new_edited jsonb) RETURNS boolean
    LANGUAGE plpgsql
AS $$
DECLARE
    old record;
    held_before jsonb;
    holds constant jsonb := coalesce(new_edited, new_code);
    times constant text[] := '{expression,zone,starts_at,ends_at,jitter}';
    moment constant timestamptz := clock_timestamp();
    anew boolean;
BEGIN
    INSERT INTO /* TEMPLATE: schema */schedule AS s (name, code, edited) VALUES (schedule_write.schedule, new_code, new_edited) ON CONFLICT (name) DO NOTHING;
    IF FOUND THEN
        PERFORM pg_notify(/* TEMPLATE: schema */schema_name() || '.schedule', schedule);
        RETURN true;
    END IF;
    SELECT * INTO old FROM /* TEMPLATE: schema */schedule s WHERE s.name = schedule_write.schedule FOR UPDATE;
    IF old.code IS NOT DISTINCT FROM new_code AND old.edited IS NOT DISTINCT FROM new_edited THEN
        RETURN false;
    END IF;
    held_before := coalesce(old.edited, old.code);
    anew := EXISTS (SELECT FROM unnest(times) AS t (field) WHERE held_before -> t.field IS DISTINCT FROM holds -> t.field);
    UPDATE /* TEMPLATE: schema */schedule s SET
        code = new_code, edited = new_edited, version = s.version + 1, settled = held_before = holds AND s.settled,
        problem = CASE WHEN held_before = holds THEN s.problem END,
        after = CASE WHEN anew THEN greatest(s.after, moment) ELSE s.after END,
        next_tick = CASE WHEN anew AND (s.next_due > moment OR s.problem IS NOT NULL) THEN NULL ELSE s.next_tick END,
        next_due = CASE WHEN anew AND (s.next_due > moment OR s.problem IS NOT NULL) THEN NULL ELSE s.next_due END,
        status_due = '-infinity'
    WHERE s.name = schedule_write.schedule;
    IF held_before IS DISTINCT FROM holds THEN
        PERFORM pg_notify(/* TEMPLATE: schema */schema_name() || '.schedule', schedule);
    END IF;
    RETURN true;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */schedule_write(text, jsonb, jsonb) IS 'Internal: gives a schedule its definitions; false if it has them already.';

CREATE FUNCTION /* TEMPLATE: schema */schedule_must_be(schedule text) RETURNS /* TEMPLATE: schema */schedule
    LANGUAGE plpgsql
AS $$
DECLARE
    row record;
BEGIN
    SELECT * INTO row FROM /* TEMPLATE: schema */schedule s WHERE s.name = schedule_must_be.schedule FOR UPDATE;
    IF row.name IS NULL THEN
        RAISE EXCEPTION 'schedule % does not exist', coalesce(/* TEMPLATE: schema */shown(schedule), 'NULL') USING ERRCODE = 'no_data_found',
            HINT = 'The view schedules lists them.';
    END IF;
    RETURN row;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */schedule_must_be(text) IS 'Internal: locks a schedule, or fails.';

CREATE FUNCTION /* TEMPLATE: schema */define_schedule(schedule text, definition jsonb) RETURNS TABLE (name text, changed boolean, holds text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    fault text[];
    old record;
    done boolean;
BEGIN
    IF jsonb_typeof(definition) <> 'object' THEN
        RAISE EXCEPTION 'definition must be a JSON object, not %', jsonb_typeof(definition) USING ERRCODE = 'invalid_parameter_value', COLUMN = 'definition',
            DETAIL = format('Parameter definition of define_schedule for %s.', coalesce(/* TEMPLATE: schema */shown(schedule), 'NULL')), HINT = 'Its properties are the parameters of put_schedule.';
    END IF;
    definition := /* TEMPLATE: schema */full_definition(coalesce(definition, '{}'));
    fault := /* TEMPLATE: schema */definition_fault(schedule, definition);
    IF fault IS NOT NULL THEN
        PERFORM /* TEMPLATE: schema */raise_fault(fault, 'Field %s of schedule ' || coalesce(/* TEMPLATE: schema */shown(schedule), 'NULL') || '.');
    END IF;
    SELECT * INTO old FROM /* TEMPLATE: schema */schedule s WHERE s.name = define_schedule.schedule FOR UPDATE;
    done := /* TEMPLATE: schema */schedule_write(schedule, old.code, definition);
    IF done THEN
        UPDATE /* TEMPLATE: schema */schedule s SET edited_at = clock_timestamp(), edited_by = /* TEMPLATE: schema */acting()
            WHERE s.name = define_schedule.schedule;
        PERFORM /* TEMPLATE: schema */audit_action('put_schedule', 'schedule ' || schedule, jsonb_build_object('definition', definition, 'before', coalesce(old.edited, old.code)));
    END IF;
    RETURN QUERY SELECT schedule, done, 'edited';
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */define_schedule(text, jsonb) IS
    'put_schedule with the definition as a JSON object: its properties are the parameters of put_schedule, with lengths of time in seconds.';

CREATE FUNCTION /* TEMPLATE: schema */put_schedule(
    schedule text,
    expression text,
    kind text,
    args json DEFAULT '{}',
    zone text DEFAULT 'UTC',
    queue text DEFAULT 'default',
    priority integer DEFAULT 1,
    max_attempts integer DEFAULT 25,
    tags text[] DEFAULT '{}',
    starts_at timestamptz DEFAULT NULL,
    ends_at timestamptz DEFAULT NULL,
    jitter interval DEFAULT NULL,
    missed text DEFAULT 'coalesce',
    skip_after interval DEFAULT NULL,
    overlap text DEFAULT 'allow',
    grace interval DEFAULT '5 minutes',
    longest interval DEFAULT NULL,
    OUT name text, OUT changed boolean, OUT holds text)
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT * FROM /* TEMPLATE: schema */define_schedule(schedule, jsonb_build_object('expression', expression, 'kind', kind, 'args', args, 'zone', zone,
        'queue', queue, 'priority', priority, 'max_attempts', max_attempts, 'tags', tags, 'starts_at', starts_at, 'ends_at', ends_at,
        'jitter', extract(epoch FROM jitter), 'missed', missed, 'skip_after', extract(epoch FROM skip_after), 'overlap', overlap,
        'grace', extract(epoch FROM grace), 'longest', extract(epoch FROM longest)));
END;
COMMENT ON FUNCTION /* TEMPLATE: schema */put_schedule IS
    'Defines a schedule, or changes it: a job of the kind is enqueued at every tick of the expression. '
    'expression: cron with five or six fields, @every 90s, @hourly and the like, or a form of Digdag''s such as daily> 07:00:00. zone: of the IANA database. jitter: each tick up to so much later. '
    'missed, what is done about ticks that nobody fired in time: coalesce (one run for all), catch_up (all, in order), skip (none later than skip_after; without it, only the latest if it is about in time). '
    'overlap, while a run is unfinished: allow, skip, queue (one waits). grace: a start later than that counts as missed. longest: a run longer than that is too long. '
    'Of a schedule that is defined in code, this definition holds until revert_schedule. changed is false if it was so already. Fails with 22023 and names the field.';

CREATE FUNCTION /* TEMPLATE: schema */revert_schedule(schedule text, OUT name text, OUT changed boolean, OUT holds text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old constant record := /* TEMPLATE: schema */schedule_must_be(schedule);
BEGIN
    IF old.code IS NULL THEN
        RAISE EXCEPTION 'schedule % is not defined in code', /* TEMPLATE: schema */shown(schedule) USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'There is nothing to go back to; put_schedule changes it, delete_schedule deletes it.';
    END IF;
    name := schedule;
    holds := 'code';
    changed := /* TEMPLATE: schema */schedule_write(schedule, old.code, NULL);
    IF changed THEN
        UPDATE /* TEMPLATE: schema */schedule s SET edited_at = NULL, edited_by = NULL WHERE s.name = revert_schedule.schedule;
        PERFORM /* TEMPLATE: schema */audit_action('revert_schedule', 'schedule ' || schedule, jsonb_build_object('before', old.edited));
    END IF;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */revert_schedule(text) IS 'Goes back to the definition in code. Fails with 55000 if there is none, with P0002 if there is no such schedule.';

CREATE FUNCTION /* TEMPLATE: schema */delete_schedule(schedule text, OUT name text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old constant record := /* TEMPLATE: schema */schedule_must_be(schedule);
BEGIN
    IF old.code IS NOT NULL THEN
        RAISE EXCEPTION 'schedule % is defined in code and would come back', /* TEMPLATE: schema */shown(schedule) USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Pause it, or take it out of the code; revert_schedule undoes what was edited.';
    END IF;
    DELETE FROM /* TEMPLATE: schema */schedule s WHERE s.name = delete_schedule.schedule;
    name := schedule;
    PERFORM /* TEMPLATE: schema */audit_action('delete_schedule', 'schedule ' || schedule, jsonb_build_object('before', old.edited));
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */delete_schedule(text) IS
    'Deletes a schedule with its record of runs; jobs that it enqueued stay. Fails with 55000 if it is defined in code, with P0002 if there is no such schedule.';

-- Deployments. A set of definitions that appears when no process with it has been seen for a minute is a deployment; of
-- one application, the set deployed last holds as long as one of its processes lives. So while processes of two versions
-- run beside each other, restarts of the old one change nothing, and when the new one is taken back, the old set is
-- deployed again. One transaction at a time compares and applies.
CREATE FUNCTION /* TEMPLATE: schema */note_deployment(what text, application text, fingerprint text, version text, definitions jsonb) RETURNS jsonb
    LANGUAGE plpgsql
AS $$
DECLARE
    moment timestamptz;
    holder record;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('towpath ' || what || ' ' || /* TEMPLATE: schema */schema_name(), 0));
    moment := clock_timestamp();
    INSERT INTO /* TEMPLATE: schema */deployment AS d (what, application, fingerprint, version, definitions)
    VALUES (note_deployment.what, note_deployment.application, note_deployment.fingerprint, note_deployment.version, note_deployment.definitions)
    ON CONFLICT ON CONSTRAINT deployment_pkey DO UPDATE SET
        deployed_at = CASE WHEN d.seen_at < moment - interval '1 minute' THEN moment ELSE d.deployed_at END, seen_at = moment, version = excluded.version;
    SELECT * INTO holder FROM /* TEMPLATE: schema */deployment d
        WHERE d.what = note_deployment.what AND d.application = note_deployment.application AND d.seen_at >= moment - interval '1 minute'
        ORDER BY d.deployed_at DESC, d.fingerprint LIMIT 1;
    IF holder.applied THEN
        RETURN NULL;
    END IF;
    UPDATE /* TEMPLATE: schema */deployment d SET applied = d.fingerprint = holder.fingerprint WHERE d.what = note_deployment.what AND d.application = note_deployment.application;
    DELETE FROM /* TEMPLATE: schema */deployment d WHERE d.seen_at < moment - interval '30 days';
    PERFORM /* TEMPLATE: schema */audit_action('deploy_' || what, what || ' of ' || application,
        jsonb_build_object('version', holder.version, what, (SELECT count(*) FROM jsonb_object_keys(holder.definitions))));
    RETURN holder.definitions;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */note_deployment(text, text, text, text, jsonb) IS
    'Internal: notes that a process lives that defines these in its code, and returns the definitions that hold from now on, or NULL if they did already. One transaction at a time.';

CREATE FUNCTION /* TEMPLATE: schema */deploy_schedules(application text, fingerprint text, version text, definitions jsonb) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    hold constant jsonb := /* TEMPLATE: schema */note_deployment('schedules', application, fingerprint, version, definitions);
    item record;
    fault text[];
BEGIN
    IF hold IS NULL THEN
        RETURN false;
    END IF;
    FOR item IN SELECT n.name, /* TEMPLATE: schema */full_definition(d.value) AS code, s.edited
        FROM jsonb_each(hold) d CROSS JOIN LATERAL (SELECT d.key AS name) n LEFT JOIN /* TEMPLATE: schema */schedule s USING (name) ORDER BY n.name
    LOOP
        fault := /* TEMPLATE: schema */definition_fault(item.name, item.code);
        IF fault IS NOT NULL THEN
            fault[2] := 'schedule ' || /* TEMPLATE: schema */shown(item.name) || ': ' || fault[2];
            PERFORM /* TEMPLATE: schema */raise_fault(fault, 'Field %s of schedule ' || /* TEMPLATE: schema */shown(item.name) || '.');
        END IF;
        IF /* TEMPLATE: schema */schedule_write(item.name, item.code, item.edited) THEN
            UPDATE /* TEMPLATE: schema */schedule s SET code_at = clock_timestamp() WHERE s.name = item.name;
        END IF;
        UPDATE /* TEMPLATE: schema */schedule s SET application = deploy_schedules.application
            WHERE s.name = item.name AND s.application IS DISTINCT FROM deploy_schedules.application;
    END LOOP;
    DELETE FROM /* TEMPLATE: schema */schedule s WHERE s.application = deploy_schedules.application AND s.code IS NOT NULL AND s.edited IS NULL AND NOT hold ? s.name;
    UPDATE /* TEMPLATE: schema */schedule s SET code = NULL, application = NULL, version = s.version + 1
        WHERE s.application = deploy_schedules.application AND s.code IS NOT NULL AND NOT hold ? s.name;
    PERFORM pg_notify(/* TEMPLATE: schema */schema_name() || '.schedule', '');
    RETURN true;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */deploy_schedules(text, text, text, jsonb) IS
    'Internal: a process tells, at its start and every few seconds, which schedules its code defines; true if the set that holds has changed and was applied.';

--
-- Fire
--
CREATE FUNCTION /* TEMPLATE: schema */enqueue_ticks(runs json, cause text) RETURNS void
    LANGUAGE plpgsql
AS $$
DECLARE
    ids bigint[];
BEGIN
    -- Joins on what comes out of JSON, whose size the planner does not know, would be loops in loops: the jobs' ids are
    -- put to their runs by place.
    SELECT array_agg(j.id ORDER BY j.place) INTO ids FROM /* TEMPLATE: schema */enqueue_many((
        SELECT coalesce(json_agg(json_build_object('kind', d.holds ->> 'kind', 'args', d.holds -> 'args', 'queue', d.holds ->> 'queue', 'priority', d.holds -> 'priority',
            'max_attempts', d.holds -> 'max_attempts', 'tags', d.holds -> 'tags', 'metadata', json_build_object('towpath:schedule', r.schedule,
            'towpath:tick', to_char(r.tick AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))) ORDER BY r.tick, r.schedule), '[]')
        FROM json_to_recordset(runs) AS r (schedule text, tick timestamptz, note text)
        JOIN /* TEMPLATE: schema */schedule s ON s.name = r.schedule CROSS JOIN LATERAL (SELECT coalesce(s.edited, s.code) AS holds) d
        WHERE r.note IS NULL)) WITH ORDINALITY AS j (id, state, skipped, place);
    INSERT INTO /* TEMPLATE: schema */schedule_run (schedule, n, tick, due, awaited_since, ticks, cause, backfill, job_id, outcome, note)
    SELECT r.schedule, s.runs + row_number() OVER (PARTITION BY r.schedule ORDER BY r.tick, r.note IS NOT NULL), r.tick, r.due, r.since, coalesce(r.ticks, 1),
        enqueue_ticks.cause, r.backfill, CASE WHEN r.note IS NULL THEN ids[row_number() OVER (PARTITION BY r.note IS NULL ORDER BY r.tick, r.schedule)] END,
        CASE WHEN r.note IS NULL THEN 'waiting' ELSE 'skipped' END, r.note
    FROM json_to_recordset(runs) AS r (schedule text, tick timestamptz, due timestamptz, since timestamptz, ticks integer, note text, backfill bigint)
    JOIN /* TEMPLATE: schema */schedule s ON s.name = r.schedule;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */enqueue_ticks(json, text) IS
    'Internal: enqueues the jobs of ticks of schedules that the caller has locked, and records them; a tick with a note is recorded only.';

CREATE FUNCTION /* TEMPLATE: schema */count_ticks(runs json) RETURNS TABLE (schedule text, rows bigint, fired bigint, last_due timestamptz, overdue_since timestamptz)
    LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
    SELECT r.schedule, count(*), count(*) FILTER (WHERE r.note IS NULL), max(r.due) FILTER (WHERE r.note IS NULL OR r.note = 'missed'),
        min(coalesce(r.since, r.due)) FILTER (WHERE r.note IS NULL OR r.note = 'missed')
    FROM json_to_recordset(runs) AS r (schedule text, due timestamptz, since timestamptz, note text) GROUP BY r.schedule;
END;
COMMENT ON FUNCTION /* TEMPLATE: schema */count_ticks(json) IS 'Internal: of each schedule among ticks, how many rows and jobs they are, when the last one was due, and since when the first one is.';

CREATE FUNCTION /* TEMPLATE: schema */fire_schedules(runs json, cause text) RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM /* TEMPLATE: schema */enqueue_ticks(runs, cause);
    UPDATE /* TEMPLATE: schema */schedule s SET runs = s.runs + t.rows, open_runs = s.open_runs + t.fired, status_due = '-infinity', version = s.version + 1,
        blocked = s.held
    FROM /* TEMPLATE: schema */count_ticks(fire_schedules.runs) t WHERE s.name = t.schedule;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */fire_schedules(json, text) IS
    'Internal: enqueues jobs of schedules that the caller has locked, other than those of ticks that are due, and counts them.';

-- Advancing a schedule and enqueueing its jobs are one transaction. It locks the rows that are as the caller saw them, in
-- the order of their names, and passes over those that somebody else holds at the moment; the caller will see them again.
-- Of two leaders that decided about one tick the second finds another version, and does nothing.
CREATE FUNCTION /* TEMPLATE: schema */advance_schedules(changes json, runs json) RETURNS integer
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    moved text[];
BEGIN
    SELECT array_agg(l.name) INTO moved FROM (
        SELECT s.name FROM /* TEMPLATE: schema */schedule s JOIN json_to_recordset(changes) AS c (name text, version bigint) ON c.name = s.name AND c.version = s.version
        WHERE s.paused_at IS NULL ORDER BY s.name FOR UPDATE OF s SKIP LOCKED) l;
    IF moved IS NULL THEN
        RETURN 0;
    END IF;
    IF cardinality(moved) < json_array_length(changes) THEN
        SELECT coalesce(json_agg(r.value), '[]') INTO runs FROM json_array_elements(runs) r JOIN unnest(moved) AS m (name) ON m.name = r.value ->> 'schedule';
    END IF;
    IF json_array_length(runs) > 0 THEN
        PERFORM /* TEMPLATE: schema */enqueue_ticks(runs, 'tick');
    END IF;
    UPDATE /* TEMPLATE: schema */schedule s SET version = s.version + 1, settled = true, after = c.after, next_tick = c.next_tick, next_due = c.next_due, held = c.held, blocked = c.held,
        in_words = c.in_words, problem = c.problem, runs = s.runs + coalesce(t.rows, 0), open_runs = s.open_runs + coalesce(t.fired, 0), last_due = greatest(s.last_due, t.last_due),
        overdue_since = least(s.overdue_since, t.overdue_since),
        status_due = CASE WHEN t.schedule IS NOT NULL OR s.problem IS DISTINCT FROM c.problem THEN '-infinity' ELSE s.status_due END
    FROM json_to_recordset(changes) AS c (name text, after timestamptz, next_tick timestamptz, next_due timestamptz, held boolean, in_words text, problem text)
    JOIN unnest(moved) AS m (name) ON m.name = c.name
    LEFT JOIN /* TEMPLATE: schema */count_ticks(advance_schedules.runs) t ON t.schedule = c.name
    WHERE s.name = c.name;
    RETURN cardinality(moved);
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */advance_schedules(json, json) IS 'Internal: the leader''s decisions about schedules, each with the version that it saw, and the ticks that follow from them; returns how many decisions took effect.';

CREATE FUNCTION /* TEMPLATE: schema */advance_backfill(id bigint, seen timestamptz, up_to timestamptz, ended boolean, runs json) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    -- The schedule first, as everywhere.
    PERFORM FROM /* TEMPLATE: schema */schedule s WHERE s.name = (SELECT b.schedule FROM /* TEMPLATE: schema */schedule_backfill b WHERE b.id = advance_backfill.id) FOR UPDATE;
    UPDATE /* TEMPLATE: schema */schedule_backfill b SET after = up_to, fired = b.fired + json_array_length(runs), ended_at = CASE WHEN advance_backfill.ended THEN clock_timestamp() END
        WHERE b.id = advance_backfill.id AND b.after = seen AND b.ended_at IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF json_array_length(runs) > 0 THEN
        PERFORM /* TEMPLATE: schema */fire_schedules(runs, 'backfill');
    END IF;
    RETURN true;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */advance_backfill(bigint, timestamptz, timestamptz, boolean, json) IS 'Internal: enqueues the next ticks of a backfill, if it stands where the leader saw it.';

-- Looks at the jobs of unfinished runs and writes down what became of them. A job is found in one of the two tables by one
-- snapshot. Schedules are locked before their runs are counted, so that none is missed that is fired meanwhile.
--
-- A run that waits is overdue until it begins itself. What will never begin, a tick that was passed over as missed or whose
-- job was deleted, is overdue until anything begins after it.
CREATE FUNCTION /* TEMPLATE: schema */note_schedule_runs() RETURNS integer
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
DECLARE
    touched text[];
    starts timestamptz[];
    noted integer;
BEGIN
    WITH seen AS MATERIALIZED (
        SELECT r.schedule, r.n, /* TEMPLATE: schema */run_outcome(j.state) AS outcome, coalesce(j.attempt, r.attempt) AS attempt,
            CASE WHEN j.attempted_at IS NULL THEN r.started_at ELSE j.attempted_at END AS started_at, j.finalized_at,
            coalesce(j.attempted_by[cardinality(j.attempted_by)], r.process) AS process, CASE WHEN j.state IN ('discarded', 'cancelled') THEN left(j.errors[cardinality(j.errors)] ->> 'error', 1000) END AS error
        FROM /* TEMPLATE: schema */schedule_run r
        LEFT JOIN LATERAL (
            SELECT l.state, l.attempt, l.attempted_at, l.attempted_by, l.finalized_at, l.errors FROM /* TEMPLATE: schema */river_job l WHERE l.id = r.job_id
            UNION ALL
            SELECT h.state, h.attempt, h.attempted_at, h.attempted_by, h.finalized_at, h.errors FROM /* TEMPLATE: schema */job_history h
                WHERE h.id = r.job_id AND h.archived_at >= r.fired_at - interval '1 hour'
            LIMIT 1
        ) j ON true
        WHERE r.outcome IN ('waiting', 'running', 'retrying')
    ), written AS (
        UPDATE /* TEMPLATE: schema */schedule_run r SET outcome = seen.outcome, attempt = seen.attempt, started_at = seen.started_at, finished_at = seen.finalized_at,
            duration = CASE WHEN seen.finalized_at IS NOT NULL AND seen.started_at IS NOT NULL THEN greatest(seen.finalized_at - seen.started_at, interval '0') END,
            process = seen.process, note = coalesce(seen.error, r.note),
            host = coalesce((SELECT p.host FROM /* TEMPLATE: schema */process p WHERE p.client_id = seen.process ORDER BY p.epoch DESC LIMIT 1), r.host)
        FROM seen
        WHERE r.schedule = seen.schedule AND r.n = seen.n AND r.outcome IN ('waiting', 'running', 'retrying')
            AND (r.outcome, r.attempt, r.started_at) IS DISTINCT FROM (seen.outcome, seen.attempt, seen.started_at)
        RETURNING r.schedule, r.started_at
    )
    SELECT array_agg(w.schedule), array_agg(w.start), sum(w.n) INTO touched, starts, noted
        FROM (SELECT schedule, max(started_at) AS start, count(*) AS n FROM written GROUP BY schedule) w;
    IF touched IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM FROM /* TEMPLATE: schema */schedule s WHERE s.name = ANY (touched) ORDER BY s.name FOR UPDATE;
    UPDATE /* TEMPLATE: schema */schedule s SET open_runs = open.n, running_since = open.since, last_start = greatest(s.last_start, latest.start, t.start),
        overdue_since = least(open.overdue, CASE WHEN s.last_due <= greatest(s.last_start, latest.start, t.start) THEN NULL
            WHEN s.overdue_since <= greatest(s.last_start, latest.start, t.start) THEN s.last_due ELSE s.overdue_since END),
        last_success = greatest(s.last_success, latest.success), last_failure = greatest(s.last_failure, latest.failure),
        last_outcome = coalesce(latest.outcome, s.last_outcome),
        last_duration = coalesce(latest.took, s.last_duration), usual_duration = coalesce(usual.took, s.usual_duration),
        blocked = s.blocked AND open.n >= s.open_runs, version = s.version + 1, status_due = '-infinity'
    FROM unnest(touched, starts) AS t (name, start)
    CROSS JOIN LATERAL (
        SELECT count(*)::integer AS n, min(r.started_at) FILTER (WHERE r.outcome = 'running') AS since,
            min(coalesce(r.awaited_since, r.due)) FILTER (WHERE r.outcome = 'waiting' AND r.started_at IS NULL AND r.cause = 'tick') AS overdue
        FROM /* TEMPLATE: schema */schedule_run r WHERE r.schedule = t.name AND r.outcome IN ('waiting', 'running', 'retrying')
    ) open
    CROSS JOIN LATERAL (
        SELECT max(r.started_at) AS start, max(r.finished_at) FILTER (WHERE r.outcome = 'succeeded') AS success,
            max(r.finished_at) FILTER (WHERE r.outcome IN ('failed', 'cancelled')) AS failure,
            (array_agg(r.outcome ORDER BY r.finished_at DESC) FILTER (WHERE r.finished_at IS NOT NULL))[1] AS outcome,
            (array_agg(r.duration ORDER BY r.finished_at DESC) FILTER (WHERE r.outcome = 'succeeded'))[1] AS took
        FROM (SELECT * FROM /* TEMPLATE: schema */schedule_run r WHERE r.schedule = t.name ORDER BY r.n DESC LIMIT 100) r
    ) latest
    CROSS JOIN LATERAL (
        SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY r.duration) AS took FROM (
            SELECT r.duration FROM /* TEMPLATE: schema */schedule_run r WHERE r.schedule = t.name AND r.outcome = 'succeeded' ORDER BY r.n DESC LIMIT 20) r
    ) usual
    WHERE s.name = t.name;
    RETURN noted;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */note_schedule_runs() IS 'Internal: writes down what became of the jobs of unfinished runs; returns how many have news.';

CREATE FUNCTION /* TEMPLATE: schema */run_outcome(state /* TEMPLATE: schema */river_job_state) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE state WHEN 'running' THEN 'running' WHEN 'retryable' THEN 'retrying' WHEN 'completed' THEN 'succeeded' WHEN 'discarded' THEN 'failed'
        WHEN 'cancelled' THEN 'cancelled' WHEN 'available' THEN 'waiting' WHEN 'scheduled' THEN 'waiting' WHEN 'pending' THEN 'waiting' ELSE 'deleted' END;
COMMENT ON FUNCTION /* TEMPLATE: schema */run_outcome(/* TEMPLATE: schema */river_job_state) IS 'Internal: the outcome of a run whose job is in a state; NULL: in none.';

CREATE FUNCTION /* TEMPLATE: schema */set_schedule_statuses(statuses json) RETURNS integer
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    changed integer;
BEGIN
    WITH given AS MATERIALIZED (
        SELECT * FROM json_to_recordset(statuses) AS g (name text, version bigint, status text, since timestamptz, due timestamptz)
    ), locked AS MATERIALIZED (
        SELECT s.name, s.status, s.last_due, s.runs, g.status AS now, g.since, g.due FROM /* TEMPLATE: schema */schedule s JOIN given g ON g.name = s.name AND g.version = s.version
        ORDER BY s.name FOR UPDATE OF s SKIP LOCKED
    ), written AS (
        UPDATE /* TEMPLATE: schema */schedule s SET status = l.now, status_since = CASE WHEN l.now = l.status THEN s.status_since ELSE l.since END, status_due = l.due
        FROM locked l WHERE s.name = l.name
    ), events AS (
        INSERT INTO /* TEMPLATE: schema */schedule_event (schedule, status, before, since, due, job_id)
        SELECT l.name, l.now, l.status, l.since, l.last_due,
            (SELECT r.job_id FROM /* TEMPLATE: schema */schedule_run r WHERE r.schedule = l.name AND r.job_id IS NOT NULL ORDER BY r.n DESC LIMIT 1)
        FROM locked l WHERE l.now <> l.status ORDER BY l.name
        RETURNING pg_notify(/* TEMPLATE: schema */schema_name() || '.schedule_event', json_build_object('id', id, 'schedule', schedule, 'status', status, 'before', before)::text)
    )
    SELECT count(*) INTO changed FROM events;
    RETURN changed;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */set_schedule_statuses(json) IS
    'Internal: the statuses that the leader found, each with the version that it saw, and when to look again; a change becomes a row of schedule_event. Returns how many changed.';

CREATE FUNCTION /* TEMPLATE: schema */prune_schedules() RETURNS integer
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    gone integer;
BEGIN
    DELETE FROM /* TEMPLATE: schema */schedule_run r USING (
        SELECT o.schedule, o.n FROM /* TEMPLATE: schema */schedule s CROSS JOIN LATERAL (
            SELECT r.schedule, r.n FROM /* TEMPLATE: schema */schedule_run r WHERE r.schedule = s.name AND r.n <= s.runs - 1000 AND r.outcome NOT IN ('waiting', 'running', 'retrying')
        ) o LIMIT 10000) old WHERE r.schedule = old.schedule AND r.n = old.n;
    GET DIAGNOSTICS gone = ROW_COUNT;
    DELETE FROM /* TEMPLATE: schema */schedule_event e WHERE e.id IN (SELECT o.id FROM /* TEMPLATE: schema */schedule_event o WHERE o.at < now() - interval '180 days' ORDER BY o.id LIMIT 10000);
    DELETE FROM /* TEMPLATE: schema */schedule_backfill b WHERE b.ended_at < now() - interval '180 days';
    RETURN gone;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */prune_schedules() IS 'Internal: deletes what schedules no longer keep, ten thousand runs at most; returns how many.';

REVOKE ALL ON FUNCTION /* TEMPLATE: schema */schedule_write, /* TEMPLATE: schema */schedule_must_be, /* TEMPLATE: schema */define_schedule, /* TEMPLATE: schema */put_schedule, /* TEMPLATE: schema */revert_schedule, /* TEMPLATE: schema */delete_schedule, /* TEMPLATE: schema */deploy_schedules, /* TEMPLATE: schema */note_deployment,
    /* TEMPLATE: schema */enqueue_ticks, /* TEMPLATE: schema */count_ticks, /* TEMPLATE: schema */fire_schedules, /* TEMPLATE: schema */advance_schedules, /* TEMPLATE: schema */advance_backfill, /* TEMPLATE: schema */note_schedule_runs, /* TEMPLATE: schema */run_outcome, /* TEMPLATE: schema */set_schedule_statuses, /* TEMPLATE: schema */prune_schedules FROM PUBLIC;
SELECT /* TEMPLATE: schema */pin_search_path();
SELECT /* TEMPLATE: schema */grant_roles();
