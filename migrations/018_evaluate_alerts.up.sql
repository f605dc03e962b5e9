-- What evaluates alerts: one statement that writes what has changed and enqueues who is told, and one that forgets.
--
-- Locks: new functions.

-- Locks: the row of alert_round, until the transaction ends. Who has looked at what was before, when another one has
-- changed something meanwhile, waits for that one, finds that n is not what it saw, and changes nothing. So alerts are
-- written by one at a time, in the order in which they have looked, and each message is enqueued by one alone.
CREATE FUNCTION /* TEMPLATE: schema */save_alerts(round bigint, changed json, events json, messages json) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE /* TEMPLATE: schema */alert_round r SET n = r.n + 1, at = now() WHERE r.n = save_alerts.round;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO /* TEMPLATE: schema */alert AS a (rule, subject, state, since, bad_since, well_since, value, summary, detail, link, told, told_at, told_to, seen_at)
    SELECT c.rule, c.subject, c.state, c.since, c.bad_since, c.well_since, c.value, c.summary, c.detail, c.link, c.told, c.told_at, c.told_to, c.seen_at
    FROM json_to_recordset(changed) AS c (rule text, subject text, state text, since timestamptz, bad_since timestamptz, well_since timestamptz, value text,
        summary text, detail text, link text, told boolean, told_at timestamptz, told_to text[], seen_at timestamptz)
    ON CONFLICT ON CONSTRAINT alert_rule_subject_key DO UPDATE SET state = excluded.state, since = excluded.since, bad_since = excluded.bad_since,
        well_since = excluded.well_since, value = excluded.value, summary = excluded.summary, detail = excluded.detail, link = excluded.link,
        told = excluded.told, told_at = excluded.told_at, told_to = excluded.told_to, seen_at = excluded.seen_at;
    INSERT INTO /* TEMPLATE: schema */alert_event (rule, subject, at, state, was, severity, value, summary)
    SELECT e.rule, e.subject, e.at, e.state, e.was, e.severity, e.value, e.summary
    FROM json_to_recordset(events) AS e (rule text, subject text, at timestamptz, state text, was text, severity text, value text, summary text);
    IF json_array_length(messages) > 0 THEN
        PERFORM /* TEMPLATE: schema */enqueue_many(messages);
    END IF;
    RETURN true;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */save_alerts(bigint, json, json, json) IS
    'Internal: writes alerts that have changed and their events, and enqueues the messages about them, unless somebody else has done so since the round that the caller has seen; false then.';

CREATE FUNCTION /* TEMPLATE: schema */prune_alerts() RETURNS integer
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    gone integer;
    sum integer := 0;
BEGIN
    DELETE FROM /* TEMPLATE: schema */alert a WHERE a.state = 'resolved' AND NOT a.told AND a.since < now() - interval '1 day';
    GET DIAGNOSTICS sum = ROW_COUNT;
    DELETE FROM /* TEMPLATE: schema */alert_event e WHERE e.id IN (
        SELECT o.id FROM /* TEMPLATE: schema */alert_event o WHERE o.noted_at < now() - interval '366 days' ORDER BY o.noted_at LIMIT 5000);
    GET DIAGNOSTICS gone = ROW_COUNT;
    sum := sum + gone;
    DELETE FROM /* TEMPLATE: schema */alert_silence s WHERE s.ends_at < now() - interval '366 days';
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN sum + gone;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */prune_alerts() IS 'Internal: deletes what alerts no longer keep; returns how much.';

REVOKE ALL ON FUNCTION /* TEMPLATE: schema */save_alerts, /* TEMPLATE: schema */prune_alerts FROM PUBLIC;
SELECT /* TEMPLATE: schema */pin_search_path();
