-- name: AlertRules :many
SELECT r.name::text AS name, r.subject::text AS subject, r.enabled::boolean AS enabled, r.severity::text AS severity, r.threshold, r.unit, r.after::interval AS after, r.reminder,
    (r.notifiers IS NULL)::boolean AS every_notifier, coalesce(r.notifiers, '{}')::text[] AS notifiers, r.changed::boolean AS changed,
    r.family::text AS family, r.title::text AS title, r.description::text AS description, r.updated_at, r.updated_by
FROM towpath.alert_rules r ORDER BY r.name, r.subject <> '*', r.subject COLLATE "C";

-- The rules as an evaluation needs them, with the round, the time and whether there are open alerts in each row.
--

-- name: AlertRound :many
SELECT b.n::bigint AS round, clock_timestamp()::timestamptz AS clock, r.name::text AS name, r.subject::text AS subject, r.enabled::boolean AS enabled, r.severity::text AS severity, r.threshold,
    r.after::interval AS after, r.reminder, (r.notifiers IS NULL)::boolean AS every_notifier, coalesce(r.notifiers, '{}')::text[] AS notifiers,
    r.family::text AS family, r.title::text AS title, EXISTS (SELECT FROM towpath.alert WHERE state <> 'resolved' OR told)::boolean AS open
FROM towpath.alert_rules r CROSS JOIN towpath.alert_round b;

-- name: OpenAlerts :many
SELECT rule, subject, state, since, bad_since, well_since, value, summary, detail, link, told, told_at, told_to, seen_at
FROM towpath.alert WHERE state <> 'resolved' OR told;

-- name: ActiveSilences :many
SELECT rule, subject, ends_at FROM towpath.alert_silence WHERE ends_at > clock_timestamp();

-- name: SaveAlerts :one
SELECT towpath.save_alerts(@round::bigint, (@changed::text)::json, (@events::text)::json, (@messages::text)::json)::boolean AS saved;

-- name: PruneAlerts :one
SELECT towpath.prune_alerts()::integer AS gone;

-- name: AlertEvaluator :one
SELECT client_id::text AS client_id, active::boolean AS active, expires_at::timestamptz AS expires_at FROM towpath.alert_evaluator;

-- A rule of the same family may have taken the subject over: it is the same incident.
--
-- name: AlertFires :one
SELECT EXISTS (
    SELECT FROM towpath.alert_rules told JOIN towpath.alert_rules r ON r.family = told.family JOIN towpath.alert a ON a.rule = r.name
    WHERE told.name = @rule::text AND told.subject = '*' AND r.subject = '*' AND a.subject = @subject::text AND a.state = 'firing'
)::boolean AS fires;
