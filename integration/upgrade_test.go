package integration

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"pephub-migrate/internal/migrator"
	"pephub-migrate/internal/schema"
	"pephub-migrate/migrations"
)

// newest is the number of the last step, as a database records it. It is taken from a
// file's name, since a step that is being written has no snapshot yet, and without that
// the steps do not load.
var newest = func() string {
	files, err := fs.Glob(migrations.FS, "*.up.sql")
	if err != nil {
		panic(err)
	}
	number, _, _ := strings.Cut(files[len(files)-1], "_")
	return strings.TrimLeft(number, "0")
}()

func TestEmptyDatabase(t *testing.T) {
	db := newDatabase(t)
	migrate(t, environment(db)).want(t, 0, "recognised an empty database", "the empty database is now at step "+newest)
	wantNewest(t, db)
}

// v0111 is a database of pepdbagent 0.11.1.
var v0111 = []string{"pepdbagent-0.11.1.sql", "rows-common.sql", "rows-history.sql", "rows-archives.sql", "rows-schemas-0.11.sql"}

func TestUpgradeFrom0111(t *testing.T) {
	db := newDatabase(t, v0111...)
	conn := connect(t, db)
	before := readContent(t, conn)

	migrate(t, environment(db)).want(t, 0,
		"adopted", `step=13 release="pepdbagent 0.11.1"`,
		"migrated", "step=14 name=version_schemas", "step=15 name=index_foreign_keys",
		"verified", "from step 13 (pepdbagent 0.11.1) to step "+newest)

	wantNewest(t, db)
	sameContent(t, before, readContent(t, conn))
	backToDescribed(t, conn)
	wantRows(t, db, "SELECT namespace || ' ' || number_of_schemas FROM users ORDER BY id",
		"ada 2", "émile 1", "geo 0", "only-stars 0", "only-schemas 1", "CamelCase 0")
	wantRows(t, db, `SELECT (schema_version_id, tag_name, tag_value)::text FROM schema_tags ORDER BY 1`,
		`(1,"group:ada/group one","the ü group")`,
		`(8,"group:ada/group one","the ü group")`,
		`(8,"group:only-schemas/group one",)`)
	wantRows(t, db, `SELECT DISTINCT (version, contributors, release_notes, last_update_date IS NULL)::text FROM schema_versions`,
		`(1.0.0,"","",f)`)
	// pepdbagent's next schema must not meet an id that is or was taken.
	wantRows(t, db, "SELECT nextval('schema_records_id_seq') || ' ' || nextval('schema_versions_id_seq')", "12 12")
}

func TestUpgradeFrom0110(t *testing.T) {
	db := newDatabase(t, "pepdbagent-0.11.0.sql", "rows-common.sql", "rows-history.sql", "rows-schemas-0.11.sql")
	conn := connect(t, db)
	before := readContent(t, conn)
	migrate(t, environment(db)).want(t, 0, "from step 12 (pepdbagent 0.11.0) to step "+newest)
	wantNewest(t, db)
	sameContent(t, before, readContent(t, conn))
}

// An upgrade that has nothing to archive makes no archive.
func TestUpgradeWithoutSchemas(t *testing.T) {
	db := newDatabase(t, "pepdbagent-0.11.1.sql", "rows-common.sql", "rows-history.sql")
	migrate(t, environment(db)).want(t, 0)
	wantNewest(t, db)
	backToDescribed(t, connect(t, db))
	wantRows(t, db, "SELECT relname FROM pg_class WHERE relname LIKE 'archived%'")
}

