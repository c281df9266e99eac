-- What the server knows of the session that migrates: whom it waits for, what it says of itself in application_name, and
-- how far an index has come. One row, with NULL for what does not apply.
SELECT
    coalesce((SELECT relname FROM pg_class WHERE oid = w.relation), w.locktype) AS waits_for,
    w.mode,
    b.pid AS held_by,
    b.application_name,
    b.state,
    b.xact_start AS since,
    CASE WHEN w.pid IS NULL THEN substring(h.application_name FROM '^pephub-migrate: (.+)$') END AS doing,
    (SELECT relname FROM pg_class WHERE oid = p.relid) AS "table", -- unknown to others while it is new
    p.phase,
    CASE
        WHEN p.blocks_total > 0 AND p.blocks_done < p.blocks_total THEN 100 * p.blocks_done / p.blocks_total
        WHEN p.tuples_total > 0 THEN 100 * p.tuples_done / p.tuples_total
    END || '%' AS done
FROM ({{holder}}) AS h
LEFT JOIN pg_locks AS w ON w.pid = h.pid AND NOT w.granted
LEFT JOIN LATERAL (
    SELECT a.pid, a.application_name, a.state, a.xact_start
    FROM pg_stat_activity AS a
    WHERE w.pid IS NOT NULL AND a.pid = ANY (pg_blocking_pids(h.pid))
    ORDER BY a.xact_start
    LIMIT 1
) AS b ON true
LEFT JOIN pg_stat_progress_create_index AS p ON p.pid = h.pid
LIMIT 1
