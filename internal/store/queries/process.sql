-- name: ProcessBeat :one
SELECT (clock_timestamp() - beat_at)::interval AS ago, (stopped_at IS NULL AND dead_at IS NULL)::boolean AS alive
FROM towpath.process WHERE client_id = @client_id ORDER BY epoch DESC LIMIT 1;
