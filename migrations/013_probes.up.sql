-- Probes: named queries on an interval, whose rows become series of figures; or two queries whose rows are compared.
--
-- Like a schedule, a probe has up to two definitions, one in code and one edited at run time, which holds while it is
-- there. The leader runs what is due, writes down the figures and how the run ended. The view probes judges by the clock:
-- a probe that nobody runs is stale, whether anybody has noted it or not.
--
-- Locks: new tables, views and functions.

CREATE TABLE /* TEMPLATE: schema */probe (
    name text PRIMARY KEY,
    code jsonb,
    edited jsonb,
    application text,
    code_at timestamptz,
    edited_at timestamptz,
    edited_by text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    paused_at timestamptz,
    paused_by text,
    pause_reason text,
    watched_since timestamptz NOT NULL DEFAULT clock_timestamp(),
    due timestamptz DEFAULT clock_timestamp(),
    asked_at timestamptz,
    run bigint NOT NULL DEFAULT 0,
    started_at timestamptz,
    claimed_until timestamptz,
    last_run bigint NOT NULL DEFAULT 0,
    last_run_at timestamptz,
    last_ok_at timestamptz,
    last_duration interval,
    outcome text,
    value double precision,
    detail text,
    missing bigint,
    extra bigint,
    differing bigint,
    examples jsonb,
    status text NOT NULL DEFAULT 'pending',
    status_since timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT probe_defined CHECK (code IS NOT NULL OR edited IS NOT NULL),
    CONSTRAINT probe_outcome CHECK (outcome IN ('ok', 'beyond', 'empty', 'failed')),
    CONSTRAINT probe_status CHECK (status IN ('pending', 'ok', 'beyond', 'empty', 'failed', 'stale', 'paused'))
);
ALTER TABLE /* TEMPLATE: schema */probe SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 1);

COMMENT ON TABLE /* TEMPLATE: schema */probe IS 'Probes: their definitions and how their last run ended. The view probes is for people.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.name IS 'The name.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.code IS 'The definition that was deployed in code, or NULL.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.edited IS 'The definition made at run time, or NULL. While there is one it holds.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.application IS 'The program whose code defines it.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.code_at IS 'When the code''s definition was last deployed with a change.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.edited_at IS 'When it was last changed at run time.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.edited_by IS 'By whom.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.created_at IS 'When it was first defined.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.paused_at IS 'Since when it is paused, or NULL.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.paused_by IS 'Who paused it.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.pause_reason IS 'Why, if it was said.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.watched_since IS 'Since when a run is expected: it was defined, changed or resumed then.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.due IS 'When it runs next; NULL for a paused one.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.asked_at IS 'When somebody last asked for a run.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.run IS 'Counts the runs that have begun. Who ends one says its number, so that a late end changes nothing.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.started_at IS 'When the last one began.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.claimed_until IS 'Until when it is waited for; then another one may begin.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.last_run IS 'The number of the run that ended last.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.last_run_at IS 'When that one began.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.last_ok_at IS 'When the last run began that gave figures.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.last_duration IS 'How long the last run took.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.outcome IS 'How it ended: ok, beyond, empty or failed; NULL before the first run of the definition.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.value IS 'Its figure, see the view.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.detail IS 'What there is to say about it: the error, the series that is beyond, what was empty.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.missing IS 'Of a comparison: rows of the query that the other one has not.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.extra IS 'Of a comparison: rows of the other one that the query has not.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.differing IS 'Of a comparison with key columns: keys that both have, with other values.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.examples IS 'Some of each: {"missing": [...], "extra": [...], "differing": [...]}.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.status IS 'The status that the latest event has told.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe.status_since IS 'Since when it has that.';