func TestUpgradeFrom012(t *testing.T) {
	for _, test := range []struct {
		name, prepare string
	}{
		{"create_all", ""},
		// What Alembic's revision makes of the users who are there, and how it stamps the
		// database.
		{"alembic", `
			ALTER TABLE users ALTER COLUMN number_of_schemas DROP NOT NULL;
			UPDATE users SET number_of_schemas = NULL;
			CREATE TABLE alembic_version (version_num varchar(32) CONSTRAINT alembic_version_pkc PRIMARY KEY);
			INSERT INTO alembic_version VALUES ('8a037f13b4e5')`},
		{"alembic from 0.11.0", `
			ALTER TABLE users ALTER COLUMN number_of_schemas DROP NOT NULL;
			DROP TABLE namespace_archives, bedbase_stats`},
		{"development version", "ALTER TABLE users DROP COLUMN number_of_schemas"},
		{"indexed by hand", `
			CREATE INDEX samples_project_id_idx ON samples (project_id);
			CREATE INDEX mine ON samples (sample_name)`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t, "pepdbagent-0.12.3.sql")
			conn := connect(t, db)
			// 0.12 counts the schemas itself; the rows that all releases share know
			// nothing of it.
			execute(t, conn, "ALTER TABLE users ALTER COLUMN number_of_schemas SET DEFAULT 0")
			for _, file := range []string{"rows-common.sql", "rows-history.sql", "rows-archives.sql", "rows-schemas-0.12.sql"} {
				execute(t, conn, readFile(t, "testdata/"+file))
			}
			execute(t, conn, `
				ALTER TABLE users ALTER COLUMN number_of_schemas DROP DEFAULT;
				UPDATE users SET number_of_schemas = (
					SELECT count(*) FROM schema_records AS r WHERE r.namespace = users.namespace
				);`+test.prepare)
			before := readContent(t, conn)

			migrate(t, environment(db)).want(t, 0, "from step 14 (pepdbagent 0.12.0 - 0.12.3) to step "+newest)

			wantNewest(t, db)
			sameContent(t, before, readContent(t, conn))
			backToDescribed(t, conn)
			wantRows(t, db, "SELECT namespace || ' ' || number_of_schemas FROM users WHERE number_of_schemas > 0 ORDER BY id",
				"ada 1", "only-schemas 1")
		})
	}
}

func TestTwiceInARow(t *testing.T) {
	db := newDatabase(t, v0111...)
	migrate(t, environment(db)).want(t, 0)
	before := dump(t, db)
	// Nobody who wants the lock gets any further: the second run must not want it.
	execute(t, connect(t, db), "SELECT pg_advisory_lock(x'7065706875622d6d'::bigint)")

	migrate(t, environment(db)).want(t, 0, "the database is at step "+newest+", nothing to do")

	wantUnchanged(t, db, before)
}

func TestFiveAtOnce(t *testing.T) {
	for name, files := range map[string][]string{"empty": nil, "0.11.1": v0111} {
		t.Run(name, func(t *testing.T) {
			db := newDatabase(t, files...)
			results := make([]result, 5)
			errs := make([]error, len(results))
			var runs sync.WaitGroup
			for i := range results {
				runs.Go(func() { results[i], errs[i] = runImage(context.Background(), environment(db)) })
			}
			runs.Wait()
			upgraded := 0
			for i, run := range results {
				if errs[i] != nil {
					t.Fatal(errs[i])
				}
				run.want(t, 0)
				if strings.Contains(run.log, "step=15 name=index_foreign_keys") {
					upgraded++
				}
			}
			if upgraded != 1 {
				t.Errorf("%d instances upgraded the database, want 1", upgraded)
			}
			wantNewest(t, db)
			wantRows(t, db, "SELECT pid::text FROM pg_locks WHERE locktype = 'advisory'")
		})
	}
}

