-- Release: pepdbagent 0.11.0: schemas in groups, and a link from a project to its schema.
-- Data: stays as it is; the new tables are empty, and projects keep the text of their schema.
-- Undo: drops the tables and the links, and refuses as long as there are any.

CREATE TABLE schemas (
    id serial PRIMARY KEY,
    namespace varchar NOT NULL REFERENCES users (namespace) ON DELETE CASCADE,
    name varchar NOT NULL,
    description varchar,
    schema_json json NOT NULL,
    private boolean NOT NULL,
    submission_date timestamptz NOT NULL,
    last_update_date timestamptz,
    UNIQUE (namespace, name)
);

CREATE TABLE schema_groups (
    id serial PRIMARY KEY,
    namespace varchar NOT NULL REFERENCES users (namespace) ON DELETE CASCADE,
    name varchar NOT NULL,
    description varchar,
    UNIQUE (namespace, name)
);

CREATE TABLE schema_group_relations (
    schema_id integer NOT NULL REFERENCES schemas ON DELETE CASCADE,
    group_id integer NOT NULL REFERENCES schema_groups ON DELETE CASCADE,
    PRIMARY KEY (schema_id, group_id)
);

CREATE INDEX ix_schemas_id ON schemas (id);
CREATE INDEX ix_schemas_name ON schemas (name);
CREATE INDEX ix_schemas_description ON schemas (description);
CREATE INDEX ix_schema_groups_id ON schema_groups (id);
CREATE INDEX ix_schema_groups_name ON schema_groups (name);
CREATE INDEX ix_schema_groups_namespace ON schema_groups (namespace);
CREATE INDEX ix_schema_group_relations_schema_id ON schema_group_relations (schema_id);
CREATE INDEX ix_schema_group_relations_group_id ON schema_group_relations (group_id);

ALTER TABLE projects ADD COLUMN schema_id integer REFERENCES schemas ON DELETE SET NULL;
