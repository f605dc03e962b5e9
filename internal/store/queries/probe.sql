-- name: ClaimProbes :many
SELECT name::text AS name, run::bigint AS run, definition::jsonb AS definition FROM towpath.claim_probes(@most::integer);

-- name: FinishProbe :one
SELECT towpath.finish_probe(@probe::text, @run::bigint, @outcome::text, nullif(@detail::text, ''), sqlc.narg(value)::double precision, @took::interval, @found::jsonb)::boolean AS counts;

-- name: ReleaseProbe :exec
UPDATE towpath.probe SET claimed_until = NULL WHERE name = @name AND run = @run;

-- name: NoteStaleProbes :one
SELECT towpath.note_stale_probes()::integer AS noted;

-- name: CompactProbes :one
SELECT coalesce(towpath.compact_probes(@beyond::integer, @most::integer), -1)::integer AS last;

-- name: DeployProbes :one
SELECT towpath.deploy_probes(@application::text, @fingerprint::text, @version::text, @definitions::jsonb)::boolean AS applied;

-- name: PauseProbe :one
SELECT changed::boolean AS changed FROM towpath.pause_probe(@probe::text, nullif(@reason::text, ''));

-- name: ResumeProbe :one
SELECT changed::boolean AS changed FROM towpath.resume_probe(@probe::text);

-- name: RevertProbe :one
SELECT changed::boolean AS changed FROM towpath.revert_probe(@probe::text);

-- name: DeleteProbe :one
SELECT towpath.delete_probe(@probe::text)::text AS name;

-- name: RunProbe :one
SELECT run::bigint AS run FROM towpath.run_probe(@probe::text);
