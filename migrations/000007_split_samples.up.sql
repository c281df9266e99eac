-- Release: pepdbagent 0.5.0 - 0.6.0: projects, and their samples and subsamples in tables of their own.
-- Data: none; this is the first step, and it runs in an empty database only.
-- Undo: drops every table, and refuses as long as one of them holds a row.

CREATE TABLE projects (
    id serial PRIMARY KEY,
    namespace varchar NOT NULL,
    name varchar NOT NULL,
    tag varchar NOT NULL,
    digest varchar(32) NOT NULL,
    description varchar,
    config json NOT NULL,
    private boolean NOT NULL,
    number_of_samples integer NOT NULL,
    submission_date timestamptz NOT NULL,
    last_update_date timestamptz,
    pep_schema varchar,
    UNIQUE (namespace, name, tag)
);

CREATE TABLE samples (
    id serial PRIMARY KEY,
    sample json NOT NULL,
    project_id integer REFERENCES projects (id) ON DELETE CASCADE,
    row_number integer NOT NULL
);

CREATE TABLE subsamples (
    id serial PRIMARY KEY,
    subsample json NOT NULL,
    project_id integer REFERENCES projects (id) ON DELETE CASCADE,
    subsample_number integer NOT NULL,
    row_number integer NOT NULL
);
