-- Release: pepdbagent 0.12.0 - 0.12.3: a schema becomes a record with versions, and versions carry tags.
-- Data: schemas keep their id as record and as version 1.0.0, groups become tags; nothing goes without an archived_... table.
-- Undo: gives back schemas and groups, and refuses to lose what only 0.12 can hold.

-- All at once and before anything else: what an application wrote between two statements of this step would be
-- lost, and one that reads now and writes later would deadlock with the locks that DROP and ALTER take.
LOCK TABLE users, projects, schemas, schema_groups, schema_group_relations IN ACCESS EXCLUSIVE MODE;

CREATE TABLE schema_records (
    id serial PRIMARY KEY,
    namespace varchar NOT NULL REFERENCES users (namespace) ON DELETE CASCADE,
    name varchar NOT NULL,
    maintainers varchar,
    lifecycle_stage varchar,
    description varchar,
    private boolean NOT NULL,
    last_update_date timestamptz,
    UNIQUE (namespace, name)
);

CREATE TABLE schema_versions (
    id serial PRIMARY KEY,
    schema_id integer NOT NULL REFERENCES schema_records ON DELETE CASCADE,
    version varchar NOT NULL,
    schema_value json NOT NULL,
    release_date timestamptz NOT NULL,
    last_update_date timestamptz,
    contributors varchar,
    release_notes varchar,
    UNIQUE (schema_id, version)
);

CREATE TABLE schema_tags (
    id serial PRIMARY KEY,
    tag_name varchar NOT NULL,
    tag_value varchar,
    schema_version_id integer NOT NULL REFERENCES schema_versions ON DELETE CASCADE
);

SET LOCAL application_name = 'pephub-migrate: writing schemas';
-- pepdbagent 0.12 cannot read a NULL last_update_date, although the column allows one. A json column is copied
-- as json, never through jsonb: key order, large integers and \u0000 survive.
INSERT INTO schema_records (id, namespace, name, maintainers, lifecycle_stage, description, private, last_update_date)
SELECT id, namespace, name, '', '', description, private, coalesce(last_update_date, submission_date)
FROM ONLY schemas
ORDER BY id;

INSERT INTO schema_versions
    (id, schema_id, version, schema_value, release_date, last_update_date, contributors, release_notes)
SELECT id, id, '1.0.0', schema_json, submission_date, coalesce(last_update_date, submission_date), '', ''
FROM ONLY schemas
ORDER BY id;

-- By what belongs to the table, not by name: a name may be taken, and setval is not undone by a rollback.
SELECT
    setval(pg_get_serial_sequence('schema_records', 'id'), last_value, is_called),
    setval(pg_get_serial_sequence('schema_versions', 'id'), last_value, is_called)
FROM schemas_id_seq;

-- The prefix keeps such a tag apart from every tag a person would think of: when a schema is made, pepdbagent drops
-- each of its tags whose name is already in use on any schema.
INSERT INTO schema_tags (tag_name, tag_value, schema_version_id)
SELECT 'group:' || g.namespace || '/' || g.name, g.description, m.schema_id
FROM ONLY schema_group_relations AS m
JOIN ONLY schema_groups AS g ON g.id = m.group_id
ORDER BY m.schema_id, m.group_id;

-- A fork that pepdbagent 0.11 made has the text of its schema without the link. A text that names one schema exactly
-- is that link, unless that schema is younger: the one that was meant has been deleted.
UPDATE ONLY projects AS p
SET schema_id = s.id
FROM (
    SELECT namespace || '/' || name AS path, min(id) AS id, min(submission_date) AS submission_date
    FROM ONLY schemas
    GROUP BY 1
    HAVING count(*) = 1
) AS s
WHERE p.schema_id IS NULL
    AND p.pep_schema = s.path
    AND s.submission_date <= coalesce(p.last_update_date, p.submission_date);

-- An archive that is there already is left from an upgrade whose database was restored since. It stays, under a name of
-- its own: its rows must not get into the way back.
DO $$
DECLARE
    archive text;
BEGIN
    FOREACH archive IN ARRAY ARRAY[
        'archived_schema_groups', 'archived_schema_group_relations', 'archived_project_pep_schemas'
    ] LOOP
        IF to_regclass(format('%I.%I', current_schema(), archive)) IS NOT NULL THEN
            EXECUTE format('ALTER TABLE %I RENAME TO %I', archive, archive || to_char(now(), '_YYYYMMDD_HH24MISS_US'));
        END IF;
    END LOOP;
    IF EXISTS (SELECT FROM ONLY schema_groups) THEN
        CREATE TABLE archived_schema_groups AS
        SELECT id, namespace, name, description FROM ONLY schema_groups ORDER BY id;
        ALTER TABLE archived_schema_groups ADD PRIMARY KEY (id);
    END IF;
    IF EXISTS (SELECT FROM ONLY schema_group_relations) THEN
        CREATE TABLE archived_schema_group_relations AS
        SELECT schema_id, group_id FROM ONLY schema_group_relations ORDER BY schema_id, group_id;
        ALTER TABLE archived_schema_group_relations ADD PRIMARY KEY (schema_id, group_id);
    END IF;
    IF EXISTS (SELECT FROM ONLY projects WHERE pep_schema IS NOT NULL) THEN
        -- With its link beside it, a text can be told from one that no longer holds when it is to come back.
        CREATE TABLE archived_project_pep_schemas AS
        SELECT id AS project_id, pep_schema, schema_id FROM ONLY projects WHERE pep_schema IS NOT NULL ORDER BY id;
        ALTER TABLE archived_project_pep_schemas ADD PRIMARY KEY (project_id);
    END IF;
