-- Release: pepdbagent 0.10.0: the history of projects and samples; the order of samples is their list alone.
-- Data: stays as it is; samples.row_number goes, which 0.9 no longer read. History that a 0.10 wrote already is kept.
-- Undo: numbers the samples in the order of their list, and refuses to lose history.

-- pepdbagent 0.10 works on the tables of 0.9, once it has added these, as long as nobody adds a sample.
DO $$
BEGIN
    IF to_regtype('updatetypes') IS NULL THEN
        CREATE TYPE updatetypes AS ENUM ('UPDATE', 'INSERT', 'DELETE');
    END IF;
END
$$;

-- The column "user" is NOT NULL and its foreign key sets NULL on delete, so deleting a user who edited somebody
-- else's project fails. pepdbagent made it so in every release.
CREATE TABLE IF NOT EXISTS project_history (
    id serial PRIMARY KEY,
    project_id integer NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    "user" varchar NOT NULL REFERENCES users (namespace) ON DELETE SET NULL,
    update_time timestamptz NOT NULL,
    project_yaml json NOT NULL
);

CREATE TABLE IF NOT EXISTS sample_history (
    id serial PRIMARY KEY,
    history_id integer NOT NULL REFERENCES project_history (id) ON DELETE CASCADE,
    guid varchar NOT NULL,
    parent_guid varchar,
    sample_json json NOT NULL,
    change_type updatetypes NOT NULL
);

ALTER TABLE samples DROP COLUMN row_number;
