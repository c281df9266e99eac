-- Who holds the lock by which one instance at a time migrates: a session, or a prepared
-- transaction that nobody has ended. It is able to be an instance if its role can act for
-- the owner of PEPhub's tables, or make the first of them; anybody who may connect can
-- take the lock. What a session does is hidden from roles without pg_read_all_stats: then
-- it is taken to work.
SELECT
    l.pid,
    a.application_name,
    a.xact_start,
    a.usename AS role,
    (
        SELECT p.gid
        FROM pg_locks AS t
        JOIN pg_prepared_xacts AS p ON p.transaction = t.transactionid
        WHERE l.pid IS NULL AND t.pid IS NULL AND t.locktype = 'transactionid' AND t.virtualtransaction = l.virtualtransaction
        LIMIT 1
    ) AS prepared,
    CASE
        WHEN l.pid IS NULL THEN 'prepared'
        WHEN NOT coalesce(
            (
                SELECT bool_and(pg_has_role(a.usesysid, c.relowner, 'MEMBER'))
                FROM pg_class AS c
                WHERE c.relnamespace = to_regnamespace(quote_ident(current_setting('pephub_migrate.schema')))
                    AND c.relname = ANY ('{{tables}}'::name[])
                    AND c.relkind IN ('r', 'p')
            ),
            has_schema_privilege(a.usesysid, to_regnamespace(quote_ident(current_setting('pephub_migrate.schema'))), 'CREATE'),
            true
        ) THEN 'unable'
        WHEN a.state <> 'active' THEN 'idle'
        WHEN EXISTS (SELECT FROM pg_locks AS w WHERE w.pid = l.pid AND NOT w.granted) THEN 'waiting'
        ELSE 'working'
    END AS doing
FROM pg_locks AS l
LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE {{is_held}}
LIMIT 1
