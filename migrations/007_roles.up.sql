-- Who may do what: the roles towpath_producer, towpath_reader and towpath_operator.
--
-- Roles belong to the whole server, and other databases and schemas use the same ones. So they are created where they are
-- missing and never dropped. An owner who may not create roles gets a notice; an administrator creates them, and
-- grant_roles() is called again.
--
-- Locks: the catalogs' rows of our own objects. A role that another migration creates at the same time is waited for.

CREATE FUNCTION /* TEMPLATE: schema */grant_roles() RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    sch constant text := quote_ident(/* TEMPLATE: schema */schema_name());
    seen_by_readers constant text := replace('$jobs, $counters, $activity, $kinds, $queues, $processes, $failures, $timeline, $waiting', '$', sch || '.');
    called_by_readers constant text := replace('$kinds_since, $queues_now, $failures_since, $histogram_quantile, $error_pattern, $find_jobs, $why, $key_holder',
        '$', sch || '.');
    called_by_operators constant text := replace('$cancel_job, $retry_job, $delete_job, $cancel_jobs, $retry_jobs, $delete_jobs, $pause_queue, $resume_queue',
        '$', sch || '.');
    called_by_producers constant text := replace('$enqueue, $enqueue_many', '$', sch || '.');
    role text;
    missing text[] := '{}';
BEGIN
    FOREACH role IN ARRAY ARRAY['towpath_producer', 'towpath_reader', 'towpath_operator'] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = role);
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL; -- somebody else was quicker
            WHEN insufficient_privilege THEN
                missing := missing || role;
        END;
    END LOOP;
    IF missing <> '{}' THEN
        RAISE NOTICE 'roles missing: %, and % may not create roles', array_to_string(missing, ', '), current_user
            USING HINT = format('As an administrator: CREATE ROLE %s; then, as %s: SELECT %s.grant_roles();',
                array_to_string(missing, '; CREATE ROLE '), current_user, sch);
    END IF;
    IF 'towpath_producer' <> ALL (missing) THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %s TO towpath_producer', sch);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO towpath_producer', called_by_producers);
    END IF;
    FOREACH role IN ARRAY ARRAY['towpath_reader', 'towpath_operator'] LOOP
        CONTINUE WHEN role = ANY (missing);
        EXECUTE format('GRANT USAGE ON SCHEMA %s TO %I', sch, role);
        EXECUTE format('GRANT SELECT ON %s TO %I', seen_by_readers, role);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', called_by_readers, role);
    END LOOP;
    IF 'towpath_operator' <> ALL (missing) THEN
        EXECUTE format('GRANT SELECT ON %s.audit TO towpath_operator', sch);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO towpath_operator', called_by_operators);
    END IF;
END;
$$;
REVOKE ALL ON FUNCTION /* TEMPLATE: schema */grant_roles FROM PUBLIC;
COMMENT ON FUNCTION /* TEMPLATE: schema */grant_roles() IS
    'Creates the roles towpath_producer (may enqueue, nothing else), towpath_reader (may read the views) and towpath_operator (reads, and may cancel, retry, delete, pause and resume) where they are missing, and grants them their rights in this schema. To be called by the owner, any number of times.';

SELECT /* TEMPLATE: schema */pin_search_path();
SELECT /* TEMPLATE: schema */grant_roles();
