-- Release: back to pepdbagent 0.4.3, which keeps a project in one document.
-- Data: samples and subsamples return into the document, which is then as 0.4.3 writes it, whatever 0.4.0 - 0.4.2 wrote before: lists of records without the keys of rows, and name and description in _config alone; refuses to lose samples without a project unless MIGRATE_ALLOW_DATA_LOSS is true.
-- Undo: takes the document apart again.

LOCK TABLE projects, samples, subsamples IN ACCESS EXCLUSIVE MODE;

DO $$
DECLARE
    orphans bigint := (SELECT count(*) FROM ONLY samples WHERE project_id IS NULL)
        + (SELECT count(*) FROM ONLY subsamples WHERE project_id IS NULL);
BEGIN
    IF orphans > 0 AND current_setting('pephub_migrate.allow_data_loss', true) IS DISTINCT FROM 'true' THEN
        RAISE EXCEPTION 'pepdbagent 0.4.3 has no place for % samples without a project', orphans
            USING HINT = 'back the database up, then set MIGRATE_ALLOW_DATA_LOSS=true to drop them';
    END IF;
END
$$;

-- PostgreSQL's json functions fail on \u0000, on half a surrogate pair, and on a character that the database's encoding
-- lacks; json itself can hold them all. Within this step every \u is therefore hidden from them as DEL u, and a DEL as
-- DEL d, and put back into what is stored. A backslash that is escaped itself, and begins no \u, is out of the way meanwhile.
CREATE FUNCTION pephub_migrate_hide(document json) RETURNS json
LANGUAGE sql IMMUTABLE
AS $$
SELECT CASE
    WHEN strpos(document::text, '\u') + strpos(document::text, chr(127)) = 0 THEN document
    ELSE replace(
        replace(
            replace(replace(document::text, chr(127), chr(127) || 'd'), '\\', chr(127) || 'b'),
            '\u', chr(127) || 'u'
        ),
        chr(127) || 'b', '\\'
    )::json
END
$$;

CREATE FUNCTION pephub_migrate_reveal(document text) RETURNS text
LANGUAGE sql IMMUTABLE
AS $$
SELECT replace(replace(document, chr(127) || 'u', '\u'), chr(127) || 'd', chr(127))
$$;

-- Made here if the upgrade found nothing to archive, so that the statement below needs no branch.
CREATE TABLE IF NOT EXISTS archived_project_values
    (project_id bigint PRIMARY KEY, project_value json, project_name varchar, lossy boolean);

ALTER TABLE projects ADD COLUMN project_value json;
UPDATE ONLY projects AS p
SET project_value = (
    '{"_sample_dict": [' || coalesce(s.records, '') || '], "_config": ' || p.config
    || ', "_subsample_list": ' || coalesce('[' || t.tables || ']', 'null') || coalesce(a.members, '') || '}'
)::json
FROM ONLY projects AS x
LEFT JOIN (
    SELECT project_id, string_agg(sample::text, ', ' ORDER BY row_number, id) AS records
    FROM ONLY samples
    GROUP BY project_id
) AS s ON s.project_id = x.id
LEFT JOIN (
    SELECT n.project_id, string_agg('[' || coalesce(r.records, '') || ']', ', ' ORDER BY n.subsample_number) AS tables
    FROM (
        SELECT project_id, subsample_number FROM ONLY subsamples
        UNION
        -- A table without a row has left a gap in the numbers.
        SELECT project_id, generate_series(0, least(max(subsample_number), 1000)) FROM ONLY subsamples GROUP BY project_id
    ) AS n
    LEFT JOIN (
        SELECT project_id, subsample_number, string_agg(subsample::text, ', ' ORDER BY row_number, id) AS records
        FROM ONLY subsamples
        GROUP BY project_id, subsample_number
    ) AS r ON (r.project_id, r.subsample_number) = (n.project_id, n.subsample_number)
    GROUP BY n.project_id
) AS t ON t.project_id = x.id
LEFT JOIN (
    SELECT
        v.project_id,
        pephub_migrate_reveal(string_agg(', ' || to_json(m.key) || ': ' || m.value, '' ORDER BY m.position)) AS members
    FROM archived_project_values AS v
    CROSS JOIN LATERAL json_each(pephub_migrate_hide(v.project_value)) WITH ORDINALITY AS m (key, value, position)
    JOIN ONLY projects AS q ON q.id = v.project_id
    WHERE m.key NOT IN ('_config', '_sample_dict', '_subsample_dict', '_subsample_list')
        AND (m.key <> 'name' OR v.project_name = q.name) -- one that was renamed since has another
    GROUP BY v.project_id
) AS a ON a.project_id = x.id
WHERE x.id = p.id;

DROP FUNCTION pephub_migrate_reveal, pephub_migrate_hide;
DROP TABLE subsamples, samples;

-- What no document could be given back stays where it is.
DELETE FROM archived_project_values AS v USING ONLY projects AS p WHERE p.id = v.project_id AND NOT v.lossy;
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM archived_project_values) THEN
        DROP TABLE archived_project_values;
    END IF;
END
$$;

UPDATE ONLY projects SET last_update_date = submission_date WHERE last_update_date IS NULL;
ALTER TABLE projects
    DROP CONSTRAINT projects_pkey,
    DROP CONSTRAINT projects_namespace_name_tag_key,
    DROP COLUMN config,
    ALTER COLUMN id TYPE bigint,
    ALTER COLUMN project_value SET NOT NULL,
    ALTER COLUMN last_update_date SET NOT NULL,
    ADD CONSTRAINT id PRIMARY KEY (namespace, name, tag);
ALTER SEQUENCE projects_id_seq AS bigint;
