-- Release: back to an empty database from pepdbagent 0.5.0 - 0.6.0.
-- Data: every table goes; refused as long as one holds a row, unless MIGRATE_ALLOW_DATA_LOSS is true.
-- Undo: makes the tables again, empty.

LOCK TABLE projects, samples, subsamples IN ACCESS EXCLUSIVE MODE;

DO $$
DECLARE
    lost bigint := (SELECT count(*) FROM projects)
        + (SELECT count(*) FROM samples)
        + (SELECT count(*) FROM subsamples);
BEGIN
    IF lost > 0 AND current_setting('pephub_migrate.allow_data_loss', true) IS DISTINCT FROM 'true' THEN
        RAISE EXCEPTION 'projects, samples and subsamples hold % rows that would be lost', lost
            USING HINT = 'back the database up, then set MIGRATE_ALLOW_DATA_LOSS=true to drop them';
    END IF;
END
$$;

DROP TABLE subsamples, samples, projects;
