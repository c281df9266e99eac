-- The shape of the database: one line of text per object, the same on every supported server, and the lines of the
-- two version tables. The names in double braces are those in all snapshots.
--
-- Rendered here rather than by pg_get_constraintdef and pg_get_indexdef: those open the table, so they would queue
-- behind the very migration that a waiting instance is looking at; and their wording depends on the server's version.
WITH ours AS MATERIALIZED (
    SELECT c.oid, c.relname, c.relkind, c.relpersistence
    FROM pg_class AS c
    WHERE c.relnamespace = to_regnamespace(quote_ident(current_schema()))
        AND c.relname = ANY ('{{tables}}'::name[])
),

-- In the statement's snapshot, as all the rest: to_regclass would see what was committed since that was taken.
version_tables AS (
    SELECT t.name, t.query,
        c.relkind = 'r'
        AND (
            SELECT array_agg(a.attname || ' ' || a.atttypid::regtype ORDER BY a.attname)
            FROM pg_attribute AS a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        ) = t.columns AS readable,
        substring(obj_description(c.oid, 'pg_class') FROM 'oldest_step=(\d{1,9})') AS oldest_step
    FROM (
        VALUES
        (
            'schema_migrations',
            '{dirty boolean,version bigint}'::text[],
            'SELECT version || CASE WHEN dirty THEN '' dirty'' ELSE '''' END AS v FROM schema_migrations'
        ),
        (
            'alembic_version',
            '{version_num character varying}'::text[],
            'SELECT version_num AS v FROM alembic_version'
        )
    ) AS t (name, columns, query)
    JOIN pg_class AS c
        ON c.relname = t.name AND c.relnamespace = to_regnamespace(quote_ident(current_schema()))
)

SELECT line
FROM (
    SELECT
        CASE WHEN relpersistence = 'u' THEN 'unlogged ' ELSE '' END
        || CASE relkind WHEN 'r' THEN 'table ' WHEN 'p' THEN 'partitioned table ' ELSE 'relation ' END
        || relname AS line
    FROM ours

    UNION ALL
    -- The relation is not passed to pg_get_expr, which would open it; only a generated column's expression needs it.
    SELECT
        'column ' || o.relname || '.' || quote_ident(a.attname) || ': ' || format_type(a.atttypid, a.atttypmod)
        || CASE
            WHEN a.attcollation IN (0, 'pg_catalog."default"'::regcollation) THEN ''
            ELSE ' collate ' || a.attcollation::regcollation
        END
        || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
        || CASE
            WHEN a.attgenerated <> '' THEN ' generated'
            WHEN a.attidentity <> '' THEN ' identity'
            WHEN a.atthasdef THEN ' default ' || pg_get_expr(d.adbin, 0)
            ELSE ''
        END
    FROM ours AS o
    JOIN pg_attribute AS a ON a.attrelid = o.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum

    UNION ALL
    -- PostgreSQL 18 has rows of type n for NOT NULL, which the columns say.
    SELECT
        'constraint ' || o.relname || '.' || quote_ident(k.conname) || ': '
        || CASE k.contype
            WHEN 'p' THEN 'primary key'
            WHEN 'u' THEN 'unique'
            WHEN 'f' THEN 'foreign key'
            WHEN 'c' THEN 'check'
            ELSE 'other'
        END
        || coalesce(' (' || (
            SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY c.position)
            FROM unnest(k.conkey) WITH ORDINALITY AS c (attnum, position)
            JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = c.attnum
        ) || ')', '')
        || coalesce(' references ' || nullif(k.confrelid, 0)::regclass || ' (' || (
            SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY c.position)
            FROM unnest(k.confkey) WITH ORDINALITY AS c (attnum, position)
            JOIN pg_attribute AS a ON a.attrelid = k.confrelid AND a.attnum = c.attnum
        ) || ')', '')
        || CASE k.confmatchtype WHEN 'f' THEN ' match full' ELSE '' END
        || CASE k.confupdtype
            WHEN 'c' THEN ' on update cascade'
            WHEN 'n' THEN ' on update set null'
            WHEN 'd' THEN ' on update set default'
            WHEN 'r' THEN ' on update restrict'
            ELSE ''
        END
        || CASE k.confdeltype
            WHEN 'c' THEN ' on delete cascade'
            WHEN 'n' THEN ' on delete set null'
            WHEN 'd' THEN ' on delete set default'
            WHEN 'r' THEN ' on delete restrict'
            ELSE ''
        END
        || CASE WHEN k.condeferrable THEN ' deferrable' ELSE '' END
        || CASE WHEN k.convalidated THEN '' ELSE ' not valid' END
    FROM ours AS o
    JOIN pg_constraint AS k ON k.conrelid = o.oid AND k.contype <> 'n'

    UNION ALL
    -- Those by the names in the snapshots, and that no constraint owns.
    SELECT
        'index ' || o.relname || '.' || quote_ident(c.relname) || ': '
        || CASE WHEN i.indisunique THEN 'unique ' ELSE '' END || am.amname || ' ('
        || (
            SELECT string_agg(coalesce(quote_ident(a.attname), 'an expression'), ', ' ORDER BY p.position)
            FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS p (attnum, position)
            LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = p.attnum
        )
        || ')'
        || CASE WHEN i.indpred IS NULL THEN '' ELSE ' partial' END
        || CASE WHEN i.indisvalid THEN '' ELSE ' invalid' END
    FROM ours AS o
    JOIN pg_index AS i ON i.indrelid = o.oid
    JOIN pg_class AS c ON c.oid = i.indexrelid AND c.relname = ANY ('{{indexes}}'::name[])
    JOIN pg_am AS am ON am.oid = c.relam
    WHERE NOT EXISTS (
        SELECT
        FROM pg_constraint AS k
        WHERE k.conrelid = i.indrelid AND k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
    )

    UNION ALL
    SELECT
        'sequence ' || s.relname || ': ' || format_type(q.seqtypid, NULL)
        || ' owned by ' || o.relname || '.' || quote_ident(a.attname)
    FROM ours AS o
    JOIN pg_depend AS d
        ON d.refclassid = 'pg_class'::regclass
        AND d.refobjid = o.oid
        AND d.refobjsubid > 0
        AND d.classid = 'pg_class'::regclass
        AND d.deptype IN ('a', 'i')
    JOIN pg_class AS s ON s.oid = d.objid AND s.relkind = 'S'
    JOIN pg_sequence AS q ON q.seqrelid = s.oid
    JOIN pg_attribute AS a ON a.attrelid = o.oid AND a.attnum = d.refobjsubid

    UNION ALL
    SELECT 'enum ' || t.typname || ': ' || string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder)
    FROM pg_type AS t
    JOIN pg_enum AS e ON e.enumtypid = t.oid
    WHERE t.typnamespace = to_regnamespace(quote_ident(current_schema())) AND t.typname = ANY ('{{enums}}'::name[])
    GROUP BY t.typname

    UNION ALL
    -- query_to_xml runs a statement only if the CASE gets that far: the one way in which a single query can read a
    -- table that may not be there.
    SELECT
        name || ': ' || CASE
            WHEN NOT readable THEN 'unreadable'
            ELSE coalesce((
                SELECT string_agg(v[1], ' ' ORDER BY v[1] COLLATE "C")
                FROM regexp_matches(query_to_xml(query, true, true, '')::text, '<v>(.*?)</v>', 'g') AS v
            ), 'empty')
        END
    FROM version_tables

    UNION ALL
    -- The oldest step whose applications can work on what is here, as the image says that made it.
    SELECT 'oldest_step: ' || oldest_step
    FROM version_tables
    WHERE name = 'schema_migrations' AND oldest_step IS NOT NULL

    UNION ALL
    -- What else is here, if nothing of ours is: whoever takes this for an empty database should know better. geopephub
    -- makes its two tables in PEPhub's database by default, and may have been quicker.
    (
        SELECT 'other ' || quote_ident(c.relname)
        FROM pg_class AS c
        WHERE NOT EXISTS (SELECT FROM ours)
            AND c.relnamespace = to_regnamespace(quote_ident(current_schema()))
            AND c.relkind IN ('r', 'p')
            AND c.relname NOT IN ('schema_migrations', 'alembic_version', 'geo_sample_status', 'geo_cycle_status')
            AND NOT EXISTS (
                SELECT
                FROM pg_depend AS d
                WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
            )
        LIMIT 10
    )

    UNION ALL
    -- And whether PEPhub's tables are where no unqualified name leads.
    SELECT 'elsewhere ' || quote_ident(n.nspname)
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE NOT EXISTS (SELECT FROM ours)
        AND c.relname = 'projects'
        AND c.relkind = 'r'
        AND c.relpersistence <> 't'
        AND (
            SELECT count(*)
            FROM pg_attribute AS a
            WHERE a.attrelid = c.oid AND a.attname IN ('namespace', 'name', 'tag', 'digest')
        ) = 4
) AS shape
ORDER BY line COLLATE "C"
