-- Release: pepdbagent 0.3.0: what was in anno_info has columns of its own.
-- Data: privacy, number of samples and date are taken from anno_info, all of which goes to archived_project_anno_info.
-- Undo: gives anno_info back.

LOCK TABLE projects IN ACCESS EXCLUSIVE MODE;

-- An archive that is there already is left from an upgrade whose database was restored since. It stays, under a name of
-- its own: its rows must not get into the way back.
DO $$
BEGIN
    IF to_regclass(format('%I.archived_project_anno_info', current_schema())) IS NOT NULL THEN
        EXECUTE format(
            'ALTER TABLE archived_project_anno_info RENAME TO %I',
            'archived_project_anno_info' || to_char(now(), '_YYYYMMDD_HH24MISS_US')
        );
    END IF;
END
$$;

-- What a person may have written is not always a date, and no regular expression knows them all.
CREATE FUNCTION pephub_migrate_timestamp(value text) RETURNS timestamp
LANGUAGE plpgsql
AS $$
BEGIN
    RETURN CASE
        WHEN value ~ '^[0-9]{4}(-[0-9]{2}){2}[ T][0-9]{2}:[0-9]{2}.*([+-][0-9]{2}(:?[0-9]{2})?|[A-Za-z/_]+)$' THEN value::timestamptz::timestamp
        WHEN value ~ '^[0-9]{4}(-[0-9]{2}){2}' THEN value::timestamp
    END;
EXCEPTION
    WHEN data_exception THEN
        RETURN NULL;
END
$$;

ALTER TABLE projects
    ADD COLUMN private boolean,
    ADD COLUMN number_of_samples integer,
    ADD COLUMN submission_date timestamp,
    ADD COLUMN last_update_date timestamp;

-- 0.1 wrote n_samples, 0.2 number_of_samples; a project without either has as many as its document. The date is
-- the local time of the application's host, without a zone.
UPDATE ONLY projects
SET private = lower(coalesce(anno_info ->> 'is_private', '') COLLATE "C") = 'true',
    number_of_samples = CASE
        WHEN anno_info ->> 'number_of_samples' ~ '^[0-9]{1,9}$' THEN (anno_info ->> 'number_of_samples')::integer
        WHEN anno_info ->> 'n_samples' ~ '^[0-9]{1,9}$' THEN (anno_info ->> 'n_samples')::integer
        WHEN jsonb_typeof(project_value -> '_sample_dict') = 'array' THEN jsonb_array_length(project_value -> '_sample_dict')
        WHEN jsonb_typeof(project_value -> '_sample_dict') = 'object' THEN coalesce((
            SELECT max(CASE WHEN jsonb_typeof(c.cells) = 'object' THEN (SELECT count(*) FROM jsonb_object_keys(c.cells)) END)
            FROM jsonb_each(project_value -> '_sample_dict') AS c (name, cells)
        ), 0)
        ELSE 0
    END,
    submission_date = coalesce(pephub_migrate_timestamp(anno_info ->> 'last_update'), localtimestamp),
    project_value = CASE
        WHEN project_value ? 'description' OR NOT coalesce(anno_info ? 'description', false) THEN project_value
        ELSE project_value || jsonb_build_object('description', anno_info -> 'description')
    END;
UPDATE ONLY projects SET last_update_date = submission_date;

-- With what was read from it, so that the way back can tell what has changed since.
DO $$
BEGIN
    IF EXISTS (SELECT FROM ONLY projects WHERE anno_info IS NOT NULL) THEN
        CREATE TABLE archived_project_anno_info AS
        SELECT id AS project_id, anno_info, private, number_of_samples, last_update_date FROM ONLY projects ORDER BY id;
        ALTER TABLE archived_project_anno_info ADD PRIMARY KEY (project_id);
    END IF;
END
$$;

DROP FUNCTION pephub_migrate_timestamp;

ALTER TABLE projects
    ALTER COLUMN private SET NOT NULL,
    ALTER COLUMN number_of_samples SET NOT NULL,
    ALTER COLUMN submission_date SET NOT NULL,
    ALTER COLUMN last_update_date SET NOT NULL,
    DROP COLUMN anno_info;
