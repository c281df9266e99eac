-- Every name is to mean what it means to pepdbagent, which never qualifies one. Somebody may keep a version table locked: a
-- transaction of our own has set its limit before, and left a setting by which it can be told.
SELECT
    set_config(
        'search_path',
        coalesce(
            (pg_identify_object('pg_class'::regclass, to_regclass('projects'), 0)).schema,
            quote_ident(current_schema()),
            ''
        ),
        true
    ) AS schema,
    pg_is_in_recovery() AS standby,
    set_config('quote_all_identifiers', 'off', true),
    CASE
        WHEN coalesce(current_setting('pephub_migrate.allow_data_loss', true), '') = '' THEN set_config('lock_timeout', '1s', true)
    END
