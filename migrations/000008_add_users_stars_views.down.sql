-- Release: back to pepdbagent 0.5.0 - 0.6.0, which knows projects, samples and subsamples only.
-- Data: names of samples stay within the samples; refuses to lose users, stars, views and forks unless MIGRATE_ALLOW_DATA_LOSS is true.
-- Undo: makes the tables again, empty.

LOCK TABLE users, projects, samples, stars, views, views_samples IN ACCESS EXCLUSIVE MODE;

DO $$
DECLARE
    users bigint := (SELECT count(*) FROM users AS u WHERE NOT EXISTS (SELECT FROM projects AS p WHERE p.namespace = u.namespace));
    stars bigint := (SELECT count(*) FROM stars);
    views bigint := (SELECT count(*) FROM views);
    forks bigint := (SELECT count(*) FROM projects WHERE forked_from_id IS NOT NULL);
BEGIN
    IF users + stars + views + forks > 0
        AND current_setting('pephub_migrate.allow_data_loss', true) IS DISTINCT FROM 'true'
    THEN
        RAISE EXCEPTION 'pepdbagent 0.6.0 has no place for % users without projects, % stars, % views and the origin of % forks',
            users, stars, views, forks
            USING HINT = 'back the database up, then set MIGRATE_ALLOW_DATA_LOSS=true to drop them';
    END IF;
END
$$;

DROP TABLE views_samples, views, stars, users;
ALTER TABLE samples DROP COLUMN sample_name;
ALTER TABLE projects DROP COLUMN number_of_stars, DROP COLUMN pop, DROP COLUMN forked_from_id;

-- Made here if the upgrade found nothing to archive, so that the statement below needs no branch.
CREATE TABLE IF NOT EXISTS archived_project_config_names (project_id integer, name json);
UPDATE projects AS p
SET config = replace((
    SELECT '{' || string_agg(
        to_json(e.key) || ': ' || CASE WHEN e.key = 'name' THEN a.name::text ELSE e.value::text END,
        ', ' ORDER BY e.position
    ) || '}'
    FROM json_each(
        regexp_replace(p.config::text, '(?<!\\)((?:\\\\)*)\\u', '\1' || chr(127) || 'escape' || chr(127), 'g')::json
    ) WITH ORDINALITY AS e (key, value, position)
), chr(127) || 'escape' || chr(127), '\u')::json
FROM archived_project_config_names AS a
WHERE a.project_id = p.id AND json_typeof(p.config) = 'object';
DROP TABLE archived_project_config_names;
