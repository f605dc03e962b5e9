-- Takes away the schemas of kinds.
--
-- Locks: ACCESS EXCLUSIVE on the tables and views that go, once those who use them are done.
CREATE OR REPLACE FUNCTION /* TEMPLATE: schema */args_fault(kind text, args json) RETURNS text[]
    LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
BEGIN
    RETURN NULL; -- until 017, which knows schemas of kinds
END;
$$;

DROP FUNCTION /* TEMPLATE: schema */check_kind, /* TEMPLATE: schema */schema_fault, /* TEMPLATE: schema */has_json_type;
DROP VIEW /* TEMPLATE: schema */kind_schemas;
DROP TABLE /* TEMPLATE: schema */kind_schema;
SELECT /* TEMPLATE: schema */pin_search_path();
