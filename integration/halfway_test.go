package integration

import (
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"

	"pephub-migrate/internal/config"
	"pephub-migrate/internal/migrator"
	"pephub-migrate/migrations"
)

// statementOn finds the table, or what belongs to it, that a statement of a pg_dump is
// about.
var statementOn = regexp.MustCompile(
	`^(?:CREATE TABLE|CREATE TYPE|CREATE SEQUENCE|ALTER TABLE ONLY|ALTER SEQUENCE|CREATE INDEX \w+ ON) (\w+?)(?:_id_seq)?\b`)

// dumped yields the statements that make the tables of a release, each with the table or
// enum that it makes or belongs to.
func dumped(t *testing.T, release string) iter.Seq2[string, string] {
	t.Helper()
	script := readFile(t, "testdata/pepdbagent-"+release+".sql")
	return func(yield func(name, statement string) bool) {
		for statement := range strings.SplitSeq(script, ";\n") {
			statement = strings.TrimSpace(statement)
			if strings.HasPrefix(statement, "--") {
				_, statement, _ = strings.Cut(statement, "\n")
			}
			if match := statementOn.FindStringSubmatch(statement); match != nil && !yield(match[1], statement) {
				return
			}
		}
	}
}

// startNewer does what a newer pepdbagent does when it starts on the database: it adds
// the tables that are missing.
func startNewer(t *testing.T, conn *pgx.Conn, release string) {
	t.Helper()
	there := map[string]bool{}
	for _, name := range query(t, conn, `
		SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
		UNION ALL
		SELECT typname FROM pg_type WHERE typtype = 'e'`) {
		there[name] = true
	}
	for name, statement := range dumped(t, release) {
		if !there[name] {
			execute(t, conn, statement)
		}
	}
}

// What create_all of a newer release makes of an older database, in every combination in
// which it gets as far as that. The rows are random.
func TestNewerApplicationWasStarted(t *testing.T) {
	for base, chains := range map[string][]string{
		"0.6.0":  {"0.7.0", "0.8.0", "0.9.0", "0.10.0", "0.11.0", "0.11.1", "0.12.3", "0.7.0 0.9.0"},
		"0.9.0":  {"0.10.0", "0.11.0", "0.11.1", "0.12.3", "0.10.0 0.11.1 0.12.3"},
		"0.10.0": {"0.11.0", "0.11.1", "0.12.3", "0.11.0 0.11.1", "0.11.0 0.12.3"},
		"0.11.0": {"0.11.1", "0.12.3", "0.11.1 0.12.3"},
		"0.11.1": {"0.12.3"},
	} {
		step := 1 + slices.Index(releases, base)
		for _, chain := range chains {
			t.Run(base+" and "+chain, func(t *testing.T) {
				t.Parallel()
				db := newDatabase(t, "pepdbagent-"+base+".sql")
				conn := connect(t, db)
				execute(t, conn, generate(step, 7, step))
				before := readContent(t, conn)
				for newer := range strings.FieldsSeq(chain) {
					startNewer(t, conn, newer)
				}
				after := upgradeInProcess(t, db)
				sameContent(t, before, after)
			})
		}
	}
}

// Somebody stamped a half-way database by hand, for Alembic or for this program: the
// shape decides.
func TestStampedByHand(t *testing.T) {
	for name, stamp := range map[string]string{
		"0.11.1":   "INSERT INTO alembic_version VALUES ('44cb1e7a80de')",
		"0.12":     "INSERT INTO alembic_version VALUES ('8a037f13b4e5')",
		"both":     "INSERT INTO alembic_version VALUES ('44cb1e7a80de'), ('8a037f13b4e5')",
		"nothing":  "",
		"step 15":  "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL); INSERT INTO schema_migrations VALUES (15, false)",
		"dirty":    "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL); INSERT INTO schema_migrations VALUES (14, true)",
		"no steps": "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL)",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t, v0111...)
			conn := connect(t, db)
			before := readContent(t, conn)
			startNewer(t, conn, "0.12.3")
			execute(t, conn, "CREATE TABLE alembic_version (version_num varchar(32) CONSTRAINT alembic_version_pkc PRIMARY KEY);"+stamp)
			after := upgradeInProcess(t, db)
			sameContent(t, before, after)
		})
	}
}

