-- Checks: what Towpath does not run tells it when it starts and ends, and somebody is told when it does not.
--
-- A check is a row of heartbeat (CHECK is a word of SQL's own). Pings and the passing of time change its status; each
-- change is one row of heartbeat_event, written with the ping or by the leader. The view checks does not wait for
-- either: it judges by the clock.
--
-- Only Go knows calendars: the moment by which the next ping is expected, for a check with a cron expression, is written
-- by whoever takes a ping, and by the leader for a check that was just put or resumed.
--
-- Locks: new tables, views and functions.

CREATE TABLE /* TEMPLATE: schema */heartbeat (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    key text NOT NULL UNIQUE,
    description text NOT NULL DEFAULT '',
    period interval,
    cron text,
    zone text NOT NULL DEFAULT 'UTC',
    grace interval NOT NULL,
    longest interval,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by text NOT NULL,
    watched_since timestamptz NOT NULL DEFAULT now(),
    paused_at timestamptz,
    pings bigint NOT NULL DEFAULT 0,
    last_ping_at timestamptz,
    last_sign_at timestamptz,
    last_start_at timestamptz,
    last_success_at timestamptz,
    last_failure_at timestamptz,
    last_exit_status smallint,
    last_duration interval,
    running jsonb NOT NULL DEFAULT '{}',
    running_since timestamptz,
    expected_by timestamptz,
    problem text,
    status text NOT NULL DEFAULT 'new',
    status_since timestamptz NOT NULL DEFAULT now(),
    turns_at timestamptz,
    CONSTRAINT heartbeat_one_rhythm CHECK ((period IS NULL) <> (cron IS NULL)),
    CONSTRAINT heartbeat_status CHECK (status IN ('new', 'ok', 'late', 'missed', 'failed', 'too_long', 'paused'))
);
CREATE INDEX heartbeat_turns_idx ON /* TEMPLATE: schema */heartbeat (turns_at);

COMMENT ON TABLE /* TEMPLATE: schema */heartbeat IS 'Checks, which pings from outside keep in order. Look at the view checks; change them by put_check and its siblings.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat.id IS 'The check''s number.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat.name IS 'Names it for people, and with the ping key in addresses.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat.key IS 'The secret part of its address: whoever knows it may ping this check, and nothing else.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat.description IS 'What it is about.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat.period IS 'How long may pass from one run to the next; NULL for a check with a cron expression.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat.cron IS 'When a run is expected; NULL for a check with a period.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat.zone IS 'The time zone of the cron expression.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat.grace IS 'How late a run may be before it counts as missed.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat.longest IS 'How long a run may take; NULL for no limit.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat.created_at IS 'When it was put first.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat.updated_at IS 'When it was put, paused or resumed last.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat.updated_by IS 'Who did that.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat.watched_since IS 'When it was put first or resumed last.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat.paused_at IS 'Since when it is paused; NULL when it is not.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat.pings IS 'How many pings it has had.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat.last_ping_at IS 'The latest ping of any kind.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat.last_sign_at IS 'When the latest run began, as far as is known: the moment from which the next one is expected.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat.last_start_at IS 'The latest ping that told of a start.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat.last_success_at IS 'The latest ping that told of success.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat.last_failure_at IS 'The latest ping that told of a failure.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat.last_exit_status IS 'The exit status of the latest run that told one.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat.last_duration IS 'How long the latest run took that told of its start and of its end.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat.running IS 'Runs that have told of their start and not of their end: when each began, by run id, "" for those without one.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat.running_since IS 'When the longest of them began.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat.expected_by IS 'The moment by which the next run is expected; NULL before the first ping, and until the leader has looked.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat.problem IS 'Why nothing can be expected: what is wrong with the cron expression.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat.status IS 'The status that the latest event has told.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat.status_since IS 'Since when it has that.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat.turns_at IS 'When the leader has to look: the status changes then if nothing comes; NULL for never.';

CREATE TABLE /* TEMPLATE: schema */heartbeat_ping (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    heartbeat_id bigint NOT NULL REFERENCES /* TEMPLATE: schema */heartbeat ON DELETE CASCADE,
    at timestamptz NOT NULL,
    kind text NOT NULL,
    exit_status smallint,
    run_id text,
    duration interval,
    source text NOT NULL DEFAULT '',
    body text,
    body_bytes bigint NOT NULL DEFAULT 0,
    CONSTRAINT heartbeat_ping_kind CHECK (kind IN ('success', 'start', 'fail', 'log'))
);
CREATE INDEX heartbeat_ping_check_idx ON /* TEMPLATE: schema */heartbeat_ping (heartbeat_id, id);
CREATE INDEX heartbeat_ping_at_idx ON /* TEMPLATE: schema */heartbeat_ping (at);

COMMENT ON TABLE /* TEMPLATE: schema */heartbeat_ping IS 'Pings of checks: the latest thousand of each, within their retention.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat_ping.id IS 'Grows with every ping.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat_ping.heartbeat_id IS 'The check.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat_ping.at IS 'When it came.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat_ping.kind IS 'success, start, fail or log.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat_ping.exit_status IS 'The exit status that it told; 0 is a success, all others are failures.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat_ping.run_id IS 'Which of several runs it is about.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat_ping.duration IS 'How long the run took that it ended, when its start was told.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat_ping.source IS 'Where it came from: address and program, or exec.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat_ping.body IS 'The first 10 kB of what it brought.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat_ping.body_bytes IS 'How much it brought, as far as that was read.';

CREATE TABLE /* TEMPLATE: schema */heartbeat_event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    heartbeat_id bigint NOT NULL REFERENCES /* TEMPLATE: schema */heartbeat ON DELETE CASCADE,
    at timestamptz NOT NULL,
    status text NOT NULL,
    was text NOT NULL,
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX heartbeat_event_check_idx ON /* TEMPLATE: schema */heartbeat_event (heartbeat_id, id);
CREATE INDEX heartbeat_event_noted_idx ON /* TEMPLATE: schema */heartbeat_event (noted_at);

COMMENT ON TABLE /* TEMPLATE: schema */heartbeat_event IS 'Changes of the status of checks, one row each; kept for a year.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat_event.id IS 'Grows with every change.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat_event.heartbeat_id IS 'The check.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat_event.at IS 'Since when the status holds.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat_event.status IS 'The status from then on.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat_event.was IS 'The one before.';
COMMENT ON COLUMN /* TEMPLATE: schema */heartbeat_event.noted_at IS 'When the change was written down.';

CREATE FUNCTION /* TEMPLATE: schema */tell_check_event() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pg_notify(/* TEMPLATE: schema */schema_name() || '.check_event', json_build_object('id', NEW.id, 'status', NEW.status, 'was', NEW.was,
        'check', (SELECT h.name FROM /* TEMPLATE: schema */heartbeat h WHERE h.id = NEW.heartbeat_id))::text);
    RETURN NULL;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */tell_check_event() IS 'Internal: wakes those who listen for changes of checks, on the channel towpath.check_event.';
CREATE TRIGGER tell_check_event AFTER INSERT ON /* TEMPLATE: schema */heartbeat_event
    FOR EACH ROW EXECUTE FUNCTION /* TEMPLATE: schema */tell_check_event();

--
-- What people look at
--
CREATE VIEW /* TEMPLATE: schema */checks AS
SELECT h.name, now.status,
    CASE WHEN now.status = h.status THEN h.status_since
        WHEN now.status = 'too_long' THEN h.running_since + h.longest
        WHEN now.status = 'missed' THEN h.expected_by + h.grace
        WHEN now.status = 'late' THEN h.expected_by
        WHEN now.status = 'failed' THEN h.last_failure_at
        WHEN now.status = 'paused' THEN h.paused_at
        ELSE h.watched_since END AS status_since,
    h.description, h.period, h.cron, h.zone, h.grace, h.longest,
    h.last_ping_at AS last_ping, h.last_start_at AS last_start, h.last_success_at AS last_success, h.last_failure_at AS last_failure,
    h.last_exit_status, h.last_duration,
    (SELECT count(*) FROM jsonb_object_keys(h.running))::integer AS running, h.running_since,
    CASE WHEN h.paused_at IS NULL THEN h.expected_by END AS expected_by,
    CASE WHEN now.status IN ('late', 'missed') THEN date_trunc('second', greatest(clock_timestamp() - h.expected_by, interval '0')) END AS late_by,
    h.problem, h.pings, h.created_at, h.updated_at, h.updated_by
FROM /* TEMPLATE: schema */heartbeat h
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN h.paused_at IS NOT NULL THEN 'paused'
        WHEN h.last_sign_at IS NULL THEN 'new'
        WHEN h.running_since + h.longest <= clock_timestamp() THEN 'too_long'
        WHEN h.expected_by + h.grace <= clock_timestamp() THEN 'missed'
        WHEN h.last_failure_at > coalesce(h.last_success_at, '-infinity') THEN 'failed'
        WHEN h.expected_by <= clock_timestamp() THEN 'late'
        ELSE 'ok' END AS status
) now;

