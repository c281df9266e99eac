package review

import (
	"fmt"
	"io/fs"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"pephub-migrate/internal/migrator"
	"pephub-migrate/internal/schema"
	"pephub-migrate/migrations"
)

func TestOwnSteps(t *testing.T) {
	steps, err := migrator.Load(migrations.FS)
	if err != nil {
		t.Fatal(err)
	}
	findings, err := Own(migrations.FS, steps)
	if err != nil {
		t.Fatal(err)
	}
	for _, finding := range findings {
		t.Error(finding)
	}
}

// Without its exception step 15 is found.
func TestOwnFinds(t *testing.T) {
	steps, err := migrator.Load(migrations.FS)
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{}
	for _, step := range steps {
		for _, direction := range []string{"up", "down"} {
			file := fmt.Sprintf("%06d_%s.%s.sql", step.Number, step.Name, direction)
			sql := text(t, file)
			if step.Number == 15 {
				sql = strings.ReplaceAll(sql, "-- allow validate", "-- validate")
			}
			files[file] = &fstest.MapFile{Data: []byte(sql)}
		}
	}
	findings, err := Own(files, steps)
	if err != nil || len(findings) != 1 || !strings.HasPrefix(findings[0], "000015_index_foreign_keys.up.sql: line 30: validate: ") {
		t.Errorf("got %q and %v", findings, err)
	}
}

