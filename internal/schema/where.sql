-- Every name is to mean what it means to pepdbagent, which never qualifies one.
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
    set_config('quote_all_identifiers', 'off', true)