CREATE TABLE /* TEMPLATE: schema */probe_series (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    probe text NOT NULL REFERENCES /* TEMPLATE: schema */probe ON DELETE CASCADE,
    name text NOT NULL,
    value double precision NOT NULL,
    at timestamptz NOT NULL,
    UNIQUE (probe, name)
);
ALTER TABLE /* TEMPLATE: schema */probe_series SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 1);
COMMENT ON TABLE /* TEMPLATE: schema */probe_series IS 'The series of probes, with their latest value. The view probe_latest is for people.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_series.id IS 'The series'' number.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_series.probe IS 'The probe.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_series.name IS 'The name, unique for the probe.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_series.value IS 'The latest value.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_series.at IS 'When the run began that gave it.';

-- A value takes 52 bytes, and as many in the index. The wide columns stay NULL where the row is one value.
CREATE TABLE /* TEMPLATE: schema */probe_point (
    at timestamptz NOT NULL,
    value double precision NOT NULL,
    series_id integer NOT NULL REFERENCES /* TEMPLATE: schema */probe_series ON DELETE CASCADE,
    width integer NOT NULL DEFAULT 0,
    n integer,
    low double precision,
    high double precision,
    mean double precision,
    PRIMARY KEY (series_id, width, at)
);
COMMENT ON TABLE /* TEMPLATE: schema */probe_point IS 'Values of series: each for a week, then hours for 60 days, then days for a year. The view probe_values is for people.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_point.at IS 'When the run began, or the hour or day.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_point.value IS 'The value; of an hour or day, the last one.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_point.series_id IS 'The series.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_point.width IS 'How many seconds the row stands for: 3600, 86400, or 0 for one value.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_point.n IS 'Of an hour or day: how many values.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_point.low IS 'The least of them.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_point.high IS 'The greatest.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_point.mean IS 'Their mean.';

CREATE TABLE /* TEMPLATE: schema */probe_event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    probe text NOT NULL REFERENCES /* TEMPLATE: schema */probe ON DELETE CASCADE,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    status text NOT NULL,
    before text NOT NULL,
    since timestamptz NOT NULL,
    value double precision,
    detail text
);
CREATE INDEX probe_event_probe_idx ON /* TEMPLATE: schema */probe_event (probe, id);
COMMENT ON TABLE /* TEMPLATE: schema */probe_event IS
    'Changes of the status of probes, one row each. A trigger writes them and notifies <schema>.probe_event. Kept for a year.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_event.id IS 'Grows with time.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_event.probe IS 'The probe.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_event.at IS 'When it was noted.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_event.status IS 'The new status.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_event.before IS 'The one before.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_event.since IS 'Since when the new one is true.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_event.value IS 'The probe''s value then.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_event.detail IS 'What there was to say about it.';

