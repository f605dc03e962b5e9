-- Alerts: what is wrong, since when, and whom it was told.
--
-- A rule says from when on something is wrong. Its defaults are those of alert_defaults; what people have changed lies in
-- alert_rule. One process at a time, the leader if there is one, looks at the database and keeps a row of alert for each
-- thing that a rule is about; a change of its state, the row of alert_event that tells of it and the job that delivers the
-- message are one transaction, which takes effect only if alert_round is as it was when that process looked.
--
-- Locks: new tables, views and functions.

CREATE TABLE /* TEMPLATE: schema */alert_round (
    one boolean PRIMARY KEY DEFAULT true,
    n bigint NOT NULL DEFAULT 0,
    at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT alert_round_one CHECK (one)
);
INSERT INTO /* TEMPLATE: schema */alert_round DEFAULT VALUES;
COMMENT ON TABLE /* TEMPLATE: schema */alert_round IS 'One row, by which whoever evaluates alerts sees whether somebody else has done so meanwhile.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_round.one IS 'Always true: there is one row.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_round.n IS 'Grows with every round that has changed something.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_round.at IS 'When that was.';

CREATE FUNCTION /* TEMPLATE: schema */alert_defaults()
    RETURNS TABLE (name text, family text, title text, severity text, threshold double precision, unit text, after interval, reminder interval, notifiers text[], description text)
    LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 25
BEGIN ATOMIC
    SELECT d.name, d.family, d.title, d.severity, d.threshold::double precision, d.unit, d.after::interval, d.reminder::interval, d.notifiers::text[], d.description
    FROM (VALUES
        ('queue_old', 'queue', 'Queues alert', 'warning', 300, 'seconds', '1 minute', '4 hours', NULL,
            'The first available job of a queue that is not paused has been due for so long.'),
        ('kind_failing', 'kind', 'Kinds alert', 'warning', 0.5, 'share', '1 minute', '4 hours', NULL,
            'Of the attempts of a kind that ended in the last 15 minutes, so large a share failed, ten at least.'),
        ('kind_starving', 'starvation', 'Kinds alert', 'warning', 10, 'ratio', '5 minutes', '4 hours', NULL,
            'One kind takes half of a queue or more, runs at least twice as long as its queue-mates, and these wait so many times as long as they run (both 95th percentiles, 10 seconds at least).'),
        ('work_stuck', 'stuck', 'Kinds alert', 'warning', 3600, 'seconds', '1 minute', '4 hours', NULL,
            'An attempt has been running for so long, and four times longer than 99% of its kind; or a handler did not stop at its hard limit in the last 15 minutes.'),
        ('schedule_missed', 'schedule', 'Cron Jobs alert', 'critical', NULL, NULL, '0', '4 hours', NULL,
            'A schedule has not begun when its grace time was over. While it is late it is pending.'),
        ('schedule_failed', 'schedule', 'Cron Jobs alert', 'critical', NULL, NULL, '0', '4 hours', NULL, 'The latest run of a schedule that ended has failed.'),
        ('schedule_too_long', 'schedule', 'Cron Jobs alert', 'critical', NULL, NULL, '0', '4 hours', NULL, 'A run of a schedule takes longer than it may.'),
        ('schedule_late', 'schedule', 'Cron Jobs alert', 'info', NULL, NULL, '0', NULL, '{}', 'A schedule is due and has not begun, within its grace time. Nobody is told unless you name notifiers.'),
        ('check_missed', 'check', 'Checks alert', 'critical', NULL, NULL, '0', '4 hours', NULL, 'A check was not pinged when its grace time was over. While it is late it is pending.'),
        ('check_failed', 'check', 'Checks alert', 'critical', NULL, NULL, '0', '4 hours', NULL, 'The latest run that a check was told of has failed.'),
        ('check_too_long', 'check', 'Checks alert', 'critical', NULL, NULL, '0', '4 hours', NULL, 'A run that a check was told of takes longer than it may.'),
        ('check_late', 'check', 'Checks alert', 'info', NULL, NULL, '0', NULL, '{}', 'A check was not pinged in time, within its grace time. Nobody is told unless you name notifiers.'),
        ('probe_beyond', 'probe', 'Probes alert', 'warning', NULL, NULL, '0', '4 hours', NULL, 'The value of a probe is beyond the bounds of its definition, or its two sides differ.'),
        ('probe_empty', 'probe', 'Probes alert', 'critical', NULL, NULL, '0', '4 hours', NULL, 'A source of a probe has come back empty.'),
        ('probe_failed', 'probe', 'Probes alert', 'warning', NULL, NULL, '0', '4 hours', NULL, 'The last run of a probe has failed.'),
        ('probe_stale', 'probe', 'Probes alert', 'warning', NULL, NULL, '0', '4 hours', NULL, 'A probe has not run for two intervals.'),
        ('no_leader', 'leader', 'Fleet alert', 'critical', NULL, NULL, '2 minutes', '1 hour', NULL,
            'Nobody leads: scheduled jobs and retries do not become due, and schedules do not fire.'),
        ('process_gone', 'process', 'Fleet alert', 'warning', 900, 'seconds', '0', NULL, NULL,
            'A process gives no sign of life; or it was given up and its jobs are still to be brought back; or it was given up within so long and no other one has started on its host.'),
        ('dead_rows', 'table', 'Postgres alert', 'warning', 500000, 'rows', '10 minutes', '12 hours', NULL,
            'A table of Towpath has so many dead rows, more than live ones: vacuum does not keep up, or something holds it back.'),
        ('old_transaction', 'transaction', 'Postgres alert', 'warning', 1800, 'seconds', '1 minute', '4 hours', NULL,
            'A transaction of this database has been open for so long: no row that died since can be removed.'),
        ('partitions_missing', 'partition', 'Postgres alert', 'critical', NULL, NULL, '10 minutes', '4 hours', NULL,
            'A table has no partition for today or for tomorrow, which the leader should have made.')
    ) AS d (name, family, title, severity, threshold, unit, after, reminder, notifiers, description);
