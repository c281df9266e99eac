package integration

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"pephub-migrate/internal/config"
	"pephub-migrate/migrations"
)

// names returns every word in the program's SQL and Go that may be the name of a
// function.
func functionNames(t *testing.T) string {
	t.Helper()
	words := map[string]bool{}
	for _, root := range []string{"../migrations", "../internal"} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() && (strings.HasSuffix(path, ".sql") || strings.HasSuffix(path, ".go")) {
				content, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				for _, word := range regexp.MustCompile(`[a-z_][a-z0-9_]+`).FindAllString(string(content), -1) {
					words[word] = true
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for word := range words {
		names = append(names, word)
	}
	slices.Sort(names)
	return "{" + strings.Join(names, ",") + "}"
}

// plant makes what hostile.sql says as a role, in these schemas.
func plant(t *testing.T, conn *pgx.Conn, role string, schemas ...string) {
	t.Helper()
	execute(t, conn, fmt.Sprintf(`CREATE SEQUENCE public.planted_calls; GRANT ALL ON SEQUENCE public.planted_calls TO PUBLIC;
		SELECT set_config('hostile.names', '%s', false), set_config('hostile.schemas', '{%s}', false);
		SET search_path = pg_catalog, pg_temp; SET check_function_bodies = off; SET ROLE %s`,
		functionNames(t), strings.Join(schemas, ","), role))
	var made int
	for _, statement := range query(t, conn, readFile(t, "testdata/hostile.sql")) {
		if _, err := conn.PgConn().Exec(t.Context(), statement).ReadAll(); err == nil {
			made++
		}
	}
	if made < 1000 {
		t.Errorf("only %d overloads could be made", made)
	}
	execute(t, conn, "RESET ROLE; RESET search_path")
}

// wantNoCalls fails the test if something that was planted has run.
func wantNoCalls(t *testing.T, db string) {
	t.Helper()
	wantRows(t, db, "SELECT is_called::text FROM public.planted_calls", "false")
}

// hostile makes a database whose tables belong to one role, and in whose schemas others
// may make what they like. It returns the owner and the other role.
func hostile(t *testing.T, release string) (db, owner, mallory string) {
	t.Helper()
	db = newDatabase(t, "pepdbagent-"+release+".sql")
	conn := connect(t, db)
	owner, mallory = db+"_owner", db+"_mallory"
	for _, role := range []string{owner, mallory} {
		execute(t, conn, fmt.Sprintf("CREATE ROLE %[1]q LOGIN PASSWORD '%[2]s'; GRANT CREATE ON SCHEMA public TO %[1]q; GRANT %[1]q TO %[3]s", role, otherPassword, superuser))
		t.Cleanup(func() { execute(t, connect(t, db), fmt.Sprintf("DROP OWNED BY %[1]q CASCADE; DROP ROLE %[1]q", role)) })
	}
	execute(t, conn, fmt.Sprintf(`
		CREATE SCHEMA extensions AUTHORIZATION %[2]q; CREATE SCHEMA %[3]s AUTHORIZATION %[2]q; GRANT ALL ON SCHEMA extensions, %[3]s TO PUBLIC;
		DO $$ DECLARE c regclass; BEGIN
			FOR c IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' LOOP
				EXECUTE format('ALTER TABLE %%s OWNER TO %%I', c, '%[1]s');
			END LOOP;
		END $$`, owner, mallory, superuser))
	return db, owner, mallory
}

// Whatever others plant is not called by a role that can do more than they can: it is
// refused by name where a step would call it, and nobody looks for it where there is
// nothing to do.
func TestPlantedCodeDoesNotRun(t *testing.T) {
	paths := []string{
		`"$user", public`, // with a schema that is named as the role
		`public, pg_catalog`, `extensions, public, pg_temp`, `pg_temp, public, "$user", extensions, pg_catalog`,
	}
	t.Run("something to do", func(t *testing.T) {
		t.Parallel()
		db, owner, mallory := hostile(t, "0.8.0")
		c := newCrowd(t)
		if got := c.plan(environment(db)); got != "" {
			t.Fatal(got)
		}
		conn := connect(t, db)
		plant(t, conn, fmt.Sprintf("%q", mallory), "public", "extensions", superuser)
		before := dump(t, db)
		for _, path := range paths {
			execute(t, conn, fmt.Sprintf("ALTER DATABASE %q SET search_path = %s", db, path))
			for _, action := range []string{"check", "wait", "plan", "up"} {
				migrate(t, environment(db, "MIGRATE_ACTION", action, "WAIT_TIMEOUT", "2s")).want(t, 6, "function public.quote_ident(name)", "operator public.||")
				wantNoCalls(t, db)
			}
			migrate(t, environment(db, "POSTGRES_USER", owner, "POSTGRES_PASSWORD", otherPassword)).want(t, 6, "function public.quote_ident(name)")
			wantNoCalls(t, db)
		}
		if got := c.psql(environment(db), "-1"); !strings.Contains(got, "could run with your rights") {
			t.Errorf("the plan ends with %s", got)
		}
		wantNoCalls(t, db)
		execute(t, conn, fmt.Sprintf("ALTER DATABASE %q RESET search_path", db))
		wantUnchanged(t, db, before)
	})
	t.Run("nothing to do", func(t *testing.T) {
		t.Parallel()
		db, _, mallory := hostile(t, "0.8.0")
		migrate(t, environment(db)).want(t, 0)
		conn := connect(t, db)
		plant(t, conn, fmt.Sprintf("%q", mallory), "public", "extensions", superuser)
		for _, path := range paths {
			execute(t, conn, fmt.Sprintf("ALTER DATABASE %q SET search_path = %s", db, path))
			for _, action := range []string{"check", "wait", "plan", "up"} {
				migrate(t, environment(db, "MIGRATE_ACTION", action)).want(t, 0)
			}
			wantNoCalls(t, db)
		}
	})
	t.Run("temporary", func(t *testing.T) {
		t.Parallel()
		db, _, _ := hostile(t, "0.8.0")
		conn := connect(t, db)
		// What another client has left in a session that a pooler keeps.
		execute(t, conn, `
			CREATE TEMPORARY TABLE projects (id integer); CREATE TEMPORARY TABLE samples (id integer);
			CREATE TEMPORARY TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL);
			INSERT INTO schema_migrations VALUES (15, false);
			CREATE TEMPORARY TABLE pg_class (oid oid, relname name, relnamespace oid);
			CREATE TEMPORARY TABLE archived_project_config_names (x integer)`)
		if err := runOn(t, migrations.FS, conn, config.Config{Action: config.Up}); err != nil {
			t.Fatal(err)
		}
		wantNewest(t, db)
	})
	t.Run("by the owner", func(t *testing.T) {
		t.Parallel()
		db, owner, _ := hostile(t, "0.8.0")
		conn := connect(t, db)
		execute(t, conn, fmt.Sprintf("GRANT CREATE ON DATABASE %q TO %q", db, owner))
		execute(t, conn, `SET search_path = public; CREATE SEQUENCE planted_calls; GRANT ALL ON SEQUENCE planted_calls TO PUBLIC`)
		for _, planted := range []struct{ sql, undo, says string }{
			{`CREATE INDEX mine ON samples (evil(sample::text))`, `DROP INDEX mine`, "index public.mine, which uses function public.evil(text)"},
			{`CREATE INDEX mine ON samples (id) WHERE evil(sample::text) = 'x'`, `DROP INDEX mine`, "index public.mine, which uses function public.evil(text)"},
			{
				`CREATE DOMAIN evils AS integer; CREATE TYPE mood AS ENUM ('x'); CREATE FUNCTION f(mood) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM nextval(''public.planted_calls''); RETURN 1; END';
				CREATE CAST (mood AS integer) WITH FUNCTION f(mood) AS IMPLICIT; CREATE TABLE moods (m mood REFERENCES samples (id))`,
				`DROP TABLE moods; DROP TYPE mood CASCADE; DROP DOMAIN evils`, "constraint moods_m_fkey on table public.moods, whose column is of type public.mood",
			},
			{ // the planner runs what has no argument
				`CREATE STATISTICS mine ON (evil('x')), (sample_name) FROM samples`, `DROP STATISTICS mine`, "statistics object public.mine, which uses function public.evil(text)",
			},
			{
				`CREATE TABLE b (v varchar UNIQUE); CREATE UNIQUE INDEX own ON projects (name); ALTER TABLE b ADD CONSTRAINT mine FOREIGN KEY (v) REFERENCES projects (name) ON UPDATE CASCADE`,
				`DROP TABLE b; DROP INDEX own`, "constraint mine on table public.b, which changes its table when a key of PEPhub's changes",
			},
			{ // by the name of PEPhub's own type, in another schema
				`CREATE FUNCTION extensions.evil(varchar) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM nextval(''public.planted_calls''); RETURN true; END';
				CREATE DOMAIN extensions.updatetypes AS varchar CHECK (extensions.evil(VALUE)); CREATE INDEX mine ON projects ((digest::extensions.updatetypes::varchar))`,
				`DROP INDEX mine; DROP DOMAIN extensions.updatetypes; DROP FUNCTION extensions.evil`, "index public.mine, which uses type extensions.updatetypes",
			},
			{ // as a member of an extension, to which its owner may add
				`CREATE EXTENSION citext SCHEMA extensions; CREATE FUNCTION extensions.evil(varchar) RETURNS varchar IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM nextval(''public.planted_calls''); RETURN $1; END';
				ALTER EXTENSION citext ADD FUNCTION extensions.evil(varchar); CREATE INDEX mine ON projects (extensions.evil(digest))`,
				`DROP INDEX mine; DROP EXTENSION citext`, "index public.mine, which uses function extensions.evil(character varying)",
			},
		} {
			execute(t, conn, fmt.Sprintf(`SET ROLE %q;
				CREATE FUNCTION evil(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM nextval(''public.planted_calls''); RETURN $1; END';
				%s; RESET ROLE`, owner, planted.sql))
			for _, action := range []string{"check", "plan", "up"} {
				migrate(t, environment(db, "MIGRATE_ACTION", action)).want(t, 6, planted.says, "connect as the role that owns the tables")
			}
			wantNoCalls(t, db)
			execute(t, conn, planted.undo+"; DROP FUNCTION evil")
		}
		// The owner's own run may call what is the owner's own.
		execute(t, conn, fmt.Sprintf(`SET ROLE %q;
			CREATE FUNCTION evil(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1; END';
			CREATE INDEX mine ON samples (evil(sample::text)); RESET ROLE`, owner))
		migrate(t, environment(db, "POSTGRES_USER", owner, "POSTGRES_PASSWORD", otherPassword)).want(t, 0)
	})
	t.Run("beside a table of a stranger", func(t *testing.T) {
		t.Parallel()
		db, owner, mallory := hostile(t, "0.11.1")
		conn := connect(t, db)
		execute(t, conn, fmt.Sprintf(`SET search_path = public; CREATE SEQUENCE planted_calls; GRANT ALL ON SEQUENCE planted_calls TO PUBLIC; SET ROLE %[1]q;
			CREATE FUNCTION planted(varchar, varchar) RETURNS text LANGUAGE plpgsql AS 'BEGIN PERFORM nextval(''public.planted_calls''); RETURN NULL; END';
			CREATE OPERATOR || (FUNCTION = planted, LEFTARG = varchar, RIGHTARG = varchar);
			CREATE TABLE alembic_version (version_num varchar(32) CONSTRAINT alembic_version_pkc PRIMARY KEY);
			GRANT ALL ON alembic_version TO %[2]q; RESET ROLE`, mallory, owner))
		for _, env := range []map[string]string{environment(db), environment(db, "POSTGRES_USER", owner, "POSTGRES_PASSWORD", otherPassword)} {
			for _, action := range []string{"check", "plan", "up"} {
				env["MIGRATE_ACTION"] = action
				migrate(t, env).want(t, 6, "operator public.||(character varying,character varying)")
			}
		}
		wantNoCalls(t, db)
	})
	t.Run("in an index of a version table", func(t *testing.T) {
		t.Parallel()
		db, owner, _ := hostile(t, "0.8.0")
		migrate(t, environment(db)).want(t, 0)
		conn := connect(t, db)
		execute(t, conn, fmt.Sprintf(`SET search_path = public; CREATE SEQUENCE planted_calls; GRANT ALL ON SEQUENCE planted_calls TO PUBLIC;
			ALTER TABLE schema_migrations OWNER TO %[1]q; SET ROLE %[1]q;
			CREATE FUNCTION evil(integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM nextval(''public.planted_calls''); RETURN $1; END';
			CREATE INDEX ON schema_migrations ((evil(version::integer))); CREATE STATISTICS mine ON (evil(1)), version FROM schema_migrations; RESET ROLE;
			SELECT setval('planted_calls', 1, false)`, owner))
		for _, action := range []string{"check", "wait", "plan", "up"} {
			migrate(t, environment(db, "MIGRATE_ACTION", action)).want(t, 6, "schema_migrations belongs to another program")
		}
		wantNoCalls(t, db)
	})
	t.Run("in a leftover", func(t *testing.T) {
		t.Parallel()
		db, _, mallory := hostile(t, "0.11.0")
		conn := connect(t, db)
		execute(t, conn, fmt.Sprintf(`SET search_path = public; CREATE SEQUENCE planted_calls; GRANT ALL ON SEQUENCE planted_calls TO PUBLIC; SET ROLE %[1]q;
			CREATE FUNCTION extensions.evil(integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM nextval(''public.planted_calls''); RETURN $1; END';
			CREATE TABLE bedbase_stats (id serial PRIMARY KEY, gse varchar NOT NULL, gsm varchar NOT NULL,
				sample_name varchar, genome varchar, last_update_date varchar, submission_date varchar);
			CREATE INDEX mine ON bedbase_stats ((extensions.evil(id))); RESET ROLE; SELECT setval('planted_calls', 1, false)`, mallory))
		for _, action := range []string{"check", "wait", "plan", "up"} {
			migrate(t, environment(db, "MIGRATE_ACTION", action, "WAIT_TIMEOUT", "2s")).want(t, 6, "index public.mine, which uses function extensions.evil(integer)")
		}
		wantNoCalls(t, db)
	})
	t.Run("in an open transaction", func(t *testing.T) {
		t.Parallel()
		db, owner, _ := hostile(t, "0.8.0")
		execute(t, connect(t, db), "CREATE SEQUENCE public.planted_calls; GRANT ALL ON SEQUENCE public.planted_calls TO PUBLIC")
		attacker := connectAs(t, db, owner)
		execute(t, attacker, `BEGIN;
			CREATE FUNCTION public.planted(varchar, varchar) RETURNS text LANGUAGE plpgsql AS 'BEGIN PERFORM nextval(''public.planted_calls''); RETURN NULL; END';
			CREATE OPERATOR public.|| (FUNCTION = public.planted, LEFTARG = varchar, RIGHTARG = varchar)`)
		migrate(t, environment(db, "WAIT_TIMEOUT", "2s", "LOCK_TIMEOUT", "500ms")).want(t, 11, "transactions are open that may have made functions", "of role "+owner)
		execute(t, attacker, "COMMIT")
		migrate(t, environment(db)).want(t, 6, "operator public.||(character varying,character varying)")
		wantNoCalls(t, db)
	})
	t.Run("on the version tables", func(t *testing.T) {
		t.Parallel()
		db, owner, _ := hostile(t, "0.8.0")
		migrate(t, environment(db, "MIGRATE_TARGET", "14")).want(t, 0)
		conn := connect(t, db)
		execute(t, conn, fmt.Sprintf(`SET search_path = public; CREATE SEQUENCE planted_calls; GRANT ALL ON SEQUENCE planted_calls TO PUBLIC; ALTER TABLE schema_migrations OWNER TO %[1]q;
			CREATE FUNCTION evil() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM nextval(''public.planted_calls''); RETURN NEW; END';
			ALTER FUNCTION evil() OWNER TO %[1]q; SET ROLE %[1]q;
			CREATE TRIGGER mine BEFORE INSERT ON schema_migrations FOR EACH ROW EXECUTE FUNCTION evil(); RESET ROLE`, owner))
		migrate(t, environment(db)).want(t, 6, "function public.evil()")
		execute(t, conn, "ALTER FUNCTION evil() OWNER TO "+superuser)
		migrate(t, environment(db)).want(t, 0, "trigger is disabled during the migration")
		wantNoCalls(t, db)
		wantRows(t, db, "SELECT tgenabled::text FROM pg_trigger WHERE tgname = 'mine'", "O")
	})
}

// connectAs is connect for another role.
func connectAs(t *testing.T, database, role string) *pgx.Conn {
	t.Helper()
	config := connect(t, database).Config().Copy()
	config.User, config.Password = role, otherPassword
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}
