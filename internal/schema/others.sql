-- What is here instead, where nothing of ours is: whoever takes this for an empty
-- database should know better. geopephub makes its two tables in PEPhub's database by
-- default, and may have been quicker.
(
    SELECT 'other ' || quote_ident(c.relname)
    FROM pg_class AS c
    WHERE c.relnamespace = to_regnamespace(quote_ident(current_setting('pephub_migrate.schema')))
        AND c.relkind IN ('r', 'p')
        AND c.relname NOT IN ('schema_migrations', 'alembic_version', 'geo_sample_status', 'geo_cycle_status')
        AND NOT EXISTS (
            SELECT
            FROM pg_depend AS d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
        )
    LIMIT 10
)

UNION ALL
-- And whether PEPhub's tables are where no unqualified name leads.
SELECT 'elsewhere ' || quote_ident(n.nspname)
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relname = 'projects'
    AND c.relkind = 'r'
    AND c.relpersistence <> 't'
    AND (
        SELECT count(*)
        FROM pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attname IN ('namespace', 'name', 'tag', 'digest')
    ) = 4
