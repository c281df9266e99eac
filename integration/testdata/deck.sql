-- Everything that an operator can set or attach, on everything that PEPhub has before 0.12, as far as all of it must be there after
-- the upgrade or have a successor. The tablespace deck_space and the roles of deck-roles.sql are there. A superuser runs it,
-- on PostgreSQL 15 or newer.

-- Some columns go, and with projects.id of 0.4 some things cannot be done while its type changes.
CREATE TEMPORARY TABLE deck_tables AS
SELECT
    c.oid, quote_ident(c.relname) AS name, row_number() OVER (ORDER BY c.relname) AS number,
    CASE WHEN c.relname LIKE 'schema\_group%' THEN 'groups' WHEN c.relname = 'schemas' THEN 'schemas' ELSE 'stays' END AS class
FROM pg_class AS c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r';
CREATE TEMPORARY TABLE deck_columns AS
SELECT
    t.name AS relation, t.number + a.attnum AS number, t.class, t.oid, quote_ident(a.attname) AS name, a.attnum, a.attnotnull,
    format_type(a.atttypid, NULL) AS type, a.attstorage AS storage,
    t.name = 'projects' AND a.atttypid = 'bigint'::regtype AS retyped,
    row_number() OVER (PARTITION BY t.oid ORDER BY a.atttypid = 'bigint'::regtype, a.attnum) AS nth
FROM deck_tables AS t
JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE (t.name, a.attname) NOT IN (('projects', 'project_value'), ('projects', 'pep_schema'), ('samples', 'row_number'));

-- Whatever of the operator's runs while the upgrade writes, stops it.
CREATE FUNCTION deck_ran() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a rule of the deck ran'; END $$;
CREATE FUNCTION deck_fired() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a trigger of the deck ran'; END $$;

-- Indexes, statistics and keys of the operator's own.
DO $$
DECLARE
    t record;
    a text;
    b text;
BEGIN
    FOR t IN SELECT * FROM deck_tables WHERE class = 'stays' LOOP
        SELECT max(name) FILTER (WHERE nth = 1), max(name) FILTER (WHERE nth = 2) INTO a, b
        FROM (SELECT name, row_number() OVER (ORDER BY nth) AS nth FROM deck_columns WHERE oid = t.oid AND type <> 'json') AS c;
        EXECUTE format('CREATE INDEX deck_%1$s_1 ON %1$s (%2$s DESC NULLS LAST, %3$s) INCLUDE (%2$s) WITH (fillfactor = 61) TABLESPACE deck_space WHERE %2$s IS NOT NULL', t.name, a, b);
        EXECUTE format('CREATE INDEX deck_%1$s_2 ON %1$s (lower(%2$s::text) text_pattern_ops, (%3$s::text || ''x'') COLLATE "C")', t.name, a, b);
        EXECUTE format('ALTER INDEX deck_%s_2 ALTER COLUMN 1 SET STATISTICS 71', t.name);
        EXECUTE format('CREATE INDEX deck_%1$s_3 ON %1$s USING brin (%2$s) WITH (pages_per_range = 7, autosummarize = on)', t.name, a);
        EXECUTE format('CREATE UNIQUE INDEX deck_%1$s_4 ON %1$s (%2$s, %3$s) NULLS NOT DISTINCT WHERE %2$s IS NULL', t.name, a, b);
        EXECUTE format('CREATE STATISTICS deck_%1$s_5 (dependencies, mcv) ON %2$s, %3$s FROM %1$s', t.name, a, b);
        EXECUTE format('ALTER STATISTICS deck_%s_5 SET STATISTICS 72', t.name);
        EXECUTE format('CREATE STATISTICS deck_%1$s_6 ON lower(%2$s::text), length(%3$s::text) FROM %1$s', t.name, a, b);
        EXECUTE format('ALTER STATISTICS deck_%s_6 OWNER TO deck_owner', t.name);
        EXECUTE format('COMMENT ON STATISTICS deck_%1$s_5 IS ''statistics of %1$s''', t.name);
    END LOOP;
    -- Of a column that is retyped too.
    FOR t IN SELECT * FROM deck_columns WHERE retyped LOOP
        EXECUTE format('CREATE STATISTICS deck_retyped ON %s, name FROM %s', t.name, t.relation);
        ALTER STATISTICS deck_retyped SET STATISTICS 73;
        COMMENT ON STATISTICS deck_retyped IS 'of a column that is retyped';
        EXECUTE format('CREATE UNIQUE INDEX deck_retyped_key ON %s (%s) WITH (fillfactor = 62) TABLESPACE deck_space', t.relation, t.name);
        EXECUTE format('CREATE INDEX deck_retyped_expression ON %s ((%s %% 7))', t.relation, t.name);
        ALTER INDEX deck_retyped_expression ALTER COLUMN 1 SET STATISTICS 74;
        EXECUTE format(
            'CREATE TABLE deck_notes (id integer PRIMARY KEY, ref bigint, note text, CONSTRAINT deck_notes_fkey FOREIGN KEY (ref) REFERENCES %s (%s) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED)',
            t.relation, t.name
        );
    END LOOP;
