-- Who but the owner may do what, of the roles that we have and of everybody.
WITH object AS (
    SELECT 'SCHEMA ' || n.nspname AS name, n.nspowner AS owner, coalesce(n.nspacl, acldefault('n', n.nspowner)) AS acl
    FROM pg_namespace n WHERE n.nspname = 'towpath'
    UNION ALL
    SELECT 'TABLE ' || c.oid::regclass, c.relowner, coalesce(c.relacl, acldefault('r', c.relowner))
    FROM pg_class c WHERE c.relnamespace = 'towpath'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm') AND (c.relkind = 'p' OR NOT c.relispartition)
    UNION ALL
    SELECT 'FUNCTION ' || p.oid::regprocedure, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner))
    FROM pg_proc p WHERE p.pronamespace = 'towpath'::regnamespace AND p.prokind IN ('f', 'p')
)
SELECT 'grant', privilege.privilege_type || ' ON ' || object.name || ' TO ' || coalesce(grantee.rolname, 'PUBLIC'), ''
FROM object CROSS JOIN LATERAL aclexplode(object.acl) privilege
LEFT JOIN pg_roles grantee ON grantee.oid = privilege.grantee
WHERE privilege.grantee <> object.owner
    AND (privilege.grantee = 0 OR grantee.rolname IN ('towpath_producer', 'towpath_reader', 'towpath_operator', 'towpath_probe'))
ORDER BY 1, 2
