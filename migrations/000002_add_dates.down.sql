-- Release: back to pepdbagent 0.1.0 - 0.2.3, which keeps what describes a project in anno_info.
-- Data: anno_info is given back as it was, but for what changed since, and made from the columns where there was none.
-- Undo: takes the columns from anno_info again.

LOCK TABLE projects IN ACCESS EXCLUSIVE MODE;

-- Made here if the upgrade found nothing to archive, so that the statement below needs no branch.
CREATE TABLE IF NOT EXISTS archived_project_anno_info (project_id bigint, anno_info jsonb);

ALTER TABLE projects ADD COLUMN anno_info jsonb;
UPDATE projects AS p
SET anno_info = coalesce(a.anno_info, jsonb_build_object('last_update', x.last_update_date::text))
    || CASE
        WHEN x.private <> (lower(coalesce(a.anno_info ->> 'is_private', '')) = 'true')
            THEN jsonb_build_object('is_private', x.private)
        ELSE '{}'
    END
    || CASE
        WHEN x.number_of_samples::text <> coalesce(a.anno_info ->> 'number_of_samples', a.anno_info ->> 'n_samples', '')
            THEN jsonb_build_object('number_of_samples', x.number_of_samples)
        ELSE '{}'
    END
FROM projects AS x
LEFT JOIN archived_project_anno_info AS a ON a.project_id = x.id
WHERE x.id = p.id;
DROP TABLE archived_project_anno_info;

ALTER TABLE projects
    DROP COLUMN private,
    DROP COLUMN number_of_samples,
    DROP COLUMN submission_date,
    DROP COLUMN last_update_date;
