-- Nobody makes a function, an operator or a cast until the end of the transaction: what
-- is planted after the look for it would be called. What an open transaction has made
-- already shows when it ends, so those of roles with fewer rights are waited for. Only a
-- superuser may have that, and has the most to lose.
DO $do$
DECLARE
    until timestamptz := clock_timestamp() + current_setting('lock_timeout')::interval;
    others xid[];
    open text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = session_user AND rolsuper) THEN
        RETURN;
    END IF;
    PERFORM set_config('role', 'none', true);
    LOCK TABLE pg_proc, pg_operator, pg_cast IN SHARE ROW EXCLUSIVE MODE;
    LOOP
        SELECT string_agg(t.who, ', '), coalesce(others, array_agg(t.xid)) INTO open, others
        FROM (
            -- An autovacuum worker has no role, which %I would not take.
            SELECT l.transactionid AS xid, format('pid %s of role %s', a.pid, quote_ident(a.usename)) AS who, a.usename AS role
            FROM pg_locks AS l
            JOIN pg_stat_activity AS a ON a.pid = l.pid
            WHERE l.locktype = 'transactionid' AND l.granted AND l.mode = 'ExclusiveLock'
                AND a.datname = current_database() AND a.pid <> pg_backend_pid()
            UNION ALL
            SELECT p.transaction, format('prepared transaction %L of role %I', p.gid, p.owner), p.owner
            FROM pg_prepared_xacts AS p
            WHERE p.database = current_database()
        ) AS t
        JOIN pg_roles AS r ON r.rolname = t.role AND NOT r.rolsuper
        WHERE others IS NULL OR t.xid = ANY (others);
        EXIT WHEN open IS NULL;
        IF clock_timestamp() > until THEN
            RAISE EXCEPTION 'transactions are open that may have made functions: %', open
                USING ERRCODE = 'lock_not_available', HINT = 'end them, or connect as the owner of the tables';
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
END
$do$;