END
$$;

-- Foreign keys from elsewhere, whole and not, to every key that is there to stay.
DO $$
DECLARE
    k record;
BEGIN
    FOR k IN
        SELECT
            t.name, t.number, quote_ident(c.conname) AS key, cardinality(c.conkey) AS width,
            (SELECT string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY x.n) FROM unnest(c.conkey) WITH ORDINALITY AS x (k, n) JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = x.k) AS columns,
            (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY x.n) FROM unnest(c.conkey) WITH ORDINALITY AS x (k, n) JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = x.k) AS names
        FROM deck_tables AS t
        JOIN pg_constraint AS c ON c.conrelid = t.oid AND c.contype IN ('p', 'u')
        WHERE t.class = 'stays' AND c.conname <> 'id'
    LOOP
        EXECUTE format('CREATE TABLE deck_of_%s (%s, note text)', k.key, k.columns);
        EXECUTE format('INSERT INTO deck_of_%s SELECT %s FROM %s', k.key, k.names, k.name);
        EXECUTE format(
            'ALTER TABLE deck_of_%1$s ADD CONSTRAINT deck_%1$s_fkey FOREIGN KEY (%2$s) REFERENCES %3$s (%2$s) %4$s',
            k.key, k.names, k.name,
            (ARRAY['ON DELETE CASCADE', 'MATCH FULL ON UPDATE CASCADE NOT VALID', 'ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED'])[1 + k.number % 3]
        );
    END LOOP;
END
$$;
CREATE SCHEMA deck_elsewhere;
CREATE TABLE deck_elsewhere.plain (id integer PRIMARY KEY, ref integer);
DO $$
BEGIN
    IF to_regclass('samples') IS NOT NULL THEN
        ALTER TABLE deck_elsewhere.plain ADD CONSTRAINT plain_fkey FOREIGN KEY (ref) REFERENCES samples;
        COMMENT ON CONSTRAINT plain_fkey ON deck_elsewhere.plain IS 'from a schema that the owner may not use';
    END IF;
END
$$;
ALTER TABLE deck_elsewhere.plain OWNER TO deck_second;

-- The triggers of foreign keys, PEPhub's own and others.
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT g.tgrelid::regclass AS relation, quote_ident(g.tgname) AS name, row_number() OVER (ORDER BY k.conname, p.proname) AS number
        FROM pg_trigger AS g
        JOIN pg_constraint AS k ON k.oid = g.tgconstraint
        JOIN pg_proc AS p ON p.oid = g.tgfoid
        JOIN pg_class AS c ON c.oid = k.conrelid
        WHERE g.tgisinternal AND c.relname NOT LIKE 'schema%'
    LOOP
        EXECUTE format(
            'ALTER TABLE %s %s TRIGGER %s',
            one.relation, (ARRAY['ENABLE ALWAYS', 'ENABLE', 'ENABLE REPLICA', 'DISABLE', 'ENABLE'])[1 + one.number % 5], one.name
        );
    END LOOP;
END
$$;

-- Policies, triggers and rules, in every state.
DO $$
DECLARE
    t record;
    a text;
