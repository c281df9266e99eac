-- Release: pepdbagent 0.11.0: projects, samples, users, stars, views, history, and schemas in groups.
-- Data: none; this is the first step, and it runs in an empty database only.
-- Undo: drops every table, and refuses as long as one of them holds a row.

CREATE TYPE updatetypes AS ENUM ('UPDATE', 'INSERT', 'DELETE');

CREATE TABLE users (
    id serial PRIMARY KEY,
    namespace varchar NOT NULL UNIQUE,
    number_of_projects integer NOT NULL
);

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
    schema_id integer NOT NULL REFERENCES schemas (id) ON DELETE CASCADE,
    group_id integer NOT NULL REFERENCES schema_groups (id) ON DELETE CASCADE,
    PRIMARY KEY (schema_id, group_id)
);

CREATE TABLE projects (
    id serial PRIMARY KEY,
    namespace varchar NOT NULL REFERENCES users (namespace) ON DELETE CASCADE,
    name varchar NOT NULL,
    tag varchar NOT NULL,
    digest varchar(32) NOT NULL,
    description varchar,
    config json NOT NULL,
    private boolean NOT NULL,
    number_of_samples integer NOT NULL,
    number_of_stars integer NOT NULL,
    submission_date timestamptz NOT NULL,
    last_update_date timestamptz,
    pep_schema varchar,
    schema_id integer REFERENCES schemas (id) ON DELETE SET NULL,
    pop boolean,
    forked_from_id integer REFERENCES projects (id) ON DELETE SET NULL,
    UNIQUE (namespace, name, tag)
);

CREATE TABLE samples (
    id serial PRIMARY KEY,
    sample json NOT NULL,
    project_id integer REFERENCES projects (id) ON DELETE CASCADE,
    sample_name varchar,
    guid varchar NOT NULL UNIQUE,
    submission_date timestamptz NOT NULL,
    last_update_date timestamptz,
    parent_guid varchar REFERENCES samples (guid) ON DELETE CASCADE
);

CREATE TABLE subsamples (
    id serial PRIMARY KEY,
    subsample json NOT NULL,
    project_id integer REFERENCES projects (id) ON DELETE CASCADE,
    subsample_number integer NOT NULL,
    row_number integer NOT NULL
);

CREATE TABLE stars (
    user_id integer NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    project_id integer NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    star_date timestamptz NOT NULL,
    PRIMARY KEY (user_id, project_id)
);

CREATE TABLE views (
    id serial PRIMARY KEY,
    name varchar NOT NULL,
    project_id integer REFERENCES projects (id) ON DELETE CASCADE,
    description varchar
);

CREATE TABLE views_samples (
    sample_id integer NOT NULL REFERENCES samples (id) ON DELETE CASCADE,
    view_id integer NOT NULL REFERENCES views (id) ON DELETE CASCADE,
    PRIMARY KEY (sample_id, view_id)
);

-- The column "user" is NOT NULL and its foreign key sets NULL on delete, so deleting a user who edited somebody
-- else's project fails. pepdbagent made it so in every release.
CREATE TABLE project_history (
    id serial PRIMARY KEY,
    project_id integer NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    "user" varchar NOT NULL REFERENCES users (namespace) ON DELETE SET NULL,
    update_time timestamptz NOT NULL,
    project_yaml json NOT NULL
);

CREATE TABLE sample_history (
    id serial PRIMARY KEY,
    history_id integer NOT NULL REFERENCES project_history (id) ON DELETE CASCADE,
    guid varchar NOT NULL,
    parent_guid varchar,
    sample_json json NOT NULL,
    change_type updatetypes NOT NULL
);

CREATE INDEX ix_schemas_id ON schemas (id);
CREATE INDEX ix_schemas_name ON schemas (name);
CREATE INDEX ix_schemas_description ON schemas (description);
CREATE INDEX ix_schema_groups_id ON schema_groups (id);
CREATE INDEX ix_schema_groups_name ON schema_groups (name);
CREATE INDEX ix_schema_groups_namespace ON schema_groups (namespace);
CREATE INDEX ix_schema_group_relations_schema_id ON schema_group_relations (schema_id);
CREATE INDEX ix_schema_group_relations_group_id ON schema_group_relations (group_id);
