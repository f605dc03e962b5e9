-- Back to River's own tables. Finished jobs return to river_job first, so that none is lost.
--
-- Locks: ACCESS EXCLUSIVE on the relations that go, SHARE on river_job while River's indexes are built again.
-- Meant for leaving Towpath with the workers stopped.
INSERT INTO /* TEMPLATE: schema */river_job (id, args, attempt, attempted_at, attempted_by, created_at, errors, finalized_at,
    kind, max_attempts, metadata, priority, queue, state, scheduled_at, tags, unique_key, unique_states)
SELECT id, args, attempt, attempted_at, attempted_by, created_at, errors, finalized_at,
    kind, max_attempts, metadata, priority, queue, state, scheduled_at, tags, unique_key, unique_states
FROM /* TEMPLATE: schema */job_history
ON CONFLICT DO NOTHING;

DROP FUNCTION /* TEMPLATE: schema */raise_fault, /* TEMPLATE: schema */shown(text), /* TEMPLATE: schema */shown(timestamptz), /* TEMPLATE: schema */pin_search_path, /* TEMPLATE: schema */schema_name;
DROP TABLE /* TEMPLATE: schema */periodic_job;
DROP TABLE /* TEMPLATE: schema */process;
DROP SEQUENCE /* TEMPLATE: schema */process_epoch_seq;
DROP FUNCTION /* TEMPLATE: schema */duration_bucket(double precision);
DROP TABLE /* TEMPLATE: schema */counter_minute;
DROP TABLE /* TEMPLATE: schema */counter;
DROP TABLE /* TEMPLATE: schema */counter_delta;
DROP FUNCTION /* TEMPLATE: schema */ensure_partitions(integer);
DROP TABLE /* TEMPLATE: schema */job_event;
DROP TABLE /* TEMPLATE: schema */job_history;

ALTER TABLE /* TEMPLATE: schema */river_job RESET (
    fillfactor, autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, autovacuum_vacuum_insert_scale_factor,
    autovacuum_analyze_scale_factor, autovacuum_vacuum_cost_delay
);

CREATE INDEX IF NOT EXISTS river_job_kind ON /* TEMPLATE: schema */river_job (kind);
CREATE INDEX IF NOT EXISTS river_job_state_and_finalized_at_index ON /* TEMPLATE: schema */river_job (state, finalized_at) WHERE finalized_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS river_job_prioritized_fetching_index ON /* TEMPLATE: schema */river_job (state, queue, priority, scheduled_at, id);
CREATE INDEX IF NOT EXISTS river_job_args_index ON /* TEMPLATE: schema */river_job USING gin (args);
CREATE INDEX IF NOT EXISTS river_job_metadata_index ON /* TEMPLATE: schema */river_job USING gin (metadata);
DROP INDEX /* TEMPLATE: schema */towpath_job_available_idx;
DROP INDEX /* TEMPLATE: schema */towpath_job_due_idx;
DROP INDEX /* TEMPLATE: schema */towpath_job_running_idx;
DROP INDEX /* TEMPLATE: schema */towpath_job_finalized_idx;
