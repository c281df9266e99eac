-- Release: pepdbagent 0.4.3: a project's description has a column.
-- Data: the description is taken from the document, where it stays too.
-- Undo: drops the column; the description is in the document.

LOCK TABLE projects IN ACCESS EXCLUSIVE MODE;

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

-- A hidden text with all characters that the database's encoding has. Other escapes stay hidden.
CREATE FUNCTION pephub_migrate_decode(hidden text) RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
    decoded text := hidden;
    escape text;
BEGIN
    FOR escape IN
        SELECT DISTINCT m[1]
        FROM regexp_matches(hidden, replace('~ud[89ab]..~ud[c-f]..|~u....', '~', chr(127)), 'gi') AS m
    LOOP
        BEGIN
            decoded := replace(
                decoded, escape,
                replace(('"' || replace(escape, chr(127), '\') || '"')::json #>> '{}', chr(127), chr(127) || 'd')
            );
        EXCEPTION
            WHEN data_exception OR feature_not_supported THEN
                CONTINUE;
        END;
    END LOOP;
    RETURN decoded;
END
$$;

-- A hidden value as a column of text would hold it: without the characters that it cannot hold.
CREATE FUNCTION pephub_migrate_text(value json) RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
    hidden text := value #>> '{}';
BEGIN
    RETURN CASE
        WHEN json_typeof(value) <> 'string' THEN pephub_migrate_reveal(hidden)
        WHEN strpos(hidden, chr(127)) = 0 THEN hidden
        ELSE replace(regexp_replace(pephub_migrate_decode(hidden), chr(127) || 'u....', '', 'g'), chr(127) || 'd', chr(127))
    END;
END
$$;

-- The text of one member, the last of that name. Where the whole document cannot be decoded, that member alone is.
CREATE FUNCTION pephub_migrate_escaped_member(document json, name text) RETURNS text
LANGUAGE plpgsql
AS $$
BEGIN
    IF strpos(name, chr(127)) = 0 THEN -- nothing in the name is hidden
        BEGIN
            RETURN document ->> name;
        EXCEPTION
            WHEN data_exception OR feature_not_supported THEN
                NULL;
        END;
    END IF;
    RETURN (
        SELECT pephub_migrate_text(e.value)
        FROM json_each(pephub_migrate_hide(document)) WITH ORDINALITY AS e (key, value, position)
        WHERE CASE WHEN strpos(e.key, chr(127)) > 0 THEN pephub_migrate_decode(e.key) ELSE e.key END = name
        ORDER BY e.position DESC
        LIMIT 1
    );
END
$$;

-- Most documents have no escapes. This function is inlined.
CREATE FUNCTION pephub_migrate_member(document json, name text) RETURNS text
LANGUAGE sql
AS $$
SELECT CASE
    WHEN json_typeof(document) <> 'object' THEN NULL
    WHEN strpos(document::text, '\u') + strpos(name, chr(127)) = 0 THEN document ->> name
    ELSE pephub_migrate_escaped_member(document, name)
END
$$;

ALTER TABLE projects ADD COLUMN description varchar;
UPDATE ONLY projects SET description = pephub_migrate_member(project_value, 'description');

DROP FUNCTION
    pephub_migrate_member, pephub_migrate_escaped_member, pephub_migrate_text, pephub_migrate_decode, pephub_migrate_reveal,
    pephub_migrate_hide;
