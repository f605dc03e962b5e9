-- name: UnfinishedJobs :many
SELECT id FROM towpath.river_job
WHERE id = ANY(@ids::bigint[]) AND finalized_at IS NULL;

-- Each branch walks a partial index of its own: waiting rows by queue, due rows by time, running rows. The orders are
-- those of the indexes, without which the planner may think that the first rows of the table would do (and EXISTS
-- drops the order of what it asks directly).
--
-- name: HasWork :one
WITH open AS MATERIALIZED (
    SELECT q FROM unnest(@queues::text[]) AS t (q)
    WHERE NOT EXISTS (SELECT FROM towpath.river_queue WHERE name = q AND paused_at IS NOT NULL)
)
SELECT (EXISTS (
    SELECT FROM open, LATERAL (
        SELECT FROM towpath.river_job
        WHERE state = 'available' AND queue = q AND kind = ANY(@kinds::text[]) AND scheduled_at <= now()
        ORDER BY priority, scheduled_at, id LIMIT 1
    ) waiting
) OR (
    SELECT true FROM towpath.river_job
    WHERE state IN ('retryable', 'scheduled') AND scheduled_at <= now() AND kind = ANY(@kinds::text[])
        AND queue = ANY(ARRAY(SELECT q FROM open))
    ORDER BY scheduled_at, id LIMIT 1
) IS NOT NULL OR (
    SELECT true FROM towpath.river_job
    WHERE state = 'running' AND attempted_by[array_upper(attempted_by, 1)] = @client_id::text
    ORDER BY attempted_at, id LIMIT 1
) IS NOT NULL)::boolean AS has;
