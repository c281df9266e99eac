-- Nobody makes a function, an operator or a cast until the end of the transaction: what is planted after the look for it
-- would be called. What an open transaction has made already shows when it ends, so those of roles with fewer rights are
-- waited for. Only a superuser may have that, and has the most to lose.
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
        SELECT string_agg(format('pid %s of role %I', a.pid, a.usename), ', '), coalesce(others, array_agg(l.transactionid)) INTO open, others
        FROM pg_locks AS l
        JOIN pg_stat_activity AS a ON a.pid = l.pid
        JOIN pg_roles AS r ON r.oid = a.usesysid AND NOT r.rolsuper
        WHERE l.locktype = 'transactionid' AND l.granted AND l.mode = 'ExclusiveLock'
            AND a.datname = current_database() AND a.pid <> pg_backend_pid()
            AND (others IS NULL OR l.transactionid = ANY (others));
        EXIT WHEN open IS NULL;
        IF clock_timestamp() > until THEN
            RAISE EXCEPTION 'transactions are open that may have made functions: %', open
                USING ERRCODE = 'lock_not_available', HINT = 'end them, or connect as the owner of the tables';
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
END
$do$;
