-- Release: back to pepdbagent 0.4.2, which keeps the description in the document.
-- Data: a description that the document does not have beside its _config is added to it.
-- Undo: takes the description from the document.

LOCK TABLE projects IN ACCESS EXCLUSIVE MODE;

UPDATE projects
SET project_value = regexp_replace(
    project_value::text, '\}\s*$', ', "description": ' || replace(to_json(description)::text, '\', '\\') || '}'
)::json
WHERE description IS NOT NULL
    AND project_value::text !~ '^\s*\{\s*\}\s*$'
    AND NOT EXISTS (
        SELECT
        FROM json_object_keys(
            regexp_replace(project_value::text, '(?<!\\)((?:\\\\)*)\\u', '\1' || chr(127) || 'escape' || chr(127), 'g')::json
        ) AS k (key)
        WHERE k.key = 'description'
    );

ALTER TABLE projects DROP COLUMN description;
