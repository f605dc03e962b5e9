-- Probes for the leader: what is due, what a run gave, what has become stale, and values that are summed up with time.
--
-- Locks: new functions only.

CREATE FUNCTION /* TEMPLATE: schema */deploy_probes(application text, fingerprint text, version text, definitions jsonb) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    hold constant jsonb := /* TEMPLATE: schema */note_deployment('probes', application, fingerprint, version, definitions);
    item record;
    fault text[];
BEGIN
    IF hold IS NULL THEN
        RETURN false;
    END IF;
    FOR item IN SELECT n.name, /* TEMPLATE: schema */full_probe(d.value) AS code, p.edited
        FROM jsonb_each(hold) d CROSS JOIN LATERAL (SELECT d.key AS name) n LEFT JOIN /* TEMPLATE: schema */probe p USING (name) ORDER BY n.name
    LOOP
        fault := /* TEMPLATE: schema */probe_fault(item.name, item.code);
        IF fault IS NOT NULL THEN
            fault[2] := 'probe ' || /* TEMPLATE: schema */shown(item.name) || ': ' || fault[2];
            PERFORM /* TEMPLATE: schema */raise_fault(fault, 'Field %s of probe ' || /* TEMPLATE: schema */shown(item.name) || '.');
        END IF;
        IF /* TEMPLATE: schema */probe_write(item.name, item.code, item.edited) THEN
            UPDATE /* TEMPLATE: schema */probe p SET code_at = clock_timestamp() WHERE p.name = item.name;
        END IF;
        UPDATE /* TEMPLATE: schema */probe p SET application = deploy_probes.application
            WHERE p.name = item.name AND p.application IS DISTINCT FROM deploy_probes.application;
    END LOOP;
    DELETE FROM /* TEMPLATE: schema */probe p WHERE p.application = deploy_probes.application AND p.code IS NOT NULL AND p.edited IS NULL AND NOT hold ? p.name;
    UPDATE /* TEMPLATE: schema */probe p SET code = NULL, application = NULL
        WHERE p.application = deploy_probes.application AND p.code IS NOT NULL AND NOT hold ? p.name;
    RETURN true;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */deploy_probes(text, text, text, jsonb) IS
    'Internal: a process tells, at its start and every few seconds, which probes its code defines; true if the set that holds has changed and was applied.';

-- A claim is a lease: who dies with a run in hand leaves it to be taken again when the run's time is over. Rows that
-- another leader takes at the moment are passed over.
CREATE FUNCTION /* TEMPLATE: schema */claim_probes(most integer) RETURNS TABLE (name text, run bigint, definition jsonb)
    LANGUAGE sql
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE /* TEMPLATE: schema */probe p SET run = p.run + 1, started_at = clock_timestamp(),
        claimed_until = clock_timestamp() + make_interval(secs => (coalesce(p.edited, p.code) ->> 'timeout')::double precision + 30)
    FROM (
        SELECT d.name FROM /* TEMPLATE: schema */probe d WHERE d.due <= clock_timestamp() AND (d.claimed_until IS NULL OR d.claimed_until <= clock_timestamp())
        ORDER BY d.due LIMIT most FOR UPDATE SKIP LOCKED
    ) due
    WHERE p.name = due.name
    RETURNING p.name, p.run, coalesce(p.edited, p.code);
END;
COMMENT ON FUNCTION /* TEMPLATE: schema */claim_probes(integer) IS 'Internal: takes probes that are due, for the caller to run; each is taken by one caller.';

CREATE FUNCTION /* TEMPLATE: schema */finish_probe(probe text, run bigint, outcome text, detail text, value double precision, took interval, given jsonb) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    p record;
    every interval;
    moment constant timestamptz := clock_timestamp();
BEGIN
    SELECT * INTO p FROM /* TEMPLATE: schema */probe WHERE name = finish_probe.probe AND run = finish_probe.run FOR UPDATE;
    IF NOT FOUND OR p.last_run >= finish_probe.run THEN
        RETURN false; -- it has been changed or deleted, or took so long that another run has begun
    END IF;
    IF given ? 'values' THEN
        WITH kept AS (
            INSERT INTO /* TEMPLATE: schema */probe_series AS s (probe, name, value, at)
            SELECT p.name, g.key, g.value::double precision, p.started_at FROM jsonb_each_text(given -> 'values') g ORDER BY g.key
            ON CONFLICT ON CONSTRAINT probe_series_probe_name_key DO UPDATE SET value = excluded.value, at = excluded.at
            RETURNING s.id, s.value
        )
        INSERT INTO /* TEMPLATE: schema */probe_point (series_id, at, value) SELECT id, p.started_at, kept.value FROM kept ON CONFLICT DO NOTHING;
        DELETE FROM /* TEMPLATE: schema */probe_series WHERE id IN (SELECT s.id FROM /* TEMPLATE: schema */probe_series s WHERE s.probe = p.name ORDER BY s.at DESC, s.id OFFSET 500);
    END IF;
    every := make_interval(secs => (coalesce(p.edited, p.code) ->> 'every')::double precision);
    UPDATE /* TEMPLATE: schema */probe u SET claimed_until = NULL, last_run = finish_probe.run, last_run_at = p.started_at, last_duration = took,
        last_ok_at = CASE WHEN given ? 'values' THEN p.started_at ELSE u.last_ok_at END, outcome = finish_probe.outcome, detail = finish_probe.detail,
        value = CASE WHEN given ? 'values' THEN finish_probe.value ELSE u.value END,
        missing = CASE WHEN given ? 'values' THEN (given ->> 'missing')::bigint ELSE u.missing END,
        extra = CASE WHEN given ? 'values' THEN (given ->> 'extra')::bigint ELSE u.extra END,
        differing = CASE WHEN given ? 'values' THEN (given ->> 'differing')::bigint ELSE u.differing END,
        examples = CASE WHEN given ? 'values' THEN given -> 'examples' ELSE u.examples END,
        -- Asked for, changed or resumed meanwhile: it runs again at once, and its rhythm begins anew.
        due = CASE WHEN u.asked_at > u.started_at THEN least(u.asked_at, moment) WHEN u.due > u.started_at THEN u.due WHEN u.paused_at IS NULL
            THEN u.due + every * greatest(1, 1 + floor(extract(epoch FROM moment - u.due) / extract(epoch FROM every))::double precision) END,
        status = CASE WHEN u.paused_at IS NULL THEN finish_probe.outcome ELSE u.status END,
        status_since = CASE WHEN u.paused_at IS NULL AND u.status <> finish_probe.outcome THEN p.started_at ELSE u.status_since END
    WHERE u.name = p.name;
    RETURN true;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */finish_probe(text, bigint, text, text, double precision, interval, jsonb) IS
    'Internal: what came of a run: its outcome, and if it gave figures {"values": {series: number}, "missing": …, "examples": …}. False if that run does not count any more.';

