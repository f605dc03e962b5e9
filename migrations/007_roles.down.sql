-- Takes the rights away. The roles stay: other databases of the server may use them.
--
-- Locks: rows of the catalog only.
DO $do$
DECLARE
    sch constant text := quote_ident(/* TEMPLATE: schema */schema_name());
    role text;
BEGIN
    FOR role IN SELECT rolname FROM pg_catalog.pg_roles WHERE rolname IN ('towpath_producer', 'towpath_reader', 'towpath_operator', 'towpath_probe') LOOP
        EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %s FROM %I', sch, role);
        EXECUTE format('REVOKE ALL ON ALL FUNCTIONS IN SCHEMA %s FROM %I', sch, role);
        EXECUTE format('REVOKE ALL ON SCHEMA %s FROM %I', sch, role);
    END LOOP;
END;
$do$;
DROP FUNCTION /* TEMPLATE: schema */grant_roles;