COMMENT ON VIEW /* TEMPLATE: schema */checks IS 'Checks with the status that they have at this moment, whether anybody has noted it or not.';
COMMENT ON COLUMN /* TEMPLATE: schema */checks.name IS 'The check.';
COMMENT ON COLUMN /* TEMPLATE: schema */checks.status IS
    'new (no run was told yet), ok, late (expected, within the grace time), missed, failed (the latest run to end did), too_long (a run takes longer than it may), paused.';
COMMENT ON COLUMN /* TEMPLATE: schema */checks.status_since IS 'Since when it has that status.';
COMMENT ON COLUMN /* TEMPLATE: schema */checks.description IS 'What it is about.';
COMMENT ON COLUMN /* TEMPLATE: schema */checks.period IS 'How long may pass from one run to the next, if it has a period.';
COMMENT ON COLUMN /* TEMPLATE: schema */checks.cron IS 'When a run is expected, if it has a cron expression.';
COMMENT ON COLUMN /* TEMPLATE: schema */checks.zone IS 'The time zone of the cron expression.';
COMMENT ON COLUMN /* TEMPLATE: schema */checks.grace IS 'How late a run may be before it counts as missed.';
COMMENT ON COLUMN /* TEMPLATE: schema */checks.longest IS 'How long a run may take; NULL for no limit.';
COMMENT ON COLUMN /* TEMPLATE: schema */checks.last_ping IS 'The latest ping of any kind.';
COMMENT ON COLUMN /* TEMPLATE: schema */checks.last_start IS 'The latest ping that told of a start.';
COMMENT ON COLUMN /* TEMPLATE: schema */checks.last_success IS 'The latest ping that told of success.';
COMMENT ON COLUMN /* TEMPLATE: schema */checks.last_failure IS 'The latest ping that told of a failure.';
COMMENT ON COLUMN /* TEMPLATE: schema */checks.last_exit_status IS 'The exit status of the latest run that told one.';
COMMENT ON COLUMN /* TEMPLATE: schema */checks.last_duration IS 'How long the latest run took that told of its start and of its end.';
COMMENT ON COLUMN /* TEMPLATE: schema */checks.running IS 'How many runs have told of their start and not of their end.';
COMMENT ON COLUMN /* TEMPLATE: schema */checks.running_since IS 'When the longest of them began.';
COMMENT ON COLUMN /* TEMPLATE: schema */checks.expected_by IS 'The moment by which the next run is expected; NULL before the first ping and while it is paused.';
COMMENT ON COLUMN /* TEMPLATE: schema */checks.late_by IS 'How late that run is; NULL when it is not.';
COMMENT ON COLUMN /* TEMPLATE: schema */checks.problem IS 'Why nothing can be expected: what is wrong with the cron expression.';
COMMENT ON COLUMN /* TEMPLATE: schema */checks.pings IS 'How many pings it has had.';
COMMENT ON COLUMN /* TEMPLATE: schema */checks.created_at IS 'When it was put first.';
COMMENT ON COLUMN /* TEMPLATE: schema */checks.updated_at IS 'When it was put, paused or resumed last.';
COMMENT ON COLUMN /* TEMPLATE: schema */checks.updated_by IS 'Who did that.';

