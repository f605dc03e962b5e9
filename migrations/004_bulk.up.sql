-- Operating on many jobs by a filter: find_jobs, cancel_jobs, retry_jobs, delete_jobs.
--
-- Locks: new functions only.

-- The conditions are put together at run time, so that each combination gets a plan of its own: one plan for all of
-- them would walk whole tables. Nothing but fixed text is put together; the values are parameters.
--
-- What no index answers is compared row by row, with the newest 100,000 rows of each side and no more, so that a filter
-- that nothing matches takes a moment on any history. A notice says when that was not all.
CREATE FUNCTION /* TEMPLATE: schema */matching_jobs(states text[], kinds text[], queues text[], tags text[], older_than interval, newer_than interval,
    args jsonb, error text, max_jobs integer, ids bigint[], after_id bigint, after_finished timestamptz)
    RETURNS TABLE (id bigint, state text, at timestamptz)
    LANGUAGE plpgsql STABLE
    ROWS 1000
    SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    all_states constant text[] := '{available,cancelled,completed,discarded,pending,retryable,running,scheduled}';
    final_states constant text[] := '{cancelled,completed,discarded}';
    look constant integer := 100000;
    wanted constant text[] := coalesce(states, all_states);
    by_row constant boolean := ids IS NULL AND num_nonnulls(kinds, queues, tags, args, error) > 0;
    conditions text := '';
    near text := '';
    rows text;
    left_over integer := max_jobs;
    beyond boolean;
    next_at timestamptz;
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
    IF kinds IS NOT NULL THEN conditions := conditions || ' AND j.kind = ANY ($2)'; END IF;
    IF queues IS NOT NULL THEN conditions := conditions || ' AND j.queue = ANY ($3)'; END IF;
    IF tags IS NOT NULL THEN conditions := conditions || ' AND $4 && j.tags::text[]'; END IF;
    IF args IS NOT NULL THEN conditions := conditions || ' AND j.args @> $7'; END IF;
    IF error IS NOT NULL THEN
        conditions := conditions || ' AND position(lower($8) IN lower(j.errors[cardinality(j.errors)] ->> ''error'')) > 0';
    END IF;
    IF older_than IS NOT NULL THEN near := near || ' AND at < now() - $5'; END IF;
    IF newer_than IS NOT NULL THEN near := near || ' AND at >= now() - $6'; END IF;
    IF ids IS NOT NULL THEN near := near || ' AND id = ANY ($10)'; END IF;

    -- Two sides, each by the index it has: unfinished jobs by id, finished ones in either table by when they ended. The
    -- states are written out, because only constants bring partial indexes and single partitions into the plan.
    FOR source IN
        SELECT * FROM (VALUES
            (false, 'created_at', 'id DESC', ' AND id < $11'),
            (true, 'finalized_at', 'at DESC, id DESC', ' AND (at, id) < ($12, $11)')
        ) AS sources (final, moment, ordering, beyond)
    LOOP
        SELECT string_agg(quote_literal(s), ', ') INTO part FROM unnest(wanted) s WHERE (s = ANY (final_states)) = source.final;
        CONTINUE WHEN part IS NULL OR left_over = 0 OR NOT source.final AND after_finished IS NOT NULL;
        -- Both tables without a condition, and the conditions around them: only so is a UNION ALL walked along the indexes
        -- of both; otherwise all of it would be sorted.
        rows := format('SELECT id, state, kind, queue, tags, args, errors, %I AS at FROM /* TEMPLATE: schema */', source.moment);
        rows := 'SELECT * FROM (' || rows || 'river_job' || CASE WHEN source.final THEN ' UNION ALL ' || rows || 'job_history' ELSE '' END
            || ') both_tables WHERE state IN (' || part || ')' || near || CASE WHEN source.final THEN ' AND at IS NOT NULL' ELSE '' END
            || CASE WHEN after_id IS NOT NULL AND source.final = (after_finished IS NOT NULL) THEN source.beyond ELSE '' END
            || ' ORDER BY ' || source.ordering;
        -- One row more than are looked at is read, so that what was left out is known without a second look. They are
        -- numbered in the order in which they come anyway; said so, it spares sorting them again.
        next_at := NULL;
        FOR id, state, at, beyond IN EXECUTE
            'SELECT j.id, j.state::text, j.at, j.n > ' || look || ' FROM (SELECT r.*, '
            || CASE WHEN by_row THEN 'row_number() OVER (ORDER BY ' || source.ordering || ') FROM (' || rows || ' LIMIT ' || look + 1
                ELSE '0 FROM (' || rows || ' LIMIT ' || CASE WHEN ids IS NOT NULL THEN cardinality(ids) ELSE left_over END END
            || ') r) j(id, state, kind, queue, tags, args, errors, at, n) WHERE j.n > ' || look || ' OR true' || conditions
            || ' ORDER BY ' || source.ordering || ' LIMIT $9'
            USING wanted, kinds, queues, tags, older_than, newer_than, args, error, left_over, ids, after_id, after_finished
        LOOP
            IF beyond THEN
                next_at := at;
            ELSE
                RETURN NEXT;
                left_over := left_over - 1;
            END IF;
        END LOOP;
        IF next_at IS NOT NULL THEN
            RAISE NOTICE 'only the newest % % jobs were looked at, back to %', look, CASE WHEN source.final THEN 'finished' ELSE 'unfinished' END,
                /* TEMPLATE: schema */shown(next_at)
                USING HINT = 'Ask for one state, or for older jobs alone, to look farther.';
        END IF;
    END LOOP;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */matching_jobs(text[], text[], text[], text[], interval, interval, jsonb, text, integer, bigint[], bigint, timestamptz) IS
    'Internal: the jobs that a filter means: unfinished ones, then finished ones, the newest of each first.';

