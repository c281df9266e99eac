-- Release: back to pepdbagent 0.9.0, which keeps no history.
-- Data: every row number is 0, since 0.9 reads the list of the samples; refuses to lose history unless MIGRATE_ALLOW_DATA_LOSS is true.
-- Undo: makes the tables of the history again, empty.

LOCK TABLE samples, project_history, sample_history IN ACCESS EXCLUSIVE MODE;

DO $$
DECLARE
    updates bigint := (SELECT count(*) FROM project_history);
    changes bigint := (SELECT count(*) FROM sample_history);
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
