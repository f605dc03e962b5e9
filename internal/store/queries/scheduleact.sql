-- name: DefineSchedule :one
SELECT changed::boolean AS changed FROM towpath.define_schedule(@schedule::text, @definition::jsonb);

-- name: RevertSchedule :one
SELECT changed::boolean AS changed FROM towpath.revert_schedule(@schedule::text);

-- name: DeleteSchedule :one
SELECT towpath.delete_schedule(@schedule::text)::text AS name;

-- name: PauseSchedule :one
SELECT changed::boolean AS changed FROM towpath.pause_schedule(@schedule::text, nullif(@reason::text, ''));

-- name: ResumeSchedule :one
SELECT changed::boolean AS changed FROM towpath.resume_schedule(@schedule::text);

-- name: RunSchedule :one
SELECT n::bigint AS n, job_id::bigint AS job_id FROM towpath.run_schedule(@schedule::text);

-- name: SkipSchedule :one
SELECT skipped::timestamptz AS skipped FROM towpath.skip_schedule(@schedule::text, sqlc.narg(until)::timestamptz);

-- name: BackfillSchedule :one
SELECT towpath.backfill_schedule(@schedule::text, @from_at::timestamptz, @to_at::timestamptz, @at_once::integer)::bigint AS id;

-- name: CancelBackfill :one
SELECT schedule::text AS schedule, changed::boolean AS changed FROM towpath.cancel_backfill(@id::bigint);
