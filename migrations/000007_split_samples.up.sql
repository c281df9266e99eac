-- Release: pepdbagent 0.5.0 - 0.6.0: samples and subsamples leave the document for tables of their own.
-- Data: the document becomes config, samples and subsamples, in their order; one with more in it goes to archived_project_values.
-- Undo: puts the document together again.

LOCK TABLE projects IN ACCESS EXCLUSIVE MODE;

-- PostgreSQL's json functions fail on \u0000 and on half a surrogate pair, both of which json itself can hold. Within
-- this step every escape \u is therefore hidden from them, and put back into what is stored as json.
CREATE FUNCTION pephub_migrate_hide(document json) RETURNS json
LANGUAGE sql IMMUTABLE
AS $$
SELECT CASE
    WHEN strpos(document::text, '\u') = 0 THEN document
    ELSE regexp_replace(document::text, '(?<!\\)((?:\\\\)*)\\u', '\1' || chr(127) || 'escape' || chr(127), 'g')::json
END
$$;

CREATE FUNCTION pephub_migrate_reveal(document text) RETURNS json
LANGUAGE sql IMMUTABLE
AS $$
SELECT replace(document, chr(127) || 'escape' || chr(127), '\u')::json
$$;

-- The rows of one table of the document. 0.4.3 writes a list of records; older releases write an object of columns,
-- {column: {row: value}}. The keys of its rows are numbers from 0, or else the rows' names: then their order is that in
-- which they first come up, and a row with nothing in the column of that name gets its key there.
CREATE FUNCTION pephub_migrate_records(content json, name text) RETURNS TABLE (record text, row_position bigint)
LANGUAGE sql IMMUTABLE
AS $$
SELECT r.value::text, r.ordinality
FROM json_array_elements(CASE json_typeof(content) WHEN 'array' THEN content ELSE '[]' END) WITH ORDINALITY AS r
UNION ALL
SELECT
    '{' || CASE WHEN n.named OR n.numbered THEN '' ELSE to_json(name) || ': ' || to_json(n.key) || ', ' END || n.cells || '}',
    row_number() OVER (ORDER BY CASE WHEN n.numbered THEN n.key::integer END, n.first)
FROM (
    SELECT
        g.key, g.named, g.cells, g.first,
        bool_and(g.key ~ '^\d{1,9}$') OVER ()
        AND max(CASE WHEN g.key ~ '^\d{1,9}$' THEN g.key::integer END) OVER () = count(*) OVER () - 1 AS numbered
    FROM (
        SELECT
            v.key,
            bool_or(c.key = name) AS named,
            string_agg(to_json(c.key) || ': ' || v.value, ', ' ORDER BY c.ordinality) AS cells,
            min(ARRAY[c.ordinality, v.ordinality]) AS first
        FROM json_each(CASE json_typeof(content) WHEN 'object' THEN content ELSE '{}' END) WITH ORDINALITY AS c
        CROSS JOIN LATERAL json_each(c.value) WITH ORDINALITY AS v
        GROUP BY v.key
    ) AS g
) AS n
$$;

-- Each document is read once for all that follows. What is an argument below is a column here: as an expression it
-- would be inlined, and evaluated, which takes the whole document, for each cell.
CREATE TABLE pephub_migrate_documents AS
SELECT
    id,
    document,
    document -> '_sample_dict' AS samples,
    coalesce(nullif(document -> '_config' ->> 'sample_table_index', ''), 'sample_name') AS name_column
FROM (SELECT id, pephub_migrate_hide(project_value) AS document FROM projects OFFSET 0) AS d;

-- What is of neither form would get lost.
DO $$
DECLARE
    odd text;
BEGIN
    SELECT string_agg(p.namespace || '/' || p.name || ':' || p.tag, ', ') INTO odd
    FROM projects AS p
    JOIN pephub_migrate_documents AS d ON d.id = p.id
    WHERE json_typeof(d.document) <> 'object'
        OR coalesce(json_typeof(d.document -> '_config'), 'null') NOT IN ('object', 'null')
        OR coalesce(json_typeof(d.document -> '_sample_dict'), 'null') NOT IN ('object', 'array', 'null')
        OR coalesce(json_typeof(d.document -> '_subsample_dict'), 'null') NOT IN ('array', 'null')
        OR coalesce(json_typeof(d.document -> '_subsample_list'), 'null') NOT IN ('array', 'null');
    IF odd IS NOT NULL THEN
        RAISE EXCEPTION 'the documents of these projects are of an unknown form: %', odd;
    END IF;
END
$$;

-- An archive that is there already is left from an upgrade whose database was restored since. It stays, under a name of
-- its own: its rows must not get into the way back.
DO $$
DECLARE
    archive text;
