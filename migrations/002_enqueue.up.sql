-- Enqueueing from SQL: towpath.enqueue and towpath.enqueue_many.
--
-- They insert into river_job as River's client does, with the same checks, the same unique keys and the same
-- notifications, in the transaction of the caller. A caller needs EXECUTE on them and nothing else: they run with the
-- rights of their owner.
--
-- Locks: new functions only.

--
-- Checks
--
-- A check returns NULL or three texts: the parameter at fault, the message and the hint. The functions of one
-- expression have no subqueries, so that Postgres writes them out in place: checking a job costs about two microseconds.
-- The internal functions set no search_path: only enqueue and enqueue_many call them, which do.
--
CREATE FUNCTION /* TEMPLATE: schema */tags_fault(tags text[]) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
DECLARE
    tag text;
BEGIN
    FOREACH tag IN ARRAY tags LOOP
        IF tag IS NULL OR octet_length(tag) > 255 OR tag !~ '^[A-Za-z0-9_][A-Za-z0-9_-]+[A-Za-z0-9_]$' THEN
            RETURN ARRAY['tags',
                'tag ' || coalesce(/* TEMPLATE: schema */shown(tag), 'NULL')
                    || ' must have 3 to 255 characters, letters, digits, _ or -, and not begin or end with -',
                'Put free text into the metadata or the args.'];
        END IF;
    END LOOP;
    RETURN NULL;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */tags_fault(text[]) IS 'Internal: what is wrong with the tags of a job, or NULL.';

CREATE FUNCTION /* TEMPLATE: schema */args_fault(kind text, args json) RETURNS text[]
    LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
BEGIN
    RETURN NULL; -- until 017, which knows schemas of kinds
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */args_fault(text, json) IS 'Internal: why args do not fit the schema of a kind that is checked, or NULL.';

CREATE FUNCTION /* TEMPLATE: schema */job_fault(kind text, args json, queue text, priority integer, scheduled_at timestamptz,
    max_attempts integer, tags text[], metadata json) RETURNS text[]
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE
        WHEN kind IS NULL THEN ARRAY['kind',
            'kind must be given', 'The kind names the worker that runs the job, as in ''mail.send''.']
        WHEN char_length(kind) NOT BETWEEN 2 AND 127 OR kind !~ '^[A-Za-z0-9_][A-Za-z0-9_<>/.·:+[\]-]+$' THEN ARRAY['kind',
            'kind ' || /* TEMPLATE: schema */shown(kind)
                || ' must have 2 to 127 characters, letters, digits or _-[]<>/.·:+, and begin with a letter, a digit or _',
            'Name kinds without spaces, as in ''mail.send''.']
        WHEN octet_length(queue) NOT BETWEEN 1 AND 64 OR queue !~ '^[a-z0-9]+([_|-][a-z0-9]+)*$' THEN ARRAY['queue',
            'queue ' || /* TEMPLATE: schema */shown(queue)
                || ' must have 1 to 64 characters, lower-case letters and digits, parted by single _ or -',
            'Name queues as in ''default'' or ''slow-mail''.']
        WHEN priority NOT BETWEEN 1 AND 4 THEN ARRAY['priority',
            'priority ' || priority || ' must be from 1 to 4', '1 is fetched first, 4 last.']
        WHEN max_attempts NOT BETWEEN 1 AND 32767 THEN ARRAY['max_attempts',
            'max_attempts ' || max_attempts || ' must be from 1 to 32767', '1 means that a job that fails is not tried again.']
        WHEN scheduled_at < '2000-01-01 00:00:00+00' OR scheduled_at >= '2200-01-01 00:00:00+00' THEN ARRAY['scheduled_at',
            'scheduled_at ' || /* TEMPLATE: schema */shown(scheduled_at) || ' must be from 2000-01-01 to 2199-12-31',
            'Leave it out for a job that may start now; a Unix time counts seconds, not milliseconds.']
        WHEN json_typeof(args) <> 'object' THEN ARRAY['args',
            'args must be a JSON object, not ' || json_typeof(args), 'Wrap the value, as in {"value": 1}.']
        WHEN octet_length(args::text) > 65536 THEN ARRAY['args',
            'args of ' || octet_length(args::text) || ' bytes must not exceed 65536',
            'Keep the data in a table of your own and its key in args.']
        WHEN json_typeof(metadata) <> 'object' THEN ARRAY['metadata',
            'metadata must be a JSON object, not ' || json_typeof(metadata), 'Wrap the value, as in {"value": 1}.']
        -- The common cases are told from one string; only when that does not settle it are the tags looked at singly.
        WHEN tags <> '{}' AND NOT (
                array_to_string(tags, ',') ~ '^[A-Za-z0-9_][A-Za-z0-9_-]+[A-Za-z0-9_](,[A-Za-z0-9_][A-Za-z0-9_-]+[A-Za-z0-9_])*$'
                AND octet_length(array_to_string(tags, ',')) <= 255
                AND cardinality(string_to_array(array_to_string(tags, ','), ',')) = cardinality(tags))
            THEN /* TEMPLATE: schema */tags_fault(tags)
        ELSE /* TEMPLATE: schema */args_fault(kind, args)
    END;
