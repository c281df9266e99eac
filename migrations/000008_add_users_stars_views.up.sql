-- Release: pepdbagent 0.7.0: users, stars, views and forks, and the name of each sample in a column.
-- Data: each sample's name is read from it; a config takes its project's name, its old one goes to archived_project_config_names.
-- Undo: gives the configs their names back, and refuses to lose users, stars, views and forks.

LOCK TABLE projects, samples IN ACCESS EXCLUSIVE MODE;

-- PostgreSQL's json functions fail on \u0000 and on half a surrogate pair, both of which json itself can hold. Within
-- this step every \u is therefore hidden from them as DEL u, and a DEL as DEL d, and put back into what is stored. A
-- backslash that is escaped itself, and begins no \u, is out of the way meanwhile.
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

-- One member as a column of text would hold it: without the characters that no text can hold.
CREATE FUNCTION pephub_migrate_member(document json, name text) RETURNS text
LANGUAGE sql IMMUTABLE
AS $$
SELECT CASE
    WHEN json_typeof(document) <> 'object' THEN NULL
    WHEN strpos(document::text, '\u') = 0 THEN document ->> name
    ELSE regexp_replace(
        regexp_replace(document::text, '(?<!\\)((?:\\\\)*)\\u0000', '\1', 'g'),
        '(?<!\\)((?:\\\\)*)(?:(\\ud[89ab]\w\w\\ud[c-f]\w\w)|\\ud[89a-f]\w\w)', '\1\2', 'gi'
    )::json ->> name
END
$$;

ALTER TABLE projects
    ADD COLUMN number_of_stars integer NOT NULL DEFAULT 0,
    ADD COLUMN pop boolean DEFAULT false,
    ADD COLUMN forked_from_id integer REFERENCES projects (id) ON DELETE SET NULL;
ALTER TABLE projects
    ALTER COLUMN number_of_stars DROP DEFAULT,
    ALTER COLUMN pop DROP DEFAULT;

SET LOCAL application_name = 'pephub-migrate: writing the names of samples';
-- The table is written anew, once, with its indexes: an UPDATE of every row would leave a dead one behind each, and write
-- the indexes twice. What is looked up for each row is a constant, the few projects that name a column of their own.
ALTER TABLE samples ADD COLUMN sample_name varchar;
DO $$
BEGIN
    EXECUTE format(
        'ALTER TABLE samples ALTER COLUMN sample_name TYPE varchar
        USING pephub_migrate_member(sample, coalesce(%L::jsonb ->> project_id::text, ''sample_name''))',
        (
            SELECT coalesce(jsonb_object_agg(p.id, p.index), '{}')
            FROM (SELECT id, pephub_migrate_member(config, 'sample_table_index') AS index FROM projects) AS p
            WHERE p.index NOT IN ('', 'sample_name')
        )
    );
END
$$;

-- An archive that is there already is left from an upgrade whose database was restored since. It stays, under a name of
-- its own: its rows must not get into the way back.
DO $$
BEGIN
    IF to_regclass('archived_project_config_names') IS NOT NULL THEN
        EXECUTE format(
            'ALTER TABLE archived_project_config_names RENAME TO %I',
            'archived_project_config_names' || to_char(now(), '_YYYYMMDD_HH24MISS_US')
        );
    END IF;
END
$$;

SET LOCAL application_name = 'pephub-migrate: comparing names in configs';
-- The last of several members of that name is the one that counts.
CREATE TABLE archived_project_config_names AS
SELECT
    id AS project_id,
    pephub_migrate_reveal((pephub_migrate_hide(config) -> 'name')::text)::json AS name,
    name AS project_name
FROM projects
WHERE pephub_migrate_hide(config) -> 'name' IS NOT NULL
    AND pephub_migrate_member(config, 'name') IS DISTINCT FROM name
ORDER BY id;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM archived_project_config_names) THEN
        DROP TABLE archived_project_config_names;
    END IF;
END
$$;

-- From 0.5.3 on pepdbagent keeps the name in the config equal to the project's, and renames the project after its
-- config when it saves it. On a row from before, that would be a rename that nobody asked for.
UPDATE projects AS p
SET config = pephub_migrate_reveal((
    SELECT '{' || string_agg(to_json(m.key) || ': ' || m.value, ', ' ORDER BY m.position) || '}'
    FROM (
        SELECT
            e.key,
            CASE
                WHEN e.key = 'name' AND e.position = max(e.position) FILTER (WHERE e.key = 'name') OVER ()
                    THEN pephub_migrate_hide(to_json(p.name))::text
                ELSE e.value::text
            END AS value,
            e.position
        FROM json_each(pephub_migrate_hide(p.config)) WITH ORDINALITY AS e (key, value, position)
        UNION ALL
        SELECT 'name', pephub_migrate_hide(to_json(p.name))::text, NULL
        WHERE pephub_migrate_hide(p.config) -> 'name' IS NULL
    ) AS m
))::json
WHERE json_typeof(p.config) = 'object' AND pephub_migrate_member(p.config, 'name') IS DISTINCT FROM p.name;

DROP FUNCTION pephub_migrate_member, pephub_migrate_reveal, pephub_migrate_hide;

CREATE TABLE users (
    id serial PRIMARY KEY,
    namespace varchar NOT NULL
);

CREATE TABLE stars (
    user_id integer NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    project_id integer NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    PRIMARY KEY (user_id, project_id)
);

CREATE TABLE views (
    id serial PRIMARY KEY,
    name varchar NOT NULL,
    project_id integer REFERENCES projects (id) ON DELETE CASCADE,
    description varchar
);

CREATE TABLE views_samples (
    sample_id integer NOT NULL REFERENCES samples (id) ON DELETE CASCADE,
    view_id integer NOT NULL REFERENCES views (id) ON DELETE CASCADE,
    PRIMARY KEY (sample_id, view_id)
);
