-- Release: pepdbagent 0.5.0 - 0.6.0: samples and subsamples leave the document for tables of their own.
-- Data: the document becomes config, samples and subsamples, in their order; one with more in it goes to archived_project_values.
-- Undo: puts the document together again.

LOCK TABLE projects IN ACCESS EXCLUSIVE MODE;

-- PostgreSQL's json functions fail on \u0000, on half a surrogate pair, and on a character that the database's encoding
-- lacks; json itself can hold them all. Within this step every \u is therefore hidden from them as DEL u, and a DEL as
-- DEL d, and put back into what is stored. A backslash that is escaped itself, and begins no \u, is out of the way meanwhile.
CREATE FUNCTION pephub_migrate_hide(document json) RETURNS json
LANGUAGE sql IMMUTABLE
AS $$
SELECT CASE
    WHEN strpos(document::text, '\u') + strpos(document::text, chr(127)) = 0 THEN document
    ELSE replace(
        replace(
            replace(replace(document::text, chr(127), chr(127) || 'd'), '\\', chr(127) || 'b'),
            '\u', chr(127) || 'u'
        ),
        chr(127) || 'b', '\\'
    )::json
END
$$;

CREATE FUNCTION pephub_migrate_reveal(document text) RETURNS text
LANGUAGE sql IMMUTABLE
AS $$
SELECT replace(replace(document, chr(127) || 'u', '\u'), chr(127) || 'd', chr(127))
$$;

-- A hidden text with all characters that the database's encoding has. Other escapes stay hidden.
CREATE FUNCTION pephub_migrate_decode(hidden text) RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
    decoded text := hidden;
    escape text;
