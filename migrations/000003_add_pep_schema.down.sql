-- Release: back to pepdbagent 0.3.0, which knows no schemas and upper case.
-- Data: names are given back as they were; refuses to lose schemas unless MIGRATE_ALLOW_DATA_LOSS is true.
-- Undo: makes the names lower case again.

LOCK TABLE projects IN ACCESS EXCLUSIVE MODE;

DO $$
DECLARE
    schemas bigint := (SELECT count(*) FROM projects WHERE pep_schema IS NOT NULL);
BEGIN
    IF schemas > 0 AND current_setting('pephub_migrate.allow_data_loss', true) IS DISTINCT FROM 'true' THEN
        RAISE EXCEPTION 'pepdbagent 0.3.0 has no place for the schemas of % projects', schemas
            USING HINT = 'back the database up, then set MIGRATE_ALLOW_DATA_LOSS=true to drop them';
    END IF;
END
$$;

ALTER TABLE projects DROP COLUMN pep_schema;

CREATE TABLE IF NOT EXISTS archived_project_names (project_id bigint, namespace text, name text);
UPDATE projects AS p
SET namespace = a.namespace, name = a.name
FROM archived_project_names AS a
WHERE a.project_id = p.id AND (lower(a.namespace), lower(a.name)) = (p.namespace, p.name);
DROP TABLE archived_project_names;
