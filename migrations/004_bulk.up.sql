-- Operating on many jobs by a filter: find_jobs, cancel_jobs, retry_jobs, delete_jobs.
--
-- Locks: new functions only.

-- The conditions are put together at run time, so that each combination gets a plan of its own: one plan for all of
-- them would walk whole tables. Nothing but fixed text is put together; the values are parameters.
CREATE FUNCTION /* TEMPLATE: schema */matching_jobs(states text[], kind text, queue text, tag text, older_than interval, newer_than interval,
    args jsonb, error text, max_jobs integer) RETURNS TABLE (id bigint, state text, at timestamptz)
    LANGUAGE plpgsql STABLE
    ROWS 1000
AS $$
#variable_conflict use_column
DECLARE
    all_states constant text[] := '{available,cancelled,completed,discarded,pending,retryable,running,scheduled}';
    final_states constant text[] := '{cancelled,completed,discarded}';
    wanted constant text[] := coalesce(states, all_states);
    conditions text := '';
    left_over integer := max_jobs;
    found bigint;
    part text;
    source record;
BEGIN
    FOREACH part IN ARRAY wanted LOOP
        IF part IS NULL OR part <> ALL (all_states) THEN
            RAISE EXCEPTION 'states contains %, which is no state', coalesce(/* TEMPLATE: schema */shown(part), 'NULL') USING
                ERRCODE = 'invalid_parameter_value', COLUMN = 'states', DETAIL = 'Parameter states.',
                HINT = 'The states are ' || array_to_string(all_states, ', ') || '.';
        END IF;
    END LOOP;
    IF max_jobs IS NULL OR max_jobs NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION 'max_jobs % must be from 1 to 10000', coalesce(max_jobs::text, 'NULL') USING
            ERRCODE = 'invalid_parameter_value', COLUMN = 'max_jobs', DETAIL = 'Parameter max_jobs.',
            HINT = 'Call again until nothing is left.';
    END IF;
    IF kind IS NOT NULL THEN conditions := conditions || ' AND j.kind = $2'; END IF;
    IF queue IS NOT NULL THEN conditions := conditions || ' AND j.queue = $3'; END IF;
    IF tag IS NOT NULL THEN conditions := conditions || ' AND $4 = ANY (j.tags::text[])'; END IF;
    IF args IS NOT NULL THEN conditions := conditions || ' AND j.args @> $7'; END IF;
    IF error IS NOT NULL THEN
        conditions := conditions || ' AND position(lower($8) IN lower(j.errors[cardinality(j.errors)] ->> ''error'')) > 0';
    END IF;

    -- Three places, each by the index it has: unfinished jobs by id, finished ones in either table by when they ended. The
    -- states are written out, because only constants bring partial indexes and single partitions into the plan.
    FOR source IN
        SELECT * FROM (VALUES
            ('/* TEMPLATE: schema */river_job', 'created_at', 'id DESC', ''),
            ('/* TEMPLATE: schema */river_job', 'finalized_at', 'finalized_at DESC, j.id DESC', ' AND j.finalized_at IS NOT NULL'),
            ('/* TEMPLATE: schema */job_history', 'finalized_at', 'finalized_at DESC, j.id DESC', '')
        ) AS sources (relation, moment, ordering, finalized)
    LOOP
        SELECT string_agg(quote_literal(s), ', ') INTO part FROM unnest(wanted) s WHERE (s = ANY (final_states)) = (source.moment = 'finalized_at');
        CONTINUE WHEN part IS NULL OR left_over = 0;
        RETURN QUERY EXECUTE 'SELECT j.id, j.state::text, j.' || source.moment || ' FROM ' || source.relation || ' j WHERE j.state IN (' || part || ')'
            || source.finalized || conditions
            || CASE WHEN older_than IS NOT NULL THEN ' AND j.' || source.moment || ' < now() - $5' ELSE '' END
            || CASE WHEN newer_than IS NOT NULL THEN ' AND j.' || source.moment || ' >= now() - $6' ELSE '' END
            || ' ORDER BY j.' || source.ordering || ' LIMIT $9'
            USING wanted, kind, queue, tag, older_than, newer_than, args, error, left_over;
        GET DIAGNOSTICS found = ROW_COUNT;
        left_over := left_over - found;
    END LOOP;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */matching_jobs(text[], text, text, text, interval, interval, jsonb, text, integer) IS
    'Internal: the jobs that a filter means: unfinished ones, then finished ones, the newest of each first.';

