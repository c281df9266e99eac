package migrator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5/pgconn"

	"pephub-migrate/internal/schema"
)

// Plan returns what Migrate would do, as a script for psql that does the same, and does nothing. It only reads; a standby will
// do. The error is as for Check, but that there is something to do is none.
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

// script puts together what Migrate runs, in its order, between two looks at the database that stop it.
func (m *Migrator) script(ctx context.Context, conn *pgconn.PgConn, found assessment) (string, error) {
	sizes, err := m.tableSizes(ctx, conn, found.db)
	if err != nil {
		return "", err
	}
	db, at := found.db, found.at
	parts := []string{
		m.summary(found, sizes),
		title("All of it or nothing, nobody else meanwhile, and settings that hold until the end of the transaction"),
		beginSQL(), dedent(m.settingsSQL()),
		title("Unqualified names lead to PEPhub's tables"),
		fmt.Sprintf("SELECT set_config('search_path', '%s', true);\n", strings.ReplaceAll(db.Schema, "'", "''")),
		title("Is the database still as it was when this plan was made?"),
		m.expect(fingerprint(db.Shape, db.Recorded, db.Alembic, db.Oldest), "true",
			"the database has changed since this plan was made; make another"),
	}
	if at.step > 0 {
		parts = append(parts, title("New tables belong to the owner of the old ones"), dedent(m.actAsSQL()))
	}
	if found.clearing.sql != "" {
		parts = append(parts, title("Empty tables of a newer application make way for the steps"), dropIfEmpty(found.clearing))
	}
	if at.step > 0 {
		parts = append(parts, title("Triggers and rules of your own stand still"), dedent(m.standStillSQL()))
	}
	for _, step := range found.pending {
		parts = append(parts, title(fmt.Sprintf("Step %d: %s", step.Number, step.Name)), step.up)
	}
	parts = append(parts, title("The version is written down"), dedent(m.recordSQL(db)))
	if at.step > 0 {
		parts = append(parts, title("Triggers and rules are enabled again, and grants extended to new tables"),
			dedent(m.handBackSQL(present(db, at))))
	}
	parts = append(parts, title("Is the result what it should be?"), m.expect(m.result(db, at), m.wanted(), "the result is not what it should be"),
		endSQL())
	return strings.Join(parts, "\n"), nil
}

func title(text string) string {
	const line = "-- ----------------------------------------------------------------------------------------------------------------"
	return line + "\n-- " + text + "\n" + line
}

// dedent is for statements that are indented as the Go code around them.
func dedent(sql string) string {
	return strings.ReplaceAll(strings.ReplaceAll(strings.TrimSpace(sql), "\n\t\t", "\n"), "\t", "    ") + "\n"
}

// beginSQL stops a psql that was told neither to stop at an error nor to run all in one transaction: a setting that is local
// to the transaction is gone in the next statement where every statement is one. And it keeps psql -1 from committing a plan
// whose end is missing: a foreign key is checked at the commit, and endSQL brings what it refers to.
func beginSQL() string {
	return fmt.Sprintf(`\set ON_ERROR_STOP on
\set ON_ERROR_ROLLBACK off
SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;
SET LOCAL pephub_migrate.plan = 'on';
DO $do$
BEGIN
    IF coalesce(current_setting('pephub_migrate.plan', true), '') <> 'on' THEN
        RAISE EXCEPTION 'run this as one transaction: psql -1';
    END IF;
    IF NOT pg_try_advisory_xact_lock(%d) THEN
        RAISE EXCEPTION 'an instance of pephub-migrate is migrating this database';
    END IF;
END
$do$;
CREATE TEMPORARY TABLE pephub_migrate_end (id integer PRIMARY KEY) ON COMMIT DROP;
GRANT INSERT ON pephub_migrate_end TO PUBLIC;
CREATE TEMPORARY TABLE pephub_migrate_begin (
    id integer CONSTRAINT this_plan_is_cut_off REFERENCES pephub_migrate_end DEFERRABLE INITIALLY DEFERRED
) ON COMMIT DROP;
INSERT INTO pephub_migrate_begin VALUES (1);
`, int64(lockKey))
}

func endSQL() string { return "INSERT INTO pephub_migrate_end VALUES (1);\n" }

