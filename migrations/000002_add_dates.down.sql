-- Release: back to pepdbagent 0.1.0 - 0.2.3, which keeps what describes a project in anno_info.
-- Data: anno_info is given back as it was, but for what changed since, and made from the columns where there was none; refuses to lose dates unless MIGRATE_ALLOW_DATA_LOSS is true.
-- Undo: takes the columns from anno_info again.

LOCK TABLE projects IN ACCESS EXCLUSIVE MODE;

-- Made here if the upgrade found nothing to archive, so that the statements below need no branch.
CREATE TABLE IF NOT EXISTS archived_project_anno_info
    (project_id bigint PRIMARY KEY, anno_info jsonb, private boolean, number_of_samples integer, last_update_date timestamp);

DO $$
DECLARE
    dates bigint := (SELECT count(*) FROM ONLY projects WHERE submission_date <> last_update_date);
BEGIN
    IF dates > 0 AND current_setting('pephub_migrate.allow_data_loss', true) IS DISTINCT FROM 'true' THEN
        RAISE EXCEPTION 'pepdbagent 0.2.3 keeps one date of a project, and has no place for the date of submission of % projects', dates
            USING HINT = 'back the database up, then set MIGRATE_ALLOW_DATA_LOSS=true to drop them';
    END IF;
END
$$;

ALTER TABLE projects ADD COLUMN anno_info jsonb;
UPDATE ONLY projects AS p
SET anno_info = CASE
    WHEN a.project_id IS NULL
        THEN jsonb_build_object(
            'last_update', p.last_update_date::text, 'is_private', p.private, 'number_of_samples', p.number_of_samples
        )
    WHEN (p.private, p.number_of_samples, p.last_update_date) = (a.private, a.number_of_samples, a.last_update_date)
        THEN a.anno_info
    ELSE CASE jsonb_typeof(a.anno_info) WHEN 'object' THEN a.anno_info ELSE '{}' END
        || CASE WHEN p.private = a.private THEN '{}' ELSE jsonb_build_object('is_private', p.private) END
        || CASE
            WHEN p.number_of_samples = a.number_of_samples THEN '{}'
            ELSE jsonb_build_object('number_of_samples', p.number_of_samples)
        END
        || CASE
            WHEN p.last_update_date = a.last_update_date THEN '{}'
            ELSE jsonb_build_object('last_update', p.last_update_date::text)
        END
END
FROM ONLY projects AS x
LEFT JOIN archived_project_anno_info AS a ON a.project_id = x.id
WHERE x.id = p.id;
DROP TABLE archived_project_anno_info;

ALTER TABLE projects
    DROP COLUMN private,
    DROP COLUMN number_of_samples,
    DROP COLUMN submission_date,
    DROP COLUMN last_update_date;
