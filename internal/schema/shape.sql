-- The shape of PEPhub's tables, a line of text for each object, the same on every
-- supported server; and a line for each of the two version tables. The names in double
-- braces are those in all snapshots. ours.sql comes first.
--
-- A session that is new has all its caches to fill, and most of the time goes into that
-- and into planning. So there are many small queries, which go to the server together,
-- each on one catalog by its index, if it can be without a join. The oids are looked up
-- once, and kept in a setting, which a subquery reads: a mere expression would be
-- evaluated again for each row. Other values stand in subqueries too: for a constant the
-- planner reads the statistics of the column. Each operator and function is looked up
-- once more for each combination of types, so there is concat where || would do.
--
-- The search path is pg_catalog alone, so the server writes the schema in front of each
-- name, and a shape has none of PEPhub's.
--
-- None of it opens one of PEPhub's tables, as pg_get_constraintdef and pg_get_indexdef
-- do: they would queue behind the very migration that a waiting instance is looking at.
-- The wording of those depends on the server's version, too. The name of a column comes
-- from pg_identify_object_as_address, which looks into the caches and needs no plan.
SELECT concat(
    'table ', relname,
    ': ' || nullif(concat_ws(
        ' ',
        CASE relpersistence WHEN 'u' THEN 'unlogged' END,
        CASE relkind
            WHEN 'r' THEN NULL
            WHEN 'p' THEN 'partitioned'
            WHEN 'v' THEN 'view'
            WHEN 'm' THEN 'materialized view'
            WHEN 'f' THEN 'foreign table'
            WHEN 'S' THEN 'sequence'
            WHEN 'c' THEN 'composite type'
            ELSE 'index'
        END,
        CASE WHEN relispartition THEN 'partition' END,
        CASE WHEN reloftype <> 0 THEN 'typed' END
    ), '')
) AS line
FROM pg_class
WHERE oid = ANY ((SELECT current_setting('pephub_migrate.relations')::oid[])::oid[]);

