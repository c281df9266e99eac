-- What the catalogs say of PEPhub's tables, as it is: catalogs.go puts it together. The names in double braces are those in all
-- snapshots.
--
-- A session that is new has all its caches to fill, and most of the time goes into that and into planning. So there are many
-- small queries, which go to the server together, each on one catalog by its index, without a join. The oids are looked up once
-- for all of them, and kept in a setting, which a subquery reads: a mere expression would be evaluated again for each row.
--
-- None of it opens one of PEPhub's tables, as pg_get_constraintdef and pg_get_indexdef do: they would queue behind the very
-- migration that a waiting instance is looking at.
SELECT set_config(
    'pephub_migrate.relations',
    ARRAY(
        SELECT oid
        FROM pg_class
        WHERE relnamespace = to_regnamespace(quote_ident(current_schema()))
            AND relname = ANY ('{{relations}}')
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
    CASE WHEN attcollation NOT IN (0, 100) THEN attcollation::regcollation END,
    attnotnull, attgenerated <> '', attidentity <> ''
FROM pg_attribute
WHERE attrelid = ANY ((SELECT current_setting('pephub_migrate.relations')::oid[])::oid[])
    AND attnum > 0
    AND NOT attisdropped;

-- The relation is not passed to pg_get_expr, which would open it; only the expression of a generated column needs it, which
-- has a variable in it.
SELECT adrelid, adnum, CASE WHEN strpos(adbin::text, '{VAR ') = 0 THEN pg_get_expr(adbin, 0) END
FROM pg_attrdef
WHERE adrelid = ANY ((SELECT current_setting('pephub_migrate.relations')::oid[])::oid[]);

-- PostgreSQL 18 has rows of type n for NOT NULL, which the columns say.
SELECT
    conrelid, quote_ident(conname), contype, conkey, nullif(confrelid, 0), confrelid::regclass, confkey,
    confmatchtype, confupdtype, confdeltype, condeferrable, convalidated
FROM pg_constraint
WHERE conrelid = ANY ((SELECT current_setting('pephub_migrate.relations')::oid[])::oid[])
    AND contype <> 'n';

SELECT indexrelid, indrelid, indkey, indisunique, indpred IS NOT NULL, indisvalid
FROM pg_index
WHERE indexrelid = ANY ((SELECT current_setting('pephub_migrate.relations')::oid[])::oid[]);

-- What a column owns beside sequences, an index for example, has no type.
SELECT
    objid::regclass, (SELECT format_type(seqtypid, NULL) FROM pg_sequence WHERE seqrelid = objid), refobjid, refobjsubid
FROM pg_depend
WHERE refclassid = 'pg_class'::regclass
    AND refobjid = ANY ((SELECT current_setting('pephub_migrate.relations')::oid[])::oid[])
    AND refobjsubid > 0
    AND classid = 'pg_class'::regclass
    AND deptype IN ('a', 'i');

SELECT enumtypid::regtype, enumlabel
FROM pg_enum
WHERE enumtypid IN ({{enum types}})
ORDER BY enumsortorder;

SELECT description
FROM pg_description
WHERE classoid = 'pg_class'::regclass AND objoid = to_regclass('schema_migrations') AND objsubid = 0