// The whole schema may be elsewhere: unqualified names lead to it, for this program as
// for pepdbagent.
func TestOtherSchema(t *testing.T) {
	db := newDatabase(t)
	execute(t, connect(t, "postgres"), `ALTER DATABASE `+db+` SET search_path = "Pep Hub", public`)
	conn := connect(t, db)
	execute(t, conn, `CREATE SCHEMA "Pep Hub"; CREATE TABLE public.others (id int)`)
	for _, file := range v0111 {
		execute(t, conn, readFile(t, "testdata/"+file))
	}
	before := readContent(t, conn)
	migrate(t, environment(db)).want(t, 0, `schema="\"Pep Hub\""`)
	sameContent(t, before, readContent(t, conn))
	wantRows(t, db, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace", "others")
}

// A superuser may run the upgrade; the tables remain the application's.
func TestOwnerKeepsTheTables(t *testing.T) {
	db := newDatabase(t, v0111...)
	conn := connect(t, db)
	execute(t, conn, `CREATE ROLE "The App"; GRANT ALL ON SCHEMA public TO "The App"`)
	t.Cleanup(func() { execute(t, conn, `DROP OWNED BY "The App"; DROP ROLE "The App"`) })
	for _, table := range query(t, conn, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'") {
		execute(t, conn, "ALTER TABLE "+table+` OWNER TO "The App"`)
	}
	migrate(t, environment(db)).want(t, 0)
	wantRows(t, db, `
		SELECT DISTINCT relowner::regrole::text FROM pg_class
		WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S')`, `"The App"`)
}

// So does everybody else who may use them; and the new tables, which have an owner only,
// are theirs too.
func TestGrantsExtendToNewTables(t *testing.T) {
	db := newDatabase(t, "pepdbagent-0.6.0.sql", "rows-0.6.sql")
	conn := connect(t, db)
	execute(t, conn, `CREATE ROLE "An App" LOGIN PASSWORD '`+otherPassword+`'; CREATE ROLE onlooker`)
	t.Cleanup(func() { execute(t, conn, `DROP OWNED BY "An App", onlooker; DROP ROLE "An App", onlooker`) })
	execute(t, conn, `
		GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "An App";
		GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO "An App";
		GRANT SELECT ON projects TO onlooker WITH GRANT OPTION; GRANT SELECT ON projects TO PUBLIC`)
	migrate(t, environment(db)).want(t, 0)
	wantRows(t, db, `
		SELECT relname || ' ' || regexp_replace(ARRAY(SELECT i FROM unnest(relacl) AS i ORDER BY i::text COLLATE "C")::text, 'postgres=[a-zA-Z]{7,}', 'postgres=ALL')
		FROM pg_class
		WHERE relname IN ('users', 'stars', 'schema_versions', 'users_id_seq', 'schema_versions_id_seq')
		ORDER BY relname`,
		`schema_versions {"\"An App\"=arwd/postgres",=r/postgres,onlooker=r*/postgres,postgres=ALL/postgres}`,
		`schema_versions_id_seq {"\"An App\"=U/postgres",postgres=rwU/postgres}`,
		`stars {"\"An App\"=arwd/postgres",=r/postgres,onlooker=r*/postgres,postgres=ALL/postgres}`,
		`users {"\"An App\"=arwd/postgres",=r/postgres,onlooker=r*/postgres,postgres=ALL/postgres}`,
		`users_id_seq {"\"An App\"=U/postgres",postgres=rwU/postgres}`)
	migrate(t, environment(db, "POSTGRES_USER", "An App", "POSTGRES_PASSWORD", otherPassword)).want(t, 0, "nothing to do")
}

// An operator's triggers and rules neither change what is carried over nor get lost.
func TestOwnTriggersStandStill(t *testing.T) {
	db := newDatabase(t, v0111...)
	conn := connect(t, db)
	execute(t, conn, `
		CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			NEW.last_update_date := now();
			RETURN NEW;
		END $$;
		CREATE TRIGGER "Touch it" BEFORE UPDATE ON projects FOR EACH ROW EXECUTE FUNCTION touch();
		CREATE TRIGGER always BEFORE UPDATE ON projects FOR EACH ROW EXECUTE FUNCTION touch();
		CREATE TRIGGER off BEFORE UPDATE ON projects FOR EACH ROW EXECUTE FUNCTION touch();
		CREATE RULE frozen AS ON UPDATE TO users DO INSTEAD NOTHING;
		ALTER TABLE projects ENABLE ALWAYS TRIGGER always, DISABLE TRIGGER off`)
	before := readContent(t, conn)
	migrate(t, environment(db)).want(t, 0, "is disabled during the migration")
	wantNewest(t, db)
	sameContent(t, before, readContent(t, conn))
	wantRows(t, db, "SELECT tgname || ' ' || tgenabled::text FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1",
		"Touch it O", "always A", "off D")
	wantRows(t, db, "SELECT rulename || ' ' || ev_enabled::text FROM pg_rewrite WHERE rulename = 'frozen'", "frozen O")
}

// PostgreSQL drops some things along with a column or a table without a word. The upgrade
// does not.
func TestNothingOfTheOperatorsGoesUnasked(t *testing.T) {
	for name, test := range map[string]struct{ release, prepare, says string }{
		"trigger": {
			"0.11.1", `CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
				CREATE TRIGGER mine BEFORE UPDATE ON schemas FOR EACH ROW EXECUTE FUNCTION f()`, "trigger mine on table schemas",
		},
		"rule":       {"0.11.1", "CREATE RULE mine AS ON UPDATE TO schemas DO INSTEAD NOTHING", "rule mine on table schemas"},
		"policy":     {"0.11.1", "CREATE POLICY mine ON schemas USING (NOT private)", "policy mine on table schemas"},
		"index":      {"0.8.0", "CREATE INDEX mine ON samples (project_id, row_number)", "index mine on table samples"},
		"statistics": {"0.8.0", "CREATE STATISTICS mine (dependencies) ON project_id, row_number FROM samples", "statistics public.mine on table samples"},
		"users of mine": {
			"0.8.0", `INSERT INTO users (namespace) VALUES ('twice'), ('twice');
				CREATE TABLE mine (user_id integer REFERENCES users (id) ON DELETE CASCADE)`, "foreign key mine_user_id_fkey of table public.mine, which refers to table users",
		},
		"stars of mine": {
			"0.8.0", `INSERT INTO users (namespace) VALUES ('twice'), ('twice');
				CREATE TABLE mine (u integer, p integer, FOREIGN KEY (u, p) REFERENCES stars ON DELETE CASCADE)`, "foreign key mine_u_p_fkey of table public.mine, which refers to table stars",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t, "pepdbagent-"+test.release+".sql")
			execute(t, connect(t, db), test.prepare)
			before := dump(t, db)
			migrate(t, environment(db)).want(t, 7, test.says)
			wantUnchanged(t, db, before)
		})
	}
	// What no step takes with it stays.
	db := newDatabase(t, "pepdbagent-0.8.0.sql")
	conn := connect(t, db)
	execute(t, conn, generate(9, 11, 9)+`
		CREATE INDEX mine ON samples (sample_name) WHERE project_id > 1;
		CREATE TABLE notes (sample_id integer REFERENCES samples ON DELETE CASCADE, project_id integer REFERENCES projects, note text);
		INSERT INTO notes SELECT id, project_id, 'x' FROM samples;
		CREATE VIEW pairs AS SELECT id, sample FROM samples;
		CREATE MATERIALIZED VIEW counted AS SELECT project_id, count(*) FROM samples GROUP BY 1;
		ALTER TABLE samples SET (fillfactor = 80); COMMENT ON TABLE samples IS 'mine';
		COMMENT ON CONSTRAINT samples_pkey ON samples IS 'key'; COMMENT ON CONSTRAINT samples_project_id_fkey ON samples IS 'link'`)
	before := readContent(t, conn)
	migrate(t, environment(db)).want(t, 0)
	sameContent(t, before, readContent(t, conn))
	wantRows(t, db, `
		SELECT (SELECT count(*) FROM notes) = (SELECT count(*) FROM samples) AND (SELECT count(*) FROM pairs) > 0
			AND 'mine'::regclass IS NOT NULL AND obj_description('samples'::regclass) = 'mine'
			AND 'fillfactor=80' = ANY (reloptions)
			AND (SELECT string_agg(obj_description(oid, 'pg_constraint'), ' ' ORDER BY conname) FROM pg_constraint WHERE conrelid = 'samples'::regclass)
				= 'key link'
		FROM pg_class WHERE oid = 'samples'::regclass`, "t")
}

