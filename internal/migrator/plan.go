package migrator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"pephub-migrate/internal/schema"
)

// Plan returns what Migrate would do, as a script for psql that does the same, and does
// nothing. It only reads; a standby will do. The error is as for Check, but that there is
// something to do is none.
func (m *Migrator) Plan(ctx context.Context, conn *pgconn.PgConn) (Outcome, error) {
	found, err := m.assess(ctx, conn)
	switch {
	case errors.Is(err, ErrPending):
		found.outcome.Plan, err = m.script(ctx, conn, found)
	case err != nil:
	case found.outcome.Newer > 0:
		found.outcome.Plan = fmt.Sprintf("-- The database is at step %d, which is newer than this image and fine for its application. "+
			"There is nothing to do.\n", found.outcome.Newer)
	default:
		found.outcome.Plan = fmt.Sprintf("-- The database is at step %d, and on record. There is nothing to do.\n", m.target.Number)
	}
	return found.outcome, err
}

// script puts together what Migrate runs, in its order, between two looks at the database
// that stop it.
func (m *Migrator) script(ctx context.Context, conn *pgconn.PgConn, found assessment) (string, error) {
	sizes, err := m.tableSizes(ctx, conn, found.db)
	if err != nil {
		return "", passing(err)
	}
	u := found.upgrade
	stages := []stage{
		{"All of it or nothing, nobody else meanwhile, and settings that hold until the end of the transaction", beginSQL() + dedent(m.settingsSQL())},
		{"PEPhub's schema", placeSQL(u.db)},
		{"Is the database still as it was when this plan was made?",
			m.expect(fingerprint(u.db.Shape, u.db.Recorded, u.db.Alembic, u.db.Oldest), "true",
				"the database has changed since this plan was made; make another")},
		{"Does what is attached to the tables still allow it?", m.expectAttached(u)},
	}
	stages = append(stages, m.before(u)...)
	for _, step := range u.pending {
		stages = append(stages, stage{fmt.Sprintf("Step %d: %s", step.Number, step.Name), step.up})
	}
	stages = append(stages, m.after(u)...)
	stages = append(stages,
		stage{"Is the result what it should be?", m.expect(m.result(u.db, u.at), m.wanted(), "the result is not what it should be") +
			u.carried.expectSQL(m.attachedSQL(true)) + endOfPlanSQL()})
	parts := []string{found.summary(sizes)}
	for _, s := range stages {
		if s.sql != "" {
			parts = append(parts, title(s.title), s.sql)
		}
	}
	return strings.Join(parts, "\n"), nil
}

// expectAttached returns statements that fail unless what is attached to the tables is as
// it was, and nothing is planted. The locks keep it so, and leave readers and writers
// alone.
func (m *Migrator) expectAttached(u upgrade) string {
	sql := freezeSQL
	if tables := present(u.db); len(tables) > 0 {
		sql += keepSQL(u.db.Schema, tables)
	}
	return sql + "DO " + dollars(fmt.Sprintf(`
DECLARE
    planted text;
BEGIN
    IF %s IS DISTINCT FROM coalesce((
        %s
    ), '') THEN
        RAISE EXCEPTION 'what is attached to the tables has changed since this plan was made; make another';
    END IF;
    SELECT string_agg(p.object, ', ') INTO planted FROM (%s) AS p;
    IF planted IS NOT NULL THEN
        RAISE EXCEPTION 'this could run with your rights: %%', planted USING HINT = 'connect as the owner of the tables';
    END IF;
END
`, literal(u.carried.fingerprint()), fingerprintSQL([]string{linesSQL(m.attachedSQL(true))}, "true"), m.plantedSQL(true))) + ";\n"
}

func title(text string) string {
	const line = "-- ----------------------------------------------------------------------------------------------------------------"
	return line + "\n-- " + text + "\n" + line
}

// dedent is for statements that are indented as the Go code around them.
func dedent(sql string) string {
	return strings.ReplaceAll(strings.ReplaceAll(strings.TrimSpace(sql), "\n\t\t", "\n"), "\t", "    ") + "\n"
}

// beginSQL stops a psql that was told neither to stop at an error nor to run all in one
// transaction: a setting that is local to the transaction is gone in the next statement
// where every statement is one. So is the search path, and so the names are qualified.
// And it keeps psql -1 from committing a plan whose end is missing: a foreign key is
// checked at the commit, and endOfPlanSQL brings what it refers to.
func beginSQL() string {
	return fmt.Sprintf(`\set ON_ERROR_STOP on
\encoding UTF8
SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;
SET LOCAL pephub_migrate.plan = 'on';
%s;
DO $do$
BEGIN
    IF coalesce(pg_catalog.current_setting('pephub_migrate.plan', true), '') OPERATOR(pg_catalog.<>) 'on' THEN
        RAISE EXCEPTION 'run this as one transaction: psql -1';
    END IF;
    IF NOT pg_catalog.pg_try_advisory_xact_lock(%d) THEN
        RAISE EXCEPTION 'an instance of pephub-migrate is migrating this database';
    END IF;
END
$do$;
CREATE TEMPORARY TABLE pephub_migrate_end (id integer PRIMARY KEY) ON COMMIT DROP;
GRANT INSERT ON pg_temp.pephub_migrate_end TO PUBLIC;
CREATE TEMPORARY TABLE pephub_migrate_begin (
    id integer CONSTRAINT this_plan_is_cut_off REFERENCES pg_temp.pephub_migrate_end DEFERRABLE INITIALLY DEFERRED
) ON COMMIT DROP;
INSERT INTO pg_temp.pephub_migrate_begin VALUES (1);
`, schema.CatalogPath, int64(lockKey))
}

