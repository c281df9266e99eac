package integration

import (
	"context"
	"slices"
	"strings"
	"testing"

	"pephub-migrate/internal/schema"
)

// Whatever release a database comes from, pg_dump says the same of its schema afterwards,
// up to the order of columns.
func TestOneSchemaWhereverFrom(t *testing.T) {
	empty := newDatabase(t)
	upgradeInProcess(t, empty)
	want := schemaOf(t, empty)
	for i, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t, "pepdbagent-"+release+".sql")
			execute(t, connect(t, db), generate(i+1, 3, i+1))
			upgradeInProcess(t, db)
			if got := schemaOf(t, db); got != want {
				t.Error(diff(want, got))
			}
		})
	}
}

// schemaOf returns what pg_dump says of a database's schema, with the columns of each
// table in alphabetical order.
func schemaOf(t *testing.T, database string) string {
	t.Helper()
	var lines, columns []string
	for line := range strings.SplitSeq(dump(t, database, "--schema-only", "--exclude-table=archived_*"), "\n") {
		if strings.HasPrefix(line, "    ") && !strings.HasPrefix(line, "    ADD ") {
			columns = append(columns, strings.TrimSuffix(line, ","))
			continue
		}
		slices.Sort(columns)
		lines = append(append(lines, columns...), line)
		columns = nil
	}
	return strings.Join(lines, "\n")
}

// Whatever somebody alters in one of PEPhub's objects, the look at the database shows it:
// then the step is not taken for what it is not.
func TestEveryAlterationShows(t *testing.T) {
	steps := loadSteps(t)
	ctx := context.Background()
	done := map[string]bool{} // objects that an earlier release has too
	for i, release := range releases {
		t.Run(release, func(t *testing.T) {
			db := newDatabase(t, "pepdbagent-"+release+".sql")
			conn := connect(t, db)
			var snapshots []schema.Shape
			for _, step := range steps {
				snapshots = append(snapshots, step.Shape)
			}
			reader := schema.NewReader(snapshots)
			for object, definition := range steps[i].Shape {
				if done[object+definition] {
					continue
				}
				done[object+definition] = true
				seen := 0
				for _, alteration := range alterations(object, definition) {
					if _, err := conn.Exec(ctx, "BEGIN;"+alteration); err == nil {
						after, err := reader.Read(ctx, conn.PgConn())
						if err != nil {
							t.Fatal(err)
						}
						if len(after.Shape.Diff(steps[i].Shape)) == 0 {
							t.Errorf("does not show: %s", alteration)
						}
						seen++
					}
					execute(t, conn, "ROLLBACK")
				}
				if seen < 2 {
					t.Errorf("only %d alterations of %s could be made", seen, object)
				}
			}
		})
	}
}

