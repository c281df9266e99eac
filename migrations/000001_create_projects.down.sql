-- Release: back to an empty database from pepdbagent 0.1.0 - 0.2.3.
-- Data: the table goes; refused as long as it holds a row, unless MIGRATE_ALLOW_DATA_LOSS is true.
-- Undo: makes the table again, empty.

LOCK TABLE projects IN ACCESS EXCLUSIVE MODE;

DO $$
DECLARE
    lost bigint := (SELECT count(*) FROM ONLY projects);
BEGIN
    IF lost > 0 AND current_setting('pephub_migrate.allow_data_loss', true) IS DISTINCT FROM 'true' THEN
        RAISE EXCEPTION 'projects holds % rows that would be lost', lost
            USING HINT = 'back the database up, then set MIGRATE_ALLOW_DATA_LOSS=true to drop them';
    END IF;
END
$$;

DROP TABLE projects;
