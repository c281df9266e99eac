-- Release: pepdbagent 0.4.0 - 0.4.2 on the table that its container's SQL makes.
-- Data: namespaces and names become lower case, as 0.4 looks them up; the old ones go to archived_project_names.
-- Undo: gives the names back, and refuses to lose schemas.

LOCK TABLE projects IN ACCESS EXCLUSIVE MODE;

DO $$
DECLARE
    collisions text;
BEGIN
    SELECT left(string_agg(c.projects, '; '), 9999) INTO collisions
    FROM (
        SELECT string_agg(namespace || '/' || name || ':' || tag, ' and ' ORDER BY id) AS projects
        FROM projects
        GROUP BY lower(namespace), lower(name), tag
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
    IF to_regclass('archived_project_names') IS NOT NULL THEN
        EXECUTE format(
            'ALTER TABLE archived_project_names RENAME TO %I',
            'archived_project_names' || to_char(now(), '_YYYYMMDD_HH24MISS_US')
        );
    END IF;
    IF EXISTS (SELECT FROM projects WHERE (lower(namespace), lower(name)) <> (namespace, name)) THEN
        CREATE TABLE archived_project_names AS
        SELECT id AS project_id, namespace, name
        FROM projects
        WHERE (lower(namespace), lower(name)) <> (namespace, name)
        ORDER BY id;
    END IF;
END
$$;

UPDATE projects
SET namespace = lower(namespace), name = lower(name)
WHERE (lower(namespace), lower(name)) <> (namespace, name);

ALTER TABLE projects ADD COLUMN pep_schema text;