END
$$;

SELECT set_config('pephub_migrate.linked_projects', count(*)::text, true)
FROM ONLY projects
WHERE schema_id IS NOT NULL;

SET LOCAL application_name = 'pephub-migrate: checking foreign keys';
ALTER TABLE projects DROP CONSTRAINT projects_schema_id_fkey;
ALTER TABLE projects
    ADD CONSTRAINT projects_schema_id_fkey FOREIGN KEY (schema_id) REFERENCES schema_versions ON DELETE SET NULL;

ALTER TABLE users ADD COLUMN number_of_schemas integer NOT NULL DEFAULT 0;
ALTER TABLE users ALTER COLUMN number_of_schemas DROP DEFAULT;
UPDATE ONLY users AS u
SET number_of_schemas = r.schemas
FROM (SELECT namespace, count(*) AS schemas FROM ONLY schema_records GROUP BY namespace) AS r
WHERE r.namespace = u.namespace;

-- While old and new are both there: is every row where it belongs?
DO $$
DECLARE
    missing bigint;
BEGIN
    SELECT count(*) INTO missing
    FROM ONLY schemas AS s
    LEFT JOIN ONLY schema_records AS r
        ON r.id = s.id
        AND (r.namespace, r.name, r.private) = (s.namespace, s.name, s.private)
        AND r.description IS NOT DISTINCT FROM s.description
    LEFT JOIN ONLY schema_versions AS v
        ON v.id = s.id
        AND v.schema_id = r.id
        AND v.schema_value::text = s.schema_json::text
        AND v.release_date = s.submission_date
    WHERE v.id IS NULL;
    IF missing > 0 THEN
        RAISE EXCEPTION '% rows of schemas went missing', missing;
    END IF;

    IF EXISTS (SELECT FROM ONLY schema_groups) THEN
        SELECT count(*) INTO missing
        FROM (
            SELECT id, namespace, name, description FROM ONLY schema_groups
            EXCEPT
            SELECT id, namespace, name, description FROM archived_schema_groups
        ) AS lost;
        IF missing > 0 THEN
            RAISE EXCEPTION '% rows of schema_groups went missing', missing;
        END IF;
    END IF;

    IF EXISTS (SELECT FROM ONLY schema_group_relations) THEN
        SELECT count(*) INTO missing
        FROM ONLY schema_group_relations AS m
        JOIN ONLY schema_groups AS g ON g.id = m.group_id
        LEFT JOIN archived_schema_group_relations AS a
            ON (a.schema_id, a.group_id) = (m.schema_id, m.group_id)
        LEFT JOIN ONLY schema_tags AS t
            ON t.schema_version_id = m.schema_id
            AND t.tag_name = 'group:' || g.namespace || '/' || g.name
        WHERE a.group_id IS NULL OR t.id IS NULL;
        IF missing > 0 THEN
            RAISE EXCEPTION '% rows of schema_group_relations went missing', missing;
        END IF;
    END IF;

    IF EXISTS (SELECT FROM ONLY projects WHERE pep_schema IS NOT NULL) THEN
        SELECT count(*) INTO missing
        FROM ONLY projects AS p
        LEFT JOIN archived_project_pep_schemas AS a
            ON (a.project_id, a.pep_schema) = (p.id, p.pep_schema)
        WHERE p.pep_schema IS NOT NULL AND a.project_id IS NULL;
        IF missing > 0 THEN
            RAISE EXCEPTION '% values of projects.pep_schema went missing', missing;
        END IF;
    END IF;

    SELECT current_setting('pephub_migrate.linked_projects')::bigint - count(*) INTO missing
    FROM ONLY projects
    WHERE schema_id IS NOT NULL;
    IF missing > 0 THEN
        RAISE EXCEPTION '% links from projects to schemas went missing', missing;
    END IF;

    SELECT (SELECT count(*) FROM ONLY schemas) - sum(number_of_schemas) INTO missing
    FROM ONLY users;
    IF missing <> 0 THEN
        RAISE EXCEPTION 'users.number_of_schemas miscounts by % schemas', missing;
    END IF;
END
$$;

ALTER TABLE projects DROP COLUMN pep_schema;

-- Without CASCADE: a view of the operator's own on one of them makes the step fail rather than vanish.
DROP TABLE schema_group_relations, schema_groups, schemas;
