-- name: Leader :one
SELECT l.client_id::text AS leader_id, coalesce(l.host, '')::text AS host, coalesce(l.pid, 0)::integer AS pid, coalesce(l.roles, '{}')::text[] AS roles
FROM towpath.leader l;

-- name: ProcessAlive :one
SELECT epoch, beat, host, pid FROM towpath.process
WHERE client_id = @client_id AND stopped_at IS NULL AND dead_at IS NULL AND beat_at > clock_timestamp() - interval '20 seconds'
ORDER BY epoch DESC LIMIT 1;

-- name: QueueIsWorked :one
SELECT EXISTS (
    SELECT FROM towpath.process
    WHERE queues ? @queue::text AND client_id NOT LIKE '%-courier'
      AND stopped_at IS NULL AND dead_at IS NULL AND beat_at > clock_timestamp() - interval '20 seconds'
)::boolean;