CREATE FUNCTION /* TEMPLATE: schema */find_jobs(
    states text[] DEFAULT NULL,
    kind text DEFAULT NULL,
    queue text DEFAULT NULL,
    tag text DEFAULT NULL,
    older_than interval DEFAULT NULL,
    newer_than interval DEFAULT NULL,
    args jsonb DEFAULT NULL,
    error text DEFAULT NULL,
    max_jobs integer DEFAULT 1000,
    OUT id bigint, OUT state text, OUT at timestamptz) RETURNS SETOF record
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT * FROM /* TEMPLATE: schema */matching_jobs(states, kind, queue, tag, older_than, newer_than, args, error, max_jobs);
END;
COMMENT ON FUNCTION /* TEMPLATE: schema */find_jobs IS
    'Ids of jobs by a filter, unfinished ones before finished ones and the newest of each first, up to max_jobs (at most 10,000), and when each finished or, unfinished, was enqueued: in one of the states, of the kind, in the queue, with the tag; finished, or if unfinished enqueued, longer ago than older_than or not longer ago than newer_than; whose args contain the given ones; whose last error contains the text, in any case. '
    'Give a state and a time window where there is much history: args, tags and errors are compared row by row.';

CREATE FUNCTION /* TEMPLATE: schema */act_on_jobs(action text, states text[], default_states text[], kind text, queue text, tag text,
    older_than interval, newer_than interval, args jsonb, error text, max_jobs integer)
    RETURNS TABLE (id bigint, state text, changed boolean, note text)
    LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    filter constant jsonb := jsonb_strip_nulls(jsonb_build_object('states', to_jsonb(states), 'kind', kind, 'queue', queue, 'tag', tag,
        'older_than', older_than, 'newer_than', newer_than, 'args', args, 'error', error));
    ids bigint[];
    call bigint;
BEGIN
    IF filter = '{}' THEN
        RAISE EXCEPTION '% needs a filter', action USING ERRCODE = 'invalid_parameter_value', COLUMN = 'states',
            DETAIL = 'Without one it would mean every job.', HINT = 'Say which jobs, as in states => ''{discarded}'' or kind => ''mail.send''.';
    END IF;
    SELECT array_agg(m.id) INTO ids FROM /* TEMPLATE: schema */matching_jobs(coalesce(states, default_states), kind, queue, tag, older_than,
        newer_than, args, error, max_jobs) m;

    INSERT INTO /* TEMPLATE: schema */audit (action, target, details)
        VALUES (action, 'jobs', jsonb_build_object('filter', filter, 'max_jobs', max_jobs, 'matched', coalesce(cardinality(ids), 0)))
        RETURNING audit.id INTO call;
    RETURN QUERY
    WITH outcome AS MATERIALIZED (
        SELECT * FROM /* TEMPLATE: schema */transition(rtrim(action, 's'), ids, false)
    ), recorded AS (
        INSERT INTO /* TEMPLATE: schema */audit (action, target, job_id, details)
        SELECT rtrim(action, 's'), 'job ' || outcome.id, outcome.id, jsonb_build_object('note', outcome.note, 'call', call) FROM outcome WHERE outcome.changed
    )
    SELECT * FROM outcome ORDER BY outcome.id;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */act_on_jobs(text, text[], text[], text, text, text, interval, interval, jsonb, text, integer) IS
    'Internal: cancels, retries or deletes the jobs that a filter means, and records the call and each job.';