END;
COMMENT ON FUNCTION /* TEMPLATE: schema */alert_defaults() IS 'Internal: the rules as they are unless somebody has changed them.';

CREATE TABLE /* TEMPLATE: schema */alert_rule (
    name text NOT NULL,
    subject text NOT NULL DEFAULT '*',
    enabled boolean,
    severity text,
    threshold double precision,
    after interval,
    reminder interval,
    notifiers text[],
    every_notifier boolean NOT NULL DEFAULT false,
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by text NOT NULL,
    PRIMARY KEY (name, subject),
    CONSTRAINT alert_rule_severity CHECK (severity IN ('critical', 'warning', 'info'))
);
COMMENT ON TABLE /* TEMPLATE: schema */alert_rule IS 'What people have changed of the rules of alerts. Look at the view alert_rules; change them by put_alert_rule and revert_alert_rule.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_rule.name IS 'The rule.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_rule.subject IS '* for the rule itself; else it is an exception, for the subjects of that name or, with * for any characters, of that pattern.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_rule.enabled IS 'Whether it is evaluated. NULL for the default, as in the columns that follow; that of an exception is what the rule itself says.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_rule.severity IS 'critical, warning or info.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_rule.threshold IS 'From where on something is wrong.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_rule.after IS 'How long that must have been so before the alert fires.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_rule.reminder IS 'How often it is told again while it fires; zero for never.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_rule.notifiers IS 'Who tells it.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_rule.every_notifier IS 'Whether all notifiers that are configured tell it, whatever the default is.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_rule.updated_at IS 'When it was changed last.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_rule.updated_by IS 'Who did that.';

