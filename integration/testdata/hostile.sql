-- Statements that plant, in the schemas of the setting hostile.schemas, an overload for every function of PostgreSQL's whose
-- name is in the setting hostile.names, and for every operator, with arguments of such types as match better than those of
-- pg_catalog, and with the very same ones. Each counts its calls in a sequence, which no rollback undoes. Some cannot be
-- made. The search path is pg_catalog, or they would be called here.
WITH functions AS (
    SELECT DISTINCT p.proname, p.prokind, pg_get_function_result(p.oid) AS result, a.arguments
    FROM pg_proc AS p
    CROSS JOIN LATERAL (SELECT p.proargtypes::regtype[]::text[] AS types) AS t
    CROSS JOIN LATERAL unnest(ARRAY[
        array_to_string(t.types, ', '),
        array_to_string(array_replace(t.types, 'text', 'character varying'), ', '),
        array_to_string(array_replace(t.types, 'text', 'name'), ', '),
        array_to_string(array_replace(array_replace(t.types, 'name', 'character varying'), 'oid', 'regclass'), ', '),
        array_to_string(array_replace(array_replace(t.types, 'bigint', 'integer'), 'anyarray', 'name[]'), ', '),
        array_to_string(array_replace(array_replace(t.types, '"any"', 'character varying'), 'anyelement', 'character varying'), ', '),
        array_to_string(array_replace(array_replace(t.types, '"any"', 'text'), 'json', 'jsonb'), ', ')
    ]) AS a (arguments)
    WHERE p.pronamespace = 'pg_catalog'::regnamespace
        AND p.prokind IN ('f', 'a')
        AND p.proname = ANY (current_setting('hostile.names')::name[])
),
operators AS (
    SELECT DISTINCT o.oprname, l.type AS left_type, r.type AS right_type, o.oprresult::regtype::text AS result
    FROM pg_operator AS o
    CROSS JOIN unnest(ARRAY['character varying', 'name', 'text', 'oid', 'regclass', '"char"', 'integer']) AS l (type)
    CROSS JOIN unnest(ARRAY['character varying', 'name', 'text', 'oid', 'regclass', '"char"', 'integer']) AS r (type)
    WHERE o.oprnamespace = 'pg_catalog'::regnamespace
        AND o.oprname IN ('=', '<>', '<', '>', '||', '~', '!~', '~~', '!~~', '->>', '+', '-', '*')
        AND o.oprkind = 'b' AND o.oprresult IN ('boolean'::regtype, 'text'::regtype)
)
SELECT format(
    CASE prokind
        WHEN 'a' THEN 'CREATE OR REPLACE FUNCTION %1$I.planted_state (text, %3$s) RETURNS text LANGUAGE plpgsql AS
            ''BEGIN PERFORM pg_catalog.nextval(''''public.planted_calls''''); RETURN NULL; END'';
            CREATE AGGREGATE %1$I.%2$I (%3$s) (SFUNC = %1$I.planted_state, STYPE = text)'
        ELSE 'CREATE FUNCTION %1$I.%2$I (%3$s) RETURNS %4$s LANGUAGE plpgsql AS
            ''BEGIN PERFORM pg_catalog.nextval(''''public.planted_calls''''); RETURN%5$s; END'''
    END,
    place, proname, arguments, result, CASE WHEN result ~* '^(SETOF|TABLE)' THEN '' ELSE ' NULL' END
)
FROM functions, unnest(current_setting('hostile.schemas')::text[]) AS place
UNION ALL
SELECT format(
    'CREATE FUNCTION %1$I.planted_%2$s (%3$s, %4$s) RETURNS %5$s LANGUAGE plpgsql AS
    ''BEGIN PERFORM pg_catalog.nextval(''''public.planted_calls''''); RETURN NULL; END'';
    CREATE OPERATOR %1$I.%6$s (FUNCTION = %1$I.planted_%2$s, LEFTARG = %3$s, RIGHTARG = %4$s)',
    place, md5(oprname || left_type || right_type || result), left_type, right_type, result, oprname
)
FROM operators, unnest(current_setting('hostile.schemas')::text[]) AS place
