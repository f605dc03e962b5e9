-- name: ListProbes :many
SELECT name::text AS name, status::text AS status, since::timestamptz AS since, value, detail, last_run_at, last_ok_at, last_duration, last_run::bigint AS last_run,
    next_run_at, running::boolean AS running, missing, extra, differing, examples, series::bigint AS series, coalesce(description, '')::text AS description,
    query::text AS query, compare_with, every::interval AS every, timeout::interval AS timeout, role, key_columns::text[] AS key_columns,
    empty_is_fine::boolean AS empty_is_fine, alert_above, alert_below, paused_at, paused_by, pause_reason, defined_in::text AS defined_in, holds::text AS holds,
    changed_at::timestamptz AS changed_at, changed_by
FROM towpath.probes
WHERE (@name::text = '' OR name = @name) AND name > @beyond::text AND (cardinality(@statuses::text[]) = 0 OR status = ANY (@statuses::text[]))
ORDER BY name LIMIT @most::integer;

-- name: LatestProbeValues :many
SELECT series::text AS series, value::double precision AS value FROM towpath.probe_latest WHERE probe = @probe::text ORDER BY series LIMIT @most::integer;

-- name: ListProbeValues :many
SELECT series::text AS series, at::timestamptz AS at, value::double precision AS value, width::interval AS width, n::integer AS n, low::double precision AS low,
    high::double precision AS high, mean::double precision AS mean
FROM towpath.probe_values
WHERE probe = @probe::text AND (@series::text = '' OR series = @series) AND at >= @since::timestamptz
    AND (at < @before::timestamptz OR at = @before AND series > @beyond::text)
ORDER BY at DESC, series LIMIT @most::integer;

-- name: ListProbeEvents :many
SELECT at::timestamptz AS at, status::text AS status, before::text AS before, since::timestamptz AS since, value, detail
FROM towpath.probe_events WHERE probe = @probe::text ORDER BY id DESC LIMIT @most::integer;

-- name: ProbeFigures :many
SELECT name::text AS name, status::text AS status, last_run_at FROM towpath.probes ORDER BY name;

-- Of those alone whose last run gave them: what is old would lie.
--

-- name: ProbeSeriesNow :many
SELECT l.probe::text AS probe, l.series::text AS series, l.value::double precision AS value
FROM towpath.probe_latest l JOIN towpath.probes p ON p.name = l.probe AND p.status IN ('ok', 'beyond') ORDER BY l.probe, l.series LIMIT @most::integer;