COMMENT ON FUNCTION /* TEMPLATE: schema */job_fault(text, json, text, integer, timestamptz, integer, text[], json) IS
    'Internal: what is wrong with a job as River''s client and its tables see it, or NULL.';

CREATE FUNCTION /* TEMPLATE: schema */unique_fault(unique_key text, unique_by_args boolean, unique_args text[], unique_period interval,
    unique_queue boolean, unique_states text[], unique_exclude_kind boolean) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
DECLARE
    all_states constant text[] := '{available,cancelled,completed,discarded,pending,retryable,running,scheduled}';
    needed_states constant text[] := '{available,pending,running,scheduled}';
    part text;
BEGIN
    IF unique_key = '' THEN
        RETURN ARRAY['unique_key', 'unique_key must not be empty', 'Leave it out for a job that need not be unique.'];
    END IF;
    IF unique_key IS NOT NULL AND (unique_by_args OR unique_args IS NOT NULL) THEN
        RETURN ARRAY['unique_key', 'unique_key must not be combined with unique_by_args or unique_args',
            'The key stands in for the args.'];
    END IF;
    IF extract(year FROM unique_period) <> 0 OR extract(month FROM unique_period) <> 0 THEN
        RETURN ARRAY['unique_period', 'unique_period ' || unique_period || ' must not count months or years, which differ in length',
            'Count days or hours, as in ''30 days''.'];
    END IF;
    IF unique_period < interval '1 second' THEN
        RETURN ARRAY['unique_period', 'unique_period ' || unique_period || ' must be at least 1 second',
            'Leave it out for a job that is unique at any time.'];
    END IF;
    IF unique_exclude_kind AND unique_key IS NULL AND NOT unique_by_args AND unique_args IS NULL AND unique_period IS NULL
        AND NOT unique_queue THEN
        RETURN ARRAY['unique_exclude_kind',
            'unique_exclude_kind needs unique_key, unique_by_args, unique_args, unique_period or unique_queue',
            'Without the kind and all of them every job would be the same.'];
    END IF;
    FOREACH part IN ARRAY coalesce(unique_states, '{}') LOOP
        IF part IS NULL OR part <> ALL (all_states) THEN
            RETURN ARRAY['unique_states', 'unique_states contains ' || coalesce(/* TEMPLATE: schema */shown(part), 'NULL') || ', which is no state',
                'The states are ' || array_to_string(all_states, ', ') || '.'];
        END IF;
    END LOOP;
    IF unique_states <> '{}' AND NOT unique_states @> needed_states THEN
        SELECT string_agg(s, ', ') INTO part FROM unnest(needed_states) s WHERE s <> ALL (unique_states);
        RETURN ARRAY['unique_states', 'unique_states must contain available, pending, running and scheduled, but lacks ' || part,
            'Only retryable may be left out of the default; cancelled and discarded may be added.'];
    END IF;
    IF unique_args = '{}' THEN
        RETURN ARRAY['unique_args', 'unique_args must name at least one field', 'Use unique_by_args for all of them.'];
    END IF;
    FOREACH part IN ARRAY coalesce(unique_args, '{}') LOOP
        IF part IS NULL OR part !~ '^[^.]+(\.[^.]+)*$' OR part ~ '(^|\.)[0-9]+(\.|$)' THEN
            RETURN ARRAY['unique_args', 'unique_args contains ' || coalesce(/* TEMPLATE: schema */shown(part), 'NULL') || ', which is no path of fields',
                'Part nested fields with dots, as in ''customer.id''; numbers are no fields.'];
        END IF;
        IF EXISTS (SELECT FROM unnest(unique_args) o WHERE starts_with(o, part || '.'))
            OR (SELECT count(*) > 1 FROM unnest(unique_args) o WHERE o = part) THEN
            RETURN ARRAY['unique_args', 'unique_args contains ' || /* TEMPLATE: schema */shown(part) || ' twice or together with a field inside it',
                'Name each field once.'];
        END IF;
    END LOOP;
    RETURN NULL;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */unique_fault(text, boolean, text[], interval, boolean, text[], boolean) IS
    'Internal: what is wrong with the unique options of a job, or NULL.';

