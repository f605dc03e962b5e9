-- name: ImportSchedule :one
SELECT EXISTS (SELECT FROM towpath.schedule s WHERE s.name = @schedule::text)::boolean AS existed, d.changed::boolean AS changed
FROM towpath.define_schedule(@schedule::text, @definition::jsonb) d;
