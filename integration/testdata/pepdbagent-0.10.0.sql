-- The tables that pepdbagent 0.10.0 makes (SQLAlchemy's create_all), as pg_dump writes them down.
CREATE TYPE updatetypes AS ENUM (
    'UPDATE',
    'INSERT',
    'DELETE'
);
CREATE TABLE project_history (
    id integer NOT NULL,
    project_id integer NOT NULL,
    "user" character varying NOT NULL,
    update_time timestamp with time zone NOT NULL,
    project_yaml json NOT NULL
);
CREATE SEQUENCE project_history_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE project_history_id_seq OWNED BY project_history.id;
CREATE TABLE projects (
    id integer NOT NULL,
    namespace character varying NOT NULL,
    name character varying NOT NULL,
    tag character varying NOT NULL,
    digest character varying(32) NOT NULL,
    description character varying,
    config json NOT NULL,
    private boolean NOT NULL,
    number_of_samples integer NOT NULL,
    number_of_stars integer NOT NULL,
    submission_date timestamp with time zone NOT NULL,
    last_update_date timestamp with time zone,
    pep_schema character varying,
    pop boolean,
    forked_from_id integer
);
CREATE SEQUENCE projects_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE projects_id_seq OWNED BY projects.id;
CREATE TABLE sample_history (
    id integer NOT NULL,
    history_id integer NOT NULL,
    guid character varying NOT NULL,
    parent_guid character varying,
    sample_json json NOT NULL,
    change_type updatetypes NOT NULL
);
CREATE SEQUENCE sample_history_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE sample_history_id_seq OWNED BY sample_history.id;
CREATE TABLE samples (
    id integer NOT NULL,
    sample json NOT NULL,
    project_id integer,
    sample_name character varying,
    guid character varying NOT NULL,
    submission_date timestamp with time zone NOT NULL,
    last_update_date timestamp with time zone,
    parent_guid character varying
);
CREATE SEQUENCE samples_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE samples_id_seq OWNED BY samples.id;
CREATE TABLE stars (
    user_id integer NOT NULL,
    project_id integer NOT NULL,
    star_date timestamp with time zone NOT NULL
);
CREATE TABLE subsamples (
    id integer NOT NULL,
    subsample json NOT NULL,
    project_id integer,
    subsample_number integer NOT NULL,
    row_number integer NOT NULL
);
CREATE SEQUENCE subsamples_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE subsamples_id_seq OWNED BY subsamples.id;
CREATE TABLE users (
    id integer NOT NULL,
    namespace character varying NOT NULL,
    number_of_projects integer NOT NULL
);
CREATE SEQUENCE users_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE users_id_seq OWNED BY users.id;
CREATE TABLE views (
    id integer NOT NULL,
    name character varying NOT NULL,
    project_id integer,
    description character varying
);
CREATE SEQUENCE views_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE views_id_seq OWNED BY views.id;
CREATE TABLE views_samples (
    sample_id integer NOT NULL,
    view_id integer NOT NULL
);
ALTER TABLE ONLY project_history ALTER COLUMN id SET DEFAULT nextval('project_history_id_seq'::regclass);
ALTER TABLE ONLY projects ALTER COLUMN id SET DEFAULT nextval('projects_id_seq'::regclass);
ALTER TABLE ONLY sample_history ALTER COLUMN id SET DEFAULT nextval('sample_history_id_seq'::regclass);
ALTER TABLE ONLY samples ALTER COLUMN id SET DEFAULT nextval('samples_id_seq'::regclass);
ALTER TABLE ONLY subsamples ALTER COLUMN id SET DEFAULT nextval('subsamples_id_seq'::regclass);
ALTER TABLE ONLY users ALTER COLUMN id SET DEFAULT nextval('users_id_seq'::regclass);
ALTER TABLE ONLY views ALTER COLUMN id SET DEFAULT nextval('views_id_seq'::regclass);
ALTER TABLE ONLY project_history
    ADD CONSTRAINT project_history_pkey PRIMARY KEY (id);
ALTER TABLE ONLY projects
    ADD CONSTRAINT projects_namespace_name_tag_key UNIQUE (namespace, name, tag);
ALTER TABLE ONLY projects
    ADD CONSTRAINT projects_pkey PRIMARY KEY (id);
ALTER TABLE ONLY sample_history
    ADD CONSTRAINT sample_history_pkey PRIMARY KEY (id);
ALTER TABLE ONLY samples
    ADD CONSTRAINT samples_guid_key UNIQUE (guid);
ALTER TABLE ONLY samples
    ADD CONSTRAINT samples_pkey PRIMARY KEY (id);
ALTER TABLE ONLY stars
    ADD CONSTRAINT stars_pkey PRIMARY KEY (user_id, project_id);
ALTER TABLE ONLY subsamples
    ADD CONSTRAINT subsamples_pkey PRIMARY KEY (id);
ALTER TABLE ONLY users
    ADD CONSTRAINT users_namespace_key UNIQUE (namespace);
ALTER TABLE ONLY users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);
ALTER TABLE ONLY views
    ADD CONSTRAINT views_pkey PRIMARY KEY (id);
ALTER TABLE ONLY views_samples
    ADD CONSTRAINT views_samples_pkey PRIMARY KEY (sample_id, view_id);
ALTER TABLE ONLY project_history
    ADD CONSTRAINT project_history_project_id_fkey FOREIGN KEY (project_id) REFERENCES projects(id) ON DELETE CASCADE;
ALTER TABLE ONLY project_history
    ADD CONSTRAINT project_history_user_fkey FOREIGN KEY ("user") REFERENCES users(namespace) ON DELETE SET NULL;
ALTER TABLE ONLY projects
    ADD CONSTRAINT projects_forked_from_id_fkey FOREIGN KEY (forked_from_id) REFERENCES projects(id) ON DELETE SET NULL;
ALTER TABLE ONLY projects
    ADD CONSTRAINT projects_namespace_fkey FOREIGN KEY (namespace) REFERENCES users(namespace) ON DELETE CASCADE;
ALTER TABLE ONLY sample_history
    ADD CONSTRAINT sample_history_history_id_fkey FOREIGN KEY (history_id) REFERENCES project_history(id) ON DELETE CASCADE;
ALTER TABLE ONLY samples
    ADD CONSTRAINT samples_parent_guid_fkey FOREIGN KEY (parent_guid) REFERENCES samples(guid) ON DELETE CASCADE;
ALTER TABLE ONLY samples
    ADD CONSTRAINT samples_project_id_fkey FOREIGN KEY (project_id) REFERENCES projects(id) ON DELETE CASCADE;
ALTER TABLE ONLY stars
    ADD CONSTRAINT stars_project_id_fkey FOREIGN KEY (project_id) REFERENCES projects(id) ON DELETE CASCADE;
ALTER TABLE ONLY stars
    ADD CONSTRAINT stars_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE;
ALTER TABLE ONLY subsamples
    ADD CONSTRAINT subsamples_project_id_fkey FOREIGN KEY (project_id) REFERENCES projects(id) ON DELETE CASCADE;
ALTER TABLE ONLY views
    ADD CONSTRAINT views_project_id_fkey FOREIGN KEY (project_id) REFERENCES projects(id) ON DELETE CASCADE;
ALTER TABLE ONLY views_samples
    ADD CONSTRAINT views_samples_sample_id_fkey FOREIGN KEY (sample_id) REFERENCES samples(id) ON DELETE CASCADE;
ALTER TABLE ONLY views_samples
    ADD CONSTRAINT views_samples_view_id_fkey FOREIGN KEY (view_id) REFERENCES views(id) ON DELETE CASCADE;
