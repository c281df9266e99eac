-- Every name is to mean what it means to pepdbagent, which never qualifies one.
SELECT
    set_config(
        'search_path',
        coalesce(
            (SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('projects')),
            quote_ident(current_schema()),
            ''
        ),
        true
    ) AS schema,
    pg_is_in_recovery() AS standby,
    set_config('quote_all_identifiers', 'off', true),
    -- Somebody may keep a version table locked. A transaction of our own has set its limit before.
    CASE WHEN current_setting('lock_timeout') = '0' THEN set_config('lock_timeout', '1s', true) END
