-- Release: back to pepdbagent 0.3.0, which knows no schemas and upper case.
-- Data: names are given back as they were; refuses to lose schemas unless MIGRATE_ALLOW_DATA_LOSS is true.
-- Undo: makes the names lower case again.

LOCK TABLE projects IN ACCESS EXCLUSIVE MODE;

DO $$
DECLARE
    schemas bigint := (SELECT count(*) FROM ONLY projects WHERE pep_schema IS NOT NULL);
BEGIN
    IF schemas > 0 AND current_setting('pephub_migrate.allow_data_loss', true) IS DISTINCT FROM 'true' THEN
        RAISE EXCEPTION 'pepdbagent 0.3.0 has no place for the schemas of % projects', schemas
            USING HINT = 'back the database up, then set MIGRATE_ALLOW_DATA_LOSS=true to drop them';
    END IF;
END
$$;

ALTER TABLE projects DROP COLUMN pep_schema;

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

-- Made here if the upgrade found nothing to archive, so that the statements below need no branch. What cannot be given
-- back, since the project has another name by now, stays where it is.
CREATE TABLE IF NOT EXISTS archived_project_names (project_id bigint PRIMARY KEY, namespace text, name text);
CREATE UNLOGGED TABLE pephub_migrate_names AS
SELECT a.project_id, a.namespace, a.name
FROM archived_project_names AS a
JOIN ONLY projects AS p ON p.id = a.project_id
WHERE (pephub_migrate_lower(a.namespace), pephub_migrate_lower(a.name)) = (p.namespace, p.name);
UPDATE ONLY projects AS p
SET namespace = n.namespace, name = n.name
FROM pephub_migrate_names AS n
WHERE n.project_id = p.id;
DELETE FROM archived_project_names AS a USING pephub_migrate_names AS n WHERE n.project_id = a.project_id;
DROP TABLE pephub_migrate_names;
DROP FUNCTION pephub_migrate_lower;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM archived_project_names) THEN
        DROP TABLE archived_project_names;
    END IF;
END
$$;
