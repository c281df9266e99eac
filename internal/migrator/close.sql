-- Takes from the new tables what default privileges have granted on them: they get the
-- grants of their sources alone.
DO $do$
DECLARE
    own record;
BEGIN
    FOR own IN
        SELECT DISTINCT
            CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind,
            format('%I.%I', n.nspname, c.relname) AS relation,
            CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS grantee
        FROM pg_namespace AS n
        JOIN pg_class AS c ON c.relnamespace = n.oid
        CROSS JOIN LATERAL aclexplode(c.relacl) AS a
        WHERE n.nspname = current_setting('pephub_migrate.schema')
            AND c.xmin = pg_current_xact_id()::xid -- not an archive from before
            AND (c.relname = ANY ('{{new}}'::name[]) OR c.relkind = 'S' AND c.relname = ANY ('{{new sequences}}'::name[]))
            AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('REVOKE ALL ON %s %s FROM %s CASCADE', own.kind, own.relation, own.grantee);
    END LOOP;
END
$do$;
