package integration

import (
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// statementOn finds the table, or what belongs to it, that a statement of a pg_dump is about.
var statementOn = regexp.MustCompile(
	`^(?:CREATE TABLE|CREATE TYPE|CREATE SEQUENCE|ALTER TABLE ONLY|ALTER SEQUENCE|CREATE INDEX \w+ ON) (\w+?)(?:_id_seq)?\b`)

// startNewer does what a newer pepdbagent does when it starts on the database: it adds the tables that are missing.
func startNewer(t *testing.T, conn *pgx.Conn, release string) {
	t.Helper()
	there := map[string]bool{}
	for _, name := range query(t, conn, `
		SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
		UNION ALL
		SELECT typname FROM pg_type WHERE typtype = 'e'`) {
		there[name] = true
	}
	for statement := range strings.SplitSeq(readFile(t, "testdata/pepdbagent-"+release+".sql"), ";\n") {
		statement = strings.TrimSpace(statement)
		if strings.HasPrefix(statement, "--") {
			_, statement, _ = strings.Cut(statement, "\n")
		}
		if match := statementOn.FindStringSubmatch(statement); match != nil && !there[match[1]] {
			execute(t, conn, statement)
		}
	}
}

func TestNewerApplicationWasStarted(t *testing.T) {
	for name, test := range map[string]struct {
		fixtures []string
		newer    []string
		from     string
	}{
		"0.12 on 0.11.1": {v0111, []string{"0.12.3"}, "step 13 (pepdbagent 0.11.1)"},
		"0.12 on 0.11.0": {
			[]string{"pepdbagent-0.11.0.sql", "rows-common.sql", "rows-history.sql", "rows-schemas-0.11.sql"},
			[]string{"0.12.3"}, "step 13 (pepdbagent 0.11.1)", // which differs from 0.11.0 in added tables only
		},
		"0.12 on 0.10":          {[]string{"pepdbagent-0.10.0.sql", "rows-common.sql", "rows-history.sql"}, []string{"0.12.3"}, "step 11 (pepdbagent 0.10.0)"},
		"0.11 and 0.12 on 0.10": {[]string{"pepdbagent-0.10.0.sql", "rows-common.sql", "rows-history.sql"}, []string{"0.11.0", "0.12.3"}, "step 11 (pepdbagent 0.10.0)"},
	} {
		t.Run(name, func(t *testing.T) {
			db := newDatabase(t, test.fixtures...)
			conn := connect(t, db)
			before := readContent(t, conn)
			for _, release := range test.newer {
				startNewer(t, conn, release)
			}
			migrate(t, environment(db)).want(t, 0, "removed empty tables", "from "+test.from+" to step "+newest)
			wantNewest(t, db)
			sameContent(t, before, readContent(t, conn))
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

// An archive that an earlier upgrade left in a database that was restored since is put aside, not mixed in.
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
