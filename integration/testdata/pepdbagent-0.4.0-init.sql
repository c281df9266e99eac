-- The table of pepdbagent 0.4.0, as pg_dump writes it down.
CREATE TABLE projects (
    id bigint NOT NULL,
    namespace text NOT NULL,
    name text NOT NULL,
    tag text NOT NULL,
    digest text NOT NULL,
    project_value jsonb NOT NULL,
    private boolean NOT NULL,
    number_of_samples integer NOT NULL,
    submission_date timestamp without time zone NOT NULL,
    last_update_date timestamp without time zone NOT NULL,
    pep_schema text
);
CREATE SEQUENCE projects_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE projects_id_seq OWNED BY projects.id;
ALTER TABLE ONLY projects ALTER COLUMN id SET DEFAULT nextval('projects_id_seq'::regclass);
ALTER TABLE ONLY projects
    ADD CONSTRAINT id PRIMARY KEY (namespace, name, tag);