// Whoever gets 0.12 to work on the tables of 0.11 has projects whose schema nobody can
// tell: they are named, and left alone until somebody decides for what 0.11 has.
func TestUndecidedSchemas(t *testing.T) {
	const written = `
		INSERT INTO schema_records VALUES (1, 'geo', 'new', '', '', '', false, now());
		INSERT INTO schema_versions VALUES (1, 1, '1.0.0', '{}', now(), now(), '', '');`
	for name, prepare := range map[string]string{
		"by the application": "ALTER TABLE users ADD COLUMN number_of_schemas integer NOT NULL DEFAULT 0;" + written,
		"by hand":            written,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t, v0111...)
			conn := connect(t, db)
			content := readContent(t, conn)
			startNewer(t, conn, "0.12.3")
			execute(t, conn, prepare)
			before := dump(t, db)
			run := migrate(t, environment(db))
			run.want(t, 6, "undecided: ", "project=ada/basic:default")
			if strings.Contains(run.log, "project=ada/basic:v2") { // whose schema has a number that no version has
				t.Errorf("a project is named that is not undecided:\n%s", run.log)
			}
			wantUnchanged(t, db, before)
			execute(t, conn, `
				TRUNCATE schema_tags, schema_versions, schema_records;
				ALTER TABLE users DROP COLUMN IF EXISTS number_of_schemas`) // the README's way out
			migrate(t, environment(db)).want(t, 0)
			sameContent(t, content, readContent(t, conn))
		})
	}
}

// pepdbagent 0.10 edits samples on the tables of 0.9, and writes down their history.
func TestHistoryWrittenOnTablesOf09(t *testing.T) {
	db := newDatabase(t, "pepdbagent-0.9.0.sql")
	conn := connect(t, db)
	execute(t, conn, "ALTER TABLE samples ALTER COLUMN row_number SET DEFAULT 0")
	execute(t, conn, readFile(t, "testdata/rows-common.sql")+"ALTER TABLE samples ALTER COLUMN row_number DROP DEFAULT")
	startNewer(t, conn, "0.10.0")
	execute(t, conn, readFile(t, "testdata/rows-history.sql"))
	before := readContent(t, conn)
	for _, action := range []string{"up", "check", "plan"} { // to which this history does not belong
		migrate(t, environment(db, "MIGRATE_ACTION", action, "MIGRATE_TARGET", "10")).want(t, 6, "project_history, which holds rows")
	}
	migrate(t, environment(db)).want(t, 0, "kept a table that a newer application has filled", "table=sample_history")
	wantNewest(t, db)
	sameContent(t, before, readContent(t, conn))
}

func TestNewerApplicationOn06(t *testing.T) {
	for _, release := range []string{"0.8.0", "0.12.3"} {
		t.Run(release, func(t *testing.T) {
			db := newDatabase(t, "pepdbagent-0.6.0.sql", "rows-0.6.sql")
			conn := connect(t, db)
			before := readContent(t, conn)
			startNewer(t, conn, release)
			migrate(t, environment(db)).want(t, 0, "removed empty tables", "from step 7")
			wantNewest(t, db)
			sameContent(t, before, readContent(t, conn))
		})
	}
}

// Alembic's way back to nothing leaves the type behind, and its way up fails on it.
func TestLeftoverType(t *testing.T) {
	db := newDatabase(t)
	execute(t, connect(t, db), "CREATE TYPE updatetypes AS ENUM ('UPDATE', 'INSERT', 'DELETE')")
	migrate(t, environment(db)).want(t, 0, "the empty database is now at step "+newest)
	wantNewest(t, db)
}

// An archive that an earlier upgrade left in a database that was restored since is put
// aside, not mixed in.
func TestStaleArchive(t *testing.T) {
	db := newDatabase(t, v0111...)
	conn := connect(t, db)
	before := readContent(t, conn)
	execute(t, conn, "CREATE TABLE archived_schema_groups (id int, note text); INSERT INTO archived_schema_groups VALUES (1, 'mine')")
	migrate(t, environment(db)).want(t, 0)
	sameContent(t, before, readContent(t, conn))
	migrate(t, environment(db, "MIGRATE_ACTION", "down", "MIGRATE_TARGET", "13")).want(t, 0)
	sameContent(t, before, readContent(t, conn))
	wantRows(t, db, "SELECT count(*)::text FROM pg_class WHERE relname LIKE 'archived_schema_groups_2%'", "1")
}