BEGIN
    FOR t IN SELECT * FROM deck_tables WHERE class = 'stays' LOOP
        a := (SELECT name FROM deck_columns WHERE oid = t.oid AND NOT retyped ORDER BY nth LIMIT 1);
        EXECUTE format('CREATE POLICY deck_1 ON %s USING (%s IS NOT NULL) WITH CHECK (current_user <> ''x'')', t.name, a);
        EXECUTE format('CREATE POLICY "deck 2" ON %s AS RESTRICTIVE FOR SELECT TO deck_reader, deck_second USING (%s::text <> ''"'')', t.name, a);
        EXECUTE format('COMMENT ON POLICY deck_1 ON %1$s IS ''policy of %1$s''', t.name);
        EXECUTE format('CREATE TRIGGER deck_1 BEFORE INSERT OR UPDATE OF %2$s ON %1$s FOR EACH ROW WHEN (NEW.%2$s IS NOT NULL) EXECUTE FUNCTION deck_fired(''x'')', t.name, a);
        EXECUTE format('CREATE TRIGGER "deck 2" AFTER UPDATE ON %s REFERENCING OLD TABLE AS old NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION deck_fired()', t.name);
        EXECUTE format('CREATE TRIGGER deck_3 AFTER TRUNCATE ON %s EXECUTE FUNCTION deck_fired()', t.name);
        EXECUTE format('COMMENT ON TRIGGER deck_1 ON %1$s IS ''trigger of %1$s''', t.name);
        EXECUTE format('CREATE RULE deck_1 AS ON UPDATE TO %s WHERE OLD.%s IS NOT NULL DO ALSO SELECT deck_ran()', t.name, a);
        EXECUTE format('CREATE RULE "deck 2" AS ON INSERT TO %s DO ALSO SELECT deck_ran()', t.name);
        EXECUTE format('COMMENT ON RULE deck_1 ON %1$s IS ''rule of %1$s''', t.name);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER deck_1', t.name);
        EXECUTE format('ALTER TABLE %s ENABLE REPLICA TRIGGER "deck 2"', t.name);
        EXECUTE format('ALTER TABLE %s %s RULE deck_1', t.name, (ARRAY['ENABLE ALWAYS', 'ENABLE REPLICA', 'DISABLE'])[1 + t.number % 3]);
        EXECUTE format('ALTER TABLE %s %s TRIGGER deck_3', t.name, (ARRAY['DISABLE', 'ENABLE'])[1 + t.number % 2]);
    END LOOP;
END
$$;

-- Views, of columns that stay. One groups by the primary key, and so depends on it.
DO $$
DECLARE
    t record;
    list text;
BEGIN
    FOR t IN SELECT * FROM deck_tables WHERE class = 'stays' LOOP
        list := (SELECT string_agg(name, ', ' ORDER BY nth) FROM deck_columns WHERE oid = t.oid AND NOT retyped);
        EXECUTE format('CREATE VIEW deck_view_%1$s WITH (security_barrier = true) AS SELECT %2$s FROM %1$s', t.name, list);
        EXECUTE format('CREATE VIEW deck_view_of_view_%1$s WITH (security_invoker = true, check_option = local) AS SELECT * FROM deck_view_%1$s', t.name);
        EXECUTE format('CREATE MATERIALIZED VIEW deck_counted_%1$s TABLESPACE deck_space AS SELECT count(*) AS counted FROM %1$s', t.name);
        EXECUTE format('CREATE UNIQUE INDEX deck_counted_%1$s_key ON deck_counted_%1$s (counted)', t.name);
        EXECUTE format('COMMENT ON VIEW deck_view_%1$s IS ''view of %1$s''', t.name);
        EXECUTE format('GRANT SELECT ON deck_view_%1$s TO deck_reader WITH GRANT OPTION', t.name);
        EXECUTE format('ALTER VIEW deck_view_%1$s OWNER TO deck_owner', t.name);
        EXECUTE format('CREATE FUNCTION deck_rows_of_%1$s() RETURNS SETOF deck_view_%1$s LANGUAGE sql AS $f$ SELECT * FROM deck_view_%1$s $f$', t.name);
    END LOOP;
    IF to_regclass('samples') IS NOT NULL THEN
        CREATE VIEW deck_grouped AS SELECT s.id, s.project_id, count(*) FROM samples AS s GROUP BY s.id;
    END IF;
END
$$;

-- Settings of tables and indexes.
DO $$
DECLARE
    t record;
    x record;
