-- Finds PEPhub's schema, for the statements that follow in the same transaction: the
-- first schema of the path that holds a relation projects, or else the first. The setting
-- pephub_migrate.schema is its name, pephub_migrate.path the search path for the steps:
-- that schema, then the others.
--
-- This statement runs under the search path of the role, on which others may have put
-- functions, operators and types. So each of these is written with its schema, and
-- whatever uses an operator without naming it (IN, LIKE, BETWEEN, NULLIF, simple CASE, IS
-- DISTINCT FROM) is not used. A schema whose name begins with pg_ is the system's, or
-- temporary.
SELECT
    pg_catalog.set_config('pephub_migrate.schema', coalesce(schema, ''), true),
    pg_catalog.set_config(
        'pephub_migrate.path',
        pg_catalog.concat(
            pg_catalog.quote_ident(schema) OPERATOR(pg_catalog.||) ', ',
            (
                SELECT pg_catalog.string_agg(pg_catalog.quote_ident(name) OPERATOR(pg_catalog.||) ', ', '')
                FROM pg_catalog.unnest(names) AS name
                WHERE name OPERATOR(pg_catalog.<>) schema
            ),
            'pg_temp'
        ),
        true
    ),
    pg_catalog.set_config('row_security', 'off', true),
    pg_catalog.set_config('quote_all_identifiers', 'off', true),
    pg_catalog.set_config('standard_conforming_strings', 'on', true),
    pg_catalog.set_config('constraint_exclusion', 'off', true), -- it would run what a CHECK calls
    pg_catalog.set_config('jit', 'off', true)
FROM (
    SELECT
        names,
        coalesce((
            SELECT name
            FROM pg_catalog.unnest(names) AS name
            WHERE pg_catalog.to_regclass(pg_catalog.quote_ident(name) OPERATOR(pg_catalog.||) '.projects') IS NOT NULL
            LIMIT 1
        ), names[1]) AS schema
    FROM (
        SELECT ARRAY(
            SELECT name
            FROM pg_catalog.unnest(pg_catalog.current_schemas(false)::pg_catalog.text[]) AS name
            WHERE name OPERATOR(pg_catalog.!~) '^(pg_|information_schema$)'
        ) AS names
        OFFSET 0
    ) AS path
    OFFSET 0
) AS found
