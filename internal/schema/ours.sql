-- For the queries that follow in the same transaction: the relations that go by the names of PEPhub's tables, and the pattern
-- for their schema in front of a name. The search path is pg_catalog alone, so the server writes the schema, and a shape has
-- none. It returns what Database says of the place.
SELECT
    CASE WHEN current_setting('pephub_migrate.schema') <> '' THEN quote_ident(current_setting('pephub_migrate.schema')) END,
    current_setting('pephub_migrate.path'),
    pg_is_in_recovery(),
    set_config(
        'pephub_migrate.relations',
        ARRAY(
            SELECT oid
            FROM pg_class
            WHERE relnamespace = (SELECT to_regnamespace(quote_ident(current_setting('pephub_migrate.schema')))::oid)
                AND relname = ANY ((SELECT '{{tables}}'::name[])::name[])
        )::text,
        true
    ),
    set_config(
        'pephub_migrate.prefix',
        -- A quote stands twice where the name stands in a literal.
        '^(nextval\(''|)'
        || replace(regexp_replace(quote_ident(current_setting('pephub_migrate.schema')), '(\W)', '\\\1', 'g'), '''', '''+') || '\.',
        true
    )
