-- name: ListAlerts :many
SELECT id::bigint AS id, rule::text AS rule, subject::text AS subject, state::text AS state, since::timestamptz AS since, severity::text AS severity,
    value::text AS value, summary::text AS summary, detail::text AS detail, link::text AS link, bad_since, told::boolean AS told, told_at,
    told_to::text[] AS told_to, silenced_until, seen_at::timestamptz AS seen_at
FROM towpath.alerts
WHERE (@id::bigint = 0 OR id = @id) AND (@before::bigint = 0 OR id < @before) AND (@rule::text = '' OR rule = @rule)
    AND (cardinality(@states::text[]) = 0 OR state = ANY (@states))
ORDER BY id DESC LIMIT @most::integer;

-- name: ListAlertEvents :many
SELECT id::bigint AS id, rule::text AS rule, subject::text AS subject, at::timestamptz AS at, state::text AS state, was, severity::text AS severity,
    value::text AS value, summary::text AS summary
FROM towpath.alert_events
WHERE (@before::bigint = 0 OR id < @before) AND (@rule::text = '' OR rule = @rule) AND (@subject::text = '' OR subject = @subject)
ORDER BY id DESC LIMIT @most::integer;

-- name: ListSilences :many
SELECT id::bigint AS id, rule::text AS rule, subject::text AS subject, reason::text AS reason, author::text AS author, created_at::timestamptz AS created_at,
    ends_at::timestamptz AS ends_at, active::boolean AS active, ended_by
FROM towpath.silences
WHERE (@before::bigint = 0 OR id < @before) AND (active OR @ended::boolean) ORDER BY id DESC LIMIT @most::integer;

-- name: AlertFigures :many
SELECT r.name::text AS rule, count(a.id) FILTER (WHERE a.state = 'pending')::bigint AS pending, count(a.id) FILTER (WHERE a.state = 'firing')::bigint AS firing
FROM towpath.alert_rules r LEFT JOIN towpath.alert a ON a.rule = r.name WHERE r.subject = '*' GROUP BY r.name ORDER BY r.name;
