-- Release: back to pepdbagent 0.4.3, which keeps a project in one document.
-- Data: samples and subsamples return into the document; refuses to lose samples without a project unless MIGRATE_ALLOW_DATA_LOSS is true.
-- Undo: takes the document apart again.

LOCK TABLE projects, samples, subsamples IN ACCESS EXCLUSIVE MODE;

DO $$
DECLARE
    orphans bigint := (SELECT count(*) FROM samples WHERE project_id IS NULL)
        + (SELECT count(*) FROM subsamples WHERE project_id IS NULL);
BEGIN
    IF orphans > 0 AND current_setting('pephub_migrate.allow_data_loss', true) IS DISTINCT FROM 'true' THEN
        RAISE EXCEPTION 'pepdbagent 0.4.3 has no place for % samples without a project', orphans
            USING HINT = 'back the database up, then set MIGRATE_ALLOW_DATA_LOSS=true to drop them';
    END IF;
END
$$;

ALTER TABLE projects ADD COLUMN project_value json;
UPDATE projects AS p
SET project_value = (
    '{"_sample_dict": [' || coalesce(s.records, '') || '], "_config": ' || p.config
    || ', "_subsample_list": ' || coalesce('[' || t.tables || ']', 'null') || '}'
)::json
FROM projects AS x
LEFT JOIN (
    SELECT project_id, string_agg(sample::text, ', ' ORDER BY row_number, id) AS records
    FROM samples
    GROUP BY project_id
) AS s ON s.project_id = x.id
LEFT JOIN (
    SELECT project_id, string_agg(records, ', ' ORDER BY subsample_number) AS tables
    FROM (
        SELECT
            project_id, subsample_number,
            '[' || string_agg(subsample::text, ', ' ORDER BY row_number, id) || ']' AS records
        FROM subsamples
        GROUP BY project_id, subsample_number
    ) AS r
    GROUP BY project_id
) AS t ON t.project_id = x.id
WHERE x.id = p.id;

DROP TABLE subsamples, samples;

UPDATE projects SET last_update_date = submission_date WHERE last_update_date IS NULL;
ALTER TABLE projects
    DROP CONSTRAINT projects_pkey,
    DROP CONSTRAINT projects_namespace_name_tag_key,
    DROP COLUMN config,
    ALTER COLUMN id TYPE bigint,
    ALTER COLUMN project_value SET NOT NULL,
    ALTER COLUMN last_update_date SET NOT NULL,
    ADD CONSTRAINT id PRIMARY KEY (namespace, name, tag);
ALTER SEQUENCE projects_id_seq AS bigint;