// Step 10 takes the primary key of samples away for a while, unless an operator has made
// something of its index.
func TestIndexOfThePrimaryKeyStays(t *testing.T) {
	for name, alteration := range map[string]string{
		"clustered":        "ALTER TABLE samples CLUSTER ON samples_pkey",
		"replica identity": "ALTER TABLE samples REPLICA IDENTITY USING INDEX samples_pkey",
		"comment":          "COMMENT ON INDEX samples_pkey IS 'mine'",
		"a view of it":     "CREATE VIEW mine AS SELECT id, sample_name, count(*) FROM samples GROUP BY id",
		"partitions":       "CREATE TABLE mine (sample_id integer REFERENCES samples) PARTITION BY LIST (sample_id); CREATE TABLE mine_1 PARTITION OF mine DEFAULT",
		"storage":          "ALTER INDEX samples_pkey SET (fillfactor = 70)",
		"nothing":          "SELECT",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t, "pepdbagent-0.8.0.sql")
			conn := connect(t, db)
			execute(t, conn, generate(9, 12, 9)+alteration)
			before := readContent(t, conn)
			const index = `
				SELECT format('%s %s %s %s', i.indisclustered, i.indisreplident, c.reloptions, obj_description(c.oid, 'pg_class'))
				FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid WHERE c.relname = 'samples_pkey'`
			was := query(t, conn, index)
			sameContent(t, before, upgradeInProcess(t, db))
			wantRows(t, db, index, was...)
		})
	}
}