CREATE VIEW /* TEMPLATE: schema */check_pings AS
SELECT p.id, h.name, p.at, p.kind, p.exit_status, p.run_id, p.duration, p.source, p.body, p.body_bytes
FROM /* TEMPLATE: schema */heartbeat_ping p JOIN /* TEMPLATE: schema */heartbeat h ON h.id = p.heartbeat_id;
COMMENT ON VIEW /* TEMPLATE: schema */check_pings IS 'Pings of checks, as long as they are kept. Page by WHERE name = … AND id < … ORDER BY id DESC LIMIT n.';
COMMENT ON COLUMN /* TEMPLATE: schema */check_pings.id IS 'Grows with every ping.';
COMMENT ON COLUMN /* TEMPLATE: schema */check_pings.name IS 'The check.';
COMMENT ON COLUMN /* TEMPLATE: schema */check_pings.at IS 'When it came.';
COMMENT ON COLUMN /* TEMPLATE: schema */check_pings.kind IS 'success, start, fail or log.';
COMMENT ON COLUMN /* TEMPLATE: schema */check_pings.exit_status IS 'The exit status that it told.';
COMMENT ON COLUMN /* TEMPLATE: schema */check_pings.run_id IS 'Which of several runs it is about.';
COMMENT ON COLUMN /* TEMPLATE: schema */check_pings.duration IS 'How long the run took that it ended, when its start was told.';
COMMENT ON COLUMN /* TEMPLATE: schema */check_pings.source IS 'Where it came from.';
COMMENT ON COLUMN /* TEMPLATE: schema */check_pings.body IS 'The first 10 kB of what it brought.';
COMMENT ON COLUMN /* TEMPLATE: schema */check_pings.body_bytes IS 'How much it brought, as far as that was read.';

