package integration

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/testcontainers/testcontainers-go"
)

func TestBadConfiguration(t *testing.T) {
	for name, test := range map[string]struct {
		env  map[string]string
		says string
	}{
		"no host":          {environment("x", "POSTGRES_HOST", ""), "POSTGRES_HOST is not set"},
		"misspelt":         {environment("x", "MIGRATE_TARGT", "14"), "MIGRATE_TARGT is not a variable"},
		"no such folder":   {environment("x", "MIGRATION_DIR", "/steps"), "MIGRATION_DIR is not a variable"},
		"no unit":          {environment("x", "WAIT_TIMEOUT", "60"), "WAIT_TIMEOUT must be a duration"},
		"no such step":     {environment("x", "MIGRATE_TARGET", "99"), "there is no step 99"},
		"down without":     {environment("x", "MIGRATE_ACTION", "down"), "MIGRATE_ACTION=down needs MIGRATE_TARGET"},
		"unescaped URL":    {environment("x", "DATABASE_URL", "postgres://u:"+password+"@db/x"), "percent-encode"},
		"unreadable file":  {environment("x", "POSTGRES_PASSWORD", "", "POSTGRES_PASSWORD_FILE", "/none"), "POSTGRES_PASSWORD_FILE cannot be read"},
		"two of one thing": {environment("x", "POSTGRES_PASSWORD_FILE", "/none"), "are both set"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			migrate(t, test.env).want(t, 3, test.says)
		})
	}
}

func TestNoServer(t *testing.T) {
	start := time.Now()
	migrate(t, environment("x", "POSTGRES_HOST", "db:1", "WAIT_TIMEOUT", "2s")).want(t, 4,
		"waiting", "connection refused", "postgresql not reachable within 2s")
	migrate(t, environment("x", "POSTGRES_HOST", "nowhere.invalid", "WAIT_TIMEOUT", "0s")).want(t, 4)
	if took := time.Since(start); took < 2*time.Second {
		t.Errorf("gave up after %s", took)
	}
}

