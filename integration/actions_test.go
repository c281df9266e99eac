package integration

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"
)

// plan has the plan of a database made. It is left in the crowd, under the database's
// name.
func (c crowd) plan(env map[string]string) string {
	c.t.Helper()
	plan := map[string]string{"MIGRATE_ACTION": "plan"}
	maps.Copy(plan, env)
	return c.run(plan, `/pephub-migrate >"/tmp/$POSTGRES_DB.sql" 2>"/tmp/$POSTGRES_DB.log" || { echo "plan $?"; cat "/tmp/$POSTGRES_DB.log"; }`)
}

// psql runs the plan, and returns what it has to complain of.
func (c crowd) psql(env map[string]string, flags string) string {
	c.t.Helper()
	return c.run(env, `
		PGPASSWORD=$POSTGRES_PASSWORD psql -X --host db --username "$POSTGRES_USER" `+flags+` -q -o /dev/null -f "/tmp/$POSTGRES_DB.sql" "$POSTGRES_DB" 2>&1 ||
			echo "psql $?"`)
}

// planned has a database upgraded by its plan.
func (c crowd) planned(env map[string]string) (complaint string) {
	c.t.Helper()
	return c.plan(env) + c.psql(env, "-1")
}

// What plan prints, run by psql, makes of a database of any release what up makes of it.
func TestPlanDoesWhatUpDoes(t *testing.T) {
	c := newCrowd(t)
	empty := newDatabase(t)
	upgradeInProcess(t, empty)
	want := schemaOf(t, empty)
	for i, release := range append([]string{"empty"}, releases...) {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t)
			conn := connect(t, db)
			if i > 0 {
				execute(t, conn, readFile(t, "testdata/pepdbagent-"+release+".sql"))
				execute(t, conn, generate(i, 11, i))
			}
			var before content
			if i > 0 {
				before = readContent(t, conn)
			}
			for line := range strings.Lines(c.planned(environment(db))) {
				if !strings.Contains(line, "NOTICE:") {
					t.Fatalf("got %s", line)
				}
			}
			wantNewest(t, db)
			if got := schemaOf(t, db); got != want {
				t.Error(diff(want, got))
			}
			if i > 0 {
				sameContent(t, before, readContent(t, conn))
			}
			migrate(t, environment(db)).want(t, 0, "nothing to do")
		})
	}
}

// A plan is for a person first: what was recognised, the steps, what they lock and
// archive, and how long it all takes.
func TestPlanSaysWhatItDoes(t *testing.T) {
	db := newDatabase(t, v0111...)
	execute(t, connect(t, db), "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY); INSERT INTO alembic_version VALUES ('44cb1e7a80de')")
	before := dump(t, db)
	run := migrate(t, environment(db, "MIGRATE_ACTION", "plan"))
	run.want(t, 0,
		"-- Schema public is at step 13 (pepdbagent 0.11.1): its 151 objects are as 000013_add_archives_and_bedbase_stats.schema.txt has them.\n",
		"-- schema_migrations is not there. alembic_version says 44cb1e7a80de.\n",
		"-- Step 14 version_schemas, about 100ms\n--   Release: pepdbagent 0.12.0 - 0.12.3: ", "\n--   Data: ", "\n--   Undo: ",
		"--   Locks: at most ACCESS EXCLUSIVE on projects (8 rows, ", "schemas (4 rows, ",
		"--   Archives: to archived_schema_groups, at most the 3 rows of schema_groups\n",
		"-- In all about 100ms on two cores", "psql -X -1 ",
		"the plan is on standard output, nothing was done")
	wantUnchanged(t, db, before)
	migrate(t, environment(db)).want(t, 0)
	migrate(t, environment(db, "MIGRATE_ACTION", "plan")).want(t, 0, "-- The database is at step "+newest+", and on record. There is nothing to do.\n")
	migrate(t, environment(db, "MIGRATE_ACTION", "plan", "MIGRATE_TARGET", "13")).want(t, 3, "MIGRATE_TARGET")
}

// A plan is for the database that it was made for. On any other, and beside another
// instance, it does nothing.
func TestPlanIsForOneDatabase(t *testing.T) {
	c := newCrowd(t)
	for name, test := range map[string]struct{ change, edit, flags, says string }{
		"changed": {"CREATE TABLE schema_records (id integer)", "", "-1", "the database has changed since this plan was made"},
		"leftover is filled": {
			"INSERT INTO schema_records (namespace, name, private) VALUES ('ada', 'x', false)", "", "-1",
			"a table that is to be dropped is not empty any more",
		},
		"another instance":       {"", "", "-1", "an instance of pephub-migrate is migrating"},
		"edited":                 {"", "/^CREATE INDEX .* stars_project_id_idx/d", "-1", "the result is not what it should be"},
		"not as one transaction": {"", "", "", "run this as one transaction"},
		"cut off":                {"", "/what stepped aside comes back/,$d", "-1", "this_plan_is_cut_off"},
		"not to be stopped": {
			"CREATE VIEW mine AS SELECT pep_schema FROM projects", "", "-1 -v ON_ERROR_ROLLBACK=on", "what is attached to the tables has changed since this plan was made",
		},
	} {
		t.Run(name, func(t *testing.T) {
			db := newDatabase(t, v0111...)
			conn := connect(t, db)
			if name != "changed" {
				startNewer(t, conn, "0.12.3")
			}
			c.plan(environment(db))
			c.run(environment(db), `sed -i '`+test.edit+`' "/tmp/$POSTGRES_DB.sql"`)
			execute(t, conn, test.change)
			if name == "another instance" {
				execute(t, conn, "SELECT pg_advisory_lock(x'7065706875622d6d'::bigint)")
			}
			before := dump(t, db)
			got := c.psql(environment(db), test.flags)
			if !strings.Contains(got, test.says) {
				t.Errorf("got %s", got)
			}
			wantUnchanged(t, db, before)
		})
	}
}

