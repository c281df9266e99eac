-- Release: pepdbagent 0.4.2: the document is json, which keeps the order of keys.
-- Data: stays as it is; the order that jsonb gave the keys is the only one there is.
-- Undo: orders the keys as jsonb does.

ALTER TABLE projects ALTER COLUMN project_value TYPE json USING project_value::text::json;