// pepdbagent reads subsamples in their order on disk, where rows of different lengths
// find gaps to fill.
func TestSubsamplesKeepTheirOrder(t *testing.T) {
	db := newDatabase(t, "pepdbagent-0.4.3.sql")
	conn := connect(t, db)
	execute(t, conn, `
		INSERT INTO projects (namespace, name, tag, digest, project_value, private, number_of_samples, submission_date, last_update_date)
		SELECT 'a', 'p', 't', 'd', json_build_object('_config', '{}'::json, '_sample_dict', '[]'::json,
			'_subsample_list', json_build_array(json_agg(json_build_object('sample_name', i, 'file', repeat('x', 20 + i * 7919 % 400)) ORDER BY i))),
			false, 0, now(), now()
		FROM generate_series(0, 3000) AS i`)
	before := readContent(t, conn)
	sameContent(t, before, upgradeInProcess(t, db))
}

// Somebody else may own a part of the tables: a superuser who ran Alembic, say. The
// application can use what is new.
func TestSeveralOwners(t *testing.T) {
	db := newDatabase(t, "pepdbagent-0.8.0.sql")
	conn := connect(t, db)
	execute(t, conn, `CREATE ROLE app LOGIN PASSWORD '`+otherPassword+`'; GRANT CREATE ON SCHEMA public TO app; CREATE ROLE other`)
	t.Cleanup(func() {
		execute(t, conn, `REASSIGN OWNED BY app, other TO CURRENT_USER; DROP OWNED BY app, other; DROP ROLE app, other`)
	})
	execute(t, conn, "ALTER TABLE projects OWNER TO app; ALTER TABLE users OWNER TO app; ALTER TABLE stars OWNER TO other")
	migrate(t, environment(db)).want(t, 0)
	wantRows(t, db, `SELECT has_table_privilege('app', 'schema_records', 'INSERT') AND has_sequence_privilege('app', 'schema_records_id_seq', 'USAGE')`, "t")
}

// geopephub keeps two tables in PEPhub's database by default, whether PEPhub's are there
// yet or not; and extensions may have tables of their own.
func TestTablesOfOthers(t *testing.T) {
	for name, files := range map[string][]string{"Empty": nil, "0.6.0": {"pepdbagent-0.6.0.sql"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t, files...)
			execute(t, connect(t, db), `
				CREATE TABLE geo_sample_status (id int, status text); INSERT INTO geo_sample_status VALUES (1, 'done');
				CREATE TABLE geo_cycle_status (id int)`)
			migrate(t, environment(db)).want(t, 0)
			wantNewest(t, db)
			wantRows(t, db, "SELECT status FROM geo_sample_status", "done")
		})
	}
}

func TestTargetAndBack(t *testing.T) {
	db := newDatabase(t, v0111...)
	conn := connect(t, db)
	before := readContent(t, conn)
	migrate(t, environment(db, "MIGRATE_TARGET", "14")).want(t, 0, "to step 14")
	migrate(t, environment(db, "MIGRATE_TARGET", "13")).want(t, 3, "MIGRATE_TARGET cannot be reached")
	migrate(t, environment(db, "MIGRATE_ACTION", "down", "MIGRATE_TARGET", "13")).want(t, 0, "migrated back", "to step 13")
	wantRows(t, db, "SELECT version::text FROM schema_migrations", "13")
	wantRows(t, db, "TABLE alembic_version", "44cb1e7a80de")
	sameContent(t, before, readContent(t, conn))

	full := dump(t, db)
	migrate(t, environment(db, "MIGRATE_ACTION", "down", "MIGRATE_TARGET", "12")).want(t, 7,
		"1 rows of namespace_archives and 2 rows of bedbase_stats", "MIGRATE_ALLOW_DATA_LOSS=true")
	wantUnchanged(t, db, full)
	migrate(t, environment(db, "MIGRATE_ACTION", "down", "MIGRATE_TARGET", "12", "MIGRATE_ALLOW_DATA_LOSS", "true")).want(t, 0)
	wantRows(t, db, "SELECT version::text FROM schema_migrations", "12")
	wantRows(t, db, "TABLE alembic_version")
	migrate(t, environment(db)).want(t, 0)
	wantNewest(t, db)
}

