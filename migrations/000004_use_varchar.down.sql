-- Release: back to pepdbagent 0.4.0 - 0.4.2 on the table that its container's SQL makes.
-- Data: stays as it is; dates are written in the session's time zone, without saying so.
-- Undo: reads the dates in the session's time zone.

ALTER TABLE projects
    ALTER COLUMN namespace TYPE text,
    ALTER COLUMN name TYPE text,
    ALTER COLUMN tag TYPE text,
    ALTER COLUMN digest TYPE text,
    ALTER COLUMN submission_date TYPE timestamp,
    ALTER COLUMN last_update_date TYPE timestamp,
    ALTER COLUMN pep_schema TYPE text;