func endOfPlanSQL() string { return "INSERT INTO pg_temp.pephub_migrate_end VALUES (1);\n" }

// placeSQL makes the settings that a look makes, whatever the search path is of whoever
// runs the plan.
func placeSQL(db schema.Database) string {
	return fmt.Sprintf("SELECT set_config('pephub_migrate.schema', (parse_ident(%s))[1], true),\n    set_config('pephub_migrate.path', %s, true);\n",
		literal(db.Schema), literal(db.Path))
}

// guardSQL stops a plan that would drop a table with rows: that it is empty was seen
// without a lock. The name of the schema, which may be anything, does not stand in the
// text of the block.
func guardSQL(c clearing, schemaName string) string {
	if len(c.drop) == 0 {
		return ""
	}
	return fmt.Sprintf(`%s;
DO $do$
DECLARE
    dropped text;
    filled boolean;
BEGIN
    FOREACH dropped IN ARRAY '{%s}'::text[] LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM ONLY %%I.%%I)', current_setting('pephub_migrate.schema'), dropped) INTO filled;
        IF filled THEN
            RAISE EXCEPTION 'a table that is to be dropped is not empty any more; make another plan';
        END IF;
    END LOOP;
END
$do$;
`, lockSQL(qualified(schemaName, c.drop)), strings.Join(c.drop, ","))
}

// fingerprintSQL is the query for the fingerprint of what the queries in lines return, of
// those lines for which the condition holds.
func fingerprintSQL(lines []string, condition string) string {
	return fmt.Sprintf("SELECT encode(sha256(convert_to(string_agg(line, chr(10) ORDER BY convert_to(line, 'UTF8')), 'UTF8')), 'hex')\nFROM (\n%s\n) AS look\nWHERE %s",
		strings.Join(lines, "\nUNION ALL\n"), condition)
}

// expect is a statement that fails with a message unless the database has a fingerprint.
func (m *Migrator) expect(fingerprint, condition, complaint string) string {
	ours, lines := schema.Script(m.steps.snapshots())
	return ours + fmt.Sprintf(`;
DO $do$
BEGIN
    IF '%s' IS DISTINCT FROM coalesce((
%s
    ), '') THEN
        RAISE EXCEPTION '%s';
    END IF;
END
$do$;
`, fingerprint, fingerprintSQL(lines, condition), complaint)
}

// wanted is the condition that leaves out what no snapshot is held against: an operator's
// own index by a name of ours.
func (m *Migrator) wanted() string {
	var indexes []string
	for object := range m.target.Shape {
		if strings.HasPrefix(object, "index ") {
			indexes = append(indexes, "'"+object+"'")
		}
	}
	if len(indexes) == 0 {
		return "line NOT LIKE 'index %'"
	}
	slices.Sort(indexes)
	return fmt.Sprintf("line NOT LIKE 'index %%'\n    OR split_part(line, ': ', 1) IN (%s)", strings.Join(indexes, ", "))
}

// result is the fingerprint of the database afterwards: the target's shape, or that which
// is there if no step is pending.
func (m *Migrator) result(db schema.Database, at position) string {
	shape := m.target.Shape
	if at.step == m.target.Number {
		shape, _ = db.Shape.Split(m.target.Shape)
		maps.DeleteFunc(shape, func(object, _ string) bool { // as wanted does
			_, known := m.target.Shape[object]
			return !known && strings.HasPrefix(object, "index ")
		})
		maps.Copy(shape, at.missing)
	}
	alembic := m.target.Revision
	if alembic == "" && db.Alembic != "" {
		alembic = schema.Empty
	}
	return fingerprint(shape, strconv.Itoa(m.target.Number), alembic, m.target.Oldest)
}

// fingerprint is what fingerprintSQL makes of a database with that shape and those lines
// of the version tables.
func fingerprint(shape schema.Shape, recorded, alembic string, oldest int) string {
	var lines []string
	for line := range strings.Lines(shape.String()) {
		lines = append(lines, strings.TrimSuffix(line, "\n"))
	}
	if recorded != "" {
		lines = append(lines, "schema_migrations: "+recorded)
	}
	if alembic != "" {
		lines = append(lines, "alembic_version: "+alembic)
	}
	if oldest != 0 {
		lines = append(lines, fmt.Sprintf("oldest_step: %d", oldest))
	}
	return sum(lines)
}

// sum is what fingerprintSQL makes of lines of text.
func sum(lines []string) string {
	if len(lines) == 0 {
		return "" // as string_agg has it, where there is nothing
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(sum[:])
}