// What was done to a link in 0.12 is not undone by going back, and not by going up again.
func TestTextsOfSchemasFollowTheirLinks(t *testing.T) {
	db := newDatabase(t, v0111...)
	conn := connect(t, db)
	migrate(t, environment(db, "MIGRATE_TARGET", "14")).want(t, 0)
	execute(t, conn, "UPDATE projects SET schema_id = NULL WHERE id = 1; UPDATE projects SET schema_id = 7 WHERE id = 3")
	migrate(t, environment(db, "MIGRATE_ACTION", "down", "MIGRATE_TARGET", "13")).want(t, 0)
	wantRows(t, db, "SELECT (id, schema_id, pep_schema)::text FROM projects WHERE pep_schema IS NOT NULL OR schema_id IS NOT NULL ORDER BY id",
		"(2,7,)", "(3,7,only-schemas/lonely)", "(9,,nobody/nothing)", "(12,,pep/2.1.0)")
	migrate(t, environment(db)).want(t, 0)
	backToDescribed(t, conn)
	wantRows(t, db, "SELECT (id, schema_id)::text FROM projects WHERE schema_id IS NOT NULL ORDER BY id", "(2,7)", "(3,7)")
}

// What 0.11 cannot hold is not dropped by going back.
func TestDownRefusesToLoseSchemas(t *testing.T) {
	for name, test := range map[string]struct{ change, complaint string }{
		"version": {
			"INSERT INTO schema_versions (schema_id, version, schema_value, release_date) VALUES (1, '1.0.0b', '{}', now())",
			"no place for 1 further versions",
		},
		"number":     {"UPDATE schema_versions SET version = '2.1.0' WHERE id = 1", "of 1 versions"},
		"notes":      {"UPDATE schema_versions SET release_notes = 'x' WHERE id = 1", "of 1 versions"},
		"maintainer": {"UPDATE schema_records SET maintainers = 'x' WHERE id = 1", "of 1 versions"},
		"no version": {"INSERT INTO schema_records (namespace, name, private) VALUES ('ada', 'bare', false)", "of 1 versions"},
		"tag":        {"INSERT INTO schema_tags (tag_name, schema_version_id) VALUES ('mine', 1)", "and 1 tags"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t, v0111...)
			migrate(t, environment(db, "MIGRATE_TARGET", "14")).want(t, 0)
			execute(t, connect(t, db), test.change)
			before := dump(t, db)
			migrate(t, environment(db, "MIGRATE_ACTION", "down", "MIGRATE_TARGET", "13")).want(t, 7, test.complaint)
			wantUnchanged(t, db, before)
			migrate(t, environment(db, "MIGRATE_ACTION", "down", "MIGRATE_TARGET", "13", "MIGRATE_ALLOW_DATA_LOSS", "true")).want(t, 0)
		})
	}
}

// wantNewest fails the test unless the database has the newest step's very shape and both
// records say so.
func wantNewest(t *testing.T, database string) {
	t.Helper()
	last, db := lastStep(t), look(t, database, loadSteps(t))
	for _, difference := range db.Shape.Diff(last.Shape) {
		t.Error(difference)
	}
	// The next row of every table gets an id that was never taken.
	conn := connect(t, database)
	for _, row := range rows(t, conn, `
		SELECT d.refobjid::regclass, d.objid::regclass, quote_ident(a.attname)
		FROM pg_depend AS d
		JOIN pg_class AS s ON s.oid = d.objid AND s.relkind = 'S' AND d.deptype IN ('a', 'i')
		JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid`) {
		if behind := rows(t, conn, fmt.Sprintf(
			"SELECT max(%[3]s) FROM %[1]s HAVING max(%[3]s) >= (SELECT CASE WHEN is_called THEN last_value + 1 ELSE last_value END FROM %[2]s)",
			row[0], row[1], row[2])); behind != nil {
			t.Errorf("the sequence of %s is behind %s %s", row[0], row[2], behind[0][0])
		}
	}
	if db.Recorded != newest || db.Alembic != last.Revision {
		t.Errorf("schema_migrations says %q and alembic_version %q", db.Recorded, db.Alembic)
	}
}

// look reads the database as the program does.
func look(t *testing.T, database string, steps migrator.Steps) schema.Database {
	t.Helper()
	conn := connect(t, database)
	defer conn.Close(context.Background())
	return lookOn(t, conn, steps)
}

// lookOn is look on a connection that is there.
func lookOn(t *testing.T, conn *pgx.Conn, steps migrator.Steps) schema.Database {
	t.Helper()
	var snapshots []schema.Shape
	for _, step := range steps {
		snapshots = append(snapshots, step.Shape)
	}
	db, err := schema.NewReader(snapshots).Read(context.Background(), conn.PgConn())
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func wantRows(t *testing.T, database, sql string, want ...string) {
	t.Helper()
	conn := connect(t, database)
	defer conn.Close(context.Background())
	if got := query(t, conn, sql); !slices.Equal(got, want) {
		t.Errorf("%s\ngot  %q\nwant %q", sql, got, want)
	}
}