CREATE FUNCTION /* TEMPLATE: schema */probe_detail(status text, detail text, last_run_at timestamptz) RETURNS text
    LANGUAGE sql STABLE
    RETURN CASE status WHEN 'stale' THEN coalesce('has not run since ' || to_char(last_run_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'has never run')
        WHEN 'pending' THEN NULL WHEN 'paused' THEN NULL ELSE detail END;
COMMENT ON FUNCTION /* TEMPLATE: schema */probe_detail(text, text, timestamptz) IS 'Internal: what there is to say about a probe of a status.';

CREATE FUNCTION /* TEMPLATE: schema */tell_probe_event() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    event bigint;
BEGIN
    INSERT INTO /* TEMPLATE: schema */probe_event (probe, status, before, since, value, detail)
    VALUES (NEW.name, NEW.status, OLD.status, NEW.status_since, NEW.value, /* TEMPLATE: schema */probe_detail(NEW.status, NEW.detail, NEW.last_run_at))
    RETURNING id INTO event;
    PERFORM pg_notify(/* TEMPLATE: schema */schema_name() || '.probe_event', json_build_object('id', event, 'probe', NEW.name, 'status', NEW.status, 'before', OLD.status)::text);
    RETURN NULL;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */tell_probe_event() IS 'Internal: writes down a change of a probe''s status and wakes those who listen on the channel towpath.probe_event.';
CREATE TRIGGER tell_probe_event AFTER UPDATE OF status ON /* TEMPLATE: schema */probe
    FOR EACH ROW WHEN (OLD.status <> NEW.status) EXECUTE FUNCTION /* TEMPLATE: schema */tell_probe_event();

--
-- Views
--
CREATE VIEW /* TEMPLATE: schema */probes AS
SELECT p.name, now.status,
    CASE WHEN now.status = p.status THEN p.status_since
        WHEN now.status = 'stale' THEN now.stale_at
        WHEN now.status = 'paused' THEN p.paused_at
        ELSE coalesce(p.last_run_at, p.watched_since) END AS since,
    p.value, /* TEMPLATE: schema */probe_detail(now.status, p.detail, p.last_run_at) AS detail, p.last_run_at,
    p.last_ok_at, p.last_duration, p.last_run, p.due AS next_run_at,
    p.claimed_until > clock_timestamp() IS TRUE AS running,
    p.missing, p.extra, p.differing, p.examples,
    (SELECT count(*) FROM /* TEMPLATE: schema */probe_series s WHERE s.probe = p.name AND s.at = p.last_ok_at) AS series,
    d.holds ->> 'description' AS description, d.holds ->> 'query' AS query, d.holds ->> 'compare_with' AS compare_with, d.every,
    make_interval(secs => (d.holds ->> 'timeout')::double precision) AS timeout, d.holds ->> 'role' AS role,
    ARRAY(SELECT jsonb_array_elements_text(d.holds -> 'key_columns')) AS key_columns, (d.holds ->> 'empty_is_fine')::boolean AS empty_is_fine,
    (d.holds ->> 'alert_above')::double precision AS alert_above, (d.holds ->> 'alert_below')::double precision AS alert_below,
    p.paused_at, p.paused_by, p.pause_reason,
    CASE WHEN p.code IS NULL THEN 'run time' WHEN p.edited IS NULL THEN 'code' ELSE 'both' END AS defined_in,
    CASE WHEN p.edited IS NULL THEN 'code' ELSE 'edited' END AS holds, p.application,
    p.created_at, greatest(p.code_at, p.edited_at, p.created_at) AS changed_at,
    CASE WHEN p.edited_at >= coalesce(p.code_at, p.edited_at) THEN p.edited_by ELSE 'a deployment of ' || p.application END AS changed_by,
    p.code, p.edited
FROM /* TEMPLATE: schema */probe p
CROSS JOIN LATERAL (SELECT coalesce(p.edited, p.code) AS holds, make_interval(secs => (coalesce(p.edited, p.code) ->> 'every')::double precision) AS every) d
CROSS JOIN LATERAL (SELECT greatest(p.last_run_at, p.watched_since) + 2 * d.every AS at) stale
CROSS JOIN LATERAL (
    SELECT stale.at AS stale_at, CASE WHEN p.paused_at IS NOT NULL THEN 'paused' WHEN stale.at < clock_timestamp() THEN 'stale' ELSE coalesce(p.outcome, 'pending') END AS status
) now;

COMMENT ON VIEW /* TEMPLATE: schema */probes IS 'Probes: how they are at this moment, what the last run gave, which definition holds.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.name IS 'The name.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.status IS
    'pending (has not run yet), ok, beyond (a value is above alert_above or below alert_below), empty (a query returned nothing), failed (the last run did), stale (no run for two intervals), paused.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.since IS 'Since when.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.value IS
    'Of the last run that gave any: the value that is farthest beyond, if one is; else of a comparison the number of differences, of a probe with one series its value, and NULL with several.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.detail IS 'What there is to say about the status: the error, what is beyond, what was empty. NULL when all is well.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.last_run_at IS 'When the last run began that has ended.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.last_ok_at IS 'When the last run began that gave figures.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.last_duration IS 'How long the last run took.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.last_run IS 'The number of the last run that has ended.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.next_run_at IS 'When it runs next; NULL when it is paused.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.running IS 'Whether it runs at this moment.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.missing IS 'Of the last comparison: rows of the query that the other one has not.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.extra IS 'Of the last comparison: rows of the other one that the query has not.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.differing IS 'Of the last comparison with key columns: keys that both have, with other values.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.examples IS 'Some of each, in their order: {"missing": [...], "extra": [...], "differing": [...]}.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.series IS 'How many series the last run gave that gave figures.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.description IS 'What it is about.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.query IS 'The query.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.compare_with IS 'The query whose rows are compared with the first one''s; NULL for a probe that compares nothing.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.every IS 'The interval.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.timeout IS 'How long a run may take.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.role IS 'The database role that it runs under; NULL for the one that the leader is configured with.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.key_columns IS 'The columns that name a series; of a comparison, those that identify a row.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.empty_is_fine IS 'Whether a query may return nothing.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.alert_above IS 'A value above it is beyond; NULL for no limit.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.alert_below IS 'A value below it is beyond; NULL for no limit.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.paused_at IS 'Since when it is paused; NULL if it is not.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.paused_by IS 'Who paused it.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.pause_reason IS 'Why, if it was said.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.defined_in IS 'code, run time, or both.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.holds IS 'Which definition holds: code or edited.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.application IS 'The program whose code defines it.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.created_at IS 'When it was first defined.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.changed_at IS 'When a definition last changed.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.changed_by IS 'Who changed it.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.code IS 'The definition in code.';
COMMENT ON COLUMN /* TEMPLATE: schema */probes.edited IS 'The definition made at run time.';

CREATE VIEW /* TEMPLATE: schema */probe_latest AS
SELECT s.probe, s.name AS series, s.value, s.at
FROM /* TEMPLATE: schema */probe_series s JOIN /* TEMPLATE: schema */probe p ON p.name = s.probe AND p.last_ok_at = s.at;
COMMENT ON VIEW /* TEMPLATE: schema */probe_latest IS 'What the last run of each probe gave that gave figures.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_latest.probe IS 'The probe.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_latest.series IS 'The series.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_latest.value IS 'Its value.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_latest.at IS 'When the run began.';

CREATE VIEW /* TEMPLATE: schema */probe_values AS
SELECT s.probe, s.name AS series, v.at, v.value, make_interval(secs => v.width) AS width, coalesce(v.n, 1) AS n, coalesce(v.low, v.value) AS low,
    coalesce(v.high, v.value) AS high, coalesce(v.mean, v.value) AS mean
FROM /* TEMPLATE: schema */probe_point v JOIN /* TEMPLATE: schema */probe_series s ON s.id = v.series_id;
COMMENT ON VIEW /* TEMPLATE: schema */probe_values IS
    'The values of probes: each for a week, then hours for 60 days, then days for a year. Ask for a window: WHERE probe = … AND at >= now() - interval ''1 day''.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_values.probe IS 'The probe.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_values.series IS 'The series.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_values.at IS 'When the run began; of what was summed up, when the hour or the day began, in UTC.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_values.value IS 'The value; of an hour or a day, the last one.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_values.width IS 'An hour or a day; 0 for one value.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_values.n IS 'How many values the row stands for.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_values.low IS 'The least of them.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_values.high IS 'The greatest.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_values.mean IS 'Their mean.';

CREATE VIEW /* TEMPLATE: schema */probe_events AS SELECT id, probe, at, status, before, since, value, detail FROM /* TEMPLATE: schema */probe_event;
COMMENT ON VIEW /* TEMPLATE: schema */probe_events IS 'Changes of the status of probes, one row each. Whoever listens on <schema>.probe_event is told of them.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_events.id IS 'Grows with time.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_events.probe IS 'The probe.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_events.at IS 'When it was noted.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_events.status IS 'The new status.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_events.before IS 'The one before.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_events.since IS 'Since when the new one is true.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_events.value IS 'The probe''s value then.';
COMMENT ON COLUMN /* TEMPLATE: schema */probe_events.detail IS 'What there was to say about it.';

REVOKE ALL ON FUNCTION /* TEMPLATE: schema */probe_detail, /* TEMPLATE: schema */tell_probe_event FROM PUBLIC;
SELECT /* TEMPLATE: schema */pin_search_path();
SELECT /* TEMPLATE: schema */grant_roles();
