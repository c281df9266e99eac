-- Release: pephub-migrate's own: an index for every foreign key that has none, and one shape for every 0.12.
-- Data: stays as it is; users.number_of_schemas is counted where Alembic or a development version left it out; where Alembic left out namespace_archives and bedbase_stats, they are made.
-- Undo: drops the indexes.

-- Alembic's revision 8a037f13b4e5 adds users.number_of_schemas without a value for the users who are there, and pepdbagent
-- 0.12 fails on each of them: NULL + 1 when they make a schema, and the whole list of namespaces. For some days before
-- 0.12.0 its development version had no such column. Where it is as it should be, nobody need be kept from reading users.
-- Everything is locked before anything is done: a lock that is raised later makes deadlocks. The indexes leave readers alone.
DO $$
DECLARE
    counted boolean := EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = 'users'::regclass AND attname = 'number_of_schemas' AND attnotnull
    );
BEGIN
    IF NOT counted THEN
        LOCK TABLE users IN ACCESS EXCLUSIVE MODE;
    ELSIF to_regclass(format('%I.namespace_archives', current_schema())) IS NULL THEN
        LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE;
    END IF;
    LOCK TABLE
        projects, samples, subsamples, stars, views, views_samples, project_history, sample_history, schema_tags
    IN SHARE MODE;
    IF NOT counted THEN
        ALTER TABLE users ADD COLUMN IF NOT EXISTS number_of_schemas integer;
        UPDATE ONLY users AS u
        SET number_of_schemas = (SELECT count(*) FROM ONLY schema_records AS r WHERE r.namespace = u.namespace)
        WHERE u.number_of_schemas IS NULL;
        -- allow validate: users has a row for each namespace, not for each sample, and is locked from the head of this block on
        ALTER TABLE users ALTER COLUMN number_of_schemas SET NOT NULL;
    END IF;
END
$$;

-- Alembic upgrades a database of 0.11.0 to 0.12 too, without the two tables that came between.
DO $$
BEGIN
    IF to_regclass(format('%I.namespace_archives', current_schema())) IS NULL THEN
        CREATE TABLE namespace_archives (
            id serial PRIMARY KEY,
            namespace varchar NOT NULL REFERENCES users (namespace) ON DELETE CASCADE,
            file_path varchar NOT NULL,
            creation_date timestamptz NOT NULL,
            number_of_projects integer NOT NULL,
            file_size integer NOT NULL
        );
    END IF;
    IF to_regclass(format('%I.bedbase_stats', current_schema())) IS NULL THEN
        CREATE TABLE bedbase_stats (
            id serial PRIMARY KEY,
            gse varchar NOT NULL,
            gsm varchar NOT NULL,
            sample_name varchar,
            genome varchar,
            last_update_date varchar,
            submission_date varchar
        );
    END IF;
END
$$;

SET LOCAL application_name = 'pephub-migrate: indexing foreign keys';
-- Without them PEPhub scans all samples to read one project, and again for each sample it deletes. The names are
-- PostgreSQL's own, not SQLAlchemy's ix_...: should pepdbagent index the same column one day, its migration finds
-- the name free. An operator may have added one of them under that name before.
-- Reading through an index keeps the order that pepdbagent relies on for subsamples: equal keys come in heap order.
CREATE INDEX IF NOT EXISTS projects_forked_from_id_idx ON projects (forked_from_id);
CREATE INDEX IF NOT EXISTS projects_schema_id_idx ON projects (schema_id);
CREATE INDEX IF NOT EXISTS samples_project_id_idx ON samples (project_id);
CREATE INDEX IF NOT EXISTS samples_parent_guid_idx ON samples (parent_guid);
CREATE INDEX IF NOT EXISTS subsamples_project_id_idx ON subsamples (project_id);
CREATE INDEX IF NOT EXISTS stars_project_id_idx ON stars (project_id);
CREATE INDEX IF NOT EXISTS views_project_id_idx ON views (project_id);
CREATE INDEX IF NOT EXISTS views_samples_view_id_idx ON views_samples (view_id);
CREATE INDEX IF NOT EXISTS project_history_project_id_idx ON project_history (project_id);
CREATE INDEX IF NOT EXISTS project_history_user_idx ON project_history ("user");
CREATE INDEX IF NOT EXISTS sample_history_history_id_idx ON sample_history (history_id);
CREATE INDEX IF NOT EXISTS namespace_archives_namespace_idx ON namespace_archives (namespace);
CREATE INDEX IF NOT EXISTS schema_tags_schema_version_id_idx ON schema_tags (schema_version_id);
