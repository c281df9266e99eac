-- What the catalogs say of PEPhub's tables beyond their shape: it belongs to whoever
-- operates the database. One row a fact:
--
--     kind        what it is, a key of the table in attached.go
--     table       the table, or the enum, that it is attached to
--     column      the column that it is on, where it is on one
--     name        its own name, or what tells it apart from others of its kind
--     "on"        the other table that it belongs to
--     definition  what it says, as SQL has it
--     columns     the columns of the table that it needs
--     may         whether the role of the login may make it anew
--     owner       the role that may, where that need not be the owner of the table
--
-- The search path is pg_catalog, so every name is printed with its schema. Columns that
-- older servers lack are read by their name in to_jsonb.
WITH ours AS (
    SELECT c.oid, quote_ident(c.relname) AS name, c.relname, n.oid AS namespace, n.nspname,
        c.relowner, c.relacl, c.relreplident, c.reltablespace, c.reloptions, c.reltoastrelid, c.reltype, c.reloftype,
        c.relrowsecurity, c.relforcerowsecurity, c.relispartition
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = current_setting('pephub_migrate.schema')
        AND c.relkind IN ('r', 'p')
        AND c.relname = ANY ('{{tables}}'::name[] || '{schema_migrations,alembic_version}'::name[])
),
login AS (
    SELECT oid, rolsuper FROM pg_roles WHERE rolname = session_user
),
acts AS ( -- whether the login role can act as an owner of the tables, or means to write anyway; one that cannot only asks
    SELECT {{writes}} OR coalesce(bool_or(pg_has_role(login.oid, o.relowner, 'MEMBER')), true) AS yes FROM ours AS o, login
),
attributes AS (
    SELECT o.oid AS relation, o.name AS "table", a.attnum, quote_ident(a.attname) AS name, to_jsonb(a) AS more,
        a.attacl, a.attstorage, t.typstorage, a.attoptions, a.attrelid, o.relowner
    FROM ours AS o
    JOIN pg_attribute AS a ON a.attrelid = o.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type AS t ON t.oid = a.atttypid
),
uses AS (
    SELECT d.classid, d.objid, d.refobjid, array_agg(DISTINCT a.name) FILTER (WHERE a.name IS NOT NULL) AS columns
    FROM pg_depend AS d
    JOIN ours AS o ON o.oid = d.refobjid
    LEFT JOIN attributes AS a ON a.relation = d.refobjid AND a.attnum = d.refobjsubid
    WHERE d.refclassid = 'pg_class'::regclass AND d.deptype IN ('n', 'a')
    GROUP BY d.classid, d.objid, d.refobjid
),
constraints AS (
    SELECT k.oid, k.conname, quote_ident(k.conname) AS name, k.contype, k.conrelid, k.conkey, k.conindid, o.name AS "table"
    FROM pg_constraint AS k
    JOIN ours AS o ON o.oid = k.conrelid
),
indexes AS (
    SELECT o.oid AS relation, o.name AS "table", o.nspname, i.indexrelid, quote_ident(x.relname) AS name,
        k.oid IS NOT NULL OR x.relname = ANY ('{{indexes}}'::name[]) AS known,
        i.indexprs IS NOT NULL OR i.indpred IS NOT NULL AS computed,
        i.indisvalid, i.indisclustered, i.indisreplident, x.reloptions, x.reltablespace,
        pg_get_indexdef(i.indexrelid) AS definition,
        format(
            'CREATE %sINDEX %I ON %I.%I USING btree (%s)', CASE WHEN i.indisunique THEN 'UNIQUE ' END, x.relname, o.nspname, o.relname,
            (
                SELECT string_agg(a.name, ', ' ORDER BY c.position)
                FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS c (number, position)
                JOIN attributes AS a ON a.relation = o.oid AND a.attnum = c.number
            )
        ) AS plain,
        coalesce(u.columns, '{}') AS columns
    FROM ours AS o
    JOIN pg_index AS i ON i.indrelid = o.oid
    JOIN pg_class AS x ON x.oid = i.indexrelid
    LEFT JOIN constraints AS k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
    LEFT JOIN uses AS u ON u.classid = 'pg_class'::regclass AND u.objid = i.indexrelid AND u.refobjid = o.oid
),
sequences AS (
    SELECT s.oid, a."table", a.name AS "column", q.seqtypid, q.seqstart, q.seqincrement, q.seqmin, q.seqmax, q.seqcache, q.seqcycle,
        s.relacl, s.relowner, a.relation
    FROM attributes AS a
    JOIN pg_depend AS d
        ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.relation AND d.refobjsubid = a.attnum
        AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
    JOIN pg_class AS s ON s.oid = d.objid AND s.relkind = 'S'
    JOIN pg_sequence AS q ON q.seqrelid = s.oid
),
enums AS (
    SELECT t.oid, t.typarray, quote_ident(t.typname) AS name, t.typowner, t.typacl
    FROM pg_type AS t
    JOIN pg_namespace AS n ON n.oid = t.typnamespace
    WHERE n.nspname = current_setting('pephub_migrate.schema') AND t.typname = ANY ('{{enums}}'::name[]) AND t.typtype = 'e'
),
keys AS ( -- of tables that are not PEPhub's, to those that are
    SELECT k.oid, k.conrelid, k.confrelid, o.name AS "table", quote_ident(k.conname) AS name, k.conrelid::regclass::text AS "on",
        ARRAY(
            SELECT a.name FROM attributes AS a WHERE a.relation = k.confrelid AND a.attnum = ANY (k.confkey)
        ) AS columns,
        pg_has_role(login.oid, c.relowner, 'USAGE') AND has_schema_privilege(login.oid, c.relnamespace, 'USAGE') AS may,
        quote_ident(pg_get_userbyid(c.relowner)) AS owner
    FROM login, pg_constraint AS k
    JOIN ours AS o ON o.oid = k.confrelid
    JOIN pg_class AS c ON c.oid = k.conrelid
    WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid NOT IN (SELECT oid FROM ours)
),
named (classid, oid, "table", "column", name, "on", kind) AS ( -- what a comment or a security label may be on
    SELECT 'pg_class'::regclass, oid, name, '', '', '', 'comment' FROM ours
    UNION ALL SELECT 'pg_class'::regclass, oid, "table", "column", '', '', 'sequence comment' FROM sequences
    UNION ALL SELECT 'pg_class'::regclass, indexrelid, "table", '', name, '', 'index comment' FROM indexes
    UNION ALL SELECT 'pg_constraint'::regclass, oid, "table", '', name, '', 'constraint comment' FROM constraints WHERE contype NOT IN ('n', 't')
    UNION ALL -- PostgreSQL 18
    SELECT 'pg_constraint'::regclass, k.oid, k."table", a.name, k.name, '', 'not null comment'
    FROM constraints AS k
    JOIN attributes AS a ON a.relation = k.conrelid AND a.attnum = k.conkey[1]
    WHERE k.contype = 'n'
    UNION ALL SELECT 'pg_constraint'::regclass, oid, "table", '', name, "on", 'foreign key comment' FROM keys
    UNION ALL SELECT 'pg_type'::regclass, oid, name, '', '', '', 'type comment' FROM enums
    UNION ALL
    SELECT 'pg_statistic_ext'::regclass, s.oid, o.name, '', format('%I.%I', s.stxnamespace::regnamespace::text, s.stxname), '', 'statistics comment'
    FROM ours AS o
    JOIN pg_statistic_ext AS s ON s.stxrelid = o.oid
),
granted (kind, "table", "column", acl, owner) AS (
    SELECT 'grant', name, '', relacl, relowner FROM ours
    UNION ALL SELECT 'column grant', "table", name, attacl, relowner FROM attributes
    UNION ALL SELECT 'sequence grant', "table", "column", relacl, relowner FROM sequences
    UNION ALL SELECT 'type grant', name, '', typacl, typowner FROM enums
),
attached (kind, "table", "column", name, "on", definition, columns, may) AS (
    SELECT 'owner', o.name, '', '', '', quote_ident(pg_get_userbyid(o.relowner)), '{}'::text[],
        login.rolsuper
        OR pg_has_role(login.oid, o.relowner, 'MEMBER') AND has_schema_privilege(o.relowner, o.namespace, 'CREATE')
    FROM ours AS o, login

    UNION ALL
    SELECT g.kind, g."table", g."column", x.privilege_type, '',
        CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END
        || CASE WHEN bool_or(x.is_grantable) THEN ' WITH GRANT OPTION' ELSE '' END, '{}', true
    FROM granted AS g
    CROSS JOIN LATERAL aclexplode(g.acl) AS x
    WHERE x.grantee <> g.owner AND (g.kind <> 'type grant' OR x.grantee <> 0) -- a type is open to PUBLIC if nothing is said
    GROUP BY g.kind, g."table", g."column", x.privilege_type, x.grantee

    UNION ALL
    SELECT 'type closed', e.name, '', '', '', '', '{}', true
    FROM enums AS e
    WHERE e.typacl IS NOT NULL AND NOT EXISTS (SELECT FROM aclexplode(e.typacl) AS x WHERE x.grantee = 0)

    UNION ALL
    SELECT 'row security', name, '', '', '', '', '{}', true FROM ours WHERE relrowsecurity
    UNION ALL
    SELECT 'forced row security', name, '', '', '', '', '{}', true FROM ours WHERE relforcerowsecurity

    UNION ALL
    SELECT 'policy', o.name, '', quote_ident(p.polname), '', '', coalesce(u.columns, '{}'), true
    FROM ours AS o
    JOIN pg_policy AS p ON p.polrelid = o.oid
    LEFT JOIN uses AS u ON u.classid = 'pg_policy'::regclass AND u.objid = p.oid AND u.refobjid = o.oid

    UNION ALL
    SELECT 'trigger', o.name, '', quote_ident(t.tgname), '',
        CASE t.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE' END,
        coalesce(u.columns, '{}'), true
    FROM ours AS o
    JOIN pg_trigger AS t ON t.tgrelid = o.oid AND NOT t.tgisinternal
    LEFT JOIN uses AS u ON u.classid = 'pg_trigger'::regclass AND u.objid = t.oid AND u.refobjid = o.oid

    UNION ALL
    SELECT 'rule', o.name, '', quote_ident(r.rulename), '',
        CASE r.ev_enabled WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE' END,
        coalesce(u.columns, '{}'), true
    FROM ours AS o
    JOIN pg_rewrite AS r ON r.ev_class = o.oid
    LEFT JOIN uses AS u ON u.classid = 'pg_rewrite'::regclass AND u.objid = r.oid AND u.refobjid = o.oid

    UNION ALL
    SELECT CASE WHEN computed THEN 'expression index' ELSE 'index' END, "table", '', name, '',
        definition || CASE WHEN indisvalid THEN '' ELSE ' invalid' END, columns, true
    FROM indexes
    WHERE NOT known

    UNION ALL
    SELECT 'index form', "table", '', name, '', definition, columns, true
    FROM indexes
    WHERE known AND definition <> plain AND NOT starts_with(definition, plain || ' WITH (')

    UNION ALL
    SELECT 'index options', i."table", '', i.name, '', o.options, '{}', true
    FROM indexes AS i
    CROSS JOIN LATERAL (
        SELECT string_agg(quote_ident(option_name) || '=' || quote_literal(option_value), ', ' ORDER BY option_name) AS options
        FROM pg_options_to_table(i.reloptions)
    ) AS o
    WHERE o.options IS NOT NULL

    UNION ALL
    SELECT 'index tablespace', i."table", '', i.name, '', quote_ident(s.spcname), '{}', has_tablespace_privilege(login.oid, s.oid, 'CREATE')
    FROM login, indexes AS i
    JOIN pg_tablespace AS s ON s.oid = i.reltablespace

    UNION ALL
    SELECT 'cluster mark', "table", '', name, '', '', '{}', true FROM indexes WHERE indisclustered
    UNION ALL
    SELECT 'replica identity index', i."table", '', i.name, '', '', '{}', true
    FROM indexes AS i
    JOIN ours AS o ON o.oid = i.relation AND o.relreplident = 'i'
    WHERE i.indisreplident

    UNION ALL
    SELECT 'index statistics', i."table", a.attnum::text, i.name, '', to_jsonb(a) ->> 'attstattarget', '{}', true
    FROM indexes AS i
    JOIN pg_attribute AS a ON a.attrelid = i.indexrelid
    WHERE (to_jsonb(a) ->> 'attstattarget')::integer >= 0 AND i.computed

    UNION ALL
    SELECT CASE WHEN to_jsonb(s) ->> 'stxexprs' IS NULL THEN 'statistics' ELSE 'expression statistics' END,
        o.name, '', format('%I.%I', n.nspname, s.stxname), '', pg_get_statisticsobjdef(s.oid), coalesce(u.columns, '{}'), true
    FROM ours AS o
    JOIN pg_statistic_ext AS s ON s.stxrelid = o.oid
    JOIN pg_namespace AS n ON n.oid = s.stxnamespace
    LEFT JOIN uses AS u ON u.classid = 'pg_statistic_ext'::regclass AND u.objid = s.oid AND u.refobjid = o.oid

    UNION ALL
    SELECT 'statistics target', o.name, '', format('%I.%I', n.nspname, s.stxname), '', to_jsonb(s) ->> 'stxstattarget', '{}',
        pg_has_role(login.oid, s.stxowner, 'USAGE')
    FROM login, ours AS o
    JOIN pg_statistic_ext AS s ON s.stxrelid = o.oid
    JOIN pg_namespace AS n ON n.oid = s.stxnamespace
    WHERE (to_jsonb(s) ->> 'stxstattarget')::integer >= 0

    UNION ALL
    SELECT 'statistics owner', o.name, '', format('%I.%I', n.nspname, s.stxname), '', quote_ident(pg_get_userbyid(s.stxowner)), '{}',
        pg_has_role(login.oid, s.stxowner, 'USAGE')
    FROM login, ours AS o
    JOIN pg_statistic_ext AS s ON s.stxrelid = o.oid
    JOIN pg_namespace AS n ON n.oid = s.stxnamespace
    WHERE s.stxowner <> o.relowner

    UNION ALL
    SELECT 'foreign key', "table", '', name, "on", pg_get_constraintdef(oid), columns, may FROM keys

    UNION ALL
    SELECT 'key trigger', o.name, '', quote_ident(k.conname), k.conrelid::regclass::text,
        CASE t.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE REPLICA' END || ' ' || p.proname, '{}', login.rolsuper
    FROM login, ours AS o
    JOIN pg_trigger AS t ON t.tgrelid = o.oid AND t.tgisinternal AND t.tgenabled <> 'O'
    JOIN pg_constraint AS k ON k.oid = t.tgconstraint
    JOIN pg_proc AS p ON p.oid = t.tgfoid

    UNION ALL
    SELECT 'key trigger', keys."table", '', keys.name, keys."on",
        CASE t.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE REPLICA' END || ' ' || p.proname, '{}', login.rolsuper
    FROM login, keys
    JOIN pg_trigger AS t ON t.tgconstraint = keys.oid AND t.tgrelid = keys.conrelid AND t.tgenabled <> 'O'
    JOIN pg_proc AS p ON p.oid = t.tgfoid

    UNION ALL
    SELECT CASE WHEN d.objsubid > 0 THEN 'column comment' ELSE n.kind END, n."table", coalesce(a.name, n."column"), n.name, n."on",
        quote_literal(d.description), '{}', true
    FROM named AS n
    JOIN pg_description AS d ON d.classoid = n.classid AND d.objoid = n.oid
    LEFT JOIN attributes AS a ON n.kind = 'comment' AND a.relation = n.oid AND a.attnum = d.objsubid
    WHERE n."table" NOT IN ('schema_migrations', 'alembic_version') AND (d.objsubid = 0 OR a.name IS NOT NULL)

    UNION ALL
    SELECT CASE n.kind WHEN 'type comment' THEN 'type label' WHEN 'sequence comment' THEN 'sequence label'
            ELSE CASE WHEN l.objsubid > 0 THEN 'column label' ELSE 'label' END END,
        n."table", coalesce(a.name, n."column"), quote_ident(l.provider), '', quote_literal(l.label), '{}', true
    FROM named AS n
    JOIN pg_seclabel AS l ON l.classoid = n.classid AND l.objoid = n.oid
    LEFT JOIN attributes AS a ON n.kind = 'comment' AND a.relation = n.oid AND a.attnum = l.objsubid
    WHERE n.kind IN ('comment', 'sequence comment', 'type comment') AND (l.objsubid = 0 OR a.name IS NOT NULL)

    UNION ALL
    SELECT 'options', o.name, '', '', '', x.options, '{}', true
    FROM ours AS o
    LEFT JOIN pg_class AS t ON t.oid = o.reltoastrelid
    CROSS JOIN LATERAL (
        SELECT string_agg(name || '=' || quote_literal(value), ', ' ORDER BY name) AS options
        FROM (
            SELECT quote_ident(option_name) AS name, option_value AS value FROM pg_options_to_table(o.reloptions)
            UNION ALL
            SELECT 'toast.' || quote_ident(option_name), option_value FROM pg_options_to_table(t.reloptions)
        ) AS y
    ) AS x
    WHERE x.options IS NOT NULL

    UNION ALL
    SELECT 'tablespace', o.name, '', '', '', quote_ident(s.spcname), '{}', has_tablespace_privilege(login.oid, s.oid, 'CREATE')
    FROM login, ours AS o
    JOIN pg_tablespace AS s ON s.oid = o.reltablespace

    UNION ALL
    SELECT 'replica identity', name, '', '', '', CASE relreplident WHEN 'f' THEN 'FULL' ELSE 'NOTHING' END, '{}', true
    FROM ours
    WHERE relreplident IN ('f', 'n')

    UNION ALL
    SELECT 'column storage', "table", name, '', '',
        CASE attstorage WHEN 'p' THEN 'PLAIN' WHEN 'm' THEN 'MAIN' WHEN 'e' THEN 'EXTERNAL' ELSE 'EXTENDED' END, '{}', true
    FROM attributes
    WHERE attstorage <> typstorage
    UNION ALL
    SELECT 'column compression', "table", name, '', '', CASE more ->> 'attcompression' WHEN 'l' THEN 'lz4' ELSE 'pglz' END, '{}', true
    FROM attributes
    WHERE more ->> 'attcompression' <> ''
    UNION ALL
    SELECT 'column statistics', "table", name, '', '', more ->> 'attstattarget', '{}', true
    FROM attributes
    WHERE (more ->> 'attstattarget')::integer >= 0
    UNION ALL
    SELECT 'column options', a."table", a.name, '', '', o.options, '{}', true
    FROM attributes AS a
    CROSS JOIN LATERAL (
        SELECT string_agg(quote_ident(option_name) || '=' || quote_literal(option_value), ', ' ORDER BY option_name) AS options
        FROM pg_options_to_table(a.attoptions)
        WHERE option_name NOT LIKE 'pg\_%' -- the server's own (15.20, 17.12)
    ) AS o
    WHERE o.options IS NOT NULL

    UNION ALL
    SELECT 'sequence options', s."table", s."column", '', '', x.options, '{}', true
    FROM sequences AS s
    CROSS JOIN LATERAL (
        SELECT concat_ws(
            ' ',
            'INCREMENT BY ' || nullif(s.seqincrement, 1),
            'MINVALUE ' || nullif(s.seqmin, CASE WHEN s.seqincrement > 0 THEN 1 ELSE l.least END),
            'MAXVALUE ' || nullif(s.seqmax, CASE WHEN s.seqincrement > 0 THEN l.greatest ELSE -1 END),
            'START WITH ' || nullif(s.seqstart, CASE WHEN s.seqincrement > 0 THEN s.seqmin ELSE s.seqmax END),
            'CACHE ' || nullif(s.seqcache, 1),
            CASE WHEN s.seqcycle THEN 'CYCLE' END
        ) AS options
        FROM (
            SELECT
                CASE s.seqtypid WHEN 'bigint'::regtype THEN -9223372036854775808 ELSE -2147483648 END AS "least",
                CASE s.seqtypid WHEN 'bigint'::regtype THEN 9223372036854775807 ELSE 2147483647 END AS "greatest"
        ) AS l
    ) AS x
    WHERE x.options <> ''

    UNION ALL
    SELECT 'publication', o.name, '', quote_ident(p.pubname), '',
        concat_ws(
            ' and ',
            CASE WHEN to_jsonb(r) ->> 'prattrs' IS NOT NULL THEN 'a column list' END,
            CASE WHEN to_jsonb(r) ->> 'prqual' IS NOT NULL THEN 'a row filter' END
        ),
        coalesce(u.columns, '{}'), pg_has_role(login.oid, p.pubowner, 'USAGE')
    FROM login, ours AS o
    JOIN pg_publication_rel AS r ON r.prrelid = o.oid
    JOIN pg_publication AS p ON p.oid = r.prpubid
    LEFT JOIN uses AS u ON u.classid = 'pg_publication_rel'::regclass AND u.objid = r.oid AND u.refobjid = o.oid

    UNION ALL
    SELECT DISTINCT 'subscription', o.name, '', quote_ident(s.subname), '', '', '{}'::text[], true
    FROM ours AS o
    JOIN pg_subscription_rel AS r ON r.srrelid = o.oid
    JOIN pg_stat_subscription AS s ON s.subid = r.srsubid -- which every role may read

    UNION ALL
    SELECT 'extension', o.name, '', quote_ident(e.extname), '', '', '{}', true
    FROM ours AS o
    JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = o.oid AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
    JOIN pg_extension AS e ON e.oid = d.refobjid

    UNION ALL
    SELECT 'child', o.name, '', i.inhrelid::regclass::text, '', '', '{}', true
    FROM ours AS o
    JOIN pg_inherits AS i ON i.inhparent = o.oid
    UNION ALL
    SELECT 'parent', o.name, '', i.inhparent::regclass::text, '', '', '{}', true
    FROM ours AS o
    JOIN pg_inherits AS i ON i.inhrelid = o.oid
    UNION ALL
    SELECT 'type of table', name, '', reloftype::regtype::text, '', '', '{}', true FROM ours WHERE reloftype <> 0

    UNION ALL
    SELECT 'enum owner', e.name, '', '', '', quote_ident(pg_get_userbyid(e.typowner)), '{}', true FROM enums AS e

    -- Views, functions, defaults, policies of other tables.
    UNION ALL
    SELECT 'dependent', o.name, '', pg_describe_object(x.classid, x.objid, 0), '',
        CASE
            WHEN x.kind = 'v' THEN 'DROP VIEW ' || x.relation
            WHEN x.kind = 'm' THEN 'DROP MATERIALIZED VIEW ' || x.relation
            WHEN x.classid = 'pg_proc'::regclass THEN 'DROP ROUTINE ' || x.objid::regprocedure
            WHEN d.oid IS NOT NULL THEN format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', d.adrelid::regclass,
                (SELECT a.attname FROM pg_attribute AS a WHERE a.attrelid = d.adrelid AND a.attnum = d.adnum))
            WHEN p.oid IS NOT NULL THEN format('DROP POLICY %I ON %s', p.polname, p.polrelid::regclass)
            WHEN r.oid IS NOT NULL THEN format('DROP RULE %I ON %s', r.rulename, r.ev_class::regclass)
            ELSE 'drop ' || pg_describe_object(x.classid, x.objid, 0)
        END,
        coalesce(array_agg(DISTINCT c.column) FILTER (WHERE c.column IS NOT NULL), '{}'), true
    FROM ours AS o
    JOIN uses AS u ON u.refobjid = o.oid
    LEFT JOIN pg_rewrite AS r ON u.classid = 'pg_rewrite'::regclass AND r.oid = u.objid
    LEFT JOIN pg_class AS v ON v.oid = r.ev_class
    LEFT JOIN pg_attrdef AS d ON u.classid = 'pg_attrdef'::regclass AND d.oid = u.objid
    LEFT JOIN pg_policy AS p ON u.classid = 'pg_policy'::regclass AND p.oid = u.objid
    CROSS JOIN LATERAL (
        SELECT
            CASE WHEN v.oid IS NULL THEN u.classid ELSE 'pg_class'::regclass::oid END AS classid,
            coalesce(v.oid, u.objid) AS objid, v.relkind AS kind, v.oid::regclass::text AS relation
    ) AS x
    LEFT JOIN LATERAL unnest(u.columns) AS c ("column") ON true
    WHERE u.classid = 'pg_proc'::regclass
        OR v.oid NOT IN (SELECT oid FROM ours)
        OR r.ev_class IN (SELECT oid FROM ours WHERE oid <> o.oid)
        OR d.adrelid NOT IN (SELECT oid FROM ours)
        OR p.polrelid <> o.oid
    GROUP BY o.name, x.classid, x.objid, x.kind, x.relation, d.oid, d.adrelid, d.adnum, p.oid, p.polname, p.polrelid, r.oid, r.rulename, r.ev_class

    -- What uses a sequence.
    UNION ALL
    SELECT DISTINCT 'dependent', s."table", '', pg_describe_object(d.classid, d.objid, d.objsubid), '',
        CASE
            WHEN f.oid IS NOT NULL THEN format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', f.adrelid::regclass,
                (SELECT a.attname FROM pg_attribute AS a WHERE a.attrelid = f.adrelid AND a.attnum = f.adnum))
            ELSE 'drop ' || pg_describe_object(d.classid, d.objid, d.objsubid)
        END, ARRAY[s."column"], true
    FROM sequences AS s
    JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = s.oid AND d.deptype = 'n'
    LEFT JOIN pg_attrdef AS f ON d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid
    WHERE f.oid IS NULL OR f.adrelid NOT IN (SELECT oid FROM ours)

    -- What needs a constraint, as a view that groups by a key.
    UNION ALL
    SELECT DISTINCT 'key user', k."table", '', k.name, '',
        CASE WHEN r.oid IS NULL THEN pg_describe_object(d.classid, d.objid, 0) ELSE pg_describe_object('pg_class'::regclass, r.ev_class, 0) END,
        '{}'::text[], true
    FROM constraints AS k
    JOIN pg_depend AS d
        ON d.refclassid = 'pg_constraint'::regclass AND d.refobjid = k.oid AND d.classid IN ('pg_rewrite'::regclass, 'pg_proc'::regclass)
    LEFT JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid

    -- What uses the type of a table's rows, or an enum.
    UNION ALL
    SELECT DISTINCT CASE WHEN t.kind = 'row type user' AND d.classid = 'pg_class'::regclass THEN 'row type column' ELSE t.kind END,
        t.name, '', pg_describe_object(d.classid, d.objid, d.objsubid), '',
        CASE
            WHEN d.classid = 'pg_class'::regclass AND d.objsubid > 0 THEN format('ALTER TABLE %s DROP COLUMN %I', d.objid::regclass,
                (SELECT a.attname FROM pg_attribute AS a WHERE a.attrelid = d.objid AND a.attnum = d.objsubid))
            WHEN d.classid = 'pg_proc'::regclass THEN 'DROP ROUTINE ' || d.objid::regprocedure
            WHEN d.classid = 'pg_type'::regclass THEN 'DROP TYPE ' || d.objid::regtype
            ELSE 'drop ' || pg_describe_object(d.classid, d.objid, d.objsubid)
        END, '{}'::text[], true
    FROM (
        SELECT 'row type user' AS kind, o.name, y.oid
        FROM ours AS o
        JOIN pg_type AS y ON y.oid = o.reltype OR y.typelem = o.reltype AND y.typcategory = 'A'
        UNION ALL
        SELECT 'type user', e.name, x.oid FROM enums AS e CROSS JOIN LATERAL (VALUES (e.oid), (e.typarray)) AS x (oid)
    ) AS t
    JOIN pg_depend AS d ON d.refclassid = 'pg_type'::regclass AND d.refobjid = t.oid AND d.deptype = 'n'
    WHERE NOT (d.classid = 'pg_class'::regclass AND d.objid IN (SELECT oid FROM ours))
        AND NOT (d.classid = 'pg_attrdef'::regclass AND d.objid IN (SELECT f.oid FROM pg_attrdef AS f JOIN ours AS o ON o.oid = f.adrelid))
        AND NOT (d.classid = 'pg_type'::regclass AND d.objid IN (SELECT typarray FROM enums))
)
SELECT kind, "table", "column", name, "on", definition, array_to_string(columns, ','), may OR NOT acts.yes,
    CASE kind
        WHEN 'foreign key' THEN (SELECT k.owner FROM keys AS k WHERE (k.name, k."on") = (attached.name, attached."on"))
        WHEN 'publication' THEN (SELECT quote_ident(pg_get_userbyid(p.pubowner)) FROM pg_publication AS p WHERE quote_ident(p.pubname) = name)
        ELSE ''
    END
FROM attached, acts
ORDER BY kind, "table", "column", name, "on", definition