func TestRefusedByServer(t *testing.T) {
	db := newDatabase(t, v0111...)
	conn := connect(t, db)
	execute(t, conn, "CREATE ROLE reader LOGIN PASSWORD '"+otherPassword+"'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
	t.Cleanup(func() { execute(t, conn, "DROP OWNED BY reader; DROP ROLE reader") })
	before := dump(t, db)

	migrate(t, environment(db, "POSTGRES_PASSWORD", "wrong")).want(t, 5, "password authentication failed", "SQLSTATE 28P01")
	migrate(t, environment("no such database")).want(t, 5, "does not exist", "SQLSTATE 3D000")
	migrate(t, environment(db, "POSTGRES_USER", "reader", "POSTGRES_PASSWORD", otherPassword)).want(t, 5,
		"permission denied", "SQLSTATE 42501")

	wantUnchanged(t, db, before)
}

func TestReaderMayFindNothingToDo(t *testing.T) {
	db := newDatabase(t)
	migrate(t, environment(db)).want(t, 0)
	conn := connect(t, db)
	execute(t, conn, "CREATE ROLE looker LOGIN PASSWORD '"+otherPassword+"'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO looker")
	t.Cleanup(func() { execute(t, conn, "DROP OWNED BY looker; DROP ROLE looker") })
	migrate(t, environment(db, "POSTGRES_USER", "looker", "POSTGRES_PASSWORD", otherPassword)).want(t, 0, "nothing to do")
}

func TestUnrecognised(t *testing.T) {
	for name, test := range map[string]struct {
		prepare string
		code    int
		says    []string
	}{
		"another program's": {
			"DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE TABLE orders (id int)",
			6, []string{"holds other tables (orders) and none of PEPhub's"},
		},
		"column missing": {
			"ALTER TABLE samples DROP COLUMN sample_name",
			6, []string{`object="column samples.sample_name is missing`, "1 object differs from step 13 (pepdbagent 0.11.1)"},
		},
		"column of another type": {
			"ALTER TABLE projects ALTER COLUMN id TYPE bigint",
			6, []string{`object="column projects.id is \"bigint not null`},
		},
		"columns of an added table missing": {
			"ALTER TABLE schemas DROP COLUMN private; ALTER TABLE schema_groups DROP COLUMN description",
			6, []string{`object="column schemas.private is missing`, `object="column schema_groups.description is missing`, "2 objects differ from step 13"},
		},
		"constraint missing": {
			"ALTER TABLE samples DROP CONSTRAINT samples_parent_guid_fkey",
			6, []string{"constraint samples.samples_parent_guid_fkey is missing"},
		},
		"index of that name and other columns": {
			"CREATE INDEX stars_project_id_idx ON stars (star_date)",
			6, []string{"index stars.stars_project_id_idx is"},
		},
		"another program's, with golang-migrate": {
			"DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE TABLE orders (id int);" +
				"CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL); INSERT INTO schema_migrations VALUES (20230101, false)",
			6, []string{"holds other tables (orders) and none of PEPhub's"},
		},
		"in a schema that no name leads to": {
			"ALTER SCHEMA public RENAME TO pep; CREATE SCHEMA public",
			6, []string{"schema public holds none of PEPhub's tables, but schema pep does"},
		},
		"table of a newer release": {
			"CREATE TABLE schema_tags (id int); INSERT INTO schema_tags VALUES (1)",
			6, []string{"cannot be carried over: schema_tags, which is not as any release makes it"},
		},
		"empty table by the name of a newer release's": {
			"CREATE TABLE schema_tags (id serial, mine text)",
			6, []string{"cannot be carried over: schema_tags, which is not as any release makes it"},
		},
		"unlogged table": {
			"ALTER TABLE bedbase_stats SET UNLOGGED",
			6, []string{"cannot be carried over: bedbase_stats (unlogged), which is not as any release makes it"},
		},
		"unlogged table of archives": {
			"ALTER TABLE namespace_archives SET UNLOGGED",
			6, []string{"; namespace_archives (unlogged), which is not as any release makes it"},
		},
		"unlogged table of an older release": {
			"ALTER TABLE views_samples SET UNLOGGED",
			6, []string{`object="table views_samples is \"unlogged\"`, "1 object differs from step 13"},
		},
		"view for a table": {
			"DROP TABLE bedbase_stats; CREATE VIEW bedbase_stats AS SELECT 1 / 0 AS id",
			6, []string{"cannot be carried over: bedbase_stats (view), which is not as any release makes it"},
		},
		"partitioned table": {
			"DROP TABLE namespace_archives; CREATE TABLE namespace_archives (id integer) PARTITION BY LIST (id)",
			6, []string{"; namespace_archives (partitioned), which is not as any release makes it"},
		},
		"materialized view for a table of a newer release": {
			"CREATE MATERIALIZED VIEW schema_tags AS SELECT 1 AS id",
			6, []string{"cannot be carried over: schema_tags (materialized view), which is not as any release makes it"},
		},
		"unknown Alembic revision": {
			"CREATE TABLE alembic_version (version_num varchar(32)); INSERT INTO alembic_version VALUES ('0123456789ab')",
			9, []string{"alembic_version says 0123456789ab"},
		},
		"newer than the image": {
			"CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL); INSERT INTO schema_migrations VALUES (99, false)",
			9, []string{"schema_migrations says 99"},
		},
		"several versions": {
			"CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL); INSERT INTO schema_migrations VALUES (98, false), (99, false)",
			6, []string{"schema_migrations says 98 99, which is no step"},
		},
		"versions in a view": {
			"CREATE VIEW schema_migrations AS SELECT 13::bigint AS version, false AS dirty",
			6, []string{"schema_migrations belongs to another program"},
		},
		"another program's versions": {
			"CREATE TABLE schema_migrations (version varchar PRIMARY KEY)",
			6, []string{"schema_migrations belongs to another program"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t, v0111...)
			execute(t, connect(t, db), test.prepare)
			before := dump(t, db)
			migrate(t, environment(db)).want(t, test.code, test.says...)
			wantUnchanged(t, db, before)
		})
	}
}

