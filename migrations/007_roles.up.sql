-- Who may do what: the roles towpath_producer, towpath_reader and towpath_operator; and towpath_probe, under which the queries
-- of probes run.
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
    -- What a later migration brings is granted once it is there: it names its views and functions here and calls this again.
    seen_by_readers constant text := (SELECT string_agg(sch || '.' || name, ', ') FROM unnest(ARRAY[
        'jobs', 'counters', 'activity', 'kinds', 'queues', 'processes', 'failures', 'timeline', 'logs', 'waiting', 'lifecycle', 'leader',
        'schedules', 'schedule_runs', 'schedule_events', 'schedule_backfills',
        'checks', 'check_pings', 'check_events',
        'probes', 'probe_latest', 'probe_values', 'probe_events',
        'alerts', 'alert_rules', 'alert_events', 'alert_evaluator', 'silences',
        'kind_schemas'
    ]) AS name WHERE to_regclass(sch || '.' || name) IS NOT NULL);
    called_by_readers constant text := (SELECT string_agg(sch || '.' || name, ', ') FROM unnest(ARRAY[
        'kinds_since', 'queues_now', 'failures_since', 'histogram_quantile', 'error_pattern', 'find_jobs', 'why', 'key_holder', 'lifecycle_now', 'run_outcome', 'probe_detail',
        'alert_defaults', 'glob_matches', 'alert_rule_for'
    ]) AS name WHERE to_regproc(sch || '.' || name) IS NOT NULL);
    called_by_operators constant text := (SELECT string_agg(sch || '.' || name, ', ') FROM unnest(ARRAY[
        'cancel_job', 'retry_job', 'delete_job', 'cancel_jobs', 'retry_jobs', 'delete_jobs', 'pause_queue', 'resume_queue',
        'define_schedule', 'put_schedule', 'revert_schedule', 'delete_schedule', 'pause_schedule', 'resume_schedule', 'run_schedule', 'skip_schedule', 'backfill_schedule', 'cancel_backfill',
        'put_check', 'pause_check', 'resume_check', 'delete_check', 'check_key',
        'put_alert_rule', 'revert_alert_rule', 'silence', 'end_silence', 'check_kind',
        'put_probe', 'define_probe', 'check_probe_query', 'revert_probe', 'delete_probe', 'pause_probe', 'resume_probe', 'run_probe'
    ]) AS name WHERE to_regproc(sch || '.' || name) IS NOT NULL);
    called_by_producers constant text := replace('$enqueue, $enqueue_many', '$', sch || '.');
    role text;
    missing text[] := '{}';
BEGIN
    FOREACH role IN ARRAY ARRAY['towpath_producer', 'towpath_reader', 'towpath_operator', 'towpath_probe'] LOOP
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
    FOREACH role IN ARRAY ARRAY['towpath_reader', 'towpath_operator', 'towpath_probe'] LOOP
        CONTINUE WHEN role = ANY (missing);
        EXECUTE format('GRANT USAGE ON SCHEMA %s TO %I', sch, role);
        EXECUTE format('GRANT SELECT ON %s TO %I', seen_by_readers, role);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', called_by_readers, role);
    END LOOP;
    IF 'towpath_operator' <> ALL (missing) THEN
        EXECUTE format('GRANT SELECT ON %s.audit TO towpath_operator', sch);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO towpath_operator', called_by_operators);
    END IF;
    -- Its owner is the one who takes it on.
    IF 'towpath_probe' <> ALL (missing)
        AND NOT pg_has_role(current_user, 'towpath_probe', CASE WHEN current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'SET' END)
    THEN
        BEGIN
            GRANT towpath_probe TO CURRENT_USER;
        EXCEPTION
            WHEN unique_violation OR internal_error THEN
                NULL; -- another database's owner, who is the same, was quicker
            WHEN insufficient_privilege THEN
                RAISE NOTICE 'roles missing: % may not take on the role towpath_probe, under which probes run', current_user
                    USING HINT = format('As an administrator: GRANT towpath_probe TO %I.', current_user);
        END;
    END IF;
END;
$$;
REVOKE ALL ON FUNCTION /* TEMPLATE: schema */grant_roles FROM PUBLIC;
COMMENT ON FUNCTION /* TEMPLATE: schema */grant_roles() IS
    'Creates the roles towpath_producer (may enqueue, nothing else), towpath_reader (may read the views), towpath_operator (reads, and may cancel, retry, delete, pause and resume) and towpath_probe (reads, for the queries of probes) where they are missing, and grants them their rights in this schema. To be called by the owner, any number of times.';

SELECT /* TEMPLATE: schema */pin_search_path();
SELECT /* TEMPLATE: schema */grant_roles();
