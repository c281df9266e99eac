-- The newest schema in one readable file: what all steps together make, and what pepdbagent 0.12.3 works on.
-- It is never run by pephub-migrate; a test proves that it makes the very shape that the steps make.

CREATE TYPE updatetypes AS ENUM ('UPDATE', 'INSERT', 'DELETE');

-- A namespace: a person or an organisation. The counters are kept by the application.
CREATE TABLE users (
    id serial PRIMARY KEY,
    namespace varchar NOT NULL UNIQUE,
    number_of_projects integer NOT NULL,
    number_of_schemas integer NOT NULL
);

CREATE TABLE schema_records (
    id serial PRIMARY KEY,
    namespace varchar NOT NULL REFERENCES users (namespace) ON DELETE CASCADE,
    name varchar NOT NULL,
    maintainers varchar,
    lifecycle_stage varchar,
    description varchar,
    private boolean NOT NULL,
    last_update_date timestamptz,
    UNIQUE (namespace, name)
);

CREATE TABLE schema_versions (
    id serial PRIMARY KEY,
    schema_id integer NOT NULL REFERENCES schema_records (id) ON DELETE CASCADE,
    version varchar NOT NULL,
    schema_value json NOT NULL,
    release_date timestamptz NOT NULL,
    last_update_date timestamptz,
    contributors varchar,
    release_notes varchar,
    UNIQUE (schema_id, version)
);

CREATE TABLE schema_tags (
    id serial PRIMARY KEY,
    tag_name varchar NOT NULL,
    tag_value varchar,
    schema_version_id integer NOT NULL REFERENCES schema_versions (id) ON DELETE CASCADE
);

-- schema_id is the version of a schema that the project follows, not the record.
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
    schema_id integer REFERENCES schema_versions (id) ON DELETE SET NULL,
    pop boolean,
    forked_from_id integer REFERENCES projects (id) ON DELETE SET NULL,
    UNIQUE (namespace, name, tag)
);

-- The samples of a project are a linked list: the first has no parent_guid, each other names the one before it.
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

CREATE TABLE namespace_archives (
    id serial PRIMARY KEY,
    namespace varchar NOT NULL REFERENCES users (namespace) ON DELETE CASCADE,
    file_path varchar NOT NULL,
    creation_date timestamptz NOT NULL,
    number_of_projects integer NOT NULL,
    file_size integer NOT NULL
);

-- The two dates are text in pepdbagent too.
CREATE TABLE bedbase_stats (
    id serial PRIMARY KEY,
    gse varchar NOT NULL,
    gsm varchar NOT NULL,
    sample_name varchar,
    genome varchar,
    last_update_date varchar,
    submission_date varchar
);

-- One index for every foreign key that no constraint's index leads with.
CREATE INDEX projects_forked_from_id_idx ON projects (forked_from_id);
CREATE INDEX projects_schema_id_idx ON projects (schema_id);
CREATE INDEX samples_project_id_idx ON samples (project_id);
CREATE INDEX samples_parent_guid_idx ON samples (parent_guid);
CREATE INDEX subsamples_project_id_idx ON subsamples (project_id);
CREATE INDEX stars_project_id_idx ON stars (project_id);
CREATE INDEX views_project_id_idx ON views (project_id);
CREATE INDEX views_samples_view_id_idx ON views_samples (view_id);
CREATE INDEX project_history_project_id_idx ON project_history (project_id);
CREATE INDEX project_history_user_idx ON project_history ("user");
CREATE INDEX sample_history_history_id_idx ON sample_history (history_id);
CREATE INDEX namespace_archives_namespace_idx ON namespace_archives (namespace);
CREATE INDEX schema_tags_schema_version_id_idx ON schema_tags (schema_version_id);
