-- The shape of the database for a script that has nothing but SQL to look with: in the words in which catalogs.go puts it, one
-- line of text per object, the same on every supported server, and the lines of the two version tables. The names in double
-- braces are those in all snapshots. ours.sql, which comes first, leaves the oids of the tables in a setting.
--
-- Rendered here rather than by pg_get_constraintdef and pg_get_indexdef, whose wording depends on the server's version.
SELECT
    CASE WHEN relpersistence = 'u' THEN 'unlogged ' ELSE '' END
    || CASE relkind WHEN 'r' THEN 'table ' WHEN 'p' THEN 'partitioned table ' ELSE 'relation ' END
    || relname AS line
FROM pg_class
WHERE oid = ANY (current_setting('pephub_migrate.ours')::oid[]);

-- The relation is not passed to pg_get_expr, which would open it; only a generated column's expression needs it. Collation
-- 100 is "default".
SELECT
    'column ' || attrelid::regclass || '.' || quote_ident(attname) || ': ' || format_type(atttypid, atttypmod)
    || CASE WHEN attcollation IN (0, 100) THEN '' ELSE ' collate ' || attcollation::regcollation END
    || CASE WHEN attnotnull THEN ' not null' ELSE '' END
    || CASE
        WHEN attgenerated <> '' THEN ' generated'
        WHEN attidentity <> '' THEN ' identity'
        WHEN atthasdef THEN ' default ' || (
            SELECT pg_get_expr(d.adbin, 0) FROM pg_attrdef AS d WHERE d.adrelid = attrelid AND d.adnum = attnum
        )
        ELSE ''
    END
FROM pg_attribute
WHERE attrelid = ANY (current_setting('pephub_migrate.ours')::oid[]) AND attnum > 0 AND NOT attisdropped;

-- PostgreSQL 18 has rows of type n for NOT NULL, which the columns say.
SELECT
    'constraint ' || conrelid::regclass || '.' || quote_ident(conname) || ': '
    || CASE contype
        WHEN 'p' THEN 'primary key'
        WHEN 'u' THEN 'unique'
        WHEN 'f' THEN 'foreign key'
        WHEN 'c' THEN 'check'
        ELSE 'other'
    END
    || coalesce(' (' || (
        SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY array_position(conkey, a.attnum))
        FROM pg_attribute AS a
        WHERE a.attrelid = conrelid AND a.attnum = ANY (conkey)
    ) || ')', '')
    || coalesce(' references ' || nullif(confrelid, 0)::regclass || ' (' || (
        SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY array_position(confkey, a.attnum))
        FROM pg_attribute AS a
        WHERE a.attrelid = confrelid AND a.attnum = ANY (confkey)
    ) || ')', '')
    || CASE confmatchtype WHEN 'f' THEN ' match full' ELSE '' END
    || CASE confupdtype
        WHEN 'c' THEN ' on update cascade'
        WHEN 'n' THEN ' on update set null'
        WHEN 'd' THEN ' on update set default'
        WHEN 'r' THEN ' on update restrict'
        ELSE ''
    END
    || CASE confdeltype
        WHEN 'c' THEN ' on delete cascade'
        WHEN 'n' THEN ' on delete set null'
        WHEN 'd' THEN ' on delete set default'
        WHEN 'r' THEN ' on delete restrict'
        ELSE ''
    END
    || CASE WHEN condeferrable THEN ' deferrable' ELSE '' END
    || CASE WHEN convalidated THEN '' ELSE ' not valid' END
FROM pg_constraint
WHERE conrelid = ANY (current_setting('pephub_migrate.ours')::oid[]) AND contype <> 'n';