CREATE VIEW /* TEMPLATE: schema */check_events AS
SELECT e.id, h.name, e.at, e.status, e.was, e.noted_at
FROM /* TEMPLATE: schema */heartbeat_event e JOIN /* TEMPLATE: schema */heartbeat h ON h.id = e.heartbeat_id;
COMMENT ON VIEW /* TEMPLATE: schema */check_events IS
    'Changes of the status of checks. Whoever listens on the channel towpath.check_event is woken by each.';
COMMENT ON COLUMN /* TEMPLATE: schema */check_events.id IS 'Grows with every change.';
COMMENT ON COLUMN /* TEMPLATE: schema */check_events.name IS 'The check.';
COMMENT ON COLUMN /* TEMPLATE: schema */check_events.at IS 'Since when the status holds.';
COMMENT ON COLUMN /* TEMPLATE: schema */check_events.status IS 'The status from then on.';
COMMENT ON COLUMN /* TEMPLATE: schema */check_events.was IS 'The one before.';
COMMENT ON COLUMN /* TEMPLATE: schema */check_events.noted_at IS 'When the change was written down.';

--
-- What people call
--
CREATE FUNCTION /* TEMPLATE: schema */check_fault(name text, period interval, cron text, zone text, grace interval, longest interval) RETURNS text[]
    LANGUAGE plpgsql STABLE
AS $$
BEGIN
    CASE
        WHEN coalesce(name, '') !~ '^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,98}[A-Za-z0-9_])?$' THEN
            RETURN ARRAY['name', format('name %s must have 1 to 100 letters, digits or _.-, and begin and end with a letter, a digit or _', coalesce(/* TEMPLATE: schema */shown(name), 'NULL')),
                'write one such as backup-db1'];
        WHEN name IN ('start', 'fail', 'log') OR name ~ '^\d+$' THEN
            RETURN ARRAY['name', format('name %s would not be told from the end of an address', /* TEMPLATE: schema */shown(name)), 'write one such as backup-db1'];
        WHEN (period IS NULL) = (cron IS NULL) THEN
            RETURN ARRAY['period', 'a check needs either a period or a cron expression', 'write period => ''1 day'', or cron => ''0 2 * * *'''];
        WHEN period < interval '10 seconds' OR period > interval '400 days' THEN
            RETURN ARRAY['period', format('period %s is out of range', period), 'write 10 seconds to 400 days, such as ''1 hour'''];
        WHEN zone IS NULL OR NOT /* TEMPLATE: schema */known_zone(zone) THEN
            RETURN ARRAY['zone', format('zone %s is not known', coalesce(/* TEMPLATE: schema */shown(zone), 'NULL')), 'give a name of the IANA database, as in ''Europe/Paris'' or ''UTC'''];
        WHEN grace IS NULL OR grace < interval '0' OR grace > interval '400 days' THEN
            RETURN ARRAY['grace', format('grace %s is out of range', coalesce(grace::text, 'NULL')), 'write up to 400 days, such as ''10 minutes'''];
        WHEN longest <= interval '0' OR longest > interval '400 days' THEN
            RETURN ARRAY['longest', format('longest %s is out of range', longest), 'write up to 400 days, such as ''2 hours'', or NULL for no limit'];
        ELSE RETURN /* TEMPLATE: schema */cron_fault(cron);
    END CASE;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */check_fault(text, interval, text, text, interval, interval) IS
    'Internal: what is wrong with a check, as the parameter, the message and a hint; NULL when nothing is.';

