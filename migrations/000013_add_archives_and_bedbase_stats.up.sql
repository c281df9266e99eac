-- Release: pepdbagent 0.11.1: two tables of its own, namespace_archives and bedbase_stats.
-- Data: stays as it is; the new tables are empty.
-- Undo: drops both tables, and refuses as long as one of them holds a row.

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
