-- Release: back to pepdbagent 0.7.1 - 0.8.0, whose samples are numbered rows.
-- Data: samples are numbered in the order of their list; users that became one stay one, and archived_users and archived_stars stay; refuses to lose dates that differ from the project's unless MIGRATE_ALLOW_DATA_LOSS is true.
-- Undo: links the samples anew, under new guids.

LOCK TABLE projects, users, samples, stars, views_samples IN ACCESS EXCLUSIVE MODE;

DO $$
DECLARE
    dates bigint := (
        SELECT count(*)
        FROM ONLY samples AS s
        JOIN ONLY projects AS p ON p.id = s.project_id
        WHERE s.submission_date <> p.submission_date
            OR s.last_update_date <> coalesce(p.last_update_date, p.submission_date)
    );
BEGIN
    IF dates > 0 AND current_setting('pephub_migrate.allow_data_loss', true) IS DISTINCT FROM 'true' THEN
        RAISE EXCEPTION 'pepdbagent 0.8.0 has no place for the dates of % samples', dates
            USING HINT = 'back the database up, then set MIGRATE_ALLOW_DATA_LOSS=true to drop them';
    END IF;
END
$$;

CREATE INDEX samples_parent_guid_step_idx ON samples (parent_guid);

-- One sample leads to the next through the index: the planner, who expects many at a time, would read the whole table
-- for each.
SET LOCAL enable_hashjoin = off;
SET LOCAL enable_mergejoin = off;
CREATE UNLOGGED TABLE pephub_migrate_positions AS
WITH RECURSIVE list AS (
    SELECT id, guid, 0 AS position FROM ONLY samples WHERE parent_guid IS NULL
    UNION ALL
    SELECT s.id, s.guid, l.position + 1 FROM list AS l JOIN ONLY samples AS s ON s.parent_guid = l.guid
)
SELECT id, position FROM list;
SET LOCAL enable_hashjoin TO DEFAULT;
SET LOCAL enable_mergejoin TO DEFAULT;

-- A sample that the list does not reach keeps its place behind those that it does.
UPDATE ONLY samples AS s
SET row_number = n.position
FROM (
    SELECT
        x.id,
        row_number() OVER (PARTITION BY x.project_id ORDER BY l.position NULLS LAST, x.row_number, x.id) - 1 AS position
    FROM ONLY samples AS x
    LEFT JOIN pephub_migrate_positions AS l ON l.id = x.id
) AS n
WHERE n.id = s.id AND n.position <> s.row_number;

TRUNCATE pephub_migrate_positions;
DROP TABLE pephub_migrate_positions;
DROP INDEX samples_parent_guid_step_idx;
ALTER TABLE samples
    DROP COLUMN parent_guid,
    DROP COLUMN guid,
    DROP COLUMN submission_date,
    DROP COLUMN last_update_date;

ALTER TABLE projects DROP CONSTRAINT projects_namespace_fkey;
ALTER TABLE users DROP CONSTRAINT users_namespace_key;
ALTER TABLE users DROP COLUMN number_of_projects;
