-- PEPhub's tables, for the queries that follow within the transaction.
SELECT set_config(
    'pephub_migrate.ours',
    ARRAY(
        SELECT oid
        FROM pg_class
        WHERE relnamespace = to_regnamespace(quote_ident(current_schema())) AND relname = ANY ('{{tables}}'::name[])
    )::text,
    true
)
