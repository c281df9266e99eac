-- Release: back to pepdbagent 0.10.0, which has no schemas of its own.
-- Data: projects keep the path of their schema as text; refuses to lose schemas and groups unless MIGRATE_ALLOW_DATA_LOSS is true.
-- Undo: makes the tables again, empty.

LOCK TABLE projects, schemas, schema_groups, schema_group_relations IN ACCESS EXCLUSIVE MODE;

DO $$
DECLARE
    schemas bigint := (SELECT count(*) FROM ONLY schemas);
    groups bigint := (SELECT count(*) FROM ONLY schema_groups);
BEGIN
    IF schemas + groups > 0 AND current_setting('pephub_migrate.allow_data_loss', true) IS DISTINCT FROM 'true' THEN
        RAISE EXCEPTION 'pepdbagent 0.10.0 has no place for % schemas and % groups', schemas, groups
            USING HINT = 'back the database up, then set MIGRATE_ALLOW_DATA_LOSS=true to drop them';
    END IF;
END
$$;

-- As 0.11 itself writes it down beside the link.
UPDATE ONLY projects AS p
SET pep_schema = s.namespace || '/' || s.name
FROM ONLY schemas AS s
WHERE s.id = p.schema_id AND p.pep_schema IS NULL;

ALTER TABLE projects DROP COLUMN schema_id;
DROP TABLE schema_group_relations, schema_groups, schemas;