-- The relation is not passed to pg_get_expr, which would open it; only a generated
-- column's expression needs it. Collation 100 is "default".
SELECT concat(
    'column ', substr(attrelid::regclass::text, current_setting('pephub_migrate.bare')::integer),
    '.', quote_ident(attname), ': ',
    CASE
        WHEN starts_with(format_type(atttypid, atttypmod), current_setting('pephub_migrate.prefix'))
            THEN substr(format_type(atttypid, atttypmod), current_setting('pephub_migrate.bare')::integer)
        ELSE format_type(atttypid, atttypmod)
    END,
    CASE WHEN attcollation NOT IN (0, 100) THEN concat(' collate ', attcollation::regcollation) END,
    CASE WHEN attnotnull THEN ' not null' END,
    CASE
        WHEN attgenerated <> '' THEN ' generated'
        WHEN attidentity <> '' THEN ' identity'
        WHEN atthasdef THEN concat(' default ', replace(
            (SELECT pg_get_expr(adbin, 0) FROM pg_attrdef WHERE adrelid = attrelid AND adnum = attnum),
            concat('nextval(''', replace(current_setting('pephub_migrate.prefix'), '''', '''''')), 'nextval('''
        ))
    END
)
FROM pg_attribute
WHERE attrelid = ANY ((SELECT current_setting('pephub_migrate.relations')::oid[])::oid[])
    AND attnum > (SELECT 0)
    AND NOT attisdropped;

-- Rows of type n are NOT NULL (PostgreSQL 18), which the columns say, and those of type t
-- are an operator's triggers.
SELECT concat(
    'constraint ', substr(conrelid::regclass::text, current_setting('pephub_migrate.bare')::integer),
    '.', quote_ident(conname), ': ',
    CASE contype
        WHEN 'p' THEN 'primary key'
        WHEN 'u' THEN 'unique'
        WHEN 'f' THEN 'foreign key'
        WHEN 'c' THEN 'check'
        ELSE 'other'
    END,
    CASE WHEN conkey IS NOT NULL THEN concat(' (', array_to_string(ARRAY(
        SELECT quote_ident((pg_identify_object_as_address('pg_class'::regclass, conrelid, key)).object_names[3])
        FROM unnest(conkey) AS key
    ), ', '), ')') END,
    CASE WHEN confrelid <> 0 THEN concat(
        ' references ', CASE
            WHEN starts_with(confrelid::regclass::text, current_setting('pephub_migrate.prefix'))
                THEN substr(confrelid::regclass::text, current_setting('pephub_migrate.bare')::integer)
            ELSE confrelid::regclass::text
        END,
        ' (', array_to_string(ARRAY(
            SELECT quote_ident((pg_identify_object_as_address('pg_class'::regclass, confrelid, key)).object_names[3])
            FROM unnest(confkey) AS key
        ), ', '), ')'
    ) END,
    CASE confmatchtype WHEN 'f' THEN ' match full' END,
    CASE confupdtype
        WHEN 'c' THEN ' on update cascade'
        WHEN 'n' THEN ' on update set null'
        WHEN 'd' THEN ' on update set default'
        WHEN 'r' THEN ' on update restrict'
    END,
    CASE confdeltype
        WHEN 'c' THEN ' on delete cascade'
        WHEN 'n' THEN ' on delete set null'
        WHEN 'd' THEN ' on delete set default'
        WHEN 'r' THEN ' on delete restrict'
    END,
    CASE WHEN condeferrable THEN ' deferrable' END,
    CASE WHEN NOT convalidated THEN ' not valid' END
)
FROM pg_constraint
WHERE conrelid = ANY ((SELECT current_setting('pephub_migrate.relations')::oid[])::oid[]) AND contype <> ALL ((SELECT '{n,t}'::"char"[])::"char"[]);

-- Those by the names in the snapshots. None of those belongs to a constraint there; if
-- one does here, the constraint shows. The oids of the access methods never change
-- (pg_am.dat). An expression stands in a key as column 0.
SELECT concat(
    'index ', substr(indrelid::regclass::text, current_setting('pephub_migrate.bare')::integer),
    '.', relname, ': ',
    CASE WHEN indisunique THEN 'unique ' END,
    CASE relam
        WHEN 403 THEN 'btree'
        WHEN 405 THEN 'hash'
        WHEN 783 THEN 'gist'
        WHEN 2742 THEN 'gin'
        WHEN 3580 THEN 'brin'
        WHEN 4000 THEN 'spgist'
        ELSE 'other'
    END,
    ' (', array_to_string(ARRAY(
        SELECT coalesce(quote_ident((pg_identify_object_as_address('pg_class'::regclass, indrelid, key)).object_names[3]), 'an expression')
        FROM unnest(indkey::smallint[]) AS key
    ), ', '), ')',
    CASE WHEN indpred IS NOT NULL THEN ' partial' END,
    CASE WHEN NOT indisvalid THEN ' invalid' END
)
FROM pg_index
JOIN pg_class ON pg_class.oid = indexrelid AND relname = ANY ((SELECT '{{indexes}}'::name[])::name[])
WHERE indrelid = ANY ((SELECT current_setting('pephub_migrate.relations')::oid[])::oid[]);

-- The line is NULL for what is no sequence: a column owns the indexes on its expressions
-- too.
SELECT
    concat('sequence ', substr(objid::regclass::text, current_setting('pephub_migrate.bare')::integer), ': ')
    || (SELECT seqtypid::regtype FROM pg_sequence WHERE seqrelid = objid)
    || concat(
        ' owned by ', substr(refobjid::regclass::text, current_setting('pephub_migrate.bare')::integer),
        '.', quote_ident((pg_identify_object_as_address('pg_class'::regclass, refobjid, refobjsubid)).object_names[3])
    )
FROM pg_depend
WHERE refclassid = (SELECT 'pg_class'::regclass::oid)
    AND refobjid = ANY ((SELECT current_setting('pephub_migrate.relations')::oid[])::oid[])
    AND refobjsubid > (SELECT 0)
    AND classid = (SELECT 'pg_class'::regclass::oid)
    AND deptype = ANY ((SELECT '{a,i}'::"char"[])::"char"[]);

SELECT concat(
    'enum ', substr(enumtypid::regtype::text, current_setting('pephub_migrate.bare')::integer),
    ': ', string_agg(enumlabel, ', ' ORDER BY enumsortorder)
)
FROM pg_enum
WHERE enumtypid = ANY (
    ARRAY(
        SELECT oid
        FROM pg_type
        WHERE typnamespace = (SELECT to_regnamespace(quote_ident(current_setting('pephub_migrate.schema')))::oid)
            AND typname = ANY ((SELECT '{{enums}}'::name[])::name[])
    )
)
GROUP BY enumtypid;

-- The rows of the version tables in the statement's snapshot, as all the rest.
-- query_to_xml runs a statement only if the CASE gets that far: the one way in which a
-- query can read a table that may not be there.
SELECT
    relname || ': ' || CASE
        WHEN relkind = 'r'
            -- To plan a query is to run an immutable function in an expression of the
            -- table's.
            AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = pg_class.oid AND (indexprs IS NOT NULL OR indpred IS NOT NULL))
            AND NOT EXISTS (SELECT FROM pg_statistic_ext WHERE stxrelid = pg_class.oid)
            AND CASE relname
            WHEN 'schema_migrations' THEN 'dirty boolean,version bigint'
            ELSE 'version_num character varying'
        END = (
            SELECT string_agg(concat(attname, ' ', atttypid::regtype), ',' ORDER BY attname)
            FROM pg_attribute
            WHERE attrelid = oid AND attnum > (SELECT 0) AND NOT attisdropped
        )
        THEN coalesce(substring(
            query_to_xml(
                CASE relname
                    WHEN 'schema_migrations' THEN
                        'SELECT string_agg(v, '' '' ORDER BY v COLLATE "C") AS v FROM (SELECT concat(version, CASE WHEN dirty THEN '' dirty'' END) AS v FROM ONLY '
                    ELSE 'SELECT string_agg(v, '' '' ORDER BY v COLLATE "C") AS v FROM (SELECT version_num AS v FROM ONLY '
                END || oid::regclass || ' TABLESAMPLE SYSTEM (100) LIMIT 100) AS versions',
                true, true, ''
            )::text,
            '<v>([^<]+)</v>'
        ), 'empty')
        ELSE 'unreadable'
    END
FROM pg_class
WHERE relnamespace = (SELECT to_regnamespace(quote_ident(current_setting('pephub_migrate.schema')))::oid)
    AND relname = ANY ((SELECT '{schema_migrations,alembic_version}'::name[])::name[]);

-- The oldest step whose applications can work on what is here, as the image says that
-- made it.
SELECT 'oldest_step: ' || substring(description FROM 'oldest_step=([0-9]{1,9})')
FROM pg_description
WHERE classoid = (SELECT 'pg_class'::regclass::oid)
    AND objoid = (
        SELECT to_regclass(concat(quote_ident(current_setting('pephub_migrate.schema')), '.schema_migrations'))::oid
    )
    AND objsubid = (SELECT 0)