CREATE FUNCTION /* TEMPLATE: schema */note_stale_probes() RETURNS integer
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    noted integer;
BEGIN
    UPDATE /* TEMPLATE: schema */probe p SET status = 'stale', status_since = v.since
    FROM /* TEMPLATE: schema */probes v WHERE v.name = p.name AND v.status = 'stale' AND p.status <> 'stale';
    GET DIAGNOSTICS noted = ROW_COUNT;
    RETURN noted;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */note_stale_probes() IS 'Internal: notes which probes have become stale; returns how many.';

--
-- Keep
--
-- Rows of whole hours and days become one each. A value that comes late, since a clock was wrong, is added to the row
-- that is there.
CREATE FUNCTION /* TEMPLATE: schema */sum_up_points(series integer, narrow integer, wide integer, up_to timestamptz) RETURNS integer
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    made integer;
BEGIN
    WITH gone AS (
        DELETE FROM /* TEMPLATE: schema */probe_point v WHERE v.series_id = series AND v.width = narrow AND v.at < up_to
        RETURNING v.at, v.value, coalesce(v.n, 1) AS n, coalesce(v.low, v.value) AS low, coalesce(v.high, v.value) AS high, coalesce(v.mean, v.value) AS mean
    )
    INSERT INTO /* TEMPLATE: schema */probe_point AS v (series_id, width, at, value, n, low, high, mean)
    SELECT series, wide, date_bin(make_interval(secs => wide), g.at, '2000-01-01 00:00:00+00'), (array_agg(g.value ORDER BY g.at DESC))[1], sum(g.n),
        min(g.low), max(g.high), sum(g.mean * g.n) / sum(g.n)
    FROM gone g GROUP BY 3
    ON CONFLICT ON CONSTRAINT probe_point_pkey DO UPDATE SET value = excluded.value, n = v.n + excluded.n, low = least(v.low, excluded.low), high = greatest(v.high, excluded.high),
        mean = (v.mean * v.n + excluded.mean * excluded.n) / (v.n + excluded.n);
    GET DIAGNOSTICS made = ROW_COUNT;
    RETURN made;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */sum_up_points(integer, integer, integer, timestamptz) IS 'Internal: makes hours or days of a series'' values from before a moment; returns how many.';

CREATE FUNCTION /* TEMPLATE: schema */compact_probes(beyond integer, most integer) RETURNS integer
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s record;
    last integer;
    moment constant timestamptz := clock_timestamp();
BEGIN
    FOR s IN
        SELECT r.id, r.at, (coalesce(p.edited, p.code) ->> 'every')::double precision AS every
        FROM /* TEMPLATE: schema */probe_series r JOIN /* TEMPLATE: schema */probe p ON p.name = r.probe
        WHERE r.id > beyond ORDER BY r.id LIMIT most
    LOOP
        last := s.id;
        -- Each value for a week, but no more than a week of minutes has.
        PERFORM /* TEMPLATE: schema */sum_up_points(s.id, 0, 3600, date_trunc('hour', moment - make_interval(secs => least(7 * 86400, 10080 * s.every)), 'UTC'));
        PERFORM /* TEMPLATE: schema */sum_up_points(s.id, 3600, 86400, date_trunc('day', moment - interval '60 days', 'UTC'));
        DELETE FROM /* TEMPLATE: schema */probe_point v WHERE v.series_id = s.id AND v.width = 86400 AND v.at < moment - interval '366 days';
        DELETE FROM /* TEMPLATE: schema */probe_series r WHERE r.id = s.id AND r.at < moment - interval '366 days';
    END LOOP;
    IF last IS NULL THEN
        DELETE FROM /* TEMPLATE: schema */probe_event e WHERE e.id IN (SELECT o.id FROM /* TEMPLATE: schema */probe_event o WHERE o.at < moment - interval '366 days' ORDER BY o.id LIMIT 10000);
    END IF;
    RETURN last;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */compact_probes(integer, integer) IS
    'Internal: sums up and deletes old values of so many series beyond one, and returns the last of them, or NULL when there are no more.';

REVOKE ALL ON FUNCTION /* TEMPLATE: schema */deploy_probes, /* TEMPLATE: schema */claim_probes, /* TEMPLATE: schema */finish_probe, /* TEMPLATE: schema */note_stale_probes,
    /* TEMPLATE: schema */sum_up_points, /* TEMPLATE: schema */compact_probes FROM PUBLIC;
SELECT /* TEMPLATE: schema */pin_search_path();
SELECT /* TEMPLATE: schema */grant_roles();
