-- Where there is no fraction it is NaN, because Go's arrays of numbers hold no NULL.
--
-- name: InsertJobEvents :exec
INSERT INTO towpath.job_event (job_id, attempt, at, event, level, message, fraction, attrs)
SELECT job_id, attempt, clock_timestamp() - make_interval(secs => age), event, nullif(level, ''),
    nullif(message, ''), nullif(fraction, 'NaN'), nullif(attrs, '')::jsonb
FROM ROWS FROM (unnest(@job_ids::bigint[]), unnest(@attempts::smallint[]), unnest(@ages::double precision[]),
    unnest(@events::text[]), unnest(@levels::text[]), unnest(@messages::text[]), unnest(@fractions::double precision[]),
    unnest(@attrs::text[])) WITH ORDINALITY AS t (job_id, attempt, age, event, level, message, fraction, attrs, n)
ORDER BY n;

-- name: JobEvents :many
SELECT id, job_id, attempt, at, event, level, message, fraction, attrs
FROM towpath.job_event WHERE job_id = @job_id AND id > @after ORDER BY id LIMIT @max_events::bigint;
