-- What readTables asks. All of it is about the schema that unqualified names lead to, but for the tables that no step makes, and each
-- result is a list of names or expressions that SQL can be made of.

-- What it has no words for. A sequence that a column owns belongs to the column.
SELECT CASE c.relkind WHEN 'v' THEN 'view ' WHEN 'm' THEN 'materialized view ' WHEN 'S' THEN 'sequence '
    WHEN 'p' THEN 'partitioned table ' WHEN 'f' THEN 'foreign table ' ELSE 'type ' END || c.relname
FROM pg_class AS c
WHERE c.relnamespace = quote_ident(current_schema())::regnamespace
    AND c.relkind IN ('v', 'm', 'S', 'p', 'f', 'c')
    AND NOT EXISTS (
        SELECT FROM pg_depend
        WHERE classid = 'pg_class'::regclass AND objid = c.oid AND refclassid = 'pg_class'::regclass AND deptype IN ('a', 'i')
    )
UNION ALL
SELECT 'trigger ' || g.tgname || ' on ' || c.relname
FROM pg_trigger AS g
JOIN pg_class AS c ON c.oid = g.tgrelid
WHERE NOT g.tgisinternal AND c.relnamespace = quote_ident(current_schema())::regnamespace
UNION ALL
SELECT 'domain ' || typname FROM pg_type WHERE typtype = 'd' AND typnamespace = quote_ident(current_schema())::regnamespace
ORDER BY 1;

SELECT quote_ident(t.typname), array_agg(quote_literal(e.enumlabel) ORDER BY e.enumsortorder)
FROM pg_type AS t
JOIN pg_enum AS e ON e.enumtypid = t.oid
WHERE t.typnamespace = quote_ident(current_schema())::regnamespace
GROUP BY t.typname
ORDER BY t.typname;

SELECT
    quote_ident(c.relname),
    quote_ident(a.attname),
    format_type(a.atttypid, a.atttypmod),
    coalesce(pg_get_expr(d.adbin, d.adrelid), ''),
    coalesce((
        SELECT s.relname FROM pg_depend
        JOIN pg_class AS s ON s.oid = objid AND s.relkind = 'S'
        WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass AND deptype = 'a'
            AND refobjid = c.oid AND refobjsubid = a.attnum
        LIMIT 1
    ), ''),
    a.attidentity::text,
    a.attgenerated::text,
    coalesce((SELECT quote_ident(collname) FROM pg_collation WHERE oid = a.attcollation AND a.attcollation <> t.typcollation), ''),
    a.attnotnull
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type AS t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND c.relkind = 'r'
    AND c.oid NOT IN ({{others}})
ORDER BY c.relname, a.attnum;

SELECT
    quote_ident(c.relname),
    quote_ident(k.conname),
    k.contype::text,
    pg_get_constraintdef(k.oid),
    ARRAY(
        SELECT quote_ident(a.attname)
        FROM unnest(k.conkey) WITH ORDINALITY AS key (number, position)
        JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = key.number
        ORDER BY key.position
    ),
    coalesce((SELECT quote_ident(relname) FROM pg_class WHERE oid = nullif(k.confrelid, 0)), '')
FROM pg_constraint AS k
JOIN pg_class AS c ON c.oid = k.conrelid
WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND c.relkind = 'r' AND k.contype IN ('p', 'u', 'f', 'c', 'x')
    AND c.oid NOT IN ({{others}})
ORDER BY c.relname, position(k.contype::text IN 'pufcx'), k.conkey, k.conname;

SELECT
    quote_ident(c.relname),
    quote_ident(x.relname),
    replace(pg_get_indexdef(i.indexrelid), ' ON ' || quote_ident(current_schema()) || '.', ' ON '),
    ARRAY(
        SELECT quote_ident(a.attname)
        FROM unnest(i.indkey) WITH ORDINALITY AS key (number, position)
        JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = key.number
        WHERE NOT EXISTS (SELECT FROM unnest(i.indkey) WITH ORDINALITY AS e (number, position) WHERE e.number = 0 AND e.position < key.position)
        ORDER BY key.position
    ),
    i.indpred IS NOT NULL
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indrelid
JOIN pg_class AS x ON x.oid = i.indexrelid
WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND c.relkind = 'r'
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid AND contype IN ('p', 'u', 'x'))
    AND c.oid NOT IN ({{others}})
ORDER BY c.relname, x.relname
