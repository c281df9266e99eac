-- Release: back to pepdbagent 0.11.1: one schema per name, in groups.
-- Data: a record with its newest version becomes a schema; refuses to lose the rest unless MIGRATE_ALLOW_DATA_LOSS is true.
-- Undo: gives the records and versions back; what was lost on the way down stays lost.

LOCK TABLE users, projects, schema_records, schema_versions, schema_tags IN ACCESS EXCLUSIVE MODE;

-- Made here if the upgrade found nothing to archive, so that the statements below need no branches.
CREATE TABLE IF NOT EXISTS archived_schema_groups
    (id integer PRIMARY KEY, namespace varchar, name varchar, description varchar);
CREATE TABLE IF NOT EXISTS archived_schema_group_relations
    (schema_id integer, group_id integer, PRIMARY KEY (schema_id, group_id));
CREATE TABLE IF NOT EXISTS archived_project_pep_schemas
    (project_id integer PRIMARY KEY, pep_schema varchar, schema_id integer);

DO $$
DECLARE
    versions bigint;
    details bigint;
    tags bigint;
BEGIN
    SELECT count(*) - count(DISTINCT schema_id) INTO versions FROM ONLY schema_versions;

    SELECT count(*) INTO details
    FROM ONLY schema_records AS r
    LEFT JOIN ONLY schema_versions AS v ON v.schema_id = r.id
    WHERE coalesce(r.maintainers, '') <> ''
        OR coalesce(r.lifecycle_stage, '') <> ''
        OR coalesce(v.contributors, '') <> ''
        OR coalesce(v.release_notes, '') <> ''
        OR v.version IS DISTINCT FROM '1.0.0';

    SELECT count(*) INTO tags
    FROM ONLY schema_tags AS t
    JOIN ONLY schema_versions AS v ON v.id = t.schema_version_id
    WHERE NOT EXISTS (
        SELECT
        FROM archived_schema_group_relations AS m
        JOIN archived_schema_groups AS g ON g.id = m.group_id
        WHERE m.schema_id = v.schema_id
            AND t.tag_name = 'group:' || g.namespace || '/' || g.name
            AND t.tag_value IS NOT DISTINCT FROM g.description
    );

    IF versions + details + tags > 0
        AND current_setting('pephub_migrate.allow_data_loss', true) IS DISTINCT FROM 'true'
    THEN
        RAISE EXCEPTION 'pepdbagent 0.11.1 has no place for % further versions of schemas, the maintainers, lifecycle stage, contributors, notes or number of % versions, and % tags',
            versions, details, tags
            USING HINT = 'back the database up, then set MIGRATE_ALLOW_DATA_LOSS=true to drop them';
    END IF;
END
$$;

CREATE TABLE schemas (
    id serial PRIMARY KEY,
    namespace varchar NOT NULL REFERENCES users (namespace) ON DELETE CASCADE,
    name varchar NOT NULL,
    description varchar,
    schema_json json NOT NULL,
    private boolean NOT NULL,
    submission_date timestamptz NOT NULL,
    last_update_date timestamptz,
    UNIQUE (namespace, name)
);

CREATE TABLE schema_groups (
    id serial PRIMARY KEY,
    namespace varchar NOT NULL REFERENCES users (namespace) ON DELETE CASCADE,
    name varchar NOT NULL,
    description varchar,
    UNIQUE (namespace, name)
);

CREATE TABLE schema_group_relations (
    schema_id integer NOT NULL REFERENCES schemas ON DELETE CASCADE,
    group_id integer NOT NULL REFERENCES schema_groups ON DELETE CASCADE,
    PRIMARY KEY (schema_id, group_id)
);

INSERT INTO schemas (id, namespace, name, description, schema_json, private, submission_date, last_update_date)
SELECT
    r.id, r.namespace, r.name, r.description, v.schema_value, r.private, v.release_date,
    greatest(r.last_update_date, v.last_update_date)
FROM ONLY schema_records AS r
JOIN (
    SELECT DISTINCT ON (schema_id) schema_id, schema_value, release_date, last_update_date
    FROM ONLY schema_versions
    ORDER BY schema_id, release_date DESC, id DESC
) AS v ON v.schema_id = r.id
ORDER BY r.id;

SELECT setval(pg_get_serial_sequence('schemas', 'id'), last_value, is_called) FROM schema_records_id_seq;

-- A group whose namespace, or a member whose schema, was deleted meanwhile would be gone in 0.11 too.
INSERT INTO schema_groups (id, namespace, name, description)
SELECT id, namespace, name, description
FROM archived_schema_groups
WHERE namespace IN (SELECT namespace FROM ONLY users)
ORDER BY id;

SELECT setval(pg_get_serial_sequence('schema_groups', 'id'), max(id)) FROM ONLY schema_groups HAVING max(id) IS NOT NULL;

INSERT INTO schema_group_relations (schema_id, group_id)
SELECT m.schema_id, m.group_id
FROM archived_schema_group_relations AS m
JOIN ONLY schema_groups AS g ON g.id = m.group_id
JOIN ONLY schemas AS s ON s.id = m.schema_id
WHERE EXISTS (
    SELECT
    FROM ONLY schema_tags AS t
    JOIN ONLY schema_versions AS v ON v.id = t.schema_version_id
    WHERE v.schema_id = s.id AND t.tag_name = 'group:' || g.namespace || '/' || g.name
)
ORDER BY m.schema_id, m.group_id;

CREATE INDEX ix_schemas_id ON schemas (id);
CREATE INDEX ix_schemas_name ON schemas (name);
CREATE INDEX ix_schemas_description ON schemas (description);
CREATE INDEX ix_schema_groups_id ON schema_groups (id);
CREATE INDEX ix_schema_groups_name ON schema_groups (name);
CREATE INDEX ix_schema_groups_namespace ON schema_groups (namespace);
CREATE INDEX ix_schema_group_relations_schema_id ON schema_group_relations (schema_id);
CREATE INDEX ix_schema_group_relations_group_id ON schema_group_relations (group_id);

ALTER TABLE projects DROP CONSTRAINT projects_schema_id_fkey;
UPDATE ONLY projects AS p
SET schema_id = v.schema_id
FROM ONLY schema_versions AS v
WHERE v.id = p.schema_id AND v.id <> v.schema_id;
ALTER TABLE projects
    ADD CONSTRAINT projects_schema_id_fkey FOREIGN KEY (schema_id) REFERENCES schemas ON DELETE SET NULL;

ALTER TABLE projects ADD COLUMN pep_schema varchar;
UPDATE ONLY projects AS p
SET pep_schema = CASE
    WHEN a.schema_id IS NOT DISTINCT FROM p.schema_id THEN a.pep_schema
    ELSE (SELECT s.namespace || '/' || s.name FROM ONLY schemas AS s WHERE s.id = p.schema_id) -- it has another schema since
END
FROM archived_project_pep_schemas AS a
WHERE a.project_id = p.id;

ALTER TABLE users DROP COLUMN number_of_schemas;

DROP TABLE schema_tags, schema_versions, schema_records;
DROP TABLE archived_schema_groups, archived_schema_group_relations, archived_project_pep_schemas;
