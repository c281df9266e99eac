-- Release: back to pepdbagent 0.7.0, whose stars have no date.
-- Data: stars stay, their dates go; refuses to lose dates that differ from the project's unless MIGRATE_ALLOW_DATA_LOSS is true.
-- Undo: gives each star the date of its project.

LOCK TABLE projects, stars IN ACCESS EXCLUSIVE MODE;

DO $$
DECLARE
    dates bigint := (
        SELECT count(*)
        FROM ONLY stars AS s
        JOIN ONLY projects AS p ON p.id = s.project_id
        WHERE s.star_date <> p.submission_date
    );
BEGIN
    IF dates > 0 AND current_setting('pephub_migrate.allow_data_loss', true) IS DISTINCT FROM 'true' THEN
        RAISE EXCEPTION 'pepdbagent 0.7.0 has no place for the dates of % stars', dates
            USING HINT = 'back the database up, then set MIGRATE_ALLOW_DATA_LOSS=true to drop them';
    END IF;
END
$$;

ALTER TABLE stars DROP COLUMN star_date;
