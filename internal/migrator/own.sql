-- What an operator has attached to PEPhub's tables, and what a step could take with it, unasked, when it drops a column or
-- a table. A view that would go makes a step fail; PostgreSQL does not ask for these.
SELECT o.kind, c.relname::text, o.name::text, o.enabled::text
FROM (
    SELECT 'TRIGGER' AS kind, tgrelid AS relid, tgname AS name, tgenabled AS enabled
    FROM pg_trigger
    WHERE NOT tgisinternal
    UNION ALL
    SELECT 'RULE', ev_class, rulename, ev_enabled FROM pg_rewrite
    UNION ALL
    SELECT 'POLICY', polrelid, polname, 'O' FROM pg_policy
    UNION ALL
    SELECT 'STATISTICS', stxrelid, stxname, 'O' FROM pg_statistic_ext
    UNION ALL
    SELECT 'INDEX', i.indrelid, x.relname, 'O'
    FROM pg_index AS i
    JOIN pg_class AS x ON x.oid = i.indexrelid
    WHERE x.relname <> ALL ('{{indexes}}'::name[])
        AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
) AS o
JOIN pg_class AS c ON c.oid = o.relid
WHERE c.relnamespace = to_regnamespace(quote_ident(current_schema()))
    AND c.relname = ANY ('{{tables}}'::name[])
    AND c.relkind = 'r'