CREATE FUNCTION /* TEMPLATE: schema */cancel_jobs(
    states text[] DEFAULT NULL,
    kind text DEFAULT NULL,
    queue text DEFAULT NULL,
    tag text DEFAULT NULL,
    older_than interval DEFAULT NULL,
    newer_than interval DEFAULT NULL,
    args jsonb DEFAULT NULL,
    error text DEFAULT NULL,
    max_jobs integer DEFAULT 1000,
    OUT id bigint, OUT state text, OUT changed boolean, OUT note text) RETURNS SETOF record
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT * FROM /* TEMPLATE: schema */act_on_jobs('cancel_jobs', states, '{available,pending,retryable,running,scheduled}', kind, queue, tag, older_than,
        newer_than, args, error, max_jobs);
END;
COMMENT ON FUNCTION /* TEMPLATE: schema */cancel_jobs IS
    'Cancels the jobs that a filter means (see find_jobs), as cancel_job does; of all unfinished states unless states says otherwise. '
    'Returns a row a job. At least one part of the filter must be given; jobs that another transaction holds are passed over, and max_jobs (at most 10,000) bounds the call.';

CREATE FUNCTION /* TEMPLATE: schema */retry_jobs(
    states text[] DEFAULT NULL,
    kind text DEFAULT NULL,
    queue text DEFAULT NULL,
    tag text DEFAULT NULL,
    older_than interval DEFAULT NULL,
    newer_than interval DEFAULT NULL,
    args jsonb DEFAULT NULL,
    error text DEFAULT NULL,
    max_jobs integer DEFAULT 1000,
    OUT id bigint, OUT state text, OUT changed boolean, OUT note text) RETURNS SETOF record
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT * FROM /* TEMPLATE: schema */act_on_jobs('retry_jobs', states, '{discarded,retryable}', kind, queue, tag, older_than,
        newer_than, args, error, max_jobs);
END;
COMMENT ON FUNCTION /* TEMPLATE: schema */retry_jobs IS
    'Makes the jobs that a filter means (see find_jobs) available now, as retry_job does; of the failed ones (discarded and retryable) unless states says otherwise. A job whose unique key another one holds is left alone. '
    'Returns a row a job. At least one part of the filter must be given; jobs that another transaction holds are passed over, and max_jobs (at most 10,000) bounds the call.';

CREATE FUNCTION /* TEMPLATE: schema */delete_jobs(
    states text[] DEFAULT NULL,
    kind text DEFAULT NULL,
    queue text DEFAULT NULL,
    tag text DEFAULT NULL,
    older_than interval DEFAULT NULL,
    newer_than interval DEFAULT NULL,
    args jsonb DEFAULT NULL,
    error text DEFAULT NULL,
    max_jobs integer DEFAULT 1000,
    OUT id bigint, OUT state text, OUT changed boolean, OUT note text) RETURNS SETOF record
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT * FROM /* TEMPLATE: schema */act_on_jobs('delete_jobs', states, '{cancelled,completed,discarded}', kind, queue, tag, older_than,
        newer_than, args, error, max_jobs);
END;
COMMENT ON FUNCTION /* TEMPLATE: schema */delete_jobs IS
    'Deletes the jobs that a filter means (see find_jobs), as delete_job does; of the finished ones unless states says otherwise. Running jobs stay. '
    'Returns a row a job. At least one part of the filter must be given; jobs that another transaction holds are passed over, and max_jobs (at most 10,000) bounds the call.';

REVOKE ALL ON FUNCTION
    /* TEMPLATE: schema */matching_jobs, /* TEMPLATE: schema */find_jobs, /* TEMPLATE: schema */act_on_jobs, /* TEMPLATE: schema */cancel_jobs,
    /* TEMPLATE: schema */retry_jobs, /* TEMPLATE: schema */delete_jobs
FROM PUBLIC;
SELECT /* TEMPLATE: schema */pin_search_path();
