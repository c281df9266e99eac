-- Release: back to pepdbagent 0.4.2, which keeps the description in the document.
-- Data: a description that the document does not have beside its _config is added to it.
-- Undo: takes the description from the document.

LOCK TABLE projects IN ACCESS EXCLUSIVE MODE;

-- PostgreSQL's json functions fail on \u0000 and on half a surrogate pair, both of which json itself can hold. Within
-- this step every \u is therefore hidden from them as DEL u, and a DEL as DEL d.
CREATE FUNCTION pephub_migrate_hide(document json) RETURNS json
LANGUAGE sql IMMUTABLE
AS $$
SELECT CASE
    WHEN strpos(document::text, '\u') + strpos(document::text, chr(127)) = 0 THEN document
    ELSE regexp_replace(
        replace(document::text, chr(127), chr(127) || 'd'), '(?<!\\)((?:\\\\)*)\\u', '\1' || chr(127) || 'u', 'g'
    )::json
END
$$;

UPDATE projects
SET project_value = regexp_replace(
    project_value::text, '\}\s*$', ', "description": ' || replace(to_json(description)::text, '\', '\\') || '}'
)::json
WHERE description IS NOT NULL
    AND project_value::text !~ '^\s*\{\s*\}\s*$'
    AND NOT EXISTS (
        SELECT FROM json_object_keys(pephub_migrate_hide(project_value)) AS k (key) WHERE k.key = 'description'
    );

DROP FUNCTION pephub_migrate_hide;
ALTER TABLE projects DROP COLUMN description;