// dropIfEmpty is the clearing's SQL behind a guard: that the tables are empty was seen without a lock.
func dropIfEmpty(c clearing) string {
	var sql string
	if len(c.drop) > 0 {
		var filled []string
		for _, table := range c.drop {
			filled = append(filled, fmt.Sprintf("EXISTS (SELECT FROM %s)", table))
		}
		sql = fmt.Sprintf(`%s;
DO $do$
BEGIN
    IF %s THEN
        RAISE EXCEPTION 'a table that is to be dropped is not empty any more; make another plan';
    END IF;
END
$do$;
`, lockSQL(c.drop), strings.Join(filled, " OR "))
	}
	return sql + c.sql
}

// fingerprintSQL is the query for the fingerprint of the database's shape, of those lines for which the condition holds.
func (m *Migrator) fingerprintSQL(condition string) string {
	return fmt.Sprintf("SELECT encode(sha256(convert_to(string_agg(line, chr(10) ORDER BY line COLLATE \"C\"), 'UTF8')), 'hex')\nFROM (\n%s\n) AS look\nWHERE %s",
		strings.Join(m.reader.Lines, "\nUNION ALL\n"), condition)
}

// expect is a statement that fails with a message unless the database has a fingerprint.
func (m *Migrator) expect(fingerprint, condition, complaint string) string {
	return m.reader.Ours + fmt.Sprintf(`;
DO $do$
BEGIN
    IF '%s' IS DISTINCT FROM coalesce((
%s
    ), '') THEN
        RAISE EXCEPTION '%s';
    END IF;
END
$do$;
`, fingerprint, m.fingerprintSQL(condition), complaint)
}

// wanted is the condition that leaves out what no snapshot is held against: an operator's own index by a name of ours.
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

// result is the fingerprint of the database afterwards: the target's shape, or that which is there if no step is pending.
func (m *Migrator) result(db schema.Database, at position) string {
	shape := m.target.Shape
	if at.step == m.target.Number {
		shape, _ = db.Shape.Split(m.target.Shape)
	}
	alembic := m.target.Revision
	if alembic == "" && db.Alembic != "" {
		alembic = schema.Empty
	}
	return fingerprint(shape, strconv.Itoa(m.target.Number), alembic, m.target.Oldest)
}

// fingerprint is what fingerprintSQL makes of a database with that shape and those lines of the version tables.
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
	if len(lines) == 0 {
		return "" // as string_agg has it, where there is nothing
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(sum[:])
}

// tableSize is the size of a table, with what is kept out of line but without indexes, and its rows in words: counted if
// that is soon done, otherwise the planner's guess.
type tableSize struct {
	bytes int64
	rows  string
}

// soonCounted is a size, in bytes, up to which a table's rows are counted.
const soonCounted = 16 << 20

var plannersRows = regexp.MustCompile(`rows=(\d+)`)

// tableSizes asks in one round trip.
func (m *Migrator) tableSizes(ctx context.Context, conn *pgconn.PgConn, db schema.Database) (map[string]tableSize, error) {
	tables := slices.Sorted(slices.Values(db.Shape.Names("table")))
	var questions []string
	for _, table := range tables {
		questions = append(questions, fmt.Sprintf(`
			SELECT pg_table_size('%[1]s'), CASE WHEN pg_table_size('%[1]s') < %[2]d THEN (SELECT count(*) FROM %[1]s) END`,
			table, soonCounted), "EXPLAIN SELECT FROM "+table)
	}
	ctx, cancel := m.briefly(ctx)
	defer cancel()
	_, results, err := schema.Ask(ctx, conn, questions...)
	if err != nil {
		return nil, fmt.Errorf("look at the sizes of the tables: %w", err)
	}
	sizes := map[string]tableSize{}
	for i, table := range tables {
		size, guess := results[2*i].Rows[0], plannersRows.FindSubmatch(results[2*i+1].Rows[0][0])
		bytes, err := strconv.ParseInt(string(size[0]), 10, 64)
		if err != nil || guess == nil {
			return nil, fmt.Errorf("the server does not say how large table %s is", table)
		}
		rows := "about " + string(guess[1])
		if size[1] != nil {
			rows = string(size[1])
		}
		sizes[table] = tableSize{bytes, rows}
	}
	return sizes, nil
}

