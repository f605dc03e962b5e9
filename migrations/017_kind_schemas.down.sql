-- Takes away the schemas of kinds.
CREATE OR REPLACE FUNCTION /* TEMPLATE: schema */job_fault(kind text, args json, queue text, priority integer, scheduled_at timestamptz,
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
    END;

DROP FUNCTION /* TEMPLATE: schema */check_kind, /* TEMPLATE: schema */args_fault, /* TEMPLATE: schema */schema_fault, /* TEMPLATE: schema */has_json_type;
DROP VIEW /* TEMPLATE: schema */kind_schemas;
DROP TABLE /* TEMPLATE: schema */kind_schema;
SELECT /* TEMPLATE: schema */pin_search_path();