BEGIN
    FOREACH archive IN ARRAY ARRAY['archived_project_values'] LOOP
        IF to_regclass(archive) IS NOT NULL THEN
            EXECUTE format('ALTER TABLE %I RENAME TO %I', archive, archive || to_char(now(), '_YYYYMMDD_HH24MISS'));
        END IF;
    END LOOP;
    IF EXISTS (
        SELECT FROM pephub_migrate_documents AS d CROSS JOIN LATERAL json_object_keys(d.document) AS k (key)
        WHERE k.key NOT IN ('name', 'description', '_config', '_sample_dict', '_subsample_dict', '_subsample_list')
    ) THEN
        CREATE TABLE archived_project_values AS
        SELECT p.id AS project_id, p.project_value
        FROM projects AS p
        JOIN pephub_migrate_documents AS d ON d.id = p.id
        WHERE EXISTS (
            SELECT FROM json_object_keys(d.document) AS k (key)
            WHERE k.key NOT IN ('name', 'description', '_config', '_sample_dict', '_subsample_dict', '_subsample_list')
        )
        ORDER BY p.id;
    END IF;
END
$$;

CREATE TABLE samples (
    id serial PRIMARY KEY,
    sample json NOT NULL,
    project_id integer,
    row_number integer NOT NULL
);

CREATE TABLE subsamples (
    id serial PRIMARY KEY,
    subsample json NOT NULL,
    project_id integer,
    subsample_number integer NOT NULL,
    row_number integer NOT NULL
);

INSERT INTO samples (sample, project_id, row_number)
SELECT pephub_migrate_reveal(r.record), p.id, r.row_position - 1
FROM pephub_migrate_documents AS p
CROSS JOIN LATERAL pephub_migrate_records(p.samples, p.name_column) AS r
ORDER BY p.id, r.row_position;

-- In this order on disk, since that is the order in which pepdbagent reads them.
INSERT INTO subsamples (subsample, project_id, subsample_number, row_number)
SELECT pephub_migrate_reveal(r.record), p.id, t.ordinality - 1, r.row_position - 1
FROM pephub_migrate_documents AS p
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN json_typeof(p.document -> '_subsample_list') = 'array' AND (p.document ->> '_subsample_list') !~ '^\[\s*\]$'
            THEN p.document -> '_subsample_list'
        WHEN json_typeof(p.document -> '_subsample_dict') = 'array' THEN p.document -> '_subsample_dict'
        ELSE '[]'
    END AS tables
) AS l
CROSS JOIN LATERAL json_array_elements(l.tables) WITH ORDINALITY AS t
CROSS JOIN LATERAL pephub_migrate_records(t.value, 'sample_name') AS r
ORDER BY p.id, t.ordinality, r.row_position;

-- The config, with the document's own name and description where it has none.
ALTER TABLE projects ADD COLUMN config json;
UPDATE projects AS p
SET config = pephub_migrate_reveal((
    SELECT coalesce('{' || string_agg(to_json(m.key) || ': ' || m.value, ', ' ORDER BY m.source, m.position) || '}', '{}')
    FROM (
        SELECT 1 AS source, e.key, e.value::text, e.position
        FROM json_each(d.config) WITH ORDINALITY AS e (key, value, position)
        UNION ALL
        SELECT 2, 'name', coalesce((d.document -> 'name')::text, to_json(p.name)::text), NULL
        WHERE d.config -> 'name' IS NULL
        UNION ALL
        SELECT 3, 'description', coalesce((d.document -> 'description')::text, to_json(coalesce(p.description, ''))::text), NULL
        WHERE d.config -> 'description' IS NULL
    ) AS m
))
FROM (
    SELECT
        id,
        document,
        CASE json_typeof(document -> '_config') WHEN 'object' THEN document -> '_config' ELSE '{}' END AS config
    FROM pephub_migrate_documents
) AS d
WHERE d.id = p.id;

DROP TABLE pephub_migrate_documents;
DROP FUNCTION pephub_migrate_records, pephub_migrate_reveal, pephub_migrate_hide;

ALTER TABLE projects
    DROP CONSTRAINT id,
    DROP COLUMN project_value,
    ALTER COLUMN id TYPE integer,
    ALTER COLUMN config SET NOT NULL,
    ALTER COLUMN last_update_date DROP NOT NULL,
    ADD CONSTRAINT projects_pkey PRIMARY KEY (id),
    ADD CONSTRAINT projects_namespace_name_tag_key UNIQUE (namespace, name, tag);
ALTER SEQUENCE projects_id_seq AS integer;

ALTER TABLE samples
    ADD CONSTRAINT samples_project_id_fkey FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE;
ALTER TABLE subsamples
    ADD CONSTRAINT subsamples_project_id_fkey FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE;