// An index that somebody has dropped is made again, before the steps that expect it.
func TestMissingIndexes(t *testing.T) {
	c := newCrowd(t)
	for name, bring := range map[string]func(env map[string]string){
		"up": func(env map[string]string) {
			migrate(t, env).want(t, 0, `msg="made indexes that were missing" indexes="ix_schema_groups_name, ix_schemas_id"`,
				"the database was at step 13 already, now it has the 2 indexes that were missing")
		},
		"plan": func(env map[string]string) {
			migrate(t, environment(env["POSTGRES_DB"], "MIGRATE_TARGET", "13", "MIGRATE_ACTION", "plan")).want(t, 0,
				"000013_add_archives_and_bedbase_stats.schema.txt has them, but for indexes that are missing.\n",
				"-- Indexes that are missing and will be made: ix_schema_groups_name, ix_schemas_id.\n")
			if got := c.planned(env); got != "" {
				t.Fatal(got)
			}
		},
	} {
		db := newDatabaseNamed(t, name, v0111...)
		conn := connect(t, db)
		whole := schemaOf(t, db)
		execute(t, conn, "DROP INDEX ix_schemas_id, ix_schema_groups_name")
		env := environment(db, "MIGRATE_TARGET", "13")
		check := environment(db, "MIGRATE_TARGET", "13", "MIGRATE_ACTION", "check")
		migrate(t, check).want(t, 10, "the database is at step 13 (pepdbagent 0.11.1), but without indexes of it: ix_schema_groups_name, ix_schemas_id")
		bring(env)
		execute(t, conn, "DROP TABLE schema_migrations, alembic_version")
		if got := schemaOf(t, db); got != whole {
			t.Errorf("after %s the indexes are not as they were:\n%s", name, diff(whole, got))
		}
	}
}

