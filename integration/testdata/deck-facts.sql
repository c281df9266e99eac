-- All that the catalogs say of what a person can see or set, a row for each fact: object, property, value. There is no oid
-- in it, so that two databases can be compared. PostgreSQL 15 and newer.
WITH
spaces AS (
    SELECT oid, CASE nspname WHEN 'public' THEN '' ELSE quote_ident(nspname) || '.' END AS prefix
    FROM pg_namespace
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
),
relations AS (
    SELECT
        c.*,
        s.prefix || quote_ident(c.relname) AS name,
        CASE c.relkind
            WHEN 'r' THEN 'table'
            WHEN 'p' THEN 'table'
            WHEN 'v' THEN 'view'
            WHEN 'm' THEN 'materialized view'
            WHEN 'S' THEN 'sequence'
            WHEN 'c' THEN 'composite type'
            WHEN 'f' THEN 'foreign table'
            ELSE 'index'
        END AS kind
    FROM pg_class AS c
    JOIN spaces AS s ON s.oid = c.relnamespace
),
columns AS (
    SELECT a.*, r.relowner, r.relkind, r.name || '.' || quote_ident(a.attname) AS name
    FROM pg_attribute AS a
    JOIN relations AS r ON r.oid = a.attrelid AND r.relkind <> 'S'
    WHERE a.attnum > 0 AND NOT a.attisdropped
),
constraints AS (
    SELECT k.*, r.name || '.' || quote_ident(k.conname) AS name, x.relname AS index
    FROM pg_constraint AS k
    JOIN relations AS r ON r.oid = k.conrelid
    LEFT JOIN pg_class AS x ON x.oid = k.conindid
),
types AS (
    SELECT t.*, s.prefix || quote_ident(t.typname) AS name
    FROM pg_type AS t
    JOIN spaces AS s ON s.oid = t.typnamespace
    WHERE t.typtype IN ('c', 'd', 'e') AND NOT EXISTS (
        SELECT FROM pg_class AS c WHERE c.oid = t.typrelid AND c.relkind NOT IN ('r', 'p', 'c') -- a view's is nobody's concern
    )
),
-- What carries privileges: its owner and its own list, or what PostgreSQL takes for one.
privileges AS (
    SELECT kind || ' ' || name AS object, relowner AS owner, coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)) AS acl
    FROM relations
    WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    UNION ALL
    SELECT 'column ' || name, relowner, attacl FROM columns
    UNION ALL
    SELECT 'type ' || name, typowner, coalesce(typacl, acldefault('T', typowner)) FROM types
    UNION ALL
    SELECT
        'default privileges of ' || defaclrole::regrole || ' for ' || defaclobjtype::text || coalesce(' in ' || nullif(defaclnamespace, 0)::regnamespace, ''),
        defaclrole, defaclacl
    FROM pg_default_acl
    UNION ALL
    SELECT 'function ' || p.oid::regprocedure, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner))
    FROM pg_proc AS p
    JOIN spaces AS s ON s.oid = p.pronamespace
    UNION ALL
    SELECT 'schema ' || n.nspname, n.nspowner, coalesce(n.nspacl, acldefault('n', n.nspowner))
    FROM pg_namespace AS n
    JOIN spaces AS s ON s.oid = n.oid
),
grants AS (
    SELECT
        p.object, p.owner, a.grantor, a.is_grantable,
        CASE a.grantee WHEN 0 THEN 'PUBLIC' WHEN p.owner THEN 'OWNER' ELSE a.grantee::regrole::text END || ' ' || a.privilege_type AS what
    FROM privileges AS p
    CROSS JOIN LATERAL aclexplode(p.acl) AS a
),
-- What can have a comment.
described AS (
    SELECT kind || ' ' || name AS object, 'pg_class'::regclass AS class, oid, 0 AS part FROM relations
    UNION ALL
    SELECT 'column ' || name, 'pg_class'::regclass, attrelid, attnum FROM columns
    UNION ALL
    SELECT 'constraint ' || name, 'pg_constraint'::regclass, oid, 0 FROM constraints
    UNION ALL
    SELECT 'type ' || name, 'pg_type'::regclass, oid, 0 FROM types
    UNION ALL
    SELECT 'policy ' || r.name || '.' || quote_ident(p.polname), 'pg_policy'::regclass, p.oid, 0 FROM pg_policy AS p JOIN relations AS r ON r.oid = p.polrelid
    UNION ALL
    SELECT 'trigger ' || r.name || '.' || quote_ident(g.tgname), 'pg_trigger'::regclass, g.oid, 0 FROM pg_trigger AS g JOIN relations AS r ON r.oid = g.tgrelid WHERE NOT g.tgisinternal
    UNION ALL
    SELECT 'rule ' || r.name || '.' || quote_ident(w.rulename), 'pg_rewrite'::regclass, w.oid, 0 FROM pg_rewrite AS w JOIN relations AS r ON r.oid = w.ev_class
    UNION ALL
    SELECT 'statistics ' || s.prefix || quote_ident(x.stxname), 'pg_statistic_ext'::regclass, x.oid, 0 FROM pg_statistic_ext AS x JOIN spaces AS s ON s.oid = x.stxnamespace
    UNION ALL
    SELECT 'publication ' || quote_ident(pubname), 'pg_publication'::regclass, oid, 0 FROM pg_publication
    UNION ALL
    SELECT 'schema ' || n.nspname, 'pg_namespace'::regclass, n.oid, 0 FROM pg_namespace AS n JOIN spaces AS s ON s.oid = n.oid
)
SELECT f.object, f.property, coalesce(f.value, 'none')
FROM (
    SELECT r.kind || ' ' || r.name AS object, p.property, p.value
    FROM relations AS r
    LEFT JOIN pg_class AS toast ON toast.oid = r.reltoastrelid
    LEFT JOIN pg_am AS m ON m.oid = r.relam
    LEFT JOIN pg_tablespace AS s ON s.oid = r.reltablespace
    CROSS JOIN LATERAL (
        VALUES
            ('owner', r.relowner::regrole::text),
            ('persistence', r.relpersistence::text),
            ('kind', r.relkind::text),
            ('tablespace', coalesce(s.spcname, 'default')),
            ('access method', m.amname),
            ('options', array_to_string(ARRAY(SELECT unnest(r.reloptions) ORDER BY 1), ' ')),
            ('options of TOAST', array_to_string(ARRAY(SELECT unnest(toast.reloptions) ORDER BY 1), ' ')),
            ('row security', r.relrowsecurity::text),
            ('row security forced', r.relforcerowsecurity::text),
            ('of type', nullif(r.reloftype, 0)::regtype::text),
            ('is a partition', r.relispartition::text),
            ('is filled', r.relispopulated::text),
            ('replica identity', CASE r.relreplident
                WHEN 'i' THEN 'index ' || (SELECT i.indexrelid::regclass FROM pg_index AS i WHERE i.indrelid = r.oid AND i.indisreplident)
                ELSE r.relreplident::text
            END)
    ) AS p (property, value)

    UNION ALL
    SELECT 'table ' || r.name, 'inherits ' || i.inhparent::regclass, i.inhseqno::text
    FROM pg_inherits AS i
    JOIN relations AS r ON r.oid = i.inhrelid

    UNION ALL
    SELECT 'column ' || a.name, p.property, p.value
    FROM columns AS a
    LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    CROSS JOIN LATERAL (
        VALUES
            ('type', format_type(a.atttypid, a.atttypmod)),
            ('not null', a.attnotnull::text),
            ('default', pg_get_expr(d.adbin, d.adrelid)),
            ('identity', a.attidentity::text),
            ('generated', a.attgenerated::text),
            ('collation', (SELECT l.collname::text FROM pg_collation AS l WHERE l.oid = a.attcollation)),
            ('statistics', coalesce(nullif(a.attstattarget, -1)::text, 'default')),
            ('storage', a.attstorage::text),
            ('compression', a.attcompression::text),
            -- PostgreSQL 15.20 and 17.12 write pg_attver themselves, anew with every ALTER TABLE.
            ('options', array_to_string(ARRAY(SELECT o FROM unnest(a.attoptions) AS o WHERE o !~ '^pg_attver=' ORDER BY 1), ' ')),
            ('inherited', a.attinhcount::text || a.attislocal)
    ) AS p (property, value)
    WHERE a.relkind NOT IN ('i', 'I') OR p.property = 'statistics' -- an index takes the rest after its table

    UNION ALL
    SELECT 'index ' || x.name, p.property, p.value
    FROM pg_index AS i
    JOIN relations AS x ON x.oid = i.indexrelid
    CROSS JOIN LATERAL (
        VALUES
            -- Its table and its options have their own lines.
            ('definition', regexp_replace(regexp_replace(pg_get_indexdef(i.indexrelid), '^CREATE (UNIQUE )?INDEX .*? USING ', '\1'), ' WITH \(.*?\)', '')),
            ('table', i.indrelid::regclass::text),
            ('clustered', i.indisclustered::text),
            ('replica identity of the table', i.indisreplident::text),
            ('valid', (i.indisvalid AND i.indisready AND i.indislive)::text)
    ) AS p (property, value)

    UNION ALL
    SELECT 'constraint ' || k.name, p.property, p.value
    FROM constraints AS k
    CROSS JOIN LATERAL (
        VALUES ('definition', pg_get_constraintdef(k.oid)), ('valid', k.convalidated::text), ('index', k.index::text), ('type', k.contype::text)
    ) AS p (property, value)

    UNION ALL
    SELECT 'constraint ' || k.name, 'trigger ' || p.proname || ' on ' || g.tgrelid::regclass, g.tgenabled::text
    FROM pg_trigger AS g
    JOIN constraints AS k ON k.oid = g.tgconstraint
    JOIN pg_proc AS p ON p.oid = g.tgfoid
    WHERE g.tgisinternal

    UNION ALL
    SELECT 'trigger ' || r.name || '.' || quote_ident(g.tgname), p.property, p.value
    FROM pg_trigger AS g
    JOIN relations AS r ON r.oid = g.tgrelid
    CROSS JOIN LATERAL (VALUES ('definition', pg_get_triggerdef(g.oid)), ('enabled', g.tgenabled::text)) AS p (property, value)
    WHERE NOT g.tgisinternal

    UNION ALL
    SELECT 'policy ' || r.name || '.' || quote_ident(o.polname), p.property, p.value
    FROM pg_policy AS o
    JOIN relations AS r ON r.oid = o.polrelid
    CROSS JOIN LATERAL (
        VALUES
            ('command', o.polcmd::text),
            ('permissive', o.polpermissive::text),
            ('roles', ARRAY(SELECT CASE role WHEN 0 THEN 'PUBLIC' ELSE role::regrole::text END FROM unnest(o.polroles) AS role ORDER BY 1)::text),
            ('using', pg_get_expr(o.polqual, o.polrelid)),
            ('check', pg_get_expr(o.polwithcheck, o.polrelid))
    ) AS p (property, value)

    UNION ALL
    SELECT 'rule ' || r.name || '.' || quote_ident(w.rulename), p.property, p.value
    FROM pg_rewrite AS w
    JOIN relations AS r ON r.oid = w.ev_class
    CROSS JOIN LATERAL (VALUES ('definition', pg_get_ruledef(w.oid)), ('enabled', w.ev_enabled::text)) AS p (property, value)

    UNION ALL
    SELECT DISTINCT 'rule ' || r.name || '.' || quote_ident(w.rulename), 'uses ' || d.refobjid::regclass || coalesce('.' || quote_ident(a.attname), ''), 'yes'
    FROM pg_depend AS d
    JOIN pg_rewrite AS w ON w.oid = d.objid
    JOIN relations AS r ON r.oid = w.ev_class
    LEFT JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid AND a.attnum > 0
    WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> w.ev_class

    UNION ALL
    SELECT 'publication ' || quote_ident(b.pubname), p.property, p.value
    FROM pg_publication AS b
    CROSS JOIN LATERAL (
        VALUES
            ('owner', b.pubowner::regrole::text),
            ('all tables', b.puballtables::text),
            ('publishes', concat(b.pubinsert, b.pubupdate, b.pubdelete, b.pubtruncate, b.pubviaroot)),
            ('schemas', ARRAY(SELECT n.pnnspid::regnamespace::text FROM pg_publication_namespace AS n WHERE n.pnpubid = b.oid ORDER BY 1)::text)
    ) AS p (property, value)

    UNION ALL
    SELECT 'table ' || r.name, 'publication ' || quote_ident(b.pubname), concat_ws(
        ' where ',
        ARRAY(
            SELECT quote_ident(a.attname)
            FROM unnest(m.prattrs) AS number
            JOIN pg_attribute AS a ON a.attrelid = m.prrelid AND a.attnum = number
            ORDER BY 1
        )::text,
        pg_get_expr(m.prqual, m.prrelid)
    )
    FROM pg_publication_rel AS m
    JOIN pg_publication AS b ON b.oid = m.prpubid
    JOIN relations AS r ON r.oid = m.prrelid

    UNION ALL
    SELECT 'statistics ' || s.prefix || quote_ident(x.stxname), p.property, p.value
    FROM pg_statistic_ext AS x
    JOIN spaces AS s ON s.oid = x.stxnamespace
    CROSS JOIN LATERAL (
        VALUES
            ('definition', pg_get_statisticsobjdef(x.oid)),
            ('statistics', coalesce(nullif(x.stxstattarget, -1)::text, 'default')),
            ('owner', x.stxowner::regrole::text)
    ) AS p (property, value)

    UNION ALL
    SELECT 'sequence ' || r.name, p.property, p.value
    FROM pg_sequence AS q
    JOIN relations AS r ON r.oid = q.seqrelid
    CROSS JOIN LATERAL (
        VALUES
            ('type', q.seqtypid::regtype::text),
            ('start', q.seqstart::text),
            ('increment', q.seqincrement::text),
            ('minimum', q.seqmin::text),
            ('maximum', q.seqmax::text),
            ('cache', q.seqcache::text),
            ('cycle', q.seqcycle::text),
            ('owned by', (
                SELECT d.refobjid::regclass || '.' || a.attname
                FROM pg_depend AS d
                JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
                WHERE d.classid = 'pg_class'::regclass AND d.objid = q.seqrelid AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
            ))
    ) AS p (property, value)

    UNION ALL
    SELECT 'type ' || t.name, p.property, p.value
    FROM types AS t
    CROSS JOIN LATERAL (
        VALUES
            ('owner', t.typowner::regrole::text),
            ('kind', t.typtype::text),
            ('labels', ARRAY(SELECT e.enumlabel FROM pg_enum AS e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder)::text)
    ) AS p (property, value)

    UNION ALL
    SELECT 'function ' || p.oid::regprocedure, 'definition', md5(concat(p.prosrc, p.prosecdef, p.provolatile, p.proconfig, p.proowner::regrole))
    FROM pg_proc AS p
    JOIN spaces AS s ON s.oid = p.pronamespace

    UNION ALL
    SELECT 'event trigger ' || evtname, 'enabled', evtenabled::text FROM pg_event_trigger

    UNION ALL
    -- Two roles may grant the same.
    SELECT g.object, 'grant ' || g.what, CASE WHEN bool_or(g.is_grantable) THEN 'with grant option' ELSE 'plain' END
    FROM grants AS g
    GROUP BY g.object, g.what

    UNION ALL
    SELECT g.object, 'grantor of ' || g.what || ': ' || g.grantor::regrole, 'yes'
    FROM grants AS g
    WHERE g.grantor <> g.owner

    UNION ALL
    SELECT d.object, 'comment', c.description
    FROM described AS d
    JOIN pg_description AS c ON (c.classoid, c.objoid, c.objsubid) = (d.class, d.oid, d.part)

    UNION ALL
    SELECT d.object, 'label of ' || l.provider, l.label
    FROM described AS d
    JOIN pg_seclabel AS l ON (l.classoid, l.objoid, l.objsubid) = (d.class, d.oid, d.part)
) AS f (object, property, value)
ORDER BY 1, 2