// alterations are statements that each change an object; not every one is possible for
// every object.
func alterations(object, definition string) []string {
	kind, name, _ := strings.Cut(object, " ")
	table, part, _ := strings.Cut(name, ".")
	alter := "ALTER TABLE " + table + " "
	switch kind {
	case "table":
		return []string{
			"DROP TABLE " + table + " CASCADE", alter + "RENAME TO other", alter + "ADD COLUMN other text",
			alter + "ADD CHECK (true)", alter + "SET UNLOGGED", alter + "ADD COLUMN other integer GENERATED ALWAYS AS (1 + octet_length('{VAR ')) STORED",
			alter + `ADD COLUMN "Other" text DEFAULT '{VAR }' COLLATE "C"`, alter + "ADD COLUMN other serial", alter + "ADD EXCLUDE (tableoid WITH =)",
			"CREATE TABLE other (a integer UNIQUE); " + alter + "ADD COLUMN other integer REFERENCES other (a)", "DROP TABLE " + table + " CASCADE; CREATE VIEW " + table + " AS SELECT 1",
			"CREATE SCHEMA other; " + alter + "SET SCHEMA other",
		}
	case "column":
		alter += "ALTER COLUMN " + part + " "
		list := []string{
			"ALTER TABLE " + table + " DROP COLUMN " + part + " CASCADE", "ALTER TABLE " + table + " RENAME COLUMN " + part + " TO other",
			alter + "TYPE varchar(7) USING NULL", alter + "SET DEFAULT NULL::text::int", alter + `TYPE varchar COLLATE "C"`,
			alter + "ADD GENERATED ALWAYS AS IDENTITY",
		}
		if !strings.HasPrefix(definition, "text") {
			list = append(list, alter+"TYPE text USING "+part+"::text")
		}
		if strings.HasPrefix(definition, "timestamp with time zone") {
			list = append(list, alter+"TYPE timestamp")
		}
		if strings.Contains(definition, " not null") {
			return append(list, alter+"DROP NOT NULL")
		}
		return append(list, alter+"SET NOT NULL")
	case "constraint":
		list := []string{
			alter + "DROP CONSTRAINT " + part + " CASCADE", alter + "RENAME CONSTRAINT " + part + " TO other",
		}
		if columns, target, ok := strings.Cut(definition, " references "); ok {
			bare, _, _ := strings.Cut(target, " on ")
			again := alter + "DROP CONSTRAINT " + part + "; " + alter + "ADD CONSTRAINT " + part + " " + columns + " REFERENCES " + bare
			return append(list, again+" ON DELETE RESTRICT", again+" ON DELETE NO ACTION", again+" ON DELETE CASCADE ON UPDATE CASCADE", again+" DEFERRABLE",
				again+" ON DELETE SET DEFAULT", again+" ON DELETE SET NULL NOT VALID", again+" MATCH FULL ON DELETE CASCADE",
				again+" MATCH FULL ON DELETE SET NULL")
		}
		// Columns to INCLUDE change nothing that the constraint says, and NULLS NOT
		// DISTINCT nothing where no NULL can be.
		again := alter + "DROP CONSTRAINT " + part + " CASCADE; " + alter + "ADD CONSTRAINT " + part + " " + definition
		return append(list, again+" DEFERRABLE")
	case "index":
		drop, again := "DROP INDEX "+part, "; CREATE INDEX "+part+" ON "+table
		return []string{
			drop, "ALTER INDEX " + part + " RENAME TO other", drop + again + " ((1)) WHERE true", drop + again + " USING hash (id)",
			drop + strings.Replace(again, "INDEX", "UNIQUE INDEX", 1) + " (id)",
		}
	case "sequence":
		return []string{
			"DROP SEQUENCE " + name + " CASCADE", "ALTER SEQUENCE " + name + " OWNED BY NONE", "ALTER SEQUENCE " + name + " RENAME TO other",
			"ALTER SEQUENCE " + name + " AS smallint",
		}
	case "enum":
		return []string{
			"ALTER TYPE " + name + " ADD VALUE 'MORE'", "ALTER TYPE " + name + " RENAME TO other", "ALTER TYPE " + name + " RENAME VALUE 'UPDATE' TO 'CHANGE'",
		}
	}
	return nil
}

// A look waits for a lock no longer than a second, or than the transaction that it is
// part of, and leaves no setting behind.
func TestLookWaitsBriefly(t *testing.T) {
	conn := connect(t, newDatabase(t))
	for _, test := range []struct{ before, during, after string }{
		{"SET lock_timeout = '8s'", "1s", "8s"},
		{"BEGIN; SET LOCAL lock_timeout = '7s'", "7s", "7s"},
	} {
		execute(t, conn, test.before)
		results, err := schema.Ask(t.Context(), conn.PgConn(), "SHOW lock_timeout")
		if err != nil {
			t.Fatal(err)
		}
		if got := string(results[0].Rows[0][0]); got != test.during {
			t.Errorf("after %s it is %s during a look, want %s", test.before, got, test.during)
		}
		if got := query(t, conn, "SHOW lock_timeout"); !slices.Equal(got, []string{test.after}) {
			t.Errorf("after %s and a look it is %s, want %s", test.before, got, test.after)
		}
	}
}
