-- A JSON schema for each kind of job: what its args have to look like, told by the programs that have a worker for it, and
-- checked where jobs are enqueued in SQL when that is switched on.
--
-- Locks: a new table, a new view and new functions; the functions that enqueue look the table up from now on.

CREATE TABLE /* TEMPLATE: schema */kind_schema (
    kind text PRIMARY KEY,
    schema jsonb NOT NULL,
    checked boolean NOT NULL DEFAULT false,
    told_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE /* TEMPLATE: schema */kind_schema IS 'The JSON schema of the args of each kind, as the program says that was deployed last.';
COMMENT ON COLUMN /* TEMPLATE: schema */kind_schema.kind IS 'The kind of job.';
COMMENT ON COLUMN /* TEMPLATE: schema */kind_schema.schema IS 'The JSON schema of its args.';
COMMENT ON COLUMN /* TEMPLATE: schema */kind_schema.checked IS 'Whether jobs whose args do not fit are refused.';
COMMENT ON COLUMN /* TEMPLATE: schema */kind_schema.told_at IS 'When the schema last changed.';

CREATE VIEW /* TEMPLATE: schema */kind_schemas AS
SELECT kind, schema, checked, told_at FROM /* TEMPLATE: schema */kind_schema;
COMMENT ON VIEW /* TEMPLATE: schema */kind_schemas IS 'What the args of each kind have to look like, and whether that is checked. Kinds whose args cannot be described are missing.';
COMMENT ON COLUMN /* TEMPLATE: schema */kind_schemas.kind IS 'The kind of job.';
COMMENT ON COLUMN /* TEMPLATE: schema */kind_schemas.schema IS 'The JSON schema of its args, derived from the type in Go.';
COMMENT ON COLUMN /* TEMPLATE: schema */kind_schemas.checked IS 'Whether jobs whose args do not fit are refused: check_kind switches it.';
COMMENT ON COLUMN /* TEMPLATE: schema */kind_schemas.told_at IS 'When the schema last changed.';

--
-- Does a value fit? The words of JSON schema that a program derives from types are known, and some more; others are
-- passed over. It calls itself by its place in the value, so depth is bounded by that of the schema.
--
CREATE FUNCTION /* TEMPLATE: schema */has_json_type(value jsonb, wanted text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN wanted = 'integer' THEN jsonb_typeof(value) = 'number' AND (value #>> '{}')::numeric % 1 = 0 ELSE jsonb_typeof(value) = wanted END;
COMMENT ON FUNCTION /* TEMPLATE: schema */has_json_type(jsonb, text) IS 'Internal: whether a value has a type of JSON schema.';

CREATE FUNCTION /* TEMPLATE: schema */schema_fault(schema jsonb, value jsonb, place text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
DECLARE
    types constant text[] := CASE jsonb_typeof(schema -> 'type') WHEN 'string' THEN ARRAY[schema ->> 'type']
        WHEN 'array' THEN ARRAY(SELECT jsonb_array_elements_text(schema -> 'type')) END;
    type constant text := jsonb_typeof(value);
    plain constant text := value #>> '{}';
    seen constant text := CASE WHEN type = 'string' THEN /* TEMPLATE: schema */shown(plain) WHEN type IN ('object', 'array') THEN type ELSE plain END;
    fault text;
    name text;
    item jsonb;
    n integer := 0;
BEGIN
    IF schema IN ('false', '{"not": {}}') THEN
        RETURN place || ' must not be there';
    END IF;
    IF types IS NOT NULL AND NOT EXISTS (SELECT FROM unnest(types) AS wanted WHERE /* TEMPLATE: schema */has_json_type(value, wanted)) THEN
        RETURN format('%s must be %s, not %s', place, array_to_string(types, ' or '), coalesce(seen, 'null'));
    END IF;
    IF schema ? 'enum' AND NOT schema -> 'enum' @> jsonb_build_array(value) THEN
        RETURN format('%s must be one of %s, not %s', place, schema ->> 'enum', coalesce(seen, 'null'));
    END IF;
    IF schema ? 'const' AND schema -> 'const' <> value THEN
        RETURN format('%s must be %s, not %s', place, schema -> 'const', coalesce(seen, 'null'));
    END IF;
    CASE type
        WHEN 'number' THEN
            IF plain::numeric < (schema ->> 'minimum')::numeric THEN
                RETURN format('%s must be at least %s, not %s', place, schema ->> 'minimum', plain);
            ELSIF plain::numeric > (schema ->> 'maximum')::numeric THEN
                RETURN format('%s must be at most %s, not %s', place, schema ->> 'maximum', plain);
            END IF;
        WHEN 'string' THEN
            IF char_length(plain) < (schema ->> 'minLength')::integer THEN
                RETURN format('%s must have at least %s characters, not %s', place, schema ->> 'minLength', char_length(plain));
            ELSIF char_length(plain) > (schema ->> 'maxLength')::integer THEN
                RETURN format('%s must have at most %s characters, not %s', place, schema ->> 'maxLength', char_length(plain));
            END IF;
        WHEN 'array' THEN
            IF jsonb_array_length(value) < (schema ->> 'minItems')::integer THEN
                RETURN format('%s must have at least %s items, not %s', place, schema ->> 'minItems', jsonb_array_length(value));
            ELSIF jsonb_array_length(value) > (schema ->> 'maxItems')::integer THEN
                RETURN format('%s must have at most %s items, not %s', place, schema ->> 'maxItems', jsonb_array_length(value));
            ELSIF schema ? 'items' THEN
                FOR item IN SELECT jsonb_array_elements(value) LOOP
                    fault := /* TEMPLATE: schema */schema_fault(schema -> 'items', item, format('%s[%s]', place, n));
                    IF fault IS NOT NULL THEN
                        RETURN fault;
                    END IF;
                    n := n + 1;
                END LOOP;
            END IF;
        WHEN 'object' THEN
            FOR name IN SELECT jsonb_array_elements_text(schema -> 'required') LOOP
                IF NOT value ? name THEN
                    RETURN format('%s.%s is missing', place, name);
                END IF;
            END LOOP;
            FOR name, item IN SELECT * FROM jsonb_each(value) LOOP
                IF schema -> 'properties' ? name THEN
                    fault := /* TEMPLATE: schema */schema_fault(schema -> 'properties' -> name, item, place || '.' || name);
                ELSIF schema -> 'additionalProperties' IN ('false', '{"not": {}}') THEN
                    fault := format('%s.%s is unknown; known are %s', place, name,
                        coalesce((SELECT string_agg(key, ', ' ORDER BY key) FROM jsonb_object_keys(schema -> 'properties') AS key), 'none'));
                ELSIF schema ? 'additionalProperties' THEN
                    fault := /* TEMPLATE: schema */schema_fault(schema -> 'additionalProperties', item, place || '.' || name);
                END IF;
                IF fault IS NOT NULL THEN
                    RETURN fault;
                END IF;
            END LOOP;
        ELSE
            NULL;
    END CASE;
    RETURN NULL;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */schema_fault(jsonb, jsonb, text) IS
    'Internal: why a value does not fit a JSON schema, with the place of what is wrong, or NULL.';

CREATE OR REPLACE FUNCTION /* TEMPLATE: schema */args_fault(kind text, args json) RETURNS text[]
    LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
DECLARE
    wanted jsonb;
    fault text;
BEGIN
    SELECT k.schema INTO wanted FROM /* TEMPLATE: schema */kind_schema k WHERE k.kind = args_fault.kind AND k.checked;
    IF wanted IS NULL THEN
        RETURN NULL;
    END IF;
    fault := /* TEMPLATE: schema */schema_fault(wanted, args::jsonb, 'args');
    RETURN CASE WHEN fault IS NOT NULL THEN ARRAY['args', format('%s, as kind %s demands', fault, /* TEMPLATE: schema */shown(kind)),
        'The schema of the kind is in the view kind_schemas, and `towpath kinds show` prints it.'] END;
END;
$$;
--
-- The switch
--
CREATE FUNCTION /* TEMPLATE: schema */check_kind(kind text, checked boolean DEFAULT true, OUT changed boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    was boolean;
BEGIN
    SELECT k.checked INTO was FROM /* TEMPLATE: schema */kind_schema k WHERE k.kind = check_kind.kind FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'kind % has no schema', coalesce(/* TEMPLATE: schema */shown(kind), 'NULL') USING ERRCODE = 'no_data_found',
            HINT = 'A program with a worker for it tells it when it starts; the view kind_schemas has those that are known.';
    END IF;
    changed := was <> coalesce(check_kind.checked, true);
    IF changed THEN
        UPDATE /* TEMPLATE: schema */kind_schema k SET checked = NOT was WHERE k.kind = check_kind.kind;
        PERFORM /* TEMPLATE: schema */audit_action('check_kind', 'kind ' || check_kind.kind, jsonb_build_object('checked', NOT was));
    END IF;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */check_kind(text, boolean) IS
    'Switches on (or off) that jobs of a kind are refused by enqueue and enqueue_many when their args do not fit its schema. changed is false if it was so already. Fails with P0002 if the kind has no schema.';

REVOKE ALL ON FUNCTION /* TEMPLATE: schema */check_kind, /* TEMPLATE: schema */schema_fault, /* TEMPLATE: schema */has_json_type FROM PUBLIC;
SELECT /* TEMPLATE: schema */pin_search_path();
SELECT /* TEMPLATE: schema */grant_roles();