BEGIN
    FOR t IN SELECT * FROM deck_tables LOOP
        IF t.class <> 'groups' THEN
            EXECUTE format('ALTER TABLE %s SET (fillfactor = 77, autovacuum_enabled = false, parallel_workers = 3)', t.name);
        END IF;
        IF t.class = 'stays' THEN
            EXECUTE format('ALTER TABLE %s SET (toast.autovacuum_vacuum_threshold = 78)', t.name);
            IF t.number % 2 = 0 OR t.name = 'projects' THEN
                EXECUTE format('ALTER TABLE %s SET TABLESPACE deck_space', t.name);
            END IF;
            EXECUTE format('ALTER TABLE %s CLUSTER ON %s', t.name, (
                SELECT CASE WHEN t.number % 3 = 0 AND t.name <> 'projects' THEN format('deck_%s_2', t.name) ELSE quote_ident(conname) END
                FROM pg_constraint WHERE conrelid = t.oid AND contype = 'p'
            ));
            EXECUTE format('ALTER TABLE %s REPLICA IDENTITY %s', t.name, (
                SELECT CASE WHEN t.number % 2 = 0 AND t.name <> 'projects' THEN 'FULL' ELSE format('USING INDEX %I', conname) END
                FROM pg_constraint WHERE conrelid = t.oid AND contype = 'p'
            ));
        ELSIF t.class = 'schemas' THEN
            EXECUTE format('ALTER TABLE %s REPLICA IDENTITY FULL', t.name);
        END IF;
        FOR x IN
            SELECT quote_ident(c.relname) AS name, row_number() OVER (ORDER BY c.relname) + t.number AS number
            FROM pg_index AS i
            JOIN pg_class AS c ON c.oid = i.indexrelid
            WHERE i.indrelid = t.oid AND t.class <> 'groups' AND c.relname NOT LIKE 'deck%' AND c.relname NOT LIKE 'ix\_schemas%'
        LOOP
            EXECUTE format('ALTER INDEX %s SET (fillfactor = 79, deduplicate_items = off)', x.name);
            IF t.class = 'stays' AND x.number % 2 = 0 THEN
                EXECUTE format('ALTER INDEX %s SET TABLESPACE deck_space', x.name);
            END IF;
        END LOOP;
    END LOOP;
END
$$;

-- Settings of columns.
DO $$
DECLARE
    c record;
BEGIN
    FOR c IN SELECT * FROM deck_columns WHERE class <> 'groups' LOOP
        EXECUTE format('ALTER TABLE %s ALTER COLUMN %s SET STATISTICS %s', c.relation, c.name, 300 + c.number);
        EXECUTE format('ALTER TABLE %s ALTER COLUMN %s SET (n_distinct = -0.%s, n_distinct_inherited = 5)', c.relation, c.name, c.number);
        IF c.storage <> 'p' THEN
            EXECUTE format('ALTER TABLE %s ALTER COLUMN %s SET STORAGE %s', c.relation, c.name, (ARRAY['EXTERNAL', 'MAIN', 'PLAIN'])[1 + c.number % 2]);
            EXECUTE format('ALTER TABLE %s ALTER COLUMN %s SET COMPRESSION pglz', c.relation, c.name);
        END IF;
    END LOOP;
END
$$;

-- Sequences.
DO $$
DECLARE
    s record;
BEGIN
    FOR s IN
        SELECT c.oid::regclass AS name
        FROM pg_class AS c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'S' AND c.relname <> 'schema_groups_id_seq'
    LOOP
        EXECUTE format('ALTER SEQUENCE %s INCREMENT 3 MINVALUE -5 MAXVALUE 2000000000 START 2 CACHE 4 CYCLE', s.name);
        EXECUTE format('COMMENT ON SEQUENCE %1$s IS ''sequence %1$s''', s.name);
    END LOOP;
END
$$;

-- Comments on everything else. PostgreSQL 18 has a constraint for each NOT NULL; that of last_update_date goes in 0.5.
DO $$
DECLARE
    o record;
BEGIN
    FOR o IN
        SELECT format('TABLE %s', name) AS what FROM deck_tables WHERE class <> 'groups'
        UNION ALL
        SELECT format('COLUMN %s.%s', relation, name) FROM deck_columns WHERE class <> 'groups'
        UNION ALL
        SELECT format('CONSTRAINT %I ON %s', k.conname, k.conrelid::regclass)
        FROM pg_constraint AS k
        LEFT JOIN deck_tables AS t ON t.oid = k.conrelid
        WHERE k.connamespace = 'public'::regnamespace
            AND t.class IS DISTINCT FROM 'groups'
            AND (k.contype <> 'n' OR t.class = 'stays' AND EXISTS (
                SELECT FROM deck_columns AS c WHERE c.oid = k.conrelid AND c.attnum = k.conkey[1] AND c.name <> 'last_update_date'
            ))
        UNION ALL
        SELECT format('INDEX %s', i.indexrelid::regclass)
        FROM pg_index AS i
        JOIN pg_class AS c ON c.oid = i.indexrelid
        LEFT JOIN deck_tables AS t ON t.oid = i.indrelid
        WHERE c.relnamespace = 'public'::regnamespace AND t.class IS DISTINCT FROM 'groups' AND c.relname NOT LIKE 'ix\_schemas%'
        UNION ALL
        SELECT format('TYPE %s', name) FROM deck_tables WHERE class = 'stays'
        UNION ALL
        SELECT 'TYPE updatetypes' WHERE to_regtype('updatetypes') IS NOT NULL
    LOOP
        EXECUTE format('COMMENT ON %s IS %L', o.what, 'comment on ' || o.what);
    END LOOP;
