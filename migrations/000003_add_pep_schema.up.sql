-- Release: pepdbagent 0.4.0 - 0.4.2 on the table that its container's SQL makes.
-- Data: namespaces and names become lower case, as 0.4 looks them up; the old ones go to archived_project_names.
-- Undo: gives the names back, and refuses to lose schemas.

LOCK TABLE projects IN ACCESS EXCLUSIVE MODE;

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

DO $$
DECLARE
    collisions text;
    unknown text;
BEGIN
    SELECT left(string_agg(namespace || '/' || name || ':' || tag, '; ' ORDER BY id), 9999) INTO unknown
    FROM ONLY projects
    WHERE pephub_migrate_lower(namespace) || pephub_migrate_lower(name) IS NULL;
    IF unknown IS NOT NULL THEN
        RAISE EXCEPTION 'from 0.4 on pepdbagent knows names in lower case only, and the server cannot tell what these are in lower case: %', unknown
            USING HINT = 'rename them, or load the database into one of the encoding UTF8 on a server with ICU';
    END IF;
    SELECT left(string_agg(c.projects, '; '), 9999) INTO collisions
    FROM (
        SELECT string_agg(namespace || '/' || name || ':' || tag, ' and ' ORDER BY id) AS projects
        FROM ONLY projects
        GROUP BY pephub_migrate_lower(namespace), pephub_migrate_lower(name), tag
        HAVING count(*) > 1
    ) AS c;
    IF collisions IS NOT NULL THEN
        RAISE EXCEPTION 'from 0.4 on pepdbagent knows names in lower case only, and these would be the same: %', collisions
            USING HINT = 'rename or delete one of each';
    END IF;
END
$$;

-- An archive that is there already is left from an upgrade whose database was restored since. It stays, under a name of
-- its own: its rows must not get into the way back.
DO $$
BEGIN
    IF to_regclass(format('%I.archived_project_names', current_schema())) IS NOT NULL THEN
        EXECUTE format(
            'ALTER TABLE archived_project_names RENAME TO %I',
            'archived_project_names' || to_char(now(), '_YYYYMMDD_HH24MISS_US')
        );
    END IF;
END
$$;

CREATE TABLE archived_project_names AS
SELECT id AS project_id, namespace, name
FROM ONLY projects
WHERE (pephub_migrate_lower(namespace), pephub_migrate_lower(name)) <> (namespace, name)
ORDER BY id;
ALTER TABLE archived_project_names ADD PRIMARY KEY (project_id);

UPDATE ONLY projects AS p
SET namespace = pephub_migrate_lower(p.namespace), name = pephub_migrate_lower(p.name)
FROM archived_project_names AS a
WHERE a.project_id = p.id;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM archived_project_names) THEN
        DROP TABLE archived_project_names;
    END IF;
END
$$;
DROP FUNCTION pephub_migrate_lower;

ALTER TABLE projects ADD COLUMN pep_schema text;