CREATE TABLE /* TEMPLATE: schema */alert (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule text NOT NULL,
    subject text NOT NULL,
    state text NOT NULL,
    since timestamptz NOT NULL,
    bad_since timestamptz,
    well_since timestamptz,
    value text NOT NULL DEFAULT '',
    summary text NOT NULL DEFAULT '',
    detail text NOT NULL DEFAULT '',
    link text NOT NULL DEFAULT '',
    told boolean NOT NULL DEFAULT false,
    told_at timestamptz,
    told_to text[] NOT NULL DEFAULT '{}',
    seen_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (rule, subject),
    CONSTRAINT alert_state CHECK (state IN ('pending', 'firing', 'resolved'))
);
ALTER TABLE /* TEMPLATE: schema */alert SET (fillfactor = 70);
COMMENT ON TABLE /* TEMPLATE: schema */alert IS 'The state of each rule about each thing that something is or was wrong with. Look at the view alerts.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert.id IS 'Its number.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert.rule IS 'The rule.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert.subject IS 'What it is about: a queue, a kind, a schedule, a check, a process, a table …';
COMMENT ON COLUMN /* TEMPLATE: schema */alert.state IS 'pending (something is wrong, not yet for long enough), firing, resolved.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert.since IS 'Since when it is in that state.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert.bad_since IS 'Since when something is wrong; NULL while it is only about to be.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert.well_since IS 'Since when it is not any more, while it still fires.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert.value IS 'The figure that was seen last, for people.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert.summary IS 'What is wrong, in one line.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert.detail IS 'More of it, and what to do.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert.link IS 'A path of the dashboard.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert.told IS 'Whether somebody was told that it fires, and not yet that it is over.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert.told_at IS 'When a message about it was enqueued last.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert.told_to IS 'The notifiers that were given it.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert.seen_at IS 'When the row was written last; while it fires that is once a minute at most.';

CREATE TABLE /* TEMPLATE: schema */alert_event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule text NOT NULL,
    subject text NOT NULL,
    at timestamptz NOT NULL,
    state text NOT NULL,
    was text,
    severity text NOT NULL,
    value text NOT NULL DEFAULT '',
    summary text NOT NULL DEFAULT '',
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX alert_event_rule_idx ON /* TEMPLATE: schema */alert_event (rule, subject, id);
CREATE INDEX alert_event_noted_idx ON /* TEMPLATE: schema */alert_event (noted_at);
COMMENT ON TABLE /* TEMPLATE: schema */alert_event IS 'Changes of the state of alerts, one row each, which notify <schema>.alert_event; kept for a year.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_event.id IS 'Grows with every change.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_event.rule IS 'The rule.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_event.subject IS 'What it is about.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_event.at IS 'When the state changed.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_event.state IS 'The state from then on.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_event.was IS 'The one before; NULL when there was none.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_event.severity IS 'The severity of the rule, or of the exception that held, at that time.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_event.value IS 'The figure that was seen.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_event.summary IS 'What was wrong, in one line.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_event.noted_at IS 'When the change was written down.';

CREATE FUNCTION /* TEMPLATE: schema */tell_alert_event() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pg_notify(/* TEMPLATE: schema */schema_name() || '.alert_event', json_build_object('id', NEW.id, 'rule', NEW.rule,
        'subject', left(NEW.subject, 500), 'state', NEW.state, 'was', NEW.was)::text);
    RETURN NULL;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */tell_alert_event() IS 'Internal: wakes those who listen for changes of alerts, on the channel towpath.alert_event.';
CREATE TRIGGER tell_alert_event AFTER INSERT ON /* TEMPLATE: schema */alert_event
    FOR EACH ROW EXECUTE FUNCTION /* TEMPLATE: schema */tell_alert_event();

CREATE TABLE /* TEMPLATE: schema */alert_silence (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule text NOT NULL,
    subject text NOT NULL,
    reason text NOT NULL DEFAULT '',
    author text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    ends_at timestamptz NOT NULL,
    ended_by text
);
CREATE INDEX alert_silence_ends_idx ON /* TEMPLATE: schema */alert_silence (ends_at);
COMMENT ON TABLE /* TEMPLATE: schema */alert_silence IS 'Alerts of which nobody is told for a while. Look at the view silences; make and end them by silence and end_silence.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_silence.id IS 'The silence''s number.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_silence.rule IS 'The rules that it covers: a name, in which * stands for any characters.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_silence.subject IS 'The subjects that it covers, in the same way.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_silence.reason IS 'Why.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_silence.author IS 'Who made it.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_silence.created_at IS 'Since when it holds.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_silence.ends_at IS 'When it ends, or has ended.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_silence.ended_by IS 'Who ended it before its time.';