END
$$;

-- Security labels, as if there were a provider.
SET allow_system_table_mods = on;
INSERT INTO pg_seclabel (objoid, classoid, objsubid, provider, label)
SELECT oid, 'pg_class'::regclass, 0, 'deck', 'label of ' || name FROM deck_tables WHERE class = 'stays'
UNION ALL
SELECT oid, 'pg_class'::regclass, attnum, 'deck', 'label of ' || name FROM deck_columns WHERE class = 'stays'
UNION ALL
SELECT oid, 'pg_class'::regclass, 0, 'deck', 'label of ' || relname FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'S' AND relname NOT LIKE 'schema%';
RESET allow_system_table_mods;

-- Privileges on tables, columns, sequences and types, some with the right to pass them on, which somebody has used.
DO $$
DECLARE
    o record;
BEGIN
    FOR o IN SELECT * FROM deck_tables LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', o.name);
        EXECUTE format('GRANT SELECT ON %s TO deck_reader WITH GRANT OPTION', o.name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE, REFERENCES ON %s TO deck_writer', o.name);
        IF o.class = 'stays' THEN
            SET LOCAL ROLE deck_reader;
            EXECUTE format('GRANT SELECT ON %s TO deck_second', o.name);
            RESET ROLE;
            EXECUTE format('GRANT USAGE ON TYPE %s TO deck_second', o.name);
        END IF;
    END LOOP;
    FOR o IN SELECT * FROM deck_columns WHERE class <> 'groups' LOOP
        EXECUTE format('GRANT SELECT (%s) ON %s TO deck_column WITH GRANT OPTION', o.name, o.relation);
        EXECUTE format('GRANT UPDATE (%1$s), INSERT (%1$s) ON %2$s TO deck_second', o.name, o.relation);
    END LOOP;
    FOR o IN SELECT attrelid::regclass AS relation, attname FROM pg_attribute WHERE attname IN ('project_value', 'pep_schema') AND attrelid = 'projects'::regclass LOOP
        EXECUTE format('GRANT SELECT (%s) ON projects TO deck_column WITH GRANT OPTION', o.attname);
    END LOOP;
    FOR o IN SELECT oid::regclass AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'S' LOOP
        EXECUTE format('GRANT USAGE ON SEQUENCE %s TO deck_writer WITH GRANT OPTION', o.name);
        EXECUTE format('GRANT SELECT ON SEQUENCE %s TO deck_reader', o.name);
    END LOOP;
    IF to_regtype('updatetypes') IS NOT NULL THEN
        GRANT USAGE ON TYPE updatetypes TO deck_reader WITH GRANT OPTION;
        REVOKE USAGE ON TYPE updatetypes FROM PUBLIC;
    END IF;
    REVOKE TRUNCATE ON projects FROM deck_writer;
    -- What is made later is not for everybody, although this says so.
    ALTER DEFAULT PRIVILEGES FOR ROLE deck_owner GRANT SELECT ON TABLES TO PUBLIC, deck_stranger;
    ALTER DEFAULT PRIVILEGES FOR ROLE deck_owner IN SCHEMA public GRANT SELECT ON TABLES TO deck_stranger;
    EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I GRANT SELECT ON TABLES TO PUBLIC', current_user);
END
$$;

-- Publications. What is filtered is none of what new tables take after.
DO $$
DECLARE
    t record;
    a text;
BEGIN
    CREATE PUBLICATION deck_all;
    CREATE PUBLICATION deck_filtered WITH (publish = 'insert', publish_via_partition_root = true);
    COMMENT ON PUBLICATION deck_all IS 'publication of the deck';
    FOR t IN SELECT * FROM deck_tables WHERE class <> 'groups' LOOP
        EXECUTE format('ALTER PUBLICATION deck_all ADD TABLE ONLY %s', t.name);
        a := (SELECT name FROM deck_columns WHERE oid = t.oid AND type <> 'json' ORDER BY nth LIMIT 1);
        IF t.class = 'stays' AND t.name <> 'projects' THEN
            EXECUTE format('ALTER PUBLICATION deck_filtered ADD TABLE ONLY %1$s (%2$s) WHERE (%2$s IS NOT NULL)', t.name, a);
        END IF;
    END LOOP;
END
$$;