func text(t *testing.T, file string) string {
	t.Helper()
	content, err := fs.ReadFile(migrations.FS, file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// before has a large table, small ones, one that needs quotes, and constraints that an
// earlier step left.
const before = `column projects.id: integer not null
column projects.name: character varying(32) not null
column projects.pep_schema: character varying
column samples.guid: character varying
column samples.id: integer not null
column samples.parent_guid: character varying
column samples.sample_name: text
column samples.tags: text[]
column stars."user": integer
column stars.star_date: timestamp with time zone
column users.namespace: character varying not null
constraint projects.projects_pkey: primary key (id)
constraint samples.samples_guid_check: check (guid)
constraint samples.samples_guid_not_null: check (guid) not valid
constraint samples.samples_parent_guid_check: check (parent_guid)
constraint samples.samples_sample_name_not_null: check (sample_name)
enum updatetypes: UPDATE, INSERT, DELETE
table "Samples"
table projects
table samples
table stars
table users
`

// found lists findings as "line rule".
func found(t *testing.T, review func(string, schema.Shape) ([]Finding, error), sql string) (list string, findings []Finding) {
	t.Helper()
	shape, err := schema.ParseShape(before)
	if err != nil {
		t.Fatal(err)
	}
	findings, err = review(sql, shape)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	var lines []string
	for _, finding := range findings {
		if finding.Problem == "" || finding.Safer == "" {
			t.Errorf("it does not say all: %s", finding)
		}
		lines = append(lines, fmt.Sprintf("%d %s", finding.Line, finding.Rule))
	}
	return strings.Join(lines, ", "), findings
}

func TestUp(t *testing.T) {
	for sql, want := range map[string]string{
		// rewrite
		"ALTER TABLE samples ALTER id TYPE bigint":                                     "1 rewrite",
		"ALTER TABLE ONLY public.samples ALTER id TYPE bigint":                         "1 rewrite",
		"ALTER TABLE IF EXISTS samples ALTER id TYPE bigint":                           "1 rewrite",
		`ALTER TABLE "samples" ALTER "id" TYPE bigint`:                                 "1 rewrite",
		`ALTER TABLE "Samples" ALTER id TYPE bigint`:                                   "",
		"ALTER TABLE users ALTER id TYPE bigint":                                       "",
		"ALTER TABLE projects ALTER name TYPE varchar(31)":                             "1 rewrite",
		"ALTER TABLE projects ALTER name TYPE varchar(32)":                             "",
		"ALTER TABLE projects ALTER name TYPE varchar":                                 "",
		"ALTER TABLE projects ALTER name TYPE text":                                    "",
		"ALTER TABLE projects ALTER name TYPE text[]":                                  "1 rewrite",
		"ALTER TABLE projects ALTER name TYPE text USING lower(name)":                  "1 rewrite",
		`ALTER TABLE projects ALTER name TYPE text COLLATE "C"`:                        "1 rewrite",
		"ALTER TABLE projects ALTER name TYPE json USING name::json":                   "1 rewrite",
		"ALTER TABLE projects ALTER pep_schema TYPE bytea":                             "1 rewrite",
		"ALTER TABLE projects ALTER pep_schema TYPE varchar(99)":                       "1 rewrite",
		"ALTER TABLE projects ALTER pep_schema TYPE text":                              "",
		"ALTER TABLE samples ALTER sample_name TYPE varchar":                           "",
		"ALTER TABLE samples ADD x serial":                                             "1 rewrite",
		"ALTER TABLE samples ADD x integer DEFAULT nextval('samples_id_seq')":          "1 rewrite",
		"ALTER TABLE samples ADD x integer GENERATED ALWAYS AS IDENTITY":               "1 rewrite",
		"ALTER TABLE samples ADD x integer GENERATED ALWAYS AS (id + 1) STORED":        "1 rewrite",
		"ALTER TABLE samples ADD x uuid DEFAULT gen_random_uuid()":                     "1 rewrite",
		"ALTER TABLE samples ADD x timestamptz DEFAULT clock_timestamp()":              "1 rewrite",
		"ALTER TABLE samples ADD x integer DEFAULT (100 * random())::integer":          "1 rewrite",
		"ALTER TABLE samples ADD x integer DEFAULT of_nobody_knows()":                  "1 rewrite",
		"ALTER TABLE samples ADD x timestamptz NOT NULL DEFAULT now()":                 "",
		"ALTER TABLE samples ADD x timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP":     "",
		"ALTER TABLE samples ADD x integer NOT NULL DEFAULT 1, ADD y text DEFAULT 'a'": "",
		"ALTER TABLE users ADD x uuid DEFAULT gen_random_uuid()":                       "",
		"CLUSTER samples USING samples_pkey":                                           "1 rewrite",
		"CLUSTER users USING users_pkey":                                               "",
		"CLUSTER":                                                                      "1 rewrite",
		"VACUUM FULL users, samples":                                                   "1 rewrite",
		"VACUUM (FULL, ANALYZE)":                                                       "1 rewrite",
		"VACUUM samples":                                                               "",
		"ALTER TABLE samples SET LOGGED":                                               "1 rewrite",
		"ALTER TABLE samples SET UNLOGGED":                                             "1 rewrite",
		"ALTER TABLE samples SET ACCESS METHOD heap":                                   "1 rewrite",
		"ALTER TABLE samples SET TABLESPACE fast":                                      "1 rewrite",
		"ALTER TABLE samples ALTER id SET EXPRESSION AS (1)":                           "1 rewrite",
		"UPDATE samples SET id = 1":                                                    "1 rewrite",
		"UPDATE samples AS s SET id = p.id FROM projects AS p":                         "1 rewrite",
		"UPDATE samples SET id = 1 WHERE true":                                         "1 rewrite",
		"WITH u AS (UPDATE samples SET id = 1 RETURNING id) SELECT FROM u":             "1 rewrite",
		"UPDATE samples SET id = 1 WHERE id = 2":                                       "",
		"UPDATE users SET id = 1":                                                      "",
		"CREATE TABLE sample_history (a int); ALTER TABLE sample_history ALTER a TYPE text; UPDATE sample_history SET a = ''": "",

		"ALTER TABLE samples ALTER id TYPE text":   "1 rewrite",
		"ALTER TABLE samples ALTER tags TYPE text": "1 rewrite",
		"VACUUM (ANALYZE) samples":                 "",

		// validate
		"ALTER TABLE users ADD CHECK (id > 0)":                                                                        "1 validate",
		"ALTER TABLE users ADD CONSTRAINT c FOREIGN KEY (id) REFERENCES projects":                                     "1 validate",
		"ALTER TABLE users ADD CONSTRAINT c CHECK (id > 0) NOT VALID; ALTER TABLE users VALIDATE CONSTRAINT c":        "",
		"ALTER TABLE samples ADD CHECK (id > 0)":                                                                      "1 validate",
		"ALTER TABLE samples ADD CONSTRAINT c CHECK (id > 0) NOT VALID;\nALTER TABLE samples VALIDATE CONSTRAINT c":   "2 validate",
		"ALTER TABLE samples ADD CONSTRAINT c CHECK (id > 0) NOT VALID, VALIDATE CONSTRAINT c":                        "1 validate",
		"ALTER TABLE samples ADD CONSTRAINT c CHECK (id > 0) NOT VALID":                                               "",
		"ALTER TABLE samples VALIDATE CONSTRAINT samples_guid_check":                                                  "",
		"ALTER TABLE users ADD x integer CHECK (x > 0)":                                                               "1 validate",
		"ALTER TABLE users ADD x integer REFERENCES projects":                                                         "",
		"ALTER TABLE users ADD x integer DEFAULT 1 REFERENCES projects":                                               "1 validate",
		"ALTER TABLE users ADD x serial REFERENCES projects":                                                          "1 validate",
		"UPDATE stars SET star_date = now() WHERE star_date IS NULL;\nALTER TABLE stars ALTER star_date SET NOT NULL": "2 validate",
		`UPDATE stars SET star_date = now() WHERE star_date IS NULL;
		 ALTER TABLE stars ADD CONSTRAINT n CHECK (star_date IS NOT NULL) NOT VALID;
		 ALTER TABLE stars VALIDATE CONSTRAINT n;
		 ALTER TABLE stars ALTER star_date SET NOT NULL;
		 ALTER TABLE stars DROP CONSTRAINT n`: "",
		"ALTER TABLE samples VALIDATE CONSTRAINT samples_guid_not_null, ALTER guid SET NOT NULL":                                                   "",
		"ALTER TABLE samples ALTER guid SET NOT NULL":                                                                                              "1 validate",
		"ALTER TABLE samples ALTER sample_name SET NOT NULL":                                                                                       "",
		"ALTER TABLE users ADD x integer;\nUPDATE users SET x = 1;\nALTER TABLE users ALTER x SET NOT NULL":                                        "",
		"ALTER TABLE samples ADD x integer;\nUPDATE samples SET x = 1 WHERE x IS NULL;\nALTER TABLE samples ALTER x SET NOT NULL":                  "3 validate",
		"ALTER TABLE stars ADD IF NOT EXISTS star_date date;\nUPDATE stars SET star_date = now();\nALTER TABLE stars ALTER star_date SET NOT NULL": "3 validate",
		"CREATE TABLE a (b integer REFERENCES samples CHECK (b > 0)); ALTER TABLE a ADD CHECK (b > 1), ALTER b SET NOT NULL":                       "",

		"ALTER TABLE samples ALTER parent_guid SET NOT NULL": "1 validate, 1 not_null",
		"UPDATE stars SET star_date = now(); ALTER TABLE stars ADD CONSTRAINT n CHECK (star_date IS NULL) NOT VALID, VALIDATE CONSTRAINT n, ALTER star_date SET NOT NULL": "1 validate",

		// index
		"ALTER TABLE users ADD UNIQUE (namespace)":                                        "1 index",
		"ALTER TABLE users ADD PRIMARY KEY (id)":                                          "1 index",
		"ALTER TABLE users ADD EXCLUDE (id WITH =)":                                       "1 index",
		"ALTER TABLE users ADD x integer UNIQUE":                                          "1 index",
		"CREATE UNIQUE INDEX i ON users (id); ALTER TABLE users ADD UNIQUE USING INDEX i": "",
		"CREATE TABLE a (b integer); ALTER TABLE a ADD UNIQUE (b)":                        "",

		// not_null
		"ALTER TABLE users ADD x integer NOT NULL":                        "1 not_null",
		"ALTER TABLE users ADD x integer NOT NULL DEFAULT NULL":           "1 not_null",
		"ALTER TABLE users ADD x integer PRIMARY KEY":                     "1 not_null, 1 index",
		"ALTER TABLE users ADD x integer NOT NULL DEFAULT 0":              "",
		"ALTER TABLE users ADD x serial NOT NULL":                         "",
		"ALTER TABLE users ADD x integer GENERATED ALWAYS AS IDENTITY":    "",
		"ALTER TABLE users ADD x integer, ALTER x SET NOT NULL":           "1 not_null",
		"ALTER TABLE users ADD x integer DEFAULT 0, ALTER x SET NOT NULL": "",
		"ALTER TABLE stars ALTER star_date SET NOT NULL":                  "1 validate, 1 not_null",
		"ALTER TABLE stars ADD CONSTRAINT n CHECK (star_date IS NOT NULL) NOT VALID, VALIDATE CONSTRAINT n, ALTER star_date SET NOT NULL": "1 not_null",
		"CREATE TABLE a (b integer NOT NULL); ALTER TABLE a ADD c integer NOT NULL":                                                       "",

		// drop
		"DROP TABLE stars":                                              "1 drop",
		"DROP TABLE IF EXISTS stars":                                    "1 drop",
		`DROP TABLE public."Samples"`:                                   "1 drop",
		"DROP TABLE Stars, users":                                       "1 drop, 1 drop",
		"DROP TABLE of_nobody":                                          "",
		"DROP TABLE pg_temp.stars":                                      "",
		"ALTER TABLE users DROP namespace":                              "1 drop",
		"ALTER TABLE users ADD x integer, DROP x":                       "",
		"TRUNCATE stars":                                                "1 drop",
		"DELETE FROM stars":                                             "1 drop",
		"DELETE FROM stars USING users":                                 "1 drop",
		"DELETE FROM stars WHERE true":                                  "1 drop",
		"DELETE FROM stars WHERE id = 1":                                "1 drop",
		"WITH gone AS (DELETE FROM stars RETURNING *) SELECT FROM gone": "1 drop",
		"WITH gone AS (DELETE FROM stars RETURNING *) INSERT INTO archived_stars SELECT * FROM gone":                            "",
		"CREATE TABLE archived_stars AS SELECT * FROM stars; DROP TABLE stars":                                                  "",
		"CREATE TABLE archived_stars AS TABLE stars; TRUNCATE stars":                                                            "",
		"CREATE TABLE archived_stars AS SELECT * FROM users RIGHT JOIN (SELECT * FROM stars) AS s USING (id); DROP TABLE stars": "",
		"CREATE TABLE archived_stars AS SELECT 1 UNION SELECT * FROM stars; DROP TABLE stars":                                   "",
		"INSERT INTO archived_stars SELECT * FROM stars; DELETE FROM stars":                                                     "",
		"ALTER TABLE stars RENAME TO archived_stars; CREATE TABLE stars (a int); DROP TABLE stars":                              "",
		"CREATE TABLE archived_stars AS TABLE stars WITH NO DATA; DROP TABLE stars":                                             "1 drop",
		"CREATE TABLE IF NOT EXISTS archived_stars AS TABLE stars; DROP TABLE stars":                                            "1 drop",
		"CREATE TEMP TABLE archived_stars AS TABLE stars; DROP TABLE stars":                                                     "1 drop",
		"CREATE TABLE archived_stars AS SELECT FROM users WHERE EXISTS (SELECT FROM stars); DROP TABLE stars":                   "1 drop",
		"CREATE TABLE kept_stars AS TABLE stars; DROP TABLE stars":                                                              "1 drop",
		"DROP TABLE stars;\nCREATE TABLE archived_stars AS TABLE stars":                                                         "1 drop",
		"CREATE TABLE archived_stars AS TABLE stars;\nDROP TABLE stars, archived_stars":                                         "2 drop",
		"CREATE TABLE archived_a AS SELECT id, p.pep_schema FROM projects AS p; ALTER TABLE projects DROP pep_schema":           "",
		"CREATE TABLE archived_a AS SELECT p.* FROM projects AS p; ALTER TABLE projects DROP pep_schema":                        "",
		"CREATE TABLE archived_a AS SELECT id FROM projects WHERE pep_schema <> ''; ALTER TABLE projects DROP pep_schema":       "1 drop",
		"ALTER TABLE pg_temp.stars RENAME TO archived_stars; DROP TABLE stars":                                                  "1 drop",
		"DROP SCHEMA other":             "1 drop",
		"DROP OWNED BY CURRENT_USER":    "1 drop",
		"DROP TYPE updatetypes":         "",
		"DROP TYPE updatetypes CASCADE": "1 drop",
		"DROP FUNCTION f CASCADE":       "1 drop",
		"DROP INDEX i":                  "",
		"CREATE TABLE archived_stars AS TABLE stars; DROP TABLE stars CASCADE":                                              "1 drop",
		"CREATE TABLE archived_stars AS TABLE stars; TRUNCATE stars CASCADE":                                                "1 drop",
		"ALTER TABLE users DROP CONSTRAINT users_namespace_key CASCADE":                                                     "1 drop",
		"CREATE TABLE a (b integer); TRUNCATE a CASCADE; DELETE FROM a; ALTER TABLE a DROP b CASCADE; DROP TABLE a CASCADE": "",

		"INSERT INTO others SELECT * FROM stars; DROP TABLE stars": "1 drop",

		"INSERT INTO stars SELECT * FROM archived_a; DROP TABLE archived_a":                                                 "",
		"CREATE TABLE archived_a AS TABLE stars; INSERT INTO others SELECT * FROM archived_a; DROP TABLE stars, archived_a": "1 drop",
		"ALTER TABLE stars RENAME TO archived_a; INSERT INTO others SELECT * FROM archived_a; DROP TABLE archived_a":        "1 drop",

		// rows of a WHERE
		"DELETE FROM samples WHERE id > 0; DELETE FROM users USING samples WHERE users.id = samples.id":                                                                      "1 drop, 1 drop",
		"CREATE TABLE archived_a AS SELECT * FROM stars WHERE id = 1; DELETE FROM stars WHERE id = 1":                                                                        "",
		"CREATE TABLE archived_a AS SELECT id FROM projects WHERE id = 1; DELETE FROM projects WHERE id = 1":                                                                 "1 drop",
		"WITH gone AS (DELETE FROM stars WHERE id = 1 RETURNING *) INSERT INTO archived_stars SELECT * FROM gone":                                                            "",
		"CREATE TABLE archived_a AS TABLE stars; DELETE FROM archived_a WHERE id = 1":                                                                                        "1 drop",
		"CREATE TABLE a (b integer); DELETE FROM a WHERE b = 1; MERGE INTO a USING users ON b = id WHEN MATCHED THEN DELETE":                                                 "",
		"MERGE INTO samples AS s USING users AS u ON u.id = s.id WHEN MATCHED THEN DELETE":                                                                                   "1 drop",
		"CREATE TABLE archived_a AS TABLE samples; MERGE INTO samples AS s USING users AS u ON u.id = s.id WHEN MATCHED THEN DELETE":                                         "",
		"MERGE INTO samples AS s USING users AS u ON u.id = s.id WHEN MATCHED THEN UPDATE SET guid = NULL":                                                                   "1 drop",
		"MERGE INTO samples AS s USING users AS u ON u.id = s.id WHEN MATCHED THEN UPDATE SET guid = u.namespace WHEN NOT MATCHED THEN INSERT (id) VALUES (1)":               "",
		"UPDATE samples SET guid = NULL WHERE id > 0":                                                                                                                        "1 drop",
		"UPDATE samples SET guid = NULL::varchar, tags = DEFAULT, id = 1 WHERE id > 0":                                                                                       "1 drop, 1 drop",
		"UPDATE samples SET (id, guid) = (1, NULL) WHERE id > 0":                                                                                                             "1 drop",
		"UPDATE samples SET (id, guid) = (SELECT 1, NULL) WHERE id > 0":                                                                                                      "",
		"INSERT INTO samples (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET guid = NULL":                                                                                     "1 drop",
		"INSERT INTO samples (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET guid = excluded.guid":                                                                            "",
		"CREATE TABLE archived_a AS SELECT id, guid FROM samples WHERE id > 0; UPDATE samples SET guid = NULL WHERE id > 0":                                                  "",
		"ALTER TABLE samples ADD x integer; UPDATE samples SET x = NULL WHERE id > 0":                                                                                        "",
		"UPDATE stars SET star_date = NULL; ALTER TABLE stars ADD CONSTRAINT n CHECK (star_date IS NOT NULL) NOT VALID, VALIDATE CONSTRAINT n, ALTER star_date SET NOT NULL": "1 drop, 1 not_null",
		// a way up that refuses
		asked + "DELETE FROM stars WHERE id = 1; UPDATE samples SET guid = NULL WHERE id > 0": "",
		asked + "DELETE FROM stars":               "1 drop",
		"DELETE FROM stars WHERE id = 1;" + asked: "1 drop",

		// the whole of a table is in an archive, or each of its columns
		"CREATE TABLE archived_a AS SELECT id, name FROM projects; DROP TABLE projects":                                                           "1 drop",
		"CREATE TABLE archived_a AS SELECT * FROM projects WHERE id > 0; TRUNCATE projects":                                                       "1 drop",
		"CREATE TABLE archived_a AS SELECT * FROM projects WHERE id > 0; DELETE FROM projects":                                                    "1 drop",
		"CREATE TABLE archived_a AS SELECT id, name, p.pep_schema::text AS schema FROM projects AS p; DROP TABLE projects":                        "",
		"CREATE TABLE archived_a AS SELECT id, name FROM projects; INSERT INTO archived_b SELECT id, pep_schema FROM projects; TRUNCATE projects": "",
		"ALTER TABLE projects ADD x integer; CREATE TABLE archived_a AS SELECT id, name, pep_schema FROM projects; DROP TABLE projects":           "",
		"-- allow drop: a\nALTER TABLE projects DROP pep_schema;\nCREATE TABLE archived_a AS SELECT id, name FROM projects; DROP TABLE projects":  "",
		"CREATE TABLE archived_a AS SELECT id, name, pep_schema FROM projects WHERE id > 0; DROP TABLE projects":                                  "1 drop",
		"CREATE TABLE archived_a AS SELECT DISTINCT id, name, pep_schema FROM projects; DROP TABLE projects":                                      "1 drop",
		"CREATE TABLE archived_a AS SELECT * FROM projects EXCEPT SELECT * FROM projects; DROP TABLE projects":                                    "1 drop",
		"CREATE TABLE archived_a AS SELECT * FROM projects LIMIT 1; DROP TABLE projects":                                                          "1 drop",
		"CREATE TABLE archived_a AS SELECT * FROM projects WHERE true; DROP TABLE projects":                                                       "",
		"CREATE TABLE archived_a AS SELECT count(*) FROM projects; DROP TABLE projects":                                                           "1 drop",
		"CREATE TABLE archived_users AS SELECT 1 FROM users WHERE false; DROP TABLE users":                                                        "1 drop",
		`CREATE TABLE archived_a AS SELECT * FROM "Samples"; DROP TABLE "Samples"`:                                                                "",
		`CREATE TABLE archived_a AS SELECT 1 FROM "Samples"; DROP TABLE "Samples"`:                                                                "1 drop",
		// the table itself, not one that is read beside it
		"CREATE TABLE archived_a AS SELECT s.id FROM samples AS s JOIN users AS u ON u.id = s.id; DROP TABLE users":                       "1 drop",
		"CREATE TABLE archived_a AS SELECT s.* FROM samples AS s, users AS u; DROP TABLE users":                                           "1 drop",
		"CREATE TABLE archived_a AS SELECT u.* FROM samples AS s, users AS u; DROP TABLE users":                                           "1 drop",
		"CREATE TABLE archived_a AS SELECT u.* FROM samples AS s JOIN users AS u USING (id); DROP TABLE users":                            "1 drop",
		"CREATE TABLE archived_a AS SELECT u.* FROM samples AS s LEFT JOIN users AS u USING (id); DROP TABLE users":                       "1 drop",
		"CREATE TABLE archived_a AS SELECT u.* FROM users AS u LEFT JOIN samples AS s USING (id); DROP TABLE users":                       "",
		"CREATE TABLE archived_a AS SELECT u.* FROM users AS u FULL JOIN samples AS s USING (id); DROP TABLE users":                       "",
		"CREATE TABLE archived_a AS SELECT s.* FROM users AS u LEFT JOIN samples AS s USING (id); DROP TABLE users":                       "1 drop",
		"CREATE TABLE archived_a AS SELECT samples.* FROM users AS samples; DROP TABLE users":                                             "",
		"CREATE TABLE archived_a AS SELECT j.namespace FROM (users RIGHT JOIN samples USING (id)) AS j; ALTER TABLE users DROP namespace": "",
		"CREATE TABLE archived_a AS SELECT id FROM (SELECT * FROM projects) AS p; DROP TABLE projects":                                    "1 drop",
		"CREATE TABLE archived_a AS SELECT p.title FROM (SELECT name AS title FROM projects) AS p; ALTER TABLE projects DROP name":        "",
		"CREATE TABLE archived_a AS SELECT p.name FROM (SELECT id AS name FROM projects) AS p; ALTER TABLE projects DROP name":            "1 drop",
		"CREATE TABLE archived_a AS SELECT p.name FROM projects AS p (pep_schema, name); ALTER TABLE projects DROP name":                  "1 drop",
		"CREATE TABLE archived_a AS WITH users AS (SELECT 1) SELECT * FROM users; DROP TABLE users":                                       "1 drop",
		"CREATE TABLE archived_a AS WITH u AS (SELECT * FROM users) SELECT 1; DROP TABLE users":                                           "1 drop",
		"CREATE TABLE archived_a AS WITH u AS (SELECT * FROM users), v AS (SELECT * FROM u) SELECT * FROM v; DROP TABLE users":            "",
		"CREATE TABLE archived_a AS WITH p (name) AS (SELECT id, name FROM projects) SELECT name FROM p; ALTER TABLE projects DROP name":  "1 drop",
		"WITH gone AS (DELETE FROM stars RETURNING *) INSERT INTO archived_stars SELECT 1 FROM gone":                                      "1 drop",
		"WITH gone AS (DELETE FROM stars AS s USING users RETURNING s.*) INSERT INTO archived_stars SELECT * FROM gone":                   "",
		// a column as it is, of the rows that its author takes
		"CREATE TABLE archived_a AS SELECT count(pep_schema) FROM projects; ALTER TABLE projects DROP pep_schema":                                                   "1 drop",
		"CREATE TABLE archived_a AS SELECT id, lower(pep_schema) AS pep_schema FROM projects; ALTER TABLE projects DROP pep_schema":                                 "1 drop",
		"CREATE TABLE archived_a AS SELECT id, (SELECT pep_schema FROM projects LIMIT 1) FROM projects; ALTER TABLE projects DROP pep_schema":                       "1 drop",
		"CREATE TABLE archived_a AS SELECT id, pep_schema FROM projects WHERE pep_schema IS NOT NULL; ALTER TABLE projects DROP pep_schema":                         "",
		"CREATE TABLE archived_a AS SELECT id, pep_schema FROM projects WHERE 1 = 0; ALTER TABLE projects DROP pep_schema":                                          "1 drop",
		"CREATE TABLE archived_a AS SELECT id, pep_schema FROM projects LIMIT 0; ALTER TABLE projects DROP pep_schema":                                              "1 drop",
		"CREATE TABLE archived_a AS SELECT s.id, pep_schema FROM projects JOIN samples AS s USING (id); ALTER TABLE projects DROP pep_schema":                       "",
		"CREATE TABLE archived_stars AS TABLE stars; DROP TABLE stars; CREATE TABLE stars (a integer); ALTER TABLE stars ADD CHECK (a > 0), ADD b integer NOT NULL": "",

		// rename
		"ALTER TABLE stars RENAME TO likes":                                "1 rename",
		"ALTER TABLE stars RENAME star_date TO date":                       "1 rename",
		"ALTER TABLE stars SET SCHEMA other":                               "1 rename",
		"ALTER SCHEMA public RENAME TO other":                              "1 rename",
		"ALTER TYPE updatetypes RENAME TO changes":                         "1 rename",
		"ALTER TYPE updatetypes SET SCHEMA other":                          "1 rename",
		"ALTER TYPE updatetypes RENAME VALUE 'INSERT' TO 'insert'":         "1 rename",
		"ALTER TYPE updatetypes ADD VALUE 'MERGE'":                         "",
		"ALTER TYPE of_nobody RENAME TO other":                             "",
		"ALTER TABLE stars RENAME CONSTRAINT a TO b":                       "",
		"ALTER INDEX a RENAME TO b":                                        "",
		"ALTER TABLE stars RENAME TO archived_stars":                       "",
		"ALTER TABLE stars ADD a integer; ALTER TABLE stars RENAME a TO b": "",
		"CREATE TABLE a (b integer); ALTER TABLE a RENAME b TO c; ALTER TABLE a RENAME TO d; ALTER TABLE d SET SCHEMA other": "",

		// an enum that is made anew
		"ALTER TYPE updatetypes RENAME TO old_updatetypes; CREATE TYPE updatetypes AS ENUM ('UPDATE'); ALTER TABLE users ALTER a TYPE updatetypes USING a::text::updatetypes; DROP TYPE old_updatetypes": "",
		"ALTER TABLE stars RENAME a TO b; ALTER TYPE updatetypes RENAME TO old_updatetypes; CREATE TYPE updatetypes AS ENUM ('UPDATE')":                                                                  "1 rename",
		"ALTER TYPE updatetypes RENAME TO old_updatetypes; CREATE TYPE public.updatetypes AS ENUM ('UPDATE');\nALTER TYPE updatetypes RENAME TO changes":                                                 "2 rename",
		"ALTER TYPE updatetypes RENAME TO changes; CREATE TYPE others AS ENUM ('UPDATE')":                                                                                                                "1 rename",
		"CREATE TYPE updatetypes AS ENUM ('UPDATE'); ALTER TYPE updatetypes RENAME TO changes":                                                                                                           "1 rename",

		"ALTER TYPE of_nobody RENAME VALUE 'a' TO 'b'": "",

		// several at once, and where they stand
		"ALTER TABLE samples\n\tALTER id TYPE bigint,\n\tDROP guid,\n\tADD UNIQUE (id);\n\n/* here;\n */ -- and\nDROP\nTABLE stars;": "1 rewrite, 1 drop, 1 index, 8 drop",
		"CREATE INDEX i ON samples (guid); LOCK TABLE samples; COMMENT ON TABLE samples IS 'DROP TABLE stars'":                       "",
	} {
		if got, findings := found(t, Up, sql); got != want {
			t.Errorf("%s\ngot  %s\nwant %s\n%v", sql, got, want, findings)
		}
	}
}

// asked is a look at whether data may be lost.
const asked = "DO $$BEGIN IF current_setting('pephub_migrate.allow_data_loss', true) IS DISTINCT FROM 'true' THEN RAISE 'no'; END IF; END$$;"

func TestDown(t *testing.T) {
	for _, loss := range []string{
		"DROP TABLE stars", "ALTER TABLE stars DROP star_date", "TRUNCATE stars", "DELETE FROM stars WHERE star_date IS NULL",
		"DROP SCHEMA other", "DROP TYPE updatetypes CASCADE", "UPDATE samples SET guid = NULL",
		"MERGE INTO samples AS s USING users AS u ON u.id = s.id WHEN MATCHED THEN DELETE",
	} {
		for sql, want := range map[string]string{
			loss:                 "1 guard",
			asked + "\n" + loss:  "",
			loss + ";\n" + asked: "1 guard",
			"-- current_setting('pephub_migrate.allow_data_loss')\n" + loss:                                 "2 guard",
			"SELECT current_setting('pephub_migrate.allow_data_loss', true);" + loss:                        "",
			"SELECT current_setting('pephub_migrate.attached', true);" + loss:                               "1 guard",
			"DO $$DECLARE a text := current_setting('pephub_migrate.allow_data_loss'); BEGIN END$$;" + loss: "",
		} {
			if got, findings := found(t, Down, sql); got != want {
				t.Errorf("%s\ngot  %s\nwant %s\n%v", sql, got, want, findings)
			}
		}
	}
	for sql, want := range map[string]string{
		"DO $$BEGIN IF 1 > 0 THEN NULL; END IF; END$$; DROP TABLE stars": "1 guard",
		"DROP TABLE archived_stars":                                      "1 guard",
		asked + "DROP TABLE archived_stars":                              "",
		// an archive whose rows have come back
		"INSERT INTO stars SELECT * FROM archived_stars; DROP TABLE archived_stars":                                                                                              "",
		"CREATE TABLE IF NOT EXISTS archived_stars (a integer); INSERT INTO stars (a) OVERRIDING SYSTEM VALUE SELECT a FROM archived_stars; SELECT 1; DROP TABLE archived_stars": "",
		"UPDATE samples AS t SET guid = a.guid FROM archived_samples_guid AS a WHERE a.id = t.id; DROP TABLE archived_samples_guid":                                              "",
		"UPDATE samples AS t SET guid = a.guid FROM samples AS x LEFT JOIN (SELECT * FROM archived_a) AS a USING (id) WHERE x.id = t.id; DROP TABLE archived_a":                  "",
		"UPDATE samples SET guid = (SELECT a.guid FROM archived_a AS a WHERE a.id = samples.id) WHERE id > 0; DROP TABLE archived_a":                                             "",
		"MERGE INTO samples AS s USING archived_a AS a ON a.id = s.id WHEN MATCHED THEN UPDATE SET guid = a.guid; DROP TABLE archived_a":                                         "",
		"CREATE TABLE likes AS SELECT * FROM archived_likes; DROP TABLE archived_likes":                                                                                          "",
		"WITH gone AS (DELETE FROM archived_a RETURNING *) INSERT INTO stars SELECT * FROM gone; DROP TABLE archived_a":                                                          "",
		"DO $$\nBEGIN\n\tEXECUTE 'INSERT INTO stars SELECT * FROM archived_stars';\n\tDROP TABLE archived_stars;\nEND$$":                                                         "",
		"INSERT INTO stars SELECT * FROM archived_stars; DELETE FROM archived_stars WHERE id = 1; TRUNCATE archived_stars":                                                       "",
		"INSERT INTO stars SELECT * FROM archived_stars; DROP TABLE archived_stars, archived_users":                                                                              "1 guard",
		"DROP TABLE archived_stars;\nINSERT INTO stars SELECT * FROM archived_stars":                                                                                             "1 guard",
		"INSERT INTO stars SELECT * FROM archived_stars WHERE false; DROP TABLE archived_stars":                                                                                  "1 guard",
		"INSERT INTO stars SELECT * FROM archived_stars LIMIT 1; DROP TABLE archived_stars":                                                                                      "1 guard",
		"INSERT INTO stars SELECT * FROM users WHERE id IN (SELECT id FROM archived_stars); DROP TABLE archived_stars":                                                           "1 guard",
		"INSERT INTO stars SELECT * FROM users JOIN projects ON EXISTS (SELECT FROM archived_stars); DROP TABLE archived_stars":                                                  "1 guard",
		"INSERT INTO stars SELECT 1 FROM users GROUP BY id HAVING EXISTS (SELECT FROM archived_stars); DROP TABLE archived_stars":                                                "1 guard",
		"MERGE INTO samples AS s USING users AS u ON EXISTS (SELECT FROM archived_a) WHEN MATCHED AND EXISTS (SELECT FROM archived_a) THEN DO NOTHING; DROP TABLE archived_a":    "1 guard",
		"WITH gone AS (DELETE FROM archived_a) INSERT INTO stars SELECT 1; DROP TABLE archived_a":                                                                                "1 guard, 1 guard",
		"INSERT INTO archived_b SELECT * FROM archived_a; DROP TABLE archived_a":                                                                                                 "1 guard",
		"CREATE TEMP TABLE a AS SELECT * FROM archived_a; DROP TABLE archived_a":                                                                                                 "1 guard",
		"SELECT * FROM archived_a; DROP TABLE archived_a":                                                                                                                        "1 guard",
		"INSERT INTO archived_a TABLE stars; INSERT INTO users TABLE archived_a; DROP TABLE stars, archived_a":                                                                   "1 guard",

		"INSERT INTO archived_stars TABLE stars; DROP TABLE stars":                                                                "",
		"CREATE TABLE a (b integer); DELETE FROM a; DROP TABLE a":                                                                 "",
		"ALTER TABLE samples ALTER id TYPE bigint, ADD CHECK (id > 0), ADD UNIQUE (id), ADD x integer NOT NULL":                   "",
		"ALTER TYPE updatetypes RENAME TO old_updatetypes; CREATE TYPE updatetypes AS ENUM ('UPDATE'); DROP TYPE old_updatetypes": "",
		"DO $$BEGIN EXECUTE 'DROP TABLE ' || 'stars'; END$$":                                                                      "1 dynamic",
	} {
		if got, findings := found(t, Down, sql); got != want {
			t.Errorf("%s\ngot  %s\nwant %s\n%v", sql, got, want, findings)
		}
	}
}

func TestBodies(t *testing.T) {
	for sql, want := range map[string]string{
		"SELECT 1;\nDO $body$\nDECLARE\n\ta record;\nBEGIN\n\tDROP TABLE stars;\n\tIF true THEN\n\t\tALTER TABLE samples\n\t\tALTER id TYPE bigint;\n\tEND IF;\nEND\n$body$;\nTRUNCATE users": "6 drop, 8 rewrite, 13 drop",
		"DO LANGUAGE plpgsql '\nBEGIN\nEXECUTE ''DROP TABLE stars'';\nEND'":                                                                                          "3 drop",
		"DO $$\nBEGIN\n\tEXECUTE 'SELECT 1;\n\tDROP TABLE stars';\nEND$$":                                                                                            "3 drop",
		"DO $$\nBEGIN\n\tEXECUTE 'DROP TABLE stars' USING 1;\nEND$$":                                                                                                 "3 drop",
		"DO $$\nBEGIN\n\tEXECUTE format('DROP TABLE %I', 'stars');\nEND$$":                                                                                           "3 dynamic",
		"DO $$\nDECLARE a record;\nBEGIN\n\tFOR a IN EXECUTE 'SELECT ' || 1 LOOP\n\t\tDELETE FROM stars;\n\tEND LOOP;\nEND$$":                                        "4 dynamic, 5 drop",
		"DO $$\nDECLARE a refcursor;\nBEGIN\n\tOPEN a FOR EXECUTE 'SELECT ' || 1;\nEND$$":                                                                            "4 dynamic",
		"DO $$\nDECLARE a record;\nBEGIN\n\tFOR a IN DELETE FROM stars RETURNING * LOOP\n\t\tINSERT INTO archived_stars TABLE stars;\n\tEND LOOP;\nEND$$":            "4 drop",
		"DO $$\nDECLARE a CURSOR FOR SELECT 1;\nBEGIN\n\tBEGIN\n\t\tNULL;\n\tEXCEPTION WHEN OTHERS THEN\n\t\tDELETE FROM stars;\n\tEND;\nEND$$":                      "7 drop",
		"DO $$\nDECLARE a integer;\nBEGIN\n\tCASE a WHEN 1 THEN NULL;\n\tELSE TRUNCATE stars; END CASE;\n\tWHILE true LOOP\n\t\tTRUNCATE users;\n\tEND LOOP;\nEND$$": "5 drop, 7 drop",
		"DO $$\nBEGIN\n\tIF EXISTS (SELECT FROM stars) THEN\n\t\tCREATE TABLE archived_stars AS TABLE stars;\n\tEND IF;\nEND$$; DROP TABLE stars":                    "",
		"DO LANGUAGE plperl 'unlink'": "1 dynamic",
		"CREATE FUNCTION f() RETURNS void\nLANGUAGE plpgsql AS $$\nBEGIN\n\tDELETE FROM stars;\nEND$$": "4 drop",
		"CREATE FUNCTION f() RETURNS void\nLANGUAGE sql AS $$\n\tDELETE FROM stars;\n$$":               "3 drop",
		"CREATE FUNCTION f() RETURNS void\nLANGUAGE sql BEGIN ATOMIC\n\tDELETE FROM stars;\nEND":       "1 drop",
		"CREATE FUNCTION f() RETURNS void\nLANGUAGE c AS 'f.so'":                                       "1 dynamic",
	} {
		if got, findings := found(t, Up, sql); got != want {
			t.Errorf("%s\ngot  %s\nwant %s\n%v", sql, got, want, findings)
		}
	}
}

func TestExceptions(t *testing.T) {
	for sql, want := range map[string]string{
		"-- allow drop: nobody has a row there\nDROP TABLE stars":                          "",
		"  -- allow drop: nobody has a row there\n  DROP TABLE stars;":                     "",
		"-- allow drop: nobody has a row there,\n-- and nobody ever had\nDROP TABLE stars": "",
		"-- allow drop: a\n-- allow rewrite: b\nALTER TABLE samples DROP guid, SET LOGGED": "",
		"-- allow rewrite: b\nALTER TABLE samples DROP guid, SET LOGGED":                   "2 drop",
		"DO $$\nBEGIN\n\t-- allow drop: a\n\tDROP TABLE stars;\nEND\n$$":                   "",
		"DO $$\nBEGIN\n\t-- allow dynamic: a\n\tEXECUTE format('SELECT 1');\nEND\n$$":      "",
		"-- allow drop: a\nDO $$\nBEGIN\n\tDROP TABLE stars;\nEND\n$$":                     "1 exception, 4 drop",
		"-- allow drop: a\n\nDROP TABLE stars":                                             "1 exception, 3 drop",
		"DROP TABLE stars\n-- allow drop: a":                                               "1 drop, 2 exception",
		"DROP TABLE stars; -- allow drop: a":                                               "1 drop",
		"-- allow drop: a\nDROP TABLE stars;\nDROP TABLE users":                            "3 drop",
		"-- allow drop: a\nSELECT 1":                                                       "1 exception",
		"-- allow drop: a\n-- allow drop: b\nDROP TABLE stars":                             "2 exception",
		"-- allow drop:\nDROP TABLE stars":                                                 "1 exception, 2 drop",
		"-- allow drop: \nDROP TABLE stars":                                                "1 exception, 2 drop",
		"-- allow drop because\nDROP TABLE stars":                                          "1 exception, 2 drop",
		"-- allow\nDROP TABLE stars":                                                       "1 exception, 2 drop",
		"-- allow drops: a\nDROP TABLE stars":                                              "1 exception, 2 drop",
		"-- allow exception: a\n-- allow rewrite: a\nSELECT 1":                             "1 exception, 2 exception",
		"-- allowed is what follows\nSELECT 1":                                             "",
	} {
		if got, findings := found(t, Up, sql); got != want {
			t.Errorf("%s\ngot  %s\nwant %s\n%v", sql, got, want, findings)
		}
	}
}

func TestExceptionsThatAreNone(t *testing.T) {
	for sql, want := range map[string]string{
		"-- allow drop\nSELECT 1":     "line 1: exception: it has no rule or no reason; safer: -- allow RULE: reason",
		"-- allow drops: a\nSELECT 1": `line 1: exception: there is no rule "drops"; safer: -- allow RULE: reason`,
		"-- allow drop: a\nSELECT 1":  "line 1: exception: nothing on line 2 needs it; safer: take it out",
	} {
		if _, findings := found(t, Up, sql); len(findings) != 1 || findings[0].String() != want {
			t.Errorf("%s: %v", sql, findings)
		}
	}
}

// What a finding of drop says is to be done can be done as it stands.
func TestSaferDropIsSafer(t *testing.T) {
	for sql, want := range map[string]string{
		"DROP TABLE stars":                     "CREATE TABLE archived_stars AS SELECT * FROM stars",
		`DELETE FROM "Samples"`:                `CREATE TABLE "archived_Samples" AS SELECT * FROM "Samples"`,
		"ALTER TABLE projects DROP pep_schema": "CREATE TABLE archived_projects_pep_schema AS SELECT id, pep_schema FROM projects",
		`ALTER TABLE stars DROP "user"`:        `CREATE TABLE archived_stars_user AS SELECT "user" FROM stars`,
	} {
		_, findings := found(t, Up, sql)
		archive, ok := strings.CutPrefix(findings[0].Safer, "before it, ")
		if !ok || archive != want {
			t.Errorf("%s: %s", sql, findings[0])
		}
		if got, _ := found(t, Up, archive+";\n"+sql); got != "" {
			t.Errorf("%s: still %s", archive, got)
		}
	}
}

func TestString(t *testing.T) {
	_, findings := found(t, Up, "\nTRUNCATE stars")
	if got := findings[0].String(); got != "line 2: drop: TRUNCATE of stars, and no table archived_... holds what goes; "+
		"safer: before it, CREATE TABLE archived_stars AS SELECT * FROM stars" {
		t.Error(got)
	}
}

func TestFaultyText(t *testing.T) {
	for sql, want := range map[string]string{
		"SELECT 1;\n\nSELECT 2,\n\tFORM;;\nSELCT 3":                                       `line 5: syntax error at or near "SELCT"`,
		"SELECT 1;\nDO $$\nBEGIN\n\tNULL;\n\tDROP TABL stars;\nEND\n$$":                   `line 5: syntax error at or near "TABL"`,
		"DO $$\nBEGIN\n\tRAISE NOTICE 'TABL';\n\tPERFORM 1;\n\tDROP TABL stars;\nEND\n$$": `line 5: syntax error at or near "TABL"`,
		"DO $$\nBEGIN\n\tIF true THN\n\tEND IF;\nEND\n$$":                                 `at or after line 1: missing "THEN"`,
		"DO $$\nBEGIN\n\tEXECUTE 'DROP TABL stars';\nEND\n$$":                             `line 3: syntax error at or near "TABL"`,
		"\nCREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$\n\tSELECT 1;\n\tSELCT 2$$": `line 4: syntax error at or near "SELCT"`,
	} {
		if findings, err := Up(sql, nil); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s\ngot  %v, %v\nwant %s", sql, findings, err, want)
		}
	}
}

// Whatever the steps before were written in is read, too: the language in which the next
// one will be written.
func TestReadsEveryStep(t *testing.T) {
	files, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if _, err := Up(text(t, file), nil); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// The parser is a megabyte of WebAssembly and a compiler for it.
func TestTheBinaryHasNoParser(t *testing.T) {
	packages, err := exec.Command("go", "list", "-deps", "pephub-migrate").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, packages)
	}
	list := strings.Fields(string(packages))
	if !slices.Contains(list, "pephub-migrate/internal/migrator") {
		t.Errorf("these are not its packages: %s", packages)
	}
	for _, name := range list {
		if strings.Contains(name, "pgquery") || strings.Contains(name, "wazero") || strings.HasPrefix(name, "pephub-migrate/migrations/") {
			t.Errorf("the binary has %s in it", name)
		}
	}
}
