-- Nobody makes a function, an operator or a cast until the end of the transaction: what is planted after the look for it
-- would be called. Only a superuser may have that, and has the most to lose.
DO $do$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = current_user AND rolsuper) THEN
        LOCK TABLE pg_proc, pg_operator, pg_cast IN SHARE ROW EXCLUSIVE MODE;
    END IF;
END
$do$;
