-- Release: back to pepdbagent 0.1.0 - 0.2.3, which keeps what describes a project in anno_info.
-- Data: anno_info is given back as it was, and made from the columns where there was none.
-- Undo: takes the columns from anno_info again.

LOCK TABLE projects IN ACCESS EXCLUSIVE MODE;

-- Made here if the upgrade found nothing to archive, so that the statement below needs no branch.
CREATE TABLE IF NOT EXISTS archived_project_anno_info (project_id bigint, anno_info jsonb);

ALTER TABLE projects ADD COLUMN anno_info jsonb;
UPDATE projects AS p
SET anno_info = coalesce(
    (SELECT a.anno_info FROM archived_project_anno_info AS a WHERE a.project_id = p.id),
    jsonb_build_object(
        'is_private', p.private, 'number_of_samples', p.number_of_samples, 'last_update', p.last_update_date::text
    )
);
DROP TABLE archived_project_anno_info;

ALTER TABLE projects
    DROP COLUMN private,
    DROP COLUMN number_of_samples,
    DROP COLUMN submission_date,
    DROP COLUMN last_update_date;
