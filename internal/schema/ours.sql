-- Leaves in settings, for the queries that follow in the same transaction: the oids of
-- the relations that go by the names of PEPhub's tables, their schema as it stands in
-- front of a name, and where the name begins behind it. It returns first what Database
-- says of the place.
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
    set_config('pephub_migrate.prefix', concat(quote_ident(current_setting('pephub_migrate.schema')), '.'), true),
    set_config('pephub_migrate.bare', (length(quote_ident(current_setting('pephub_migrate.schema'))) + 2)::text, true)
