-- Release: pepdbagent 0.1.0 - 0.2.3: one table, made by the SQL of its container.
-- Data: none; this is the first step, and it runs in an empty database only.
-- Undo: drops the table, and refuses as long as it holds a row.

CREATE TABLE projects (
    id bigserial NOT NULL,
    namespace text NOT NULL,
    name text NOT NULL,
    tag text NOT NULL,
    digest text NOT NULL,
    project_value jsonb NOT NULL,
    anno_info jsonb,
    CONSTRAINT id PRIMARY KEY (namespace, name, tag)
);