--
-- Unique keys
--
-- A key is the SHA-256 of the text that River hashes, so that jobs from SQL and from Go clients collide as they should.
-- That text holds the args as Go's encoder writes them, therefore json and never jsonb, which reorders keys and spells
-- numbers anew.
--
CREATE FUNCTION /* TEMPLATE: schema */go_string(value text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN replace(replace(replace(replace(replace(to_json(value)::text, '<', '\u003c'), '>', '\u003e'), '&', '\u0026'),
        U&'\2028', '\u2028'), U&'\2029', '\u2029');
COMMENT ON FUNCTION /* TEMPLATE: schema */go_string(text) IS 'Internal: a JSON string as Go''s encoder writes it.';

CREATE FUNCTION /* TEMPLATE: schema */go_key(value text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    -- River leaves keys of plain ASCII as they are, < > & among them.
    RETURN CASE WHEN value ~ '^[\u0020\u0021\u0023-\u005b\u005d-\u007f]*$' THEN '"' || value || '"' ELSE /* TEMPLATE: schema */go_string(value) END;
COMMENT ON FUNCTION /* TEMPLATE: schema */go_key(text) IS 'Internal: an object''s key as River writes it for a unique key.';

CREATE FUNCTION /* TEMPLATE: schema */go_json(value json) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
BEGIN
    RETURN string_agg(CASE WHEN left(token[1], 1) = '"' THEN /* TEMPLATE: schema */go_string(token[1]::json #>> '{}') ELSE token[1] END, '' ORDER BY n)
        FROM regexp_matches(value::text, '("(?:[^"\\]|\\.)*"|[^"\s]+)', 'g') WITH ORDINALITY AS tokens (token, n);
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */go_json(json) IS
    'Internal: a JSON value as Go''s encoder writes it: no spaces, strings escaped alike. Numbers keep their spelling.';

-- Without space, backslash and what Go escapes, a value is already as Go would write it.
CREATE FUNCTION /* TEMPLATE: schema */go_value(value json) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN value::text ~ '[\s<>&\\\u2028\u2029]' THEN /* TEMPLATE: schema */go_json(value) ELSE value::text END;
COMMENT ON FUNCTION /* TEMPLATE: schema */go_value(json) IS 'Internal: go_json, the quick way when there is nothing to do.';

CREATE FUNCTION /* TEMPLATE: schema */go_object(value json) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
DECLARE
    out text := '';
    previous text;
    field record;
BEGIN
    FOR field IN SELECT key, content FROM json_each(value) WITH ORDINALITY AS fields (key, content, n) ORDER BY key COLLATE "C", n LOOP
        -- Of a key that occurs twice, River takes the first.
        CONTINUE WHEN field.key = previous;
        previous := field.key;
        out := out || CASE WHEN out = '' THEN '{' ELSE ',' END || /* TEMPLATE: schema */go_key(field.key) || ':' || /* TEMPLATE: schema */go_value(field.content);
    END LOOP;
    RETURN CASE WHEN out = '' THEN '{}' ELSE out || '}' END;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */go_object(json) IS
    'Internal: an object''s fields sorted bytewise by key, as River writes all args for a unique key.';

CREATE FUNCTION /* TEMPLATE: schema */go_fields(value json, paths text[]) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
DECLARE
    out text := '';
    opened text[] := '{}'; -- the objects that are open, outermost first
    path text[];
    common integer;
BEGIN
    -- Fields of one object follow one another in sorted order, so each object is opened and closed once.
    FOR path IN SELECT string_to_array(p, '.') FROM unnest(paths) p ORDER BY p COLLATE "C" LOOP
        CONTINUE WHEN value #> path IS NULL;
        common := 0;
        WHILE common < least(cardinality(opened), cardinality(path) - 1) AND opened[common + 1] = path[common + 1] LOOP
            common := common + 1;
        END LOOP;
        out := out || CASE WHEN out = '' THEN '{' ELSE repeat('}', cardinality(opened) - common) || ',' END;
        FOR i IN common + 1 .. cardinality(path) - 1 LOOP
            out := out || /* TEMPLATE: schema */go_key(path[i]) || ':{';
        END LOOP;
        out := out || /* TEMPLATE: schema */go_key(path[cardinality(path)]) || ':' || /* TEMPLATE: schema */go_value(value #> path);
        opened := path[1:cardinality(path) - 1];
    END LOOP;
    RETURN CASE WHEN out = '' THEN '' ELSE out || repeat('}', cardinality(opened) + 1) END;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */go_fields(json, text[]) IS
    'Internal: the named fields of an object, as River writes args with fields tagged river:"unique".';

CREATE FUNCTION /* TEMPLATE: schema */job_unique_key(kind text, args json, queue text, scheduled_at timestamptz, unique_key text,
    unique_by_args boolean, unique_args text[], unique_period interval, unique_queue boolean, unique_exclude_kind boolean) RETURNS bytea
    LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
BEGIN
    RETURN sha256(convert_to(
        CASE WHEN unique_exclude_kind THEN '' ELSE '&kind=' || kind END
        || CASE WHEN unique_key IS NOT NULL THEN '&key=' || unique_key
                WHEN unique_args IS NOT NULL THEN '&args=' || /* TEMPLATE: schema */go_fields(args, unique_args)
                WHEN unique_by_args THEN '&args=' || /* TEMPLATE: schema */go_object(args) ELSE '' END
        -- Go counts periods from the first of January of the year 1.
        || CASE WHEN unique_period IS NOT NULL THEN '&period=' || to_char(
               date_bin(unique_period, coalesce(scheduled_at, clock_timestamp()), '0001-01-01 00:00:00+00') AT TIME ZONE 'UTC',
               'YYYY-MM-DD"T"HH24:MI:SS"Z"') ELSE '' END
        || CASE WHEN unique_queue THEN '&queue=' || queue ELSE '' END, 'UTF8'));
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */job_unique_key(text, json, text, timestamptz, text, boolean, text[], interval, boolean, boolean) IS
    'Internal: the unique_key of a job, equal to River''s byte for byte but for the form with a key of the caller''s.';

CREATE FUNCTION /* TEMPLATE: schema */unique_mask(states text[]) RETURNS bit(8)
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN states IS NULL OR states = '{}' THEN B'11110101' ELSE (
        ('scheduled' = ANY (states))::integer::text || ('running' = ANY (states))::integer || ('retryable' = ANY (states))::integer
        || ('pending' = ANY (states))::integer || ('discarded' = ANY (states))::integer || ('completed' = ANY (states))::integer
        || ('cancelled' = ANY (states))::integer || ('available' = ANY (states))::integer)::bit(8) END;
COMMENT ON FUNCTION /* TEMPLATE: schema */unique_mask(text[]) IS 'Internal: unique_states as River stores them; all but cancelled and discarded by default.';

--
-- Enqueue
--
-- The leader looks for due jobs when the next one is due that it knows of. A notification to the queue "@due", which no
-- queue can be called, makes it look at once.
CREATE FUNCTION /* TEMPLATE: schema */due_soon() RETURNS interval
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN interval '15 seconds';
COMMENT ON FUNCTION /* TEMPLATE: schema */due_soon() IS
    'Internal: the leader is told of jobs that fall due within this time. It finds later ones by itself.';

CREATE FUNCTION /* TEMPLATE: schema */enqueue(
    kind text,
    args json DEFAULT '{}',
    queue text DEFAULT 'default',
    priority integer DEFAULT 1,
    scheduled_at timestamptz DEFAULT NULL,
    max_attempts integer DEFAULT 25,
    tags text[] DEFAULT '{}',
    unique_key text DEFAULT NULL,
    unique_by_args boolean DEFAULT false,
    unique_period interval DEFAULT NULL,
    unique_queue boolean DEFAULT false,
    unique_states text[] DEFAULT NULL,
    unique_args text[] DEFAULT NULL,
    unique_exclude_kind boolean DEFAULT false,
    metadata json DEFAULT '{}',
    OUT id bigint, OUT state text, OUT skipped boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    moment constant timestamptz := clock_timestamp();
    is_unique boolean;
    fault text[];
    new_id bigint;
    new_key bytea;
    new_mask bit(8);
    new_args jsonb;
    new_metadata jsonb;
    new_state text;
BEGIN
    -- Drivers send NULL for what their caller left out.
    args := coalesce(args, '{}');
    queue := coalesce(queue, 'default');
    priority := coalesce(priority, 1);
    max_attempts := coalesce(max_attempts, 25);
    tags := coalesce(tags, '{}');
    metadata := coalesce(metadata, '{}');
    fault := /* TEMPLATE: schema */job_fault(kind, args, queue, priority, scheduled_at, max_attempts, tags, metadata);
    is_unique := unique_key IS NOT NULL OR unique_by_args OR unique_period IS NOT NULL OR unique_queue OR unique_states IS NOT NULL
        OR unique_args IS NOT NULL OR unique_exclude_kind;
    IF fault IS NULL AND is_unique THEN
        unique_by_args := coalesce(unique_by_args, false);
        unique_queue := coalesce(unique_queue, false);
        unique_exclude_kind := coalesce(unique_exclude_kind, false);
        fault := /* TEMPLATE: schema */unique_fault(unique_key, unique_by_args, unique_args, unique_period, unique_queue, unique_states,
            unique_exclude_kind);
    END IF;
    IF fault IS NOT NULL THEN
        PERFORM /* TEMPLATE: schema */raise_fault(fault, 'Parameter %s of enqueue.');
    END IF;

    -- The statement gets values only: with expressions over its parameters Postgres would plan it anew for every call.
    new_id := nextval('/* TEMPLATE: schema */river_job_id_seq');
    IF is_unique THEN
        new_key := /* TEMPLATE: schema */job_unique_key(kind, args, queue, scheduled_at, unique_key, unique_by_args, unique_args, unique_period,
            unique_queue, unique_exclude_kind);
        new_mask := /* TEMPLATE: schema */unique_mask(unique_states);
    END IF;
    new_args := args;
    new_metadata := metadata;
    new_state := CASE WHEN scheduled_at > moment THEN 'scheduled' ELSE 'available' END;
    scheduled_at := greatest(scheduled_at, moment);
    INSERT INTO /* TEMPLATE: schema */river_job AS job (id, args, created_at, kind, max_attempts, metadata, priority, queue,
        scheduled_at, state, tags, unique_key, unique_states)
    VALUES (new_id, new_args, moment, enqueue.kind, enqueue.max_attempts, new_metadata, enqueue.priority, enqueue.queue,
        enqueue.scheduled_at, new_state::/* TEMPLATE: schema */river_job_state, enqueue.tags, new_key, new_mask)
    -- As River does: something must be updated for the row that is there already to be returned.
    ON CONFLICT (unique_key) WHERE unique_key IS NOT NULL AND unique_states IS NOT NULL
            AND /* TEMPLATE: schema */river_job_state_in_bitmask(unique_states, state)
        DO UPDATE SET kind = job.kind
    RETURNING job.id, job.state, job.id <> new_id INTO id, state, skipped;

    IF NOT skipped AND (state = 'available' OR scheduled_at < moment + /* TEMPLATE: schema */due_soon()) THEN
        -- Byte for byte what River sends, and always the same: Postgres sends equal notifications of a transaction once.
        PERFORM pg_notify(/* TEMPLATE: schema */schema_name() || '.river_insert',
            '{"queue": "' || CASE state WHEN 'available' THEN queue ELSE '@due' END || '"}');
    END IF;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */enqueue IS
    'Inserts a job in the transaction of the caller, as River''s client does, and returns its id and state. skipped is true when an equal unique job was there: then id and state are that one''s and nothing was inserted. '
    'scheduled_at: not to start before; NULL or the past means now. unique_key: at most one job of the kind and key. unique_by_args, unique_args (dotted fields), unique_period, unique_queue, unique_states, unique_exclude_kind: as UniqueOpts of River, with equal keys; by args the spelling of numbers counts (2.5 is not 2.50). '
    'args and metadata are JSON objects, args of up to 64 KiB.';

CREATE FUNCTION /* TEMPLATE: schema */enqueue_many(jobs json, OUT id bigint, OUT state text, OUT skipped boolean) RETURNS SETOF record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    ROWS 1000
AS $$
#variable_conflict use_column
DECLARE
    max_jobs constant integer := 50000;
    properties constant text[] := '{kind,args,queue,priority,scheduled_at,max_attempts,tags,unique_key,unique_by_args,unique_period,unique_queue,unique_states,unique_args,unique_exclude_kind,metadata}';
    plain_properties constant text[] := '{kind,args,queue,priority,scheduled_at,max_attempts,tags,metadata}';
    are_known boolean;
    are_plain boolean;
    moment constant timestamptz := clock_timestamp();
    element record;
    fault text[];
    ids bigint[];
    states text[];
    skips boolean[];
    queues text[];
BEGIN
    IF jobs IS NULL OR json_typeof(jobs) <> 'array' THEN
        RAISE EXCEPTION 'jobs must be a JSON array of objects, not %', coalesce(json_typeof(jobs), 'null') USING
            ERRCODE = 'invalid_parameter_value', COLUMN = 'jobs', DETAIL = 'Parameter jobs of enqueue_many.',
            HINT = 'Give one job as [{"kind": "mail.send", "args": {}}].';
    END IF;
    IF json_array_length(jobs) > max_jobs THEN
        RAISE EXCEPTION 'jobs must not hold more than % jobs, but holds %', max_jobs, json_array_length(jobs) USING
            ERRCODE = 'invalid_parameter_value', COLUMN = 'jobs', DETAIL = 'Parameter jobs of enqueue_many.',
            HINT = 'Make several calls; they may share a transaction.';
    END IF;
    -- The jobs of a call have few properties in common. Only when one is unknown they are looked at singly.
    SELECT coalesce(bool_and(key = ANY (properties)), true), coalesce(bool_and(key = ANY (plain_properties)), true) INTO are_known, are_plain
        FROM (SELECT DISTINCT json_object_keys(CASE json_typeof(job) WHEN 'object' THEN job ELSE '{"": null}' END) AS key
            FROM json_array_elements(jobs) AS elements (job)) AS keys;
    IF NOT are_known THEN
        SELECT n, json_typeof(job) AS type, key INTO element
            FROM json_array_elements(jobs) WITH ORDINALITY AS elements (job, n)
            LEFT JOIN json_object_keys(CASE WHEN json_typeof(job) = 'object' THEN job ELSE '{}' END) AS key ON true
            WHERE key <> ALL (properties) OR json_typeof(job) <> 'object'
            ORDER BY n LIMIT 1;
        RAISE EXCEPTION '%', CASE WHEN element.type <> 'object' THEN 'job must be a JSON object, not ' || element.type
                ELSE 'job has the unknown property ' || /* TEMPLATE: schema */shown(element.key) END USING
            ERRCODE = 'invalid_parameter_value', COLUMN = 'jobs', DETAIL = format('Job %s of jobs.', element.n),
            HINT = 'The properties are the parameters of enqueue: ' || array_to_string(properties, ', ') || '.';
    END IF;

    IF are_plain THEN
        -- Jobs without unique keys have nothing to meet. They are checked and inserted in one pass, in the order given; the
        -- first one at fault ends it.
        WITH raw AS (
            SELECT n, kind, coalesce(args, '{}') AS args, coalesce(queue, 'default') AS queue, coalesce(priority, 1) AS priority, scheduled_at,
                coalesce(max_attempts, 25) AS max_attempts, coalesce(tags, '{}') AS tags, coalesce(metadata, '{}') AS metadata
            FROM ROWS FROM (json_to_recordset(jobs) AS (kind text, args json, queue text, priority integer, scheduled_at timestamptz,
                max_attempts integer, tags text[], metadata json)) WITH ORDINALITY AS rows (kind, args, queue, priority, scheduled_at,
                max_attempts, tags, metadata, n)
        ), inserted AS (
            INSERT INTO /* TEMPLATE: schema */river_job AS job (args, created_at, kind, max_attempts, metadata, priority, queue, scheduled_at,
                state, tags)
            SELECT args::jsonb, moment, kind, max_attempts, metadata::jsonb, priority, queue, greatest(scheduled_at, moment),
                CASE WHEN scheduled_at > moment THEN 'scheduled' ELSE 'available' END::/* TEMPLATE: schema */river_job_state, tags
            FROM raw
            WHERE CASE WHEN /* TEMPLATE: schema */job_fault(kind, args, queue, priority, scheduled_at, max_attempts, tags, metadata) IS NULL THEN true
                ELSE /* TEMPLATE: schema */raise_fault(/* TEMPLATE: schema */job_fault(kind, args, queue, priority, scheduled_at, max_attempts, tags, metadata),
                    'Parameter %s of job ' || n || '.') END
            RETURNING job.id, job.state, job.queue, job.scheduled_at
        )
        SELECT array_agg(inserted.id), array_agg(inserted.state::text), array_agg(CASE WHEN inserted.state = 'available' THEN inserted.queue
                WHEN inserted.scheduled_at < moment + /* TEMPLATE: schema */due_soon() THEN '@due' END)
            INTO ids, states, queues FROM inserted;
        PERFORM pg_notify(/* TEMPLATE: schema */schema_name() || '.river_insert', '{"queue": "' || name || '"}')
            FROM (SELECT DISTINCT name FROM unnest(queues) name WHERE name IS NOT NULL) told;
        RETURN QUERY SELECT unnest(ids), unnest(states), false;
        RETURN;
    END IF;

    -- The rows are inserted only when none is at fault, otherwise the first one's fault is all that comes back.
    WITH raw AS (
        SELECT n, kind, coalesce(args, '{}') AS args, coalesce(queue, 'default') AS queue, coalesce(priority, 1) AS priority, scheduled_at,
            coalesce(max_attempts, 25) AS max_attempts, coalesce(tags, '{}') AS tags, unique_key AS own_key,
            coalesce(unique_by_args, false) AS unique_by_args, unique_period, coalesce(unique_queue, false) AS unique_queue,
            unique_states, unique_args, coalesce(unique_exclude_kind, false) AS unique_exclude_kind, coalesce(metadata, '{}') AS metadata,
            unique_key IS NOT NULL OR unique_by_args IS TRUE OR unique_period IS NOT NULL OR unique_queue IS TRUE
                OR unique_states IS NOT NULL OR unique_args IS NOT NULL OR unique_exclude_kind IS TRUE AS is_unique
        FROM ROWS FROM (json_to_recordset(jobs) AS (kind text, args json, queue text, priority integer, scheduled_at timestamptz,
            max_attempts integer, tags text[], unique_key text, unique_by_args boolean, unique_period interval, unique_queue boolean,
            unique_states text[], unique_args text[], unique_exclude_kind boolean, metadata json)) WITH ORDINALITY AS rows (kind, args, queue,
            priority, scheduled_at, max_attempts, tags, unique_key, unique_by_args, unique_period, unique_queue, unique_states, unique_args,
            unique_exclude_kind, metadata, n)
    ), checked AS (
        SELECT *, coalesce(/* TEMPLATE: schema */job_fault(kind, args, queue, priority, scheduled_at, max_attempts, tags, metadata),
            CASE WHEN is_unique THEN /* TEMPLATE: schema */unique_fault(own_key, unique_by_args, unique_args, unique_period, unique_queue,
                unique_states, unique_exclude_kind) END) AS fault
        FROM raw
    ), given AS MATERIALIZED (
        SELECT *, nextval('/* TEMPLATE: schema */river_job_id_seq') AS new_id,
            CASE WHEN is_unique AND fault IS NULL THEN /* TEMPLATE: schema */job_unique_key(kind, args, queue, scheduled_at, own_key,
                unique_by_args, unique_args, unique_period, unique_queue, unique_exclude_kind) END AS key
        FROM checked
    ), repeated AS (
        -- One statement cannot conflict with its own rows; of equal jobs only the first is offered.
        SELECT n FROM (SELECT n, row_number() OVER (PARTITION BY key ORDER BY n) AS nth FROM given WHERE key IS NOT NULL) numbered WHERE nth > 1
    ), inserted AS (
        INSERT INTO /* TEMPLATE: schema */river_job AS job (id, args, created_at, kind, max_attempts, metadata, priority, queue,
            scheduled_at, state, tags, unique_key, unique_states)
        SELECT new_id, args::jsonb, moment, kind, max_attempts, metadata::jsonb, priority, queue, greatest(scheduled_at, moment),
            CASE WHEN scheduled_at > moment THEN 'scheduled' ELSE 'available' END::/* TEMPLATE: schema */river_job_state, tags, key,
            CASE WHEN is_unique THEN /* TEMPLATE: schema */unique_mask(unique_states) END
        FROM given
        WHERE n NOT IN (SELECT n FROM repeated) AND NOT EXISTS (SELECT FROM given WHERE fault IS NOT NULL)
        ON CONFLICT (unique_key) WHERE unique_key IS NOT NULL AND unique_states IS NOT NULL
                AND /* TEMPLATE: schema */river_job_state_in_bitmask(unique_states, state)
            DO UPDATE SET kind = job.kind
        RETURNING job.id, job.state, job.unique_key, job.scheduled_at
    )
    SELECT array_agg(coalesce(mine.id, other.id) ORDER BY n), array_agg(coalesce(mine.state, other.state)::text ORDER BY n),
        array_agg(mine.id IS NULL ORDER BY n),
        array_agg(DISTINCT CASE mine.state WHEN 'available' THEN given.queue ELSE '@due' END)
            FILTER (WHERE mine.state = 'available' OR mine.scheduled_at < moment + /* TEMPLATE: schema */due_soon()),
        (SELECT array_append(g.fault, n::text) FROM given g WHERE g.fault IS NOT NULL ORDER BY n LIMIT 1)
    INTO ids, states, skips, queues, fault
    FROM given
    LEFT JOIN inserted mine ON mine.id = given.new_id
    LEFT JOIN inserted other ON other.unique_key = given.key AND given.key IS NOT NULL;
    IF fault IS NOT NULL THEN
        PERFORM /* TEMPLATE: schema */raise_fault(fault, 'Parameter %s of job ' || fault[4] || '.');
    END IF;

    PERFORM pg_notify(/* TEMPLATE: schema */schema_name() || '.river_insert', '{"queue": "' || name || '"}') FROM unnest(queues) name;
    RETURN QUERY SELECT * FROM unnest(ids, states, skips);
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */enqueue_many IS
    'Inserts up to 50,000 jobs at once, in the transaction of the caller. jobs is a JSON array of objects whose properties are the parameters of enqueue. Returns one row a job, in the order of the array, as enqueue does; all are inserted or none.';

REVOKE ALL ON FUNCTION
    /* TEMPLATE: schema */tags_fault, /* TEMPLATE: schema */args_fault, /* TEMPLATE: schema */job_fault, /* TEMPLATE: schema */unique_fault,
    /* TEMPLATE: schema */go_string, /* TEMPLATE: schema */go_key, /* TEMPLATE: schema */go_json, /* TEMPLATE: schema */go_value,
    /* TEMPLATE: schema */go_object, /* TEMPLATE: schema */go_fields, /* TEMPLATE: schema */job_unique_key, /* TEMPLATE: schema */unique_mask,
    /* TEMPLATE: schema */due_soon, /* TEMPLATE: schema */enqueue, /* TEMPLATE: schema */enqueue_many
FROM PUBLIC;
SELECT /* TEMPLATE: schema */pin_search_path();