CREATE FUNCTION /* TEMPLATE: schema */any_of(single text, several text[]) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN single IS NULL THEN several ELSE array_append(several, single) END;
COMMENT ON FUNCTION /* TEMPLATE: schema */any_of(text, text[]) IS 'Internal: a value and a list of them as one list; NULL when both are.';

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
    ids bigint[] DEFAULT NULL,
    after_id bigint DEFAULT NULL,
    after_finished timestamptz DEFAULT NULL,
    kinds text[] DEFAULT NULL,
    queues text[] DEFAULT NULL,
    tags text[] DEFAULT NULL,
    OUT id bigint, OUT state text, OUT at timestamptz) RETURNS SETOF record
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT * FROM /* TEMPLATE: schema */matching_jobs(states, /* TEMPLATE: schema */any_of(kind, kinds), /* TEMPLATE: schema */any_of(queue, queues), /* TEMPLATE: schema */any_of(tag, tags),
        older_than, newer_than, args, error, max_jobs, ids, after_id, after_finished);
END;
COMMENT ON FUNCTION /* TEMPLATE: schema */find_jobs IS
    'Ids of jobs by a filter, unfinished ones before finished ones and the newest of each first, up to max_jobs (at most 10,000), and when each finished or, unfinished, was enqueued: in one of the states, of the kind or one of the kinds, in the queue or one of the queues, with the tag or one of the tags; finished, or if unfinished enqueued, longer ago than older_than or not longer ago than newer_than; whose args contain the given ones; whose last error contains the text, in any case; of the ids. '
    'The next page comes after the last job of this one: after_id, and after_finished (its at) if that one had finished. '
    'Kinds, queues, tags, args and errors are compared row by row, with the newest 100,000 unfinished and as many finished jobs of the states and the time window; a notice says when there were more.';

CREATE FUNCTION /* TEMPLATE: schema */act_on_jobs(action text, states text[], default_states text[], kinds text[], queues text[], tags text[],
    older_than interval, newer_than interval, args jsonb, error text, max_jobs integer, given_ids bigint[])
    RETURNS TABLE (id bigint, state text, changed boolean, note text)
    LANGUAGE plpgsql
    SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    filter constant jsonb := jsonb_strip_nulls(jsonb_build_object('states', to_jsonb(states),
        'kind', CASE cardinality(kinds) WHEN 1 THEN to_jsonb(kinds[1]) ELSE to_jsonb(kinds) END,
        'queue', CASE cardinality(queues) WHEN 1 THEN to_jsonb(queues[1]) ELSE to_jsonb(queues) END,
        'tag', CASE cardinality(tags) WHEN 1 THEN to_jsonb(tags[1]) ELSE to_jsonb(tags) END,
        'older_than', older_than, 'newer_than', newer_than, 'args', args, 'error', error,
        -- Which ones is in the records of the jobs themselves.
        'ids', cardinality(given_ids)));
    ids bigint[];
    call bigint;
