-- Plants, in the schemas :schemas, an overload for every function of PostgreSQL's whose name is in :names, and for every
-- operator, with arguments of such types as match better than those of pg_catalog, and with the very same ones. Each counts
-- its calls in a sequence, which no rollback undoes. What cannot be made is left out.
SET search_path = pg_catalog, pg_temp; -- or they would be called here
CREATE SEQUENCE public.planted_calls;
GRANT ALL ON SEQUENCE public.planted_calls TO PUBLIC;

DO $plant$
DECLARE
    place text;
    f record;
    arguments text;
    made integer := 0;
BEGIN
    FOREACH place IN ARRAY current_setting('hostile.schemas')::text[] LOOP
        FOR f IN
            SELECT p.proname, p.proargtypes::regtype[]::text[] AS types, pg_get_function_result(p.oid) AS result, p.prokind
            FROM pg_proc AS p
            WHERE p.pronamespace = 'pg_catalog'::regnamespace
                AND p.prokind IN ('f', 'a')
                AND p.proname = ANY (current_setting('hostile.names')::name[])
        LOOP
            FOREACH arguments IN ARRAY ARRAY[
                array_to_string(f.types, ', '),
                array_to_string(array_replace(f.types, 'text', 'varchar'), ', '),
                array_to_string(array_replace(f.types, 'text', 'name'), ', '),
                array_to_string(array_replace(array_replace(f.types, 'name', 'varchar'), 'oid', 'regclass'), ', '),
                array_to_string(array_replace(array_replace(f.types, 'bigint', 'integer'), 'anyarray', 'varchar[]'), ', '),
                array_to_string(array_replace(array_replace(f.types, '"any"', 'varchar'), 'anyelement', 'varchar'), ', '),
                array_to_string(array_replace(array_replace(f.types, '"any"', 'text'), 'json', 'jsonb'), ', ')
            ] LOOP
                BEGIN
                    IF f.prokind = 'a' THEN
                        EXECUTE format(
                            'CREATE OR REPLACE FUNCTION public.planted_state(text, %s) RETURNS text LANGUAGE plpgsql AS
                            $body$BEGIN PERFORM pg_catalog.nextval(''public.planted_calls''); RETURN NULL; END$body$',
                            arguments
                        );
                        EXECUTE format(
                            'CREATE AGGREGATE %I.%I (%s) (SFUNC = public.planted_state, STYPE = text)', place, f.proname, arguments
                        );
                    ELSE
                        EXECUTE format(
                            'CREATE FUNCTION %I.%I (%s) RETURNS %s LANGUAGE plpgsql AS
                            ''BEGIN PERFORM pg_catalog.nextval(''''public.planted_calls''''); RETURN%s; END''',
                            place, f.proname, arguments, f.result,
                            CASE WHEN f.result ~* '^(SETOF|TABLE)' THEN '' ELSE ' NULL' END
                        );
                    END IF;
                    made := made + 1;
                EXCEPTION
                    WHEN OTHERS THEN
                        CONTINUE;
                END;
            END LOOP;
        END LOOP;
        FOR f IN
            SELECT DISTINCT o.oprname, l.type AS left_type, r.type AS right_type, o.oprresult::regtype::text AS result
            FROM pg_operator AS o
            CROSS JOIN unnest(ARRAY['varchar', 'name', 'text', 'oid', 'regclass', '"char"', 'integer', 'varchar[]', 'name[]', 'json', 'jsonb']) AS l (type)
            CROSS JOIN unnest(ARRAY['varchar', 'name', 'text', 'oid', 'regclass', '"char"', 'integer', 'varchar[]', 'name[]']) AS r (type)
            WHERE o.oprnamespace = 'pg_catalog'::regnamespace
                AND o.oprname IN ('=', '<>', '<', '>', '<=', '>=', '||', '~', '!~', '~*', '!~*', '~~', '!~~', '->', '->>', '#>>', '@>', '<@', '?', '+', '-', '*', '&&')
                AND o.oprkind = 'b' AND o.oprresult IN ('boolean'::regtype, 'text'::regtype, 'integer'::regtype, 'json'::regtype)
        LOOP
            BEGIN
                EXECUTE format(
                    'CREATE FUNCTION %1$I.planted_%2$s (%3$s, %4$s) RETURNS %5$s LANGUAGE plpgsql AS
                    ''BEGIN PERFORM pg_catalog.nextval(''''public.planted_calls''''); RETURN NULL; END''',
                    place, md5(f.oprname || f.left_type || f.right_type), f.left_type, f.right_type, f.result
                );
                EXECUTE format(
                    'CREATE OPERATOR %1$I.%2$s (FUNCTION = %1$I.planted_%3$s, LEFTARG = %4$s, RIGHTARG = %5$s)',
                    place, f.oprname, md5(f.oprname || f.left_type || f.right_type), f.left_type, f.right_type
                );
                made := made + 1;
            EXCEPTION
                WHEN OTHERS THEN
                    CONTINUE;
            END;
        END LOOP;
    END LOOP;
    IF made < 1000 THEN
        RAISE EXCEPTION 'only % overloads could be made', made;
    END IF;
END
$plant$;
RESET search_path;