// runUntilItWaits starts a run and returns when it waits for a lock. Its end is sent to
// the channel.
func runUntilItWaits(t *testing.T, conn, observer *pgx.Conn, cfg config.Config) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- runOn(t, migrations.FS, conn, cfg) }()
	waiting := fmt.Sprintf("SELECT pid::text FROM pg_locks WHERE NOT granted AND pid = %d", conn.PgConn().PID())
	for len(query(t, observer, waiting)) == 0 {
		select {
		case err := <-done:
			t.Fatalf("it did not wait for a lock, and ended with %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	return done
}

// What a newer application is about to write into a table of its own is seen before that
// table makes way.
func TestTableIsFilledMeanwhile(t *testing.T) {
	db := newDatabase(t, v0111...)
	application, conn, observer := connect(t, db), connect(t, db), connect(t, db)
	startNewer(t, application, "0.12.3")
	execute(t, application, "BEGIN; INSERT INTO schema_records (namespace, name, private) VALUES ('ada', 'x', false)")
	done := runUntilItWaits(t, conn, observer, config.Config{Action: config.Up})
	execute(t, application, "COMMIT")
	if err := <-done; !errors.Is(err, migrator.ErrUnrecognised) || !strings.Contains(err.Error(), "schema_records, which holds rows") {
		t.Errorf("it ended with %v", err)
	}
	wantRows(t, db, "SELECT name FROM schema_records", "x")
}

// A session that reads a table and then writes to it must not find that the program has
// done the same with its locks.
func TestMissingIndexesMakeNoDeadlock(t *testing.T) {
	for name, prepare := range map[string]string{
		"own trigger": `CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
			CREATE TRIGGER mine BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch()`,
		"step pending": "DROP INDEX ix_schemas_id",
	} {
		t.Run(name, func(t *testing.T) {
			db := newDatabase(t, v0111...)
			application, conn, observer := connect(t, db), connect(t, db), connect(t, db)
			execute(t, application, prepare)
			execute(t, application, "SET deadlock_timeout = '100ms'; BEGIN; SELECT FROM schemas; SELECT FROM users")
			done := runUntilItWaits(t, conn, observer, config.Config{Action: config.Up, Target: 14})
			execute(t, application, "UPDATE schemas SET description = description; UPDATE users SET namespace = namespace; COMMIT")
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// An index of the operator's own may have the name of one that a later step makes.
func TestPlanPassesOverIndexOfLaterStep(t *testing.T) {
	c := newCrowd(t)
	db := newDatabase(t, v0111...)
	env := environment(db, "MIGRATE_TARGET", "14")
	migrate(t, env).want(t, 0)
	execute(t, connect(t, db), "DROP TABLE schema_migrations; CREATE INDEX stars_project_id_idx ON stars (project_id)")
	if got := c.planned(env); got != "" {
		t.Fatal(got)
	}
}

// What create_all makes of a release lacks the indexes that only this program makes. If
// its new tables are filled, it is no half-way database of the release before; if they
// are empty it is, and the step has still to fill them.
func TestNextReleaseMadeItself(t *testing.T) {
	fsys := copySteps(t)
	last := lastStep(t)
	const header = "-- Release: pepdbagent 0.13.0.\n-- Data: stays.\n-- Undo: drops licences.\n"
	const project = `
		INSERT INTO users (namespace, number_of_projects, number_of_schemas) VALUES ('ann', 1, 0);
		INSERT INTO projects (namespace, name, tag, digest, config, private, number_of_samples, number_of_stars, submission_date)
		VALUES ('ann', 'p', 'default', 'd', '{}', false, 0, 0, now());`
	const create = "CREATE TABLE licences (id serial PRIMARY KEY, project_id integer REFERENCES projects (id) ON DELETE CASCADE);"
	name := fmt.Sprintf("%06d_add_licences", last.Number+1)
	for ending, text := range map[string]string{
		".up.sql":   header + create + "\nCREATE INDEX licences_project_id_idx ON licences (project_id);\nINSERT INTO licences (project_id) SELECT id FROM projects;",
		".down.sql": header + "DROP TABLE licences;",
		".schema.txt": "alembic_version: " + last.Revision + "\n" + last.Shape.String() + `column licences.id: integer not null default nextval('licences_id_seq'::regclass)
column licences.project_id: integer
constraint licences.licences_pkey: primary key (id)
constraint licences.licences_project_id_fkey: foreign key (project_id) references projects (id) on delete cascade
index licences.licences_project_id_idx: btree (project_id)
sequence licences_id_seq: integer owned by licences.id
table licences
`,
	} {
		fsys[name+ending] = &fstest.MapFile{Data: []byte(text)}
	}
	db := newDatabase(t)
	conn := connect(t, db)
	if err := move(t, fsys, db, config.Up, 0); err != nil {
		t.Fatal(err)
	}
	whole := schemaOf(t, db)
	execute(t, conn, "DROP TABLE schema_migrations, alembic_version; INSERT INTO licences DEFAULT VALUES;")
	for _, index := range query(t, conn, "SELECT indexrelid::regclass FROM pg_index WHERE NOT indisunique AND indrelid::regclass::text NOT LIKE 'pg_%'") {
		execute(t, conn, "DROP INDEX "+index)
	}
	if err := move(t, fsys, db, config.Up, 0); err != nil {
		t.Fatal(err)
	}
	if got := schemaOf(t, db); got != whole {
		t.Errorf("not as the steps make it:\n%s", diff(whole, got))
	}
	wantRows(t, db, "SELECT id::text FROM licences", "1")

	db = newDatabaseNamed(t, "empty")
	conn = connect(t, db)
	if err := move(t, migrations.FS, db, config.Up, 0); err != nil {
		t.Fatal(err)
	}
	execute(t, conn, project+create)
	steps, err := migrator.New(fsys, config.Config{Action: config.Check}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	pending := fmt.Sprintf("the database is at step %d (%s), pending: %d add_licences", last.Number, last.Release, last.Number+1)
	if _, err := steps.Check(t.Context(), conn.PgConn()); !errors.Is(err, migrator.ErrPending) || !strings.Contains(err.Error(), pending) {
		t.Errorf("check ended with %v", err)
	}
	if err := move(t, fsys, db, config.Up, 0); err != nil {
		t.Fatal(err)
	}
	if got := schemaOf(t, db); got != whole {
		t.Errorf("not as the steps make it, where the tables are empty:\n%s", diff(whole, got))
	}
	wantRows(t, db, "SELECT l.id || ' of ' || p.name FROM licences AS l JOIN projects AS p ON p.id = l.project_id", "1 of p")
}
