package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// forging is a name that would end a literal, a comment, a dollar quote and a line, start
// a command of psql's, take the place of something in a format, and forge a line of log,
// if one of them were let.
const forging = "x'; \\! touch /tmp/forged\n\\! touch /tmp/forged\nlevel=ERROR msg=forged\n$do$; */ -- \" {T} {name} %s %I :y :'y'"

// Text from the database stays text: in the plan, for psql, in the log, and in the
// statements of a run.
func TestTextForgesNothing(t *testing.T) {
	name := pgx.Identifier{forging}.Sanitize()
	short := pgx.Identifier{forging[:40] + "$do$ %s"}.Sanitize() // a name holds 63 bytes
	text := "'" + strings.ReplaceAll(forging, "'", "''") + "'"
	c := newCrowd(t)
	prepared := func(t *testing.T) string {
		t.Helper()
		db := newDatabase(t, v0111...)
		conn := connect(t, db)
		role := pgx.Identifier{db + forging[:20]}.Sanitize()
		execute(t, conn, "CREATE ROLE "+role)
		t.Cleanup(func() {
			conn := connect(t, db)
			execute(t, conn, fmt.Sprintf("DROP OWNED BY %[1]s; DROP ROLE %[1]s", role))
		})
		execute(t, conn, fmt.Sprintf(`
			ALTER SCHEMA public RENAME TO %[2]s;
			ALTER DATABASE %[5]s SET search_path = %[2]s; SET search_path = %[2]s;
			GRANT USAGE ON SCHEMA %[2]s TO %[4]s;
			GRANT SELECT ON schemas TO %[4]s WITH GRANT OPTION; GRANT SELECT (pep_schema) ON projects TO %[4]s;
			COMMENT ON TABLE schemas IS %[3]s; COMMENT ON COLUMN schemas.name IS %[3]s;
			COMMENT ON CONSTRAINT samples_project_id_fkey ON samples IS %[3]s;
			CREATE INDEX %[2]s ON samples (sample_name); COMMENT ON INDEX %[2]s IS %[3]s;
			CREATE PUBLICATION %[2]s FOR TABLE schemas;
			CREATE TABLE notes (id integer CONSTRAINT %[2]s REFERENCES projects); COMMENT ON CONSTRAINT %[2]s ON notes IS %[3]s;
			ALTER TABLE notes DISABLE TRIGGER ALL;
			CREATE STATISTICS %[2]s ON namespace, name FROM projects; COMMENT ON STATISTICS %[2]s IS %[3]s;
			CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
			CREATE TRIGGER %[2]s BEFORE UPDATE ON projects FOR EACH ROW EXECUTE FUNCTION touch();
			UPDATE projects SET name = %[3]s WHERE id = 1`, name, short, text, role, pgx.Identifier{db}.Sanitize()))
		return db
	}
	seen := func(t *testing.T, db string) {
		t.Helper()
		conn := connect(t, db)
		want := strings.ReplaceAll(forging, "\n", "\\n")
		for _, got := range query(t, conn, `
			SELECT replace(description, E'\n', '\n') FROM pg_description
			WHERE description LIKE 'x%' AND objoid NOT IN (SELECT oid FROM pg_class WHERE relname = 'schemas')`) {
			if got != want {
				t.Errorf("a comment is %q afterwards", got)
			}
		}
		wantRows(t, db, `SELECT obj_description('schema_records'::regclass) = obj_description((SELECT indexrelid FROM pg_index WHERE indrelid = 'samples'::regclass AND obj_description(indexrelid) IS NOT NULL))`, "t")
		wantRows(t, db, `SELECT count(*)::text FROM pg_publication_rel WHERE prrelid IN ('schema_records'::regclass, 'schema_versions'::regclass)`, "2")
		wantRows(t, db, `SELECT count(*)::text FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = tgrelid WHERE relname = 'notes' AND tgenabled = 'D'`, "2")
	}
	t.Run("up", func(t *testing.T) {
		db := prepared(t)
		run := migrate(t, environment(db))
		run.want(t, 0)
		wantOneLineEach(t, run.log)
		seen(t, db)
	})
	t.Run("plan", func(t *testing.T) {
		db := prepared(t)
		if got := c.planned(environment(db)); got != "" {
			t.Errorf("got %s", got)
		}
		if got := c.run(environment(db), "ls /tmp/forged 2>/dev/null"); got != "" {
			t.Error("psql has run a command of its own")
		}
		seen(t, db)
	})
	t.Run("refusal", func(t *testing.T) {
		db := prepared(t)
		execute(t, connect(t, db), fmt.Sprintf("CREATE POLICY %s ON schemas; CREATE VIEW %s AS SELECT pep_schema FROM projects", short, name))
		for _, format := range []string{"text", "json"} {
			run := migrate(t, environment(db, "LOG_FORMAT", format))
			run.want(t, 7, "on table schemas", "DROP POLICY")
			wantOneLineEach(t, run.log)
		}
	})
}

// wantOneLineEach fails the test if a line of log does not begin as one does.
func wantOneLineEach(t *testing.T, log string) {
	t.Helper()
	for line := range strings.Lines(log) {
		if !strings.HasPrefix(line, "time=") && !strings.HasPrefix(line, `{"time":`) {
			t.Errorf("a line of log is forged: %q", line)
		}
	}
}