// A view of the operator's own keeps the step from dropping what it shows, and is named
// before anything is done.
func TestViewOfWhatGoes(t *testing.T) {
	db := newDatabase(t, v0111...)
	migrate(t, environment(db, "MIGRATE_TARGET", "13")).want(t, 0, "now it is on record")
	execute(t, connect(t, db), "CREATE VIEW report AS SELECT namespace, name, pep_schema FROM projects")
	before := dump(t, db)

	for _, action := range []string{"check", "plan", "up"} {
		migrate(t, environment(db, "MIGRATE_ACTION", action)).want(t, 7, `object="view public.report, which uses table projects" remedy="DROP VIEW public.report"`)
	}

	wantUnchanged(t, db, before)
	wantRows(t, db, "SELECT (version, dirty)::text FROM schema_migrations", "(13,f)")
}

// A step that fails is named, with what the server says.
func TestFailingStep(t *testing.T) {
	db := newDatabase(t, "pepdbagent-0.3.0.sql")
	execute(t, connect(t, db), `INSERT INTO projects (namespace, name, tag, digest, project_value, private, number_of_samples, submission_date, last_update_date)
		SELECT 'a', name, 't', 'd', '{}', false, 0, now(), now() FROM unnest('{Twice,twice}'::text[]) AS name`)
	before := dump(t, db)
	migrate(t, environment(db)).want(t, 7, "step 3 add_pep_schema: ", "a/Twice:t and a/twice:t", "SQLSTATE P0001")
	wantUnchanged(t, db, before)
}

// The outcome is left for Kubernetes, if it is there to read it; and the log can be for a
// collector.
func TestTerminationMessage(t *testing.T) {
	// Root may open the pipe that is the standard output of a container.
	asRoot := testcontainers.WithConfigModifier(func(config *container.Config) { config.User = "0" })
	migrate(t, environment("x", "POSTGRES_HOST", "db:1", "WAIT_TIMEOUT", "0s", "LOG_FORMAT", "json",
		"TERMINATION_LOG", "/dev/stdout"), asRoot).want(t, 4,
		`"level":"ERROR","msg":"postgresql not reachable`, `"exit_code":4`,
		"; check that the server runs, that POSTGRES_HOST leads to it") // joined by a semicolon there only
}

// An attempt that gets as far as the same lock again and again is no progress.
func TestBlockedAfterSomeSteps(t *testing.T) {
	db := newDatabase(t, "pepdbagent-0.9.0.sql")
	blocker := connect(t, db)
	execute(t, blocker, "BEGIN; LOCK TABLE views IN ROW EXCLUSIVE MODE") // which step 15 wants, after five others
	start := time.Now()
	migrate(t, environment(db, "WAIT_TIMEOUT", "2s", "LOCK_TIMEOUT", "500ms")).want(t, 11, "step=14", "waits_for=views")
	t.Logf("it took %s", time.Since(start))
}

// Replicas that wait for each other's turn are no progress while the one with the lock
// waits for a session that never lets go of a table.
func TestBlockedByAnotherSession(t *testing.T) {
	db := newDatabase(t, v0111...)
	blocker := connect(t, db)
	execute(t, blocker, "BEGIN; SELECT FROM projects")
	before := dump(t, db)
	results := make([]result, 3)
	errs := make([]error, len(results))
	var runs sync.WaitGroup
	for i := range results {
		runs.Go(func() {
			results[i], errs[i] = runImage(context.Background(), environment(db, "WAIT_TIMEOUT", "3s", "LOCK_TIMEOUT", "500ms"))
		})
	}
	runs.Wait()
	for i, run := range results {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		run.want(t, 11, "locked by another session within 3s")
	}
	wantUnchanged(t, db, before)
	execute(t, blocker, "COMMIT")
	migrate(t, environment(db)).want(t, 0)
}
