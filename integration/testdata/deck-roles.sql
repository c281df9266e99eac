-- Roles for the deck, the same for all databases, and the owner of PEPhub's tables.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['deck_owner', 'deck_reader', 'deck_writer', 'deck_second', 'deck_column', 'deck_stranger'] LOOP
        BEGIN
            IF to_regrole(name) IS NULL THEN
                EXECUTE format('CREATE ROLE %I', name);
            END IF;
        EXCEPTION
            WHEN unique_violation THEN
                NULL; -- a test that runs beside this one was quicker
        END;
    END LOOP;
    FOR name IN SELECT quote_ident(relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO deck_owner', name);
    END LOOP;
    IF to_regtype('updatetypes') IS NOT NULL THEN
        ALTER TYPE updatetypes OWNER TO deck_owner;
    END IF;
    GRANT CREATE ON SCHEMA public TO deck_owner;
END
$$;
