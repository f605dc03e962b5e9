-- Probes at work: defining and operating them, taking what is due, keeping what it gave.
--
-- Locks: new functions only.

--
-- Define
--
CREATE FUNCTION /* TEMPLATE: schema */full_probe(d jsonb) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
    -- As full_definition: with all defaults, and in one form. A comparison is to find nothing, unless it is said otherwise.
    RETURN (SELECT '{"description": "", "key_columns": [], "empty_is_fine": false, "examples": 10}'
            || jsonb_build_object('timeout', CASE WHEN jsonb_typeof(d -> 'every') = 'number' THEN least(10, (d ->> 'every')::numeric) ELSE 10 END)
            || CASE WHEN f.given ? 'compare_with' AND NOT f.given ?| '{alert_above,alert_below}' THEN '{"alert_above": 0}' ELSE '{}'::jsonb END || f.given
        FROM (SELECT coalesce(jsonb_object_agg(key, CASE WHEN key IN ('query', 'compare_with') THEN to_jsonb(regexp_replace(value #>> '{}', '[\s;]+$', '')) ELSE value END), '{}') AS given
            FROM jsonb_each(d) WHERE value NOT IN ('null', '""') OR key = 'description') f);
COMMENT ON FUNCTION /* TEMPLATE: schema */full_probe(jsonb) IS 'Internal: the definition of a probe with its defaults, in one form.';

CREATE FUNCTION /* TEMPLATE: schema */probe_fault(name text, d jsonb) RETURNS text[]
    LANGUAGE plpgsql STABLE
AS $$
DECLARE
    every constant double precision := (d ->> 'every')::double precision;
    timeout constant double precision := (d ->> 'timeout')::double precision;
    columns constant text[] := ARRAY(SELECT jsonb_array_elements_text(d -> 'key_columns'));
    field text;
BEGIN
    IF name IS NULL OR octet_length(name) > 200 OR name !~ '^[A-Za-z0-9_]([A-Za-z0-9_ .:/-]*[A-Za-z0-9_])?$' THEN
        RETURN ARRAY['name', 'name ' || coalesce(/* TEMPLATE: schema */shown(name), 'NULL')
            || ' must have 1 to 200 characters, letters, digits, spaces or _.:/-, and begin and end with a letter, a digit or _',
            'name it as in "orders a day" or "shop/orders"'];
    END IF;
    FOR field IN SELECT k FROM jsonb_object_keys(d) k LOOP
        IF field <> ALL ('{query,every,compare_with,description,timeout,role,key_columns,empty_is_fine,alert_above,alert_below,examples}') THEN
            RETURN ARRAY[field, 'a probe has no property ' || /* TEMPLATE: schema */shown(field), 'the properties are the parameters of put_probe'];
        END IF;
    END LOOP;
    FOREACH field IN ARRAY '{query,compare_with}'::text[] LOOP
        CONTINUE WHEN field = 'compare_with' AND NOT d ? field;
        IF coalesce(d ->> field, '') !~* '^(\s|--[^\n]*(\n|$)|/\*([^*]|\*[^/])*\*/|\()*(select|with|values|table)\y' THEN
            RETURN ARRAY[field, field || ' ' || coalesce(/* TEMPLATE: schema */shown(d ->> field), 'NULL') || ' is no query', 'write one statement that reads, such as SELECT count(*) FROM shop.orders'];
        END IF;
        IF octet_length(d ->> field) > 65536 THEN
            RETURN ARRAY[field, field || ' has ' || octet_length(d ->> field) || ' bytes', 'write at most 65536, or make a view of it'];
        END IF;
    END LOOP;
    IF every IS NULL OR every < 1 OR every > 366 * 86400 THEN
        RETURN ARRAY['every', 'every ' || coalesce(make_interval(secs => every)::text, 'NULL') || ' must be from one second to 366 days', 'give an interval such as 5 minutes'];
    END IF;
    IF timeout <= 0 OR timeout > least(every, 3600) THEN
        RETURN ARRAY['timeout', 'timeout ' || make_interval(secs => timeout) || ' must be more than nothing, and no more than every, ' || make_interval(secs => every) || ', or an hour',
            'give a length of time such as 10 seconds'];
    END IF;
    IF octet_length(d ->> 'role') > 63 THEN
        RETURN ARRAY['role', 'role ' || /* TEMPLATE: schema */shown(d ->> 'role') || ' is longer than 63 bytes', 'name a role of the database'];
    END IF;
    IF cardinality(columns) > 16 OR '' = ANY (columns) OR cardinality(columns) <> (SELECT count(DISTINCT c) FROM unnest(columns) c) THEN
        RETURN ARRAY['key_columns', 'key_columns ' || columns::text || ' must be up to 16 names, each once', 'name columns of the query, such as {region}'];
    END IF;
    IF NOT (d ->> 'examples')::integer BETWEEN 0 AND 100 THEN
        RETURN ARRAY['examples', 'examples ' || (d ->> 'examples') || ' must be from 0 to 100', 'give how many of each kind are kept, such as 10'];
    END IF;
    FOREACH field IN ARRAY '{alert_above,alert_below}'::text[] LOOP
        IF (d ->> field)::double precision IN ('NaN', 'Infinity', '-Infinity') THEN
            RETURN ARRAY[field, field || ' ' || (d ->> field) || ' is no limit', 'give a number, or leave it out for no limit'];
        END IF;
    END LOOP;
    IF (d ->> 'alert_above')::double precision < (d ->> 'alert_below')::double precision THEN
        RETURN ARRAY['alert_above', 'alert_above ' || (d ->> 'alert_above') || ' is below alert_below ' || (d ->> 'alert_below') || ', so that every value would be beyond', 'exchange them'];
    END IF;
    RETURN NULL;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */probe_fault(text, jsonb) IS 'Internal: what is wrong with the definition of a probe, or NULL. What the query means is judged by check_probe_query.';

-- It runs with the rights of who calls, never the owner's. A cursor takes one statement, so nothing can follow the query;
-- opening one of EXPLAIN analyzes it and goes no further.
CREATE FUNCTION /* TEMPLATE: schema */check_probe_query(query text, compare_with text, key_columns text[]) RETURNS void
    LANGUAGE plpgsql
AS $$
DECLARE
    explain constant text := 'EXPLAIN (ANALYZE false) ';
    one text;
    name text;
    plan refcursor;
BEGIN
    FOREACH one IN ARRAY array_remove(ARRAY[check_probe_query.query, check_probe_query.compare_with], NULL) LOOP
        BEGIN
            OPEN plan FOR EXECUTE explain || one; -- that it is a statement
            CLOSE plan;
            OPEN plan FOR EXECUTE explain || format(E'SELECT FROM (\n%s\n) AS q', one); -- and a query
            CLOSE plan;
        EXCEPTION
            WHEN insufficient_privilege THEN
                CONTINUE; -- the role that it runs under may see more
            WHEN invalid_cursor_definition THEN
                RAISE EXCEPTION 'a probe''s query is one statement, and "%" holds more', left(one, 64) USING ERRCODE = 'invalid_parameter_value', COLUMN = 'query',
                    HINT = 'Leave out what is behind the first semicolon.';
        END;
        FOREACH name IN ARRAY check_probe_query.key_columns LOOP
            BEGIN
                OPEN plan FOR EXECUTE explain || format(E'SELECT q.%I FROM (\n%s\n) AS q', name, one);
                CLOSE plan;
            EXCEPTION WHEN undefined_column THEN
                RAISE EXCEPTION 'key column "%" is none of %', name, CASE WHEN one = check_probe_query.query THEN 'the query' ELSE 'the query compared with' END
                    USING ERRCODE = 'invalid_parameter_value', COLUMN = 'key_columns', HINT = 'Name columns of the result.';
            END;
        END LOOP;
    END LOOP;
    IF check_probe_query.compare_with IS NOT NULL THEN
        BEGIN
            OPEN plan FOR EXECUTE explain || format(E'SELECT * FROM (\n%s\n) AS q UNION ALL SELECT * FROM (\n%s\n) AS q', check_probe_query.query, check_probe_query.compare_with);
            CLOSE plan;
        EXCEPTION
            WHEN insufficient_privilege THEN
                NULL;
            WHEN syntax_error OR datatype_mismatch OR cannot_coerce THEN
                RAISE EXCEPTION 'the two queries have different columns: %', SQLERRM USING ERRCODE = 'invalid_parameter_value', COLUMN = 'compare_with',
                    HINT = 'Select the same columns in the same order, with the same types.';
        END;
    END IF;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */check_probe_query(text, text, text[]) IS
    'Fails as Postgres does if it would not run a probe''s query, and with 22023 if the two of a comparison do not fit each other. Neither plans nor runs them. put_probe calls it.';

CREATE FUNCTION /* TEMPLATE: schema */probe_write(probe text, new_code jsonb, new_edited jsonb) RETURNS boolean
    LANGUAGE plpgsql
AS $$
DECLARE
    old record;
    before jsonb;
    holds constant jsonb := coalesce(new_edited, new_code);
    moment constant timestamptz := clock_timestamp();
    anew boolean;
BEGIN
    INSERT INTO /* TEMPLATE: schema */probe AS p (name, code, edited) VALUES (probe_write.probe, new_code, new_edited) ON CONFLICT (name) DO NOTHING;
    IF FOUND THEN
        RETURN true;
    END IF;
    SELECT * INTO old FROM /* TEMPLATE: schema */probe p WHERE p.name = probe_write.probe FOR UPDATE;
    IF old.code IS NOT DISTINCT FROM new_code AND old.edited IS NOT DISTINCT FROM new_edited THEN
        RETURN false;
    END IF;
    before := coalesce(old.edited, old.code);
    -- What another query gave says nothing about this one, nor does the end of a run that has begun.
    anew := EXISTS (SELECT FROM unnest('{query,compare_with,key_columns,role}'::text[]) AS f (field) WHERE before -> field IS DISTINCT FROM holds -> field);
    UPDATE /* TEMPLATE: schema */probe p SET code = new_code, edited = new_edited,
        due = CASE WHEN before - 'description' = holds - 'description' OR p.paused_at IS NOT NULL THEN p.due ELSE moment END,
        watched_since = CASE WHEN before -> 'every' = holds -> 'every' AND NOT anew THEN p.watched_since ELSE moment END
    WHERE p.name = probe_write.probe;
    IF anew THEN
        UPDATE /* TEMPLATE: schema */probe p SET run = p.run + 1, claimed_until = NULL, outcome = NULL, value = NULL, detail = NULL, last_ok_at = NULL,
            missing = NULL, extra = NULL, differing = NULL, examples = NULL,
            status = CASE WHEN p.paused_at IS NULL THEN 'pending' ELSE p.status END, status_since = CASE WHEN p.paused_at IS NULL THEN moment ELSE p.status_since END
        WHERE p.name = probe_write.probe;
    END IF;
    RETURN true;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */probe_write(text, jsonb, jsonb) IS 'Internal: gives a probe its definitions; false if it has them already.';

CREATE FUNCTION /* TEMPLATE: schema */probe_must_be(probe text) RETURNS /* TEMPLATE: schema */probe
    LANGUAGE plpgsql
AS $$
DECLARE
    row record;
BEGIN
    SELECT * INTO row FROM /* TEMPLATE: schema */probe p WHERE p.name = probe_must_be.probe FOR UPDATE;
    IF row.name IS NULL THEN
        RAISE EXCEPTION 'probe % does not exist', coalesce(/* TEMPLATE: schema */shown(probe), 'NULL') USING ERRCODE = 'no_data_found',
            HINT = 'The view probes lists them.';
    END IF;
    RETURN row;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */probe_must_be(text) IS 'Internal: locks a probe, or fails.';

CREATE FUNCTION /* TEMPLATE: schema */define_probe(probe text, definition jsonb) RETURNS TABLE (name text, changed boolean, holds text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    fault text[];
    old record;
    done boolean;
BEGIN
    IF jsonb_typeof(definition) <> 'object' THEN
        RAISE EXCEPTION 'definition must be a JSON object, not %', jsonb_typeof(definition) USING ERRCODE = 'invalid_parameter_value', COLUMN = 'definition',
            DETAIL = format('Parameter definition of define_probe for %s.', coalesce(/* TEMPLATE: schema */shown(probe), 'NULL')), HINT = 'Its properties are the parameters of put_probe.';
    END IF;
    definition := /* TEMPLATE: schema */full_probe(coalesce(definition, '{}'));
    fault := /* TEMPLATE: schema */probe_fault(probe, definition);
    IF fault IS NOT NULL THEN
        PERFORM /* TEMPLATE: schema */raise_fault(fault, 'Field %s of probe ' || coalesce(/* TEMPLATE: schema */shown(probe), 'NULL') || '.');
    END IF;
    SELECT * INTO old FROM /* TEMPLATE: schema */probe p WHERE p.name = define_probe.probe FOR UPDATE;
    done := /* TEMPLATE: schema */probe_write(probe, old.code, definition);
    IF done THEN
        UPDATE /* TEMPLATE: schema */probe p SET edited_at = clock_timestamp(), edited_by = /* TEMPLATE: schema */acting()
            WHERE p.name = define_probe.probe;
        PERFORM /* TEMPLATE: schema */audit_action('put_probe', 'probe ' || probe, jsonb_build_object('definition', definition, 'before', coalesce(old.edited, old.code)));
    END IF;
    RETURN QUERY SELECT probe, done, 'edited';
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */define_probe(text, jsonb) IS
    'put_probe with the definition as a JSON object: its properties are the parameters of put_probe, with lengths of time in seconds. The query is not looked at until it runs; check_probe_query does that.';

CREATE FUNCTION /* TEMPLATE: schema */put_probe(
    probe text,
    query text,
    every interval,
    compare_with text DEFAULT NULL,
    description text DEFAULT '',
    timeout interval DEFAULT NULL,
    role text DEFAULT NULL,
    key_columns text[] DEFAULT '{}',
    empty_is_fine boolean DEFAULT false,
    alert_above double precision DEFAULT NULL,
    alert_below double precision DEFAULT NULL,
    examples integer DEFAULT 10,
    OUT name text, OUT changed boolean, OUT holds text)
    LANGUAGE plpgsql
AS $$
DECLARE
    d constant jsonb := jsonb_build_object('query', query, 'every', extract(epoch FROM every), 'compare_with', compare_with, 'description', coalesce(description, ''),
        'timeout', extract(epoch FROM timeout), 'role', role, 'key_columns', key_columns, 'empty_is_fine', empty_is_fine, 'alert_above', alert_above,
        'alert_below', alert_below, 'examples', examples);
BEGIN
    SELECT p.name, p.changed, p.holds INTO name, changed, holds FROM /* TEMPLATE: schema */define_probe(probe, d) p;
    PERFORM /* TEMPLATE: schema */check_probe_query(regexp_replace(query, '[\s;]+$', ''), regexp_replace(compare_with, '[\s;]+$', ''), key_columns);
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */put_probe IS
    'Defines a probe, or changes it: the leader runs the query every so often, under a role of the database, in a transaction that only reads, and keeps its numbers as series. '
    'compare_with: a second query with the same columns; the series are then missing (rows that only the first has), extra (only the second) and differing (same key_columns, other values). '
    'key_columns: the columns that name a series, or identify a row; left out, those that are no numbers, and of a comparison all. timeout: how long a run may take, 10 seconds unless said otherwise. '
    'role: one that the leader''s TOWPATH_PROBES_ROLES allows; left out, the first of them. A query that returns nothing makes the probe empty unless empty_is_fine. A value above alert_above or below alert_below '
    'makes it beyond; a comparison without limits has alert_above 0. examples: how many of each difference are kept. '
    'The query is analyzed and not run: errors are Postgres'' own. changed is false if it was so already. Fails with 22023 and names the field.';

CREATE FUNCTION /* TEMPLATE: schema */revert_probe(probe text, OUT name text, OUT changed boolean, OUT holds text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old constant record := /* TEMPLATE: schema */probe_must_be(probe);
BEGIN
    IF old.code IS NULL THEN
        RAISE EXCEPTION 'probe % is not defined in code', /* TEMPLATE: schema */shown(probe) USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'There is nothing to go back to; put_probe changes it, delete_probe deletes it.';
    END IF;
    name := probe;
    holds := 'code';
    changed := /* TEMPLATE: schema */probe_write(probe, old.code, NULL);
    IF changed THEN
        UPDATE /* TEMPLATE: schema */probe p SET edited_at = NULL, edited_by = NULL WHERE p.name = revert_probe.probe;
        PERFORM /* TEMPLATE: schema */audit_action('revert_probe', 'probe ' || probe, jsonb_build_object('before', old.edited));
    END IF;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */revert_probe(text) IS 'Goes back to the definition in code. Fails with 55000 if there is none, with P0002 if there is no such probe.';

CREATE FUNCTION /* TEMPLATE: schema */delete_probe(probe text, OUT name text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old constant record := /* TEMPLATE: schema */probe_must_be(probe);
BEGIN
    IF old.code IS NOT NULL THEN
        RAISE EXCEPTION 'probe % is defined in code and would come back', /* TEMPLATE: schema */shown(probe) USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Pause it, or take it out of the code; revert_probe undoes what was edited.';
    END IF;
    DELETE FROM /* TEMPLATE: schema */probe p WHERE p.name = delete_probe.probe;
    name := probe;
    PERFORM /* TEMPLATE: schema */audit_action('delete_probe', 'probe ' || probe, jsonb_build_object('before', old.edited));
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */delete_probe(text) IS 'Deletes a probe with its values and events. Fails with 55000 if it is defined in code, with P0002 if there is no such probe.';

--
-- Operate
--
CREATE FUNCTION /* TEMPLATE: schema */pause_probe(probe text, reason text DEFAULT NULL, OUT name text, OUT paused_at timestamptz, OUT changed boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old constant record := /* TEMPLATE: schema */probe_must_be(probe);
BEGIN
    name := probe;
    changed := old.paused_at IS NULL;
    paused_at := coalesce(old.paused_at, clock_timestamp());
    IF changed THEN
        UPDATE /* TEMPLATE: schema */probe p SET paused_at = pause_probe.paused_at, paused_by = /* TEMPLATE: schema */acting(),
            pause_reason = reason, due = NULL, status = 'paused', status_since = pause_probe.paused_at
        WHERE p.name = pause_probe.probe;
        PERFORM /* TEMPLATE: schema */audit_action('pause_probe', 'probe ' || probe, jsonb_build_object('reason', reason));
    END IF;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */pause_probe(text, text) IS
    'Stops a probe from running; a run that has begun goes on. changed is false if it was paused already. Fails with P0002 if there is no such probe.';

CREATE FUNCTION /* TEMPLATE: schema */resume_probe(probe text, OUT name text, OUT changed boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old constant record := /* TEMPLATE: schema */probe_must_be(probe);
    moment constant timestamptz := clock_timestamp();
BEGIN
    name := probe;
    changed := old.paused_at IS NOT NULL;
    IF changed THEN
        UPDATE /* TEMPLATE: schema */probe p SET paused_at = NULL, paused_by = NULL, pause_reason = NULL, due = moment, watched_since = moment,
            outcome = NULL, status = 'pending', status_since = moment
        WHERE p.name = resume_probe.probe;
        PERFORM /* TEMPLATE: schema */audit_action('resume_probe', 'probe ' || probe, jsonb_build_object('paused_at', old.paused_at));
    END IF;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */resume_probe(text) IS 'Lets a paused probe run again, at once and then every so often. changed is false if it was not paused. Fails with P0002 if there is no such probe.';

CREATE FUNCTION /* TEMPLATE: schema */run_probe(probe text, OUT name text, OUT run bigint)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old constant record := /* TEMPLATE: schema */probe_must_be(probe);
BEGIN
    UPDATE /* TEMPLATE: schema */probe p SET asked_at = clock_timestamp(), due = least(p.due, clock_timestamp()) WHERE p.name = run_probe.probe;
    name := probe;
    run := old.run + 1;
    PERFORM /* TEMPLATE: schema */audit_action('run_probe', 'probe ' || probe, jsonb_build_object('run', run));
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */run_probe(text) IS
    'Has the leader run a probe now, even a paused one, and after the run that is under way. run is its number: it has ended when last_run in the view probes has reached that. Fails with P0002 if there is no such probe.';

REVOKE ALL ON FUNCTION /* TEMPLATE: schema */full_probe, /* TEMPLATE: schema */probe_fault, /* TEMPLATE: schema */check_probe_query, /* TEMPLATE: schema */probe_write, /* TEMPLATE: schema */probe_must_be, /* TEMPLATE: schema */define_probe,
    /* TEMPLATE: schema */put_probe, /* TEMPLATE: schema */revert_probe, /* TEMPLATE: schema */delete_probe, /* TEMPLATE: schema */pause_probe, /* TEMPLATE: schema */resume_probe, /* TEMPLATE: schema */run_probe FROM PUBLIC;
SELECT /* TEMPLATE: schema */pin_search_path();
SELECT /* TEMPLATE: schema */grant_roles();
