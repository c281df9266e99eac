-- Release: back to pepdbagent 0.4.2, which keeps the description in the document.
-- Data: a description that is not the document's own becomes that.
-- Undo: takes the description from the document.

LOCK TABLE projects IN ACCESS EXCLUSIVE MODE;

-- PostgreSQL's json functions fail on \u0000 and on half a surrogate pair, both of which json itself can hold. Within
-- this step every \u is therefore hidden from them as DEL u, and a DEL as DEL d, and put back into what is stored. A
-- backslash that is escaped itself, and begins no \u, is out of the way meanwhile.
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

UPDATE projects AS p
SET project_value = pephub_migrate_reveal((
    SELECT '{' || string_agg(to_json(m.key) || ': ' || m.value, ', ' ORDER BY m.position) || '}'
    FROM (
        SELECT e.key, e.value::text, e.position
        FROM json_each(pephub_migrate_hide(p.project_value)) WITH ORDINALITY AS e (key, value, position)
        WHERE e.key <> 'description'
        UNION ALL
        SELECT 'description', pephub_migrate_hide(to_json(p.description))::text, NULL
    ) AS m
))::json
WHERE p.description IS NOT NULL
    AND json_typeof(p.project_value) = 'object'
    AND pephub_migrate_member(p.project_value, 'description') IS DISTINCT FROM p.description;

DROP FUNCTION pephub_migrate_member, pephub_migrate_reveal, pephub_migrate_hide;
ALTER TABLE projects DROP COLUMN description;