-- Those by the names in the snapshots. None of those belongs to a constraint there; if one does here, the constraint shows.
SELECT
    'index ' || i.indrelid::regclass || '.' || quote_ident(c.relname) || ': '
    || CASE WHEN i.indisunique THEN 'unique ' ELSE '' END
    || (SELECT am.amname FROM pg_am AS am WHERE am.oid = c.relam) || ' ('
    || (
        SELECT string_agg(coalesce(quote_ident(a.attname), 'an expression'), ', ' ORDER BY p.position)
        FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS p (attnum, position)
        LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = p.attnum
    )
    || ')'
    || CASE WHEN i.indpred IS NULL THEN '' ELSE ' partial' END
    || CASE WHEN i.indisvalid THEN '' ELSE ' invalid' END
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid AND c.relname = ANY ('{{indexes}}'::name[])
WHERE i.indrelid = ANY (current_setting('pephub_migrate.ours')::oid[]);

SELECT
    'sequence ' || d.objid::regclass || ': ' || format_type(q.seqtypid, NULL) || ' owned by ' || d.refobjid::regclass || '.'
    || (
        SELECT quote_ident(a.attname)
        FROM pg_attribute AS a
        WHERE a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    )
FROM pg_depend AS d
JOIN pg_sequence AS q ON q.seqrelid = d.objid
WHERE d.refclassid = 'pg_class'::regclass
    AND d.refobjid = ANY (current_setting('pephub_migrate.ours')::oid[])
    AND d.refobjsubid > 0
    AND d.classid = 'pg_class'::regclass
    AND d.deptype IN ('a', 'i');

SELECT 'enum ' || enumtypid::regtype || ': ' || string_agg(enumlabel, ', ' ORDER BY enumsortorder)
FROM pg_enum
WHERE enumtypid = ANY (
    ARRAY(
        SELECT oid
        FROM pg_type
        WHERE typnamespace = to_regnamespace(quote_ident(current_schema())) AND typname = ANY ('{{enums}}'::name[])
    )
)
GROUP BY enumtypid;

-- In the statement's snapshot, as all the rest: to_regclass would see what was committed since that was taken. query_to_xml
-- runs a statement only if the CASE gets that far: the one way in which a query can read a table that may not be there.
SELECT
    relname || ': ' || CASE
        WHEN relkind <> 'r' OR columns IS DISTINCT FROM CASE relname
            WHEN 'schema_migrations' THEN 'dirty boolean,version bigint'
            ELSE 'version_num character varying'
        END THEN 'unreadable'
        ELSE coalesce((
            SELECT string_agg(v[1], ' ' ORDER BY v[1] COLLATE "C")
            FROM regexp_matches(
                query_to_xml(
                    CASE relname
                        WHEN 'schema_migrations'
                            THEN 'SELECT version || CASE WHEN dirty THEN '' dirty'' ELSE '''' END AS v FROM schema_migrations'
                        ELSE 'SELECT version_num AS v FROM alembic_version'
                    END,
                    true, true, ''
                )::text,
                '<v>(.*?)</v>', 'g'
            ) AS v
        ), 'empty')
    END
FROM (
    SELECT
        relname,
        relkind,
        (
            SELECT string_agg(a.attname || ' ' || a.atttypid::regtype, ',' ORDER BY a.attname)
            FROM pg_attribute AS a
            WHERE a.attrelid = pg_class.oid AND a.attnum > 0 AND NOT a.attisdropped
        ) AS columns
    FROM pg_class
    WHERE relnamespace = to_regnamespace(quote_ident(current_schema()))
        AND relname IN ('schema_migrations', 'alembic_version')
    OFFSET 0
) AS versions;

-- The oldest step whose applications can work on what is here, as the image says that made it.
SELECT 'oldest_step: ' || substring(description FROM 'oldest_step=([0-9]{1,9})')
FROM pg_description
WHERE classoid = 'pg_class'::regclass
    AND objoid = ANY (
        ARRAY(
            SELECT oid
            FROM pg_class
            WHERE relnamespace = to_regnamespace(quote_ident(current_schema())) AND relname = 'schema_migrations'
        )
    )
    AND objsubid = 0
    AND description ~ 'oldest_step=[0-9]{1,9}'