BEGIN
    FOR escape IN
        SELECT DISTINCT m[1]
        FROM regexp_matches(hidden, replace('~ud[89ab]..~ud[c-f]..|~u....', '~', chr(127)), 'gi') AS m
    LOOP
        BEGIN
            decoded := replace(
                decoded, escape,
                replace(('"' || replace(escape, chr(127), '\') || '"')::json #>> '{}', chr(127), chr(127) || 'd')
            );
        EXCEPTION
            WHEN data_exception OR feature_not_supported THEN
                CONTINUE;
        END;
    END LOOP;
    RETURN decoded;
END
$$;

-- A hidden value as a column of text would hold it: without the characters that it cannot hold.
CREATE FUNCTION pephub_migrate_text(value json) RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
    hidden text := value #>> '{}';
BEGIN
    RETURN CASE
        WHEN json_typeof(value) <> 'string' THEN pephub_migrate_reveal(hidden)
        WHEN strpos(hidden, chr(127)) = 0 THEN hidden
        ELSE replace(regexp_replace(pephub_migrate_decode(hidden), chr(127) || 'u....', '', 'g'), chr(127) || 'd', chr(127))
    END;
END
$$;

-- The rows of one table of the document. 0.4.3 writes a list of records; older releases write an object of columns,
-- {column: {row: value}}. The keys of its rows are numbers from 0, or else the rows' names, which may look like numbers.
-- Named rows are in the order in which they first come up, and one with nothing in the column of that name gets its key
-- there. A key that neither this name nor the row's number says is lost.
CREATE FUNCTION pephub_migrate_records(content json, name text)
RETURNS TABLE (record json, row_position bigint, lost_key boolean)
LANGUAGE sql IMMUTABLE
AS $$
SELECT r.value, r.ordinality, NULL
FROM json_array_elements(CASE json_typeof(content) WHEN 'array' THEN content ELSE '[]' END) WITH ORDINALITY AS r
UNION ALL
SELECT
    (
        '{' || CASE WHEN n.cell IS NOT NULL OR n.numbered THEN '' ELSE to_json(name) || ': ' || to_json(n.key) || ', ' END
        || n.cells || '}'
    )::json,
    row_number() OVER (ORDER BY CASE WHEN n.numbered THEN n.key::integer END, n.first),
    CASE WHEN n.numbered THEN n.key <> n.key::integer::text ELSE n.cell IS NOT NULL AND NOT n.named END
FROM (
    SELECT
        g.key, g.cell, g.cells, g.first, g.named,
        bool_and(g.digits) OVER ()
        AND max(CASE WHEN g.digits THEN g.key::integer END) OVER () = count(*) OVER () - 1
        AND NOT bool_and(g.named) OVER () AS numbered
    FROM (
        SELECT
            v.key,
            v.key ~ '^[0-9]{1,9}$' AS digits,
            (array_agg(v.value) FILTER (WHERE c.key = name))[1] AS cell,
            (array_agg(v.value) FILTER (WHERE c.key = name))[1] #>> '{}' IS NOT DISTINCT FROM v.key AS named,
            string_agg(to_json(c.key) || ': ' || v.value, ', ' ORDER BY c.ordinality, v.ordinality) AS cells,
            min(ARRAY[c.ordinality, v.ordinality]) AS first
        FROM json_each(CASE json_typeof(content) WHEN 'object' THEN content ELSE '{}' END) WITH ORDINALITY AS c
        CROSS JOIN LATERAL json_each(CASE json_typeof(c.value) WHEN 'object' THEN c.value ELSE '{}' END)
            WITH ORDINALITY AS v
        GROUP BY v.key
    ) AS g
) AS n
$$;

-- A name in lower case as Python's str.lower() has it, whatever the database's locale; NULL where the server does not know.
CREATE FUNCTION pephub_migrate_lower(name text) RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
    lowered text;
BEGIN
    IF name !~ '[^\x01-\x7f]' THEN
        RETURN lower(name COLLATE "C");
    ELSIF to_regcollation('pg_catalog."und-x-icu"') IS NOT NULL THEN
        lowered := lower(name COLLATE pg_catalog."und-x-icu");
    ELSIF to_regcollation('pg_catalog.pg_unicode_fast') IS NOT NULL THEN -- PostgreSQL 18
        lowered := lower(name COLLATE pg_catalog.pg_unicode_fast);
    END IF;
    -- ICU writes SUB for what the encoding lacks.
    RETURN CASE WHEN strpos(lowered, chr(26)) = strpos(name, chr(26)) THEN lowered END;
END
$$;

-- Whether a table has no row, or a column that has none: no record can hold its name. How an object with members begins is
-- enough to know it.
CREATE FUNCTION pephub_migrate_lossy(content json) RETURNS boolean
LANGUAGE sql IMMUTABLE
AS $$
SELECT CASE json_typeof(content)
    WHEN 'array' THEN json_array_length(content) = 0
    WHEN 'object' THEN
        ltrim(content::text, E'{ \n\r\t') NOT LIKE '"%'
        OR EXISTS (
            SELECT
            FROM json_each(content) AS c
            WHERE json_typeof(c.value) <> 'object' OR ltrim(c.value::text, E'{ \n\r\t') NOT LIKE '"%'
        )
    ELSE true
END
$$;

SET LOCAL application_name = 'pephub-migrate: taking documents apart';
-- Each document is taken apart once for all that follows. What is an argument below is a column here: as an expression it
-- would be inlined, and evaluated, which takes the whole document, for each cell. PostgreSQL's own compression would take longer
-- than all the rest: LZ4 does not, where the server has it.
CREATE UNLOGGED TABLE pephub_migrate_documents (
    id bigint,
    kind text,
    hidden boolean, -- whether anything in it is
    keys text[],
    name json,
    description json,
    kind_of_samples text,
    samples json,
    list json,
    dict json,
    kind_of_config text,
    config json,
    name_column text,
    tables json
);
DO $$
DECLARE
    cheap text := CASE
        WHEN EXISTS (SELECT FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals))
            THEN 'COMPRESSION lz4'
        ELSE 'STORAGE EXTERNAL'
    END;
BEGIN
    EXECUTE format(
        'ALTER TABLE pephub_migrate_documents
            ALTER COLUMN samples SET %1$s, ALTER COLUMN list SET %1$s, ALTER COLUMN dict SET %1$s, ALTER COLUMN tables SET %1$s',
        cheap
    );
END
$$;
INSERT INTO pephub_migrate_documents
SELECT
    d.id, d.kind, d.hidden, m.keys, m.name, m.description, json_typeof(m.samples), m.samples, m.list, m.dict,
    json_typeof(m.config),
    CASE json_typeof(m.config) WHEN 'object' THEN m.config ELSE '{}' END,
    coalesce(nullif(m.config ->> 'sample_table_index', ''), 'sample_name'),
    CASE
        WHEN json_typeof(m.list) = 'array' AND json_array_length(m.list) > 0 THEN m.list
        WHEN json_typeof(m.dict) = 'array' THEN m.dict
        ELSE '[]'
    END
FROM (
    SELECT
        id, hidden, json_typeof(document[1]) AS kind,
        CASE WHEN hidden THEN pephub_migrate_hide(document[1]) ELSE document[1] END AS document
    FROM (
        SELECT id, document, strpos(document[1]::text, '\u') + strpos(document[1]::text, chr(127)) > 0 AS hidden
        -- In an array it is decompressed, once.
        FROM (SELECT id, ARRAY[project_value] AS document FROM ONLY projects OFFSET 0) AS p
        OFFSET 0
    ) AS h
    OFFSET 0
) AS d
CROSS JOIN LATERAL (
    SELECT
        coalesce(array_agg(e.key), '{}') AS keys,
        (array_agg(e.value ORDER BY e.position DESC) FILTER (WHERE e.key = 'name'))[1] AS name,
        (array_agg(e.value ORDER BY e.position DESC) FILTER (WHERE e.key = 'description'))[1] AS description,
        (array_agg(e.value ORDER BY e.position DESC) FILTER (WHERE e.key = '_config'))[1] AS config,
        (array_agg(e.value ORDER BY e.position DESC) FILTER (WHERE e.key = '_sample_dict'))[1] AS samples,
        (array_agg(e.value ORDER BY e.position DESC) FILTER (WHERE e.key = '_subsample_list'))[1] AS list,
        (array_agg(e.value ORDER BY e.position DESC) FILTER (WHERE e.key = '_subsample_dict'))[1] AS dict
    FROM json_each(CASE d.kind WHEN 'object' THEN d.document ELSE '{}' END) WITH ORDINALITY AS e (key, value, position)
) AS m
ORDER BY d.id;

-- What is of neither form would get lost.
DO $$
DECLARE
    odd text;
BEGIN
    SELECT left(string_agg(p.namespace || '/' || p.name || ':' || p.tag, ', '), 9999) INTO odd
    FROM ONLY projects AS p
    JOIN pephub_migrate_documents AS d ON d.id = p.id
    WHERE d.kind <> 'object'
        OR coalesce(d.kind_of_config, 'null') NOT IN ('object', 'null')
        OR coalesce(d.kind_of_samples, 'null') NOT IN ('object', 'array', 'null')
        OR coalesce(json_typeof(d.list), 'null') NOT IN ('array', 'null')
        OR coalesce(json_typeof(d.dict), 'null') NOT IN ('array', 'null');
    IF odd IS NOT NULL THEN
        RAISE EXCEPTION 'the documents of these projects are of an unknown form: %', odd;
    END IF;
END
$$;

SET LOCAL application_name = 'pephub-migrate: writing samples and subsamples';
-- Both tables and their indexes belong where the rows come from, if their owner may put them there.
SELECT set_config('default_tablespace', s.spcname, true)
FROM pg_class AS c
JOIN pg_tablespace AS s ON s.oid = c.reltablespace
WHERE c.oid = 'projects'::regclass AND has_tablespace_privilege(s.oid, 'CREATE');

-- CREATE TABLE AS writes one page after the other; INSERT would put a small row back into a page with room for it, and
-- pepdbagent reads subsamples in their order on disk. Samples have their order in row_number; documents are in that of their
-- ids, and to sort the samples as well would take as long as to write them. A sample whose key is lost has a number below 0
-- until that is archived.
CREATE TABLE samples AS
SELECT
    (row_number() OVER ())::integer AS id,
    CASE WHEN p.hidden THEN pephub_migrate_reveal(r.record::text)::json ELSE r.record END AS sample,
    p.id::integer AS project_id,
    (CASE WHEN r.lost_key THEN -r.row_position ELSE r.row_position - 1 END)::integer AS row_number
FROM pephub_migrate_documents AS p
CROSS JOIN LATERAL pephub_migrate_records(p.samples, p.name_column) AS r;

CREATE TABLE subsamples AS
SELECT
    (row_number() OVER (ORDER BY p.id, t.ordinality, r.row_position))::integer AS id,
    pephub_migrate_reveal(r.record::text)::json AS subsample,
    p.id::integer AS project_id,
    (t.ordinality - 1)::integer AS subsample_number,
    (r.row_position - 1)::integer AS row_number
FROM pephub_migrate_documents AS p
CROSS JOIN LATERAL json_array_elements(p.tables) WITH ORDINALITY AS t
CROSS JOIN LATERAL pephub_migrate_records(t.value, 'sample_name') AS r
ORDER BY p.id, t.ordinality, r.row_position;

-- An archive that is there already is left from an upgrade whose database was restored since. It stays, under a name of
-- its own: its rows must not get into the way back.
DO $$
BEGIN
    IF to_regclass(format('%I.archived_project_values', current_schema())) IS NOT NULL THEN
        EXECUTE format(
            'ALTER TABLE archived_project_values RENAME TO %I',
            'archived_project_values' || to_char(now(), '_YYYYMMDD_HH24MISS_US')
        );
    END IF;
END
$$;

SET LOCAL application_name = 'pephub-migrate: looking for what else documents hold';
-- A document that holds more than its config, its samples and its subsamples will. Members that are unknown, a name or a
-- description that is neither the config's nor the project's, can be given back; what is lossy cannot: no members, members
-- that come twice, tables and columns without a row, keys of rows, two lists of tables. Case is no matter in a name: from
-- 0.4 on pepdbagent makes the project's name lower case, and leaves the document's as it is.
CREATE TABLE archived_project_values AS
SELECT p.id AS project_id, p.project_value, p.name AS project_name, o.lossy
FROM ONLY projects AS p
JOIN pephub_migrate_documents AS d ON d.id = p.id
LEFT JOIN (
    SELECT DISTINCT project_id
    FROM ONLY samples
    WHERE row_number < 0 AND (SELECT bool_or(kind_of_samples = 'object') FROM pephub_migrate_documents)
) AS k ON k.project_id = p.id
CROSS JOIN LATERAL (
    SELECT coalesce(
        k.project_id IS NOT NULL
        OR cardinality(d.keys) = 0
        OR cardinality(d.keys) > (SELECT count(DISTINCT k.key) FROM unnest(d.keys) AS k (key))
        OR d.kind_of_samples = 'object'
            AND ltrim(d.samples::text, E'{ \n\r\t') LIKE '"%'
            AND pephub_migrate_lossy(d.samples)
        OR EXISTS (
            SELECT
            FROM json_array_elements(d.tables) AS t
            WHERE pephub_migrate_lossy(t.value)
                OR json_typeof(t.value) = 'object'
                    AND EXISTS (SELECT FROM pephub_migrate_records(t.value, 'sample_name') AS r WHERE r.lost_key)
        )
        OR json_typeof(d.list) = 'array'
            AND json_typeof(d.dict) = 'array'
            AND json_array_length(d.list) > 0
            AND json_array_length(d.dict) > 0,
        false
    )
) AS o (lossy)
WHERE o.lossy
    OR NOT d.keys <@ ARRAY['name', 'description', '_config', '_sample_dict', '_subsample_dict', '_subsample_list']
    OR (
        d.config -> 'name' IS NOT NULL
        AND d.name IS NOT NULL
        AND (
            pephub_migrate_text(d.name) IS DISTINCT FROM p.name
                AND pephub_migrate_lower(pephub_migrate_text(d.name)) IS DISTINCT FROM p.name
            OR strpos(pephub_migrate_decode(d.name #>> '{}'), chr(127) || 'u') > 0
        )
    )
    OR (
        d.config -> 'description' IS NOT NULL
        AND d.description IS NOT NULL
        AND (
            pephub_migrate_text(d.description) IS DISTINCT FROM p.description
            OR strpos(pephub_migrate_decode(d.description #>> '{}'), chr(127) || 'u') > 0
        )
    )
ORDER BY p.id;

DO $$
BEGIN
    IF EXISTS (SELECT FROM archived_project_values) THEN
        ALTER TABLE archived_project_values ADD PRIMARY KEY (project_id);
    ELSE
        DROP TABLE archived_project_values;
    END IF;
END
$$;

CREATE SEQUENCE samples_id_seq AS integer OWNED BY samples.id;
CREATE SEQUENCE subsamples_id_seq AS integer OWNED BY subsamples.id;
SELECT setval('samples_id_seq', max(id)) FROM ONLY samples HAVING max(id) IS NOT NULL;
SELECT setval('subsamples_id_seq', max(id)) FROM ONLY subsamples HAVING max(id) IS NOT NULL;

ALTER TABLE samples
    ALTER COLUMN id SET DEFAULT nextval('samples_id_seq'),
    ALTER COLUMN sample SET NOT NULL,
    ALTER COLUMN row_number SET NOT NULL,
    ADD CONSTRAINT samples_pkey PRIMARY KEY (id);
ALTER TABLE subsamples
    ALTER COLUMN id SET DEFAULT nextval('subsamples_id_seq'),
    ALTER COLUMN subsample SET NOT NULL,
    ALTER COLUMN subsample_number SET NOT NULL,
    ALTER COLUMN row_number SET NOT NULL,
    ADD CONSTRAINT subsamples_pkey PRIMARY KEY (id);
SET LOCAL default_tablespace TO DEFAULT;
UPDATE ONLY samples
SET row_number = -1 - row_number
WHERE row_number < 0 AND (SELECT bool_or(kind_of_samples = 'object') FROM pephub_migrate_documents);

SET LOCAL application_name = 'pephub-migrate: writing configs';
-- The config, with the document's own name and description where it has none.
ALTER TABLE projects ADD COLUMN config json;
UPDATE ONLY projects AS p
SET config = pephub_migrate_reveal((
    SELECT coalesce('{' || string_agg(to_json(m.key) || ': ' || m.value, ', ' ORDER BY m.source, m.position) || '}', '{}')
    FROM (
        SELECT 1 AS source, e.key, e.value::text, e.position
        FROM json_each(d.config) WITH ORDINALITY AS e (key, value, position)
        UNION ALL
        SELECT 2, 'name', coalesce(d.name::text, pephub_migrate_hide(to_json(p.name))::text), NULL
        WHERE d.config -> 'name' IS NULL
        UNION ALL
        SELECT 3, 'description', coalesce(d.description::text, pephub_migrate_hide(to_json(coalesce(p.description, '')))::text), NULL
        WHERE d.config -> 'description' IS NULL
    ) AS m
))::json
FROM pephub_migrate_documents AS d
WHERE d.id = p.id;

-- What a transaction drops keeps its place on disk until the commit, but for what it has made itself and truncates.
TRUNCATE pephub_migrate_documents;
DROP TABLE pephub_migrate_documents;
DROP FUNCTION
    pephub_migrate_records, pephub_migrate_lossy, pephub_migrate_lower, pephub_migrate_text, pephub_migrate_decode,
    pephub_migrate_reveal, pephub_migrate_hide;

ALTER TABLE projects
    DROP CONSTRAINT id,
    DROP COLUMN project_value,
    ALTER COLUMN id TYPE integer,
    ALTER COLUMN config SET NOT NULL,
    ALTER COLUMN last_update_date DROP NOT NULL,
    ADD CONSTRAINT projects_pkey PRIMARY KEY (id),
    ADD CONSTRAINT projects_namespace_name_tag_key UNIQUE (namespace, name, tag);
ALTER SEQUENCE projects_id_seq AS integer;

-- Nothing kept the ids unique before, so the sequence may be behind. RESTART is undone when the transaction rolls back.
DO $$
DECLARE
    last bigint := (SELECT max(id) FROM ONLY projects);
BEGIN
    IF last >= (SELECT CASE WHEN is_called THEN last_value + 1 ELSE last_value END FROM projects_id_seq) THEN
        EXECUTE format('ALTER SEQUENCE projects_id_seq RESTART WITH %s', last + 1);
    END IF;
END
$$;

SET LOCAL application_name = 'pephub-migrate: checking foreign keys';
ALTER TABLE samples
    ADD CONSTRAINT samples_project_id_fkey FOREIGN KEY (project_id) REFERENCES projects ON DELETE CASCADE;
ALTER TABLE subsamples
    ADD CONSTRAINT subsamples_project_id_fkey FOREIGN KEY (project_id) REFERENCES projects ON DELETE CASCADE;
