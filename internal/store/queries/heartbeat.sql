-- name: LockHeartbeat :one
SELECT sqlc.embed(h), clock_timestamp()::timestamptz AS now FROM towpath.heartbeat h
WHERE h.key = nullif(@key::text, '') OR @key = '' AND h.name = @name FOR UPDATE;

-- The rows that another leader has locked are its to turn.

-- name: LockTurningHeartbeats :many
SELECT sqlc.embed(h), clock_timestamp()::timestamptz AS now FROM towpath.heartbeat h
WHERE h.turns_at <= clock_timestamp() ORDER BY h.turns_at LIMIT @most::integer FOR UPDATE SKIP LOCKED;

-- name: SaveHeartbeat :exec
UPDATE towpath.heartbeat
SET pings = @pings, last_ping_at = @last_ping_at, last_sign_at = @last_sign_at, last_start_at = @last_start_at, last_success_at = @last_success_at,
    last_failure_at = @last_failure_at, last_exit_status = @last_exit_status, last_duration = @last_duration, running = @running,
    running_since = @running_since, expected_by = @expected_by, problem = @problem, status = @status, status_since = @status_since, turns_at = @turns_at
WHERE id = @id;

-- name: InsertHeartbeatPing :exec
INSERT INTO towpath.heartbeat_ping (heartbeat_id, at, kind, exit_status, run_id, duration, source, body, body_bytes)
VALUES (@heartbeat_id, @at, @kind, @exit_status, @run_id, @duration, @source, @body, @body_bytes);

-- name: InsertHeartbeatEvent :exec
INSERT INTO towpath.heartbeat_event (heartbeat_id, at, status, was) VALUES (@heartbeat_id, @at, @status, @was);

-- name: TrimHeartbeatPings :exec
DELETE FROM towpath.heartbeat_ping d WHERE d.heartbeat_id = @heartbeat_id AND d.id <= (
    SELECT p.id FROM towpath.heartbeat_ping p WHERE p.heartbeat_id = @heartbeat_id ORDER BY p.id DESC LIMIT 1 OFFSET @kept::integer);

-- name: CountHeartbeats :one
SELECT count(*) FROM towpath.heartbeat;

-- name: HeartbeatExists :one
SELECT EXISTS (SELECT FROM towpath.heartbeat WHERE name = @name);

-- name: DeleteOldHeartbeatPings :execrows
DELETE FROM towpath.heartbeat_ping WHERE id IN (
    SELECT id FROM towpath.heartbeat_ping WHERE at < now() - @retention::interval ORDER BY at LIMIT @most::integer);

-- name: DeleteOldHeartbeatEvents :execrows
DELETE FROM towpath.heartbeat_event WHERE id IN (
    SELECT id FROM towpath.heartbeat_event WHERE noted_at < now() - @retention::interval ORDER BY noted_at LIMIT @most::integer);
