-- Release: pepdbagent 0.4.0 - 0.4.1 on the table that it makes itself (create_all).
-- Data: stays as it is; dates without a zone are read in the session's time zone, as 0.4 read them.
-- Undo: writes the dates without their zone again.

ALTER TABLE projects
    ALTER COLUMN namespace TYPE varchar,
    ALTER COLUMN name TYPE varchar,
    ALTER COLUMN tag TYPE varchar,
    ALTER COLUMN digest TYPE varchar(32),
    ALTER COLUMN submission_date TYPE timestamptz,
    ALTER COLUMN last_update_date TYPE timestamptz,
    ALTER COLUMN pep_schema TYPE varchar;
