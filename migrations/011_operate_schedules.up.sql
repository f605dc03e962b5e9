-- Schedules for people: pause, resume, run, skip, backfill, and the views.
--
-- Locks: new functions and views only.

--
-- Operate
--
CREATE FUNCTION /* TEMPLATE: schema */pause_schedule(schedule text, reason text DEFAULT NULL, OUT name text, OUT paused_at timestamptz, OUT changed boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old constant record := /* TEMPLATE: schema */schedule_must_be(schedule);
BEGIN
    name := schedule;
    changed := old.paused_at IS NULL;
    paused_at := coalesce(old.paused_at, clock_timestamp());
    IF changed THEN
        UPDATE /* TEMPLATE: schema */schedule s SET paused_at = pause_schedule.paused_at, paused_by = /* TEMPLATE: schema */acting(),
            pause_reason = reason, next_tick = NULL, next_due = NULL, held = false, blocked = false, settled = true, version = s.version + 1, status_due = '-infinity'
        WHERE s.name = pause_schedule.schedule;
        PERFORM /* TEMPLATE: schema */audit_action('pause_schedule', 'schedule ' || schedule, jsonb_build_object('reason', reason));
        PERFORM pg_notify(/* TEMPLATE: schema */schema_name() || '.schedule', schedule);
    END IF;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */pause_schedule(text, text) IS
    'Stops a schedule from firing; runs that have begun go on. changed is false if it was paused already. Fails with P0002 if there is no such schedule.';

CREATE FUNCTION /* TEMPLATE: schema */resume_schedule(schedule text, OUT name text, OUT changed boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old constant record := /* TEMPLATE: schema */schedule_must_be(schedule);
BEGIN
    name := schedule;
    changed := old.paused_at IS NOT NULL;
    IF changed THEN
        UPDATE /* TEMPLATE: schema */schedule s SET paused_at = NULL, paused_by = NULL, pause_reason = NULL, settled = false, after = greatest(s.after, clock_timestamp()),
            watched_since = clock_timestamp(), last_due = NULL, overdue_since = (
                SELECT min(coalesce(r.awaited_since, r.due)) FROM /* TEMPLATE: schema */schedule_run r WHERE r.schedule = s.name AND r.outcome = 'waiting' AND r.started_at IS NULL AND r.cause = 'tick'),
            version = s.version + 1, status_due = '-infinity'
        WHERE s.name = resume_schedule.schedule;
        PERFORM /* TEMPLATE: schema */audit_action('resume_schedule', 'schedule ' || schedule, jsonb_build_object('paused_at', old.paused_at));
        PERFORM pg_notify(/* TEMPLATE: schema */schema_name() || '.schedule', schedule);
    END IF;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */resume_schedule(text) IS
    'Lets a schedule fire again, from its next tick on; those that came during the pause are not made up for (see backfill_schedule). changed is false if it was not paused. Fails with P0002 if there is no such schedule.';

CREATE FUNCTION /* TEMPLATE: schema */run_schedule(schedule text, OUT name text, OUT n bigint, OUT job_id bigint)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    old constant record := /* TEMPLATE: schema */schedule_must_be(schedule);
    moment constant timestamptz := date_trunc('second', clock_timestamp());
BEGIN
    PERFORM /* TEMPLATE: schema */fire_schedules(json_build_array(json_build_object('schedule', old.name, 'tick', moment, 'due', moment)), 'manual');
    SELECT r.schedule, r.n, r.job_id INTO name, n, job_id FROM /* TEMPLATE: schema */schedule_run r WHERE r.schedule = old.name AND r.n = old.runs + 1;
    PERFORM /* TEMPLATE: schema */audit_action('run_schedule', 'schedule ' || old.name, jsonb_build_object('job_id', job_id));
    PERFORM pg_notify(/* TEMPLATE: schema */schema_name() || '.schedule', old.name);
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */run_schedule(text) IS
    'Runs a schedule now, in the transaction of the caller, besides its ticks and even if it is paused or another run is unfinished. Returns the number of the run and its job. Fails with P0002 if there is no such schedule.';

CREATE FUNCTION /* TEMPLATE: schema */skip_schedule(schedule text, until timestamptz DEFAULT NULL, OUT name text, OUT skipped timestamptz)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    old constant record := /* TEMPLATE: schema */schedule_must_be(schedule);
BEGIN
    IF old.next_tick IS NULL THEN
        RAISE EXCEPTION 'schedule % has no next run that could be skipped', /* TEMPLATE: schema */shown(old.name) USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = CASE WHEN old.paused_at IS NOT NULL THEN 'It is paused.' WHEN NOT old.settled THEN 'No leader has computed it yet; try again in a moment.'
                WHEN old.problem IS NOT NULL THEN old.problem ELSE 'Its end has come.' END;
    END IF;
    IF until <= old.next_tick THEN
        RAISE EXCEPTION 'until % is not after the next run, %', /* TEMPLATE: schema */shown(until), /* TEMPLATE: schema */shown(old.next_tick) USING ERRCODE = 'invalid_parameter_value',
            COLUMN = 'until', HINT = 'Leave it out to skip the next run alone.';
    END IF;
    name := old.name;
    skipped := old.next_tick;
    PERFORM /* TEMPLATE: schema */fire_schedules(json_build_array(json_build_object('schedule', old.name, 'tick', old.next_tick, 'due', old.next_due, 'note',
        'asked for by ' || /* TEMPLATE: schema */acting())), 'tick');
    UPDATE /* TEMPLATE: schema */schedule s SET after = greatest(s.after, old.next_tick, until - interval '1 microsecond'), next_tick = NULL, next_due = NULL, held = false, blocked = false,
        settled = false, version = s.version + 1
    WHERE s.name = old.name;
    PERFORM /* TEMPLATE: schema */audit_action('skip_schedule', 'schedule ' || old.name, jsonb_build_object('tick', old.next_tick, 'until', until));
    PERFORM pg_notify(/* TEMPLATE: schema */schema_name() || '.schedule', old.name);
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */skip_schedule(text, timestamptz) IS
    'Skips the next run of a schedule, or all before a moment, and records it. Returns the first one skipped. Fails with 55000 if there is no next run, with P0002 if there is no such schedule.';

CREATE FUNCTION /* TEMPLATE: schema */backfill_schedule(schedule text, from_at timestamptz, to_at timestamptz, at_once integer DEFAULT 1, OUT id bigint)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    old constant record := /* TEMPLATE: schema */schedule_must_be(schedule);
    fault text[];
BEGIN
    fault := CASE
        WHEN from_at IS NULL OR to_at IS NULL OR NOT isfinite(from_at) OR NOT isfinite(to_at) THEN
            ARRAY['from_at', 'from_at and to_at must be given', 'Give two moments, as in ''2026-11-01 00:00+01''.']
        WHEN to_at < from_at THEN ARRAY['to_at', 'to_at ' || /* TEMPLATE: schema */shown(to_at) || ' is before from_at ' || /* TEMPLATE: schema */shown(from_at), 'Give the earlier moment first.']
        WHEN to_at > clock_timestamp() THEN ARRAY['to_at', 'to_at ' || /* TEMPLATE: schema */shown(to_at) || ' is in the future', 'A backfill is for ticks that have passed; the others come by themselves.']
        WHEN at_once NOT BETWEEN 1 AND 1000 THEN ARRAY['at_once', 'at_once ' || at_once || ' must be from 1 to 1000', 'It says how many of the runs may be unfinished at the same time.'] END;
    IF fault IS NOT NULL THEN
        PERFORM /* TEMPLATE: schema */raise_fault(fault, 'Parameter %s of backfill_schedule.');
    END IF;
    INSERT INTO /* TEMPLATE: schema */schedule_backfill AS b (schedule, from_at, to_at, at_once, after, created_by)
        VALUES (old.name, backfill_schedule.from_at, backfill_schedule.to_at, coalesce(backfill_schedule.at_once, 1), backfill_schedule.from_at - interval '1 microsecond',
            /* TEMPLATE: schema */acting())
        RETURNING b.id INTO id;
    PERFORM /* TEMPLATE: schema */audit_action('backfill_schedule', 'schedule ' || old.name, jsonb_build_object('backfill', id, 'from_at', from_at, 'to_at', to_at, 'at_once', at_once));
    PERFORM pg_notify(/* TEMPLATE: schema */schema_name() || '.schedule', old.name);
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */backfill_schedule(text, timestamptz, timestamptz, integer) IS
    'Runs a schedule for its ticks from one moment to another, both included, in order, whether they ran in their time or not; at most at_once of the runs are unfinished at the same time. Returns the number of the backfill; the leader does the rest. Fails with P0002 if there is no such schedule.';

CREATE FUNCTION /* TEMPLATE: schema */cancel_backfill(id bigint, OUT schedule text, OUT changed boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    ended timestamptz;
BEGIN
    SELECT b.schedule, b.ended_at INTO schedule, ended FROM /* TEMPLATE: schema */schedule_backfill b WHERE b.id = cancel_backfill.id FOR UPDATE;
    IF schedule IS NULL THEN
        RAISE EXCEPTION 'backfill % does not exist', coalesce(id::text, 'NULL') USING ERRCODE = 'no_data_found', HINT = 'The view schedule_backfills lists them.';
    END IF;
    changed := ended IS NULL;
    IF changed THEN
        UPDATE /* TEMPLATE: schema */schedule_backfill b SET ended_at = clock_timestamp(), cancelled = true WHERE b.id = cancel_backfill.id;
        PERFORM /* TEMPLATE: schema */audit_action('cancel_backfill', 'schedule ' || schedule, jsonb_build_object('backfill', id));
    END IF;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */cancel_backfill(bigint) IS
    'Ends a backfill: no further run is enqueued, those that are go on. changed is false if it had ended. Fails with P0002 if there is no such backfill.';

--
-- Views
--
CREATE VIEW /* TEMPLATE: schema */schedules AS
SELECT s.name, d.holds ->> 'expression' AS expression, coalesce(s.in_words, d.holds ->> 'expression') AS in_words, d.holds ->> 'zone' AS zone,
    d.holds ->> 'kind' AS kind, d.holds -> 'args' AS args, d.holds ->> 'queue' AS queue, (d.holds ->> 'priority')::integer AS priority,
    CASE WHEN now.status IN ('late', 'missed') AND s.status NOT IN ('missed', 'failed', 'too_long') OR s.status IN ('ok', 'late') THEN now.status ELSE s.status END AS status,
    CASE WHEN s.paused_at IS NOT NULL THEN s.paused_at
        WHEN now.status = 'missed' AND s.status IN ('ok', 'late') THEN oldest.due + d.grace
        WHEN now.status = 'late' AND s.status = 'ok' THEN oldest.due ELSE s.status_since END AS status_since,
    s.next_tick AS next_run, CASE WHEN s.next_due < clock_timestamp() THEN clock_timestamp() - s.next_due END AS late_by,
    s.last_start, s.last_success, s.last_failure, s.last_outcome, s.last_duration, s.usual_duration, s.last_duration - s.usual_duration AS off_usual,
    s.running_since, s.open_runs, s.paused_at, s.paused_by, s.pause_reason,
    CASE WHEN s.code IS NULL THEN 'run time' WHEN s.edited IS NULL THEN 'code' ELSE 'both' END AS defined_in,
    CASE WHEN s.edited IS NULL THEN 'code' ELSE 'edited' END AS holds, s.application,
    (d.holds ->> 'starts_at')::timestamptz AS starts_at, (d.holds ->> 'ends_at')::timestamptz AS ends_at,
    make_interval(secs => coalesce((d.holds ->> 'jitter')::double precision, 0)) AS jitter, d.holds ->> 'missed' AS missed,
    make_interval(secs => (d.holds ->> 'skip_after')::double precision) AS skip_after, d.holds ->> 'overlap' AS overlap,
    d.grace, make_interval(secs => (d.holds ->> 'longest')::double precision) AS longest,
    s.created_at, greatest(s.code_at, s.edited_at, s.created_at) AS changed_at,
    CASE WHEN s.edited_at >= coalesce(s.code_at, s.edited_at) THEN s.edited_by ELSE 'a deployment of ' || s.application END AS changed_by,
    s.problem, s.code, s.edited
FROM /* TEMPLATE: schema */schedule s
CROSS JOIN LATERAL (SELECT coalesce(s.edited, s.code) AS holds, make_interval(secs => (coalesce(s.edited, s.code) ->> 'grace')::double precision) AS grace) d
CROSS JOIN LATERAL (SELECT least(CASE WHEN s.overdue_since IS NOT NULL THEN greatest(s.overdue_since, s.watched_since) END, CASE WHEN NOT s.held THEN s.next_due END) AS due) oldest
CROSS JOIN LATERAL (
    -- When nobody leads, nobody writes down that it is late.
    SELECT CASE WHEN s.paused_at IS NOT NULL THEN 'paused' WHEN oldest.due IS NULL OR oldest.due + interval '10 seconds' > clock_timestamp() THEN s.status
        WHEN oldest.due + d.grace > clock_timestamp() THEN 'late' ELSE 'missed' END AS status) now;

COMMENT ON VIEW /* TEMPLATE: schema */schedules IS 'Schedules: when they run, whether they are in order, which definition holds.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.name IS 'The name.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.expression IS 'When it runs, as it was written.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.in_words IS 'The same in plain words; the expression until a leader has seen it.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.zone IS 'The time zone that the expression is read in.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.kind IS 'The kind of job that is enqueued.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.args IS 'Its args.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.queue IS 'Its queue.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.priority IS 'Its priority, from 1 to 4.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.status IS
    'ok (in order), late (due and not started, within the grace time), missed (not started when that was over), failed (the last run failed), too_long (a run takes longer than it may), paused.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.status_since IS 'Since when.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.next_run IS 'The next tick; NULL when it is paused, has ended or has a problem.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.late_by IS 'How long that tick has been due; NULL if it is not due yet.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.last_start IS 'When a run of it last started.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.last_success IS 'When a run last succeeded.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.last_failure IS 'When a run last failed for good, or was cancelled.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.last_outcome IS 'How the run ended that ended last: succeeded, failed, cancelled, deleted.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.last_duration IS 'How long the last run took that succeeded.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.usual_duration IS 'The median of the last 20 that succeeded.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.off_usual IS 'How far the last one is off that.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.running_since IS 'Since when the longest of its running runs runs; NULL when none does.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.open_runs IS 'How many of its runs have not ended.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.paused_at IS 'Since when it is paused; NULL if it is not.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.paused_by IS 'Who paused it.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.pause_reason IS 'Why, if it was said.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.defined_in IS 'code, run time, or both.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.holds IS 'Which definition holds: code or edited.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.application IS 'The program whose code defines it.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.starts_at IS 'No tick before.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.ends_at IS 'No tick after.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.jitter IS 'Each tick is fired up to so much later.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.missed IS 'What is done about ticks that nobody fired in time: coalesce, catch_up or skip.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.skip_after IS 'With skip: ticks later than that do not run.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.overlap IS 'What is done about a tick while a run is unfinished: allow, skip or queue.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.grace IS 'How much later than due a run may start before it counts as missed.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.longest IS 'How long a run may take; NULL: no limit.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.created_at IS 'When it was first defined.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.changed_at IS 'When a definition last changed.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.changed_by IS 'Who changed it.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.problem IS 'Why the leader cannot fire it; NULL if it can.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.code IS 'The definition in code.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedules.edited IS 'The definition made at run time.';

CREATE VIEW /* TEMPLATE: schema */schedule_runs AS
SELECT r.schedule, r.n, r.tick, r.due, r.ticks, r.cause, r.backfill, r.fired_at, r.job_id,
    CASE WHEN job.looked THEN /* TEMPLATE: schema */run_outcome(job.state) ELSE r.outcome END AS outcome,
    CASE WHEN job.looked THEN coalesce(job.attempt, r.attempt) ELSE r.attempt END AS attempt,
    coalesce(job.attempted_at, r.started_at) AS started_at, coalesce(job.finalized_at, r.finished_at) AS finished_at,
    CASE WHEN job.looked THEN job.finalized_at - job.attempted_at ELSE r.duration END AS duration,
    coalesce(job.process, r.process) AS process,
    CASE WHEN job.looked THEN coalesce((SELECT p.host FROM /* TEMPLATE: schema */process p WHERE p.client_id = job.process ORDER BY p.epoch DESC LIMIT 1), r.host) ELSE r.host END AS host,
    coalesce(r.note, CASE WHEN job.state IN ('discarded', 'cancelled') THEN left(job.error, 1000) END) AS note
FROM /* TEMPLATE: schema */schedule_run r
LEFT JOIN LATERAL (
    -- What a leader has not written down yet is read off the job.
    SELECT true AS looked, max(j.state) AS state, max(j.attempt) AS attempt, max(j.attempted_at) AS attempted_at, max(j.finalized_at) AS finalized_at,
        max(j.attempted_by[cardinality(j.attempted_by)]) AS process, max(j.errors[cardinality(j.errors)] ->> 'error') AS error
    FROM (
        SELECT l.state, l.attempt, l.attempted_at, l.finalized_at, l.attempted_by, l.errors FROM /* TEMPLATE: schema */river_job l WHERE l.id = r.job_id
        UNION ALL
        SELECT h.state, h.attempt, h.attempted_at, h.finalized_at, h.attempted_by, h.errors FROM /* TEMPLATE: schema */job_history h
            WHERE h.id = r.job_id AND h.archived_at >= r.fired_at - interval '1 hour'
    ) j
) job ON r.outcome IN ('waiting', 'running', 'retrying');

COMMENT ON VIEW /* TEMPLATE: schema */schedule_runs IS 'What schedules ran, and what they did not: the last thousand of each. By page: WHERE schedule = … ORDER BY n DESC LIMIT 20.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_runs.schedule IS 'The schedule.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_runs.n IS 'Counts the runs of a schedule.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_runs.tick IS 'The moment that the expression names; of a run by hand, the moment of asking. Of skipped ticks, the last one.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_runs.due IS 'When it was to be fired: with a jitter a little later.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_runs.ticks IS 'How many ticks it stands for.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_runs.cause IS 'tick, manual or backfill.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_runs.backfill IS 'The backfill that it belongs to.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_runs.fired_at IS 'When its job was enqueued, or it was decided to skip it.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_runs.job_id IS 'The job.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_runs.outcome IS
    'waiting (enqueued), running, retrying (an attempt failed, another follows), succeeded, failed (for good), cancelled, deleted (its job was), skipped.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_runs.attempt IS 'Which attempt the times are about: the last one.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_runs.started_at IS 'When that attempt started.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_runs.finished_at IS 'When the job ended.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_runs.duration IS 'How long the last attempt took.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_runs.process IS 'The id of the client that ran it.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_runs.host IS 'The machine that the client was on.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_runs.note IS 'Of a skipped one, why: missed, overlap, or who asked for it. Of a failed one, its error.';

CREATE VIEW /* TEMPLATE: schema */schedule_events AS SELECT id, schedule, at, status, before, since, due, job_id FROM /* TEMPLATE: schema */schedule_event;
COMMENT ON VIEW /* TEMPLATE: schema */schedule_events IS 'Changes of the status of schedules, one row each. Whoever listens on <schema>.schedule_event is told of them.';
CREATE VIEW /* TEMPLATE: schema */schedule_backfills AS
SELECT b.id, b.schedule, b.from_at, b.to_at, b.at_once, b.fired,
    (SELECT count(*) FROM /* TEMPLATE: schema */schedule_run r WHERE r.backfill = b.id AND r.outcome IN ('waiting', 'running', 'retrying')) AS open_runs,
    b.created_at, b.created_by, b.ended_at, b.cancelled
FROM /* TEMPLATE: schema */schedule_backfill b;
COMMENT ON VIEW /* TEMPLATE: schema */schedule_backfills IS 'Spans of the past that schedules run for, and how far each is.';
COMMENT ON COLUMN /* TEMPLATE: schema */schedule_backfills.open_runs IS 'How many of its runs have not ended.';
DO $do$
DECLARE
    c record;
BEGIN
    FOR c IN
        SELECT pairs.view, a.attname AS name, pg_catalog.col_description(b.attrelid, b.attnum) AS text
        FROM (VALUES ('/* TEMPLATE: schema */schedule_events', '/* TEMPLATE: schema */schedule_event'), ('/* TEMPLATE: schema */schedule_backfills', '/* TEMPLATE: schema */schedule_backfill')) AS pairs (view, behind)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = pairs.view::regclass
        JOIN pg_catalog.pg_attribute b ON b.attrelid = pairs.behind::regclass AND b.attname = a.attname AND b.attnum > 0
    LOOP
        EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', c.view, c.name, c.text);
    END LOOP;
END;
$do$;

REVOKE ALL ON FUNCTION /* TEMPLATE: schema */pause_schedule, /* TEMPLATE: schema */resume_schedule, /* TEMPLATE: schema */run_schedule, /* TEMPLATE: schema */skip_schedule, /* TEMPLATE: schema */backfill_schedule, /* TEMPLATE: schema */cancel_backfill FROM PUBLIC;
SELECT /* TEMPLATE: schema */pin_search_path();
SELECT /* TEMPLATE: schema */grant_roles();
