-- Release: back to pepdbagent 0.9.0, which keeps no history.
-- Data: row numbers that were archived are given back, all others are 0, since 0.9 reads the list of the samples; refuses to lose history unless MIGRATE_ALLOW_DATA_LOSS is true.
-- Undo: makes the tables of the history again, empty.

LOCK TABLE samples, project_history, sample_history IN ACCESS EXCLUSIVE MODE;

DO $$
DECLARE
    updates bigint := (SELECT count(*) FROM ONLY project_history);
    changes bigint := (SELECT count(*) FROM ONLY sample_history);
BEGIN
    IF updates + changes > 0
        AND current_setting('pephub_migrate.allow_data_loss', true) IS DISTINCT FROM 'true'
    THEN
        RAISE EXCEPTION 'pepdbagent 0.9.0 has no place for the history of % updates with % changes of samples', updates, changes
            USING HINT = 'back the database up, then set MIGRATE_ALLOW_DATA_LOSS=true to drop them';
    END IF;
END
$$;

DROP TABLE sample_history, project_history;
DROP TYPE updatetypes;

ALTER TABLE samples ADD COLUMN row_number integer NOT NULL DEFAULT 0;
ALTER TABLE samples ALTER COLUMN row_number DROP DEFAULT;

-- Made here if the upgrade found nothing to archive, so that the statements below need no branch. That of a sample which is
-- gone stays where it is.
CREATE TABLE IF NOT EXISTS archived_sample_row_numbers (sample_id integer PRIMARY KEY, project_id integer, row_number integer);
UPDATE ONLY samples AS s
SET row_number = a.row_number
FROM archived_sample_row_numbers AS a
WHERE a.sample_id = s.id AND a.project_id = s.project_id;
DELETE FROM archived_sample_row_numbers AS a USING ONLY samples AS s WHERE s.id = a.sample_id AND s.project_id = a.project_id;
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM archived_sample_row_numbers) THEN
        DROP TABLE archived_sample_row_numbers;
    END IF;
END
$$;
