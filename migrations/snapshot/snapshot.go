// Package snapshot writes down what a step leaves behind: the lines of its .schema.txt.
// It serves the author of a step and the tests; the program itself only reads them.
package snapshot

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"pephub-migrate/internal/schema"
)

// Update brings the snapshots in a folder up to date. It runs the up files one after the
// other in an empty database and writes down what each of them leaves behind, without the
// help of the program, which would hold the result against the snapshot that is yet to
// come. Lines that nobody but a person can write stay, but for archives that the step
// does not speak of.
func Update(ctx context.Context, conn *pgconn.PgConn, dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.up.sql"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := Write(ctx, conn, file); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(file), err)
		}
	}
	return nil
}

// Write runs one up file in a database that is at the step before it, and writes the
// step's snapshot.
func Write(ctx context.Context, conn *pgconn.PgConn, file string) error {
	name := strings.TrimSuffix(file, ".up.sql") + ".schema.txt"
	old, err := os.ReadFile(name)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	up, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var text strings.Builder
	for line := range strings.Lines(string(old)) {
		kind, rest, _ := strings.Cut(line, " ")
		archive, _, _ := strings.Cut(rest, ":")
		if slices.Contains([]string{"alembic_version:", "oldest_step:", "work", "from", "moved", "refilled", "distinct", "merged"}, kind) || kind == "archive" && speaksOf(string(up), archive) {
			text.WriteString(line)
		}
	}
	locks, err := Locks(ctx, conn, file)
	if err != nil {
		return err
	}
	if err := execute(ctx, conn, string(up)); err != nil {
		return err
	}
	shape, err := Shape(ctx, conn)
	if err != nil {
		return err
	}
	return os.WriteFile(name, []byte(text.String()+locks+shape.String()), 0o644)
}

// speaksOf reports whether the name stands in the text as a whole word: archived_projects
// is no part of archived_projects_pop.
func speaksOf(text, name string) bool {
	return regexp.MustCompile(`\b` + regexp.QuoteMeta(name) + `\b`).MatchString(text)
}

// Others is a query for the tables that may be in PEPhub's schema and are no part of what
// a step makes: the version tables, the archives, and those that geopephub keeps in the
// same database.
const Others = `SELECT oid FROM pg_class
	WHERE relname IN ('schema_migrations', 'alembic_version', 'geo_sample_status', 'geo_cycle_status') OR relname LIKE 'archived\_%'`

// Shape returns all that is in the schema that unqualified names lead to, whoever it
// belongs to; but for Others.
func Shape(ctx context.Context, conn *pgconn.PgConn) (schema.Shape, error) {
	objects, err := schema.AskTable(ctx, conn, 1, `
		SELECT CASE relkind WHEN 'r' THEN 'table ' ELSE 'index ' END || relname
		FROM pg_class
		LEFT JOIN pg_index ON indexrelid = oid
		WHERE relnamespace = to_regnamespace(quote_ident(current_setting('pephub_migrate.schema'))) AND relkind IN ('r', 'i')
			AND coalesce(indrelid, oid) NOT IN (`+Others+`)
			AND oid NOT IN (SELECT conindid FROM pg_constraint WHERE contype IN ('p', 'u', 'x')) -- a constraint's index is no matter
		UNION ALL
		SELECT 'enum ' || typname FROM pg_type WHERE typnamespace = to_regnamespace(quote_ident(current_setting('pephub_migrate.schema'))) AND typtype = 'e'`)
	if err != nil {
		return nil, err
	}
	everything := schema.Shape{}
	for _, object := range objects {
		everything[string(object[0])] = ""
	}
	seen, err := schema.NewReader([]schema.Shape{everything}).Read(ctx, conn)
	return seen.Shape, err
}

// Locks returns the lines of a snapshot that say which locks an up file takes on the
// tables that are there before it: on each the strongest, as LOCK TABLE spells it, but
// for that of readers. It leaves the database as it was.
func Locks(ctx context.Context, conn *pgconn.PgConn, file string) (string, error) {
	locks := map[string]string{}
	if err := take(ctx, conn, file, locks); err != nil {
		return "", err
	}
	if strings.HasPrefix(filepath.Base(file), "000015_") { // which has more to do on what Alembic makes
		if err := execute(ctx, conn, "ALTER TABLE users ALTER COLUMN number_of_schemas DROP NOT NULL"); err != nil {
			return "", err
		}
		if err := take(ctx, conn, file, locks); err != nil {
			return "", err
		}
		if err := execute(ctx, conn, "ALTER TABLE users ALTER COLUMN number_of_schemas SET NOT NULL"); err != nil {
			return "", err
		}
	}
	var text strings.Builder
	for _, table := range slices.Sorted(maps.Keys(locks)) {
		fmt.Fprintf(&text, "lock %s: %s\n", table, locks[table])
	}
	return text.String(), nil
}

// take runs an up file, notes the locks that it takes, by table, and undoes it.
func take(ctx context.Context, conn *pgconn.PgConn, file string, locks map[string]string) error {
	up, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	// By oid: a table that the step drops has no name any more.
	before, err := schema.AskTable(ctx, conn, 2, `
		SELECT oid, relname FROM pg_class
		WHERE relnamespace = to_regnamespace(quote_ident(current_setting('pephub_migrate.schema'))) AND relkind = 'r'`)
	if err != nil {
		return err
	}
	tables := map[string]string{}
	for _, row := range before {
		tables[string(row[0])] = string(row[1])
	}
	if err := execute(ctx, conn, "BEGIN;"+string(up)); err != nil {
		return err
	}
	held, err := schema.AskTable(ctx, conn, 2, `
		SELECT l.relation, modes.name
		FROM pg_locks AS l
		JOIN unnest(ARRAY[
			'ROW SHARE', 'ROW EXCLUSIVE', 'SHARE UPDATE EXCLUSIVE', 'SHARE', 'SHARE ROW EXCLUSIVE', 'EXCLUSIVE', 'ACCESS EXCLUSIVE'
		]) WITH ORDINALITY AS modes (name, strength) ON replace(initcap(modes.name), ' ', '') || 'Lock' = l.mode
		WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation'
		ORDER BY modes.strength`)
	if err != nil {
		return err
	}
	for _, row := range held {
		if table, ok := tables[string(row[0])]; ok {
			locks[table] = string(row[1]) // the last is the strongest
		}
	}
	return execute(ctx, conn, "ROLLBACK")
}

func execute(ctx context.Context, conn *pgconn.PgConn, sql string) error {
	_, err := conn.Exec(ctx, sql).ReadAll()
	return err
}
