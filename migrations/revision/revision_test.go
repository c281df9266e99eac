package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"pephub-migrate/internal/migrator"
	"pephub-migrate/migrations/snapshot"
)

// server is the scratch server that all tests share. The first that needs it starts it.
var (
	server      *scratch
	startServer = sync.OnceValue(func() (err error) {
		server, err = openScratch(context.Background(), "")
		return err
	})
)

func TestMain(m *testing.M) {
	code := m.Run()
	if server != nil {
		server.close()
	}
	os.Exit(code)
}

// needServer skips the test where there is no server; on CI it fails.
func needServer(t *testing.T) {
	t.Helper()
	if err := startServer(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("this test needs Docker:", err)
		}
		t.Skip("this test needs Docker:", err)
	}
}

// repository returns a copy of the steps up to 15, in which the program can write, with
// schema.sql changed: each old text becomes the new. What testdata holds is of step 15
// too, so that these tests know nothing of the steps that come.
func repository(t *testing.T, changes ...string) request {
	t.Helper()
	needServer(t)
	r := request{dir: t.TempDir(), name: "try"}
	r.texts = r.file("texts.txt")
	write(t, r.texts, read(t, "testdata/texts.txt"))
	write(t, r.file("schema.sql"), replaced(t, read(t, "testdata/schema.sql"), changes...))
	t.Chdir("../..")
	for _, name := range snapshots(t) {
		for _, ending := range []string{"up.sql", "down.sql", "schema.txt"} {
			name := strings.TrimSuffix(filepath.Base(name), "schema.txt") + ending
			write(t, r.file(name), read(t, "migrations/"+name))
		}
	}
	return r
}

// snapshots returns the files of the steps up to 15.
func snapshots(t *testing.T) []string {
	t.Helper()
	var names []string
	for number := 1; number <= 15; number++ {
		found, err := filepath.Glob(fmt.Sprintf("migrations/%06d_*.up.sql", number))
		if err != nil || len(found) != 1 {
			t.Fatalf("step %d: %v and %v", number, found, err)
		}
		names = append(names, strings.TrimSuffix(found[0], "up.sql")+"schema.txt")
	}
	return names
}

func replaced(t *testing.T, text string, changes ...string) string {
	t.Helper()
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(text, changes[i]) {
			t.Fatalf("there is no %q in\n%s", changes[i], text)
		}
		text = strings.Replace(text, changes[i], changes[i+1], 1)
	}
	return text
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// database makes a database, runs SQL in it, and drops it at the end of the test.
func database(t *testing.T, purpose, sql string) *pgx.Conn {
	t.Helper()
	needServer(t)
	conn, err := server.database(t.Context(), purpose)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close(context.Background())
		drop(t)
	})
	execSQL(t, conn, sql)
	return conn
}

