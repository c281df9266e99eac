-- Release: back to pepdbagent 0.5.0 - 0.6.0, which knows projects, samples and subsamples only.
-- Data: names of samples stay within the samples; refuses to lose users, stars, views, forks and pops unless MIGRATE_ALLOW_DATA_LOSS is true.
-- Undo: makes the tables again, empty.

LOCK TABLE users, projects, samples, stars, views, views_samples IN ACCESS EXCLUSIVE MODE;

DO $$
DECLARE
    users bigint := (SELECT count(*) FROM ONLY users AS u WHERE NOT EXISTS (SELECT FROM ONLY projects AS p WHERE p.namespace = u.namespace));
    stars bigint := (SELECT count(*) FROM ONLY stars);
    views bigint := (SELECT count(*) FROM ONLY views);
    forks bigint := (SELECT count(*) FROM ONLY projects WHERE forked_from_id IS NOT NULL);
    pops bigint := (SELECT count(*) FROM ONLY projects WHERE pop);
BEGIN
    IF users + stars + views + forks + pops > 0
        AND current_setting('pephub_migrate.allow_data_loss', true) IS DISTINCT FROM 'true'
    THEN
        RAISE EXCEPTION 'pepdbagent 0.6.0 has no place for % users without projects, % stars, % views, the origin of % forks and the mark of % pops',
            users, stars, views, forks, pops
            USING HINT = 'back the database up, then set MIGRATE_ALLOW_DATA_LOSS=true to drop them';
    END IF;
END
$$;

DROP TABLE views_samples, views, stars, users;
ALTER TABLE samples DROP COLUMN sample_name;
ALTER TABLE projects DROP COLUMN number_of_stars, DROP COLUMN pop, DROP COLUMN forked_from_id;

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

-- Made here if the upgrade found nothing to archive, so that the statement below needs no branch. A project that was
-- renamed since has its new name in the config, where it stays.
CREATE TABLE IF NOT EXISTS archived_project_config_names (project_id integer PRIMARY KEY, name json, project_name varchar);
UPDATE ONLY projects AS p
SET config = pephub_migrate_reveal((
    SELECT '{' || string_agg(to_json(m.key) || ': ' || m.value, ', ' ORDER BY m.position) || '}'
    FROM (
        SELECT
            e.key,
            CASE
                WHEN e.key = 'name' AND e.position = max(e.position) FILTER (WHERE e.key = 'name') OVER ()
                    THEN pephub_migrate_hide(a.name)::text
                ELSE e.value::text
            END AS value,
            e.position
        FROM json_each(pephub_migrate_hide(p.config)) WITH ORDINALITY AS e (key, value, position)
    ) AS m
))::json
FROM archived_project_config_names AS a
WHERE a.project_id = p.id AND a.project_name = p.name AND json_typeof(p.config) = 'object';

DELETE FROM archived_project_config_names AS a USING ONLY projects AS p WHERE p.id = a.project_id AND a.project_name = p.name;
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM archived_project_config_names) THEN
        DROP TABLE archived_project_config_names;
    END IF;
END
$$;
DROP FUNCTION pephub_migrate_reveal, pephub_migrate_hide;