CREATE FUNCTION /* TEMPLATE: schema */cron_fault(cron text) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
    fault text[];
    general constant text := 'write one such as ''30 2 * * 1-5'', which is 02:30 from Monday to Friday';
BEGIN
    IF cron IS NULL THEN
        RETURN NULL;
    ELSIF octet_length(cron) > 200 THEN
        RETURN ARRAY['cron', format('cron %s is longer than 200 bytes', /* TEMPLATE: schema */shown(cron)), general];
    ELSIF cron ~ '^\s*(@every\s|(minutes|seconds)_interval>)' THEN
        RETURN ARRAY['cron', format('cron %s is a length of time', /* TEMPLATE: schema */shown(cron)), 'give it as the period, such as period => ''90 seconds'''];
    END IF;
    fault := (SELECT e.fault FROM /* TEMPLATE: schema */read_expression(cron) e);
    -- Schedules call the parameter otherwise, and their words name forms that a check does not take.
    RETURN CASE WHEN fault IS NOT NULL THEN
        ARRAY['cron', replace(regexp_replace(fault[2], '^expression', 'cron'), ', minutes_interval>, seconds_interval>', ''), CASE fault[3] WHEN /* TEMPLATE: schema */hint_expression() THEN general ELSE fault[3] END] END;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */cron_fault(text) IS
    'Internal: what is wrong with the cron expression of a check, by the rules of schedules, as check_fault tells it.';

