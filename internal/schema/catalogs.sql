-- What the catalogs say of PEPhub's tables, as it is: catalogs.go puts it together. The names in double braces are those in all
-- snapshots.
--
-- A session that is new has all its caches to fill, and most of the time goes into that and into planning. So there are many
-- small queries, which go to the server together, each on one catalog by its index, without a join. The oids are looked up once
-- for all of them, and kept in a setting, which a subquery reads: a mere expression would be evaluated again for each row. Other
-- values stand in subqueries too: for a constant the planner reads the statistics of the column, which costs a new session more than
-- the query. What little can be left out of the result without one is left to catalogs.go.
--
-- None of it opens one of PEPhub's tables, as pg_get_constraintdef and pg_get_indexdef do: they would queue behind the very
-- migration that a waiting instance is looking at.
SELECT set_config(
    'pephub_migrate.relations',
    ARRAY(
        SELECT oid
        FROM pg_class
        WHERE relnamespace = (SELECT to_regnamespace(quote_ident(current_schema()))::oid)
            AND relname = ANY ((SELECT '{{relations}}'::name[])::name[])
    )::text,
    true
);

-- The rows of the version tables in the statement's snapshot, as all the rest. query_to_xml runs a statement only if the CASE
-- gets that far: the one way in which a query can read a table that may not be there.
SELECT
    oid, relname, relkind, relpersistence, relam,
    CASE WHEN relkind = 'r' THEN
        CASE relname
            WHEN 'schema_migrations' THEN query_to_xml('SELECT t FROM schema_migrations AS t LIMIT 100', true, true, '')
            WHEN 'alembic_version' THEN query_to_xml('SELECT t FROM alembic_version AS t LIMIT 100', true, true, '')
        END
    END
FROM pg_class
WHERE oid = ANY ((SELECT current_setting('pephub_migrate.relations')::oid[])::oid[]);

-- Collation 100 is "default".
SELECT
    attrelid, attnum, quote_ident(attname), format_type(atttypid, atttypmod),
    CASE WHEN attcollation <> ALL ((SELECT '{0,100}'::oid[])::oid[]) THEN attcollation::regcollation END,
    attnotnull, attgenerated, attidentity
FROM pg_attribute
WHERE attrelid = ANY ((SELECT current_setting('pephub_migrate.relations')::oid[])::oid[])
    AND attnum > (SELECT 0)
    AND NOT attisdropped;

-- The relation is not passed to pg_get_expr, which would open it; only the expression of a generated column needs it, which
-- has a variable in it.
SELECT adrelid, adnum, CASE WHEN strpos(adbin::text, '{VAR ') = 0 THEN pg_get_expr(adbin, 0) END
FROM pg_attrdef
WHERE adrelid = ANY ((SELECT current_setting('pephub_migrate.relations')::oid[])::oid[]);

SELECT
    conrelid, quote_ident(conname), contype, conkey, confrelid, confrelid::regclass, confkey,
    confmatchtype, confupdtype, confdeltype, condeferrable, convalidated
FROM pg_constraint
WHERE conrelid = ANY ((SELECT current_setting('pephub_migrate.relations')::oid[])::oid[]);

SELECT indexrelid, indrelid, indkey, indisunique, indpred IS NOT NULL, indisvalid
FROM pg_index
WHERE indexrelid = ANY ((SELECT current_setting('pephub_migrate.relations')::oid[])::oid[]);

-- What a column owns beside sequences, an index for example, has no type.
SELECT
    objid::regclass, (SELECT seqtypid::regtype FROM pg_sequence WHERE seqrelid = objid), refobjid, refobjsubid
FROM pg_depend
WHERE refclassid = (SELECT 'pg_class'::regclass::oid)
    AND refobjid = ANY ((SELECT current_setting('pephub_migrate.relations')::oid[])::oid[])
    AND refobjsubid > (SELECT 0)
    AND classid = (SELECT 'pg_class'::regclass::oid)
    AND deptype = ANY ((SELECT '{a,i}'::"char"[])::"char"[]);

SELECT enumtypid::regtype, enumlabel
FROM pg_enum
WHERE enumtypid = ANY ((SELECT ARRAY[{{enum types}}]::oid[])::oid[])
ORDER BY enumsortorder;

SELECT description
FROM pg_description
WHERE classoid = (SELECT 'pg_class'::regclass::oid)
    AND objoid = (SELECT to_regclass('schema_migrations')::oid)
    AND objsubid = (SELECT 0)