// A plan goes where it was made for, whatever the search_path is of whoever runs it, and
// whatever the schema is called.
func TestPlanInOtherSchema(t *testing.T) {
	db := newDatabase(t)
	conn := connect(t, db)
	const name = "\"We\nSELECT 1/0; --'ird\""
	execute(t, conn, "CREATE SCHEMA "+name+"; ALTER DATABASE "+db+" SET search_path = "+name+"; SET search_path = "+name)
	for _, file := range v0111 {
		execute(t, conn, strings.ReplaceAll(readFile(t, "testdata/"+file), "public.", name+"."))
	}
	c := newCrowd(t)
	c.plan(environment(db))
	execute(t, conn, "ALTER DATABASE "+db+" RESET search_path")
	if got := c.psql(environment(db), "-1"); got != "" {
		t.Errorf("got %s", got)
	}
	execute(t, conn, "ALTER DATABASE "+db+" SET search_path = "+name)
	migrate(t, environment(db)).want(t, 0, "the database is at step "+newest+", nothing to do")
}

// A plan that cannot be written is an error of its own, at once.
func TestPlanCannotBeWritten(t *testing.T) {
	db := newDatabase(t, v0111...)
	got := newCrowd(t).run(environment(db, "MIGRATE_ACTION", "plan"), `timeout 5 /pephub-migrate 2>&1 >/dev/full; echo "exit $?"`)
	if !strings.Contains(got, "the plan cannot be written to standard output: ") || !strings.HasSuffix(got, "exit 1\n") {
		t.Errorf("got %s", got)
	}
}

// Who may look need not be who may alter: the tables that a plan makes belong to the
// owner of the others, whoever made it.
func TestPlanOfReader(t *testing.T) {
	db := newDatabase(t, v0111...)
	conn := connect(t, db)
	execute(t, conn, `
		CREATE ROLE planner LOGIN PASSWORD '`+otherPassword+`'; CREATE ROLE tablesowner; GRANT CREATE ON SCHEMA public TO tablesowner;
		GRANT SELECT ON ALL TABLES IN SCHEMA public TO planner;
		DO $$
		DECLARE
			t text;
		BEGIN
			FOR t IN SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' LOOP
				EXECUTE format('ALTER TABLE %I OWNER TO tablesowner', t);
			END LOOP;
		END
		$$`)
	t.Cleanup(func() { execute(t, conn, "DROP OWNED BY planner, tablesowner CASCADE; DROP ROLE planner, tablesowner") })
	c := newCrowd(t)
	c.plan(environment(db, "POSTGRES_USER", "planner", "POSTGRES_PASSWORD", otherPassword))
	if got := c.psql(environment(db), "-1"); got != "" {
		t.Errorf("got %s", got)
	}
	wantNewest(t, db)
	wantRows(t, db, "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'", "tablesowner")
}

