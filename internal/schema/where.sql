-- Every name is to mean what it means to pepdbagent, which never qualifies one. The owner is whom the tables
-- all belong to, if that is another role that this one can act as.
SELECT set_config(
    'search_path',
    coalesce(
        (
            SELECT quote_ident(n.nspname)
            FROM pg_class AS c
            JOIN pg_namespace AS n ON n.oid = c.relnamespace
            WHERE c.oid = to_regclass('projects')
        ),
        quote_ident(current_schema()),
        ''
    ),
    true
) AS schema,
(
    SELECT quote_ident(r.rolname)
    FROM pg_class AS c
    JOIN pg_roles AS r ON r.oid = c.relowner
    WHERE c.oid = to_regclass('projects') AND r.rolname <> current_user AND pg_has_role(r.oid, 'MEMBER')
        AND NOT EXISTS (
            SELECT
            FROM pg_class AS x
            WHERE x.relnamespace = c.relnamespace
                AND x.relname = ANY ('{{tables}}'::name[] || '{schema_migrations,alembic_version}'::name[])
                AND x.relowner <> c.relowner
        )
) AS owner,
pg_is_in_recovery() AS standby,
set_config('quote_all_identifiers', 'off', true),
-- Somebody may keep a version table locked. A transaction of our own has set its limit before.
CASE WHEN current_setting('lock_timeout') = '0' THEN set_config('lock_timeout', '1s', true) END
