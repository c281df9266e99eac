-- Release: pepdbagent 0.7.0: users, stars, views and forks, and the name of each sample in a column.
-- Data: each sample's name is read from it; a config takes its project's name, its old one goes to archived_project_config_names.
-- Undo: gives the configs their names back, and refuses to lose users, stars, views and forks.

LOCK TABLE projects, samples IN ACCESS EXCLUSIVE MODE;

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

-- The text of one member, the last of that name. Where the whole document cannot be decoded, that member alone is.
CREATE FUNCTION pephub_migrate_escaped_member(document json, name text) RETURNS text
LANGUAGE plpgsql
AS $$
BEGIN
    IF strpos(name, chr(127)) = 0 THEN -- nothing in the name is hidden
        BEGIN
            RETURN document ->> name;
        EXCEPTION
            WHEN data_exception OR feature_not_supported THEN
                NULL;
        END;
    END IF;
    RETURN (
        SELECT pephub_migrate_text(e.value)
        FROM json_each(pephub_migrate_hide(document)) WITH ORDINALITY AS e (key, value, position)
        WHERE CASE WHEN strpos(e.key, chr(127)) > 0 THEN pephub_migrate_decode(e.key) ELSE e.key END = name
        ORDER BY e.position DESC
        LIMIT 1
    );
END
$$;

-- Most documents have no escapes. This function is inlined.
CREATE FUNCTION pephub_migrate_member(document json, name text) RETURNS text
LANGUAGE sql
AS $$
SELECT CASE
    WHEN json_typeof(document) <> 'object' THEN NULL
    WHEN strpos(document::text, '\u') + strpos(name, chr(127)) = 0 THEN document ->> name
    ELSE pephub_migrate_escaped_member(document, name)
END
$$;

ALTER TABLE projects
    ADD COLUMN number_of_stars integer NOT NULL DEFAULT 0,
    ADD COLUMN pop boolean DEFAULT false,
    ADD COLUMN forked_from_id integer REFERENCES projects ON DELETE SET NULL;
ALTER TABLE projects
    ALTER COLUMN number_of_stars DROP DEFAULT,
    ALTER COLUMN pop DROP DEFAULT;

SET LOCAL application_name = 'pephub-migrate: writing the names of samples';
-- The table is written anew, once, with its indexes: an UPDATE of every row would leave a dead one behind each, and write
-- the indexes twice. What is looked up for each row is a constant, the few projects that name a column of their own.
ALTER TABLE samples ADD COLUMN sample_name varchar;
DO $$
DECLARE
    own jsonb := (
        SELECT jsonb_object_agg(p.id, p.index)
        FROM (
            SELECT
                id,
                coalesce(
                    pephub_migrate_decode(pephub_migrate_hide(config) ->> 'sample_table_index'),
                    pephub_migrate_member(config, 'sample_table_index')
                ) AS index
            FROM ONLY projects
        ) AS p
        WHERE p.index NOT IN ('', 'sample_name')
    );
BEGIN
    EXECUTE format(
        'ALTER TABLE samples ALTER COLUMN sample_name TYPE varchar USING pephub_migrate_member(sample, %s)',
        CASE
            WHEN own IS NULL THEN '''sample_name'''
            ELSE format('coalesce(%L::jsonb ->> project_id::text, ''sample_name'')', own)
        END
    );
END
$$;

-- An archive that is there already is left from an upgrade whose database was restored since. It stays, under a name of
-- its own: its rows must not get into the way back.
DO $$
BEGIN
    IF to_regclass(format('%I.archived_project_config_names', current_schema())) IS NOT NULL THEN
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
FROM ONLY projects
WHERE pephub_migrate_hide(config) -> 'name' IS NOT NULL
    AND pephub_migrate_member(config, 'name') IS DISTINCT FROM name
ORDER BY id;

DO $$
BEGIN
    IF EXISTS (SELECT FROM archived_project_config_names) THEN
        ALTER TABLE archived_project_config_names ADD PRIMARY KEY (project_id);
    ELSE
        DROP TABLE archived_project_config_names;
    END IF;
END
$$;

-- From 0.5.3 on pepdbagent keeps the name in the config equal to the project's, and renames the project after its
-- config when it saves it. On a row from before, that would be a rename that nobody asked for.
UPDATE ONLY projects AS p
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

DROP FUNCTION
    pephub_migrate_member, pephub_migrate_escaped_member, pephub_migrate_text, pephub_migrate_decode, pephub_migrate_reveal,
    pephub_migrate_hide;

CREATE TABLE users (
    id serial PRIMARY KEY,
    namespace varchar NOT NULL
);

CREATE TABLE stars (
    user_id integer NOT NULL REFERENCES users ON DELETE CASCADE,
    project_id integer NOT NULL REFERENCES projects ON DELETE CASCADE,
    PRIMARY KEY (user_id, project_id)
);

CREATE TABLE views (
    id serial PRIMARY KEY,
    name varchar NOT NULL,
    project_id integer REFERENCES projects ON DELETE CASCADE,
    description varchar
);

CREATE TABLE views_samples (
    sample_id integer NOT NULL REFERENCES samples ON DELETE CASCADE,
    view_id integer NOT NULL REFERENCES views ON DELETE CASCADE,
    PRIMARY KEY (sample_id, view_id)
);