// check reads, and no more: a role that may do nothing else suffices, and a lock that
// somebody holds is no matter.
func TestCheck(t *testing.T) {
	db := newDatabase(t, v0111...)
	conn := connect(t, db)
	execute(t, conn, "CREATE ROLE checker LOGIN PASSWORD '"+otherPassword+"'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO checker")
	t.Cleanup(func() { execute(t, conn, "DROP OWNED BY checker; DROP ROLE checker") })
	execute(t, conn, "SELECT pg_advisory_lock(x'7065706875622d6d'::bigint)")
	check := environment(db, "MIGRATE_ACTION", "check", "POSTGRES_USER", "checker", "POSTGRES_PASSWORD", otherPassword)
	before := dump(t, db)
	migrate(t, check).want(t, 10, "msg=pending step=14 name=version_schemas", "msg=pending step=15 name=index_foreign_keys",
		"not at the target: the database is at step 13 (pepdbagent 0.11.1), pending: 14 version_schemas, 15 index_foreign_keys", "exit_code=10")
	check["MIGRATE_TARGET"] = "13"
	migrate(t, check).want(t, 10, "the database is at step 13 (pepdbagent 0.11.1), but not on record")
	wantUnchanged(t, db, before)
	execute(t, conn, "SELECT pg_advisory_unlock_all()")
	migrate(t, environment(db, "MIGRATE_TARGET", "13")).want(t, 0)
	execute(t, conn, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO checker")
	migrate(t, check).want(t, 0, "the database is at step 13, nothing to do")
	delete(check, "MIGRATE_TARGET")
	startNewer(t, conn, "0.12.3")
	execute(t, conn, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO checker")
	migrate(t, check).want(t, 10, "pending: 14 version_schemas, 15 index_foreign_keys")
	execute(t, conn, "INSERT INTO schema_records (namespace, name, private) VALUES ('ada', 'x', false)")
	migrate(t, check).want(t, 6, "schema_records, which holds rows")
	execute(t, conn, "TRUNCATE schema_records CASCADE; ALTER TABLE users ADD COLUMN mine text")
	migrate(t, check).want(t, 6, "column users.mine is not expected")
	execute(t, conn, "ALTER TABLE users DROP COLUMN mine; UPDATE schema_migrations SET version = 99; COMMENT ON TABLE schema_migrations IS NULL")
	migrate(t, check).want(t, 9)
	migrate(t, environment(newDatabaseNamed(t, "empty"), "MIGRATE_ACTION", "check")).want(t, 10, "the database is empty, pending: 1 create_projects, ")
	migrate(t, environment(db, "MIGRATE_ACTION", "check", "POSTGRES_HOST", "db:1", "WAIT_TIMEOUT", "0s")).want(t, 4)
}

// wait ends when another instance has done the work, and gives up when nobody does it.
func TestWait(t *testing.T) {
	db := newDatabase(t, v0111...)
	before := dump(t, db)
	start := time.Now()
	migrate(t, environment(db, "MIGRATE_ACTION", "wait", "WAIT_TIMEOUT", "2s")).want(t, 10,
		`msg=waiting reason="not at the target: the database is at step 13`, "waited for 2s: not at the target: ")
	if took := time.Since(start); took < time.Second {
		t.Errorf("it waited for %s", took)
	}
	wantUnchanged(t, db, before)

	// As long as somebody is at it, the time does not count.
	holder := connect(t, db)
	execute(t, holder, "BEGIN; SELECT pg_advisory_xact_lock(x'7065706875622d6d'::bigint)")
	waiting := launch(t, environment(db, "MIGRATE_ACTION", "wait", "WAIT_TIMEOUT", "4s"), "waiting for another instance")
	execute(t, holder, "SELECT pg_sleep(8); COMMIT")
	migrate(t, environment(db)).want(t, 0)
	waiting.end(20*time.Second).want(t, 0, "waiting for another instance", fmt.Sprint("pid=", holder.PgConn().PID()),
		"the database is at step "+newest+", nothing to do")
	execute(t, connect(t, db), "ALTER TABLE users ADD COLUMN mine text")
	migrate(t, environment(db, "MIGRATE_ACTION", "wait")).want(t, 6, "column users.mine is not expected")
}

// While it waits it takes no connection from whoever is to do the work, and a lock on
// what it would look at is no reason to give up.
func TestWaitStandsAside(t *testing.T) {
	db := newDatabase(t, v0111...)
	conn := connect(t, db)
	startNewer(t, conn, "0.12.3")
	waiting := launch(t, environment(db, "MIGRATE_ACTION", "wait", "WAIT_TIMEOUT", "4s"), "msg=waiting")
	time.Sleep(500 * time.Millisecond)
	connected := 0
	for range 20 {
		connected += len(query(t, conn, "SELECT pid FROM pg_stat_activity WHERE application_name = 'pephub-migrate' AND datname = current_database()"))
		time.Sleep(50 * time.Millisecond)
	}
	if connected > 10 {
		t.Errorf("it was connected %d times out of 20", connected)
	}
	holder := connect(t, db)
	execute(t, holder, "BEGIN; SELECT pg_advisory_xact_lock(x'7065706875622d6d'::bigint); LOCK TABLE schema_tags; SELECT pg_sleep(8); COMMIT")
	migrate(t, environment(db)).want(t, 0)
	waiting.end(20*time.Second).want(t, 0, "waiting for another instance")
}

// Whoever only reads can do so on a standby.
func TestReadersOnStandby(t *testing.T) {
	pair := newReplicated(t)
	// Then a standby refuses every query that does not say otherwise.
	execute(t, connectAt(t, pair.primary, "postgres"), "ALTER DATABASE hub SET default_transaction_isolation = 'serializable'")
	pair.catchUp()
	on := func(action string) map[string]string {
		return environment("hub", "POSTGRES_HOST", "two", "MIGRATE_ACTION", action, "WAIT_TIMEOUT", "20s")
	}
	migrate(t, on("check")).want(t, 10, "pending: 14 version_schemas, 15 index_foreign_keys")
	migrate(t, on("plan")).want(t, 0, "-- Step 14 version_schemas")
	waiting := launch(t, on("wait"), "not at the target")
	migrate(t, environment("hub", "POSTGRES_HOST", "one")).want(t, 0)
	waiting.end(20*time.Second).want(t, 0, "nothing to do")
	pair.catchUp()
	migrate(t, on("check")).want(t, 0, "nothing to do")
	migrate(t, on("plan")).want(t, 0, "There is nothing to do.")
}