BEGIN
    IF filter = '{}' THEN
        RAISE EXCEPTION '% needs a filter', action USING ERRCODE = 'invalid_parameter_value', COLUMN = 'states',
            DETAIL = 'Without one it would mean every job.', HINT = 'Say which jobs, as in states => ''{discarded}'' or kind => ''mail.send''.';
    END IF;
    SELECT array_agg(m.id) INTO ids FROM /* TEMPLATE: schema */matching_jobs(coalesce(states, default_states), kinds, queues, tags, older_than,
        newer_than, args, error, max_jobs, given_ids, NULL, NULL) m;

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
COMMENT ON FUNCTION /* TEMPLATE: schema */act_on_jobs(text, text[], text[], text[], text[], text[], interval, interval, jsonb, text, integer, bigint[]) IS
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
    ids bigint[] DEFAULT NULL,
    kinds text[] DEFAULT NULL,
    queues text[] DEFAULT NULL,
    tags text[] DEFAULT NULL,
    OUT id bigint, OUT state text, OUT changed boolean, OUT note text) RETURNS SETOF record
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT * FROM /* TEMPLATE: schema */act_on_jobs('cancel_jobs', states, '{available,pending,retryable,running,scheduled}', /* TEMPLATE: schema */any_of(kind, kinds), /* TEMPLATE: schema */any_of(queue, queues),
        /* TEMPLATE: schema */any_of(tag, tags), older_than,
        newer_than, args, error, max_jobs, ids);
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
    ids bigint[] DEFAULT NULL,
    kinds text[] DEFAULT NULL,
    queues text[] DEFAULT NULL,
    tags text[] DEFAULT NULL,
    OUT id bigint, OUT state text, OUT changed boolean, OUT note text) RETURNS SETOF record
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT * FROM /* TEMPLATE: schema */act_on_jobs('retry_jobs', states, '{discarded,retryable}', /* TEMPLATE: schema */any_of(kind, kinds), /* TEMPLATE: schema */any_of(queue, queues),
        /* TEMPLATE: schema */any_of(tag, tags), older_than,
        newer_than, args, error, max_jobs, ids);
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
    ids bigint[] DEFAULT NULL,
    kinds text[] DEFAULT NULL,
    queues text[] DEFAULT NULL,
    tags text[] DEFAULT NULL,
    OUT id bigint, OUT state text, OUT changed boolean, OUT note text) RETURNS SETOF record
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT * FROM /* TEMPLATE: schema */act_on_jobs('delete_jobs', states, '{cancelled,completed,discarded}', /* TEMPLATE: schema */any_of(kind, kinds), /* TEMPLATE: schema */any_of(queue, queues),
        /* TEMPLATE: schema */any_of(tag, tags), older_than,
        newer_than, args, error, max_jobs, ids);
END;
COMMENT ON FUNCTION /* TEMPLATE: schema */delete_jobs IS
    'Deletes the jobs that a filter means (see find_jobs), as delete_job does; of the finished ones unless states says otherwise. Running jobs stay. '
    'Returns a row a job. At least one part of the filter must be given; jobs that another transaction holds are passed over, and max_jobs (at most 10,000) bounds the call.';

REVOKE ALL ON FUNCTION
    /* TEMPLATE: schema */any_of, /* TEMPLATE: schema */matching_jobs, /* TEMPLATE: schema */find_jobs, /* TEMPLATE: schema */act_on_jobs, /* TEMPLATE: schema */cancel_jobs,
    /* TEMPLATE: schema */retry_jobs, /* TEMPLATE: schema */delete_jobs
FROM PUBLIC;
SELECT /* TEMPLATE: schema */pin_search_path();