-- Locks: the check's row. Two that put a new check of one name at once queue up for its unique key.
CREATE FUNCTION /* TEMPLATE: schema */put_check(name text, period interval DEFAULT NULL, cron text DEFAULT NULL, zone text DEFAULT 'UTC',
        grace interval DEFAULT '5 minutes', longest interval DEFAULT NULL, description text DEFAULT '', OUT key text, OUT created boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    fault constant text[] := /* TEMPLATE: schema */check_fault(name, period, cron, zone, grace, longest);
BEGIN
    IF fault IS NOT NULL THEN
        PERFORM /* TEMPLATE: schema */raise_fault(fault, 'Parameter %s of put_check.');
    END IF;
    INSERT INTO /* TEMPLATE: schema */heartbeat AS h (name, key, description, period, cron, zone, grace, longest, updated_by, turns_at)
    VALUES (put_check.name, replace(gen_random_uuid()::text, '-', ''), coalesce(put_check.description, ''), put_check.period, trim(put_check.cron), put_check.zone,
        put_check.grace, put_check.longest, /* TEMPLATE: schema */acting(), now())
    ON CONFLICT ON CONSTRAINT heartbeat_name_key DO UPDATE SET description = excluded.description, period = excluded.period, cron = excluded.cron,
        zone = excluded.zone, grace = excluded.grace, longest = excluded.longest, updated_at = now(), updated_by = excluded.updated_by,
        -- The leader works out anew what is expected.
        expected_by = NULL, problem = NULL, turns_at = now()
    RETURNING h.key, h.xmax = 0 INTO put_check.key, put_check.created;
    PERFORM /* TEMPLATE: schema */audit_action('put_check', 'check ' || put_check.name,
        jsonb_build_object('period', period, 'cron', cron, 'zone', zone, 'grace', grace, 'longest', longest, 'created', created));
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */put_check(text, interval, text, text, interval, interval, text) IS
    'Makes a check, or changes the one of that name, and returns the key of its address, /ping/KEY. Give a period or a cron expression with its zone; grace is how late a run may be, longest how long it may take. Its pings and its key stay.';

CREATE FUNCTION /* TEMPLATE: schema */change_check(action text, name text) RETURNS boolean
    LANGUAGE plpgsql
AS $$
DECLARE
    there /* TEMPLATE: schema */heartbeat;
BEGIN
    SELECT * INTO there FROM /* TEMPLATE: schema */heartbeat h WHERE h.name = change_check.name FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'check % does not exist', coalesce(/* TEMPLATE: schema */shown(name), 'NULL') USING ERRCODE = 'no_data_found',
            HINT = 'SELECT name FROM towpath.checks shows those that do.';
    END IF;
    CASE action
        WHEN 'pause_check' THEN
            IF there.paused_at IS NOT NULL THEN RETURN false; END IF;
            UPDATE /* TEMPLATE: schema */heartbeat h SET paused_at = now(), turns_at = now() WHERE h.id = there.id;
        WHEN 'resume_check' THEN
            IF there.paused_at IS NULL THEN RETURN false; END IF;
            UPDATE /* TEMPLATE: schema */heartbeat h SET paused_at = NULL, watched_since = now(), expected_by = NULL, turns_at = now(),
                running = '{}', running_since = NULL WHERE h.id = there.id;
        WHEN 'delete_check' THEN
            DELETE FROM /* TEMPLATE: schema */heartbeat h WHERE h.id = there.id;
        WHEN 'new_check_key' THEN
            UPDATE /* TEMPLATE: schema */heartbeat h SET key = replace(gen_random_uuid()::text, '-', '') WHERE h.id = there.id;
    END CASE;
    UPDATE /* TEMPLATE: schema */heartbeat h SET updated_at = now(), updated_by = /* TEMPLATE: schema */acting()
        WHERE h.id = there.id;
    PERFORM /* TEMPLATE: schema */audit_action(action, 'check ' || name, '{}');
    RETURN true;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */change_check(text, text) IS 'Internal: pauses, resumes or deletes a check or changes its key, and records it.';

CREATE FUNCTION /* TEMPLATE: schema */pause_check(name text, OUT changed boolean)
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT /* TEMPLATE: schema */change_check('pause_check', name);
END;
COMMENT ON FUNCTION /* TEMPLATE: schema */pause_check(text) IS
    'Pauses a check: its pings are kept, nothing is expected, nobody is told. changed is false if it was paused already. Fails with P0002 if there is no such check.';

CREATE FUNCTION /* TEMPLATE: schema */resume_check(name text, OUT changed boolean)
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT /* TEMPLATE: schema */change_check('resume_check', name);
END;
COMMENT ON FUNCTION /* TEMPLATE: schema */resume_check(text) IS
    'Resumes a paused check; the next run is expected as if one had begun now. changed is false if it was not paused. Fails with P0002 if there is no such check.';

CREATE FUNCTION /* TEMPLATE: schema */delete_check(name text, OUT changed boolean)
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT /* TEMPLATE: schema */change_check('delete_check', name);
END;
COMMENT ON FUNCTION /* TEMPLATE: schema */delete_check(text) IS 'Deletes a check with its pings and events. Fails with P0002 if there is no such check.';

CREATE FUNCTION /* TEMPLATE: schema */check_key(name text, renew boolean DEFAULT false) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF renew THEN
        PERFORM /* TEMPLATE: schema */change_check('new_check_key', name);
    END IF;
    RETURN (SELECT h.key FROM /* TEMPLATE: schema */heartbeat h WHERE h.name = check_key.name);
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */check_key(text, boolean) IS
    'The secret key of a check''s address, /ping/KEY; NULL if there is no such check. With renew it gets another one first, and the old address is no more.';

REVOKE ALL ON FUNCTION
    /* TEMPLATE: schema */tell_check_event, /* TEMPLATE: schema */check_fault, /* TEMPLATE: schema */cron_fault, /* TEMPLATE: schema */put_check, /* TEMPLATE: schema */change_check,
    /* TEMPLATE: schema */pause_check, /* TEMPLATE: schema */resume_check, /* TEMPLATE: schema */delete_check, /* TEMPLATE: schema */check_key
FROM PUBLIC;
SELECT /* TEMPLATE: schema */pin_search_path();
SELECT /* TEMPLATE: schema */grant_roles();
