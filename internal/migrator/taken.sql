-- Relations of others by names that sequences and keys of the steps to come have. What
-- belongs to PEPhub's tables goes with them, or is known by its shape.
WITH tables AS (
    SELECT oid
    FROM pg_class
    WHERE relnamespace = to_regnamespace(quote_ident(current_setting('pephub_migrate.schema')))
        AND relname = ANY ('{{tables}}'::name[])
)
SELECT
    format('%s %I.%I, whose name a step needs', kind, current_setting('pephub_migrate.schema'), relname),
    format(
        'ALTER %s %I.%I RENAME TO %I',
        CASE kind WHEN 'sequence' THEN 'SEQUENCE' WHEN 'index' THEN 'INDEX' WHEN 'view' THEN 'VIEW' ELSE 'TABLE' END,
        current_setting('pephub_migrate.schema'), relname, left(relname, 55) || '_of_mine'
    )
FROM (
    SELECT
        oid,
        relname,
        CASE relkind WHEN 'S' THEN 'sequence' WHEN 'i' THEN 'index' WHEN 'I' THEN 'index' WHEN 'v' THEN 'view' ELSE 'table' END AS kind
    FROM pg_class
    WHERE relnamespace = to_regnamespace(quote_ident(current_setting('pephub_migrate.schema')))
        AND relname = ANY ('{{names}}'::name[])
) AS c
WHERE NOT EXISTS (
    SELECT
    FROM pg_depend AS d
    WHERE d.classid = 'pg_class'::regclass
        AND d.objid = c.oid
        AND d.refclassid = 'pg_class'::regclass
        AND d.refobjid IN (SELECT oid FROM tables)
        AND d.deptype IN ('a', 'i')
)
AND NOT EXISTS (
    SELECT
    FROM pg_index AS i
    WHERE i.indexrelid = c.oid AND i.indrelid IN (SELECT oid FROM tables)
)