CREATE FUNCTION /* TEMPLATE: schema */glob_matches(pattern text, value text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT value LIKE replace(replace(replace(replace(pattern, '\', '\\'), '%', '\%'), '_', '\_'), '*', '%');
END;
COMMENT ON FUNCTION /* TEMPLATE: schema */glob_matches(text, text) IS 'Internal: whether a value is what a pattern says, in which * stands for any characters.';

--
-- What people look at
--
CREATE VIEW /* TEMPLATE: schema */alert_rules AS
SELECT d.name, s.subject, coalesce(x.enabled, r.enabled, true) AS enabled, coalesce(x.severity, r.severity, d.severity) AS severity,
    coalesce(x.threshold, r.threshold, d.threshold) AS threshold, d.unit, coalesce(x.after, r.after, d.after) AS after,
    nullif(coalesce(x.reminder, r.reminder, d.reminder), interval '0') AS reminder,
    CASE
        WHEN x.every_notifier THEN NULL
        WHEN x.notifiers IS NOT NULL THEN x.notifiers
        WHEN r.every_notifier THEN NULL
        ELSE coalesce(r.notifiers, d.notifiers)
    END AS notifiers,
    x.name IS NOT NULL AS changed, d.family, d.title, d.description, x.updated_at, x.updated_by
FROM /* TEMPLATE: schema */alert_defaults() d
CROSS JOIN LATERAL (SELECT '*' AS subject UNION SELECT o.subject FROM /* TEMPLATE: schema */alert_rule o WHERE o.name = d.name) s
LEFT JOIN /* TEMPLATE: schema */alert_rule r ON r.name = d.name AND r.subject = '*'
LEFT JOIN /* TEMPLATE: schema */alert_rule x ON x.name = d.name AND x.subject = s.subject;
COMMENT ON VIEW /* TEMPLATE: schema */alert_rules IS 'The rules by which alerts fire, as they are now, and their exceptions.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_rules.name IS 'The rule.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_rules.subject IS '* for the rule itself; else the subjects that an exception is for. If several match, the one that is exactly the name holds, or else the pattern with the most characters other than *.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_rules.enabled IS 'Whether it is evaluated.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_rules.severity IS 'critical, warning or info.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_rules.threshold IS 'From where on something is wrong; NULL where a rule needs none.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_rules.unit IS 'What the threshold counts.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_rules.after IS 'How long that must have been so before the alert fires; until then it is pending.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_rules.reminder IS 'How often it is told again while it fires; NULL for never.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_rules.notifiers IS 'Who tells it; NULL for all notifiers that are configured, empty for none.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_rules.changed IS 'Whether somebody has changed it.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_rules.family IS 'Rules of one family are about the same things; of one thing a message tells the latest.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_rules.title IS 'The title of its messages; alerts of one title that change together share a message.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_rules.description IS 'When it fires.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_rules.updated_at IS 'When it was changed last.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_rules.updated_by IS 'Who did that.';

CREATE FUNCTION /* TEMPLATE: schema */alert_rule_for(rule text, subject text) RETURNS SETOF /* TEMPLATE: schema */alert_rules
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    SELECT r.* FROM /* TEMPLATE: schema */alert_rules r
    WHERE r.name = alert_rule_for.rule AND /* TEMPLATE: schema */glob_matches(r.subject, alert_rule_for.subject)
    ORDER BY r.subject <> alert_rule_for.subject, length(replace(r.subject, '*', '')) DESC, r.subject COLLATE "C" LIMIT 1;
END;
COMMENT ON FUNCTION /* TEMPLATE: schema */alert_rule_for(text, text) IS
    'Internal: the rule that holds for a subject: the exception that is exactly its name, or else the pattern with the most characters other than *, or else the rule itself.';

CREATE FUNCTION /* TEMPLATE: schema */alert_limit(rule text, subject text) RETURNS double precision
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (SELECT CASE WHEN r.enabled THEN r.threshold END FROM /* TEMPLATE: schema */alert_rule_for(rule, subject) r);
COMMENT ON FUNCTION /* TEMPLATE: schema */alert_limit(text, text) IS 'Internal: the threshold of the rule that holds for a subject; NULL where it is not enabled.';

CREATE VIEW /* TEMPLATE: schema */silences AS
SELECT s.id, s.rule, s.subject, s.reason, s.author, s.created_at, s.ends_at, s.ends_at > clock_timestamp() AS active, s.ended_by
FROM /* TEMPLATE: schema */alert_silence s;
COMMENT ON VIEW /* TEMPLATE: schema */silences IS 'Alerts of which nobody is told for a while. Kept for a year after their end.';
COMMENT ON COLUMN /* TEMPLATE: schema */silences.id IS 'The silence''s number.';
COMMENT ON COLUMN /* TEMPLATE: schema */silences.rule IS 'The rules that it covers: a name, in which * stands for any characters.';
COMMENT ON COLUMN /* TEMPLATE: schema */silences.subject IS 'The subjects that it covers, in the same way.';
COMMENT ON COLUMN /* TEMPLATE: schema */silences.reason IS 'Why.';
COMMENT ON COLUMN /* TEMPLATE: schema */silences.author IS 'Who made it.';
COMMENT ON COLUMN /* TEMPLATE: schema */silences.created_at IS 'Since when it holds.';
COMMENT ON COLUMN /* TEMPLATE: schema */silences.ends_at IS 'When it ends, or has ended.';
COMMENT ON COLUMN /* TEMPLATE: schema */silences.active IS 'Whether it holds now.';
COMMENT ON COLUMN /* TEMPLATE: schema */silences.ended_by IS 'Who ended it before its time.';

CREATE VIEW /* TEMPLATE: schema */alerts AS
SELECT a.id, a.rule, a.subject, a.state, a.since, r.severity, a.value, a.summary, a.detail, a.link, a.bad_since,
    a.told, a.told_at, a.told_to,
    (SELECT max(s.ends_at) FROM /* TEMPLATE: schema */alert_silence s WHERE s.ends_at > clock_timestamp()
        AND /* TEMPLATE: schema */glob_matches(s.rule, a.rule) AND /* TEMPLATE: schema */glob_matches(s.subject, a.subject)) AS silenced_until,
    a.seen_at
FROM /* TEMPLATE: schema */alert a CROSS JOIN LATERAL /* TEMPLATE: schema */alert_rule_for(a.rule, a.subject) r;
COMMENT ON VIEW /* TEMPLATE: schema */alerts IS 'What is wrong, and what was until a day ago.';
COMMENT ON COLUMN /* TEMPLATE: schema */alerts.id IS 'Its number.';
COMMENT ON COLUMN /* TEMPLATE: schema */alerts.rule IS 'The rule.';
COMMENT ON COLUMN /* TEMPLATE: schema */alerts.subject IS 'What it is about: a queue, a kind, a schedule, a check, a process, a table …';
COMMENT ON COLUMN /* TEMPLATE: schema */alerts.state IS 'pending (something is wrong, not yet for long enough), firing, resolved.';
COMMENT ON COLUMN /* TEMPLATE: schema */alerts.since IS 'Since when it is in that state.';
COMMENT ON COLUMN /* TEMPLATE: schema */alerts.severity IS 'critical, warning or info.';
COMMENT ON COLUMN /* TEMPLATE: schema */alerts.value IS 'The figure that was seen last; of schedules and checks -1, 0 or 1.';
COMMENT ON COLUMN /* TEMPLATE: schema */alerts.summary IS 'What is wrong, in one line.';
COMMENT ON COLUMN /* TEMPLATE: schema */alerts.detail IS 'More of it, and what to do.';
COMMENT ON COLUMN /* TEMPLATE: schema */alerts.link IS 'A path of the dashboard.';
COMMENT ON COLUMN /* TEMPLATE: schema */alerts.bad_since IS 'Since when something is wrong; NULL while it is only about to be.';
COMMENT ON COLUMN /* TEMPLATE: schema */alerts.told IS 'Whether somebody was told that it fires, and not yet that it is over.';
COMMENT ON COLUMN /* TEMPLATE: schema */alerts.told_at IS 'When a message about it was enqueued last.';
COMMENT ON COLUMN /* TEMPLATE: schema */alerts.told_to IS 'The notifiers that were given it.';
COMMENT ON COLUMN /* TEMPLATE: schema */alerts.silenced_until IS 'Until when nobody is told, by a silence; NULL when there is none.';
COMMENT ON COLUMN /* TEMPLATE: schema */alerts.seen_at IS 'When the row was written last; while it fires that is once a minute at most.';

CREATE VIEW /* TEMPLATE: schema */alert_events AS
SELECT e.id, e.rule, e.subject, e.at, e.state, e.was, e.severity, e.value, e.summary, e.noted_at FROM /* TEMPLATE: schema */alert_event e;
COMMENT ON VIEW /* TEMPLATE: schema */alert_events IS 'Changes of the state of alerts, of the last year. Page by WHERE id < … ORDER BY id DESC LIMIT n.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_events.id IS 'Grows with every change.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_events.rule IS 'The rule.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_events.subject IS 'What it is about.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_events.at IS 'When the state changed.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_events.state IS 'The state from then on.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_events.was IS 'The one before; NULL when there was none.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_events.severity IS 'The severity of the rule, or of the exception that held, at that time.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_events.value IS 'The figure that was seen.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_events.summary IS 'What was wrong, in one line.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_events.noted_at IS 'When the change was written down.';

CREATE VIEW /* TEMPLATE: schema */alert_evaluator AS
SELECT l.holder AS client_id, l.expires_at > clock_timestamp() AS active, l.expires_at FROM /* TEMPLATE: schema */lease l WHERE l.name = 'alerts';
COMMENT ON VIEW /* TEMPLATE: schema */alert_evaluator IS 'The process that evaluates alerts, or the last one that did; no row if none ever has.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_evaluator.client_id IS 'The process.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_evaluator.active IS 'Whether it does so now.';
COMMENT ON COLUMN /* TEMPLATE: schema */alert_evaluator.expires_at IS 'Until when it is taken to do so unless it says so again.';

--
-- What people call
--
CREATE FUNCTION /* TEMPLATE: schema */alert_rule_must_be(name text) RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM /* TEMPLATE: schema */alert_defaults() d WHERE d.name = alert_rule_must_be.name) THEN
        RAISE EXCEPTION 'alert rule % does not exist', coalesce(/* TEMPLATE: schema */shown(name), 'NULL') USING ERRCODE = 'no_data_found',
            HINT = 'SELECT DISTINCT name FROM towpath.alert_rules shows those that do.';
    END IF;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */alert_rule_must_be(text) IS 'Internal: refuses a rule that is none.';

CREATE FUNCTION /* TEMPLATE: schema */alert_rule_fault(name text, subject text, threshold double precision, after interval, severity text, reminder interval, notifiers text[]) RETURNS text[]
    LANGUAGE plpgsql STABLE
AS $$
DECLARE
    most constant integer := 200;
    plain constant /* TEMPLATE: schema */alert_rules := (SELECT r FROM /* TEMPLATE: schema */alert_rules r WHERE r.name = alert_rule_fault.name AND r.subject = '*');
BEGIN
    CASE
        WHEN subject = '' OR octet_length(subject) > 1000 OR subject ~ '^\*\*+$' THEN
            RETURN ARRAY[format('subject %s is out of range', left(/* TEMPLATE: schema */shown(subject), 200)), 'Write a name of up to 1000 bytes, in which * stands for any characters, such as ''reports-*''.'];
        WHEN subject <> '*' AND (SELECT count(*) >= most AND NOT coalesce(bool_or(r.subject = alert_rule_fault.subject), false)
            FROM /* TEMPLATE: schema */alert_rule r WHERE r.name = alert_rule_fault.name AND r.subject <> '*') THEN
            RETURN ARRAY[format('rule %s has %s exceptions already', name, most), 'Write patterns in which * stands for any characters, such as ''reports-*'', and revert what they cover.'];
        WHEN threshold IS NOT NULL AND plain.unit IS NULL THEN
            RETURN ARRAY[format('rule %s has no threshold', name), 'Leave threshold out.'];
        WHEN threshold = 'NaN' OR threshold <= 0 OR threshold > 1e12 THEN
            RETURN ARRAY[format('threshold %s is out of range', threshold), format('Write a number of %s above 0.', plain.unit)];
        WHEN plain.unit = 'share' AND threshold > 1 THEN
            RETURN ARRAY[format('threshold %s is out of range', threshold), 'Write a share above 0, at most 1, such as 0.5.'];
        WHEN after < interval '0' OR after > interval '7 days' THEN
            RETURN ARRAY[format('after %s is out of range', after), 'Write up to 7 days, such as ''5 minutes''.'];
        WHEN severity NOT IN ('critical', 'warning', 'info') THEN
            RETURN ARRAY[format('severity %s does not exist', /* TEMPLATE: schema */shown(severity)), 'Write critical, warning or info.'];
        WHEN reminder < interval '0' OR reminder > interval '0' AND reminder < interval '1 minute' OR reminder > interval '366 days' THEN
            RETURN ARRAY[format('reminder %s is out of range', reminder), 'Write 1 minute to a year, such as ''4 hours'', or 0 for none.'];
        WHEN cardinality(notifiers) > 50 OR EXISTS (SELECT FROM unnest(notifiers) n WHERE coalesce(n, '') !~ '^[a-z0-9]+(:[A-Za-z0-9_.-]+)?$' OR octet_length(n) > 100) THEN
            RETURN ARRAY[format('notifiers %s are none', left(/* TEMPLATE: schema */shown(notifiers::text), 200)), 'Write their names, such as ''{slack,pagerduty:ops}'', ''{}'' for none or ''{all}'' for all that are configured.'];
        ELSE RETURN NULL;
    END CASE;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */alert_rule_fault(text, text, double precision, interval, text, interval, text[]) IS
    'Internal: what is wrong with changes of a rule, and a hint; NULL when nothing is.';

-- Locks: the rule's row. Two that change a rule for the first time at once queue up for its key.
CREATE FUNCTION /* TEMPLATE: schema */put_alert_rule(name text, threshold double precision DEFAULT NULL, after interval DEFAULT NULL, severity text DEFAULT NULL,
        reminder interval DEFAULT NULL, notifiers text[] DEFAULT NULL, enabled boolean DEFAULT NULL, subject text DEFAULT '*') RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    fault text[];
    actor constant text := /* TEMPLATE: schema */acting();
BEGIN
    PERFORM /* TEMPLATE: schema */alert_rule_must_be(name);
    subject := coalesce(subject, '*');
    fault := /* TEMPLATE: schema */alert_rule_fault(name, subject, threshold, after, severity, reminder, notifiers);
    IF fault IS NOT NULL THEN
        RAISE EXCEPTION '%', fault[1] USING ERRCODE = 'invalid_parameter_value', HINT = fault[2];
    END IF;
    INSERT INTO /* TEMPLATE: schema */alert_rule AS r (name, subject, enabled, severity, threshold, after, reminder, notifiers, every_notifier, updated_by)
    VALUES (put_alert_rule.name, put_alert_rule.subject, put_alert_rule.enabled, put_alert_rule.severity, put_alert_rule.threshold, put_alert_rule.after,
        put_alert_rule.reminder, nullif(put_alert_rule.notifiers, '{all}'), coalesce(put_alert_rule.notifiers = '{all}', false), actor)
    ON CONFLICT ON CONSTRAINT alert_rule_pkey DO UPDATE SET enabled = coalesce(put_alert_rule.enabled, r.enabled),
        severity = coalesce(put_alert_rule.severity, r.severity), threshold = coalesce(put_alert_rule.threshold, r.threshold),
        after = coalesce(put_alert_rule.after, r.after), reminder = coalesce(put_alert_rule.reminder, r.reminder),
        notifiers = CASE WHEN put_alert_rule.notifiers IS NULL THEN r.notifiers ELSE excluded.notifiers END,
        every_notifier = CASE WHEN put_alert_rule.notifiers IS NULL THEN r.every_notifier ELSE excluded.every_notifier END,
        updated_at = now(), updated_by = actor;
    PERFORM /* TEMPLATE: schema */audit_action('put_alert_rule', 'alert rule ' || name,
        jsonb_build_object('subject', nullif(subject, '*'), 'threshold', threshold, 'after', after, 'severity', severity, 'reminder', reminder,
            'notifiers', notifiers, 'enabled', enabled));
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */put_alert_rule(text, double precision, interval, text, interval, text[], boolean, text) IS
    'Changes a rule of alerts, or makes or changes an exception for a subject, or for those of a pattern in which * stands for any characters; what is left out or NULL stays as it is, and an exception is otherwise as its rule. after is how long something must have been wrong, reminder how often it is told again (zero: never), notifiers who tells it ({}: nobody, {all}: all that are configured). A rule that is not enabled is not evaluated. Fails with P0002 if there is no such rule.';

CREATE FUNCTION /* TEMPLATE: schema */revert_alert_rule(name text, subject text DEFAULT '*', OUT changed boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM /* TEMPLATE: schema */alert_rule_must_be(name);
    DELETE FROM /* TEMPLATE: schema */alert_rule r WHERE r.name = revert_alert_rule.name AND r.subject = coalesce(revert_alert_rule.subject, '*');
    changed := FOUND;
    IF changed THEN
        PERFORM /* TEMPLATE: schema */audit_action('revert_alert_rule', 'alert rule ' || name, jsonb_build_object('subject', nullif(subject, '*')));
    END IF;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */revert_alert_rule(text, text) IS
    'Gives a rule of alerts its defaults again, or takes back the exception for a subject. changed is false if there was nothing to change; exceptions of a rule stay when it is reverted itself. Fails with P0002 if there is no such rule.';

CREATE FUNCTION /* TEMPLATE: schema */silence(rule text, subject text, until timestamptz, reason text DEFAULT '') RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    made bigint;
BEGIN
    CASE
        WHEN coalesce(rule, '') = '' OR octet_length(rule) > 1000 OR coalesce(subject, '') = '' OR octet_length(subject) > 1000 THEN
            RAISE EXCEPTION 'a silence needs a rule and a subject of up to 1000 bytes' USING ERRCODE = 'invalid_parameter_value',
                HINT = 'Write their names; * stands for any characters, such as silence(''schedule_*'', ''nightly'', now() + interval ''2 hours'').';
        WHEN NOT EXISTS (SELECT FROM /* TEMPLATE: schema */alert_defaults() d WHERE /* TEMPLATE: schema */glob_matches(rule, d.name)) THEN
            RAISE EXCEPTION 'alert rule % does not exist', /* TEMPLATE: schema */shown(rule) USING ERRCODE = 'no_data_found',
                HINT = 'SELECT DISTINCT name FROM towpath.alert_rules shows those that do.';
        WHEN until IS NULL OR until <= clock_timestamp() OR until > now() + interval '366 days' THEN
            RAISE EXCEPTION 'a silence ends within a year from now, not at %', coalesce(/* TEMPLATE: schema */shown(until), 'NULL') USING ERRCODE = 'invalid_parameter_value',
                HINT = 'Write until when it holds, such as now() + interval ''2 hours''.';
        ELSE NULL;
    END CASE;
    INSERT INTO /* TEMPLATE: schema */alert_silence (rule, subject, reason, author, ends_at)
    VALUES (silence.rule, silence.subject, coalesce(silence.reason, ''), /* TEMPLATE: schema */acting(), silence.until)
    RETURNING id INTO made;
    PERFORM /* TEMPLATE: schema */audit_action('silence', 'silence ' || made,
        jsonb_build_object('rule', rule, 'subject', subject, 'until', until, 'reason', reason));
    RETURN made;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */silence(text, text, timestamptz, text) IS
    'Keeps alerts from being told until a moment, and returns the silence''s number. * in rule and subject stands for any characters. They are evaluated all the same, and what still fires then is told then.';

-- Locks: the silence's row.
CREATE FUNCTION /* TEMPLATE: schema */end_silence(id bigint, OUT changed boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM /* TEMPLATE: schema */alert_silence s WHERE s.id = end_silence.id) THEN
        RAISE EXCEPTION 'silence % does not exist', coalesce(id::text, 'NULL') USING ERRCODE = 'no_data_found',
            HINT = 'SELECT id FROM towpath.silences WHERE active shows those that hold.';
    END IF;
    UPDATE /* TEMPLATE: schema */alert_silence s SET ends_at = now(), ended_by = /* TEMPLATE: schema */acting()
    WHERE s.id = end_silence.id AND s.ends_at > now();
    changed := FOUND;
    IF changed THEN
        PERFORM /* TEMPLATE: schema */audit_action('end_silence', 'silence ' || id, '{}');
    END IF;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */end_silence(bigint) IS
    'Ends a silence. changed is false if it had ended already. Fails with P0002 if there is no such silence.';

REVOKE ALL ON FUNCTION
    /* TEMPLATE: schema */alert_defaults, /* TEMPLATE: schema */tell_alert_event, /* TEMPLATE: schema */glob_matches, /* TEMPLATE: schema */alert_rule_must_be,
    /* TEMPLATE: schema */alert_rule_for, /* TEMPLATE: schema */alert_limit, /* TEMPLATE: schema */alert_rule_fault, /* TEMPLATE: schema */put_alert_rule, /* TEMPLATE: schema */revert_alert_rule, /* TEMPLATE: schema */silence, /* TEMPLATE: schema */end_silence
FROM PUBLIC;
SELECT /* TEMPLATE: schema */pin_search_path();
SELECT /* TEMPLATE: schema */grant_roles();
