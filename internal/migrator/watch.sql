-- What the server knows of the session {{pid}} that migrates: whom it waits for, what it
-- says of itself in application_name, and how far an index has come. One row, with NULL
-- for what does not apply; none if that session does not hold the lock any more.
SELECT
    coalesce((SELECT relname FROM pg_class WHERE oid = w.relation), w.locktype) AS waits_for,
    w.mode,
    b.pid AS held_by,
    b.application_name,
    b.state,
    b.xact_start AS since,
    p.gid AS prepared_transaction,
    'ROLLBACK PREPARED ' || quote_literal(p.gid) AS remedy,
    CASE WHEN w.pid IS NULL THEN substring(a.application_name FROM '^pephub-migrate: (.+)$') END AS doing,
    (SELECT relname FROM pg_class WHERE oid = i.relid) AS "table", -- unknown to others while it is new
    i.phase,
    CASE
        WHEN i.blocks_total > 0 AND i.blocks_done < i.blocks_total THEN 100 * i.blocks_done / i.blocks_total
        WHEN i.tuples_total > 0 THEN 100 * i.tuples_done / i.tuples_total
    END || '%' AS done,
    CASE WHEN a.state LIKE 'idle%' THEN a.state_change END AS idle_since -- for the watcher, not for the log
FROM pg_locks AS l
JOIN pg_stat_activity AS a ON a.pid = l.pid
LEFT JOIN pg_locks AS w ON w.pid = l.pid AND NOT w.granted
LEFT JOIN LATERAL (
    SELECT o.pid, o.application_name, o.state, o.xact_start
    FROM pg_stat_activity AS o
    WHERE w.pid IS NOT NULL AND o.pid = ANY (pg_blocking_pids(l.pid))
    ORDER BY o.xact_start
    LIMIT 1
) AS b ON true
LEFT JOIN LATERAL (
    -- A prepared transaction has no session; as a blocker it has the number 0.
    SELECT x.gid
    FROM pg_locks AS h
    JOIN pg_locks AS t ON t.pid IS NULL AND t.locktype = 'transactionid' AND t.virtualtransaction = h.virtualtransaction
    JOIN pg_prepared_xacts AS x ON x.transaction = t.transactionid
    WHERE w.pid IS NOT NULL AND 0 = ANY (pg_blocking_pids(l.pid))
        AND h.pid IS NULL AND h.granted AND h.database = w.database AND h.relation = w.relation
    LIMIT 1
) AS p ON true
LEFT JOIN pg_stat_progress_create_index AS i ON i.pid = l.pid
WHERE l.pid = {{pid}}
    AND {{is_held}}
LIMIT 1