// summary is the part of the plan that is for a person.
func (m *Migrator) summary(found assessment, sizes map[string]tableSize) string {
	db, from, c := found.db, found.outcome.From, found.clearing
	var text strings.Builder
	say := func(format string, values ...any) {
		line := strings.Map(printable, fmt.Sprintf("-- "+format, values...)) // a name may hold the end of a comment
		text.WriteString(strings.TrimSpace(line) + "\n")
	}
	say("What MIGRATE_ACTION=up would do. Nothing has been done.")
	say("")
	if from.Number == 0 {
		say("Schema %s is empty.", db.Schema)
	} else {
		say("Schema %s is at step %d (%s): %s.", db.Schema, from.Number, from.Release, from.likeness(db.Shape, found.at.leftovers))
	}
	say("schema_migrations %s. alembic_version %s.", inRecord(db.Recorded), inRecord(db.Alembic))
	if len(c.keep) > 0 {
		say("Tables that a newer application has made and filled, which stay: %s.", strings.Join(c.keep, ", "))
	}
	if len(c.drop) > 0 {
		say("Tables that a newer application has made, which are empty and make way: %s.", strings.Join(c.drop, ", "))
	}
	var whole time.Duration
	for _, step := range found.pending {
		duration := step.costs.estimate(sizes)
		whole += duration
		say("")
		say("Step %d %s, about %s", step.Number, step.Name, roughly(duration))
		for _, line := range strings.SplitN(step.up, "\n", 4)[:3] {
			say("  %s", strings.TrimPrefix(line, "-- "))
		}
		step.costs.sayLocks(say, sizes)
		step.costs.sayArchives(say, sizes)
	}
	say("")
	if len(found.pending) == 0 {
		say("No step is pending. The version is written down.")
	}
	say("In all about %s on two cores, in one transaction. Its locks are held until the end.", roughly(whole))
	say("")
	say("The same by hand: psql -X -1 -q -o /dev/null -f this-file")
	return text.String()
}

func printable(r rune) rune {
	if unicode.IsControl(r) {
		return ' '
	}
	return r
}

// likeness says why a shape is taken for this step's.
func (s Step) likeness(shape, leftovers schema.Shape) string {
	objects := len(shape) - len(leftovers)
	common, _ := shape.Split(s.Shape)
	if len(common.Diff(s.Shape)) > 0 {
		return fmt.Sprintf("its %d objects are those of a known variant", objects)
	}
	return fmt.Sprintf("its %d objects are as %06d_%s.schema.txt has them", objects, s.Number, s.Name)
}

func inRecord(record string) string {
	switch record {
	case "":
		return "is not there"
	case schema.Empty:
		return "is empty"
	}
	return "says " + record
}

// documentFactor is how much larger than the documents of projects are the samples that come out of them: documents are
// compressed.
const documentFactor = 5

// estimate returns how long a step takes on tables of those sizes. A table that an earlier step will make out of documents
// is taken to be as large as those.
func (c costs) estimate(tables map[string]tableSize) time.Duration {
	var whole time.Duration
	for table, perMegabyte := range c.work {
		size, ok := tables[table]
		bytes := size.bytes
		if !ok {
			bytes = documentFactor * tables["projects"].bytes
		}
		whole += time.Duration(float64(perMegabyte) * float64(bytes) / (1 << 20))
	}
	return whole
}

// roughly rounds to what an estimate is good for.
func roughly(duration time.Duration) time.Duration {
	switch {
	case duration < 100*time.Millisecond:
		return 100 * time.Millisecond
	case duration < 10*time.Second:
		return duration.Round(100 * time.Millisecond)
	}
	return duration.Round(time.Second)
}

// sayLocks names the tables that are there already by the lock that each gets.
func (c costs) sayLocks(say func(string, ...any), tables map[string]tableSize) {
	byMode := map[string][]string{}
	for _, table := range slices.Sorted(maps.Keys(c.locks)) {
		if size, ok := tables[table]; ok {
			byMode[c.locks[table]] = append(byMode[c.locks[table]],
				fmt.Sprintf("%s (%s rows, %s)", table, size.rows, inBytes(size.bytes)))
		}
	}
	for _, mode := range slices.Sorted(maps.Keys(byMode)) {
		say("  Locks: at most %s on %s", mode, strings.Join(byMode[mode], ", "))
	}
}

func (c costs) sayArchives(say func(string, ...any), tables map[string]tableSize) {
	for _, archive := range slices.Sorted(maps.Keys(c.archives)) {
		source := c.archives[archive]
		if size, ok := tables[source]; ok {
			say("  Archives: to %s, at most the %[3]s rows of %[2]s", archive, source, size.rows)
		} else {
			say("  Archives: to %s, at most the rows that %s will have", archive, source)
		}
	}
}

func inBytes(bytes int64) string {
	switch {
	case bytes >= 1<<30:
		return fmt.Sprintf("%.1f GB", float64(bytes)/(1<<30))
	case bytes >= 1<<20:
		return fmt.Sprintf("%.1f MB", float64(bytes)/(1<<20))
	}
	return fmt.Sprintf("%d kB", bytes>>10)
}