// drop drops what the test has made.
func drop(t *testing.T) {
	t.Helper()
	for _, name := range server.made {
		if _, err := server.admin.Exec(context.Background(), "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	}
	server.made = nil
}

func execSQL(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
}

// drafted is a draft that was written.
type drafted struct {
	request
	up, down, snapshot, schema, output string
}

// makeDraft has the program write the next step.
func makeDraft(t *testing.T, r request) drafted {
	t.Helper()
	t.Cleanup(func() { drop(t) })
	var output strings.Builder
	if err := r.draft(t.Context(), server, &output); err != nil {
		t.Fatal(err)
	}
	path := r.file("000016_" + r.name)
	d := drafted{r, read(t, path+".up.sql"), read(t, path+".down.sql"), read(t, path+".schema.txt"), read(t, r.file("schema.sql")), output.String()}
	for _, foreign := range []string{"public", `"default"`, "COLLATE", "pgschemadiff", "CONCURRENTLY", "USING btree", "character varying", "nextval"} {
		if strings.Contains(d.up+d.down+d.schema, foreign) {
			t.Errorf("%q is not this project's style:\n%s%s", foreign, d.up, d.down)
		}
	}
	if !strings.Contains(d.output, "On an empty database they lead to migrations/schema.sql, back to step 15, and up again.") {
		t.Errorf("the draft does not work:\n%s\n%s\n%s", d.output, d.up, d.down)
	}
	return d
}

func (d drafted) want(t *testing.T, file string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(file, text) {
			t.Errorf("%q is missing in\n%s", text, file)
		}
	}
}

// full has rows in every table that a test below changes.
const full = `
	INSERT INTO users (namespace, number_of_projects, number_of_schemas) VALUES ('ada', 1, 0), ('bob', 0, 1);
	INSERT INTO projects (namespace, name, tag, digest, config, private, number_of_samples, number_of_stars, submission_date)
	VALUES ('ada', 'p', 'default', 'd', '{}', false, 1, 0, now());
	INSERT INTO samples (sample, project_id, guid, submission_date) VALUES ('{"a": 1}', 1, 'g', now());
	INSERT INTO schema_records (namespace, name, private) VALUES ('bob', 's', false);
	INSERT INTO schema_versions (schema_id, version, schema_value, release_date) VALUES (1, '1', '{}', now());
	INSERT INTO schema_tags (tag_name, tag_value, schema_version_id) VALUES ('t', NULL, 1), ('u', 'v', 1);
	INSERT INTO bedbase_stats (gse, gsm, genome) VALUES ('a', 'b', 'hg38'), ('a', 'c', NULL);
	INSERT INTO views (name, project_id) VALUES ('a rather long name', 1);
	INSERT INTO project_history (project_id, "user", update_time, project_yaml) VALUES (1, 'ada', now(), '{}');
	INSERT INTO sample_history (history_id, guid, sample_json, change_type) VALUES (1, 'g', '{}', 'UPDATE');`

// base makes a database at step 15 with rows in it.
func base(t *testing.T, r request) *pgx.Conn {
	t.Helper()
	conn := database(t, "rows", "")
	v := &revision{request: r, number: 16}
	if err := v.runSteps(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	execSQL(t, conn, full)
	return conn
}

// contents returns all rows of all tables as text.
func contents(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	var text string
	err := conn.QueryRow(t.Context(), `
		SELECT string_agg(line, E'\n' ORDER BY line)
		FROM (
			SELECT query_to_xml('SELECT to_jsonb(x) AS ' || quote_ident(relname) || ' FROM ' || quote_ident(relname) || ' AS x ORDER BY to_jsonb(x)::text', true, true, '')::text AS line
			FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
		) AS x`).Scan(&text)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// thereAndBack runs a draft as it is on a database with rows, back and up again: nothing
// may be lost, although nobody has decided anything yet.
func (d drafted) thereAndBack(t *testing.T) {
	t.Helper()
	conn := base(t, d.request)
	before := contents(t, conn)
	execSQL(t, conn, d.up)
	upgraded := contents(t, conn)
	execSQL(t, conn, d.down)
	if after := contents(t, conn); after != before {
		t.Errorf("the way back lost something:\n%s\nwas\n%s\n%s", after, before, d.down)
	}
	execSQL(t, conn, d.up)
	if again := contents(t, conn); again != upgraded {
		t.Errorf("the second way up made something else:\n%s\nwas\n%s", again, upgraded)
	}
}

// guards sees that the way back refuses to lose rows, unless it is told to.
func (d drafted) guards(t *testing.T, rows, complaint string) {
	t.Helper()
	conn := base(t, d.request)
	execSQL(t, conn, d.up)
	execSQL(t, conn, rows)
	_, err := conn.PgConn().Exec(t.Context(), d.down).ReadAll()
	if err == nil || !strings.Contains(err.Error(), complaint) {
		t.Errorf("got %v, want a complaint of %s:\n%s", err, complaint, d.down)
	}
	execSQL(t, conn, "SET pephub_migrate.allow_data_loss = 'true';"+d.down)
}

const bedbaseGenome = "    genome varchar,\n"

func TestDrafts(t *testing.T) {
	for name, test := range map[string]struct {
		changes  []string
		up, down []string
		rows     string // that the older schema has no place for
		refusal  string
		decide   bool // whether the draft runs only on empty tables as long as nobody has decided
	}{
		"new tables": {
			changes: []string{"-- One index for every", `CREATE TABLE project_licences (
    project_id integer NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    licence varchar NOT NULL DEFAULT 'CC0',
    granted_by integer REFERENCES users (id),
    PRIMARY KEY (project_id, licence),
    CHECK (licence <> '')
);

CREATE INDEX project_licences_granted_by_idx ON project_licences (granted_by);

-- One index for every`},
			up: []string{
				"LOCK TABLE projects, users IN SHARE ROW EXCLUSIVE MODE;", "CREATE TABLE project_licences (\n    project_id integer NOT NULL REFERENCES projects (id) ON DELETE CASCADE,\n",
				"    licence varchar NOT NULL DEFAULT 'CC0',\n", "    PRIMARY KEY (project_id, licence),\n",
				"CREATE INDEX project_licences_granted_by_idx ON project_licences (granted_by);\n",
			},
			down:    []string{"LOCK TABLE project_licences, projects, users IN ACCESS EXCLUSIVE MODE;", "DROP TABLE project_licences;"},
			rows:    "INSERT INTO project_licences (project_id) VALUES (1)",
			refusal: "step 15 has no place for 1 rows of project_licences",
		},
		"column with a default": {
			changes: []string{"    guid varchar NOT NULL UNIQUE,\n", "    guid varchar NOT NULL UNIQUE,\n    reviewed boolean NOT NULL DEFAULT false,\n"},
			up:      []string{"ALTER TABLE samples ADD COLUMN reviewed boolean NOT NULL DEFAULT false;\n"},
			down:    []string{"WHERE reviewed IS DISTINCT FROM false", "ALTER TABLE samples DROP COLUMN reviewed;"},
			rows:    "UPDATE samples SET reviewed = true",
			refusal: "step 15 has no place for 1 values of samples.reviewed",
		},
		"column split in two": {
			changes: []string{bedbaseGenome, "    genome_name varchar,\n    genome_version varchar,\n"},
			up: []string{
				"LOCK TABLE bedbase_stats IN ACCESS EXCLUSIVE MODE;", "ALTER TABLE bedbase_stats\n    ADD COLUMN genome_name varchar,\n    ADD COLUMN genome_version varchar;\n",
				"-- TODO: if the values of bedbase_stats.genome go on in new columns", "CREATE TABLE archived_bedbase_stats_genome AS", "ALTER TABLE bedbase_stats DROP COLUMN genome;",
			},
			down:    []string{"UPDATE bedbase_stats AS t SET genome = a.genome"},
			rows:    "UPDATE bedbase_stats SET genome_name = 'x'",
			refusal: "step 15 has no place for 2 values of bedbase_stats.genome_name, 0 values of bedbase_stats.genome_version",
		},
		"table dropped": {
			changes: []string{`CREATE TABLE schema_tags (
    id serial PRIMARY KEY,
    tag_name varchar NOT NULL,
    tag_value varchar,
    schema_version_id integer NOT NULL REFERENCES schema_versions (id) ON DELETE CASCADE
);
`, "", "CREATE INDEX schema_tags_schema_version_id_idx ON schema_tags (schema_version_id);\n", ""},
			up:   []string{"CREATE TABLE archived_schema_tags AS", "DROP TABLE schema_tags;"},
			down: []string{"INSERT INTO schema_tags (id, tag_name, tag_value, schema_version_id)"},
		},
		"foreign key in a column of its own": {
			changes: []string{
				"    pop boolean,\n", "    pop boolean,\n    owner_id integer REFERENCES users (id) ON DELETE SET NULL,\n",
				"CREATE INDEX projects_schema_id_idx", "CREATE INDEX projects_owner_id_idx ON projects (owner_id);\nCREATE INDEX projects_schema_id_idx",
			},
			up:      []string{"ALTER TABLE projects ADD COLUMN owner_id integer REFERENCES users (id) ON DELETE SET NULL;\n", "CREATE INDEX projects_owner_id_idx ON projects (owner_id);\n"},
			down:    []string{"BEGIN\n    IF projects_owner_id > 0", "$$;\n\n-- Hazard DELETES_DATA: Deletes all values in the column\nALTER TABLE projects DROP COLUMN owner_id;\n"}, // and nothing between
			rows:    "UPDATE projects SET owner_id = 1",
			refusal: "1 values of projects.owner_id",
		},
		"column that may not be NULL": {
			changes: []string{"    number_of_schemas integer NOT NULL\n", "    number_of_schemas integer NOT NULL,\n    full_name varchar NOT NULL\n"},
			up:      []string{"ALTER TABLE users ADD COLUMN full_name varchar;\n", "-- TODO: fill the new column: UPDATE users SET full_name = ... WHERE full_name IS NULL\n", "ALTER TABLE users ALTER COLUMN full_name SET NOT NULL;\n"},
			decide:  true,
		},
		"column made NOT NULL": {
			changes: []string{"    sample_name varchar,\n    guid", "    sample_name varchar NOT NULL,\n    guid"},
			up:      []string{"-- TODO: fill samples.sample_name where it is NULL", "ALTER TABLE samples ALTER COLUMN sample_name SET NOT NULL;"},
			down:    []string{"ALTER TABLE samples ALTER COLUMN sample_name DROP NOT NULL;"},
			decide:  true,
		},
		"narrower type": {
			changes: []string{"    name varchar NOT NULL,\n    project_id integer REFERENCES projects (id) ON DELETE CASCADE,\n    description", "    name varchar(50) NOT NULL,\n    project_id integer REFERENCES projects (id) ON DELETE CASCADE,\n    description"},
			up:      []string{"-- Hazard ACQUIRES_ACCESS_EXCLUSIVE_LOCK", "ALTER TABLE views ALTER COLUMN name TYPE varchar(50);\n"},
			down:    []string{"ALTER TABLE views ALTER COLUMN name TYPE varchar;\n"},
		},
		"other type": {
			changes: []string{"    last_update_date varchar,\n    submission_date varchar\n", "    last_update_date varchar,\n    submission_date timestamptz\n"},
			up:      []string{"-- TODO: does every value of bedbase_stats.submission_date survive this"},
		},
		"value of an enum": {
			changes: []string{"'DELETE')", "'DELETE', 'MOVE')"},
			up:      []string{"ALTER TYPE updatetypes ADD VALUE 'MOVE'"},
			down:    []string{"ALTER TYPE updatetypes RENAME TO old_updatetypes;"},
			rows:    "UPDATE sample_history SET change_type = 'MOVE'",
			refusal: "1 rows of sample_history with a change_type of its own",
		},
		"value of an enum dropped": {
			changes: []string{"'UPDATE', 'INSERT', 'DELETE')", "'UPDATE', 'INSERT')"},
			up:      []string{"-- TODO: no value of sample_history.change_type may be one that updatetypes loses: give them another, UPDATE sample_history SET change_type = ... WHERE change_type::text NOT IN ('UPDATE', 'INSERT'); or archive the rows", "ALTER TYPE updatetypes RENAME TO old_updatetypes;"},
			down:    []string{"ALTER TYPE updatetypes ADD VALUE 'DELETE'"},
		},
		"constraint and index": {
			changes: []string{
				"    pop boolean,\n", "    pop boolean,\n    CONSTRAINT counted CHECK (number_of_samples >= 0),\n",
				"CREATE INDEX stars_project_id_idx", "CREATE UNIQUE INDEX views_names ON views (project_id, lower(name)) WHERE name <> '';\nCREATE INDEX stars_project_id_idx",
			},
			up: []string{
				"ALTER TABLE projects ADD CONSTRAINT counted CHECK (number_of_samples >= 0) NOT VALID;\n", "ALTER TABLE projects VALIDATE CONSTRAINT counted;\n",
				"CREATE UNIQUE INDEX views_names ON views (project_id, lower(name::text))", "-- Hazard ACQUIRES_SHARE_LOCK",
			},
			down: []string{"ALTER TABLE projects DROP CONSTRAINT counted;\n", "DROP INDEX views_names;\n"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := makeDraft(t, repository(t, test.changes...))
			d.want(t, d.up, append(test.up, "-- Release: TODO", "-- Data: TODO", "-- Undo: TODO")...)
			d.want(t, d.down, append(test.down, "-- Release: TODO", "-- Data: TODO", "-- Undo: TODO")...)
			d.want(t, d.snapshot, "alembic_version: 8a037f13b4e5\n")
			if want := replaced(t, read(t, "migrations/revision/testdata/schema.sql"), test.changes...); d.schema != want {
				t.Errorf("schema.sql was changed:\n%s", d.schema)
			}
			if !test.decide {
				d.thereAndBack(t)
			}
			if test.rows != "" {
				d.guards(t, test.rows, test.refusal)
			}
		})
	}
}

// A draft is no step until a person has written its first lines, and the next step waits
// for that.
func TestDraftIsNoStep(t *testing.T) {
	r := repository(t, bedbaseGenome, bedbaseGenome+"    build varchar,\n")
	makeDraft(t, r)
	steps, err := migrator.LoadFolder(os.DirFS(r.dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := steps.Check(); err == nil || !strings.Contains(err.Error(), "000016_try.up.sql") || !strings.Contains(err.Error(), "TODO") {
		t.Errorf("a draft passes: %v", err)
	}
	r.name = "next"
	if err := r.draft(t.Context(), server, io.Discard); err == nil || !strings.Contains(err.Error(), "finish what there is") {
		t.Errorf("got %v", err)
	}
}

// applications is schema.sql without the indexes that only this program makes: what
// create_all makes.
func applications(t *testing.T) string {
	t.Helper()
	text, _, ok := strings.Cut(read(t, "migrations/revision/testdata/schema.sql"), "-- One index for every")
	if !ok {
		t.Fatal("schema.sql has no such comment any more")
	}
	return text
}

// What create_all has made becomes schema.sql, with the comments of the old one and an
// index for every foreign key.
func TestFromDatabase(t *testing.T) {
	r := repository(t)
	conn := database(t, "live", applications(t)+`
		CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
		INSERT INTO alembic_version VALUES ('0123456789ab');
		CREATE TYPE grade AS ENUM ('good', 'it''s bad');
		CREATE TABLE "Licences" (id SERIAL NOT NULL, "order" VARCHAR(9) DEFAULT 'x''y' NOT NULL, grade grade, PRIMARY KEY (id), UNIQUE ("order"));
		CREATE TABLE project_licences (
			project_id INTEGER NOT NULL, licence_id INTEGER NOT NULL, words VARCHAR[] DEFAULT '{}', added TIMESTAMP WITH TIME ZONE DEFAULT now(),
			PRIMARY KEY (project_id, licence_id),
			FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE,
			CONSTRAINT fk_licence FOREIGN KEY(licence_id) REFERENCES "Licences" (id) DEFERRABLE INITIALLY DEFERRED
		);
		CREATE INDEX ix_project_licences_added ON project_licences (added DESC);
		ALTER TABLE users ADD COLUMN favourite INTEGER REFERENCES "Licences" (id);
		ALTER TABLE bedbase_stats DROP COLUMN genome, ADD COLUMN number INTEGER GENERATED BY DEFAULT AS IDENTITY,
			ADD COLUMN twice INTEGER GENERATED ALWAYS AS (length(gse) * 2) STORED;`)
	before, err := snapshot.Shape(t.Context(), conn.PgConn())
	if err != nil {
		t.Fatal(err)
	}
	r.fromDatabase = server.dsn("live")
	t.Setenv("PGPASSWORD", server.password)
	d := makeDraft(t, r)
	d.want(t, d.snapshot, "alembic_version: 0123456789ab\n", "archive archived_bedbase_stats_genome: bedbase_stats\n")
	d.want(t, d.schema, "-- The samples of a project are a linked list", "-- One index for every foreign key",
		"    favourite integer REFERENCES \"Licences\" (id)\n", "CREATE TABLE \"Licences\" (\n    id serial PRIMARY KEY,\n    \"order\" varchar(9) NOT NULL DEFAULT 'x''y' UNIQUE,\n    grade grade\n);\n",
		"CREATE TYPE grade AS ENUM ('good', 'it''s bad');\n", "CREATE INDEX project_licences_licence_id_idx ON project_licences (licence_id);\n",
		"CREATE INDEX users_favourite_idx ON users (favourite);\n", "    CONSTRAINT fk_licence FOREIGN KEY (licence_id) REFERENCES \"Licences\" (id) DEFERRABLE INITIALLY DEFERRED\n")

	// The steps make what create_all makes, and nothing else but indexes.
	made := base(t, r)
	execSQL(t, made, d.up)
	have, err := snapshot.Shape(t.Context(), made.PgConn())
	if err != nil {
		t.Fatal(err)
	}
	common, _ := have.Split(before) // without the archive
	for _, difference := range common.Diff(before) {
		t.Error(difference)
	}
}

// What the steps have archived and what another program keeps in the database is no part
// of the schema.
func TestFromDatabaseInUse(t *testing.T) {
	r := repository(t)
	database(t, "live", read(t, "migrations/revision/testdata/schema.sql")+`
		CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean);
		CREATE TABLE archived_schema_groups AS SELECT id, namespace FROM schema_records;
		CREATE INDEX archived_schema_groups_id ON archived_schema_groups (id);
		CREATE TABLE geo_cycle_status (id serial PRIMARY KEY, status varchar);
		CREATE TABLE geo_sample_status (id serial PRIMARY KEY, cycle integer REFERENCES geo_cycle_status (id));
		CREATE INDEX ix_geo_cycle_status ON geo_cycle_status (status);
		ALTER TABLE users ADD COLUMN full_name varchar;`)
	r.fromDatabase = server.dsn("live")
	t.Setenv("PGPASSWORD", server.password)
	d := makeDraft(t, r)
	d.want(t, d.up, "ALTER TABLE users ADD COLUMN full_name varchar;")
	if text := d.up + d.schema + d.snapshot; strings.Contains(text, "geo_") || strings.Contains(text, "archived_") || strings.Contains(text, "schema_migrations") {
		t.Errorf("something else is in\n%s", text)
	}
}

func TestFromDatabaseRefuses(t *testing.T) {
	for name, test := range map[string]struct{ sql, complaint string }{
		"nothing there": {"", "has no tables where its search_path leads"},
		"a view":        {"CREATE TABLE a (id integer); CREATE VIEW b AS TABLE a", "view b, which this program cannot write into schema.sql"},
	} {
		t.Run(name, func(t *testing.T) {
			r := repository(t)
			database(t, "live", test.sql)
			r.fromDatabase = server.dsn("live")
			t.Setenv("PGPASSWORD", server.password)
			before := read(t, r.file("schema.sql"))
			if err := r.draft(t.Context(), server, io.Discard); err == nil || !strings.Contains(err.Error(), test.complaint) {
				t.Errorf("got %v", err)
			}
			if read(t, r.file("schema.sql")) != before {
				t.Error("schema.sql was changed")
			}
		})
	}
}

const fromAlembic = `BEGIN;

-- Running upgrade 8a037f13b4e5 -> 0123456789ab

CREATE TABLE licences (
    id SERIAL NOT NULL, 
    name VARCHAR NOT NULL, 
    PRIMARY KEY (id), 
    UNIQUE (name)
);

ALTER TABLE projects ADD COLUMN licence_id INTEGER;

ALTER TABLE projects ADD FOREIGN KEY(licence_id) REFERENCES licences (id) ON DELETE SET NULL;

ALTER TABLE users ADD COLUMN full_name VARCHAR;

UPDATE users SET full_name = namespace
 WHERE full_name IS NULL -- all of them
;

ALTER TABLE users ALTER COLUMN full_name SET NOT NULL;

ALTER TABLE users ADD CHECK (full_name <> 'int');

UPDATE bedbase_stats SET sample_name = 'timestamp with time zone' WHERE sample_name = 'int';

UPDATE alembic_version SET version_num='0123456789ab' WHERE alembic_version.version_num = '8a037f13b4e5';

-- Running upgrade 0123456789ab -> 1123456789ab

ALTER TABLE bedbase_stats DROP COLUMN genome;

UPDATE alembic_version SET version_num='1123456789ab' WHERE alembic_version.version_num = '0123456789ab';

COMMIT;
`

func TestFromAlembic(t *testing.T) {
	r := repository(t)
	r.fromAlembic = filepath.Join(t.TempDir(), "upgrade.sql")
	write(t, r.fromAlembic, fromAlembic)
	d := makeDraft(t, r)
	d.want(t, d.up, "CREATE TABLE licences (\n    id serial PRIMARY KEY,\n    name varchar NOT NULL UNIQUE\n);\n",
		"ALTER TABLE projects ADD COLUMN licence_id integer REFERENCES licences (id) ON DELETE SET NULL;\n",
		"UPDATE users SET full_name = namespace\n WHERE full_name IS NULL", "    ALTER COLUMN full_name SET NOT NULL",
		"ADD CHECK (full_name <> 'int')", "UPDATE bedbase_stats SET sample_name = 'timestamp with time zone' WHERE sample_name = 'int';\n",
		"CREATE INDEX projects_licence_id_idx ON projects (licence_id);\n", "CREATE TABLE archived_bedbase_stats_genome AS")
	d.want(t, d.snapshot, "alembic_version: 1123456789ab\n")
	for _, gone := range []string{"alembic_version", "COMMIT", "ADD FOREIGN KEY"} {
		if strings.Contains(d.up, gone) {
			t.Errorf("%s is still in\n%s", gone, d.up)
		}
	}
	conn := base(t, r)
	execSQL(t, conn, d.up)
	var names string
	if err := conn.QueryRow(t.Context(), "SELECT string_agg(full_name, ' ' ORDER BY id) FROM users").Scan(&names); err != nil || names != "ada bob" {
		t.Errorf("the users are called %q: %v", names, err)
	}
}

// What a person has written locks the tables that it names from the beginning, and of
// what cannot be read it is asked.
func TestFromAlembicLocks(t *testing.T) {
	r := repository(t)
	r.fromAlembic = filepath.Join(t.TempDir(), "upgrade.sql")
	write(t, r.fromAlembic, `
		ALTER TABLE bedbase_stats RENAME COLUMN genome TO build;
		UPDATE views SET description = p.description FROM projects AS p WHERE p.id = project_id AND NOT EXISTS (SELECT FROM stars);
		DO $$ BEGIN DELETE FROM subsamples WHERE row_number < 0; END $$;
		UPDATE alembic_version SET version_num='0123456789ab' WHERE alembic_version.version_num = '8a037f13b4e5';`)
	d := makeDraft(t, r)
	d.want(t, d.up, "LOCK TABLE bedbase_stats, projects, stars, views IN ACCESS EXCLUSIVE MODE;",
		"-- TODO: which tables does this read or change? LOCK TABLE at the top names them too\n", "DO $$ BEGIN DELETE")
}

func TestFromAlembicRefuses(t *testing.T) {
	for name, test := range map[string]struct{ sql, complaint string }{
		"another beginning":  {strings.ReplaceAll(fromAlembic, "8a037f13b4e5", "44cb1e7a80de"), "begins at revision 44cb1e7a80de, and the newest step is at 8a037f13b4e5"},
		"from nothing":       {"CREATE TABLE alembic_version (version_num VARCHAR(32)); INSERT INTO alembic_version (version_num) VALUES ('44cb1e7a80de')", "begins before Alembic's first revision"},
		"a gap":              {replaced(t, fromAlembic, "WHERE alembic_version.version_num = '0123456789ab'", "WHERE alembic_version.version_num = '2223456789ab'"), "revision 2223456789ab does not follow on 0123456789ab"},
		"no revision":        {"ALTER TABLE users ADD COLUMN a integer", "does not say which revision it leads to"},
		"a table's new name": {"ALTER TABLE views RENAME TO sights;" + fromAlembic, "renames the table views, and its sequence"},
		"no SQL":             {"INFO  [alembic] Running upgrade", "is not SQL for PostgreSQL"},
	} {
		t.Run(name, func(t *testing.T) {
			r := repository(t)
			r.fromAlembic = filepath.Join(t.TempDir(), "upgrade.sql")
			write(t, r.fromAlembic, test.sql)
			t.Cleanup(func() { drop(t) })
			if err := r.draft(t.Context(), server, io.Discard); err == nil || !strings.Contains(err.Error(), test.complaint) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestNothingToDo(t *testing.T) {
	r := repository(t)
	t.Cleanup(func() { drop(t) })
	if err := r.draft(t.Context(), server, io.Discard); err == nil || !strings.Contains(err.Error(), "there is nothing to do: this is the schema of step 15") {
		t.Errorf("got %v", err)
	}
}

// A condition is in no snapshot, and yet there is something to do when it changes.
func TestConditionChanged(t *testing.T) {
	const counted = "    number_of_projects integer NOT NULL CHECK (number_of_projects >= 0),\n"
	r := repository(t, "    number_of_projects integer NOT NULL,\n", counted)
	t.Cleanup(func() { drop(t) })
	up := r.file("000015_index_foreign_keys.up.sql")
	write(t, up, read(t, up)+"ALTER TABLE users ADD CHECK (number_of_projects >= 0);\n")
	if err := r.refresh(t.Context(), server, io.Discard); err == nil || strings.Contains(err.Error(), "schema.sql") {
		t.Errorf("got %v", err)
	}
	if err := r.draft(t.Context(), server, io.Discard); err == nil || !strings.Contains(err.Error(), "there is nothing to do") {
		t.Errorf("got %v", err)
	}
	write(t, r.file("schema.sql"), replaced(t, read(t, r.file("schema.sql")), "number_of_projects >= 0", "number_of_projects >= 1"))
	d := makeDraft(t, r)
	d.want(t, d.up, "DROP CONSTRAINT", "CHECK (number_of_projects >= 1)")
	d.want(t, d.down, "CHECK (number_of_projects >= 0)")
	d.want(t, d.output, "the tests refuse a step that looks like step 15")
}

// A schema.sql that is written from the database that it makes is the same file.
func TestSchemaFileIsInHouseStyle(t *testing.T) {
	r := repository(t)
	text := read(t, r.file("schema.sql"))
	read, err := readTables(t.Context(), database(t, "house", text))
	if err != nil {
		t.Fatal(err)
	}
	if written := parseSchemaFile(text).write(read); written != text {
		t.Errorf("schema.sql would be written so:\n%s", written)
	}
}

// A foreign key without an index gets one, in schema.sql too.
func TestForeignKeysGetAnIndex(t *testing.T) {
	d := makeDraft(t, repository(t, "    pop boolean,\n", "    pop boolean,\n    \"group\" integer REFERENCES users (id),\n"))
	const index = "CREATE INDEX projects_group_idx ON projects (\"group\");\n"
	d.want(t, d.up, index)
	d.want(t, d.schema, index)
}

// After a step was edited its snapshot is written anew, but for the lines that only a
// person can write.
func TestRefresh(t *testing.T) {
	r := repository(t)
	t.Cleanup(func() { drop(t) })
	up, snapshotFile := r.file("000015_index_foreign_keys.up.sql"), r.file("000015_index_foreign_keys.schema.txt")
	want := replaced(t, read(t, snapshotFile), "column users.id:", "column users.extra: integer\ncolumn users.id:", "lock schema_tags: SHARE\n", "lock schema_tags: ACCESS EXCLUSIVE\n")
	write(t, up, read(t, up)+"ALTER TABLE users ADD COLUMN extra integer; LOCK TABLE schema_tags IN ACCESS EXCLUSIVE MODE;\n")
	const left = "schema.sql: column users.extra is missing: integer, by what the steps make"
	if err := r.refresh(t.Context(), server, io.Discard); err == nil || !strings.Contains(err.Error(), left) {
		t.Errorf("got %v", err)
	}
	write(t, r.file("schema.sql"), read(t, r.file("schema.sql"))+"CREATE INDEX users_extra ON users (number_of_projects);\n")
	if err := r.refresh(t.Context(), server, io.Discard); err == nil || !strings.Contains(err.Error(), "schema.sql: index users.users_extra is not expected") {
		t.Errorf("got %v", err)
	}
	write(t, r.file("schema.sql"), read(t, "migrations/revision/testdata/schema.sql"))
	for _, name := range snapshots(t) {
		old := read(t, name)
		if filepath.Base(name) == filepath.Base(snapshotFile) {
			old = want
		}
		got := read(t, r.file(filepath.Base(name)))
		for line := range strings.Lines(got + old) {
			if !strings.Contains(got, line) || !strings.Contains(old, line) {
				t.Errorf("%s differs in %s", name, line)
			}
		}
	}

	write(t, up, replaced(t, read(t, "migrations/000015_index_foreign_keys.up.sql"), "-- allow validate", "-- TODO"))
	err := r.refresh(t.Context(), server, io.Discard)
	for _, left := range []string{"000015_index_foreign_keys.up.sql: line 30: validate", "000015_index_foreign_keys.up.sql: line 29 still says TODO"} {
		if err == nil || !strings.Contains(err.Error(), left) {
			t.Errorf("got %v, want %s", err, left)
		}
	}
	var said strings.Builder
	write(t, up, read(t, "migrations/000015_index_foreign_keys.up.sql"))
	if err := r.refresh(t.Context(), server, &said); err != nil || !strings.Contains(said.String(), "nothing in steps 15 to 15 is left to do") {
		t.Errorf("got %v and %s", err, said.String())
	}
}

// A name belongs to one process: with the same number, as in containers, there may be
// another on the server.
func TestScratchNames(t *testing.T) {
	needServer(t)
	t.Cleanup(func() { drop(t) })
	name := server.name("mine")
	if other := newScratch(); other.name("mine") == name {
		t.Errorf("another is called %s too", name)
	}
	conn, err := server.database(t.Context(), "mine")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	other := *server
	other.made = nil
	if _, err := other.database(t.Context(), "mine"); err == nil || !strings.Contains(err.Error(), "already exists") {
		t.Errorf("got %v", err)
	}
	if err := conn.Ping(t.Context()); err != nil {
		t.Errorf("the other has dropped it: %v", err)
	}
}

// The names of types are this project's, but what is quoted is not the name of a type.
func TestHouse(t *testing.T) {
	for text, want := range map[string]string{
		"a int, b character varying(9), c timestamp with time zone": "a integer, b varchar(9), c timestamptz",
		"CHECK (kind IN ('int', 'character varying'))":              "CHECK (kind IN ('int', 'character varying'))",
		"x int DEFAULT 'it''s int', y int":                          "x integer DEFAULT 'it''s int', y integer",
		`a = E'\'int' AND b::int = 1`:                               `a = E'\'int' AND b::integer = 1`,
		`a = 'int\' AND b::int = 1`:                                 `a = 'int\' AND b::integer = 1`,
		`RENAME COLUMN "int" TO "a ""int"" b", ADD c int`:           `RENAME COLUMN "int" TO "a ""int"" b", ADD c integer`,
		"DO $$ int $$, int, $a$ $$ int $a$, int":                    "DO $$ int $$, integer, $a$ $$ int $a$, integer",
		"int 'int":                                                  "integer 'int",
	} {
		if got := house(text); got != want {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func TestArguments(t *testing.T) {
	for _, test := range []struct {
		args      []string
		name      string
		complaint string
	}{
		{args: nil},
		{args: []string{"Add project-licence, at last!"}, name: "add_project_licence_at_last"},
		{args: []string{"add", "project", "licence"}, name: "add_project_licence"},
		{args: []string{"--from-database", "x", "add"}, name: "add"},
		{args: []string{"!"}, complaint: "needs letters or digits"},
		{args: []string{"-from-alembic", "x"}, complaint: "give the step a name"},
		{args: []string{"-from-alembic", "x", "-from-database", "y", "z"}, complaint: "exclude each other"},
	} {
		r, err := parseArguments(test.args)
		if test.complaint != "" {
			if err == nil || !strings.Contains(err.Error(), test.complaint) {
				t.Errorf("%q: got %v", test.args, err)
			}
			continue
		}
		if err != nil || r.name != test.name {
			t.Errorf("%q: got %q and %v", test.args, r.name, err)
		}
	}
}

// What docs/schema.md says of tables follows the step: of a new one a person has to say
// something.
func TestTexts(t *testing.T) {
	r := repository(t, `CREATE TABLE bedbase_stats (
    id serial PRIMARY KEY,
    gse varchar NOT NULL,
    gsm varchar NOT NULL,
    sample_name varchar,
    genome varchar,
`, `CREATE TABLE licences (
    id serial PRIMARY KEY
);

CREATE TABLE bedbase_stats (
    id serial PRIMARY KEY,
    gsm varchar NOT NULL,
    sample_name varchar,
    genome varchar,
`)
	before := read(t, r.texts)
	makeDraft(t, r)
	want := replaced(t, before,
		"column bedbase_stats.gse: accession of the series in GEO\n", "",
		"table namespace_archives:", "table licences: TODO: what a row of it is.\ntable namespace_archives:",
		"archive archived_project_anno_info:", "archive archived_bedbase_stats_gse: what step 16 drops: id, gse\narchive archived_project_anno_info:")
	if got := read(t, r.texts); got != want {
		t.Errorf("the texts are\n%s", got)
	}

	// An archive that the step's author takes away goes from the snapshot and the texts
	// too.
	up, snapshotFile := r.file("000016_try.up.sql"), r.file("000016_try.schema.txt")
	if !strings.Contains(read(t, snapshotFile), "archive archived_bedbase_stats_gse: bedbase_stats\n") {
		t.Errorf("the snapshot is\n%s", read(t, snapshotFile))
	}
	write(t, up, strings.ReplaceAll(read(t, up), "archived_bedbase_stats_gse", "archived_bedbase_stats_gse_differently"))
	if err := r.refresh(t.Context(), server, io.Discard); err == nil || !strings.Contains(err.Error(), "TODO") {
		t.Errorf("got %v", err)
	}
	if text := read(t, snapshotFile) + read(t, r.texts); strings.Contains(text, "archived_bedbase_stats_gse") || !strings.Contains(text, "archive archived_project_anno_info") {
		t.Errorf("something else is left:\n%s", text)
	}
}

// What a step speaks of is a whole word, and the step that has more to do on what Alembic
// makes is known by its file, not its folder.
func TestSnapshot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "000015_steps")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "000001_try.up.sql"), "CREATE TABLE archived_projects_pop (id integer);\n")
	write(t, filepath.Join(dir, "000001_try.schema.txt"), "archive archived_projects: projects\narchive archived_projects_pop: projects\n")
	if err := snapshot.Update(t.Context(), database(t, "snapshot", "").PgConn(), dir); err != nil {
		t.Fatal(err)
	}
	got := read(t, filepath.Join(dir, "000001_try.schema.txt"))
	if strings.Contains(got, "archived_projects:") || !strings.Contains(got, "archive archived_projects_pop: projects\n") {
		t.Errorf("the snapshot is\n%s", got)
	}
}

// draftBetween drafts both directions between two schemas, and returns a database of the
// first with rows in it.
func draftBetween(t *testing.T, from, to, rows string) (conn *pgx.Conn, up, down *draft) {
	t.Helper()
	needServer(t)
	t.Chdir("../..")
	read := func(purpose, sql string) *tables {
		read, err := readTables(t.Context(), database(t, purpose, sql))
		if err != nil {
			t.Fatal(err)
		}
		return read
	}
	v := &revision{server: server, number: 16, below: migrator.Step{Number: 15}, baseSchema: "public", base: read("steps", from), wanted: read("wanted", to)}
	up, down, err := v.changes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return database(t, "rows", from+rows), up, down
}

// There and back with rows, where the schema of step 15 has no example.
func TestDraftsBetween(t *testing.T) {
	for name, test := range map[string]struct {
		from, to, rows string
		up, down       []string
		without        string // what the way up must not say
	}{
		"an enum that goes with its table": {
			from: "CREATE TYPE grade AS ENUM ('a', 'b'); CREATE TABLE t (id integer PRIMARY KEY, one grade, many grade[]); CREATE TABLE u (id integer);",
			to:   "CREATE TABLE u (id integer);",
			rows: "INSERT INTO t VALUES (1, 'b', '{a,b}'), (2, NULL, NULL);",
			up:   []string{"SELECT id, one::text AS one, many::text[] AS many FROM t;", "DROP TYPE grade;"},
			down: []string{"SELECT id, one::grade, many::grade[] FROM archived_t;"},
		},
		"an enum that goes with its columns": {
			from: "CREATE TYPE grade AS ENUM ('a', 'b'); CREATE TABLE t (id integer PRIMARY KEY, one grade, many grade[]);",
			to:   "CREATE TABLE t (id integer PRIMARY KEY);",
			rows: "INSERT INTO t VALUES (1, 'b', '{a,b}'), (2, NULL, NULL);",
			up:   []string{"SELECT id, one::text AS one FROM t", "SELECT id, many::text[] AS many FROM t", "DROP TYPE grade;"},
			down: []string{"SET one = a.one::grade", "SET many = a.many::grade[]"},
		},
		"a value of an enum, with defaults and arrays": {
			from:    "CREATE TYPE grade AS ENUM ('a', 'b', 'c'); CREATE TABLE t (id integer PRIMARY KEY, one grade NOT NULL DEFAULT 'a', many grade[] DEFAULT '{a}', gone grade);",
			to:      "CREATE TYPE grade AS ENUM ('a', 'b'); CREATE TABLE t (id integer PRIMARY KEY, one grade NOT NULL DEFAULT 'a', many grade[] DEFAULT '{a}');",
			rows:    "INSERT INTO t VALUES (1, 'b', '{a,b}', 'a'), (2, 'a', NULL, 'b');",
			up:      []string{"-- TODO: no value of t.one may be one that grade loses", "ALTER COLUMN one DROP DEFAULT", "ALTER COLUMN one SET DEFAULT 'a'"},
			without: "DELETE FROM",
		},
		"a new value of an enum, with defaults and arrays": {
			from: "CREATE TYPE grade AS ENUM ('a', 'b'); CREATE TABLE t (id integer PRIMARY KEY, one grade NOT NULL DEFAULT 'a', many grade[] DEFAULT '{a}');",
			to:   "CREATE TYPE grade AS ENUM ('a', 'b', 'c'); CREATE TABLE t (id integer PRIMARY KEY, one grade NOT NULL DEFAULT 'a', many grade[] DEFAULT '{a}');",
			rows: "INSERT INTO t VALUES (1, 'b', '{a,NULL}'), (2, 'a', NULL);",
			down: []string{"DELETE FROM t WHERE one::text NOT IN ('a', 'b');", "DELETE FROM t WHERE NOT array_remove(many::text[], NULL) <@ ARRAY['a', 'b'];"},
		},
		"another primary key": {
			from: "CREATE TABLE t (id integer PRIMARY KEY, code varchar NOT NULL, word varchar);",
			to:   "CREATE TABLE t (id integer NOT NULL, code varchar PRIMARY KEY);",
			rows: "INSERT INTO t VALUES (1, 'x', 'one'), (2, 'y', 'two');",
			up:   []string{"SELECT id, word FROM t WHERE word IS NOT NULL"},
			down: []string{"WHERE a.id = t.id"},
		},
		"another primary key, and the old one goes": {
			from: "CREATE TABLE t (id integer PRIMARY KEY, code varchar NOT NULL, word varchar);",
			to:   "CREATE TABLE t (code varchar PRIMARY KEY);",
			rows: "INSERT INTO t VALUES (1, 'x', 'one'), (2, 'y', 'two');",
			up:   []string{"SELECT code, id FROM t", "SELECT code, word FROM t WHERE word IS NOT NULL"},
			down: []string{"WHERE a.code = t.code"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			conn, up, down := draftBetween(t, test.from, test.to, test.rows)
			drafted{}.want(t, up.text(), test.up...)
			drafted{}.want(t, down.text(), test.down...)
			if test.without != "" && strings.Contains(up.text(), test.without) {
				t.Errorf("%q is in\n%s", test.without, up.text())
			}
			before := contents(t, conn)
			execSQL(t, conn, up.text())
			execSQL(t, conn, down.text())
			if after := contents(t, conn); after != before {
				t.Errorf("the way back lost something:\n%s\nwas\n%s\n%s", after, before, down.text())
			}
			execSQL(t, conn, up.text())
		})
	}
}

// Where no key is in both schemas, nothing could be found again by it.
func TestNoSharedKey(t *testing.T) {
	_, up, down := draftBetween(t, "CREATE TABLE t (id integer PRIMARY KEY, word varchar);", "CREATE TABLE t (code varchar PRIMARY KEY);", "")
	drafted{}.want(t, up.text(), "-- TODO: t has no primary key, before and after, by which word could be archived")
	drafted{}.want(t, down.text(), "-- TODO: t has no primary key, before and after, by which word could be archived")
	if strings.Contains(up.text()+down.text(), "archived_") {
		t.Errorf("there is an archive in\n%s%s", up.text(), down.text())
	}
}
