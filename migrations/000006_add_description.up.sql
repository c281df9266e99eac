-- Release: pepdbagent 0.4.3: a project's description has a column.
-- Data: the description is taken from the document, where it stays too.
-- Undo: drops the column; the description is in the document.

LOCK TABLE projects IN ACCESS EXCLUSIVE MODE;

-- One member as a column of text would hold it: without the characters that no text can hold.
CREATE FUNCTION pephub_migrate_member(document json, name text) RETURNS text
LANGUAGE sql IMMUTABLE
AS $$
SELECT CASE
    WHEN json_typeof(document) <> 'object' THEN NULL
    WHEN strpos(document::text, '\u') = 0 THEN document ->> name
    ELSE regexp_replace(
        regexp_replace(document::text, '(?<!\\)((?:\\\\)*)\\u0000', '\1', 'g'),
        '(?<!\\)((?:\\\\)*)(?:(\\ud[89ab]\w\w\\ud[c-f]\w\w)|\\ud[89a-f]\w\w)', '\1\2', 'gi'
    )::json ->> name
END
$$;

ALTER TABLE projects ADD COLUMN description varchar;
UPDATE projects SET description = pephub_migrate_member(project_value, 'description');

DROP FUNCTION pephub_migrate_member;
