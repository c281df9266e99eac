-- Whatever could run with the rights of the login role because somebody with fewer rights
-- has put it there: a line for each, with what to do. SET ROLE is no protection, since
-- any function can leave it.
--
-- A function or operator is found by its name in a schema of the search path, and one
-- whose arguments match better goes before that of pg_catalog. An expression runs
-- whenever a row is written.
WITH login AS (
    SELECT oid FROM pg_roles WHERE rolname = session_user
),
ours AS (
    SELECT c.oid, c.relname, c.relkind, c.relowner, c.relname ~ '^archived_' AS archive
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = current_setting('pephub_migrate.schema')
        AND c.relname = ANY ('{{tables}}'::name[] || '{{archives}}'::name[] || '{schema_migrations,alembic_version}'::name[])
),
path AS (
    SELECT n.oid
    FROM pg_namespace AS n
    WHERE quote_ident(n.nspname) IN (
        SELECT m[1] FROM regexp_matches(current_setting('pephub_migrate.path'), '"(?:[^"]|"")*"|[^", ]+', 'g') AS m
    )
),
trusted AS ( -- roles that can do all that the login role can
    SELECT r.oid
    FROM login, pg_roles AS r
    WHERE r.rolsuper OR pg_has_role(r.oid, login.oid, 'MEMBER')
),
acts AS ( -- whether the login role can act as an owner of the tables, or means to write anyway; one that cannot only asks
    SELECT {{writes}} OR coalesce(bool_or(pg_has_role(login.oid, o.relowner, 'MEMBER')), true) AS yes FROM ours AS o, login WHERE NOT o.archive
),
powerful AS ( -- whether the login role can do more than the owner of the tables
    SELECT acts.yes AND EXISTS (SELECT FROM ours WHERE relowner NOT IN (SELECT oid FROM trusted)) AS yes FROM acts
),
advice AS (
    SELECT CASE WHEN yes THEN 'connect as the owner of the tables, or drop it' ELSE 'drop it' END AS text FROM powerful
),
enums AS ( -- which run no code
    SELECT t.oid
    FROM pg_type AS t
    JOIN pg_namespace AS n ON n.oid = t.typnamespace
    WHERE n.nspname = current_setting('pephub_migrate.schema') AND t.typname = ANY ('{{enums}}'::name[]) AND t.typtype = 'e'
),
extended (classid, objid) AS ( -- what belongs to an extension, and to nobody with fewer rights: who owns an extension may add to it
    SELECT d.classid, d.objid
    FROM pg_depend AS d
    LEFT JOIN pg_proc AS f ON d.classid = 'pg_proc'::regclass AND f.oid = d.objid
    LEFT JOIN pg_operator AS x ON d.classid = 'pg_operator'::regclass AND x.oid = d.objid
    LEFT JOIN pg_type AS t ON d.classid = 'pg_type'::regclass AND t.oid = d.objid
    LEFT JOIN pg_opclass AS c ON d.classid = 'pg_opclass'::regclass AND c.oid = d.objid
    LEFT JOIN pg_opfamily AS a ON d.classid = 'pg_opfamily'::regclass AND a.oid = d.objid
    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
        AND coalesce(f.proowner, x.oprowner, t.typowner, c.opcowner, a.opfowner) IN (SELECT oid FROM trusted)
),
found (object, remedy) AS (
    SELECT pg_describe_object('pg_proc'::regclass, f.oid, 0), advice.text
    FROM advice, powerful, pg_proc AS f
    WHERE f.pronamespace IN (SELECT oid FROM path)
        AND f.proowner NOT IN (SELECT oid FROM trusted)
        AND (
            powerful.yes
            OR f.proname ~ '^pephub_migrate'
            OR f.proname IN (SELECT g.proname FROM pg_proc AS g WHERE g.pronamespace = 'pg_catalog'::regnamespace)
        )

    UNION ALL
    SELECT pg_describe_object('pg_operator'::regclass, x.oid, 0), advice.text
    FROM advice, pg_operator AS x
    WHERE x.oprnamespace IN (SELECT oid FROM path)
        AND x.oprowner NOT IN (SELECT oid FROM trusted)

    UNION ALL
    SELECT pg_describe_object('pg_cast'::regclass, k.oid, 0), advice.text
    FROM advice, powerful, pg_cast AS k
    JOIN pg_proc AS f ON f.oid = k.castfunc AND f.proowner NOT IN (SELECT oid FROM trusted)
    WHERE powerful.yes

    UNION ALL
    SELECT pg_describe_object('pg_type'::regclass, t.oid, 0), advice.text
    FROM advice, powerful, pg_type AS t
    LEFT JOIN pg_class AS c ON c.oid = t.typrelid
    WHERE powerful.yes
        AND t.typnamespace IN (SELECT oid FROM path)
        AND t.typowner NOT IN (SELECT oid FROM trusted)
        AND t.oid NOT IN (SELECT oid FROM enums)
        AND t.typcategory <> 'A'
        AND coalesce(c.relkind, 'c') = 'c' -- not that of a table's rows

    -- Expressions of indexes, constraints and defaults.
    UNION ALL
    SELECT DISTINCT
        pg_describe_object(e.classid, e.objid, 0) || ', which uses ' || pg_describe_object(d.refclassid, d.refobjid, 0),
        advice.text
    FROM advice, powerful, (
        SELECT 'pg_class'::regclass AS classid, i.indexrelid AS objid FROM pg_index AS i JOIN ours AS o ON o.oid = i.indrelid
        UNION ALL
        SELECT 'pg_constraint'::regclass, k.oid
        FROM pg_constraint AS k
        WHERE k.conrelid IN (SELECT oid FROM ours) OR k.confrelid IN (SELECT oid FROM ours)
        UNION ALL
        SELECT 'pg_attrdef'::regclass, f.oid FROM pg_attrdef AS f JOIN ours AS o ON o.oid = f.adrelid
        UNION ALL
        SELECT 'pg_statistic_ext'::regclass, s.oid FROM pg_statistic_ext AS s JOIN ours AS o ON o.oid = s.stxrelid
    ) AS e
    JOIN pg_depend AS d ON d.classid = e.classid AND d.objid = e.objid
    WHERE powerful.yes
        AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_type'::regclass, 'pg_opclass'::regclass, 'pg_opfamily'::regclass)
        AND d.deptype = 'n'
        AND NOT (d.refclassid = 'pg_type'::regclass AND d.refobjid IN (SELECT oid FROM enums))
        AND (d.refclassid, d.refobjid) NOT IN (SELECT classid, objid FROM extended)

    -- A foreign key compares through the cast of its column's type.
    UNION ALL
    SELECT DISTINCT
        pg_describe_object('pg_constraint'::regclass, k.oid, 0) || ', whose column is of type ' || a.atttypid::regtype,
        format('connect as the owner of the tables, or: ALTER TABLE %s DROP CONSTRAINT %I', k.conrelid::regclass, k.conname)
    FROM powerful, pg_constraint AS k
    JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)
    JOIN pg_type AS t ON t.oid = a.atttypid
    WHERE powerful.yes AND k.contype = 'f' AND k.confrelid IN (SELECT oid FROM ours)
        AND t.typnamespace <> 'pg_catalog'::regnamespace AND t.typowner NOT IN (SELECT oid FROM trusted)
    -- What a step's UPDATE does to another table may go on from there, to a trigger that
    -- runs at the commit.
    UNION ALL
    SELECT
        pg_describe_object('pg_constraint'::regclass, k.oid, 0) || ', which changes its table when a key of PEPhub''s changes',
        format('connect as the owner of the table, or: ALTER TABLE %s DROP CONSTRAINT %I', k.conrelid::regclass, k.conname)
    FROM pg_constraint AS k
    JOIN pg_class AS c ON c.oid = k.conrelid
    WHERE k.contype = 'f' AND k.confrelid IN (SELECT oid FROM ours) AND k.conrelid NOT IN (SELECT oid FROM ours)
        AND k.confupdtype NOT IN ('a', 'r')
        AND c.relowner NOT IN (SELECT oid FROM trusted)

    -- An archive that is none: the way down reads it, and deletes from it.
    UNION ALL
    SELECT pg_describe_object('pg_class'::regclass, o.oid, 0) || ', which is no table', format('rename %s', o.oid::regclass)
    FROM ours AS o
    WHERE o.archive AND o.relkind <> 'r'
    UNION ALL
    SELECT pg_describe_object(x.classid, x.objid, 0), advice.text
    FROM advice, powerful, ours AS o
    JOIN (
        SELECT 'pg_trigger'::regclass AS classid, oid AS objid, tgrelid AS relation FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D'
        UNION ALL
        SELECT 'pg_rewrite'::regclass, oid, ev_class FROM pg_rewrite
        UNION ALL
        SELECT 'pg_type'::regclass, a.atttypid, a.attrelid
        FROM pg_attribute AS a
        JOIN pg_type AS t ON t.oid = a.atttypid AND t.typnamespace <> 'pg_catalog'::regnamespace
        WHERE NOT a.attisdropped
    ) AS x ON x.relation = o.oid
    WHERE powerful.yes AND o.archive AND o.relkind = 'r'
)
SELECT object, remedy FROM found, acts WHERE acts.yes ORDER BY object COLLATE "C", remedy COLLATE "C"
